//! Making two files durable with one flush of the device.
//!
//! An `fdatasync` hands a file's new bytes to the device, and then has the device flush its cache:
//! all of it, whatever file it is of. The flush is most of what a sync takes. So where one file is
//! overwritten in place, its bytes are handed over first, and the sync of the other file flushes
//! both. With three instances this stores 9 to 12 % more bets a second, with one 4 %
//! (docs/BENCHMARKS.md).
//!
//! **Invariant**: this is done only where the blocks that are overwritten are those which durable
//! metadata names, and where every `fdatasync` flushes the device: on ext2, ext3 and ext4, with
//! both files on one of them, no hole in the one that is overwritten, and that one synced before by
//! the process that relies on it. File systems that write elsewhere and note where, always as btrfs, F2FS
//! and ZFS do, or for blocks that a copy shares as XFS does, need a sync of each file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Weak};

/// What `st_blocks` counts in, whatever the file system's own blocks are (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// What statfs(2) calls ext2, ext3 and ext4, all the same.
const EXT: u64 = 0xef53;

/// Whether one flush is enough for two files. What cannot change while they are open, on which
/// device and file system they are, is found out once.
#[derive(Debug, Default)]
pub struct OneFlush {
    asked: [Weak<File>; 2],
    /// Whether their file system allows it.
    is_allowed: bool,
}

impl OneFlush {
    /// Starts what [`OneFlush::sync`] ends, where one flush is enough.
    ///
    /// # Errors
    /// As the system reports them; the next sync of the file reports those of the device.
    pub fn start(&mut self, appended: &Arc<File>, in_place: &Arc<File>) -> io::Result<()> {
        if self.is_enough(appended, in_place) {
            start(appended, in_place)?;
        }
        Ok(())
    }

    /// Makes both files durable where one flush is enough; returns whether it did.
    ///
    /// # Errors
    /// As the system reports them, for either file.
    pub fn sync(&mut self, appended: &Arc<File>, in_place: &Arc<File>) -> io::Result<bool> {
        Ok(self.is_enough(appended, in_place) && sync(appended, in_place)?)
    }

    /// Whether one flush is enough for both files: see the module. If in doubt, it is not.
    fn is_enough(&mut self, appended: &Arc<File>, in_place: &Arc<File>) -> bool {
        let files = [appended, in_place].map(Arc::downgrade);
        if !files.iter().zip(&self.asked).all(|(one, other)| one.ptr_eq(other)) {
            *self = Self { asked: files, is_allowed: is_allowed(appended, in_place) };
        }
        self.is_allowed && !has_holes(in_place)
    }
}

fn is_allowed(appended: &File, in_place: &File) -> bool {
    let (Ok(one), Ok(other)) = (appended.metadata(), in_place.metadata()) else { return false };
    one.dev() == other.dev() && overwrites_in_place(in_place)
}

fn has_holes(file: &File) -> bool {
    file.metadata().map_or(true, |found| found.blocks() * STAT_BLOCK_BYTES < found.len())
}

fn overwrites_in_place(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(EXT))
}

/// Submits the new bytes of both files to the device, and does not wait for it. Returns whether it
/// could: a system may not have the call, or not allow it; then nothing was submitted.
///
/// # Errors
/// As the system reports them; the next sync of the file reports those of the device.
fn start(appended: &File, in_place: &File) -> io::Result<bool> {
    let submit = |file| write_out(file, libc::SYNC_FILE_RANGE_WRITE);
    match submit(in_place).and_then(|()| submit(appended)) {
        Err(error) if is_refused(&error) => Ok(false),
        begun => begun.map(|()| true),
    }
}

/// Makes both durable: what was written to `in_place` before this, and all of `appended`. Says
/// whether it could, as [`start`] does.
///
/// # Errors
/// As the system reports them, for either file.
fn sync(appended: &File, in_place: &File) -> io::Result<bool> {
    // All three: the system then passes over no byte that it finds being written.
    let whole = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    match write_out(in_place, whole) {
        Err(error) if is_refused(&error) => Ok(false),
        written => written.and_then(|()| appended.sync_data()).map(|()| true),
    }
}

/// Whether the call itself is refused, whatever it is about: by an old kernel, or by a sandbox.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

/// sync_file_range(2) of a whole file.
#[expect(unsafe_code, reason = "no library offers this call; it has no pointers")]
fn write_out(file: &File, flags: libc::c_uint) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    // SAFETY: the descriptor is open as long as `file` is borrowed, and the call touches no memory
    // of this process.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn file_in(directory: &std::path::Path, content: &[u8]) -> File {
        let file = tempfile::tempfile_in(directory).unwrap();
        file.write_all_at(content, 0).unwrap();
        file.sync_data().unwrap();
        file
    }

    /// What the system says a file lies on, by the number of its device.
    fn is_on_ext(file: &File) -> bool {
        let device = file.metadata().unwrap().dev();
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device.as_str()));
        mount.is_some_and(|line| line.contains(" - ext"))
    }

    #[test]
    fn one_flush_is_enough_on_ext_for_files_of_one_device_without_holes() {
        let directory = tempfile::tempdir().unwrap();
        let file = |content: &[u8]| Arc::new(file_in(directory.path(), content));
        let (appended, whole, holed) = (file(b""), file(&[1; 16 * 1024]), file(b""));
        holed.set_len(16 * 1024).unwrap();
        let elsewhere = Arc::new(File::open("/proc/self/status").unwrap());
        let is_on_ext = is_on_ext(&whole);
        let mut known = OneFlush::default();
        for _ in 0..2 {
            assert_eq!(known.is_enough(&appended, &whole), is_on_ext);
            assert_eq!(known.is_enough(&appended, &whole), is_on_ext, "it is known now");
            assert!(!known.is_enough(&appended, &holed));
            assert!(
                !known.is_enough(&appended, &elsewhere) && !known.is_enough(&elsewhere, &whole)
            );
        }
        holed.write_all_at(&[1; 16 * 1024], 0).unwrap();
        holed.sync_data().unwrap();
        assert_eq!(known.is_enough(&appended, &holed), is_on_ext, "it has none any more");
    }

    /// That both are on the disk then, only a crash could show.
    #[test]
    fn an_error_of_either_is_an_error_of_both() {
        let directory = tempfile::tempdir().unwrap();
        let (appended, in_place) =
            (file_in(directory.path(), b""), file_in(directory.path(), &[0; 4096]));
        appended.write_all_at(b"row\n", 0).unwrap();
        in_place.write_all_at(b"intent", 64).unwrap();
        assert!(sync(&appended, &in_place).unwrap());
        let (end, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let no_file = File::from(std::os::fd::OwnedFd::from(end));
        assert!(sync(&appended, &no_file).is_err());
        assert!(sync(&no_file, &in_place).is_err());
    }
}
