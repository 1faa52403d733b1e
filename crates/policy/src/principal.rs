//! Who acts, and on whose behalf. Nobody is authenticated here: whoever makes a chain vouches for it.

use crate::{Action, Autonomy, Capability, Grant, Place, Timestamp, Validity};
use serde::{Deserialize, Serialize};

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A human being.
    Person,
    /// A program that acts through the gate.
    Agent,
    /// A program that only tells us things: a trigger, a webhook.
    Service,
}

/// A person, an agent or a service, by kind and name: `agent:triage`, `person:alice`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// What it is.
    pub kind: PrincipalKind,
    /// Its name, unique within its kind.
    pub name: String,
}

/// One link of a chain of delegation: who, with which grants and how much autonomy.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Who holds the grants.
    pub principal: Principal,
    /// What it may do at all. Empty means nothing.
    pub grants: Vec<Grant>,
    /// What of that it may not do all the same, nor anybody after it.
    pub except: Vec<Capability>,
    /// How far it may go alone.
    pub autonomy: Autonomy,
    /// Whether it may act at all.
    pub validity: Validity,
    /// Where an agent belongs. `None` when nobody knows: then what any place forbids reaches it, and what
    /// a place permits does not.
    pub place: Option<Place>,
}

/// The cause and every link down to the one that acts. Rights are the intersection of all links.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// On whose account the session runs; it can never approve what it caused.
    pub cause: Principal,
    /// From the root of authority to the actor. Empty denies everything.
    pub links: Vec<Link>,
}

impl Principal {
    /// `person:NAME`.
    pub fn person(name: &str) -> Principal {
        Principal {
            kind: PrincipalKind::Person,
            name: name.to_owned(),
        }
    }
    /// `agent:NAME`.
    pub fn agent(name: &str) -> Principal {
        Principal {
            kind: PrincipalKind::Agent,
            name: name.to_owned(),
        }
    }
    /// `service:NAME`.
    pub fn service(name: &str) -> Principal {
        Principal {
            kind: PrincipalKind::Service,
            name: name.to_owned(),
        }
    }
    /// Reads `kind:name`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Principal> {
        let (kind, name) = text.split_once(':')?;
        let kind = match kind {
            "person" => PrincipalKind::Person,
            "agent" => PrincipalKind::Agent,
            "service" => PrincipalKind::Service,
            _ => return None,
        };
        (!name.is_empty()).then(|| Principal {
            kind,
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            PrincipalKind::Person => "person",
            PrincipalKind::Agent => "agent",
            PrincipalKind::Service => "service",
        };
        write!(f, "{kind}:{}", self.name)
    }
}

impl Serialize for Principal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Principal, D::Error> {
        let text = String::deserialize(d)?;
        Principal::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a principal")))
    }
}

impl Link {
    /// A link that stands, makes no exceptions and is at the default place.
    pub fn new(principal: Principal, grants: Vec<Grant>, autonomy: Autonomy) -> Link {
        Link {
            principal,
            grants,
            except: Vec::new(),
            autonomy,
            validity: Validity::Holds,
            place: Some(Place::default()),
        }
    }
    /// The first unexpired grant that covers `action`; `None` also when it is excepted.
    pub fn covering(&self, action: &Action, now: Timestamp) -> Option<&Grant> {
        let excepted = self.except.iter().any(|except| except.bars(action));
        self.grants
            .iter()
            .find(|grant| grant.until.is_none_or(|until| now < until) && grant.capability.covers(action))
            .filter(|_| !excepted)
    }
}

impl Chain {
    /// The one that acts.
    pub fn actor(&self) -> Option<&Link> {
        self.links.last()
    }
}
