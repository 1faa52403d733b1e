//! What a drill has found, for people and for machines.

use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::table::{Look, cell, heading, painted, table};
use crate::cli::text::{fold, visible};
use ::sandbox::drill::{AREAS, Board, Finding, Verdict, Way};
use ::sandbox::{Part, Profile, consequences};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything that is told.
#[derive(Debug)]
pub(super) struct Report {
    pub findings: Vec<Finding>,
    /// Walls that were done without, and why.
    pub given_up: BTreeMap<Part, String>,
    pub sessions: Vec<String>,
    pub profile: Profile,
    /// Whether the platform was started for the drill.
    pub is_own: bool,
    /// Whether what it recorded is thrown away.
    pub is_thrown_away: bool,
}

impl Report {
    fn count(&self, verdict: Verdict) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    }

    /// `61 of 61 attacks held, 3 not guaranteed`: what nobody promises is no part of what held.
    pub(super) fn score(&self) -> String {
        let (held, broken) = (self.count(Verdict::Held), self.count(Verdict::Broken));
        let (open, untried) = (self.count(Verdict::NotGuaranteed), self.count(Verdict::NotTried));
        let not_tried = match untried {
            0 => String::new(),
            many => format!(", {many} not tried"),
        };
        let all = held + broken + untried;
        format!("{held} of {all} attacks held, {open} not guaranteed{not_tried}")
    }

    pub(super) fn show(&self, screen: &mut Screen) -> Result<(), Failure> {
        let value = json!({
            "score": {
                "held": self.count(Verdict::Held),
                "broken": self.count(Verdict::Broken),
                "not_guaranteed": self.count(Verdict::NotGuaranteed),
                "not_tried": self.count(Verdict::NotTried),
            },
            "given_up": self.given_up,
            "profile": self.profile,
            "sessions": self.sessions,
            "recorded": !self.is_thrown_away,
            "findings": self.findings,
        });
        screen.data(&value, |_, columns| self.text(columns))
    }

    fn text(&self, columns: usize) -> String {
        let mut text = String::new();
        for (area, title) in AREAS {
            let of_area = self
                .findings
                .iter()
                .filter(|finding| area_of(finding.id) == *area);
            let rows: Vec<_> = of_area.map(row).collect();
            if !rows.is_empty() {
                // Without headers there is an empty line for them.
                let rows = table(columns, &[], rows, "");
                text += &format!("{}{}\n", heading(title), rows.trim_start_matches('\n'));
            }
        }
        text += &self.details(columns, Verdict::NotGuaranteed, "Not guaranteed", Look::Yellow);
        text += &self.without();
        text += &self.details(columns, Verdict::NotTried, "Not tried", Look::Yellow);
        text += &self.details(columns, Verdict::Broken, "Broken", Look::Red);
        text += &format!("{}\n", self.record());
        let open = self.count(Verdict::NotTried) + self.given_up.len();
        let look = match (self.count(Verdict::Broken), self.count(Verdict::Held), open) {
            (0, 1.., 0) => Look::Green,
            (0, ..) => Look::Yellow,
            _ => Look::Red,
        };
        text + &painted(&self.score(), look)
    }

    /// Walls that were not there: others may have held in their place.
    fn without(&self) -> String {
        let line = |(part, why): (&Part, &String)| {
            let (lost, remedy) = consequences(*part);
            format!("  {}: {why}; without it, {lost}; get it: {remedy}\n", name(part))
        };
        let lines: String = self.given_up.iter().map(line).collect();
        match lines.is_empty() {
            true => lines,
            false => format!("{}{lines}\n", heading("Walls that were not there")),
        }
    }

    /// One by one: what was seen, and what it means.
    fn details(&self, columns: usize, verdict: Verdict, title: &str, look: Look) -> String {
        let mut text = String::new();
        for finding in self.findings.iter().filter(|finding| finding.verdict == verdict) {
            let mut lines = vec![
                finding.evidence.clone(),
                format!("why it matters: {}", finding.why),
            ];
            lines.extend(finding.remedy.iter().map(|remedy| format!("get it: {remedy}")));
            text += &format!("  {}  {}\n", painted(finding.id, look), visible(finding.title));
            for line in lines {
                for folded in fold(&visible(&line), columns.saturating_sub(4).max(20)) {
                    text += &format!("    {folded}\n");
                }
            }
        }
        match text.is_empty() {
            true => text,
            false => format!("{}{text}\n", heading(title)),
        }
    }

    fn record(&self) -> String {
        let sessions = match self.sessions.len() {
            1 => "1 session".to_owned(),
            many => format!("{many} sessions"),
        };
        let first = self.sessions.first().map_or("", String::as_str);
        let last = self.sessions.last().map_or("", String::as_str);
        match (self.is_thrown_away, self.is_own) {
            (true, _) => format!("the record of {sessions} was thrown away with the platform of this drill"),
            (false, own) => {
                let up = if own { "cofferdam up, then " } else { "" };
                format!("the record: {sessions}, {first} to {last}: {up}cofferdam sessions show {first}")
            }
        }
    }
}

fn area_of(id: &str) -> &str {
    id.split('.').next().unwrap_or_default()
}

fn row(finding: &Finding) -> Vec<crate::cli::table::Cell> {
    let (sign, look) = match finding.verdict {
        Verdict::Held => ("✓", Look::Green),
        Verdict::Broken => ("✗", Look::Red),
        Verdict::NotGuaranteed => ("–", Look::Yellow),
        Verdict::NotTried => ("?", Look::Yellow),
    };
    let by = match finding.verdict {
        Verdict::Held => finding.evidence.clone(),
        Verdict::Broken => "broken".to_owned(),
        Verdict::NotGuaranteed => "not guaranteed".to_owned(),
        Verdict::NotTried => "not tried".to_owned(),
    };
    vec![
        cell(format!("  {sign}"), look),
        cell(finding.id, Look::Plain),
        cell(finding.title, Look::Plain),
        cell(by, Look::Dim),
    ]
}

/// What there is to try.
pub(super) fn list(board: &Board, screen: &mut Screen) -> Result<(), Failure> {
    let all: Vec<_> = board.chosen().collect();
    let value = json!(
        all.iter()
            .map(|attack| json!({
                "id": attack.id, "area": attack.area(), "title": attack.title, "why": attack.why,
                "walls": attack.walls, "by": attack.by, "attempts": attack.attempts,
                "opaque": match attack.way { Way::Opaque { reason, .. } => Some(reason), _ => None },
            }))
            .collect::<Vec<Value>>()
    );
    screen.data(&value, |_, columns| {
        let rows = all.iter().map(|attack| {
            let by = match attack.way {
                Way::Opaque { .. } => "nobody".to_owned(),
                _ if attack.walls.is_empty() => attack.by.to_owned(),
                _ => attack.walls.iter().map(name).collect::<Vec<_>>().join(", "),
            };
            vec![
                cell(attack.id, Look::Bold),
                cell(attack.title, Look::Plain),
                cell(by, Look::Dim),
            ]
        });
        table(
            columns,
            &["id", "what it tries", "stopped by"],
            rows.collect(),
            "there is nothing to try",
        )
    })
}

fn name(part: &Part) -> String {
    match json!(part) {
        Value::String(name) => name,
        other => other.to_string(),
    }
}
