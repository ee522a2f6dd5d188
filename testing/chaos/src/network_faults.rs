//! The faults of the network, as a run's seed chooses them: those of connections that pass a proxy,
//! and those of the servers' datagrams.

use std::time::Duration;

use harness::rng::Rng;

/// How often which faults happen to connections, in one run.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFaults {
    weights: Vec<(u64, PacketFault)>,
    /// Of a hundred connections, how many are split in odd pieces.
    pieces: u64,
    /// Of a hundred connections, how many are slow.
    slow: u64,
    /// Of a hundred packets, how many are delivered once more, later, to any server.
    repeats: u64,
    /// Whether proxies accept connections for servers that are dead, and end them in order, as
    /// load balancers do; elsewhere such a connection is reset.
    pub accepts_for_dead: bool,
}

/// What happens to one packet of a connection, which mostly ends the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PacketFault {
    /// Nothing.
    #[default]
    None,
    /// The connection ends as soon as it was made.
    EndAtOnce,
    /// It ends in the middle of a packet, which the server gets in part.
    CutPacket,
    /// The packet, and everything after it, vanishes; the connection stays.
    DropRest,
    /// The server gets the packet; its answer vanishes and the connection ends.
    SwallowAnswer,
    /// The same, and the connection stays.
    SwallowAnswerAndHang,
    /// The connection ends in the middle of an answer.
    CutAnswer,
    /// The packet is delivered twice on its connection, which goes on; the first answer vanishes.
    Double,
}

/// How often each fault is chosen, how much more often in a run of mostly that fault, and its name
/// in the report.
const FAULTS: [(u64, u64, PacketFault, &str); 8] = [
    (45, 0, PacketFault::None, ""),
    (8, 60, PacketFault::EndAtOnce, "connection ended at once"),
    (20, 120, PacketFault::CutPacket, "packet cut"),
    (20, 120, PacketFault::SwallowAnswer, "answer swallowed"),
    (15, 120, PacketFault::CutAnswer, "answer cut"),
    (2, 0, PacketFault::DropRest, "packets dropped, hung"),
    (2, 0, PacketFault::SwallowAnswerAndHang, "answer swallowed, hung"),
    (15, 0, PacketFault::Double, "packet sent twice"),
];

/// What happens to one connection; nothing by default.
#[derive(Debug, Clone)]
pub struct ConnectionPlan {
    /// What happens, and at which packet, from 0.
    pub fault: PacketFault,
    /// See `fault`.
    pub at: u64,
    /// Where a packet or an answer is cut, in thousandths of its bytes.
    cut_permille: u64,
    /// Whether it ends with a reset, or in order.
    pub reset: bool,
    /// Whether the bytes are sent in odd pieces.
    pub pieces: bool,
    /// How long each packet and answer is held back.
    pub delay: Duration,
    /// Of a hundred packets, how many are repeated.
    pub repeats: u64,
    /// For what is decided packet by packet.
    pub rng: Rng,
}

impl ConnectionFaults {
    /// The faults of a run: none, mixed, or mostly of one kind.
    #[must_use]
    pub fn of(rng: &mut Rng) -> Self {
        let mostly = rng.between(0, 6) as usize;
        let weight = |(place, (weight, more, fault, _))| match mostly {
            0 => (if place == 0 { weight } else { 0 }, fault),
            _ => (weight + if place == mostly { more } else { 0 }, fault),
        };
        let weights = FAULTS.into_iter().enumerate().map(weight).collect();
        let mut share = |often, most| if rng.chance(often) { rng.between(1, most) } else { 0 };
        let (pieces, slow, repeats) = (share(40, 60), share(40, 80), share(40, 30));
        Self { weights, pieces, slow, repeats, accepts_for_dead: rng.chance(20) }
    }

    /// What happens to the next connection.
    #[must_use]
    pub fn plan(&self, mut rng: Rng) -> ConnectionPlan {
        let fault = rng.weighted(&self.weights).unwrap_or_default();
        ConnectionPlan {
            fault,
            at: if rng.chance(35) { rng.between(0, 1) } else { rng.between(0, 25) },
            // The very ends are where it matters: all but the line end, and nothing at all.
            cut_permille: match rng.between(0, 2) {
                0 => 0,
                1 => rng.between(1, 999),
                _ => 1_000,
            },
            reset: rng.chance(50),
            pieces: rng.chance(self.pieces),
            delay: if rng.chance(self.slow) { rng.millis(1, 12) } else { Duration::ZERO },
            repeats: self.repeats,
            rng,
        }
    }
}

impl ConnectionPlan {
    /// `bytes` up to where it is cut: at least the last one is missing.
    #[must_use]
    pub fn cut<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let most = bytes.len().saturating_sub(1);
        bytes.get(..most.min(bytes.len() * self.cut_permille as usize / 1_000)).unwrap_or_default()
    }
}

impl PacketFault {
    /// What it is called in the report; `None` for nothing.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let named = FAULTS.iter().find(|(.., fault, _)| *fault == self && self != Self::None);
        named.map(|(.., name)| *name)
    }
}

/// What becomes of datagrams, in one run.
#[derive(Debug, Clone, Default)]
pub struct DatagramFaults {
    /// Of a hundred, how many are lost.
    pub lost: u64,
    /// Of a hundred, how many are delivered again and again.
    pub repeated: u64,
    /// Of a hundred, how many come late, behind later ones.
    pub late: u64,
    /// Whether datagrams are forged.
    pub has_forger: bool,
}

impl DatagramFaults {
    /// The faults of a run: often all arrive, sometimes none.
    #[must_use]
    pub fn of(rng: &mut Rng) -> Self {
        let lost = match rng.between(0, 5) {
            0 | 1 => 0,
            2 => 100,
            _ => rng.between(5, 90),
        };
        let share = |rng: &mut Rng| if rng.chance(40) { rng.between(1, 60) } else { 0 };
        Self { lost, repeated: share(rng), late: share(rng), has_forger: rng.chance(40) }
    }
}
