//! The packets to a server, read and written.

use std::fmt;

use crate::Digest;
use crate::bets::WireBets;
use crate::body_error::BodyError;
use crate::response::{Outcome, Refusal, Response};
use crate::values::{AgencyId, parse_digits};

/// A packet to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store one bet.
    StoreBet {
        /// The agency.
        agency: AgencyId,
        /// The bet. [`Request::parse`] accepts exactly one.
        bet: WireBets<'a>,
    },
    /// Store these bets after the agency's last row. Sent again, they are stored again.
    StoreBatch {
        /// The packet's form.
        form: BatchForm,
        /// The agency.
        agency: AgencyId,
        /// The bets.
        bets: WireBets<'a>,
    },
    /// Store these bets as the agency's rows from `first_row`. Safe to repeat.
    StoreRows {
        /// The agency.
        agency: AgencyId,
        /// The row of the first bet, from 1.
        first_row: u64,
        /// The bets.
        bets: WireBets<'a>,
    },
    /// Close the agency: it will send no more bets.
    AgencyClose {
        /// The agency.
        agency: AgencyId,
        /// The number of rows that it has sent. A close with it is answered.
        rows: Option<u64>,
    },
    /// Ask for the agency's status.
    AgencyStatus {
        /// The agency.
        agency: AgencyId,
    },
    /// Ask for the agency's winners. Answered when the draw is held.
    WinnersRequest {
        /// The agency.
        agency: AgencyId,
    },
}

/// The form of a `StoreBatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchForm {
    /// `agency;first;…;number:first;…`: the agency is a field before the first bet.
    Ours,
    /// `agency:first;…;number:first;…`: the only form that the reference's client sends and its
    /// server accepts. A server closes the connection after its answer.
    Reference,
}

/// The types of packets to a server. A close with a row count is another type than one without,
/// because only the former has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketType {
    /// `StoreBet:`
    StoreBet,
    /// `StoreBatch:`
    StoreBatch(BatchForm),
    /// `StoreRows:`
    StoreRows,
    /// `AgencyClose:agency`
    AgencyClose,
    /// `AgencyClose:agency;rows`
    DeclaredClose,
    /// `AgencyStatus:`
    AgencyStatus,
    /// `WinnersRequest:`
    WinnersRequest,
}

impl BatchForm {
    /// The form of a `StoreBatch` with this body. Its first separator decides.
    fn of(body: &[u8]) -> Self {
        let separator = body.iter().find(|byte| matches!(byte, b';' | b':'));
        if separator == Some(&b':') { Self::Reference } else { Self::Ours }
    }
}

impl PacketType {
    pub(crate) fn of(name: &[u8], body: &[u8]) -> Option<Self> {
        Some(match name {
            b"StoreBet" => Self::StoreBet,
            b"StoreBatch" => Self::StoreBatch(BatchForm::of(body)),
            b"StoreRows" => Self::StoreRows,
            b"AgencyClose" if body.contains(&b';') => Self::DeclaredClose,
            b"AgencyClose" => Self::AgencyClose,
            b"AgencyStatus" => Self::AgencyStatus,
            b"WinnersRequest" => Self::WinnersRequest,
            _ => return None,
        })
    }

    /// The packet's name, which is before its first `:`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StoreBet => "StoreBet",
            Self::StoreBatch(_) => "StoreBatch",
            Self::StoreRows => "StoreRows",
            Self::AgencyClose | Self::DeclaredClose => "AgencyClose",
            Self::AgencyStatus => "AgencyStatus",
            Self::WinnersRequest => "WinnersRequest",
        }
    }

    /// Whether the server closes the connection after the answer. The reference's client opens a
    /// connection for each packet, and the side that closes first keeps the port for a minute
    /// (TIME_WAIT). If that were the client, it would run out of ports.
    #[must_use]
    pub fn ends_connection(self) -> bool {
        self == Self::StoreBatch(BatchForm::Reference)
    }

    /// A refusal of this type of packet: the type's own answer, or `Error:` if it has none.
    #[must_use]
    pub fn refuse(self, refusal: Refusal, reason: impl fmt::Display) -> Response {
        let refused = || Outcome::Refused(refusal, reason.to_string());
        match self {
            Self::StoreBet | Self::StoreBatch(_) => Response::Store { stored: false },
            Self::StoreRows => {
                Response::StoreRows { outcome: refused(), rows: 0, digest: Digest::default() }
            }
            Self::DeclaredClose => Response::AgencyClose(refused()),
            Self::AgencyClose | Self::AgencyStatus | Self::WinnersRequest => {
                Response::Error(format!("{refusal} {reason}"))
            }
        }
    }
}

/// Why a line is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketError {
    /// The type is unknown.
    UnknownType,
    /// The type is known and the body is wrong.
    Body(PacketType, BodyError),
}

impl PacketError {
    /// The error for a line that is too long, from its first bytes.
    #[must_use]
    pub fn too_long(head: &[u8]) -> Self {
        match split_type(head).and_then(|(name, body)| PacketType::of(name, body)) {
            Some(packet) => Self::Body(packet, BodyError::TooLong),
            None => Self::UnknownType,
        }
    }

    /// The answer to the line.
    #[must_use]
    pub fn response(&self) -> Response {
        match self {
            Self::UnknownType => Response::Error("unknown packet".to_owned()),
            Self::Body(packet, error @ BodyError::Agency) => packet.refuse(Refusal::Agency, error),
            Self::Body(packet, error) => packet.refuse(Refusal::Invalid, error),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a line, without its `\n`, as a packet.
    ///
    /// # Errors
    /// [`PacketError`] has the reason and the answer.
    pub fn parse(line: &'a [u8]) -> Result<Self, PacketError> {
        let (name, body) = split_type(line).ok_or(PacketError::UnknownType)?;
        let packet = PacketType::of(name, body).ok_or(PacketError::UnknownType)?;
        Self::parse_body(packet, body).map_err(|error| PacketError::Body(packet, error))
    }

    fn parse_body(packet: PacketType, body: &'a [u8]) -> Result<Self, BodyError> {
        let body = simdutf8::basic::from_utf8(body).map_err(|_| BodyError::NotUtf8)?;
        match packet {
            PacketType::StoreBet => parse_bet(body),
            PacketType::StoreBatch(form) => parse_batch(form, body),
            PacketType::StoreRows => parse_rows(body),
            PacketType::DeclaredClose => {
                let (agency, rows) = body.split_once(';').unwrap_or((body, ""));
                let rows = row(rows, "the count of rows")?;
                Ok(Self::AgencyClose { agency: agency_of(agency)?, rows: Some(rows) })
            }
            PacketType::AgencyClose => {
                Ok(Self::AgencyClose { agency: agency_of(body)?, rows: None })
            }
            PacketType::AgencyStatus => Ok(Self::AgencyStatus { agency: agency_of(body)? }),
            PacketType::WinnersRequest => Ok(Self::WinnersRequest { agency: agency_of(body)? }),
        }
    }

    /// The packet's type.
    #[must_use]
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::StoreBet { .. } => PacketType::StoreBet,
            Self::StoreBatch { form, .. } => PacketType::StoreBatch(*form),
            Self::StoreRows { .. } => PacketType::StoreRows,
            Self::AgencyClose { rows: None, .. } => PacketType::AgencyClose,
            Self::AgencyClose { rows: Some(_), .. } => PacketType::DeclaredClose,
            Self::AgencyStatus { .. } => PacketType::AgencyStatus,
            Self::WinnersRequest { .. } => PacketType::WinnersRequest,
        }
    }

    /// The packet's agency.
    #[must_use]
    pub fn agency(&self) -> AgencyId {
        match *self {
            Self::StoreBet { agency, .. }
            | Self::StoreBatch { agency, .. }
            | Self::StoreRows { agency, .. }
            | Self::AgencyClose { agency, .. }
            | Self::AgencyStatus { agency }
            | Self::WinnersRequest { agency } => agency,
        }
    }

    /// Appends the packet with its `\n`. The caller keeps the line within
    /// [`crate::limits::LINE_BYTES_MAX`].
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut line = |line: fmt::Arguments<'_>| write_line(out, line);
        match self {
            Self::StoreBet { agency, bet } => {
                line(format_args!("StoreBet:{agency};{}", bet.text()))
            }
            Self::StoreBatch { form: BatchForm::Ours, agency, bets } => {
                line(format_args!("StoreBatch:{agency};{}", bets.text()));
            }
            Self::StoreBatch { form: BatchForm::Reference, agency, bets } => {
                write_rows_packet(*agency, None, bets.text(), out);
            }
            Self::StoreRows { agency, first_row, bets } => {
                write_rows_packet(*agency, Some(*first_row), bets.text(), out);
            }
            Self::AgencyClose { agency, rows: None } => line(format_args!("AgencyClose:{agency}")),
            Self::AgencyClose { agency, rows: Some(rows) } => {
                line(format_args!("AgencyClose:{agency};{rows}"));
            }
            Self::AgencyStatus { agency } => line(format_args!("AgencyStatus:{agency}")),
            Self::WinnersRequest { agency } => line(format_args!("WinnersRequest:{agency}")),
        }
    }
}

/// Appends a `StoreRows` packet or, without `first_row`, a `StoreBatch` packet in the reference's
/// form, with its `\n`. `bets` must be valid bets in the wire form, with `:` between them, which is
/// how a client keeps its file.
pub fn write_rows_packet(agency: AgencyId, first_row: Option<u64>, bets: &str, out: &mut Vec<u8>) {
    match first_row {
        Some(row) => write_line(out, format_args!("StoreRows:{agency};{row}:{bets}")),
        None => write_line(out, format_args!("StoreBatch:{agency}:{bets}")),
    }
}

fn write_line(out: &mut Vec<u8>, line: fmt::Arguments<'_>) {
    std::io::Write::write_fmt(out, line).expect("writing to a Vec cannot fail");
    out.push(b'\n');
}

/// The type of a packet and its body; `None` if there is no `:` between them.
pub(crate) fn split_type(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = line.split_at(memchr::memchr(b':', line)?);
    Some((name, rest.get(1..)?))
}

fn agency_of(text: &str) -> Result<AgencyId, BodyError> {
    text.parse().map_err(|_| BodyError::Agency)
}

fn row(text: &str, what: &'static str) -> Result<u64, BodyError> {
    parse_digits(text, 20).ok_or(BodyError::Row { what })
}

/// `agency;first;last;document;birthdate;number`
fn parse_bet(body: &str) -> Result<Request<'_>, BodyError> {
    let (agency, bet) = body.split_once(';').ok_or(BodyError::NoBets)?;
    Ok(Request::StoreBet { agency: agency_of(agency)?, bet: WireBets::parse_one(bet)? })
}

/// `agency;first;…;number:…` or `agency:first;…;number:…`. The agency ends at the first separator
/// of either kind.
fn parse_batch(form: BatchForm, body: &str) -> Result<Request<'_>, BodyError> {
    let (agency, bets) = body.split_once([';', ':']).ok_or(BodyError::NoBets)?;
    Ok(Request::StoreBatch { form, agency: agency_of(agency)?, bets: WireBets::parse(bets)? })
}

/// `agency;first_row:first;last;document;birthdate;number:…`
fn parse_rows(body: &str) -> Result<Request<'_>, BodyError> {
    let (head, bets) = body.split_once(':').ok_or(BodyError::NoBets)?;
    let (agency, first_row) = head.split_once(';').unwrap_or((head, ""));
    let agency = agency_of(agency)?;
    let first_row = row(first_row, "the first row")?;
    if first_row == 0 {
        return Err(BodyError::Row { what: "the first row, 0," });
    }
    Ok(Request::StoreRows { agency, first_row, bets: WireBets::parse(bets)? })
}

#[cfg(test)]
mod tests;
