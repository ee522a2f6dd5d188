//! The volume: the two logs, the draw's record, and what is known of them.
//!
//! Runs on the store's thread.
//!
//! **Invariant**: the lock order is `agencies_closed`, then `bets`: [`Volume::lock_both`] is
//! the one place where both are taken. Nothing is awaited under a lock.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use std::{io, mem};

use journal::disk::Disk;
use journal::{Locked, Log, LogPaths, OthersWrite, WaitEnd};
use lottery::{AgencyStatus, State};
use protocol::{AgencyId, RowReader};

use super::alerts;
use super::error::StoreError;
use super::folds::{Closes, Rows};
use super::names::{ARCHIVING, BETS, CLOSES, DRAW, LOCKS};
use super::outage::{Outages, Progress};
use super::record::KnownRecord;
use super::settings::{OpenError, StoreSettings};
use crate::metrics::Metrics;
use crate::store::{Draw, Unavailable};

/// Both logs, locked and applied to their ends.
pub(super) struct LockedVolume<'v, D: Disk> {
    pub(super) bets: Locked<'v, D>,
    pub(super) closes: Locked<'v, D>,
    pub(super) state: &'v State,
    /// The draw of this day, if it has been held.
    pub(super) draw: Option<Arc<Draw>>,
    /// Whether that has been compared with the bets.
    pub(super) is_compared: &'v mut bool,
}

impl<D: Disk> LockedVolume<'_, D> {
    /// Alerts an operator to logs, and to a draw's record, that were changed by hand. Returns
    /// whether the record was compared with the bets.
    pub(super) fn report_changes(&mut self) -> bool {
        if alerts::report_external_changes(&mut self.bets, &mut self.closes) {
            // What is there now need not be what the draw was held over.
            *self.is_compared = false;
        }
        let is_due = !mem::replace(self.is_compared, true);
        if let Some(draw) = self.draw.as_ref().filter(|_| is_due) {
            alerts::report_difference(draw, self.state);
        }
        is_due
    }
}

/// The files of the lottery.
pub(crate) struct Volume<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) settings: StoreSettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) wait_end: WaitEnd,
    pub(super) closes: Log<D>,
    pub(super) bets: Log<D>,
    pub(super) state: State,
    reader: RowReader,
    pub(super) record: KnownRecord<D>,
    /// Exists while the day is being archived.
    marker: Arc<Path>,
    pub(super) outages: Outages,
}

impl<D: Disk> Volume<D> {
    /// Opens the volume, creates what is missing, reads the draw's record.
    pub(crate) fn open(disk: D, settings: StoreSettings) -> Result<Self, OpenError> {
        let volume = Self::open_files(disk, settings)?;
        volume.contradiction().map_or(Ok(volume), Err)
    }

    /// As [`Volume::open`], whatever the settings are of a draw that is there.
    pub(super) fn open_files(disk: D, settings: StoreSettings) -> Result<Self, OpenError> {
        let path = settings.volume.clone();
        Self::try_open(Arc::new(disk), settings).map_err(|e| OpenError::Unusable(path, e))
    }

    fn try_open(disk: Arc<D>, settings: StoreSettings) -> io::Result<Self> {
        let (directory, wait_end) = (&settings.volume, WaitEnd::default());
        disk.create_directory(&directory.join(LOCKS))?;
        disk.sync_directory(directory)?;
        journal::locks_work(&*disk, &directory.join(LOCKS))?;
        let open = |log, lock, ring, others| {
            let paths = LogPaths { directory: directory.clone(), log, locks: LOCKS, lock, ring };
            Log::open(Arc::clone(&disk), paths, &wait_end, others)
        };
        Ok(Self {
            metrics: Arc::default(),
            closes: open(
                CLOSES,
                "agencies_closed.lock",
                "agencies_closed.intent",
                OthersWrite::Lines,
            )?,
            bets: open(BETS, "bets.csv.lock", "bets.csv.intent", OthersWrite::Rows)?,
            state: State::new(settings.agencies_amount),
            reader: RowReader::default(),
            record: KnownRecord::open(Arc::clone(&disk), directory.join(DRAW))?,
            marker: directory.join(LOCKS).join(ARCHIVING).into(),
            outages: Outages::default(),
            disk,
            wait_end,
            settings,
        })
    }

    /// A setting that is not what the held draw was held with.
    fn contradiction(&self) -> Option<OpenError> {
        let (draw, settings) = (self.record.draw()?, &self.settings);
        let mut all = draw.differences(settings.agencies_amount, settings.winning_number);
        let (key, value, drawn) = all.next()?;
        let (time, volume) = (draw.time.clone(), settings.volume.clone());
        Some(OpenError::Contradiction { key, value, drawn, time, volume })
    }

    /// Takes both locks, in their order, recovers, and applies what is new. A day that is being
    /// archived is not worked on.
    pub(super) fn lock(&mut self, deadline: Instant) -> Result<LockedVolume<'_, D>, StoreError> {
        let (disk, marker) = (Arc::clone(&self.disk), Arc::clone(&self.marker));
        let mut locked = self.lock_both(deadline)?;
        match disk.find(&marker) {
            Ok(None) => {
                locked.report_changes();
                Ok(locked)
            }
            Ok(Some(_)) => Err(StoreError::Archiving),
            Err(error) => Err(StoreError::read(&marker, error)),
        }
    }

    /// Takes both locks, also while the day is being archived: see [`Volume::lock`].
    pub(super) fn lock_both(
        &mut self,
        deadline: Instant,
    ) -> Result<LockedVolume<'_, D>, StoreError> {
        let Self { closes, bets, state, reader, record, metrics, .. } = self;
        let since = Instant::now();
        // Before either lock is taken: others wait for the first while this one has it.
        closes.approach(deadline, &mut Closes(state))?;
        bets.approach(deadline, &mut Rows { state, reader })?;
        let (closes, found) = closes.lock(deadline, &mut Closes(state))?;
        alerts::report(closes.path(), found);
        let (bets, found) = bets.lock(deadline, &mut Rows { state, reader })?;
        alerts::report(bets.path(), found);
        metrics.lock_waits.record(since.elapsed());
        record.refresh().map_err(|error| StoreError::read(&record.path, error))?;
        let draw = record.draw();
        state.set_drawn(draw.is_some());
        Ok(LockedVolume { bets, closes, state, draw, is_compared: &mut record.is_compared })
    }

    /// What is stored of each of these agencies, durably.
    pub(crate) fn status(
        &mut self,
        agencies: &[AgencyId],
        deadline: Instant,
    ) -> Result<Vec<AgencyStatus>, StoreError> {
        let locked = self.lock(deadline)?;
        let status = agencies.iter().map(|agency| locked.state.status(*agency)).collect();
        drop(locked);
        self.bets.sync()?;
        self.closes.sync()?;
        Ok(status)
    }

    /// Leaves the volume as one that no instance works on: everything durable, nothing pending.
    pub(crate) fn settle(&mut self, deadline: Instant) -> Result<(), StoreError> {
        let LockedVolume { mut bets, mut closes, .. } = self.lock(deadline)?;
        bets.settle()?;
        Ok(closes.settle()?)
    }

    /// Alerts an operator when storing or drawing begins to fail and when it works again. Only an
    /// error that ends the instance stays one.
    pub(super) fn watch_outages<T>(
        &mut self,
        result: Result<T, StoreError>,
        progress: impl FnOnce(&T) -> Progress,
    ) -> Result<Result<T, Unavailable>, StoreError> {
        let bytes = self.bets.applied() + self.closes.applied();
        match result {
            Ok(done) => {
                let (is_drawn, now) = (self.record.draw().is_some(), Instant::now());
                self.outages.succeeded(progress(&done), bytes, is_drawn, now);
                Ok(Ok(done))
            }
            Err(error) => {
                for log in [&mut self.closes, &mut self.bets] {
                    let found = log.take_found();
                    alerts::report(log.path(), found);
                }
                self.outages.failed(&error, bytes, Instant::now());
                if error.is_broken() { Err(error) } else { Ok(Err(Unavailable(error.reason()))) }
            }
        }
    }
}
