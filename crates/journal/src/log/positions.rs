//! How far a log is known, in bytes.
//!
//! **Invariant**: `fence <= applied <= appended` and `durable <= appended` whenever the lock is
//! handed out; asserted where a position changes.

/// An intent that this process itself made durable: a group may be appended behind it.
#[derive(Debug, Clone, Copy)]
struct Fence {
    sequence: u64,
    /// How long the log was then.
    at: u64,
}

#[derive(Debug, Default)]
pub struct Positions {
    fence: Option<Fence>,
    /// The log up to here is applied by the caller.
    pub applied: u64,
    /// The log up to here is known to be there, whichever process appended it.
    pub appended: u64,
    /// The log up to here is known to be durable, with the intents that belong to it.
    durable: u64,
}

impl Positions {
    /// The intent, by its sequence number, that this process itself made durable last.
    pub fn fence(&self) -> Option<u64> {
        self.fence.map(|fence| fence.sequence)
    }

    pub fn is_durable(&self) -> bool {
        self.durable >= self.appended
    }

    pub fn append(&mut self, end: u64) {
        self.appended = end;
        self.check();
    }

    pub fn apply(&mut self, end: u64) {
        self.applied = end;
        self.check();
    }

    /// All that is there is durable, with the intents up to `sequence`.
    pub fn make_durable(&mut self, sequence: u64) {
        self.durable = self.appended;
        self.fence = Some(Fence { sequence, at: self.applied });
    }

    /// The intent `sequence` is durable; the log is `at` bytes long.
    pub fn set_fence(&mut self, sequence: u64, at: u64) {
        self.fence = Some(Fence { sequence, at });
    }

    /// The log was cut to `end`, behind which nothing was applied.
    pub fn cut(&mut self, end: u64) {
        self.appended = end;
        self.durable = self.durable.min(end);
        self.fence = self.fence.filter(|fence| fence.at <= end);
        self.check();
        assert!(self.fence.is_none_or(|fence| fence.at <= self.applied), "{self:?}");
    }

    fn check(&self) {
        assert!(self.applied <= self.appended && self.durable <= self.appended, "{self:?}");
    }
}
