//! How fast a journal is verified, against raw SHA-256 over the same bytes in the same run.
//!
//! The goal is 25 % of the hashing speed: verifying hashes every leaf, one node for each on average,
//! and reads the leaf's form.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

#[path = "../tests/common/entry.rs"]
mod entry;
#[path = "../../cofferdam/benches/platform/figure.rs"]
mod figure;

use entry::{ORIGIN, entry};
use figure::figure;
use journal::checkpoint::Checkpoint;
use journal::merkle::{Frontier, leaf_hash};
use journal::verify::Replay;
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::Duration;

const ENTRIES: u64 = 2_000;
/// Share of the hashing speed that verifying should reach, in percent.
const SHARE_MIN: f64 = 25.0;

fn main() {
    let leaves: Vec<_> = (0..ENTRIES)
        .map(|sequence| entry(sequence).to_leaf().unwrap())
        .collect();
    let recorded: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let bytes: usize = leaves.iter().map(Vec::len).sum();
    let mut edge = Frontier::new();
    recorded.iter().for_each(|hash| edge.append(*hash));
    let end = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: ENTRIES,
        root: edge.root(),
    };
    let hash = || {
        for leaf in &leaves {
            black_box(Sha256::digest(leaf));
        }
    };
    let fold = || {
        let mut replay = Replay::new();
        for (leaf, recorded) in leaves.iter().zip(&recorded) {
            black_box(replay.fold(leaf, Some(recorded)).unwrap());
        }
        replay.check(&end).unwrap();
    };
    let read = || {
        let mut replay = Replay::new();
        for leaf in &leaves {
            black_box(replay.leaf(leaf, None).unwrap());
        }
    };
    let write = || {
        for sequence in 0..ENTRIES {
            black_box(entry(sequence).to_leaf().unwrap());
        }
    };
    // Short, often and in turn: the best of each is what the machine does when left alone.
    let mut best = [Duration::MAX; 4];
    for _ in 0..200 {
        for (best, work) in best.iter_mut().zip([&hash as &dyn Fn(), &fold, &read, &write]) {
            *best = time(work).min(*best);
        }
    }
    let speed = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e6;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / ENTRIES as f64;
    let [hash, fold, read, write] = best;
    let beside = format!(
        "{:.0} of {:.0} MB/s, leaves of {} bytes",
        speed(fold),
        speed(hash),
        bytes / leaves.len()
    );
    let share = hash.as_secs_f64() / fold.as_secs_f64();
    figure(
        "verification, share of SHA-256",
        share * 100.0,
        "%",
        SHARE_MIN..,
        &beside,
    );
    for (name, time) in [
        ("verify and read an entry", read),
        ("make and write an entry", write),
    ] {
        figure(name, each(time), "µs", .., &format!("{:.0} MB/s", speed(time)));
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn time(work: &dyn Fn()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}
