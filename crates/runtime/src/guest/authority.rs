//! What the platform's own guest holds: nothing by itself; and the rules that permit what guests are lent.

use super::KEEP;
use crate::tools::exec::EVAL;
use gate::{AgentAuthority, Bounds, GUEST, TrustTerms};
use policy::{Autonomy, Effect, Level, Match, Place, PolicyDocument, RuleOutcome, RuleSpec, Stages};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// The verb of the action that runs a guest. Its resource is `workspace` and the path of its workspace.
pub const VERB: &str = "sandbox.run";
/// Where guests act: a machine's own files. What they ask of the network has the environment of their egress.
pub const ENVIRONMENT: &str = "workspace";
/// Verbs of what comes in by the doors of a guest.
const DOORS: [&str; 3] = ["connect", "http.get", "http.request"];

/// What the binary adds to every [`gate::Authority`]: the agent's name, what it holds, and the policy that
/// permits what it is lent. A grant is still needed for each action, and only a person's run brings one.
pub fn authority() -> (String, AgentAuthority, (String, PolicyDocument)) {
    let agent = AgentAuthority {
        grants: Vec::new(),
        deny: Vec::new(),
        autonomy: Autonomy {
            default: Level::L1,
            environments: BTreeMap::from([(ENVIRONMENT.to_owned(), Level::L3)]),
            ..Autonomy::default()
        },
        bounds: Bounds {
            actions_per_session: 100_000,
            actions_per_minute: 60_000,
            // As its bound of a minute has it: how fast its doors may be used is the surface's to say.
            actions_per_second: NonZeroU32::new(1000),
            delegation_depth: 0,
            ..Bounds::default()
        },
        sponsor: "cofferdam".to_owned(),
        place: Place::default(),
        trust: TrustTerms::PLATFORM,
    };
    let rules = vec![
        permit("run", &[VERB, KEEP], None, "a person runs it in this workspace"),
        asked_about(EVAL, "what is in its arguments runs"),
        permit("lent", &DOORS, Some(GUEST), "a person lent it to this run"),
    ];
    let document = PolicyDocument {
        rules,
        built_in: true,
        ..PolicyDocument::default()
    };
    (GUEST.to_owned(), agent, ("built-in-guest".to_owned(), document))
}

/// Has a person approve it, whoever asks, whatever else permits it.
fn asked_about(verb: &str, reason: &str) -> RuleSpec {
    let mut rule = permit("evaluated", &[verb], None, reason);
    rule.matching.effects = None;
    rule.matching.environments = None;
    rule.outcome = RuleOutcome::RequireApproval;
    rule.opts_in = false;
    rule
}

/// Permits what is held anyway. What runs guests is of any agent: naming some would withhold from them what other places
/// permit.
fn permit(name: &str, verbs: &[&str], agent: Option<&str>, reason: &str) -> RuleSpec {
    RuleSpec {
        name: Some(name.to_owned()),
        matching: Match {
            verbs: Some(verbs.iter().map(|verb| (*verb).to_owned()).collect()),
            resources: None,
            effects: Some(vec![Effect::Write]),
            environments: Some(vec![ENVIRONMENT.to_owned()]),
            agents: agent.map(|agent| vec![agent.to_owned()]),
        },
        when: None,
        condition: None,
        outcome: RuleOutcome::Permit,
        reason: reason.to_owned(),
        approvers: Stages::default(),
        waivable: Vec::new(),
        expires_after_seconds: None,
        opts_in: true,
    }
}
