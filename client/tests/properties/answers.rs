//! Properties of answers: from any bytes, a connection reads the answers that they contain, keeps
//! little of the rest, and reports what is wrong.

use std::time::Duration;

use client::server_connection::{ExchangeError, ServerConnection};
use protocol::Response;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

const LIMIT: Duration = Duration::from_secs(60);

/// A connection that receives `bytes` in reads of `piece`, and then its end, returns each line's
/// answer, up to the first line that is not an answer or is longer than `bytes_max`.
pub fn a_connection_gives_answers_or_says_why(bytes: &[u8], piece: usize, bytes_max: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(async {
        let (mut server, client) = tokio::io::duplex(piece.max(1));
        let sends = async {
            // The client may close the connection before it has read everything.
            let _ = server.write_all(bytes).await;
            drop(server);
        };
        tokio::join!(sends, receives(ServerConnection::new(client), bytes, bytes_max));
    });
}

async fn receives(mut connection: ServerConnection<DuplexStream>, bytes: &[u8], max: usize) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let answer = connection.receive(LIMIT, LIMIT, max).await;
        let content = line.strip_suffix(b"\n");
        match (content, answer) {
            (Some(content), Ok(answer)) => {
                assert!(line.len() <= max.max(protocol::limits::HEAD_BYTES));
                assert_eq!(Response::parse(content), Ok(answer));
            }
            (_, Err(ExchangeError::TooLong(limit))) => {
                assert!(limit == max && line.len() >= max);
                return;
            }
            (Some(content), Err(ExchangeError::UnexpectedAnswer(shown))) => {
                assert!(Response::parse(content).is_err());
                assert!(!shown.chars().any(char::is_control), "{shown}");
                return;
            }
            (None, Err(ExchangeError::TruncatedAnswer)) => return,
            (_, other) => panic!("{other:?} for {:?}", String::from_utf8_lossy(line)),
        }
    }
    let end = connection.receive(LIMIT, LIMIT, max).await;
    assert!(matches!(end, Err(ExchangeError::Closed)), "{end:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = "(StoreResponse:[0-2]|Error:[a-z\r;\u{1b}]{0,40}|WinnersResponse:(1;){0,20}|\
                        AgencyStatusResponse:1;0000000000000000;open|\u{0}|)\n?";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2 * 256))]
        #[test]
        fn holds_for_near_answers_and_any_bytes(
            bytes in prop_oneof![
                prop::collection::vec(LINE, 0..6).prop_map(|lines| lines.concat().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..100),
            ],
            piece in 1..80_usize, max in 1..80_usize,
        ) {
            a_connection_gives_answers_or_says_why(&bytes, piece, max);
        }
    }
}
