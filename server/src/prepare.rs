//! Making a volume writable for instances that run as another user than the one who owns it.
//!
//! A container without root and without capabilities can write a host's directory only if it
//! owns it or shares its group. This gives the directory, and what instances keep in it, to the
//! group that the instances run as; the owner stays who it was, and may still read and remove
//! everything.
//!
//! **Invariant**: only what the lottery itself keeps there is touched, whatever else stands in the
//! directory.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::store::file::{ARCHIVE, FILES, LOCKS};

const DIRECTORY_FOR_GROUP: u32 = 0o070;
const FILE_FOR_GROUP: u32 = 0o060;

/// Gives `volume`, and the files that instances write in it, to `group`. Needs the right to
/// change owners and groups (CAP_CHOWN) and modes (CAP_FOWNER) where the volume is somebody
/// else's, and to run as that group where only its owner may read it.
///
/// # Errors
/// As the system reports them, with the path.
pub fn give_to_group(volume: &Path, group: u32) -> anyhow::Result<()> {
    fs::create_dir_all(volume).with_context(|| format!("make {}", volume.display()))?;
    give(volume, None, group)?;
    let owner = fs::metadata(volume).context("find the volume's owner")?.uid();
    for name in [LOCKS, ARCHIVE] {
        let directory = volume.join(name);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        // What stands in a directory is removed by the directory's owner: were it an instance,
        // the volume's owner could not.
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

/// What is not there needs no giving; a link is left alone, for it may lead anywhere.
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
    fn the_group_may_write_what_is_the_lottery_s_and_nothing_else() {
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
    fn a_link_in_the_place_of_a_directory_is_no_way_out() {
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
