//! `server prepare`: makes a volume writable for instances that run as another user than its owner.
//!
//! A container without root and capabilities can write to a directory of the host only if it owns
//! the directory or has its group. This gives the volume, and the lottery's files in it, to the
//! group of the instances. The owner does not change, and can still read and remove everything.
//!
//! **Invariant**: no other file in the directory is changed, and no link is followed.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::store::file::{ARCHIVE, FILES, LOCKS};

const DIRECTORY_FOR_GROUP: u32 = 0o070;
const FILE_FOR_GROUP: u32 = 0o060;

/// Gives `volume`, and the lottery's files in it, to `group`. If the volume belongs to another
/// user, this needs the rights to change owners and groups (CAP_CHOWN) and modes (CAP_FOWNER). If
/// only its owner may read the volume, the process must also run with that group.
///
/// # Errors
/// An error of the system, with the path.
pub fn give_to_group(volume: &Path, group: u32) -> anyhow::Result<()> {
    fs::create_dir_all(volume).with_context(|| format!("make {}", volume.display()))?;
    give(volume, None, group)?;
    let owner = fs::metadata(volume).context("find the volume's owner")?.uid();
    for name in [LOCKS, ARCHIVE] {
        let directory = volume.join(name);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        // Only a directory's owner can remove its entries. If that were an instance, the volume's
        // owner could not remove them.
        give(&directory, Some(owner), group)?;
    }
    for draw in entries(&volume.join(ARCHIVE)).context("list the archive")? {
        give(&draw, Some(owner), group)?;
    }
    let locks = entries(&volume.join(LOCKS)).context("list the locks")?;
    for path in FILES.map(|name| volume.join(name)).into_iter().chain(locks) {
        give(&path, None, group)?;
    }
    Ok(())
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::symlink_metadata(directory)?.is_symlink() {
        return Ok(Vec::new());
    }
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

/// Skips files that do not exist, and links, because their targets may be outside the volume.
fn give(path: &Path, owner: Option<u32>, group: u32) -> anyhow::Result<()> {
    let give = |found: &Metadata| {
        chown(path, owner, Some(group))?;
        let wanted = if found.is_dir() { DIRECTORY_FOR_GROUP } else { FILE_FOR_GROUP };
        fs::set_permissions(path, Permissions::from_mode(found.permissions().mode() | wanted))
    };
    let given = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Ok(()),
        Ok(found) => give(&found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    given.with_context(|| {
        let path = path.display();
        format!("give {path} to group {group} (needs root, or the owner who is in that group)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn make(path: &Path) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn the_group_may_write_the_lotterys_files_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("volume");
        fs::create_dir_all(volume.join("locks")).unwrap();
        fs::create_dir_all(volume.join("archive/2026-01-31")).unwrap();
        let ours = ["bets.csv", "locks/bets.csv.lock"].map(|name| volume.join(name));
        let other = volume.join("letters.txt");
        let outside = directory.path().join("outside");
        ours.iter().chain([&other, &outside]).for_each(|path| make(path));
        std::os::unix::fs::symlink(&outside, volume.join("draw.json")).unwrap();
        let group = fs::metadata(&volume).unwrap().gid();
        give_to_group(&volume, group).unwrap();
        assert_eq!(ours.map(|path| mode(&path)), [0o660, 0o660]);
        assert_eq!([mode(&other), mode(&outside)], [0o600, 0o600]);
        for directory in ["", "locks", "archive", "archive/2026-01-31"] {
            assert_eq!(mode(&volume.join(directory)) & 0o070, 0o070, "{directory}");
        }
    }

    #[test]
    fn a_link_instead_of_a_directory_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("volume");
        let outside = directory.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(&volume).unwrap();
        make(&outside.join("letters.txt"));
        std::os::unix::fs::symlink(&outside, volume.join("locks")).unwrap();
        give_to_group(&volume, fs::metadata(&volume).unwrap().gid()).unwrap();
        assert_eq!(mode(&outside.join("letters.txt")), 0o600);
    }
}
