//! Bets to measure with: believable, the same in every run, in the forms of the wire and of the
//! files.
#![allow(dead_code, reason = "benchmarks of several crates share it, and each uses a part of it")]

const FIRST_NAMES: [&str; 8] =
    ["Ana", "Juan Pablo", "María Laura", "Santiago Lionel", "Joaquín", "Lucía", "Valentina", "Eva"];
const LAST_NAMES: [&str; 8] =
    ["Gómez", "Paz", "Rodríguez", "Fernández", "Lorca", "Sosa", "Acuña", "Benítez"];

/// The bet with this index: its fields with `separator` between them, the first name as `dress`
/// makes it.
fn bet(index: u64, separator: &str, dress: Dress) -> String {
    // Nothing of a bet follows from its neighbours.
    let mix = |bits: u64| (bits ^ (bits >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = mix(mix(index)) >> 16;
    let of = |names: [&'static str; 8], shift: u32| {
        names.get((mixed >> shift) as usize % names.len()).copied().unwrap_or_default()
    };
    let (year, month, day) = (1940 + mixed % 66, 1 + mixed % 12, 1 + mixed % 28);
    let fields = [
        dress(of(FIRST_NAMES, 0)),
        of(LAST_NAMES, 3).to_owned(),
        (1_000_000 + mixed % 49_000_000).to_string(),
        format!("{year}-{month:02}-{day:02}"),
        ((mixed >> 7) % 10_000).to_string(),
    ];
    fields.join(separator)
}

/// What is made of a first name.
pub type Dress = fn(&str) -> String;

/// Leaves a first name as it is.
pub fn plain(name: &str) -> String {
    name.to_owned()
}

/// Puts a comma in a first name, so that its row needs quotes.
pub fn with_comma(name: &str) -> String {
    format!("{name}, B")
}

/// So many bets from this index on, as a packet carries them.
pub fn wire(first: u64, bets: u64, dress: Dress) -> String {
    let bets: Vec<String> = (first..first + bets).map(|index| bet(index, ";", dress)).collect();
    bets.join(":")
}

/// So many rows of an agency's file: as we write them, as the reference system does, and with a
/// name that needs quotes in each.
pub fn files(rows: u64) -> [(&'static str, Vec<u8>); 3] {
    csv(rows, |_| String::new())
}

/// As [`files`], but rows of `bets.csv`, of five agencies in turn.
pub fn forms(rows: u64) -> [(&'static str, Vec<u8>); 3] {
    csv(rows, |index| format!("{},", index / 100 % 5 + 1))
}

fn csv(rows: u64, head: fn(u64) -> String) -> [(&'static str, Vec<u8>); 3] {
    let lines = |dress: Dress, end: &str| {
        let line = |index| format!("{}{}{end}", head(index), bet(index, ",", dress));
        (0..rows).map(line).collect::<String>().into_bytes()
    };
    [
        ("plain", lines(plain, "\n")),
        ("crlf", lines(plain, "\r\n")),
        ("quoted", lines(|name| format!("\"{name}, B\""), "\n")),
    ]
}
