//! When an instance that watches looks, and when it announces a draw.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use protocol::{AgencyId, BetNumber};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::sync::{Mutex, Notify, broadcast};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::announce::Announcer;
use crate::limits::{LOOK_INTERVAL, LOOK_PAUSE};
use crate::store::{
    AgencyStatus, Appended, Batch, Closed, Draw, DrawRecord, Store, Unavailable, Unknown,
};
use crate::watch::{Common, watch};

/// Announcements within one process.
struct MemoryAnnouncer {
    sender: broadcast::Sender<()>,
    receiver: Mutex<broadcast::Receiver<()>>,
}

impl MemoryAnnouncer {
    /// The announcer of the first instance of a group.
    fn first() -> Self {
        Self::of(broadcast::Sender::new(16))
    }

    /// The announcer of another instance of the group.
    fn another(&self) -> Self {
        Self::of(self.sender.clone())
    }

    fn of(sender: broadcast::Sender<()>) -> Self {
        let receiver = Mutex::new(sender.subscribe());
        Self { sender, receiver }
    }
}

impl Announcer for MemoryAnnouncer {
    async fn announce(&self) -> io::Result<()> {
        // An error means that no instance receives it, as with a datagram.
        let _ = self.sender.send(());
        Ok(())
    }

    async fn hear(&self) -> io::Result<()> {
        // An error means that there were more announcements than it keeps.
        let _ = self.receiver.lock().await.recv().await;
        Ok(())
    }
}

/// A volume as one instance sees it: a look finds the draw once it is there, and has held it
/// if that is what this instance does.
#[derive(Clone)]
struct Volume {
    drawn: Arc<AtomicU64>,
    holds: bool,
    /// How many of the next looks fail.
    failures: Arc<AtomicU64>,
    draw: Arc<Sender<Option<Arc<Draw>>>>,
    looks: Arc<AtomicU64>,
}

impl Store for Volume {
    async fn append(&self, _: &Batch<'_>) -> Result<Appended, Unknown> {
        unreachable!("no agency stores here")
    }

    async fn close(&self, _: AgencyId, _: Option<u64>) -> Result<Closed, Unknown> {
        unreachable!("no agency closes here")
    }

    async fn status(&self, _: AgencyId) -> Result<AgencyStatus, Unavailable> {
        unreachable!("no agency asks here")
    }

    async fn look(&self) -> Result<bool, Unavailable> {
        self.looks.fetch_add(1, Relaxed);
        if self.failures.load(Relaxed) > 0 {
            self.failures.fetch_sub(1, Relaxed);
            return Err(Unavailable("the lock is held".to_owned()));
        }
        if self.drawn.load(Relaxed) == 0 || self.draw.borrow().is_some() {
            return Ok(false);
        }
        let record = DrawRecord {
            winning_number: 7,
            agencies_amount: 0,
            bets: 0,
            time: "now".into(),
            instance: "another".into(),
            agencies: Vec::new(),
        };
        self.draw.send_replace(Some(Arc::new(record.try_into().unwrap())));
        Ok(self.holds)
    }

    fn draw(&self) -> Receiver<Option<Arc<Draw>>> {
        self.draw.subscribe()
    }
}

/// An instance that watches its volume.
struct Watching {
    volume: Volume,
    closed: Arc<Notify>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    /// Starts an instance that holds the draw or not. Its first look is over then.
    async fn start(drawn: Arc<AtomicU64>, holds: bool, announcer: MemoryAnnouncer) -> Self {
        let (failures, looks) = Default::default();
        let volume = Volume { drawn, holds, failures, draw: Arc::new(channel(None).0), looks };
        if volume.drawn.load(Relaxed) > 0 {
            volume.look().await.unwrap();
        }
        let (closed, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        let common = Common { agencies_amount: 0, winning_number: BetNumber::new(7).unwrap() };
        let (store, closes, end) = (volume.clone(), Arc::clone(&closed), shutdown.clone());
        let task = tokio::spawn(watch(store, announcer, common, closes, end));
        sleep(LOOK_PAUSE * 2).await;
        Self { volume, closed, shutdown, task }
    }

    /// The draw is there, and the instance looks.
    fn finds_draw(&self) {
        self.volume.drawn.store(1, Relaxed);
        self.closed.notify_one();
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// When announcements come within 5 s, from now on.
async fn announced(ear: &MemoryAnnouncer) -> Vec<Duration> {
    let since = Instant::now();
    let mut times = Vec::new();
    while timeout(Duration::from_secs(5), ear.hear()).await.is_ok() {
        times.push(since.elapsed());
    }
    times
}

/// What happens to an instance that watches.
#[derive(Clone, Copy)]
enum Event {
    Pause(Duration),
    /// The draw is there, which a look finds.
    Drawn,
    /// An agency has closed here, so that the instance looks.
    Closed,
    /// The draw is published by a look that was not the watch's.
    Published,
    /// The day is put away.
    PutAway,
    /// Another instance announces the draw.
    Heard,
    /// The next looks fail.
    Fail(u64),
}

/// Plays the events; says when the instance announces the draw, from the last event on, before
/// it ends and while it ends.
async fn play(holds: bool, events: &[Event], ends: bool) -> [Vec<Duration>; 2] {
    let ear = MemoryAnnouncer::first();
    let watching = Watching::start(Arc::default(), holds, ear.another()).await;
    for event in events {
        let volume = &watching.volume;
        match *event {
            Event::Pause(pause) => sleep(pause).await,
            Event::Drawn => volume.drawn.store(1, Relaxed),
            Event::Closed => watching.closed.notify_one(),
            Event::Published => assert!(volume.look().await.is_ok()),
            Event::PutAway => {
                volume.drawn.store(0, Relaxed);
                assert!(volume.draw.send_replace(None).is_some());
            }
            Event::Heard => {
                ear.announce().await.unwrap();
                ear.hear().await.unwrap();
            }
            Event::Fail(looks) => volume.failures.store(looks, Relaxed),
        }
    }
    let before = if ends { Vec::new() } else { announced(&ear).await };
    let is_known = watching.volume.draw.borrow().is_some();
    let put_away = events.iter().any(|event| matches!(event, Event::PutAway));
    assert!(is_known || put_away, "the instance finds the draw");
    let since = Instant::now();
    watching.end().await;
    assert!(since.elapsed() < LOOK_PAUSE / 2, "{:?}", since.elapsed());
    [before, announced(&ear).await]
}

const AT_ONCE: Range<Duration> = Duration::ZERO..Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn an_instance_announces_a_draw_once_unless_it_heard_of_it() {
    use Event::{Closed, Drawn, Fail, Heard, Pause, PutAway};
    let (after_look, later) =
        (Pause(LOOK_PAUSE * 2), LOOK_INTERVAL..LOOK_INTERVAL * 2 + LOOK_PAUSE);
    type Case<'e> = (&'e str, bool, &'e [Event], Option<Range<Duration>>);
    let cases: [Case<'_>; 9] = [
        ("the instance that held it", true, &[Drawn, Closed], Some(AT_ONCE)),
        ("another instance, after a wait", false, &[Drawn, Closed], Some(later.clone())),
        ("heard before it looks", false, &[Drawn, Heard], None),
        ("heard before it holds it", true, &[Drawn, Heard], None),
        ("heard while it waits", false, &[Drawn, Closed, after_look, Heard], None),
        ("heard before looks that fail", false, &[Fail(3), Drawn, Heard], None),
        ("put away while it waits", false, &[Drawn, Closed, after_look, PutAway], None),
        ("heard before there is a draw", false, &[Heard, after_look, Drawn, Closed], Some(later)),
        ("heard, and held after that", true, &[Heard, after_look, Drawn, Closed], Some(AT_ONCE)),
    ];
    for (story, holds, events, wanted) in cases {
        let [before, at_end] = play(holds, events, false).await;
        match wanted {
            Some(range) => {
                assert!(matches!(before[..], [at] if range.contains(&at)), "{story}: {before:?}")
            }
            None => assert!(before.is_empty(), "{story}: {before:?}"),
        }
        assert!(at_end.is_empty(), "{story}: {at_end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ends_announces_at_once_what_it_has_not_heard() {
    use Event::{Closed, Drawn, Heard, Pause, Published, PutAway};
    let (soon, after_look) = (Pause(LOOK_PAUSE / 2), Pause(LOOK_PAUSE * 2));
    let rows: [(&str, &[Event], usize); 4] = [
        ("not heard", &[Drawn, Closed, soon], 1),
        ("heard", &[Drawn, Closed, soon, Heard], 0),
        ("known just before the end", &[Closed, soon, Drawn, Published], 1),
        ("put away", &[Drawn, Closed, after_look, PutAway], 0),
    ];
    for (story, events, count) in rows {
        let [_, at_end] = play(false, events, true).await;
        assert_eq!(at_end.len(), count, "{story}");
        assert!(at_end.iter().all(|at| AT_ONCE.contains(at)), "{story}: {at_end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_draw_that_is_there_at_the_start_is_announced_once() {
    let ear = MemoryAnnouncer::first();
    let watching = Watching::start(Arc::new(AtomicU64::new(1)), false, ear.another()).await;
    assert_eq!(announced(&ear).await.len(), 1);
    watching.end().await;
    assert!(announced(&ear).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_draw_is_found_at_once_if_it_is_announced_and_within_a_second_if_not() {
    for (is_announced, limit) in [(true, LOOK_PAUSE), (false, Duration::from_secs(1))] {
        let theirs = MemoryAnnouncer::first();
        let watching = Watching::start(Arc::default(), false, theirs.another()).await;
        sleep(Duration::from_millis(1_190)).await;
        let (since, mut draw) = (Instant::now(), watching.volume.draw());
        watching.volume.drawn.store(1, Relaxed);
        if is_announced {
            theirs.announce().await.unwrap();
        }
        let found = timeout(Duration::from_secs(60), draw.wait_for(Option::is_some)).await;
        assert!(found.is_ok_and(|found| found.is_ok()), "it never looked");
        assert!(since.elapsed() <= limit, "{:?}", since.elapsed());
        watching.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn several_instances_announce_a_draw_once_also_if_the_one_that_held_it_does_not() {
    for holder_lives in [true, false] {
        let (ear, drawn) = (MemoryAnnouncer::first(), Arc::new(AtomicU64::new(0)));
        let mut all = Vec::new();
        for place in 0..3 {
            let holds = holder_lives && place == 0;
            all.push(Watching::start(Arc::clone(&drawn), holds, ear.another()).await);
            sleep(LOOK_INTERVAL / 5).await;
        }
        for watching in &all {
            watching.finds_draw();
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(announced(&ear).await.len(), 1, "holder lives: {holder_lives}");
        for watching in all {
            watching.end().await;
        }
        assert!(announced(&ear).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_announcements_makes_few_looks() {
    let flood = MemoryAnnouncer::first();
    let watching = Watching::start(Arc::default(), false, flood.another()).await;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        flood.announce().await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    let looks = watching.volume.looks.load(Relaxed);
    watching.end().await;
    let most = 1_000 / LOOK_PAUSE.as_millis() as u64 + 5;
    assert!((1..=most).contains(&looks), "{looks}");
}
