//! The decision itself: grants, then rules that forbid, then autonomy, then rules that opt in.
//!
//! [`decide`] is the only function that makes a [`Ruling`]. It is pure: the same arguments give the
//! same decision, whatever order rules and documents came in.

use crate::rego::Module;
use crate::rule::Asking;
use crate::{
    Action, Approver, Branch, Chain, Effect, Level, Mode, PolicySet, Principal, RuleId, RuleOutcome,
    Shortfall, Stages, Taints, Timestamp, Validity, WaiverScope,
};

mod denial;
mod level;
mod observe;
mod places;
mod tell;
mod trusted;

pub use level::level_in_force;
pub(crate) use level::{Levels, asks};
pub use observe::{Observed, Said, observe};
pub use tell::{Told, tell};
use trusted::trusted;

/// Weighs `action`. Order: every link's grants cover it; deny rules; autonomy level; thresholds of trust;
/// approval and permit rules; reads fall back to the toolset's grant; nothing else is permitted. Of what is permitted,
/// every place on the path leaves what its own policies permit or ask about, unless they permit nothing.
///
/// An approval in `context` answers a request and nothing else: what is forbidden, not granted or
/// read-only stays so.
///
/// The ruling it makes cannot be copied, stored or made by anybody else:
///
/// ```compile_fail
/// fn copied(ruling: &policy::Ruling) -> policy::Ruling { ruling.clone() }
/// ```
/// ```compile_fail
/// fn stored(ruling: &policy::Ruling) -> String { serde_json::to_string(ruling).unwrap() }
/// ```
/// ```compile_fail
/// fn made(ruling: policy::Ruling) -> policy::Ruling { policy::Ruling { level: policy::Level::L4, ..ruling } }
/// ```
pub fn decide(chain: &Chain, action: Action, context: &Context, policies: &PolicySet) -> Decision {
    match weigh(chain, &action, context, policies, Mode::is_enforced) {
        Err(denial) => Decision::Deny(Denied { action, denial }),
        Ok(Verdict::Ask {
            rule,
            reason,
            questions,
            approvers,
            each_of,
            level,
            expires_after_ms,
            waivable,
        }) => Decision::RequireApproval(Request {
            action,
            rule,
            reason,
            questions,
            approvers,
            each_of,
            level,
            expires_after_ms,
            waivable,
        }),
        Ok(Verdict::Permit {
            actor,
            basis,
            level,
            waived,
        }) => Decision::Permit(Ruling {
            action,
            actor,
            basis,
            level,
            approval: context.approved().map(|approved| approved.id.clone()),
            waiver: waived,
            session: context.session.id.clone(),
            policy_digest: *policies.digest(),
        }),
    }
}

/// A decision without its action.
enum Verdict {
    Permit {
        actor: Principal,
        basis: Basis,
        level: Level,
        /// The waiver that it rests on.
        waived: Option<String>,
    },
    Ask {
        rule: Option<RuleId>,
        reason: String,
        questions: Vec<String>,
        approvers: Vec<Approver>,
        each_of: Vec<Stages>,
        level: Level,
        expires_after_ms: i64,
        waivable: Vec<WaiverScope>,
    },
}

/// The order of these lines is the security argument.
fn weigh(
    chain: &Chain,
    action: &Action,
    context: &Context,
    policies: &PolicySet,
    counts: fn(Mode) -> bool,
) -> Result<Verdict, Denial> {
    let (actor, giver) = granted(chain, action, context)?;
    let matching = Matching::of(chain, action, context, policies, counts)?;
    let levels = Levels::of(chain, action, context).ok_or(Denial::NoAuthority)?;
    levels.allow(action.effect())?;
    trusted(chain, action, context, policies, counts)?;
    if let Some(place) = matching.withheld {
        return Err(Denial::Withheld(place));
    }
    let level = levels.in_force;
    // INVARIANT (an approval is weighed like a rule): what it answered has to be what would be asked now,
    // and who gave it who would be.
    let of_level = asks(level, action.effect());
    let (questions, lists) = (questions(&matching.approval), lists(&matching.approval, of_level));
    let answers = |given: &Approved| given.answers(&questions, &lists);
    let answered = context.approved().is_some_and(answers);
    let waivable = waivable(&matching.approval, level, action);
    if let Some(first) = matching.approval.first() {
        let waived = context.waived(&waivable, answers).filter(|_| !answered);
        if !answered && waived.is_none() {
            return Ok(asked_by_rules(
                first,
                &matching.approval,
                questions,
                lists,
                level,
                waivable,
            ));
        }
        return Ok(Verdict::Permit {
            actor,
            basis: Basis::Rule(first.id.clone()),
            level,
            waived,
        });
    }
    match matching.permit {
        Some(_) if !answered && of_level => Ok(asked_by_level(&levels, action.effect())),
        Some(rule) => Ok(Verdict::Permit {
            actor,
            basis: Basis::Rule(rule),
            level,
            waived: None,
        }),
        None if action.effect() == Effect::Read => Ok(Verdict::Permit {
            actor,
            basis: Basis::Grant(giver),
            level,
            waived: None,
        }),
        None => Err(Denial::NoRule),
    }
}

/// Every link stands and holds a grant that covers the action; the actor, and who gave it its grant.
fn granted(chain: &Chain, action: &Action, context: &Context) -> Result<(Principal, String), Denial> {
    let mut last = Err(Denial::NoAuthority);
    for link in &chain.links {
        if link.validity != Validity::Holds {
            let who = link.principal.clone();
            return Err(Denial::NotValid(who, link.validity.clone()));
        }
        match link.covering(action, context.now) {
            Some(grant) => last = Ok((link.principal.clone(), grant.from.clone())),
            None => return Err(Denial::NotGranted(link.principal.clone())),
        }
    }
    last
}

/// What the rules that reach an action say, once none is broken and none forbids.
#[derive(Default)]
struct Matching {
    permit: Option<RuleId>,
    approval: Vec<Asking>,
    /// Whether one of them opts in.
    asked_in_favour: bool,
    /// The numbers of the places that are in favour.
    favours: Vec<usize>,
    /// Whether a policy of the platform itself is in favour, which no place withholds.
    by_name: bool,
    /// The widest place that permits other things, and not this.
    withheld: Option<Branch>,
}

impl Matching {
    /// Evaluates every rule that reaches the action and every module, so that a broken one denies
    /// wherever it stands; those of which the mode counts.
    fn of(
        chain: &Chain,
        action: &Action,
        context: &Context,
        policies: &PolicySet,
        counts: fn(Mode) -> bool,
    ) -> Result<Matching, Denial> {
        let facts = policies.facts(chain, action, context);
        let mut matching = Matching::default();
        let mut forbidden = None;
        for rule in policies.reaching(chain, action).filter(|rule| counts(rule.mode)) {
            match rule.holds(&facts) {
                Err(what) => return Err(Denial::Unevaluable(rule.id.clone(), what)),
                Ok(false) => (),
                Ok(true) => match rule.outcome {
                    RuleOutcome::Deny => {
                        forbidden = forbidden.or_else(|| Some((rule.id.clone(), rule.reason.clone())));
                    }
                    RuleOutcome::RequireApproval => {
                        let unevaluable = |what| Denial::Unevaluable(rule.id.clone(), what);
                        let of_actor = policies.is_of_actor(rule.place, chain)
                            && rule.is_of_actor(chain, &facts).map_err(unevaluable)?;
                        matching.ask(rule.asking(), rule.place, of_actor);
                    }
                    RuleOutcome::Permit => matching.permit(&rule.id, rule.place, rule.built_in),
                },
            }
        }
        let reaching =
            |(mode, module): &&(Mode, Module)| counts(*mode) && policies.is_of_any(module.place, chain);
        for (_, module) in policies.modules().iter().filter(reaching) {
            let found = module
                .findings(&facts)
                .map_err(|what| Denial::Unevaluable(module.id.clone(), what))?;
            if !found.deny.is_empty() {
                forbidden = forbidden.or_else(|| Some((module.id.clone(), found.deny.join("; "))));
            }
            let of_actor = policies.is_of_actor(module.place, chain);
            for asking in found.asks {
                matching.ask(asking, module.place, of_actor);
            }
            if found.permit && of_actor {
                matching.permit(&module.id, module.place, false);
            }
        }
        match forbidden {
            Some((rule, reason)) => Err(Denial::Forbidden(rule, reason)),
            None if action.effect() == Effect::Read => Ok(matching),
            None => {
                let favours = (&*matching.favours, matching.by_name);
                let withheld = places::withholding(chain, action, context, policies, counts, favours)?;
                // That nobody at all is in favour is told as such.
                matching.withheld = withheld.cloned().filter(|_| matching.is_favoured());
                Ok(matching.opted_in())
            }
        }
    }
}

impl Matching {
    /// Rules that only restrict have nobody asked about what nothing opts in to.
    fn opted_in(mut self) -> Matching {
        if !self.is_favoured() {
            self.approval.clear();
        }
        self
    }

    /// Whether anything opts in for the agent that acts.
    fn is_favoured(&self) -> bool {
        self.permit.is_some() || self.asked_in_favour
    }

    fn permit(&mut self, rule: &RuleId, place: usize, built_in: bool) {
        self.by_name |= built_in;
        self.favours.push(place);
        self.permit.get_or_insert_with(|| rule.clone());
    }

    /// One that asks on account of an agent that does not act opts in to nothing by itself.
    fn ask(&mut self, asking: Asking, place: usize, of_actor: bool) {
        if asking.opts_in && of_actor {
            self.favours.push(place);
            self.asked_in_favour = true;
        }
        self.approval.push(asking);
    }
}

/// What `rules` ask, each once.
fn questions(rules: &[Asking]) -> Vec<String> {
    let mut questions: Vec<String> = Vec::new();
    for rule in rules {
        if !questions.contains(&rule.question) {
            questions.push(rule.question.clone());
        }
    }
    questions
}

/// The different lists of stages of `rules`. A rule without one asks any person: that is one more list when the
/// others could be answered by outside systems alone.
fn lists(rules: &[Asking], of_level: bool) -> Vec<Stages> {
    let mut lists: Vec<Stages> = Vec::new();
    for rule in rules {
        if !rule.approvers.is_empty() && !lists.contains(&rule.approvers) {
            lists.push(rule.approvers.clone());
        }
    }
    let anybody = of_level || rules.iter().any(|rule| rule.approvers.is_empty());
    if anybody && !lists.is_empty() && !lists.iter().any(Stages::needs_person) {
        lists.push(Stages::any_of(&[]));
    }
    lists
}

/// How the asking of `rules` may be waived: what each of them lets. Never that of a level, and never for
/// what destroys in production.
fn waivable(rules: &[Asking], level: Level, action: &Action) -> Vec<WaiverScope> {
    let destroys = action.effect() == Effect::Destructive && action.environment().is_production();
    match rules.split_first() {
        Some((first, others)) if !destroys && !asks(level, action.effect()) => {
            let each = |scope: &&WaiverScope| others.iter().all(|rule| rule.waivable.contains(scope));
            first.waivable.iter().filter(each).copied().collect()
        }
        _ => Vec::new(),
    }
}

/// A person is asked because of the level alone.
fn asked_by_level(levels: &Levels, effect: Effect) -> Verdict {
    Verdict::Ask {
        rule: None,
        reason: format!("{} asks for each {} action", levels.told(), effect.as_str()),
        questions: Vec::new(),
        approvers: Vec::new(),
        each_of: Vec::new(),
        level: levels.in_force,
        expires_after_ms: crate::rule::EXPIRES_AFTER_MS,
        waivable: Vec::new(),
    }
}

/// One request for all rules that ask: every reason, everybody named, the shortest wait.
fn asked_by_rules(
    first: &Asking,
    rules: &[Asking],
    questions: Vec<String>,
    lists: Vec<Stages>,
    level: Level,
    waivable: Vec<WaiverScope>,
) -> Verdict {
    let mut reasons: Vec<String> = Vec::new();
    let mut approvers: Vec<Approver> = Vec::new();
    for rule in rules {
        let reason = rule.reason();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
        for approver in rule.approvers.everybody() {
            if !approvers.contains(approver) {
                approvers.push(approver.clone());
            }
        }
    }
    let expires_after_ms = rules
        .iter()
        .map(|rule| rule.expires_after_ms)
        .min()
        .unwrap_or(crate::rule::EXPIRES_AFTER_MS);
    Verdict::Ask {
        rule: Some(first.id.clone()),
        reason: reasons.join("; "),
        questions,
        approvers,
        each_of: match lists.as_slice() {
            [one] if one.is_plain() => Vec::new(),
            _ => lists,
        },
        level,
        expires_after_ms,
        waivable,
    }
}

/// All that a decision reads besides the chain, the action and the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// When it is decided.
    pub now: Timestamp,
    /// What has entered the session.
    pub taint: Taints,
    /// 0 to 1000.
    pub trust: u16,
    /// The session it belongs to.
    pub session: SessionFacts,
    /// The approval of exactly this action, when people gave one that is unspent and unexpired; or a waiver
    /// that covers it.
    pub approval: Option<Approved>,
}

/// An approval that a person gave, and on whose behalf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approved {
    /// `apr-57`.
    pub id: String,
    /// Names of those who gave it, in order; of an outside system `webhook:NAME`.
    pub by: Vec<String>,
    /// What was asked then: see [`Request::questions`].
    pub questions: Vec<String>,
    /// The lists of stages that were asked for then; each was answered to its end.
    pub asked: Vec<Stages>,
    /// When it is of actions alike and not of this one: what it reaches.
    pub waiver: Option<Waived>,
}

/// What a waiver reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waived {
    /// As its approvers chose.
    pub scope: WaiverScope,
    /// What had entered the session by when it was given.
    pub taint: Taints,
}

impl Context {
    /// The approval of exactly this action.
    fn approved(&self) -> Option<&Approved> {
        self.approval.as_ref().filter(|given| given.waiver.is_none())
    }

    /// The waiver, when every rule that asks lets it be and it answers all of them. More taint than there
    /// was voids it.
    fn waived(&self, waivable: &[WaiverScope], answers: impl Fn(&Approved) -> bool) -> Option<String> {
        let given = self.approval.as_ref()?;
        let waived = given.waiver?;
        let holds = waivable.contains(&waived.scope)
            && answers(given)
            && waived.taint.and(self.taint) == waived.taint;
        holds.then(|| given.id.clone())
    }
}

impl Approved {
    /// Whether it answers rules that ask `questions`, of each of `lists`: every question was asked then, so
    /// that no answer counts for what nobody asked yet; and the very list was answered then, or the
    /// people who gave it are enough by their names. Roles and teams of then are not known now, so those
    /// that nobody asked for then have to be asked. What asks nobody in particular is answered by a person.
    fn answers(&self, questions: &[String], lists: &[Stages]) -> bool {
        let is_person = |name: &String| !name.starts_with(Approver::WEBHOOK);
        if lists.is_empty() && !self.by.iter().any(is_person) {
            return false;
        }
        let by_then = |question| self.questions.contains(question);
        let of_them = |list: &Stages| self.asked.contains(list) || list.met_by(&self.by);
        questions.iter().all(by_then) && lists.iter().all(of_them)
    }
}

/// What rules may know of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// `ses-42`; empty outside a session.
    pub id: String,
    /// Changes whenever something that decisions read of the session changes.
    pub version: u64,
    /// Actions admitted so far.
    pub actions: u64,
}

/// Deliberately neither `bool` nor `Default`: a denial carries its reason, and no forgotten
/// initialiser can come to mean "allowed".
#[must_use]
#[derive(Debug)]
pub enum Decision {
    /// May be committed into a permit.
    Permit(Ruling),
    /// A person decides.
    RequireApproval(Request),
    /// No.
    Deny(Denied),
}

/// What carried a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A rule.
    Rule(RuleId),
    /// A read within a toolset's grant; holds the grant's giver.
    Grant(String),
}

/// [`decide`] allowed `action`. Nothing is recorded yet, so nothing may be done yet.
#[derive(Debug)]
pub struct Ruling {
    action: Action,
    actor: Principal,
    basis: Basis,
    level: Level,
    approval: Option<String>,
    waiver: Option<String>,
    session: String,
    policy_digest: [u8; 32],
}

impl Ruling {
    /// What was allowed.
    pub fn action(&self) -> &Action {
        &self.action
    }
    /// Who may do it.
    pub fn actor(&self) -> &Principal {
        &self.actor
    }
    /// Why.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
    /// The actor's level in that environment.
    pub fn level(&self) -> Level {
        self.level
    }
    /// The approval that it rests on and that its commit spends.
    pub fn approval(&self) -> Option<&str> {
        self.approval.as_deref()
    }
    /// The waiver that it rests on, in the place of an approval.
    pub fn waiver(&self) -> Option<&str> {
        self.waiver.as_deref()
    }
    /// The session, or empty.
    pub fn session(&self) -> &str {
        &self.session
    }
    /// Of the rules that were weighed.
    pub fn policy_digest(&self) -> &[u8; 32] {
        &self.policy_digest
    }
}

/// A person has to decide about exactly this action.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// What is asked for.
    pub action: Action,
    /// The rule that stopped it, or `None` when the autonomy level did.
    pub rule: Option<RuleId>,
    /// In words.
    pub reason: String,
    /// What each rule asks, to compare later ones with: the id of a rule, or its digest when it has no name; of a
    /// module also its reason, since it may ask for several. Empty when the autonomy level did: that asks for any person's word on this
    /// action, and so every approval of it answers it.
    pub questions: Vec<String>,
    /// Everybody whom the rules name; empty means anyone with the role.
    pub approvers: Vec<Approver>,
    /// When several rules ask with different lists, or one with more than a list of names: each of the
    /// lists has to be answered to its end, so that no rule weakens another.
    pub each_of: Vec<Stages>,
    /// The actor's level in that environment.
    pub level: Level,
    /// How long it may wait, in milliseconds, before it is denied.
    pub expires_after_ms: i64,
    /// How its approvers may waive the asking for actions alike.
    pub waivable: Vec<WaiverScope>,
}

/// A refusal with what was refused.
#[derive(Debug, PartialEq)]
pub struct Denied {
    /// What was asked for.
    pub action: Action,
    /// Why not.
    pub denial: Denial,
}

/// Why not. Every variant says in words what happened and what would change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The chain has no link.
    NoAuthority,
    /// This principal may not act at all.
    NotValid(Principal, Validity),
    /// This principal holds no unexpired capability that covers the action.
    NotGranted(Principal),
    /// A deny rule matched.
    Forbidden(RuleId, String),
    /// The level is too low for this effect: read-only.
    ReadOnly(Level),
    /// The level would do, and this much trust holds it at a lower one: read-only.
    Untrusted(u16, Level),
    /// There is less trust than a policy sets for what the action does.
    BelowThreshold(Shortfall),
    /// No rule opts in to it.
    NoRule,
    /// A rule opts in, and the policies of this place leave the agent other things only.
    Withheld(Branch),
    /// The rule failed to evaluate. We never guess in the agent's favour.
    Unevaluable(RuleId, String),
}
