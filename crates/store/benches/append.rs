//! How fast entries are appended, against raw SQLite writing the same rows in the same batches in the
//! same run; and how fast a long journal is opened and verified.
//!
//! Goals: grouped appends at 0.7 of raw SQLite, opening within one second with a million entries, or with
//! as many as `COFFERDAM_BENCH_ENTRIES` says.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench"
)]

#[path = "../../cofferdam/benches/platform/disk.rs"]
mod disk;
#[path = "../../cofferdam/benches/platform/figure.rs"]
mod figure;

use figure::figure;
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
/// Turns that raw SQLite and the store take after each other. All of it counts: writing the log back to the
/// database is not in every turn.
const TURNS: u64 = 12;
/// Share of raw SQLite's speed that grouped appends should reach.
const SHARE_MIN: f64 = 0.7;
/// Entries of the long journal, written a thousand in a commit.
const LONG: u64 = 1_000_000;
/// In which it should open, in milliseconds.
const OPEN_MS_MAX: f64 = 1_000.0;

fn main() {
    let clock = SystemClock::shared();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    grouped(&clock, directory.path(), &runtime);
    lone(&clock, directory.path(), &runtime);
    long(&clock, directory.path(), &runtime);
}

/// Grouped appends, as a share of raw SQLite's speed.
fn grouped(clock: &SharedClock, directory: &Path, runtime: &tokio::runtime::Runtime) {
    let store = open(clock, &directory.join("grouped"), Vec::new());
    let rows = sample(&store, runtime);
    let raw = Raw::open(&directory.join("raw.db"));
    let [mut limit, mut one, mut many] = [Duration::ZERO; 3];
    for turn in 0..TURNS {
        limit += time(clock, || raw.write(turn * BATCHES * BATCH, &rows));
        one += one_closure_each(clock, &store, runtime);
        let content = callers();
        many += time(clock, || runtime.block_on(many_closures_each(&store, content)));
    }
    let share = |time: Duration| limit.div_duration_f64(time);
    let speed = |time: Duration| {
        let speed = (TURNS * BATCHES * BATCH) as f64 / time.as_secs_f64();
        let raw = (TURNS * BATCHES * BATCH) as f64 / limit.as_secs_f64();
        format!("{speed:.0} of {raw:.0} entries a second, {BATCH} a commit")
    };
    figure(
        "grouped appends, share of raw SQLite",
        share(one),
        "",
        SHARE_MIN..,
        &speed(one),
    );
    figure(
        "appends of 64 callers, share of raw SQLite",
        share(many),
        "",
        ..,
        &speed(many),
    );
}

/// Appends alone, each durable before the next.
fn lone(clock: &SharedClock, directory: &Path, runtime: &tokio::runtime::Runtime) {
    let [floor, _] = disk::fdatasync(directory);
    let store = open(clock, &directory.join("lone"), vec![Arc::new(Last)]);
    let append = |n| {
        time(clock, || {
            runtime
                .block_on(store.write(move |tx| tx.append(entry(n))))
                .unwrap();
        })
    };
    let mut times: Vec<Duration> = (0..2_000).map(append).collect();
    let half = disk::share(&mut times, 50);
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let beside = format!(
        "{:.1} × fdatasync at {:.0} µs",
        half.div_duration_f64(floor),
        us(floor)
    );
    figure("lone durable append, p50", us(half), "µs", .., &beside);
}

/// A long journal: how long opening, verifying and proving take.
fn long(clock: &SharedClock, directory: &Path, runtime: &tokio::runtime::Runtime) {
    let wanted = std::env::var("COFFERDAM_BENCH_ENTRIES")
        .ok()
        .and_then(|number| number.parse().ok());
    let entries: u64 = wanted.unwrap_or(LONG);
    let place = directory.join("long");
    let store = open(clock, &place, vec![Arc::new(Last)]);
    let writing = time(clock, || {
        for from in (0..entries).step_by(1_000) {
            let append = move |tx: &mut store::Tx<'_>| {
                (from..from + 1_000).try_for_each(|n| tx.append(entry(n)).map(drop))
            };
            runtime
                .block_on(store.write::<(), StoreError, _>(append))
                .unwrap();
        }
        runtime.block_on(store.close()).unwrap();
    });
    drop(store);
    let mut store = None;
    let opening = time(clock, || store = Some(open(clock, &place, vec![Arc::new(Last)])));
    let store = store.unwrap();
    let size = *store.committed().borrow();
    let megabytes = std::fs::metadata(place.join("journal.db")).unwrap().len() / 1_000_000;
    let beside = format!(
        "{size} entries in {megabytes} MB, written in {:.0} s",
        writing.as_secs_f64()
    );
    figure(
        "opening a long journal",
        opening.as_secs_f64() * 1e3,
        "ms",
        ..=OPEN_MS_MAX,
        &beside,
    );
    let verifying = time(clock, || {
        store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
    });
    let speed = format!("{:.1} µs an entry", verifying.as_secs_f64() * 1e6 / size as f64);
    figure("verifying all of it", verifying.as_secs_f64(), "s", .., &speed);
    let proof = time(clock, || {
        drop(
            store
                .read(|r| r.inclusion_proof(size / 3, size))
                .unwrap()
                .unwrap(),
        )
    });
    figure(
        "an inclusion proof in it",
        proof.as_secs_f64() * 1e3,
        "ms",
        ..,
        "",
    );
}

/// Each batch in a closure. What is in it is made just before, and not timed: as raw SQLite's rows are.
fn one_closure_each(clock: &SharedClock, store: &Store, runtime: &tokio::runtime::Runtime) -> Duration {
    let one = |batch| {
        let entries: Vec<NewEntry> = (0..BATCH).map(|n| entry(batch * BATCH + n)).collect();
        let append = move |tx: &mut store::Tx<'_>| {
            entries
                .into_iter()
                .try_for_each(|entry| tx.append(entry).map(drop))
        };
        time(clock, || {
            runtime
                .block_on(store.write::<(), StoreError, _>(append))
                .unwrap();
        })
    };
    (0..BATCHES).map(one).sum()
}

/// Every caller writes its entries one after another.
async fn many_closures_each(store: &Store, callers: Vec<Vec<NewEntry>>) {
    let callers: Vec<_> = callers
        .into_iter()
        .map(|entries| {
            let store = store.clone();
            tokio::spawn(async move {
                for entry in entries {
                    store.write(move |tx| tx.append(entry)).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

/// The entries of all batches by caller, each of whom writes one of every batch.
fn callers() -> Vec<Vec<NewEntry>> {
    let caller = |caller| {
        (0..BATCHES)
            .map(move |batch| entry(batch * BATCH + caller))
            .collect()
    };
    (0..BATCH).map(caller).collect()
}

/// The same rows without any of the store's work, by SQLite as it comes.
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
             CREATE INDEX entries_of_session ON entries(session, seq) WHERE session IS NOT NULL;
             CREATE TABLE head(
                 id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, roots BLOB NOT NULL,
                 last_ms INTEGER NOT NULL, seal BLOB NOT NULL
             ) STRICT;",
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
            let size = from + (batch + 1) * BATCH;
            let roots = vec![7; 32 * size.count_ones() as usize];
            self.0
                .prepare_cached(
                    "INSERT OR REPLACE INTO head(id, size, roots, last_ms, seal) VALUES (1, ?1, ?2, ?3, ?4)",
                )
                .unwrap()
                .execute((size, roots, 1_790_000_000_000_i64, [7; 32]))
                .unwrap();
            self.0.execute_batch("COMMIT").unwrap();
        }
    }
}

/// What the store writes for a batch.
fn sample(store: &Store, runtime: &tokio::runtime::Runtime) -> Vec<RawRow> {
    let append = move |tx: &mut store::Tx<'_>| (0..BATCH).try_for_each(|n| tx.append(entry(n)).map(drop));
    runtime
        .block_on(store.write::<(), StoreError, _>(append))
        .unwrap();
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
