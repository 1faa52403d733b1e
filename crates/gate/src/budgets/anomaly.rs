//! An agent that spends far more in an hour than it did in those before: found from the fold, recorded once an hour, told
//! like any odd behaviour. It lowers trust; where the agent's document says so, a stop follows.

use super::projection::{SpendRow, spend_key};
use super::{BUDGETS, READ_AT_ONCE};
use crate::Gate;
use crate::gate::platform;
use crate::rows::decode;
use crate::trust::{ANOMALY, Found};
use policy::budget::{Period, dollars};
use policy::trust::Anomaly;
use serde_json::json;
use store::{NewEntry, StoreError, Tx};

/// Name of the rule.
pub(super) const RULE: &str = "cost";
/// Hours in which something was spent that have to be known before one is odd.
const HISTORY_MIN: usize = 6;
/// How many times the median of them is odd.
const TIMES: u64 = 5;
/// What is spent in an hour below which nothing is odd, in micro-units: half a dollar.
const LEAST_MICROS: u64 = 500_000;
/// What it takes from trust.
const SEVERITY: u8 = 30;

impl SpendRow {
    /// What is odd about `hour`.
    fn odd(&self, hour: &str) -> Option<String> {
        let now = *self.hours.get(hour)?;
        if self.told.as_deref() == Some(hour) || now < LEAST_MICROS {
            return None;
        }
        let before = self.hours.iter().filter(|(other, _)| other.as_str() != hour);
        let mut before: Vec<u64> = before.map(|(_, micros)| *micros).collect();
        if before.len() < HISTORY_MIN {
            return None;
        }
        before.sort_unstable();
        let median = before.get(before.len() / 2).copied().unwrap_or_default();
        (now > median.saturating_mul(TIMES)).then(|| {
            format!(
                "it spent {} in this hour, and {} in a usual one of the last {}",
                dollars(now),
                dollars(median),
                before.len()
            )
        })
    }
}

impl Gate {
    /// Records agents that spend far more than they use to.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn detect_cost_anomalies(&self) -> Result<Vec<Found>, StoreError> {
        let hour = Period::Hour.key(self.clock.now());
        let mut odd = Vec::new();
        let mut after = Some(spend_key(""));
        loop {
            let rows = self
                .store
                .read(|reader| reader.rows(BUDGETS, after.as_deref(), READ_AT_ONCE))?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            for row in rows {
                let Some(agent) = row.key.strip_prefix(&spend_key("")).map(str::to_owned) else {
                    continue;
                };
                let spend: SpendRow = decode(row.value)?;
                odd.extend(spend.odd(&hour).map(|finding| (agent, finding)));
            }
        }
        let mut found = Vec::new();
        for (agent, finding) in odd {
            let body = json!({
                "agent": agent, "rule": RULE, "severity": SEVERITY, "finding": finding, "hour": hour,
                "suspends": self.suspends(&agent), "channels": self.channels_of(&agent),
            });
            let write = move |tx: &mut Tx<'_>| tx.append(NewEntry::new(ANOMALY, platform(), body));
            self.store.write::<_, StoreError, _>(write).await?;
            let anomaly = Anomaly {
                rule: RULE,
                severity: SEVERITY,
                finding,
            };
            let suspended = self.suspend(&agent, std::slice::from_ref(&anomaly)).await;
            found.push(Found {
                agent,
                anomaly,
                suspended,
            });
        }
        Ok(found)
    }
}
