//! Packets to a server: any line is a request, or is refused with a reason.

use protocol::{
    Bet, BodyError, InvalidField, PacketError, PacketType, Request, Response, WireBets, write_row,
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
    assert_eq!(Request::parse(&printed).as_ref(), Ok(request), "what is printed is the request");
}

/// Each way to iterate over the bets gives the same rows.
fn holds_rows(request: &Request<'_>) {
    let (Request::StoreBet { agency, bet: bets }
    | Request::StoreBatch { agency, bets, .. }
    | Request::StoreRows { agency, bets, .. }) = request
    else {
        return;
    };
    let (mut rows, mut one_by_one) = (Vec::with_capacity(bets.rows_bytes_max()), Vec::new());
    let capacity = rows.capacity();
    bets.write_rows(*agency, &mut rows);
    assert_eq!(rows.capacity(), capacity, "writing takes no more than was said");
    bets.iter().for_each(|bet| write_row(*agency, &bet, &mut one_by_one));
    assert_eq!(rows, one_by_one);
    assert!(rows.len() <= bets.rows_bytes_max(), "{} bytes of rows", rows.len());
    let lines = rows.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!((lines, bets.iter().count(), bets.texts().count()), (bets.len(), lines, lines));
}

/// A text is read as the bets that its parts are, or refused for the first part that is not one.
pub fn bets_are_those_one_by_one(text: &str) {
    let found = WireBets::parse(text).map(|bets| (bets.len(), bets.is_canonical()));
    assert_eq!(found, parse_one_by_one(text), "{text}");
}

/// The number of the bets, and whether all are canonical.
fn parse_one_by_one(text: &str) -> Result<(usize, bool), BodyError> {
    let mut is_canonical = true;
    for (bet, text) in (1..).zip(text.split(':')) {
        let fields: Vec<&str> = text.split(';').collect();
        let Ok(five) = <[&str; 5]>::try_from(fields.as_slice()) else {
            return Err(BodyError::Fields { bet, fields: fields.len() });
        };
        let read = Bet::new(five).map_err(|InvalidField { field, allowed }| BodyError::Bet {
            bet,
            field,
            allowed,
        })?;
        is_canonical &= !text.contains([',', '"']) && read.number().to_string() == five[4];
    }
    Ok((text.split(':').count(), is_canonical))
}

fn says_why(error: &PacketError) {
    let response = error.response();
    let mut line = Vec::new();
    response.write(&mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    assert_eq!(Response::parse(&line).as_ref(), Ok(&response), "a client can read it");
    let line = String::from_utf8(line).expect("an answer is UTF-8");
    assert!(!line.chars().any(char::is_control), "{error:?} is answered in one line");
    let (start, has_reason) = match error {
        PacketError::UnknownType => ("Error:unknown packet", false),
        PacketError::Body(packet, _) => match packet {
            PacketType::StoreBet | PacketType::StoreBatch(_) => ("StoreResponse:1", false),
            PacketType::StoreRows => ("StoreRowsResponse:2;0;0000000000000000;", true),
            PacketType::DeclaredClose => ("AgencyCloseResponse:2;", true),
            _ => ("Error:", true),
        },
    };
    let reason = line.strip_prefix(start).expect("the answer is of the packet's type");
    let (word, rest) = reason.split_once(' ').unwrap_or_default();
    let is_reason = matches!(word, "agency" | "invalid") && !rest.is_empty();
    assert!(if has_reason { is_reason } else { reason.is_empty() }, "{error:?}: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: &str =
        "(StoreBet|StoreBatch|StoreRows|AgencyClose|AgencyStatus|WinnersRequest|Store|)";
    const AGENCY: &str = "(1|007|100000|0|100001|-1||99999999999)";
    const ROW: &str = "(1|0|18446744073709551615|18446744073709551616|00000000000000000001|)";
    const NEAR_BET: &str = "([a-z]{1,45}|[ñº\u{85}]{1,9}|[a,\"\t]{1,4}|);([A-Z]{1,12}|ñ{50}|a{101}|);\
        ([0-9]{7,8}|[a-zA-Z0-9]{0,21}|-|ñ);\
        ([12][0-9]{3}-(0[1-9]|1[0-2])-[0-3][0-9]|2000-1-1|0000-01-01);\
        ([0-9]{0,5}|0{20}|0{21}|[:;x])";
    const VALID_BET: &str = "([^;:\\pC]{1,25}|[a-z]{1,40}|[,\"]{1,9});[^;:\\pC]{1,25};\
        [0-9A-Za-z]{1,20};[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8]);0{0,3}[0-9]{1,4}";

    /// Up to five bets, most of them valid.
    fn bets() -> impl Strategy<Value = String> {
        let bet = prop_oneof![9 => VALID_BET, 1 => NEAR_BET];
        proptest::collection::vec(bet, 0..6).prop_map(|bets| bets.join(":"))
    }

    /// Lines that are packets or almost packets.
    fn near_packets() -> impl Strategy<Value = String> {
        let valid = prop_oneof!["StoreBet:1;", "StoreBatch:007[;:]", "StoreRows:[1-9]{1,5};[1-9]:"];
        let near = (TYPES, AGENCY, "[;:]?", ROW, "[;:]?");
        let near = near.prop_map(|(name, agency, first, row, second)| {
            format!("{name}:{agency}{first}{row}{second}")
        });
        (prop_oneof![valid, near], bets()).prop_map(|(head, bets)| head + &bets)
    }

    #[test]
    fn bets_hold_for_every_character_in_every_field() {
        for (place, other) in (0..5).flat_map(|place| ('\0'..='ƀ').map(move |c| (place, c))) {
            let mut fields = ["Ana", "Paz", "A1", "2000-01-01", "7"].map(str::to_owned);
            fields[place].push(other);
            bets_are_those_one_by_one(&fields.join(";"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2 * 256))]
        #[test]
        fn hold_for_near_packets_and_any_bytes(
            line in prop_oneof![
                near_packets().prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..200),
            ],
        ) {
            a_line_is_a_request_or_refused(&line);
        }

        #[test]
        fn hold_for_near_bets_and_any_text(
            bets in prop_oneof![bets(), "[a-z0-9;:\\PC\\pC-]{0,60}"],
        ) {
            bets_are_those_one_by_one(&bets);
        }
    }
}
