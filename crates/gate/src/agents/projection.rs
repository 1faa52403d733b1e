//! Agents, delegations and people, as one fold: whatever a chain of authority is judged by besides
//! configuration. Its generation grows with every entry, so that a commit sees any change.

use super::key::{proves_rotation, unwritten};
use super::{AGENTS, AgentRow, HeldKey, KEYS_KEPT};
use crate::delegations::{DelegationRow, Revocation};
use crate::rows::{self, body};
use crate::{HeldAt, Role, RoleAt, Spot};
use journal::{Entry, kind};
use policy::{
    AgentEvent, AgentStatus, Place, Principal, PrincipalKind, Reach, Timestamp, key_id, public_key_of,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::{Applied, Corrupt, Projection, Row, Rows};

/// The row that counts the entries; the others have a slash in their keys.
pub(super) const GENERATION: &str = "generation";
/// What the keys of [`Forgotten`] begin with.
pub(super) const KEY: &str = "key/";

/// Rows: [`AgentRow`] by `agent/NAME`, [`DelegationRow`] by `delegation/ID`, [`PersonRow`] by
/// `person/NAME`, whose a token is by `token/ID`, [`Forgotten`] by `key/PUBLIC`, and the generation.
pub(crate) struct Agents;

/// Whose key it was that an agent's row has no place for any more: what an agent ever signed with is no approver's.
#[derive(Serialize, Deserialize)]
pub(super) struct Forgotten {
    pub agent: String,
}

/// What is known of a person: the tokens they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PersonRow {
    pub tokens: BTreeMap<String, PersonToken>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PersonToken {
    pub roles: Vec<RoleAt>,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Generation {
    pub generation: u64,
}

impl PersonRow {
    /// What they may do: the roles of all tokens that hold.
    pub fn roles(&self, now: Timestamp) -> Vec<RoleAt> {
        let holding = self.tokens.values().filter(|token| token.holds(now));
        let mut roles: Vec<RoleAt> = holding.flat_map(|token| token.roles.clone()).collect();
        roles.sort();
        roles.dedup();
        roles
    }

    /// Forgets what tells nothing any more at `now`: of the tokens that are over only the last to end does.
    /// The row is as long as what they hold, whatever they were given before. Returns the ids.
    fn forget(&mut self, now: Timestamp) -> Vec<String> {
        let over =
            |(id, token): (&String, &PersonToken)| (!token.holds(now)).then_some((token.ended(), id.clone()));
        let mut over: Vec<(Option<Timestamp>, String)> = self.tokens.iter().filter_map(over).collect();
        over.sort();
        over.pop();
        let ids: Vec<String> = over.into_iter().map(|(_, id)| id).collect();
        for id in &ids {
            self.tokens.remove(id);
        }
        ids
    }

    /// How many of their tokens hold.
    pub fn holding(&self, now: Timestamp) -> usize {
        self.tokens.values().filter(|token| token.holds(now)).count()
    }

    /// When each of their tokens stops to hold by itself.
    pub fn ends(&self) -> impl Iterator<Item = Timestamp> {
        self.tokens.values().filter_map(|token| token.expires)
    }

    /// Whether what they said as an approver of what is at `spot` counts: by the tokens that hold; with
    /// none, by the last that ended, unless it was revoked.
    pub fn may_decide(&self, spot: &Spot, now: Timestamp) -> bool {
        self.held(&[Role::Approver, Role::Admin], spot, now)
    }

    /// The same of any of these roles.
    pub fn held(&self, roles: &[Role], spot: &Spot, now: Timestamp) -> bool {
        let decides = |at: &RoleAt| roles.contains(&at.role) && at.reach.covers(spot);
        let last = self.tokens.values().max_by_key(|token| token.ended());
        match self.tokens.values().any(|token| token.holds(now)) {
            true => self.roles(now).iter().any(decides),
            false => last.is_some_and(|token| token.revoked.is_none() && token.roles.iter().any(decides)),
        }
    }

    /// Whether they are gone: they had tokens, none holds, and the last one to end was revoked. One whose
    /// token only ran out may be back tomorrow.
    pub fn has_left(&self, now: Timestamp) -> bool {
        let holds = self.tokens.values().any(|token| token.holds(now));
        let last = self.tokens.values().max_by_key(|token| token.ended());
        !holds && last.is_some_and(|token| token.revoked.is_some())
    }
}

impl PersonToken {
    fn holds(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    fn ended(&self) -> Option<Timestamp> {
        match (self.revoked, self.expires) {
            (Some(revoked), Some(expires)) => Some(revoked.min(expires)),
            (revoked, expires) => revoked.or(expires),
        }
    }
}

impl Projection for Agents {
    fn name(&self) -> &'static str {
        AGENTS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            "agent.",
            "delegation.",
            kind::TOKEN_CREATED,
            kind::TOKEN_REVOKED,
            kind::TOKEN_ENDED,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        let before: Generation = rows::get(rows, GENERATION)?.unwrap_or_default();
        let after = Generation {
            generation: before.generation + 1,
        };
        rows::put(rows, GENERATION, &after)?;
        match entry.kind.as_str() {
            kind::TOKEN_CREATED => token_created(entry, rows),
            kind::TOKEN_REVOKED => token_over(entry, rows, |held, at| {
                held.revoked.get_or_insert(at);
            }),
            // As if it had run out: who logs out has not left, and what they said still counts.
            kind::TOKEN_ENDED => token_over(entry, rows, |held, at| {
                held.expires = Some(held.expires.map_or(at, |expires| expires.min(at)));
            }),
            kind::AGENT_CREATED => created(entry, rows),
            kind::AGENT_ROTATED => rotated(entry, rows),
            kind::DELEGATION_MADE => made(entry, rows),
            kind::DELEGATION_REVOKED => revoked(entry, rows),
            _ => driven(entry, rows),
        }
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        match row.key.split_once('/') {
            Some(("agent", _)) => {
                let did = row.value.get("did").and_then(|did| did.as_str());
                did.map(|did| ("did", did.to_owned())).into_iter().collect()
            }
            Some(("delegation", _)) => {
                let jti = row.value.get("jti").and_then(|jti| jti.as_str());
                jti.map(|jti| ("jti", jti.to_owned())).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct TokenCreated {
    token: String,
    principal: Principal,
    roles: Vec<RoleAt>,
    expires: Option<Timestamp>,
    /// By the time that never goes back; entries did not always tell it.
    at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct TokenOver {
    token: String,
    /// By the time that never goes back; entries did not always tell it.
    at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    person: String,
}

fn token_created(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let TokenCreated {
        token,
        principal,
        roles,
        expires,
        at,
    } = body(entry)?;
    if principal.kind != PrincipalKind::Person {
        return Ok(());
    }
    let key = format!("person/{}", principal.name);
    let mut person: PersonRow = rows::get(rows, &key)?.unwrap_or_default();
    let owner = Owner {
        person: principal.name,
    };
    rows::put(rows, &format!("token/{token}"), &owner)?;
    let held = PersonToken {
        roles,
        expires,
        revoked: None,
    };
    // An entry from before this was told changes the same as it did then.
    for gone in at.map(|at| person.forget(at)).unwrap_or_default() {
        rows.delete(&format!("token/{gone}"))?;
    }
    person.tokens.insert(token, held);
    rows::put(rows, &key, &person)
}

/// `end` is told when, by the time that never goes back.
fn token_over(
    entry: &Entry,
    rows: &mut dyn Rows,
    end: impl FnOnce(&mut PersonToken, Timestamp),
) -> Result<(), Corrupt> {
    let TokenOver { token, at } = body(entry)?;
    let Some(Owner { person }) = rows::get(rows, &format!("token/{token}"))? else {
        return Ok(());
    };
    let key = format!("person/{person}");
    let mut row: PersonRow = rows::get(rows, &key)?.unwrap_or_default();
    if let Some(held) = row.tokens.get_mut(&token) {
        end(held, at.unwrap_or(entry.timestamp));
    }
    rows::put(rows, &key, &row)
}

#[derive(Deserialize)]
struct Created {
    agent: String,
    did: String,
    public_key: String,
    sponsor: String,
    place: Place,
    parent: Option<String>,
    expires: Option<Timestamp>,
}

fn created(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Created {
        agent,
        did,
        public_key,
        sponsor,
        place,
        parent,
        expires,
    } = body(entry)?;
    let wrong = |what: &str| Corrupt(format!("entry {}: agent `{agent}` {what}", entry.sequence));
    let public = unwritten::<32>(&public_key).ok_or_else(|| wrong("has no public key"))?;
    if public_key_of(&did) != Some(public) {
        return Err(wrong("is not known by its first key"));
    }
    let key = format!("agent/{agent}");
    if rows.get(&key)?.is_some() {
        return Err(wrong("is created twice"));
    }
    let held = HeldKey {
        id: key_id(&public),
        public_key,
        since: entry.timestamp,
        until: None,
    };
    let row = AgentRow {
        name: agent,
        did,
        keys: vec![held],
        sponsor,
        place,
        parent,
        expires,
        status: AgentStatus::Created,
        held_at: HeldAt::root(),
        reason: None,
        created: entry.timestamp,
        updated: entry.timestamp,
    };
    rows::put(rows, &key, &row)
}

#[derive(Deserialize)]
struct Driven {
    agent: String,
    event: AgentEvent,
    reason: Option<String>,
    expires: Option<Timestamp>,
    at: Option<Reach>,
    /// It was locked before, and stays so for the reason that was given then. Entries did not always tell.
    #[serde(default)]
    locked_before: bool,
}

fn driven(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let driven: Driven = body(entry)?;
    let (key, mut row) = agent(entry, &driven.agent, rows)?;
    if super::kind_of(driven.event) != Some(entry.kind.as_str()) {
        return Err(Corrupt(format!(
            "entry {}: its event does not fit its kind `{}`",
            entry.sequence, entry.kind
        )));
    }
    // Time makes an agent expire, and no entry says so.
    let from = match driven.event {
        AgentEvent::Renew => row.status.after(AgentEvent::Expire).unwrap_or(row.status),
        _ => row.status,
    };
    let already = matches!(row.status, AgentStatus::Suspended | AgentStatus::Locked);
    row.held_at = match driven.event {
        AgentEvent::Suspend | AgentEvent::Lock => {
            let before = if already { row.held_at } else { HeldAt::default() };
            before.and(driven.at.unwrap_or(Reach::Everywhere))
        }
        _ => HeldAt::root(),
    };
    row.status = from
        .after(driven.event)
        .map_err(|e| Corrupt(format!("entry {}: {e}", entry.sequence)))?;
    row.expires = driven.expires.or(row.expires);
    if !driven.locked_before {
        row.reason = driven.reason;
    }
    row.updated = entry.timestamp;
    rows::put(rows, &key, &row)
}

#[derive(Deserialize)]
struct Rotated {
    agent: String,
    public_key: String,
    proof: String,
    /// The key that is remembered no more; entries did not always tell it.
    forgotten: Option<String>,
}

fn rotated(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let rotated: Rotated = body(entry)?;
    let (key, mut row) = agent(entry, &rotated.agent, rows)?;
    let old = row.keys.first_mut();
    let proved = old.as_ref().is_some_and(|old| {
        let (old, next) = (unwritten::<32>(&old.public_key), unwritten::<32>(&rotated.public_key));
        let proof = unwritten::<64>(&rotated.proof);
        matches!((old, next, proof), (Some(old), Some(next), Some(proof)) if proves_rotation(&old, &next, &proof))
    });
    let (Some(old), true) = (old, proved) else {
        return Err(Corrupt(format!(
            "entry {}: a key is rotated without the proof of the old one",
            entry.sequence
        )));
    };
    old.until = Some(super::kept_until(entry.timestamp));
    let id = unwritten::<32>(&rotated.public_key).map(|public| key_id(&public));
    let next = HeldKey {
        id: id.unwrap_or_default(),
        public_key: rotated.public_key,
        since: entry.timestamp,
        until: None,
    };
    row.keys.insert(0, next);
    row.keys.truncate(1 + KEYS_KEPT);
    if let Some(forgotten) = rotated.forgotten {
        let agent = row.name.clone();
        rows::put(rows, &format!("{KEY}{forgotten}"), &Forgotten { agent })?;
    }
    row.updated = entry.timestamp;
    rows::put(rows, &key, &row)
}

fn made(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let row: DelegationRow = body(entry)?;
    let known = match &row.under {
        Some(under) => rows.get(&format!("delegation/{under}"))?.is_some(),
        None => true,
    };
    let key = format!("delegation/{}", row.id);
    if !known || rows::number(&row.id) != entry.sequence || rows.get(&key)?.is_some() {
        return Err(Corrupt(format!(
            "entry {} makes delegation `{}`, which does not fit",
            entry.sequence, row.id
        )));
    }
    rows::put(rows, &key, &row)
}

#[derive(Deserialize)]
struct Revoked {
    delegation: String,
    reason: String,
}

fn revoked(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Revoked { delegation, reason } = body(entry)?;
    let key = format!("delegation/{delegation}");
    let missing = || Corrupt(format!("entry {}: no delegation `{delegation}`", entry.sequence));
    let mut row: DelegationRow = rows::get(rows, &key)?.ok_or_else(missing)?;
    row.revoked.get_or_insert(Revocation {
        at: entry.timestamp,
        by: entry.actor.clone(),
        reason,
    });
    rows::put(rows, &key, &row)
}

fn agent(entry: &Entry, name: &str, rows: &dyn Rows) -> Result<(String, AgentRow), Corrupt> {
    let key = format!("agent/{name}");
    let row = rows::get(rows, &key)?;
    let missing = || Corrupt(format!("entry {}: no agent `{name}`", entry.sequence));
    row.map(|row| (key, row)).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn who_has_left_and_what_they_may_do() {
        let at = Timestamp::from_ms;
        let token = |roles: &[RoleAt], expires: Option<i64>, revoked: Option<i64>| PersonToken {
            roles: roles.to_vec(),
            expires: expires.map(at),
            revoked: revoked.map(at),
        };
        let (viewer, operator) = (RoleAt::from(Role::Viewer), RoleAt::from(Role::Operator));
        let (view, run) = (&[viewer.clone()][..], &[operator.clone()][..]);
        #[rustfmt::skip]
        let table = [
            ("nobody knows them",               vec![],                                                             false, vec![]),
            ("one token holds",                 vec![token(run, None, None)],                                       false, vec![operator.clone()]),
            ("two hold",                        vec![token(run, None, None), token(view, Some(200), None)],         false, vec![operator.clone(), viewer.clone()]),
            ("the only one was revoked",        vec![token(run, None, Some(50))],                                   true,  vec![]),
            ("one was, one holds",              vec![token(run, None, Some(50)), token(view, None, None)],          false, vec![viewer.clone()]),
            ("the only one ran out",            vec![token(run, Some(50), None)],                                   false, vec![]),
            ("one ran out, then one was revoked", vec![token(run, Some(50), None), token(run, None, Some(60))],     true,  vec![]),
            ("one was revoked, then one ran out", vec![token(run, None, Some(50)), token(run, Some(60), None)],     false, vec![]),
            ("one ends at this very moment",    vec![token(run, Some(100), None)],                                  false, vec![]),
        ];
        for (name, tokens, left, roles) in table {
            let tokens = tokens
                .into_iter()
                .enumerate()
                .map(|(i, t)| (format!("tok-{i}"), t));
            let person = PersonRow {
                tokens: tokens.collect(),
            };
            assert_eq!(
                (person.has_left(at(100)), person.roles(at(100))),
                (left, roles),
                "{name}"
            );
        }
    }
}
