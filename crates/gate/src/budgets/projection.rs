//! Accounts and costs, as the fold over what entries say was reserved and used. The only place where they change, live
//! and in replay.

use super::{ALERTED, BUDGETS, EXHAUSTED, RAISED, anomaly};
use crate::rows::{self, body};
use crate::trust::ANOMALY;
use journal::{Entry, kind};
use policy::Outcome;
use policy::budget::Amounts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::{Applied, Corrupt, Projection, Rows};

/// What `action.permitted` says it reserves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reserved {
    pub amounts: Amounts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Of a call of a model: whose cost it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostOf>,
}

/// Whose cost something is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CostOf {
    pub place: String,
    pub agent: String,
    pub resource: String,
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AccountRow {
    pub spent: Amounts,
    pub held: Amounts,
    #[serde(default)]
    pub raised: Amounts,
    /// Per cent that were told.
    #[serde(default)]
    pub alerted: u8,
    #[serde(default)]
    pub exhausted: bool,
}

impl AccountRow {
    /// What is used and reserved.
    pub fn used(&self) -> Amounts {
        self.spent.plus(&self.held)
    }
}

/// What a permit has reserved, or what was charged for one whose outcome is uncertain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PermitRow {
    reserved: Reserved,
    /// `INC-7`, a task, or empty.
    correlation: String,
    /// `2026-11-27T15`
    hour: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    charged: Option<Used>,
}

/// What one action used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    pub amounts: Amounts,
    pub tokens_input: u64,
    pub tokens_output: u64,
}

/// What calls of a model cost, of one hour, place, agent, model and incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CostRow {
    pub calls: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub micros: u64,
}

/// Hours that are kept of what an agent spent.
const HOURS_MAX: usize = 48;

/// What an agent spent in each of its last hours in which it spent something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SpendRow {
    pub hours: BTreeMap<String, u64>,
    /// The hour that was told to be odd.
    #[serde(default)]
    pub told: Option<String>,
}

/// The key of what an agent spent.
pub(super) fn spend_key(agent: &str) -> String {
    format!("spend/{agent}")
}

/// The key of an account.
pub(super) fn account_key(account: &str) -> String {
    format!("account/{account}")
}

/// What keys of costs begin with, from an hour on.
pub(super) fn cost_key(hour: &str) -> String {
    format!("cost/{hour}")
}

fn permit_key(permit: u64) -> String {
    format!("permit/{permit}")
}

#[derive(Deserialize)]
struct Permitted {
    reserved: Option<Reserved>,
}

#[derive(Deserialize)]
struct Settled {
    permit: u64,
    outcome: Outcome,
    #[serde(default)]
    resources: policy::Resources,
}

#[derive(Deserialize)]
struct Resolved {
    permit: u64,
    resolution: String,
}

#[derive(Deserialize)]
struct Alerted {
    account: String,
    percent: u8,
}

#[derive(Deserialize)]
struct OfAccount {
    account: String,
}

#[derive(Deserialize)]
struct Raised {
    account: String,
    more: Amounts,
}

/// Rows are [`AccountRow`]s by `account/NAME/PERIOD/OF`, [`PermitRow`]s by `permit/N`, [`SpendRow`]s by `spend/AGENT`, and [`CostRow`]s by
/// `cost/HOUR|PLACE|AGENT|MODEL|INCIDENT`.
pub(crate) struct Budgets;

impl Projection for Budgets {
    fn name(&self) -> &'static str {
        BUDGETS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::ACTION_PERMITTED,
            kind::ACTION_SETTLED,
            kind::ACTION_RESOLVED,
            "budget.",
            ANOMALY,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        match entry.kind.as_str() {
            kind::ACTION_PERMITTED => reserve(entry, rows),
            kind::ACTION_SETTLED => settle(entry, rows),
            kind::ACTION_RESOLVED => resolve(entry, rows),
            ALERTED => {
                let Alerted { account, percent } = body(entry)?;
                on_account(&account, rows, |row| row.alerted = row.alerted.max(percent))
            }
            EXHAUSTED => {
                let OfAccount { account } = body(entry)?;
                on_account(&account, rows, |row| row.exhausted = true)
            }
            RAISED => {
                let Raised { account, more } = body(entry)?;
                on_account(&account, rows, |row| {
                    row.raised = row.raised.plus(&more);
                    // Of the new limit it is told anew.
                    row.exhausted = false;
                    row.alerted = 0;
                })
            }
            ANOMALY => odd(entry, rows),
            other => Err(Corrupt(format!(
                "entry {} of kind `{other}` is none of a budget",
                entry.sequence
            ))),
        }
    }
}

fn on_account(
    account: &str,
    rows: &mut dyn Rows,
    change: impl FnOnce(&mut AccountRow),
) -> Result<(), Corrupt> {
    let key = account_key(account);
    let mut row: AccountRow = rows::get(rows, &key)?.unwrap_or_default();
    change(&mut row);
    rows::put(rows, &key, &row)
}

fn reserve(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Permitted { reserved } = body(entry)?;
    let Some(reserved) = reserved else { return Ok(()) };
    for account in &reserved.accounts {
        on_account(account, rows, |row| row.held = row.held.plus(&reserved.amounts))?;
    }
    let row = PermitRow {
        reserved,
        correlation: entry.correlation.clone().unwrap_or_default(),
        hour: policy::budget::Period::Hour.key(entry.timestamp),
        charged: None,
    };
    rows::put(rows, &permit_key(entry.sequence), &row)
}

fn settle(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Settled {
        permit,
        outcome,
        resources,
    } = body(entry)?;
    let Some(row) = rows::get::<PermitRow>(rows, &permit_key(permit))? else {
        return Ok(());
    };
    let amounts = row.reserved.amounts;
    let used = match outcome {
        Outcome::NotStarted => Used::default(),
        // INVARIANT (what nobody knows was used): all that was reserved.
        Outcome::Uncertain => Used {
            amounts,
            ..Used::default()
        },
        _ => Used {
            amounts: Amounts {
                micros: resources.cost_micros,
                tokens: resources.tokens_input.saturating_add(resources.tokens_output),
                ..amounts
            },
            tokens_input: resources.tokens_input,
            tokens_output: resources.tokens_output,
        },
    };
    charge(permit, row, used, outcome == Outcome::Uncertain, rows)
}

fn resolve(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Resolved { permit, resolution } = body(entry)?;
    let Some(row) = rows::get::<PermitRow>(rows, &permit_key(permit))? else {
        return Ok(());
    };
    let charged = row.charged.unwrap_or_default();
    // What was not done was not used; what was done was paid for.
    let used = if resolution == "not_done" {
        Used::default()
    } else {
        charged
    };
    charge(permit, row, used, false, rows)
}

/// Charges `used` in the place of what was reserved, or of what was charged before.
fn charge(permit: u64, row: PermitRow, used: Used, open: bool, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let reserved = row.reserved.amounts;
    for account in &row.reserved.accounts {
        on_account(account, rows, |account| {
            match &row.charged {
                None => account.held = account.held.less(&reserved),
                Some(before) => account.spent = account.spent.less(&before.amounts),
            }
            account.spent = account.spent.plus(&used.amounts);
        })?;
    }
    if let Some(of) = &row.reserved.cost {
        cost(of, &row, used, rows)?;
    }
    match open {
        true => {
            let charged = Some(used);
            rows::put(rows, &permit_key(permit), &PermitRow { charged, ..row })
        }
        false => rows.delete(&permit_key(permit)),
    }
}

fn cost(of: &CostOf, row: &PermitRow, used: Used, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let CostOf {
        place,
        agent,
        resource,
    } = of;
    let key = cost_key(&format!(
        "{}|{place}|{agent}|{resource}|{}",
        row.hour, row.correlation
    ));
    let mut costs: CostRow = rows::get(rows, &key)?.unwrap_or_default();
    let before = row.charged.unwrap_or_default();
    let counted = |now: u64, before: u64, used: u64| now.saturating_sub(before).saturating_add(used);
    costs.calls = counted(costs.calls, before.amounts.turns, used.amounts.turns);
    costs.tokens_input = counted(costs.tokens_input, before.tokens_input, used.tokens_input);
    costs.tokens_output = counted(costs.tokens_output, before.tokens_output, used.tokens_output);
    costs.micros = counted(costs.micros, before.amounts.micros, used.amounts.micros);
    rows::put(rows, &key, &costs)?;
    let mut spend: SpendRow = rows::get(rows, &spend_key(agent))?.unwrap_or_default();
    let hour = spend.hours.entry(row.hour.clone()).or_default();
    *hour = counted(*hour, before.amounts.micros, used.amounts.micros);
    while spend.hours.len() > HOURS_MAX {
        spend.hours.pop_first();
    }
    rows::put(rows, &spend_key(agent), &spend)
}

#[derive(Deserialize)]
struct Odd {
    agent: String,
    rule: String,
    hour: Option<String>,
}

fn odd(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Odd { agent, rule, hour } = body(entry)?;
    if rule != anomaly::RULE {
        return Ok(());
    }
    let mut spend: SpendRow = rows::get(rows, &spend_key(&agent))?.unwrap_or_default();
    spend.told = hour;
    rows::put(rows, &spend_key(&agent), &spend)
}
