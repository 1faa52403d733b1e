//! The envelope of a bundle: DSSE (<https://github.com/secure-systems-lab/dsse>), so that any tool that knows
//! it can check the signature. Everything here is untrusted until [`Envelope::verify`] returned.
//!
//! As that specification asks: what is signed is the payload with its type (`PAE`), a key's id is a hint that
//! nothing is decided by, both alphabets of base64 are read, fields that are not known are left alone.

use super::contents::Contents;
use super::key::PublisherKey;
use super::{BYTES_MAX, Bundle, BundleError};
use crate::agents::key::{unwritten, verifies};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the payload of a bundle is.
pub const PAYLOAD_TYPE: &str = "application/vnd.cofferdam.policy-bundle.v1+json";
/// Most signatures that are looked at.
const SIGNATURES_MAX: usize = 8;

/// A signed bundle as it came: nobody has said yet whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Vec<Vec<u8>>,
    keys: Vec<String>,
    value: Value,
}

impl Envelope {
    /// Signs `contents` with `key`. The same contents and key give the same bytes.
    ///
    /// # Errors
    /// Contents that would not be read again.
    pub fn sign(contents: &Contents, key: &PublisherKey) -> Result<Envelope, BundleError> {
        let payload = contents.to_payload()?;
        let signature = key.sign(&pae(PAYLOAD_TYPE, &payload));
        let value = json!({
            "payload": STANDARD.encode(&payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{ "keyid": key.public(), "sig": STANDARD.encode(signature) }],
        });
        let envelope = Envelope::from_value(value)?;
        envelope.unverified()?;
        match envelope.to_bytes()?.len() > BYTES_MAX {
            true => Err(BundleError::NotAnEnvelope(format!(
                "larger than {BYTES_MAX} bytes"
            ))),
            false => Ok(envelope),
        }
    }

    /// Reads a file, at most [`BYTES_MAX`] long.
    ///
    /// # Errors
    /// What is no envelope of a bundle.
    pub fn read(bytes: &[u8]) -> Result<Envelope, BundleError> {
        let value = policy::canonical::parse(bytes, BYTES_MAX)
            .map_err(|error| BundleError::NotAnEnvelope(error.to_string()))?;
        Envelope::from_value(value)
    }

    /// The same of what was read as JSON already.
    ///
    /// # Errors
    /// See [`Envelope::read`].
    pub fn from_value(value: Value) -> Result<Envelope, BundleError> {
        let refuse = |what: &str| BundleError::NotAnEnvelope(what.to_owned());
        let map = value.as_object().ok_or_else(|| refuse("no JSON object"))?;
        let (payload, kind) = (text(map, "payload")?, text(map, "payloadType")?);
        if kind != PAYLOAD_TYPE {
            return Err(BundleError::OtherType(kind.chars().take(100).collect()));
        }
        let payload = decoded(payload).ok_or_else(|| refuse("`payload` is not base64"))?;
        let listed = map.get("signatures").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| refuse("no list `signatures`"))?;
        if listed.is_empty() {
            return Err(BundleError::Unsigned);
        }
        if listed.len() > SIGNATURES_MAX {
            return Err(refuse(&format!("more than {SIGNATURES_MAX} signatures")));
        }
        let (mut signatures, mut keys) = (Vec::new(), Vec::new());
        for one in listed {
            let one = one
                .as_object()
                .ok_or_else(|| refuse("a signature is an object"))?;
            signatures.push(decoded(text(one, "sig")?).ok_or_else(|| refuse("`sig` is not base64"))?);
            let key = one.get("keyid").and_then(Value::as_str);
            keys.extend(key.map(|key| key.chars().take(100).collect::<String>()));
        }
        Ok(Envelope {
            payload,
            signatures,
            keys,
            value,
        })
    }

    /// The envelope as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The envelope as a file: canonical JSON and a line end.
    ///
    /// # Errors
    /// Never for what [`Envelope::read`] gave.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes = policy::canonical::to_bytes(&self.value)
            .map_err(|error| BundleError::NotAnEnvelope(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The ids of keys that it says it is signed with. Hints.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// What it holds, whoever made it: to look at, never to install.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn unverified(&self) -> Result<Contents, BundleError> {
        Contents::from_payload(&self.payload)
    }

    /// What it holds, signed with one of the public keys of its publisher. The signature is checked before
    /// anything is read.
    ///
    /// # Errors
    /// Why it is nobody's, or not whole.
    pub fn verify(&self, publishers: &BTreeMap<String, Vec<String>>) -> Result<Bundle, BundleError> {
        let signed = pae(PAYLOAD_TYPE, &self.payload);
        let fits = |key: &&String| {
            let Some(public) = unwritten::<32>(key) else {
                return false;
            };
            let signature = |bytes: &Vec<u8>| <[u8; 64]>::try_from(bytes.as_slice()).ok();
            let mut signatures = self.signatures.iter().filter_map(signature);
            signatures.any(|signature| verifies(&public, &signed, &signature))
        };
        let by: BTreeMap<&str, &String> = publishers
            .iter()
            .filter_map(|(name, keys)| Some((name.as_str(), keys.iter().find(fits)?)))
            .collect();
        let contents = self.unverified()?;
        let publisher = contents.publisher.clone();
        let Some(key) = by.get(publisher.as_str()) else {
            return Err(match publishers.contains_key(&publisher) {
                true => BundleError::WrongKey(publisher),
                false => BundleError::UnknownPublisher(publisher),
            });
        };
        Ok(Bundle {
            key: (*key).clone(),
            envelope: self.value.clone(),
            contents,
        })
    }
}

/// The pre-authentication encoding: what is signed.
fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn text<'m>(map: &'m Map<String, Value>, field: &str) -> Result<&'m str, BundleError> {
    map.get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| BundleError::NotAnEnvelope(format!("no text `{field}`")))
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    [STANDARD, URL_SAFE, URL_SAFE_NO_PAD]
        .iter()
        .find_map(|alphabet| alphabet.decode(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification (`protocol.md`).
    #[test]
    fn what_is_signed_is_the_payload_with_its_type() {
        let signed = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            String::from_utf8(signed).unwrap(),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
