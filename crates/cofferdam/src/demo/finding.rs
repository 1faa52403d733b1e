//! What a recorded result says, in one line: for people who watch.
//!
//! Pure. Results are read tolerantly; one of another form gives nothing, and the recorded summary is
//! shown instead.

use crate::cli::incidents::span;
use crate::cli::value::{field, list, raw, text};
use policy::Timestamp;
use serde_json::Value;

/// What `result`, recorded of `verb`, says about an incident that began at `onset`.
#[must_use]
pub fn finding(verb: &str, result: &Value, onset: Timestamp) -> Option<String> {
    let said = match verb {
        "prometheus.alerts" => {
            let active = list(result, "alerts").iter();
            joined(active.map(|a| {
                format!(
                    "{} {}: {}",
                    text(a, "labels.alertname"),
                    text(a, "state"),
                    text(a, "annotations.summary")
                )
            }))
        }
        "prometheus.rules" => {
            let firing = list(result, "rules")
                .iter()
                .filter(|rule| raw(rule, "state") == "firing");
            joined(firing.map(|rule| format!("{} watches {}", text(rule, "name"), text(rule, "query"))))
        }
        "prometheus.query_range" => joined(list(result, "series").iter().map(course)),
        "prometheus.query" => match list(result, "series") {
            [] => "none".to_owned(),
            series => joined(series.iter().map(value)),
        },
        "http.get" => release(field(result, "json")),
        "git.log" => commits(list(result, "commits"), onset)?,
        "git.show" => changed(raw(result, "diff")),
        "incidents.search" => joined(list(result, "incidents").iter().map(|one| {
            format!(
                "{} {}: {}",
                text(one, "id"),
                text(one, "status"),
                text(one, "resolution")
            )
        })),
        _ => return None,
    };
    (!said.is_empty()).then_some(said)
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

fn release(version: &Value) -> String {
    let commit: String = text(version, "commit").chars().take(8).collect();
    let settings = field(version, "settings")
        .as_object()
        .cloned()
        .unwrap_or_default();
    let settings = settings
        .iter()
        .map(|(name, value)| format!("{} {value}", crate::cli::text::visible(name)));
    format!("{commit} with {}", settings.collect::<Vec<_>>().join(", "))
}

fn course(series: &Value) -> String {
    let figure = |name: &str| field(series, name).as_f64().unwrap_or_default();
    format!(
        "from {:.3} to {:.3}, at most {:.3}",
        figure("first"),
        figure("last"),
        figure("max")
    )
}

fn value(series: &Value) -> String {
    let labels = field(series, "labels").as_object().cloned().unwrap_or_default();
    let labels = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(_, value)| crate::cli::value::shown(value));
    let named = labels.collect::<Vec<_>>().join(" ");
    let value = format!("{:.3}", field(series, "value").as_f64().unwrap_or_default());
    if named.is_empty() {
        value
    } else {
        format!("{named} {value}")
    }
}

/// The last commit before the onset, and how many there are.
fn commits(commits: &[Value], onset: Timestamp) -> Option<String> {
    let before = commits.iter().filter_map(|commit| {
        let seconds = onset
            .since_ms(Timestamp::parse(raw(commit, "time"))?)
            .div_euclid(1000);
        (seconds >= 0).then_some((seconds, commit))
    });
    let (seconds, last) = before.min_by_key(|(seconds, _)| *seconds)?;
    let sha: String = text(last, "commit").chars().take(8).collect();
    let (title, author) = (text(last, "title"), text(last, "author"));
    Some(format!(
        "{} commits; {} before the onset: {sha} “{title}” by {author}",
        commits.len(),
        span(seconds)
    ))
}

/// The lines that a diff takes away and adds.
fn changed(diff: &str) -> String {
    let lines = diff.lines().filter(|line| {
        (line.starts_with('-') || line.starts_with('+'))
            && !line.starts_with("---")
            && !line.starts_with("+++")
    });
    joined(lines.map(crate::cli::text::visible))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn results_in_a_line() {
        let onset = Timestamp::parse("2026-11-21T10:00:10Z").unwrap();
        let commit = |time: &str, title: &str| json!({"commit": "1a2b3c4d5e6f", "time": time, "title": title, "author": "Bo"});
        #[rustfmt::skip]
        let table = [
            ("the commit before the onset, not the one after it", "git.log",
             json!({"commits": [commit("2026-11-21T10:00:12Z", "later"), commit("2026-11-21T10:00:06Z", "bad"), commit("2026-11-20T10:00:00Z", "old")]}),
             Some("3 commits; 4 s before the onset: 1a2b3c4d “bad” by Bo")),
            ("no commit before it", "git.log", json!({"commits": []}), None),
            ("what a diff changes", "git.show", json!({"diff": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n same\n-pool: 8\n+pool: 0\n"}), Some("-pool: 8; +pool: 0")),
            ("values with their labels", "prometheus.query", json!({"series": [{"labels": {"cause": "timeout"}, "value": 24.98}]}), Some("timeout 24.980")),
            ("what runs", "http.get", json!({"json": {"commit": "1a2b3c4d5e6f", "settings": {"pool": 0, "wait": 5}}}), Some("1a2b3c4d with pool 0, wait 5")),
            ("no values", "prometheus.query", json!({"series": []}), Some("none")),
            ("a course", "prometheus.query_range", json!({"series": [{"first": 0.1, "last": 0.5, "max": 0.5}]}), Some("from 0.100 to 0.500, at most 0.500")),
            ("hidden text does not stay hidden", "git.show", json!({"diff": "+a\u{202e}b\n"}), Some("+a<U+202E>b")),
            ("another verb", "git.blame", json!({}), None),
        ];
        for (name, verb, result, expected) in table {
            assert_eq!(finding(verb, &result, onset).as_deref(), expected, "{name}");
        }
    }
}
