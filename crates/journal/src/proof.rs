//! Proof that an entry stands in the log, in one file that needs nothing else to be checked.
//!
//! Never a reason to trust by itself: a bundle names its own key, so whoever wants to know *whose* log
//! it is compares that key with one that came another way.

use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, EntryError};
use crate::merkle::{Hash, ProofError, leaf_hash, verify_inclusion};
use crate::note::{NoteError, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Largest bundle that is read, in bytes: the largest leaf in base64, a proof and a note.
pub const BUNDLE_BYTES_MAX: usize = 1024 * 1024;

/// One entry, its audit path and the checkpoint it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionBundle {
    /// A signed note.
    pub checkpoint: String,
    /// Key that signed it, as a vkey.
    pub vkey: String,
    /// Position of the entry, from 0.
    pub index: u64,
    /// The entry's leaf, in base64.
    pub leaf: String,
    /// The audit path from the leaf's sibling upwards, each hash in base64.
    pub proof: Vec<String>,
}

/// What a bundle proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The entry that stands in the log.
    pub entry: Entry,
    /// What the log's key vouches for.
    pub checkpoint: Checkpoint,
}

/// Why a bundle proves nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    /// Not of a bundle's form.
    #[error("not a proof bundle: {0}")]
    Malformed(String),
    /// Signed by a key other than the trusted one.
    #[error("proof is by key `{found}`, trusted is `{trusted}`")]
    Key {
        /// In the bundle.
        found: String,
        /// Asked for.
        trusted: String,
    },
    /// The checkpoint is not acceptable.
    #[error("checkpoint of the proof is not acceptable")]
    Checkpoint(#[source] NoteError),
    /// The path does not lead to the checkpoint's root.
    #[error("entry {index} does not stand in the log of {size} entries")]
    Proof {
        /// Of the entry.
        index: u64,
        /// In the checkpoint.
        size: u64,
        /// Why not.
        #[source]
        source: ProofError,
    },
    /// The leaf is in the log, but is no entry.
    #[error("leaf of the proof is not acceptable")]
    Entry(#[source] EntryError),
    /// The leaf is an entry that belongs elsewhere.
    #[error("leaf {index} claims to be entry {claims} of log `{log}`")]
    Misplaced {
        /// Where it stands.
        index: u64,
        /// What it says.
        claims: u64,
        /// Which log it names.
        log: String,
    },
}

impl InclusionBundle {
    /// From the parts. Checks nothing: that is what [`InclusionBundle::verify`] is for.
    pub fn new(
        checkpoint: &str,
        verifier: &Verifier,
        index: u64,
        leaf: &[u8],
        proof: &[Hash],
    ) -> InclusionBundle {
        InclusionBundle {
            checkpoint: checkpoint.to_owned(),
            vkey: verifier.to_vkey(),
            index,
            leaf: STANDARD.encode(leaf),
            proof: proof.iter().map(|hash| STANDARD.encode(hash)).collect(),
        }
    }
    /// Reads JSON, strictly and at most [`BUNDLE_BYTES_MAX`] of it.
    pub fn parse(json: &[u8]) -> Result<InclusionBundle, BundleError> {
        let value = policy::canonical::parse(json, BUNDLE_BYTES_MAX).map_err(malformed)?;
        serde_json::from_value(value).map_err(malformed)
    }
    /// Checks signature, path and entry. Without a `trusted` key it shows only that the log of the key
    /// that the bundle names has the entry; compare [`InclusionBundle::vkey`] with what you trust.
    pub fn verify(&self, trusted: Option<&Verifier>) -> Result<Proven, BundleError> {
        let verifier = Verifier::parse(&self.vkey).map_err(malformed)?;
        if let Some(trusted) = trusted.filter(|trusted| **trusted != verifier) {
            return Err(BundleError::Key {
                found: verifier.to_vkey(),
                trusted: trusted.to_vkey(),
            });
        }
        let leaf = STANDARD
            .decode(&self.leaf)
            .map_err(|_| malformed("leaf is not base64"))?;
        let hash = |text: &String| {
            STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| Hash::try_from(bytes).ok())
        };
        let proof: Option<Vec<Hash>> = self.proof.iter().map(hash).collect();
        let proof = proof.ok_or_else(|| malformed("proof has a line that is no hash in base64"))?;

        let checkpoint = Checkpoint::open(&self.checkpoint, &verifier).map_err(BundleError::Checkpoint)?;
        let (index, size) = (self.index, checkpoint.size);
        verify_inclusion(index, size, &leaf_hash(&leaf), &proof, &checkpoint.root)
            .map_err(|source| BundleError::Proof { index, size, source })?;
        let entry = Entry::from_leaf(&leaf).map_err(BundleError::Entry)?;
        if entry.sequence != index || entry.log != checkpoint.origin {
            return Err(BundleError::Misplaced {
                index,
                claims: entry.sequence,
                log: entry.log,
            });
        }
        Ok(Proven { entry, checkpoint })
    }
    /// As a C2SP tlog-proof, with the leaf as its extra data. The key stays out: that format trusts
    /// what its reader has.
    pub fn to_tlog_proof(&self) -> String {
        let mut text = format!(
            "c2sp.org/tlog-proof@v1\nextra {}\nindex {}\n",
            self.leaf, self.index
        );
        for hash in &self.proof {
            text += hash;
            text += "\n";
        }
        text + "\n" + &self.checkpoint
    }
}

fn malformed(why: impl std::fmt::Display) -> BundleError {
    BundleError::Malformed(why.to_string())
}
