//! A volume in memory: the simulated disk, on which nothing fails here. Each run has it for itself,
//! so that its locks are always free.

use std::path::Path;

use journal::disk::simulated::{Machine, SimulatedDisk};
use journal::disk::{BootId, FileId};

/// This run of the machine.
pub const BOOT: BootId = BootId(0);

/// The directory of the volume.
pub const VOLUME: &str = "volume";

/// See the module. Cheap to clone: all clones are one disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Machine);

impl MemoryDisk {
    /// Puts `content` behind what a file of the volume has; returns which file it is.
    pub fn append(&self, name: &str, content: &[u8]) -> FileId {
        self.0.append(&Path::new(VOLUME).join(name), content)
    }

    /// The content of a file of the volume, empty if there is none.
    pub fn content(&self, name: &str) -> Vec<u8> {
        self.0.content(&Path::new(VOLUME).join(name)).unwrap_or_default()
    }

    /// The disk, as one process uses it.
    pub fn process(&self) -> SimulatedDisk {
        self.0.process()
    }
}
