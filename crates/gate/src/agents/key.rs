//! An agent's Ed25519 key in memory. It signs; it is neither printed, cloned nor written from here.

use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// A private key: no `Clone`, no `Serialize`; `Debug` prints `***`; zeroised when dropped.
pub struct AgentKey(SigningKey);

impl std::fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentKey(***)")
    }
}

impl AgentKey {
    /// From 32 bytes of secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> AgentKey {
        AgentKey(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The key as the library of tokens wants it; `None` when it cannot be encoded.
    pub(crate) fn encoding(&self) -> Option<jsonwebtoken::EncodingKey> {
        let der = self.0.to_pkcs8_der().ok()?;
        Some(jsonwebtoken::EncodingKey::from_ed_der(der.as_bytes()))
    }

    /// Signs `bytes`.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    /// Signs that `next` takes the place of this key: `rotate:{old}:{new}`, both in base64url (S3-I7).
    pub(crate) fn rotate_to(&self, next: &[u8; 32]) -> [u8; 64] {
        self.0.sign(rotation(&self.public(), next).as_bytes()).to_bytes()
    }
}

/// Whether `signature` is of `bytes` by the holder of `public`.
pub(crate) fn verifies(public: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> bool {
    let key = VerifyingKey::from_bytes(public);
    key.is_ok_and(|key| {
        key.verify_strict(bytes, &Signature::from_bytes(signature))
            .is_ok()
    })
}

/// Whether these bytes are a public key, and none of the few under which anybody can make signatures.
pub(crate) fn is_sound(public: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(public).is_ok_and(|key| !key.is_weak())
}

/// Whether `proof` is the signature of `old` that `next` takes its place.
pub(crate) fn proves_rotation(old: &[u8; 32], next: &[u8; 32], proof: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(old), Signature::from_slice(proof)) else {
        return false;
    };
    key.verify_strict(rotation(old, next).as_bytes(), &signature)
        .is_ok()
}

fn rotation(old: &[u8; 32], next: &[u8; 32]) -> String {
    format!("rotate:{}:{}", written(old), written(next))
}

/// A public key as entries, tokens and people spell it: base64url without padding.
pub(crate) fn written(public: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(public)
}

/// The reverse of [`written`], for exactly `N` bytes.
pub(crate) fn unwritten<const N: usize>(text: &str) -> Option<[u8; N]> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .ok()?
        .try_into()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        let key = AgentKey::from_seed(&[7; 32]);
        assert_eq!(format!("{key:?} {key:#?}"), "AgentKey(***) AgentKey(***)");
    }

    #[test]
    fn a_rotation_is_proved_by_the_old_key_and_for_one_new_one() {
        let (old, next, other) = (
            AgentKey::from_seed(&[1; 32]),
            AgentKey::from_seed(&[2; 32]),
            AgentKey::from_seed(&[3; 32]),
        );
        let proof = old.rotate_to(&next.public());
        #[rustfmt::skip]
        let table = [
            ("as it was signed",     old.public(),  next.public(),  proof.to_vec(),                          true),
            ("for another new key",  old.public(),  other.public(), proof.to_vec(),                          false),
            ("for another old key",  other.public(), next.public(), proof.to_vec(),                          false),
            ("signed by the new",    old.public(),  next.public(),  next.rotate_to(&next.public()).to_vec(), false),
            ("cut short",            old.public(),  next.public(),  proof[..63].to_vec(),                    false),
        ];
        for (name, from, to, proof, expected) in table {
            assert_eq!(proves_rotation(&from, &to, &proof), expected, "{name}");
        }
    }
}
