//! The end of an agency's day: waiting for the draw, and handing over the winners.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use protocol::limits::DOCUMENT_BYTES_MAX;
use protocol::{Response, limits};
use tracing::info;

use crate::bets::{self, Bets};
use crate::connection::Fault;
use crate::limits::WINNERS_BYTES_MAX;
use crate::replay::Stored;
use crate::session::{Ended, Session, first_word};
use crate::whole_file;

/// Which servers are asked.
#[derive(Debug)]
pub enum Servers<'b> {
    /// They know `AgencyStatus`: each is asked it first, which shows that it lives and, given the
    /// agency's own bets, that the draw waited for is theirs. Given these it is asked once more
    /// when the winners were told: what is stored may have been changed before the draw.
    Known(Option<Stored<'b>>),
    /// They do not.
    Old,
}

/// Waits for the draw and gives the winners' documents, `;` between them.
///
/// # Errors
/// See [`Ended`].
pub async fn wait(
    session: &mut Session,
    mut servers: Servers<'_>,
    rows: Option<u64>,
) -> Result<Arc<str>, Ended> {
    let bytes_max = answer_bytes_max(rows);
    session.progressed();
    loop {
        if let Servers::Known(own) = &mut servers {
            let status = session.status().await?;
            if let Some(own) = own {
                own.check_closed(status)?;
            }
            session.reached();
        }
        match session.ask_for_winners(bytes_max).await? {
            Ok(Response::Winners(documents)) => {
                session.progressed();
                if let Servers::Known(Some(own)) = &mut servers {
                    own.check_drawn(session.status().await?)?;
                }
                return Ok(documents);
            }
            Ok(Response::Error(reason)) => match first_word(&reason) {
                "agency" | "invalid" => return Err(Ended::refused(&reason)),
                _ => session.leave(&Fault::Busy(reason)),
            },
            Ok(other) => session.leave(&Fault::nonsense(&other)),
            // It took the packet and waits for the draw: it was reached.
            Err(Fault::AnswerTimeout(_)) => session.reached(),
            Err(_) => {}
        }
    }
}

/// Checks that every winner is one of `bets`, which are from `source`. How often each won is not
/// looked at: what a server stored twice wins twice.
///
/// # Errors
/// [`Ended::Conflict`]: one is not.
pub fn check_own(winners: &str, bets: &Bets, source: &str) -> Result<(), Ended> {
    let mut foreign: HashSet<&str> = documents(winners).collect();
    let mut own = bets.documents();
    while !foreign.is_empty()
        && let Some(document) = own.next()
    {
        foreign.remove(document);
    }
    let first = documents(winners).find(|document| foreign.contains(document));
    let Some(document) = first else { return Ok(()) };
    let document = bets::shown(document);
    Err(Ended::Conflict(format!(
        "{document} is told as a winner's document and is none of {source}: the volume was changed \
         or its draw archived meanwhile, or another file was sent for this agency; no winners are \
         printed"
    )))
}

fn documents(winners: &str) -> impl Iterator<Item = &str> {
    winners.split(';').filter(|document| !document.is_empty())
}

/// So long is the answer at most if every one of `rows` rows wins.
fn answer_bytes_max(rows: Option<u64>) -> usize {
    let rows = rows.and_then(|rows| usize::try_from(rows).ok());
    let longest = rows.and_then(|rows| rows.checked_mul(DOCUMENT_BYTES_MAX + 1));
    longest.and_then(|bytes| bytes.checked_add(limits::LINE_BYTES_MAX)).unwrap_or(WINNERS_BYTES_MAX)
}

/// Writes the winners' documents one a line to `out` and, if there is to be one, to a file that is
/// there whole or not at all; then logs how many there are.
///
/// # Errors
/// `out` or the file cannot be written.
pub fn hand_over(winners: &str, out: &mut impl Write, file: Option<&Path>) -> io::Result<()> {
    let documents: Vec<&str> = documents(winners).collect();
    let mut lines = String::new();
    for document in &documents {
        lines.push_str(document);
        lines.push('\n');
    }
    // Printed first: a file that cannot be written must not keep the winners from anybody.
    out.write_all(lines.as_bytes())?;
    out.flush()?;
    if let Some(path) = file {
        write_file(path, lines.as_bytes()).map_err(|error| {
            let text = format!("write {} (CLI_WINNERS_FILE): {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
    }
    let cant_ganadores = documents.len();
    info!(action = "consulta_ganadores", result = "success", cant_ganadores);
    Ok(())
}

/// Whether the winners can be written to `path` when they are known, as far as that can be told
/// without writing there: a pipe, say, may have no reader yet.
///
/// # Errors
/// What writing would fail with.
pub fn check_file(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_) if path.is_symlink() => OpenOptions::new().append(true).open(path).map(|_| ()),
        // It leads to what is not there yet.
        Err(_) if path.is_symlink() => Ok(()),
        _ => whole_file::check(path),
    }
}

/// A device, a pipe or a link is written where it is: a rename would put a file in its place.
fn write_file(path: &Path, lines: &[u8]) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => fs::write(path, lines),
        _ => whole_file::write(path, |file| file.write_all(lines)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_and_winners_are_printed_whatever_the_file_does() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        hand_over("1;2", &mut Vec::new(), Some(&link)).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "1\n2\n");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let mut printed = Vec::new();
        let error = hand_over("1", &mut printed, Some(directory.path())).unwrap_err();
        assert!(error.to_string().contains("CLI_WINNERS_FILE"), "{error}");
        assert_eq!(printed, b"1\n");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_known_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "old").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("new"), path("dangling")).unwrap();
        for name in ["file", "link", "dangling", "another"] {
            check_file(&path(name)).unwrap();
        }
        check_file(Path::new("/dev/null")).unwrap();
        for name in ["", "none/file", "file/within"] {
            check_file(&path(name)).unwrap_err();
        }
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn an_answer_may_be_as_long_as_every_row_winning() {
        assert_eq!(answer_bytes_max(Some(0)), limits::LINE_BYTES_MAX);
        assert_eq!(answer_bytes_max(Some(1000)), 21_000 + limits::LINE_BYTES_MAX);
        assert_eq!(answer_bytes_max(None), WINNERS_BYTES_MAX);
        assert_eq!(answer_bytes_max(Some(u64::MAX)), WINNERS_BYTES_MAX);
    }

    #[test]
    fn winners_are_of_the_own_bets_as_often_as_they_like() {
        let bets = Bets::read(&b"Ana,Paz,1,2000-01-01,7\nLeo,1,X2,2000-01-02,8\n"[..]).unwrap();
        for (winners, foreign) in [
            ("", None),
            ("X2;1;1", None),
            ("1;3;4", Some("\"3\" is told")),
            ("Paz", Some("\"Paz\" is told")),
            ("1;\u{1b}[2J", Some("\"\\u{1b}[2J\" is told")),
        ] {
            let told = check_own(winners, &bets, "a.csv").err().map(|ended| ended.to_string());
            let is_right = match (&told, foreign) {
                (Some(told), Some(foreign)) => told.starts_with(&format!("conflict: {foreign}")),
                (told, foreign) => told.is_none() && foreign.is_none(),
            };
            assert!(is_right, "{winners}: {told:?}");
        }
        check_own("1", &Bets::default(), "a.csv").unwrap_err();
    }

    #[test]
    fn the_file_has_one_document_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("winners.txt");
        for (documents, lines) in [("30876370;24807259", "30876370\n24807259\n"), ("", "")] {
            let mut out = Vec::new();
            hand_over(documents, &mut out, Some(&path)).unwrap();
            assert_eq!(out, lines.as_bytes());
            assert_eq!(fs::read_to_string(&path).unwrap(), lines);
        }
    }
}
