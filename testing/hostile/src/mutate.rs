//! Packets that are nearly right: valid ones, and what a seed makes of them.

use std::io::Write as _;

use harness::rng::Rng;

/// What is put into packets: what separates, ends, quotes or breaks something somewhere.
const PIECES: [&[u8]; 26] = [
    b";",
    b":",
    b",",
    b"\"",
    b"\"\"",
    b"\r",
    b"\n",
    b"\0",
    b"\t",
    b" ",
    b"=",
    b"'",
    b"-1",
    b"+1",
    b"0",
    b"00007",
    b"65536",
    b"10000",
    b"18446744073709551616",
    b"\xff\xfe",
    b"\xc3",
    b"\xc3\xb1",
    b"\xe2\x80\xae",
    b"2023-02-29",
    b"9999-12-31",
    b"StoreBet:",
];

/// Makes lines for one connection.
#[derive(Debug)]
pub struct Mutator {
    rng: Rng,
}

impl Mutator {
    /// All decisions come from `rng`.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }

    /// Appends a line about an agency from `least` to `most`, of which `rows` tells how many rows
    /// it has; most of them are wrong somewhere. Its `\n` is not always its only one.
    pub fn line(&mut self, least: u32, most: u32, rows: impl Fn(u32) -> u64, out: &mut Vec<u8>) {
        let agency = self.rng.between(least.into(), most.into()) as u32;
        let start = out.len();
        self.packet(agency, rows(agency), out);
        let mut line = out.split_off(start);
        for _ in 0..self.rng.weighted(&[(1, 0), (12, 1), (4, 2), (2, 6)]).unwrap_or(1) {
            self.mutate(&mut line);
        }
        out.append(&mut line);
        out.push(b'\n');
    }

    /// Appends a valid packet, without its end.
    fn packet(&mut self, agency: u32, rows: u64, out: &mut Vec<u8>) {
        let bets = self.rng.between(1, 3);
        // A Vec takes every byte.
        let _ = match self.rng.between(0, 7) {
            // Rarely in the reference's form, after which the server closes the connection.
            0 if self.rng.chance(5) => write!(out, "StoreBatch:{agency}"),
            0 | 1 => write!(out, "StoreBatch:{agency};{}", self.bet()),
            2 | 3 => write!(out, "StoreRows:{agency};{}", rows + 1),
            4 => return drop(write!(out, "AgencyStatus:{agency}")),
            5 => return drop(write!(out, "AgencyClose:{agency};{}", rows + 1)),
            6 => return drop(write!(out, "WinnersRequest:x{agency}")),
            _ => return drop(write!(out, "StoreBet:{agency};{}", self.bet())),
        };
        for _ in 0..bets {
            let _ = write!(out, ":{}", self.bet());
        }
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
                let piece = self.rng.between(0, PIECES.len() as u64 - 1) as usize;
                let piece = PIECES.get(piece).copied().unwrap_or_default();
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

    #[test]
    fn a_seed_makes_the_same_lines_and_most_are_wrong() {
        let lines = |seed| {
            let (mut mutator, mut out) = (Mutator::new(Rng::new(seed)), Vec::new());
            (0..1_000).for_each(|_| mutator.line(1, 9, |_| 0, &mut out));
            out
        };
        assert_eq!(lines(1), lines(1));
        assert_ne!(lines(1), lines(2));
        assert!(lines(1).split(|byte| *byte == b'\n').count() > 1_000);
    }
}
