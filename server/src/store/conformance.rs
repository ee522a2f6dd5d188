//! What every store has to do, as one suite: `open` opens the same store again, as an instance that
//! starts does. The lottery has two agencies, and 7 wins.

use std::future::Future;
use std::pin::Pin;

use lottery::AgencyRows;
use protocol::{AgencyId, AgencyState, Digest, Outcome, Refusal, WireBets};

use super::{Batch, Store};

/// A bet of 7, one of 8 whose name needs quotes, and one of 7 with zeros before it.
const BETS: [&str; 3] =
    ["Ana;Paz;D1;2000-01-01;7", "\"Leo, L\";Sol;D2;2000-01-02;8", "Eva;Sol;D3;2000-01-03;0007"];

fn agency(number: u32) -> AgencyId {
    AgencyId::new(number).unwrap()
}

/// The first `count` of [`BETS`].
fn stored(count: usize) -> AgencyRows {
    let rows =
        ["Ana;Paz;D1;2000-01-01;7", "\"Leo, L\";Sol;D2;2000-01-02;8", "Eva;Sol;D3;2000-01-03;7"];
    let rows = rows.iter().take(count);
    let digest = rows.fold(Digest::default(), |digest, row| digest.fold(row.as_bytes()));
    AgencyRows { rows: count as u64, digest }
}

fn refusal(outcome: Outcome) -> Option<Refusal> {
    if let Outcome::Refused(refusal, _) = outcome { Some(refusal) } else { None }
}

/// How a batch of agency 1 ended: its refusal, whether it is new, and what is stored then.
async fn append<S: Store>(
    store: &S,
    first_row: Option<u64>,
    bets: &[&str],
) -> (Option<Refusal>, bool, AgencyRows) {
    let text = bets.join(":");
    let bets = WireBets::parse(&text).unwrap();
    let batch = Batch { agency: agency(1), first_row, bets };
    let appended = store.append(&batch).await.unwrap();
    assert!(!matches!(appended.outcome, Outcome::TryAgain(_)), "{appended:?}");
    (refusal(appended.outcome), appended.is_new, appended.stored)
}

async fn close<S: Store>(store: &S, number: u32, rows: Option<u64>) -> (Option<Refusal>, bool) {
    let closed = store.close(agency(number), rows).await.unwrap();
    assert!(!matches!(closed.outcome, Outcome::TryAgain(_)), "{closed:?}");
    (refusal(closed.outcome), closed.is_new)
}

async fn state<S: Store>(store: &S, number: u32) -> (AgencyRows, AgencyState) {
    let status = store.status(agency(number)).await.unwrap();
    (status.stored, status.state)
}

/// A day from its first batch to the winners, with every refusal, and the store opened again in
/// between. A store ends when it is dropped and the future that came with it is awaited.
pub(super) async fn conforms<S: Store>(
    mut open: impl FnMut() -> (S, Pin<Box<dyn Future<Output = ()>>>),
) {
    let (store, end) = open();
    assert_eq!(state(&store, 1).await, (stored(0), AgencyState::Open));
    assert!(store.draw().borrow().is_none());

    // Append, repeat, gap, overlap.
    assert_eq!(append(&store, Some(1), &BETS[..2]).await, (None, true, stored(2)));
    assert_eq!(append(&store, Some(1), &BETS[..2]).await, (None, false, stored(2)));
    assert_eq!(append(&store, Some(2), &BETS[1..2]).await, (None, false, stored(2)));
    assert_eq!(append(&store, Some(4), &BETS[..1]).await, (Some(Refusal::Gap), false, stored(2)));
    let overlap = append(&store, Some(2), &BETS[1..]).await;
    assert_eq!(overlap, (Some(Refusal::Overlap), false, stored(2)));
    assert_eq!(append(&store, None, &BETS[2..]).await, (None, true, stored(3)));

    // What was answered is there when the store is opened next.
    drop(store);
    end.await;
    let (store, end) = open();
    let (other, other_end) = open();
    assert_eq!(state(&store, 1).await, (stored(3), AgencyState::Open));
    assert_eq!(append(&store, Some(3), &BETS[2..]).await, (None, false, stored(3)));

    // Close: not with other rows than are stored; again, nothing changes. What one instance did,
    // the other one knows.
    assert_eq!(close(&other, 1, Some(4)).await, (Some(Refusal::Short), false));
    assert_eq!(state(&other, 1).await, (stored(3), AgencyState::Open));
    assert_eq!(close(&other, 1, Some(3)).await, (None, true));
    assert_eq!(close(&store, 1, None).await, (None, false));
    assert_eq!(state(&store, 1).await, (stored(3), AgencyState::Closed));
    for first_row in [None, Some(4)] {
        let late = append(&store, first_row, &BETS[..1]).await;
        assert_eq!(late, (Some(Refusal::Closed), false, stored(3)));
    }
    assert_eq!(append(&store, Some(1), &BETS).await, (None, false, stored(3)));

    // The draw is held once, when all agencies have closed.
    assert_eq!(store.look().await, Ok(false));
    assert_eq!(close(&other, 2, None).await, (None, true));
    assert_eq!(store.look().await, Ok(true));
    assert_eq!(store.look().await, Ok(false));
    assert_eq!(other.look().await, Ok(false), "another instance finds it");
    for store in [&store, &other] {
        let draw = store.draw().borrow().clone().expect("it was held");
        assert_eq!((draw.number.get(), draw.bets), (7, 3));
        assert_eq!(draw.winners(agency(1)).as_deref(), Some("D1;D3"));
        assert_eq!(draw.winners(agency(2)).as_deref(), Some(""));
        assert_eq!(draw.winners(agency(3)), None);
        assert_eq!(state(store, 1).await, (stored(3), AgencyState::Drawn));
        let late = append(store, None, &BETS[..1]).await;
        assert_eq!(late, (Some(Refusal::Drawn), false, stored(3)));
    }
    drop((store, other));
    end.await;
    other_end.await;
    let (store, end) = open();
    assert!(store.draw().borrow().is_some(), "an instance that starts later knows the draw");
    assert_eq!(state(&store, 2).await, (stored(0), AgencyState::Drawn));
    drop(store);
    end.await;
}
