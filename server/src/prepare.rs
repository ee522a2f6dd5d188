//! Making a volume writable for instances that run as another user than the one who owns it.
//!
//! A container without root and without capabilities can write a host's directory only if it
//! owns it or shares its group. This gives the directory, and what instances keep in it, to the
//! group that the instances run as; the owner stays who it was, and may still read and remove
//! everything.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;

const DIRECTORY_FOR_GROUP: u32 = 0o070;
const FILE_FOR_GROUP: u32 = 0o060;

/// Gives `volume`, and the files that instances write in it, to `group`. Needs the right to
/// change groups (CAP_CHOWN) and modes (CAP_FOWNER) where the volume is somebody else's.
///
/// # Errors
/// As the system reports them, with the path.
pub fn give_to_group(volume: &Path, group: u32) -> anyhow::Result<()> {
    fs::create_dir_all(volume).with_context(|| format!("make {}", volume.display()))?;
    for path in paths(volume).with_context(|| format!("list {}", volume.display()))? {
        give(&path, group).with_context(|| format!("give {} to group {group}", path.display()))?;
    }
    Ok(())
}

/// The volume, what stands in it, and what stands in its directory of locks. Finished draws in the
/// archive are not written any more.
fn paths(volume: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = vec![volume.to_owned()];
    for directory in [volume.to_owned(), volume.join("locks")] {
        match fs::read_dir(directory) {
            Ok(entries) => {
                for entry in entries {
                    paths.push(entry?.path());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(paths)
}

/// A link is left alone: it may lead anywhere.
fn give(path: &Path, group: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(());
    }
    chown(path, None, Some(group))?;
    let wanted = if found.is_dir() { DIRECTORY_FOR_GROUP } else { FILE_FOR_GROUP };
    fs::set_permissions(path, Permissions::from_mode(found.permissions().mode() | wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_group_may_write_and_links_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("volume");
        let outside = directory.path().join("outside");
        fs::create_dir_all(volume.join("locks")).unwrap();
        for file in [&volume.join("bets.csv"), &volume.join("locks/bets.csv.lock"), &outside] {
            fs::write(file, "").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, volume.join("link")).unwrap();
        let own_group = fs::metadata(&volume).unwrap().gid();
        give_to_group(&volume, own_group).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&volume.join("bets.csv")), 0o660);
        assert_eq!(mode(&volume.join("locks/bets.csv.lock")), 0o660);
        assert_eq!(mode(&volume.join("locks")) & 0o070, 0o070);
        assert_eq!(mode(&outside), 0o600);
    }
}
