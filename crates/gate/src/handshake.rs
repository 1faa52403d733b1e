//! Whether a peer is the agent that it says it is (S3-I11): it signs a challenge of ours, and everything else is asked of our own
//! record, never of the peer.
//!
//! Invariants:
//! - **No claim of the peer's counts**: it names a DID and signs; status, keys and score are the record's as they are now.
//! - **One answer to one challenge**, within 30 seconds, to whoever asked for it.
//! - **What is remembered is a signature.** For 15 minutes it need not be given again; whose it is and how that one stands is asked
//!   each time.
//! - In memory: it changes nothing, so nothing is recorded, and a restart forgets it.

use crate::agents::AgentRow;
use crate::agents::key::{AgentKey, unwritten, verifies, written};
use crate::gate::lock;
use crate::svid::by_did;
use crate::{Gate, stops, trust};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use store::StoreError;

/// How long a challenge may wait for its answer, in milliseconds.
pub const CHALLENGE_MS: u64 = 30_000;
/// Challenges that wait at a time, and of one who asks.
const PENDING_MAX: usize = 1000;
const PENDING_OF_ONE_MAX: usize = 100;
/// How long a signature need not be given again, in milliseconds.
const KEPT_MS: u64 = 15 * 60 * 1000;
/// Signatures that are remembered; past it all are forgotten.
const KEPT_MAX: usize = 4096;
/// Bytes of a nonce, ours and the peer's.
const NONCE_BYTES: usize = 32;
/// The least score of each level (S3-I11).
const LEVELS: [(u16, PeerLevel); 3] = [
    (900, PeerLevel::Verified),
    (700, PeerLevel::Trusted),
    (400, PeerLevel::Limited),
];

/// How far whoever asked may rely on a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerLevel {
    /// From 900.
    Verified,
    /// From 700.
    Trusted,
    /// From 400.
    Limited,
}

/// What a peer has to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// `chl-` and 32 hexadecimal digits.
    pub challenge: String,
    /// 256 bits, base64url.
    pub nonce: String,
    /// The DID of who has to answer; anybody, without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Has to be signed as well: a signature that was remembered is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<String>,
    /// Until then.
    pub expires: Timestamp,
}

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Who it says it is.
    pub did: String,
    /// 256 bits of its own, base64url.
    pub response_nonce: String,
    /// As in the challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<String>,
    /// Of [`signed_text`], by its Ed25519 key, base64url.
    pub signature: String,
}

/// A peer that is who it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its name.
    pub agent: String,
    /// Its DID.
    pub did: String,
    /// By its score of now.
    pub level: PeerLevel,
    /// That score.
    pub trust: u16,
    /// Whether a signature was remembered.
    pub remembered: bool,
}

/// The checks that can fail, in their order: all ten of S3-I11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message is the documentation of its value")]
pub enum Failed {
    #[error("no such challenge waits, or somebody else asked for it")]
    UnknownChallenge,
    #[error("it was answered before")]
    UsedChallenge,
    #[error("the answer came after 30 seconds")]
    Expired,
    #[error("a nonce has 32 bytes and a signature 64, both in base64url")]
    Malformed,
    #[error("somebody else was asked")]
    OtherPeer,
    #[error("the freshness that was asked for is not in it")]
    NotFresh,
    #[error("nobody here has that DID")]
    UnknownDid,
    #[error("it is not signed by a key that the agent has now")]
    Signature,
    #[error("the agent may not act now")]
    NotActive,
    #[error("the agent's score is below 400")]
    Untrusted,
}

impl Failed {
    /// All of them.
    pub const ALL: [Failed; 10] = [
        Failed::UnknownChallenge,
        Failed::UsedChallenge,
        Failed::Expired,
        Failed::Malformed,
        Failed::OtherPeer,
        Failed::NotFresh,
        Failed::UnknownDid,
        Failed::Signature,
        Failed::NotActive,
        Failed::Untrusted,
    ];

    /// A stable word for machines.
    pub fn code(self) -> &'static str {
        match self {
            Failed::UnknownChallenge => "unknown_challenge",
            Failed::UsedChallenge => "used_challenge",
            Failed::Expired => "expired",
            Failed::Malformed => "malformed",
            Failed::OtherPeer => "other_peer",
            Failed::NotFresh => "not_fresh",
            Failed::UnknownDid => "unknown_did",
            Failed::Signature => "signature",
            Failed::NotActive => "not_active",
            Failed::Untrusted => "untrusted",
        }
    }
}

/// Why there is no challenge.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Too many wait.
    #[error("too many challenges wait for their answers; try again when they are over")]
    TooMany,
    /// Nothing can be read, or there is no randomness.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The peer has to sign.
    Challenge(Challenge),
    /// It signed within 15 minutes, and stands as it did.
    Remembered(Peer),
}

/// What waits, and what is remembered.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pending: Mutex<HashMap<String, Pending>>,
    /// By who asked and the DID.
    kept: Mutex<HashMap<(String, String), Kept>>,
}

/// The key that signed, and when.
type Kept = ([u8; 32], Duration);

#[derive(Clone, Debug)]
struct Pending {
    asker: String,
    challenge: Challenge,
    at: Duration,
    used: bool,
}

impl Pending {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) > Duration::from_millis(CHALLENGE_MS)
    }
}

/// What the peer signs: `challenge_id:nonce:response_nonce:did`, and `:freshness` where that is asked for.
pub fn signed_text(challenge: &Challenge, did: &str, response_nonce: &str) -> String {
    let Challenge {
        challenge,
        nonce,
        freshness,
        ..
    } = challenge;
    let text = format!("{challenge}:{nonce}:{response_nonce}:{did}");
    match freshness {
        Some(freshness) => format!("{text}:{freshness}"),
        None => text,
    }
}

/// The answer of the agent with that DID and that key.
pub fn respond(key: &AgentKey, did: &str, challenge: &Challenge, own: &[u8; NONCE_BYTES]) -> Response {
    let response_nonce = written(own);
    let signature = key.sign(signed_text(challenge, did, &response_nonce).as_bytes());
    Response {
        did: did.to_owned(),
        freshness: challenge.freshness.clone(),
        signature: written(&signature),
        response_nonce,
    }
}

impl Gate {
    /// A challenge for `peer`, or for whoever answers; none where that one signed for `asker` lately, unless it has to be `fresh`.
    pub fn challenge(
        &self,
        asker: &Principal,
        peer: Option<&AgentRow>,
        fresh: bool,
    ) -> Result<Begun, HandshakeError> {
        if let Some(peer) = peer.filter(|_| !fresh)
            && let Some(known) = self.remembered(asker, peer)?
        {
            return Ok(Begun::Remembered(known));
        }
        let (now, asker) = (self.clock.monotonic(), asker.to_string());
        let mut pending = lock(&self.handshakes.pending);
        pending.retain(|_, one| !one.is_over(now));
        let own = pending.values().filter(|one| one.asker == asker).count();
        if pending.len() >= PENDING_MAX || own >= PENDING_OF_ONE_MAX {
            return Err(HandshakeError::TooMany);
        }
        let life = i64::try_from(CHALLENGE_MS).unwrap_or(i64::MAX);
        let challenge = Challenge {
            challenge: format!("chl-{}", policy::canonical::hex(&random::<16>()?)),
            nonce: written(&random::<NONCE_BYTES>()?),
            peer: peer.map(|peer| peer.did.clone()),
            freshness: if fresh {
                Some(written(&random::<16>()?))
            } else {
                None
            },
            expires: self.clock.now().plus_ms(life),
        };
        let one = Pending {
            asker,
            challenge: challenge.clone(),
            at: now,
            used: false,
        };
        pending.insert(challenge.challenge.clone(), one);
        Ok(Begun::Challenge(challenge))
    }

    /// Judges an answer to the challenge `id`, which `asker` asked for. `sees` says of which agents the asker may know.
    pub fn judge_response(
        &self,
        asker: &Principal,
        id: &str,
        response: &Response,
        sees: &dyn Fn(&AgentRow) -> Result<bool, StoreError>,
    ) -> Result<Result<Peer, Failed>, StoreError> {
        let challenge = match self.take_challenge(asker, id) {
            Ok(challenge) => challenge,
            Err(failed) => return Ok(Err(failed)),
        };
        let nonce = unwritten::<NONCE_BYTES>(&response.response_nonce);
        let (Some(_), Some(signature)) = (nonce, unwritten::<64>(&response.signature)) else {
            return Ok(Err(Failed::Malformed));
        };
        if challenge.peer.as_ref().is_some_and(|peer| *peer != response.did) {
            return Ok(Err(Failed::OtherPeer));
        }
        if challenge.freshness != response.freshness {
            return Ok(Err(Failed::NotFresh));
        }
        let found = self.store.read(|reader| by_did(reader, &response.did))?;
        let Some(row) = found else {
            return Ok(Err(Failed::UnknownDid));
        };
        if !sees(&row)? {
            return Ok(Err(Failed::UnknownDid));
        }
        let text = signed_text(&challenge, &response.did, &response.response_nonce);
        let now = self.deadlines.now();
        let keys = row
            .keys
            .iter()
            .filter_map(|held| unwritten::<32>(&held.public_key));
        let mut holding = keys.filter(|key| row.verifies_with(key, now));
        let Some(key) = holding.find(|key| verifies(key, text.as_bytes(), &signature)) else {
            return Ok(Err(Failed::Signature));
        };
        let judged = self.judged(&row, false)?;
        if judged.is_ok() {
            let mut kept = lock(&self.handshakes.kept);
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert((asker.to_string(), row.did), (key, self.clock.monotonic()));
        }
        Ok(judged)
    }

    /// The challenge, which from now on is used.
    fn take_challenge(&self, asker: &Principal, id: &str) -> Result<Challenge, Failed> {
        let mut pending = lock(&self.handshakes.pending);
        let asker = asker.to_string();
        let one = pending.get_mut(id).filter(|one| one.asker == asker);
        let one = one.ok_or(Failed::UnknownChallenge)?;
        if one.used {
            return Err(Failed::UsedChallenge);
        }
        one.used = true;
        match one.is_over(self.clock.monotonic()) {
            true => Err(Failed::Expired),
            false => Ok(one.challenge.clone()),
        }
    }

    /// Who signed for `asker` lately, with a key that it has still.
    fn remembered(&self, asker: &Principal, peer: &AgentRow) -> Result<Option<Peer>, StoreError> {
        let key = (asker.to_string(), peer.did.clone());
        let held = lock(&self.handshakes.kept).get(&key).copied();
        let now = self.clock.monotonic();
        let is_recent = |at: Duration| now.saturating_sub(at) <= Duration::from_millis(KEPT_MS);
        match held {
            Some((key, at)) if is_recent(at) && peer.verifies_with(&key, self.deadlines.now()) => {
                Ok(self.judged(peer, true)?.ok())
            }
            _ => Ok(None),
        }
    }

    /// How the record has it now.
    fn judged(&self, row: &AgentRow, remembered: bool) -> Result<Result<Peer, Failed>, StoreError> {
        let authority = self.authority.load_full();
        let subject = stops::subject_of(&authority, &row.name, "");
        if self.stops.covering(&subject).is_some() || self.fault_of(&row.name)?.is_some() {
            return Ok(Err(Failed::NotActive));
        }
        let (names, now) = ([row.name.clone()], self.deadlines.now());
        let trust = self
            .store
            .read(|reader| trust::least_read(reader, &authority, &names, now))?;
        let level = LEVELS.iter().find(|(least, _)| trust >= *least);
        Ok(level.ok_or(Failed::Untrusted).map(|(_, level)| Peer {
            agent: row.name.clone(),
            did: row.did.clone(),
            level: *level,
            trust,
            remembered,
        }))
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0u8; N];
    let refused = |error| StoreError::Refused(format!("no randomness for a challenge: {error}"));
    getrandom::fill(&mut bytes).map_err(refused)?;
    Ok(bytes)
}
