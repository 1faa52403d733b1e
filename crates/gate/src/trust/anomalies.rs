//! Odd behaviour, looked for at every tick and recorded. The record lowers trust; where the agent's document
//! says so, a stop follows.

use super::ANOMALY;
use super::projection::{ACTIVITY, ActivityRow};
use crate::Gate;
use crate::gate::platform;
use crate::rows::decode;
use policy::trust::Anomaly;
use policy::{Reach, StopScope};
use serde::Serialize;
use serde_json::json;
use store::{NewEntry, Reader, StoreError, Tx};

/// Rows read at a time.
const READ_AT_ONCE: usize = 512;

/// An anomaly that was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Whose.
    pub agent: String,
    /// What.
    #[serde(flatten)]
    pub anomaly: Anomaly,
    /// Whether a stop was raised on the agent.
    pub suspended: bool,
}

impl Gate {
    /// Records what is odd now and was not recorded yet; raises a stop on agents whose document asks for it.
    /// Whoever stopped an agent before is not stopped by again.
    pub async fn detect_anomalies(&self) -> Result<Vec<Found>, StoreError> {
        let now = self.clock.now();
        let odd = self.store.read(|reader| odd(reader, now))?;
        let mut found = Vec::new();
        for agent in odd {
            let name = agent.clone();
            let channels = self.channels_of(&agent);
            let suspends = self.suspends(&agent);
            let write = move |tx: &mut Tx<'_>| {
                let row = tx.row(ACTIVITY, &name)?.map(decode::<ActivityRow>).transpose()?;
                let anomalies = row.map(|row| row.lately.anomalies(now)).unwrap_or_default();
                for anomaly in &anomalies {
                    let Anomaly {
                        rule,
                        severity,
                        finding,
                    } = anomaly;
                    let body = json!({
                        "agent": name, "rule": rule, "severity": severity, "finding": finding,
                        "suspends": suspends, "channels": channels,
                    });
                    tx.append(NewEntry::new(ANOMALY, platform(), body))?;
                }
                Ok(anomalies)
            };
            let anomalies = self.store.write::<_, StoreError, _>(write).await?.value;
            let suspended = self.suspend(&agent, &anomalies).await;
            found.extend(anomalies.into_iter().map(|anomaly| Found {
                agent: agent.clone(),
                anomaly,
                suspended,
            }));
        }
        Ok(found)
    }

    /// Whether its document asks for a stop.
    pub(crate) fn suspends(&self, agent: &str) -> bool {
        let authority = self.authority.load();
        let held = authority.agents.get(agent);
        held.is_some_and(|held| held.trust.suspend_on_anomaly)
    }

    pub(crate) async fn suspend(&self, agent: &str, anomalies: &[Anomaly]) -> bool {
        let scope = StopScope::Agent(agent.to_owned());
        let (true, Some(first)) = (self.suspends(agent), anomalies.first()) else {
            return false;
        };
        if !self.stops.list().iter().any(|stop| stop.scope == scope) {
            let reason = format!("anomaly: {}", first.finding);
            // Its own document asks for this, so whoever operates it looks into it and lifts it.
            let at = self.spot_of(agent).map_or(Reach::Everywhere, Reach::from);
            self.stop_at(&platform(), at, scope, &reason).await;
        }
        true
    }
}

fn odd(reader: &Reader<'_>, now: policy::Timestamp) -> Result<Vec<String>, StoreError> {
    let mut odd = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let rows = reader.rows(ACTIVITY, after.as_deref(), READ_AT_ONCE)?;
        let Some(last) = rows.last() else { return Ok(odd) };
        after = Some(last.key.clone());
        for row in rows {
            let activity: ActivityRow = decode(row.value)?;
            if !activity.lately.anomalies(now).is_empty() {
                odd.push(row.key);
            }
        }
    }
}
