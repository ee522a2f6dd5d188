//! The end of an agency run: wait for the draw, check the winners, and write them.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use protocol::limits::DOCUMENT_BYTES_MAX;
use protocol::{Response, limits};
use tracing::info;

use crate::atomic_file;
use crate::bets::{self, Bets};
use crate::limits::WINNERS_BYTES_MAX;
use crate::replay::StoredRows;
use crate::server_connection::ExchangeError;
use crate::session::{Session, SessionError, first_word};

/// What kind of servers is asked for the winners.
#[derive(Debug)]
pub enum Servers<'b> {
    /// Servers that know `AgencyStatus`. The client asks it before each wait: the answer shows that
    /// the server lives and, with the agency's own rows, that it waits for the right draw. With
    /// these rows it asks once more after the winners, because the stored rows may have been
    /// changed before the draw.
    Current(Option<StoredRows<'b>>),
    /// Legacy servers.
    Legacy,
}

/// Waits for the draw and returns the winners' documents, with `;` between them. The answer may be
/// as long as it is if every one of the agency's rows wins. A bet that a legacy server stored twice
/// wins twice, so the number of rows is no limit there.
///
/// # Errors
/// See [`SessionError`].
pub async fn wait(
    session: &mut Session,
    mut servers: Servers<'_>,
) -> Result<Arc<str>, SessionError> {
    let bytes_max = answer_bytes_max(match &servers {
        Servers::Current(own) => own.map(|own| own.input.bets.rows()),
        Servers::Legacy => None,
    });
    session.note_progress();
    loop {
        if let Servers::Current(own) = &mut servers {
            let status = session.status().await?;
            if let Some(own) = own {
                own.check_closed(status)?;
            }
            session.note_reachable();
        }
        match session.ask_for_winners(bytes_max).await? {
            Ok(Response::Winners(documents)) => {
                session.note_progress();
                if let Servers::Current(Some(own)) = &mut servers {
                    own.check_drawn(session.status().await?)?;
                }
                return Ok(documents);
            }
            Ok(Response::Error(reason)) => match first_word(&reason) {
                "agency" | "invalid" => return Err(SessionError::refused(&reason)),
                _ => session.leave_server(&ExchangeError::Busy(reason)),
            },
            Ok(other) => session.leave_server(&ExchangeError::unexpected(&other)),
            // It accepted the packet and waits for the draw, so it is reachable.
            Err(ExchangeError::AnswerTimeout(_)) => session.note_reachable(),
            Err(_) => {}
        }
    }
}

/// Checks that each winner's document is one of `bets`, which are from `source`. A document may win
/// more than once: a bet that a legacy server stored twice wins twice.
///
/// # Errors
/// [`SessionError::Conflict`] names the first document that is not.
pub fn check_documents(winners: &str, bets: &Bets, source: &str) -> Result<(), SessionError> {
    let mut foreign: HashSet<&str> = documents(winners).collect();
    let mut own = bets.documents();
    while !foreign.is_empty()
        && let Some(document) = own.next()
    {
        foreign.remove(document);
    }
    let first = documents(winners).find(|document| foreign.contains(document));
    let Some(document) = first else { return Ok(()) };
    let document = bets::quoted(document);
    Err(SessionError::Conflict(format!(
        "the winner's document {document} is not in {source}: the volume was changed or its draw \
         was archived meanwhile, or another file was sent for this agency; no winners are printed"
    )))
}

fn documents(winners: &str) -> impl Iterator<Item = &str> {
    winners.split(';').filter(|document| !document.is_empty())
}

/// The length of the longest answer, in bytes, if each of `rows` rows wins.
fn answer_bytes_max(rows: Option<u64>) -> usize {
    let rows = rows.and_then(|rows| usize::try_from(rows).ok());
    let longest = rows.and_then(|rows| rows.checked_mul(DOCUMENT_BYTES_MAX + 1));
    longest.and_then(|bytes| bytes.checked_add(limits::LINE_BYTES_MAX)).unwrap_or(WINNERS_BYTES_MAX)
}

/// Writes the winners' documents, one a line, to `out` and, if there is a `file`, to that file as a
/// whole or not at all. Then logs how many there are.
///
/// # Errors
/// `out` or the file cannot be written.
pub fn write_winners(winners: &str, out: &mut impl Write, file: Option<&Path>) -> io::Result<()> {
    let documents: Vec<&str> = documents(winners).collect();
    let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
    // Standard output first: if the file cannot be written, the winners are printed nevertheless.
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

/// Checks that the winners can be written to `path` later, as far as this shows without writing.
/// A pipe is not opened, because it may have no reader yet.
///
/// # Errors
/// The error with which writing would fail.
pub fn check_file(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_) if path.is_symlink() => OpenOptions::new().append(true).open(path).map(|_| ()),
        // The link's target does not exist yet.
        Err(_) if path.is_symlink() => Ok(()),
        _ => atomic_file::check(path),
    }
}

/// A device, a pipe or a link is written in place, because a rename would replace it by a file.
fn write_file(path: &Path, lines: &[u8]) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => fs::write(path, lines),
        _ => atomic_file::write(path, |file| file.write_all(lines)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_one_document_a_line_and_a_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (documents, lines) in [("30876370;24807259", "30876370\n24807259\n"), ("", "")] {
            let mut printed = Vec::new();
            write_winners(documents, &mut printed, Some(&link)).unwrap();
            assert_eq!((printed, fs::read_to_string(&file).unwrap()), (lines.into(), lines.into()));
        }
        assert!(link.symlink_metadata().unwrap().is_symlink());
        // Winners are printed also if the file cannot be written.
        let mut printed = Vec::new();
        let error = write_winners("1", &mut printed, Some(directory.path())).unwrap_err();
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
}
