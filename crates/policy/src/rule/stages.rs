//! Who has to approve, in which order: stages, each of so many different people.
//!
//! Written as a list. Names alone are one stage, which any one of them answers. With an object in it
//! every item is a stage of its own, in order: `[sre-oncall, {team: security, count: 2}]`. Who belongs
//! to a team or has a role is not known here: whoever counts votes says it.

use super::Approver;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most stages of one rule.
const STAGES_MAX: usize = 8;
/// Most people in one stage.
const COUNT_MAX: u32 = 16;
/// Most approvers that one stage names.
const APPROVERS_MAX: usize = 64;
/// Longest name of an approver, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// One stage of an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Who may answer it; empty: everybody who may approve at all.
    pub any: Vec<Approver>,
    /// How many different people have to.
    pub count: u32,
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
    any: Option<Vec<Approver>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

impl Stage {
    /// Any one of `approvers`.
    pub fn one_of(approvers: &[Approver]) -> Stage {
        Stage {
            any: approvers.to_vec(),
            count: 1,
        }
    }

    /// Whether somebody whom `is` knows may answer it.
    pub fn names(&self, is: impl Fn(&Approver) -> bool) -> bool {
        self.any.is_empty() || self.any.iter().any(is)
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

    /// Whether one person of a plain list of names is all that it asks for.
    pub fn is_plain(&self) -> bool {
        matches!(self.0.as_slice(), [] | [Stage { count: 1, .. }])
    }

    /// Everybody it names.
    pub fn everybody(&self) -> impl Iterator<Item = &Approver> {
        self.0.iter().flat_map(|stage| &stage.any)
    }

    /// Whether `people`, in the order in which they approved, are enough by their names alone. Their roles
    /// and teams of then are not known.
    pub fn met_by(&self, people: &[String]) -> bool {
        let (mut at, mut counted) = (0, 0);
        let mut seen = BTreeSet::new();
        for person in people {
            let Some(stage) = self.0.get(at) else { return true };
            // One person is one vote in each list.
            if stage.names(|approver| approver.is_person(person)) && seen.insert(person) {
                counted += 1;
            }
            if counted >= stage.count {
                (at, counted) = (at + 1, 0);
            }
        }
        at >= self.0.len()
    }

    /// Whether some stage names nobody but `except`, so that it cannot be answered.
    pub fn only(&self, except: &str) -> bool {
        let others = |stage: &Stage| stage.any.iter().any(|approver| !approver.is_person(except));
        self.0.iter().any(|stage| !stage.any.is_empty() && !others(stage))
    }

    /// `sre-oncall, then 2 of team:security`.
    pub fn told(&self) -> String {
        match self.0.as_slice() {
            [] => Stage::one_of(&[]).told(),
            stages => stages.iter().map(Stage::told).collect::<Vec<_>>().join(", then "),
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
        Ok(Stages(stages))
    }
}

fn stage(item: Item) -> Result<Stage, String> {
    let spec = match item {
        Item::Name(approver) => return Ok(Stage::one_of(&[approver])),
        Item::Stage(spec) => spec,
    };
    let any = match (spec.team, spec.any) {
        (Some(_), Some(_)) => return Err("a stage has both `team` and `any`: use one".to_owned()),
        (Some(team), None) => vec![Approver(format!("{}{team}", Approver::TEAM))],
        (None, any) => any.unwrap_or_default(),
    };
    let count = spec.count.unwrap_or(1);
    Ok(Stage { any, count })
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
        .map(|approver| approver.0.strip_prefix(Approver::PERSON))
        .collect();
    if people.is_some_and(|people| !stage.any.is_empty() && people.len() < stage.count as usize) {
        return Err(format!("a stage asks for {} people and names fewer", stage.count));
    }
    let odd = |approver: &&Approver| {
        let name = approver
            .0
            .strip_prefix(Approver::TEAM)
            .or_else(|| approver.0.strip_prefix(Approver::PERSON));
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
            [Stage { any, count: 1 }] if !any.is_empty() => any.iter().cloned().map(Item::Name).collect(),
            _ => stages.into_iter().map(written).collect(),
        }
    }
}

fn written(Stage { any, count }: Stage) -> Item {
    Item::Stage(Spec {
        team: None,
        any: Some(any).filter(|any| !any.is_empty()),
        count: Some(count).filter(|count| *count != 1),
    })
}
