//! Every form of every packet, read and refused.

use super::*;
use crate::limits;

const ANA: &str = "Ana;Paz;1;2000-01-01;7";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";

#[test]
fn reads_and_writes_every_form() {
    let (agency, both) = (AgencyId::new(3).unwrap(), format!("{ANA}:{LEO}"));
    let (bet, bets) = (WireBets::parse(ANA).unwrap(), WireBets::parse(&both).unwrap());
    let batch = |form| Request::StoreBatch { form, agency, bets };
    for (line, request) in [
        (format!("StoreBet:3;{ANA}"), Request::StoreBet { agency, bet }),
        (format!("StoreBatch:3;{both}"), batch(BatchForm::Ours)),
        (format!("StoreBatch:3:{both}"), batch(BatchForm::Reference)),
        (format!("StoreRows:3;9:{both}"), Request::StoreRows { agency, first_row: 9, bets }),
        ("AgencyClose:3".into(), Request::AgencyClose { agency, rows: None }),
        ("AgencyClose:3;0".into(), Request::AgencyClose { agency, rows: Some(0) }),
        ("AgencyStatus:3".into(), Request::AgencyStatus { agency }),
        ("WinnersRequest:3".into(), Request::WinnersRequest { agency }),
    ] {
        let mut written = Vec::new();
        request.write(&mut written);
        assert_eq!(String::from_utf8(written).unwrap(), format!("{line}\n"));
        assert_eq!(Request::parse(line.as_bytes()), Ok(request), "{line}");
    }
}

#[test]
fn as_many_bets_as_the_limit_says_fill_a_packet() {
    let packet = |bets| format!("StoreBatch:1:{}\n", vec!["a;b;1;2000-01-01;0"; bets].join(":"));
    let (most, more) = (packet(limits::BETS_MAX), packet(limits::BETS_MAX + 1));
    assert!(most.len() <= limits::LINE_BYTES_MAX && more.len() > limits::LINE_BYTES_MAX);
    let most = Request::parse(most.trim_end().as_bytes());
    assert!(matches!(most, Ok(Request::StoreBatch { bets, .. }) if bets.len() == limits::BETS_MAX));
    assert_eq!(limits::BETS_MAX, 3_448, "as PROTOCOL.md says");
    assert!(include_str!("../../../../docs/PROTOCOL.md").contains("at most 3,448 |"));
}

#[test]
fn answers_what_is_malformed_as_its_type_wants() {
    const ROWS: &str = "StoreRowsResponse:2;0;0000000000000000;";
    let birthdate = format!("StoreRows:1;1:{ANA}:Leo;Sol;2;2000-13-02;8");
    let row_zero = format!("StoreRows:1;0:{ANA}");
    let agency = "agency the agency is not a number from 1 to 100000";
    for (line, start, reason) in [
        ("", "Error:", "unknown packet"),
        ("storebet:1", "Error:", "unknown packet"),
        (":", "Error:", "unknown packet"),
        ("\0", "Error:", "unknown packet"),
        ("StoreResponse:0", "Error:", "unknown packet"),
        ("StoreBet", "Error:", "unknown packet"),
        ("StoreBet:1;Ana;Paz;1;2000-01-01", "StoreResponse:1", ""),
        ("StoreBet:1;a;b;1;2000-01-01;7:a;b;1;2000-01-01;7", "StoreResponse:1", ""),
        ("StoreBatch:1", "StoreResponse:1", ""),
        ("StoreBatch:1:", "StoreResponse:1", ""),
        ("StoreBatch:1;Ana;Paz;1;2000-01-01;7:", "StoreResponse:1", ""),
        (&birthdate, ROWS, "invalid bet 2: birthdate is not a calendar date YYYY-MM-DD"),
        (&row_zero, ROWS, "invalid the first row, 0, is not a row number in plain digits"),
        ("StoreRows:0;1:", ROWS, agency),
        (
            "AgencyClose:1;x",
            "AgencyCloseResponse:2;",
            "invalid the count of rows is not a row number in plain digits",
        ),
        ("AgencyClose:x", "Error:", agency),
        ("AgencyClose:1 ;0", "AgencyCloseResponse:2;", agency),
        ("AgencyStatus:", "Error:", agency),
        ("WinnersRequest:-1", "Error:", agency),
    ] {
        let mut out = Vec::new();
        Request::parse(line.as_bytes()).unwrap_err().response().write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{start}{reason}\n"), "{line}");
    }
}
