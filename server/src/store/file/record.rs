//! The draw's record, `draw.json`: written once, whole, and read by every instance.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::{Disk, FileId};
use journal::whole_file;
use tokio::sync::watch;
use tracing::error;

use super::names::DRAW;
use crate::store::{Draw, DrawRecord};

/// Reads the record, if there is one.
///
/// # Errors
/// As the system reports them; `InvalidData` if the file is no record.
fn read(disk: &impl Disk, path: &Path) -> io::Result<Option<Draw>> {
    let Some(bytes) = whole_file::read(disk, path)? else { return Ok(None) };
    let record = serde_json::from_slice::<DrawRecord>(&bytes).map_err(io::Error::from);
    record.and_then(Draw::try_from).map(Some).map_err(|error| {
        let text = format!(
            "{DRAW} is damaged, it is no record of a draw ({error}): move it away, and the draw is \
             held again over the same files, with the same winners"
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Writes the record: durable as a whole when this returns, and until then not there at all.
///
/// # Errors
/// As the system reports them. After an error of the last step the record may be there.
pub(super) fn write(disk: &impl Disk, volume: &Path, record: &DrawRecord) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(record)?;
    json.push(b'\n');
    whole_file::write(disk, volume, DRAW, &json)
}

/// The draw's record as it was last read, published to those who wait for the draw.
pub(super) struct KnownRecord<D> {
    disk: Arc<D>,
    pub(super) path: PathBuf,
    /// Which file was read, and how long it was.
    read: Option<(FileId, u64)>,
    draw: watch::Sender<Option<Arc<Draw>>>,
    /// Whether it has been compared with the bets.
    pub(super) is_compared: bool,
    /// The damaged file that was reported last.
    reported: Option<(FileId, u64)>,
}

impl<D: Disk> KnownRecord<D> {
    /// Reads the record that is there, if there is one.
    pub(super) fn open(disk: Arc<D>, path: PathBuf) -> io::Result<Self> {
        let found = disk.find(&path)?;
        let draw = watch::channel(read(&*disk, &path)?.map(Arc::new)).0;
        Ok(Self { disk, path, read: found, draw, is_compared: false, reported: None })
    }

    /// The draw, as far as it is known without looking.
    pub(super) fn draw(&self) -> Option<Arc<Draw>> {
        self.draw.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Arc<Draw>>> {
        self.draw.subscribe()
    }

    /// Reads the record again if another one is there than the one that is known, and publishes it.
    /// A damaged one is for a person to look at, which is reported once.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let found = self.disk.find(&self.path)?;
        if found == self.read {
            return Ok(());
        }
        let draw = read(&*self.disk, &self.path).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData && self.reported != found {
                let (file, error) = (self.path.display(), error.to_string());
                error!(action = "read_draw", result = "fail", %file, error);
                self.reported = found;
            }
        })?;
        (self.read, self.is_compared) = (found, false);
        self.draw.send_replace(draw.map(Arc::new));
        Ok(())
    }

    /// As [`KnownRecord::refresh`], without a lock: that a known record is there no longer is left
    /// to the holder of the locks, because the volume itself may be gone. Returns whether it is so.
    pub(super) fn refresh_or_miss(&mut self) -> io::Result<bool> {
        if self.read.is_some() && self.disk.find(&self.path)?.is_none() {
            return Ok(true);
        }
        self.refresh().map(|()| false)
    }
}
