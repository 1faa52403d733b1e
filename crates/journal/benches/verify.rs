//! How fast a journal is verified, against raw SHA-256 over the same bytes in the same run.
//!
//! The limit is 25 % of the hashing speed: verifying hashes every leaf, one node for each on average,
//! and reads the leaf's form.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

#[path = "../tests/common/entry.rs"]
mod entry;

use entry::{ORIGIN, entry};
use journal::checkpoint::Checkpoint;
use journal::merkle::{Frontier, leaf_hash};
use journal::verify::Replay;
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::Duration;

const ENTRIES: u64 = 2_000;
/// Share of the hashing speed that verifying has to reach.
const LIMIT: f64 = 0.25;

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
    println!(
        "{ENTRIES} leaves of {} bytes of log `{ORIGIN}`",
        bytes / leaves.len()
    );

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
    for (name, time) in [
        "raw SHA-256",
        "verify (fold)",
        "verify and read",
        "make and write",
    ]
    .iter()
    .zip(best)
    {
        println!(
            "{name:<16} {:>7.0} MB/s  {:>6.2} µs a leaf",
            speed(time),
            each(time)
        );
    }
    let [hash, fold, ..] = best;
    let share = hash.as_secs_f64() / fold.as_secs_f64();
    println!(
        "verification at {:.0} % of SHA-256 (limit {:.0} %)",
        share * 100.0,
        LIMIT * 100.0
    );
    if share < LIMIT {
        std::process::exit(1);
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn time(work: &dyn Fn()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}
