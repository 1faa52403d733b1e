//! C2SP tlog-checkpoint: origin, size, root, in a signed note.

use crate::merkle::Hash;
use crate::note::{NoteError, Signer, Verifier};

/// What a log commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

impl Checkpoint {
    /// Three lines: origin, size in decimal, root in base64.
    pub fn to_text(&self) -> String {
        todo!()
    }
    /// Reads what [`Checkpoint::to_text`] gives; further lines are extensions and are ignored.
    pub fn parse(text: &str) -> Result<Checkpoint, NoteError> {
        let _ = text;
        todo!()
    }
    /// As a signed note.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        signer.sign(&self.to_text())
    }
    /// Verifies the note's signature and reads it. The origin has to be the verifier's name.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Checkpoint, NoteError> {
        let _ = (note, verifier);
        todo!()
    }
}
