//! How far a run is: a bar on a terminal, a few plain lines elsewhere. All on standard error.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use harness::numbers::grouped;
use harness::volume::LineCounter;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// How often a plain line says how far it is.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The progress of one run: a bar, which is hidden if standard error is no terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Progress on standard error.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let form = "{wide_bar:.cyan/dim} {human_pos}/{human_len} bets stored";
        bar.set_style(ProgressStyle::with_template(form).expect("the template is correct"));
        Self(bar)
    }

    /// Prints what happens now, in a line that stays.
    pub fn note(&self, text: &str) {
        // If standard error is gone, no person reads it.
        let _ = self.0.suspend(|| writeln!(io::stderr(), "{text}"));
    }

    /// Shows how many of `bets` are stored, until it is dropped; never returns by itself.
    pub async fn follow(&self, bets: u64, mut stored: LineCounter) -> Infallible {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut printed = Instant::now();
        loop {
            ticks.tick().await;
            // A count that fails is only not shown: the check at the end is another one.
            let Ok(count) = stored.count() else { continue };
            if !self.0.is_hidden() {
                self.0.set_length(bets);
                self.0.set_position(count.min(bets));
            } else if printed.elapsed() > PLAIN_EVERY {
                printed = Instant::now();
                self.note(&format!("{} of {} bets stored", grouped(count), grouped(bets)));
            }
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
