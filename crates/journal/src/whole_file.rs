//! Files that are written once and whole: there in full, durably, or not at all.

use std::io;
use std::path::Path;

use crate::disk::{Disk, DiskFile, Mode, read_exactly, write_all};

/// The content of a file, if there is one of this name.
///
/// # Errors
/// As the system reports them.
pub fn read(disk: &impl Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Mode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = vec![0; usize::try_from(file.bytes()?).map_err(io::Error::other)?];
    read_exactly(&file, &mut content, 0)?;
    Ok(Some(content))
}

/// Writes `directory/name` by way of `directory/name.tmp`.
///
/// # Errors
/// As the system reports them. After an error of the last step the file may be there.
pub fn write(disk: &impl Disk, directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.tmp"));
    let file = disk.open(&temporary, Mode::InPlace)?;
    file.truncate(0)?;
    write_all(&file, content, 0)?;
    file.sync()?;
    disk.rename(&temporary, &directory.join(name))?;
    Ok(disk.sync_directory(directory)?)
}
