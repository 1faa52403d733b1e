//! Configuration documents as entries and as a projection.

use crate::bundles::{self, BundleChange, Stale};
use crate::rows::{self, body, decode, json as to_json};
use crate::{AgentAuthority, Authority, Gate, agents, channels};
use journal::{Entry, kind};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{
    Applied, Corrupt, Erasable, NewEntry, Projection, Reader, Retention, Rows, Store, StoreError, Tx,
};

/// Name of the projection.
const DOCUMENTS: &str = "documents";
/// The row that holds the generation of the whole; documents have a slash in their keys.
const GENERATION: &str = "generation";
/// Rows read at a time.
const READ_AT_ONCE: usize = 512;

/// Who owns a document: what a directory or a bundle owns is read-only to the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Owner {
    /// Came by `apply`.
    Api,
    /// Came from `up --config DIR`.
    Directory,
    /// Came out of the signed bundle of this publisher, and is changed by its next one alone.
    Bundle(String),
}

/// What a bundle's publisher is written behind.
const OF_BUNDLE: &str = "bundle:";

impl From<Owner> for String {
    fn from(owner: Owner) -> String {
        match owner {
            Owner::Api => "api".to_owned(),
            Owner::Directory => "directory".to_owned(),
            Owner::Bundle(publisher) => format!("{OF_BUNDLE}{publisher}"),
        }
    }
}

impl TryFrom<String> for Owner {
    type Error = String;

    fn try_from(text: String) -> Result<Owner, String> {
        match (text.as_str(), text.strip_prefix(OF_BUNDLE)) {
            ("api", _) => Ok(Owner::Api),
            ("directory", _) => Ok(Owner::Directory),
            (_, Some(publisher)) => Ok(Owner::Bundle(publisher.to_owned())),
            (_, None) => Err(format!("`{text}` owns no documents")),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Api => f.write_str("the API"),
            Owner::Directory => f.write_str("the configuration directory"),
            Owner::Bundle(publisher) => write!(f, "the signed bundle of Publisher `{publisher}`"),
        }
    }
}

/// A document as stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentView {
    /// `Agent`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// Who owns it.
    pub owner: Owner,
    /// How often it was applied since it is there, from 1.
    pub generation: u64,
    /// When it last changed.
    pub updated: Timestamp,
    /// Sequence of the entry that holds it.
    pub entry: u64,
    /// The whole document: `apiVersion`, `kind`, `metadata`, `spec`; null when it was erased.
    pub document: Value,
}

/// A change of one document.
#[derive(Clone, Debug, PartialEq)]
pub enum DocumentChange {
    /// Add or replace; the whole document as JSON.
    Apply {
        /// `Agent`.
        kind: String,
        /// `metadata.name`.
        name: String,
        /// The document.
        document: Value,
    },
    /// Remove.
    Delete {
        /// `Agent`.
        kind: String,
        /// `metadata.name`.
        name: String,
    },
}

/// What is installed together, or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Installation {
    /// Each with its owner after it.
    pub changes: Vec<(Owner, DocumentChange)>,
    /// Bundles that come or go; their documents are among the changes.
    pub bundles: Vec<BundleChange>,
}

/// Why changes were not installed. Nothing of them was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The other side owns it: what a directory owns is read-only to the API, and the reverse.
    #[error("{kind} `{name}` is owned by {owner}; change it there")]
    Owned {
        /// Who owns it.
        owner: Owner,
        /// `Agent`.
        kind: String,
        /// Name.
        name: String,
    },
    /// Somebody else changed configuration meanwhile; read again and retry.
    #[error("configuration changed meanwhile")]
    Conflict,
    /// A bundle that is older than what was seen of its publisher.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// What is documented does not fit what an agent inherited.
    #[error("{0}")]
    Misfit(String),
    /// An agent would be an approver.
    #[error("the approver of Channel `{channel}` has the key of agent `{agent}`, and no agent approves")]
    AgentApproves {
        /// The channel.
        channel: String,
        /// The agent.
        agent: String,
    },
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// All documents, by kind and name.
    pub fn documents(&self) -> Result<Vec<DocumentView>, StoreError> {
        self.store.read(|reader| {
            let mut views = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let rows = reader.rows(DOCUMENTS, after.as_deref(), READ_AT_ONCE)?;
                let Some(last) = rows.last() else { return Ok(views) };
                after = Some(last.key.clone());
                for row in rows.into_iter().filter(|row| row.key != GENERATION) {
                    views.push(view(reader, decode(row.value)?)?);
                }
            }
        })
    }

    /// Records `changes` as entries in one transaction and makes `authority` the one in force after it,
    /// provided that the generation is still `expected`; returns the new generation. The whole or
    /// nothing. Without a change nothing happens. Deleting what is not there changes nothing.
    pub async fn install(
        &self,
        by: &Principal,
        owner: Owner,
        expected: u64,
        changes: Vec<DocumentChange>,
        authority: Authority,
    ) -> Result<u64, InstallError> {
        let changes = changes.into_iter().map(|change| (owner.clone(), change));
        let installation = Installation {
            changes: changes.collect(),
            bundles: Vec::new(),
        };
        self.install_all(by, expected, installation, authority).await
    }

    /// The same of changes that have several owners, and of bundles.
    pub async fn install_all(
        &self,
        by: &Principal,
        expected: u64,
        installation: Installation,
        authority: Authority,
    ) -> Result<u64, InstallError> {
        let keys = self.keys_for(&installation.changes, &authority)?;
        let (store, by, in_force) = (self.store.clone(), by.clone(), Arc::clone(&self.authority));
        // A task of its own: once the entries are durable the authority has to follow, whether or not
        // whoever asked still waits. In between, admissions conflict and decide again.
        let task = tokio::spawn(async move {
            let (agents, after) = (authority.agents.clone(), authority.clone());
            let write = move |tx: &mut Tx<'_>| {
                let changes = installation.changes.iter().map(|(_, change)| change);
                channels::of_no_agent(tx, changes)?;
                let generation = record(tx, &by, expected, installation, &agents)?;
                for (name, key) in keys {
                    if let Some(held) = agents.get(&name) {
                        agents::identify(tx, &by, &name, held, &key)?;
                    }
                }
                agents::sponsors_inherited(tx, &after)?;
                Ok(generation)
            };
            let generation = store.write::<_, InstallError, _>(write).await?.value;
            let next = Arc::new(Authority {
                generation,
                ..authority
            });
            in_force.rcu(|now| {
                if now.generation < generation {
                    Arc::clone(&next)
                } else {
                    Arc::clone(now)
                }
            });
            Ok(generation)
        });
        let broken = |error| StoreError::Refused(format!("configuration was not installed: {error}"));
        task.await.map_err(broken)?
    }

    /// A new key for each agent that `changes` configure and that is not known yet. One for an agent that
    /// is known by then stays unused.
    fn keys_for(
        &self,
        changes: &[(Owner, DocumentChange)],
        authority: &Authority,
    ) -> Result<Vec<(String, [u8; 32])>, InstallError> {
        let mut keys = Vec::new();
        for (_, change) in changes {
            let DocumentChange::Apply { kind, name, .. } = change else {
                continue;
            };
            if kind != "Agent" || !authority.agents.contains_key(name) {
                continue;
            }
            let row = self.store.read(|reader| agents::read_agent(reader, name))?;
            if row.is_some_and(|row| row.status != policy::AgentStatus::Created) {
                continue;
            }
            let key = self
                .new_key()
                .map_err(|error| StoreError::Refused(error.to_string()))?;
            keys.push((name.clone(), key));
        }
        Ok(keys)
    }

    /// The generation in force, and what it gives.
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.load_full()
    }
}

/// The generation that is stored; 0 before the first change.
pub(crate) fn generation(store: &Store) -> Result<u64, StoreError> {
    store.read(|reader| {
        reader
            .row(DOCUMENTS, GENERATION)?
            .map_or(Ok(0), |row| Ok(decode::<Generation>(row)?.generation))
    })
}

/// The same, as of now in this transaction.
pub(crate) fn generation_now(tx: &Tx<'_>) -> Result<u64, StoreError> {
    tx.row(DOCUMENTS, GENERATION)?
        .map_or(Ok(0), |row| Ok(decode::<Generation>(row)?.generation))
}

fn record(
    tx: &mut Tx<'_>,
    by: &Principal,
    expected: u64,
    installation: Installation,
    agents: &BTreeMap<String, Arc<AgentAuthority>>,
) -> Result<u64, InstallError> {
    if generation_now(tx)? != expected {
        return Err(InstallError::Conflict);
    }
    let generation = expected + 1;
    let Installation { changes, bundles } = installation;
    let mut changed = false;
    for (owner, change) in changes {
        let (DocumentChange::Apply { kind, name, .. } | DocumentChange::Delete { kind, name }) = &change;
        let before = tx
            .row(DOCUMENTS, &key(kind, name))?
            .map(decode::<DocumentRow>)
            .transpose()?;
        let taken = |before: &&DocumentRow| !bundles::may_take(&before.owner, &owner, &bundles);
        if let Some(before) = before.as_ref().filter(taken) {
            return Err(InstallError::Owned {
                owner: before.owner.clone(),
                kind: kind.clone(),
                name: name.clone(),
            });
        }
        let mut body = json!({ "kind": kind, "name": name, "owner": owner, "generation": generation });
        if let (Some(body), "Agent", Some(agent)) = (body.as_object_mut(), kind.as_str(), agents.get(name)) {
            // Its record of trust begins with its first document, and is weighed as the last one says.
            body.insert("origin".to_owned(), to_json(&agent.trust.origin)?);
            if let Some(weights) = &agent.trust.weights {
                body.insert("weights".to_owned(), to_json(weights)?);
            }
        }
        let entry = match change {
            DocumentChange::Apply { document, .. } => {
                NewEntry::new(kind::CONFIG_APPLIED, by, body).payload("document", Retention::Config, document)
            }
            DocumentChange::Delete { .. } if before.is_none() => continue,
            DocumentChange::Delete { .. } => NewEntry::new(kind::CONFIG_DELETED, by, body),
        };
        tx.append(entry)?;
        changed = true;
    }
    for bundle in bundles {
        changed |= bundles::record(tx, by, generation, bundle)?.is_some();
    }
    Ok(if changed { generation } else { expected })
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

fn view(reader: &Reader<'_>, row: DocumentRow) -> Result<DocumentView, StoreError> {
    let document = match reader.payload(row.entry, "document")? {
        Erasable::Present(document) => document,
        Erasable::Erased | Erasable::Absent => Value::Null,
    };
    let DocumentRow {
        kind,
        name,
        owner,
        generation,
        updated,
        entry,
    } = row;
    Ok(DocumentView {
        kind,
        name,
        owner,
        generation,
        updated,
        entry,
        document,
    })
}

/// Where a stored document is.
#[derive(Deserialize)]
pub(crate) struct Document {
    /// Sequence of the entry that holds it.
    pub entry: u64,
}

impl Document {
    /// Name of the projection.
    pub(crate) const PROJECTION: &str = DOCUMENTS;
    /// Name of the payload.
    pub(crate) const PAYLOAD: &str = "document";

    /// Its row.
    pub(crate) fn key(kind: &str, name: &str) -> String {
        key(kind, name)
    }
}

/// A document as stored: without itself, which is a payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct DocumentRow {
    kind: String,
    name: String,
    owner: Owner,
    generation: u64,
    updated: Timestamp,
    entry: u64,
}

#[derive(Serialize, Deserialize)]
struct Generation {
    generation: u64,
}

#[derive(Deserialize)]
struct Changed {
    kind: String,
    name: String,
    owner: Owner,
}

/// Rows are [`DocumentRow`]s by `KIND/NAME`, and the generation of the whole.
pub(crate) struct Documents;

impl Projection for Documents {
    fn name(&self) -> &'static str {
        DOCUMENTS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::CONFIG_APPLIED,
            kind::CONFIG_DELETED,
            kind::BUNDLE_INSTALLED,
            kind::BUNDLE_REMOVED,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry: &Entry = applied.entry;
        // What a bundle holds are entries of their own; the generation moves also when none of them does.
        let moved: Generation = body(entry)?;
        rows::put(rows, GENERATION, &moved)?;
        if matches!(entry.kind.as_str(), kind::BUNDLE_INSTALLED | kind::BUNDLE_REMOVED) {
            return Ok(());
        }
        let changed: Changed = body(entry)?;
        let key = key(&changed.kind, &changed.name);
        if entry.kind == kind::CONFIG_DELETED {
            return rows.delete(&key);
        }
        let before: Option<DocumentRow> = rows::get(rows, &key)?;
        let row = DocumentRow {
            kind: changed.kind,
            name: changed.name,
            owner: changed.owner,
            generation: before.map_or(0, |before| before.generation) + 1,
            updated: entry.timestamp,
            entry: entry.sequence,
        };
        rows::put(rows, &key, &row)
    }
}
