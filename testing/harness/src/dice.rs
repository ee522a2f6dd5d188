//! Decisions that come from a seed: the same seed, the same decisions, in every version.
//!
//! SplitMix64 (Steele, Lea, Flood 2014) is written out here, since a library's generator may
//! change between versions.

use std::time::Duration;

/// A source of decisions.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The decisions of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Self { state: seed };
        // Seeds that follow each other should not look alike.
        dice.state = dice.next();
        dice
    }

    /// Decisions of their own for the part `part`, however many are taken here.
    #[must_use]
    pub fn fork(&self, part: u64) -> Self {
        Self::new(self.state ^ part.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most.saturating_sub(least) + 1)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    /// From `least` to `most` milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// One of `all`, as often as its weight says; the first if there is no weight at all.
    pub fn weighted<T: Copy>(&mut self, all: &[(u64, T)]) -> Option<T> {
        let sum: u64 = all.iter().map(|(weight, _)| weight).sum();
        let mut left = self.between(1, sum.max(1));
        all.iter().find_map(|(weight, one)| {
            let is_this = left <= *weight;
            left = left.saturating_sub(*weight);
            is_this.then_some(*one)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_in_every_version() {
        let mut dice = Dice::new(7);
        let numbers: Vec<u64> = (0..4).map(|_| dice.between(0, 999)).collect();
        let parts: Vec<u64> = (0..4).map(|part| dice.fork(part).between(0, 999)).collect();
        assert_eq!(numbers, [221, 174, 827, 45]);
        assert_eq!(parts, [705, 959, 991, 977]);
    }

    #[test]
    fn a_seed_decides_the_same_over_and_over() {
        let numbers = |seed| {
            let mut dice = Dice::new(seed);
            (0..5).map(|_| dice.between(0, 999)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        let parts = [1, 2].map(|part| Dice::new(7).fork(part).between(0, u64::MAX - 1));
        assert_ne!(parts[0], parts[1]);
    }

    #[test]
    fn weights_decide_how_often() {
        let mut dice = Dice::new(1);
        let all = [(0, "never"), (9, "often"), (1, "seldom")];
        let often = (0..1_000).filter(|_| dice.weighted(&all) == Some("often")).count();
        assert!((850..950).contains(&often), "{often}");
        assert!((0..1_000).all(|_| dice.weighted(&all) != Some("never")));
    }
}
