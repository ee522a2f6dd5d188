//! An imitation of a server of the reference system, from its observed behaviour.
//!
//! It reads one packet of a connection, answers, and closes the connection itself. It accepts bets
//! in one form only, `StoreBatch:agency:first;…;number:…`, and answers the other form with
//! `StoreResponse:1`. It has no answer to `AgencyClose`. It answers `WinnersRequest` when the draw
//! is held. It closes the connection without a byte on a packet that it does not know.
//!
//! **Invariant**: it shares no code with `protocol`. Our parser accepts more than that server
//! does, so a test against our parser would prove nothing.

use crate::support::Lottery;
use protocol::AgencyState;

/// Executes a packet. Returns its answer with the `\n`, an empty one if the packet has no answer, or
/// `None` to close the connection.
pub async fn answer(lottery: &Lottery, packet: &str) -> Option<String> {
    Some(match packet.split_once(':')? {
        ("StoreBatch", body) => {
            let Some(bets) = bets(body) else { return Some("StoreResponse:1\n".to_owned()) };
            lottery.set(|volume| volume.rows.extend(bets));
            "StoreResponse:0\n".to_owned()
        }
        ("AgencyClose", "1") => {
            lottery.set(|volume| volume.state = AgencyState::Closed);
            String::new()
        }
        ("WinnersRequest", "1") => format!("WinnersResponse:{}\n", lottery.winners().await),
        _ => return None,
    })
}

/// `agency:first;last;document;birthdate;number:first;…`; `None` for any other form.
fn bets(body: &str) -> Option<Vec<String>> {
    let bets = body.strip_prefix("1:")?.split(':');
    bets.map(|bet| (bet.split(';').count() == 5).then(|| bet.to_owned())).collect()
}
