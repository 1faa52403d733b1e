//! The floor under everything durable: how long the disk takes to make one small append durable.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends that are measured.
const ROUNDS: usize = 500;

/// Median of appending a page of 4 KiB and syncing its data, on the disk of `folder`.
pub fn fdatasync(folder: &Path) -> Duration {
    let mut file = File::create(folder.join("floor")).unwrap();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    share(&mut times, 50)
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
