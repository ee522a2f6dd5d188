//! How far a run is: a bar on a terminal, a few plain lines elsewhere. All on standard error.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use harness::numbers::grouped;
use harness::volume::LineCounter;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// How often a plain line tells how far it is.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress on standard error, in the form that suits it.
    #[must_use]
    pub fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let form = "{wide_bar:.cyan/dim} {human_pos}/{human_len} bets stored";
            bar.set_style(ProgressStyle::with_template(form).expect("the template is correct"));
            bar
        });
        Self { bar }
    }

    /// Tells what happens now, in a line that stays.
    pub fn note(&self, text: &str) {
        let tell = || {
            // There is nobody to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(tell),
            None => tell(),
        }
    }

    /// Shows how many of `bets` are stored, until it is dropped; never returns by itself.
    pub async fn follow(&self, bets: u64, mut stored: LineCounter) -> Infallible {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Instant::now();
        loop {
            ticks.tick().await;
            // A count that fails is only not shown: the check at the end is another one.
            let Ok(count) = stored.count() else { continue };
            if let Some(bar) = &self.bar {
                bar.set_length(bets);
                bar.set_position(count.min(bets));
            } else if told.elapsed() > PLAIN_EVERY {
                told = Instant::now();
                self.note(&format!("{} of {} bets stored", grouped(count), grouped(bets)));
            }
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
