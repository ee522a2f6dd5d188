//! Every form of every packet, read and refused.

use super::*;
use crate::limits;
use proptest::prelude::*;

const ANA: &str = "Ana;Paz;1;2000-01-01;7";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";

fn parse(line: &str) -> Result<Request<'_>, PacketError> {
    Request::parse(line.as_bytes())
}

fn bets(text: &str) -> WireBets<'_> {
    WireBets::parse(text).unwrap()
}

fn agency(number: u32) -> AgencyId {
    AgencyId::new(number).unwrap()
}

#[test]
fn reads_every_form() {
    let both = format!("{ANA}:{LEO}");
    for (line, request) in [
        (format!("StoreBet:3;{ANA}"), Request::StoreBet { agency: agency(3), bet: bets(ANA) }),
        (
            format!("StoreBatch:3;{ANA}:{LEO}"),
            Request::StoreBatch { form: BatchForm::Ours, agency: agency(3), bets: bets(&both) },
        ),
        (
            format!("StoreBatch:3:{ANA}:{LEO}"),
            Request::StoreBatch {
                form: BatchForm::Reference,
                agency: agency(3),
                bets: bets(&both),
            },
        ),
        (
            format!("StoreRows:3;9:{ANA}:{LEO}"),
            Request::StoreRows { agency: agency(3), first_row: 9, bets: bets(&both) },
        ),
        ("AgencyClose:3".into(), Request::AgencyClose { agency: agency(3), rows: None }),
        ("AgencyClose:3;0".into(), Request::AgencyClose { agency: agency(3), rows: Some(0) }),
        ("AgencyStatus:3".into(), Request::AgencyStatus { agency: agency(3) }),
        ("WinnersRequest:3".into(), Request::WinnersRequest { agency: agency(3) }),
    ] {
        assert_eq!(parse(&line), Ok(request), "{line}");
    }
}

#[test]
fn as_many_bets_as_the_limit_says_fill_a_packet() {
    let packet = |bets| format!("StoreBatch:1:{}\n", vec!["a;b;1;2000-01-01;0"; bets].join(":"));
    let (most, more) = (packet(limits::BETS_MAX), packet(limits::BETS_MAX + 1));
    assert!(most.len() <= limits::LINE_BYTES_MAX && more.len() > limits::LINE_BYTES_MAX);
    let Ok(Request::StoreBatch { bets, .. }) = parse(most.trim_end()) else { panic!("is valid") };
    assert_eq!((bets.len(), limits::BETS_MAX), (3_448, 3_448), "as PROTOCOL.md says");
    assert!(include_str!("../../../../docs/PROTOCOL.md").contains("at most 3,448 |"));
}

#[test]
fn answers_what_is_malformed_as_its_type_wants() {
    let long = format!("StoreRows:1;1:{ANA}:Leo;Sol;2;2000-13-02;8");
    for (line, answer) in [
        ("", "Error:unknown packet"),
        ("Hello", "Error:unknown packet"),
        ("storebet:1", "Error:unknown packet"),
        ("StoreBet:1;Ana;Paz;1;2000-01-01", "StoreResponse:1"),
        ("StoreBatch:1", "StoreResponse:1"),
        ("StoreBatch:1:", "StoreResponse:1"),
        ("StoreBatch:1;Ana;Paz;1;2000-01-01;7:", "StoreResponse:1"),
        (
            &long,
            "StoreRowsResponse:2;0;0000000000000000;\
             invalid bet 2: birthdate is not a calendar date YYYY-MM-DD",
        ),
        (
            "StoreRows:0;1:",
            "StoreRowsResponse:2;0;0000000000000000;\
             agency the agency is not a number from 1 to 100000",
        ),
        (
            "StoreRows:1;0:Ana;Paz;1;2000-01-01;7",
            "StoreRowsResponse:2;0;0000000000000000;\
             invalid the first row, 0, is not a row number in plain digits",
        ),
        (
            "AgencyClose:1;x",
            "AgencyCloseResponse:2;\
             invalid the count of rows is not a row number in plain digits",
        ),
        ("AgencyClose:x", "Error:agency the agency is not a number from 1 to 100000"),
        ("AgencyStatus:", "Error:agency the agency is not a number from 1 to 100000"),
        ("WinnersRequest:-1", "Error:agency the agency is not a number from 1 to 100000"),
    ] {
        let mut out = Vec::new();
        parse(line).unwrap_err().response().write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{answer}\n"), "{line}");
    }
}

#[test]
fn a_line_that_is_too_long_is_recognised_by_its_head() {
    let answer = |head: &[u8]| PacketError::too_long(head).response();
    assert_eq!(answer(b"StoreBatch:1;Ana"), Response::Store { stored: false });
    assert_eq!(answer(b"xxxxxxxxxxxx"), Response::Error("unknown packet".into()));
}

#[test]
fn bytes_that_are_not_utf8_refuse_the_packet() {
    let packet = Request::parse(b"StoreBet:1;\xff;Paz;1;2000-01-01;7").unwrap_err();
    assert_eq!(packet, PacketError::Body(PacketType::StoreBet, BodyError::NotUtf8));
}

prop_compose! {
    fn any_fields()(
        first in "[^;:\\pC]{1,25}", last in "[^;:\\pC]{1,25}", document in "[0-9A-Za-z]{1,20}",
        year in 1..=9999_u16, month in 1..=12_u8, day in 1..=28_u8, number in 0..=9999_u16,
    ) -> [String; 5] {
        [first, last, document, format!("{year:04}-{month:02}-{day:02}"), number.to_string()]
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        rows in proptest::collection::vec(any_fields(), 1..20),
        number in 1..=limits::AGENCIES_MAX, first_row in 1_u64..,
    ) {
        let agency = agency(number);
        let rows: Vec<_> = rows.iter().map(|fields| fields.join(";")).collect();
        let all = rows.join(":");
        for request in [
            Request::StoreBet { agency, bet: bets(&rows[0]) },
            Request::StoreBatch { form: BatchForm::Ours, agency, bets: bets(&all) },
            Request::StoreBatch { form: BatchForm::Reference, agency, bets: bets(&all) },
            Request::StoreRows { agency, first_row, bets: bets(&all) },
        ] {
            let mut line = Vec::new();
            request.write(&mut line);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert_eq!(Request::parse(&line), Ok(request));
        }
    }
}
