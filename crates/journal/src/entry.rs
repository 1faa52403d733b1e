//! One entry of the journal, as its leaf holds it.
//!
//! Never holds what an action was about: arguments and results are payloads beside the leaf, and
//! stand here as salted commitments.

use crate::leaf::{self, Parts};
use hmac::{Hmac, KeyInit as _, Mac as _};
use policy::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::io::Write as _;

/// The kinds of entries that this crate's machines and the gate give a meaning. Owners of domains
/// add their own (`incident.opened`): `DOMAIN.EVENT`, lower case.
pub mod kind {
    #![expect(missing_docs, reason = "each name is the documentation of its value")]
    pub const ACTION_PERMITTED: &str = "action.permitted";
    pub const ACTION_DENIED: &str = "action.denied";
    pub const ACTION_DENIED_AGAIN: &str = "action.denied_again";
    pub const ACTION_SETTLED: &str = "action.settled";
    pub const ACTION_RESOLVED: &str = "action.resolved";
    pub const APPROVAL_REQUESTED: &str = "approval.requested";
    pub const APPROVAL_VOTED: &str = "approval.voted";
    pub const APPROVAL_ESCALATED: &str = "approval.escalated";
    pub const APPROVAL_APPROVED: &str = "approval.approved";
    pub const APPROVAL_DENIED: &str = "approval.denied";
    pub const APPROVAL_EXPIRED: &str = "approval.expired";
    pub const APPROVAL_CANCELLED: &str = "approval.cancelled";
    pub const SESSION_CREATED: &str = "session.created";
    pub const SESSION_QUEUED: &str = "session.queued";
    pub const SESSION_STARTED: &str = "session.started";
    pub const SESSION_WAITING: &str = "session.waiting";
    pub const SESSION_RESUMED: &str = "session.resumed";
    pub const SESSION_COMPLETED: &str = "session.completed";
    pub const SESSION_FAILED: &str = "session.failed";
    pub const SESSION_CANCELLED: &str = "session.cancelled";
    pub const SESSION_NOTED: &str = "session.noted";
    pub const STOP_RAISED: &str = "stop.raised";
    pub const STOP_LIFTED: &str = "stop.lifted";
    /// Policy did not let somebody lift a stop, which stands.
    pub const STOP_LIFT_REFUSED: &str = "stop.lift_refused";
    /// A drill of the kill switch was measured.
    pub const STOP_DRILLED: &str = "stop.drilled";
    pub const CONFIG_APPLIED: &str = "config.applied";
    pub const CONFIG_DELETED: &str = "config.deleted";
    /// A signed bundle of policies took its publisher's place.
    pub const BUNDLE_INSTALLED: &str = "bundle.installed";
    pub const BUNDLE_REMOVED: &str = "bundle.removed";
    pub const TOKEN_CREATED: &str = "token.created";
    pub const TOKEN_REVOKED: &str = "token.revoked";
    /// Whoever held it logged out: it ended early, and nobody took it from them.
    pub const TOKEN_ENDED: &str = "token.ended";
    /// A delegation was redeemed for a token of a few minutes.
    pub const TOKEN_REDEEMED: &str = "token.redeemed";
    /// A delegation was not redeemed.
    pub const TOKEN_REFUSED: &str = "token.refused";
    /// A name and a password did not let anybody in.
    pub const LOGIN_REFUSED: &str = "login.refused";
    pub const AGENT_CREATED: &str = "agent.created";
    pub const AGENT_ACTIVATED: &str = "agent.activated";
    pub const AGENT_SUSPENDED: &str = "agent.suspended";
    pub const AGENT_RESUMED: &str = "agent.resumed";
    pub const AGENT_REVOKED: &str = "agent.revoked";
    pub const AGENT_ROTATED: &str = "agent.rotated";
    pub const DELEGATION_MADE: &str = "delegation.made";
    pub const DELEGATION_REVOKED: &str = "delegation.revoked";
    pub const CLOCK_JUMPED: &str = "clock.jumped";
    pub const PAYLOAD_ERASED: &str = "payload.erased";
    pub const LOG_OPENED: &str = "log.opened";
    pub const LOG_RECOVERED: &str = "log.recovered";
}

/// A salted commitment to a payload: `HMAC-SHA-256(salt, payload)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Which payload of the entry: `arguments`, `result`, `document`.
    pub name: String,
    /// Lower-case hexadecimal, 32 bytes.
    pub hmac_sha256: String,
}

/// One entry. Its canonical JSON is the leaf.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Format of the entry: 1.
    pub v: u16,
    /// Name of the log, which is the origin of its checkpoints.
    pub log: String,
    /// Position, from 0, without gaps.
    pub sequence: u64,
    /// By the clock of whoever wrote it. Order is the sequence, never this.
    pub timestamp: Timestamp,
    /// What happened.
    pub kind: String,
    /// `ses-42`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who did it: `agent:triage`, `person:alice`, `service:cofferdam`.
    pub actor: String,
    /// On whose account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Links entries across sessions: an incident, a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The event, by kind; versioned by its owner.
    pub body: Value,
    /// To the payloads beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commitments: Vec<Commitment>,
    /// Digest of every projection that this commit changed, after it. On the last entry of a commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub projections: BTreeMap<String, String>,
}

/// Why something is no entry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryError {
    /// Larger than a leaf may be.
    #[error("entry of {bytes} bytes is larger than {max}", max = crate::LEAF_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not canonical, not JSON, or not of the entry's form.
    #[error("not an entry: {0}")]
    Malformed(String),
}

impl Entry {
    /// The leaf's bytes.
    pub fn to_leaf(&self) -> Result<Vec<u8>, EntryError> {
        let mut leaf = Vec::with_capacity(1024);
        let body = body_bytes(&self.body)?;
        self.write_leaf(&mut leaf, &self.timestamp.to_string(), &body)?;
        Ok(leaf)
    }
    /// Writes the leaf's bytes into `leaf`, over what was there. `timestamp` is what this entry's prints
    /// as: many entries of a commit share it, and the buffer. `body` is [`body_bytes`] of this entry's, which
    /// whoever made it has written already. After an error `leaf` holds nothing of use.
    pub fn write_leaf(&self, leaf: &mut Vec<u8>, timestamp: &str, body: &[u8]) -> Result<(), EntryError> {
        debug_assert_eq!(timestamp, self.timestamp.to_string());
        debug_assert_eq!(Ok(body), body_bytes(&self.body).as_deref());
        leaf.clear();
        leaf::check_fields(self, timestamp)?;
        // Keys in canonical order, written straight down: entries are made by the ten thousand.
        write_text(leaf, "{\"actor\":", &self.actor);
        leaf.extend_from_slice(b",\"body\":");
        leaf.extend_from_slice(body);
        if let Some(cause) = &self.cause {
            write_text(leaf, ",\"cause\":", cause);
        }
        if !self.commitments.is_empty() {
            let mut opening = ",\"commitments\":[{\"hmac_sha256\":";
            for commitment in &self.commitments {
                write_text(leaf, opening, &commitment.hmac_sha256);
                write_text(leaf, ",\"name\":", &commitment.name);
                opening = "},{\"hmac_sha256\":";
            }
            leaf.extend_from_slice(b"}]");
        }
        if let Some(correlation) = &self.correlation {
            write_text(leaf, ",\"correlation\":", correlation);
        }
        write_text(leaf, ",\"kind\":", &self.kind);
        write_text(leaf, ",\"log\":", &self.log);
        if !self.projections.is_empty() {
            // Few, and a map: the canonical order of its keys is not always the map's.
            let projections = serde_json::to_value(&self.projections).map_err(malformed)?;
            leaf.extend_from_slice(b",\"projections\":");
            policy::canonical::append(leaf, &projections, 1).map_err(malformed)?;
        }
        write!(leaf, ",\"sequence\":{}", self.sequence).map_err(malformed)?;
        if let Some(session) = &self.session {
            write_text(leaf, ",\"session\":", session);
        }
        write_text(leaf, ",\"timestamp\":", timestamp);
        leaf.extend_from_slice(b",\"v\":1}");
        if leaf.len() > crate::LEAF_BYTES_MAX {
            return Err(EntryError::TooLarge { bytes: leaf.len() });
        }
        debug_assert_eq!(leaf::check(leaf).err(), None, "what is written can be read");
        Ok(())
    }
    /// Reads a leaf; refuses bytes that are not the canonical form of what they say.
    pub fn from_leaf(leaf: &[u8]) -> Result<Entry, EntryError> {
        Entry::from_parts(&leaf::parts(leaf)?)
    }
    /// From the fields of a leaf that was checked.
    pub(crate) fn from_parts(parts: &Parts) -> Result<Entry, EntryError> {
        let no_time = || {
            malformed(format_args!(
                "timestamp `{}` is no point in time",
                parts.timestamp
            ))
        };
        Ok(Entry {
            v: 1,
            log: parts.head.log.to_owned(),
            sequence: parts.head.sequence,
            timestamp: Timestamp::parse(parts.timestamp).ok_or_else(no_time)?,
            kind: parts.head.kind.to_owned(),
            session: parts.session.map(read_text).transpose()?,
            actor: read_text(parts.actor)?,
            cause: parts.cause.map(read_text).transpose()?,
            correlation: parts.correlation.map(read_text).transpose()?,
            body: policy::canonical::parse(parts.body.as_bytes(), crate::LEAF_BYTES_MAX)
                .map_err(malformed)?,
            commitments: parts
                .commitments
                .map_or(Ok(Vec::new()), serde_json::from_str)
                .map_err(malformed)?,
            projections: parts
                .projections
                .map_or(Ok(BTreeMap::new()), serde_json::from_str)
                .map_err(malformed)?,
        })
    }
}

/// A body as it stands in the leaf: its RFC 8785 form.
pub fn body_bytes(body: &Value) -> Result<Vec<u8>, EntryError> {
    let mut bytes = Vec::with_capacity(512);
    policy::canonical::append(&mut bytes, body, 1).map_err(malformed)?;
    Ok(bytes)
}

/// `HMAC-SHA-256(salt, payload)`.
pub fn commit(salt: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    // HMAC fills a key shorter than a block up with zeros.
    let mut key = [0; 64];
    key.iter_mut().zip(salt).for_each(|(byte, salt)| *byte = *salt);
    let mut mac = Hmac::<Sha256>::new(&key.into());
    mac.update(payload);
    mac.finalize().into_bytes().into()
}

/// `key` as it stands, then `text` as a JSON string.
fn write_text(leaf: &mut Vec<u8>, key: &str, text: &str) {
    leaf.extend_from_slice(key.as_bytes());
    policy::canonical::append_text(leaf, text);
}

/// The text of a JSON string, from what stands between its quotes.
fn read_text(raw: &str) -> Result<String, EntryError> {
    if !raw.contains('\\') {
        return Ok(raw.to_owned());
    }
    serde_json::from_str(&format!("\"{raw}\"")).map_err(malformed)
}

fn malformed(why: impl std::fmt::Display) -> EntryError {
    EntryError::Malformed(why.to_string())
}
