//! Writing: closures that run on the writer's thread, inside the commit.

use crate::fold::{self, FoldError, Sums};
use crate::head::Head;
use crate::kept::{Kept, Known, known};
use crate::shared::Shared;
use crate::{Applied, Erasable, Row, StoreError, payloads, query};
use journal::{Entry, kind};
use policy::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a payload is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retention {
    /// Arguments and results of actions.
    Action,
    /// Configuration documents.
    Config,
    /// What came in from outside: webhooks, tasks.
    Intake,
}

/// A payload beside an entry: encrypted, erasable, committed to in the leaf.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPayload {
    /// Unique within the entry.
    pub name: &'static str,
    /// How long it is kept.
    pub retention: Retention,
    /// JSON.
    pub value: Value,
}

/// An entry to append. Sequence, timestamp, log and commitments are the store's.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// See [`journal::kind`].
    pub kind: &'static str,
    /// `ses-42`.
    pub session: Option<String>,
    /// Who did it.
    pub actor: String,
    /// On whose account.
    pub cause: Option<String>,
    /// Incident, task.
    pub correlation: Option<String>,
    /// Beside it.
    pub payloads: Vec<NewPayload>,
    /// A JSON object.
    body: Value,
    /// As it will stand in the leaf, or why it cannot. Written by whoever makes the entry, since the one
    /// writer would otherwise do it for everybody.
    written: Result<Vec<u8>, String>,
}

impl NewEntry {
    /// With nothing but kind, actor and body.
    pub fn new(kind: &'static str, actor: impl ToString, mut body: Value) -> NewEntry {
        payloads::settle_numbers(&mut body);
        let written = journal::entry::body_bytes(&body).map_err(|error| error.to_string());
        NewEntry {
            kind,
            session: None,
            actor: actor.to_string(),
            cause: None,
            correlation: None,
            payloads: Vec::new(),
            body,
            written,
        }
    }
    /// With another value of a member that its body has; as it is when it says that already. For what only the
    /// transaction knows.
    pub fn saying(mut self, member: &str, value: impl Into<Value>) -> NewEntry {
        let value = value.into();
        let Some(said) = self.body.get_mut(member).filter(|said| **said != value) else {
            return self;
        };
        *said = value;
        self.written = journal::entry::body_bytes(&self.body).map_err(|error| error.to_string());
        self
    }
    /// Of a session.
    pub fn session(mut self, session: &str) -> NewEntry {
        self.session = Some(session.to_owned());
        self
    }
    /// On whose account.
    pub fn cause(mut self, cause: impl ToString) -> NewEntry {
        self.cause = Some(cause.to_string());
        self
    }
    /// With a correlation id.
    pub fn correlation(mut self, id: &str) -> NewEntry {
        self.correlation = Some(id.to_owned());
        self
    }
    /// With a payload.
    pub fn payload(mut self, name: &'static str, retention: Retention, value: Value) -> NewEntry {
        self.payloads.push(NewPayload {
            name,
            retention,
            value,
        });
        self
    }
}

/// The answer to a committed closure.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<T> {
    /// What the closure returned.
    pub value: T,
    /// Sequence of the first entry it appended, if any.
    pub first: Option<u64>,
}

/// What all leaves of a commit share: their time, also as they print it, and the memory they are made in.
pub(crate) struct LeafBuffer {
    pub(crate) now: Timestamp,
    printed: String,
    leaf: Vec<u8>,
}

impl LeafBuffer {
    pub(crate) fn new(now: Timestamp) -> LeafBuffer {
        LeafBuffer {
            now,
            printed: now.to_string(),
            leaf: Vec::with_capacity(1024),
        }
    }
}

/// An entry that is applied and not written yet, with its body as it will stand in the leaf.
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    body: Vec<u8>,
}

/// The transaction that a closure writes in. It sees what earlier closures of the same commit wrote.
///
/// An error of [`Tx::append`] or [`Tx::erase`] undoes the whole closure, even if it goes on.
pub struct Tx<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) kept: &'a RefCell<Kept>,
    pub(crate) shared: &'a Shared,
    pub(crate) head: &'a mut Head,
    pub(crate) sums: &'a mut Sums,
    pub(crate) leaves: &'a mut LeafBuffer,
    /// Projections that this closure changed.
    pub(crate) changed: Vec<bool>,
    /// The last appended entry: its leaf is finished when it is known not to be the closure's last.
    pub(crate) pending: Option<Pending>,
    pub(crate) first: Option<u64>,
    pub(crate) bytes: usize,
    pub(crate) failure: RefCell<Option<StoreError>>,
    pub(crate) erased: bool,
    /// Entries that are written. Freeing them can wait until the answers are given.
    pub(crate) spent: Vec<Entry>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(
        (connection, kept): (&'a Connection, &'a RefCell<Kept>),
        shared: &'a Shared,
        head: &'a mut Head,
        sums: &'a mut Sums,
        leaves: &'a mut LeafBuffer,
    ) -> Tx<'a> {
        let changed = vec![false; shared.projections.len()];
        Tx {
            connection,
            kept,
            shared,
            head,
            sums,
            leaves,
            changed,
            pending: None,
            first: None,
            bytes: 0,
            failure: RefCell::new(None),
            erased: false,
            spent: Vec::new(),
        }
    }
}

impl Tx<'_> {
    /// The time of this transaction, the same for all its entries.
    pub fn now(&self) -> Timestamp {
        self.leaves.now
    }
    /// The sequence that the next appended entry gets. Ids of new things are made from it: `ses-42`.
    pub fn next_sequence(&self) -> u64 {
        self.head
            .frontier
            .size()
            .saturating_add(u64::from(self.pending.is_some()))
    }
    /// Appends, applies every projection to it, and returns its sequence.
    pub fn append(&mut self, entry: NewEntry) -> Result<u64, StoreError> {
        self.unless_failed()?;
        let result = self.try_append(entry);
        self.note_failure(result)
    }
    /// One row of a projection, as of now in this transaction.
    pub fn row(&self, projection: &str, key: &str) -> Result<Option<Value>, StoreError> {
        Ok(self.held(projection, key)?.map(Arc::unwrap_or_clone))
    }
    /// The same, for whoever only looks at it.
    pub fn held(&self, projection: &str, key: &str) -> Result<Option<Arc<Value>>, StoreError> {
        let known = self.note_failure(self.known(projection, key))?;
        Ok(known.map(|held| Arc::clone(&held.value)))
    }
    /// Whether a projection has no rows at all. Reads nothing.
    pub fn is_empty(&self, projection: &str) -> bool {
        let sum = self
            .shared
            .number_of(projection)
            .and_then(|n| self.sums.sums.get(n));
        sum.is_some_and(|sum| sum.rows == 0)
    }
    /// Rows in order of key after `after`, up to `limit`.
    pub fn rows(&self, projection: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.note_failure(query::rows(self.connection, projection, after, limit))
    }
    /// Rows by index.
    pub fn find(&self, projection: &str, index: &str, value: &str) -> Result<Vec<Row>, StoreError> {
        self.note_failure(query::find(self.connection, projection, index, value))
    }
    /// A payload, decrypted.
    pub fn payload(&self, sequence: u64, name: &str) -> Result<Erasable<Value>, StoreError> {
        self.note_failure(self.try_payload(sequence, name))
    }
    /// Destroys key and salt of an entry's payloads and appends `payload.erased`, which projections
    /// that show something of a payload have to subscribe to.
    pub fn erase(&mut self, sequence: u64, by: &str, reason: &str) -> Result<u64, StoreError> {
        self.unless_failed()?;
        let names = self.note_failure(payloads::erase(self.connection, sequence))?;
        if names.is_empty() {
            return Err(StoreError::Refused(format!(
                "entry {sequence} has no payload that could be erased"
            )));
        }
        self.erased = true;
        let body = json!({"of": sequence, "names": names, "reason": reason});
        self.append(NewEntry::new(kind::PAYLOAD_ERASED, by, body))
    }

    /// Finishes the closure's last entry, which carries the digests of what the closure changed.
    pub(crate) fn finish(&mut self) -> Result<(), StoreError> {
        self.unless_failed()?;
        if let Some(mut pending) = self.pending.take() {
            let key = self.shared.digest_key()?;
            for ((projection, sum), changed) in self
                .shared
                .projections
                .iter()
                .zip(&self.sums.sums)
                .zip(&self.changed)
            {
                if *changed {
                    let shown = key.show(projection.name(), sum);
                    pending
                        .entry
                        .projections
                        .insert(projection.name().to_owned(), shown);
                }
            }
            self.write_leaf(pending)?;
        }
        Ok(())
    }

    fn known(&self, projection: &str, key: &str) -> Result<Known, StoreError> {
        let projections = &self.shared.projections;
        let number = self.shared.number_of(projection);
        match number.and_then(|number| Some((number, projections.get(number)?.as_ref()))) {
            Some(found) => known(self.kept, self.connection, found, key),
            None => Ok(None),
        }
    }

    fn try_payload(&self, sequence: u64, name: &str) -> Result<Erasable<Value>, StoreError> {
        let commitments = match &self.pending {
            Some(Pending { entry, .. }) if entry.sequence == sequence => entry.commitments.clone(),
            _ => match query::entry(self.connection, sequence)? {
                Some(stored) => stored.entry.commitments,
                None => return Ok(Erasable::Absent),
            },
        };
        payloads::get(self.connection, self.shared, sequence, name, &commitments)?.map_err(|finding| {
            StoreError::Corrupt {
                finding: finding.to_string(),
            }
        })
    }

    fn try_append(&mut self, new: NewEntry) -> Result<u64, StoreError> {
        let NewEntry {
            kind,
            session,
            actor,
            cause,
            correlation,
            payloads: mut beside,
            body,
            written,
        } = new;
        if let Some(pending) = self.pending.take() {
            self.write_leaf(pending)?;
        }
        let written =
            written.map_err(|e| StoreError::Refused(format!("`{kind}` cannot be recorded: {e}")))?;
        let sequence = self.next_sequence();
        let mut entry = Entry {
            v: 1,
            log: self.shared.origin.clone(),
            sequence,
            timestamp: self.leaves.now,
            kind: kind.to_owned(),
            session,
            actor,
            cause,
            correlation,
            body,
            commitments: Vec::with_capacity(beside.len()),
            projections: BTreeMap::new(),
        };
        for payload in &mut beside {
            if entry.commitments.iter().any(|c| c.name == payload.name) {
                return Err(StoreError::Refused(format!(
                    "`{kind}` has two payloads named `{}`",
                    payload.name
                )));
            }
            payloads::settle_numbers(&mut payload.value);
            let (commitment, bytes) = payloads::put(self.connection, self.shared, sequence, payload)?;
            entry.commitments.push(commitment);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.apply(&entry, beside)?;
        self.first.get_or_insert(sequence);
        self.pending = Some(Pending { entry, body: written });
        Ok(sequence)
    }

    fn apply(&mut self, entry: &Entry, beside: Vec<NewPayload>) -> Result<(), StoreError> {
        let payloads: Vec<(String, Value)> =
            beside.into_iter().map(|p| (p.name.to_owned(), p.value)).collect();
        let key = self.shared.digest_key()?;
        self.sums.touched.fill(false);
        let applied = Applied {
            entry,
            payloads: &payloads,
        };
        let result = fold::apply(
            (self.connection, self.kept),
            key,
            &self.shared.projections,
            self.sums,
            &applied,
        );
        for (changed, touched) in self.changed.iter_mut().zip(&self.sums.touched) {
            *changed |= *touched;
        }
        result.map_err(|error| match error {
            FoldError::Store(error) => error,
            FoldError::Corrupt { projection, corrupt } => StoreError::Refused(format!(
                "`{}` cannot be applied to `{projection}`: {corrupt}",
                entry.kind
            )),
        })
    }

    fn write_leaf(&mut self, pending: Pending) -> Result<(), StoreError> {
        let Pending { entry, body } = pending;
        let LeafBuffer { printed, leaf, .. } = &mut *self.leaves;
        entry
            .write_leaf(leaf, printed, &body)
            .map_err(|e| StoreError::Refused(format!("`{}` cannot be recorded: {e}", entry.kind)))?;
        let hash = journal::merkle::leaf_hash(leaf);
        self.connection
            .prepare_cached(
                "INSERT INTO entries(seq, leaf, hash, session, kind) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((entry.sequence, &*leaf, hash, &entry.session, &entry.kind))?;
        self.bytes = self.bytes.saturating_add(leaf.len());
        self.head.append(self.connection, hash)?;
        self.head.last = Some(entry.timestamp);
        self.spent.push(entry);
        Ok(())
    }

    fn unless_failed(&self) -> Result<(), StoreError> {
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    /// What failed once fails the closure, whatever the closure makes of it.
    fn note_failure<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.failure.borrow_mut().get_or_insert_with(|| error.clone());
        }
        result
    }
}
