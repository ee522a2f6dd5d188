//! What becomes of a connection that goes by a proxy.

use std::time::Duration;

use harness::dice::Dice;

/// How often what happens to connections, in one run.
#[derive(Debug, Clone)]
pub struct Weather {
    fates: Vec<(u64, Trouble)>,
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
pub enum Trouble {
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
pub struct Fate {
    /// What happens, and at which packet, from 0.
    pub trouble: Trouble,
    /// See `trouble`.
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
    pub dice: Dice,
}

impl Weather {
    /// The weather of a run: calm, mixed, or mostly of one kind.
    #[must_use]
    pub fn of(dice: &mut Dice) -> Self {
        use Trouble::{
            CutAnswer, CutPacket, Double, DropRest, EndAtOnce, None, SwallowAnswer,
            SwallowAnswerAndHang,
        };
        let mut fates = vec![
            (45, None),
            (8, EndAtOnce),
            (20, CutPacket),
            (2, DropRest),
            (20, SwallowAnswer),
            (2, SwallowAnswerAndHang),
            (15, CutAnswer),
            (15, Double),
        ];
        match dice.between(0, 6) {
            0 => fates.truncate(1),
            1 => fates.push((120, CutPacket)),
            2 => fates.push((120, SwallowAnswer)),
            3 => fates.push((120, CutAnswer)),
            4 => fates.push((60, EndAtOnce)),
            _ => {}
        }
        let share = |dice: &mut Dice, often, most| {
            if dice.chance(often) { dice.between(1, most) } else { 0 }
        };
        Self {
            fates,
            pieces: share(dice, 40, 60),
            slow: share(dice, 40, 80),
            repeats: share(dice, 40, 30),
            accepts_for_dead: dice.chance(20),
        }
    }

    /// How the next connection fares.
    #[must_use]
    pub fn fate(&self, mut dice: Dice) -> Fate {
        let trouble = dice.weighted(&self.fates).unwrap_or(Trouble::None);
        Fate {
            trouble,
            at: if dice.chance(35) { dice.between(0, 1) } else { dice.between(0, 25) },
            // The very ends are where it matters: all but the line end, and nothing at all.
            cut_permille: *[0, dice.between(1, 999), 1_000]
                .get(dice.between(0, 2) as usize)
                .unwrap_or(&500),
            reset: dice.chance(50),
            pieces: dice.chance(self.pieces),
            delay: if dice.chance(self.slow) { dice.millis(1, 12) } else { Duration::ZERO },
            repeats: self.repeats,
            dice,
        }
    }
}

impl Fate {
    /// The fate of a connection in calm weather.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            trouble: Trouble::None,
            at: 0,
            cut_permille: 0,
            reset: false,
            pieces: false,
            delay: Duration::ZERO,
            repeats: 0,
            dice: Dice::new(0),
        }
    }

    /// Where to cut `bytes` bytes: at least the last one is missing.
    #[must_use]
    pub fn cut(&self, bytes: usize) -> usize {
        let most = bytes.saturating_sub(1);
        (bytes * self.cut_permille as usize / 1_000).min(most)
    }
}

impl Trouble {
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
