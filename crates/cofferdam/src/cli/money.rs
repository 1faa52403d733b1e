//! `cofferdam budget`, `cofferdam cost` and `cofferdam llm`: what agents may use, what they used, and what there is to call.

use super::client::{Client, segment};
use super::entry;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, look_of, painted, table};
use super::value::{field, list, text};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use policy::budget::{Amounts, Unit, dollars};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const BUDGET_HELP: &str = "\
Examples:
  cofferdam budget list
  cofferdam budget show sre-day
  cofferdam budget raise sre-day --account sre-day/2026-11-27/all --money 10usd --reason 'the outage goes on'

A Budget document limits money, tokens, calls of tools (calls) and of models (turns), of a place and for a period.
What a call could cost is reserved before it is sent, so that no number of calls at once passes a limit.";

pub(super) const COST_HELP: &str = "\
Examples:
  cofferdam cost report
  cofferdam cost report --by team,model --from 2026-11-01 --to 2026-12-01
  cofferdam cost report --by incident --output json
  cofferdam cost report --by team --csv > november.csv
  cofferdam cost watch

The figures are what the journal says was settled, to the millionth of a dollar.";

pub(super) const LLM_HELP: &str = "\
Examples:
  cofferdam llm list
  cofferdam llm test sonnet
  cofferdam llm tail

Clients of OpenAI's API find it at http://ADDRESS/v1, those of Anthropic's at http://ADDRESS/anthropic; the key is that of
a running session (`cofferdam egress proxy ses-42` prints one). `cofferdam run --model NAME` sets all of it.
Exit code of test: 0 it answered, 1 it did not.";

/// `cofferdam budget`
#[derive(Args, Debug)]
pub struct Budget {
    #[command(subcommand)]
    command: BudgetCommand,
}

#[derive(Debug, Subcommand)]
enum BudgetCommand {
    /// All budgets, and how much of each is used
    List,
    /// One budget with its accounts
    Show {
        /// Which
        #[arg(value_name = "BUDGET")]
        name: String,
    },
    /// Let one account use more until its period is over
    Raise {
        /// Which
        #[arg(value_name = "BUDGET")]
        name: String,
        /// Its account, as `show` has it
        #[arg(long, value_name = "ACCOUNT")]
        account: String,
        /// How much money more: 5usd
        #[arg(long, value_name = "MONEY")]
        money: Option<String>,
        /// How many tokens more: 500k
        #[arg(long, value_name = "NUMBER")]
        tokens: Option<String>,
        /// How many calls of tools more
        #[arg(long, value_name = "NUMBER")]
        calls: Option<String>,
        /// How many calls of models more
        #[arg(long, value_name = "NUMBER")]
        turns: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// `cofferdam cost`
#[derive(Args, Debug)]
pub struct Cost {
    #[command(subcommand)]
    command: CostCommand,
}

#[derive(Debug, Subcommand)]
enum CostCommand {
    /// What models cost, by any of day, organization, team, project, agent, model, incident
    Report {
        /// By what, with commas between
        #[arg(long, value_name = "WHAT", default_value = "agent,model")]
        by: String,
        /// From this day or time on, in UTC [default: thirty days ago]
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Up to before it [default: now]
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// As CSV, for a spreadsheet
        #[arg(long)]
        csv: bool,
    },
    /// Follow what is spent as it is settled
    Watch,
}

/// `cofferdam llm`
#[derive(Args, Debug)]
pub struct Llm {
    #[command(subcommand)]
    command: LlmCommand,
}

#[derive(Debug, Subcommand)]
enum LlmCommand {
    /// Every name that can be called, and how the models are
    List,
    /// Send one small call, and show the answer, its time and its cost
    Test {
        /// A `Model`, a `Route`, or another name of one
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Follow calls as they are permitted, denied and ended
    Tail,
}

/// Runs `budget`.
pub async fn budget(budget: &Budget, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &budget.command {
        BudgetCommand::List => {
            let answer = client.get("/api/v1/budgets", &[]).await?;
            screen.data(&answer, budgets)
        }
        BudgetCommand::Show { name } => {
            let answer = client
                .get(&format!("/api/v1/budgets/{}", segment(name)), &[])
                .await?;
            screen.data(&answer, |answer, columns| {
                accounts(list(answer, "accounts"), columns)
            })
        }
        BudgetCommand::Raise {
            name,
            account,
            money,
            tokens,
            calls,
            turns,
            reason,
        } => {
            let mut raise = json!({ "account": account, "reason": reason });
            for (unit, more) in [
                ("money", money),
                ("tokens", tokens),
                ("calls", calls),
                ("turns", turns),
            ] {
                if let (Some(more), Some(members)) = (more, raise.as_object_mut()) {
                    members.insert(unit.to_owned(), json!(more));
                }
            }
            let answer = client
                .post(&format!("/api/v1/budgets/{}/raise", segment(name)), &raise)
                .await?;
            screen.data(&answer, |answer, columns| {
                accounts(std::slice::from_ref(answer), columns)
            })
        }
    }
}

/// Runs `cost`.
pub async fn cost(cost: &Cost, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &cost.command {
        CostCommand::Report { by, from, to, csv } => {
            let mut query = vec![("by", by.clone())];
            query.extend(from.iter().map(|from| ("from", from.clone())));
            query.extend(to.iter().map(|to| ("to", to.clone())));
            let answer = client.get("/api/v1/cost", &query).await?;
            match csv {
                true => screen.raw(comma_separated(&answer).as_bytes()),
                false => screen.data(&answer, report),
            }
        }
        CostCommand::Watch => {
            follow(client, screen, |entry| {
                let settled = text(entry, "kind") == "action.settled" && is_call(entry);
                settled || text(entry, "kind").starts_with("budget.")
            })
            .await
        }
    }
}

/// Runs `llm`.
pub async fn llm(llm: &Llm, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &llm.command {
        LlmCommand::List => {
            let answer = client.get("/api/v1/models", &[]).await?;
            screen.data(&answer, models)
        }
        LlmCommand::Test { name } => {
            let path = format!("/api/v1/models/{}/test", segment(name));
            let answer = client.post(&path, &json!({})).await?;
            screen.data(&answer, tested)?;
            match field(&answer, "answered").as_bool() {
                Some(true) => Ok(()),
                _ => Err(Failure::Told),
            }
        }
        LlmCommand::Tail => follow(client, screen, is_call).await,
    }
}

/// Entries as they come, of those that are `wanted`.
async fn follow(client: &Client, screen: &mut Screen, wanted: fn(&Value) -> bool) -> Result<(), Failure> {
    let mut last = None;
    loop {
        let mut events = client.events("/api/v1/audit/events", &[], last).await?;
        while let Some(event) = events.next().await? {
            last = event.id.or(last);
            if event.name == "entry" && wanted(&event.data) {
                screen.item(&event.data, entry::line)?;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The surface names its steps so.
fn is_call(entry: &Value) -> bool {
    text(entry, "body.step").starts_with("llm/")
}

fn amounts(value: &Value) -> Amounts {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// What a limit, or a sum, is of everything that is limited.
fn told(limit: &Value, of: &Amounts) -> String {
    let units = Unit::ALL.into_iter().filter(|unit| {
        let name = if *unit == Unit::Money {
            "micros"
        } else {
            unit.as_str()
        };
        limit.get(name).is_some_and(|limit| !limit.is_null())
    });
    units
        .map(|unit| unit.told(of.of(unit)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn percent(account: &Value) -> u64 {
    field(account, "percent").as_u64().unwrap_or_default()
}

fn share(percent: u64) -> super::table::Cell {
    let look = match percent {
        0..75 => Look::Plain,
        75..100 => Look::Yellow,
        _ => Look::Red,
    };
    cell(format!("{percent} %"), look)
}

fn budgets(answer: &Value, columns: usize) -> String {
    let row = |budget: &Value| {
        let accounts = list(budget, "accounts");
        let fullest = accounts.iter().max_by_key(|account| percent(account));
        let limit = field(budget, "limit");
        vec![
            cell(text(budget, "name"), Look::Bold),
            text(budget, "place").into(),
            text(budget, "per").into(),
            text(budget, "each").into(),
            told(limit, &amounts(limit)).into(),
            accounts.len().to_string().into(),
            share(fullest.map_or(0, percent)),
        ]
    };
    let rows: Vec<_> = list(answer, "budgets").iter().map(row).collect();
    let heads = ["budget", "place", "per", "each", "limit", "accounts", "fullest"];
    table(columns, &heads, rows, "no Budget documents: nothing is limited")
}

fn accounts(all: &[Value], columns: usize) -> String {
    let row = |account: &Value| {
        let limit = field(account, "limit");
        vec![
            cell(text(account, "account"), Look::Bold),
            told(limit, &amounts(field(account, "spent"))).into(),
            told(limit, &amounts(field(account, "reserved"))).into(),
            told(limit, &amounts(limit)).into(),
            share(percent(account)),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let heads = ["account", "spent", "reserved", "limit", "used"];
    table(columns, &heads, rows, "nothing was used in this period")
}

fn number(value: &Value, name: &str) -> u64 {
    field(value, name).as_u64().unwrap_or_default()
}

fn report(answer: &Value, columns: usize) -> String {
    let by: Vec<String> = list(answer, "by")
        .iter()
        .filter_map(|by| Some(by.as_str()?.to_owned()))
        .collect();
    let mut heads: Vec<&str> = by.iter().map(String::as_str).collect();
    heads.extend(["calls", "tokens in", "tokens out", "cost"]);
    let numbers = |line: &Value| {
        [
            number(line, "calls").to_string().into(),
            number(line, "tokens_input").to_string().into(),
            number(line, "tokens_output").to_string().into(),
            cell(dollars(number(line, "micros")), Look::Bold),
        ]
    };
    let row = |line: &Value| {
        let of = list(line, "of")
            .iter()
            .map(|of| of.as_str().unwrap_or_default().into());
        of.chain(numbers(line)).collect::<Vec<super::table::Cell>>()
    };
    let rows: Vec<_> = list(answer, "lines").iter().map(row).collect();
    let span = format!("{} to {}", text(answer, "from"), text(answer, "to"));
    let total = field(answer, "total");
    let mut out = table(columns, &heads, rows, "no model was called");
    out.push_str(&format!(
        "\n{} {} calls, {} in {}\n",
        "total".dimmed(),
        number(total, "calls"),
        dollars(number(total, "micros")).bold(),
        span.dimmed()
    ));
    out
}

/// RFC 4180, money in dollars.
fn comma_separated(answer: &Value) -> String {
    let quoted = |text: &str| {
        // What a spreadsheet would take for a formula.
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text != "-";
        let plain = if is_formula {
            format!("'{text}")
        } else {
            text.to_owned()
        };
        match plain.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", plain.replace('"', "\"\"")),
            false => plain,
        }
    };
    let by = list(answer, "by").iter().filter_map(Value::as_str);
    let heads = ["calls", "tokens_input", "tokens_output", "usd"];
    let mut out = by.chain(heads).collect::<Vec<_>>().join(",") + "\r\n";
    for line in list(answer, "lines") {
        let of = list(line, "of").iter().filter_map(Value::as_str).map(quoted);
        let numbers = ["calls", "tokens_input", "tokens_output"].map(|name| number(line, name).to_string());
        let money = dollars(number(line, "micros")).trim_start_matches('$').to_owned();
        let cells = of.chain(numbers).chain([money]).collect::<Vec<_>>();
        out.push_str(&(cells.join(",") + "\r\n"));
    }
    out
}

fn tested(answer: &Value, _: usize) -> String {
    let (word, look) = match field(answer, "answered").as_bool() {
        Some(true) => ("answered", look_of("permit")),
        _ => ("failed", look_of("deny")),
    };
    format!(
        "{}  {} in {} ms, {}: {}\n{} cofferdam sessions show {}\n",
        painted(&word.bold().to_string(), look),
        text(answer, "model"),
        number(answer, "duration_ms"),
        dollars(number(answer, "cost_micros")),
        text(answer, "text"),
        "record".dimmed(),
        text(answer, "session"),
    )
}

fn models(answer: &Value, columns: usize) -> String {
    let row = |model: &Value| {
        let state = match text(model, "breaker").as_str() {
            "" => cell("", Look::Plain),
            "closed" => cell("well", look_of("healthy")),
            "open" => cell("failing, left alone", Look::Red),
            _ => cell("failing, being tried", Look::Yellow),
        };
        vec![
            cell(text(model, "name"), Look::Bold),
            text(model, "kind").into(),
            state,
        ]
    };
    let rows: Vec<_> = list(answer, "models").iter().map(row).collect();
    table(
        columns,
        &["name", "kind", "state"],
        rows,
        "no Model documents: there is nothing to call",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    fn answer() -> Value {
        json!({
            "by": ["team", "model"], "from": "2026-11-01T00:00:00.000Z", "to": "2026-12-01T00:00:00.000Z",
            "lines": [
                { "of": ["acme/sre", "gpt"], "calls": 3, "tokens_input": 57, "tokens_output": 30, "micros": 1_250_001 },
                { "of": ["=1+1,2", "a,b"], "calls": 1, "tokens_input": 1, "tokens_output": 1, "micros": 0 },
            ],
            "total": { "of": [], "calls": 4, "tokens_input": 58, "tokens_output": 31, "micros": 1_250_001 },
        })
    }

    #[test]
    fn a_report_reads_as_a_table_and_as_csv() {
        let shown = strip_str(&report(&answer(), 100)).to_string();
        assert!(shown.contains("acme/sre"), "{shown}");
        assert!(shown.contains("$1.250001"), "{shown}");
        assert!(
            shown.contains("total 4 calls, $1.250001 in 2026-11-01"),
            "{shown}"
        );
        assert_eq!(
            comma_separated(&answer()),
            "team,model,calls,tokens_input,tokens_output,usd\r\nacme/sre,gpt,3,57,30,1.250001\r\n\"'=1+1,2\",\"a,b\",1,1,1,0.00\r\n"
        );
    }

    #[test]
    fn an_account_tells_what_is_limited_and_nothing_else() {
        let account = json!({
            "account": "day/2026-11-27/all", "budget": "day", "limit": { "micros": 5_000_000 }, "percent": 80,
            "spent": { "micros": 3_000_000, "turns": 7 }, "reserved": { "micros": 1_000_000 },
        });
        let shown = strip_str(&accounts(&[account], 100)).to_string();
        for part in ["$3.00", "$1.00", "$5.00", "80 %"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("turns"), "{shown}");
    }

    #[test]
    fn calls_are_told_from_other_actions_by_their_steps() {
        assert!(is_call(&json!({ "body": { "step": "llm/7-1" } })));
        assert!(!is_call(&json!({ "body": { "step": "egress/7-1" } })));
    }
}
