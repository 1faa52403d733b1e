//! The writer's connection and what it knows of the log: loading it with its checks, and commits.

use crate::fold::{self, Sums};
use crate::head::{self, Head};
use crate::kept::Kept;
use crate::refold::refold;
use crate::shared::Shared;
use crate::tail::Decisive;
use crate::write::LeafBuffer;
use crate::{NewEntry, Projection, StoreError, Tx, replace, schema, signing, tail};
use journal::verify::Finding;
use journal::{Entry, kind};
use rusqlite::Connection;
use serde_json::json;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The platform itself, as an actor.
pub(crate) const SELF: &str = "service:cofferdam";
/// Projections were made again from the entries; the entry holds their digests.
pub(crate) const LOG_REBUILT: &str = "log.rebuilt";
/// A checkpoint is signed with the first commit after this many entries.
const UNSIGNED_MAX: u64 = 1_000;
/// A clock that goes back by more than this is recorded, in milliseconds.
pub(crate) const CLOCK_BACK_MS_MAX: i64 = 1_000;

/// An open database whose head and tail were checked.
pub(crate) struct Engine {
    pub(crate) connection: Connection,
    pub(crate) head: Head,
    sums: Sums,
    kept: RefCell<Kept>,
    /// Size of the newest stored checkpoint.
    pub(crate) signed: u64,
    /// Size of the newest checkpoint in the file outside.
    pub(crate) outside: u64,
    /// A reader kept the log from being emptied after an erasure.
    pub(crate) wal_holds_erased: bool,
}

/// What became of a closure.
pub(crate) enum Outcome {
    /// It stays, with the sequence of its first entry.
    Kept(Option<u64>),
    /// The closure itself refused.
    Refused,
    /// The store refused.
    Undone(StoreError),
}

/// A commit under way. Dropped without [`Batch::commit`], nothing of it stays.
pub(crate) struct Batch<'e> {
    engine: &'e mut Engine,
    shared: &'e Shared,
    head: Head,
    sums: Sums,
    changed: Vec<bool>,
    leaves: LeafBuffer,
    /// Bytes written so far.
    pub(crate) bytes: usize,
    erased: bool,
    spent: Vec<Entry>,
    open: bool,
    /// Whether to commit although the journal does not verify: only what repairs it.
    despite_findings: bool,
}

/// How much of the state has to be right for the engine to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Everything that is checked before acting.
    All,
    /// The same without large projections: [`Engine::check_large`] has to follow before any write.
    Opening,
    /// The entries and the tree: projections are about to be made again.
    EntriesOnly,
}

impl Engine {
    /// Opens the database again and checks what has to be right before anything is acknowledged.
    pub(crate) fn reopen(shared: &Shared, checks: Checks) -> Result<Result<Engine, Finding>, StoreError> {
        let connection = schema::open_writer(&shared.database(), shared.vfs.as_deref(), shared.synchronous)?;
        let loaded = Engine::load(shared, connection, checks);
        // What the last commit came to is seen only now.
        shared.told(&vec![true; shared.projections.len()], None);
        loaded
    }

    /// Reads the head and checks it, the tail and the projections that decide about acting.
    pub(crate) fn load(
        shared: &Shared,
        connection: Connection,
        checks: Checks,
    ) -> Result<Result<Engine, Finding>, StoreError> {
        replace::settle(&connection, shared)?;
        let key = shared.digest_key()?;
        let digests = head::digests(&connection, key)?;
        let head = match Head::load(&connection)? {
            Some(stored) if checks != Checks::EntriesOnly && !stored.is_sealed_with(key, &digests) => {
                return Ok(Err(Finding::Derived {
                    what: "the state of the projections".to_owned(),
                }));
            }
            Some(stored) => stored.head,
            None => Head::default(),
        };
        let (signed, outside) = match tail::check(&connection, shared, &head)? {
            Ok(sizes) => sizes,
            Err(finding) => return Ok(Err(finding)),
        };
        let compared: &[Decisive] = match checks {
            Checks::All => &[Decisive::Small, Decisive::Large],
            Checks::Opening => &[Decisive::Small],
            Checks::EntriesOnly => &[],
        };
        for which in compared {
            if let Err(finding) = tail::check_projections(&connection, shared, &digests, *which)? {
                return Ok(Err(finding));
            }
        }
        let mut sums = Sums::empty(shared.projections.len());
        for (projection, sum) in shared.projections.iter().zip(&mut sums.sums) {
            *sum = digests.get(projection.name()).copied().unwrap_or_default();
        }
        Ok(Ok(Engine {
            connection,
            head,
            sums,
            kept: RefCell::default(),
            signed,
            outside,
            wal_holds_erased: false,
        }))
    }

    /// Whether opening left out any.
    pub(crate) fn has_large(&self, shared: &Shared) -> bool {
        let mut known = shared.projections.iter().zip(&self.sums.sums);
        known.any(|(projection, sum)| tail::is_large(projection.name(), sum))
    }

    /// Compares the decisive projections that opening left out.
    pub(crate) fn check_large(&self, shared: &Shared) -> Result<(), StoreError> {
        let names = shared.projections.iter().map(|p| p.name().to_owned());
        let digests = names.zip(self.sums.sums.iter().copied()).collect();
        tail::check_projections(&self.connection, shared, &digests, Decisive::Large)?.map_err(|finding| {
            StoreError::Corrupt {
                finding: finding.to_string(),
            }
        })
    }

    /// Builds projections that the database does not know, drops those that the program does not.
    pub(crate) fn reconcile(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let stored = head::digests(&self.connection, shared.digest_key()?)?;
        let gone: Vec<&String> = stored
            .keys()
            .filter(|name| !shared.projections.iter().any(|p| p.name() == *name))
            .collect();
        let new: Vec<bool> = shared
            .projections
            .iter()
            .map(|p| !stored.contains_key(p.name()))
            .collect();
        let first = self.head.frontier.size() == 0;
        if gone.is_empty() && !first && !new.contains(&true) {
            return Ok(());
        }
        let mut batch = self.begin(shared)?;
        for name in gone {
            fold::clear(&batch.engine.connection, name)?;
        }
        batch.refold(&new)?;
        batch.engine.kept.borrow_mut().clear();
        let (kind, body) = match first {
            true => (kind::LOG_OPENED, json!({"key": shared.verifier.to_vkey()})),
            false => (LOG_REBUILT, json!({"projections": names(shared, &new)})),
        };
        batch.append_own(NewEntry::new(kind, SELF, body))?;
        batch.commit().map(drop)
    }

    /// Makes all projections again and returns the names of those that were different. Refuses with the
    /// finding when the entries are not those of the tree: nothing is changed then.
    pub(crate) fn rebuild(
        &mut self,
        shared: &Shared,
        despite_findings: bool,
    ) -> Result<Vec<String>, StoreError> {
        let before = self.sums.sums.clone();
        let all = vec![true; shared.projections.len()];
        let mut batch = self.begin(shared)?;
        batch.despite_findings = despite_findings;
        let mut different = Vec::new();
        for (projection, sum) in shared.projections.iter().zip(&before) {
            let rows = tail::sum_rows(&batch.engine.connection, shared.digest_key()?, projection.name())?;
            different.push(rows != *sum);
            fold::clear(&batch.engine.connection, projection.name())?;
        }
        batch.refold(&all)?;
        batch.engine.kept.borrow_mut().clear();
        for ((different, before), after) in different.iter_mut().zip(&before).zip(&batch.sums.sums) {
            *different |= before != after;
        }
        let names = names(shared, &different);
        batch.changed = all;
        if !names.is_empty() {
            batch.append_own(NewEntry::new(LOG_REBUILT, SELF, json!({"projections": names})))?;
        }
        batch.commit()?;
        shared.forget_latest();
        Ok(names)
    }

    /// Records that writing works again, which is also the proof that it does.
    pub(crate) fn record_recovery(&mut self, shared: &Shared, reason: &str) -> Result<(), StoreError> {
        let mut batch = self.begin(shared)?;
        batch.append_own(NewEntry::new(
            kind::LOG_RECOVERED,
            SELF,
            json!({"reason": reason}),
        ))?;
        batch.commit().map(drop)
    }

    /// Begins a commit. Records first that the clock went back, if it did.
    pub(crate) fn begin<'e>(&'e mut self, shared: &'e Shared) -> Result<Batch<'e>, StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let (head, sums, now) = (self.head.clone(), self.sums.clone(), shared.clock.now());
        let changed = vec![false; shared.projections.len()];
        let mut batch = Batch {
            engine: self,
            shared,
            head,
            sums,
            changed,
            leaves: LeafBuffer::new(now),
            bytes: 0,
            erased: false,
            spent: Vec::new(),
            open: true,
            despite_findings: false,
        };
        if let Some(last) = batch
            .head
            .last
            .filter(|last| last.since_ms(now) > CLOCK_BACK_MS_MAX)
        {
            let body = json!({"from": last.to_string(), "to": now.to_string()});
            batch.append_own(NewEntry::new(kind::CLOCK_JUMPED, SELF, body))?;
        }
        Ok(batch)
    }
}

impl Batch<'_> {
    /// The connection that the commit is under way on.
    pub(crate) fn connection(&self) -> &Connection {
        &self.engine.connection
    }

    /// What this commit writes over has to go from the write-ahead log as well.
    pub(crate) fn wipe_log(&mut self) {
        self.erased = true;
    }

    /// Runs a closure, to be undone alone when it refuses. `Err` means that the whole commit is lost.
    pub(crate) fn run(
        &mut self,
        closure: &mut dyn FnMut(&mut Tx<'_>) -> bool,
    ) -> Result<Outcome, StoreError> {
        // What writes anything appends an entry.
        let undo = match self.head == self.engine.head {
            true => Undo::Transaction,
            false => Undo::Savepoint,
        };
        self.run_to_undo(undo, closure)
    }

    fn run_to_undo(
        &mut self,
        undo: Undo,
        closure: &mut dyn FnMut(&mut Tx<'_>) -> bool,
    ) -> Result<Outcome, StoreError> {
        let (head, sums) = (self.head.clone(), self.sums.clone());
        let connection = &self.engine.connection;
        undo.begin(connection)?;
        let (head_now, sums_now) = (&mut self.head, &mut self.sums);
        let rows = (connection, &self.engine.kept);
        let mut tx = Tx::new(rows, self.shared, head_now, sums_now, &mut self.leaves);
        let returned = catch_unwind(AssertUnwindSafe(|| closure(&mut tx)));
        let finished = match returned {
            Ok(true) => tx.finish().map(|()| true),
            Ok(false) => Ok(false),
            Err(_) => Err(StoreError::Refused("the closure panicked".to_owned())),
        };
        let failure = tx.failure.take().or_else(|| finished.as_ref().err().cloned());
        let (first, changed, bytes, erased, mut spent) =
            (tx.first, tx.changed, tx.bytes, tx.erased, tx.spent);
        if let Some(error @ (StoreError::Unavailable { .. } | StoreError::Corrupt { .. })) = failure {
            return Err(error);
        }
        if failure.is_none() && finished == Ok(true) {
            undo.release(connection)?;
            self.engine.kept.borrow_mut().keep();
            self.changed
                .iter_mut()
                .zip(changed)
                .for_each(|(all, one)| *all |= one);
            self.bytes = self.bytes.saturating_add(bytes);
            self.erased |= erased;
            self.spent.append(&mut spent);
            return Ok(Outcome::Kept(first));
        }
        self.engine.kept.borrow_mut().undo();
        undo.undo(connection)?;
        (self.head, self.sums) = (head, sums);
        Ok(failure.map_or(Outcome::Refused, Outcome::Undone))
    }

    /// Commits: durable when this returns. After an error nobody knows whether it is. Gives back what is
    /// of no more use, to be freed when nobody waits.
    pub(crate) fn commit(mut self) -> Result<Vec<Entry>, StoreError> {
        if self.head != self.engine.head || self.changed.contains(&true) {
            self.sums.touched.clone_from(&self.changed);
            self.head
                .store(&self.engine.connection, self.shared, &self.sums)?;
        }
        let signed = self.sign_if_due()?;
        if let (crate::Health::Corrupt(finding), false) = (self.shared.health(), self.despite_findings) {
            return Err(StoreError::Corrupt { finding });
        }
        let committed = self.engine.connection.prepare_cached("COMMIT")?.execute([]);
        let changed = self.engine.kept.borrow_mut().committed();
        // After an error too: it may hold all the same.
        self.shared
            .told(&self.changed, committed.is_ok().then_some(changed));
        committed?;
        self.open = false;
        self.engine.signed = signed;
        std::mem::swap(&mut self.engine.head, &mut self.head);
        std::mem::swap(&mut self.engine.sums, &mut self.sums);
        // What was erased also stands in the write-ahead log, until that is emptied.
        self.engine.wal_holds_erased |= self.erased;
        if self.engine.wal_holds_erased {
            self.engine.wal_holds_erased = !signing::empty_wal(&self.engine.connection);
        }
        self.shared.committed.send_if_modified(|size| {
            let new = self.engine.head.frontier.size();
            std::mem::replace(size, new) != new
        });
        Ok(std::mem::take(&mut self.spent))
    }

    /// Signs, now and then, what the commit before this one made durable: so that it costs no fsync of
    /// its own. Returns the size of the newest checkpoint.
    fn sign_if_due(&mut self) -> Result<u64, StoreError> {
        let durable = &self.engine.head;
        if durable.frontier.size().saturating_sub(self.engine.signed) < UNSIGNED_MAX {
            return Ok(self.engine.signed);
        }
        signing::sign_into(&self.engine.connection, durable, self.shared).map(|signed| signed.checkpoint.size)
    }

    /// Appends an entry of the store itself, with the digests of all that changed so far.
    pub(crate) fn append_own(&mut self, entry: NewEntry) -> Result<(), StoreError> {
        let mut entry = Some(entry);
        let already = self.changed.clone();
        let outcome = self.run_to_undo(Undo::Savepoint, &mut |tx| {
            tx.changed.clone_from(&already);
            entry.take().is_some_and(|entry| tx.append(entry).is_ok())
        })?;
        match outcome {
            Outcome::Kept(_) => Ok(()),
            Outcome::Undone(error) => Err(error),
            Outcome::Refused => Err(StoreError::Refused(
                "the store's own entry was refused".to_owned(),
            )),
        }
    }

    /// Makes the chosen projections from all entries, which have to be those of the head; their rows are
    /// gone already.
    fn refold(&mut self, chosen: &[bool]) -> Result<(), StoreError> {
        let some: Vec<Arc<dyn Projection>> = self
            .shared
            .projections
            .iter()
            .zip(chosen)
            .filter(|(_, c)| **c)
            .map(|(p, _)| p.clone())
            .collect();
        let connection = &self.engine.connection;
        let made = refold(connection, self.shared, &some, &self.head.frontier)?;
        let mut made = made.sums.into_iter();
        for ((sum, changed), _) in self
            .sums
            .sums
            .iter_mut()
            .zip(&mut self.changed)
            .zip(chosen)
            .filter(|(_, c)| **c)
        {
            *sum = made.next().unwrap_or_default();
            *changed = true;
        }
        Ok(())
    }
}

/// How what a closure wrote can be undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// With the transaction, in which nothing else was written: SQLite keeps no copies of pages for it.
    Transaction,
    /// Alone, in a transaction that goes on.
    Savepoint,
}

impl Undo {
    fn begin(self, connection: &Connection) -> Result<(), StoreError> {
        if self == Undo::Savepoint {
            connection.prepare_cached("SAVEPOINT closure")?.execute([])?;
        }
        Ok(())
    }

    fn release(self, connection: &Connection) -> Result<(), StoreError> {
        if self == Undo::Savepoint {
            connection.prepare_cached("RELEASE closure")?.execute([])?;
        }
        Ok(())
    }

    fn undo(self, connection: &Connection) -> Result<(), StoreError> {
        let (back, again) = match self {
            Undo::Transaction => ("ROLLBACK", "BEGIN IMMEDIATE"),
            Undo::Savepoint => ("ROLLBACK TO closure", "RELEASE closure"),
        };
        connection.prepare_cached(back)?.execute([])?;
        connection.prepare_cached(again)?.execute([])?;
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.open {
            self.engine.kept.borrow_mut().clear();
        }
        if self.open && !self.engine.connection.is_autocommit() {
            // Nothing was acknowledged, so a failure here loses nothing: the connection is dropped next.
            if let Err(error) = self.engine.connection.execute_batch("ROLLBACK") {
                tracing::warn!(%error, "a commit could not be rolled back");
            }
        }
    }
}

fn names(shared: &Shared, chosen: &[bool]) -> Vec<String> {
    shared
        .projections
        .iter()
        .zip(chosen)
        .filter(|(_, c)| **c)
        .map(|(p, _)| p.name().to_owned())
        .collect()
}
