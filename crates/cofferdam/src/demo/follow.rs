//! Follows one investigation in the journal, as it happens: steps with effect, decision and reason,
//! and the approval on which it waits.

use super::finding::finding;
use super::narrator::Narrator;
use super::stage::{COLLEAGUE, Stage};
use crate::cli::approvals::exact_action;
use crate::cli::client::{Client, segment};
use crate::cli::entry::effect_and_target;
use crate::cli::failure::Failure;
use crate::cli::table::{look_of, painted};
use crate::cli::text::{cut, fold, indented, short_hashes};
use crate::cli::value::{field, list, number, raw, text};
use owo_colors::OwoColorize;
use policy::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Columns before what an action is: its entry and its effect.
const INDENT: usize = 13;

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
    /// Sequence of the entry that records the first refusal.
    pub denied_entry: Option<u64>,
}

/// An investigation being followed.
pub struct Follow<'f, 's> {
    stage: &'f Stage,
    narrator: &'f mut Narrator<'s>,
    decider: Decider,
    onset: Timestamp,
    /// What steps are for, by name: from the agent's document.
    titles: BTreeMap<String, String>,
    permits: BTreeMap<u64, Value>,
    found: Found,
}

impl<'f, 's> Follow<'f, 's> {
    /// Of an incident that began at `onset`.
    pub fn new(
        stage: &'f Stage,
        narrator: &'f mut Narrator<'s>,
        decider: Decider,
        onset: Timestamp,
    ) -> Follow<'f, 's> {
        let (titles, permits) = (BTreeMap::new(), BTreeMap::new());
        Follow {
            stage,
            narrator,
            decider,
            onset,
            titles,
            permits,
            found: Found::default(),
        }
    }

    /// Until the session ends.
    pub async fn until_it_ends(mut self, session: &str) -> Result<Found, Failure> {
        let agent = self
            .stage
            .person
            .get("/api/v1/documents/Agent/triage", &[])
            .await?;
        let steps = list(&agent, "document.spec.runbook.steps").iter();
        self.titles = steps
            .map(|step| (text(step, "name"), text(step, "title")))
            .collect();
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
                self.found.denied_entry.get_or_insert(number(entry, "sequence"));
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
        let result = self.result(number(entry, "sequence")).await?;
        if raw(&permit, "verb") == "git.propose" && raw(body, "outcome") == "success" {
            self.found.branch = Some(raw(&result, "branch").to_owned()).filter(|branch| !branch.is_empty());
        }
        if !self.tells() {
            return Ok(());
        }
        let found = match raw(body, "outcome") {
            "success" => {
                finding(raw(&permit, "verb"), &result, self.onset).unwrap_or_else(|| text(body, "summary"))
            }
            outcome => format!("{outcome}: {}", text(body, "summary")),
        };
        let title = self.titles.get(raw(body, "step")).cloned().unwrap_or_default();
        let data = json!({
            "entry": number(body, "permit"), "step": raw(body, "step"), "verb": raw(&permit, "verb"),
            "resource": raw(&permit, "resource"), "effect": raw(&permit, "effect"), "decision": "permit",
            "reason": raw(&permit, "reason"), "outcome": raw(body, "outcome"), "title": title, "finding": found,
        });
        let said = format!("{title}: {}", short_hashes(&found));
        self.narrator.tell("step", data, |columns| {
            permitted(columns, number(body, "permit"), &permit, &said)
        })
    }

    /// What is kept beside the entry of an outcome.
    async fn result(&self, entry: u64) -> Result<Value, Failure> {
        let stored = self
            .stage
            .person
            .get(&format!("/api/v1/audit/entries/{entry}"), &[])
            .await?;
        Ok(field(&stored, "payloads.result.value").clone())
    }

    fn denied(&mut self, entry: &Value) -> Result<(), Failure> {
        let body = field(entry, "body");
        match self.found.approval {
            None => self.narrator.act("refused", "A write, which is refused")?,
            Some(_) => self.narrator.act("not_approved", "The change is not made")?,
        }
        let data = json!({
            "entry": number(entry, "sequence"), "step": raw(body, "step"), "verb": raw(body, "verb"),
            "resource": raw(body, "resource"), "effect": raw(body, "effect"), "decision": "deny",
            "reason": raw(body, "reason"), "code": raw(body, "code"), "remedy": raw(body, "remedy"),
        });
        self.narrator.tell("step", data, |columns| {
            let remedy = format!("what would change it: {}", text(body, "remedy"));
            action(
                columns,
                &number(entry, "sequence").to_string(),
                body,
                "deny",
                &[text(body, "reason"), remedy],
            )
        })
    }

    async fn approval(&mut self, id: &str) -> Result<(), Failure> {
        let path = format!("/api/v1/approvals/{}", segment(id));
        let approval = self.stage.person.get(&path, &[]).await?;
        if self.tells() {
            self.narrator
                .act("approval", "A change, which a person decides")?;
            let arguments = field(&approval, "action.arguments");
            let data = json!({
                "approval": id, "verb": raw(&approval, "verb"), "resource": raw(&approval, "resource"),
                "effect": raw(&approval, "effect"), "decision": "require_approval", "reason": raw(&approval, "reason"),
                "rule": raw(&approval, "rule"), "branch": raw(arguments, "branch"), "diff": raw(arguments, "diff"),
                "expires": raw(&approval, "expires"),
            });
            self.narrator.tell("step", data, |columns| {
                let why = format!("{} ({})", text(&approval, "reason"), text(&approval, "rule"));
                let exact = exact_action(field(&approval, "action"));
                let exact = indented(&exact, 7);
                format!(
                    "{}\n{exact}",
                    action(columns, "", &approval, "require_approval", &[why])
                )
            })?;
        }
        let (client, who, yes) = self.verdict().await?;
        self.found.approval = Some((id.to_owned(), yes));
        decide(client, &path, yes).await?;
        let said = if yes { "approved" } else { "denied" };
        let data = json!({ "approval": id, "by": format!("person:{who}"), "verdict": said });
        let look = look_of(said);
        self.narrator.fact(
            "verdict",
            "verdict",
            &format!("{id} {said} by person:{who}"),
            look,
            data,
        )
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
    let (verb, reason) = if yes {
        ("approve", "the diff takes back what broke it")
    } else {
        ("deny", "not now")
    };
    client
        .post(&format!("{path}/{verb}"), &json!({ "reason": reason }))
        .await?;
    Ok(())
}

/// An action that was permitted: its entry, what it is and why; below, what it found.
fn permitted(columns: usize, entry: u64, body: &Value, found: &str) -> String {
    let effect = text(body, "effect");
    let (entry, verb) = (
        format!("{entry:>5}"),
        format!("{:<23}", cut(&text(body, "verb"), 22)),
    );
    let reason = text(body, "reason");
    let beside = crate::cli::text::width(&reason) <= columns.saturating_sub(INDENT + 23 + 10);
    let (beside, below) = if beside {
        (reason.as_str(), Vec::new())
    } else {
        ("", fold(&reason, columns.saturating_sub(INDENT)))
    };
    let effect = painted(&format!("{effect:<6}"), look_of(&effect));
    let mut out = format!(
        "{}  {effect}{verb}{}  {}\n",
        entry.dimmed(),
        "✓ permit".green(),
        beside.dimmed()
    );
    for line in below {
        out.push_str(&format!("{:INDENT$}{}\n", "", line.dimmed()));
    }
    for (index, line) in fold(found, columns.saturating_sub(INDENT + 2)).iter().enumerate() {
        let arrow = if index == 0 { "→" } else { " " };
        out.push_str(&format!("{:INDENT$}{} {line}\n", "", arrow.dimmed()));
    }
    out
}

/// An action that was not: its entry, what it is and on what, what was decided; below, why.
fn action(columns: usize, entry: &str, body: &Value, decision: &str, said: &[String]) -> String {
    let effect = text(body, "effect");
    let decided = match decision {
        "deny" => "✗ deny".to_owned(),
        other => format!("● {}", other.replace('_', " ")),
    };
    let room = columns.saturating_sub(INDENT + decided.chars().count() + 2);
    let target = effect_and_target(&json!({ "verb": raw(body, "verb"), "resource": raw(body, "resource") }));
    let target = format!("{:<room$}", cut(&target, room));
    let effect = painted(&format!("{effect:<6}"), look_of(&effect));
    let decided = painted(&decided, look_of(decision));
    let mut out = format!(
        "{}  {effect}{target}  {}\n",
        format!("{entry:>5}").dimmed(),
        decided.bold()
    );
    for line in said
        .iter()
        .filter(|s| !s.is_empty())
        .flat_map(|s| fold(s, columns.saturating_sub(INDENT)))
    {
        out.push_str(&format!("{:INDENT$}{line}\n", ""));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    fn fits(shown: &str, columns: usize) -> String {
        let shown = strip_str(shown).to_string();
        assert!(
            shown.lines().all(|line| crate::cli::text::width(line) <= columns),
            "{shown}"
        );
        shown
    }

    #[test]
    fn actions_fit_their_columns_and_say_everything() {
        let body = json!({"effect": "write", "verb": "http.request", "resource": "http://127.0.0.1:40000/-/restart"});
        let said = [
            "no rule permits it".to_owned(),
            "what would change it: a rule that permits it".to_owned(),
        ];
        assert_eq!(
            fits(&action(72, "31", &body, "deny", &said), 72),
            "   31  write http.request http://127.0.0.1:40000/-/restart        ✗ deny
             no rule permits it
             what would change it: a rule that permits it
"
        );
        let body = json!({"effect": "read", "verb": "prometheus.query_range", "reason": "a read that `toolset/shop` grants"});
        assert_eq!(
            fits(
                &permitted(80, 64, &body, "from 0.100 to 0.500, at most 0.500"),
                80
            ),
            "   64  read  prometheus.query_range ✓ permit  a read that `toolset/shop` grants
             → from 0.100 to 0.500, at most 0.500
"
        );
    }
}
