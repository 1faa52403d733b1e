//! `cofferdam incidents`: what happened, and what triage found.

use super::client::{Client, segment};
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, fields, heading, table, word};
use super::text::{fold, short_hashes};
use super::value::{field, list, text, time};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::Value;

/// `cofferdam incidents`
#[derive(Args, Debug)]
pub struct Incidents {
    #[command(subcommand)]
    command: IncidentsCommand,
}

#[derive(Debug, Subcommand)]
enum IncidentsCommand {
    /// List incidents, the newest first
    List {
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one incident and its triage summary
    Show {
        /// Which one: INC-2026-1121-001
        id: String,
    },
}

/// Runs it.
pub async fn run(incidents: &Incidents, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &incidents.command {
        IncidentsCommand::List { limit } => {
            let incidents = client
                .get("/api/v1/incidents", &[("limit", limit.to_string())])
                .await?;
            screen.data(&incidents, |incidents, columns| {
                rows(list(incidents, ""), columns)
            })
        }
        IncidentsCommand::Show { id } => {
            let incident = client
                .get(&format!("/api/v1/incidents/{}", segment(id)), &[])
                .await?;
            screen.data(&incident, show)
        }
    }
}

fn rows(incidents: &[Value], columns: usize) -> String {
    let row = |i: &Value| {
        vec![
            cell(text(i, "id"), Look::Bold),
            word(text(i, "severity")),
            word(text(i, "status")),
            time(i, "opened").into(),
            text(i, "title").into(),
        ]
    };
    let headers = ["ID", "SEVERITY", "STATUS", "OPENED", "TITLE"];
    table(
        columns,
        &headers,
        incidents.iter().map(row).collect(),
        "no incidents",
    )
}

fn show(incident: &Value, columns: usize) -> String {
    let head = fields(
        columns,
        &[
            ("incident", cell(text(incident, "id"), Look::Bold)),
            ("title", text(incident, "title").into()),
            ("severity", word(text(incident, "severity"))),
            ("status", word(text(incident, "status"))),
            ("triggered by", text(incident, "triggered_by").into()),
            ("opened", time(incident, "opened").into()),
            ("resolved", time(incident, "resolved").into()),
            ("resolution", text(incident, "resolution").into()),
            ("repeats", text(incident, "repeats").into()),
            ("sessions", text(incident, "sessions").into()),
        ],
    );
    match field(incident, "summary") {
        Value::Null => format!("{head}\n{}", "no summary yet".dimmed()),
        found => format!("{head}\n{}", summary(found, columns)),
    }
}

/// A triage summary: a sentence, then what was seen, what changed, what was like it, what to do.
/// Every finding ends in the entry that shows it.
pub(crate) fn summary(summary: &Value, columns: usize) -> String {
    let columns = columns.min(100);
    let mut out = String::new();
    for line in fold(&text(summary, "summary"), columns) {
        out.push_str(&format!("{}\n", line.bold()));
    }
    if field(summary, "partial").as_bool() == Some(true) {
        out.push_str(&format!(
            "{}\n",
            "partial: the time box ran out, or the run stopped early".yellow()
        ));
    }
    let section = |out: &mut String, title: &str, items: Vec<(String, String)>| {
        if !items.is_empty() {
            out.push('\n');
            out.push_str(&heading(title));
            for (item, entry) in items {
                out.push_str(&bullet(&item, &entry, columns));
            }
        }
    };
    let observations = list(summary, "observations")
        .iter()
        .map(|o| (text(o, "text"), text(o, "entry")));
    section(&mut out, "What was seen", observations.collect());
    section(
        &mut out,
        "What changed before",
        list(summary, "changes").iter().map(change).collect(),
    );
    let similar = list(summary, "similar_incidents").iter().map(|s| {
        let resolution = short_hashes(&text(s, "resolution"));
        let resolution = if resolution.is_empty() {
            String::new()
        } else {
            format!(" → {resolution}")
        };
        (
            format!("{} {}{resolution}", text(s, "id"), text(s, "title")),
            text(s, "entry"),
        )
    });
    section(&mut out, "What was like it", similar.collect());
    let actions = list(summary, "suggested_actions")
        .iter()
        .map(|a| (super::value::shown(a), String::new()));
    section(&mut out, "What to do", actions.collect());
    out
}

fn change(change: &Value) -> (String, String) {
    let commit: String = text(change, "commit").chars().take(8).collect();
    let before = field(change, "before_onset_seconds").as_i64().unwrap_or_default();
    let when = match before {
        0.. => format!("{} before", span(before)),
        _ => format!("{} after", span(-before)),
    };
    let line = format!(
        "{commit} {} by {}, {when} the onset",
        text(change, "title"),
        text(change, "author")
    );
    (line, text(change, "entry"))
}

/// Seconds in the largest unit that says enough.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn bullet(item: &str, entry: &str, columns: usize) -> String {
    let cited = if entry.is_empty() {
        String::new()
    } else {
        format!("[{entry}]")
    };
    let room = columns.saturating_sub(4 + cited.len());
    let lines = fold(item, room);
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let mark = if index == 0 { "•" } else { " " };
        let last = index + 1 == lines.len() && !cited.is_empty();
        let cited = if last {
            format!(" {}", cited.dimmed())
        } else {
            String::new()
        };
        out.push_str(&format!("{} {line}{cited}\n", mark.dimmed()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;
    use serde_json::json;

    #[test]
    fn a_summary_reads_well_and_cites() {
        let value = json!({
            "summary": "Errors of shop began 4 seconds after a deploy.",
            "observations": [{"text": "41 % of requests fail", "entry": 17}],
            "changes": [{"commit": "1a2b3c4d5e", "title": "Shrink the pool", "author": "Bo", "before_onset_seconds": 4, "entry": 19}],
            "similar_incidents": [{"id": "INC-1", "title": "HighErrorRate", "resolution": "reverted 9f", "entry": 23}],
            "suggested_actions": ["revert 1a2b3c4d"],
            "partial": false,
        });
        assert_eq!(
            strip_str(&summary(&value, 60)).to_string(),
            "\
Errors of shop began 4 seconds after a deploy.

What was seen
• 41 % of requests fail [17]

What changed before
• 1a2b3c4d Shrink the pool by Bo, 4 s before the onset [19]

What was like it
• INC-1 HighErrorRate → reverted 9f [23]

What to do
• revert 1a2b3c4d
"
        );
    }

    #[test]
    fn spans() {
        for (seconds, expected) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }
}
