//! Rings of privilege, and how fast who stands in one may act (S3-K1, S3-K6).
//!
//! A ring is read off a level and never set: L0 and L1, which only read, are ring 3; L2 is ring 2; L3 and L4 are ring 1.
//! Ring 0 is the platform's own, and no agent of a document is ever in it. That is `ring:` of
//! [`Level::parse`], read the other way.

use super::Level;
use serde::Serialize;

/// 0 the platform itself, 1 acts within bounds or unattended, 2 acts with approval, 3 only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "u8")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Ring {
    R0,
    R1,
    R2,
    R3,
}

/// How fast: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Actions a second, on the long run.
    pub per_second: u32,
    /// How many at once after a pause.
    pub burst: u32,
}

impl Ring {
    /// That of an agent whose highest level is `level`.
    pub fn of(level: Level) -> Ring {
        match level {
            Level::L0 | Level::L1 => Ring::R3,
            Level::L2 => Ring::R2,
            Level::L3 | Level::L4 => Ring::R1,
        }
    }

    /// The numbers of S3-K6.
    pub fn rate(self) -> Rate {
        let (per_second, burst) = match self {
            Ring::R0 => (100, 200),
            Ring::R1 => (50, 100),
            Ring::R2 => (20, 40),
            Ring::R3 => (5, 10),
        };
        Rate { per_second, burst }
    }
}

impl From<Ring> for u8 {
    fn from(ring: Ring) -> u8 {
        match ring {
            Ring::R0 => 0,
            Ring::R1 => 1,
            Ring::R2 => 2,
            Ring::R3 => 3,
        }
    }
}

impl std::fmt::Display for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ring {}", u8::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_a_ring_and_each_ring_its_rate() {
        let mut text = String::new();
        for level in [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4] {
            let ring = Ring::of(level);
            let Rate { per_second, burst } = ring.rate();
            text += &format!("{level:?} {ring} {per_second}/{burst}\n");
            // What another model's ring is read as has this ring again; ring 0 is read as less than it.
            let word = format!("ring:{}", u8::from(ring));
            assert_eq!(Ring::of(Level::parse(&word).unwrap()), ring, "{word}");
        }
        assert_eq!(
            text,
            "L0 ring 3 5/10\nL1 ring 3 5/10\nL2 ring 2 20/40\nL3 ring 1 50/100\nL4 ring 1 50/100\n"
        );
        assert_eq!(
            Ring::R0.rate(),
            Rate {
                per_second: 100,
                burst: 200
            }
        );
    }
}
