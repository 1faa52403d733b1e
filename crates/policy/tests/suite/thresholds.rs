//! Thresholds of trust by what an action does: every class of every set, who is held to them, and how they are told.

use crate::common::{action, chain, context, link, told};
use policy::{
    ActionClass, Chain, Context, Effect, Level, Observed, Place, PolicyDocument, PolicySet, Principal,
    ThresholdSet, decide, explain, observe, tell,
};
use serde_json::{Value, json};

const EVERYTHING: &[&str] = &["*:*"];

/// Policies that permit everything, and those with these thresholds, by name.
fn set(thresholds: &[(&str, Value)]) -> PolicySet {
    let document = |value: Value| serde_json::from_value::<PolicyDocument>(value).unwrap();
    let permit = json!({"rules": [{"name": "all", "outcome": "permit"}]});
    let mut all = vec![("all".to_owned(), document(permit))];
    all.extend(
        thresholds
            .iter()
            .map(|(name, value)| ((*name).to_owned(), document(value.clone()))),
    );
    PolicySet::load(&all).unwrap()
}

fn trust(trust: u16) -> Context {
    Context { trust, ..context() }
}

fn agents_of(organizations: &[Option<&str>]) -> Chain {
    let mut chain = chain(Level::L4, &[]);
    chain.links = vec![link(Principal::person("alice"), Level::L4, EVERYTHING)];
    for (at, organization) in organizations.iter().enumerate() {
        let mut link = link(Principal::agent(&format!("a{at}")), Level::L4, EVERYTHING);
        link.place = organization.map(|name| Place::new(name, "default", "default").unwrap());
        chain.links.push(link);
    }
    chain
}

/// One action of each class, and one that two agents of one organization do.
fn samples() -> [(&'static str, Chain, policy::Action); 6] {
    let of = |verb, effect| action(verb, "thing/x", json!({}), "staging", effect);
    let alone = || agents_of(&[Some("acme")]);
    [
        ("read", alone(), of("git.log", Effect::Read)),
        ("write", alone(), of("git.commit", Effect::Write)),
        ("email", alone(), of("channel.post", Effect::Write)),
        ("deploy", alone(), of("app.deploy", Effect::Write)),
        (
            "cross_org",
            agents_of(&[Some("acme"), Some("beta")]),
            of("git.log", Effect::Read),
        ),
        ("admin", alone(), of("database.drop", Effect::Destructive)),
    ]
}

/// The least trust with which an action is not refused for lack of it, found by asking for every score.
fn least(chain: &Chain, action: &policy::Action, policies: &PolicySet) -> u16 {
    let refused = |score: &u16| {
        let said = tell(chain, action, &trust(*score), policies);
        said.code == Some("below_threshold")
    };
    (0..=1000).rev().find(refused).map_or(0, |score| score + 1)
}

#[test]
fn each_set_has_a_score_for_each_class() {
    let mut text = "class      conservative moderate permissive\n".to_owned();
    for (name, chain, action) in samples() {
        let found = ["conservative", "moderate", "permissive"].map(|name| {
            let policies = set(&[("caution", json!({"thresholds": {"set": name}}))]);
            least(&chain, &action, &policies)
        });
        let [conservative, moderate, permissive] = found;
        text += &format!("{name:<10} {conservative:<12} {moderate:<8} {permissive}\n");
    }
    // A level takes trust of its own: below 500 nothing but reads, so scores below that show for reads alone.
    assert_eq!(
        text,
        "\
class      conservative moderate permissive
read       300          200      100
write      600          0        0
email      700          600      0
deploy     800          700      0
cross_org  900          800      700
admin      950          900      800
"
    );
    let scores = ThresholdSet::Moderate.scores();
    assert_eq!(scores, [200, 500, 600, 700, 800, 900]);
    assert_eq!(ThresholdSet::Permissive.scores(), [100, 300, 400, 500, 700, 800]);
}

#[test]
fn an_action_takes_the_highest_score_of_all_that_it_does() {
    let conservative = json!({"set": "conservative"});
    #[rustfmt::skip]
    let table = [
        // what the row shows             thresholds                                        verb                effect               least
        ("no thresholds",                 Value::Null,                                      "app.deploy",       Effect::Write,       0),
        ("a write",                       conservative.clone(),                             "git.commit",       Effect::Write,       600),
        ("a read tells nobody",           conservative.clone(),                             "email.search",     Effect::Read,        300),
        ("a read deploys nothing",        conservative.clone(),                             "deploy.status",    Effect::Read,        300),
        ("a word within a verb",          conservative.clone(),                             "helm.roll-release", Effect::Write,      800),
        ("part of a word is none",        conservative.clone(),                             "shop.applyleave",  Effect::Write,       600),
        ("a mail is no write alone",      conservative.clone(),                             "mail.send",        Effect::Write,       700),
        ("who changes rights",            conservative.clone(),                             "iam.grant",        Effect::Write,       950),
        ("who reads rights",              conservative.clone(),                             "iam.list",         Effect::Read,        300),
        ("what destroys",                 conservative.clone(),                             "git.commit",       Effect::Destructive, 950),
        ("a score of its own",            json!({"set": "conservative", "write": 810}),     "git.commit",       Effect::Write,       810),
        ("a lower one of its own",        json!({"set": "conservative", "admin": 620}),     "git.commit",       Effect::Destructive, 620),
        ("a score without a set",         json!({"deploy": 750}),                           "app.deploy",       Effect::Write,       750),
        ("nothing is said of the rest",   json!({"deploy": 750}),                           "mail.send",        Effect::Write,       0),
        ("a verb is said to be a class",  json!({"set": "conservative", "verbs": {"ansible.*": "deploy"}}), "ansible.run", Effect::Write, 800),
        ("and stays what it is",          json!({"set": "conservative", "verbs": {"mail.*": "write"}}), "mail.send", Effect::Write,   700),
        ("another verb is not",           json!({"set": "conservative", "verbs": {"ansible.*": "deploy"}}), "puppet.run", Effect::Write, 600),
    ];
    for (name, thresholds, verb, effect, expected) in table {
        let policies = match thresholds {
            Value::Null => set(&[]),
            thresholds => set(&[("caution", json!({ "thresholds": thresholds }))]),
        };
        let action = action(verb, "thing/x", json!({}), "staging", effect);
        assert_eq!(
            least(&agents_of(&[Some("acme")]), &action, &policies),
            expected,
            "{name}"
        );
    }
}

#[test]
fn who_is_of_another_organization() {
    let policies = set(&[("caution", json!({"thresholds": {"cross_org": 900}}))]);
    let read = action("git.log", "thing/x", json!({}), "staging", Effect::Read);
    #[rustfmt::skip]
    let table: [(&str, &[Option<&str>], u16); 5] = [
        ("alone",                           &[Some("acme")],               0),
        ("alone, and nobody knows where",   &[None],                       0),
        ("two of one",                      &[Some("acme"), Some("acme")], 0),
        ("two of two",                      &[Some("acme"), Some("beta")], 900),
        ("two, and nobody knows of one",    &[Some("acme"), None],         900),
    ];
    for (name, organizations, expected) in table {
        assert_eq!(
            least(&agents_of(organizations), &read, &policies),
            expected,
            "{name}"
        );
    }
    assert_eq!(
        least(&agents_of(&[None, None]), &read, &policies),
        900,
        "nor of both"
    );
}

#[test]
fn a_refusal_names_the_threshold_and_the_score() {
    let conservative = json!({"thresholds": {"set": "conservative"}});
    let beside = json!({"thresholds": {"write": 650}});
    let elsewhere = PolicyDocument {
        place: policy::Branch::parse("beta").unwrap(),
        ..serde_json::from_value(json!({"thresholds": {"read": 1000}})).unwrap()
    };
    let observed = json!({"thresholds": {"write": 999}, "mode": "observe"});
    let commit = action("git.commit", "thing/x", json!({}), "staging", Effect::Write);
    let alone = agents_of(&[Some("acme")]);
    #[rustfmt::skip]
    let table = [
        // trust  policies                                                            expected
        (620, vec![("caution", conservative.clone())],                                "ask: trust 620 is standard, so level L2 instead of L4 asks for each write action"),
        (599, vec![("caution", conservative.clone())],                                "deny below_threshold: trust 599 is below 600, the threshold of `policy/caution#thresholds` for `write` actions"),
        (450, vec![("caution", conservative.clone())],                                "deny untrusted: trust 450 is probationary, which holds level L4 at L1: read-only"),
        (599, vec![("a", conservative.clone()), ("b", beside.clone())],               "deny below_threshold: trust 599 is below 650, the threshold of `policy/b#thresholds` for `write` actions"),
        (900, vec![("o", observed.clone())],                                          "permit by policy/all#all"),
    ];
    for (score, thresholds, expected) in table {
        let policies = set(&thresholds);
        let decision = decide(&alone, commit.clone(), &trust(score), &policies);
        let explained = explain(&alone, &commit, &trust(score), &policies);
        assert_eq!(told(&decision), expected, "{score} {thresholds:?}");
        assert!(
            expected.starts_with(&explained.outcome.replace("require_approval", "ask")),
            "{explained:?}"
        );
    }
    let all = [
        (
            "caution".to_owned(),
            serde_json::from_value(conservative).unwrap(),
        ),
        ("elsewhere".to_owned(), elsewhere),
        ("watched".to_owned(), serde_json::from_value(observed).unwrap()),
    ];
    let policies = PolicySet::load(&all).unwrap();
    let explained = explain(&alone, &commit, &trust(599), &policies);
    let lines = explained.lines.iter().filter(|line| line.step == "trust");
    let lines: Vec<_> = lines
        .map(|line| format!("{} {}: {}", line.subject, line.matched, line.finding))
        .collect();
    assert_eq!(
        lines,
        [
            "policy/caution#thresholds true: `write` actions take 600: trust is 599, which denies",
            "policy/elsewhere#thresholds false: beta: is for agents of another place",
            "policy/watched#thresholds true: `write` actions take 999: trust is 599, which denies (only observed)",
        ]
    );
    assert_eq!(
        explained.remedy,
        "it takes a score of 600: `cofferdam trust explain` says what moves it; no approval answers a threshold, which is \
         changed in `policy/caution#thresholds`"
    );
    let Some(Observed { outcome, said }) = observe(&alone, &commit, &trust(900), &policies) else {
        panic!("nothing observed")
    };
    assert_eq!((outcome.as_str(), said.len()), ("deny", 1));
    assert!(said[0].reason.starts_with("trust 900 is below 999"), "{said:?}");
}

/// An approval answers questions of rules and levels, and a sandbox lifts the cap of a level; neither is trust.
#[test]
fn neither_an_approval_nor_a_sandbox_answers_a_threshold() {
    let policies = set(&[("caution", json!({"thresholds": {"set": "conservative"}}))]);
    let commit = action("git.commit", "thing/x", json!({}), "test", Effect::Write);
    let mut chain = agents_of(&[Some("acme")]);
    for link in &mut chain.links {
        link.autonomy.sandboxes.insert("test".to_owned());
    }
    let approved = Context {
        approval: Some(policy::Approved {
            id: "apr-1".to_owned(),
            by: vec!["bob".to_owned()],
            ..policy::Approved::default()
        }),
        ..trust(599)
    };
    let said = tell(&chain, &commit, &approved, &policies);
    assert_eq!(
        said.reason,
        "trust 599 is below 600, the threshold of `policy/caution#thresholds` for `write` actions"
    );
    assert_eq!(tell(&chain, &commit, &trust(600), &policies).code, None);
}

#[test]
fn what_is_no_threshold_is_refused_where_it_stands() {
    let load = |value: Value| match serde_json::from_value::<PolicyDocument>(value) {
        Ok(document) => match PolicySet::load(&[("p".to_owned(), document)]) {
            Ok(_) => "loads".to_owned(),
            Err(error) => format!("{}: {error}", error.pointer()),
        },
        Err(error) => error.to_string(),
    };
    #[rustfmt::skip]
    let table = [
        (json!({"thresholds": {"set": "moderate"}}),              "loads"),
        (json!({"thresholds": {}}),                               "/spec/thresholds: rule `policy/p#thresholds`: thresholds that set no score: name a set (conservative, moderate, permissive) or scores"),
        (json!({"thresholds": {"write": 1001}}),                  "/spec/thresholds: rule `policy/p#thresholds`: 1001 is no score: use 0 to 1000"),
        (json!({"thresholds": {"write": 1, "verbs": {"a*b": "email"}}}), "/spec/thresholds: rule `policy/p#thresholds`: `a*b` is no pattern of verbs: a `*` stands at its end alone"),
        (json!({"thresholds": {"write": 1}, "rules": [{"name": "thresholds", "outcome": "deny"}]}),
         "/spec/thresholds: rule `policy/p#thresholds`: the name `thresholds` is kept for thresholds; use another"),
        (json!({"thresholds": {"set": "brave"}}),                 "unknown variant `brave`, expected one of `conservative`, `moderate`, `permissive`"),
        (json!({"thresholds": {"delete": 1}}),                    "unknown field `delete`, expected one of `set`, `read`, `write`, `email`, `deploy`, `cross_org`, `admin`, `verbs`"),
    ];
    for (document, expected) in table {
        assert_eq!(load(document), expected);
    }
    let names = ActionClass::ALL.map(ActionClass::as_str);
    assert_eq!(names, ["read", "write", "email", "deploy", "cross_org", "admin"]);
}
