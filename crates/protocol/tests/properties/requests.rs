//! Packets to a server: any line is a request, or is refused with a reason.

use protocol::{
    Bet, Outcome, PacketError, PacketType, Refusal, Request, Response, WireBets, write_row,
};

/// A line is a request, which is written as the same request, or is answered with a refusal that a
/// client can read and that has a reason.
pub fn a_line_is_a_request_or_refused(line: &[u8]) {
    match Request::parse(line) {
        Ok(request) => {
            prints_as_itself(&request, line.len());
            holds_rows(&request);
        }
        Err(error) => says_why(&error),
    }
    says_why(&PacketError::too_long(line));
}

fn prints_as_itself(request: &Request<'_>, bytes: usize) {
    let mut printed = Vec::new();
    request.write(&mut printed);
    assert_eq!(printed.pop(), Some(b'\n'));
    assert!(printed.len() <= bytes, "what is printed is no longer than what was read");
    assert!(!printed.contains(&b'\n'), "a request is one line");
    let again = Request::parse(&printed).expect("what is printed is a request");
    assert_eq!(again, *request);
    assert_eq!(again.packet_type(), request.packet_type());
}

/// Each way to iterate over the bets gives the same rows.
fn holds_rows(request: &Request<'_>) {
    let (Request::StoreBet { agency, bet: bets }
    | Request::StoreBatch { agency, bets, .. }
    | Request::StoreRows { agency, bets, .. }) = request
    else {
        return;
    };
    let (mut rows, mut one_by_one) = (Vec::new(), Vec::new());
    bets.write_rows(*agency, &mut rows);
    bets.iter().for_each(|bet| write_row(*agency, &bet, &mut one_by_one));
    assert_eq!(rows, one_by_one);
    assert!(rows.len() <= bets.rows_bytes_max(), "{} bytes of rows", rows.len());
    let lines = rows.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!((lines, bets.iter().count(), bets.texts().count()), (bets.len(), lines, lines));
    assert_eq!(bets.iter().next(), Some(bets.first()));
}

/// A text is read as bets exactly if each part of it is a bet.
pub fn bets_are_those_one_by_one(text: &str) {
    let mut bets = text.split(':').map(|text| text.split(';').collect::<Vec<_>>());
    let are_bets = bets
        .all(|fields| <[&str; 5]>::try_from(fields).is_ok_and(|fields| Bet::new(fields).is_ok()));
    assert_eq!(WireBets::parse(text).is_ok(), are_bets);
}

fn says_why(error: &PacketError) {
    let response = error.response();
    let mut line = Vec::new();
    response.write(&mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    let is_one_line = str::from_utf8(&line).is_ok_and(|text| !text.chars().any(char::is_control));
    assert!(is_one_line, "{error:?} is answered in one line");
    assert_eq!(Response::parse(&line).as_ref(), Ok(&response), "a client can read it");
    let packet = match error {
        PacketError::UnknownType => None,
        PacketError::Body(packet, _) => Some(*packet),
    };
    match (packet, response) {
        (None, Response::Error(reason)) => assert_eq!(reason, "unknown packet"),
        (Some(PacketType::StoreBet | PacketType::StoreBatch(_)), response) => {
            assert_eq!(response, Response::Store { stored: false });
        }
        (Some(PacketType::StoreRows), Response::StoreRows { outcome, rows: 0, .. })
        | (Some(PacketType::DeclaredClose), Response::AgencyClose(outcome)) => {
            let Outcome::Refused(refusal, reason) = outcome else { panic!("{outcome:?}") };
            assert!(matches!(refusal, Refusal::Agency | Refusal::Invalid));
            assert!(!reason.is_empty());
        }
        (Some(_), Response::Error(reason)) => {
            let (word, rest) = reason.split_once(' ').expect("a reason has more than one word");
            assert!(matches!(word, "agency" | "invalid") && !rest.is_empty(), "{reason}");
        }
        (packet, response) => panic!("{packet:?} is answered {response:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: &str =
        "(StoreBet|StoreBatch|StoreRows|AgencyClose|AgencyStatus|WinnersRequest|Store|)";
    const AGENCY: &str = "(1|007|100000|0|100001|-1||99999999999)";
    const ROW: &str = "(1|0|18446744073709551615|18446744073709551616|00000000000000000001|)";
    const BET: &str = "(Ana|Iñaki|\"|\r| |);(Paz|);(1|A9|ñ|);(2000-02-29|1999-02-29|0000-01-01|);\
                       (0|07574|9999|10000|00000000000000000001|000000000000000000001|)";

    /// Lines that are packets or almost packets.
    fn near_packets() -> impl Strategy<Value = String> {
        (TYPES, AGENCY, "[;:]?", ROW, "[;:]?", proptest::collection::vec(BET, 0..4)).prop_map(
            |(name, agency, first, row, second, bets)| {
                format!("{name}:{agency}{first}{row}{second}{}", bets.join(":"))
            },
        )
    }

    #[test]
    fn holds_for_every_form() {
        for line in [
            "StoreBet:1;Ana;Paz;1;2000-01-01;7",
            "StoreBatch:1;Ana;Paz;1;2000-01-01;7:Leo;Sol;2;2000-01-02;0008",
            "StoreBatch:1:Ana;Paz;1;2000-01-01;7",
            "StoreRows:1;1:Ana;Paz;1;2000-01-01;7:Leo;Sol;2;2000-01-02;8",
            "AgencyClose:1",
            "AgencyClose:1;18446744073709551615",
            "AgencyStatus:100000",
            "WinnersRequest:0000000001",
            "WinnersRequest:1;1",
        ] {
            a_line_is_a_request_or_refused(line.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn holds_for_near_packets(line in near_packets()) {
            a_line_is_a_request_or_refused(line.as_bytes());
        }

        #[test]
        fn bets_hold_for_near_bets(bets in proptest::collection::vec(BET, 0..4)) {
            bets_are_those_one_by_one(&bets.join(":"));
        }

        #[test]
        fn bets_hold_for_any_text(text in "[a-z0-9;:\\PC\\pC-]{0,60}") {
            bets_are_those_one_by_one(&text);
        }

        #[test]
        fn holds_for_any_bytes(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            a_line_is_a_request_or_refused(&line);
        }
    }
}
