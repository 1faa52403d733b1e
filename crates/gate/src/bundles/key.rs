//! A publisher's Ed25519 key, for whoever makes bundles. It signs; it is neither printed, cloned nor
//! written from here.

use crate::agents::key::written;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

/// A private key: no `Clone`, no `Serialize`; `Debug` prints `***`; zeroised when dropped.
pub struct PublisherKey(SigningKey);

impl std::fmt::Debug for PublisherKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublisherKey(***)")
    }
}

impl PublisherKey {
    /// A new one; an error when the system gives no randomness.
    pub fn generate() -> Result<PublisherKey, String> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|error| format!("no randomness for a key: {error}"))?;
        Ok(PublisherKey(SigningKey::from_bytes(&seed)))
    }

    /// From 32 bytes of secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> PublisherKey {
        PublisherKey(SigningKey::from_bytes(seed))
    }

    /// From PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it. An error tells nothing of it.
    pub fn from_pem(pem: &[u8]) -> Option<PublisherKey> {
        let text = std::str::from_utf8(pem).ok()?;
        SigningKey::from_pkcs8_pem(text).ok().map(PublisherKey)
    }

    /// As PKCS#8 in PEM, for the one file that holds it.
    pub fn to_pem(&self) -> Option<Zeroizing<String>> {
        self.0.to_pkcs8_pem(LineEnding::LF).ok()
    }

    /// The public half as a `Publisher` document has it: base64url without padding.
    pub fn public(&self) -> String {
        written(&self.0.verifying_key().to_bytes())
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed_and_survives_its_file() {
        let key = PublisherKey::from_seed(&[7; 32]);
        assert_eq!(format!("{key:?}"), "PublisherKey(***)");
        let pem = key.to_pem().unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{}", pem.len());
        assert_eq!(
            PublisherKey::from_pem(pem.as_bytes()).unwrap().public(),
            key.public()
        );
        assert!(PublisherKey::from_pem(b"-----BEGIN PRIVATE KEY-----\n").is_none());
    }

    /// RFC 8410, section 10.3: what another implementation wrote.
    #[test]
    fn the_key_of_rfc_8410_is_read() {
        let pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let public = PublisherKey::from_pem(pem).unwrap().public();
        assert_eq!(public, "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
    }
}
