//! Conditions in CEL and in the dialect of the source documents: what they mean, and what is refused
//! when it is loaded.

use crate::common;
use policy::{Decision, Denial, Effect, Level, PolicyDocument, PolicySet, decide};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a deny rule with this condition makes of one action: `true`, `false`, the error of its
/// evaluation, or the error of its loading.
pub(crate) fn judge(field: &str, source: &str) -> String {
    let rule = json!({"name": "r", "outcome": "deny", field: source});
    let document: PolicyDocument = serde_json::from_value(json!({ "rules": [rule] })).unwrap();
    let policies = match PolicySet::load(&[("p".to_owned(), document)]) {
        Ok(policies) => policies,
        Err(error) => return error.to_string().replace("rule `policy/p#r`: ", "refused: "),
    };
    let chain = common::chain(Level::L3, &["*:*"]);
    let action = common::action(
        "git.propose",
        "repository/patient",
        arguments(),
        "production",
        Effect::Read,
    );
    let context = policy::Context {
        trust: 500,
        ..common::context()
    };
    match decide(&chain, action, &context, &policies) {
        Decision::Permit(_) => "false".to_owned(),
        Decision::Deny(denied) => match denied.denial {
            Denial::Forbidden(..) => "true".to_owned(),
            Denial::Unevaluable(_, what) => format!("broken: {what}"),
            other => format!("unexpected: {other:?}"),
        },
        Decision::RequireApproval(request) => format!("unexpected: {request:?}"),
    }
}

fn arguments() -> Value {
    json!({
        "branch": "release/9", "force": false, "count": 3, "ratio": 0.5, "none": null,
        "files": ["a.rs", "infra/main.tf"], "owner": {"name": "sre", "tags": ["x", "y"]},
        "steps": [{"run": "make"}, {"run": "deploy"}], "secret": "hunter2",
    })
}

#[test]
fn cel_conditions_mean_what_cel_says() {
    #[rustfmt::skip]
    let table = [
        ("true", "true"),
        ("action.verb == 'git.propose' && action.environment == \"production\"", "true"),
        ("action.effect == 'read' && action.resource.startsWith('repository/')", "true"),
        ("action.production && action.environment == 'production'", "true"),
        ("action.effect in ['write', 'destructive']", "false"),
        ("action.verb in ['git.log', 'git.propose']", "true"),
        ("agent == 'triage' && cause == 'person:alice'", "true"),
        ("trust >= 500 && trust < 501 && !taint", "true"),
        ("session.id == 'ses-7' && session.actions == 3", "true"),
        ("now > 1699999999999", "true"),
        ("action.arguments.count + 1 == 4", "true"),
        ("action.arguments.count == 3.0", "true"),
        ("action.arguments.ratio < 1", "true"),
        ("action.arguments['count'] == 3", "true"),
        ("action.arguments.owner.name == 'sre'", "true"),
        ("action.arguments.owner == action.arguments.owner", "true"),
        ("action.arguments.files == ['a.rs', 'infra/main.tf']", "true"),
        ("action.arguments.files[1].endsWith('.tf')", "true"),
        ("size(action.arguments.files) == 2 && action.arguments.files.size() == 2", "true"),
        ("'y' in action.arguments.owner.tags", "true"),
        ("'branch' in action.arguments", "true"),
        ("action.arguments.none == null", "true"),
        ("has(action.arguments.branch) && !has(action.arguments.absent)", "true"),
        ("has(action.arguments.owner.name) && !has(action.arguments.owner.absent)", "true"),
        ("action.arguments.files.exists(f, f.endsWith('.tf'))", "true"),
        ("action.arguments.files.all(f, f.contains('c'))", "false"),
        ("action.arguments.steps.exists_one(s, s.run == 'deploy')", "true"),
        ("action.arguments.steps.exists(s, s.run == agent || trust > 900)", "false"),
        ("action.arguments.branch.matches('^release/[0-9]+$')", "true"),
        ("matches(action.arguments.branch, 'hotfix')", "false"),
        ("action.arguments.files.exists(f, f.matches('^infra/'))", "true"),
        ("taint ? true : action.arguments.count == 3", "true"),
        // An error that does not matter is not one; an error that matters denies.
        ("false && action.arguments.absent == 1", "false"),
        ("action.arguments.absent == 1 && false", "false"),
        ("action.arguments.absent == 1", "broken: there is no `absent`"),
        ("action.arguments.absent == 1 || false", "broken: there is no `absent`"),
        ("action.arguments[action.arguments.secret] == 1", "broken: there is no such member"),
        ("action.arguments.files[7] == 'x'", "broken: there is no such member"),
        ("has(action.arguments.absent.name)", "broken: there is no `absent`"),
        ("action.arguments.count > 'x'", "broken: values are of types that do not go together"),
        ("action.arguments.secret + 1 == 'x'", "broken: values are of types that do not go together"),
        ("action.arguments.secret.matches('h') && action.arguments.count.matches('h')", "broken: values are of types that do not go together"),
        ("action.arguments.count / 0 == 1", "broken: division by zero"),
        ("9223372036854775807 + action.arguments.count > 0", "broken: a number is too large"),
        ("(0 - 9223372036854775807 - 1) / (trust - 501) == 0", "broken: a number is too large"),
        ("(0 - 9223372036854775807 - 1) % (trust - 501) == 0", "broken: a number is too large"),
        ("-(0 - 9223372036854775807 - 1) == 0", "broken: a number is too large"),
        ("action.arguments.branch", "broken: condition is a string, not true or false"),
        ("action.arguments.none", "broken: condition is a null_type, not true or false"),
        ("action.arguments.owner && true", "broken: values are of types that do not go together"),
    ];
    for (source, expected) in table {
        assert_eq!(judge("when", source), expected, "{source}");
    }
}

#[test]
fn what_is_not_listed_is_refused_at_load() {
    let nested =
        |open: &str, close: &str, times: usize| format!("{}true{}", open.repeat(times), close.repeat(times));
    let many = |text: &str, times: usize| vec![text; times].join(" && ");
    let functions =
        "use operators, has, all, exists, exists_one, matches, size, startsWith, endsWith, contains";
    let variables = "use one of action, agent, agents, cause, session, trust, taint, now";
    #[rustfmt::skip]
    let table = [
        ("".to_owned(), "refused: condition is empty".to_owned()),
        ("  ".to_owned(), "refused: condition is empty".to_owned()),
        ("trust > 1 ".repeat(410), "refused: condition is longer than 4096 bytes".to_owned()),
        ("principal == 'x'".to_owned(), format!("refused: `principal` is not known: {variables}")),
        ("string == 'x'".to_owned(), format!("refused: `string` is not known: {variables}")),
        ("action.verbs == 'x'".to_owned(), "refused: `action.verbs` is not known: use one of verb, resource, effect, environment, production, arguments, brings".to_owned()),
        ("session.taint".to_owned(), "refused: `session.taint` is not known: use one of id, actions".to_owned()),
        ("action == 'deploy'".to_owned(), "refused: use `action` with one of verb, resource, effect, environment, production, arguments, brings".to_owned()),
        ("action['verb'] == 'x'".to_owned(), "refused: use `action` with one of verb, resource, effect, environment, production, arguments, brings".to_owned()),
        ("'x' in session".to_owned(), "refused: use `session` with one of id, actions".to_owned()),
        ("has(action.verb)".to_owned(), "refused: `has(action.verb)` is always true: remove it".to_owned()),
        ("[1].map(x, x) == [1]".to_owned(), "refused: map and filter are not supported in a condition: use all, exists or exists_one".to_owned()),
        ("[1].filter(x, true) == [1]".to_owned(), "refused: map and filter are not supported in a condition: use all, exists or exists_one".to_owned()),
        ("[1].all(x, [2].all(y, x < y))".to_owned(), "refused: a loop inside a loop is not supported in a condition".to_owned()),
        ("action.arguments.files.all(f, f in action.arguments.allowed)".to_owned(), "refused: `action.arguments` is not supported inside a loop of a condition".to_owned()),
        ("[1].all(trust, trust == 1)".to_owned(), "refused: `trust` cannot be the name of a loop's variable".to_owned()),
        ("['a'].all(x, x + x == 'aa')".to_owned(), "refused: `+` is supported 8 times in a condition, and not inside a loop".to_owned()),
        ("1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 == 10".to_owned(), "refused: `+` is supported 8 times in a condition, and not inside a loop".to_owned()),
        ("string(trust) == '500'".to_owned(), format!("refused: function `string` is not supported in a condition: {functions}")),
        ("type(trust) == 1".to_owned(), format!("refused: function `type` is not supported in a condition: {functions}")),
        ("{'a': 1}.a == 1".to_owned(), "refused: maps, structures and optional values are not supported in a condition".to_owned()),
        ("b'a' == b'a'".to_owned(), "refused: bytes are not supported in a condition".to_owned()),
        ("action.arguments.?branch == 1".to_owned(), "refused: condition, line 1, column 17: unsupported syntax '.?'".to_owned()),
        ("agent.matches(action.verb)".to_owned(), "refused: the pattern of `matches` must be a text in quotes".to_owned()),
        ("agent.matches('(')".to_owned(), "refused: `(` is not a regular expression, or too large a one".to_owned()),
        ("agent.matches('(\\\\w{100}){100}')".to_owned(), "refused: `(\\w{100}){100}` is not a regular expression, or too large a one".to_owned()),
        (format!("agent.matches('{}')", "a".repeat(257)), "refused: the pattern of `matches` is longer than 256 bytes".to_owned()),
        ("agent.matches('a', 'b')".to_owned(), "refused: `matches` takes a text and a pattern".to_owned()),
        (many("taint", 200), "refused: condition has more than 256 parts".to_owned()),
        (nested("[", "]", 33), "refused: condition: expression recursion limit exceeded: 32".to_owned()),
    ];
    for (source, expected) in table {
        let found = judge("when", &source);
        let expected = if source.starts_with("((((") {
            "true".to_owned()
        } else {
            expected
        };
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn the_dialect_means_what_the_source_documents_say() {
    #[rustfmt::skip]
    let table = [
        ("action == 'git.propose' and environment == 'production'", "true"),
        ("action == \"git.propose\" and environment == \"staging\"", "false"),
        ("action == 'deploy' or effect == 'read'", "true"),
        ("action == 'deploy' and taint or effect == 'read'", "true"),
        ("action == 'deploy' and (taint or effect == 'read')", "false"),
        ("not action == 'deploy'", "true"),
        ("not (action == 'git.propose' and agent == 'triage')", "false"),
        ("not not taint", "false"),
        ("not taint and trust > 499", "true"),
        ("environment in ['production', \"staging\"]", "true"),
        ("environment not in ['production']", "false"),
        ("resource != 'repository/patient'", "false"),
        ("trust >= 500 and trust <= 500 and trust < 501 and trust > -1", "true"),
        ("arguments.owner.name == 'sre'", "true"),
        ("arguments.ratio == 0.5", "true"),
        ("'x' in arguments.owner.tags", "true"),
        ("arguments.force == False and arguments.none == None", "true"),
        ("has(arguments.branch) and not has(arguments.absent)", "true"),
        ("cause == 'person:alice' and session.actions == 3", "true"),
        // What stands between quotes is a text, whatever it looks like.
        ("agent == \"' or true or '\"", "false"),
        ("agent == 'x\\' or true or \\'x'", "false"),
        ("agent == 'a and b'", "false"),
        ("agent in ['not', 'in', 'triage']", "true"),
        ("agent == 'tri\\nage'", "false"),
        ("arguments.absent == 1", "broken: there is no `absent`"),
        ("environment and trust", "broken: values are of types that do not go together"),
        ("agent", "broken: condition is a string, not true or false"),
        ("", "refused: condition is empty"),
        ("action = 'deploy'", "refused: condition: unexpected `=` at column 8"),
        ("action == 'deploy' && taint", "refused: condition: unexpected `&` at column 20"),
        ("action == 'deploy", "refused: condition: text without a closing quote at column 11"),
        ("action == 'de\\ploy'", "refused: condition: unknown escape in a text at column 11"),
        ("action == 'deploy' environment == 'x'", "refused: condition: unexpected `environment` at column 20: expected the end"),
        ("action == 'deploy' and", "refused: condition ends where a name or a value is expected"),
        ("user == 'x'", "refused: condition: unexpected `user` at column 1: expected one of action, resource, effect, environment, arguments, agent, agents, cause, trust, taint, session"),
        ("environment.name == 'x'", "refused: condition: unexpected `.` at column 12: expected the end"),
        ("1 < trust < 900", "refused: condition: unexpected `<` at column 11: expected `and`, `or` or the end"),
        ("trust > 1.2.3", "refused: condition: malformed number at column 9"),
        ("trust > 12abc", "refused: condition: malformed number at column 9"),
        ("trust - 1 > 0", "refused: condition: unexpected `-` at column 7"),
        ("agent in [", "refused: condition ends where a name or a value is expected"),
        ("agent in ['a' 'b']", "refused: condition: unexpected text `b` at column 15: expected `,`"),
        ("agent not 'a'", "refused: condition: unexpected text `a` at column 11: expected `in`"),
        ("agent.startsWith('a')", "refused: condition: unexpected `.` at column 6: expected the end"),
        ("size(agent) == 1", "refused: condition: unexpected `size` at column 1: expected one of action, resource, effect, environment, arguments, agent, agents, cause, trust, taint, session"),
        ("session == 'x'", "refused: use `session` with one of id, actions"),
        ("é == 1", "refused: condition: unexpected `\\u{e9}` at column 1"),
    ];
    for (source, expected) in table {
        assert_eq!(judge("condition", source), expected, "{source}");
    }
}

#[test]
fn nesting_in_the_dialect_is_limited() {
    let nested = |times: usize| format!("{}taint{}", "(".repeat(times), ")".repeat(times));
    assert_eq!(judge("condition", &nested(24)), "false");
    assert_eq!(
        judge("condition", &nested(25)),
        "refused: condition is nested deeper than 24"
    );
    assert_eq!(
        judge("condition", &"not ".repeat(1000)),
        "refused: condition is nested deeper than 24"
    );
    assert_eq!(
        judge("condition", &"[".repeat(3000)),
        "refused: condition is nested deeper than 24"
    );
}

#[test]
fn long_chains_are_refused_and_exhaust_no_stack() {
    let parts = "refused: condition has more than 256 parts";
    #[rustfmt::skip]
    let table = [
        ("agent", ".x", "", parts),
        ("agent", "[0]", "", parts),
        ("1", "-1", " == 0", parts),
        ("", "!-", "1", parts),
        ("taint", " && taint", "", parts),
        ("", "1?1:", "1", parts),
    ];
    for (start, middle, end, expected) in table {
        let times = (4096 - start.len() - end.len()) / middle.len();
        assert_eq!(
            judge("when", &format!("{start}{}{end}", middle.repeat(times))),
            expected,
            "{middle}"
        );
    }
}

#[test]
fn large_arguments_are_not_looped_over() {
    let policies = common::policies(json!([
        {"name": "loops", "outcome": "deny", "when": "action.arguments.items.exists(i, i == 0)"},
    ]));
    let decided = |items: usize| {
        let arguments = json!({ "items": vec![1; items] });
        let action = common::action("a", "r", arguments, "dev", Effect::Read);
        common::told(&decide(
            &common::chain(Level::L3, &["*:*"]),
            action,
            &common::context(),
            &policies,
        ))
    };
    // The object and the list are values too.
    assert_eq!(decided(4094), "permit granted by toolset/all");
    assert_eq!(
        decided(4095),
        "deny unevaluable: rule `policy/p#loops` cannot be evaluated: \
         arguments hold more than 4096 values, too many to loop over"
    );
}

proptest! {
    #![proptest_config(crate::proptest_config())]

    #[test]
    fn no_text_between_quotes_changes_what_a_condition_asks(text in any::<String>()) {
        let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
        prop_assume!(escaped.len() < 4000);
        prop_assert_eq!(judge("condition", &format!("agent == '{escaped}'")), (text == "triage").to_string());
    }

    #[test]
    fn loading_any_condition_never_panics(source in any::<String>()) {
        judge("when", &source);
        judge("condition", &source);
    }

    #[test]
    fn loading_what_looks_like_a_condition_never_panics(
        tokens in prop::collection::vec(prop::sample::select(TOKENS.as_slice()), 0..24),
    ) {
        let source = tokens.join(" ");
        judge("when", &source);
        judge("condition", &source);
        let source = tokens.concat();
        judge("when", &source);
        judge("condition", &source);
    }

    #[test]
    fn a_condition_that_loads_is_true_false_or_broken_and_tells_no_argument(source in well_formed()) {
        let judged = judge("when", &source);
        let known = judged == "true" || judged == "false" || judged.starts_with("broken: ");
        prop_assert!(known || judged.starts_with("refused: "), "{source}: {judged}");
        prop_assert!(!judged.contains("hunter2"), "{source}: {judged}");
    }

    #[test]
    fn repeating_a_token_never_panics(
        token in prop::sample::select(TOKENS.as_slice()),
        times in 1..1500_usize,
    ) {
        judge("when", &token.repeat(times));
        judge("condition", &format!("{token} ").repeat(times));
    }
}

/// Conditions that load, of any type and mostly of wrong ones.
fn well_formed() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(
        [
            "true",
            "'a'",
            "''",
            "0",
            "-1",
            "9223372036854775807",
            "2u",
            "1.5",
            "1e300",
            "null",
            "[]",
            "['a', 'b']",
            "[1, 2.0]",
            "trust",
            "taint",
            "now",
            "agent",
            "session.actions",
            "action.resource",
            "action.arguments",
            "action.arguments.files",
            "action.arguments.count",
            "action.arguments.ratio",
            "action.arguments.none",
            "action.arguments.owner",
            "action.arguments.steps",
            "action.arguments.absent",
            "has(action.arguments.owner)",
        ]
        .as_slice(),
    )
    .prop_map(str::to_owned);
    let binary = prop::sample::select(
        [
            "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in", "+", "-", "*", "/", "%",
        ]
        .as_slice(),
    );
    leaf.prop_recursive(5, 24, 3, move |inner| {
        prop_oneof![
            4 => (inner.clone(), binary.clone(), inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            1 => inner.clone().prop_map(|a| format!("!({a})")),
            1 => inner.clone().prop_map(|a| format!("-({a})")),
            1 => inner.clone().prop_map(|a| format!("size({a})")),
            1 => inner.clone().prop_map(|a| format!("({a}).matches('^a+')")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).contains({b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => inner.clone().prop_map(|a| format!("({a}).name")),
            1 => inner.clone().prop_map(|a| format!("has(({a}).name)")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            1 => inner.clone().prop_map(|a| format!("({a}).exists(x, x == 'a' || x.run == 'deploy')")),
            1 => inner.prop_map(|a| format!("({a}).exists_one(x, x > trust)")),
        ]
    })
}

const TOKENS: [&str; 62] = [
    "action",
    "action.verb",
    ".arguments",
    "action.arguments",
    "arguments",
    "session.id",
    "trust",
    "taint",
    "now",
    "agent",
    "cause",
    "and",
    "or",
    "not",
    "in",
    "has",
    "has(",
    "size(",
    "matches",
    ".matches('a')",
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "?",
    ":",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "x",
    "'a'",
    "\"b\"",
    "'''",
    "r'",
    "b'",
    "\\",
    "1",
    "1u",
    "0x",
    "1.5",
    "1e9",
    ".exists(x, ",
    ".all(x, ",
    ".exists_one(",
    "null",
    "true",
    "`",
];
