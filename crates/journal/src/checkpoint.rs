//! C2SP tlog-checkpoint: origin, size, root, in a signed note.
//!
//! Never vouches for anything by itself: only [`Checkpoint::open`] checks a signature.

use crate::merkle::Hash;
use crate::note::{NoteError, Signer, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }
    /// Reads what [`Checkpoint::to_text`] gives; further lines are extensions and are ignored.
    pub fn parse(text: &str) -> Result<Checkpoint, NoteError> {
        let refused = |what: &str| NoteError::Malformed(format!("checkpoint {what}"));
        let body = text
            .strip_suffix('\n')
            .ok_or_else(|| refused("does not end in a newline"))?;
        if body.split('\n').any(str::is_empty) {
            return Err(refused("has an empty line"));
        }
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(refused("has fewer than three lines"));
        };
        let digits =
            size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let size = size.parse().ok().filter(|_| digits);
        let size = size.ok_or_else(|| refused("has a second line that is not a size"))?;
        let root = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| Hash::try_from(bytes).ok());
        let root = root.ok_or_else(|| refused("has a third line that is not a hash in base64"))?;
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size,
            root,
        })
    }
    /// As a signed note. The origin has to be the signer's name.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        check_origin(&self.origin, signer.verifier().name())?;
        signer.sign(&self.to_text())
    }
    /// Verifies the note's signature and reads it. The origin has to be the verifier's name.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::parse(verifier.open(note)?)?;
        check_origin(&checkpoint.origin, verifier.name())?;
        Ok(checkpoint)
    }
}

fn check_origin(origin: &str, name: &str) -> Result<(), NoteError> {
    if origin == name {
        return Ok(());
    }
    let origin = origin.escape_debug();
    Err(NoteError::Malformed(format!(
        "checkpoint is of log `{origin}`, the key is of `{name}`"
    )))
}
