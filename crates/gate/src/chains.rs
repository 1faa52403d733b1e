//! The chain behind a session: on whose account, from which root of authority, through which delegations,
//! down to the agent that acts. Built anew for every admission from rows that are kept while nothing
//! about identities or configuration changes; the times in them are asked for each time.

use crate::agents::{self, AGENTS, AgentRow, PersonRow, read_agent, read_person, sponsor_of};
use crate::caller::holds;
use crate::delegations::token::{VerifiedChain, VerifiedLink};
use crate::delegations::{DelegationRow, lineage};
use crate::gate::lock;
use crate::{Authority, Gate, Role, RoleAt, Spot};
use policy::trust::Origin;
use policy::{
    AgentStatus, Autonomy, Capability, Chain, Grant, Level, Link, Over, Principal, PrincipalKind, Timestamp,
    Validity,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use store::{Moment, Reader, StoreError};

/// Chains that are kept; past it all are forgotten, and read again as they are needed.
const KEPT_MAX: usize = 4096;

/// What a chain is made of, and when it was read.
#[derive(Debug)]
pub(crate) struct Held {
    /// The generation of identities and delegations; compared in the commit.
    pub identities: u64,
    generation: u64,
    /// The person on whose account, with what is known of them.
    person: Option<(String, PersonRow)>,
    agents: Vec<HeldAgent>,
    /// The delegations from the root on, and their verified token; nothing for a session without one.
    delegations: Vec<DelegationRow>,
    token: Result<Option<VerifiedChain>, String>,
}

#[derive(Debug)]
struct HeldAgent {
    name: String,
    row: Option<AgentRow>,
    /// Those that it was created under, the nearest first.
    parents: Vec<AgentRow>,
    /// Who answers for it: whom its document names, and whom it inherited.
    sponsors: Vec<(String, PersonRow)>,
}

/// An agent, the cause and the delegation.
type Key = (String, Principal, Option<String>);

/// What has been read, and when.
pub(crate) type Kept = Mutex<HashMap<Key, (Arc<Held>, Moment)>>;

impl Gate {
    /// What the chain of a session of `agent` is made of. Reads nothing when nothing has changed since this
    /// chain was seen before.
    pub(crate) fn behind(
        &self,
        reader: &Reader<'_>,
        authority: &Authority,
        agent: &str,
        cause: &Principal,
        delegation: Option<&str>,
    ) -> Result<Arc<Held>, StoreError> {
        if let Some(held) = self.seen_before(authority, agent, cause, delegation) {
            return Ok(held);
        }
        let identities = agents::generation(reader)?;
        let key = (agent.to_owned(), cause.clone(), delegation.map(str::to_owned));
        let held = Arc::new(self.read_held(reader, authority, identities, &key)?);
        let mut kept = lock(&self.chains);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, (Arc::clone(&held), reader.moment()));
        Ok(held)
    }

    /// What [`Gate::behind`] gave before, if it is so still: whoever changed anything that it rests on was
    /// not told yet.
    pub(crate) fn seen_before(
        &self,
        authority: &Authority,
        agent: &str,
        cause: &Principal,
        delegation: Option<&str>,
    ) -> Option<Arc<Held>> {
        let key = (agent.to_owned(), cause.clone(), delegation.map(str::to_owned));
        let kept = lock(&self.chains);
        let (held, moment) = kept.get(&key)?;
        let is_so = held.generation == authority.generation && !self.store.changed_since(AGENTS, *moment);
        is_so.then(|| Arc::clone(held))
    }

    fn read_held(
        &self,
        reader: &Reader<'_>,
        authority: &Authority,
        identities: u64,
        (agent, cause, delegation): &Key,
    ) -> Result<Held, StoreError> {
        let delegations = match delegation {
            Some(id) => lineage(reader, id)?,
            None => Vec::new(),
        };
        self.held_of(reader, authority, identities, (agent, cause), delegations)
    }

    /// What the chain of `delegations`, from the first on, is made of.
    pub(crate) fn held_of(
        &self,
        reader: &Reader<'_>,
        authority: &Authority,
        identities: u64,
        (agent, cause): (&str, &Principal),
        delegations: Vec<DelegationRow>,
    ) -> Result<Held, StoreError> {
        let token = match delegations.last() {
            Some(last) => self
                .verified(&last.token)
                .map(Some)
                .map_err(|error| error.to_string()),
            None => Ok(None),
        };
        let path = delegations
            .last()
            .map_or_else(|| vec![agent.to_owned()], |row| row.path.clone());
        let mut held = Vec::new();
        for name in path {
            held.push(read_one(reader, authority, name)?);
        }
        // An agent that gives itself a task does so on the account of whoever passed something on first.
        let person = match cause.kind {
            PrincipalKind::Person => Some(cause),
            PrincipalKind::Agent => delegations.first().map(|row| &row.by),
            PrincipalKind::Service => None,
        };
        let person = match person.filter(|person| person.kind == PrincipalKind::Person) {
            Some(person) => {
                let row = read_person(reader, &person.name)?.unwrap_or_default();
                Some((person.name.clone(), row))
            }
            None => None,
        };
        Ok(Held {
            identities,
            generation: authority.generation,
            person,
            agents: held,
            delegations,
            token,
        })
    }
}

fn read_one(reader: &Reader<'_>, authority: &Authority, name: String) -> Result<HeldAgent, StoreError> {
    let row = read_agent(reader, &name)?;
    let parents = match &row {
        Some(row) => agents::ancestors(|name| read_agent(reader, name), row)?,
        None => Vec::new(),
    };
    let mut named: Vec<&str> = row
        .iter()
        .chain(parents.last())
        .map(|row| sponsor_of(authority, row))
        .collect();
    named.dedup();
    let mut sponsors = Vec::new();
    for name in named {
        sponsors.push((name.to_owned(), read_person(reader, name)?.unwrap_or_default()));
    }
    Ok(HeldAgent {
        name,
        row,
        parents,
        sponsors,
    })
}

impl Held {
    /// The chain at `now`.
    pub fn chain(&self, authority: &Authority, cause: &Principal, now: Timestamp) -> Chain {
        let person = self
            .person
            .as_ref()
            .map(|(name, row)| lent(name, &row.roles(now), &self.spots(authority)));
        let agents = self
            .agents
            .iter()
            .enumerate()
            .map(|(depth, agent)| self.link(authority, depth, agent, now));
        Chain {
            cause: cause.clone(),
            links: person.into_iter().chain(agents).collect(),
        }
    }

    /// The first link that does not stand at `now`, and why; what they may do is not asked.
    pub fn fault(&self, authority: &Authority, now: Timestamp) -> Option<(Principal, Validity)> {
        let mut agents = self.agents.iter().enumerate();
        agents.find_map(
            |(depth, agent)| match self.validity(authority, depth, agent, now) {
                Validity::Holds => None,
                validity => Some((Principal::agent(&agent.name), validity)),
            },
        )
    }

    /// When the first thing ends that [`Held::chain`] asks the time for, after `now`.
    pub fn until(&self, authority: &Authority, now: Timestamp) -> Option<Timestamp> {
        let sponsors = self.agents.iter().flat_map(|agent| &agent.sponsors);
        let people = sponsors.chain(&self.person).map(|(_, row)| row);
        let agents = self
            .agents
            .iter()
            .flat_map(|agent| agent.row.iter().chain(&agent.parents));
        let signed = self.token.iter().flatten().flat_map(VerifiedChain::links);
        let configured = self
            .agents
            .iter()
            .filter_map(|agent| authority.agents.get(&agent.name));
        people
            .flat_map(PersonRow::ends)
            .chain(agents.flat_map(AgentRow::ends))
            .chain(self.delegations.iter().map(|row| row.until))
            .chain(signed.map(VerifiedLink::until))
            .chain(configured.flat_map(|agent| agent.grants.iter().filter_map(|grant| grant.until)))
            .filter(|end| *end > now)
            .min()
    }

    /// Where its agents are. One that is neither configured nor known is at the root.
    fn spots(&self, authority: &Authority) -> Vec<Spot> {
        let spot = |agent: &HeldAgent| {
            let configured = authority.agents.get(&agent.name).map(|held| &held.place);
            let place = configured.or(agent.row.as_ref().map(|row| &row.place));
            place.map_or(Spot::Root, |place| Spot::Agent(place.clone(), agent.name.clone()))
        };
        self.agents.iter().map(spot).collect()
    }

    /// Where the one is that acts.
    pub fn spot(&self, authority: &Authority) -> Spot {
        self.spots(authority).pop().unwrap_or(Spot::Root)
    }

    /// Who is on the chain, from the root on.
    pub fn behalf(&self) -> Vec<String> {
        let person = self.person.iter().map(|(name, _)| Principal::person(name));
        let agents = self.agents.iter().map(|agent| Principal::agent(&agent.name));
        person
            .chain(agents)
            .map(|principal| principal.to_string())
            .collect()
    }

    /// The lowest trust ceiling of the delegations; 1000 without any.
    pub fn ceiling(&self) -> u16 {
        self.delegations.iter().map(|row| row.trust).min().unwrap_or(1000)
    }

    /// One agent's link: at the root what its document gives, below what the signed link above it does.
    fn link(&self, authority: &Authority, depth: usize, agent: &HeldAgent, now: Timestamp) -> Link {
        let configured = authority.agents.get(&agent.name);
        let delegated = depth.checked_sub(1).and_then(|above| self.delegations.get(above));
        let signed = self.token.as_ref().ok().and_then(Option::as_ref);
        let signed = signed.and_then(|chain| chain.links().get(depth));
        let (grants, except) = match (delegated, signed) {
            (Some(row), Some(signed)) => (granted(row, signed), signed.claims.not.clone()),
            // What does not verify gives nothing.
            (Some(_), None) => (Vec::new(), Vec::new()),
            (None, _) => (
                configured.map(|agent| agent.grants.clone()).unwrap_or_default(),
                Vec::new(),
            ),
        };
        let denied = configured
            .into_iter()
            .flat_map(|agent| agent.deny.iter().cloned());
        Link {
            principal: Principal::agent(&agent.name),
            grants,
            except: denied.chain(except).collect(),
            autonomy: configured.map(|agent| agent.autonomy.clone()).unwrap_or_default(),
            validity: self.validity(authority, depth, agent, now),
            place: configured.map(|agent| agent.place.clone()),
        }
    }

    fn validity(&self, authority: &Authority, depth: usize, agent: &HeldAgent, now: Timestamp) -> Validity {
        let configured = authority.agents.get(&agent.name);
        match &agent.row {
            Some(row) => {
                if let Some(standing) = standing(row, &agent.parents, now) {
                    return standing;
                }
            }
            // The platform's own agents have no identity that anybody could change.
            None if configured.is_some_and(|agent| agent.trust.origin == Origin::Platform) => {}
            None => return Validity::Unknown,
        }
        let Some(configured) = configured else {
            return Validity::Unconfigured;
        };
        if let Some((sponsor, _)) = agent.sponsors.iter().find(|(_, person)| person.has_left(now)) {
            return Validity::SponsorLeft(sponsor.clone());
        }
        let below = self.agents.len().saturating_sub(depth + 1);
        if let Some(last) = self
            .delegations
            .last()
            .filter(|_| below > usize::from(configured.bounds.delegation_depth))
        {
            let what = format!(
                "agent `{}` may have no more than {} below it",
                agent.name, configured.bounds.delegation_depth
            );
            return Validity::Unverified(last.id.clone(), what);
        }
        if let Some(row) = depth.checked_sub(1).and_then(|above| self.delegations.get(above)) {
            if row.revoked.is_some() {
                return Validity::Over(row.id.clone(), Over::Revoked);
            }
            if now >= row.until {
                return Validity::Over(row.id.clone(), Over::Expired);
            }
        }
        match self.unverified(depth, agent, now) {
            Some((id, what)) => Validity::Unverified(id, what),
            None => Validity::Holds,
        }
    }

    /// What is wrong with this agent's part of the token, and of which delegation.
    fn unverified(&self, depth: usize, agent: &HeldAgent, now: Timestamp) -> Option<(String, String)> {
        let last = self.delegations.last()?;
        let wrong = |what: String| Some((last.id.clone(), what));
        let chain = match &self.token {
            Err(error) => return wrong(error.clone()),
            Ok(chain) => chain.as_ref()?,
        };
        if let Err(error) = chain.at(now) {
            return wrong(error.to_string());
        }
        let Some(link) = chain
            .links()
            .get(depth)
            .filter(|_| chain.links().len() == self.agents.len())
        else {
            return wrong("its token has another length".to_owned());
        };
        let known = agent.row.as_ref().filter(|row| row.did == link.holder);
        let Some(row) = known else {
            return wrong(format!("`{}` is not agent `{}`", link.holder, agent.name));
        };
        // The key that this agent passes on with; the last one passes nothing on, but it is bound to it.
        let key = link.key();
        match key.is_some_and(|key| row.verifies_with(&key, now)) {
            true => None,
            false => wrong(format!("the key of agent `{}` was rotated", agent.name)),
        }
    }
}

/// Why an agent may not act by where it stands, or by where one stands that it was created under.
fn standing(row: &AgentRow, parents: &[AgentRow], now: Timestamp) -> Option<Validity> {
    match row.status_at(now) {
        AgentStatus::Active => parents.iter().find_map(|parent| match parent.status_at(now) {
            AgentStatus::Active => None,
            status => Some(Validity::Parent(parent.name.clone(), status)),
        }),
        status => Some(Validity::Inactive(status)),
    }
}

/// A person's own rights, as a link above the agent's: operators and administrators may cause anything,
/// every other role only reads, and who holds no token has no rights. A role counts that holds where each
/// agent of the chain is.
pub fn lent(name: &str, roles: &[RoleAt], spots: &[Spot]) -> Link {
    let has = |wanted: &[Role]| spots.iter().all(|spot| holds(roles, wanted, spot));
    let runs = has(&[Role::Admin, Role::Operator]);
    let from = format!("role/{}", if runs { "operator" } else { "viewer" });
    let anything = Capability::new("*", "*").filter(|_| has(&Role::ALL));
    let grants = anything.map(|capability| Grant {
        capability,
        from,
        until: None,
    });
    let level = if runs { Level::L4 } else { Level::L0 };
    let autonomy = Autonomy {
        default: level,
        ..Autonomy::default()
    };
    Link::new(Principal::person(name), grants.into_iter().collect(), autonomy)
}

fn granted(row: &DelegationRow, signed: &VerifiedLink) -> Vec<Grant> {
    let grant = |capability: &Capability| Grant {
        capability: capability.clone(),
        from: format!("delegation/{}", row.id),
        until: Some(signed.until()),
    };
    signed.claims.cap.iter().map(grant).collect()
}
