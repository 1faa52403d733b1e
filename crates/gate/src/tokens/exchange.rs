//! Redeeming a delegation: whoever holds one shows the signed chain once, proves to have its key, and is
//! given a token that lives for minutes and is worth no more than the delegation, as long as that holds.
//! Each redemption is an entry, and so is each refusal, within a limit that nobody outside can exceed.

use super::{Held as HeldToken, digest, new_secret, unhex};
use crate::agents::{self, AGENTS, AgentRow, generation_now};
use crate::chains::Held;
use crate::delegations::proof::{self, Proof, ProofError};
use crate::delegations::token::{TokenError, VerifiedChain, VerifiedLink, hash};
use crate::delegations::{DelegationRow, MADE_MAX, lineage};
use crate::gate::{lock, platform};
use crate::record::short;
use crate::rows::{self, body, decode, json as to_json};
use crate::svid::by_did;
use crate::{Authority, Caller, DelegateError, Gate, Role, documents};
use journal::kind;
use policy::{Principal, Timestamp, Validity, canonical::hex, key_id};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;
use store::{Applied, Corrupt, NewEntry, Projection, Reader, Row, Rows, Store, StoreError, Tx};

/// Name of the projection.
const REDEMPTIONS: &str = "redemptions";
/// Longest life of what a delegation is redeemed for, in milliseconds.
pub const ACCESS_MS_MAX: i64 = 5 * 60 * 1000;
/// Refusals that are recorded in any minute; how many more there were is told by the next one.
const REFUSALS_A_MINUTE: u32 = 60;

/// What is shown to be redeemed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The delegation's token.
    pub chain: &'a str,
    /// That its key is held.
    pub proof: &'a str,
    /// What the proof has to be of.
    pub request: proof::Request<'a>,
}

/// What a delegation was redeemed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// Id of the token: `tok-7`.
    pub token: String,
    /// Whose it is.
    pub agent: String,
    /// What it is worth.
    pub delegation: String,
    /// Holds strictly before.
    pub until: Timestamp,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// The chain does not verify, or not now.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nothing was passed on in it.
    #[error("the token delegates nothing: it has one link")]
    NotDelegated,
    /// The proof is none.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The proof is by another key.
    #[error("the proof is not by the key that the token is bound to")]
    NotHolder,
    /// A holder whom nobody knows here.
    #[error("`{0}` is no agent here")]
    UnknownHolder(String),
    /// The first delegation of the chain is not in the journal.
    #[error("its first delegation was not made here")]
    NotMade,
    /// Shown before.
    #[error("the token was redeemed before")]
    Replayed,
    /// A link of the chain does not stand.
    #[error("{0} {found}", found = .1.finding())]
    NotValid(Principal, Validity),
    /// What it rests on kept changing.
    #[error("what the delegation rests on kept changing; try again")]
    Changing,
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many refusals were recorded in the present minute, and how many before were not.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    minute: i64,
    recorded: u32,
    dropped: u64,
}

/// What a redemption rests on, all read at one moment.
struct Basis {
    identities: u64,
    agent: String,
    /// From the first; those without an id were narrowed offline and are recorded with the redemption.
    delegations: Vec<DelegationRow>,
}

impl Refusals {
    /// How many were not recorded before this one; `None` when this one is not either.
    fn admitted(&mut self, now: Timestamp) -> Option<u64> {
        let minute = now.ms().div_euclid(60_000);
        if self.minute != minute {
            (self.minute, self.recorded) = (minute, 0);
        }
        if self.recorded >= REFUSALS_A_MINUTE {
            self.dropped += 1;
            return None;
        }
        self.recorded += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl RedeemError {
    /// A stable snake_case word; `None` for what is no refusal.
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            RedeemError::Token(TokenError::Expired) => "token_expired",
            RedeemError::Token(TokenError::NotYet) => "token_not_yet",
            RedeemError::Token(TokenError::Audience(_)) => "token_audience",
            RedeemError::Token(_) => "token_unverified",
            RedeemError::NotDelegated => "token_not_delegated",
            RedeemError::Proof(_) => "proof_invalid",
            RedeemError::NotHolder => "proof_other_key",
            RedeemError::UnknownHolder(_) => "agent_unknown",
            RedeemError::NotMade => "delegation_unknown",
            RedeemError::Replayed => "token_replayed",
            RedeemError::NotValid(_, validity) => validity.code(),
            RedeemError::Changing | RedeemError::Store(_) => return None,
        })
    }
}

impl Gate {
    /// Gives a token of a few minutes for a delegation that is shown for the first time by its holder. The
    /// order of refusals: chain, times, proof, who holds it, whether it was redeemed, whether it stands.
    pub async fn redeem(&self, shown: Shown<'_>) -> Result<(Redeemed, secrets::Secret), RedeemError> {
        let redeemed = self.try_redeem(shown).await;
        if let Err(error) = &redeemed
            && let Some(code) = error.code()
        {
            self.record_refused(shown.chain, code, error).await?;
        }
        redeemed
    }

    /// Whether the chain verifies now, and who shows it holds its key.
    fn shown_by(
        &self,
        shown: Shown<'_>,
        now: Timestamp,
    ) -> Result<(VerifiedChain, VerifiedLink, Proof), RedeemError> {
        let chain = self.verified(shown.chain).map_err(|error| match error {
            DelegateError::Refused(error) => RedeemError::Token(error),
            DelegateError::Store(error) => RedeemError::Store(error),
            other => RedeemError::Store(StoreError::Refused(other.to_string())),
        })?;
        let leaf = chain.leaf().ok_or(RedeemError::NotDelegated)?.clone();
        chain.at(now)?;
        // A clock that went back brings nothing back whose redemption may be forgotten.
        if self.deadlines.now() >= leaf.until() {
            return Err(TokenError::Expired.into());
        }
        if chain.links().len() < 2 {
            return Err(RedeemError::NotDelegated);
        }
        let proof = proof::check(shown.proof, shown.request, shown.chain, now)?;
        match leaf.key() == Some(proof.key) {
            true => Ok((chain, leaf, proof)),
            false => Err(RedeemError::NotHolder),
        }
    }

    async fn try_redeem(&self, shown: Shown<'_>) -> Result<(Redeemed, secrets::Secret), RedeemError> {
        let now = self.deadlines.now();
        let (chain, leaf, proof) = self.shown_by(shown, now)?;
        for _ in 0..MADE_MAX {
            let authority = self.authority();
            let basis = self
                .store
                .read(|reader| self.basis_of(reader, &authority, &chain, shown.chain))??;
            let until = now.plus_ms(ACCESS_MS_MAX).min(leaf.until());
            let secret = new_secret().map_err(|error| StoreError::Refused(error.to_string()))?;
            let row = RedemptionRow {
                jti: leaf.claims.jti.clone(),
                agent: basis.agent.clone(),
                key: key_id(&proof.key),
                proof: proof.jti.clone(),
                expires: until,
                until: leaf.until(),
                sha256: hex(&digest(secret.expose())),
                ..RedemptionRow::default()
            };
            let generation = authority.generation;
            let write = move |tx: &mut Tx<'_>| {
                if documents::generation_now(tx)? != generation || generation_now(tx)? != basis.identities {
                    return Err(RedeemError::Changing);
                }
                redeemed_in(tx, basis.delegations, row)
            };
            match self.store.write::<_, RedeemError, _>(write).await {
                Err(RedeemError::Changing) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
                Ok(written) => {
                    let row = written.value;
                    let mut held = self.held();
                    held.retain(|_, held| held.caller.delegation.is_none() || !held.is_over(now));
                    held.insert(digest(secret.expose()), row.held());
                    drop(held);
                    let RedemptionRow {
                        token,
                        agent,
                        delegation,
                        ..
                    } = row;
                    return Ok((
                        Redeemed {
                            token,
                            agent,
                            delegation,
                            until,
                        },
                        secret,
                    ));
                }
            }
        }
        Err(RedeemError::Changing)
    }

    /// Whether `agent` may act under `delegation` now: every link of that chain, and not what it may do.
    pub fn check_chain(&self, agent: &str, delegation: &str) -> Result<(), RedeemError> {
        let (authority, cause) = (self.authority.load_full(), Principal::agent(agent));
        let held = match self.seen_before(&authority, agent, &cause, Some(delegation)) {
            Some(held) => held,
            None => {
                let read =
                    |reader: &Reader<'_>| self.behind(reader, &authority, agent, &cause, Some(delegation));
                self.store.read(read)?
            }
        };
        stands(&held, &authority, self.deadlines.now())
    }

    /// What the chain rests on, or why it cannot be redeemed.
    fn basis_of(
        &self,
        reader: &Reader<'_>,
        authority: &Authority,
        chain: &VerifiedChain,
        token: &str,
    ) -> Result<Result<Basis, RedeemError>, StoreError> {
        let links = chain.links();
        let mut delegations: Vec<DelegationRow> = Vec::new();
        for (depth, link) in links.iter().enumerate().skip(1) {
            let Some(holder) = by_did(reader, &link.holder)? else {
                return Ok(Err(RedeemError::UnknownHolder(link.holder.clone())));
            };
            let found = reader.find(AGENTS, "jti", &link.claims.jti)?.into_iter().next();
            let found: Option<DelegationRow> = found.map(|row| decode(row.value)).transpose()?;
            match (found, delegations.last()) {
                (Some(row), _) if row.hash == hex(&link.hash) => delegations = lineage(reader, &row.id)?,
                (Some(row), _) => return Ok(Err(TokenError::Replayed(row.jti).into())),
                (None, None) => return Ok(Err(RedeemError::NotMade)),
                (None, Some(above)) => {
                    let whole = links.get(depth + 1).and_then(|below| below.claims.parent.clone());
                    let row = offline(
                        above,
                        link,
                        &holder,
                        whole.unwrap_or_else(|| token.to_owned()),
                        self.deadlines.now(),
                    );
                    delegations.push(row);
                }
            }
        }
        let Some(last) = delegations.last() else {
            return Ok(Err(RedeemError::NotMade));
        };
        let (agent, jti) = (last.to.clone(), last.jti.clone());
        if reader.row(REDEMPTIONS, &jti)?.is_some() {
            return Ok(Err(RedeemError::Replayed));
        }
        let identities = agents::generation(reader)?;
        let cause = Principal::agent(&agent);
        let held = self.held_of(
            reader,
            authority,
            identities,
            (&agent, &cause),
            delegations.clone(),
        )?;
        Ok(stands(&held, authority, self.deadlines.now()).map(|()| Basis {
            identities,
            agent,
            delegations,
        }))
    }

    /// Records that a login at `provider` was refused, within the same limit as refusals here. What was typed is
    /// in no entry: a password may stand where a name should.
    pub async fn record_login_refused(
        &self,
        provider: &str,
        code: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let Some(before) = lock(&self.refused_logins).admitted(self.deadlines.now()) else {
            return Ok(());
        };
        let body = json!({
            "provider": provider, "code": code, "reason": short(reason), "unrecorded_before": before,
        });
        let write = move |tx: &mut Tx<'_>| tx.append(NewEntry::new(kind::LOGIN_REFUSED, platform(), body));
        self.store.write::<_, StoreError, _>(write).await.map(drop)
    }

    async fn record_refused(&self, chain: &str, code: &str, error: &RedeemError) -> Result<(), StoreError> {
        let Some(before) = lock(&self.refusals).admitted(self.deadlines.now()) else {
            return Ok(());
        };
        let body = json!({
            "code": code, "reason": short(&error.to_string()), "hash": hex(&hash(chain)), "unrecorded_before": before,
        });
        let write = move |tx: &mut Tx<'_>| tx.append(NewEntry::new(kind::TOKEN_REFUSED, platform(), body));
        self.store.write::<_, StoreError, _>(write).await.map(drop)
    }
}

fn stands(held: &Held, authority: &Authority, now: Timestamp) -> Result<(), RedeemError> {
    match held.fault(authority, now) {
        Some((principal, validity)) => Err(RedeemError::NotValid(principal, validity)),
        None => Ok(()),
    }
}

/// A delegation that its giver made without the platform.
fn offline(
    above: &DelegationRow,
    link: &VerifiedLink,
    holder: &AgentRow,
    token: String,
    now: Timestamp,
) -> DelegationRow {
    let mut path = above.path.clone();
    path.push(holder.name.clone());
    DelegationRow {
        id: String::new(),
        from: above.to.clone(),
        to: holder.name.clone(),
        path,
        under: None,
        capabilities: link.claims.cap.clone(),
        except: link.claims.not.clone(),
        trust: link.claims.trust,
        made: now,
        until: link.until(),
        by: Principal::agent(&above.to),
        jti: link.claims.jti.clone(),
        hash: hex(&link.hash),
        previous: above.hash.clone(),
        token,
        revoked: None,
    }
}

/// Records what was narrowed offline, and the redemption, once.
fn redeemed_in(
    tx: &mut Tx<'_>,
    delegations: Vec<DelegationRow>,
    row: RedemptionRow,
) -> Result<RedemptionRow, RedeemError> {
    if tx.row(REDEMPTIONS, &row.jti)?.is_some() {
        return Err(RedeemError::Replayed);
    }
    let mut under: Option<String> = None;
    for mut delegation in delegations {
        if delegation.id.is_empty() {
            delegation.id = format!("del-{}", tx.next_sequence());
            delegation.under = under;
            tx.append(NewEntry::new(
                kind::DELEGATION_MADE,
                delegation.by.clone(),
                to_json(&delegation)?,
            ))?;
        }
        under = Some(delegation.id);
    }
    let row = RedemptionRow {
        token: format!("tok-{}", tx.next_sequence()),
        delegation: under.unwrap_or_default(),
        ..row
    };
    let actor = Principal::agent(&row.agent);
    tx.append(NewEntry::new(kind::TOKEN_REDEEMED, actor, to_json(&row)?))?;
    Ok(row)
}

/// Body of `token.redeemed`, and the row by the identifier of what was redeemed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct RedemptionRow {
    jti: String,
    token: String,
    agent: String,
    delegation: String,
    key: String,
    /// Identifier of the proof.
    proof: String,
    /// End of the token that was given.
    expires: Timestamp,
    /// End of the delegation, until when the redemption is remembered.
    until: Timestamp,
    /// Of the secret.
    sha256: String,
}

impl RedemptionRow {
    fn held(&self) -> HeldToken {
        HeldToken {
            caller: Caller {
                principal: Principal::agent(&self.agent),
                roles: vec![Role::Agent.into()],
                groups: Vec::new(),
                token: self.token.clone(),
                trigger: None,
                delegation: Some(self.delegation.clone()),
                certificate: None,
                provider: None,
            },
            expires: Some(self.expires),
        }
    }

    fn minute(&self) -> i64 {
        self.until.ms().div_euclid(60_000)
    }
}

/// Puts the tokens that still hold beside those of people.
pub(super) fn load(store: &Store, tokens: &mut HashMap<[u8; 32], HeldToken>) -> Result<(), StoreError> {
    let now = store.clock().now();
    let mut after: Option<String> = None;
    loop {
        let rows = store.read(|reader| reader.rows(REDEMPTIONS, after.as_deref(), super::READ_AT_ONCE))?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for row in rows.into_iter().filter(|row| row.key != SWEPT) {
            let row: RedemptionRow = decode(row.value)?;
            let corrupt = || StoreError::Corrupt {
                finding: format!("token `{}` has no SHA-256", row.token),
            };
            let hash = unhex(&row.sha256).ok_or_else(corrupt)?;
            if now < row.expires {
                tokens.insert(hash, row.held());
            }
        }
    }
}

/// The row that says up to which minute rows were forgotten; no identifier looks like it.
const SWEPT: &str = "swept";
/// Rows are remembered for no longer than a delegation lives, in minutes.
const REMEMBERED_MAX: i64 = 24 * 60 + 2;

#[derive(Default, Serialize, Deserialize)]
struct Swept {
    minute: i64,
}

/// Rows are [`RedemptionRow`]s by the identifier of the token that was redeemed, until that has ended.
pub(crate) struct Redemptions;

impl Projection for Redemptions {
    fn name(&self) -> &'static str {
        REDEMPTIONS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[kind::TOKEN_REDEEMED]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        let row: RedemptionRow = body(entry)?;
        if rows::number(&row.token) != entry.sequence || rows.get(&row.jti)?.is_some() {
            let sequence = entry.sequence;
            return Err(Corrupt(format!(
                "entry {sequence} redeems what was redeemed, or gives another token"
            )));
        }
        let swept: Swept = rows::get(rows, SWEPT)?.unwrap_or_default();
        let now = entry.timestamp.ms().div_euclid(60_000);
        for minute in swept.minute.max(now - REMEMBERED_MAX)..now {
            for over in rows.find("minute", &minute.to_string())? {
                rows.delete(&over.key)?;
            }
        }
        rows::put(
            rows,
            SWEPT,
            &Swept {
                minute: swept.minute.max(now),
            },
        )?;
        rows::put(rows, &row.jti.clone(), &row)
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let row: Option<RedemptionRow> = serde_json::from_value(row.value.clone()).ok();
        row.map(|row| ("minute", row.minute().to_string()))
            .into_iter()
            .collect()
    }
}
