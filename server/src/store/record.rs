//! The draw's record, `draw.json`: written once, whole, and read by every instance.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{AgencyId, BetNumber, Digest};
use serde::{Deserialize, Serialize};
use tracing::error;

use super::disk::{Disk, FileId};
use super::ledger::AgencyRows;
use super::whole_file;

/// What was drawn over which rows, when and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawRecord {
    /// The winning number, 0..=9999.
    pub winning_number: u16,
    /// How many agencies took part, 1..=`agencies_amount`.
    pub agencies_amount: u32,
    /// How many bets they had stored.
    pub bets: u64,
    /// When the draw was held, RFC 3339 in UTC.
    pub time: String,
    /// The instance that held it: its address, or its host and port.
    pub instance: String,
    /// Every agency, from 1.
    pub agencies: Vec<AgencyRecord>,
}

/// An agency's part of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgencyRecord {
    /// The agency's number.
    pub agency: u32,
    /// How many rows it had stored.
    pub rows: u64,
    /// Their digest, 16 hex digits.
    pub digest: String,
    /// The documents of its winners, in the order of its rows.
    pub winners: Vec<String>,
}

/// A draw that was held, ready to be told.
#[derive(Debug, PartialEq, Eq)]
pub struct Draw {
    /// The winning number.
    pub number: BetNumber,
    /// How many agencies took part.
    pub agencies_amount: u32,
    /// How many bets were stored.
    pub bets: u64,
    /// When it was held, RFC 3339 in UTC.
    pub time: String,
    /// Each agency's winners as an answer has them: documents with `;` between them.
    winners: Vec<Arc<str>>,
    /// Each agency's rows, and their digest if the record has one.
    stored: Vec<(u64, Option<Digest>)>,
}

impl Draw {
    /// Whether it was drawn over these rows of an agency.
    pub(super) fn is_about(&self, agency: AgencyId, rows: AgencyRows) -> bool {
        self.stored.get(agency.index()) == Some(&(rows.rows, Some(rows.digest)))
    }

    /// The winners of an agency, with `;` between them; `None` if it took no part.
    #[must_use]
    pub fn winners(&self, agency: AgencyId) -> Option<Arc<str>> {
        self.winners.get(agency.index()).cloned()
    }
}

impl TryFrom<DrawRecord> for Draw {
    type Error = io::Error;

    fn try_from(record: DrawRecord) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let in_order = record.agencies.iter().map(|agency| agency.agency);
        if !in_order.eq(1..=record.agencies_amount) {
            return Err(invalid("the agencies of the draw's record are not 1..=agencies_amount"));
        }
        let number = BetNumber::new(record.winning_number)
            .ok_or_else(|| invalid("the winning number of the draw's record is over 9999"))?;
        // They are told in one line, which another writer's record must not break.
        let mut documents = record.agencies.iter().flat_map(|agency| &agency.winners);
        if documents.any(|document| document.contains([';', '\n'])) {
            return Err(invalid("a document of the draw's record holds ';' or a line end"));
        }
        let winners = record.agencies.iter().map(|agency| agency.winners.join(";").into());
        let stored = record.agencies.iter().map(|agency| (agency.rows, agency.digest.parse().ok()));
        Ok(Self {
            number,
            agencies_amount: record.agencies_amount,
            bets: record.bets,
            winners: winners.collect(),
            stored: stored.collect(),
            time: record.time,
        })
    }
}

/// Reads the record, if there is one.
///
/// # Errors
/// As the system reports them; `InvalidData` if the file is no record.
fn read(disk: &impl Disk, path: &Path) -> io::Result<Option<Draw>> {
    let Some(bytes) = whole_file::read(disk, path)? else { return Ok(None) };
    decode(&bytes).map(Some).map_err(|error| {
        let text = format!(
            "{} is damaged, it is no record of a draw ({error}): move it away, and the draw is \
             held again over the same files, with the same winners",
            super::DRAW
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

fn decode(json: &[u8]) -> io::Result<Draw> {
    let record: DrawRecord = serde_json::from_slice(json)?;
    record.try_into()
}

/// Writes the record: durable as a whole when this returns, and until then not there at all.
///
/// # Errors
/// As the system reports them. After an error of the last step the record may be there.
pub(crate) fn write(disk: &impl Disk, volume: &Path, record: &DrawRecord) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(record)?;
    json.push(b'\n');
    whole_file::write(disk, volume, super::DRAW, &json)
}

/// The draw's record as it was last read.
pub(super) struct KnownRecord<D> {
    disk: Arc<D>,
    pub(super) path: PathBuf,
    /// Which file was read, and how long it was.
    read: Option<(FileId, u64)>,
    pub(super) draw: Option<Arc<Draw>>,
    /// Whether it has been compared with the bets.
    pub(super) is_compared: bool,
    /// The file that was last told to be damaged.
    told: Option<(FileId, u64)>,
}

impl<D: Disk> KnownRecord<D> {
    /// Reads the record that is there, if there is one.
    pub(super) fn open(disk: Arc<D>, path: PathBuf) -> io::Result<Self> {
        let found = disk.find(&path)?;
        let draw = read(&*disk, &path)?.map(Arc::new);
        Ok(Self { disk, path, read: found, draw, is_compared: false, told: None })
    }

    /// Reads the record anew if another one is there than the one that is known. A damaged one is
    /// for a person to look at, which is told once.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let found = self.disk.find(&self.path)?;
        if found == self.read {
            return Ok(());
        }
        let draw = read(&*self.disk, &self.path).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData && self.told != found {
                let (file, error) = (self.path.display(), error.to_string());
                error!(action = "read_draw", result = "fail", %file, error);
                self.told = found;
            }
        });
        (self.draw, self.read, self.is_compared) = (draw?.map(Arc::new), found, false);
        Ok(())
    }

    /// As [`KnownRecord::refresh`], without a lock: that a known record is there no longer is left
    /// to who holds the locks, for the volume itself may be gone. Says whether it is so.
    pub(super) fn refresh_or_miss(&mut self) -> io::Result<bool> {
        if self.read.is_some() && self.disk.find(&self.path)?.is_none() {
            return Ok(true);
        }
        self.refresh().map(|()| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::RealDisk;

    fn record() -> DrawRecord {
        let agency = |agency, winners: &[&str]| AgencyRecord {
            agency,
            rows: 3,
            digest: "00000000000000ff".into(),
            winners: winners.iter().map(|w| (*w).to_owned()).collect(),
        };
        DrawRecord {
            winning_number: 7574,
            agencies_amount: 2,
            bets: 6,
            time: "2026-01-31T10:00:00Z".into(),
            instance: "127.0.0.1:12345".into(),
            agencies: vec![agency(1, &["30876370", "24807259"]), agency(2, &[])],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let volume = tempfile::tempdir().unwrap();
        let (disk, path) = (RealDisk::new(), volume.path().join("draw.json"));
        assert_eq!(read(&disk, &path).unwrap(), None);
        std::fs::write(volume.path().join("draw.json.tmp"), "a leftover, longer ".repeat(99))
            .unwrap();
        write(&disk, volume.path(), &record()).unwrap();
        let draw = read(&disk, &path).unwrap().unwrap();
        assert_eq!(draw, record().try_into().unwrap());
        assert_eq!(draw.winners(AgencyId::new(1).unwrap()).as_deref(), Some("30876370;24807259"));
        assert_eq!(draw.winners(AgencyId::new(2).unwrap()).as_deref(), Some(""));
        assert_eq!(draw.winners(AgencyId::new(3).unwrap()), None);
    }

    #[test]
    fn a_record_that_does_not_hold_together_is_refused() {
        let mut gap = record();
        gap.agencies.pop();
        let mut number = record();
        number.winning_number = 10_000;
        let mut document = record();
        document.agencies[0].winners[1] += "\nWinnersResponse:1";
        for wrong in [gap, number, document] {
            assert!(Draw::try_from(wrong).is_err());
        }
    }
}
