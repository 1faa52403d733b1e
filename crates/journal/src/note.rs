//! C2SP signed notes: text, a blank line, signature lines.
//!
//! Ed25519 only. Never reads or stores a key: a seed is an argument, and the caller keeps it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// Largest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 1024 * 1024;
/// Most signatures of a note that is read; the specification asks for at least 16.
pub const SIGNATURES_MAX: usize = 100;
/// Signature type of Ed25519 in key ids and vkeys.
const ED25519: u8 = 0x01;

/// A key that signs notes: Ed25519 with a name. Not cloned, not printed; zeroised when dropped.
pub struct Signer {
    name: String,
    key: SigningKey,
}

/// A key that verifies notes. `NAME+HASH+BASE64` in the notation of the specification ("vkey").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
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
        check_name(name)?;
        Ok(Signer {
            name: name.to_owned(),
            key: SigningKey::from_bytes(seed),
        })
    }
    /// The public half.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(&self.name, self.key.verifying_key())
    }
    /// The whole note for `text`, which ends in a newline.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        check_characters(text)?;
        if !text.ends_with('\n') {
            return Err(malformed("text does not end in a newline"));
        }
        let mut signature = self.verifier().id.to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        Ok(format!(
            "{text}\n— {} {}\n",
            self.name,
            STANDARD.encode(signature)
        ))
    }
}

impl Verifier {
    fn new(name: &str, key: VerifyingKey) -> Verifier {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key)
            .finalize()
            .into();
        let [a, b, c, d, ..] = digest;
        Verifier {
            name: name.to_owned(),
            id: [a, b, c, d],
            key,
        }
    }
    /// Reads a vkey.
    pub fn parse(vkey: &str) -> Result<Verifier, NoteError> {
        let refused = |what: &str| malformed(&format!("verifier key: {what}"));
        // Three parts at most: base64 may itself hold a plus.
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused("is not `NAME+HASH+BASE64`"));
        };
        check_name(name)?;
        let material = STANDARD.decode(material).map_err(|_| refused("is not base64"))?;
        let Some((&ED25519, key)) = material.split_first() else {
            return Err(refused("is not of type Ed25519"));
        };
        let key: &[u8; 32] = key.try_into().map_err(|_| refused("does not have 32 bytes"))?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| refused("is not a point of the curve"))?;
        let verifier = Verifier::new(name, key);
        if policy::canonical::hex(&verifier.id) != id {
            return Err(refused("has another hash than it says"));
        }
        Ok(verifier)
    }
    /// As a vkey.
    pub fn to_vkey(&self) -> String {
        let mut material = vec![ED25519];
        material.extend_from_slice(self.key.as_bytes());
        format!(
            "{}+{}+{}",
            self.name,
            policy::canonical::hex(&self.id),
            STANDARD.encode(material)
        )
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The signed text. Signatures of unknown keys are ignored.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        check_characters(note)?;
        // The last blank line: the text may hold blank lines of its own.
        let (text, signatures) = note
            .rsplit_once("\n\n")
            .ok_or_else(|| malformed("no blank line"))?;
        let text = note.get(..=text.len()).ok_or_else(|| malformed("no text"))?;
        if signatures.is_empty() {
            return Err(malformed("no signature"));
        }
        let lines = signatures
            .strip_suffix('\n')
            .ok_or_else(|| malformed("last line is not ended"))?;
        let mut signed = false;
        for (number, line) in lines.split('\n').enumerate() {
            if number >= SIGNATURES_MAX {
                return Err(malformed(&format!("more than {SIGNATURES_MAX} signatures")));
            }
            let (name, id, signature) = parse_signature(line)?;
            if name != self.name || id != self.id {
                continue;
            }
            // One bad signature under a known key condemns the note, whatever else it carries.
            let holds = Signature::from_slice(&signature)
                .is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok());
            if !holds {
                return Err(NoteError::Invalid(self.name.clone()));
            }
            signed = true;
        }
        if signed {
            Ok(text)
        } else {
            Err(NoteError::Unsigned(self.name.clone()))
        }
    }
}

/// Name, key id and signature of one signature line.
fn parse_signature(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let refused = || malformed("a signature line is not `— NAME BASE64`");
    let (name, encoded) = line
        .strip_prefix("— ")
        .and_then(|rest| rest.split_once(' '))
        .ok_or_else(refused)?;
    check_name(name)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| refused())?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or_else(refused)?;
    if signature.is_empty() {
        return Err(refused());
    }
    Ok((name, *id, signature.to_vec()))
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(odd) {
        return Err(malformed(&format!(
            "key name `{}` is empty or has a space or a plus",
            name.escape_debug()
        )));
    }
    Ok(())
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    if text.len() > NOTE_BYTES_MAX {
        return Err(malformed(&format!("larger than {NOTE_BYTES_MAX} bytes")));
    }
    if text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(malformed("has a control character"));
    }
    Ok(())
}

fn malformed(what: &str) -> NoteError {
    NoteError::Malformed(what.to_owned())
}
