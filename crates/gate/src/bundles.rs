//! Signed bundles of policies: read, verified against the publishers that configuration pins, and remembered
//! by version.
//!
//! Invariants:
//! - **Nothing unsigned is a [`Bundle`]**: only [`Envelope::verify`] makes one, after a signature by a key of its
//!   publisher was found.
//! - **No way back unnoticed**: the highest version of each publisher is a fold over entries, also of bundles that
//!   were removed since; a lower one takes a reason, which is recorded.

pub(crate) mod contents;
mod envelope;
mod key;
mod projection;

pub use contents::{Contents, DOCUMENTS_MAX, Part, Table, VERSION_MAX, is_path};
pub use envelope::{Envelope, PAYLOAD_TYPE};
pub use key::PublisherKey;
pub use projection::BundleRow;
pub(crate) use projection::{Bundles, record};

use crate::agents::key::unwritten;
use crate::rows::decode;
use crate::{Gate, Owner};
use serde_json::Value;
use store::StoreError;

/// Largest envelope, in bytes: it has to fit in a request.
pub const BYTES_MAX: usize = 768 * 1024;
/// Rows read at a time.
const READ_AT_ONCE: usize = 512;

/// A bundle that its publisher signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    contents: Contents,
    key: String,
    envelope: Value,
}

/// One wanted change of a bundle.
#[derive(Clone, Debug, PartialEq)]
pub enum BundleChange {
    /// Takes the place of the publisher's bundle that is in force, if there is one.
    Install {
        /// What was verified.
        bundle: Box<Bundle>,
        /// Whose it is to change: what a directory holds is changed there.
        via: Owner,
        /// Why a lower version may come than was seen.
        rollback: Option<String>,
    },
    /// Ends the publisher's bundle that is in force. Its highest version is remembered.
    Remove {
        /// Whose.
        publisher: String,
        /// Whose it is to change.
        via: Owner,
    },
}

/// Why something is not taken for a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Too large, no JSON, a key twice, or not of the form of an envelope.
    #[error("not a signed bundle: {0}")]
    NotAnEnvelope(String),
    /// An envelope of something else.
    #[error("holds `{0}`, and not `{PAYLOAD_TYPE}`")]
    OtherType(String),
    /// No signature at all.
    #[error("is not signed")]
    Unsigned,
    /// Nobody pinned its publisher.
    #[error("there is no Publisher `{0}`; an administrator names it and its public keys first")]
    UnknownPublisher(String),
    /// Signed by somebody else, or changed since.
    #[error("no signature is by a key of Publisher `{0}`: another key signed it, or it was changed since")]
    WrongKey(String),
    /// What was signed is not what a bundle holds.
    #[error("{place}: {what}")]
    Contents {
        /// JSON pointer into the payload; empty for all of it.
        place: String,
        /// What is wrong.
        what: String,
    },
}

/// Why a bundle does not take the place of the one before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// An older one.
    #[error(
        "version {version} of Publisher `{publisher}` is older than {highest}, which was here before; going back takes an administrator and a reason (--allow-rollback)"
    )]
    RolledBack {
        /// Whose.
        publisher: String,
        /// Offered.
        version: u64,
        /// The highest that was seen.
        highest: u64,
    },
    /// Two bundles of one number.
    #[error(
        "version {version} of Publisher `{publisher}` was here before with other contents (sha256 {digest}); count up for new ones"
    )]
    Reused {
        /// Whose.
        publisher: String,
        /// Offered.
        version: u64,
        /// Of the contents that were here.
        digest: String,
    },
}

/// What a bundle is to what was seen of its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is in force.
    Unchanged,
    /// The first, a later one, or the same again after it was removed.
    Forward,
    /// An older one, for a reason.
    Back,
}

impl Bundle {
    /// What it holds.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The public key whose signature was found.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// As it came.
    pub fn envelope(&self) -> &Value {
        &self.envelope
    }

    /// Compares it with what was seen of its publisher; `rollback` is why an older one may come.
    ///
    /// # Errors
    /// Why it does not come.
    pub fn step(&self, seen: Option<&BundleRow>, rollback: Option<&str>) -> Result<Step, Stale> {
        let Contents {
            publisher, version, ..
        } = &self.contents;
        let Some(seen) = seen else {
            return Ok(Step::Forward);
        };
        let digest = self.contents.digest().unwrap_or_default();
        let reused = |digest: &str| Stale::Reused {
            publisher: publisher.clone(),
            version: *version,
            digest: digest.to_owned(),
        };
        if seen.in_force && seen.version == *version {
            return match seen.digest == digest {
                true => Ok(Step::Unchanged),
                false => Err(reused(&seen.digest)),
            };
        }
        match version.cmp(&seen.highest) {
            std::cmp::Ordering::Greater => Ok(Step::Forward),
            std::cmp::Ordering::Equal if seen.highest_digest == digest => Ok(Step::Forward),
            std::cmp::Ordering::Equal => Err(reused(&seen.highest_digest)),
            std::cmp::Ordering::Less if rollback.is_some() => Ok(Step::Back),
            std::cmp::Ordering::Less => Err(Stale::RolledBack {
                publisher: publisher.clone(),
                version: *version,
                highest: seen.highest,
            }),
        }
    }
}

impl BundleChange {
    /// Whose bundle.
    pub fn publisher(&self) -> &str {
        match self {
            BundleChange::Install { bundle, .. } => &bundle.contents.publisher,
            BundleChange::Remove { publisher, .. } => publisher,
        }
    }

    /// Whose it is to change.
    pub fn via(&self) -> &Owner {
        match self {
            BundleChange::Install { via, .. } | BundleChange::Remove { via, .. } => via,
        }
    }
}

/// Whether whoever changes a document for `owner` may take it from `before`: the same owner; and a document
/// passes between a bundle and the owner that installs or removes it in the same change.
pub fn may_take(before: &Owner, owner: &Owner, bundles: &[BundleChange]) -> bool {
    let installs = |one: &BundleChange| matches!(one, BundleChange::Install { .. });
    match (before, owner) {
        (before, owner) if before == owner => true,
        (Owner::Bundle(_), Owner::Bundle(_)) => false,
        (via, Owner::Bundle(publisher)) => bundles
            .iter()
            .any(|one| installs(one) && one.publisher() == publisher && one.via() == via),
        (Owner::Bundle(publisher), via) => bundles
            .iter()
            .any(|one| !installs(one) && one.publisher() == publisher && one.via() == via),
        _ => false,
    }
}

/// Whether `text` is a public key as [`PublisherKey::public`] writes it.
pub fn is_public_key(text: &str) -> bool {
    unwritten::<32>(text).is_some()
}

impl Gate {
    /// Every publisher that a bundle ever came from, in order of name.
    pub fn bundles(&self) -> Result<Vec<BundleRow>, StoreError> {
        self.store.read(|reader| {
            let mut found = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let rows = reader.rows(projection::BUNDLES, after.as_deref(), READ_AT_ONCE)?;
                let Some(last) = rows.last() else { return Ok(found) };
                after = Some(last.key.clone());
                for row in rows {
                    found.push(decode(row.value)?);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
