//! A journal of many small entries, written through the store as fast as it goes.

use cofferdam::app::{DEFAULT_ORIGIN, beside};
use journal::kind;
use journal::machine::SessionEvent;
use policy::Timestamp;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::clock::{Clock, SharedClock, SystemClock};
use store::{Keys, NewEntry, Options, Store, StoreError, Tx};

/// Entries in one commit.
const COMMIT: u64 = 512;
/// Entries of one session: created, queued, started, many notes, completed. A million entries are 7,813
/// sessions, few enough that each start compares all of their rows.
const SESSION: u64 = 128;

/// How long ago they are written: what every start reads again is the last minute, not all of it.
const AGE_MS: i64 = 24 * 60 * 60 * 1_000;

/// Makes a journal of at least `entries` in `folder/data`. Returns how many there are.
pub fn fill(folder: &Path, entries: u64) -> u64 {
    let data = folder.join("data");
    let origin = DEFAULT_ORIGIN.to_owned();
    let mut projections = gate::projections();
    projections.extend(ops::triage::projections());
    let store = Store::open(Options {
        keys: Keys::open_or_create(&beside(&data, "-keys"), &origin).unwrap(),
        checkpoints: Some(beside(&data, "-checkpoints").join(format!("{}.txt", origin.replace('/', "_")))),
        directory: data,
        origin,
        projections,
        clock: Arc::new(Yesterday(SystemClock::shared())),
        vfs: None,
        synchronous: "FULL",
    });
    let store = store.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let size = store.committed();
    while *size.borrow() < entries {
        let write = store.write(|tx| (0..COMMIT / SESSION).try_for_each(|_| session(tx)));
        runtime.block_on(write).unwrap();
    }
    runtime.block_on(store.close()).unwrap();
    *size.borrow()
}

fn session(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let id = format!("ses-{}", tx.next_sequence());
    let cause = "service:trigger/bench";
    let entry = |kind, body| {
        NewEntry::new(kind, "service:cofferdam", body)
            .session(&id)
            .cause(cause)
    };
    let event = |event: SessionEvent| json!({"event": event, "agent": "bench", "title": "Bench"});
    tx.append(entry(
        kind::SESSION_CREATED,
        json!({"event": "create", "agent": "bench", "title": "Bench", "taint": []}),
    ))?;
    tx.append(entry(kind::SESSION_QUEUED, event(SessionEvent::Queue)))?;
    tx.append(entry(kind::SESSION_STARTED, event(SessionEvent::Start)))?;
    for number in 0..SESSION - 4 {
        tx.append(entry(
            kind::SESSION_NOTED,
            json!({"note": format!("looked at {number} of them")}),
        ))?;
    }
    tx.append(entry(kind::SESSION_COMPLETED, event(SessionEvent::Complete)))?;
    Ok(())
}

/// The machine's clock, a day behind.
#[derive(Debug)]
struct Yesterday(SharedClock);

impl Clock for Yesterday {
    fn now(&self) -> Timestamp {
        self.0.now().plus_ms(-AGE_MS)
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}
