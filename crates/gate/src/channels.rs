//! Outside systems that approve: a ticket system or a chat bot behind a `Channel` that names its public key.
//!
//! INVARIANT (a document is what counts): the key is read from the stored document each time, in the
//! transaction that depends on it, so that one that was replaced or removed counts no more.

use crate::agents::{self, key};
use crate::documents::Document;
use crate::rows::decode;
use crate::{DocumentChange, InstallError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Erasable, Reader, StoreError, Tx};

/// What a public key is written with (Standard Webhooks).
const PREFIX: &str = "whpk_";
/// Kind of the documents.
const KIND: &str = "Channel";

/// `approver` of a `Channel`: who answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChannelApprover {
    /// Whoever holds the private half is the approver.
    pub public_key: ApproverKey,
}

/// An Ed25519 public key: `whpk_` and its 32 bytes in base64, as Standard Webhooks has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApproverKey([u8; 32]);

impl ApproverKey {
    /// A sound key whose private half nobody has, as nobody can: the first SHA-256 of a text and a number that is
    /// one (see the test). It is compared with in the place of a key that there is not; under a point of which a
    /// private half is known, like the base point, what is refused would depend on who signed it.
    #[rustfmt::skip]
    pub(crate) const NOBODYS: ApproverKey = ApproverKey([
        0x05, 0xf3, 0x6f, 0x30, 0x5d, 0x6b, 0xe7, 0x09, 0x63, 0x59, 0xdf, 0x14, 0xb9, 0x1d, 0x82, 0xc1,
        0x14, 0x18, 0xb9, 0xeb, 0x3b, 0x4b, 0x87, 0xd4, 0xb3, 0x0f, 0xc7, 0x4c, 0xf8, 0x34, 0xd0, 0x6b,
    ]);

    /// Reads `whpk_…`.
    pub fn parse(text: &str) -> Result<ApproverKey, String> {
        let what =
            || "a public key is written `whpk_` and the 32 bytes of an Ed25519 key in base64".to_owned();
        let bytes = text
            .strip_prefix(PREFIX)
            .and_then(|text| STANDARD.decode(text).ok());
        let bytes: [u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(what)?;
        match key::is_sound(&bytes) {
            true => Ok(ApproverKey(bytes)),
            false => Err("it is no Ed25519 key that anybody could hold".to_owned()),
        }
    }

    /// Whether `signature` is of `bytes` by its holder.
    pub(crate) fn verifies(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        key::verifies(&self.0, bytes, signature)
    }
}

impl std::fmt::Display for ApproverKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl Serialize for ApproverKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ApproverKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<ApproverKey, D::Error> {
        ApproverKey::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// The key of the outside system behind `channel`, as stored now; `None` without such a channel or such a key.
pub(crate) fn read_key(reader: &Reader<'_>, channel: &str) -> Result<Option<ApproverKey>, StoreError> {
    let Some(row) = reader.row(Document::PROJECTION, &Document::key(KIND, channel))? else {
        return Ok(None);
    };
    let document: Document = decode(row)?;
    Ok(key_in(reader.payload(document.entry, Document::PAYLOAD)?))
}

/// The same, as of now in this transaction.
pub(crate) fn key_now(tx: &Tx<'_>, channel: &str) -> Result<Option<ApproverKey>, StoreError> {
    let Some(row) = tx.row(Document::PROJECTION, &Document::key(KIND, channel))? else {
        return Ok(None);
    };
    let document: Document = decode(row)?;
    Ok(key_in(tx.payload(document.entry, Document::PAYLOAD)?))
}

/// One that cannot be read is none.
fn key_in(document: Erasable<Value>) -> Option<ApproverKey> {
    let Erasable::Present(document) = document else {
        return None;
    };
    let approver = document.pointer("/spec/approver")?;
    let approver: ChannelApprover = serde_json::from_value(approver.clone()).ok()?;
    Some(approver.public_key)
}

/// The agent whose key this is or was. INVARIANT (no agent approves): such a key is no approver's.
pub(crate) fn agent_of(tx: &Tx<'_>, ApproverKey(bytes): &ApproverKey) -> Result<Option<String>, StoreError> {
    agents::of_key(tx, bytes)
}

/// Refuses documents that make an agent an approver.
pub(crate) fn of_no_agent<'a>(
    tx: &Tx<'_>,
    changes: impl Iterator<Item = &'a DocumentChange>,
) -> Result<(), InstallError> {
    for change in changes {
        let DocumentChange::Apply { kind, name, document } = change else {
            continue;
        };
        let key = key_in(Erasable::Present(document.clone())).filter(|_| kind == KIND);
        let agent = key.map(|key| agent_of(tx, &key)).transpose()?.flatten();
        if let Some(agent) = agent {
            let channel = name.clone();
            return Err(InstallError::AgentApproves { channel, agent });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_made_the_key_of_nobody() {
        use sha2::Digest as _;
        let digest = |number: u8| -> [u8; 32] {
            let text = b"cofferdam: the key of no approver";
            sha2::Sha256::digest([&text[..], &[number]].concat()).into()
        };
        let first = (0..=255).map(digest).find(key::is_sound);
        assert_eq!(first.map(ApproverKey), Some(ApproverKey::NOBODYS));
    }

    #[test]
    fn keys_are_written_as_standard_webhooks_has_them() {
        let form = "a public key is written `whpk_` and the 32 bytes of an Ed25519 key in base64";
        let good = format!(
            "whpk_{}",
            STANDARD.encode(crate::AgentKey::from_seed(&[7; 32]).public())
        );
        let table = [
            (good.as_str(), "ok"),
            ("whsk_AAAA", form),
            ("whpk_", form),
            ("whpk_AAAA", form),
            ("", form),
            (&good[5..], form),
            (&good.replace('=', ""), form),
            // The neutral element, of which everybody can make signatures.
            (
                "whpk_AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "it is no Ed25519 key that anybody could hold",
            ),
        ];
        for (text, expected) in table {
            let read = ApproverKey::parse(text);
            let told = read.as_ref().map_or_else(String::as_str, |_| "ok");
            assert_eq!(told, expected, "{text}");
            if let Ok(key) = read {
                assert_eq!(key.to_string(), text);
            }
        }
    }
}
