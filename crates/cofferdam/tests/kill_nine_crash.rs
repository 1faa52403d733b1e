//! SIGKILL of `cofferdam up` under real load, at random points, many times over one data directory.
//!
//! After each kill: everything that a client was told is there, the tree extends every checkpoint
//! that was handed out, no effect stands in the outside world without its record, and no effect that
//! must not be repeated happened twice. `COFFERDAM_CRASHES` says how often (default 10),
//! `COFFERDAM_CRASH_SEED` which random points.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test of real processes in real time; clippy sees only functions marked as tests"
)]

#[path = "kill/ceiling.rs"]
mod ceiling;
#[path = "kill/load.rs"]
mod load;
#[path = "kill/platform.rs"]
mod platform;
#[path = "kill/world.rs"]
mod world;

use load::{Acknowledged, Load};
use platform::{Platform, Record};
use std::time::Duration;
use world::World;

/// A load is killed at the latest when so many changes were acknowledged.
const ACKNOWLEDGED_MAX: u64 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_crash_loses_nothing_acknowledged_and_repeats_nothing() {
    let crashes: u32 = number("COFFERDAM_CRASHES").unwrap_or(10);
    let seed: u32 = number("COFFERDAM_CRASH_SEED").unwrap_or(0xC0FF_EEDA);
    let mut random = Random(u64::from(seed) | 1);
    let world = World::start().await;
    let mut platform = Platform::prepare(world.port());
    let mut acknowledged = Acknowledged::default();
    let (mut record, mut effects) = (Record::default(), 0);
    for crash in 1..=crashes {
        let context = format!("crash {crash} of {crashes}, seed {seed}");
        platform
            .start()
            .await
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        platform.ensure_tokens().await;
        acknowledged.check(&platform, &context).await;
        let load = Load::start(&platform, crash);
        // Any moment: counted in what was acknowledged, so that a slow machine is met in its work as well.
        load.until(random.below(ACKNOWLEDGED_MAX)).await;
        tokio::time::sleep(Duration::from_micros(random.below(50_000))).await;
        platform.kill();
        acknowledged.take(load.stop().await);
        platform.read_on(&mut record, &context);
        acknowledged.check_record(&record, &context);
        effects = world.check(&record, &context);
        if crash % 25 == 0 || crash == crashes {
            platform.verify_offline(&acknowledged.checkpoints, &context);
            println!(
                "kill_nine: {crash} kills, {} entries, {effects} effects, {}",
                record.size,
                acknowledged.counts()
            );
        }
    }
    assert!(
        effects > u64::from(crashes),
        "the load caused only {effects} effects: nothing was tested"
    );
    assert!(
        acknowledged.tasks.len() > crashes as usize,
        "the load had too few tasks acknowledged"
    );
    assert!(
        !acknowledged.checkpoints.is_empty(),
        "no checkpoint was handed out"
    );
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// xorshift64*: enough to choose moments, and the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}
