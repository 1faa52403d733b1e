//! Configuration documents as entries and as a projection.

use crate::{Authority, Gate};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who owns a document: what a directory owns is read-only to the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Came by `apply`.
    Api,
    /// Came from `up --config DIR`.
    Directory,
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
    /// Starts at 1.
    pub generation: u64,
    /// When it last changed.
    pub updated: Timestamp,
    /// Sequence of the entry that holds it.
    pub entry: u64,
    /// The whole document: `apiVersion`, `kind`, `metadata`, `spec`.
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

/// Why changes were not installed. Nothing of them was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A directory owns it.
    #[error("{kind} `{name}` is owned by the configuration directory; change it there")]
    Owned {
        /// `Agent`.
        kind: String,
        /// Name.
        name: String,
    },
    /// Somebody else changed configuration meanwhile; read again and retry.
    #[error("configuration changed meanwhile")]
    Conflict,
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// All documents, by kind and name.
    pub fn documents(&self) -> Result<Vec<DocumentView>, store::StoreError> {
        todo!()
    }
    /// Records `changes` as entries in one transaction and makes `authority` the one in force after it,
    /// provided that the generation is still `expected`. The whole or nothing.
    pub async fn install(
        &self,
        by: &Principal,
        owner: Owner,
        expected: u64,
        changes: Vec<DocumentChange>,
        authority: Authority,
    ) -> Result<u64, InstallError> {
        let _ = (by, owner, expected, changes, authority);
        todo!()
    }
    /// The generation in force, and what it gives.
    pub fn authority(&self) -> std::sync::Arc<Authority> {
        todo!()
    }
}
