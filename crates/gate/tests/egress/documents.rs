//! `Egress` documents: what they give, and what is refused at its place.

use crate::world::document;
use gate::egress::spec::EgressSpec;
use serde_json::{Value, json};

fn check(rule: Value) -> String {
    let spec = json!({ "agents": ["guest"], "rules": [rule] });
    let spec: Result<EgressSpec, _> = serde_json::from_value(spec);
    match spec.map(|spec| spec.compile("test")) {
        Err(error) => error.to_string(),
        Ok(Ok(document)) => {
            let grants = document.grants.iter().map(|grant| grant.capability.to_string());
            grants.collect::<Vec<_>>().join(" ")
        }
        Ok(Err(wrong)) => wrong
            .iter()
            .map(|(at, what)| format!("{at}: {what}"))
            .collect::<Vec<_>>()
            .join(" | "),
    }
}

#[test]
fn rules_become_grants() {
    #[rustfmt::skip]
    let table = [
        (json!({ "name": "a", "hosts": ["api.example.com"] }),                            "connect:api.example.com:443"),
        (json!({ "name": "a", "hosts": ["*.example.com"], "ports": [443, 8443] }),        "connect:*.example.com:443 connect:*.example.com:8443"),
        (json!({ "name": "a", "networks": ["10.0.0.0/8"], "ports": [22], "tls": false }), "connect:10.0.0.0/8/*"),
        (json!({ "name": "a", "hosts": ["10.0.0.1", "[fd00::1]"] }),                      "connect:10.0.0.1:443 connect:[fd00::1]:443"),
        (json!({ "name": "a", "hosts": ["h.test"], "inspect": true }),                    "http.get:https://h.test/*"),
        (json!({ "name": "a", "hosts": ["h.test"], "inspect": true, "methods": ["GET", "POST"], "paths": ["/v1/x"] }),
            "http.get:https://h.test/v1/x/* http.get:https://h.test/v1/x http.request:https://h.test/v1/x/* http.request:https://h.test/v1/x"),
        (json!({ "name": "a", "hosts": ["h.test"], "ports": [80], "clearText": true }),   "http.get:http://h.test/*"),
        (json!({ "name": "a", "hosts": ["h.test"], "ports": [80], "clearText": true, "methods": ["PUT"] }), "http.request:http://h.test/*"),
    ];
    for (rule, expected) in table {
        assert_eq!(check(rule.clone()), expected, "{rule}");
    }
}

#[test]
fn what_is_wrong_is_told_at_its_place() {
    #[rustfmt::skip]
    let table = [
        (json!({ "name": "a", "hosts": [] }),                                "/rules/0/hosts: names no host"),
        (json!({ "name": "a b", "hosts": ["h.test"] }),                      "/rules/0/name: `a b` is not a name: use 1 to 63 letters, digits, `-`, `_`"),
        (json!({ "name": "a", "hosts": ["*"] }),                             "/rules/0/hosts/0: `*`: the host is no name: use letters, digits and `-` between single dots"),
        (json!({ "name": "a", "hosts": ["*.com"] }),                         "/rules/0/hosts/0: `*.com` would be half of the Internet; name a domain"),
        (json!({ "name": "a", "hosts": ["a.*.com"] }),                       "/rules/0/hosts/0: `a.*.com`: the host is no name: use letters, digits and `-` between single dots"),
        (json!({ "name": "a", "hosts": ["bob.ex*ample.com"] }),              "/rules/0/hosts/0: `bob.ex*ample.com`: the host is no name: use letters, digits and `-` between single dots"),
        (json!({ "name": "a", "hosts": ["https://h.test"] }),                "/rules/0/hosts/0: `https://h.test`: the host holds a part of a path"),
        (json!({ "name": "a", "hosts": ["0x7f.1"] }),                        "/rules/0/hosts/0: `0x7f.1`: the host is 127.0.0.1 in an odd spelling: `0x7f.1` is a loopback address"),
        (json!({ "name": "a", "hosts": ["h.test"], "ports": [0] }),          "/rules/0/ports: name at least one port, from 1 to 65535"),
        (json!({ "name": "a", "hosts": ["h.test"], "networks": ["10.0.0.1/8"] }), "/rules/0/networks/0: `10.0.0.1/8` is not a network: it has bits past its prefix"),
        (json!({ "name": "a", "hosts": ["*.h.test"], "inspect": true }),     "/rules/0/hosts/0: what is seen is named host by host; `*.` is for tunnels"),
        (json!({ "name": "a", "networks": ["10.0.0.0/8"], "inspect": true }), "/rules/0/hosts: names no host"),
        (json!({ "name": "a", "hosts": ["h.test"], "inspect": true, "paths": ["v1"] }), "/rules/0/paths/0: `v1` has to begin with `/`"),
        (json!({ "name": "a", "hosts": ["h.test"], "inspect": true, "methods": ["get"] }), "/rules/0/methods: `get` is not a method of requests"),
        (json!({ "name": "a", "hosts": ["h.test"], "inspect": true, "methods": ["CONNECT"] }), "/rules/0/methods: `CONNECT` is not a method of requests"),
        (json!({ "name": "a", "hosts": ["h.test"], "inspect": true, "encryptedHello": true }), "/rules/0/encryptedHello: is of a tunnel; what is inspected hides nothing"),
    ];
    for (rule, expected) in table {
        assert_eq!(check(rule.clone()), expected, "{rule}");
    }
    assert!(check(json!({ "name": "a", "host": "x" })).starts_with("unknown field `host`"));
}

#[test]
fn what_changes_something_is_opted_in_to_and_reading_needs_no_rule() {
    let rules = json!([
        { "name": "t", "hosts": ["a.test", "*.b.test"] },
        { "name": "s", "hosts": ["c.test"], "inspect": true, "methods": ["GET", "POST"] },
    ]);
    let policy = document(&json!({ "agents": ["guest"], "rules": rules }))
        .policy
        .unwrap();
    let said: Vec<Value> = policy
        .rules
        .iter()
        .map(|rule| json!([rule.matching.verbs, rule.matching.resources, rule.when]))
        .collect();
    assert_eq!(
        json!(said),
        json!([
            [["connect"], ["a.test:443"], null],
            [["connect"], null, "action.resource.endsWith('.b.test:443')"],
            [["http.request"], ["https://c.test/*"], null],
        ])
    );
    assert!(policy.built_in, "it withholds nothing from others");
    for rule in &policy.rules {
        let of = json!([rule.matching.agents, rule.matching.environments]);
        assert_eq!(of, json!([["guest"], ["production"]]));
    }
    let reading = json!([{ "name": "s", "hosts": ["c.test"], "inspect": true }]);
    assert_eq!(
        document(&json!({ "agents": ["guest"], "rules": reading })).policy,
        None
    );
}
