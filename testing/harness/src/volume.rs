//! The directory that the instances share, as a bystander sees it.
//!
//! Knows names and counts lines; takes no lock and writes nothing but what a test puts there.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A shared directory.
#[derive(Debug, Clone)]
pub struct Volume {
    path: PathBuf,
}

impl Volume {
    /// The volume in the directory `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `bets.csv`.
    #[must_use]
    pub fn bets(&self) -> PathBuf {
        self.path.join("bets.csv")
    }

    /// `agencies_closed.txt`.
    #[must_use]
    pub fn agencies_closed(&self) -> PathBuf {
        self.path.join("agencies_closed.txt")
    }

    /// `draw.json`.
    #[must_use]
    pub fn draw(&self) -> PathBuf {
        self.path.join("draw.json")
    }

    /// `archive`.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        self.path.join("archive")
    }
}

/// Counts the lines that a growing file has, reading only what came since the last look.
#[derive(Debug)]
pub struct LineCounter {
    path: PathBuf,
    file: Option<File>,
    lines: u64,
    buffer: Vec<u8>,
}

impl LineCounter {
    /// A counter of the file at `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, lines: 0, buffer: vec![0; 64 * 1024] }
    }

    /// How many line ends the file has now.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn count(&mut self) -> io::Result<u64> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                opened => self.file = Some(opened?),
            }
        }
        let Some(file) = &mut self.file else { return Ok(self.lines) };
        loop {
            let count = file.read(&mut self.buffer)?;
            let bytes = self.buffer.get(..count).unwrap_or_default();
            self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            if count == 0 {
                return Ok(self.lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_are_counted_as_they_come() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bets.csv");
        let mut counter = LineCounter::new(path.clone());
        assert_eq!(counter.count().unwrap(), 0);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"a\r\nb\nc").unwrap();
        assert_eq!(counter.count().unwrap(), 2);
        file.write_all(b"\n").unwrap();
        assert_eq!(counter.count().unwrap(), 3);
    }
}
