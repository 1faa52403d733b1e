//! `cofferdam egress`: what agents may reach over the network, and what they do there.

use super::client::{Client, segment};
use super::entry;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, look_of, painted, table};
use super::value::{field, list, text};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const HELP: &str = "\
Examples:
  cofferdam egress test api.example.com:443 --agent triage
  cofferdam egress tail
  cofferdam egress proxy ses-42
  cofferdam egress authority > ca.pem

Egress documents say which agents reach which hosts; without one an agent reaches nothing.
Exit code of test: 0 it would be let through, 1 it would not.";

/// `cofferdam egress`
#[derive(Args, Debug)]
pub struct Egress {
    #[command(subcommand)]
    command: EgressCommand,
}

#[derive(Debug, Subcommand)]
enum EgressCommand {
    /// What would become of a connection: the rule, and every address of the name
    Test {
        /// Where to
        #[arg(value_name = "HOST:PORT")]
        target: String,
        /// Which agent
        #[arg(long, value_name = "AGENT")]
        agent: String,
    },
    /// Follow connections as they are permitted, denied and ended
    Tail,
    /// Print what to set HTTPS_PROXY to for one running session; it holds a secret
    Proxy {
        /// Which session
        #[arg(value_name = "SESSION")]
        session: String,
    },
    /// Print the certificate that inspected connections are signed by
    Authority,
}

/// Runs it.
pub async fn run(egress: &Egress, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &egress.command {
        EgressCommand::Test { target, agent } => {
            let question = json!({ "agent": agent, "target": target });
            let answer = client.post("/api/v1/egress/test", &question).await?;
            screen.data(&answer, show)?;
            match field(&answer, "allowed").as_bool() {
                Some(true) => Ok(()),
                _ => Err(Failure::Told),
            }
        }
        EgressCommand::Tail => tail(client, screen).await,
        EgressCommand::Proxy { session } => {
            let path = format!("/api/v1/sessions/{}/egress", segment(session));
            let answer = client.post(&path, &json!({})).await?;
            screen.data(&answer, |answer, _| text(answer, "proxy"))
        }
        EgressCommand::Authority => {
            let answer = client.get("/api/v1/egress/authority", &[]).await?;
            screen.data(&answer, |answer, _| super::value::raw(answer, "pem").to_owned())
        }
    }
}

/// Entries about actions as they come, those of the network alone.
async fn tail(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let query = [("kind", "action".to_owned())];
    let mut last = None;
    loop {
        let mut events = client.events("/api/v1/audit/events", &query, last).await?;
        while let Some(event) = events.next().await? {
            last = event.id.or(last);
            if event.name == "entry" && is_of_network(&event.data) {
                screen.item(&event.data, entry::line)?;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The surface names its steps so.
fn is_of_network(entry: &Value) -> bool {
    text(entry, "body.step").starts_with("egress/")
}

fn show(answer: &Value, columns: usize) -> String {
    let (word, look) = match field(answer, "allowed").as_bool() {
        Some(true) => ("allowed", look_of("permit")),
        _ => ("refused", look_of("deny")),
    };
    let mut out = format!(
        "{}  {} for {}\n{}\n",
        painted(&word.bold().to_string(), look),
        text(answer, "target"),
        text(answer, "agent"),
        text(answer, "reason"),
    );
    let rule = text(answer, "rule");
    if !rule.is_empty() {
        out.push_str(&format!(
            "{} {rule} ({})\n",
            "rule".dimmed(),
            text(answer, "mode")
        ));
    }
    let row = |one: &Value| {
        let refused = text(one, "refused");
        let verdict = if refused.is_empty() { "" } else { "refused" };
        vec![
            cell(text(one, "address"), Look::Bold),
            text(one, "class").into(),
            cell(verdict, look_of("deny")),
        ]
    };
    let rows: Vec<_> = list(answer, "addresses").iter().map(row).collect();
    if !rows.is_empty() {
        out.push_str(&table(columns, &["address", "it is", ""], rows, ""));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    #[test]
    fn a_verdict_is_told_with_its_addresses() {
        let answer = json!({
            "target": "a.test:443", "agent": "triage", "allowed": false, "mode": "tunnel", "rule": "egress/web#a",
            "outcome": "permit", "reason": "`a.test` leads to 127.0.0.1, which is a loopback address",
            "addresses": [{ "address": "127.0.0.1", "class": "a loopback address", "refused": "a loopback address" }],
        });
        let shown = strip_str(&show(&answer, 80)).to_string();
        assert!(
            shown.starts_with("refused  a.test:443 for triage\n`a.test` leads to 127.0.0.1"),
            "{shown}"
        );
        assert!(shown.contains("rule egress/web#a (tunnel)"), "{shown}");
        assert!(
            shown.contains("127.0.0.1  a loopback address  refused"),
            "{shown}"
        );
    }

    #[test]
    fn connections_are_told_from_other_actions_by_their_steps() {
        assert!(is_of_network(&json!({ "body": { "step": "egress/7-1" } })));
        assert!(!is_of_network(&json!({ "body": { "step": "steps/0" } })));
        assert!(!is_of_network(&json!({ "body": {} })));
    }
}
