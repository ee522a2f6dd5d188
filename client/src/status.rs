//! What is stored for an agency, and how its own bets compare, for people and scripts.

use std::fmt;

use protocol::{AgencyId, AgencyState};

use crate::bets::Bets;
use crate::session::Status;

/// An agency's standing.
#[derive(Debug)]
pub struct Standing<'b> {
    /// The agency.
    pub agency: AgencyId,
    /// What a server said.
    pub status: Status,
    /// The agency's own bets, if there are any to compare.
    pub bets: Option<&'b Bets>,
}

/// How an agency's own bets compare with what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// They are what is stored.
    Same,
    /// They begin with what is stored; so many are to be sent.
    ToSend(u64),
    /// They begin with what is stored; so many are missing, and the agency may send no more.
    Missing(u64),
    /// They are something else.
    Conflict,
}

impl Standing<'_> {
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

impl fmt::Display for Standing<'_> {
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
            let standing = Standing { agency, status, bets: Some(&bets) };
            assert_eq!(standing.comparison(), Some(wanted), "{rows}");
        }
    }
}
