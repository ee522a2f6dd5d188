//! What a connection has read and not taken yet, and the slot for it.
//!
//! **Invariant**: at rest, and while it waits for its client without a slot, it holds no more than
//! [`REST_BYTES`].

use std::io;
use std::pin::Pin;

use protocol::{Framed, Framer};
use tokio::time::{Instant, timeout};

use crate::limits::{IDLE_TIMEOUT, LINE_TIMEOUT, REST_BYTES, SLOT_TIMEOUT};
use crate::slots::{GiveWay, Pool, Slot, Slots};

/// Why a connection ends early.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The client has gone, or has kept us waiting for too long.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others needed what it held while it waited for its client.
    #[error("it kept others waiting: it had sent a packet in part, or did not read its answers")]
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

    /// Sees to it that there is room to read: takes the slot that this needs.
    ///
    /// # Errors
    /// There is none in time, or others need the one that is held meanwhile.
    pub async fn make_room(&mut self, held: &mut Held, slots: &Slots) -> Result<(), Fault> {
        let pool = match &held.0 {
            None => &slots.ordinary,
            Some(slot) if self.unread.len() < slot.bytes() => return Ok(()),
            Some(_) => &slots.large,
        };
        let slot = match pool.try_claim() {
            Some(slot) => slot,
            None => wait_for_slot(held, pool).await?,
        };
        let mut roomy = Vec::with_capacity(slot.bytes());
        roomy.extend_from_slice(&self.unread);
        self.unread = roomy;
        held.0 = Some(slot);
        Ok(())
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
}

/// Boxed: few of the many connections wait for a slot, and the others need no room for that.
async fn wait_for_slot(held: &Held, pool: &Pool) -> Result<Slot, Fault> {
    let mut claim = Box::pin(timeout(SLOT_TIMEOUT, pool.claim()));
    held.stall(claim.as_mut()).await?.map_err(|_| Fault::NoSlot)
}
