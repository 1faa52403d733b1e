//! SPIFFE identities of agents (S3-I9): X.509-SVIDs over the keys that agents have anyway, and who is meant by one.
//!
//! Invariants:
//! - **A certificate says a name and a key, and no right.** Whose it is, and whether that one may act, is asked of the record at
//!   every request, so nothing has to be revoked but the agent.
//! - **No key but the agent's own**: it is signed over a key of the agent's row, so it is worth nothing to whoever gets it and has
//!   not that key, which the handshake proves.
//! - **Fifteen minutes at most.**

mod authority;

pub use authority::{SvidError, Svids};

use crate::agents::{self, AGENTS, AgentRow};
use crate::deadlines::Deadlines;
use crate::gate::lock;
use crate::rows::decode;
use crate::{Caller, Gate, Role, RoleAt, Thumbprint, documents, stops};
use policy::{AgentStatus, Principal, Reach, Stop, Subject, Timestamp, Validity, key_id};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use store::{NewEntry, Reader, StoreError, Tx};

/// Kind of the entry that tells of one.
pub(crate) const ISSUED: &str = "svid.issued";
/// The longest life, and the one unless another is asked for, in seconds (S3-I9).
pub const SVID_SECONDS_MAX: u32 = 900;
/// The shortest, in seconds.
pub const SVID_SECONDS_MIN: u32 = 60;
/// Whoever asks again within this time gets the same one, in milliseconds: asking fills no journal.
const SAME_MS: i64 = 60_000;
/// What stands between trust domain and agent.
const PATH: &str = "/agent/";

/// An X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Svid {
    /// `spiffe://example.org/agent/did.key.z6Mk…`.
    pub spiffe_id: String,
    /// Which agent.
    pub agent: String,
    /// The certificate, in PEM.
    pub certificate: String,
    /// SHA-256 of it.
    pub thumbprint: String,
    /// The agent's key that it is over: `key-…`.
    pub key: String,
    /// Holds until then.
    pub expires: Timestamp,
}

/// Who is meant by a certificate of ours: read from it after the handshake proved its key.
#[derive(Clone, Debug)]
pub struct Presented<'a> {
    /// Its URIs.
    pub uris: &'a [String],
    /// Its key, if that is an Ed25519 key.
    pub key: Option<[u8; 32]>,
    /// Of all of it.
    pub thumbprint: Thumbprint,
}

/// The SPIFFE ID of an agent. SPIFFE has no colons in a path, and base58 has no dots: so dots stand for the colons of the DID.
fn spiffe_id(domain: &str, did: &str) -> String {
    format!("spiffe://{domain}{PATH}{}", did.replace(':', "."))
}

/// The DID that a SPIFFE ID of this trust domain names.
fn did_of(domain: &str, uri: &str) -> Option<String> {
    let path = uri
        .strip_prefix("spiffe://")?
        .strip_prefix(domain)?
        .strip_prefix(PATH)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    path.bytes().all(fits).then(|| path.replace('.', ":"))
}

impl Gate {
    /// Signs one for `agent`, if it may act now. Recorded before it is given out.
    pub async fn issue_svid(
        &self,
        svids: &Svids,
        by: &Principal,
        agent: &str,
        seconds: u32,
    ) -> Result<Svid, SvidError> {
        if !(SVID_SECONDS_MIN..=SVID_SECONDS_MAX).contains(&seconds) {
            return Err(SvidError::Seconds);
        }
        // Before anything is judged: whoever changes after this is refused when it is recorded.
        let generation = self.authority.load().generation;
        let identities = self.store.read(agents::generation)?;
        let row = self
            .agent(agent)
            .map_err(|_| SvidError::Unknown(agent.to_owned()))?;
        let now = self.deadlines.now();
        let subject = self.no_stop_over(&row.name)?;
        if let Some((principal, validity)) = self.fault_of(&row.name)? {
            let who = if principal == Principal::agent(&row.name) {
                "it"
            } else {
                &principal.to_string()
            };
            return Err(SvidError::NotActive(
                row.name,
                format!("{who} {}", validity.finding()),
            ));
        }
        let public = row.public().ok_or_else(|| SvidError::Unknown(row.name.clone()))?;
        let key = key_id(&public);
        let again = |made: &Svid| {
            let left = made.expires.since_ms(now);
            made.key == key && left > i64::from(seconds) * 1000 - SAME_MS && left <= i64::from(seconds) * 1000
        };
        if let Some(made) = lock(svids.lately()).get(&row.name).filter(|made| again(made)) {
            return Ok(made.clone());
        }
        let svid = self.signed(svids, row, &public, seconds)?;
        let body = json!({
            "agent": svid.agent, "spiffe_id": svid.spiffe_id, "key": svid.key, "sha256": svid.thumbprint,
            "expires": svid.expires,
        });
        let entry = NewEntry::new(ISSUED, by, body);
        let judged = Judged {
            agent: svid.agent.clone(),
            public,
            subject,
            generation,
            identities,
            deadlines: Arc::clone(&self.deadlines),
        };
        let write = move |tx: &mut Tx<'_>| {
            judged.still_holds(tx)?;
            Ok(tx.append(entry).map(drop)?)
        };
        self.store.write::<_, SvidError, _>(write).await?;
        // A stop that came while it was being recorded counts: it is not given out.
        self.no_stop_over(&svid.agent)?;
        svids.remember(&svid);
        Ok(svid)
    }

    fn signed(
        &self,
        svids: &Svids,
        row: AgentRow,
        public: &[u8; 32],
        seconds: u32,
    ) -> Result<Svid, SvidError> {
        let from = self.clock.now();
        let until = from.plus_ms(i64::from(seconds) * 1000);
        let authority = svids.authority(from)?;
        let id = spiffe_id(svids.domain(), &row.did);
        let (pem, der) = authority.sign(&id, public, from, until)?;
        Ok(Svid {
            spiffe_id: id,
            agent: row.name,
            certificate: pem,
            thumbprint: Thumbprint::of(&der).to_string(),
            key: key_id(public),
            expires: until,
        })
    }

    /// Who calls by a certificate that our authority signed and whose key was proved: asked of the record as it is now.
    ///
    /// # Errors
    /// Why nobody does.
    pub fn caller_by_svid(&self, svids: &Svids, presented: &Presented<'_>) -> Result<Caller, SvidError> {
        let refused = |why: &str| SvidError::Nobody(why.to_owned());
        let [uri] = presented.uris else {
            return Err(refused("the certificate has not exactly one URI"));
        };
        let did = did_of(svids.domain(), uri)
            .ok_or_else(|| refused("the certificate names no agent of this trust domain"))?;
        let found = self.store.read(|reader| by_did(reader, &did))?;
        let row = found.ok_or_else(|| refused("the certificate names an agent that is not here"))?;
        let now = self.deadlines.now();
        if !presented.key.is_some_and(|key| row.verifies_with(&key, now)) {
            return Err(refused(
                "the certificate is over a key that the agent has no more",
            ));
        }
        // INVARIANT (revoked at once): the agent's status decides, and not the certificate.
        if let Some((principal, validity)) = self.fault_of(&row.name)? {
            return Err(SvidError::Nobody(format!("{principal} {}", validity.finding())));
        }
        if let Some(stop) = self.stops.covering(&self.subject_of_agent(&row.name)) {
            let why = format!(
                "{} is stopped by {}: {}",
                Principal::agent(&row.name),
                stop.by,
                stop.reason
            );
            return Err(SvidError::Nobody(why));
        }
        let role = RoleAt {
            role: Role::Agent,
            reach: Reach::from(self.spot_of(&row.name)?),
        };
        Ok(Caller {
            principal: Principal::agent(&row.name),
            roles: vec![role],
            groups: Vec::new(),
            token: format!("svid:{}", presented.thumbprint),
            trigger: None,
            delegation: None,
            certificate: Some(presented.thumbprint),
            provider: None,
        })
    }

    /// Whom stops are asked about, if none covers `agent`.
    fn no_stop_over(&self, agent: &str) -> Result<Subject, SvidError> {
        let subject = self.subject_of_agent(agent);
        match self.stops.covering(&subject) {
            Some(stop) => Err(is_stopped(agent, &stop)),
            None => Ok(subject),
        }
    }

    fn subject_of_agent(&self, agent: &str) -> Subject {
        stops::subject_of(&self.authority.load_full(), agent, "")
    }

    /// Why `agent` may not act by itself now: of it, of whom it was created under, of its sponsor.
    pub(crate) fn fault_of(&self, agent: &str) -> Result<Option<(Principal, Validity)>, StoreError> {
        let authority = self.authority.load_full();
        let cause = Principal::agent(agent);
        let held = self
            .store
            .read(|reader| self.behind(reader, &authority, agent, &cause, None))?;
        Ok(held.fault(&authority, self.deadlines.now()))
    }
}

impl Gate {
    /// The agent that a DID is of, if one here is.
    pub fn agent_of_did(&self, did: &str) -> Result<Option<AgentRow>, StoreError> {
        self.store.read(|reader| by_did(reader, did))
    }
}

/// What a certificate was signed by: compared in the transaction that records it.
struct Judged {
    agent: String,
    public: [u8; 32],
    subject: Subject,
    generation: u64,
    identities: u64,
    deadlines: Arc<Deadlines>,
}

impl Judged {
    /// INVARIANT (what was judged by holds): a stop, a key, a status or a document that changed meanwhile is judged again.
    fn still_holds(&self, tx: &Tx<'_>) -> Result<(), SvidError> {
        if let Some(stop) = stops::covering(tx, &self.subject)? {
            return Err(is_stopped(&self.agent, &stop));
        }
        let now = self.deadlines.now();
        let is_same =
            |row: &AgentRow| row.public() == Some(self.public) && row.status_at(now) == AgentStatus::Active;
        let same = documents::generation_now(tx)? == self.generation
            && agents::generation_now(tx)? == self.identities
            && agents::agent_row(tx, &self.agent)?.as_ref().is_some_and(is_same);
        match same {
            true => Ok(()),
            false => Err(SvidError::Changed(self.agent.clone())),
        }
    }
}

fn is_stopped(agent: &str, stop: &Stop) -> SvidError {
    let why = format!("it is stopped by {}: {}", stop.by, stop.reason);
    SvidError::NotActive(agent.to_owned(), why)
}

/// The agent that a DID is of.
pub(crate) fn by_did(reader: &Reader<'_>, did: &str) -> Result<Option<AgentRow>, StoreError> {
    let found = reader.find(AGENTS, "did", did)?.into_iter().next();
    found.map(|row| decode(row.value)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_one_agent_of_one_domain() {
        let did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
        let id = spiffe_id("example.org", did);
        assert_eq!(
            id,
            "spiffe://example.org/agent/did.key.z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
        );
        assert_eq!(did_of("example.org", &id).as_deref(), Some(did));
        for (domain, uri) in [
            ("example.com", id.as_str()),
            ("example.or", &id),
            ("example.org", "https://example.org/agent/did.key.z6Mk"),
            ("example.org", "spiffe://example.org/agents/did.key.z6Mk"),
            ("example.org", "spiffe://example.org/agent/did.key.z6Mk/../x"),
            ("example.org", "spiffe://example.org/agent/did:key:z6Mk"),
            ("example.org", "spiffe://example.org/agent/did.key.z6Mk?x"),
        ] {
            assert_eq!(did_of(domain, uri), None, "{domain} {uri}");
        }
    }
}
