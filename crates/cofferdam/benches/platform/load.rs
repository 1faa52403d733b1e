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
    /// How late the machine woke those up who slept until their request was due: what a loaded machine
    /// adds to every latency, and is nobody's doing.
    pub late: Vec<Duration>,
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
            let some = thread.join().unwrap();
            outcome.latencies.extend(some.latencies);
            outcome.late.extend(some.late);
            outcome.refused += some.refused;
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
) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return outcome;
        }
        let due = start + interval * number;
        let early = due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early);
            outcome.late.push(due.elapsed());
        }
        let task = format!(
            r#"{{"task_id":"{agent}-{number}","agent":"{agent}","title":"Bench","input":{{"number":{number}}}}}"#
        );
        let (status, _) = client.call("POST", "/api/v1/tasks", &task).unwrap();
        outcome.latencies.push(due.elapsed());
        outcome.refused += usize::from(status != 201);
    }
}
