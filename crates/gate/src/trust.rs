//! Trust in agents, as decisions read it, as people look at it, and as a person raises it.
//!
//! Every number is a fold over the journal ([`projection`]) read at a point in time; nobody sets one.
//! Trust lowers what an agent may do, at once and by itself. Only a person gives a tier back.

mod anomalies;
mod equation;
mod projection;
mod report;
mod risk;
mod topology;

pub use anomalies::Found;
pub use equation::{EquationView, Factor, Surroundings};
pub(crate) use projection::{Activities, Trusts};
pub use report::{AgentReport, REPORT_DAYS_MAX};
pub(crate) use risk::Risks;
pub use risk::{RiskChange, RiskView};
pub use topology::{MemberView, Shared, TopologyView, Weakest};

use crate::rows::{decode, decode_held, json};
use crate::{Authority, Caller, Gate, Role};
use policy::trust::{Echo, Lack, Origin, Record, SCORE_MAX, Tier, Told, Weights, lacks, under};
use policy::{Chain, PrincipalKind, Timestamp};
use projection::{DayRow, TRUST, agent_key, day_prefix};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use store::{NewEntry, Reader, Row, StoreError, Tx};

/// Kind of the entry by which a person vouches for an agent.
pub(crate) const PROMOTED: &str = "trust.promoted";
/// Kind of the entry that tells of odd behaviour.
pub(crate) const ANOMALY: &str = "anomaly.detected";
/// Kind of the entry that tells of another level of risk.
pub(crate) const RISK_CHANGED: &str = "risk.changed";
/// The most days of a history.
const DAYS_MAX: u16 = 400;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What configuration says about the trust of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct TrustTerms {
    /// The score never counts for more (S3-D7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<u16>,
    /// Whether a stop is raised on the agent when it behaves oddly.
    pub suspend_on_anomaly: bool,
    /// How much each dimension counts, where that is not as the platform has it (S3-B16).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Where it comes from; nothing that a document can say.
    #[serde(skip)]
    pub origin: Origin,
}

impl TrustTerms {
    /// Of what is part of the platform: neither earns nor loses.
    pub const PLATFORM: TrustTerms = TrustTerms {
        ceiling: None,
        suspend_on_anomaly: false,
        weights: None,
        origin: Origin::Platform,
    };
}

/// The trust in one agent, now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrustView {
    /// Which.
    pub agent: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What configuration caps the score at.
    pub ceiling: Option<u16>,
    /// The score, and all that made it.
    #[serde(flatten)]
    pub told: Told,
    /// The tier after the one that is held.
    pub next: Option<Tier>,
    /// What it lacks to be promoted to that.
    pub lacks: Vec<Lack>,
    /// Falls of agents that it works with, and what of them arrives at its risk; they move no trust.
    pub echoes: Vec<Echo>,
}

/// One day of an agent's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrustDay {
    /// `2026-11-21`, in UTC.
    pub day: String,
    /// The lowest score in force after an event.
    pub low: u16,
    /// The highest.
    pub high: u16,
    /// After the last event.
    pub last: u16,
    /// How many events there were.
    pub events: u64,
}

/// Why an agent was not promoted. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// There is none, or nothing is known of it.
    #[error("there is no agent `{0}` with a record of trust")]
    Unknown(String),
    /// Not a person, or without the role.
    #[error("a promotion is signed by a person who is admin or operator")]
    NotAPerson,
    /// The sponsor answers for the agent and does not judge it as well.
    #[error("`{0}` sponsors this agent, so somebody else has to sign")]
    Sponsor(String),
    /// The journal does not bear it out.
    #[error("the journal does not bear it out: {}", .0.iter().map(|lack| lack.why.clone()).collect::<Vec<_>>().join("; "))]
    Lacks(Vec<Lack>),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// Every configured agent's trust, by name.
    pub fn trust(&self) -> Result<Vec<TrustView>, StoreError> {
        let (authority, now) = (self.authority.load_full(), self.deadlines.now());
        self.store.read(|reader| {
            let names = authority.agents.keys();
            names.map(|name| view(reader, &authority, name, now)).collect()
        })
    }

    /// One agent's; `None` when there is no such agent.
    pub fn trust_of(&self, agent: &str) -> Result<Option<TrustView>, StoreError> {
        let (authority, now) = (self.authority.load_full(), self.deadlines.now());
        if !authority.agents.contains_key(agent) {
            return Ok(None);
        }
        let view = self.store.read(|reader| view(reader, &authority, agent, now))?;
        Ok(Some(view))
    }

    /// The days of the last year and a month on which something moved it, the oldest first.
    pub fn trust_history(&self, agent: &str) -> Result<Vec<TrustDay>, StoreError> {
        let prefix = day_prefix(agent);
        let since = self.clock.now().plus_ms(-DAY_MS * i64::from(DAYS_MAX));
        let after = format!("{prefix}{}", projection::date(since));
        let rows = self
            .store
            .read(|reader| reader.rows(TRUST, Some(&after), usize::from(DAYS_MAX)))?;
        days_after(rows, &prefix)
    }

    /// Vouches for `agent`: the next tier may be in force from now on. What it takes is read from the
    /// journal in the transaction that records it, with the evidence.
    pub async fn promote(
        &self,
        caller: &Caller,
        agent: &str,
        reason: &str,
    ) -> Result<TrustView, PromoteError> {
        let person = caller.principal().clone();
        let spot = self.spot_of(agent)?;
        let signs = caller.holds(&[Role::Admin, Role::Operator], &spot);
        if person.kind != PrincipalKind::Person || !signs {
            return Err(PromoteError::NotAPerson);
        }
        let unknown = || PromoteError::Unknown(agent.to_owned());
        let held = self.authority.load_full().agents.get(agent).cloned();
        if held.ok_or_else(unknown)?.sponsor == person.name {
            return Err(PromoteError::Sponsor(person.name));
        }
        let (name, reason, now) = (
            agent.to_owned(),
            crate::record::short(reason),
            self.deadlines.now(),
        );
        let write = move |tx: &mut Tx<'_>| {
            let record = record_in(tx, &name)?.ok_or_else(|| PromoteError::Unknown(name.clone()))?;
            let Some(to) = record.held.next() else {
                return Err(PromoteError::Lacks(vec![Lack {
                    what: "tier",
                    why: format!("it is {}, and there is no tier above", record.held),
                }]));
            };
            let lacks = lacks(&record, to, now);
            if !lacks.is_empty() {
                return Err(PromoteError::Lacks(lacks));
            }
            let body = json!({
                "agent": name, "from": record.held, "to": to, "score": record.earned_at(now),
                "evidence": json(&record.evidence)?, "reason": reason,
            });
            tx.append(NewEntry::new(PROMOTED, &person, body))?;
            Ok(())
        };
        self.store.write::<_, PromoteError, _>(write).await?;
        self.trust_of(agent)?.ok_or_else(unknown)
    }

    /// The least trust of all agents on `chain`.
    pub(crate) fn least(
        &self,
        authority: &Authority,
        chain: &Chain,
        now: Timestamp,
    ) -> Result<u16, StoreError> {
        least_by(
            |key| self.store.latest(TRUST, key),
            authority,
            &agents_of(chain),
            now,
        )
    }
}

/// Days as they are shown, of rows whose keys begin with `prefix`.
fn days_after(rows: Vec<Row>, prefix: &str) -> Result<Vec<TrustDay>, StoreError> {
    let own = rows.into_iter().take_while(|row| row.key.starts_with(prefix));
    let days = own.map(|row| {
        let day = row.key.get(prefix.len()..).unwrap_or_default().to_owned();
        let DayRow {
            low,
            high,
            last,
            events,
        } = decode(row.value)?;
        Ok(TrustDay {
            day,
            low,
            high,
            last,
            events,
        })
    });
    days.collect()
}

/// The agents on `chain`.
pub(crate) fn agents_of(chain: &Chain) -> Vec<String> {
    let links = chain.links.iter();
    links
        .filter(|link| link.principal.kind == PrincipalKind::Agent)
        .map(|link| link.principal.name.clone())
        .collect()
}

/// The least trust of `agents`.
pub(crate) fn least_read(
    reader: &Reader<'_>,
    authority: &Authority,
    agents: &[String],
    now: Timestamp,
) -> Result<u16, StoreError> {
    let row = |key: &str| Ok(reader.row(TRUST, key)?.map(Arc::new));
    least_by(row, authority, agents, now)
}

/// The least trust of `agents`, as of now in this transaction.
pub(crate) fn least_in(
    tx: &Tx<'_>,
    authority: &Authority,
    agents: &[String],
    now: Timestamp,
) -> Result<u16, StoreError> {
    least_by(|key| tx.held(TRUST, key), authority, agents, now)
}

fn least_by(
    row: impl Fn(&str) -> Result<Option<Arc<Value>>, StoreError>,
    authority: &Authority,
    agents: &[String],
    now: Timestamp,
) -> Result<u16, StoreError> {
    let mut least = SCORE_MAX;
    for name in agents {
        // An agent that is not configured brings no terms, and so the first score of whoever came along.
        let terms = authority
            .agents
            .get(name)
            .map(|held| held.trust)
            .unwrap_or_default();
        if terms.origin == Origin::Platform {
            continue;
        }
        let row = row(&agent_key(name))?;
        let record: Option<Record> = row.map(|row| decode_held(&row)).transpose()?;
        let own = record.map_or(Origin::Migrated.score(), |record| record.score_at(now));
        least = least.min(under(own, terms.ceiling));
    }
    Ok(least)
}

fn record_in(tx: &Tx<'_>, agent: &str) -> Result<Option<Record>, StoreError> {
    tx.row(TRUST, &agent_key(agent))?.map(decode).transpose()
}

fn view(
    reader: &Reader<'_>,
    authority: &Authority,
    agent: &str,
    now: Timestamp,
) -> Result<TrustView, StoreError> {
    let terms = authority
        .agents
        .get(agent)
        .map(|held| held.trust)
        .unwrap_or_default();
    let stored: Option<Record> = reader.row(TRUST, &agent_key(agent))?.map(decode).transpose()?;
    let origin = match (terms.origin, &stored) {
        (Origin::Platform, _) => Origin::Platform,
        (_, Some(record)) => record.origin,
        (_, None) => Origin::Migrated,
    };
    let record = stored
        .filter(|_| origin != Origin::Platform)
        .unwrap_or_else(|| Record::open(origin, now));
    let mut told = record.told(now);
    told.score = under(told.score, terms.ceiling);
    told.tier = Tier::of(told.score);
    told.level = told.tier.level();
    let next = record.held.next().filter(|_| origin != Origin::Platform);
    Ok(TrustView {
        agent: agent.to_owned(),
        origin,
        ceiling: terms.ceiling,
        told,
        next,
        lacks: next.map(|tier| lacks(&record, tier, now)).unwrap_or_default(),
        echoes: risk::echoes(reader, agent, now)?,
    })
}
