//! Rules of any text load or are refused with a reason; what loads decides without a panic.
#![no_main]
use policy::{Action, Autonomy, Capability, Chain, Context, Effect, Environment, Grant, Idempotence, Level, Link, PolicyDocument, PolicySet, Principal, SessionFacts, Timestamp, Verb};

libfuzzer_sys::fuzz_target!(|text: &str| {
    for key in ["condition", "when"] {
        let rule = serde_json::json!({"name": "r", key: text, "outcome": "permit"});
        let Ok(document) = serde_json::from_value::<PolicyDocument>(serde_json::json!({"rules": [rule]})) else { return };
        let Ok(set) = PolicySet::load(&[("p".to_owned(), document)]) else { continue };
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
        let context = Context { now: Timestamp::from_ms(0), taint: policy::Taints::NONE, trust: 1000, session: SessionFacts::default(), approval: None };
        // A write of a trusted agent with one permit rule: permitted if the rule says so, else refused.
        let first = policy::decide(&chain, action.clone(), &context, &set);
        let again = policy::decide(&chain, action.clone(), &context, &set);
        assert_eq!(std::mem::discriminant(&first), std::mem::discriminant(&again), "the same input decides alike");
        assert!(!matches!(first, policy::Decision::RequireApproval(_)), "nothing here asks a person");
        // An agent without grants is refused whatever a rule says.
        chain.links[0].grants.clear();
        assert!(matches!(policy::decide(&chain, action, &context, &set), policy::Decision::Deny(_)));
    }
});
