//! Rules of any text load or are refused with a reason; what loads decides without a panic.
#![no_main]
use policy::{Action, Autonomy, Chain, Context, Effect, Environment, Idempotence, Link, PolicyDocument, PolicySet, Principal, SessionFacts, Timestamp, Verb};

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
        let link = Link { principal: Principal::agent("a"), grants: vec![], autonomy: Autonomy::default() };
        let chain = Chain { cause: Principal::person("p"), links: vec![link] };
        let context = Context { now: Timestamp::from_ms(0), taint: false, trust: 500, session: SessionFacts::default(), approval: None };
        // An agent without grants is refused whatever a rule says.
        assert!(matches!(policy::decide(&chain, action, &context, &set), policy::Decision::Deny(_)));
    }
});
