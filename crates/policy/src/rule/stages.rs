//! Who has to approve, in which order: stages, each of so many different people.
//!
//! An outside system behind a channel (`webhook:NAME`) counts where it is named and nowhere else: what asks nobody
//! in particular, a team or a role asks people.
//!
//! Written as a list. Names alone are one stage, which any one of them answers. With an object in it
//! every item is a stage of its own, in order: `[sre-oncall, {team: security, count: 2}]`. Who belongs
//! to a team or has a role is not known here: whoever counts votes says it.
//!
//! A stage may be passed over: with `escalate_after_seconds` the next one decides in its place. That counts
//! from when the stage before it was passed over, or from the end of the time of one that was answered before
//! it was over (of the first, from the request): so each stage has at least its own time.

use super::Approver;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most stages of one rule.
const STAGES_MAX: usize = 8;
/// Most people in one stage.
const COUNT_MAX: u32 = 16;
/// Most approvers that one stage names.
const APPROVERS_MAX: usize = 64;
/// Longest time of one stage, in seconds: a week.
const ESCALATE_AFTER_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;
/// Longest name of an approver, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// One stage of an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Who may answer it; empty: everybody who may approve at all.
    pub any: Vec<Approver>,
    /// How many different people have to.
    pub count: u32,
    /// After so many seconds without them the next stage decides instead. Only where each stage before it
    /// has such a time too, so that its own begins when theirs are over.
    pub escalate_after_seconds: Option<u32>,
}

/// The stages that one rule asks for, in order; empty when it asks nobody in particular.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Item>", into = "Vec<Item>")]
pub struct Stages(Vec<Stage>);

/// One item of the list as written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Item {
    Name(Approver),
    Stage(Spec),
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    any: Option<Vec<Approver>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escalate_after_seconds: Option<u32>,
}

impl Stage {
    /// Any one of `approvers`.
    pub fn one_of(approvers: &[Approver]) -> Stage {
        Stage {
            any: approvers.to_vec(),
            count: 1,
            escalate_after_seconds: None,
        }
    }

    /// Whether a person whom `is` knows may answer it.
    pub fn names(&self, is: impl Fn(&Approver) -> bool) -> bool {
        self.any.is_empty() || self.any.iter().any(is)
    }

    /// Whether the outside system behind `channel` may answer it.
    pub fn names_webhook(&self, channel: &str) -> bool {
        self.webhooks().any(|name| name == channel)
    }

    /// The channels whose outside systems may.
    pub fn webhooks(&self) -> impl Iterator<Item = &str> {
        self.any.iter().filter_map(Approver::webhook)
    }

    /// Whether outside systems alone are too few for it.
    fn needs_person(&self) -> bool {
        self.webhooks().collect::<BTreeSet<_>>().len() < self.count as usize
    }

    /// `alice or bob`, `2 of team:security`.
    pub fn told(&self) -> String {
        let names: Vec<&str> = self.any.iter().map(|approver| approver.0.as_str()).collect();
        match (names.is_empty(), self.count) {
            (true, 1) => "someone who may approve".to_owned(),
            (true, count) => format!("{count} who may approve"),
            (false, 1) => names.join(" or "),
            (false, count) => format!("{count} of {}", names.join(" or ")),
        }
    }

    /// The same once `given` have: `1 more of team:security`.
    pub fn told_after(&self, given: u32) -> String {
        let names: Vec<&str> = self.any.iter().map(|approver| approver.0.as_str()).collect();
        match (given, self.count.saturating_sub(given), names.is_empty()) {
            (0, ..) => self.told(),
            (_, left, true) => format!("{left} more who may approve"),
            (_, left, false) => format!("{left} more of {}", names.join(" or ")),
        }
    }
}

impl Stages {
    /// One stage that any one of `approvers` answers.
    pub fn any_of(approvers: &[Approver]) -> Stages {
        Stages(vec![Stage::one_of(approvers)])
    }

    /// In order.
    pub fn as_slice(&self) -> &[Stage] {
        &self.0
    }

    /// Whether it asks nobody in particular.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long after the turn of the stage at `from` began the time of the stage at `at` is over, in
    /// milliseconds; `None` when it waits for as long as the approval does.
    pub fn escalates_after_ms(&self, from: usize, at: usize) -> Option<i64> {
        self.0.get(at)?;
        let mut seconds = self
            .0
            .iter()
            .take(at + 1)
            .skip(from)
            .map(|stage| stage.escalate_after_seconds);
        let sum = seconds.try_fold(0_i64, |sum, stage| Some(sum + i64::from(stage?)))?;
        Some(sum * 1000)
    }

    /// Whether one person of a plain list of names is all that it asks for.
    pub fn is_plain(&self) -> bool {
        matches!(self.0.as_slice(), [] | [Stage { count: 1, .. }])
    }

    /// Everybody it names.
    pub fn everybody(&self) -> impl Iterator<Item = &Approver> {
        self.0.iter().flat_map(|stage| &stage.any)
    }

    /// The channels whose outside systems may answer a stage of it, each once.
    pub fn webhooks(&self) -> BTreeSet<&str> {
        self.0.iter().flat_map(Stage::webhooks).collect()
    }

    /// Whether it cannot be answered by outside systems alone.
    pub fn needs_person(&self) -> bool {
        let mut waits = self
            .0
            .iter()
            .filter(|stage| stage.escalate_after_seconds.is_none());
        self.0.is_empty() || waits.any(Stage::needs_person)
    }

    /// Whether `people`, in the order in which they approved, are enough by their names alone; outside systems
    /// are called `webhook:NAME` there. The roles and teams of then are not known.
    pub fn met_by(&self, people: &[String]) -> bool {
        let (mut at, mut counted) = (0, 0);
        let mut seen = BTreeSet::new();
        for person in people {
            let Some(stage) = self.0.get(at) else { return true };
            let named = match person.strip_prefix(Approver::WEBHOOK) {
                Some(channel) => stage.names_webhook(channel),
                None => stage.names(|approver| approver.is_person(person)),
            };
            // One person is one vote in each list.
            if named && seen.insert(person) {
                counted += 1;
            }
            if counted >= stage.count {
                (at, counted) = (at + 1, 0);
            }
        }
        at >= self.0.len()
    }

    /// Whether some stage names nobody but `except`, so that it cannot be answered, and is not passed over.
    pub fn only(&self, except: &str) -> bool {
        let others = |stage: &Stage| stage.any.iter().any(|approver| !approver.is_person(except));
        let mut waits = self
            .0
            .iter()
            .filter(|stage| stage.escalate_after_seconds.is_none());
        waits.any(|stage| !stage.any.is_empty() && !others(stage))
    }

    /// `sre-oncall, then 2 of team:security`; `sre-oncall for 600 s, then team:managers`.
    pub fn told(&self) -> String {
        match self.0.as_slice() {
            [] => Stage::one_of(&[]).told(),
            stages => {
                let told = |stage: &Stage| match stage.escalate_after_seconds {
                    Some(seconds) => format!("{} for {seconds} s", stage.told()),
                    None => stage.told(),
                };
                stages.iter().map(told).collect::<Vec<_>>().join(", then ")
            }
        }
    }
}

impl TryFrom<Vec<Item>> for Stages {
    type Error = String;

    fn try_from(items: Vec<Item>) -> Result<Stages, String> {
        let plain: Option<Vec<Approver>> = items
            .iter()
            .map(|item| match item {
                Item::Name(approver) => Some(approver.clone()),
                Item::Stage(_) => None,
            })
            .collect();
        let stages = match plain {
            Some(names) if names.is_empty() => Vec::new(),
            Some(names) => vec![Stage::one_of(&names)],
            None => items.into_iter().map(stage).collect::<Result<_, _>>()?,
        };
        if stages.len() > STAGES_MAX {
            return Err(format!("`approvers` has more than {STAGES_MAX} stages"));
        }
        stages.iter().try_for_each(check)?;
        check_escalation(&stages)?;
        Ok(Stages(stages))
    }
}

fn stage(item: Item) -> Result<Stage, String> {
    let spec = match item {
        Item::Name(approver) => return Ok(Stage::one_of(&[approver])),
        Item::Stage(spec) => spec,
    };
    let any = match (spec.team, spec.webhook, spec.any) {
        (Some(team), None, None) => vec![Approver(format!("{}{team}", Approver::TEAM))],
        (None, Some(channel), None) => vec![Approver(format!("{}{channel}", Approver::WEBHOOK))],
        (None, None, any) => any.unwrap_or_default(),
        (Some(_), None, Some(_)) => return Err("a stage has both `team` and `any`: use one".to_owned()),
        _ => return Err("a stage has `webhook` and `team` or `any` too: use `any` for several".to_owned()),
    };
    let count = spec.count.unwrap_or(1);
    Ok(Stage {
        any,
        count,
        escalate_after_seconds: spec.escalate_after_seconds,
    })
}

fn check_escalation(stages: &[Stage]) -> Result<(), String> {
    let times = || stages.iter().map(|stage| stage.escalate_after_seconds);
    if times()
        .flatten()
        .any(|seconds| !(1..=ESCALATE_AFTER_SECONDS_MAX).contains(&seconds))
    {
        return Err(format!(
            "`escalate_after_seconds` of a stage is not from 1 to {ESCALATE_AFTER_SECONDS_MAX}"
        ));
    }
    if times().next_back().flatten().is_some() {
        return Err("the last stage has `escalate_after_seconds`, and there is none after it".to_owned());
    }
    match times().skip_while(Option::is_some).any(|time| time.is_some()) {
        true => Err(
            "a stage has `escalate_after_seconds` and one before it has not: its time never begins"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

fn check(stage: &Stage) -> Result<(), String> {
    if !(1..=COUNT_MAX).contains(&stage.count) {
        return Err(format!(
            "`count` {} of a stage is not from 1 to {COUNT_MAX}",
            stage.count
        ));
    }
    if stage.any.len() > APPROVERS_MAX {
        return Err(format!("a stage names more than {APPROVERS_MAX} approvers"));
    }
    let people: Option<BTreeSet<&str>> = stage
        .any
        .iter()
        .map(|approver| match approver.webhook() {
            Some(_) => Some(approver.0.as_str()),
            None => approver.0.strip_prefix(Approver::PERSON),
        })
        .collect();
    if people.is_some_and(|people| !stage.any.is_empty() && people.len() < stage.count as usize) {
        return Err(format!("a stage asks for {} people and names fewer", stage.count));
    }
    let odd = |approver: &&Approver| {
        let name = approver
            .0
            .strip_prefix(Approver::TEAM)
            .or_else(|| approver.0.strip_prefix(Approver::PERSON))
            .or_else(|| approver.webhook());
        !(1..=NAME_BYTES_MAX).contains(&name.unwrap_or(&approver.0).len())
    };
    match stage.any.iter().find(odd) {
        Some(approver) => Err(format!(
            "approver `{}` is empty or longer than {NAME_BYTES_MAX} bytes",
            approver.0
        )),
        None => Ok(()),
    }
}

impl From<Stages> for Vec<Item> {
    fn from(Stages(stages): Stages) -> Vec<Item> {
        match stages.as_slice() {
            [Stage { any, count: 1, .. }] if !any.is_empty() => any.iter().cloned().map(Item::Name).collect(),
            _ => stages.into_iter().map(written).collect(),
        }
    }
}

fn written(stage: Stage) -> Item {
    let Stage {
        any,
        count,
        escalate_after_seconds,
    } = stage;
    Item::Stage(Spec {
        team: None,
        webhook: None,
        any: Some(any).filter(|any| !any.is_empty()),
        count: Some(count).filter(|count| *count != 1),
        escalate_after_seconds,
    })
}
