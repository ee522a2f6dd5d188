//! Bytes that do not belong into a packet, and some that only look as if they did not.

use anyhow::ensure;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::stalls::Flood;
use super::{connect, crowd, line};
use crate::attack::{Signals, Tally, Target};

/// A bet with the separator before it.
pub const BET: &str = ":Ana;Paz;30876370;1990-05-17;7574";

/// How many agencies a round of formulas stores for.
const FORMULA_AGENCIES: u32 = 50;

/// A piece of a line that never ends.
const ENDLESS: &str = "xxxxxxxxxxxxxxxx";

/// Asks line after line on one connection.
struct Asking {
    stream: TcpStream,
    unread: Vec<u8>,
    tally: Tally,
}

impl Asking {
    async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = connect(target.address).await?;
        Ok(Self { stream, unread: Vec::new(), tally: Tally { connections: 1, ..Tally::default() } })
    }

    /// Goes on with a new connection, which the server does not delay yet.
    async fn reopen(&mut self, target: &Target) -> anyhow::Result<()> {
        self.stream = connect(target.address).await?;
        self.unread.clear();
        self.tally.connections += 1;
        Ok(())
    }

    /// Sends `packet`; its answer must start with `wanted`.
    async fn ask(&mut self, packet: Vec<u8>, wanted: &str) -> anyhow::Result<()> {
        self.ask_all(&[(packet, wanted)]).await
    }

    /// Sends packets at once; the answer to each must start with what is wanted.
    async fn ask_all(&mut self, packets: &[(Vec<u8>, &str)]) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for (packet, _) in packets {
            bytes.extend_from_slice(packet);
            bytes.push(b'\n');
        }
        self.tally.lines += packets.len() as u64;
        self.tally.bytes += bytes.len() as u64;
        // Read behind it: an answer to a line that is too long comes when it has ended.
        self.stream.write_all(&bytes).await?;
        for (packet, wanted) in packets {
            self.compare(packet, wanted).await?;
        }
        Ok(())
    }

    async fn compare(&mut self, packet: &[u8], wanted: &str) -> anyhow::Result<()> {
        let answer = line(&mut self.stream, &mut self.unread).await?;
        let answer = answer.ok_or_else(|| anyhow::anyhow!("the connection was closed"))?;
        if !answer.starts_with(wanted.as_bytes()) {
            let start = packet.get(..60).unwrap_or(packet).escape_ascii();
            let answer = answer.escape_ascii();
            self.tally.findings.push(format!("{answer} to {start}, not {wanted}"));
        }
        ensure!(self.tally.findings.len() < 5, "too much is wrong: {:?}", self.tally.findings);
        Ok(())
    }
}

/// Lines that never end, on many connections, and lines that are too long, by one byte and by far.
///
/// # Errors
/// There is no answer.
pub async fn long_lines(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let mut asking = Asking::open(&target).await?;
    let all = crowd(target.address, target.scale.stalls).await?;
    let mut flood = Flood::new(all, ENDLESS);
    flood.fill_all(&signals.stop).await;
    let _ = signals.ready.send(());
    while !signals.stop.is_cancelled() {
        flood.fill();
        for (head, answer) in [
            ("StoreBatch:1;Ana", "StoreResponse:1"),
            ("StoreRows:1;1", "StoreRowsResponse:2;0;0000000000000000;invalid "),
            ("AgencyClose:1;", "AgencyCloseResponse:2;invalid "),
            ("AgencyStatus:1", "Error:invalid "),
            ("", "Error:unknown packet"),
        ] {
            for bytes in [64 * 1024, 64 * 1024 + 1, 100 * 1024] {
                asking.reopen(&target).await?;
                let mut packet = head.as_bytes().to_vec();
                packet.extend(BET.bytes().cycle().take(bytes - head.len()));
                asking.ask(packet, answer).await?;
            }
        }
    }
    let mut tally = flood.tally();
    tally.add(asking.tally);
    Ok(tally)
}

/// Bytes that no field may hold, in each place of a packet.
///
/// # Errors
/// There is no answer.
pub async fn bad_bytes(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let mut asking = Asking::open(&target).await?;
    let _ = signals.ready.send(());
    let pieces: [&[u8]; 9] = [
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc0\x80",
        b"\0",
        b"\r",
        b"\x7f",
        b"\x1b[2J",
    ];
    for piece in pieces.iter().cycle() {
        for (head, answer) in [
            ("StoreBet:1;", "StoreResponse:1"),
            ("StoreBatch:1;", "StoreResponse:1"),
            ("StoreRows:1;1:", "StoreRowsResponse:2;0;0000000000000000;invalid "),
        ] {
            let mut packets = Vec::new();
            for field in 0..5 {
                let bet = BET.trim_start_matches(':').as_bytes();
                let mut fields: Vec<&[u8]> = bet.split(|byte| *byte == b';').collect();
                if let Some(field) = fields.get_mut(field) {
                    *field = piece;
                }
                let packet = [head.as_bytes(), &fields.join(&b';')].concat();
                packets.push((packet, answer));
            }
            if signals.stop.is_cancelled() {
                return Ok(asking.tally);
            }
            asking.reopen(&target).await?;
            asking.ask_all(&packets).await?;
        }
        asking.ask(piece.to_vec(), "Error:unknown packet").await?;
        asking.ask([b"AgencyStatus:", *piece].concat(), "Error:").await?;
    }
    Ok(asking.tally)
}

/// Names that a spreadsheet would compute. They are names: stored byte for byte.
///
/// # Errors
/// There is no answer.
pub async fn formulas(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let mut asking = Asking::open(&target).await?;
    let _ = signals.ready.send(());
    let names = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1,A2)",
        "=HYPERLINK(\"http\",\"x\")",
        "\"",
        "'",
        "a,b",
        "\"\"",
        "=\"a\",b",
        "%0A",
        "<b>x</b>",
        "'; DROP TABLE bets --",
        "José Ñandú",
        " =1 ",
    ];
    let first = target.round * FORMULA_AGENCIES + 1;
    for agency in (first..first + FORMULA_AGENCIES).cycle() {
        if signals.stop.is_cancelled() {
            break;
        }
        for (first_name, last_name) in names.iter().zip(names.iter().cycle().skip(3)) {
            // What separates on the wire cannot stand in a name.
            let last_name = last_name.replace(';', "");
            let first_name = first_name.replace(';', "");
            let packet = format!("StoreBet:{agency};{first_name};{last_name};1;2000-01-01;007");
            asking.ask(packet.into_bytes(), "StoreResponse:0").await?;
            let row = [&first_name, &last_name, "1", "2000-01-01", "7"];
            asking.tally.stored.push(agency, row.map(str::as_bytes));
        }
    }
    Ok(asking.tally)
}
