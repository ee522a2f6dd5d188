//! A server of the reference system, as far as the volume sees it: it opens the lock files with
//! truncation, appends in pieces of a buffer, and never syncs.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs2::FileExt as _;

/// The buffer through which its files are written: a longer batch is several writes.
const BUFFER_BYTES: usize = 8 * 1024;

/// See the module.
pub struct OtherServer {
    volume: PathBuf,
}

impl OtherServer {
    pub fn on(volume: &Path) -> Self {
        fs::create_dir_all(volume.join("locks")).unwrap();
        Self { volume: volume.to_owned() }
    }

    /// Appends to the bets as they are given, under the lock.
    pub fn store(&self, text: impl AsRef<[u8]>) {
        let _lock = locked(&self.volume, "bets.csv.lock");
        self.append("bets.csv", text.as_ref());
    }

    /// Appends to the closes as they are given, under the lock.
    pub fn close(&self, text: &str) {
        let _lock = locked(&self.volume, "agencies_closed.lock");
        self.append("agencies_closed.txt", text.as_bytes());
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let path = self.volume.join(name);
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        for piece in bytes.chunks(BUFFER_BYTES) {
            file.write_all(piece).unwrap();
        }
    }
}

/// A lock of the volume, until it is dropped.
pub fn locked(volume: &Path, lock: &str) -> File {
    let file = File::create(volume.join("locks").join(lock)).unwrap();
    file.lock_exclusive().unwrap();
    file
}
