//! Looks at the draw's record from the moment that it is there: it never changes, and it is there
//! only when every agency has closed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::report::Report;
use harness::volume::Volume;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What was seen of the record of the draw.
#[derive(Debug)]
pub struct DrawWatch {
    volume: Volume,
    agencies: u32,
    report: Report,
    first: Option<Vec<u8>>,
    /// Which file it was, and when it was changed.
    version: Option<(u64, i64, i64)>,
}

/// Looks at the record over and over.
pub async fn watch(draw: Arc<Mutex<DrawWatch>>) {
    loop {
        draw.lock().unwrap_or_else(PoisonError::into_inner).look();
        sleep(LOOK_EVERY).await;
    }
}

impl DrawWatch {
    /// Of so many agencies' draw on `volume`, which was not looked at yet.
    #[must_use]
    pub fn new(volume: &Volume, agencies: u32, report: Report) -> Self {
        Self { volume: volume.clone(), agencies, report, first: None, version: None }
    }

    /// Looks at the record once.
    pub fn look(&mut self) {
        let version = fs::metadata(self.volume.draw()).ok();
        let version = version.map(|file| (file.ino(), file.mtime(), file.mtime_nsec()));
        if version == self.version {
            return;
        }
        self.version = version;
        let draw = fs::read(self.volume.draw()).ok();
        match (&self.first, draw) {
            (None, None) => {}
            (None, draw) => {
                self.first = draw;
                self.check_closes();
            }
            (Some(_), None) => self.report.violation("draw.json was there, and is gone"),
            (Some(first), Some(draw)) if *first == draw => {
                self.report.violation("draw.json was written again");
            }
            (Some(first), Some(draw)) => {
                let [was, is] = [first, &draw].map(|bytes| String::from_utf8_lossy(bytes));
                let differ = was.lines().zip(is.lines()).find(|(was, is)| was != is);
                let (was, is) = differ.unwrap_or((&was, &is));
                let (was, is) = (was.trim(), is.trim());
                self.report.violation(format!("draw.json had {was:?} and has {is:?} now"));
            }
        }
    }

    fn check_closes(&self) {
        let closes = fs::read_to_string(self.volume.agencies_closed()).unwrap_or_default();
        let is_closed = |agency: &u32| closes.lines().any(|line| line == agency.to_string());
        if let Some(agency) = (1..=self.agencies).find(|agency| !is_closed(agency)) {
            self.report.violation(format!(
                "draw.json is there, and agency {agency} is not in agencies_closed.txt"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_once_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (volume, report) = (Volume::new(directory.path()), Report::default());
        let mut seen = DrawWatch::new(&volume, 2, report.clone());
        // A rename makes it another file: that is seen however quickly it comes.
        let write = |text: &str| {
            let other = directory.path().join("draw.json.tmp");
            fs::write(&other, text).unwrap();
            fs::rename(other, volume.draw()).unwrap();
        };
        fs::write(volume.agencies_closed(), "2\n1\n").unwrap();
        for (text, wanted) in [
            (None, ""),
            (Some("first"), ""),
            (Some("first"), "written again"),
            (Some("second"), "had \"first\" and has \"second\" now"),
            (None, "gone"),
        ] {
            match text {
                Some(text) => write(text),
                None => drop(fs::remove_file(volume.draw())),
            }
            seen.look();
            report.assert_found(wanted);
            seen.look();
            report.assert_found("");
        }
        (seen.first, seen.version) = (None, None);
        fs::write(volume.agencies_closed(), "1\n").unwrap();
        write("third");
        seen.look();
        report.assert_found("agency 2 is not in");
    }
}
