//! Two ways to falsify a journal, tried on copies: change a byte, and rewrite everything and sign it
//! again with the stolen keys.

use crate::cli::failure::Failure;
use policy::Timestamp;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::clock::{Clock, SharedClock};
use store::{Erasable, Keys, NewEntry, NewPayload, Options, Retention, Store, StoreError, Stored};

/// Entries per read.
const PAGE: usize = 500;

/// Copies a closed data directory.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Changes one byte of an entry in the files of a data directory, as an editor of disks would.
/// `text` stands in that entry before its sequence; its last byte is changed.
pub fn change_one_byte(directory: &Path, entry: &Stored, text: &str) -> Result<(), Failure> {
    let leaf = entry.entry.to_leaf().map_err(anyhow::Error::from)?;
    let missing = || {
        Failure::Failed(format!(
            "entry {} is not in the database's file",
            entry.entry.sequence
        ))
    };
    let at = find(&leaf, text.as_bytes()).ok_or_else(missing)? + text.len() - 1;
    let path = directory.join("journal.db");
    let mut file = std::fs::read(&path)?;
    // From before the byte to the sequence, which no other entry has.
    let sequence = format!("\"sequence\":{}", entry.entry.sequence);
    let until = find(&leaf, sequence.as_bytes()).ok_or_else(missing)? + sequence.len();
    let from = at.saturating_sub(60);
    let part = leaf.get(from..until).ok_or_else(missing)?;
    let start = find(&file, part).ok_or_else(missing)? + (at - from);
    if let Some(byte) = file.get_mut(start) {
        // Stays a letter or a digit, so that nothing but the hash can notice.
        *byte ^= 1;
    }
    std::fs::write(&path, file)?;
    Ok(())
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// What it takes to write a journal.
pub struct Forgery<'p> {
    /// The honest journal, closed.
    pub from: &'p Path,
    /// Where the forged one goes.
    pub to: &'p Path,
    /// The stolen keys.
    pub keys: &'p Path,
    /// The name of the log.
    pub origin: &'p str,
}

impl Forgery<'_> {
    /// Writes the whole journal again with one entry changed: every hash, projection, time and
    /// signature in it is then consistent. `change` gets every entry's actor and body.
    pub async fn write(&self, mut change: impl FnMut(u64, &mut String, &mut Value)) -> Result<(), Failure> {
        let clock = Arc::new(PastClock::default());
        let honest =
            Store::open_read_only(self.options(self.from, clock.clone())?).map_err(anyhow::Error::from)?;
        let all = entries(&honest)?;
        clock.set(
            all.first()
                .map_or(Timestamp::from_ms(0), |stored| stored.entry.timestamp),
        );
        std::fs::create_dir(self.to)?;
        std::fs::copy(self.from.join("origin"), self.to.join("origin"))?;
        let forged = Store::open(self.options(self.to, clock.clone())?).map_err(anyhow::Error::from)?;
        // What a store writes by itself when it is opened is there already.
        let own = forged.read(|reader| reader.size()).map_err(anyhow::Error::from)?;
        for stored in all.into_iter().filter(|stored| stored.entry.sequence >= own) {
            let payloads = payloads(&honest, &stored)?;
            clock.set(stored.entry.timestamp);
            let mut entry = stored.entry;
            change(entry.sequence, &mut entry.actor, &mut entry.body);
            let mut new = NewEntry::new(lasting(entry.kind), entry.actor, entry.body);
            (new.session, new.cause, new.correlation) = (entry.session, entry.cause, entry.correlation);
            new.payloads = payloads;
            let written = forged.write(move |tx| tx.append(new)).await;
            written.map_err(|e: StoreError| Failure::Other(e.into()))?;
        }
        forged.checkpoint().await.map_err(anyhow::Error::from)?;
        forged.close().await.map_err(anyhow::Error::from)?;
        Ok(())
    }

    fn options(&self, directory: &Path, clock: SharedClock) -> Result<Options, Failure> {
        Ok(Options {
            directory: directory.to_path_buf(),
            origin: self.origin.to_owned(),
            keys: Keys::open_or_create(self.keys, self.origin).map_err(anyhow::Error::from)?,
            projections: [gate::projections(), ops::triage::projections()].concat(),
            clock,
            checkpoints: None,
            vfs: None,
            // Speed matters more to a forger than what a power cut would do.
            synchronous: "OFF",
        })
    }
}

/// Every entry of a journal.
pub fn entries(store: &Store) -> Result<Vec<Stored>, Failure> {
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let from = all.last().map_or(0, |stored| stored.entry.sequence + 1);
        let page = store
            .read(|reader| reader.entries(from, PAGE))
            .map_err(anyhow::Error::from)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn payloads(store: &Store, stored: &Stored) -> Result<Vec<NewPayload>, Failure> {
    let sequence = stored.entry.sequence;
    let mut payloads = Vec::new();
    for commitment in &stored.entry.commitments {
        let payload = store
            .read(|reader| reader.payload(sequence, &commitment.name))
            .map_err(anyhow::Error::from)?;
        if let Erasable::Present(value) = payload {
            let name = lasting(commitment.name.clone());
            payloads.push(NewPayload {
                name,
                retention: Retention::Action,
                value,
            });
        }
    }
    Ok(payloads)
}

/// Kinds and names are constants everywhere else. There are a few hundred short ones here, once.
fn lasting(text: String) -> &'static str {
    text.leak()
}

/// A clock that says what it was told: a forger forges times too.
#[derive(Debug, Default)]
struct PastClock(AtomicI64);

impl PastClock {
    fn set(&self, at: Timestamp) {
        self.0.store(at.ms(), Ordering::SeqCst);
    }
}

impl Clock for PastClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}
