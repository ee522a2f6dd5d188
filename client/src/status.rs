//! The report of `client status`: what is stored for an agency, and how its own bets compare.

use std::fmt;

use protocol::{AgencyId, AgencyState};

use crate::bets::Bets;
use crate::session::Status;

/// What is stored for an agency, beside its own bets.
#[derive(Debug)]
pub struct StatusReport<'b> {
    /// The agency.
    pub agency: AgencyId,
    /// A server's answer.
    pub status: Status,
    /// The agency's own bets, if it has any to compare.
    pub bets: Option<&'b Bets>,
}

/// How an agency's own bets compare with what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// They are the stored rows.
    Same,
    /// They begin with the stored rows; this number is not stored yet.
    ToSend(u64),
    /// They begin with the stored rows; this number is not stored, and the agency has closed.
    Missing(u64),
    /// They do not begin with the stored rows.
    Conflict,
}

impl StatusReport<'_> {
    /// How the own bets compare; `None` if there are none.
    #[must_use]
    pub fn comparison(&self) -> Option<Comparison> {
        let (bets, stored) = (self.bets?, self.status.rows);
        Some(match bets.digest(stored) {
            Some(digest) if digest == self.status.digest => match bets.rows() - stored {
                0 => Comparison::Same,
                rows if self.status.state == AgencyState::Open => Comparison::ToSend(rows),
                rows => Comparison::Missing(rows),
            },
            _ => Comparison::Conflict,
        })
    }
}

impl fmt::Display for StatusReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { rows, digest, state } = self.status;
        writeln!(f, "agency: {}", self.agency)?;
        writeln!(f, "stored rows: {rows}")?;
        writeln!(f, "digest: {digest}")?;
        writeln!(f, "state: {state}")?;
        match self.comparison() {
            None => writeln!(f, "own bets: none"),
            Some(Comparison::Same) => writeln!(f, "own bets: the same"),
            Some(Comparison::ToSend(rows)) => writeln!(f, "own bets: {rows} to send"),
            Some(Comparison::Missing(rows)) => {
                writeln!(f, "own bets: conflict, {rows} are not stored, and the agency is {state}")
            }
            Some(Comparison::Conflict) => {
                writeln!(f, "own bets: conflict, they do not begin with what is stored")
            }
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
        for (rows, digest, state, wanted) in [
            (0, digest(0), open, Comparison::ToSend(2)),
            (1, digest(1), open, Comparison::ToSend(1)),
            (1, digest(1), closed, Comparison::Missing(1)),
            (0, digest(0), drawn, Comparison::Missing(2)),
            (2, digest(2), drawn, Comparison::Same),
            (1, digest(2), open, Comparison::Conflict),
            (3, Digest::default(), open, Comparison::Conflict),
        ] {
            let status = Status { rows, digest, state };
            let agency = AgencyId::new(1).unwrap();
            let standing = StatusReport { agency, status, bets: Some(&bets) };
            assert_eq!(standing.comparison(), Some(wanted), "{rows}");
        }
    }
}
