//! What an agency may ask: the packets to a server, read and written.

use std::fmt;

use crate::limits::BETS_MAX;
use crate::response::{Outcome, Refusal, Response};
use crate::values::{AgencyId, Bet, plain_digits};
use crate::{Digest, Field, limits};

/// A packet to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store one bet.
    StoreBet {
        /// Whose bet it is.
        agency: AgencyId,
        /// The bet.
        bet: Bet<'a>,
    },
    /// Store these bets after the agency's last row, whatever that is: sent again, they are
    /// stored again.
    StoreBatch {
        /// Whose bets they are.
        agency: AgencyId,
        /// One to [`BETS_MAX`] bets.
        bets: Vec<Bet<'a>>,
    },
    /// Store these bets as the agency's rows `first_row`…; safe to repeat.
    StoreRows {
        /// Whose bets they are.
        agency: AgencyId,
        /// The row of the first bet, from 1.
        first_row: u64,
        /// One to [`BETS_MAX`] bets.
        bets: Vec<Bet<'a>>,
    },
    /// The agency sends no more.
    AgencyClose {
        /// The agency that closes.
        agency: AgencyId,
        /// How many rows it has sent in all, if it says so; then the close is answered.
        rows: Option<u64>,
    },
    /// How many rows of the agency are stored?
    AgencyStatus {
        /// The agency that is asked about.
        agency: AgencyId,
    },
    /// Who has won? Answered when the draw is done.
    WinnersRequest {
        /// The agency whose winners are wanted.
        agency: AgencyId,
    },
}

/// The types of packets to a server; a close that declares its rows is a type of its own,
/// because only that one has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketType {
    /// `StoreBet:`
    StoreBet,
    /// `StoreBatch:`
    StoreBatch,
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

impl PacketType {
    fn of(name: &[u8], body: &[u8]) -> Option<Self> {
        Some(match name {
            b"StoreBet" => Self::StoreBet,
            b"StoreBatch" => Self::StoreBatch,
            b"StoreRows" => Self::StoreRows,
            b"AgencyClose" if body.contains(&b';') => Self::DeclaredClose,
            b"AgencyClose" => Self::AgencyClose,
            b"AgencyStatus" => Self::AgencyStatus,
            b"WinnersRequest" => Self::WinnersRequest,
            _ => return None,
        })
    }

    /// The name with which the packet starts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StoreBet => "StoreBet",
            Self::StoreBatch => "StoreBatch",
            Self::StoreRows => "StoreRows",
            Self::AgencyClose | Self::DeclaredClose => "AgencyClose",
            Self::AgencyStatus => "AgencyStatus",
            Self::WinnersRequest => "WinnersRequest",
        }
    }

    /// The refusal that fits this type of packet: its own, or `Error:` where it has none.
    #[must_use]
    pub fn refuse(self, refusal: Refusal, reason: impl fmt::Display) -> Response {
        let refused = || Outcome::Refused(refusal, reason.to_string());
        match self {
            Self::StoreBet | Self::StoreBatch => Response::Store { stored: false },
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

/// Why a packet of a known type is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The text is not UTF-8.
    #[error("the packet is not UTF-8")]
    NotUtf8,
    /// The line is longer than a packet may be.
    #[error("the packet is longer than {} bytes", limits::LINE_BYTES_MAX)]
    TooLong,
    /// The agency is no agency number.
    #[error("the agency is not a number from 1 to {}", limits::AGENCIES_MAX)]
    Agency,
    /// The packet has too few or too many fields.
    #[error("bet {bet} has {fields} fields instead of {wanted}")]
    Fields {
        /// Which bet of the packet, from 1.
        bet: usize,
        /// How many fields it has.
        fields: usize,
        /// How many it should have.
        wanted: usize,
    },
    /// A field of a bet breaks its rule.
    #[error("bet {bet}: {field} is not {allowed}")]
    Bet {
        /// Which bet of the packet, from 1.
        bet: usize,
        /// Which field it is.
        field: Field,
        /// What is allowed there.
        allowed: &'static str,
    },
    /// There is no bet in the packet.
    #[error("the packet holds no bet")]
    NoBets,
    /// The first row or the count of rows is no number.
    #[error("{what} is not a row number in plain digits")]
    Row {
        /// What should have been a number.
        what: &'static str,
    },
}

/// A line that is no packet, and what to answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The type is not known.
    Unknown,
    /// The type is known, the rest is wrong.
    Packet(PacketType, RequestError),
}

impl Malformed {
    /// What an over-long line was meant to be, from its first bytes.
    #[must_use]
    pub fn too_long(head: &[u8]) -> Self {
        match split_type(head).and_then(|(name, body)| PacketType::of(name, body)) {
            Some(packet) => Self::Packet(packet, RequestError::TooLong),
            None => Self::Unknown,
        }
    }

    /// The answer to such a line.
    #[must_use]
    pub fn response(&self) -> Response {
        match self {
            Self::Unknown => Response::Error("unknown packet".to_owned()),
            Self::Packet(packet, error @ RequestError::Agency) => {
                packet.refuse(Refusal::Agency, error)
            }
            Self::Packet(packet, error) => packet.refuse(Refusal::Invalid, error),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a line, without its `\n`, as a packet.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong, and what to answer.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let (name, body) = split_type(line).ok_or(Malformed::Unknown)?;
        let packet = PacketType::of(name, body).ok_or(Malformed::Unknown)?;
        Self::parse_body(packet, body).map_err(|error| Malformed::Packet(packet, error))
    }

    fn parse_body(packet: PacketType, body: &'a [u8]) -> Result<Self, RequestError> {
        let body = str::from_utf8(body).map_err(|_| RequestError::NotUtf8)?;
        match packet {
            PacketType::StoreBet => parse_bet(body),
            PacketType::StoreBatch => parse_batch(body),
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

    /// Which type of packet this is.
    #[must_use]
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::StoreBet { .. } => PacketType::StoreBet,
            Self::StoreBatch { .. } => PacketType::StoreBatch,
            Self::StoreRows { .. } => PacketType::StoreRows,
            Self::AgencyClose { rows: None, .. } => PacketType::AgencyClose,
            Self::AgencyClose { rows: Some(_), .. } => PacketType::DeclaredClose,
            Self::AgencyStatus { .. } => PacketType::AgencyStatus,
            Self::WinnersRequest { .. } => PacketType::WinnersRequest,
        }
    }

    /// The agency that the packet is about.
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

    /// Appends the packet with its `\n`. A batch takes the form whose agency stands before the
    /// first bet. Whoever sends it sees to [`limits::LINE_BYTES_MAX`].
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::StoreBet { agency, bet } => {
                write_head(out, format_args!("StoreBet:{agency};"));
                bet.write_wire(out);
            }
            Self::StoreBatch { agency, bets } => {
                write_head(out, format_args!("StoreBatch:{agency};"));
                write_bets(bets, out);
            }
            Self::StoreRows { agency, first_row, bets } => {
                write_head(out, format_args!("StoreRows:{agency};{first_row}:"));
                write_bets(bets, out);
            }
            Self::AgencyClose { agency, rows: None } => {
                write_head(out, format_args!("AgencyClose:{agency}"));
            }
            Self::AgencyClose { agency, rows: Some(rows) } => {
                write_head(out, format_args!("AgencyClose:{agency};{rows}"));
            }
            Self::AgencyStatus { agency } => {
                write_head(out, format_args!("AgencyStatus:{agency}"));
            }
            Self::WinnersRequest { agency } => {
                write_head(out, format_args!("WinnersRequest:{agency}"));
            }
        }
        out.push(b'\n');
    }
}

/// Appends a `StoreRows` packet, or without `first_row` a `StoreBatch` packet, with its `\n`.
/// `bets` are valid bets as they stand on the wire, a `:` between them: what a client has at hand
/// after it has read its file.
pub fn write_rows_packet(agency: AgencyId, first_row: Option<u64>, bets: &str, out: &mut Vec<u8>) {
    match first_row {
        Some(row) => write_head(out, format_args!("StoreRows:{agency};{row}:")),
        None => write_head(out, format_args!("StoreBatch:{agency};")),
    }
    out.extend_from_slice(bets.as_bytes());
    out.push(b'\n');
}

fn write_head(out: &mut Vec<u8>, head: fmt::Arguments<'_>) {
    std::io::Write::write_fmt(out, head).expect("a Vec takes every byte");
}

fn write_bets(bets: &[Bet<'_>], out: &mut Vec<u8>) {
    for (place, bet) in bets.iter().enumerate() {
        if place > 0 {
            out.push(b':');
        }
        bet.write_wire(out);
    }
}

fn split_type(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = line.split_at(memchr::memchr(b':', line)?);
    Some((name, rest.get(1..)?))
}

fn agency_of(text: &str) -> Result<AgencyId, RequestError> {
    text.parse().map_err(|_| RequestError::Agency)
}

fn row(text: &str, what: &'static str) -> Result<u64, RequestError> {
    plain_digits(text, 20).ok_or(RequestError::Row { what })
}

/// `agency;first;last;document;birthdate;number`
fn parse_bet(body: &str) -> Result<Request<'_>, RequestError> {
    let (agency, bet) = with_agency(body)?;
    Ok(Request::StoreBet { agency, bet })
}

/// Told apart by the first segment: one field is an agency alone, more are an agency and a bet.
fn parse_batch(body: &str) -> Result<Request<'_>, RequestError> {
    let (first, rest) = match body.split_once(':') {
        Some((first, rest)) => (first, Some(rest)),
        None => (body, None),
    };
    let mut bets = Vec::new();
    let agency = if first.contains(';') {
        let (agency, bet) = with_agency(first)?;
        bets.reserve(bets_in(rest.unwrap_or_default()) + 1);
        bets.push(bet);
        agency
    } else {
        agency_of(first)?
    };
    match rest {
        Some(rest) => push_bets(rest, &mut bets)?,
        None if bets.is_empty() => return Err(RequestError::NoBets),
        None => {}
    }
    Ok(Request::StoreBatch { agency, bets })
}

/// `agency;first_row:first;last;document;birthdate;number:…`
fn parse_rows(body: &str) -> Result<Request<'_>, RequestError> {
    let (head, rest) = body.split_once(':').ok_or(RequestError::NoBets)?;
    let (agency, first_row) = head.split_once(';').unwrap_or((head, ""));
    let agency = agency_of(agency)?;
    let first_row = row(first_row, "the first row")?;
    if first_row == 0 {
        return Err(RequestError::Row { what: "the first row, 0," });
    }
    let mut bets = Vec::new();
    push_bets(rest, &mut bets)?;
    Ok(Request::StoreRows { agency, first_row, bets })
}

/// A guess that saves growing; never more than a packet can hold.
fn bets_in(text: &str) -> usize {
    (text.len() / 40).min(BETS_MAX)
}

fn push_bets<'a>(text: &'a str, bets: &mut Vec<Bet<'a>>) -> Result<(), RequestError> {
    bets.reserve(bets_in(text) + 1);
    for segment in text.split(':') {
        let place = bets.len() + 1;
        let fields = fields_of(segment, place)?;
        bets.push(bet_of(fields, place)?);
    }
    Ok(())
}

/// A first bet with its agency before it.
fn with_agency(text: &str) -> Result<(AgencyId, Bet<'_>), RequestError> {
    let [agency, bet @ ..]: [&str; 6] = fields_of(text, 1)?;
    Ok((agency_of(agency)?, bet_of(bet, 1)?))
}

fn bet_of(fields: [&str; 5], bet: usize) -> Result<Bet<'_>, RequestError> {
    Bet::new(fields).map_err(|e| RequestError::Bet { bet, field: e.field, allowed: e.allowed })
}

fn fields_of<const N: usize>(text: &str, bet: usize) -> Result<[&str; N], RequestError> {
    let mut fields = [""; N];
    let mut count = 0;
    for field in text.split(';') {
        if let Some(place) = fields.get_mut(count) {
            *place = field;
        }
        count += 1;
    }
    if count == N {
        Ok(fields)
    } else {
        Err(RequestError::Fields { bet, fields: count, wanted: N })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANA: &str = "Ana;Paz;1;2000-01-01;7";
    const LEO: &str = "Leo;Sol;2;2000-01-02;8";

    fn parse(line: &str) -> Result<Request<'_>, Malformed> {
        Request::parse(line.as_bytes())
    }

    fn bet(text: &str) -> Bet<'_> {
        bet_of(fields_of(text, 1).unwrap(), 1).unwrap()
    }

    fn agency(number: u32) -> AgencyId {
        AgencyId::new(number).unwrap()
    }

    #[test]
    fn reads_every_form() {
        let bets = || vec![bet(ANA), bet(LEO)];
        for (line, request) in [
            (format!("StoreBet:3;{ANA}"), Request::StoreBet { agency: agency(3), bet: bet(ANA) }),
            (
                format!("StoreBatch:3;{ANA}:{LEO}"),
                Request::StoreBatch { agency: agency(3), bets: bets() },
            ),
            (
                format!("StoreBatch:3:{ANA}:{LEO}"),
                Request::StoreBatch { agency: agency(3), bets: bets() },
            ),
            (
                format!("StoreRows:3;9:{ANA}:{LEO}"),
                Request::StoreRows { agency: agency(3), first_row: 9, bets: bets() },
            ),
            ("AgencyClose:3".into(), Request::AgencyClose { agency: agency(3), rows: None }),
            ("AgencyClose:3;0".into(), Request::AgencyClose { agency: agency(3), rows: Some(0) }),
            ("AgencyStatus:3".into(), Request::AgencyStatus { agency: agency(3) }),
            ("WinnersRequest:3".into(), Request::WinnersRequest { agency: agency(3) }),
        ] {
            assert_eq!(parse(&line), Ok(request), "{line}");
        }
    }

    #[test]
    fn answers_what_is_malformed_as_its_type_wants() {
        let long = format!("StoreRows:1;1:{ANA}:Leo;Sol;2;2000-13-02;8");
        for (line, answer) in [
            ("", "Error:unknown packet"),
            ("Hello", "Error:unknown packet"),
            ("storebet:1", "Error:unknown packet"),
            ("StoreBet:1;Ana;Paz;1;2000-01-01", "StoreResponse:1"),
            ("StoreBatch:1", "StoreResponse:1"),
            ("StoreBatch:1:", "StoreResponse:1"),
            ("StoreBatch:1;Ana;Paz;1;2000-01-01;7:", "StoreResponse:1"),
            (
                &long,
                "StoreRowsResponse:2;0;0000000000000000;\
                 invalid bet 2: birthdate is not a calendar date YYYY-MM-DD",
            ),
            (
                "StoreRows:0;1:",
                "StoreRowsResponse:2;0;0000000000000000;\
                 agency the agency is not a number from 1 to 100000",
            ),
            (
                "StoreRows:1;0:Ana;Paz;1;2000-01-01;7",
                "StoreRowsResponse:2;0;0000000000000000;\
                 invalid the first row, 0, is not a row number in plain digits",
            ),
            (
                "AgencyClose:1;x",
                "AgencyCloseResponse:2;\
                 invalid the count of rows is not a row number in plain digits",
            ),
            ("AgencyClose:x", "Error:agency the agency is not a number from 1 to 100000"),
            ("AgencyStatus:", "Error:agency the agency is not a number from 1 to 100000"),
            ("WinnersRequest:-1", "Error:agency the agency is not a number from 1 to 100000"),
        ] {
            let mut out = Vec::new();
            parse(line).unwrap_err().response().write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{answer}\n"), "{line}");
        }
    }

    #[test]
    fn an_over_long_line_is_told_by_its_head() {
        let answer = |head: &[u8]| Malformed::too_long(head).response();
        assert_eq!(answer(b"StoreBatch:1;Ana"), Response::Store { stored: false });
        assert_eq!(answer(b"xxxxxxxxxxxx"), Response::Error("unknown packet".into()));
    }

    #[test]
    fn bytes_that_are_not_utf8_refuse_the_packet() {
        let packet = Request::parse(b"StoreBet:1;\xff;Paz;1;2000-01-01;7").unwrap_err();
        assert_eq!(packet, Malformed::Packet(PacketType::StoreBet, RequestError::NotUtf8));
    }

    prop_compose! {
        fn any_fields()(
            first in "[^;:\\pC]{1,25}", last in "[^;:\\pC]{1,25}", document in "[0-9A-Za-z]{1,20}",
            year in 1..=9999_u16, month in 1..=12_u8, day in 1..=28_u8, number in 0..=9999_u16,
        ) -> [String; 5] {
            [first, last, document, format!("{year:04}-{month:02}-{day:02}"), number.to_string()]
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            rows in proptest::collection::vec(any_fields(), 1..20),
            number in 1..=limits::AGENCIES_MAX, first_row in 1_u64..,
        ) {
            let agency = agency(number);
            let bets: Vec<_> =
                rows.iter().map(|r| Bet::new(r.each_ref().map(String::as_str)).unwrap()).collect();
            for request in [
                Request::StoreBet { agency, bet: bets[0] },
                Request::StoreBatch { agency, bets: bets.clone() },
                Request::StoreRows { agency, first_row, bets: bets.clone() },
            ] {
                let mut line = Vec::new();
                request.write(&mut line);
                prop_assert_eq!(line.pop(), Some(b'\n'));
                prop_assert_eq!(Request::parse(&line), Ok(request));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(malformed) = Request::parse(&line) {
                malformed.response().write(&mut Vec::new());
            }
        }
    }
}
