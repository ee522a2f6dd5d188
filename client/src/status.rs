//! How an agency's own bets compare with what is stored, for `client status`.

use program::exit::Exit;
use protocol::AgencyState;

use crate::bets::Bets;
use crate::session::Status;

/// Compares `bets`, if there are any, with the stored rows. Returns the result in words, and
/// [`Exit::Failed`] if these bets cannot be sent.
#[must_use]
pub fn compare(status: Status, bets: Option<&Bets>) -> (String, Exit) {
    let Some(bets) = bets else { return ("none".to_owned(), Exit::Right) };
    let Status { rows, digest, state } = status;
    if bets.digest(rows) != Some(digest) {
        let conflict = "conflict, they do not begin with what is stored";
        return (conflict.to_owned(), Exit::Failed);
    }
    match bets.rows() - rows {
        0 => ("the same".to_owned(), Exit::Right),
        rest if state == AgencyState::Open => (format!("{rest} to send"), Exit::Right),
        rest => {
            let conflict = format!("conflict, {rest} are not stored, and the agency is {state}");
            (conflict, Exit::Failed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Digest;

    #[test]
    fn own_bets_are_compared_by_their_digest() {
        let bets = Bets::read(&b"Ana,Paz,1,2000-01-01,7\nLeo,Sol,2,2000-01-02,8\n"[..]).unwrap();
        let digest = |rows| bets.digest(rows).unwrap();
        let (open, closed, drawn) = (AgencyState::Open, AgencyState::Closed, AgencyState::Drawn);
        for (rows, digest, state, wanted, exit) in [
            (0, digest(0), open, "2 to send", Exit::Right),
            (1, digest(1), open, "1 to send", Exit::Right),
            (1, digest(1), closed, "conflict, 1 are not stored, and the agency is", Exit::Failed),
            (0, digest(0), drawn, "conflict, 2 are not stored, and the agency is", Exit::Failed),
            (2, digest(2), drawn, "the same", Exit::Right),
            (1, digest(2), open, "conflict, they do not begin with", Exit::Failed),
            (3, Digest::default(), open, "conflict, they do not begin with", Exit::Failed),
        ] {
            let (text, code) = compare(Status { rows, digest, state }, Some(&bets));
            assert!(text.starts_with(wanted) && code == exit, "{rows}: {text}, {code:?}");
        }
    }
}
