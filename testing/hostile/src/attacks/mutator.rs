//! Packets that are nearly right: valid ones, and what a seed makes of them.

use harness::rng::Rng;

/// What is put into packets: what separates, ends, quotes or breaks something somewhere. The pieces
/// are separated by `|`.
const PIECES: &[u8] =
    b";|:|,|\"|\"\"|\r|\n|\0|\t| |=|'|-1|+1|0|00007|65536|10000|18446744073709551616|\
    \xff\xfe|\xc3|\xc3\xb1|\xe2\x80\xae|2023-02-29|9999-12-31|StoreBet:";

/// Makes lines for one connection.
#[derive(Debug)]
pub struct Mutator {
    rng: Rng,
    pieces: Vec<&'static [u8]>,
}

impl Mutator {
    /// All decisions come from `rng`.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { rng, pieces: PIECES.split(|byte| *byte == b'|').collect() }
    }

    /// A line about an agency from `least` to `most`, without its `\n`. `rows` gives how many rows an
    /// agency has. Most lines are wrong somewhere; some contain a `\n`.
    pub fn line(&mut self, least: u32, most: u32, rows: impl Fn(u32) -> u64) -> Vec<u8> {
        let agency = self.rng.between(least.into(), most.into()) as u32;
        let mut line = self.packet(agency, rows(agency)).into_bytes();
        for _ in 0..self.rng.weighted(&[(1, 0), (12, 1), (4, 2), (2, 6)]).unwrap_or(1) {
            self.mutate(&mut line);
        }
        line
    }

    /// A valid packet.
    fn packet(&mut self, agency: u32, rows: u64) -> String {
        let bets = self.rng.between(1, 3);
        let mut packet = match self.rng.between(0, 7) {
            // Rarely in the reference's form, after which the server closes the connection.
            0 if self.rng.chance(5) => format!("StoreBatch:{agency}"),
            0 | 1 => format!("StoreBatch:{agency};{}", self.bet()),
            2 | 3 => format!("StoreRows:{agency};{}", rows + 1),
            4 => return format!("AgencyStatus:{agency}"),
            5 => return format!("AgencyClose:{agency};{}", rows + 1),
            6 => return format!("WinnersRequest:x{agency}"),
            _ => return format!("StoreBet:{agency};{}", self.bet()),
        };
        for _ in 0..bets {
            packet = packet + ":" + &self.bet();
        }
        packet
    }

    fn bet(&mut self) -> String {
        let (person, number) = (self.rng.between(0, 9_999), self.rng.between(0, 9_999));
        format!("Ana {person};Muñoz;{person}{number};19{:02}-03-17;{number}", person % 100)
    }

    fn mutate(&mut self, line: &mut Vec<u8>) {
        let at = self.rng.between(0, line.len().saturating_sub(1) as u64) as usize;
        let until = (at + self.rng.between(1, 12) as usize).min(line.len());
        match self.rng.between(0, 6) {
            0 => {
                if let Some(byte) = line.get_mut(at) {
                    *byte = self.rng.between(0, 255) as u8;
                }
            }
            1 | 2 => {
                let piece = self.rng.between(0, self.pieces.len() as u64 - 1) as usize;
                let piece = self.pieces.get(piece).copied().unwrap_or_default();
                line.splice(at..at, piece.iter().copied());
            }
            3 => drop(line.drain(at..until)),
            4 => {
                let again = line.get(at..until).unwrap_or_default().to_vec();
                line.splice(at..at, again);
            }
            5 => line.truncate(at),
            _ => {
                let separator = line.iter().skip(at).position(|byte| b";:".contains(byte));
                if let Some(byte) = separator.and_then(|behind| line.get_mut(at + behind)) {
                    *byte ^= b';' ^ b':';
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oracle::packet::{self, Line};

    #[test]
    fn a_seed_makes_the_same_lines_and_most_are_wrong() {
        let lines = |seed| {
            let mut mutator = Mutator::new(Rng::new(seed));
            (0..1_000).map(|_| mutator.line(1, 9, |_| 0)).collect::<Vec<_>>()
        };
        assert_eq!(lines(1), lines(1));
        assert_ne!(lines(1), lines(2));
        assert!(lines(1).iter().any(|line| line.contains(&b'\n')));
        let is_right =
            |line: &&Vec<u8>| matches!(packet::read(line, packet::AGENCIES_MAX), Line::Of(..));
        assert!((20..500).contains(&lines(1).iter().filter(is_right).count()));
    }
}
