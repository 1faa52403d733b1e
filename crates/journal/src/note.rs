//! C2SP signed notes: text, a blank line, signature lines.

/// A key that signs notes: Ed25519 with a name. Not cloned, not printed; zeroised when dropped.
pub struct Signer {
    _private: (),
}

/// A key that verifies notes. `NAME+HASH+BASE64` in the notation of the specification ("vkey").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    _private: (),
}

/// Why a note is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// Not of the form of a note, or larger than 1 MiB.
    #[error("not a signed note: {0}")]
    Malformed(String),
    /// No signature by the key.
    #[error("no signature by `{0}`")]
    Unsigned(String),
    /// A signature by the key that does not hold.
    #[error("signature by `{0}` does not hold")]
    Invalid(String),
}

impl Signer {
    /// From 32 bytes of secret seed. `name` has no spaces and no plus.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Signer, NoteError> {
        let _ = (name, seed);
        todo!()
    }
    /// The public half.
    pub fn verifier(&self) -> Verifier {
        todo!()
    }
    /// The whole note for `text`, which ends in a newline.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        let _ = text;
        todo!()
    }
}

impl Verifier {
    /// Reads a vkey.
    pub fn parse(vkey: &str) -> Result<Verifier, NoteError> {
        let _ = vkey;
        todo!()
    }
    /// As a vkey.
    pub fn to_vkey(&self) -> String {
        todo!()
    }
    /// Its name.
    pub fn name(&self) -> &str {
        todo!()
    }
    /// The signed text. Signatures of unknown keys are ignored.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        let _ = note;
        todo!()
    }
}
