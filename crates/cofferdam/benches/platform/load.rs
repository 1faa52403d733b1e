//! Load that does not wait for answers: request `n` is due at a fixed time, and its latency counts
//! from then, whether or not earlier ones were slow.

use crate::http::Client;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Connections, each with a thread: more requests than these are never under way at once.
const CONNECTIONS: usize = 64;

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// From when the request was due until its answer was read.
    pub latencies: Vec<Duration>,
    /// Answers that were no success.
    pub refused: usize,
    /// How long all of it took.
    pub took: Duration,
}

/// Posts `count` tasks to `agent`, one every `interval`.
pub fn post_tasks(client: &Client, agent: &str, count: u32, interval: Duration) -> Outcome {
    let next = AtomicU32::new(0);
    let mut outcome = Outcome::default();
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| client.again().unwrap()).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let start_one = |client| scope.spawn(|| post_some(client, agent, &next, count, start, interval));
        let threads: Vec<_> = clients.into_iter().map(start_one).collect();
        for thread in threads {
            let (latencies, refused) = thread.join().unwrap();
            outcome.latencies.extend(latencies);
            outcome.refused += refused;
        }
    });
    outcome.took = start.elapsed();
    outcome
}

fn post_some(
    mut client: Client,
    agent: &str,
    next: &AtomicU32,
    count: u32,
    start: Instant,
    interval: Duration,
) -> (Vec<Duration>, usize) {
    let (mut latencies, mut refused) = (Vec::new(), 0);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return (latencies, refused);
        }
        let due = start + interval * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let task = format!(
            r#"{{"task_id":"{agent}-{number}","agent":"{agent}","title":"Bench","input":{{"number":{number}}}}}"#
        );
        let (status, _) = client.call("POST", "/api/v1/tasks", &task).unwrap();
        latencies.push(due.elapsed());
        refused += usize::from(status != 201);
    }
}
