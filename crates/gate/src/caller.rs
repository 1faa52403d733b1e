//! Who calls, as established by a token or a client certificate, and what it may do where. Cannot be made outside this crate.

use crate::{Thumbprint, held};
use policy::{Principal, Reach, Spot};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};

/// What a caller may do at the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, including tokens and configuration.
    Admin,
    /// Runs things: tasks, sessions, stops.
    Operator,
    /// Decides approvals.
    Approver,
    /// Reads everything, including the journal's export.
    Auditor,
    /// Reads sessions, incidents, approvals.
    Viewer,
    /// Sends to one trigger and nothing else.
    Trigger,
    /// An agent that redeemed a delegation: asks about itself and gives itself tasks under it.
    Agent,
}

impl Role {
    /// All that a token can be made with. An agent's comes of a delegation alone.
    pub const ALL: [Role; 6] = [
        Role::Admin,
        Role::Operator,
        Role::Approver,
        Role::Auditor,
        Role::Viewer,
        Role::Trigger,
    ];

    /// As tokens and documents have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
            Role::Viewer => "viewer",
            Role::Trigger => "trigger",
            Role::Agent => "agent",
        }
    }
}

/// A role and where in the tree of tenancy it holds: `operator`, `operator@acme/payments`,
/// `approver@acme/payments/api/deployer`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleAt {
    /// What may be done.
    pub role: Role,
    /// Where.
    pub reach: Reach,
}

impl RoleAt {
    /// Reads `ROLE` or `ROLE@PATH`.
    pub fn parse(text: &str) -> Option<RoleAt> {
        let (word, reach) = match text.split_once('@') {
            Some((word, path)) => (word, Reach::parse(path)?),
            None => (text, Reach::Everywhere),
        };
        let role = Role::ALL.into_iter().find(|role| role.as_str() == word)?;
        Some(RoleAt { role, reach })
    }
}

impl RoleAt {
    /// These roles at the root.
    pub fn everywhere(roles: &[Role]) -> Vec<RoleAt> {
        roles.iter().copied().map(RoleAt::from).collect()
    }
}

impl From<Role> for RoleAt {
    /// Everywhere.
    fn from(role: Role) -> RoleAt {
        RoleAt {
            role,
            reach: Reach::Everywhere,
        }
    }
}

impl Display for RoleAt {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.role.as_str())?;
        match &self.reach {
            Reach::Everywhere => Ok(()),
            Reach::Area(area) => write!(f, "@{area}"),
            Reach::Agent(place, agent) => write!(f, "@{place}/{agent}"),
        }
    }
}

impl Serialize for RoleAt {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RoleAt {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<RoleAt, D::Error> {
        let text = String::deserialize(d)?;
        let what = || {
            let known = Role::ALL.map(Role::as_str).join(", ");
            serde::de::Error::custom(format!(
                "`{text}` is no role: write one of {known}, and where it holds as in `operator@acme/payments`"
            ))
        };
        RoleAt::parse(&text).ok_or_else(what)
    }
}

/// Whether one of `held` is one of `wanted` and holds at `spot`.
pub(crate) fn holds(held: &[RoleAt], wanted: &[Role], spot: &Spot) -> bool {
    held.iter()
        .any(|at| wanted.contains(&at.role) && at.reach.covers(spot))
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) principal: Principal,
    pub(crate) roles: Vec<RoleAt>,
    /// Teams that the person belongs to.
    pub(crate) groups: Vec<String>,
    pub(crate) token: String,
    /// The trigger that a [`Role::Trigger`] token is for.
    pub(crate) trigger: Option<String>,
    /// The delegation that a [`Role::Agent`] token was given for.
    pub(crate) delegation: Option<String>,
    /// The client certificate that its token is bound to, or that it came with.
    pub(crate) certificate: Option<Thumbprint>,
    /// Who vouched for it, when it was not the platform.
    pub(crate) provider: Option<String>,
}

/// Why nobody was identified. Says no more than that to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// No such token, or one that no longer holds.
    #[error("no valid token")]
    NoToken,
    /// It came over a connection without its certificate.
    #[error("the token is bound to a client certificate, which this connection has not shown")]
    Bound,
}

impl Caller {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
    /// What it may do, and where.
    pub fn roles(&self) -> &[RoleAt] {
        &self.roles
    }
    /// Whether it has one of these roles at `spot`.
    pub fn holds(&self, wanted: &[Role], spot: &Spot) -> bool {
        holds(&self.roles, wanted, spot)
    }
    /// Where it has one of these roles.
    pub fn reaches(&self, wanted: &[Role]) -> Vec<Reach> {
        let held = self.roles.iter().filter(|at| wanted.contains(&at.role));
        held.map(|at| at.reach.clone()).collect()
    }
    /// The widest part that `spot` is in where it has one of these roles.
    pub fn widest(&self, wanted: &[Role], spot: &Spot) -> Reach {
        held::widest(&self.reaches(wanted), spot)
    }
    /// Whether it has one of these roles anywhere.
    pub fn holds_somewhere(&self, wanted: &[Role]) -> bool {
        self.roles.iter().any(|at| wanted.contains(&at.role))
    }
    /// The teams it belongs to, which rules may name as approvers.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
    /// Id of the token it came with: `tok-7`.
    pub fn token(&self) -> &str {
        &self.token
    }
    /// The delegation that it is worth.
    pub fn delegation(&self) -> Option<&str> {
        self.delegation.as_deref()
    }
    /// The client certificate that it came with, or that its token is bound to.
    pub fn certificate(&self) -> Option<&Thumbprint> {
        self.certificate.as_ref()
    }
    /// Whether a client certificate identified it, and no token.
    pub fn is_by_certificate(&self) -> bool {
        self.certificate.is_some() && self.provider.is_some()
    }
    /// The `IdentityProvider` that vouched for it.
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }
    /// The trigger it may send to.
    pub fn trigger(&self) -> Option<&str> {
        self.trigger.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Area, Place};

    #[test]
    fn a_role_holds_where_it_was_given_and_below() {
        let agent = |place: &str, name: &str| Spot::Agent(Place::parse(place).unwrap(), name.to_owned());
        let area = |text: &str| Spot::Area(Area::parse(text).unwrap());
        let (ours, theirs) = (
            agent("acme/pay/api", "deploy"),
            agent("acme/search/api", "deploy"),
        );
        #[rustfmt::skip]
        let table = [
            ("viewer",                        Spot::Root,              true),
            ("viewer",                        ours.clone(),            true),
            ("viewer@acme",                   Spot::Root,              false),
            ("viewer@acme",                   area("acme"),            true),
            ("viewer@acme",                   area("acme/pay"),        true),
            ("viewer@acme/pay",               area("acme"),            false),
            ("viewer@acme/pay",               ours.clone(),            true),
            ("viewer@acme/pay",               theirs.clone(),          false),
            ("viewer@acme/pay/api",           ours.clone(),            true),
            ("viewer@acme/pay/api/deploy",    ours.clone(),            true),
            ("viewer@acme/pay/api/deploy",    theirs,                  false),
            ("viewer@acme/pay/api/deploy",    area("acme/pay/api"),    false),
            ("viewer@acme/pay/api/deploy",    Spot::Root,              false),
            ("viewer@acme/pay/api/other",     ours.clone(),            false),
            ("admin@acme/pay",                ours,                    false),
        ];
        for (role, spot, expected) in table {
            let held = [RoleAt::parse(role).unwrap()];
            assert_eq!(
                holds(&held, &[Role::Viewer], &spot),
                expected,
                "{role} at {spot:?}"
            );
            assert_eq!(held[0].to_string(), role);
        }
        for wrong in [
            "",
            "root",
            "viewer@",
            "viewer@/",
            "viewer@Acme",
            "viewer@a/b/c/d/e",
            "viewer@a//b",
            "@acme",
        ] {
            assert_eq!(RoleAt::parse(wrong), None, "{wrong}");
        }
    }
}
