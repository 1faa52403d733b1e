//! `cofferdam approvals`: actions that wait for a person.
//!
//! What is shown is the exact action that will run; nothing in it can hide: invisible characters are
//! shown in reverse and counted.

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
  cofferdam approvals approve apr-57 --reason \"same fix as last week\"";

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
    },
    /// Refuse it, or withdraw an approval that is not spent yet
    Deny {
        /// Which one: apr-57
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
        ApprovalsCommand::Approve { id, reason } => decide(id, "/approve", reason, client, screen).await,
        ApprovalsCommand::Deny { id, reason } => decide(id, "/deny", reason, client, screen).await,
    }
}

async fn decide(
    id: &str,
    verdict: &str,
    reason: &str,
    client: &Client,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let approval = client
        .post(&path(id, verdict), &json!({ "reason": reason }))
        .await?;
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
            time(a, "expires").into(),
            text(a, "decided_by").into(),
        ]
    };
    let headers = [
        "ID",
        "STATE",
        "AGENT",
        "EFFECT",
        "ACTION",
        "EXPIRES",
        "DECIDED BY",
    ];
    table(
        columns,
        &headers,
        approvals.iter().map(row).collect(),
        "no approvals",
    )
}

/// Who may decide. One person decides for all the lists that there are, so all are given at once.
fn approvers(approval: &Value) -> String {
    let lists = list(approval, "each_of");
    if lists.is_empty() {
        return text(approval, "approvers");
    }
    let given = match text(approval, "state").as_str() {
        "approved" | "spent" => format!("given by {}", text(approval, "decided_by")),
        "pending" => "awaited".to_owned(),
        _ => "not given".to_owned(),
    };
    let lists = lists
        .iter()
        .map(|list| format!("one of {}: {given}", shown(list)));
    format!(
        "one person who is in each list; {}",
        lists.collect::<Vec<_>>().join("; ")
    )
}

fn show(approval: &Value, columns: usize) -> String {
    let head = fields(
        columns,
        &[
            ("approval", cell(text(approval, "id"), Look::Bold)),
            ("state", word(text(approval, "state"))),
            ("agent", text(approval, "agent").into()),
            ("cause", text(approval, "cause").into()),
            (
                "session",
                format!("{} step {}", text(approval, "session"), text(approval, "step")).into(),
            ),
            (
                "action",
                format!("{} {}", text(approval, "verb"), text(approval, "resource")).into(),
            ),
            ("effect", word(text(approval, "effect"))),
            ("environment", text(approval, "environment").into()),
            ("why it waits", text(approval, "reason").into()),
            ("rule", text(approval, "rule").into()),
            ("approvers", approvers(approval).into()),
            ("expires", time(approval, "expires").into()),
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
            (json!({"approvers": ["sre", "bob"], "each_of": [["sre"], ["bob", "sre"]], "state": "pending"}),
             "approvers  one person who is in each list; one of sre: awaited; one of bob, sre: awaited\n"),
            (json!({"approvers": ["bob"], "each_of": [["bob"], ["admin"]], "state": "spent", "decided_by": "person:bob"}),
             "approvers  one person who is in each list; one of bob: given by person:bob; one of admin: given by person:bob\n"),
            (json!({"approvers": ["a"], "each_of": [["a"], ["b"]], "state": "expired"}),
             "approvers  one person who is in each list; one of a: not given; one of b: not given\n"),
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
