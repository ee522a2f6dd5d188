//! Files that are written as a whole or not at all: written under another name, synced, renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Writes `path` through `fill`. A file that it replaces keeps its permissions.
///
/// # Errors
/// The file could not be written. Then `path` is unchanged and no other file is left.
pub fn write(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let unfinished = temporary(path);
    let written = File::create(&unfinished).and_then(|mut file| {
        if let Ok(replaced) = fs::metadata(path) {
            file.set_permissions(replaced.permissions())?;
        }
        fill(&mut file)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&unfinished, path)).inspect_err(|_| {
        // If it cannot be removed, its name conflicts with no other: it ends in the process's id.
        let _ = fs::remove_file(&unfinished);
    })
}

/// Checks that a file can be created at `path`. Leaves no file.
///
/// # Errors
/// The error with which [`write`] would fail at once.
pub fn check(path: &Path) -> io::Result<()> {
    let unfinished = temporary(path);
    File::create(&unfinished)?;
    fs::remove_file(&unfinished)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_failed_write_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        write(&path, |_| Ok(())).unwrap();
        for mode in [0o600, 0o640, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            write(&path, |file| file.write_all(b"new")).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        write(&path, |_| Err(io::Error::other("full"))).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
