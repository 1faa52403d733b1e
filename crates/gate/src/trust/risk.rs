//! Risk as a fold over entries, read at a point in time, and told to channels when its level changes (S3-B15).
//!
//! Which entries are signals, and how severe, is ours. It moves no trust and stops nobody: it calls people.

use super::projection::{Denied, Odd, actor, stopped_agent};
use super::{ANOMALY, RISK_CHANGED};
use crate::gate::platform;
use crate::rows::{self, body, decode};
use crate::{Gate, is_reserved};
use journal::{Entry, kind};
use policy::trust::{Component, Echo, Risk, RiskLevel, Severity, Signal, Signals, arriving, is_sensitive};
use policy::{AgentEvent, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use store::{Applied, Corrupt, NewEntry, Projection, Reader, Rows, StoreError, Tx};

/// Name of the projection.
const RISK: &str = "risk";
/// What keys of agents begin with.
const AGENTS: &str = "agent/";
/// Rows read at a time.
const READ_AT_ONCE: usize = 512;
/// Most agents that one hands over to or gets from, as far as falls are followed, in order of name.
const LINKS_MAX: usize = 64;
/// How many of the newest signals an entry of a change names.
const NAMED_MAX: usize = 3;
/// First words of verbs that reach for the network. Ours.
const NETWORK: [&str; 5] = ["dns", "egress", "http", "net", "network"];

/// The risk of one agent, now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RiskView {
    /// Which.
    pub agent: String,
    /// The score, and all that made it.
    #[serde(flatten)]
    pub risk: Risk,
}

/// A change of level that was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RiskChange {
    /// Whose.
    pub agent: String,
    /// What it was when it was told last.
    pub from: RiskLevel,
    /// What it is.
    pub to: RiskLevel,
    /// 0 to 1000, 1000 being safe.
    pub score: u16,
}

/// Of one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RiskRow {
    signals: Signals,
    /// The level that was told last.
    told: RiskLevel,
}

impl Default for RiskRow {
    /// Nothing happened, and nobody was told.
    fn default() -> RiskRow {
        RiskRow {
            signals: Signals::default(),
            told: Signals::default().risk(Vec::new(), Timestamp::from_ms(0)).level,
        }
    }
}

/// How often two agents handed something over; of each pair there are two rows, so that either is found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct LinkRow {
    count: u64,
}

impl Gate {
    /// The risk of an agent; `None` when there is no such agent.
    pub fn risk_of(&self, agent: &str) -> Result<Option<RiskView>, StoreError> {
        let now = self.deadlines.now();
        if !self.authority.load_full().agents.contains_key(agent) {
            return Ok(None);
        }
        let risk = self.store.read(|reader| risk(reader, agent, now))?;
        Ok(Some(RiskView {
            agent: agent.to_owned(),
            risk,
        }))
    }

    /// Records every change of a level since the last that was told, which tells the channels of the agent. A
    /// critical signal is in the fold with its entry, so that the next look finds it.
    pub async fn detect_risks(&self) -> Result<Vec<RiskChange>, StoreError> {
        let now = self.deadlines.now();
        let authority = self.authority.load_full();
        let configured = |agent: &str| {
            let reserved = is_reserved(agent);
            authority.agents.contains_key(agent) && !reserved
        };
        let changed = self.store.read(|reader| changed(reader, now, &configured))?;
        let mut told = Vec::new();
        for (agent, seen, risk) in changed {
            let change = RiskChange {
                agent: agent.clone(),
                from: seen.told,
                to: risk.level,
                score: risk.score,
            };
            let newest = risk.signals.iter().rev().take(NAMED_MAX);
            let because: Vec<String> = newest.map(|signal| signal.what.clone()).collect();
            let body = json!({
                "agent": agent, "from": change.from, "to": change.to, "score": change.score, "because": because,
                "channels": self.channels_of(&agent),
            });
            let write = move |tx: &mut Tx<'_>| {
                let row = tx.row(RISK, &key(&agent))?.map(decode::<RiskRow>).transpose()?;
                // What came meanwhile is looked at the next time.
                if row.as_ref() != Some(&seen) {
                    return Ok(false);
                }
                tx.append(NewEntry::new(RISK_CHANGED, platform(), body))?;
                Ok(true)
            };
            if self.store.write::<_, StoreError, _>(write).await?.value {
                told.push(change);
            }
        }
        Ok(told)
    }
}

/// Whose level is another than was told, with what was read of it.
fn changed(
    reader: &Reader<'_>,
    now: Timestamp,
    configured: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, RiskRow, Risk)>, StoreError> {
    let usual = RiskRow::default().told;
    let mut changed = Vec::new();
    let mut after = AGENTS.to_owned();
    loop {
        let rows = reader.rows(RISK, Some(&after), READ_AT_ONCE)?;
        let Some(last) = rows.last() else {
            return Ok(changed);
        };
        after = last.key.clone();
        for row in rows {
            let Some(agent) = row.key.strip_prefix(AGENTS) else {
                return Ok(changed);
            };
            let held: RiskRow = decode(row.value)?;
            // By others' falls alone nobody leaves the usual level.
            let quiet = held.signals.are_over(now) && held.told == usual;
            if quiet || !configured(agent) {
                continue;
            }
            let risk = held.signals.risk(echoes(reader, agent, now)?, now);
            if risk.level != held.told {
                changed.push((agent.to_owned(), held, risk));
            }
        }
    }
}

/// The risk of an agent at `now`.
pub(super) fn risk(reader: &Reader<'_>, agent: &str, now: Timestamp) -> Result<Risk, StoreError> {
    let row = signals(reader, agent)?;
    Ok(row.risk(echoes(reader, agent, now)?, now))
}

/// What falls of agents that it works with take from it, in order of name.
pub(super) fn echoes(reader: &Reader<'_>, agent: &str, now: Timestamp) -> Result<Vec<Echo>, StoreError> {
    let mut all = links(reader, agent)?;
    let near: BTreeSet<String> = all.iter().map(|(_, other, _)| other.clone()).collect();
    for other in &near {
        all.extend(links(reader, other)?);
    }
    let arriving = arriving(agent, &all).into_iter();
    let echo = |from: policy::trust::Propagated| {
        let fell = signals(reader, &from.agent)?.fell(now);
        Ok(Echo::new(
            from.agent,
            from.hops,
            from.interactions,
            from.share,
            fell,
        ))
    };
    arriving.map(echo).collect()
}

fn signals(reader: &Reader<'_>, agent: &str) -> Result<Signals, StoreError> {
    let row = reader
        .row(RISK, &key(agent))?
        .map(decode::<RiskRow>)
        .transpose()?;
    Ok(row.map(|row| row.signals).unwrap_or_default())
}

/// With whom `agent` handed something over, and how often.
fn links(reader: &Reader<'_>, agent: &str) -> Result<Vec<(String, String, u64)>, StoreError> {
    let prefix = link_prefix(agent);
    let rows = reader.rows(RISK, Some(&prefix), LINKS_MAX)?;
    let own = rows.into_iter().map_while(|row| {
        let other = row.key.strip_prefix(&prefix)?.to_owned();
        Some((other, row.value))
    });
    let link = |(other, value)| {
        let LinkRow { count } = decode(value)?;
        Ok((agent.to_owned(), other, count))
    };
    own.map(link).collect()
}

fn key(agent: &str) -> String {
    format!("{AGENTS}{agent}")
}

fn link_prefix(agent: &str) -> String {
    format!("link/{agent}/")
}

#[derive(Deserialize)]
struct Driven {
    agent: String,
    event: AgentEvent,
}

#[derive(Deserialize)]
struct Delegated {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct Changed {
    agent: String,
    to: RiskLevel,
}

#[derive(Deserialize)]
struct Asked {
    verb: String,
    resource: String,
}

/// Rows are [`RiskRow`]s by `agent/NAME`, and [`LinkRow`]s by `link/NAME/NAME`.
pub(crate) struct Risks;

impl Projection for Risks {
    fn name(&self) -> &'static str {
        RISK
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::ACTION_DENIED,
            kind::ACTION_DENIED_AGAIN,
            kind::STOP_RAISED,
            kind::AGENT_SUSPENDED,
            kind::AGENT_REVOKED,
            kind::DELEGATION_MADE,
            ANOMALY,
            RISK_CHANGED,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        match entry.kind.as_str() {
            kind::DELEGATION_MADE => {
                let Delegated { from, to } = body(entry)?;
                count(rows, &from, &to)?;
                count(rows, &to, &from)
            }
            RISK_CHANGED => {
                let Changed { agent, to } = body(entry)?;
                change(rows, &agent, |row| row.told = to)
            }
            _ => match signal(entry)? {
                Some((agent, signal)) => change(rows, &agent, |row| row.signals.add(signal)),
                None => Ok(()),
            },
        }
    }
}

/// Whose risk an entry raises, and how; `None` for what says nothing of anybody.
fn signal(entry: &Entry) -> Result<Option<(String, Signal)>, Corrupt> {
    let of = |agent: String, what: String, component: Component, (severity, value): (Severity, u8)| {
        let (at, entry) = (entry.timestamp, entry.sequence);
        let signal = Signal {
            at,
            entry,
            what,
            component,
            severity,
            value,
        };
        Some((agent, signal))
    };
    let whole = |severity| (severity, 100);
    Ok(match entry.kind.as_str() {
        kind::ACTION_DENIED => match (actor(entry), refused(entry)?) {
            (Some(agent), Some((what, component, severity))) => {
                of(agent.to_owned(), what, component, whole(severity))
            }
            _ => None,
        },
        kind::ACTION_DENIED_AGAIN => actor(entry).and_then(|agent| {
            let what = "asked for it again".to_owned();
            of(
                agent.to_owned(),
                what,
                Component::Compliance,
                whole(Severity::Low),
            )
        }),
        kind::STOP_RAISED => stopped_agent(entry)?.and_then(|agent| {
            of(
                agent,
                "stopped".to_owned(),
                Component::Behaviour,
                whole(Severity::Critical),
            )
        }),
        kind::AGENT_SUSPENDED | kind::AGENT_REVOKED => {
            let Driven { agent, event } = body(entry)?;
            let (what, severity) = match event {
                AgentEvent::Suspend => ("suspended", Severity::High),
                AgentEvent::Lock => ("suspended for security", Severity::Critical),
                _ => ("revoked", Severity::Critical),
            };
            of(agent, what.to_owned(), Component::Identity, whole(severity))
        }
        _ => {
            let odd: Odd = body(entry)?;
            let what = format!("anomaly {}", odd.rule);
            of(
                odd.agent,
                what,
                Component::Behaviour,
                Signal::graded(odd.severity),
            )
        }
    })
}

/// What a denial says of the agent that asked: what others lack, and that it is trusted too little, is nothing. For
/// credentials and for the network it asked for what it is not given, which is told apart.
fn refused(entry: &Entry) -> Result<Option<(String, Component, Severity)>, Corrupt> {
    let Denied {
        code: Some(code),
        lacking,
    } = body(entry)?
    else {
        return Ok(None);
    };
    let Asked { verb, resource } = body(entry)?;
    let own = lacking.as_deref() == Some(&entry.actor);
    let severity = match code.as_str() {
        "forbidden" => Severity::Medium,
        "not_granted" | "read_only" if own => Severity::Low,
        "bound" | "rate" => Severity::Low,
        "delegation_unverified" => Severity::High,
        _ => return Ok(None),
    };
    let network = verb.split('.').next().is_some_and(|word| NETWORK.contains(&word));
    let (component, severity) = match code.as_str() {
        "delegation_unverified" => (Component::Identity, severity),
        "bound" | "rate" => (Component::Compliance, severity),
        _ if is_sensitive(&resource) => (Component::Identity, Severity::High),
        _ if network => (Component::Network, Severity::High),
        _ => (Component::Compliance, severity),
    };
    Ok(Some((format!("{code} {verb}"), component, severity)))
}

fn change(rows: &mut dyn Rows, agent: &str, change: impl FnOnce(&mut RiskRow)) -> Result<(), Corrupt> {
    let key = key(agent);
    let mut row: RiskRow = rows::get(rows, &key)?.unwrap_or_default();
    change(&mut row);
    rows::put(rows, &key, &row)
}

fn count(rows: &mut dyn Rows, from: &str, to: &str) -> Result<(), Corrupt> {
    let key = format!("{}{to}", link_prefix(from));
    let LinkRow { count } = rows::get(rows, &key)?.unwrap_or_default();
    let row = LinkRow { count: count + 1 };
    rows::put(rows, &key, &row)
}
