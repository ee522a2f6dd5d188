//! When a group waits for more batches before it is stored.
//!
//! Agencies wait for an answer before they send more: those that were answered together come
//! again together, a moment later. A group that starts without them leaves them to the next sync;
//! one that waits that moment stores them all with one. That pays where a sync takes longer than
//! the moment; where it does not, it is better that some are read while others are synced. So a
//! group waits for the agencies of the last group that stored something for half as long as a sync
//! takes, and not at all for a while when those waited for did not come to store.
//!
//! Decides only; how the store's thread waits, and for whom it wakes, stands in `queue.rs`.

use std::collections::HashSet;
use std::time::Duration;

use protocol::AgencyId;

use crate::limits::{GATHER_RESTS_MAX, GATHER_TIMEOUT};

/// The agencies that are waited for, and whether waiting has been of use.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// The agencies of the last group that have not come again.
    missing: HashSet<AgencyId>,
    /// How long the last sync took.
    sync_took: Duration,
    /// How many groups in a row waited for agencies that did not come.
    failed: u32,
    /// How many groups more do not wait.
    rests: u32,
}

impl Gather {
    /// An agency has sent something.
    pub(super) fn came(&mut self, agency: AgencyId) {
        self.missing.remove(&agency);
    }

    /// How long the group may wait for more in all; nothing if nobody is missing.
    pub(super) fn patience(&self) -> Option<Duration> {
        let waits = self.rests == 0 && !self.missing.is_empty();
        waits.then(|| (self.sync_took / 2).min(GATHER_TIMEOUT))
    }

    /// A group has been stored, with a sync that took so long: these agencies' batches that were
    /// new. One without any says nothing of who comes next, or when.
    pub(super) fn stored(&mut self, agencies: &[AgencyId], sync_took: Duration) {
        if agencies.is_empty() {
            return;
        }
        if self.rests > 0 {
            self.rests -= 1;
        } else if self.missing.is_empty() {
            self.failed = 0;
        } else {
            self.failed += 1;
            self.rests = (1 << self.failed.min(31)).min(GATHER_RESTS_MAX) - 1;
        }
        self.missing.clear();
        self.missing.extend(agencies);
        self.sync_took = sync_took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_micros(400);

    fn agencies(numbers: &[u32]) -> Vec<AgencyId> {
        numbers.iter().filter_map(|number| AgencyId::new(*number)).collect()
    }

    fn come(gather: &mut Gather, numbers: &[u32]) {
        agencies(numbers).into_iter().for_each(|agency| gather.came(agency));
    }

    /// A group of these agencies; says whether it would have waited for others.
    fn group(gather: &mut Gather, numbers: &[u32]) -> bool {
        come(gather, numbers);
        let waited = gather.patience().is_some();
        gather.stored(&agencies(numbers), TOOK);
        waited
    }

    #[test]
    fn a_group_waits_for_those_of_the_last_and_for_nobody_else() {
        let mut gather = Gather::default();
        assert!(!group(&mut gather, &[1]), "nobody was there before");
        assert!(!group(&mut gather, &[1]), "alone, an agency waits for nobody");
        come(&mut gather, &[2, 3]);
        assert_eq!(gather.patience(), Some(TOOK / 2), "1 was answered and comes again");
        come(&mut gather, &[1]);
        assert_eq!(gather.patience(), None);
        gather.stored(&agencies(&[1, 2, 3]), Duration::from_secs(3));
        assert_eq!(gather.patience(), Some(GATHER_TIMEOUT));
    }

    #[test]
    fn waiting_in_vain_is_tried_less_and_less_until_it_is_of_use() {
        let mut gather = Gather::default();
        let waits: Vec<bool> =
            (0..2_000).map(|round| group(&mut gather, &[round % 2 + 1])).collect();
        let of = |waits: &[bool]| waits.iter().filter(|waited| **waited).count();
        assert!(waits[1], "the first time it cannot be known");
        assert!((8..=40).contains(&of(&waits)), "{}", of(&waits));
        (0..100).for_each(|_| _ = group(&mut gather, &[1, 2]));
        come(&mut gather, &[1]);
        assert!(gather.patience().is_some());
    }

    #[test]
    fn a_group_that_stored_nothing_changes_nothing() {
        let mut gather = Gather::default();
        group(&mut gather, &[1, 2]);
        for _ in 0..3 {
            gather.stored(&[], Duration::ZERO);
            assert_eq!(gather.patience(), Some(TOOK / 2), "1 and 2 were answered and come again");
        }
        assert!(!group(&mut gather, &[1, 2]));
    }
}
