//! `cofferdam approvals`: actions that wait for a person.
//!
//! What is shown is the exact action that will run; nothing in it can hide: invisible characters are
//! shown in reverse and counted.

mod watch;

use super::client::{Client, segment};
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, fields, heading, table, word};
use super::text::{diff, hidden, marked};
use super::value::{field, list, shown, text, time};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam approvals show apr-57
  cofferdam approvals approve apr-57 --reason \"same fix as last week\"
  cofferdam approvals approve apr-57 --scope 1h
  cofferdam approvals revoke-waiver wvr-61
  cofferdam approvals watch";

/// `cofferdam approvals`
#[derive(Args, Debug)]
pub struct Approvals {
    #[command(subcommand)]
    command: ApprovalsCommand,
}

#[derive(Debug, Subcommand)]
enum ApprovalsCommand {
    /// List approvals, pending ones first
    List {
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show the exact action that waits, with its diff
    Show {
        /// Which one: apr-57
        id: String,
    },
    /// Let exactly this action happen, once
    Approve {
        /// Which one: apr-57
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// Not to be asked again about actions alike: session, or a time like 1h, where the rules let it
        #[arg(long, value_name = "SCOPE")]
        scope: Option<String>,
    },
    /// Refuse it, or withdraw an approval that is not spent yet
    Deny {
        /// Which one: apr-57
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Decide about what waits, one after another, with single keys
    Watch,
    /// List waivers: what is not asked again for a while
    Waivers {
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// End a waiver: ask again from now on
    RevokeWaiver {
        /// Which one: wvr-61
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Runs it.
pub async fn run(approvals: &Approvals, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &approvals.command {
        ApprovalsCommand::List { limit } => {
            let approvals = client
                .get("/api/v1/approvals", &[("limit", limit.to_string())])
                .await?;
            screen.data(&approvals, |approvals, columns| {
                rows(list(approvals, ""), columns)
            })
        }
        ApprovalsCommand::Show { id } => {
            let approval = client.get(&path(id, ""), &[]).await?;
            screen.data(&approval, show)
        }
        ApprovalsCommand::Approve { id, reason, scope } => {
            let mut body = json!({ "reason": reason });
            if let (Some(scope), Some(members)) = (scope, body.as_object_mut()) {
                members.insert("scope".to_owned(), json!(scope));
            }
            decide(&path(id, "/approve"), &body, client, screen).await
        }
        ApprovalsCommand::Deny { id, reason } => {
            decide(&path(id, "/deny"), &json!({ "reason": reason }), client, screen).await
        }
        ApprovalsCommand::Watch => watch::run(client, screen).await,
        ApprovalsCommand::Waivers { limit } => {
            let waivers = client
                .get("/api/v1/waivers", &[("limit", limit.to_string())])
                .await?;
            screen.data(&waivers, |waivers, columns| {
                waiver_rows(list(waivers, ""), columns)
            })
        }
        ApprovalsCommand::RevokeWaiver { id, reason } => {
            let path = format!("/api/v1/waivers/{}/revoke", segment(id));
            let waiver = client.post(&path, &json!({ "reason": reason })).await?;
            screen.data(&waiver, |waiver, columns| {
                waiver_rows(std::slice::from_ref(waiver), columns)
            })
        }
    }
}

async fn decide(path: &str, body: &Value, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let approval = client.post(path, body).await?;
    screen.data(&approval, |approval, columns| {
        rows(std::slice::from_ref(approval), columns)
    })
}

fn path(id: &str, rest: &str) -> String {
    format!("/api/v1/approvals/{}{rest}", segment(id))
}

fn rows(approvals: &[Value], columns: usize) -> String {
    let row = |a: &Value| {
        vec![
            cell(text(a, "id"), Look::Bold),
            word(text(a, "state")),
            text(a, "agent").into(),
            word(text(a, "effect")),
            format!("{} {}", text(a, "verb"), text(a, "resource")).into(),
            span(a, "age_seconds").into(),
            span(a, "seconds_left").into(),
            text(a, "decided_by").into(),
        ]
    };
    let headers = [
        "ID",
        "STATE",
        "AGENT",
        "EFFECT",
        "ACTION",
        "AGE",
        "LEFT",
        "DECIDED BY",
    ];
    table(
        columns,
        &headers,
        approvals.iter().map(row).collect(),
        "no approvals",
    )
}

fn waiver_rows(waivers: &[Value], columns: usize) -> String {
    let row = |w: &Value| {
        let ends = match time(w, "expires") {
            none if none.is_empty() => format!("with {}", text(w, "session")),
            time => time,
        };
        vec![
            cell(text(w, "id"), Look::Bold),
            word(text(w, "state")),
            text(w, "agent").into(),
            word(text(w, "effect")),
            format!("{} {}", text(w, "verb"), text(w, "resource")).into(),
            text(w, "environment").into(),
            ends.into(),
            text(w, "by").into(),
        ]
    };
    let headers = [
        "ID",
        "STATE",
        "AGENT",
        "EFFECT",
        "ACTION",
        "ENVIRONMENT",
        "ENDS",
        "GIVEN BY",
    ];
    table(columns, &headers, waivers.iter().map(row).collect(), "no waivers")
}

/// Seconds as a person says them.
fn span(value: &Value, name: &str) -> String {
    match field(value, name).as_u64() {
        None => String::new(),
        Some(seconds @ ..120) => format!("{seconds} s"),
        Some(seconds @ ..7_200) => format!("{} min", seconds / 60),
        Some(seconds @ ..172_800) => format!("{} h", seconds / 3_600),
        Some(seconds) => format!("{} d", seconds / 86_400),
    }
}

/// Who has to approve: every stage of every list, and how many of it have.
fn approvers(approval: &Value) -> String {
    let lists = list(approval, "each_of");
    if lists.is_empty() {
        return text(approval, "approvers");
    }
    let given = |at: usize, stage: usize| {
        let votes = list(approval, "votes")
            .iter()
            .flat_map(|vote| list(vote, "counts"));
        let here = |count: &&Value| {
            field(count, "list").as_u64() == Some(at as u64)
                && field(count, "stage").as_u64() == Some(stage as u64)
        };
        votes.filter(here).count()
    };
    let told = |(at, stages): (usize, &Value)| {
        let stages = list(stages, "");
        if stages.iter().all(Value::is_string) {
            let names: Vec<_> = stages.iter().map(shown).collect();
            return format!("{} ({} of 1)", names.join(" or "), given(at, 0));
        }
        let one = |(stage, asked): (usize, &Value)| {
            let names = match list(asked, "any")
                .iter()
                .map(shown)
                .collect::<Vec<_>>()
                .join(" or ")
            {
                none if none.is_empty() => "anyone who may approve".to_owned(),
                names => names,
            };
            let count = field(asked, "count").as_u64().unwrap_or(1);
            format!("{names} ({} of {count})", given(at, stage))
        };
        stages
            .iter()
            .enumerate()
            .map(one)
            .collect::<Vec<_>>()
            .join(", then ")
    };
    lists
        .iter()
        .enumerate()
        .map(told)
        .collect::<Vec<_>>()
        .join("; and ")
}

/// What was said so far, and by whom.
fn votes(approval: &Value) -> String {
    let vote = |vote: &Value| match text(vote, "reason") {
        none if none.is_empty() => text(vote, "by"),
        reason => format!("{}: {reason}", text(vote, "by")),
    };
    list(approval, "votes")
        .iter()
        .map(vote)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Whether it can be undone, as far as anybody knows.
fn reversible(approval: &Value) -> String {
    let repeated = match text(approval, "idempotence").as_str() {
        "idempotent" => "; done twice it is as if done once",
        _ => "",
    };
    let undone = match text(approval, "effect").as_str() {
        "read" => "it changes nothing",
        "write" => "it changes something, and nothing here undoes it",
        _ => "no: it destroys something",
    };
    format!("{undone}{repeated}")
}

/// The last decision about such an action.
fn similar(approval: &Value) -> String {
    match field(approval, "similar") {
        Value::Null => "never decided before".to_owned(),
        last => {
            let reason = match text(last, "reason") {
                none if none.is_empty() => String::new(),
                reason => format!(": {reason}"),
            };
            let (id, state, by) = (text(last, "id"), text(last, "state"), text(last, "decided_by"));
            format!("{id} is {state}, by {by}, {}{reason}", time(last, "decided_at"))
        }
    }
}

fn show(approval: &Value, columns: usize) -> String {
    let head = fields(
        columns,
        &[
            ("approval", cell(text(approval, "id"), Look::Bold)),
            ("state", word(text(approval, "state"))),
            ("agent", text(approval, "agent").into()),
            ("cause", text(approval, "cause").into()),
            ("on behalf of", text(approval, "behalf").into()),
            (
                "session",
                format!("{} step {}", text(approval, "session"), text(approval, "step")).into(),
            ),
            (
                "action",
                format!("{} {}", text(approval, "verb"), text(approval, "resource")).into(),
            ),
            ("effect", word(text(approval, "effect"))),
            ("reversible", reversible(approval).into()),
            ("environment", text(approval, "environment").into()),
            ("level", text(approval, "level").into()),
            ("trust", text(approval, "trust").into()),
            ("why it waits", text(approval, "reason").into()),
            ("rule", text(approval, "rule").into()),
            ("approvers", approvers(approval).into()),
            ("said yes", votes(approval).into()),
            ("may be waived", text(approval, "waivable").into()),
            ("asked", time(approval, "requested").into()),
            ("expires", time(approval, "expires").into()),
            ("last alike", similar(approval).into()),
            ("decided by", text(approval, "decided_by").into()),
            ("decision", text(approval, "decision_reason").into()),
        ],
    );
    match field(approval, "action") {
        Value::Null => format!("{head}\n{}", "the action was erased".dimmed()),
        action => format!("{head}\n{}", exact_action(action)),
    }
}

/// Every argument of the action as it will run: short ones in a list, texts of several lines and
/// diffs below, whole.
pub(crate) fn exact_action(action: &Value) -> String {
    let arguments = field(action, "arguments")
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut short = Vec::new();
    let mut long = String::new();
    let mut concealed = 0;
    for (name, value) in &arguments {
        let shown = match value {
            Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        concealed += hidden(name) + hidden(&shown);
        if shown.contains('\n') {
            let body = if looks_like_a_diff(&shown) {
                diff(&shown)
            } else {
                marked(&shown)
            };
            long.push_str(&format!("\n{}{}\n", heading(name), body.trim_end_matches('\n')));
        } else {
            short.push((marked(name), marked(&shown)));
        }
    }
    let indent = short
        .iter()
        .map(|(name, _)| super::text::width(name))
        .max()
        .unwrap_or(0)
        + 2;
    let mut out = heading("The exact action");
    for (name, value) in short {
        let gap = " ".repeat(indent - super::text::width(&name));
        out.push_str(&format!("{}{gap}{value}\n", name.dimmed()));
    }
    out.push_str(&long);
    if concealed > 0 {
        let warning = format!(
            "{concealed} characters in it are invisible or control the terminal; they are shown in reverse"
        );
        out.push_str(&format!("\n{}\n", warning.red().bold()));
    }
    out
}

fn looks_like_a_diff(text: &str) -> bool {
    text.starts_with("diff ") || text.starts_with("--- ") || text.contains("\n@@ ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    #[test]
    fn every_list_of_approvers_is_shown_with_who_has_given_what() {
        #[rustfmt::skip]
        let table = [
            (json!({"approvers": []}), ""),
            (json!({"approvers": ["sre", "bob"]}), "approvers  sre, bob\n"),
            (json!({"approvers": ["sre", "bob"], "each_of": [["sre"], ["bob", "sre"]]}),
             "approvers  sre (0 of 1); and bob or sre (0 of 1)\n"),
            (json!({"approvers": ["sre"], "each_of": [[{"any": ["sre"]}, {"any": ["team:security"], "count": 2}, {}]],
                "votes": [{"by": "person:bob", "counts": [{"list": 0, "stage": 0}]}]}),
             "approvers  sre (1 of 1), then team:security (0 of 2), then anyone who may approve (0 of 1)\n"),
        ];
        for (approval, expected) in table {
            let line = fields(200, &[("approvers", approvers(&approval).into())]);
            assert_eq!(strip_str(&line).to_string(), expected, "{approval}");
            assert!(
                strip_str(&show(&approval, 200))
                    .to_string()
                    .contains(expected.trim_start_matches("approvers"))
            );
        }
    }

    #[test]
    fn the_exact_action_is_whole_and_nothing_hides_in_it() {
        let action = json!({"arguments": {
            "base": "1a2b", "diff": "diff --git a/x b/x\n@@ -1 +1 @@\n-a\n+b\u{202e}\n", "title": "Rev\u{200b}ert"}});
        let shown = exact_action(&action);
        assert!(shown.contains("\u{1b}[32m+b"), "{shown}");
        assert_eq!(
            strip_str(&shown).to_string(),
            "\
The exact action
base   1a2b
title  Rev<U+200B>ert

diff
diff --git a/x b/x
@@ -1 +1 @@
-a
+b<U+202E>

2 characters in it are invisible or control the terminal; they are shown in reverse
"
        );
    }
}
