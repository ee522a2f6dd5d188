//! A store that stores as often as it is allowed to, and cannot serve agency 2.

use std::sync::Arc;

use messages::{Command, Online, Participant, View};
use protocol::chat::Name;
use protocol::{AgencyId, AgencyState, Digest, Outcome, Refusal};
use server::store::messages::{Commanded, MessageStore, ReadLines};
use server::store::{
    AgencyRows, AgencyStatus, Appended, Batch, Closed, Draw, Store, Unavailable, Unknown,
};
use tokio::sync::{Semaphore, watch};

/// How many agencies the lottery has.
pub const AGENCIES: u32 = 2;

/// A bet that is valid.
pub const BET: &str = "Ana;Paz;1;2000-01-01;7";

/// See the module.
#[derive(Clone)]
pub struct Scripted {
    allowed: Arc<Semaphore>,
    draw: watch::Receiver<Option<Arc<Draw>>>,
}

/// What a test changes about a [`Scripted`] store.
pub struct Script {
    /// One permit for each batch that may be stored.
    pub allowed: Arc<Semaphore>,
    _draws: watch::Sender<Option<Arc<Draw>>>,
}

impl Scripted {
    /// A store that may store nothing yet, and never has a draw.
    pub fn new() -> (Self, Script) {
        let (draws, draw) = watch::channel(None);
        let allowed = Arc::new(Semaphore::new(0));
        (Self { allowed: Arc::clone(&allowed), draw }, Script { allowed, _draws: draws })
    }

    fn outcome(agency: AgencyId) -> Outcome {
        match agency.get() {
            2 => Outcome::TryAgain("the disk is full".into()),
            _ => Outcome::Done,
        }
    }
}

impl Store for Scripted {
    async fn append(&self, batch: &Batch<'_>) -> Result<Appended, Unknown> {
        self.allowed.acquire().await.unwrap().forget();
        let outcome = Self::outcome(batch.agency);
        let rows = batch.first_row.unwrap_or(1) - 1 + batch.bets.len() as u64;
        let stored = AgencyRows { rows, digest: Digest::default() };
        let is_new = outcome == Outcome::Done;
        Ok(Appended { outcome, stored, is_new })
    }

    async fn close(&self, agency: AgencyId, rows: Option<u64>) -> Result<Closed, Unknown> {
        let outcome = match rows {
            Some(9) => Outcome::Refused(Refusal::Short, "1 rows are stored, not 9".into()),
            _ => Self::outcome(agency),
        };
        let is_new = outcome == Outcome::Done;
        Ok(Closed { outcome, is_new })
    }

    async fn status(&self, agency: AgencyId) -> Result<AgencyStatus, Unavailable> {
        match Self::outcome(agency) {
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

/// Says nothing.
impl MessageStore for Scripted {
    async fn command(&self, _: Command) -> Result<Commanded, Unknown> {
        Ok(Commanded::TryAgain("this store has no messages".to_owned()))
    }

    fn recent_lines(&self, _: u64) -> Option<ReadLines> {
        Some(Vec::new())
    }

    async fn read_lines(&self, _: u64) -> Result<ReadLines, Unavailable> {
        Ok(Vec::new())
    }

    fn view(&self) -> watch::Receiver<View> {
        watch::Sender::new(View::default()).subscribe()
    }

    fn look(&self) {}

    fn online(&self) -> Vec<Online> {
        Vec::new()
    }

    fn participant(&self, _: &Name) -> Option<Participant> {
        None
    }

    fn last_event(&self, _: &str) -> Option<String> {
        None
    }

    async fn is_alive(&self, _: &str) -> bool {
        true
    }
}
