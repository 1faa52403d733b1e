//! What an agent is known by, and whether it may act: its DID, its keys by name, its status. Holds no
//! private key and verifies nothing.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where an agent stands. Only [`AgentStatus::Active`] may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentStatus {
    /// Known by a key; nothing configures it yet.
    Created,
    /// Acts.
    Active,
    /// Held back by a person.
    Suspended,
    /// Held back because it may be compromised: only an explicit override brings it back.
    Locked,
    /// Past its end.
    Expired,
    /// For good.
    Revoked,
}

/// What happens to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentEvent {
    /// A document configures it.
    Activate,
    /// A person holds it back.
    Suspend,
    /// A person holds it back because it may be compromised.
    Lock,
    /// A person lets it act again.
    Resume,
    /// The same, although it was locked: said explicitly.
    Override,
    /// Its end is past.
    Expire,
    /// It gets a later end.
    Renew,
    /// It never acts again.
    Revoke,
}

/// The status does not allow the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an agent that is {} cannot {}", .status.as_str(), .event.as_str())]
pub struct IllegalAgentEvent {
    /// Where it stands.
    pub status: AgentStatus,
    /// What was asked for.
    pub event: AgentEvent,
}

impl AgentStatus {
    /// The only place an agent changes its status: live and in replay.
    pub fn after(self, event: AgentEvent) -> Result<AgentStatus, IllegalAgentEvent> {
        use AgentEvent as Event;
        use AgentStatus as Status;
        Ok(match (self, event) {
            (Status::Created, Event::Activate) => Status::Active,
            // Held back once more, by somebody else perhaps: who lets it go has to be above all of them.
            (Status::Created | Status::Active | Status::Suspended, Event::Suspend) => Status::Suspended,
            (Status::Locked, Event::Suspend) => Status::Locked,
            (
                Status::Created | Status::Active | Status::Suspended | Status::Locked | Status::Expired,
                Event::Lock,
            ) => Status::Locked,
            (Status::Suspended, Event::Resume | Event::Override) => Status::Active,
            // Whoever brings it back has said that they know why it was locked.
            (Status::Locked, Event::Override) => Status::Active,
            // One that is held back stays so: a later end must not bring it back.
            (Status::Created | Status::Active, Event::Expire) => Status::Expired,
            (Status::Expired, Event::Renew) => Status::Active,
            (
                Status::Created | Status::Active | Status::Suspended | Status::Locked | Status::Expired,
                Event::Revoke,
            ) => Status::Revoked,
            // A wildcard may only refuse.
            (status, event) => return Err(IllegalAgentEvent { status, event }),
        })
    }

    /// As rows and people spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            AgentStatus::Created => "created",
            AgentStatus::Active => "active",
            AgentStatus::Suspended => "suspended",
            AgentStatus::Locked => "locked",
            AgentStatus::Expired => "expired",
            AgentStatus::Revoked => "revoked",
        }
    }
}

impl AgentEvent {
    /// As entries and people spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            AgentEvent::Activate => "activate",
            AgentEvent::Suspend => "suspend",
            AgentEvent::Lock => "lock",
            AgentEvent::Resume => "resume",
            AgentEvent::Override => "override",
            AgentEvent::Expire => "expire",
            AgentEvent::Renew => "renew",
            AgentEvent::Revoke => "revoke",
        }
    }
}

/// Whether a link of a chain stands, besides what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Validity {
    /// It does.
    #[default]
    Holds,
    /// Its agent may not act.
    Inactive(AgentStatus),
    /// Nothing makes its agent known: it has no identity.
    Unknown,
    /// No document configures its agent any more.
    Unconfigured,
    /// An agent that it was created under may not act; holds which, and where that one stands.
    Parent(String, AgentStatus),
    /// The person who answers for its agent is gone: each of their tokens was revoked.
    SponsorLeft(String),
    /// What was delegated to it is over; holds the delegation and in which way.
    Over(String, Over),
    /// The delegation does not verify; holds the delegation and what is wrong with it.
    Unverified(String, String),
}

/// In which way a delegation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A person revoked it, or one above it.
    Revoked,
    /// Its time is past.
    Expired,
}

impl Validity {
    /// A stable snake_case word for machines, when it does not hold.
    pub fn code(&self) -> &'static str {
        match self {
            Validity::Holds => "holds",
            Validity::Inactive(AgentStatus::Suspended) => "agent_suspended",
            Validity::Inactive(AgentStatus::Locked) => "agent_locked",
            Validity::Inactive(AgentStatus::Expired) => "agent_expired",
            Validity::Inactive(AgentStatus::Revoked) => "agent_revoked",
            Validity::Inactive(AgentStatus::Created | AgentStatus::Active) => "agent_inactive",
            Validity::Unknown => "agent_unknown",
            Validity::Unconfigured => "agent_unconfigured",
            Validity::Parent(..) => "parent_inactive",
            Validity::SponsorLeft(_) => "sponsor_left",
            Validity::Over(_, Over::Revoked) => "delegation_revoked",
            Validity::Over(_, Over::Expired) => "delegation_expired",
            Validity::Unverified(..) => "delegation_unverified",
        }
    }

    /// What is said of the principal, after its name.
    pub fn finding(&self) -> String {
        match self {
            Validity::Holds => "may act".to_owned(),
            Validity::Inactive(status) => format!("is {}", status.as_str()),
            Validity::Unknown => "has no identity".to_owned(),
            Validity::Unconfigured => "is not configured any more".to_owned(),
            Validity::Parent(parent, status) => {
                format!("was created under agent `{parent}`, which is {}", status.as_str())
            }
            Validity::SponsorLeft(sponsor) => {
                format!("has lost its sponsor: every token of `{sponsor}` was revoked")
            }
            Validity::Over(delegation, Over::Revoked) => {
                format!("acts under delegation `{delegation}`, which was revoked")
            }
            Validity::Over(delegation, Over::Expired) => {
                format!("acts under delegation `{delegation}`, which has expired")
            }
            Validity::Unverified(delegation, what) => {
                format!("acts under delegation `{delegation}`, which does not verify: {what}")
            }
        }
    }

    /// What would change it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Validity::Holds => "nothing is wrong with it",
            Validity::Inactive(AgentStatus::Suspended) => "resume the agent",
            Validity::Inactive(AgentStatus::Locked) => {
                "find out why it was locked, then resume it with an explicit override"
            }
            Validity::Inactive(AgentStatus::Revoked) => {
                "nothing brings a revoked agent back; configure another"
            }
            Validity::Inactive(AgentStatus::Expired) => "resume the agent with a later end",
            Validity::Inactive(AgentStatus::Created | AgentStatus::Active) => "configure the agent",
            Validity::Unknown | Validity::Unconfigured => "apply the agent's document",
            Validity::Parent(_, AgentStatus::Revoked) => {
                "nothing brings back what hangs from a revoked agent; configure another"
            }
            Validity::Parent(..) => "resume the agent that it was created under",
            Validity::SponsorLeft(_) => "name a sponsor who is still there in the agent's document",
            Validity::Over(..) | Validity::Unverified(..) => {
                "delegate again, and start a session under the new delegation"
            }
        }
    }
}

/// Longest name of a person, in bytes.
const PERSON_BYTES_MAX: usize = 64;

/// The one form of a sponsor's name, which is compared with names of people: `alice` for `alice` and
/// `person:alice`. `None` for what is no person: another kind of principal, or no name.
pub fn sponsor(written: &str) -> Option<&str> {
    let name = written.strip_prefix("person:").unwrap_or(written);
    let fits = (1..=PERSON_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._@/-".contains(&b));
    fits.then_some(name)
}

/// Multicodec of an Ed25519 public key, as `did:key` has it.
const ED25519: [u8; 2] = [0xed, 0x01];

/// `did:key:z6Mk…` of an Ed25519 public key (W3C did:key: multibase base58btc over multicodec and key).
pub fn did_key(public: &[u8; 32]) -> String {
    format!("did:key:z{}", base58(&[&ED25519[..], public].concat()))
}

/// The Ed25519 public key in a `did:key`; `None` for anything else.
pub fn public_key_of(did: &str) -> Option<[u8; 32]> {
    let bytes = unbase58(did.strip_prefix("did:key:z")?)?;
    bytes.strip_prefix(&ED25519)?.try_into().ok()
}

/// `key-` and the first 16 hexadecimal digits of the SHA-256 of a public key (S3-I2).
pub fn key_id(public: &[u8; 32]) -> String {
    let digest: [u8; 32] = Sha256::digest(public).into();
    let hex = crate::canonical::hex(&digest);
    format!("key-{}", hex.get(..16).unwrap_or(&hex))
}

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Longest text that is read: far more than a key needs.
const BASE58_MAX: usize = 128;

/// Base 58 as Bitcoin writes it: a leading zero byte is a `1`.
fn base58(bytes: &[u8]) -> String {
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = u8::try_from(carry % 58).unwrap_or(0);
            carry /= 58;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 58).unwrap_or(0));
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| '1');
    let letter = |digit: &u8| ALPHABET.get(usize::from(*digit)).map(|b| char::from(*b));
    zeros.chain(digits.iter().rev().filter_map(letter)).collect()
}

fn unbase58(text: &str) -> Option<Vec<u8>> {
    if text.len() > BASE58_MAX {
        return None;
    }
    let mut bytes: Vec<u8> = Vec::new();
    for letter in text.bytes() {
        let mut carry = u32::try_from(ALPHABET.iter().position(|b| *b == letter)?).ok()?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xff).ok()?;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(u8::try_from(carry & 0xff).ok()?);
            carry >>= 8;
        }
    }
    bytes.extend(text.bytes().take_while(|b| *b == b'1').map(|_| 0));
    bytes.reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_status_meets_every_event() {
        use AgentEvent::*;
        let statuses = [
            AgentStatus::Created,
            AgentStatus::Active,
            AgentStatus::Suspended,
            AgentStatus::Locked,
            AgentStatus::Expired,
            AgentStatus::Revoked,
        ];
        let mut matrix = String::new();
        let mut line = |cells: [&str; 9]| {
            let text = cells.map(|cell| format!("{cell:<11}")).concat();
            matrix.push_str(text.trim_end());
            matrix.push('\n');
        };
        let events = [Activate, Suspend, Lock, Resume, Override, Expire, Renew, Revoke];
        let [a, b, c, d, e, f, g, h] = events.map(AgentEvent::as_str);
        line(["status", a, b, c, d, e, f, g, h]);
        for status in statuses {
            let [a, b, c, d, e, f, g, h] =
                events.map(|event| status.after(event).map_or("-", AgentStatus::as_str));
            line([status.as_str(), a, b, c, d, e, f, g, h]);
        }
        assert_eq!(
            matrix,
            "\
status     activate   suspend    lock       resume     override   expire     renew      revoke
created    active     suspended  locked     -          -          expired    -          revoked
active     -          suspended  locked     -          -          expired    -          revoked
suspended  -          suspended  locked     active     active     -          -          revoked
locked     -          locked     locked     -          active     -          -          revoked
expired    -          -          locked     -          -          -          active     revoked
revoked    -          -          -          -          -          -          -          -
"
        );
        let refused = AgentStatus::Locked.after(Resume).unwrap_err();
        assert_eq!(refused.to_string(), "an agent that is locked cannot resume");
    }

    #[test]
    fn a_sponsor_is_a_person_in_one_form() {
        let long = "a".repeat(65);
        #[rustfmt::skip]
        let table = [
            ("alice",                Some("alice")),
            ("person:alice",         Some("alice")),
            ("alice@example.com",    Some("alice@example.com")),
            ("person:person:alice",  None),
            ("agent:alice",          None),
            ("service:cofferdam",    None),
            ("Person:alice",         None),
            (" alice",               None),
            ("alice ",               None),
            ("person:",              None),
            ("",                     None),
            ("al\u{0456}ce",         None),
            (long.as_str(),          None),
        ];
        for (written, expected) in table {
            assert_eq!(sponsor(written), expected, "{written:?}");
        }
    }

    #[test]
    fn a_did_is_the_published_form_of_its_key() {
        // The first example of the did:key specification for Ed25519.
        let did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
        let public = public_key_of(did).unwrap();
        assert_eq!(did_key(&public), did);
        assert_eq!(
            key_id(&[0; 32]),
            "key-66687aadf862bd77",
            "SHA-256 of 32 zero bytes"
        );
        for wrong in [
            "",
            "did:key:",
            "did:web:example.com",
            "did:key:z6Mk",
            "did:key:zO0Il",
            "did:key:6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        ] {
            assert_eq!(public_key_of(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_key_comes_back_from_its_did(public: [u8; 32]) {
            prop_assert_eq!(public_key_of(&did_key(&public)), Some(public));
        }
        #[test]
        fn base58_keeps_leading_zeros(bytes in prop::collection::vec(any::<u8>(), 0..40), zeros in 0usize..4) {
            let all = [vec![0; zeros], bytes].concat();
            prop_assert_eq!(unbase58(&base58(&all)), Some(all));
        }
    }
}
