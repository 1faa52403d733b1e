//! Past decisions, decided again by other policies: what would be different. It makes no permit, records
//! nothing, and judges by what the entries say of the action and its session then, not by what holds now.
//!
//! What was not decided by grants, levels and rules (stops, bounds, identities) is counted and left as it was.
//! A decision whose action was erased, or that rests on a waiver, is counted and never guessed.

use crate::approvals::{APPROVALS, ApprovalView};
use crate::record::HeldLink;
use crate::rows::decode;
use crate::{Gate, deadlines};
use journal::{Entry, kind};
use policy::{
    Action, Autonomy, Branch, Capability, Chain, Context, Effect, Environment, Grant, Idempotence, Level,
    Link, PolicySet, Principal, RuleId, SessionFacts, Taints, Timestamp, Told, Verb,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use store::{Erasable, Reader, StoreError};

/// Entries that are read at a time.
const READ_AT_ONCE: usize = 512;
/// Most differences that are listed; all are counted.
const LISTED_MAX: usize = 1000;
/// What an entry of a request came to.
const ASKED: &str = "require_approval";
/// Codes of denials by grants, levels and rules; what else is denied no policy changes.
const BY_POLICY: [&str; 8] = [
    "not_granted",
    "forbidden",
    "read_only",
    "untrusted",
    "below_threshold",
    "no_rule",
    "withheld",
    "unevaluable",
];

/// What other policies would have made of past decisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replayed {
    /// Decisions that were looked at; the sum of the next four.
    pub decisions: u64,
    /// Those that were decided again.
    pub replayed: u64,
    /// Those whose action was erased: nobody can say.
    pub erased: u64,
    /// Those that rest on a waiver of then: nobody can say.
    pub waived: u64,
    /// Those that a stop, a bound or an identity decided: no policy changes them.
    pub beside: u64,
    /// How many came out otherwise, by `permit → deny`, or `deny by another rule`.
    pub changed: BTreeMap<String, u64>,
    /// The first thousand of them, in order.
    pub differences: Vec<Difference>,
}

/// One decision that would have come out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Difference {
    /// Of its entry.
    pub sequence: u64,
    pub timestamp: Timestamp,
    pub agent: String,
    pub verb: String,
    pub resource: String,
    pub environment: String,
    pub before: Verdict,
    pub after: Verdict,
}

/// An outcome and whose doing it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// `permit`, `deny`, `require_approval`.
    pub outcome: &'static str,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// Where its policy is for, unless for everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Branch>,
    /// In words.
    pub reason: String,
}

/// A decision as it was recorded: what the bodies of all three kinds of entries say alike.
#[derive(Deserialize)]
pub(crate) struct Past {
    #[serde(skip)]
    pub sequence: u64,
    #[serde(skip, default = "beginning")]
    pub timestamp: Timestamp,
    #[serde(skip)]
    pub agent: String,
    #[serde(skip)]
    pub outcome: &'static str,
    #[serde(skip)]
    cause: Option<Principal>,
    #[serde(skip)]
    session: Option<String>,
    pub rule: Option<String>,
    pub place: Option<Branch>,
    pub reason: String,
    pub code: Option<String>,
    pub verb: String,
    pub resource: String,
    pub environment: String,
    pub effect: Effect,
    pub level: Level,
    chain: Vec<HeldLink>,
    trust: u16,
    #[serde(default)]
    taint: Taints,
    #[serde(default)]
    brings: Taints,
    #[serde(default)]
    actions: u64,
    approval: Option<String>,
    waiver: Option<String>,
}

fn beginning() -> Timestamp {
    Timestamp::from_ms(0)
}

/// Why a decision is not decided again.
enum Unplayable {
    Erased,
    Waived,
    Beside,
}

impl Gate {
    /// Decides by `policies` what was decided since `since`.
    pub fn replay(&self, since: Timestamp, policies: &PolicySet) -> Result<Replayed, StoreError> {
        self.store.read(|reader| {
            let mut found = Replayed::default();
            each_decision(reader, since, |past| {
                found.decisions += 1;
                match again(reader, &past, policies)? {
                    Ok(told) => found.tell(&past, told, policies),
                    Err(Unplayable::Erased) => found.erased += 1,
                    Err(Unplayable::Waived) => found.waived += 1,
                    Err(Unplayable::Beside) => found.beside += 1,
                }
                Ok(())
            })?;
            Ok(found)
        })
    }
}

impl Replayed {
    fn tell(&mut self, past: &Past, told: Told, policies: &PolicySet) {
        self.replayed += 1;
        let after = Verdict {
            outcome: told.outcome.as_str(),
            place: told.rule.as_ref().and_then(|rule| place(policies, rule)),
            rule: told.rule.map(|rule| rule.0),
            reason: told.reason,
        };
        let what = match (past.outcome == after.outcome, past.rule == after.rule) {
            (true, true) => return,
            (true, false) => format!("{} by another rule", after.outcome),
            (false, _) => format!("{} → {}", past.outcome, after.outcome),
        };
        *self.changed.entry(what).or_default() += 1;
        if self.differences.len() < LISTED_MAX {
            self.differences.push(Difference {
                sequence: past.sequence,
                timestamp: past.timestamp,
                agent: past.agent.clone(),
                verb: past.verb.clone(),
                resource: past.resource.clone(),
                environment: past.environment.clone(),
                before: Verdict {
                    outcome: past.outcome,
                    rule: past.rule.clone(),
                    place: past.place.clone(),
                    reason: past.reason.clone(),
                },
                after,
            });
        }
    }
}

fn place(policies: &PolicySet, rule: &RuleId) -> Option<Branch> {
    policies
        .place_of(rule)
        .filter(|place| !place.is_everywhere())
        .cloned()
}

/// Every decision since `since`, in order. After the clock went back, entries before that may bear later times
/// than those after it; order is the sequence, so whatever came after the first that counts is looked at too.
pub(crate) fn each_decision(
    reader: &Reader<'_>,
    since: Timestamp,
    mut visit: impl FnMut(Past) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = match deadlines::went_back_from(reader)? {
        Some(latest) if latest >= since => reader.earliest_since(since)?,
        _ => reader.first_since(since)?,
    };
    loop {
        let page = reader.entries(from, READ_AT_ONCE)?;
        let Some(last) = page.last() else { return Ok(()) };
        from = last.entry.sequence.saturating_add(1);
        for stored in page {
            if let Some(past) = past(stored.entry)? {
                visit(past)?;
            }
        }
    }
}

fn past(entry: Entry) -> Result<Option<Past>, StoreError> {
    let outcome = match entry.kind.as_str() {
        kind::ACTION_PERMITTED => "permit",
        kind::ACTION_DENIED => "deny",
        kind::APPROVAL_REQUESTED => ASKED,
        _ => return Ok(None),
    };
    let recorded: Past = decode(entry.body)?;
    Ok(Some(Past {
        sequence: entry.sequence,
        timestamp: entry.timestamp,
        agent: Principal::parse(&entry.actor).map_or(entry.actor, |actor| actor.name),
        outcome,
        cause: entry.cause.as_deref().and_then(Principal::parse),
        session: entry.session,
        // A request names itself here, and rests on nothing.
        approval: recorded.approval.filter(|_| outcome != ASKED),
        ..recorded
    }))
}

fn again(
    reader: &Reader<'_>,
    past: &Past,
    policies: &PolicySet,
) -> Result<Result<Told, Unplayable>, StoreError> {
    let by_policy = |code: &String| BY_POLICY.contains(&code.as_str());
    if past.outcome == "deny" && !past.code.as_ref().is_some_and(by_policy) {
        return Ok(Err(Unplayable::Beside));
    }
    if past.waiver.is_some() {
        return Ok(Err(Unplayable::Waived));
    }
    let name = if past.outcome == ASKED {
        "action"
    } else {
        "arguments"
    };
    let Erasable::Present(whole) = reader.payload(past.sequence, name)? else {
        return Ok(Err(Unplayable::Erased));
    };
    let Some(action) = action(whole).map(|action| action.bringing(past.brings)) else {
        return Ok(Err(Unplayable::Erased));
    };
    let approval = match &past.approval {
        Some(id) => reader
            .row(APPROVALS, id)?
            .map(decode::<ApprovalView>)
            .transpose()?,
        None => None,
    };
    let context = Context {
        now: past.timestamp,
        taint: past.taint,
        trust: past.trust,
        session: SessionFacts {
            id: past.session.clone().unwrap_or_default(),
            version: 0,
            actions: past.actions,
        },
        approval: approval.map(|view| view.given()),
    };
    Ok(Ok(policy::tell(&past.chain(), &action, &context, policies)))
}

impl Past {
    /// The first of the chain that held no grant for it.
    pub(crate) fn first_without_grant(&self) -> Option<&str> {
        let held = self.chain.iter().find(|held| held.grant.is_none())?;
        Some(&held.principal)
    }

    /// The chain as it was: of each link the one grant that covered the action, and of all of them the level
    /// that was in force, which trust lowered already.
    fn chain(&self) -> Chain {
        let autonomy = Autonomy {
            default: self.level,
            environments: [(self.environment.clone(), self.level)].into(),
            sandboxes: [self.environment.clone()].into(),
            lent: None,
        };
        let link = |held: &HeldLink| {
            let grant = held
                .grant
                .as_deref()
                .and_then(Capability::parse)
                .map(|capability| Grant {
                    capability,
                    from: held.from.clone().unwrap_or_default(),
                    until: None,
                });
            let principal = Principal::parse(&held.principal)?;
            let mut link = Link::new(principal, grant.into_iter().collect(), autonomy.clone());
            link.place = held.place.clone();
            Some(link)
        };
        Chain {
            cause: self.cause.clone().unwrap_or_else(crate::gate::platform),
            links: self.chain.iter().filter_map(link).collect(),
        }
    }
}

/// The action whose canonical form `whole` is.
fn action(whole: Value) -> Option<Action> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        arguments: Value,
        effect: Effect,
        environment: String,
        idempotence: Idempotence,
        resource: String,
        verb: String,
    }
    let whole: Whole = serde_json::from_value(whole).ok()?;
    let (verb, environment) = (
        Verb::new(&whole.verb).ok()?,
        Environment::new(&whole.environment).ok()?,
    );
    Action::new(
        verb,
        &whole.resource,
        whole.arguments,
        environment,
        whole.effect,
        whole.idempotence,
    )
    .ok()
}
