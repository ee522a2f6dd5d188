//! When a group waits for more batches before it is stored.
//!
//! An agency waits for the reply before it sends more. So agencies that were answered together send
//! again together, a moment later. If the next group starts without them, they need another sync; if
//! it waits that moment, one sync stores them all. This pays where a sync takes longer than the
//! moment, and as long as the group is small. So a small group waits for the agencies of the last
//! group that stored something, for half as long as a sync takes.
//!
//! Decides only; `queue.rs` waits and wakes.

use std::collections::HashSet;
use std::time::Duration;

use protocol::AgencyId;

use crate::limits::COMMIT_DELAY_MAX;

/// The agencies that are waited for, and for how long.
#[derive(Debug, Default)]
pub(super) struct CommitDelay {
    /// The agencies of the last group that have not come again.
    missing: HashSet<AgencyId>,
    /// How long the last sync took.
    sync_took: Duration,
}

impl CommitDelay {
    /// An agency has sent something.
    pub(super) fn came(&mut self, agency: AgencyId) {
        self.missing.remove(&agency);
    }

    /// How long the group may wait for more in all; `None` if no agency is missing.
    pub(super) fn limit(&self) -> Option<Duration> {
        (!self.missing.is_empty()).then(|| (self.sync_took / 2).min(COMMIT_DELAY_MAX))
    }

    /// A group was committed with a sync that took so long, with new batches of these agencies. If
    /// there are none, it does not predict the next group.
    pub(super) fn stored(&mut self, agencies: &[AgencyId], sync_took: Duration) {
        if agencies.is_empty() {
            return;
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

    fn come(delay: &mut CommitDelay, numbers: &[u32]) {
        agencies(numbers).into_iter().for_each(|agency| delay.came(agency));
    }

    /// A group of these agencies; says whether it would have waited for others.
    fn group(delay: &mut CommitDelay, numbers: &[u32]) -> bool {
        come(delay, numbers);
        let waited = delay.limit().is_some();
        delay.stored(&agencies(numbers), TOOK);
        waited
    }

    #[test]
    fn a_group_waits_for_the_agencies_of_the_last_group_only() {
        let mut delay = CommitDelay::default();
        assert!(!group(&mut delay, &[1]), "there was no group before");
        assert!(!group(&mut delay, &[1]), "alone, an agency is not delayed");
        come(&mut delay, &[2, 3]);
        assert_eq!(delay.limit(), Some(TOOK / 2), "1 was answered and comes again");
        come(&mut delay, &[1]);
        assert_eq!(delay.limit(), None);
        delay.stored(&agencies(&[1, 2, 3]), Duration::from_secs(3));
        assert_eq!(delay.limit(), Some(COMMIT_DELAY_MAX));
    }

    #[test]
    fn a_group_that_stored_nothing_changes_nothing() {
        let mut delay = CommitDelay::default();
        group(&mut delay, &[1, 2]);
        for _ in 0..3 {
            delay.stored(&[], Duration::ZERO);
            assert_eq!(delay.limit(), Some(TOOK / 2), "1 and 2 were answered and come again");
        }
        assert!(!group(&mut delay, &[1, 2]));
    }
}
