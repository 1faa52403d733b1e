//! The floor under everything durable: how long the disk takes to make one small append durable.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends that are measured.
const ROUNDS: usize = 500;

/// Appending a page of 4 KiB and syncing its data, on the disk of `folder`: p50 and p99.
pub fn fdatasync(folder: &Path) -> [Duration; 2] {
    let mut file = File::create(folder.join("floor")).unwrap();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    [50, 99].map(|percent| share(&mut times, percent))
}

/// The time below which `percent` of `times` are.
pub fn share(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times
        .get((times.len() * percent / 100).min(last))
        .copied()
        .unwrap_or_default()
}
