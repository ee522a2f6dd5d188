//! Whatever else runs on the machine while it is measured.

use std::time::{Duration, Instant};

use super::machine::Machine;
use harness::processes;

/// From this share of the processors on, figures mean little. The kernel's own threads need some.
const SHARE_MAX: f64 = 0.1;

/// Watches how much of the processors somebody else takes.
pub struct Others {
    start: Instant,
    machine: Duration,
    own: Duration,
}

impl Others {
    /// Starts to watch.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn watch() -> anyhow::Result<Self> {
        let machine = processes::machine_time()?;
        let own = processes::processor_time(std::process::id())?;
        Ok(Self { start: Instant::now(), machine, own })
    }

    /// The share of all processors, 0 to 1, that was taken since then, by others than this process
    /// and the children that it has ended.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn share(&self, machine: &Machine) -> anyhow::Result<f64> {
        let own = processes::processor_time(std::process::id())?.saturating_sub(self.own);
        let all = processes::machine_time()?.saturating_sub(self.machine);
        let whole = self.start.elapsed().as_secs_f64() * machine.cores as f64;
        Ok((all.saturating_sub(own).as_secs_f64() / whole).min(1.0))
    }
}

/// What to say of such a share; nothing if it does not matter.
#[must_use]
pub fn warning(share: f64) -> Option<String> {
    (share > SHARE_MAX).then(|| {
        format!(
            "Others took {:.0} % of the processors meanwhile: these figures mean little, the \
             limit's least of all.",
            share * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_take_a_share_and_only_a_large_one_matters() {
        let others = Others::watch().unwrap();
        let machine = Machine::of(tempfile::tempdir().unwrap().path()).unwrap();
        let share = others.share(&machine).unwrap();
        assert!((0.0..=1.0).contains(&share), "{share}");
        assert_eq!(warning(0.05), None);
        assert!(warning(0.5).unwrap().starts_with("Others took 50 % "));
    }
}
