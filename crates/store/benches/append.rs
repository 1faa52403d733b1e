//! How fast entries are appended, against raw SQLite writing the same rows in the same batches in the
//! same run; and how fast a long journal is opened and verified.
//!
//! Limits: grouped appends at 0.7 of raw SQLite, opening within one second with a million entries.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

use rusqlite::Connection;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::clock::{SharedClock, SystemClock};
use store::{Applied, Corrupt, Keys, NewEntry, Options, Projection, Rows, Store, StoreError};

const ORIGIN: &str = "cofferdam.local/bench";
/// Entries in one commit.
const BATCH: u64 = 64;
const BATCHES: u64 = 100;
/// Turns that raw SQLite and the store take after each other; the best of each counts.
const TURNS: u64 = 8;
/// Share of raw SQLite's speed that grouped appends have to reach.
const LIMIT: f64 = 0.7;
/// Entries of the long journal.
const LONG: u64 = 1_000_000;
/// In which it has to open.
const OPEN_MAX: Duration = Duration::from_secs(1);

fn main() {
    let clock = SystemClock::shared();
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let grouped = grouped(&clock, directory.path(), &runtime);
    lone(&clock, directory.path(), &runtime);
    let opened = long(&clock, directory.path(), &runtime);
    if grouped < LIMIT || opened > OPEN_MAX {
        std::process::exit(1);
    }
}

/// Grouped appends; returns the share of raw SQLite's speed.
fn grouped(clock: &SharedClock, directory: &Path, runtime: &tokio::runtime::Runtime) -> f64 {
    let store = open(clock, &directory.join("grouped"), Vec::new());
    let rows = sample(&store, runtime);
    println!("{BATCH} entries of {} bytes a commit", rows[0].leaf.len());
    let raw = Raw::open(&directory.join("raw.db"));
    let mut best = [Duration::MAX; 3];
    for turn in 0..TURNS {
        best[0] = best[0].min(time(clock, || raw.write(turn * BATCHES * BATCH, &rows)));
        best[1] = best[1].min(time(clock, || runtime.block_on(one_closure_each(&store))));
        best[2] = best[2].min(time(clock, || runtime.block_on(many_closures_each(&store))));
    }
    let speed = |time: Duration| (BATCHES * BATCH) as f64 / time.as_secs_f64();
    for (name, time) in ["raw SQLite", "store, one closure", "store, 64 callers"]
        .iter()
        .zip(best)
    {
        println!(
            "{name:<20} {:>8.0} entries/s  {:>6.2} µs each",
            speed(time),
            1e6 / speed(time)
        );
    }
    let share = speed(best[1]) / speed(best[0]);
    println!(
        "grouped appends at {share:.2} of raw SQLite (limit {LIMIT}); from 64 callers {:.2}",
        speed(best[2]) / speed(best[0])
    );
    share
}

/// Appends alone, each durable before the next.
fn lone(clock: &SharedClock, directory: &Path, runtime: &tokio::runtime::Runtime) {
    let store = open(clock, &directory.join("lone"), vec![Arc::new(Last)]);
    let count = 2_000;
    let time = time(clock, || {
        runtime.block_on(async {
            for n in 0..count {
                store.write(move |tx| tx.append(entry(n))).await.unwrap();
            }
        });
    });
    println!(
        "a lone durable append with a projection: {:.0} µs",
        time.as_secs_f64() * 1e6 / count as f64
    );
}

/// A long journal: how long opening and verifying take. Returns the time of opening.
fn long(clock: &SharedClock, directory: &Path, runtime: &tokio::runtime::Runtime) -> Duration {
    let place = directory.join("long");
    let store = open(clock, &place, vec![Arc::new(Last)]);
    let writing = time(clock, || {
        runtime.block_on(async {
            for from in (0..LONG).step_by(1_000) {
                let append = move |tx: &mut store::Tx<'_>| {
                    (from..from + 1_000).try_for_each(|n| tx.append(entry(n)).map(drop))
                };
                store.write::<(), StoreError, _>(append).await.unwrap();
            }
            store.close().await.unwrap();
        });
    });
    drop(store);
    let mut store = None;
    let opening = time(clock, || store = Some(open(clock, &place, vec![Arc::new(Last)])));
    let store = store.unwrap();
    println!("{LONG} entries: written in {writing:.1?}, opened in {opening:.1?} (limit {OPEN_MAX:?})");
    let bytes = std::fs::metadata(place.join("journal.db")).unwrap().len();
    let verifying = time(clock, || {
        store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
    });
    println!(
        "verified in {verifying:.1?}, database of {} MB",
        bytes / 1_000_000
    );
    let proof = time(clock, || {
        drop(
            store
                .read(|r| r.inclusion_proof(LONG / 3, LONG))
                .unwrap()
                .unwrap(),
        )
    });
    println!(
        "an inclusion proof in {proof:.1?}; resident memory {} MB",
        resident_mb()
    );
    opening
}

async fn one_closure_each(store: &Store) {
    for batch in 0..BATCHES {
        let append = move |tx: &mut store::Tx<'_>| {
            (0..BATCH).try_for_each(|n| tx.append(entry(batch * BATCH + n)).map(drop))
        };
        store.write::<(), StoreError, _>(append).await.unwrap();
    }
}

async fn many_closures_each(store: &Store) {
    let callers: Vec<_> = (0..BATCH)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                for batch in 0..BATCHES {
                    store
                        .write(move |tx| tx.append(entry(batch * BATCH + caller)))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

/// The same rows without any of the store's work.
struct Raw(Connection);

struct RawRow {
    leaf: Vec<u8>,
    hash: [u8; 32],
    session: Option<String>,
    kind: String,
}

impl Raw {
    fn open(path: &Path) -> Raw {
        let raw = Connection::open(path).unwrap();
        raw.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
            .unwrap();
        raw.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -2048;
             CREATE TABLE entries(
                 seq INTEGER PRIMARY KEY, leaf BLOB NOT NULL, hash BLOB NOT NULL, session TEXT, kind TEXT NOT NULL
             ) STRICT;
             CREATE INDEX entries_of_session ON entries(session, seq) WHERE session IS NOT NULL;",
        )
        .unwrap();
        Raw(raw)
    }

    fn write(&self, from: u64, rows: &[RawRow]) {
        for batch in 0..BATCHES {
            self.0.execute_batch("BEGIN IMMEDIATE").unwrap();
            for (n, row) in (0..BATCH).zip(rows) {
                self.0
                    .prepare_cached(
                        "INSERT INTO entries(seq, leaf, hash, session, kind) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )
                    .unwrap()
                    .execute((
                        from + batch * BATCH + n,
                        &row.leaf,
                        row.hash,
                        &row.session,
                        &row.kind,
                    ))
                    .unwrap();
            }
            self.0.execute_batch("COMMIT").unwrap();
        }
    }
}

/// What the store writes for a batch.
fn sample(store: &Store, runtime: &tokio::runtime::Runtime) -> Vec<RawRow> {
    runtime.block_on(one_closure_each(store));
    let stored = store
        .read(|r| r.entries(1, usize::try_from(BATCH).unwrap()))
        .unwrap();
    stored
        .into_iter()
        .map(|s| RawRow {
            leaf: s.entry.to_leaf().unwrap(),
            hash: s.hash,
            session: s.entry.session,
            kind: s.entry.kind,
        })
        .collect()
}

/// A permitted action, as long as a usual one.
fn entry(n: u64) -> NewEntry {
    let body = json!({
        "step": format!("step-{n}"), "verb": "prometheus.query", "resource": "prometheus/main", "environment": "production",
        "effect": "read", "decision": "permit", "reason": "granted by toolset `observe`", "rule": "toolset:observe",
        "level": "L2", "policy": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "generation": 7,
        "chain": [{"principal": "agent:triage", "grant": "prometheus.query:*"}], "trust": 500, "taint": 0,
    });
    NewEntry::new("action.permitted", "agent:triage", body)
        .session(&format!("ses-{}", n / 20))
        .cause("service:trigger/alerts")
}

/// One row for each session: its newest entry.
struct Last;

impl Projection for Last {
    fn name(&self) -> &'static str {
        "sessions"
    }
    fn kinds(&self) -> &'static [&'static str] {
        &["action."]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let session = applied.entry.session.as_deref().unwrap_or_default();
        rows.put(session, json!({"last": applied.entry.sequence}))
    }
}

fn open(clock: &SharedClock, directory: &Path, projections: Vec<Arc<dyn Projection>>) -> Store {
    let keys = Keys::open_or_create(&directory.with_extension("keys"), ORIGIN).unwrap();
    let (directory, clock) = (directory.to_owned(), clock.clone());
    let options = Options {
        directory,
        origin: ORIGIN.to_owned(),
        keys,
        projections,
        clock,
        checkpoints: None,
        vfs: None,
        synchronous: "FULL",
    };
    Store::open(options).unwrap()
}

fn time(clock: &SharedClock, work: impl FnOnce()) -> Duration {
    let start = clock.monotonic();
    work();
    clock.monotonic().saturating_sub(start)
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
