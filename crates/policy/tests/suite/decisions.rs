//! Decisions that the matrix cannot show: chains, expiry, several rules at once, and their words.

use crate::common::{self, action, chain, context, link, policies, told};
use policy::{
    Approver, Autonomy, Capability, Decision, Denial, Effect, Level, PolicySet, Principal, RuleId, Stages,
    Timestamp, decide, explain,
};
use serde_json::{Value, json};

/// Lists of approvers, as written.
type Lists<'a> = &'a [&'a Value];
/// Name, level, capabilities.
type Agent<'a> = (&'a str, Level, &'a [&'a str]);
#[test]
fn rights_are_the_intersection_of_all_links() {
    let agents = |links: &[Agent]| {
        let mut chain = chain(Level::L0, &[]);
        chain.links = links
            .iter()
            .map(|(name, level, caps)| link(Principal::agent(name), *level, caps))
            .collect();
        chain
    };
    let rules = policies(json!([
        {"name": "permit", "outcome": "permit", "match": {"agents": ["worker"], "verbs": ["git.merge"]}},
        {"name": "no-interns", "outcome": "deny", "match": {"agents": ["intern*"]}, "reason": "not for interns"},
    ]));
    #[rustfmt::skip]
    let table: [(&str, &[Agent], &str); 8] = [
        ("nobody",                      &[],                                                       "deny no_authority: nobody with authority stands behind this action"),
        ("one that may",                &[("worker", Level::L3, &["*:*"])],                        "permit by policy/p#permit"),
        ("both may",                    &[("lead", Level::L4, &["git.*:*"]), ("worker", Level::L3, &["*:*"])], "permit by policy/p#permit"),
        ("who delegates may not",       &[("lead", Level::L4, &["git.log:*"]), ("worker", Level::L3, &["*:*"])], "deny not_granted: agent:lead holds no grant that covers this action"),
        ("who acts may not",            &[("lead", Level::L4, &["*:*"]), ("worker", Level::L3, &[])], "deny not_granted: agent:worker holds no grant that covers this action"),
        ("the lowest level holds",      &[("lead", Level::L1, &["*:*"]), ("worker", Level::L4, &["*:*"])], "deny read_only: autonomy level L1 is read-only here"),
        ("permits look at who acts",    &[("worker", Level::L3, &["*:*"]), ("lead", Level::L3, &["*:*"])], "deny no_rule: no rule permits it: without one only reads are permitted"),
        ("delegating evades no denial", &[("intern-7", Level::L3, &["*:*"]), ("worker", Level::L3, &["*:*"])], "deny forbidden: rule `policy/p#no-interns` forbids it: not for interns"),
    ];
    for (name, links, expected) in table {
        let merge = action(
            "git.merge",
            "repository/patient",
            json!({}),
            "staging",
            Effect::Write,
        );
        assert_eq!(
            told(&decide(&agents(links), merge, &context(), &rules)),
            expected,
            "{name}"
        );
    }
}

/// What is excepted or denied in `production` is so wherever production is, whatever it is called; what is
/// granted there is granted under that name alone.
#[test]
fn an_exception_of_production_bars_every_production() {
    let permit = policies(json!([{"name": "permit", "outcome": "permit", "match": {"verbs": ["db.drop"]}}]));
    let (lacks, permits) = (
        "deny not_granted: agent:triage holds no grant that covers this action",
        "permit by policy/p#permit",
    );
    #[rustfmt::skip]
    let table = [
        ("*:*",                   "db.*:data/*:production", "production", lacks),
        ("*:*",                   "db.*:data/*:production", "prod-eu",    lacks),
        ("*:*",                   "db.*:data/*:production", "live",       lacks),
        ("*:*",                   "db.*:data/*:production", "staging",    permits),
        ("*:*",                   "db.*:other:production",  "staging",    permits),
        ("*:*",                   "db.*:data/*:prod-us",    "staging",    permits),
        ("*:*",                   "db.*:data/*:staging",    "staging",    lacks),
        ("db.*:*:production",     "git.*:*",                "prod-eu",    lacks),
    ];
    for (held, except, environment, expected) in table {
        let mut chain = chain(Level::L4, &[held]);
        chain.links[0].except = vec![Capability::parse(except).unwrap()];
        let drop = || action("db.drop", "data/users", json!({}), environment, Effect::Write);
        let said = told(&decide(&chain, drop(), &context(), &permit));
        assert_eq!(said, expected, "{held} except {except} in {environment}");
        let explained = explain(&chain, &drop(), &context(), &permit);
        let told = format!("`{except}` is excepted from what was delegated to it");
        let excepted = explained.lines.iter().any(|line| line.finding == told);
        assert_eq!(
            excepted,
            expected == lacks && held == "*:*",
            "{except} in {environment}"
        );
    }
}

#[test]
fn a_grant_holds_strictly_before_its_end() {
    for (until, expected) in [
        (None, true),
        (Some(1_001), true),
        (Some(1_000), false),
        (Some(0), false),
    ] {
        let mut chain = chain(Level::L0, &["*:*"]);
        chain.links[0].grants[0].until = until.map(Timestamp::from_ms);
        let now = policy::Context {
            now: Timestamp::from_ms(1_000),
            ..context()
        };
        let read = action(
            "git.log",
            "repository/patient",
            json!({}),
            "staging",
            Effect::Read,
        );
        let explained = explain(&chain, &read, &now, &PolicySet::empty());
        let decision = decide(&chain, read, &now, &PolicySet::empty());
        assert_eq!(matches!(decision, Decision::Permit(_)), expected, "{until:?}");
        let finding = if expected {
            "agent:triage holds `*:*`"
        } else {
            "its grant `*:*` from toolset/all has expired"
        };
        assert_eq!(explained.lines[0].finding, finding);
    }
}

#[test]
fn one_request_carries_every_rule_that_asks() {
    let rules = policies(json!([
        {"name": "b", "outcome": "require_approval", "reason": "second", "approvers": ["sre", "alice"], "expires_after_seconds": 60},
        {"name": "a", "outcome": "require_approval", "reason": "first", "approvers": ["alice", "bob"]},
        {"name": "c", "outcome": "require_approval", "reason": "first", "expires_after_seconds": 3600},
        {"name": "d", "outcome": "require_approval", "when": "taint", "reason": "does not match", "approvers": ["eve"]},
        {"name": "e", "outcome": "permit"},
    ]));
    let merge = action(
        "git.merge",
        "repository/patient",
        json!({}),
        "staging",
        Effect::Write,
    );
    let Decision::RequireApproval(request) = decide(&chain(Level::L4, &["*:*"]), merge, &context(), &rules)
    else {
        panic!("not asked");
    };
    assert_eq!(request.rule, Some(RuleId("policy/p#a".to_owned())));
    assert_eq!(request.reason, "first; second");
    assert_eq!(
        request.approvers,
        ["alice", "bob", "sre"].map(|name| Approver(name.to_owned()))
    );
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|&name| Approver(name.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        request.each_of,
        [named(&["alice", "bob"]), named(&["sre", "alice"])].map(|list| Stages::any_of(&list))
    );
    assert_eq!((request.level, request.expires_after_ms), (Level::L4, 60_000));
}

#[test]
fn an_approval_counts_only_from_whom_every_rule_would_ask_now() {
    let (nobody, alice, bob, role) = (json!([]), json!(["alice"]), json!(["bob"]), json!(["admin"]));
    let (both, team) = (json!(["bob", "alice"]), json!([{"team": "alice"}]));
    let two = json!([{"any": ["alice", "bob"], "count": 2}]);
    let (in_order, backwards) = (
        json!(["alice", {"any": ["bob"]}]),
        json!(["bob", {"any": ["alice"]}]),
    );
    #[rustfmt::skip]
    let table: [(Lists, &[&str], Lists, bool); 20] = [
        // asked then        who said yes      asked now          whether that counts
        (&[],                &["alice"],        &[&nobody],        true),
        (&[],                &["alice"],        &[&bob],           false),
        (&[],                &["alice"],        &[&alice],         true),
        (&[&alice],          &["alice"],        &[&bob],           false),
        (&[&alice],          &["alice"],        &[&alice, &bob],   false),
        (&[&alice],          &["alice"],        &[&alice, &both],  true),
        (&[&alice, &both],   &["alice"],        &[&nobody, &both], true),
        (&[],                &["alice"],        &[&role],          false),
        (&[&role],           &["alice"],        &[&role],          true),
        (&[&role],           &["alice"],        &[&role, &alice],  true),
        (&[&role],           &["alice"],        &[&role, &bob],    false),
        // A team of then is not known now, even when it is called like a person.
        (&[&alice],          &["alice"],        &[&team],          false),
        (&[&team],           &["alice"],        &[&team],          true),
        // More people than then, or in another order.
        (&[&alice],          &["alice"],        &[&two],           false),
        (&[&alice],          &["alice", "alice"], &[&two],         false),
        (&[&alice, &bob],    &["alice", "bob"], &[&two],           true),
        (&[&two],            &["alice", "bob"], &[&alice],         true),
        (&[&two],            &["alice", "bob"], &[&in_order],      true),
        (&[&two],            &["alice", "bob"], &[&backwards],     false),
        (&[&in_order],       &["bob"],          &[&in_order],      true),
    ];
    for (then, by, now, counts) in table {
        let rules: Vec<_> = now
            .iter()
            .enumerate()
            .map(|(n, list)| json!({"name": format!("r{n}"), "outcome": "require_approval", "approvers": list}))
            .collect();
        let given = policy::Approved {
            id: "apr-9".to_owned(),
            by: by.iter().map(|&name| name.to_owned()).collect(),
            asked: then
                .iter()
                .map(|&list| serde_json::from_value(list.clone()).unwrap())
                .collect(),
            questions: (0..now.len()).map(|n| format!("policy/p#r{n}")).collect(),
            waiver: None,
        };
        let context = policy::Context {
            approval: Some(given),
            ..context()
        };
        let merge = action("git.merge", "repository/x", json!({}), "staging", Effect::Write);
        let decision = decide(
            &chain(Level::L4, &["*:*"]),
            merge,
            &context,
            &policies(json!(rules)),
        );
        assert_eq!(
            matches!(decision, Decision::Permit(_)),
            counts,
            "{then:?} {now:?} {decision:?}"
        );
    }
}

#[test]
fn autonomy_is_held_at_l3_in_production() {
    let autonomy = |default, production| Autonomy {
        default,
        environments: [("production".to_owned(), production)].into_iter().collect(),
        ..Autonomy::default()
    };
    #[rustfmt::skip]
    let table = [
        ("production", autonomy(Level::L4, Level::L4), "ask: level L3 asks for each destructive action"),
        ("staging",    autonomy(Level::L4, Level::L0), "permit by policy/p#permit"),
        ("production", autonomy(Level::L4, Level::L0), "deny read_only: autonomy level L0 is read-only here"),
        // An environment that nobody named is production, and has no more than that.
        ("blue",       autonomy(Level::L4, Level::L4), "ask: level L3 asks for each destructive action"),
        ("blue",       autonomy(Level::L4, Level::L0), "deny read_only: autonomy level L0 is read-only here"),
        ("blue",       autonomy(Level::L1, Level::L3), "deny read_only: autonomy level L1 is read-only here"),
        ("dev",        autonomy(Level::L1, Level::L3), "deny read_only: autonomy level L1 is read-only here"),
    ];
    let rules = policies(json!([{"name": "permit", "outcome": "permit"}]));
    for (environment, autonomy, expected) in table {
        let mut chain = chain(Level::L0, &["*:*"]);
        chain.links[0].autonomy = autonomy;
        let delete = action("db.drop", "table/x", json!({}), environment, Effect::Destructive);
        assert_eq!(
            told(&decide(&chain, delete, &context(), &rules)),
            expected,
            "{environment}"
        );
    }
}

#[test]
fn a_listed_environment_has_its_own_level_whatever_production_has() {
    let autonomy = Autonomy {
        default: Level::L1,
        environments: [
            ("production", Level::L0),
            ("blue", Level::L4),
            ("test", Level::L4),
        ]
        .map(|(name, level)| (name.to_owned(), level))
        .into_iter()
        .collect(),
        ..Autonomy::default()
    };
    let table = [
        ("production", Level::L0),
        ("blue", Level::L3),
        ("test", Level::L4),
        ("green", Level::L0),
        ("dev", Level::L1),
    ];
    for (name, level) in table {
        let environment = policy::Environment::new(name).unwrap();
        assert_eq!(autonomy.at(&environment), level, "{name}");
    }
}

#[test]
fn rules_that_restrict_production_reach_it_under_every_name() {
    #[rustfmt::skip]
    let table = [
        // outcome            of            environment    what comes of it
        ("deny",             "production", "production",  "deny forbidden: rule `policy/p#rule` forbids it"),
        ("deny",             "production", "prod",        "deny forbidden: rule `policy/p#rule` forbids it"),
        ("deny",             "production", "staging",     "permit by policy/p#usual"),
        ("deny",             "staging",    "prod",        "permit by policy/p#usual"),
        ("require_approval", "production", "eu-1",        "ask by policy/p#rule"),
        ("require_approval", "production", "dev",         "permit by policy/p#usual"),
    ];
    let usual = json!({"name": "usual", "outcome": "permit"});
    let merge = |environment| action("git.merge", "repository/x", json!({}), environment, Effect::Write);
    for (outcome, of, environment, expected) in table {
        let rule = json!({"name": "rule", "outcome": outcome, "match": {"environments": [of]}});
        let rules = policies(json!([usual, rule]));
        let decision = decide(
            &chain(Level::L3, &["*:*"]),
            merge(environment),
            &context(),
            &rules,
        );
        assert_eq!(told(&decision), expected, "{outcome} {of} {environment}");
    }
    // A rule that permits says exactly where.
    let rules =
        policies(json!([{"outcome": "permit", "name": "rule", "match": {"environments": ["production"]}}]));
    let decision = decide(&chain(Level::L3, &["*:*"]), merge("prod"), &context(), &rules);
    assert_eq!(
        told(&decision),
        "deny no_rule: no rule permits it: without one only reads are permitted"
    );
}

#[test]
fn every_denial_says_what_would_change_it() {
    let rule = || RuleId("policy/p#r".to_owned());
    let shortfall = policy::Shortfall {
        rule: RuleId("policy/p#thresholds".to_owned()),
        class: policy::ActionClass::Email,
        least: 700,
        trust: 650,
    };
    #[rustfmt::skip]
    let table = [
        (Denial::NoAuthority, "no_authority", None,
         "nobody with authority stands behind this action",
         "act as a principal that exists and holds grants"),
        (Denial::NotGranted(Principal::agent("a")), "not_granted", None,
         "agent:a holds no grant that covers this action",
         "give agent:a a toolset whose grants cover the verb and the resource, and are not expired"),
        (Denial::Forbidden(rule(), String::new()), "forbidden", Some(rule()),
         "rule `policy/p#r` forbids it",
         "change rule `policy/p#r`, or ask for something it does not cover; no approval overrides it"),
        (Denial::Forbidden(rule(), "frozen".to_owned()), "forbidden", Some(rule()),
         "rule `policy/p#r` forbids it: frozen",
         "change rule `policy/p#r`, or ask for something it does not cover; no approval overrides it"),
        (Denial::ReadOnly(Level::L1), "read_only", None,
         "autonomy level L1 is read-only here",
         "raise the agent's autonomy in this environment to L2 or higher, and let a rule permit the action"),
        (Denial::Untrusted(450, Level::L3), "untrusted", None,
         "trust 450 is probationary, which holds level L3 at L1: read-only",
         "it takes tier standard, which begins at 500: `cofferdam trust show` says what is lacking; a tier that was lost \
          is given back by a person"),
        (Denial::Withheld(policy::Branch::parse("acme/sre").unwrap()), "withheld", None,
         "the policies of acme/sre permit other things and leave this to nobody below",
         "add a rule for it to a policy of acme/sre: every place that permits anything has to permit it"),
        (Denial::BelowThreshold(shortfall), "below_threshold", Some(RuleId("policy/p#thresholds".to_owned())),
         "trust 650 is below 700, the threshold of `policy/p#thresholds` for `email` actions",
         "it takes a score of 700: `cofferdam trust explain` says what moves it; no approval answers a threshold, which is \
          changed in `policy/p#thresholds`"),
        (Denial::NoRule, "no_rule", None,
         "no rule permits it: without one only reads are permitted",
         "add a rule that permits the action or requires approval for it"),
        (Denial::Unevaluable(rule(), "there is no `x`".to_owned()), "unevaluable", Some(rule()),
         "rule `policy/p#r` cannot be evaluated: there is no `x`",
         "mend the condition of rule `policy/p#r`: use `has` for what may be missing"),
    ];
    for (denial, code, rule, reason, remedy) in table {
        assert_eq!(denial.code(), code);
        assert_eq!(denial.rule(), rule.as_ref(), "{code}");
        assert_eq!(denial.reason(), reason, "{code}");
        assert_eq!(denial.remedy(), remedy, "{code}");
    }
}

#[test]
fn an_explanation_tells_every_grant_level_and_rule() {
    let rules = policies(json!([
        {"name": "effect", "outcome": "deny", "match": {"effects": ["read", "destructive"]}},
        {"name": "environment", "outcome": "deny", "match": {"environments": ["production"]}},
        {"name": "verb", "outcome": "deny", "match": {"verbs": ["http.*", "git.log"]}},
        {"name": "resource", "outcome": "deny", "match": {"resources": ["repository/identity"]}},
        {"name": "agent", "outcome": "deny", "match": {"agents": ["intern*"]}},
        {"name": "nothing", "outcome": "deny", "match": {"verbs": []}},
        {"name": "false", "outcome": "deny", "when": "taint"},
        {"name": "permit", "outcome": "permit", "match": {"verbs": ["git.*"]}, "reason": "merges are fine"},
        {"name": "ask", "outcome": "require_approval", "approvers": ["sre"]},
    ]));
    let chain = chain(Level::L3, &["*:*"]);
    let merge = action(
        "git.merge",
        "repository/patient",
        json!({}),
        "staging",
        Effect::Write,
    );
    let explained = explain(&chain, &merge, &context(), &rules);
    assert_eq!(explained.outcome, "require_approval");
    assert_eq!(explained.reason, "rule `policy/p#ask` requires approval");
    assert_eq!(explained.remedy, "approval by sre, within 600 seconds");
    let line = |line: &policy::Line| {
        let matched = if line.matched { "yes" } else { "no" };
        format!("{} {} {matched}: {}", line.step, line.subject, line.finding)
    };
    let lines: Vec<_> = explained.lines.iter().map(line).collect();
    let expected = [
        "grant toolset/all yes: agent:triage holds `*:*`",
        "level L3 yes: does write actions that a rule permits",
        "rule policy/p#agent no: agent is not one of intern*",
        "rule policy/p#ask yes: require_approval",
        "rule policy/p#effect no: effect is not one of read, destructive",
        "rule policy/p#environment no: environment is not one of production",
        "rule policy/p#false no: condition is false",
        "rule policy/p#nothing no: its list of verbs is empty",
        "rule policy/p#permit yes: permit: merges are fine",
        "rule policy/p#resource no: resource is not one of repository/identity",
        "rule policy/p#verb no: verb is not one of http.*, git.log",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_broken_rule_is_named_in_the_explanation_and_tells_no_argument() {
    let rules = policies(json!([
        {"name": "broken", "outcome": "permit", "when": "action.arguments[action.arguments.token] > action.arguments.token"},
        {"name": "types", "outcome": "permit", "when": "action.arguments.token + 1 == 2"},
    ]));
    let arguments = json!({"token": "hunter2"});
    let read = action(
        "git.log",
        "repository/patient",
        arguments,
        "staging",
        Effect::Read,
    );
    let chain = common::chain(Level::L3, &["*:*"]);
    let explained = explain(&chain, &read, &context(), &rules);
    let all = format!("{explained:?}{}", told(&decide(&chain, read, &context(), &rules)));
    assert!(
        all.contains("cannot be evaluated, which denies: there is no such member"),
        "{all}"
    );
    assert!(!all.contains("hunter2"), "{all}");
}

/// The outcome of a write by `worker`, whom `lead` and above it `root` delegated to, under a rule that permits
/// and one of this shape.
fn of_a_chain(names: &[&str], policy: Value) -> String {
    let mut chain = chain(Level::L4, &[]);
    let agent = |name: &&str| link(Principal::agent(name), Level::L4, &["*:*"]);
    chain.links = vec![link(Principal::person("alice"), Level::L4, &["*:*"])];
    chain.links.extend(names.iter().map(agent));
    let document: policy::PolicyDocument = serde_json::from_value(policy).unwrap();
    let rules = PolicySet::load(&[("p".to_owned(), document)]).unwrap();
    let merge = action("git.merge", "a", json!({}), "staging", Effect::Write);
    let explained = explain(&chain, &merge, &context(), &rules);
    let told = told(&decide(&chain, merge, &context(), &rules));
    assert_eq!(
        explained.outcome,
        told.replace("ask", "require_approval").split(' ').next().unwrap()
    );
    told
}

#[test]
fn what_a_condition_says_of_an_agent_it_says_of_the_whole_chain() {
    const NO_RULE: &str = "deny no_rule: no rule permits it: without one only reads are permitted";
    const DENIED: &str = "deny forbidden: rule `policy/p#r` forbids it";
    const BROKEN: &str = "deny unevaluable: rule `policy/p#r` cannot be evaluated: there is no such member";
    let (alone, chained): (&[&str], &[&str]) = (&["worker"], &["root", "lead", "worker"]);
    #[rustfmt::skip]
    let table = [
        // agents    outcome             condition                                               expected
        (alone,   "deny",             "agent == 'worker'",                                       DENIED),
        (alone,   "deny",             "agent == 'lead'",                                         "permit by policy/p#all"),
        (chained, "deny",             "agent == 'worker'",                                       DENIED),
        (chained, "deny",             "agent == 'lead'",                                         DENIED),
        (chained, "deny",             "agent == 'root'",                                         DENIED),
        (chained, "deny",             "agent == 'alice'",                                        "permit by policy/p#all"),
        (chained, "deny",             "agent == 'other'",                                        "permit by policy/p#all"),
        (chained, "deny",             "agent.startsWith('l') && action.effect == 'write'",       DENIED),
        (chained, "deny",             "action.effect == 'read' && agent == 'lead'",              "permit by policy/p#all"),
        (chained, "deny",             "'lead' in agents",                                        DENIED),
        (chained, "deny",             "agents.exists(a, a.startsWith('ro'))",                    DENIED),
        (chained, "deny",             "agents[0] == 'root' && agents[2] == 'worker' && size(agents) == 3", DENIED),
        (chained, "deny",             "'alice' in agents",                                       "permit by policy/p#all"),
        (chained, "deny",             "agent == 'lead' && agents[7] == 'x'",                     BROKEN),
        (chained, "require_approval", "agent == 'root'",                                         "ask by policy/p#r"),
        (chained, "require_approval", "agent == 'other'",                                        "permit by policy/p#all"),
    ];
    for (names, outcome, condition, expected) in table {
        let mut rules = vec![json!({"name": "all", "outcome": "permit"})];
        rules.push(json!({"name": "r", "outcome": outcome, "when": condition}));
        let told = of_a_chain(names, json!({ "rules": rules }));
        assert_eq!(told, expected, "{names:?} {outcome} {condition}");
        if !condition.contains("&&") && !condition.contains('(') {
            let rule = json!({"name": "r", "outcome": outcome, "condition": condition});
            let rules = json!({"rules": [{"name": "all", "outcome": "permit"}, rule]});
            assert_eq!(of_a_chain(names, rules), expected, "the dialect: {condition}");
        }
        if outcome == "deny" && condition.starts_with("agent == '") && !condition.contains("&&") {
            let body = condition.replace("agent", "input.agent").replace('\'', "\"");
            let rego = format!("package p\ndeny contains \"no\" if {body}\n");
            let told = of_a_chain(
                names,
                json!({"rules": [{"name": "all", "outcome": "permit"}], "rego": rego}),
            );
            assert_eq!(told.split(' ').next(), expected.split(' ').next(), "{rego}");
        }
    }
    #[rustfmt::skip]
    let permits = [
        (alone,   "agent == 'worker'",                 "permit by policy/p#r"),
        (chained, "agent == 'worker'",                 NO_RULE),
        (chained, "agent != 'other'",                  "permit by policy/p#r"),
        (chained, "agent != 'root'",                   NO_RULE),
        (chained, "'worker' in agents",                "permit by policy/p#r"),
        (chained, "agent in ['root', 'lead', 'worker']", "permit by policy/p#r"),
    ];
    for (names, condition, expected) in permits {
        let rule = json!({"name": "r", "outcome": "permit", "when": condition});
        assert_eq!(
            of_a_chain(names, json!({"rules": [rule]})),
            expected,
            "{names:?} {condition}"
        );
    }
}

#[test]
fn what_a_module_says_of_an_agent_it_says_of_the_whole_chain() {
    const DENIED: &str = "deny forbidden: rule `policy/p#rego` forbids it: ";
    #[rustfmt::skip]
    let table = [
        ("deny contains \"no\" if input.agent == \"lead\"",                             "no"),
        ("deny contains input.agent if input.agent != \"worker\"",                      "root; lead"),
        ("deny contains \"no\" if input[\"agent\"] == \"lead\"",                        "no"),
        ("deny contains \"no\" if {\n some k\n input[k] == \"lead\"\n}",                 "no"),
        ("import input as i\ndeny contains \"no\" if i.agent == \"root\"",              "no"),
        ("import input.agent as who\ndeny contains \"no\" if who == \"root\"",          "no"),
        ("deny contains \"no\" if \"lead\" in input.agents",                            "no"),
        ("deny contains \"no\" if input.agents == [\"root\", \"lead\", \"worker\"]",    "no"),
    ];
    for (body, expected) in table {
        let rego = format!("package p\n{body}\n");
        let told = of_a_chain(
            &["root", "lead", "worker"],
            json!({"rules": [{"name": "all", "outcome": "permit"}], "rego": rego}),
        );
        let mut reasons: Vec<&str> = told.strip_prefix(DENIED).unwrap_or(&told).split("; ").collect();
        let mut expected: Vec<&str> = expected.split("; ").collect();
        reasons.sort_unstable();
        expected.sort_unstable();
        assert_eq!(reasons, expected, "{body}");
    }
    for (body, expected) in [
        ("permit if input.agent == \"worker\"", "deny"),
        ("permit if input.agent != \"other\"", "permit"),
        ("permit if \"worker\" in input.agents", "permit"),
    ] {
        let rego = format!("package p\n{body}\n");
        let told = of_a_chain(&["root", "worker"], json!({ "rego": rego }));
        assert_eq!(told.split(' ').next(), Some(expected), "{body}");
    }
}
