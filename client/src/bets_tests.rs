use super::*;
use crate::limits::PACKET_BYTES_MIN;
use proptest::prelude::*;
use protocol::limits::LINE_BYTES_MAX;

const ANA: &str = "Ana;Paz;1;2000-01-01;7";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";

fn read(text: &[u8]) -> Result<Bets, ReadError> {
    Bets::read(text)
}

fn wires(bets: &Bets) -> Vec<&str> {
    let one = BatchLimits { bets: 1, bytes: PACKET_BYTES_MIN };
    (1..=bets.rows()).map(|row| bets.batch(row, one).unwrap().wire).collect()
}

fn errors(text: &[u8]) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn reads_every_form_of_a_line() {
    for text in [
        "Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8\n",
        "Ana,Paz,1,2000-01-01,7\r\nLeo,Sol,2,2000-01-02,8\r\n",
        "Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8",
        "Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8\n\n",
        "Ana,Paz,1,2000-01-01,7\r\nLeo,Sol,2,2000-01-02,8\r\n\r\n",
        "\u{feff}Ana,Paz,1,2000-01-01,0007\nLeo,Sol,2,2000-01-02,8\n",
        "\u{feff}\"Ana\",Paz,1,2000-01-01,\"07\"\r\nLeo,\"Sol\",2,2000-01-02,8\n",
    ] {
        assert_eq!(wires(&read(text.as_bytes()).unwrap()), [ANA, LEO], "{text:?}");
    }
}

#[test]
fn quotes_hold_commas_and_quotes() {
    let bets =
        read("\"Paz, Ana\",\"O\"\"H\",1,2000-01-01,7\nIñaki,Güell,2,2000-01-02,8".as_bytes());
    assert_eq!(
        wires(&bets.unwrap()),
        ["Paz, Ana;O\"H;1;2000-01-01;7", "Iñaki;Güell;2;2000-01-02;8"]
    );
}

#[test]
fn an_empty_file_has_no_rows() {
    for text in ["", "\n", "\r\n", "\u{feff}"] {
        let bets = read(text.as_bytes()).unwrap();
        assert_eq!((bets.rows(), bets.digest(0)), (0, Some(Digest::default())), "{text:?}");
    }
}

#[test]
fn every_bad_line_is_named_with_its_field() {
    let text = b"Ana,Paz,1,2000-01-01,7\n\nAna,Paz,1,2000-01-01\nAna,Paz,1,2000-02-30,7\n\
                 Ana,\"Paz,1,2000-01-01,7\nAna,Paz,1,2000-01-01,75x4\n\xff,Paz,1,2000-01-01,7\n\
                 A;a,Paz,1,2000-01-01,7\nAna,Paz,1,2000-01-01,\"7\n\n\n";
    assert_eq!(
        errors(text),
        "line 2: the line is blank\n\
         line 3: the line has 4 fields instead of 5\n\
         line 4: birthdate is not a calendar date YYYY-MM-DD: \"2000-02-30\"\n\
         line 5: a quote is not closed\n\
         line 6: number is not 0 to 9999 in plain digits: \"75x4\"\n\
         line 7: the line is not UTF-8\n\
         line 8: first name is not 1 to 100 bytes without control characters, ';' or ':': \"A;a\"\n\
         line 9: a quote is not closed\n\
         line 10: the line is blank"
    );
}

#[test]
fn an_over_long_line_spoils_itself_only() {
    let long = "x".repeat(3 * LINE_BYTES_MAX);
    let text = format!("{long}\nAna,Paz,1,2000-01-01,7\nbad\n");
    assert_eq!(
        errors(text.as_bytes()),
        "line 1: the line is longer than 65536 bytes\nline 3: the line has 1 fields instead of 5"
    );
}

#[test]
fn the_list_of_bad_lines_has_an_end() {
    let text = "bad\n".repeat(BAD_LINES_SHOWN_MAX + 5);
    let message = errors(text.as_bytes());
    assert_eq!(message.lines().count(), BAD_LINES_SHOWN_MAX + 1);
    assert!(message.ends_with("and 5 more bad lines"));
}

#[test]
fn the_digest_is_that_of_the_rows() {
    let bets = read(b"Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8\n").unwrap();
    let one = Digest::default().fold(ANA.as_bytes());
    let two = one.fold(LEO.as_bytes());
    assert_eq!([0, 1, 2].map(|count| bets.digest(count)), [Digest::default(), one, two].map(Some));
    assert_eq!(bets.digest(3), None);
    assert_eq!(bets.fold(one, 1, 2), Some(two));
}

#[test]
fn nothing_comes_after_the_last_row() {
    let limits = BatchLimits { bets: 10, bytes: PACKET_BYTES_MIN };
    let bets = read(b"Ana,Paz,1,2000-01-01,7\n").unwrap();
    assert!(bets.batch(1, limits).is_some());
    for row in [0, 2, u64::MAX] {
        assert_eq!(bets.batch(row, limits), None);
    }
}

/// As [`read`], with so small blocks that each line is read by itself.
fn read_by_lines(text: &[u8]) -> Result<Bets, ReadError> {
    read::read(text, 1)
}

const LINE: &str = "(\u{feff}|)(Ana|\"A, \"\"B\"|A;|Ñ|\"|),Paz,(1|),2000-01-0[0-2],(7574|0007|x)\
                    (,|\r|)\n";

proptest! {
    #[test]
    fn lines_read_at_once_are_those_read_one_by_one(
        good in "(([a-zñ]{1,9},){2}1,2000-01-01,[0-9]{1,4}\r?\n){0,9}",
        near in LINE, end in "\n?x?", bytes in 1..200_usize,
    ) {
        for text in [format!("{good}{near}{good}{end}"), format!("{near}{good}"), good] {
            let text = text.as_bytes();
            let blocks = read::read(text, bytes);
            let wanted = read_by_lines(text).map_err(|error| error.to_string());
            prop_assert_eq!(read(text).map_err(|error| error.to_string()), wanted.clone());
            prop_assert_eq!(blocks.map_err(|error| error.to_string()), wanted);
        }
    }

    #[test]
    fn batches_keep_both_limits_and_lose_nothing(
        names in proptest::collection::vec("[a-zñ]{1,50}", 0..60),
        bets_max in 1_usize..20,
        bytes in PACKET_BYTES_MIN..3 * PACKET_BYTES_MIN,
        agency in 1_u32..=100_000,
    ) {
        let rows: Vec<String> =
            names.iter().map(|name| format!("{name},Paz,1,2000-01-01,7")).collect();
        let bets = read(rows.join("\n").as_bytes()).unwrap();
        let agency = protocol::AgencyId::new(agency).unwrap();
        let (mut row, mut seen) = (1, Vec::new());
        while let Some(batch) = bets.batch(row, BatchLimits { bets: bets_max, bytes }) {
            let mut packet = Vec::new();
            protocol::write_rows_packet(agency, Some(row), batch.wire, &mut packet);
            prop_assert!(packet.len() <= bytes && batch.rows <= bets_max as u64);
            prop_assert_eq!(batch.first_row, row);
            seen.extend(batch.wire.split(':').map(str::to_owned));
            row = batch.last_row() + 1;
        }
        let wanted: Vec<String> = rows.iter().map(|row| row.replace(',', ";")).collect();
        prop_assert_eq!(seen, wanted);
    }
}
