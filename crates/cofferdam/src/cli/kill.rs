//! `cofferdam kill`: stops that work at once, for everything, one agent or one session.

use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, table};
use super::value::{field, list, text};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam kill --all --reason \"something is wrong\"
  cofferdam kill --agent triage --reason \"too many restarts\"
  cofferdam kill list
  cofferdam kill lift --agent triage --reason \"fixed\"

A stop cuts what is in flight, permits nothing more, and survives a restart until it is lifted.";

/// `cofferdam kill`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Kill {
    #[command(subcommand)]
    command: Option<KillCommand>,
    #[command(flatten)]
    stop: Option<Stop>,
}

#[derive(Debug, Subcommand)]
enum KillCommand {
    /// List the stops in force
    List,
    /// End a stop
    Lift(Stop),
}

#[derive(Args, Clone, Debug)]
struct Stop {
    #[command(flatten)]
    scope: Scope,
    /// Why
    #[arg(long, required = true)]
    reason: String,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Scope {
    /// Everything
    #[arg(long)]
    all: bool,
    /// One agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// One session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

impl Scope {
    fn as_text(&self) -> String {
        match (&self.agent, &self.session) {
            (Some(agent), _) => format!("agent:{agent}"),
            (None, Some(session)) => format!("session:{session}"),
            (None, None) => "all".to_owned(),
        }
    }
}

/// Runs it.
pub async fn run(kill: &Kill, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match (&kill.command, &kill.stop) {
        (Some(KillCommand::List), _) => {
            let stops = client.get("/api/v1/stops", &[]).await?;
            screen.data(&stops, |stops, columns| rows(list(stops, ""), columns))
        }
        (Some(KillCommand::Lift(stop)), _) => {
            let body = json!({"scope": stop.scope.as_text(), "reason": stop.reason});
            let answer = client.delete("/api/v1/stops", Some(&body)).await?;
            screen.data(&answer, |_, _| format!("{} {}", "lifted".green(), stop.scope.as_text()))
        }
        (None, Some(stop)) => {
            let body = json!({"scope": stop.scope.as_text(), "reason": stop.reason});
            let answer = client.post("/api/v1/stops", &body).await?;
            screen.data(&answer, |answer, _| stopped(&stop.scope.as_text(), answer))
        }
        (None, None) => Err(Failure::Misuse("say what to stop: --all, --agent NAME or --session ID".into())),
    }
}

/// What was cut, and whether the stop survives a restart.
fn stopped(scope: &str, answer: &Value) -> String {
    let mut out = format!("{} {}", "stopped".red().bold(), super::text::visible(scope));
    let cut = list(answer, "cancelled").len();
    out.push_str(&format!("; {cut} actions in flight were cut"));
    if field(answer, "durable").as_bool() != Some(true) {
        out.push_str(&format!("\n{}", "not recorded yet: it holds until this process ends, and is tried again".yellow()));
    }
    out
}

fn rows(stops: &[Value], columns: usize) -> String {
    let row = |s: &Value| {
        vec![cell(text(s, "scope"), Look::Red), text(s, "by").into(), text(s, "reason").into()]
    };
    table(columns, &["SCOPE", "BY", "REASON"], stops.iter().map(row).collect(), "no stops")
}
