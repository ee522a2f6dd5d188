//! Connections, in one process and on port 0, with a store that does what the test says.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use protocol::{AgencyId, AgencyState, Digest, Outcome, Refusal};
use server::limits::{
    LARGE_SLOT_BYTES, LARGE_SLOTS_MAX, LINE_TIMEOUT, ORDINARY_SLOT_BYTES, ORDINARY_SLOTS_MAX,
    REFUSALS_AT_ONCE_MAX, REST_BYTES,
};
use server::lottery::Lottery;
use server::serve;
use server::store::{
    AgencyRows, AgencyStatus, Appended, Batch, Closed, Draw, Store, Unavailable, Unknown,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const BET: &str = "Ana;Paz;1;2000-01-01;7";

/// A store that stores as often as it is allowed to, and says which agency cannot be served.
#[derive(Clone)]
struct Scripted {
    allowed: Arc<Semaphore>,
    broken_agency: u32,
    draw: watch::Receiver<Option<Arc<Draw>>>,
}

impl Scripted {
    fn outcome(&self, agency: AgencyId) -> Outcome {
        if agency.get() == self.broken_agency {
            return Outcome::TryAgain("the disk is full".into());
        }
        Outcome::Done
    }
}

impl Store for Scripted {
    async fn append(&self, batch: &Batch<'_>) -> Result<Appended, Unknown> {
        self.allowed.acquire().await.unwrap().forget();
        let rows = batch.first_row.unwrap_or(1) - 1 + batch.bets.len() as u64;
        let stored = AgencyRows { rows, digest: Digest::default() };
        Ok(Appended { outcome: self.outcome(batch.agency), stored, is_new: true })
    }

    async fn close(&self, agency: AgencyId, rows: Option<u64>) -> Result<Closed, Unknown> {
        let outcome = match rows {
            Some(9) => Outcome::Refused(Refusal::Short, "1 rows are stored, not 9".into()),
            _ => self.outcome(agency),
        };
        let is_new = outcome == Outcome::Done;
        Ok(Closed { outcome, is_new })
    }

    async fn status(&self, agency: AgencyId) -> Result<AgencyStatus, Unavailable> {
        match self.outcome(agency) {
            Outcome::Done => {
                Ok(AgencyStatus { stored: AgencyRows::default(), state: AgencyState::Open })
            }
            _ => Err(Unavailable("the disk is full".into())),
        }
    }

    async fn look(&self) -> Result<bool, Unavailable> {
        Ok(false)
    }

    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>> {
        self.draw.clone()
    }
}

struct Instance {
    address: std::net::SocketAddr,
    allowed: Arc<Semaphore>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    _draws: watch::Sender<Option<Arc<Draw>>>,
}

impl Instance {
    /// An instance with two agencies, of which the second one cannot be served.
    fn start(connections_max: usize) -> Self {
        let (draws, draw) = watch::channel(None);
        let allowed = Arc::new(Semaphore::new(0));
        let store = Scripted { allowed: Arc::clone(&allowed), broken_agency: 2, draw };
        let listener = serve::listen(serve::bind(Ipv4Addr::LOCALHOST, 0).unwrap(), 16).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let lottery = Lottery::new(store, 2);
        let serving = serve::run(listener, lottery, connections_max, shutdown.clone());
        Self { address, allowed, shutdown, running: tokio::spawn(serving), _draws: draws }
    }

    async fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.address).await.unwrap())
    }
}

async fn send(connection: &mut BufReader<TcpStream>, bytes: &[u8]) {
    connection.get_mut().write_all(bytes).await.unwrap();
}

/// The next line; empty at the end of the connection.
async fn line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).await.unwrap();
    line.trim_end().to_owned()
}

#[tokio::test]
async fn packets_are_answered_in_order_however_they_are_cut() {
    let instance = Instance::start(10);
    instance.allowed.add_permits(100);
    let packets = format!("StoreBet:1;{BET}\nhello\nAgencyStatus:1\nStoreRows:1;4:{BET}:{BET}\n");
    let answers = [
        "StoreResponse:0",
        "Error:unknown packet",
        "AgencyStatusResponse:0;0000000000000000;open",
        "StoreRowsResponse:0;5;0000000000000000",
    ];
    for piece in [packets.len(), 1, 7] {
        let mut connection = instance.connect().await;
        connection.get_ref().set_nodelay(true).unwrap();
        for bytes in packets.as_bytes().chunks(piece) {
            send(&mut connection, bytes).await;
        }
        for answer in answers {
            assert_eq!(line(&mut connection).await, answer);
        }
    }
}

#[tokio::test]
async fn what_the_server_could_not_do_is_told_as_each_packet_can() {
    let instance = Instance::start(10);
    instance.allowed.add_permits(100);
    let mut connection = instance.connect().await;
    for (packet, answer) in [
        (format!("StoreBatch:2;{BET}"), "StoreResponse:1"),
        (format!("StoreRows:2;1:{BET}"), "StoreRowsResponse:1;1;0000000000000000;the disk is full"),
        ("AgencyStatus:2".into(), "Error:busy the disk is full"),
        ("AgencyClose:2;1".into(), "AgencyCloseResponse:1;the disk is full"),
        ("AgencyClose:1;9".into(), "AgencyCloseResponse:2;short 1 rows are stored, not 9"),
        ("AgencyClose:3".into(), "Error:agency agency 3 is not one of 1 to 2"),
        ("AgencyClose:1\nAgencyClose:2".into(), ""),
    ] {
        send(&mut connection, format!("{packet}\n").as_bytes()).await;
        assert_eq!(line(&mut connection).await, answer, "{packet}");
    }
}

#[tokio::test]
async fn an_over_long_line_is_answered_as_what_it_was_meant_to_be() {
    let instance = Instance::start(10);
    let mut connection = instance.connect().await;
    let long = "x".repeat(200_000);
    send(&mut connection, format!("StoreBatch:1;{long}\n{long}\nAgencyStatus:1\n").as_bytes())
        .await;
    assert_eq!(line(&mut connection).await, "StoreResponse:1");
    assert_eq!(line(&mut connection).await, "Error:unknown packet");
    assert_eq!(line(&mut connection).await, "AgencyStatusResponse:0;0000000000000000;open");
}

#[tokio::test]
async fn a_line_without_its_end_is_no_packet() {
    let instance = Instance::start(10);
    instance.allowed.add_permits(1);
    let mut connection = instance.connect().await;
    send(&mut connection, format!("AgencyStatus:1\nStoreBet:1;{BET}").as_bytes()).await;
    connection.get_mut().shutdown().await.unwrap();
    assert_eq!(line(&mut connection).await, "AgencyStatusResponse:0;0000000000000000;open");
    assert_eq!(line(&mut connection).await, "");
    assert_eq!(instance.allowed.available_permits(), 1, "nothing was stored");
}

#[tokio::test]
async fn a_half_line_is_waited_for_a_minute_and_a_request_for_winners_for_hours() {
    let instance = Instance::start(10);
    let (mut half, mut winners) = (instance.connect().await, instance.connect().await);
    send(&mut half, b"AgencyStatus:1\nAgency").await;
    send(&mut winners, b"AgencyStatus:1\nWinnersRequest:1\n").await;
    for connection in [&mut half, &mut winners] {
        assert_eq!(line(connection).await, "AgencyStatusResponse:0;0000000000000000;open");
    }
    // Everything was sent and read before the clock stops to wait for anything but the timers.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    assert_eq!(half.read(&mut [0]).await.unwrap(), 0, "closed");
    let limit = LINE_TIMEOUT;
    let about = limit - Duration::from_secs(1)..limit + Duration::from_secs(1);
    assert!(about.contains(&started.elapsed()));
    let hours = Duration::from_secs(5 * 3_600);
    let waited = tokio::time::timeout(hours, line(&mut winners)).await;
    assert!(waited.is_err(), "still waiting: {waited:?}");
}

/// Connections that each have sent so many bytes of a line, and none of its end.
async fn half_lines(instance: &Instance, count: usize, bytes: usize) -> Vec<BufReader<TcpStream>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut connection = instance.connect().await;
        send(&mut connection, &vec![b'x'; bytes]).await;
        all.push(connection);
    }
    all
}

#[tokio::test]
async fn half_lines_keep_no_whole_packet_waiting() {
    // Both ends of each connection are here.
    let wanted = 3 * ORDINARY_SLOTS_MAX as u64;
    let granted = program::descriptors::raise(wanted);
    assert_eq!(granted, wanted, "this test needs so many open files: ulimit -n -H");
    for (half_bytes, half_count, packet_bytes) in [
        (REST_BYTES + 1, ORDINARY_SLOTS_MAX + 10, ORDINARY_SLOT_BYTES),
        (ORDINARY_SLOT_BYTES + 1, LARGE_SLOTS_MAX + 10, ORDINARY_SLOT_BYTES),
        (LARGE_SLOT_BYTES - 1, LARGE_SLOTS_MAX + 10, LARGE_SLOT_BYTES),
    ] {
        let instance = Instance::start(2 * ORDINARY_SLOTS_MAX);
        let mut halves = half_lines(&instance, half_count, half_bytes).await;
        let mut asking = instance.connect().await;
        let packet = "x".repeat(packet_bytes - 1);
        for _ in 0..20 {
            send(&mut asking, format!("{packet}\n").as_bytes()).await;
            assert_eq!(line(&mut asking).await, "Error:unknown packet", "{half_bytes}");
        }
        // The last ones hold nothing of anybody's: they are served if their lines end.
        let last = halves.last_mut().unwrap();
        send(last, b"\n").await;
        assert_eq!(line(last).await, "Error:unknown packet", "{half_bytes}");
        // The first one was closed for others, and told so where its bytes had all been read.
        let first = halves.first_mut().unwrap();
        let mut said = Vec::new();
        let ended = tokio::time::timeout(LINE_TIMEOUT / 2, first.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "it is closed: {half_bytes}");
        assert!(said.is_empty() || said.starts_with(b"Error:busy "), "{said:?}");
    }
}

#[tokio::test]
async fn a_flood_of_bad_lines_is_answered_in_order_and_to_the_last() {
    let instance = Instance::start(10);
    let (mut flooding, mut storing) = (instance.connect().await, instance.connect().await);
    let asked = ["hello", "AgencyStatus:3", "AgencyStatus:1", "WinnersRequest:3", "StoreBet:1"];
    let agency = "Error:agency agency 3 is not one of 1 to 2";
    let status = "AgencyStatusResponse:0;0000000000000000;open";
    let answers = ["Error:unknown packet", agency, status, agency, "StoreResponse:1"];
    let lines = format!("{}\n", asked.join("\n"));
    for _ in 0..REFUSALS_AT_ONCE_MAX {
        send(&mut flooding, lines.as_bytes()).await;
    }
    // What is no flood is answered meanwhile.
    instance.allowed.add_permits(1);
    send(&mut storing, format!("StoreBet:1;{BET}\n").as_bytes()).await;
    assert_eq!(line(&mut storing).await, "StoreResponse:0");
    for _ in 0..REFUSALS_AT_ONCE_MAX {
        for answer in answers {
            assert_eq!(line(&mut flooding).await, answer);
        }
    }
}

#[tokio::test]
async fn a_flood_of_bad_lines_is_cut_between_two_answers_at_the_end() {
    const LINES: usize = 1_000 * REFUSALS_AT_ONCE_MAX as usize;
    let instance = Instance::start(10);
    let mut flooding = instance.connect().await;
    let (read, mut write) = flooding.get_mut().split();
    let mut read = BufReader::new(read);
    let sending = async { write.write_all(&b"\n".repeat(LINES)).await };
    let reading = async {
        let (mut answers, mut line) = (0, String::new());
        while read.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
            assert_eq!(line, "Error:unknown packet\n");
            line.clear();
            answers += 1;
            if answers == REFUSALS_AT_ONCE_MAX as usize {
                instance.shutdown.cancel();
            }
        }
        answers
    };
    let (_, answers) = tokio::join!(sending, reading);
    assert!(answers < LINES, "the end waits for no more than the line at hand");
    instance.running.await.unwrap();
}

#[tokio::test]
async fn no_more_connections_than_the_limit_are_served_at_once() {
    let instance = Instance::start(1);
    let mut first = instance.connect().await;
    send(&mut first, b"AgencyStatus:1\n").await;
    line(&mut first).await;
    let mut second = instance.connect().await;
    send(&mut second, b"hello\n").await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), second.read(&mut byte)).await;
    assert!(early.is_err(), "the first one is served still");
    drop(first);
    assert_eq!(line(&mut second).await, "Error:unknown packet");
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_answered_at_the_end() {
    let instance = Instance::start(10);
    let (mut storing, mut waiting) = (instance.connect().await, instance.connect().await);
    send(&mut storing, format!("AgencyStatus:1\nStoreBet:1;{BET}\n").as_bytes()).await;
    line(&mut storing).await;
    send(&mut waiting, b"AgencyStatus:1\nWinnersRequest:1\n").await;
    line(&mut waiting).await;
    instance.shutdown.cancel();
    assert_eq!(line(&mut waiting).await, "", "whoever waits for the draw asks elsewhere");
    instance.allowed.add_permits(1);
    assert_eq!(line(&mut storing).await, "StoreResponse:0");
    assert_eq!(line(&mut storing).await, "");
    instance.running.await.unwrap();
    assert!(TcpStream::connect(instance.address).await.is_err(), "no more are accepted");
}
