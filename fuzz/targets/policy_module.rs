//! Modules of any text load or are refused with a reason; what loads decides alike each time, within its
//! limits and without a panic.
#![no_main]
use policy::{Action, Autonomy, Capability, Chain, Context, Effect, Environment, Grant, Idempotence, Level, Link, PolicyDocument, PolicySet, Principal, SessionFacts, Timestamp, Verb};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let document = PolicyDocument { rego: Some(text.to_owned()), ..PolicyDocument::default() };
    let Ok(set) = PolicySet::load(&[("p".to_owned(), document)]) else { return };
    let action = Action::new(
        Verb::new("deploy").expect("a verb"),
        "repository/x",
        serde_json::json!({"a": [1, "two", {"three": 3.5}], "b": null}),
        Environment::production(),
        Effect::Write,
        Idempotence::Once,
    )
    .expect("an action");
    let everything = Grant { capability: Capability::parse("*:*").expect("a capability"), from: "fuzz".to_owned(), until: None };
    let autonomy = Autonomy { default: Level::L3, ..Autonomy::default() };
    let link = Link::new(Principal::agent("a"), vec![everything], autonomy);
    let mut chain = Chain { cause: Principal::person("p"), links: vec![link] };
    let context = Context { now: Timestamp::from_ms(0), taint: policy::Taints::NONE, trust: 500, session: SessionFacts::default(), approval: None };
    let first = policy::decide(&chain, action.clone(), &context, &set);
    let again = policy::decide(&chain, action.clone(), &context, &set);
    assert_eq!(format!("{first:?}"), format!("{again:?}"), "the same input decides alike");
    // An agent without grants is refused whatever a module says.
    chain.links[0].grants.clear();
    assert!(matches!(policy::decide(&chain, action, &context, &set), policy::Decision::Deny(_)));
});
