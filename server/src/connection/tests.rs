//! Connections that were given what they share, and looked into.

use super::*;
use crate::limits::{
    CONNECTION_BYTES, LARGE_SLOT_BYTES, LOOK_BYTES, LOOK_TURNS, ORDINARY_SLOT_BYTES,
    REFUSAL_BYTES_MAX, REFUSALS_PER_SECOND_MAX, REFUSED_BYTES, REST_ANSWERS_BYTES, REST_BYTES,
};
use crate::slots::Pool;
use crate::store::file::FileStore;
use crate::store::{AgencyRows, AgencyStatus, Appended, Batch, Closed, Draw, Unavailable, Unknown};
use crate::{input, output};
use protocol::{AgencyId, AgencyState, Outcome};
use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What its task takes beside the future, and what the allocator adds to both.
const TASK_BYTES: usize = 512;

fn bytes_of<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

/// A store that never gets done with a batch, and counts those it has begun and its closes.
#[derive(Clone, Default)]
struct Busy {
    begun: Arc<AtomicUsize>,
    closes: Arc<AtomicUsize>,
}

impl Store for Busy {
    async fn append(&self, _: &Batch<'_>) -> Result<Appended, Unknown> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        pending().await
    }

    async fn close(&self, _: AgencyId, _: Option<u64>) -> Result<Closed, Unknown> {
        let is_new = self.closes.fetch_add(1, Ordering::Relaxed) == 0;
        Ok(Closed { outcome: Outcome::Done, is_new })
    }

    async fn status(&self, _: AgencyId) -> Result<AgencyStatus, Unavailable> {
        Ok(AgencyStatus { stored: AgencyRows::default(), state: AgencyState::Open })
    }

    async fn look(&self) -> Result<bool, Unavailable> {
        Ok(false)
    }

    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>> {
        watch::channel(None).1
    }
}

/// What connections share in which one more line that is refused has to wait.
fn in_a_flood(slots: Slots) -> Arc<Shared> {
    let shared = Shared { slots, pace: Pace::default() };
    while shared.pace.try_pass(0) {}
    Arc::new(shared)
}

/// A connection on which `sent` has come in, and its client.
async fn connect(store: &Busy, shared: &Arc<Shared>, sent: &[u8]) -> (Connection<Busy>, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(sent).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let connection = Connection {
        stream,
        peer,
        lottery: Lottery::new(store.clone(), 1),
        shared: Arc::clone(shared),
        shutdown: CancellationToken::new(),
        input: Input::default(),
        held: Held::default(),
        output: Output::default(),
        has_looked: false,
    };
    (connection, client)
}

#[tokio::test]
async fn a_connection_without_a_slot_is_no_larger_than_the_limit_says() {
    let shared = in_a_flood(Slots::default());
    let (connection, _client) = connect(&Busy::default(), &shared, b"").await;
    let waits = [
        size_of_val(&connection.turn(0)) + REFUSAL_BYTES_MAX,
        input::waiting_bytes(&connection.stream, &shared.slots),
        output::waiting_bytes(&connection.stream),
    ];
    let held = REST_BYTES + REST_ANSWERS_BYTES + waits.into_iter().max().unwrap();
    let future = bytes_of(serve::<FileStore>);
    let bytes = future + held + TASK_BYTES;
    assert!(bytes <= CONNECTION_BYTES, "{bytes} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_waits_to_be_refused_holds_no_more_than_it_may_without_slots() {
    const CONNECTIONS: u64 = 40;
    let (store, shared) = (Busy::default(), in_a_flood(Slots::default()));
    let mut crowd = JoinSet::new();
    for place in 1..=CONNECTIONS {
        let (mut connection, client) = connect(&store, &shared, &[b'\n'; 500]).await;
        crowd.spawn(async move {
            // Each is looked into at another time; by the last one nearly all are through.
            let looked_at = Duration::from_millis(10 * place);
            assert!(timeout(looked_at, connection.run()).await.is_err(), "it waits");
            drop(client);
            connection
        });
    }
    for mut connection in crowd.join_all().await {
        assert!(!connection.held.is_slot());
        assert!(connection.input.room().capacity() <= REST_BYTES);
        assert!(connection.output.capacity() <= REST_ANSWERS_BYTES);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_executed_behind_refused_lines_has_a_slot() {
    let [ordinary, large, whole] = [(); 3].map(|()| Pool::new(1, ORDINARY_SLOT_BYTES, true));
    let (store, shared) = (Busy::default(), in_a_flood(Slots { ordinary, large, whole }));
    let mut crowd = JoinSet::new();
    for _ in 0..5 {
        let sent = b"hello\nStoreBet:1;Ana;Paz;1;2000-01-01;7\n";
        let (mut connection, client) = connect(&store, &shared, sent).await;
        crowd.spawn(async move {
            let ended = timeout(Duration::from_secs(60), connection.run()).await;
            drop(client);
            ended
        });
    }
    let ended = crowd.join_all().await;
    let refused = |ended: &&_| matches!(ended, Ok(Err(Fault::NoSlot)));
    assert_eq!(store.begun.load(Ordering::Relaxed), 2, "in the ordinary slot and the whole one");
    assert_eq!(ended.iter().filter(refused).count(), 3, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_executed_is_answered_before_the_next_line_waits_to_be_refused() {
    let shared = in_a_flood(Slots::default());
    let sent = b"AgencyStatus:1\nhello\n";
    let (mut connection, mut client) = connect(&Busy::default(), &shared, sent).await;
    let ended = timeout(Duration::from_millis(1), connection.run()).await;
    assert!(ended.is_err(), "it waits: {ended:?}");
    drop(connection);
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers, "AgencyStatusResponse:0;0000000000000000;open\n");
}

/// What is answered at once to `sent`, behind which the connection waits.
async fn answered_in_a_flood(store: &Busy, sent: &[u8]) -> String {
    let shared = in_a_flood(Slots::default());
    let (mut connection, mut client) = connect(store, &shared, sent).await;
    let ended = timeout(Duration::from_millis(1), connection.run()).await;
    assert!(ended.is_err(), "it waits: {ended:?}");
    drop(connection);
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    answers
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_at_once_and_what_follows_the_second_one_waits() {
    let answers = answered_in_a_flood(&Busy::default(), &b"AgencyStatus:1\n".repeat(4)).await;
    assert_eq!(answers.lines().count(), 2, "{answers}");
}

#[tokio::test(start_paused = true)]
async fn behind_a_close_nobody_waits_but_behind_repeated_ones() {
    let store = Busy::default();
    let answers = answered_in_a_flood(&store, &b"AgencyClose:1;0\n".repeat(5)).await;
    assert_eq!(answers, "AgencyCloseResponse:0\n".repeat(3), "a new one, a first one, another");
    for sent in ["AgencyClose:1\n", "AgencyClose:1\nAgencyClose:1;0\n"] {
        let before = store.closes.load(Ordering::Relaxed);
        answered_in_a_flood(&store, sent.repeat(5).as_bytes()).await;
        assert_eq!(store.closes.load(Ordering::Relaxed), before + 2, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn agencies_that_ask_once_and_then_store_wait_for_nobody() {
    const CONNECTIONS: usize = 200;
    let (store, shared) = (Busy::default(), in_a_flood(Slots::default()));
    let (mut crowd, mut clients) = (JoinSet::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let sent = b"AgencyStatus:1\nStoreBet:1;Ana;Paz;1;2000-01-01;7\n";
        let (mut connection, client) = connect(&store, &shared, sent).await;
        clients.push(client);
        crowd.spawn(async move {
            assert!(timeout(Duration::from_millis(1), connection.run()).await.is_err());
        });
    }
    crowd.join_all().await;
    assert_eq!(store.begun.load(Ordering::Relaxed), CONNECTIONS, "all are being stored");
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_turns() {
    let shared = in_a_flood(Slots::default());
    let mut before = JoinSet::new();
    for _ in 0..10_000 {
        let shared = Arc::clone(&shared);
        before.spawn(async move { shared.pace.pass(LARGE_SLOT_BYTES).await });
    }
    tokio::task::yield_now().await;
    let question = "AgencyStatusResponse:0;0000000000000000;open\n";
    for (sent, wanted) in [
        ("hello\nhello\n", "Error:unknown packet\n"),
        ("AgencyStatus:1\nAgencyStatus:1\nhello\n", &question.repeat(2)),
    ] {
        let (mut connection, mut client) =
            connect(&Busy::default(), &shared, sent.as_bytes()).await;
        let (shutdown, started) = (connection.shutdown.clone(), Instant::now());
        let mut running = Box::pin(connection.run());
        let waits = timeout(Duration::from_millis(1), running.as_mut()).await;
        assert!(waits.is_err(), "{sent:?}: {waits:?}");
        shutdown.cancel();
        let ended = running.await;
        assert!(ended.is_ok(), "{sent:?}: {ended:?}");
        assert!(started.elapsed() < Duration::from_millis(10), "{sent:?}: {:?}", started.elapsed());
        drop(connection);
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn questions_of_a_crowd_are_answered_no_faster_than_the_limit_says() {
    const QUESTIONS: usize = 1_000;
    let shared = in_a_flood(Slots::default());
    let (mut crowd, started) = (JoinSet::new(), Instant::now());
    for _ in 0..QUESTIONS / 10 {
        let sent = b"AgencyStatus:1\n".repeat(10);
        let (mut connection, mut client) = connect(&Busy::default(), &shared, &sent).await;
        crowd.spawn(async move {
            tokio::spawn(async move { connection.run().await });
            for _ in 0..10 {
                let mut answer = [0; b"AgencyStatusResponse:0;0000000000000000;open\n".len()];
                client.read_exact(&mut answer).await.unwrap();
            }
        });
    }
    crowd.join_all().await;
    let weights = (QUESTIONS * (LOOK_BYTES / REFUSED_BYTES + 1)) as u64 * u64::from(LOOK_TURNS);
    // All but the first and the last of each, less those that may be at once.
    let least = Duration::from_secs(weights * 7 / 10) / REFUSALS_PER_SECOND_MAX;
    assert!(started.elapsed() > least, "{:?}", started.elapsed());
}
