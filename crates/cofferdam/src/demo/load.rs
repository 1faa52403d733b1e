//! Customers of the shop: real requests, at a steady pace, until they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Time between two requests: 50 in a second.
const PACE: Duration = Duration::from_millis(20);
/// Requests under way at once; beyond it a customer goes away.
const UNDER_WAY_MAX: usize = 64;
/// Products that are looked up.
const PRODUCTS: u64 = 5;

/// Requests after which the cache is warm.
const SERVED_WHEN_WARM: u64 = 40;

/// What customers saw so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers without an error.
    pub served: AtomicU64,
    /// Answers with one, and none.
    pub failed: AtomicU64,
}

/// Customers. They leave when this is dropped.
#[derive(Debug)]
pub struct Load {
    /// What they saw.
    pub seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

impl Load {
    /// Resolves when enough was served for every product to be cached.
    pub async fn warmed_up(&self) {
        while self.seen.served.load(Ordering::Relaxed) < SERVED_WHEN_WARM {
            tokio::time::sleep(PACE).await;
        }
    }

    /// Half of them look at the page, half look a product up.
    #[must_use]
    pub fn on(patient: &str, http: reqwest::Client) -> Load {
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        let (counts, patient) = (seen.clone(), patient.to_owned());
        tasks.spawn(async move {
            let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
            let mut requests = JoinSet::new();
            let mut ticks = tokio::time::interval(PACE);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for number in 0_u64.. {
                ticks.tick().await;
                while requests.try_join_next().is_some() {}
                let Ok(slot) = under_way.clone().try_acquire_owned() else {
                    continue;
                };
                let url = match number % 2 {
                    0 => format!("{patient}/"),
                    _ => format!("{patient}/stock/{}", number / 2 % PRODUCTS),
                };
                let (http, counts) = (http.clone(), counts.clone());
                requests.spawn(async move {
                    let answer = http.get(url).timeout(Duration::from_secs(2)).send().await;
                    let served = answer.is_ok_and(|a| a.status().is_success());
                    let count = if served { &counts.served } else { &counts.failed };
                    count.fetch_add(1, Ordering::Relaxed);
                    drop(slot);
                });
            }
        });
        Load { seen, _tasks: tasks }
    }
}
