//! Packets to an agency: any line is a response or an error, because a client may be connected to
//! any program.

use protocol::Response;

/// A line is an answer, which is written as the same answer, or is an error.
pub fn a_line_is_an_answer_or_none(line: &[u8]) {
    let Ok(response) = Response::parse(line) else { return };
    let mut printed = Vec::new();
    response.write(&mut printed);
    assert_eq!(printed.pop(), Some(b'\n'));
    // A refusal's first word always has a blank after it.
    assert!(printed.len() <= line.len() + 1, "what is printed is no longer than what was read");
    assert_eq!(Response::parse(&printed), Ok(response));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines that are answers or almost answers.
    const NEAR_ANSWER: &str = "(StoreResponse|StoreRowsResponse|AgencyCloseResponse|\
        AgencyStatusResponse|WinnersResponse|Error|)[:;]?([0-3]|)[;:]?\
        (0|18446744073709551615|18446744073709551616|)[;:]?\
        ([0-9a-f]{16}|[0-9A-F]{16}|)[;:]?(open|closed|drawn|gap|short x|agency; y|\r|)";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2 * 256))]
        #[test]
        fn holds_for_near_answers_and_any_bytes(
            line in prop_oneof![
                NEAR_ANSWER.prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..200),
            ],
        ) {
            a_line_is_an_answer_or_none(&line);
        }
    }
}
