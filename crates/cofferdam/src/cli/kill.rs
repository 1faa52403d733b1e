//! `cofferdam kill`: stops that work at once, for everything, one agent or one session.

use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, table};
use super::value::{field, list, text};
use clap::{ArgGroup, Args, Subcommand};
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

/// What to stop, and why. One flat struct: clap sees an optional one only by its own arguments.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("scope").required(true).args(["all", "agent", "session"])))]
struct Stop {
    /// Everything
    #[arg(long)]
    all: bool,
    /// One agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// One session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Why
    #[arg(long, required = true)]
    reason: String,
}

impl Stop {
    fn scope(&self) -> String {
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
            let body = json!({"scope": stop.scope(), "reason": stop.reason});
            let answer = client.delete("/api/v1/stops", Some(&body)).await?;
            screen.data(&answer, |_, _| format!("{} {}", "lifted".green(), stop.scope()))
        }
        (None, Some(stop)) => {
            let body = json!({"scope": stop.scope(), "reason": stop.reason});
            let answer = client.post("/api/v1/stops", &body).await?;
            screen.data(&answer, |answer, _| stopped(&stop.scope(), answer))?;
            if field(&answer, "known").as_bool() != Some(false) {
                return Ok(());
            }
            let scope = super::text::visible(&stop.scope());
            screen.tell(&format!(
                "{} there is no {scope} now, so nothing was stopped; the stop stays in force until it is lifted",
                "warning:".yellow()
            ));
            Err(Failure::Told)
        }
        (None, None) => Err(Failure::Misuse(
            "say what to stop: --all, --agent NAME or --session ID".into(),
        )),
    }
}

/// What was cut, and whether the stop survives a restart.
fn stopped(scope: &str, answer: &Value) -> String {
    let mut out = format!("{} {}", "stopped".red().bold(), super::text::visible(scope));
    let cut = list(answer, "cancelled").len();
    out.push_str(&format!("; {cut} actions in flight were cut"));
    if field(answer, "durable").as_bool() != Some(true) {
        out.push_str(&format!(
            "\n{}",
            "not recorded yet: it holds until this process ends, and is tried again".yellow()
        ));
    }
    out
}

fn rows(stops: &[Value], columns: usize) -> String {
    let row = |s: &Value| {
        vec![
            cell(text(s, "scope"), Look::Red),
            text(s, "by").into(),
            text(s, "reason").into(),
        ]
    };
    table(
        columns,
        &["SCOPE", "BY", "REASON"],
        stops.iter().map(row).collect(),
        "no stops",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        kill: Kill,
    }

    #[test]
    fn says_what_to_stop() {
        #[rustfmt::skip]
        let table = [
            ("everything",          "--all --reason x",               "stop all: x"),
            ("an agent",            "--agent triage --reason x",      "stop agent:triage: x"),
            ("a session",           "--session ses-4 --reason x",     "stop session:ses-4: x"),
            ("the list",            "list",                           "list"),
            ("the end of one",      "lift --agent triage --reason y", "lift agent:triage: y"),
            ("no reason",           "--all",                          "misuse"),
            ("two things at once",  "--all --agent a --reason x",     "misuse"),
            ("lifting nothing",     "lift --reason x",                "misuse"),
            ("a reason, no scope",  "--reason x",                     "misuse"),
        ];
        for (name, line, expected) in table {
            let words = std::iter::once("kill").chain(line.split(' '));
            let said = match Line::try_parse_from(words).map(|line| line.kill) {
                Ok(Kill {
                    command: Some(KillCommand::List),
                    ..
                }) => "list".to_owned(),
                Ok(Kill {
                    command: Some(KillCommand::Lift(stop)),
                    ..
                }) => format!("lift {}: {}", stop.scope(), stop.reason),
                Ok(Kill {
                    command: None,
                    stop: Some(stop),
                }) => format!("stop {}: {}", stop.scope(), stop.reason),
                Ok(Kill {
                    command: None,
                    stop: None,
                }) => "nothing".to_owned(),
                Err(_) => "misuse".to_owned(),
            };
            assert_eq!(said, expected, "{name}");
        }
    }
}
