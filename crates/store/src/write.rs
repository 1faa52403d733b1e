//! Writing: closures that run on the writer's thread, inside the commit.

use crate::{Row, StoreError};
use policy::Timestamp;
use serde_json::Value;

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
    /// A JSON object.
    pub body: Value,
    /// Beside it.
    pub payloads: Vec<NewPayload>,
}

impl NewEntry {
    /// With nothing but kind, actor and body.
    pub fn new(kind: &'static str, actor: impl ToString, body: Value) -> NewEntry {
        NewEntry {
            kind,
            session: None,
            actor: actor.to_string(),
            cause: None,
            correlation: None,
            body,
            payloads: Vec::new(),
        }
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
        self.payloads.push(NewPayload { name, retention, value });
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

/// The transaction that a closure writes in. It sees what earlier closures of the same commit wrote.
pub struct Tx<'a> {
    _private: std::marker::PhantomData<&'a mut ()>,
}

impl Tx<'_> {
    /// The time of this transaction, the same for all its entries.
    pub fn now(&self) -> Timestamp {
        todo!()
    }
    /// The sequence that the next appended entry gets. Ids of new things are made from it: `ses-42`.
    pub fn next_sequence(&self) -> u64 {
        todo!()
    }
    /// Appends, applies every projection to it, and returns its sequence.
    pub fn append(&mut self, entry: NewEntry) -> Result<u64, StoreError> {
        let _ = entry;
        todo!()
    }
    /// One row of a projection, as of now in this transaction.
    pub fn row(&self, projection: &str, key: &str) -> Result<Option<Value>, StoreError> {
        let _ = (projection, key);
        todo!()
    }
    /// Rows by index.
    pub fn find(&self, projection: &str, index: &str, value: &str) -> Result<Vec<Row>, StoreError> {
        let _ = (projection, index, value);
        todo!()
    }
    /// A payload, decrypted.
    pub fn payload(&self, sequence: u64, name: &str) -> Result<crate::Erasable<Value>, StoreError> {
        let _ = (sequence, name);
        todo!()
    }
    /// Destroys key and salt of an entry's payloads and appends `payload.erased`.
    pub fn erase(&mut self, sequence: u64, by: &str, reason: &str) -> Result<u64, StoreError> {
        let _ = (sequence, by, reason);
        todo!()
    }
}
