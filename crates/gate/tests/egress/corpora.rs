//! Cases of others, decided as they are labelled: `COFFERDAM_CORPORA` says where they are; without it this says so.

use crate::world::{World, rules};
use assay::address::{Class, Network};
use assay::target::{Host, Target, TargetError};
use gate::egress::spec::EgressSpec;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::PathBuf;

fn corpus(path: &str) -> Option<String> {
    let Some(corpora) = std::env::var_os("COFFERDAM_CORPORA") else {
        eprintln!("COFFERDAM_CORPORA is not set: skipped");
        return None;
    };
    std::fs::read_to_string(PathBuf::from(corpora).join("egress").join(path)).ok()
}

fn cases() -> Vec<Value> {
    let text = corpus("lists/egress_cases.jsonl").unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What smokescreen's tests configure: networks that are allowed and denied, by port.
async fn as_smokescreen() -> World {
    let names = json!({
        "name": "one", "hosts": ["a.test"], "ports": [1], "tls": false,
        "networks": ["8.8.9.0/24", "172.16.1.0/24", "192.168.1.0/24", "127.0.1.1/32"], "exceptNetworks": ["1.1.1.1/32"],
    });
    let port = json!({
        "name": "other", "hosts": ["b.test"], "ports": [321], "tls": false, "networks": ["10.0.0.1/32"],
        "exceptNetworks": ["8.8.8.8/32"],
    });
    let own = json!({
        "name": "own", "hosts": ["c.test"], "ports": [4750], "tls": false, "networks": ["127.0.0.0/8", "192.168.0.0/16"],
    });
    let world = World::new(rules(json!([names, port, own]))).await;
    for address in ["127.0.0.1:4750", "192.168.1.100:4750"] {
        world.egress.add_own(address.parse().unwrap());
    }
    world
}

#[tokio::test]
async fn addresses_are_judged_as_smokescreen_judges_them() {
    let world = as_smokescreen().await;
    let mut judged = 0;
    for case in cases().iter().filter(|case| case["kind"] == "ip:port") {
        let (address, port) = (case["value"].as_str().unwrap(), case["port"].as_u64().unwrap());
        let host = match port {
            1 => "a.test",
            321 => "b.test",
            _ => "c.test",
        };
        world.names.set(host, &[&[address]]);
        let tested = world
            .egress
            .test("guest", &format!("{host}:{port}"))
            .await
            .unwrap();
        let allowed = case["verdict"].as_str().unwrap().starts_with("ipAllow");
        assert_eq!(tested.allowed, allowed, "{case} {tested:?}");
        judged += 1;
    }
    assert!(judged == 27 || cases().is_empty(), "{judged}");
}

/// Where ours is stricter it refuses what is read there, and knows it as the same host.
#[test]
fn hosts_and_ports_are_read_as_smokescreen_reads_them() {
    let mut stricter = 0;
    for case in cases().iter().filter(|case| case["kind"] == "hostport-parse") {
        let text = case["value"].as_str().unwrap();
        let (host, port, error) = (&case["host"], &case["port"], case["error"].as_str().unwrap());
        match Target::parse(text) {
            Ok(target) => {
                let read = target.host.to_string();
                let read = read.trim_matches(['[', ']']);
                assert_eq!(
                    (read, target.port.to_string().as_str()),
                    (host.as_str().unwrap(), port.as_str().unwrap())
                );
                assert_eq!(error, "", "{case}");
            }
            Err(TargetError::NotAscii(name)) => {
                assert_eq!((name.as_str(), error), (host.as_str().unwrap(), ""));
                stricter += 1;
            }
            Err(TargetError::Dot) => {
                assert_eq!(
                    (text.rsplit_once(':').unwrap().0, error),
                    (host.as_str().unwrap(), "")
                );
                stricter += 1;
            }
            Err(refused) => assert!(
                !error.is_empty() && refused.to_string().contains(error),
                "{case}: {refused}"
            ),
        }
    }
    assert!(stricter == 3 || cases().is_empty(), "{stricter}");
}

#[test]
fn every_network_that_others_deny_is_closed() {
    for case in cases().iter().filter(|case| case["kind"] == "cidr") {
        let network = Network::parse(case["value"].as_str().unwrap()).unwrap();
        for address in [network.first(), network.last()] {
            assert_ne!(Class::of(address), Class::Public, "{case}: {address}");
        }
    }
}

/// The URLs of payload lists. Without a document everything is denied, as they are labelled. And with one that lets
/// every host name in them through, whatever is an attack by its address or its spelling still is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_of_payload_lists_are_denied() {
    let empty = World::new(rules(json!([]))).await;
    let cases: Vec<Value> = cases().into_iter().filter(|case| case["kind"] == "url").collect();
    let mut hosts = std::collections::BTreeSet::new();
    for case in &cases {
        let url = case["value"].as_str().unwrap();
        assert_eq!(case["verdict"], "deny");
        for request in [absolute(url), connect(url)].into_iter().flatten() {
            let said = empty.verdict(&request).await;
            assert!(
                ["403 not_granted", "400 malformed", "429 flood"].contains(&said.as_str()),
                "{url}: {said}"
            );
        }
        if let Some(Host::Name(name)) = authority(url)
            .and_then(|text| Target::parse_with(text, 80).ok())
            .map(|t| t.host)
        {
            hosts.insert(name);
        }
    }
    assert_eq!(empty.bodies("action.permitted").len(), 0);
    let hosts: Vec<String> = hosts.into_iter().collect();
    if cases.is_empty() {
        return;
    }
    let everything = json!({ "name": "all", "hosts": hosts, "ports": [80, 443, 22, 25], "tls": false });
    let world = World::new(rules(json!([everything]))).await;
    // These lead where attacks want them to.
    for (name, address) in [
        ("localhost", "127.0.0.1"),
        ("ip6-loopback", "::1"),
        ("metadata.google.internal", "169.254.169.254"),
        ("instance-data", "169.254.169.254"),
        ("rancher-metadata", "169.254.169.250"),
        ("metadata.packet.net", "192.80.8.124"),
    ] {
        world.names.set(name, &[&[address]]);
    }
    for case in &cases {
        let url = case["value"].as_str().unwrap();
        let Some(authority) = authority(url) else { continue };
        let Ok(target) = Target::parse_with(authority, 80) else {
            continue;
        };
        let is_attack = match &target.host {
            Host::Address(_) => true,
            Host::Name(name) => [
                "localhost",
                "ip6-loopback",
                "metadata.google.internal",
                "instance-data",
                "rancher-metadata",
            ]
            .contains(&name.as_str()),
        };
        if is_attack {
            let tested = world.egress.test("guest", &target.to_string()).await.unwrap();
            assert!(!tested.allowed, "{url}: {tested:?}");
        }
    }
}

fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#'])
        .next()
        .filter(|authority| !authority.is_empty())
}

fn absolute(url: &str) -> Option<Vec<u8>> {
    let host = authority(url)?;
    Some(format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes())
}

fn connect(url: &str) -> Option<Vec<u8>> {
    let host = authority(url)?;
    let target = if host.contains(':') && !host.ends_with(']') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Some(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").into_bytes())
}

/// Whatever browsers take for an address is an address for us, or nothing; never a name.
#[test]
fn what_the_standard_takes_for_an_address_is_never_a_name() {
    let Some(text) = corpus("rust-url-wpt/urltestdata.json") else {
        return;
    };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut addresses = 0;
    for case in cases.iter().filter(|case| case.is_object()) {
        let (Some(input), Some(hostname)) = (case["input"].as_str(), case["hostname"].as_str()) else {
            continue;
        };
        let Some(written) = authority(input) else { continue };
        let is_address = hostname.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let written = written.rsplit_once('@').map_or(written, |(_, host)| host);
        match Target::parse_with(written, 80).map(|target| target.host) {
            Ok(Host::Name(name)) => {
                assert!(!is_address, "{input} is {hostname}");
                // One that is read is read as the same.
                if ["http:", "https:"].contains(&case["protocol"].as_str().unwrap_or_default()) {
                    assert_eq!(name, hostname, "{input}");
                }
            }
            Ok(Host::Address(address)) => {
                assert_eq!(
                    hostname.trim_matches(['[', ']']).parse().ok(),
                    Some(address),
                    "{input}"
                );
                addresses += 1;
            }
            Err(_) => {}
        }
    }
    assert!(addresses > 0);
}

/// smokescreen's lists of allowed hosts: what it takes we take, and what it refuses we refuse.
#[test]
fn lists_of_smokescreen_are_read() {
    let folder = "smokescreen/pkg/smokescreen/acl/v1/testdata";
    for (file, fits) in [
        ("sample_config.yaml", true),
        ("sample_config_with_global.yaml", true),
        ("mitm_config.yaml", true),
        ("contains_middle_glob.yaml", false),
        ("contains_invalid_glob.yaml", false),
        ("contains_invalid_glob_default.yaml", false),
    ] {
        let Some(text) = corpus(&format!("{folder}/{file}")) else {
            continue;
        };
        let hosts: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter_map(|line| line.strip_prefix("- "))
            .filter(|line| !line.contains(": "))
            .map(|line| line.split(" #").next().unwrap_or(line).trim().trim_matches('"'))
            .collect();
        let spec = json!({ "agents": ["guest"], "rules": [{ "name": "a", "hosts": hosts }] });
        let spec: EgressSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(spec.compile("a").is_ok(), fits, "{file}: {hosts:?}");
    }
}
