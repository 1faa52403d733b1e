//! Encryption at rest: a fresh key for every payload, wrapped by the organization's key.
//!
//! AES-256-GCM with random nonces. What a box belongs to (log, sequence, name) is authenticated, so
//! a box cannot be moved to another place. NIST SP 800-38D bounds one key to 2^32 random nonces: the
//! organization's key wraps one key per payload, so it is good for four billion payloads before it
//! has to be replaced. No key is ever printed or stored in the clear.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// 32 secret bytes, zeroised when dropped.
pub(crate) type SecretKey = Zeroizing<[u8; KEY_LEN]>;

/// A box cannot be made or opened: another key, another place, altered bytes, no randomness.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the box cannot be opened with this key at this place")]
pub(crate) struct Unsealable;

/// The organization's key. Only the keys derived from it are used.
pub(crate) struct OrganizationKey {
    wrapping: SecretKey,
    id: String,
}

impl OrganizationKey {
    /// Derives the wrapping key and the public id, each by HMAC-SHA-256 with a label of its own.
    pub(crate) fn from_bytes(bytes: &SecretKey) -> OrganizationKey {
        let wrapping = Zeroizing::new(prf(bytes.as_slice(), &[b"cofferdam/v1/wrap"]));
        let id = prf(bytes.as_slice(), &[b"cofferdam/v1/id"]);
        OrganizationKey {
            wrapping,
            id: policy::canonical::hex(id.get(..8).unwrap_or(&id)),
        }
    }

    /// Tells keys apart without telling anything about them. 16 hexadecimal digits.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Wraps a key for `place`.
    pub(crate) fn wrap(&self, place: &[u8], key: &SecretKey) -> Result<Vec<u8>, Unsealable> {
        seal(&self.wrapping, place, key.as_slice())
    }

    /// Unwraps a key at `place`.
    pub(crate) fn unwrap(&self, place: &[u8], wrapped: &[u8]) -> Result<SecretKey, Unsealable> {
        let opened = open(&self.wrapping, place, wrapped)?;
        <[u8; KEY_LEN]>::try_from(opened.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| Unsealable)
    }
}

/// Where a payload stands, as additional data: log, sequence and name, unambiguously.
pub(crate) fn place(log: &str, sequence: u64, name: &str) -> Vec<u8> {
    let mut place = Vec::with_capacity(log.len() + name.len() + 17);
    place.extend_from_slice(&(log.len() as u64).to_be_bytes());
    place.extend_from_slice(log.as_bytes());
    place.extend_from_slice(&sequence.to_be_bytes());
    place.extend_from_slice(name.as_bytes());
    place
}

/// A box: nonce, ciphertext, tag.
pub(crate) fn seal(key: &SecretKey, place: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Unsealable> {
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| Unsealable)?;
    let mut sealed = plaintext.to_vec();
    let nonce = cipher
        .seal_in_place_append_tag(Aad::from(place), &mut sealed)
        .map_err(|_| Unsealable)?;
    let mut boxed = Vec::with_capacity(NONCE_LEN + sealed.len());
    boxed.extend_from_slice(nonce.as_ref());
    boxed.append(&mut sealed);
    Ok(boxed)
}

/// What a box holds.
pub(crate) fn open(key: &SecretKey, place: &[u8], boxed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| Unsealable)?;
    let (nonce, sealed) = boxed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let length = cipher
        .open_in_place(nonce, Aad::from(place), &mut sealed)
        .map_err(|_| Unsealable)?
        .len();
    sealed.truncate(length);
    Ok(sealed)
}

/// 32 random bytes.
pub(crate) fn random() -> Result<SecretKey, Unsealable> {
    let mut bytes = Zeroizing::new([0_u8; KEY_LEN]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| Unsealable)?;
    Ok(bytes)
}

/// HMAC-SHA-256 over the parts, each with its length before it.
pub(crate) fn prf(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    keyed(&hmac::Key::new(hmac::HMAC_SHA256, key), parts)
}

/// [`prf`] with a prepared key.
pub(crate) fn keyed(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0_u8; 32];
    for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_opens_only_with_its_key_at_its_place() {
        let key = random().unwrap();
        let boxed = seal(&key, &place("log", 1, "arguments"), b"text").unwrap();
        assert_eq!(
            open(&key, &place("log", 1, "arguments"), &boxed)
                .unwrap()
                .as_slice(),
            b"text"
        );
        let mut altered = boxed.clone();
        *altered.last_mut().unwrap() ^= 1;
        #[rustfmt::skip]
        let table = [
            ("another key",      random().unwrap(), place("log", 1, "arguments"), boxed.clone()),
            ("another log",      key.clone(),       place("lo", 1, "garguments"), boxed.clone()),
            ("another sequence", key.clone(),       place("log", 2, "arguments"), boxed.clone()),
            ("another name",     key.clone(),       place("log", 1, "result"),    boxed.clone()),
            ("altered bytes",    key.clone(),       place("log", 1, "arguments"), altered),
            ("no nonce",         key.clone(),       place("log", 1, "arguments"), vec![1, 2, 3]),
            ("nothing",          key.clone(),       place("log", 1, "arguments"), vec![]),
        ];
        for (name, key, place, boxed) in table {
            assert_eq!(open(&key, &place, &boxed), Err(Unsealable), "{name}");
        }
    }

    #[test]
    fn wrapping_comes_back_and_ids_differ() {
        let (one, two) = (random().unwrap(), random().unwrap());
        let (first, second) = (
            OrganizationKey::from_bytes(&one),
            OrganizationKey::from_bytes(&two),
        );
        let wrapped = first.wrap(b"here", &two).unwrap();
        assert_eq!(*first.unwrap(b"here", &wrapped).unwrap(), *two);
        assert!(
            second.unwrap(b"here", &wrapped).is_err(),
            "another organization's key"
        );
        assert_ne!(first.id(), second.id());
    }
}
