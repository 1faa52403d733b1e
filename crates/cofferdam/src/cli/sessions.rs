//! `cofferdam sessions`: runs of agents, step by step.

use super::client::{Client, segment};
use super::entry;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, fields, look_of, painted, table, word};
use super::text::{cut, fold, indented, width};
use super::value::{field, list, shown, text, time};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam sessions list --state waiting
  cofferdam sessions watch ses-42
  cofferdam sessions resolve ses-42 --not-done --reason \"the pipeline shows no run\"";

/// `cofferdam sessions`
#[derive(Args, Debug)]
pub struct Sessions {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// List sessions, the newest first
    List {
        /// Only those in this state
        #[arg(long, value_parser = ["created", "queued", "running", "waiting", "completed", "failed", "cancelled"])]
        state: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one session with the effect, decision and reason of every step
    Show {
        /// Which one: ses-42
        id: String,
    },
    /// Follow a session: what happened, then what happens, until it ends
    Watch {
        /// Which one: ses-42
        id: String,
    },
    /// Cancel a session: no further step, and what is in flight is cut
    Cancel {
        /// Which one: ses-42
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Say what became of a step whose outcome nobody knows
    Resolve(Resolve),
}

#[derive(Args, Debug)]
#[group(skip)]
struct Resolve {
    /// Which session: ses-42
    id: String,
    /// Which step, when more than one is uncertain
    #[arg(long)]
    step: Option<String>,
    /// It was done
    #[arg(long, required_unless_present = "not_done", conflicts_with = "not_done")]
    done: bool,
    /// It was not done, and may be proposed again
    #[arg(long)]
    not_done: bool,
    /// Its result, as JSON
    #[arg(long, value_name = "JSON", requires = "done", default_value = "null")]
    result: String,
    /// How you know
    #[arg(long)]
    reason: String,
}

/// Runs it.
pub async fn run(sessions: &Sessions, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &sessions.command {
        SessionsCommand::List { state, limit } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(state.iter().map(|s| ("state", s.clone())));
            let sessions = client.get("/api/v1/sessions", &query).await?;
            screen.data(&sessions, |sessions, columns| rows(list(sessions, ""), columns))
        }
        SessionsCommand::Show { id } => {
            let session = client.get(&path(id, ""), &[]).await?;
            screen.data(&session, show)
        }
        SessionsCommand::Watch { id } => watch(id, client, screen).await,
        SessionsCommand::Cancel { id, reason } => {
            let session = client
                .post(&path(id, "/cancel"), &json!({ "reason": reason }))
                .await?;
            screen.data(&session, |session, columns| {
                rows(std::slice::from_ref(session), columns)
            })
        }
        SessionsCommand::Resolve(resolve) => {
            let result: Value = serde_json::from_str(&resolve.result)
                .map_err(|e| Failure::Misuse(format!("--result is not JSON: {e}")))?;
            let mut body = json!({
                "resolution": if resolve.done { "done" } else { "not_done" },
                "reason": resolve.reason,
            });
            if let Some(object) = body.as_object_mut() {
                if let Some(step) = &resolve.step {
                    object.insert("step".into(), json!(step));
                }
                if resolve.done {
                    object.insert("result".into(), result);
                }
            }
            let call = client.post(&path(&resolve.id, "/resolve"), &body).await?;
            screen.data(&call, |call, columns| steps(std::slice::from_ref(call), columns))
        }
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/api/v1/sessions/{}{rest}", segment(id))
}

/// Prints every entry of a session until it ends. A lost connection is taken up after the last entry.
async fn watch(id: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut last = None;
    loop {
        let mut events = client.events(&path(id, "/events"), &[], last).await?;
        loop {
            match events.next().await {
                Ok(Some(event)) if event.name == "end" => match text(&event.data, "error") {
                    error if error.is_empty() => return Ok(()),
                    error => return Err(Failure::Failed(error)),
                },
                Ok(Some(event)) => {
                    last = event.id.or(last);
                    if !event.data.is_null() {
                        screen.item(&event.data, entry::line)?;
                    }
                }
                Ok(None) => break,
                Err(failure) => {
                    screen.tell(&format!("{} {failure}", "reconnecting:".dimmed()));
                    break;
                }
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

fn rows(sessions: &[Value], columns: usize) -> String {
    let row = |s: &Value| {
        vec![
            cell(text(s, "id"), Look::Bold),
            word(text(s, "state")),
            text(s, "agent").into(),
            text(s, "actions").into(),
            time(s, "updated").into(),
            title(s).into(),
        ]
    };
    let headers = ["ID", "STATE", "AGENT", "ACTIONS", "UPDATED", "TITLE"];
    table(
        columns,
        &headers,
        sessions.iter().map(row).collect(),
        "no sessions",
    )
}

fn title(session: &Value) -> String {
    match (text(session, "title"), text(session, "reason")) {
        (title, reason) if reason.is_empty() => title,
        (title, reason) => format!("{title} ({reason})"),
    }
}

/// A session and its steps.
fn show(session: &Value, columns: usize) -> String {
    let about = if field(session, "session").is_object() {
        field(session, "session")
    } else {
        session
    };
    let head = fields(
        columns,
        &[
            ("session", cell(text(about, "id"), Look::Bold)),
            ("title", text(about, "title").into()),
            ("agent", text(about, "agent").into()),
            ("cause", text(about, "cause").into()),
            ("state", word(text(about, "state"))),
            ("reason", text(about, "reason").into()),
            ("created", time(about, "created").into()),
            ("updated", time(about, "updated").into()),
            ("about", text(about, "correlation").into()),
            (
                "tainted",
                match list(about, "taint").iter().map(shown).collect::<Vec<_>>() {
                    labels if labels.is_empty() => "".into(),
                    labels => cell(labels.join(", "), Look::Yellow),
                },
            ),
        ],
    );
    format!("{head}\n{}", steps(list(session, "calls"), columns))
}

/// Steps with effect, decision and outcome, and below each of them the reason and what came of it.
pub(crate) fn steps(calls: &[Value], columns: usize) -> String {
    if calls.is_empty() {
        return "no steps yet".dimmed().to_string();
    }
    let columns = columns.min(120);
    let name = calls
        .iter()
        .map(|c| width(&text(c, "step")))
        .max()
        .unwrap_or(0)
        .clamp(4, 24);
    calls.iter().map(|call| step(call, name, columns)).collect()
}

fn step(call: &Value, name: usize, columns: usize) -> String {
    let effect = text(call, "effect");
    let outcome = match (text(call, "outcome"), text(call, "state")) {
        (outcome, state) if outcome.is_empty() => state,
        (outcome, _) => outcome,
    };
    let decision = text(call, "decision").replace('_', " ");
    // Of what was refused or waits, the decision says it all.
    let verdict = match decision.as_str() {
        "permit" => format!("permit, {outcome}"),
        _ if outcome == "denied" => "deny".to_owned(),
        _ => format!("{decision}, {outcome}"),
    };
    // The entry that permitted it, or the one that refused it or asked.
    let entry = match text(call, "permit") {
        none if none.is_empty() => text(call, "first"),
        permit => permit,
    };
    let indent = 7 + name + 2 + 12;
    let room = columns.saturating_sub(indent + width(&verdict) + 2).max(12);
    let target = cut(
        &format!("{} {}", text(call, "verb"), text(call, "resource")),
        room,
    );
    let mut out = format!(
        "{}  {}  {}{target:<room$}  {}\n",
        format!("{:>5}", entry).dimmed(),
        format!("{:<name$}", cut(&text(call, "step"), name)).bold(),
        painted(&format!("{effect:<12}"), look_of(&effect)),
        painted(&verdict, look_of(&outcome)),
    );
    let said = [
        ("", "reason"),
        ("what would change it: ", "remedy"),
        ("→ ", "summary"),
    ];
    for (before, field) in said {
        let said = text(call, field);
        if !said.is_empty() {
            let lines = fold(&format!("{before}{said}"), columns.saturating_sub(indent)).join("\n");
            let shown = indented(&lines, indent);
            out.push_str(&if field == "reason" {
                shown.dimmed().to_string()
            } else {
                shown
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    #[test]
    fn a_session_shows_effect_decision_and_reason_of_each_step() {
        let session = json!({"id": "ses-4", "agent": "triage", "state": "waiting", "reason": "approval apr-9",
            "calls": [{"step": "restart", "effect": "write", "verb": "http.request", "resource": "http://x/",
                "decision": "deny", "state": "denied", "permit": null, "first": 7, "reason": "no rule opts in", "remedy": "add a rule"}]});
        let shown = strip_str(&show(&session, 80)).to_string();
        assert_eq!(
            shown,
            "session  ses-4
agent    triage
state    waiting
reason   approval apr-9

    7  restart  write       http.request http://x/                          deny
                            no rule opts in
                            what would change it: add a rule
"
        );
    }
}
