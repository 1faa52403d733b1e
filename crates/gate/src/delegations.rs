//! Delegation: an agent passes on a part of what it holds, for less time, with less trust, a few links
//! deep. Each is a signed token and an entry; revoking one ends all that hangs from it on the next action.

pub mod proof;
pub mod token;

use crate::agents::key::{AgentKey, unwritten};
use crate::agents::{self, AGENTS, AgentRow, generation_now, not_the_platforms, read_agent};
use crate::gate::lock;
use crate::record::short;
use crate::rows::{self, decode, json};
use crate::{AgentAuthority, AgentError, Authority, Gate, documents};
use journal::kind;
use policy::{AgentStatus, Capability, Principal, Timestamp, key_id};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::{KeysError, NewEntry, Reader, StoreError, Tx};
use token::{Narrowing, TokenError, VerifiedChain};

/// The longest life of a delegation, in milliseconds: as long as a key that was replaced verifies, so that
/// rotating a key ends none before its time.
pub const TTL_MS_MAX: i64 = 24 * 60 * 60 * 1000;
/// The trust ceiling of a root.
const TRUST_MAX: u16 = 1000;
/// Name of the organization's key among those of agents.
const ORGANIZATION: &str = "organization";
/// How often a delegation is made again because what it rests on has changed, before it gives up.
pub(crate) const MADE_MAX: u32 = 8;

/// What to pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelegation {
    /// Who passes on, by name after any suffix of its path.
    pub from: String,
    /// Who receives.
    pub to: String,
    /// What: each a part of one that `from` holds.
    pub capabilities: Vec<Capability>,
    /// What of that all the same not, for `to` and everybody after it.
    pub except: Vec<Capability>,
    /// For how long, in milliseconds; rounded down to whole seconds. At most 24 hours.
    pub ttl_ms: i64,
    /// The trust of `to` counts no higher; `None` for the ceiling of `from`.
    pub trust: Option<u16>,
    /// The delegation that `from` itself passes on from; `None` for what its document gives it.
    pub under: Option<String>,
}

/// A delegation as stored; what is said of it elsewhere is in its token, which the chain is judged by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelegationRow {
    /// `del-7`.
    pub id: String,
    /// Who passed on.
    pub from: String,
    /// Who received.
    pub to: String,
    /// From the root of authority to `to`, by name.
    pub path: Vec<String>,
    /// The delegation above.
    pub under: Option<String>,
    /// What was passed on.
    pub capabilities: Vec<Capability>,
    /// What of that all the same not, those of the delegations above included.
    pub except: Vec<Capability>,
    /// The trust ceiling, 0 to 1000.
    pub trust: u16,
    /// When.
    pub made: Timestamp,
    /// Holds strictly before.
    pub until: Timestamp,
    /// The person on whose account.
    pub by: Principal,
    /// The token's identifier.
    pub jti: String,
    /// SHA-256 of the token.
    pub hash: String,
    /// SHA-256 of the token above; of the root's for the first delegation.
    pub previous: String,
    /// The token. It is bound to the key of `to` and no secret.
    pub token: String,
    /// Set when it was revoked itself; whether one above was is asked of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// Who ended a delegation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Who, as a principal.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum DelegateError {
    /// There is none of that id.
    #[error("no delegation `{0}`")]
    Unknown(String),
    /// There is no such agent, or nothing configures it.
    #[error("no agent `{0}`")]
    UnknownAgent(String),
    /// It cannot be passed on.
    #[error("cannot be delegated: {0}")]
    Refused(#[from] TokenError),
    /// It cannot be like that.
    #[error("{0}")]
    Misfit(String),
    /// What it rests on kept changing.
    #[error("what the delegation rests on kept changing; try again")]
    Changing,
    /// An agent's identity.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A key cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a delegation is made from, all read at one moment.
struct Basis {
    identities: u64,
    from: Option<AgentRow>,
    to: Option<AgentRow>,
    under: Option<DelegationRow>,
    /// Of the delegations above, the nearest that was revoked.
    revoked: Option<String>,
}

impl Gate {
    /// Passes on a part of what `from` holds. Recorded, signed by the key of `from`, and refused with a
    /// reason when it would widen anything.
    pub async fn delegate(&self, by: &Principal, new: NewDelegation) -> Result<DelegationRow, DelegateError> {
        let (from, to) = (self.known_name(&new.from), self.known_name(&new.to));
        let new = NewDelegation { from, to, ..new };
        not_the_platforms(&new.from)?;
        not_the_platforms(&new.to)?;
        self.identify_agents(&[new.from.clone(), new.to.clone()]).await?;
        for _ in 0..MADE_MAX {
            let authority = self.authority();
            let configured = |name: &String| {
                let found = authority.agents.get(name).cloned();
                found.ok_or_else(|| DelegateError::UnknownAgent(name.clone()))
            };
            let (holds, gets) = (configured(&new.from)?, configured(&new.to)?);
            let basis = self.store.read(|reader| basis(reader, &new))??;
            let row = self.made(by, &new, (&holds, &gets), &basis)?;
            within_depths(&authority, &row.path)?;
            let (generation, identities) = (authority.generation, basis.identities);
            let written = self
                .store
                .write::<_, DelegateError, _>(move |tx: &mut Tx<'_>| {
                    if documents::generation_now(tx)? != generation || generation_now(tx)? != identities {
                        return Err(DelegateError::Changing);
                    }
                    let row = DelegationRow {
                        id: format!("del-{}", tx.next_sequence()),
                        ..row
                    };
                    tx.append(NewEntry::new(kind::DELEGATION_MADE, row.by.clone(), json(&row)?))?;
                    Ok(row)
                })
                .await;
            match written {
                Err(DelegateError::Changing) => tokio::task::yield_now().await,
                other => return other.map(|written| written.value),
            }
        }
        Err(DelegateError::Changing)
    }

    /// Ends a delegation and all that hangs from it; effective on the next action of each.
    pub async fn revoke_delegation(
        &self,
        by: &Principal,
        id: &str,
        reason: &str,
    ) -> Result<DelegationRow, DelegateError> {
        let (by, id, reason) = (by.clone(), id.to_owned(), short(reason));
        let write = move |tx: &mut Tx<'_>| {
            let unknown = || DelegateError::Unknown(id.clone());
            let row = row_now(tx, &id)?.ok_or_else(unknown)?;
            if row.revoked.is_none() {
                let body = serde_json::json!({ "delegation": id, "reason": reason });
                tx.append(NewEntry::new(kind::DELEGATION_REVOKED, by, body))?;
            }
            row_now(tx, &id)?.ok_or_else(unknown)
        };
        let written = self.store.write::<_, DelegateError, _>(write).await?;
        Ok(written.value)
    }

    /// One delegation.
    pub fn delegation(&self, id: &str) -> Result<DelegationRow, DelegateError> {
        let row = self.store.read(|reader| read_row(reader, id))?;
        row.ok_or_else(|| DelegateError::Unknown(id.to_owned()))
    }

    /// Delegations, the newest first, up to `limit`: of all, or of those older than the one of id `before`.
    pub fn delegations(&self, before: Option<&str>, limit: usize) -> Result<Vec<DelegationRow>, StoreError> {
        let before = before.map_or(u64::MAX, rows::number);
        let mut newest: BTreeMap<u64, DelegationRow> = BTreeMap::new();
        self.store.read(|reader| {
            agents::each(reader, "delegation/", |row: DelegationRow| {
                let number = rows::number(&row.id);
                if number < before {
                    newest.insert(number, row);
                }
                if newest.len() > limit {
                    newest.pop_first();
                }
            })
        })?;
        Ok(newest.into_values().rev().collect())
    }

    /// Those that `row` hangs from, from the first on.
    pub fn delegations_above(&self, row: &DelegationRow) -> Result<Vec<DelegationRow>, StoreError> {
        match &row.under {
            Some(under) => self.store.read(|reader| lineage(reader, under)),
            None => Ok(Vec::new()),
        }
    }

    /// The public half of the key that signs first links: what others check delegations by.
    pub fn organization_key(&self) -> Result<[u8; 32], StoreError> {
        Ok(self.organization()?.public())
    }

    /// The key that signs first links.
    pub(crate) fn organization(&self) -> Result<&AgentKey, StoreError> {
        if let Some(key) = self.organization.get() {
            return Ok(key);
        }
        // One makes the file of the first key; another would find it half written.
        let _one = lock(&self.organization_made);
        if let Some(key) = self.organization.get() {
            return Ok(key);
        }
        let seed = self
            .keyring()?
            .open_or_create(ORGANIZATION)
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        Ok(self.organization.get_or_init(|| AgentKey::from_seed(&seed)))
    }

    /// The row, but for its id; everything about it is judged by the token, as it will be again later.
    fn made(
        &self,
        by: &Principal,
        new: &NewDelegation,
        (holds, gets): (&AgentAuthority, &AgentAuthority),
        basis: &Basis,
    ) -> Result<DelegationRow, DelegateError> {
        let now = self.deadlines.now();
        let from = active(&basis.from, &new.from, now)?;
        let to = active(&basis.to, &new.to, now)?;
        if !(1000..=TTL_MS_MAX).contains(&new.ttl_ms) {
            return Err(DelegateError::Misfit(
                "a delegation lives from 1 second to 24 hours".to_owned(),
            ));
        }
        if let Some(revoked) = &basis.revoked {
            return Err(DelegateError::Misfit(format!(
                "delegation `{revoked}` was revoked"
            )));
        }
        let narrowing = Narrowing {
            to: to.did,
            to_key: present(&basis.to)?,
            capabilities: new.capabilities.clone(),
            // What `from` must never do it passes on as an exception, so that it cannot be lost below.
            except: holds.deny.iter().chain(&new.except).cloned().collect(),
            now,
            until: now.plus_ms(new.ttl_ms),
            trust: TRUST_MAX,
            more: gets.bounds.delegation_depth,
            id: new_id()?,
        };
        let (above, chain) = match &basis.under {
            Some(under) => (under.token.clone(), self.verified(&under.token)?),
            None => self.root(&from, present(&basis.from)?, holds, &narrowing)?,
        };
        chain.at(now)?;
        let leaf = chain.leaf().ok_or(TokenError::Unanchored)?;
        let narrowing = Narrowing {
            trust: new.trust.unwrap_or(leaf.claims.trust),
            ..narrowing
        };
        let signer = self.signer(&from, &leaf.claims.cnf.jwk.x, now)?;
        let token = token::attenuate(&above, &chain, &signer, &narrowing)?;
        let chain = self.verified(&token)?;
        let leaf = chain.leaf().ok_or(TokenError::Unanchored)?;
        let mut path = basis
            .under
            .as_ref()
            .map_or_else(|| vec![new.from.clone()], |row| row.path.clone());
        path.push(new.to.clone());
        Ok(DelegationRow {
            id: String::new(),
            from: new.from.clone(),
            to: new.to.clone(),
            path,
            under: new.under.clone(),
            capabilities: leaf.claims.cap.clone(),
            except: leaf.claims.not.clone(),
            trust: leaf.claims.trust,
            made: now,
            until: leaf.until(),
            by: by.clone(),
            jti: leaf.claims.jti.clone(),
            hash: policy::canonical::hex(&leaf.hash),
            previous: policy::canonical::hex(&token::hash(&above)),
            token,
            revoked: None,
        })
    }

    /// The first link: what the document of `from` gives it of what is asked for.
    fn root(
        &self,
        from: &AgentRow,
        key: [u8; 32],
        holds: &AgentAuthority,
        narrowing: &Narrowing,
    ) -> Result<(String, VerifiedChain), DelegateError> {
        let lasting = holds
            .grants
            .iter()
            .filter(|grant| grant.until.is_none_or(|until| narrowing.until <= until))
            .map(|grant| &grant.capability);
        let asked = |held: &&Capability| {
            narrowing
                .capabilities
                .iter()
                .any(|one| held.covers_capability(one))
        };
        let root = Narrowing {
            to: from.did.clone(),
            to_key: key,
            capabilities: lasting
                .filter(asked)
                .take(token::CAPABILITIES_MAX)
                .cloned()
                .collect(),
            except: holds.deny.clone(),
            more: holds.bounds.delegation_depth.min(token::DEPTH_MAX),
            id: new_id()?,
            ..narrowing.clone()
        };
        let token = token::issue(self.organization()?, self.store.origin(), &root)?;
        let chain = self.verified(&token)?;
        Ok((token, chain))
    }

    /// The key of `from` that the link above names, as long as it verifies.
    fn signer(&self, from: &AgentRow, public: &str, now: Timestamp) -> Result<AgentKey, DelegateError> {
        let public = unwritten::<32>(public).filter(|public| from.verifies_with(public, now));
        let rotated = || {
            DelegateError::Misfit(format!(
                "the key of agent `{}` was rotated; delegate to it again",
                from.name
            ))
        };
        let seed = self.keyring()?.read(&key_id(&public.ok_or_else(rotated)?))?;
        Ok(AgentKey::from_seed(&seed))
    }

    /// By the organization's key and for this log.
    pub(crate) fn verified(&self, token: &str) -> Result<VerifiedChain, DelegateError> {
        Ok(token::verify(
            token,
            &self.organization()?.public(),
            self.store.origin(),
        )?)
    }
}

/// Every agent on the way limits how many may hang below it.
fn within_depths(authority: &Authority, path: &[String]) -> Result<(), DelegateError> {
    for (below, name) in path.iter().rev().enumerate() {
        let limit = authority
            .agents
            .get(name)
            .map(|held| held.bounds.delegation_depth);
        if limit.is_some_and(|limit| below > usize::from(limit)) {
            let limit = limit.unwrap_or_default();
            let what = format!("agent `{name}` may have no more than {limit} delegations below it");
            return Err(DelegateError::Misfit(what));
        }
    }
    Ok(())
}

fn active(row: &Option<AgentRow>, name: &str, now: Timestamp) -> Result<AgentRow, DelegateError> {
    let unknown = || DelegateError::UnknownAgent(name.to_owned());
    let row = row.clone().ok_or_else(unknown)?;
    match row.status_at(now) {
        AgentStatus::Active => Ok(row),
        status => {
            let what = format!("agent `{name}` is {}", status.as_str());
            Err(DelegateError::Misfit(what))
        }
    }
}

pub(crate) fn read_row(reader: &Reader<'_>, id: &str) -> Result<Option<DelegationRow>, StoreError> {
    reader
        .row(AGENTS, &format!("delegation/{id}"))?
        .map(decode)
        .transpose()
}

/// The row of a delegation, as of now in this transaction.
pub(crate) fn row_now(tx: &Tx<'_>, id: &str) -> Result<Option<DelegationRow>, StoreError> {
    tx.row(AGENTS, &format!("delegation/{id}"))?
        .map(decode)
        .transpose()
}

/// A delegation and those above it, from the first one on. One that is missing is corruption.
pub(crate) fn lineage(reader: &Reader<'_>, id: &str) -> Result<Vec<DelegationRow>, StoreError> {
    let mut rows = Vec::new();
    let mut next = Some(id.to_owned());
    while let Some(id) = next.filter(|_| rows.len() < token::LINKS_MAX) {
        let missing = || StoreError::Corrupt {
            finding: format!("delegation `{id}` is not there"),
        };
        let row = read_row(reader, &id)?.ok_or_else(missing)?;
        next = row.under.clone();
        rows.push(row);
    }
    rows.reverse();
    Ok(rows)
}

fn basis(reader: &Reader<'_>, new: &NewDelegation) -> Result<Result<Basis, DelegateError>, StoreError> {
    let (mut under, mut revoked) = (None, None);
    if let Some(id) = &new.under {
        let Some(row) = read_row(reader, id)? else {
            return Ok(Err(DelegateError::Unknown(id.clone())));
        };
        if row.to != new.from {
            let what = format!("delegation `{id}` is not to agent `{}`", new.from);
            return Ok(Err(DelegateError::Misfit(what)));
        }
        let above = lineage(reader, id)?;
        revoked = above
            .into_iter()
            .find(|row| row.revoked.is_some())
            .map(|row| row.id);
        under = Some(row);
    }
    Ok(Ok(Basis {
        identities: agents::generation(reader)?,
        from: read_agent(reader, &new.from)?,
        to: read_agent(reader, &new.to)?,
        under,
        revoked,
    }))
}

fn present(row: &Option<AgentRow>) -> Result<[u8; 32], DelegateError> {
    let public = row.as_ref().and_then(AgentRow::public);
    public.ok_or_else(|| DelegateError::Misfit("an agent without a key".to_owned()))
}

/// 128 random bits, for an identifier.
pub fn new_id() -> Result<[u8; 16], StoreError> {
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Refused(format!("no randomness: {error}")))?;
    Ok(id)
}
