//! `cofferdam trust`: how far agents are trusted, why, and what the trust equation makes of them.

mod risk;
mod topology;

use super::client::{Client, segment};
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Cell, Look, cell, fields, heading, table};
use super::tokens::seconds;
use super::value::{field, list, number, text, time};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam trust show
  cofferdam trust explain triage
  cofferdam trust risk triage
  cofferdam trust report --since 7d
  cofferdam trust equation triage --output json
  cofferdam trust equation --topology acme/payments
  cofferdam trust promote triage --reason \"a month of good proposals\"

A score is a fold over the journal: nobody can set it. It lowers at once; a tier is given back by a person
who is not the sponsor, after seven days and with the evidence that `show` asks for.";

/// `cofferdam trust`
#[derive(Args, Debug)]
pub struct Trust {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Score, tier and what the next tier takes; of all agents, or of one
    Show {
        /// Which one
        agent: Option<String>,
    },
    /// What the score is made of, and the last events that moved it
    Explain {
        /// Which one
        agent: String,
    },
    /// The score by day
    History {
        /// Which one
        agent: String,
    },
    /// How safe it looks by what happened within 24 hours, and by what; 1000 is safe
    Risk {
        /// Which one
        agent: String,
    },
    /// Least, most, mean and trend of every agent's score, and whom to look after
    Report {
        /// How far back, 400 days at most
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = seconds)]
        since: u64,
    },
    /// Observability × reversibility × blast-radius control ÷ autonomy, with the inputs
    Equation {
        /// Which one
        #[arg(required_unless_present = "topology", conflicts_with = "topology")]
        agent: Option<String>,
        /// Of agents that work together: those of a place, or those below an agent in the tree of delegation
        #[arg(long, value_name = "AGENT|PLACE")]
        topology: Option<String>,
    },
    /// Vouch for the next tier; recorded with the evidence
    Promote {
        /// Which one
        agent: String,
        /// Why
        #[arg(long, required = true)]
        reason: String,
    },
}

/// Runs it.
pub async fn run(trust: &Trust, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &trust.command {
        TrustCommand::Show { agent: None } => {
            let all = client.get("/api/v1/trust", &[]).await?;
            screen.data(&all, |all, columns| rows(list(all, ""), columns))
        }
        TrustCommand::Show { agent: Some(agent) } => {
            screen.data(&client.get(&path(agent, ""), &[]).await?, show)
        }
        TrustCommand::Explain { agent } => screen.data(&client.get(&path(agent, ""), &[]).await?, explain),
        TrustCommand::History { agent } => {
            let days = client.get(&path(agent, "/history"), &[]).await?;
            screen.data(&days, history)
        }
        TrustCommand::Risk { agent } => {
            screen.data(&client.get(&path(agent, "/risk"), &[]).await?, risk::show)
        }
        TrustCommand::Report { since } => {
            let asked = [("since_seconds", since.to_string())];
            let report = client.get("/api/v1/reports/trust", &asked).await?;
            screen.data(&report, risk::report)
        }
        TrustCommand::Equation {
            topology: Some(of), ..
        } => {
            let found = client.get("/api/v1/topology", &[("of", of.clone())]).await?;
            screen.data(&found, topology::show)
        }
        TrustCommand::Equation { agent, .. } => {
            let agent = agent.as_deref().unwrap_or_default();
            let found = client.get(&path(agent, "/equation"), &[]).await?;
            screen.data(&found, equation)
        }
        TrustCommand::Promote { agent, reason } => {
            let promoted = client
                .post(&path(agent, "/promote"), &json!({ "reason": reason }))
                .await?;
            screen.data(&promoted, show)
        }
    }
}

fn path(agent: &str, rest: &str) -> String {
    format!("/api/v1/trust/{}{rest}", segment(agent))
}

fn rows(agents: &[Value], columns: usize) -> String {
    let row = |a: &Value| {
        vec![
            cell(text(a, "agent"), Look::Bold),
            text(a, "score").into(),
            tier(a),
            text(a, "level").into(),
            text(a, "trend").into(),
            text(a, "earned").into(),
            text(a, "held").into(),
        ]
    };
    table(
        columns,
        &["AGENT", "SCORE", "TIER", "LEVEL", "TREND", "EARNED", "HELD"],
        agents.iter().map(row).collect(),
        "no agents",
    )
}

fn tier(value: &Value) -> Cell {
    let tier = text(value, "tier");
    let look = match tier.as_str() {
        "verified" | "trusted" => Look::Green,
        "untrusted" => Look::Red,
        "probationary" => Look::Yellow,
        _ => Look::Plain,
    };
    cell(tier, look)
}

fn show(value: &Value, columns: usize) -> String {
    let next = text(value, "next");
    let lacks: Vec<_> = list(value, "lacks")
        .iter()
        .map(|lack| text(lack, "why"))
        .collect();
    let lacks = match (next.is_empty(), lacks.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("{next}: a person may promote it now"),
        (false, false) => format!("{next}: {}", lacks.join("; ")),
    };
    fields(
        columns,
        &[
            ("agent", cell(text(value, "agent"), Look::Bold)),
            ("score", text(value, "score").into()),
            ("tier", tier(value)),
            ("level", format!("{} at most", text(value, "level")).into()),
            ("earned", text(value, "earned").into()),
            ("ceiling", text(value, "ceiling").into()),
            (
                "held",
                format!("{} since {}", text(value, "held"), time(value, "held_since")).into(),
            ),
            ("next", lacks.into()),
        ],
    )
}

fn explain(value: &Value, columns: usize) -> String {
    let contribution = |one: &Value| {
        vec![
            text(one, "dimension").into(),
            hundredths(number(one, "weight")).into(),
            hundredths(number(one, "value")).into(),
            cell(text(one, "points"), Look::Bold),
            text(one, "trend").into(),
        ]
    };
    let event = |one: &Value| {
        vec![
            time(one, "at").into(),
            event_of(field(one, "event")).into(),
            text(one, "score").into(),
            cell(format!("entry {}", text(one, "entry")), Look::Dim),
        ]
    };
    let limits = fields(
        columns,
        &[
            ("silence took", text(value, "silence").into()),
            ("may rise by", text(value, "room").into()),
            ("recovers to", text(value, "recovering_to").into()),
            ("trend", text(value, "trend").into()),
            ("events", text(value, "events").into()),
        ],
    );
    let contributions = list(value, "contributions").iter().map(contribution).collect();
    let recent = list(value, "recent").iter().rev().map(event).collect();
    let mut parts = vec![
        show(value, columns),
        heading("What it is made of"),
        table(
            columns,
            &["DIMENSION", "WEIGHT", "VALUE", "POINTS", "TREND"],
            contributions,
            "nothing",
        ),
        limits,
        heading("The last events"),
        table(columns, &["WHEN", "EVENT", "SCORE", "RECORD"], recent, "none yet"),
    ];
    let echoes = list(value, "echoes");
    if !echoes.is_empty() {
        parts.push(heading(
            "Falls of those it works with: they lower its risk score, not its trust",
        ));
        parts.push(risk::echoes(echoes, columns));
    }
    parts.join("\n")
}

/// `done`, `anomaly 100`, `promoted trusted`.
fn event_of(event: &Value) -> String {
    match event.as_object().and_then(|object| object.iter().next()) {
        Some((name, _)) => format!("{name} {}", text(event, name)),
        None => text(event, ""),
    }
}

fn history(days: &Value, columns: usize) -> String {
    let row = |day: &Value| {
        vec![
            text(day, "day").into(),
            text(day, "low").into(),
            text(day, "high").into(),
            cell(text(day, "last"), Look::Bold),
            text(day, "events").into(),
        ]
    };
    let rows = list(days, "").iter().map(row).collect();
    table(
        columns,
        &["DAY", "LOW", "HIGH", "LAST", "EVENTS"],
        rows,
        "nothing has moved it yet",
    )
}

fn equation(value: &Value, columns: usize) -> String {
    let answer = |one: &Value| {
        vec![
            text(one, "criterion").into(),
            hundredths(number(one, "percent")).into(),
            text(one, "because").into(),
        ]
    };
    let mut parts = vec![fields(
        columns,
        &[
            ("agent", cell(text(value, "agent"), Look::Bold)),
            ("score", cell(hundredths(number(value, "score")), Look::Bold)),
            ("band", text(value, "band").replace('_', " ").into()),
            ("level", format!("{} in production", text(value, "level")).into()),
            (
                "capped",
                if field(value, "capped") == true {
                    "at 20: a factor is below 0.4"
                } else {
                    ""
                }
                .into(),
            ),
            ("safeguards", text(value, "verdict").into()),
            ("constrain to", text(value, "constrain_to").into()),
        ],
    )];
    for factor in list(value, "factors") {
        let name = text(factor, "rubric").replace('_', " ");
        let worth = number(factor, "value");
        parts.push(heading(&format!(
            "{name} {}.{:04}",
            worth / 10_000,
            worth % 10_000
        )));
        let answers = list(factor, "answers").iter().map(answer).collect();
        parts.push(table(
            columns,
            &["CRITERION", "ANSWER", "BECAUSE"],
            answers,
            "no answers",
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
    parts.join("\n")
}

/// `0.25` of 25, `20.00` of 2000.
fn hundredths(number: u64) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    fn shown(value: &Value, of: fn(&Value, usize) -> String) -> String {
        strip_str(&of(value, 100)).to_string()
    }

    fn view() -> Value {
        json!({
            "agent": "triage", "origin": "sponsored", "ceiling": null, "score": 699, "earned": 712, "tier": "standard",
            "level": "L2", "held": "standard", "held_since": "2026-11-21T10:00:00.000Z", "next": "trusted",
            "lacks": [{"what": "time", "why": "it is standard for 5 of 7 days"}], "silence": 3, "room": 12,
            "recovering_to": null, "trend": "rising", "events": 7,
            "contributions": [{"dimension": "policy", "weight": 25, "value": 8500, "points": 212, "trend": "steady"}],
            "recent": [
                {"at": "2026-11-21T10:00:00.000Z", "entry": 6, "event": "done", "score": 690, "dimensions": []},
                {"at": "2026-11-21T11:00:00.000Z", "entry": 9, "event": {"anomaly": 25}, "score": 699, "dimensions": []}],
            "echoes": [{"agent": "lead", "hops": 2, "interactions": 100, "share": 750, "fell": 40, "arrives": 300}],
        })
    }

    #[test]
    fn one_agent_is_shown_with_what_the_next_tier_takes() {
        assert_eq!(
            shown(&view(), show),
            "\
agent   triage
score   699
tier    standard
level   L2 at most
earned  712
held    standard since 2026-11-21 10:00:00
next    trusted: it is standard for 5 of 7 days
"
        );
    }

    #[test]
    fn an_explanation_has_contributions_and_events_the_newest_first() {
        let text = shown(&view(), explain);
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for expected in [
            "policy 0.25 85.00 212 steady",
            "silence took 3",
            "2026-11-21 11:00:00 anomaly 25 699 entry 9",
            "lead 2 100 7.50 % 40 3.00",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {text}");
        }
        let at = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
        assert!(at("entry 9") < at("entry 6"));
    }

    #[test]
    fn an_equation_tells_its_inputs_and_gaps() {
        let value = json!({
            "agent": "triage", "level": "L2", "score": 1250, "capped": true, "band": "very_low", "verdict": "invest or constrain",
            "constrain_to": "L1",
            "factors": [{"rubric": "blast_radius", "value": 7050, "answers": [
                {"criterion": "quotas", "percent": 75, "because": "200 actions a session"}]}],
            "gaps": [{"safeguard": "rollback", "takes": "automatic within 1 h", "has": "by hand within 4 h"}],
        });
        let text = shown(&value, equation);
        for expected in [
            "12.50",
            "very low",
            "blast radius 0.7050",
            "0.75",
            "200 actions a session",
            "by hand within 4 h",
            "at 20",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}
