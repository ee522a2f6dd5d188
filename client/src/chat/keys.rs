//! The key of a name: made at the first use, and kept in a file beside the claims.
//!
//! Whoever has the file has the name. Only one client at a time has it: two would number their
//! messages alike.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use fs2::FileExt;
use protocol::chat::{self, Name};
use rand::RngExt as _;

/// A key, for as long as this client has it.
#[derive(Debug)]
pub(super) struct Key {
    text: String,
    // Held: its lock is what keeps other clients from the name.
    _file: File,
}

impl Key {
    /// The key of `name`, made if there is none in `directory`.
    pub(super) fn of(directory: &Path, name: &Name) -> anyhow::Result<Self> {
        let path = directory.join(format!("{name}.key"));
        Self::open(directory, &path, name).with_context(|| {
            format!("use {}, the key of the name {name} (CLI_CLAIMS_DIR)", path.display())
        })
    }

    fn open(directory: &Path, path: &Path, name: &Name) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        let is_free = FileExt::try_lock_exclusive(&file).is_ok();
        ensure!(is_free, "another client of this machine talks as {name}");
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if text.trim().is_empty() {
            let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(32);
            text = letters.map(char::from).collect();
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
        }
        let text = text.trim().to_owned();
        chat::Key::new(&text).map_err(|error| anyhow::anyhow!("it holds no key: {error}"))?;
        Ok(Self { text, _file: file })
    }

    /// The key, for a packet.
    pub(super) fn get(&self) -> chat::Key<'_> {
        chat::Key::new(&self.text).expect("it was checked when it was read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_key_and_one_client_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let name: Name = "ana".parse().unwrap();
        let key = Key::of(directory.path(), &name).unwrap();
        let text = key.get().as_str().to_owned();
        let error = format!("{:#}", Key::of(directory.path(), &name).unwrap_err());
        assert!(error.contains("another client"), "{error}");
        drop(key);
        assert_eq!(Key::of(directory.path(), &name).unwrap().get().as_str(), text);
        std::fs::write(directory.path().join("leo.key"), "short").unwrap();
        let error =
            format!("{:#}", Key::of(directory.path(), &"leo".parse().unwrap()).unwrap_err());
        assert!(error.contains("leo.key") && error.contains("holds no key"), "{error}");
    }
}
