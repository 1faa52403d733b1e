//! What configuration gives to agents, as one immutable snapshot that admissions read.

use crate::{Gate, TrustTerms};
use policy::budget::Budget;
use policy::{Action, Autonomy, Capability, Grant, Place, PolicySet, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Limits on an agent's actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Bounds {
    /// In one session, denials not counted; a request for approval counts until it is spent. Default 200.
    pub actions_per_session: u32,
    /// Over all sessions of the agent, in any 60 seconds, requests for approval counted too. Default 120.
    pub actions_per_minute: u32,
    /// Over all sessions of the agent, refused ones counted too: so many a second on the long run. By its ring
    /// ([`policy::Ring`]) unless said here, and then at whatever level it acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions_per_second: Option<NonZeroU32>,
    /// How many of them at once after a pause: twice `actions_per_second`, or by its ring, unless said here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// How many delegations may hang below each other from it, wherever on a chain it is: 3 unless said
    /// otherwise, 0 for none, at most 8.
    pub delegation_depth: u8,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            actions_per_session: 200,
            actions_per_minute: 120,
            actions_per_second: None,
            burst: None,
            delegation_depth: 3,
        }
    }
}

/// What one agent holds.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentAuthority {
    /// From its toolsets.
    pub grants: Vec<Grant>,
    /// What it must never do, nor anybody it passes anything on to, whatever grants it.
    pub deny: Vec<Capability>,
    /// From its document.
    pub autonomy: Autonomy,
    /// From its document.
    pub bounds: Bounds,
    /// The person who answers for it.
    pub sponsor: String,
    /// Where it belongs.
    pub place: Place,
    /// How far it may be trusted, and where it comes from.
    pub trust: TrustTerms,
}

/// One generation of configuration.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Grows with every installed change; compared in the commit.
    pub generation: u64,
    /// All rules.
    pub policies: Arc<PolicySet>,
    /// By name.
    pub agents: BTreeMap<String, Arc<AgentAuthority>>,
    /// How much whom of them may use.
    pub budgets: Arc<Vec<Budget>>,
}

impl AgentAuthority {
    /// Whether it holds by itself what covers `action` at `now`.
    pub(crate) fn covers(&self, action: &Action, now: Timestamp) -> bool {
        let holds =
            |grant: &Grant| grant.until.is_none_or(|until| now < until) && grant.capability.covers(action);
        self.grants.iter().any(holds) && !self.deny.iter().any(|deny| deny.bars(action))
    }
}

impl Gate {
    /// Adds an agent that no document makes, until the next configuration or [`Gate::remove_agent`]: for
    /// the drill. A configured agent is not replaced.
    pub fn add_agent(&self, name: &str, agent: AgentAuthority) {
        let agent = Arc::new(agent);
        self.authority.rcu(|authority| {
            let mut with = Authority::clone(authority);
            with.agents
                .entry(name.to_owned())
                .or_insert_with(|| Arc::clone(&agent));
            with
        });
    }

    /// Takes back what [`Gate::add_agent`] added.
    pub fn remove_agent(&self, name: &str) {
        self.authority.rcu(|authority| {
            let mut without = Authority::clone(authority);
            without.agents.remove(name);
            without
        });
    }
}

impl Authority {
    /// The agent that `written` means: its name, which is unique, after any suffix of its path.
    pub fn resolve(&self, written: &str) -> Option<(&str, &Arc<AgentAuthority>)> {
        let name = written.rsplit('/').next()?;
        let (name, agent) = self.agents.get_key_value(name)?;
        agent
            .place
            .answers_to(name, written)
            .then_some((name.as_str(), agent))
    }
}
