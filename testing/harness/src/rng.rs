//! A pseudo-random generator from a seed: the same seed takes the same decisions on every machine.

use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// A source of decisions.
#[derive(Debug, Clone)]
pub struct Rng {
    seed: u64,
    generator: Xoshiro256PlusPlus,
}

impl Rng {
    /// The decisions of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, generator: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// A generator for the part `part` of the same run. It does not depend on how many decisions
    /// were taken here.
    #[must_use]
    pub fn fork(&self, part: u64) -> Self {
        // An odd constant keeps the parts of neighbouring seeds apart.
        Self::new(self.seed.wrapping_add(part.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95)))
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.generator.next_u64() % (most.saturating_sub(least) + 1)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    /// From `least` to `most` milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// One of `all`, as often as its weight says; none if there is no weight at all.
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
    fn a_seed_takes_the_same_decisions_and_parts_are_independent() {
        let numbers = |mut rng: Rng| (0..5).map(|_| rng.between(0, 999)).collect::<Vec<_>>();
        assert_eq!(numbers(Rng::new(7)), numbers(Rng::new(7)));
        assert_ne!(numbers(Rng::new(7)), numbers(Rng::new(8)));
        let mut used = Rng::new(7);
        used.between(0, 1);
        assert_eq!(numbers(used.fork(1)), numbers(Rng::new(7).fork(1)));
        assert_ne!(numbers(used.fork(1)), numbers(used.fork(2)));
    }
}
