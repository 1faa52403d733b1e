//! Rego modules: what they may say, what is refused at load, and what goes wrong at evaluation. Each row
//! asserts the reason.

use crate::common::{action, chain, context, told};
use policy::{Approver, Decision, Effect, Level, Mode, PolicyDocument, PolicySet, RuleSpec, decide};
use serde_json::{Value, json};

/// A set of one document `m` with this module and these rules.
fn load(rego: &str, rules: Value, mode: Mode) -> Result<PolicySet, String> {
    let rules: Vec<RuleSpec> = serde_json::from_value(rules).unwrap();
    let document = PolicyDocument {
        rules,
        rego: Some(rego.to_owned()),
        mode,
        ..PolicyDocument::default()
    };
    PolicySet::load(&[("m".to_owned(), document)]).map_err(|error| error.to_string())
}

/// The decision on a write of L4 in staging, with these arguments.
fn decision(policies: &PolicySet, arguments: Value) -> Decision {
    let action = action("git.merge", "repository/a", arguments, "staging", Effect::Write);
    decide(&chain(Level::L4, &["*:*"]), action, &context(), policies)
}

fn check(rego: &str, arguments: Value) -> String {
    let permit = json!([{"name": "all", "outcome": "permit"}]);
    match load(&format!("package m\n{rego}\n"), permit, Mode::Enforce) {
        Ok(policies) => told(&decision(&policies, arguments)),
        Err(error) => format!("refused: {error}"),
    }
}

#[test]
fn what_a_module_says_counts_like_rules() {
    #[rustfmt::skip]
    let table = [
        // what the row shows                 module                                                          expected
        ("nothing to say",                    "deny contains \"x\" if input.trust > 900",                     "permit by policy/m#all"),
        ("it forbids",                        "deny contains \"no\" if input.action.verb == \"git.merge\"",   "deny forbidden: rule `policy/m#rego` forbids it: no"),
        ("every reason is told",              "deny contains \"a\"\ndeny contains \"b\"",                     "deny forbidden: rule `policy/m#rego` forbids it: a; b"),
        ("it asks",                           "require_approval contains \"look\"",                           "ask by policy/m#rego"),
        ("deny wins over asking",             "require_approval contains \"look\"\ndeny contains \"no\"",     "deny forbidden: rule `policy/m#rego` forbids it: no"),
        ("it sees the arguments",             "deny contains \"big\" if input.action.arguments.n > 3",        "deny forbidden: rule `policy/m#rego` forbids it: big"),
        ("a helper and a loop",               "deny contains f if {\n some f in input.action.arguments.files\n bad(f)\n}\nbad(f) if endswith(f, \".tf\")", "deny forbidden: rule `policy/m#rego` forbids it: b.tf"),
        ("a permit that is undefined",        "permit if input.trust > 900",                                  "permit by policy/m#all"),
        ("a product is a product",            "deny contains \"20\" if input.action.arguments.n * 4 == 20",   "deny forbidden: rule `policy/m#rego` forbids it: 20"),
        ("a text is made",                    "deny contains sprintf(\"%d of %s\", [input.action.arguments.n, input.agent])", "deny forbidden: rule `policy/m#rego` forbids it: 5 of triage"),
        ("the first that holds",              "v := 1 if input.trust > 900\nelse := 2\ndeny contains \"x\" if v == 2", "deny forbidden: rule `policy/m#rego` forbids it: x"),
        ("one value, twice",                  "v if input.trust > 1\nv if input.trust > 2\ndeny contains \"x\" if v", "deny forbidden: rule `policy/m#rego` forbids it: x"),
        ("a loop's last value counts",        "v := n if some n in [1, 2]\ndeny contains \"x\" if v == 2", "deny forbidden: rule `policy/m#rego` forbids it: x"),
        ("no data outside the action",        "deny contains \"x\" if object.get(input, \"secret\", 1) == 2", "permit by policy/m#all"),
    ];
    for (name, module, expected) in table {
        assert_eq!(
            check(module, json!({"n": 5, "files": ["a.rs", "b.tf"]})),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_module_opts_in_as_a_rule_does() {
    let module = "package m\npermit if input.action.verb == \"git.merge\"\n";
    let policies = load(module, json!([]), Mode::Enforce).unwrap();
    assert_eq!(told(&decision(&policies, json!({}))), "permit by policy/m#rego");
    let set = load(
        "package m\npermit contains \"merges\"\n",
        json!([]),
        Mode::Enforce,
    )
    .unwrap();
    assert_eq!(told(&decision(&set, json!({}))), "permit by policy/m#rego");
    let empty = load(
        "package m\npermit contains \"x\" if false\n",
        json!([]),
        Mode::Enforce,
    )
    .unwrap();
    assert!(told(&decision(&empty, json!({}))).starts_with("deny no_rule"));
}

#[test]
fn a_module_says_who_is_asked_and_for_how_long() {
    let module = "package m
require_approval contains {\"reason\": \"look\", \"approvers\": [\"bob\", \"admin\"], \"expires_after_seconds\": 60}
";
    let policies = load(module, json!([]), Mode::Enforce).unwrap();
    let Decision::RequireApproval(request) = decision(&policies, json!({})) else {
        panic!("it asks");
    };
    let approvers = ["bob", "admin"].map(|name| Approver(name.to_owned()));
    assert_eq!(
        (request.reason.as_str(), request.expires_after_ms),
        ("look", 60_000)
    );
    assert_eq!(request.approvers, approvers);
}

#[test]
fn what_goes_wrong_denies_and_names_the_module() {
    let doubling = (0..40).fold("x0 := \"aaaaaaaaaaaaaaaa\"\n".to_owned(), |text, n| {
        format!("{text}x{} := concat(\"\", [x{n}, x{n}])\n", n + 1)
    });
    let squares = (0..60).fold("x0 := 99999999\n".to_owned(), |text, n| {
        format!("{text}x{} := x{n} * x{n}\n", n + 1)
    });
    let (doubling, squares) = (
        format!("deny contains x40\n{doubling}"),
        format!("deny contains \"x\" if x60 > 1\n{squares}"),
    );
    let too_large = |name: &str| format!("the module calls `{name}` with more than it may");
    let not_taken = |name: &str| format!("the module calls `{name}` with what it does not take");
    let instructions = "the module takes more than 25000 instructions".to_owned();
    #[rustfmt::skip]
    let table = [
        // what the row shows              module                                                              why
        ("it loops",                       "deny contains \"x\" if {\n some a in numbers.range(1, 1000)\n some b in numbers.range(1, 1000)\n a + b == 5000\n}", instructions.clone()),
        ("it loops over arguments",        "deny contains \"x\" if {\n some a in input.action.arguments.many\n some b in input.action.arguments.many\n a + b == 5000\n}", instructions.clone()),
        ("it loops in vain",               "deny contains \"x\" if {\n not quiet\n}\nquiet if {\n every a in numbers.range(1, 9000) { a > 0; a < 10000 }\n every a in numbers.range(1, 9000) { a > 0 }\n}", instructions),
        ("it eats memory by a list",       "deny contains \"x\" if count(numbers.range(1, 1000000000)) > 5",   too_large("numbers.range")),
        ("a `not` does not hide it",       "deny contains \"x\" if not count(numbers.range(1, 1000000000)) > 5", too_large("numbers.range")),
        ("it eats memory by texts",        doubling.as_str(),                                                  too_large("concat")),
        ("it eats memory by numbers",      squares.as_str(),                                                   too_large("*")),
        ("it eats memory by a shift",      "deny contains \"x\" if bits.lsh(1, 1000000000) > 5",               too_large("bits.lsh")),
        ("it eats memory by a width",      "deny contains sprintf(\"%1000000000d\", [1])",                     too_large("sprintf")),
        ("it eats memory by replacing",    "deny contains replace(input.action.arguments.long, \"a\", input.action.arguments.long)", too_large("replace")),
        ("what makes its engine panic",    "deny contains \"x\" if strings.count(\"aaa\", \"\") > 1",          too_large("strings.count")),
        ("a pattern that is too long",     "deny contains \"x\" if regex.match(input.action.arguments.long, \"a\")", too_large("regex.match")),
        ("a function that fails",          "deny contains \"x\" if to_number(\"x\") > 1",                      not_taken("to_number")),
        ("a division by zero",             "deny contains \"x\" if 5 / input.action.arguments.zero > 1",        not_taken("/")),
        ("a sum of a text",                "deny contains \"x\" if input.agent + 1 > 1",                       not_taken("+")),
        ("a failure under a `not`",        "deny contains \"x\" if not big\nbig if to_number(input.agent) > 1", not_taken("to_number")),
        ("it calls itself",                "deny contains \"x\" if f(1)\nf(x) if g(x)\ng(x) if f(x)",         "the module takes more than 25000 instructions".to_owned()),
        ("deny is not a set",              "deny := \"no\"",                                                   "`deny` is not a set".to_owned()),
        ("deny is undefined",              "deny := {\"no\"} if input.trust > 900",                            "`deny` is undefined".to_owned()),
        ("deny holds no text",             "deny contains 5",                                                  "`deny` holds something that is not a text".to_owned()),
        ("deny holds a long text",         "deny contains input.action.arguments.long",                        "`deny` holds a text longer than 1024 bytes".to_owned()),
        ("deny holds many",                "deny contains sprintf(\"%d\", [n]) if some n in numbers.range(1, 65)", "`deny` holds more than 64 members".to_owned()),
        ("permit is a text",               "permit := \"yes\"",                                                "`permit` is neither true or false nor a set".to_owned()),
        ("an ask with a misspelt key",     "require_approval contains {\"reasons\": \"x\"}",                   "`require_approval` holds something that is neither a text nor an object with `reason`, `approvers` and `expires_after_seconds`".to_owned()),
        ("an ask for ever",                "require_approval contains {\"expires_after_seconds\": 99999999}",  "`expires_after_seconds` in `require_approval` is not from 1 to 2592000".to_owned()),
    ];
    let arguments = json!({"zero": 0, "many": (0..400).collect::<Vec<_>>(), "long": "a".repeat(5000)});
    for (name, module, why) in table {
        let expected = format!("deny unevaluable: rule `policy/m#rego` cannot be evaluated: {why}");
        assert_eq!(check(module, arguments.clone()), expected, "{name}");
    }
}

#[test]
fn what_is_not_supported_is_refused_at_load() {
    let many: String = (0..130).map(|n| format!("r{n} := {n}\n")).collect();
    let calls: String = (0..200).map(|n| format!("f{n}(x) := f{}(x)\n", n + 1)).collect();
    let long = format!("deny contains \"x\"\n# {}", "x".repeat(40_000));
    let sum = format!("deny contains \"x\" if 0 < {}", vec!["1"; 14_000].join("+\n"));
    let brackets = format!("deny contains \"(((\" if spri{}ntf(\"x\") # (((", "[".repeat(31));
    let deep = format!(
        "deny contains \"x\" if {}1{} > 0",
        "(".repeat(900),
        ")".repeat(900)
    );
    #[rustfmt::skip]
    let table = [
        // what the row shows            module                                                        part of the reason
        ("no answer",                    "x := 1",                                                     "has none of the rules `deny`, `require_approval` and `permit`"),
        ("a clock",                      "deny contains \"x\" if time.now_ns() > 1",                   "function `time.now_ns` is not supported in a module"),
        ("chance",                       "deny contains \"x\" if rand.intn(\"a\", 5) > 1",             "function `rand.intn` is not supported"),
        ("the network",                  "deny contains \"x\" if http.send({\"url\": \"x\"})",         "http.send"),
        ("the runtime",                  "deny contains \"x\" if opa.runtime().env",                   "opa.runtime"),
        ("what grows without bound",     "deny contains \"x\" if graph.reachable_paths({}, [])",       "function `graph.reachable_paths` is not supported"),
        ("a function that is not there", "deny contains \"x\" if io.jwt.decode(\"x\")",                "io.jwt.decode"),
        ("data of others",               "deny contains \"x\" if data.other.x",                        "module reads `data` outside its package"),
        ("all data",                     "deny contains \"x\" if data[input.agent].x",                 "module reads `data`"),
        ("a misspelt variable",          "deny contains \"x\" if inptu.trust > 1",                     "inptu"),
        ("two values at once",           "v := 1 if input.trust > 1\nv := 2 if input.trust > 2\ndeny contains \"x\" if v > 0", "line 3: rule `v` is defined more than once and could have two values"),
        ("two computed values",          "v := input.a\nv := input.b if input.c\ndeny contains \"x\" if v > 0", "rule `v` is defined more than once"),
        ("a function with two values",   "f(n) := 1 if n > 1\nf(n) := 2 if n > 2\ndeny contains \"x\" if f(3) == 2", "rule `f` is defined more than once"),
        ("the old syntax",               "deny[msg] { msg := \"x\" }",                                 "module, line 2"),
        ("it does not parse",            "deny contains",                                              "module, line"),
        ("too many rules",               many.as_str(),                                                "module has more than 128 rules"),
        ("too many functions",           calls.as_str(),                                               "module has more than 128 rules"),
        ("too long",                     long.as_str(),                                                "module is longer than 32768 bytes"),
        ("too deep",                     deep.as_str(),                                                "nesting too deep"),
        ("brackets within brackets",     brackets.as_str(),                                            "more than 16 brackets within each other"),
        ("a sum of everything",          sum.as_str(),                                                 "module"),
    ];
    for (name, module, why) in table {
        let found = check(module, json!({}));
        assert!(
            found.starts_with("refused: rule `policy/m#rego`: "),
            "{name}: {found}"
        );
        assert!(found.contains(why), "{name}: {found}");
    }
    let named = load(
        "package m\ndeny contains \"x\"\n",
        json!([{"name": "rego", "outcome": "deny"}]),
        Mode::Enforce,
    );
    assert_eq!(
        named.unwrap_err(),
        "rule `policy/m`: the name `rego` is kept for a module; use another"
    );
}

/// As deep as calls go, on the stack of a thread that serves requests.
#[test]
fn the_deepest_calls_and_values_fit_the_stack() {
    let chain: String = (0..126).map(|n| format!("f{n}(x) := f{}(x)\n", n + 1)).collect();
    let nested: String = (1..14)
        .map(|n| format!("g{n}(x) := g{}(g{}(x))\n", n - 1, n - 1))
        .collect();
    let table = [
        format!("deny contains \"x\" if f0(1) == 1\n{chain}f126(x) := x"),
        format!("deny contains \"x\" if g13(1) == g13(2)\n{nested}g0(x) := [x]"),
        format!("deny contains \"x\" if g12(1) == g12(2)\n{nested}g0(x) := [x]"),
        format!("deny contains \"x\" if json.marshal(g11(1)) == \"1\"\n{nested}g0(x) := [x]"),
    ];
    for module in table {
        let on_a_small_stack = std::thread::Builder::new()
            .stack_size(2 * 1024 * 1024)
            .spawn(move || check(&module, json!({})));
        on_a_small_stack.unwrap().join().unwrap();
    }
}

#[test]
fn what_is_observed_is_told_and_counts_for_nothing() {
    let says = |module: &str| format!("package m\n{module}\n");
    let rule =
        |outcome: &str, when: &str| json!([{"name": "r", "outcome": outcome, "when": when, "reason": "why"}]);
    let permit = |extra: PolicyDocument| {
        let all = PolicyDocument {
            rules: serde_json::from_value(json!([{"name": "all", "outcome": "permit"}])).unwrap(),
            ..PolicyDocument::default()
        };
        PolicySet::load(&[("p".to_owned(), all), ("o".to_owned(), extra)]).unwrap()
    };
    #[rustfmt::skip]
    let table = [
        // what the row shows    rules                              module                         what is observed
        ("nothing matches",      rule("deny", "trust > 900"),       "deny contains \"x\" if false", "nothing"),
        ("a rule forbids",       rule("deny", "trust > 1"),         "deny contains \"x\" if false", "deny: policy/o#r deny why"),
        ("a module forbids",     json!([]),                         "deny contains \"no\"",         "deny: policy/o#rego deny no"),
        ("a rule asks",          rule("require_approval", "true"),  "deny contains \"x\" if false", "require_approval: policy/o#r require_approval why"),
        ("both",                 rule("require_approval", "true"),  "deny contains \"no\"",         "deny: policy/o#r require_approval why, policy/o#rego deny no"),
        ("a broken one",         rule("deny", "action.arguments.x"), "permit := 5",                 "deny: policy/o#r unevaluable there is no `x`, policy/o#rego unevaluable `permit` is neither true or false nor a set"),
        ("one opts in",          rule("permit", "true"),            "permit := true",              "permit: policy/o#r permit why, policy/o#rego permit "),
    ];
    for (name, rules, module, expected) in table {
        let document = PolicyDocument {
            rules: serde_json::from_value(rules).unwrap(),
            rego: Some(says(module)),
            mode: Mode::Observe,
            ..PolicyDocument::default()
        };
        let policies = permit(document);
        let merge = action("git.merge", "repository/a", json!({}), "staging", Effect::Write);
        let (chain, context) = (chain(Level::L4, &["*:*"]), context());
        let observed = policy::observe(&chain, &merge, &context, &policies);
        let line = observed.map_or("nothing".to_owned(), |observed| {
            let one = |said: &policy::Said| format!("{} {} {}", said.rule, said.outcome, said.reason);
            let said: Vec<_> = observed.said.iter().map(one).collect();
            format!("{}: {}", observed.outcome, said.join(", "))
        });
        assert_eq!(line, expected, "{name}");
        assert_eq!(
            told(&decide(&chain, merge, &context, &policies)),
            "permit by policy/p#all",
            "{name}"
        );
    }
}

#[test]
fn a_policy_that_is_observed_opts_in_to_nothing() {
    let rules = json!([{"name": "all", "outcome": "permit"}]);
    let policies = load("package m\npermit := true\n", rules, Mode::Observe).unwrap();
    assert!(told(&decision(&policies, json!({}))).starts_with("deny no_rule"));
}
