//! The grammar of capabilities as tables, and the relation "covers" against what it means: every action
//! of the narrower one is an action of the wider one.

use crate::common::{action, context};
use policy::{Action, Capability, Effect, Grant};
use proptest::prelude::*;
use serde_json::json;

fn read(verb: &str, resource: &str, environment: &str) -> Action {
    action(verb, resource, json!({}), environment, Effect::Read)
}

#[test]
fn capabilities_cover_actions_by_whole_segments() {
    #[rustfmt::skip]
    let table = [
        // capability                     verb         resource                     environment    covered
        ("read:data",                     "read",      "data",                      "production",  true),
        ("read:data",                     "read",      "database",                  "production",  false),
        ("read:data",                     "read",      "data/users",                "production",  false),
        ("read:data/*",                   "read",      "data/users",                "production",  true),
        ("read:data/*",                   "read",      "data/users/7",              "production",  true),
        ("read:data/*",                   "read",      "data",                      "production",  false),
        ("read:data/*",                   "read",      "database/users",            "production",  false),
        ("read:*",                        "read",      "anything/at/all",           "production",  true),
        ("read:*",                        "reads",     "anything",                  "production",  false),
        ("git.*:repository/a",            "git.log",   "repository/a",              "production",  true),
        ("git.*:repository/a",            "github",    "repository/a",              "production",  false),
        ("git.*:repository/a",            "git",       "repository/a",              "production",  false),
        ("*:*",                           "db.drop",   "db/1",                      "production",  true),
        ("deploy:web:staging",            "deploy",    "web",                       "staging",     true),
        ("deploy:web:staging",            "deploy",    "web",                       "production",  false),
        ("deploy:web:*",                  "deploy",    "web",                       "production",  true),
        ("deploy:production",             "deploy",    "production",                "staging",     true),
        ("http.get:http://h:8080/*",      "http.get",  "http://h:8080/x",           "production",  true),
        ("http.get:http://h:8080",        "http.get",  "http://h:8080",             "production",  true),
        ("http.get:http://h:8080/*:staging", "http.get", "http://h:8080/x",         "production",  false),
        ("http.get:http://[::1]:80/*",    "http.get",  "http://[::1]:80/x",         "production",  true),
        ("http.get:http://h/v1/x:y:*",    "http.get",  "http://h/v1/x:y",           "production",  true),
        ("connect:*.example.com:443",     "connect",   "api.example.com:443",       "production",  true),
        ("connect:*.example.com:443",     "connect",   "a.b.example.com:443",       "production",  true),
        ("connect:*.example.com:443",     "connect",   "example.com:443",           "production",  false),
        ("connect:*.example.com:443",     "connect",   ".example.com:443",          "production",  false),
        ("connect:*.example.com:443",     "connect",   "evilexample.com:443",       "production",  false),
        ("connect:*.example.com:443",     "connect",   "api.example.com:22",        "production",  false),
        ("connect:*.example.com:443",     "connect",   "evil.org/a.example.com:443", "production", false),
        ("connect:*.example.com:443",     "connect",   "u@a.example.com:443",       "production",  false),
    ];
    for (text, verb, resource, environment, expected) in table {
        let capability = Capability::parse(text).unwrap_or_else(|| panic!("`{text}` is a capability"));
        let covered = capability.covers(&read(verb, resource, environment));
        assert_eq!(
            covered, expected,
            "`{text}` and {verb} of {resource} in {environment}"
        );
        assert_eq!(
            Capability::parse(&capability.to_string()),
            Some(capability),
            "`{text}` comes back"
        );
    }
}

#[test]
fn what_is_no_capability_is_refused() {
    #[rustfmt::skip]
    let table = [
        "", ":", "read", "read:", ":data", "*", "read:da*", "re*:data", "read:*/data", "read:data/*/x",
        "read:**", "read:data*", "git.l*:repository/a", "Read:data", "re ad:data", "read:\u{7}", "read:a\nb",
    ];
    for text in table {
        assert_eq!(Capability::parse(text), None, "{text:?}");
    }
    assert_eq!(Capability::new("read", &"x".repeat(1025)), None);
    let staging = Capability::parse("deploy:web:staging").unwrap();
    assert_eq!(
        staging.clone().within("production"),
        None,
        "one environment is not another"
    );
    assert_eq!(staging.clone().within("staging"), Some(staging));
}

#[test]
fn grants_without_resource_or_end_are_found() {
    let grant = |text: &str, until| Grant {
        capability: Capability::parse(text).unwrap(),
        from: "toolset/t".to_owned(),
        until,
    };
    let end = Some(context().now.plus_ms(1000));
    #[rustfmt::skip]
    let table = [
        ("git.log:repository/a", end, vec![]),
        ("git.log:repository/a", None, vec!["`git.log:repository/a` from toolset/t has no end"]),
        ("git.log:*",            end, vec!["`git.log:*` from toolset/t covers every resource"]),
        ("*:repository/a",       end, vec!["`*:repository/a` from toolset/t covers every verb"]),
    ];
    for (text, until, expected) in table {
        assert_eq!(grant(text, until).warnings(), expected, "{text}");
    }
}

/// Segments few enough for capabilities to meet, and one that only witnesses use.
const SEGMENTS: [&str; 3] = ["a", "ab", "b"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "dev"];

/// A path of segments and whether everything below it is meant.
fn path() -> impl Strategy<Value = (Vec<&'static str>, bool)> {
    let segments = prop::collection::vec(prop::sample::select(&SEGMENTS[..]), 0..3);
    (segments, any::<bool>()).prop_map(|(segments, star)| {
        let star = star || segments.is_empty();
        (segments, star)
    })
}

type Parts = (
    (Vec<&'static str>, bool),
    (Vec<&'static str>, bool),
    Option<&'static str>,
);

fn parts() -> impl Strategy<Value = Parts> {
    let environment = prop::option::of(prop::sample::select(&ENVIRONMENTS[..]));
    (path(), path(), environment)
}

fn written(((verb, any_verb), (resource, any_resource), environment): &Parts) -> Capability {
    let join = |segments: &[&str], star: bool, separator: &str| {
        let mut all = segments.to_vec();
        if star {
            all.push("*");
        }
        all.join(separator)
    };
    let capability = Capability::new(&join(verb, *any_verb, "."), &join(resource, *any_resource, "/"));
    let capability = capability.unwrap();
    match environment {
        Some(environment) => capability.within(environment).unwrap(),
        None => capability,
    }
}

/// What the grammar says, segment by segment.
fn naive(parts: &Parts, verb: &[&str], resource: &[&str], environment: &str) -> bool {
    let covers = |(segments, star): &(Vec<&str>, bool), of: &[&str]| {
        if *star {
            of.len() > segments.len() && of.starts_with(segments)
        } else {
            of == segments.as_slice()
        }
    };
    covers(&parts.0, verb) && covers(&parts.1, resource) && parts.2.is_none_or(|own| own == environment)
}

/// Every path of up to three segments, one of them known to no capability.
fn paths() -> Vec<Vec<&'static str>> {
    let alphabet = ["a", "ab", "b", "z"];
    let mut all: Vec<Vec<&str>> = alphabet.map(|one| vec![one]).to_vec();
    for length in 1..3 {
        let longest: Vec<_> = all.iter().filter(|path| path.len() == length).cloned().collect();
        for path in longest {
            all.extend(alphabet.map(|next| [path.as_slice(), &[next]].concat()));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_capability_covers_another_just_when_it_covers_each_of_its_actions(wide in parts(), narrow in parts()) {
        let (outer, inner) = (written(&wide), written(&narrow));
        let mut subset = true;
        let all = paths();
        // Verbs and resources are judged apart, so a pair of lists holds every witness.
        for verb in &all {
            for resource in all.iter().filter(|path| path.len() <= 2 || path[2] == "z") {
                for environment in ENVIRONMENTS {
                    if naive(&narrow, verb, resource, environment) && !naive(&wide, verb, resource, environment) {
                        subset = false;
                    }
                }
            }
        }
        prop_assert_eq!(outer.covers_capability(&inner), subset, "{} and {}", outer, inner);
        prop_assert_eq!(Capability::parse(&outer.to_string()), Some(outer));
    }

    #[test]
    fn a_capability_covers_what_the_grammar_says(
        held in parts(),
        verb in prop::sample::select(paths()),
        resource in prop::sample::select(paths()),
        environment in prop::sample::select(&ENVIRONMENTS[..]),
    ) {
        let action = read(&verb.join("."), &resource.join("/"), environment);
        let expected = naive(&held, &verb, &resource, environment);
        prop_assert_eq!(written(&held).covers(&action), expected);
    }
}
