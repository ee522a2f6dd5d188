//! The volume: the two logs and the draw's record, and everything that is done to them.
//!
//! Runs on the store's thread. Takes groups, answers groups; knows no connection.
//!
//! **Invariant**: the lock order is `agencies_closed`, then `bets`: see [`Volume::lock`], the one
//! place where both are taken. An answer that says that rows are stored leaves only after they
//! are durable, whoever wrote them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use protocol::{AgencyId, Outcome};

use super::batch::{Appended, Decision, EncodedBatch};
use super::disk::Disk;
use super::ledger::{Closes, Ledger};
use super::lock::WaitEnd;
use super::log::{Locked, Log, LogPaths};
use super::log_error::LogError;
use super::mend::OthersWrite;
use super::opening::{OpenError, StoreSettings};
use super::plan::{ClosePlan, Plan, state_of};
use super::record::{self, AgencyRecord, Draw, DrawRecord, KnownRecord};
use super::trouble::{Tried, Trouble};
use super::{ARCHIVING, AgencyStatus, BETS, CLOSES, Closed, DRAW, LOCKS};
use crate::draw::Winners;

/// Both logs, locked.
pub(super) struct LockedVolume<'v, D: Disk> {
    pub(super) bets: Locked<'v, D, Ledger>,
    pub(super) closes: Locked<'v, D, Closes>,
    /// The draw of this day, if it has been held.
    pub(super) draw: Option<&'v Draw>,
    /// Whether that has been compared with the bets.
    pub(super) is_compared: &'v mut bool,
}

/// The files of the lottery.
pub(crate) struct Volume<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) settings: StoreSettings,
    wait_end: WaitEnd,
    closes: Log<D, Closes>,
    bets: Log<D, Ledger>,
    record: KnownRecord<D>,
    /// Is there while the day is being put away.
    marker: Arc<Path>,
    /// How long the last group's sync took, with what was done while the device worked.
    sync_took: Duration,
    pub(super) trouble: Trouble,
}

impl<D: Disk> Volume<D> {
    /// Opens the volume, makes what is missing, reads what is there.
    pub(crate) fn open(disk: D, settings: StoreSettings) -> Result<Self, OpenError> {
        let path = settings.volume.clone();
        let unusable = |error| OpenError::Unusable(path.clone(), error);
        let volume = Self::open_files(disk, settings).map_err(unusable)?;
        volume.contradiction().map_or(Ok(volume), Err)
    }

    /// As [`Volume::open`], whatever the settings are of a draw that is there.
    pub(super) fn open_files(disk: D, settings: StoreSettings) -> io::Result<Self> {
        let disk = Arc::new(disk);
        disk.create_directory(&settings.volume.join(LOCKS))?;
        disk.sync_directory(&settings.volume)?;
        super::check::locks_work(&*disk, &settings.volume)?;
        let (closes, bets) = log_paths(&settings);
        let amount = settings.agencies_amount;
        let wait_end = WaitEnd::default();
        let (lines, rows) = (OthersWrite::Lines, OthersWrite::Rows);
        let closes = Log::open(Arc::clone(&disk), &closes, &wait_end, lines, Closes::new(amount))?;
        let bets = Log::open(Arc::clone(&disk), &bets, &wait_end, rows, Ledger::new(amount))?;
        let record = KnownRecord::open(Arc::clone(&disk), settings.volume.join(DRAW))?;
        let marker = settings.volume.join(LOCKS).join(ARCHIVING).into();
        let (sync_took, trouble) = (Duration::ZERO, Trouble::default());
        Ok(Self { disk, settings, wait_end, closes, bets, record, marker, sync_took, trouble })
    }

    /// A setting that is not what the held draw was held with.
    fn contradiction(&self) -> Option<OpenError> {
        let draw = self.draw()?;
        let settings = &self.settings;
        let differs = |key, value: String, drawn: String| {
            (value != drawn).then(|| OpenError::Contradiction {
                key,
                value,
                drawn,
                time: draw.time.clone(),
                volume: settings.volume.clone(),
            })
        };
        let (amount, number) = (settings.agencies_amount, settings.winning_number);
        differs("AGENCIES_AMOUNT", amount.to_string(), draw.agencies_amount.to_string()).or_else(
            || differs("LOTTERY_WINNER_NUMBER", number.to_string(), draw.number.to_string()),
        )
    }

    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// When no lock of it is waited for any more, though the deadline has not come.
    pub(crate) fn wait_end(&self) -> WaitEnd {
        self.wait_end.clone()
    }

    /// How long the last group's sync took.
    pub(crate) fn sync_took(&self) -> Duration {
        self.sync_took
    }

    /// The draw, as far as it is known without looking.
    pub(crate) fn draw(&self) -> Option<&Arc<Draw>> {
        self.record.draw.as_ref()
    }

    /// Takes both locks, in their order, and reads what is new. A day that is being put away is
    /// nobody's to work on.
    pub(super) fn lock(&mut self, deadline: Instant) -> Result<LockedVolume<'_, D>, LogError> {
        let (disk, marker) = (Arc::clone(&self.disk), Arc::clone(&self.marker));
        let mut locked = self.lock_for_archive(deadline)?;
        match disk.find(&marker) {
            Ok(None) => {
                locked.tell_lost();
                locked.compare_draw();
                Ok(locked)
            }
            Ok(Some(_)) => Err(LogError::Archiving),
            Err(error) => Err(LogError::Read(marker.to_path_buf(), error)),
        }
    }

    /// As [`Volume::lock`], also while the day is being put away.
    pub(super) fn lock_for_archive(
        &mut self,
        deadline: Instant,
    ) -> Result<LockedVolume<'_, D>, LogError> {
        // Before either lock is taken: others wait for the first while this one has it.
        self.closes.approach(deadline)?;
        self.bets.approach(deadline)?;
        let closes = self.closes.lock(deadline)?;
        let bets = self.bets.lock(deadline)?;
        self.record.refresh().map_err(|e| LogError::Read(self.record.path.clone(), e))?;
        let KnownRecord { draw, is_compared, .. } = &mut self.record;
        Ok(LockedVolume { bets, closes, draw: draw.as_deref(), is_compared })
    }

    /// Stores a group of batches, each whole or not at all, with one append and one sync.
    /// What could not be done now is answered so, batch by batch; an error is the instance's end.
    pub(crate) fn append(
        &mut self,
        batches: &[EncodedBatch],
        deadline: Instant,
    ) -> Result<Vec<Appended>, LogError> {
        let mut tried = Tried::Locks;
        let appended = self.append_and_sync(batches, deadline, &mut tried);
        match self.watched(appended, tried) {
            Ok(appended) => Ok(appended),
            Err(broken @ LogError::Broken { .. }) => Err(broken),
            Err(error) => Ok(self.all_try_again(batches, &error)),
        }
    }

    fn append_and_sync(
        &mut self,
        batches: &[EncodedBatch],
        deadline: Instant,
        tried: &mut Tried,
    ) -> Result<Vec<Appended>, LogError> {
        let plan = self.append_locked(batches, deadline, tried)?;
        let since = Instant::now();
        // The device works while the rows are folded.
        if !plan.group.is_empty() {
            self.bets.begin_sync()?;
        }
        let appended = self.fold_and_answer(batches, plan);
        self.bets.sync()?;
        self.sync_took = since.elapsed();
        Ok(appended)
    }

    /// Tells an operator when what was `tried` begins to fail and when it works again.
    fn watched<T>(&mut self, result: Result<T, LogError>, tried: Tried) -> Result<T, LogError> {
        let bytes = self.bets.bytes_known() + self.closes.bytes_known();
        let (is_drawn, now) = (self.draw().is_some(), Instant::now());
        match &result {
            Ok(_) => self.trouble.succeeded(tried, bytes, is_drawn, now),
            Err(error) => self.trouble.failed(error, tried, bytes, now),
        }
        result
    }

    fn all_try_again(&self, batches: &[EncodedBatch], error: &LogError) -> Vec<Appended> {
        let outcome = || Outcome::TryAgain(error.reason());
        let stored = |batch: &EncodedBatch| self.bets.known().of(batch.agency);
        batches
            .iter()
            .map(|b| Appended { outcome: outcome(), stored: stored(b), is_new: false })
            .collect()
    }

    /// Appends what is to be stored of a group. What follows is this instance's alone, and others
    /// wait for the locks: so they are given back.
    fn append_locked(
        &mut self,
        batches: &[EncodedBatch],
        deadline: Instant,
        tried: &mut Tried,
    ) -> Result<Plan, LogError> {
        let LockedVolume { mut bets, closes, draw, .. } = self.lock(deadline)?;
        let separator = bets.separator();
        let plan = Plan::of(batches, closes.fold(), bets.fold(), draw.is_some(), separator);
        if !plan.group.is_empty() {
            *tried = Tried::Append(plan.group.len() as u64);
            bets.append(&plan.group)?;
        }
        Ok(plan)
    }

    /// Folds what was appended, batch by batch, and says what came of each.
    fn fold_and_answer(&mut self, batches: &[EncodedBatch], plan: Plan) -> Vec<Appended> {
        if !plan.group.is_empty() {
            self.bets.fold_appended(plan.separator.as_bytes());
        }
        let answer = |(batch, decision): (&EncodedBatch, Decision)| {
            let is_new = decision == Decision::Store;
            if is_new {
                self.bets.fold_appended(&batch.lines);
            }
            let outcome = match decision {
                Decision::Store | Decision::Stored => Outcome::Done,
                Decision::Refuse(refusal, reason) => Outcome::Refused(refusal, reason),
            };
            Appended { outcome, stored: self.bets.known().of(batch.agency), is_new }
        };
        batches.iter().zip(plan.decisions).map(answer).collect()
    }

    /// What is stored of each of these agencies, durably.
    pub(crate) fn status(
        &mut self,
        agencies: &[AgencyId],
        deadline: Instant,
    ) -> Result<Vec<AgencyStatus>, LogError> {
        let status = self.status_locked(agencies, deadline);
        let status = self.watched(status, Tried::Locks)?;
        self.bets.sync()?;
        self.closes.sync()?;
        Ok(status)
    }

    fn status_locked(
        &mut self,
        agencies: &[AgencyId],
        deadline: Instant,
    ) -> Result<Vec<AgencyStatus>, LogError> {
        let LockedVolume { bets, closes, draw, .. } = self.lock(deadline)?;
        let status = |agency: &AgencyId| AgencyStatus {
            stored: bets.fold().of(*agency),
            state: state_of(*agency, closes.fold(), draw.is_some()),
        };
        Ok(agencies.iter().map(status).collect())
    }

    /// Closes a group of agencies. Everything that is stored is durable before a close is
    /// written, and the close before it is answered.
    pub(crate) fn close(
        &mut self,
        group: &[(AgencyId, Option<u64>)],
        deadline: Instant,
    ) -> Result<Vec<Closed>, LogError> {
        let mut tried = Tried::Locks;
        let closed = self.close_locked(group, deadline, &mut tried);
        match self.watched(closed, tried) {
            Err(LogError::Broken { doing, path, error }) => {
                Err(LogError::Broken { doing, path, error })
            }
            Err(error) => {
                let closed = Closed::unchanged(Outcome::TryAgain(error.reason()));
                Ok(vec![closed; group.len()])
            }
            Ok(closed) => {
                self.closes.sync()?;
                Ok(closed)
            }
        }
    }

    /// Appends the closes of a group, and folds them when the locks are given back.
    fn close_locked(
        &mut self,
        group: &[(AgencyId, Option<u64>)],
        deadline: Instant,
        tried: &mut Tried,
    ) -> Result<Vec<Closed>, LogError> {
        let LockedVolume { mut bets, mut closes, .. } = self.lock(deadline)?;
        bets.sync()?;
        let plan = ClosePlan::of(group, closes.fold(), bets.fold(), closes.separator());
        if !plan.lines.is_empty() {
            *tried = Tried::Append(plan.lines.len() as u64);
            closes.append(plan.lines.as_bytes())?;
        }
        drop((bets, closes));
        self.closes.fold_appended(plan.lines.as_bytes());
        Ok(plan.closed)
    }

    /// Looks for a draw, and holds it if it is due; says whether it did.
    pub(crate) fn look(&mut self, deadline: Instant) -> Result<bool, LogError> {
        let mut tried = Tried::Nothing;
        let looked = self.look_and_draw(deadline, &mut tried);
        self.watched(looked, tried)
    }

    fn look_and_draw(&mut self, deadline: Instant, tried: &mut Tried) -> Result<bool, LogError> {
        let missing = self.record.refresh_or_miss();
        if missing.map_err(|e| LogError::Read(self.record.path.clone(), e))? {
            *tried = Tried::Locks;
            self.lock(deadline)?;
        }
        if self.draw().is_some() || !self.may_be_due()? {
            return Ok(false);
        }
        *tried = Tried::Locks;
        let (settings, disk) = (self.settings.clone(), Arc::clone(&self.disk));
        let LockedVolume { mut bets, mut closes, draw, .. } = self.lock(deadline)?;
        if draw.is_some() || !closes.fold().is_complete() {
            return Ok(false);
        }
        *tried = Tried::Draw;
        closes.sync()?;
        bets.sync()?;
        let record = draw_record(&settings, &bets)?;
        let written = record::write(&*disk, &settings.volume, &record);
        drop((bets, closes));
        let path = || settings.volume.join(DRAW);
        written.map_err(|error| LogError::of(&path(), error, LogError::Append))?;
        self.record.refresh().map_err(|error| LogError::Read(path(), error))?;
        Ok(true)
    }

    /// Whether a look under the locks could find the draw due: the closes have changed since they
    /// were last read, or are complete. Spares a volume at rest the locks.
    fn may_be_due(&self) -> Result<bool, LogError> {
        Ok(self.closes.known().is_complete() || self.closes.has_changed()?)
    }

    /// Leaves the volume as one that nobody works on: everything durable, nothing pending.
    pub(crate) fn settle(&mut self, deadline: Instant) -> Result<(), LogError> {
        let LockedVolume { mut bets, mut closes, .. } = self.lock(deadline)?;
        bets.settle()?;
        closes.settle()
    }
}

fn log_paths(settings: &StoreSettings) -> (LogPaths, LogPaths) {
    let paths = |log, lock, ring| LogPaths { volume: settings.volume.clone(), log, lock, ring };
    let closes = paths(CLOSES, "agencies_closed.lock", "agencies_closed.intent");
    let bets = paths(BETS, "bets.csv.lock", "bets.csv.intent");
    (closes, bets)
}

fn draw_record<D: Disk>(
    settings: &StoreSettings,
    bets: &Locked<'_, D, Ledger>,
) -> Result<DrawRecord, LogError> {
    let nobody = || Winners::new(settings.winning_number, settings.agencies_amount);
    let parts = bets.scan(nobody, |winners, lines| winners.take(lines))?;
    let winners = parts.into_iter().reduce(Winners::followed_by).unwrap_or_else(nobody);
    let documents = winners.into_documents();
    let agencies = AgencyId::all(settings.agencies_amount).zip(documents);
    let record = |(agency, winners): (AgencyId, Vec<String>)| {
        let stored = bets.fold().of(agency);
        let (rows, digest) = (stored.rows, stored.digest.to_string());
        AgencyRecord { agency: agency.get(), rows, digest, winners }
    };
    Ok(DrawRecord {
        winning_number: settings.winning_number.get(),
        agencies_amount: settings.agencies_amount,
        bets: bets.fold().bets(),
        time: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        instance: settings.instance.clone(),
        agencies: agencies.map(record).collect(),
    })
}
