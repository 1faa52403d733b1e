//! Answers that are given again: to the very same request, of the same organization, as long as its route says. In memory,
//! bounded in bytes; what was used longest ago goes first.
//!
//! INVARIANT (never across tenants): the organization is part of the key.

use crate::gate::lock;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use store::clock::SharedClock;

/// All answers together, in bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest answer that is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What a request is known by.
pub(super) type Key = [u8; 32];

/// See the module.
pub(super) struct Cache {
    clock: SharedClock,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<Key, Answer>,
    bytes: usize,
    /// Counts uses, so that the one longest ago is known.
    uses: u64,
}

struct Answer {
    body: Bytes,
    made: Duration,
    used: u64,
}

/// The key of what goes out to `model` for somebody of `organization`.
pub(super) fn key(organization: &str, model: &str, body: &[u8]) -> Key {
    let mut hash = Sha256::new();
    for part in [organization.as_bytes(), model.as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Cache {
    pub fn new(clock: SharedClock) -> Cache {
        Cache {
            clock,
            kept: Mutex::default(),
        }
    }

    /// The answer, if one is there that is not older than `ttl`.
    pub fn get(&self, key: &Key, ttl: Duration) -> Option<Bytes> {
        let now = self.clock.monotonic();
        let mut kept = lock(&self.kept);
        kept.uses += 1;
        let uses = kept.uses;
        let answer = kept.answers.get_mut(key)?;
        if now.saturating_sub(answer.made) > ttl {
            return None;
        }
        answer.used = uses;
        Some(answer.body.clone())
    }

    /// Forgets all.
    pub fn clear(&self) {
        *lock(&self.kept) = Kept::default();
    }

    pub fn put(&self, key: Key, body: &Bytes) {
        if body.len() > ANSWER_BYTES_MAX {
            return;
        }
        let made = self.clock.monotonic();
        let mut kept = lock(&self.kept);
        kept.uses += 1;
        let answer = Answer {
            // Of its own: a part of a larger buffer would keep that.
            body: Bytes::copy_from_slice(body),
            made,
            used: kept.uses,
        };
        kept.bytes += body.len();
        if let Some(before) = kept.answers.insert(key, answer) {
            kept.bytes -= before.body.len();
        }
        while kept.bytes > BYTES_MAX {
            let oldest = kept
                .answers
                .iter()
                .min_by_key(|(_, answer)| answer.used)
                .map(|(key, _)| *key);
            let Some(gone) = oldest.and_then(|key| kept.answers.remove(&key)) else {
                return;
            };
            kept.bytes -= gone.body.len();
        }
    }
}
