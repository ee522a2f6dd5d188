//! Bets to measure with: believable, the same in every run, in the forms of the wire and of the
//! files.
#![allow(dead_code, reason = "benchmarks of several crates share it, and each uses a part of it")]

const FIRST_NAMES: [&str; 8] =
    ["Ana", "Juan Pablo", "María Laura", "Santiago Lionel", "Joaquín", "Lucía", "Valentina", "Eva"];
const LAST_NAMES: [&str; 8] =
    ["Gómez", "Paz", "Rodríguez", "Fernández", "Lorca", "Sosa", "Acuña", "Benítez"];

/// The bet with this index: its fields with `separator` between them, the first name as `dress`
/// makes it.
fn bet(index: u64, separator: &str, dress: fn(&str) -> String) -> String {
    // Neighbours differ in every field.
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let of = |names: [&'static str; 8], shift: u32| {
        names.get((mixed >> shift) as usize % names.len()).copied().unwrap_or_default()
    };
    let (year, month, day) = (1940 + mixed % 66, 1 + mixed % 12, 1 + mixed % 28);
    let fields = [
        dress(of(FIRST_NAMES, 0)),
        of(LAST_NAMES, 3).to_owned(),
        (10_000_000 + mixed % 40_000_000).to_string(),
        format!("{year}-{month:02}-{day:02}"),
        ((mixed >> 7) % 10_000).to_string(),
    ];
    fields.join(separator)
}

/// So many bets as a packet carries them.
pub fn wire(bets: u64) -> String {
    wire_of(bets, str::to_owned)
}

/// As [`wire`], with a comma in each first name, so that its row needs quotes.
pub fn wire_with_commas(bets: u64) -> String {
    wire_of(bets, |name| format!("{name}, B"))
}

fn wire_of(bets: u64, dress: fn(&str) -> String) -> String {
    let bets: Vec<String> = (0..bets).map(|index| bet(index, ";", dress)).collect();
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
    let lines = |dress: fn(&str) -> String, end: &str| {
        let line = |index| format!("{}{}{end}", head(index), bet(index, ",", dress));
        (0..rows).map(line).collect::<String>().into_bytes()
    };
    [
        ("plain", lines(str::to_owned, "\n")),
        ("crlf", lines(str::to_owned, "\r\n")),
        ("quoted", lines(|name| format!("\"{name}, B\""), "\n")),
    ]
}
