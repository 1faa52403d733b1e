//! One journal entry as a line for people: what `audit tail`, `sessions watch` and the demo print.
//!
//! It reads entries as the server sent them and says nothing that does not stand in them.

use super::table::{look_of, painted};
use super::text::{cut, time_of_day, width};
use super::value::{field, list, number, text};
use owo_colors::OwoColorize;
use serde_json::Value;

/// `SEQUENCE TIME WHO WHAT`, cut to `columns`.
#[must_use]
pub fn line(entry: &Value, columns: usize) -> String {
    let sequence = format!("{:>6}", number(entry, "sequence"));
    let time = format!(
        "{:<8}",
        time_of_day(field(entry, "timestamp").as_str().unwrap_or_default())
    );
    let kind = text(entry, "kind");
    let kind_shown = format!("{kind:<19}");
    let actor = format!("{:<18}", cut(&text(entry, "actor"), 18));
    let before = 6 + 2 + 8 + 2 + width(&kind_shown) + 2 + 18 + 2;
    let room = columns.saturating_sub(before).max(12);
    let what = cut(&what(entry), room);
    let kind_shown = painted(&kind_shown, look_of(kind.rsplit('.').next().unwrap_or_default()));
    format!(
        "{}  {}  {kind_shown}  {}  {what}",
        sequence.dimmed(),
        time.dimmed(),
        actor.dimmed()
    )
}

/// What an entry says, in words, as one safe line.
#[must_use]
pub fn what(entry: &Value) -> String {
    let body = field(entry, "body");
    let kind = text(entry, "kind");
    let words: Vec<String> = match kind.as_str() {
        "action.permitted" => vec![effect_and_target(body), because(body)],
        "action.denied" => vec![effect_and_target(body), because(body)],
        "action.denied_again" => {
            let same = format!(
                "{} more times like entry {}",
                text(body, "count"),
                text(body, "of")
            );
            let others = text(body, "others");
            vec![match others.parse::<u64>() {
                Ok(others) => format!("{same}, and {others} different ones"),
                Err(_) => same,
            }]
        }
        "action.settled" => vec![text(body, "step"), text(body, "outcome"), text(body, "summary")],
        "action.resolved" => vec![text(body, "step"), text(body, "resolution"), text(body, "reason")],
        "approval.requested" => vec![text(body, "approval"), effect_and_target(body), because(body)],
        "config.applied" | "config.deleted" => {
            vec![format!(
                "{} {} (generation {})",
                text(body, "kind"),
                text(body, "name"),
                text(body, "generation")
            )]
        }
        "bundle.installed" => vec![
            format!("{}@{}", text(body, "publisher"), text(body, "version")),
            format!("{} policies", list(body, "policies").len()),
            match text(body, "rollback") {
                reason if reason.is_empty() => String::new(),
                reason => format!("back from {}: {reason}", text(body, "from")),
            },
        ],
        "bundle.removed" => vec![format!("{}@{}", text(body, "publisher"), text(body, "version"))],
        "stop.drilled" => vec![format!(
            "{} sessions, the last ended after {} µs",
            text(body, "sessions"),
            text(body, "last_session_us")
        )],
        "stop.raised" | "stop.lifted" | "stop.lift_refused" => {
            vec![text(body, "scope"), text(body, "reason")]
        }
        _ if kind.starts_with("approval.") => vec![text(body, "approval"), text(body, "reason")],
        "session.created" => vec![text(entry, "session"), text(body, "agent"), text(body, "title")],
        _ if kind.starts_with("token.") || kind.starts_with("login.") => came_in(&kind, body),
        _ if kind.starts_with("session.") => vec![text(entry, "session"), text(body, "reason")],
        _ if kind.starts_with("incident.") => vec![
            text(entry, "correlation"),
            first(body, &["severity", "disposition", "status"]),
            first(body, &["title", "reason", "resolution", "channel"]),
        ],
        _ => vec![brief(body)],
    };
    words
        .into_iter()
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" · ")
}

/// Who came in, how, and who did not.
fn came_in(kind: &str, body: &Value) -> Vec<String> {
    match kind {
        "login.refused" => vec![text(body, "provider"), text(body, "code"), text(body, "reason")],
        "token.created" => vec![
            text(body, "principal"),
            text(body, "roles"),
            first(body, &["certificate"]).chars().take(16).collect(),
        ],
        "token.redeemed" => vec![text(body, "agent"), text(body, "delegation")],
        "token.refused" => vec![text(body, "code"), text(body, "reason")],
        "token.ended" => vec![text(body, "token")],
        "token.revoked" => vec![first(body, &["token", "id"]), text(body, "principal")],
        _ => vec![brief(body)],
    }
}

/// `read git.log repository/shop`.
#[must_use]
pub fn effect_and_target(body: &Value) -> String {
    [text(body, "effect"), text(body, "verb"), text(body, "resource")]
        .into_iter()
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn because(body: &Value) -> String {
    match (text(body, "reason"), text(body, "rule")) {
        (reason, rule) if reason.is_empty() => rule,
        (reason, _) => reason,
    }
}

fn first(body: &Value, names: &[&str]) -> String {
    names
        .iter()
        .map(|name| text(body, name))
        .find(|t| !t.is_empty())
        .unwrap_or_default()
}

/// `key=value` of what is short, for kinds that nobody described here.
fn brief(body: &Value) -> String {
    let Some(fields) = body.as_object() else {
        return String::new();
    };
    let words = fields
        .iter()
        .filter(|(_, v)| !v.is_object() && !v.is_array() && !v.is_null());
    words
        .map(|(k, v)| format!("{}={}", super::text::visible(k), super::value::shown(v)))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;
    use serde_json::json;

    #[test]
    fn entries_in_words() {
        let table = [
            (
                "a denial says what and why",
                json!({"kind": "action.denied", "body": {"effect": "write", "verb": "http.request",
                    "resource": "http://x/", "reason": "no rule opts in"}}),
                "write http.request http://x/ · no rule opts in",
            ),
            (
                "an outcome",
                json!({"kind": "action.settled", "body": {"step": "log", "outcome": "success", "summary": "4 commits"}}),
                "log · success · 4 commits",
            ),
            (
                "a session",
                json!({"kind": "session.created", "session": "ses-3", "body": {"agent": "triage", "title": "High\u{1b}"}}),
                "ses-3 · triage · High␛",
            ),
            (
                "an unknown kind",
                json!({"kind": "x.y", "body": {"a": 1, "b": {"c": 2}}}),
                "a=1",
            ),
            ("no body at all", json!({"kind": "x.y"}), ""),
        ];
        for (name, entry, expected) in table {
            assert_eq!(what(&entry), expected, "{name}");
        }
    }

    #[test]
    fn a_line_fits_its_width() {
        for kind in ["action.permitted", "incident.delivery_failed"] {
            let entry = json!({"sequence": 7, "timestamp": "2026-11-21T10:00:00Z", "kind": kind,
                "actor": "agent:triage", "correlation": "x".repeat(90), "body": {"reason": "x".repeat(300)}});
            for columns in [80, 100] {
                let shown = strip_str(&line(&entry, columns)).to_string();
                assert!(width(&shown) <= columns, "{shown}");
            }
        }
    }
}
