//! Making two files durable with one flush of the device.
//!
//! An `fdatasync` hands a file's new bytes to the device, and then has the device flush its cache:
//! all of it, whatever file it is of. The flush is most of what a sync takes. So where one file is
//! overwritten in place, its bytes are handed over first, and the sync of the other file flushes
//! both.
//!
//! **Invariant**: this is done only where the blocks that are overwritten are those which durable
//! metadata names, and where every `fdatasync` flushes the device: on ext2, ext3, ext4 and XFS, with
//! both files on one of them, and no hole in the one that is overwritten. A file system that writes
//! elsewhere and notes where, as btrfs, F2FS and ZFS do, needs a sync of each file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// What `st_blocks` counts in, whatever the file system's own blocks are (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// What statfs(2) calls ext2, ext3 and ext4, all the same, and XFS.
const IN_PLACE: [u64; 2] = [0xef53, 0x5846_5342];

/// Whether one flush is enough for both files: see the module. If in doubt, it is not.
pub(super) fn is_enough(appended: &File, in_place: &File) -> bool {
    let (Ok(one), Ok(other)) = (appended.metadata(), in_place.metadata()) else { return false };
    let has_holes = other.blocks() * STAT_BLOCK_BYTES < other.len();
    one.dev() == other.dev() && !has_holes && overwrites_in_place(in_place)
}

#[cfg(target_os = "linux")]
fn overwrites_in_place(file: &File) -> bool {
    let is_known = |kind| u64::try_from(kind).is_ok_and(|kind| IN_PLACE.contains(&kind));
    rustix::fs::fstatfs(file).is_ok_and(|found| is_known(found.f_type))
}

#[cfg(not(target_os = "linux"))]
fn overwrites_in_place(_: &File) -> bool {
    false
}

/// Makes both durable: what was written to `in_place` before this, and all of `appended`.
///
/// # Errors
/// As the system reports them, for either file.
#[cfg(target_os = "linux")]
pub(super) fn sync(appended: &File, in_place: &File) -> io::Result<()> {
    // Begun before the other one is waited for, so that the device has both at once.
    write_out(appended, libc::SYNC_FILE_RANGE_WRITE)?;
    // All three: the system then passes over no byte that it finds being written.
    let whole = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    write_out(in_place, whole)?;
    appended.sync_data()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn sync(appended: &File, in_place: &File) -> io::Result<()> {
    in_place.sync_data().and(appended.sync_data())
}

/// sync_file_range(2) of a whole file.
#[cfg(target_os = "linux")]
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
    use super::*;
    use std::os::unix::fs::FileExt as _;

    fn file_in(directory: &std::path::Path, content: &[u8]) -> File {
        let file = tempfile::tempfile_in(directory).unwrap();
        file.write_all_at(content, 0).unwrap();
        file.sync_data().unwrap();
        file
    }

    #[test]
    fn a_file_with_a_hole_needs_a_sync_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (appended, whole) =
            (file_in(directory.path(), b""), file_in(directory.path(), &[1; 16 * 1024]));
        let holed = file_in(directory.path(), b"");
        holed.set_len(16 * 1024).unwrap();
        assert!(!is_enough(&appended, &holed));
        assert_eq!(is_enough(&appended, &whole), overwrites_in_place(&whole));
    }

    #[test]
    fn files_on_two_devices_need_a_sync_each() {
        let here = tempfile::tempdir().unwrap();
        let (one, other) = (file_in(here.path(), b"1"), File::open("/proc/self/status").unwrap());
        assert!(!is_enough(&one, &other) && !is_enough(&other, &one));
    }

    #[test]
    fn what_was_written_to_either_is_handed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (appended, in_place) =
            (file_in(directory.path(), b""), file_in(directory.path(), &[0; 4096]));
        appended.write_all_at(b"row\n", 0).unwrap();
        in_place.write_all_at(b"intent", 64).unwrap();
        sync(&appended, &in_place).unwrap();
        let (read, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let no_file = File::from(std::os::fd::OwnedFd::from(read));
        assert!(sync(&appended, &no_file).is_err(), "an error of either is an error of both");
    }
}
