//! Every rule of an installation, found by verb.

use super::condition::Condition;
use super::constants::Constants;
use super::facts::Facts;
use super::places::{Places, Speaking};
use super::select::Selectors;
use super::threshold::Thresholds;
use super::{
    Asking, LoadError, Mode, PolicyDocument, PolicyVersion, RuleId, RuleOutcome, RuleSpec, Stages,
    WaiverScope,
};
use crate::rego::{MODULE_NAME, Module};
use crate::{Action, Branch, Chain, Context, Pattern, Place, Principal, canonical};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How long an approval may wait when its rule does not say, in milliseconds.
pub(crate) const EXPIRES_AFTER_MS: i64 = 10 * 60 * 1000;
/// Longest an approval may wait, in seconds: 30 days.
pub(crate) const EXPIRES_AFTER_SECONDS_MAX: u32 = 30 * 24 * 60 * 60;
/// Longest name of a policy or a rule, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// Every rule of an installation, compiled, bounded and indexed. Immutable.
#[derive(Debug)]
pub struct PolicySet {
    digest: [u8; 32],
    /// In order of id, so that every choice among rules is the same whatever order they came in.
    rules: Vec<Rule>,
    /// In order of id, and whether each is enforced.
    modules: Vec<(Mode, Module)>,
    /// In order of id.
    thresholds: Vec<Thresholds>,
    constants: Constants,
    places: Places,
    speaking: Vec<Speaking>,
    /// Of each policy that has one, by its name.
    versions: BTreeMap<String, PolicyVersion>,
    bundles: Vec<String>,
    /// The policy, if any, by which another person lifts a stop than raised it.
    lifted_by_another: Option<String>,
    by_verb: HashMap<String, Vec<usize>>,
    by_prefix: Vec<(String, Vec<usize>)>,
    any_verb: Vec<usize>,
    reads_count: bool,
}

/// One rule, compiled.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    /// What it asks, when it requires approval: its id, or of one without a name its digest, since its number
    /// is another rule's once one above it comes or goes.
    question: String,
    /// Which of the places of its set it is for.
    pub(crate) place: usize,
    pub(crate) mode: Mode,
    pub(crate) outcome: RuleOutcome,
    pub(crate) reason: String,
    pub(crate) approvers: Stages,
    pub(crate) waivable: Vec<WaiverScope>,
    pub(crate) expires_after_ms: i64,
    pub(crate) opts_in: bool,
    pub(crate) built_in: bool,
    selectors: Selectors,
    condition: Option<Condition>,
}

impl PolicySet {
    /// Compiles documents given as `(name, spec)`; their order does not matter.
    pub fn load(documents: &[(String, PolicyDocument)]) -> Result<PolicySet, LoadError> {
        let (mut rules, mut constants) = (Vec::new(), Constants::default());
        let (mut modules, mut thresholds) = (Vec::new(), Vec::new());
        let places = Places::of(documents);
        let mut names = BTreeSet::new();
        for (policy, document) in documents {
            if !names.insert(policy) || policy.is_empty() || policy.len() > NAME_BYTES_MAX {
                let what = format!("policy name `{policy}` is used twice, empty or too long");
                return Err(LoadError {
                    rule: format!("policy/{policy}"),
                    index: 0,
                    what,
                });
            }
            if let Some(source) = &document.rego {
                let mut module = Module::load(policy, source)?;
                module.place = places.number(policy);
                modules.push((document.mode, module));
            }
            thresholds.extend(Thresholds::compile(policy, document, places.number(policy))?);
            let mut ids = BTreeSet::new();
            for (index, spec) in document.rules.iter().enumerate() {
                let name = spec.name.clone().unwrap_or_else(|| format!("rule-{}", index + 1));
                let id = RuleId(format!("policy/{policy}#{name}"));
                let refuse = |what| LoadError {
                    rule: id.0.clone(),
                    index,
                    what,
                };
                if name.is_empty() || name.len() > NAME_BYTES_MAX {
                    let what = format!("name is empty or longer than {NAME_BYTES_MAX} bytes");
                    return Err(refuse(what));
                }
                if name == MODULE_NAME {
                    return Err(LoadError {
                        rule: format!("policy/{policy}"),
                        index,
                        what: format!("the name `{MODULE_NAME}` is kept for a module; use another"),
                    });
                }
                if !ids.insert(name) {
                    return Err(refuse("another rule of this policy has the same name".to_owned()));
                }
                let rule = Rule::compile(id.clone(), document.mode, spec, &mut constants);
                let rule = rule.map_err(refuse)?;
                rules.push(Rule {
                    question: question(policy, &id, spec).map_err(refuse)?,
                    place: places.number(policy),
                    built_in: document.built_in,
                    ..rule
                });
            }
        }
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        modules.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        thresholds.sort_by(|a, b| a.id.cmp(&b.id));
        let speaking = places.speaking(&rules, &modules);
        let of_count = |rule: &Rule| rule.condition.as_ref().is_some_and(Condition::of_count);
        let reads_count =
            rules.iter().any(of_count) || modules.iter().any(|(_, module)| module.may_read_session());
        Ok(PolicySet {
            reads_count,
            speaking,
            places,
            modules,
            thresholds,
            lifted_by_another: lifted_by_another(documents),
            ..PolicySet::indexed(rules, constants, digest(documents)?)
        })
    }

    /// No rules: reads that are granted and nothing else.
    pub fn empty() -> PolicySet {
        PolicySet::indexed(Vec::new(), Constants::default(), Sha256::digest(b"{}").into())
    }

    /// SHA-256 of the canonical form of all documents in order of name.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The same with the version of each policy, by its name. They decide nothing and are not in the digest.
    #[must_use]
    pub fn with_versions(self, versions: BTreeMap<String, PolicyVersion>) -> PolicySet {
        let signed: BTreeSet<&PolicyVersion> = versions
            .values()
            .filter(|version| version.publisher().is_some())
            .collect();
        let bundles = signed.into_iter().map(ToString::to_string).collect();
        PolicySet {
            bundles,
            versions,
            ..self
        }
    }

    /// The version of the policy that `rule` stands in; `None` for what comes with the platform.
    pub fn version_of(&self, rule: &RuleId) -> Option<&PolicyVersion> {
        let policy = rule.0.strip_prefix("policy/")?;
        let policy = policy.split_once('#').map_or(policy, |(policy, _)| policy);
        self.versions.get(policy)
    }

    /// The signed bundles that any of its policies came out of: `acme-security@7`, in order.
    pub fn bundles(&self) -> &[String] {
        &self.bundles
    }

    /// The rules that are for the agents of `chain` and whose selectors cover the action, in order of id.
    pub(crate) fn reaching<'a, 'b>(
        &'a self,
        chain: &'b Chain,
        action: &'b Action,
    ) -> impl Iterator<Item = &'a Rule> + use<'a, 'b> {
        let verb = action.verb().as_str();
        let mut found: Vec<usize> = self.any_verb.clone();
        found.extend(self.by_verb.get(verb).into_iter().flatten());
        found.extend(
            self.by_prefix
                .iter()
                .filter(|(prefix, _)| verb.starts_with(prefix))
                .flat_map(|(_, at)| at),
        );
        found.sort_unstable();
        found.dedup();
        found
            .into_iter()
            .filter_map(|at| self.rules.get(at))
            .filter(move |rule| self.is_for(rule, chain) && rule.selectors.cover(chain, action))
    }

    /// Whether the place of `rule` holds the agent that acts; one that forbids or asks is for every agent of
    /// the chain.
    pub(crate) fn is_for(&self, rule: &Rule, chain: &Chain) -> bool {
        match rule.outcome {
            RuleOutcome::Permit => self.is_of_actor(rule.place, chain),
            RuleOutcome::Deny | RuleOutcome::RequireApproval => self.is_of_any(rule.place, chain),
        }
    }

    /// Whether the agent that acts is in the place of that number.
    pub(crate) fn is_of_actor(&self, place: usize, chain: &Chain) -> bool {
        self.places.get(place).is_none_or(|place| {
            place.is_everywhere() || chain.actor().is_some_and(|link| place.holds(link, false))
        })
    }

    /// Whether any agent of `chain` is in the place of that number, or may be.
    pub(crate) fn is_of_any(&self, place: usize, chain: &Chain) -> bool {
        self.places.get(place).is_none_or(|place| {
            place.is_everywhere() || chain.links.iter().any(|link| place.holds(link, true))
        })
    }

    /// Where the policy that `rule` stands in is for; `None` when it is none of these.
    pub fn place_of(&self, rule: &RuleId) -> Option<&Branch> {
        self.places.of_rule(rule)
    }

    /// The places on the path of an agent at `place` whose enforced policies permit it anything: each of them
    /// has to permit what it is to do. Widest first.
    pub fn speaking_of(&self, agent: &Principal, place: Option<&Place>) -> Vec<Branch> {
        let holds = |branch: &Branch| {
            branch.is_everywhere() || place.is_some_and(|place| branch.contains(place, &agent.name))
        };
        let speaks = |speaking: &&Speaking| {
            speaking.mode.is_enforced() && speaking.names(agent) && holds(&speaking.place)
        };
        let found = self.speaking.iter().filter(speaks);
        found.map(|speaking| speaking.place.clone()).collect()
    }

    /// The places on the path of an agent at `place` whose enforced policies ask about something that they let it
    /// do then. Widest first. Once another place speaks of the agent, it withholds that.
    pub fn asking_of(&self, agent: &Principal, place: Option<&Place>) -> Vec<Branch> {
        let rules = self.rules.iter().filter(|rule| {
            let names = |agents: &[Pattern]| agents.iter().any(|pattern| pattern.covers(&agent.name));
            rule.mode.is_enforced()
                && rule.outcome == RuleOutcome::RequireApproval
                && rule.opts_in
                && rule.agents().is_none_or(names)
        });
        let modules = self.modules.iter();
        let modules = modules.filter(|(mode, module)| mode.is_enforced() && module.may_ask());
        let asking = rules
            .map(|rule| rule.place)
            .chain(modules.map(|(_, module)| module.place));
        let holds = |branch: &&Branch| {
            branch.is_everywhere() || place.is_some_and(|place| branch.contains(place, &agent.name))
        };
        let found: BTreeSet<&Branch> = asking
            .filter_map(|at| self.places.get(at))
            .filter(holds)
            .collect();
        found.into_iter().cloned().collect()
    }

    /// The places that permit something, widest first.
    pub(crate) fn speaking(&self) -> &[Speaking] {
        &self.speaking
    }

    /// The modules, and whether each is enforced, in order of id.
    pub(crate) fn modules(&self) -> &[(Mode, Module)] {
        &self.modules
    }

    /// Whose thresholds of trust there are, in order of id.
    pub(crate) fn thresholds(&self) -> &[Thresholds] {
        &self.thresholds
    }

    /// Those that are for any agent of `chain`: an agent further up is held to those of its own place too.
    pub(crate) fn thresholds_for(&self, chain: &Chain) -> impl Iterator<Item = &Thresholds> {
        let places = move |one: &&Thresholds| self.is_of_any(one.place, chain);
        self.thresholds.iter().filter(places)
    }

    /// Whether any policy is only observed.
    pub(crate) fn observes(&self) -> bool {
        self.rules.iter().any(|rule| rule.mode == Mode::Observe)
            || self.modules.iter().any(|(mode, _)| *mode == Mode::Observe)
            || self.thresholds.iter().any(|one| one.mode == Mode::Observe)
    }

    /// Whether a decision by this set may depend on how many actions its session had: a condition speaks of
    /// `session.actions`, or a module may read it. Says yes where it cannot tell.
    pub fn reads_count(&self) -> bool {
        self.reads_count
    }

    /// The facts that the conditions of this set read.
    pub(crate) fn facts<'a>(
        &'a self,
        chain: &'a Chain,
        action: &'a Action,
        context: &'a Context,
    ) -> Facts<'a> {
        Facts::new(chain, action, context, &self.constants)
    }

    /// Every rule, in order of id.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The policy by which only another person may lift a stop than raised it; `None` when there is none.
    pub fn lifted_by_another(&self) -> Option<&str> {
        self.lifted_by_another.as_deref()
    }

    fn indexed(rules: Vec<Rule>, constants: Constants, digest: [u8; 32]) -> PolicySet {
        let mut by_verb: HashMap<String, Vec<usize>> = HashMap::new();
        let mut by_prefix: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut any_verb = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            let Some(verbs) = &rule.selectors.verbs else {
                any_verb.push(at);
                continue;
            };
            for pattern in verbs.iter().map(Pattern::as_str) {
                match pattern.strip_suffix('*') {
                    Some("") => any_verb.push(at),
                    Some(prefix) => by_prefix.entry(prefix.to_owned()).or_default().push(at),
                    None => by_verb.entry(pattern.to_owned()).or_default().push(at),
                }
            }
        }
        PolicySet {
            reads_count: false,
            places: Places::of(&[]),
            speaking: Vec::new(),
            versions: BTreeMap::new(),
            bundles: Vec::new(),
            lifted_by_another: None,
            digest,
            constants,
            rules,
            modules: Vec::new(),
            thresholds: Vec::new(),
            by_verb,
            by_prefix: by_prefix.into_iter().collect(),
            any_verb,
        }
    }
}

impl Rule {
    fn compile(id: RuleId, mode: Mode, spec: &RuleSpec, constants: &mut Constants) -> Result<Rule, String> {
        if spec.reason.len() > REASON_BYTES_MAX {
            return Err(format!("reason is longer than {REASON_BYTES_MAX} bytes"));
        }
        let condition = match (&spec.when, &spec.condition) {
            (Some(_), Some(_)) => return Err("has both `when` and `condition`: use one".to_owned()),
            (Some(cel), None) => Some(Condition::from_cel(cel, constants)?),
            (None, Some(dialect)) => Some(Condition::from_dialect(dialect, constants)?),
            (None, None) => None,
        };
        let expires_after_ms = match spec.expires_after_seconds {
            None => EXPIRES_AFTER_MS,
            Some(seconds @ 1..=EXPIRES_AFTER_SECONDS_MAX) => i64::from(seconds) * 1000,
            Some(seconds) => {
                return Err(format!(
                    "expires_after_seconds `{seconds}` is not from 1 to {EXPIRES_AFTER_SECONDS_MAX}"
                ));
            }
        };
        if spec.outcome != RuleOutcome::RequireApproval
            && (spec.expires_after_seconds.is_some()
                || !spec.approvers.is_empty()
                || !spec.waivable.is_empty()
                || !spec.opts_in)
        {
            return Err(
                "only a rule that requires approval has `approvers`, `waivable`, `expires_after_seconds` or `opts_in`"
                    .to_owned(),
            );
        }
        Ok(Rule {
            id,
            question: String::new(),
            place: 0,
            mode,
            outcome: spec.outcome,
            reason: spec.reason.clone(),
            approvers: spec.approvers.clone(),
            waivable: spec.waivable.clone(),
            expires_after_ms,
            opts_in: spec.opts_in,
            built_in: false,
            selectors: Selectors::compile(&spec.matching, spec.outcome)?,
            condition,
        })
    }

    /// Whether the condition holds: of a rule that permits for every agent of the chain, of one that
    /// forbids or asks for any. An error when it cannot be evaluated. The text holds nothing of the arguments.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> Result<bool, String> {
        let of_all = self.outcome == RuleOutcome::Permit;
        self.condition
            .as_ref()
            .map_or(Ok(true), |condition| condition.holds(facts, of_all))
    }

    /// Whether it is about the agent that acts, and not about one further up the chain alone.
    pub(crate) fn is_of_actor(&self, chain: &Chain, facts: &Facts<'_>) -> Result<bool, String> {
        if !self.selectors.name_actor(chain) {
            return Ok(false);
        }
        self.condition
            .as_ref()
            .map_or(Ok(true), |condition| condition.holds_for_actor(facts))
    }

    /// Why the selectors do not cover the action, in words.
    pub(crate) fn mismatch(&self, chain: &Chain, action: &Action) -> Option<String> {
        self.selectors
            .mismatch(chain, action)
            .map(|mismatch| mismatch.to_string())
    }

    /// The patterns of agents that it names, if it names any.
    pub(crate) fn agents(&self) -> Option<&[Pattern]> {
        self.selectors.agents.as_deref()
    }

    /// What it asks for, when it requires approval.
    pub(crate) fn asking(&self) -> Asking {
        Asking {
            id: self.id.clone(),
            question: self.question.clone(),
            reason: self.reason.clone(),
            approvers: self.approvers.clone(),
            waivable: self.waivable.clone(),
            expires_after_ms: self.expires_after_ms,
            opts_in: self.opts_in,
        }
    }

    /// The reason as written, or a plain one.
    pub(crate) fn reason_or(&self, otherwise: &str) -> String {
        if self.reason.is_empty() {
            otherwise.to_owned()
        } else {
            self.reason.clone()
        }
    }
}

/// What identifies the question that a rule puts.
fn question(policy: &str, id: &RuleId, spec: &RuleSpec) -> Result<String, String> {
    if spec.name.is_some() {
        return Ok(id.0.clone());
    }
    let value = serde_json::to_value(spec).map_err(|error| error.to_string())?;
    let digest = canonical::digest(&value).map_err(|error| error.to_string())?;
    Ok(format!("policy/{policy}#sha256:{}", canonical::hex(&digest)))
}

/// One that asks for it is enough; the first by name is told.
fn lifted_by_another(documents: &[(String, PolicyDocument)]) -> Option<String> {
    let asks = |document: &PolicyDocument| {
        document.mode.is_enforced() && document.lift.is_some_and(|lift| lift.another_person)
    };
    let names = documents.iter().filter(|(_, document)| asks(document));
    names.map(|(name, _)| name.clone()).min()
}

fn digest(documents: &[(String, PolicyDocument)]) -> Result<[u8; 32], LoadError> {
    let mut all = serde_json::Map::new();
    for (name, document) in documents {
        let refuse = |what| LoadError {
            rule: format!("policy/{name}"),
            index: 0,
            what,
        };
        let value = serde_json::to_value(document).map_err(|error| refuse(error.to_string()))?;
        all.insert(name.clone(), value);
    }
    canonical::digest(&Value::Object(all)).map_err(|error| LoadError {
        rule: "policy".to_owned(),
        index: 0,
        what: error.to_string(),
    })
}
