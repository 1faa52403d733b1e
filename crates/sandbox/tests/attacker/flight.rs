//! An action in flight that no gate gave, for tests and benchmarks.

use policy::{
    Action, Autonomy, Capability, Chain, Context, Decision, Effect, Environment, Grant, Idempotence,
    InFlight, Level, Link, Member, Permit, Place, PolicySet, Principal, SessionFacts, Settle, SettleFuture,
    Settlement, StopSet, Subject, Taints, Timestamp, Unsettled, Verb, decide,
};
use std::sync::Arc;

#[derive(Debug)]
struct Nobody;

impl Settle for Nobody {
    fn settle(self: Box<Self>, entry: u64, _: Settlement) -> SettleFuture {
        let reason = "a test".to_owned();
        Box::pin(std::future::ready(Err(Unsettled { entry, reason })))
    }
    fn abandoned(self: Box<Self>, _: u64, _: bool) {}
}

/// An action in flight.
pub fn flight() -> InFlight {
    stoppable().0
}

/// An action in flight, and what stops it.
pub fn stoppable() -> (InFlight, Arc<StopSet>) {
    let grant = Grant {
        capability: Capability::parse("*:*").unwrap(),
        from: "test".to_owned(),
        until: None,
    };
    let autonomy = Autonomy {
        default: Level::L3,
        ..Autonomy::default()
    };
    let link = Link::new(Principal::agent("guest"), vec![grant], autonomy);
    let chain = Chain {
        cause: Principal::person("alice"),
        links: vec![link],
    };
    let (verb, environment) = (
        Verb::new("exec.run").unwrap(),
        Environment::new("staging").unwrap(),
    );
    let arguments = serde_json::json!({});
    let action = Action::new(
        verb,
        "sandbox",
        arguments,
        environment,
        Effect::Read,
        Idempotence::Once,
    )
    .unwrap();
    let session = SessionFacts {
        id: "ses-1".to_owned(),
        version: 1,
        actions: 0,
    };
    let context = Context {
        now: Timestamp::from_ms(0),
        taint: Taints::NONE,
        trust: 900,
        session,
        approval: None,
    };
    let ruling = match decide(&chain, action, &context, &PolicySet::empty()) {
        Decision::Permit(ruling) => ruling,
        _ => unreachable!("a read is permitted"),
    };
    let member = Member {
        name: "guest".to_owned(),
        place: Place::default(),
    };
    let subject = Subject {
        agents: vec![member],
        session: "ses-1".to_owned(),
        doing: None,
    };
    let stops = Arc::new(StopSet::new());
    let permit = Permit::now_durable(ruling, 0, subject, Box::new(Nobody));
    (permit.spend(&stops).unwrap(), stops)
}
