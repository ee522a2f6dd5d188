//! The packets to an agency, written and read.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::digest::Digest;
use crate::values::parse_digits;

/// Why a request is refused, so that trying again will not help. The first word of a reason on the
/// wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The agency is unknown.
    Agency,
    /// The packet or a field of it breaks its rule.
    Invalid,
    /// The agency has closed.
    Closed,
    /// The draw is held.
    Drawn,
    /// There are rows missing between the last stored one and the batch.
    Gap,
    /// Only a part of the batch is stored already.
    Overlap,
    /// The row count of the close is not that of the stored rows.
    Short,
}

impl Refusal {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Agency, "agency"),
        (Self::Invalid, "invalid"),
        (Self::Closed, "closed"),
        (Self::Drawn, "drawn"),
        (Self::Gap, "gap"),
        (Self::Overlap, "overlap"),
        (Self::Short, "short"),
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(self, &Self::ALL))
    }
}

/// The result of a request: the `status` on the wire, and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 0: done, now or earlier.
    Done,
    /// 1: the server could not and has done nothing; try again.
    TryAgain(String),
    /// 2: refused; trying again will not help.
    Refused(Refusal, String),
}

/// The state of an agency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgencyState {
    /// It may send bets.
    Open,
    /// It has closed.
    Closed,
    /// The draw is held.
    Drawn,
}

impl AgencyState {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Open, "open"), (Self::Closed, "closed"), (Self::Drawn, "drawn")];
}

impl fmt::Display for AgencyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(self, &Self::ALL))
    }
}

/// The word on the wire for a value; `all` has every value with its word.
fn word_of<T: PartialEq>(value: &T, all: &[(T, &'static str)]) -> &'static str {
    let word = all.iter().find(|(other, _)| other == value).map(|(_, word)| *word);
    word.expect("every value has a word")
}

/// The value of a word on the wire.
fn value_of<T: Copy>(word: &str, all: &[(T, &'static str)]) -> Option<T> {
    all.iter().find(|(_, other)| *other == word).map(|(value, _)| *value)
}

/// The start of the answer to `WinnersRequest`, for callers that send a long answer in parts. The
/// documents and `\n` follow it.
pub const WINNERS_HEAD: &str = "WinnersResponse:";

/// A packet to an agency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// `StoreResponse:0` stored, `StoreResponse:1` not stored.
    Store {
        /// Whether the whole batch is stored; if not, none of it is.
        stored: bool,
    },
    /// `StoreRowsResponse:status;rows;digest[;reason]`
    StoreRows {
        /// The result.
        outcome: Outcome,
        /// The number of the agency's stored rows. It is meaningful with status 0 only, because
        /// other answers may be given without reading the store.
        rows: u64,
        /// Their digest.
        digest: Digest,
    },
    /// `AgencyCloseResponse:status[;reason]`
    AgencyClose(Outcome),
    /// `AgencyStatusResponse:rows;digest;state`
    AgencyStatus {
        /// The number of the agency's stored rows.
        rows: u64,
        /// Their digest.
        digest: Digest,
        /// The agency's state.
        state: AgencyState,
    },
    /// `WinnersResponse:document;document;…`, in the order of the agency's rows.
    Winners(Arc<str>),
    /// `Error:reason`, to a line that is not a packet.
    Error(String),
}

impl Response {
    /// Appends the packet with its `\n`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut line = |line: fmt::Arguments<'_>| {
            std::io::Write::write_fmt(out, line).expect("writing to a Vec cannot fail");
        };
        match self {
            Self::Store { stored } => line(format_args!("StoreResponse:{}", u8::from(!stored))),
            Self::StoreRows { outcome, rows, digest } => line(format_args!(
                "StoreRowsResponse:{};{rows};{digest}{}",
                outcome.status(),
                outcome.reason()
            )),
            Self::AgencyClose(outcome) => {
                line(format_args!("AgencyCloseResponse:{}{}", outcome.status(), outcome.reason()))
            }
            Self::AgencyStatus { rows, digest, state } => {
                line(format_args!("AgencyStatusResponse:{rows};{digest};{state}"));
            }
            Self::Winners(documents) => line(format_args!("{WINNERS_HEAD}{documents}")),
            Self::Error(reason) => line(format_args!("Error:{reason}")),
        }
        out.push(b'\n');
    }

    /// Reads a line, without its `\n`, as an answer.
    ///
    /// # Errors
    /// [`ResponseError`] if it is not one.
    pub fn parse(line: &[u8]) -> Result<Self, ResponseError> {
        str::from_utf8(line)
            .ok()
            .and_then(|line| line.split_once(':'))
            .and_then(|(name, body)| Self::parse_body(name, body))
            .ok_or(ResponseError)
    }

    fn parse_body(name: &str, body: &str) -> Option<Self> {
        Some(match name {
            "StoreResponse" => Self::Store {
                stored: match body {
                    "0" => true,
                    "1" => false,
                    _ => return None,
                },
            },
            "StoreRowsResponse" => {
                let mut fields = body.splitn(4, ';');
                let status = fields.next()?;
                let (rows, digest) = (row_count(fields.next()?)?, fields.next()?.parse().ok()?);
                let outcome = Outcome::parse(status, fields.next())?;
                Self::StoreRows { outcome, rows, digest }
            }
            "AgencyCloseResponse" => Self::AgencyClose(match body.split_once(';') {
                Some((status, reason)) => Outcome::parse(status, Some(reason))?,
                None => Outcome::parse(body, None)?,
            }),
            "AgencyStatusResponse" => {
                let mut fields = body.splitn(3, ';');
                Self::AgencyStatus {
                    rows: row_count(fields.next()?)?,
                    digest: fields.next()?.parse().ok()?,
                    state: fields.next()?.parse().ok()?,
                }
            }
            "WinnersResponse" => Self::Winners(body.into()),
            "Error" => Self::Error(body.to_owned()),
            _ => return None,
        })
    }
}

/// A line that is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an answer of this protocol")]
pub struct ResponseError;

fn row_count(text: &str) -> Option<u64> {
    parse_digits(text, 20)
}

impl FromStr for AgencyState {
    type Err = ResponseError;

    fn from_str(text: &str) -> Result<Self, ResponseError> {
        value_of(text, &Self::ALL).ok_or(ResponseError)
    }
}

impl Outcome {
    fn status(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::TryAgain(_) => 1,
            Self::Refused(..) => 2,
        }
    }

    /// The reason as it ends an answer: nothing, or `;` and the text.
    fn reason(&self) -> String {
        match self {
            Self::Done => String::new(),
            Self::TryAgain(reason) => format!(";{reason}"),
            Self::Refused(refusal, reason) => format!(";{refusal} {reason}"),
        }
    }

    fn parse(status: &str, reason: Option<&str>) -> Option<Self> {
        let reason = reason.unwrap_or_default();
        Some(match status {
            "0" => Self::Done,
            "1" => Self::TryAgain(reason.to_owned()),
            "2" => {
                let (word, rest) = reason.split_once(' ').unwrap_or((reason, ""));
                Self::Refused(value_of(word, &Refusal::ALL)?, rest.to_owned())
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_every_answer() {
        let digest = Digest::default().fold(b"x");
        let rows = |outcome| Response::StoreRows { outcome, rows: 7, digest };
        let gap = Outcome::Refused(Refusal::Gap, "at row 9".into());
        let short = Outcome::Refused(Refusal::Short, "7 of 9".into());
        let status = Response::AgencyStatus { rows: 7, digest, state: AgencyState::Drawn };
        for (response, line) in [
            (Response::Store { stored: true }, "StoreResponse:0"),
            (Response::Store { stored: false }, "StoreResponse:1"),
            (rows(Outcome::Done), "StoreRowsResponse:0;7;DIGEST"),
            (
                rows(Outcome::TryAgain("busy; later".into())),
                "StoreRowsResponse:1;7;DIGEST;busy; later",
            ),
            (rows(gap), "StoreRowsResponse:2;7;DIGEST;gap at row 9"),
            (Response::AgencyClose(Outcome::Done), "AgencyCloseResponse:0"),
            (Response::AgencyClose(short), "AgencyCloseResponse:2;short 7 of 9"),
            (status, "AgencyStatusResponse:7;DIGEST;drawn"),
            (Response::Winners("".into()), "WinnersResponse:"),
            (Response::Winners("1;2".into()), "WinnersResponse:1;2"),
            (Response::Error("no".into()), "Error:no"),
        ] {
            let line = line.replace("DIGEST", &digest.to_string());
            let mut out = Vec::new();
            response.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("{line}\n"));
            assert_eq!(Response::parse(line.as_bytes()), Ok(response), "{line}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for line in [
            "",
            "StoreResponse",
            "StoreResponse:2",
            "StoreRowsResponse:0;7",
            "StoreRowsResponse:2;7;0000000000000000;nonsense",
            "AgencyStatusResponse:7;0;open",
            "AgencyStatusResponse:7;;open",
            "AgencyStatusResponse:7;000000000000000g;open",
            "AgencyStatusResponse:7;+000000000000001;open",
            "AgencyStatusResponse:7;00000000000000000;open",
            "AgencyStatusResponse:-7;0000000000000000;open",
            "AgencyCloseResponse:3",
            "Unknown:1",
        ] {
            assert_eq!(Response::parse(line.as_bytes()), Err(ResponseError), "{line}");
        }
    }
}
