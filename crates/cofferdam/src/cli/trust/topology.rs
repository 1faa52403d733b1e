//! `cofferdam trust equation --topology`: what an arrangement of agents comes to, and what holds it back.

use super::hundredths;
use crate::cli::table::{Look, cell, fields, heading, table};
use crate::cli::value::{field, list, number, shown, text};
use serde_json::Value;

pub(super) fn show(value: &Value, columns: usize) -> String {
    let mut parts = vec![
        head(value, columns),
        heading("Agents, each by itself"),
        members(value, columns),
    ];
    parts.push(heading("Chains, by blast-radius control"));
    parts.push(chains(value, columns));
    let shared = list(value, "shared");
    if !shared.is_empty() {
        let row = |one: &Value| vec![text(one, "toolset").into(), joined(one, "agents").into()];
        parts.push(heading(
            "Shared by agents that may change things: each takes a tenth of control",
        ));
        parts.push(table(
            columns,
            &["TOOLSET", "AGENTS"],
            shared.iter().map(row).collect(),
            "",
        ));
    }
    let gap = |one: &Value| {
        vec![
            text(one, "safeguard").into(),
            text(one, "takes").into(),
            cell(text(one, "has"), Look::Yellow),
        ]
    };
    let gaps: Vec<_> = list(value, "gaps").iter().map(gap).collect();
    if !gaps.is_empty() {
        parts.push(heading("What the level takes and is not there"));
        parts.push(table(columns, &["SAFEGUARD", "TAKES", "HAS"], gaps, ""));
    }
    parts.push(heading("The weakest link"));
    parts.push(weakest(field(value, "weakest"), columns));
    parts.join("\n")
}

fn head(value: &Value, columns: usize) -> String {
    let least = |name: &str| {
        let one = field(value, name);
        format!("{} · {}", factor(number(one, "value")), text(one, "agent"))
    };
    let control = match list(value, "shared").len() {
        0 => least("control"),
        n => format!(
            "{} · {} before what {n} shared toolsets take",
            factor(number(value, "blast_radius")),
            least("control")
        ),
    };
    let capped = match field(value, "capped") == true {
        true => "at 20: a factor is below 0.4",
        false => "",
    };
    fields(
        columns,
        &[
            (text(value, "kind").as_str(), cell(text(value, "of"), Look::Bold)),
            ("score", cell(hundredths(number(value, "score")), Look::Bold)),
            ("band", text(value, "band").replace('_', " ").into()),
            (
                "level",
                format!("{} · {}", text(value, "level"), joined(value, "highest")).into(),
            ),
            ("observability", least("observability").into()),
            ("reversibility", least("reversibility").into()),
            ("blast radius", control.into()),
            ("capped", capped.into()),
            ("safeguards", text(value, "verdict").into()),
        ],
    )
}

fn members(value: &Value, columns: usize) -> String {
    let row = |one: &Value| {
        vec![
            cell(text(one, "agent"), Look::Bold),
            text(one, "level").into(),
            factor(number(one, "observability")).into(),
            factor(number(one, "reversibility")).into(),
            factor(number(one, "blast_radius")).into(),
            hundredths(number(one, "score")).into(),
        ]
    };
    let headers = [
        "AGENT",
        "LEVEL",
        "OBSERVABILITY",
        "REVERSIBILITY",
        "BLAST RADIUS",
        "SCORE",
    ];
    table(
        columns,
        &headers,
        list(value, "members").iter().map(row).collect(),
        "no agents",
    )
}

fn chains(value: &Value, columns: usize) -> String {
    let row = |one: &Value| {
        let path: Vec<String> = list(one, "agents").iter().map(shown).collect();
        vec![
            path.join(" → ").into(),
            text(one, "delegation").into(),
            text(one, "narrowing").into(),
            factor(number(one, "control")).into(),
        ]
    };
    let headers = ["CHAIN", "DELEGATION", "LINKS THAT NARROW", "CONTROL"];
    table(
        columns,
        &headers,
        list(value, "chains").iter().map(row).collect(),
        "no chains",
    )
}

fn weakest(weakest: &Value, columns: usize) -> String {
    let what = match text(weakest, "criterion") {
        criterion if criterion.is_empty() => "nothing of its own is missing".to_owned(),
        criterion => format!("{criterion}: {}", text(weakest, "because")),
    };
    let reach = |one: &Value| {
        let share = number(one, "share");
        format!("{} {}.{:02} %", text(one, "agent"), share / 100, share % 100)
    };
    let reaches: Vec<String> = list(weakest, "reaches").iter().map(reach).collect();
    let name = text(weakest, "rubric").replace('_', " ");
    fields(
        columns,
        &[
            ("agent", cell(text(weakest, "agent"), Look::Bold)),
            (
                "in",
                format!("{name} {}", factor(number(weakest, "value"))).into(),
            ),
            ("most missing", what.into()),
            ("score without that", hundredths(number(weakest, "then")).into()),
            (
                "one level lower",
                hundredths(number(weakest, "one_level_lower")).into(),
            ),
            ("its fall reaches", reaches.join(", ").into()),
        ],
    )
}

fn joined(value: &Value, name: &str) -> String {
    list(value, name).iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn factor(value: u64) -> String {
    format!("{}.{:04}", value / 10_000, value % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;
    use serde_json::json;

    #[test]
    fn an_arrangement_tells_whose_each_number_is_and_what_would_change_it() {
        let least = |agent: &str, value: u64| json!({"agent": agent, "value": value});
        let value = json!({
            "of": "acme/pay", "kind": "place", "score": 1250, "band": "low", "capped": true, "level": "L3", "highest": ["b"],
            "observability": least("a", 8000), "reversibility": least("b", 5500), "control": least("c", 4000), "blast_radius": 3600,
            "members": [{"agent": "a", "level": "L1", "observability": 8000, "reversibility": 9000, "blast_radius": 7000, "score": 1782}],
            "chains": [{"agents": ["a", "c"], "delegation": "del-7", "narrowing": 1, "control": 4000}],
            "shared": [{"toolset": "toolset/shop", "agents": ["b", "c"]}], "gaps": [], "verdict": "sufficient",
            "weakest": {"agent": "c", "rubric": "blast_radius", "value": 3600, "criterion": "scope", "because": "anywhere",
                "then": 1400, "one_level_lower": 2000, "reaches": [{"agent": "a", "share": 1500}]},
        });
        let told = strip_str(&show(&value, 120)).to_string();
        for expected in [
            "12.50",
            "at 20",
            "L3 · b",
            "0.5500 · b",
            "0.3600 · 0.4000 · c before what 1 shared toolsets take",
            "a → c",
            "del-7",
            "toolset/shop",
            "scope: anywhere",
            "14.00",
            "20.00",
            "a 15.00 %",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
    }
}
