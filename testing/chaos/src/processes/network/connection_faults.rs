//! What becomes of a connection that goes by a proxy.

use std::time::Duration;

use harness::rng::Rng;

/// How often what happens to connections, in one run.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFaults {
    weights: Vec<(u64, PacketFault)>,
    /// Of a hundred connections, how many are split in odd pieces.
    pieces: u64,
    /// Of a hundred connections, how many are slow.
    slow: u64,
    /// Of a hundred packets, how many are delivered once more, later, to any server.
    repeats: u64,
    /// Whether proxies take connections for servers that are dead, and end them in order, as
    /// load balancers do; elsewhere such a connection is reset.
    pub accepts_for_dead: bool,
}

/// What happens to one packet of a connection, after which there is mostly no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketFault {
    /// Nothing.
    None,
    /// The connection ends as soon as it was made.
    EndAtOnce,
    /// It ends in the middle of a packet, which the server gets in part.
    CutPacket,
    /// The packet, and whatever comes after it, vanishes; the connection stays.
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

/// How one connection fares.
#[derive(Debug, Clone)]
pub struct ConnectionPlan {
    /// What happens, and at which packet, from 0.
    pub fault: PacketFault,
    /// See `fault`.
    pub at: u64,
    /// Where a packet or an answer is cut, in thousandths of its bytes.
    pub cut_permille: u64,
    /// Whether it ends with a reset, or in order.
    pub reset: bool,
    /// Whether what is sent is split in odd pieces.
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
        use PacketFault::{
            CutAnswer, CutPacket, Double, DropRest, EndAtOnce, None, SwallowAnswer,
            SwallowAnswerAndHang,
        };
        let mut weights = vec![
            (45, None),
            (8, EndAtOnce),
            (20, CutPacket),
            (2, DropRest),
            (20, SwallowAnswer),
            (2, SwallowAnswerAndHang),
            (15, CutAnswer),
            (15, Double),
        ];
        match rng.between(0, 6) {
            0 => weights.truncate(1),
            1 => weights.push((120, CutPacket)),
            2 => weights.push((120, SwallowAnswer)),
            3 => weights.push((120, CutAnswer)),
            4 => weights.push((60, EndAtOnce)),
            _ => {}
        }
        let share = |rng: &mut Rng, often, most| {
            if rng.chance(often) { rng.between(1, most) } else { 0 }
        };
        Self {
            weights,
            pieces: share(rng, 40, 60),
            slow: share(rng, 40, 80),
            repeats: share(rng, 40, 30),
            accepts_for_dead: rng.chance(20),
        }
    }

    /// How the next connection fares.
    #[must_use]
    pub fn plan(&self, mut rng: Rng) -> ConnectionPlan {
        let fault = rng.weighted(&self.weights).unwrap_or(PacketFault::None);
        ConnectionPlan {
            fault,
            at: if rng.chance(35) { rng.between(0, 1) } else { rng.between(0, 25) },
            // The very ends are where it matters: all but the line end, and nothing at all.
            cut_permille: *[0, rng.between(1, 999), 1_000]
                .get(rng.between(0, 2) as usize)
                .unwrap_or(&500),
            reset: rng.chance(50),
            pieces: rng.chance(self.pieces),
            delay: if rng.chance(self.slow) { rng.millis(1, 12) } else { Duration::ZERO },
            repeats: self.repeats,
            rng,
        }
    }
}

impl ConnectionPlan {
    /// A connection to which nothing happens.
    #[must_use]
    pub fn without_faults() -> Self {
        Self {
            fault: PacketFault::None,
            at: 0,
            cut_permille: 0,
            reset: false,
            pieces: false,
            delay: Duration::ZERO,
            repeats: 0,
            rng: Rng::new(0),
        }
    }

    /// Where to cut `bytes` bytes: at least the last one is missing.
    #[must_use]
    pub fn cut(&self, bytes: usize) -> usize {
        let most = bytes.saturating_sub(1);
        (bytes * self.cut_permille as usize / 1_000).min(most)
    }
}

impl PacketFault {
    /// What it is called in the tally; nothing for none.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::EndAtOnce => "connection ended at once",
            Self::CutPacket => "packet cut",
            Self::DropRest => "packets dropped, hung",
            Self::SwallowAnswer => "answer swallowed",
            Self::SwallowAnswerAndHang => "answer swallowed, hung",
            Self::CutAnswer => "answer cut",
            Self::Double => "packet sent twice",
        })
    }
}
