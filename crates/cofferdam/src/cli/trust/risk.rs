//! `cofferdam trust risk` and `report`: how safe an agent looks, and how trust went over some days.

use super::{hundredths, tier};
use crate::cli::table::{Cell, Look, cell, fields, heading, table};
use crate::cli::value::{field, list, number, text, time};
use serde_json::Value;

/// One agent's risk.
pub(super) fn show(value: &Value, columns: usize) -> String {
    let part = |one: &Value| {
        vec![
            text(one, "component").into(),
            text(one, "base").into(),
            hundredths(number(one, "taken")).into(),
            hundredths(number(one, "value")).into(),
            format!("× {}", number(one, "times")).into(),
            cell(text(one, "points"), Look::Bold),
            text(one, "signals").into(),
        ]
    };
    let signal = |one: &Value| {
        vec![
            time(one, "at").into(),
            text(one, "what").into(),
            text(one, "component").into(),
            severity(one),
            hundredths(number(one, "value")).into(),
            cell(format!("entry {}", text(one, "entry")), Look::Dim),
        ]
    };
    let parts = list(value, "parts").iter().map(part).collect();
    let signals = list(value, "signals").iter().rev().map(signal).collect();
    let mut shown = vec![
        fields(
            columns,
            &[
                ("agent", cell(text(value, "agent"), Look::Bold)),
                ("score", format!("{} of 1000 safe", text(value, "score")).into()),
                ("risk", level(text(value, "level"))),
                ("critical", text(value, "critical").into()),
            ],
        ),
        heading("What it is made of"),
        table(
            columns,
            &[
                "COMPONENT",
                "BASE",
                "TAKEN",
                "VALUE",
                "COUNTS",
                "POINTS",
                "SIGNALS",
            ],
            parts,
            "nothing",
        ),
        heading("What happened within 24 hours"),
        table(
            columns,
            &["WHEN", "WHAT", "COMPONENT", "SEVERITY", "VALUE", "RECORD"],
            signals,
            "nothing",
        ),
    ];
    let others = list(value, "echoes");
    if !others.is_empty() {
        shown.push(heading(
            "Falls of those it works with, taken from the network part",
        ));
        shown.push(echoes(others, columns));
    }
    shown.join("\n")
}

/// Falls of other agents, and what of them arrives.
pub(super) fn echoes(echoes: &[Value], columns: usize) -> String {
    let echo = |one: &Value| {
        vec![
            cell(text(one, "agent"), Look::Bold),
            text(one, "hops").into(),
            text(one, "interactions").into(),
            format!("{} %", hundredths(number(one, "share"))).into(),
            text(one, "fell").into(),
            hundredths(number(one, "arrives")).into(),
        ]
    };
    table(
        columns,
        &["AGENT", "HOPS", "HANDED OVER", "SHARE", "FELL", "ARRIVES"],
        echoes.iter().map(echo).collect(),
        "nobody",
    )
}

/// The course of trust in every agent.
pub(super) fn report(value: &Value, columns: usize) -> String {
    let agent = |one: &Value| {
        vec![
            cell(text(one, "agent"), Look::Bold),
            text(one, "score").into(),
            tier(one),
            text(one, "min").into(),
            text(one, "max").into(),
            text(one, "avg").into(),
            format!(
                "{} ({:+})",
                text(one, "trend"),
                field(one, "change").as_i64().unwrap_or(0)
            )
            .into(),
            text(one, "events").into(),
            level(text(one, "risk_level")),
        ]
    };
    let agents = list(value, "agents");
    let concern = |one: &&Value| !list(one, "concerns").is_empty();
    let at_risk = |one: &Value| {
        let why: Vec<_> = list(one, "concerns").iter().map(|why| text(why, "")).collect();
        vec![
            cell(text(one, "agent"), Look::Bold),
            cell(why.join("; "), Look::Yellow),
        ]
    };
    let concerns = agents.iter().filter(concern).map(at_risk).collect();
    [
        heading(&format!("Trust since {}", time(value, "since"))),
        table(
            columns,
            &[
                "AGENT", "SCORE", "TIER", "MIN", "MAX", "AVG", "TREND", "EVENTS", "RISK",
            ],
            agents.iter().map(agent).collect(),
            "no agents",
        ),
        heading("At risk"),
        table(columns, &["AGENT", "WHY"], concerns, "nobody"),
    ]
    .join("\n")
}

fn level(level: String) -> Cell {
    let look = match level.as_str() {
        "critical" | "high" => Look::Red,
        "medium" => Look::Yellow,
        "minimal" => Look::Green,
        _ => Look::Plain,
    };
    cell(level, look)
}

fn severity(signal: &Value) -> Cell {
    let severity = text(signal, "severity");
    let look = match severity.as_str() {
        "critical" | "high" => Look::Red,
        "medium" => Look::Yellow,
        _ => Look::Plain,
    };
    cell(severity, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;
    use serde_json::json;

    /// Lines with one space between words.
    fn lines(value: &Value, of: fn(&Value, usize) -> String) -> Vec<String> {
        let text = strip_str(&of(value, 120)).to_string();
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    fn hold(lines: &[String], expected: &[&str]) {
        for expected in expected {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected}: {lines:#?}"
            );
        }
    }

    #[test]
    fn a_risk_is_shown_with_what_made_it() {
        let value = json!({
            "agent": "triage", "score": 699, "level": "low", "critical": 1,
            "parts": [{"component": "behaviour", "base": 70, "taken": 2500, "value": 4500, "times": 3, "points": 135, "signals": 1}],
            "signals": [{"at": "2026-11-21T10:00:00.000Z", "entry": 6, "what": "stopped", "component": "behaviour",
                "severity": "critical", "value": 100}],
            "echoes": [{"agent": "lead", "hops": 1, "interactions": 50, "share": 750, "fell": 100, "arrives": 750}],
        });
        hold(
            &lines(&value, show),
            &[
                "score 699 of 1000 safe",
                "risk low",
                "behaviour 70 25.00 45.00 × 3 135 1",
                "2026-11-21 10:00:00 stopped behaviour critical 1.00 entry 6",
                "lead 1 50 7.50 % 100 7.50",
            ],
        );
    }

    #[test]
    fn a_report_lists_everybody_and_whom_to_look_after() {
        let agent = |name: &str, change: i64, concerns: Value| {
            json!({"agent": name, "score": 480, "tier": "probationary", "min": 470, "max": 600, "avg": 530, "change": change,
                "trend": if change < -49 { "falling" } else { "steady" }, "events": 12, "risk": 775, "risk_level": "low",
                "concerns": concerns})
        };
        let value = json!({
            "since": "2026-11-14T10:00:00.000Z", "at_risk": ["b"],
            "agents": [agent("a", 7, json!([])), agent("b", -120, json!(["trust 480 is probationary", "trust fell by 120"]))],
        });
        let shown = lines(&value, report);
        hold(
            &shown,
            &[
                "Trust since 2026-11-14 10:00:00",
                "a 480 probationary 470 600 530 steady (+7) 12 low",
                "b 480 probationary 470 600 530 falling (-120) 12 low",
                "b trust 480 is probationary; trust fell by 120",
            ],
        );
        let calm =
            json!({"since": "2026-11-14T10:00:00.000Z", "at_risk": [], "agents": [agent("a", 7, json!([]))]});
        assert_eq!(lines(&calm, report).last().map(String::as_str), Some("nobody"));
    }
}
