//! The directory of a run: logs, outputs, and what was given no place of its own.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

/// A directory that is removed at the end, unless it was given or something failed.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl RunDirectory {
    /// A new temporary directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn temporary() -> anyhow::Result<Self> {
        let made = tempfile::Builder::new().prefix("loteria-").tempdir();
        let temporary = made.context("make a temporary directory")?;
        // Children report paths as the system resolves them.
        let path = temporary.path().canonicalize().context("find the temporary directory")?;
        Ok(Self { path, temporary: Some(temporary) })
    }

    /// The directory `path`, made if it is not there, and kept.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn given(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { path: make(path)?, temporary: None })
    }

    /// The directory, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory, also if it is temporary.
    pub fn keep(&mut self) {
        if let Some(temporary) = &mut self.temporary {
            temporary.disable_cleanup(true);
        }
    }
}

impl Drop for RunDirectory {
    /// A test that fails keeps its files, and says where they are.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
            let _ = writeln!(io::stderr(), "files are kept in {}:", self.path.display());
            list(&self.path);
        }
    }
}

/// Makes the directory `path` if it is not there, and returns it as an absolute path.
///
/// # Errors
/// It cannot be made.
pub fn make(path: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(path).with_context(|| format!("make the directory {}", path.display()))?;
    path.canonicalize().with_context(|| format!("find the directory {}", path.display()))
}

/// Prints every file with its size in bytes. Unreadable entries are left out: this is for people,
/// after a failure.
fn list(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            list(&path);
        } else {
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            let _ = writeln!(io::stderr(), "  {bytes:>12} {}", path.display());
        }
    }
}
