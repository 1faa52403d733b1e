//! Thresholds of trust by what an action does (S3-B12), as a policy chooses them; none unless one does.
//!
//! A threshold only takes away: it permits nothing, and neither an approval nor a sandbox answers it. An action
//! that falls into several classes has to reach the highest of their thresholds.

use super::{LoadError, Mode, PolicyDocument, RuleId};
use crate::trust::SCORE_MAX;
use crate::{Action, Chain, Effect, Pattern, PrincipalKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What stands for the rule in `policy/NAME#thresholds`; no rule beside thresholds has this name.
pub(crate) const NAME: &str = "thresholds";
/// Most patterns of verbs that a policy puts into classes.
const VERBS_MAX: usize = 64;
/// First words of verbs that tell people something. Ours.
const TELLING: [&str; 6] = ["channel", "chat", "email", "mail", "message", "sms"];
/// Words of verbs that put something into service. Ours.
const DEPLOYING: [&str; 9] = [
    "apply", "deploy", "merge", "migrate", "promote", "publish", "release", "rollback", "rollout",
];
/// First words of verbs that change who may do what. Ours.
const ADMINISTERING: [&str; 4] = ["admin", "iam", "rbac", "sudo"];

/// What an action does, as far as trust has a threshold for it (S3-B12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionClass {
    /// Its effect is `read`.
    Read,
    /// Its effect is any other.
    Write,
    /// It tells people something: no read, by a verb such as `channel.post` or `email.send`.
    Email,
    /// It puts something into service: no read, with a word in its verb such as `deploy`, `apply` or `merge`.
    Deploy,
    /// Agents of more than one organization stand on its chain, or nobody knows of which they are.
    CrossOrg,
    /// It destroys, or its verb changes who may do what, such as `iam.grant`.
    Admin,
}

impl ActionClass {
    /// All, in the order of [`ThresholdSet::scores`].
    pub const ALL: [ActionClass; 6] = [
        ActionClass::Read,
        ActionClass::Write,
        ActionClass::Email,
        ActionClass::Deploy,
        ActionClass::CrossOrg,
        ActionClass::Admin,
    ];

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionClass::Read => "read",
            ActionClass::Write => "write",
            ActionClass::Email => "email",
            ActionClass::Deploy => "deploy",
            ActionClass::CrossOrg => "cross_org",
            ActionClass::Admin => "admin",
        }
    }

    /// Whether an action is of this class by itself, whatever a policy says of its verb.
    fn holds(self, chain: &Chain, action: &Action) -> bool {
        let reads = action.effect() == Effect::Read;
        let verb = action.verb().as_str();
        let mut words = verb.split(['.', '-', '_']);
        let begins = |known: &[&str]| verb.split('.').next().is_some_and(|word| known.contains(&word));
        match self {
            ActionClass::Read => reads,
            ActionClass::Write => !reads,
            ActionClass::Email => !reads && begins(&TELLING),
            ActionClass::Deploy => !reads && words.any(|word| DEPLOYING.contains(&word)),
            ActionClass::CrossOrg => spans_organizations(chain),
            ActionClass::Admin => {
                action.effect() == Effect::Destructive || (!reads && begins(&ADMINISTERING))
            }
        }
    }
}

/// Whether its agents are of more than one organization; of several, one that nobody knows the place of is.
fn spans_organizations(chain: &Chain) -> bool {
    let links = chain.links.iter();
    let agents = links.filter(|link| link.principal.kind == PrincipalKind::Agent);
    let of: BTreeSet<Option<&str>> = agents
        .clone()
        .map(|link| link.place.as_ref().map(|place| place.organization.as_str()))
        .collect();
    of.len() > 1 || (of.contains(&None) && agents.count() > 1)
}

/// Scores that were thought through together (S3-B12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdSet {
    /// For regulated industries.
    Conservative,
    /// For an enterprise.
    Moderate,
    /// For tools of one's own, and experiments.
    Permissive,
}

impl ThresholdSet {
    /// The least score, 0 to 1000, of each of [`ActionClass::ALL`].
    pub fn scores(self) -> [u16; 6] {
        match self {
            ThresholdSet::Conservative => [300, 600, 700, 800, 900, 950],
            ThresholdSet::Moderate => [200, 500, 600, 700, 800, 900],
            ThresholdSet::Permissive => [100, 300, 400, 500, 700, 800],
        }
    }
}

/// `thresholds` of a policy: a set, single scores from 0 to 1000 in the place of its own, or both. A class that
/// neither speaks of has no threshold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each class is documented where it is defined")]
pub struct ThresholdSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<ThresholdSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_org: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<u16>,
    /// Patterns of verbs that are of a class besides those that they are of anyway.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verbs: BTreeMap<String, ActionClass>,
}

impl ThresholdSpec {
    /// The score of each class.
    fn scores(&self) -> [Option<u16>; 6] {
        let own = [
            self.read,
            self.write,
            self.email,
            self.deploy,
            self.cross_org,
            self.admin,
        ];
        let of_set = self.set.map_or([None; 6], |set| set.scores().map(Some));
        std::array::from_fn(|at| {
            let own = own.get(at).copied().flatten();
            own.or_else(|| of_set.get(at).copied().flatten())
        })
    }

    /// What is wrong with it, if anything is.
    fn problem(&self) -> Option<String> {
        let scores = self.scores();
        if scores.iter().all(Option::is_none) {
            return Some(
                "thresholds that set no score: name a set (conservative, moderate, permissive) or scores"
                    .to_owned(),
            );
        }
        if let Some(score) = scores.into_iter().flatten().find(|score| *score > SCORE_MAX) {
            return Some(format!("{score} is no score: use 0 to {SCORE_MAX}"));
        }
        if self.verbs.len() > VERBS_MAX {
            return Some(format!("thresholds for more than {VERBS_MAX} patterns of verbs"));
        }
        let wrong = self.verbs.keys().find(|text| Pattern::new(text).is_none())?;
        Some(format!(
            "`{wrong}` is no pattern of verbs: a `*` stands at its end alone"
        ))
    }
}

/// The thresholds of one policy, compiled.
#[derive(Debug)]
pub(crate) struct Thresholds {
    /// `policy/NAME#thresholds`.
    pub(crate) id: RuleId,
    /// Which of the places of its set it is for.
    pub(crate) place: usize,
    pub(crate) mode: Mode,
    scores: [Option<u16>; 6],
    verbs: Vec<(Pattern, ActionClass)>,
}

/// A score that an action takes and its chain has not got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// `policy/NAME#thresholds`.
    pub rule: RuleId,
    /// What the action does.
    pub class: ActionClass,
    /// The least score for that, 0 to 1000.
    pub least: u16,
    /// What there is: the least of all agents on the chain, 0 to 1000.
    pub trust: u16,
}

impl Shortfall {
    /// One sentence for a person.
    pub fn reason(&self) -> String {
        let Shortfall {
            rule,
            class,
            least,
            trust,
        } = self;
        format!(
            "trust {trust} is below {least}, the threshold of `{rule}` for `{}` actions",
            class.as_str()
        )
    }
}

impl Thresholds {
    /// Those of a policy; `None` when it sets none.
    pub(super) fn compile(
        policy: &str,
        document: &PolicyDocument,
        place: usize,
    ) -> Result<Option<Thresholds>, LoadError> {
        let Some(spec) = &document.thresholds else {
            return Ok(None);
        };
        let id = RuleId(format!("policy/{policy}#{NAME}"));
        let taken = document
            .rules
            .iter()
            .position(|rule| rule.name.as_deref() == Some(NAME));
        let taken = taken.map(|_| format!("the name `{NAME}` is kept for thresholds; use another"));
        if let Some(what) = taken.or_else(|| spec.problem()) {
            let rule = id.0;
            return Err(LoadError { rule, index: 0, what });
        }
        let verb = |(text, class): (&String, &ActionClass)| Some((Pattern::new(text)?, *class));
        Ok(Some(Thresholds {
            id,
            place,
            mode: document.mode,
            scores: spec.scores(),
            verbs: spec.verbs.iter().filter_map(verb).collect(),
        }))
    }

    /// The highest score of all classes that the action is of, and which; `None` when none of them has one. Of
    /// several that are as high the last counts, which is the narrowest.
    pub(crate) fn taken(&self, chain: &Chain, action: &Action) -> Option<(ActionClass, u16)> {
        let said = |class: ActionClass| {
            let mut verbs = self.verbs.iter();
            verbs.any(|(verb, of)| *of == class && verb.covers(action.verb().as_str()))
        };
        let classes = ActionClass::ALL.into_iter().zip(self.scores);
        classes
            .filter(|(class, _)| class.holds(chain, action) || said(*class))
            .filter_map(|(class, score)| Some((class, score?)))
            .max_by_key(|(_, score)| *score)
    }

    /// What is missing of it when the chain has this much `trust`.
    pub(crate) fn shortfall(&self, chain: &Chain, action: &Action, trust: u16) -> Option<Shortfall> {
        let (class, least) = self.taken(chain, action)?;
        (trust < least).then(|| Shortfall {
            rule: self.id.clone(),
            class,
            least,
            trust,
        })
    }
}
