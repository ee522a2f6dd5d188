//! Looking for the draw of the day, and holding it when it is due.

use std::sync::Arc;
use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use journal::JournalError;
use journal::disk::Disk;
use lottery::{State, Winners};
use protocol::AgencyId;

use super::error::StoreError;
use super::names::DRAW;
use super::outage::Progress;
use super::record;
use super::settings::StoreSettings;
use super::volume::{LockedVolume, Volume};
use crate::store::{AgencyRecord, DrawRecord};

/// How a look ended.
#[derive(Debug)]
pub(super) struct Looked {
    /// Whether it held the draw.
    pub(super) has_drawn: bool,
    pub(super) progress: Progress,
}

/// Looks for a draw, and holds it if it is due.
pub(super) fn look<D: Disk>(
    volume: &mut Volume<D>,
    deadline: Instant,
) -> Result<Looked, StoreError> {
    let mut looked = Looked { has_drawn: false, progress: Progress::Outside };
    let missing = volume.record.refresh_or_miss();
    if missing.map_err(|error| StoreError::read(&volume.record.path, error))? {
        volume.lock(deadline)?;
        looked.progress = Progress::Locked;
    }
    // The draw can be due if the closes have changed since they were last read, or are complete.
    // That spares a volume at rest the locks.
    let is_drawn = volume.record.draw().is_some();
    if is_drawn || !(volume.state.is_complete() || volume.closes.has_changed()?) {
        return Ok(looked);
    }
    let (settings, disk) = (volume.settings.clone(), Arc::clone(&volume.disk));
    let locked = volume.lock(deadline)?;
    looked.progress = Progress::Locked;
    if locked.draw.is_some() || !locked.state.is_complete() {
        return Ok(looked);
    }
    hold(locked, &*disk, &settings).map_err(StoreError::Draw)?;
    let path = &volume.record.path.clone();
    let read = volume.record.refresh();
    read.map_err(|error| StoreError::Draw(JournalError::Read(path.clone(), error)))?;
    volume.state.set_drawn(true);
    Ok(Looked { has_drawn: true, ..looked })
}

/// Holds the draw, and records it durably.
fn hold<D: Disk>(
    locked: LockedVolume<'_, D>,
    disk: &D,
    settings: &StoreSettings,
) -> Result<(), JournalError> {
    let LockedVolume { mut bets, mut closes, state, .. } = locked;
    closes.sync()?;
    bets.sync()?;
    let none = || Winners::new(settings.winning_number, settings.agencies_amount);
    let parts = bets.scan(none, |winners, lines| winners.take(lines))?;
    let winners = parts.into_iter().reduce(Winners::followed_by).unwrap_or_else(none);
    let written = record::write(disk, &settings.volume, &draw_record(settings, state, winners));
    written.map_err(|error| {
        let otherwise = |path, error| JournalError::Append { path, bytes: 0, error };
        JournalError::of(&settings.volume.join(DRAW), error, otherwise)
    })
}

fn draw_record(settings: &StoreSettings, state: &State, winners: Winners) -> DrawRecord {
    let agencies = AgencyId::all(settings.agencies_amount).zip(winners.into_documents());
    let record = |(agency, winners): (AgencyId, Vec<String>)| {
        let stored = state.stored(agency);
        let (rows, digest) = (stored.rows, stored.digest.to_string());
        AgencyRecord { agency: agency.get(), rows, digest, winners }
    };
    DrawRecord {
        winning_number: settings.winning_number.get(),
        agencies_amount: settings.agencies_amount,
        bets: state.bets(),
        time: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        instance: settings.instance.clone(),
        agencies: agencies.map(record).collect(),
    }
}
