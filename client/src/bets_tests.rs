use super::*;
use crate::limits::PACKET_BYTES_MIN;
use proptest::prelude::*;
use protocol::limits::LINE_BYTES_MAX;

const ANA: &str = "Ana;Paz;1;2000-01-01;7";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";

#[test]
fn every_form_of_a_file_is_read() {
    let both: &str = &format!("{ANA}:{LEO}");
    for (text, wire) in [
        ("Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8\n", both),
        ("Ana,Paz,1,2000-01-01,7\r\nLeo,Sol,2,2000-01-02,8\r\n", both),
        ("Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8", both),
        ("Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8\n\n", both),
        ("Ana,Paz,1,2000-01-01,7\r\nLeo,Sol,2,2000-01-02,8\r\n\r\n", both),
        ("\u{feff}Ana,Paz,1,2000-01-01,0007\nLeo,Sol,2,2000-01-02,8\n", both),
        ("\u{feff}\"Ana\",Paz,1,2000-01-01,\"07\"\r\nLeo,\"Sol\",2,2000-01-02,8\n", both),
        ("\"Paz, Ana\",\"O\"\"H\",1,2000-01-01,7", "Paz, Ana;O\"H;1;2000-01-01;7"),
        ("Iñaki,Güell,2,2000-01-02,8", "Iñaki;Güell;2;2000-01-02;8"),
        ("", ""),
        ("\n", ""),
        ("\r\n", ""),
        ("\u{feff}", ""),
    ] {
        let bets = Bets::read(text.as_bytes()).unwrap();
        let all = BatchLimits { bets: 10, bytes: PACKET_BYTES_MIN };
        assert_eq!(bets.batch(1, all).map_or("", |batch| batch.wire), wire, "{text:?}");
        assert_eq!([0, bets.rows() + 1, u64::MAX].map(|row| bets.batch(row, all)), [None; 3]);
        assert_eq!(bets.digest(bets.rows() + 1), None);
    }
}

#[test]
fn every_bad_line_is_named_with_its_field_and_the_list_has_an_end() {
    let lines = b"Ana,Paz,1,2000-01-01,7\n\nAna,Paz,1,2000-01-01\nAna,Paz,1,2000-02-30,7\n\
                  Ana,\"Paz,1,2000-01-01,7\nAna,Paz,1,2000-01-01,75x4\n\xff,Paz,1,2000-01-01,7\n\
                  A;a,Paz,1,2000-01-01,7\nAna,Paz,1,2000-01-01,\"7\n\n\n";
    let long = format!("{}\nAna,Paz,1,2000-01-01,7\nbad\n", "x".repeat(6 * LINE_BYTES_MAX));
    let many = "bad\n".repeat(BAD_LINES_SHOWN_MAX + 5);
    let many_named = (1..=BAD_LINES_SHOWN_MAX)
        .map(|n| format!("line {n}: the line has 1 fields instead of 5\n"));
    for (text, errors) in [
        (
            &lines[..],
            "line 2: the line is blank\n\
             line 3: the line has 4 fields instead of 5\n\
             line 4: birthdate is not a calendar date YYYY-MM-DD: \"2000-02-30\"\n\
             line 5: a quote is not closed\n\
             line 6: number is not 0 to 9999 in plain digits: \"75x4\"\n\
             line 7: the line is not UTF-8\n\
             line 8: first name is not 1 to 100 bytes without control characters, ';' or ':': \
             \"A;a\"\n\
             line 9: a quote is not closed\n\
             line 10: the line is blank",
        ),
        (
            long.as_bytes(),
            "line 1: the line is longer than 65536 bytes\n\
             line 3: the line has 1 fields instead of 5",
        ),
        (many.as_bytes(), &(many_named.collect::<String>() + "and 5 more bad lines")),
    ] {
        assert_eq!(Bets::read(text).unwrap_err().to_string(), errors);
    }
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
            let read = |bytes| {
                read::read(text.as_bytes(), bytes).map_err(|error| error.to_string())
            };
            prop_assert_eq!(read(bytes), read(1));
            prop_assert_eq!(read(FILE_READ_BYTES), read(1));
        }
    }
}
