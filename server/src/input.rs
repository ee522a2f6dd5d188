//! What a connection has read and not taken yet, and the slot for it.
//!
//! **Invariant**: without a slot it holds no more than [`REST_BYTES`], whatever it waits for.

use std::future::ready;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use protocol::{Framed, Framer};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::limits::{IDLE_TIMEOUT, LINE_TIMEOUT, ORDINARY_SLOT_BYTES, REST_BYTES, SLOT_TIMEOUT};
use crate::slots::{GiveWay, Slot, Slots};

/// Why a connection ends early.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The client has gone, or has kept us waiting for too long.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others needed what it held while it waited for its client.
    #[error(
        "it kept others waiting: it had sent a packet in part or many that are refused, or did not \
         read its answers"
    )]
    GaveWay,
    /// There was no room for what the client sends.
    #[error("no room for its packet in {} s: too many are being executed", SLOT_TIMEOUT.as_secs())]
    NoSlot,
}

impl From<GiveWay> for Fault {
    fn from(_: GiveWay) -> Self {
        Self::GaveWay
    }
}

/// What was read and not yet taken as lines.
#[derive(Debug, Default)]
pub struct Input {
    unread: Vec<u8>,
    framer: Framer,
    /// Since when the line that is unfinished is coming in.
    line_since: Option<Instant>,
}

impl Input {
    /// What stands behind the first `taken` bytes.
    pub fn next(&mut self, taken: usize) -> Framed<'_> {
        self.framer.next(self.unread.get(taken..).unwrap_or_default())
    }

    /// Drops what was taken; `ended` says whether a line ended in it.
    pub fn drop_taken(&mut self, taken: usize, ended: bool) {
        self.unread.drain(..taken);
        if ended {
            self.line_since = None;
        }
        if self.framer.is_mid_line(&self.unread) {
            self.line_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether what stands behind the first `taken` bytes needs a slot.
    pub fn needs_slot(&self, taken: usize) -> bool {
        self.unread.len() - taken > REST_BYTES
    }

    /// Gives the slot back before all is taken, if what stands behind the first `taken` bytes,
    /// where a line has ended, needs none. Says how many of these are still there.
    pub fn rest_early(&mut self, taken: usize, held: &mut Held) -> usize {
        if self.needs_slot(taken) {
            return taken;
        }
        self.drop_taken(taken, true);
        self.rest(held);
        0
    }

    /// The line that is unfinished was not read for so long: that is not its client's fault.
    pub fn excuse(&mut self, waited: Duration) {
        self.line_since = self.line_since.map(|since| since + waited);
    }

    /// Gives the slot back if what is unread needs none.
    pub fn rest(&mut self, held: &mut Held) {
        if self.unread.len() <= REST_BYTES && held.0.is_some() {
            self.unread = self.unread.as_slice().to_vec();
            held.0 = None;
        }
    }

    /// Where to read to; there is room after [`Input::make_room`].
    pub fn room(&mut self) -> &mut Vec<u8> {
        &mut self.unread
    }

    /// Sees to it that there is room to read from `stream`: takes the slot that this needs. Says
    /// whether it has one: there may be nothing to read after all, which needs none.
    ///
    /// # Errors
    /// There is none in time, or others need the one that is held meanwhile.
    pub async fn make_room(
        &mut self,
        stream: &TcpStream,
        held: &mut Held,
        slots: &Slots,
    ) -> Result<bool, Fault> {
        let pool = match &held.0 {
            None => &slots.ordinary,
            Some(slot) if self.unread.len() < slot.bytes() => return Ok(true),
            Some(_) => &slots.large,
        };
        // Boxed: few of the many connections wait, and the others need no room for that.
        let slot = match pool.try_claim() {
            Some(slot) => slot,
            None if held.0.is_none() => match Box::pin(self.peek(stream)).await? {
                Some(is_whole) => Box::pin(wait_for_first_slot(slots, is_whole)).await?,
                None => return Ok(false),
            },
            None => Box::pin(wait_for_large_slot(held, slots)).await?,
        };
        let mut roomy = Vec::with_capacity(slot.bytes());
        roomy.extend_from_slice(&self.unread);
        self.unread = roomy;
        held.0 = Some(slot);
        Ok(true)
    }

    /// Whether a line ends in what can be read; nothing if nothing can be read now: this never
    /// waits, for it looks at as much as a slot holds, without one.
    async fn peek(&self, stream: &TcpStream) -> io::Result<Option<bool>> {
        let mut waiting = vec![0; ORDINARY_SLOT_BYTES - self.unread.len()];
        let count = tokio::select! {
            biased;
            count = stream.peek(&mut waiting) => count?,
            () = ready(()) => return Ok(None),
        };
        Ok(waiting.get(..count).map(|bytes| bytes.contains(&b'\n')))
    }

    /// Until when the client must have sent something.
    pub fn deadline(&self) -> Instant {
        match self.line_since {
            Some(since) => since + LINE_TIMEOUT,
            None => Instant::now() + IDLE_TIMEOUT,
        }
    }
}

/// The slot that a connection has, if any.
#[derive(Debug, Default)]
pub struct Held(Option<Slot>);

impl Held {
    /// Does `work`, which waits for the client.
    ///
    /// # Errors
    /// Others need the slot that is held meanwhile: the connection has to end.
    pub async fn stall<T>(&self, work: Pin<&mut impl Future<Output = T>>) -> Result<T, GiveWay> {
        match &self.0 {
            Some(slot) => slot.stall(work).await,
            None => Ok(work.await),
        }
    }

    /// Whether there is a slot.
    pub fn is_slot(&self) -> bool {
        self.0.is_some()
    }

    /// Sees to it that there is a slot to execute a packet in that has been read whole.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn claim(&mut self, slots: &Slots) -> Result<(), Fault> {
        if self.0.is_none() {
            self.0 = Some(match slots.ordinary.try_claim() {
                Some(slot) => slot,
                None => Box::pin(wait_for_first_slot(slots, true)).await?,
            });
        }
        Ok(())
    }
}

async fn wait_for_first_slot(slots: &Slots, is_whole: bool) -> Result<Slot, Fault> {
    let claim = async {
        tokio::select! {
            slot = slots.ordinary.claim() => slot,
            slot = slots.whole.claim(), if is_whole => slot,
        }
    };
    timeout(SLOT_TIMEOUT, claim).await.map_err(|_| Fault::NoSlot)
}

/// What waiting for a slot takes, in bytes: a connection waits for one thing at a time.
#[cfg(test)]
pub fn waiting_bytes(stream: &TcpStream, slots: &Slots) -> usize {
    let (input, held) = (Input::default(), Held::default());
    let sizes = [
        size_of_val(&wait_for_first_slot(slots, true)),
        size_of_val(&wait_for_large_slot(&held, slots)),
        size_of_val(&input.peek(stream)),
    ];
    sizes.into_iter().max().unwrap_or_default()
}

async fn wait_for_large_slot(held: &Held, slots: &Slots) -> Result<Slot, Fault> {
    let claim = pin!(timeout(SLOT_TIMEOUT, slots.large.claim()));
    held.stall(claim).await?.map_err(|_| Fault::NoSlot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::STALL_GRACE;
    use crate::slots::Pool;
    use std::net::Ipv4Addr;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    fn one_of_each() -> Slots {
        let [ordinary, large, whole] = [7, 70, 7].map(|bytes| Pool::new(1, bytes, true));
        Slots { ordinary, large, whole }
    }

    /// Both ends of a connection on which the start of a packet has come in.
    async fn half_a_packet() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"AgencyS").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (client, stream)
    }

    /// A connection that has filled an ordinary slot.
    async fn with_a_full_slot(stream: &TcpStream, slots: &Slots) -> (Input, Held) {
        let (mut input, mut held) = (Input::default(), Held::default());
        input.make_room(stream, &mut held, slots).await.unwrap();
        input.room().extend_from_slice(b"AgencyS");
        (input, held)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_larger_slot_gives_way_in_the_one_it_has() {
        let (_client, stream) = half_a_packet().await;
        let slots = one_of_each();
        let _executing = slots.large.claim().await;
        let (mut input, mut held) = with_a_full_slot(&stream, &slots).await;
        let started = Instant::now();
        let upgrade = async {
            let told = input.make_room(&stream, &mut held, &slots).await;
            drop(held);
            told
        };
        let (told, claimed) = tokio::join!(upgrade, slots.ordinary.claim());
        assert!(matches!(told, Err(Fault::GaveWay)), "{told:?}");
        assert_eq!((claimed.bytes(), started.elapsed()), (7, STALL_GRACE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_larger_slot_takes_the_place_of_the_one_before() {
        let (_client, stream) = half_a_packet().await;
        let slots = one_of_each();
        let (mut input, mut held) = with_a_full_slot(&stream, &slots).await;
        input.make_room(&stream, &mut held, &slots).await.unwrap();
        assert_eq!(input.room().as_slice(), b"AgencyS");
        assert_eq!(input.room().capacity(), 70);
        assert_eq!(slots.ordinary.try_claim().map(|slot| slot.bytes()), Some(7));
        assert!(slots.large.try_claim().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_slot_and_has_sent_nothing_more_waits_with_nothing() {
        let (_client, stream) = half_a_packet().await;
        let slots = one_of_each();
        let (_executing, _larger) = (slots.ordinary.claim().await, slots.large.claim().await);
        stream.readable().await.unwrap();
        assert_eq!(stream.try_read_buf(&mut Vec::with_capacity(70)).unwrap(), 7);
        // Nobody has noticed yet that this was all.
        stream.readable().await.unwrap();
        let (mut input, mut held) = (Input::default(), Held::default());
        let has_room = timeout(SLOT_TIMEOUT, input.make_room(&stream, &mut held, &slots)).await;
        assert!(matches!(has_room, Ok(Ok(false))), "{has_room:?}");
        assert_eq!((input.room().capacity(), held.is_slot()), (0, false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_slot_in_time_is_told_so() {
        let (_client, stream) = half_a_packet().await;
        let slots = one_of_each();
        let (_executing, _larger) = (slots.ordinary.claim().await, slots.large.claim().await);
        let started = Instant::now();
        let told = Input::default().make_room(&stream, &mut Held::default(), &slots).await;
        assert!(matches!(told, Err(Fault::NoSlot)), "{told:?}");
        assert_eq!(started.elapsed(), SLOT_TIMEOUT);
    }
}
