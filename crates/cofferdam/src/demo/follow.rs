//! Follows one investigation in the journal, as it happens: steps with effect, decision and reason,
//! and the approval on which it waits.

use super::narrator::Narrator;
use super::stage::{COLLEAGUE, Stage};
use crate::cli::approvals::exact_action;
use crate::cli::client::{Client, segment};
use crate::cli::entry::effect_and_target;
use crate::cli::failure::Failure;
use crate::cli::table::{Look, look_of, painted};
use crate::cli::text::{cut, fold};
use crate::cli::value::{field, number, raw, text};
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who decides about the approval, and how much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// A colleague, who approves; only what came of it is told.
    Colleague,
    /// Whoever sits at the terminal; everything is told.
    Person,
    /// Nobody is asked: `--yes`; everything is told.
    Yes,
}

/// What came of an investigation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Actions that were permitted.
    pub permitted: u64,
    /// Actions that were refused.
    pub refused: u64,
    /// The approval and what was said.
    pub approval: Option<(String, bool)>,
    /// The branch that was proposed and made.
    pub branch: Option<String>,
    /// Sequence of the entry that records the verdict.
    pub denied_entry: Option<u64>,
}

/// An investigation being followed.
pub struct Follow<'f, 's> {
    stage: &'f Stage,
    narrator: &'f mut Narrator<'s>,
    decider: Decider,
    permits: BTreeMap<u64, Value>,
    found: Found,
}

impl<'f, 's> Follow<'f, 's> {
    /// Of nothing yet.
    pub fn new(stage: &'f Stage, narrator: &'f mut Narrator<'s>, decider: Decider) -> Follow<'f, 's> {
        Follow { stage, narrator, decider, permits: BTreeMap::new(), found: Found::default() }
    }

    /// Until the session ends.
    pub async fn to_the_end(mut self, session: &str) -> Result<Found, Failure> {
        let path = format!("/api/v1/sessions/{}/events", segment(session));
        let mut events = self.stage.person.events(&path, &[], None).await?;
        while let Some(event) = events.next().await? {
            if event.name == "end" {
                break;
            }
            self.entry(&event.data).await?;
        }
        Ok(self.found)
    }

    fn tells(&self) -> bool {
        self.decider != Decider::Colleague
    }

    async fn entry(&mut self, entry: &Value) -> Result<(), Failure> {
        let body = field(entry, "body");
        match raw(entry, "kind") {
            "action.permitted" => {
                self.found.permitted += 1;
                self.permits.insert(number(entry, "sequence"), body.clone());
            }
            "action.settled" => self.settled(entry).await?,
            "action.denied" => {
                self.found.refused += 1;
                self.found.denied_entry = Some(number(entry, "sequence"));
                if self.tells() {
                    self.denied(entry)?;
                }
            }
            "approval.requested" => self.approval(raw(body, "approval")).await?,
            _ => (),
        }
        Ok(())
    }

    async fn settled(&mut self, entry: &Value) -> Result<(), Failure> {
        let body = field(entry, "body");
        let permit = self.permits.remove(&number(body, "permit")).unwrap_or_default();
        let made = raw(&permit, "verb") == "git.propose" && raw(body, "outcome") == "success";
        if made {
            let path = format!("/api/v1/audit/entries/{}", number(entry, "sequence"));
            let stored = self.stage.person.get(&path, &[]).await?;
            let branch = raw(&stored, "payloads.result.value.branch");
            self.found.branch = (!branch.is_empty()).then(|| branch.to_owned());
        }
        if !self.tells() {
            return Ok(());
        }
        let data = json!({
            "entry": number(body, "permit"), "step": raw(body, "step"), "verb": raw(&permit, "verb"),
            "resource": raw(&permit, "resource"), "effect": raw(&permit, "effect"), "decision": "permit",
            "reason": raw(&permit, "reason"), "outcome": raw(body, "outcome"), "result": raw(body, "summary"),
        });
        self.narrator.tell("step", data, |columns| {
            let came = match raw(body, "outcome") {
                "success" => text(body, "summary"),
                outcome => format!("{outcome}: {}", text(body, "summary")),
            };
            step(columns, number(body, "permit"), &permit, "permit", &[text(&permit, "reason"), format!("→ {came}")])
        })
    }

    fn denied(&mut self, entry: &Value) -> Result<(), Failure> {
        let body = field(entry, "body");
        self.narrator.act("refused", "A write, which is refused")?;
        let data = json!({
            "entry": number(entry, "sequence"), "step": raw(body, "step"), "verb": raw(body, "verb"),
            "resource": raw(body, "resource"), "effect": raw(body, "effect"), "decision": "deny",
            "reason": raw(body, "reason"), "code": raw(body, "code"), "remedy": raw(body, "remedy"),
        });
        self.narrator.tell("step", data, |columns| {
            let remedy = format!("what would change it: {}", text(body, "remedy"));
            step(columns, number(entry, "sequence"), body, "deny", &[text(body, "reason"), remedy])
        })
    }

    async fn approval(&mut self, id: &str) -> Result<(), Failure> {
        let path = format!("/api/v1/approvals/{}", segment(id));
        let approval = self.stage.person.get(&path, &[]).await?;
        if self.tells() {
            self.narrator.act("approval", "A change, which a person decides")?;
            let arguments = field(&approval, "action.arguments");
            let data = json!({
                "approval": id, "verb": raw(&approval, "verb"), "resource": raw(&approval, "resource"),
                "effect": raw(&approval, "effect"), "decision": "require_approval", "reason": raw(&approval, "reason"),
                "rule": raw(&approval, "rule"), "branch": raw(arguments, "branch"), "diff": raw(arguments, "diff"),
                "expires": raw(&approval, "expires"),
            });
            self.narrator.tell("step", data, |columns| {
                let why = format!("{} ({})", text(&approval, "reason"), text(&approval, "rule"));
                let mut out = approval_line(columns, &approval, &[why]);
                let action = exact_action(field(&approval, "action"));
                out.push_str(&action.lines().map(|line| format!("      {line}\n")).collect::<String>());
                out
            })?;
        }
        let (client, who, yes) = self.verdict().await?;
        self.found.approval = Some((id.to_owned(), yes));
        decide(client, &path, yes).await?;
        let said = if yes { "approved" } else { "denied" };
        let data = json!({ "approval": id, "by": format!("person:{who}"), "verdict": said });
        let look = look_of(said);
        self.narrator.fact("verdict", "verdict", &format!("{id} {said} by person:{who}"), look, data)
    }

    async fn verdict(&mut self) -> Result<(&'f Client, &'f str, bool), Failure> {
        match self.decider {
            Decider::Colleague => Ok((&self.stage.colleague, COLLEAGUE, true)),
            Decider::Yes => Ok((&self.stage.person, &self.stage.person_name, true)),
            Decider::Person => {
                let yes = self.narrator.ask("   Approve exactly this, once?").await?;
                Ok((&self.stage.person, &self.stage.person_name, yes))
            }
        }
    }
}

async fn decide(client: &Client, path: &str, yes: bool) -> Result<(), Failure> {
    let (verb, reason) = if yes { ("approve", "the diff takes back what broke it") } else { ("deny", "not now") };
    client.post(&format!("{path}/{verb}"), &json!({ "reason": reason })).await?;
    Ok(())
}

/// One action: its entry, what it is and what was decided; below, what was said about it.
fn step(columns: usize, entry: u64, body: &Value, decision: &str, said: &[String]) -> String {
    let entry = format!("{entry:>5}").dimmed().to_string();
    action_lines(columns, &entry, body, decision, said)
}

fn approval_line(columns: usize, approval: &Value, said: &[String]) -> String {
    action_lines(columns, "    ?", approval, "require_approval", said)
}

fn action_lines(columns: usize, left: &str, body: &Value, decision: &str, said: &[String]) -> String {
    let effect = text(body, "effect");
    let shown = decision.replace('_', " ");
    let mark = match decision {
        "permit" => "✓",
        "deny" => "✗",
        _ => "●",
    };
    let decided = format!("{mark} {shown}");
    let room = columns.saturating_sub(8 + 7 + decided.chars().count() + 2);
    let target = effect_and_target(&json!({ "verb": raw(body, "verb"), "resource": raw(body, "resource") }));
    let target = format!("{:room$}", cut(&target, room));
    let effect = painted(&format!("{effect:<6}"), look_of(&effect));
    let decided = painted(&decided, look_of(decision));
    let decided = if decision == "permit" { decided } else { decided.bold().to_string() };
    let mut out = format!(" {left}  {effect} {target} {decided}\n");
    let look = if decision == "permit" { Look::Dim } else { Look::Plain };
    for line in said.iter().filter(|s| !s.is_empty()).flat_map(|s| fold(s, columns.saturating_sub(15))) {
        out.push_str(&format!("               {}\n", painted(&line, look)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    #[test]
    fn a_step_fits_its_columns_and_says_everything() {
        let body = json!({"effect": "write", "verb": "http.request", "resource": "http://127.0.0.1:40000/-/restart"});
        let said = ["no rule permits it".to_owned(), "what would change it: a rule that permits it".to_owned()];
        let shown = strip_str(&step(72, 31, &body, "deny", &said)).to_string();
        assert_eq!(
            shown,
            "    31  write  http.request http://127.0.0.1:40000/-/restart     ✗ deny
               no rule permits it
               what would change it: a rule that permits it
"
        );
        assert!(shown.lines().all(|line| crate::cli::text::width(line) <= 72));
    }
}
