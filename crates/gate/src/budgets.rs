//! Budgets: what may be used, kept so that no concurrency passes a limit.
//!
//! Invariants:
//! - **Reserved before, settled after**: the transaction that appends `action.permitted` compares every account that the
//!   action is on with its limit, counting what others have reserved, and its entry says what it reserves. There is one
//!   writer, so nothing happens in between.
//! - **No account beside the journal**: accounts are a fold over entries that say what they reserve and what was used;
//!   a rebuild gives the same.
//! - **What nobody knows was used**: an action whose outcome is uncertain is charged with all it reserved.
//! - **Delegating is no way around**: an action is on the accounts of every agent of its chain.

mod anomaly;
mod cost;
mod projection;

pub use cost::{CostBy, CostLine, CostReport, ReportError};
pub(crate) use projection::{Budgets, Reserved};

use crate::commit::Uncommitted;
use crate::gate::platform;
use crate::rows::decode;
use crate::seen::Seen;
use crate::{Authority, Gate};
use policy::budget::{Amounts, Budget, Ceiling, Each, Passed, Period, Spender, Unit};
use policy::{Branch, Place, Principal, PrincipalKind, Timestamp};
use projection::{AccountRow, CostOf, account_key};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use store::{NewEntry, StoreError, Tx};

/// Name of the projection.
pub(crate) const BUDGETS: &str = "budgets";
/// An account came to a share of its limit that somebody is told of.
pub(crate) const ALERTED: &str = "budget.alerted";
/// An action was refused because its account would have been passed, for the first time.
pub(crate) const EXHAUSTED: &str = "budget.exhausted";
/// A person let an account use more.
pub(crate) const RAISED: &str = "budget.raised";
/// The budget that a run brings with it.
const OF_RUN: &str = "cofferdam-run";
/// How long whoever is slowed down waits before it tries again, in milliseconds.
const THROTTLED_MS: i64 = 250;
/// Rows read at a time.
const READ_AT_ONCE: usize = 512;

/// Why an action is not paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpaid {
    /// `Budget` document.
    pub budget: String,
    /// Its account: `NAME/PERIOD/OF`.
    pub account: String,
    /// What is limited.
    pub unit: Unit,
    /// The limit, with what a person added.
    pub limit: u64,
    /// What was used and is reserved.
    pub used: u64,
    /// What the action could use at most.
    pub wanted: u64,
    /// Whether it is only slowed down: others of the account have to end first.
    pub throttled: bool,
    /// When it may be tried again, in milliseconds from now; `None` for not before somebody raises it.
    pub retry_after_ms: Option<i64>,
    channels: Vec<String>,
}

impl std::fmt::Display for Unpaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unpaid { budget, unit, .. } = self;
        let (limit, used, wanted) = (
            unit.told(self.limit),
            unit.told(self.used),
            unit.told(self.wanted),
        );
        match self.throttled {
            true => write!(
                f,
                "budget `{budget}` is nearly used up ({used} of {limit}): one call at a time"
            ),
            false if self.budget == OF_RUN => write!(
                f,
                "the budget of this run would be passed: {used} of {limit} are used or reserved, and this could use {wanted}"
            ),
            false => write!(
                f,
                "budget `{budget}` would be passed: {used} of {limit} are used or reserved, and this could use {wanted}"
            ),
        }
    }
}

impl Unpaid {
    /// What would change it.
    pub fn remedy(&self) -> String {
        let again = match self.retry_after_ms {
            Some(ms) if ms < 60_000 => format!("try again in {ms} ms, or "),
            Some(ms) => format!("it begins anew in {} min; or ", ms / 60_000),
            None => String::new(),
        };
        match self.budget.as_str() {
            OF_RUN => format!("{again}run it with a higher --budget"),
            budget => format!(
                "{again}raise it: cofferdam budget raise {budget} --account {}",
                self.account
            ),
        }
    }
}

/// What an action is paid from, if it is admitted.
pub(crate) struct Spending {
    budgets: Arc<Vec<Budget>>,
    /// Of the run itself.
    own: Option<Budget>,
    agents: Vec<(String, Place)>,
    session: String,
    correlation: Option<String>,
    amounts: Amounts,
    cost: Option<CostOf>,
}

/// What the transaction appends besides the record.
pub(crate) struct Paid {
    pub reserved: Reserved,
    alerts: Vec<NewEntry>,
}

impl Paid {
    /// Somebody is told, after the record.
    pub fn tell(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.alerts
            .into_iter()
            .try_for_each(|alert| tx.append(alert).map(drop))
    }
}

impl Spending {
    /// What `action` as `seen` is on; `None` when nobody counts it.
    pub fn of(seen: &Seen, action: &policy::Action) -> Option<Spending> {
        let amounts = *action.bound();
        let own = seen
            .session
            .guest
            .as_ref()
            .and_then(|guest| guest.budget)
            .map(of_run);
        let agents = agents_of(seen);
        let concerns = |budget: &Budget| {
            budget.place.is_everywhere()
                || agents
                    .iter()
                    .any(|(name, place)| budget.place.contains(place, name))
        };
        let is_model = amounts.turns > 0;
        if !is_model && own.is_none() && !seen.authority.budgets.iter().any(concerns) {
            return None;
        }
        let cost = is_model.then(|| CostOf {
            place: seen.agent.place.to_string(),
            agent: seen.session.agent.clone(),
            resource: action.resource().to_owned(),
        });
        Some(Spending {
            budgets: Arc::clone(&seen.authority.budgets),
            own,
            agents,
            session: seen.session.id.clone(),
            correlation: seen.session.correlation.clone(),
            amounts,
            cost,
        })
    }

    fn accounts(&self, now: Timestamp) -> impl Iterator<Item = (&Budget, String)> {
        let spender = Spender {
            agents: &self.agents,
            session: &self.session,
            correlation: self.correlation.as_deref(),
        };
        let of = move |budget| Budget::accounts(budget, &spender, now);
        let all = self.budgets.iter().chain(&self.own);
        all.flat_map(move |budget| of(budget).into_iter().map(move |account| (budget, account)))
    }

    /// What it would reserve at `now`.
    pub fn reserved(&self, now: Timestamp) -> Reserved {
        Reserved {
            amounts: self.amounts,
            accounts: self.accounts(now).map(|(_, account)| account).collect(),
            cost: self.cost.clone(),
        }
    }

    /// INVARIANT (a ceiling holds): in the transaction that will say what is reserved.
    pub fn reserve(&self, tx: &Tx<'_>, now: Timestamp) -> Result<Paid, Uncommitted> {
        let mut alerts = Vec::new();
        for (budget, account) in self.accounts(now) {
            let row = account_in(tx, &account)?;
            let (ceiling, used) = (budget.ceiling.raised(&row.raised), row.used());
            let unpaid = |passed: Passed, throttled, retry_after_ms| {
                Uncommitted::Unpaid(Box::new(Unpaid {
                    budget: budget.name.clone(),
                    account: account.clone(),
                    unit: passed.unit,
                    limit: passed.limit,
                    used: passed.used,
                    wanted: passed.wanted,
                    throttled,
                    retry_after_ms,
                    channels: budget.channels.clone(),
                }))
            };
            if let Some(passed) = ceiling.passed(&used, &self.amounts) {
                // What is reserved may be given back; what is spent is not before the period is over.
                let fits = ceiling.passed(&row.spent, &self.amounts).is_none();
                let retry = if fits {
                    Some(THROTTLED_MS * 4)
                } else {
                    budget.per.left_ms(now)
                };
                return Err(unpaid(passed, false, retry));
            }
            let (percent, unit) = ceiling.percent(&used);
            let slows = budget.throttle.is_some_and(|from| percent >= u64::from(from));
            if slows && self.amounts.turns > 0 && row.held.turns > 0 {
                let passed = Passed {
                    unit,
                    limit: ceiling.of(unit).unwrap_or_default(),
                    used: used.of(unit),
                    wanted: self.amounts.of(unit),
                };
                return Err(unpaid(passed, true, Some(THROTTLED_MS)));
            }
            let after = used.plus(&self.amounts);
            alerts.extend(alert(budget, &account, &row, &ceiling, &after));
        }
        Ok(Paid {
            reserved: self.reserved(now),
            alerts,
        })
    }
}

/// The highest share that is reached and was not told yet.
fn alert(
    budget: &Budget,
    account: &str,
    row: &AccountRow,
    ceiling: &Ceiling,
    after: &Amounts,
) -> Option<NewEntry> {
    let (percent, unit) = ceiling.percent(after);
    let reached = budget.alerts.iter().rev().find(|at| percent >= u64::from(**at))?;
    if *reached <= row.alerted {
        return None;
    }
    let body = json!({
        "budget": budget.name, "account": account, "percent": reached, "unit": unit,
        "used": after.of(unit), "limit": ceiling.of(unit), "channels": budget.channels,
    });
    Some(NewEntry::new(ALERTED, platform(), body))
}

/// What a run may use in all.
fn of_run(ceiling: Ceiling) -> Budget {
    Budget {
        name: OF_RUN.to_owned(),
        place: Branch::everywhere(),
        per: Period::Run,
        each: Each::Session,
        ceiling,
        alerts: Vec::new(),
        throttle: None,
        channels: Vec::new(),
    }
}

fn agents_of(seen: &Seen) -> Vec<(String, Place)> {
    let links = seen.chain.links.iter();
    let agents = links.filter(|link| link.principal.kind == PrincipalKind::Agent);
    // One that nobody knows the place of is on the accounts of everybody alone.
    let placed = |link: &policy::Link| {
        let known = link.place.clone().or_else(|| {
            let held = seen.authority.agents.get(&link.principal.name)?;
            Some(held.place.clone())
        });
        (link.principal.name.clone(), known.unwrap_or_default())
    };
    agents.map(placed).collect()
}

fn account_in(tx: &Tx<'_>, account: &str) -> Result<AccountRow, StoreError> {
    let row = tx.row(BUDGETS, &account_key(account))?;
    row.map(decode).transpose().map(Option::unwrap_or_default)
}

/// One account as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountView {
    /// `NAME/PERIOD/OF`
    pub account: String,
    /// `Budget` document.
    pub budget: String,
    /// How much, with what a person added; absent when its document is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Ceiling>,
    /// What was used.
    pub spent: Amounts,
    /// What is reserved by actions that are under way.
    pub reserved: Amounts,
    /// What a person added.
    pub raised: Amounts,
    /// Per cent of the limit that is used or reserved.
    pub percent: u64,
}

/// Why a budget is not raised.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// No such document.
    #[error("there is no Budget `{0}`")]
    Unknown(String),
    /// Not of this budget or not of this time.
    #[error("`{0}` is no account of budget `{1}` in its current period; `budget show {1}` lists them")]
    NoAccount(String, String),
    /// Nothing to add.
    #[error("it raises nothing that budget `{0}` limits")]
    Nothing(String),
    /// No record, no change.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// The budgets in force.
    pub fn budgets(&self) -> Arc<Vec<Budget>> {
        Arc::clone(&self.authority.load().budgets)
    }

    /// Every account of `budget` in its current period, or of all budgets.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn accounts(&self, budget: Option<&str>) -> Result<Vec<AccountView>, StoreError> {
        let (authority, now) = (self.authority.load_full(), self.deadlines.now());
        let prefix = budget.map_or_else(|| account_key(""), |name| account_key(&format!("{name}/")));
        let mut views = Vec::new();
        let mut after = Some(prefix.clone());
        self.store.read(|reader| {
            loop {
                let rows = reader.rows(BUDGETS, after.as_deref(), READ_AT_ONCE)?;
                let Some(last) = rows.last() else { return Ok(()) };
                after = Some(last.key.clone());
                for row in rows {
                    let Some(_) = row.key.strip_prefix(&prefix) else {
                        return Ok(());
                    };
                    let account = row
                        .key
                        .strip_prefix(&account_key(""))
                        .unwrap_or_default()
                        .to_owned();
                    views.extend(view(&authority, account, decode(row.value)?, now));
                }
            }
        })?;
        Ok(views)
    }

    /// What `session` used so far, of what its run may use.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn spent_by(&self, session: &str) -> Result<Option<Amounts>, StoreError> {
        let key = account_key(&format!("{OF_RUN}/run/session/{session}"));
        let row = self.store.read(|reader| reader.row(BUDGETS, &key))?;
        let row: Option<AccountRow> = row.map(decode).transpose()?;
        Ok(row.map(|row| row.used()))
    }

    /// Lets an account of `budget` use `more` until its period is over. Who may, the caller has found out.
    ///
    /// # Errors
    /// There is no such account, or nothing to raise, or no record.
    pub async fn raise_budget(
        &self,
        by: &Principal,
        (budget, account): (&str, &str),
        more: Amounts,
        reason: &str,
    ) -> Result<AccountView, RaiseError> {
        let authority = self.authority.load_full();
        let of = authority.budgets.iter().find(|one| one.name == budget);
        let of = of.ok_or_else(|| RaiseError::Unknown(budget.to_owned()))?.clone();
        let none = || RaiseError::NoAccount(account.to_owned(), budget.to_owned());
        let now = self.deadlines.now();
        let current = format!("{budget}/{}/", of.per.key(now));
        if !account.starts_with(&current) {
            return Err(none());
        }
        if of.ceiling.raised(&more) == of.ceiling {
            return Err(RaiseError::Nothing(budget.to_owned()));
        }
        let body = json!({
            "budget": budget, "account": account, "more": more, "by": by, "reason": crate::record::short(reason),
        });
        let (entry, account, error) = (NewEntry::new(RAISED, by, body), account.to_owned(), none());
        let write = move |tx: &mut Tx<'_>| {
            // Nothing was used of one that is not there, so there is nothing to raise.
            if tx.row(BUDGETS, &account_key(&account))?.is_none() {
                return Err(error);
            }
            tx.append(entry)?;
            Ok((account_in(tx, &account)?, account))
        };
        let (row, account) = self.store.write::<_, RaiseError, _>(write).await?.value;
        view(&authority, account, row, now).ok_or_else(|| RaiseError::Unknown(budget.to_owned()))
    }

    /// Records that an account is used up, once for each account, so that its channels are told.
    pub(crate) async fn tell_exhausted(&self, unpaid: &Unpaid) {
        if unpaid.throttled {
            return;
        }
        let body = json!({
            "budget": unpaid.budget, "account": unpaid.account, "unit": unpaid.unit, "used": unpaid.used,
            "limit": unpaid.limit, "wanted": unpaid.wanted, "channels": unpaid.channels,
        });
        let account = unpaid.account.clone();
        let write = move |tx: &mut Tx<'_>| match account_in(tx, &account)?.exhausted {
            true => Ok(()),
            false => tx.append(NewEntry::new(EXHAUSTED, platform(), body)).map(drop),
        };
        if let Err(error) = self.store.write::<_, StoreError, _>(write).await {
            tracing::warn!(%error, budget = unpaid.budget, "nobody is told that a budget is used up");
        }
    }
}

/// `None` for an account of a period that is over.
fn view(authority: &Authority, account: String, row: AccountRow, now: Timestamp) -> Option<AccountView> {
    let (budget, rest) = account.split_once('/')?;
    let (period, _) = rest.split_once('/')?;
    let of = authority.budgets.iter().find(|one| one.name == budget);
    if of.is_some_and(|of| of.per.key(now) != period) {
        return None;
    }
    let limit = of.map(|of| of.ceiling.raised(&row.raised));
    Some(AccountView {
        budget: budget.to_owned(),
        percent: limit.map_or(0, |limit| limit.percent(&row.used()).0),
        limit,
        spent: row.spent,
        reserved: row.held,
        raised: row.raised,
        account,
    })
}
