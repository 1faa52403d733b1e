//! What a session asked of the network, as the narrowest `Egress` that would let it through. Pure but for the reading.
//!
//! Hosts, ports, methods and paths as they were asked for, permitted or not; nothing is made wider but paths, where
//! there are too many to name.

use super::meaning;
use super::spec::{EgressRule, EgressSpec, Limits};
use crate::sessions::each_entry;
use crate::{Gate, SessionError};
use assay::target::Target;
use journal::kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use store::Erasable;
use url::Url;

/// Most rules of a document that is learned.
const RULES_MAX: usize = 100;
/// Most paths that a rule names one by one.
const PATHS_MAX: usize = 8;
/// The port on which everything is TLS.
const HTTPS: u16 = 443;

/// What was learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// The document's `spec`; of no agent when it has no rules.
    pub spec: EgressSpec,
    /// Tunnels among it, as `HOST:PORT`.
    pub targets: Vec<String>,
    /// Rules that there would have been besides.
    pub left_out: usize,
}

/// One use of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Tunnel(Target),
    Request(Url, String),
}

/// How a host was asked for requests that are seen.
#[derive(Debug, Default)]
struct Requests {
    methods: BTreeSet<String>,
    paths: BTreeSet<String>,
}

impl Gate {
    /// What `session` asked of the network so far, permitted or denied, for an agent called `agent`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn learned(&self, session: &str, agent: &str, environment: &str) -> Result<Learned, SessionError> {
        let session = self.session(session)?;
        let mut uses = Vec::new();
        self.store.read(|reader| {
            each_entry(reader, &session, |entry| {
                if ![kind::ACTION_PERMITTED, kind::ACTION_DENIED].contains(&entry.kind.as_str()) {
                    return Ok(());
                }
                let arguments = match reader.payload(entry.sequence, "arguments")? {
                    Erasable::Present(arguments) => arguments,
                    Erasable::Erased | Erasable::Absent => Value::Null,
                };
                uses.extend(used(&entry.body, &arguments));
                Ok(())
            })
        })?;
        Ok(document(&uses, agent, environment))
    }
}

/// What an action asked of the network, if it did.
fn used(body: &Value, arguments: &Value) -> Option<Use> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let (verb, resource) = (text("verb")?, text("resource")?);
    match verb {
        // One in a network is called after it: `10.0.0.0/8/10.1.2.3:443`.
        "connect" => {
            let target = resource.rsplit('/').next()?;
            Target::parse(target).ok().map(Use::Tunnel)
        }
        "http.get" | "http.request" => {
            let method = arguments.get("method").and_then(Value::as_str);
            let usual = if verb == "http.get" { "GET" } else { "POST" };
            Some(Use::Request(
                Url::parse(resource).ok()?,
                method.unwrap_or(usual).to_owned(),
            ))
        }
        _ => None,
    }
}

/// The document that covers `uses` and as little else as can be said.
fn document(uses: &[Use], agent: &str, environment: &str) -> Learned {
    let mut tunnels: BTreeSet<&Target> = BTreeSet::new();
    let mut seen: BTreeMap<(String, String, u16), Requests> = BTreeMap::new();
    for one in uses {
        match one {
            Use::Tunnel(target) => drop(tunnels.insert(target)),
            Use::Request(url, method) => {
                let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
                    continue;
                };
                let of = seen.entry((url.scheme().to_owned(), host.to_owned(), port));
                let requests = of.or_default();
                requests.methods.insert(method.clone());
                requests.paths.insert(url.path().to_owned());
            }
        }
    }
    let targets: Vec<String> = tunnels.iter().map(ToString::to_string).collect();
    let tunnels = tunnels.into_iter().map(|target| {
        json!({"hosts": [target.host.to_string()], "ports": [target.port], "tls": target.port == HTTPS})
    });
    let seen = seen.iter().map(|((scheme, host, port), requests)| {
        let is_clear = scheme == "http";
        json!({"hosts": [host], "ports": [port], "clearText": is_clear, "inspect": !is_clear,
            "methods": methods(&requests.methods), "paths": paths(&requests.paths)})
    });
    let mut rules: Vec<EgressRule> = Vec::new();
    let mut left_out = 0;
    for (at, mut rule) in tunnels.chain(seen).enumerate() {
        if let Some(fields) = rule.as_object_mut() {
            fields.insert("name".to_owned(), json!(format!("use-{}", at + 1)));
        }
        match serde_json::from_value(rule) {
            Ok(rule) if rules.len() < RULES_MAX => rules.push(rule),
            _ => left_out += 1,
        }
    }
    Learned {
        spec: EgressSpec {
            description: "what one run asked of the network".to_owned(),
            agents: vec![agent.to_owned()],
            environment: environment.to_owned(),
            rules,
            limits: Limits::default(),
        },
        targets,
        left_out,
    }
}

/// Reads come together: whoever may read one way may read the others.
fn methods(found: &BTreeSet<String>) -> Vec<String> {
    let reads = found.iter().any(|method| meaning::is_read(method));
    let others = found.iter().filter(|method| !meaning::is_read(method)).cloned();
    let reading = ["GET", "HEAD", "OPTIONS"].map(str::to_owned);
    reading.into_iter().filter(|_| reads).chain(others).collect()
}

/// One by one, or what all are below.
fn paths(found: &BTreeSet<String>) -> Vec<String> {
    if found.len() <= PATHS_MAX {
        return found.iter().cloned().collect();
    }
    let mut common: Option<Vec<&str>> = None;
    for path in found {
        // What is behind the last slash is no directory.
        let directory: Vec<&str> = path
            .rsplit_once('/')
            .map_or("", |(above, _)| above)
            .split('/')
            .collect();
        common = Some(match common {
            None => directory,
            Some(common) => {
                let same = common
                    .iter()
                    .zip(&directory)
                    .take_while(|(one, other)| one == other);
                same.map(|(one, _)| *one).collect()
            }
        });
    }
    let common = common.unwrap_or_default().join("/");
    vec![if common.is_empty() { "/".to_owned() } else { common }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(text: &str) -> Use {
        Use::Tunnel(Target::parse(text).unwrap())
    }

    fn request(url: &str, method: &str) -> Use {
        Use::Request(Url::parse(url).unwrap(), method.to_owned())
    }

    /// Every rule as `hosts ports how methods paths`.
    fn told(learned: &Learned) -> Vec<String> {
        let rule = |rule: &EgressRule| {
            let how = match (rule.inspect, rule.clear_text, rule.tls) {
                (true, ..) => "inspect",
                (_, true, _) => "clear",
                (.., true) => "tls",
                _ => "any",
            };
            let (methods, paths) = (rule.methods.join(","), rule.paths.join(","));
            format!(
                "{} {:?} {how} {methods} {paths}",
                rule.hosts.join(","),
                rule.ports
            )
        };
        learned.spec.rules.iter().map(rule).collect()
    }

    #[test]
    fn what_was_used_is_named_as_narrowly_as_it_was() {
        let many: Vec<Use> = (0..9)
            .map(|n| request(&format!("http://a.example/v1/x/{n}"), "GET"))
            .collect();
        let apart: Vec<Use> = (0..9)
            .map(|n| request(&format!("http://a.example/{n}/y"), "GET"))
            .collect();
        #[rustfmt::skip]
        let table: [(Vec<Use>, &[&str]); 7] = [
            (vec![], &[]),
            (vec![tunnel("b.example:443"), tunnel("a.example:443"), tunnel("b.example:443")],
                &["a.example [443] tls GET,HEAD,OPTIONS /", "b.example [443] tls GET,HEAD,OPTIONS /"]),
            (vec![tunnel("db.example:5432"), tunnel("[2001:db8::1]:443")],
                &["db.example [5432] any GET,HEAD,OPTIONS /", "[2001:db8::1] [443] tls GET,HEAD,OPTIONS /"]),
            (vec![request("http://a.example/x", "GET"), request("http://a.example/y", "POST")],
                &["a.example [80] clear GET,HEAD,OPTIONS,POST /x,/y"]),
            (vec![request("https://a.example:8443/x", "DELETE")],
                &["a.example [8443] inspect DELETE /x"]),
            (many,  &["a.example [80] clear GET,HEAD,OPTIONS /v1/x"]),
            (apart, &["a.example [80] clear GET,HEAD,OPTIONS /"]),
        ];
        for (uses, expected) in table {
            let learned = document(&uses, "agent", "workspace");
            let mut told = told(&learned);
            let mut expected: Vec<&str> = expected.to_vec();
            told.sort();
            expected.sort_unstable();
            assert_eq!(told, expected);
            if !uses.is_empty() {
                // INVARIANT (what is shown can be applied).
                learned.spec.compile("learned").unwrap();
            }
        }
        let many: Vec<Use> = (0..150).map(|n| tunnel(&format!("h{n}.example:443"))).collect();
        let learned = document(&many, "agent", "workspace");
        assert_eq!((learned.spec.rules.len(), learned.left_out), (100, 50));
    }

    #[test]
    fn actions_are_read_as_what_they_asked_for() {
        let body = |verb: &str, resource: &str| json!({"verb": verb, "resource": resource});
        let none = Value::Null;
        #[rustfmt::skip]
        let table = [
            (body("connect", "a.example:443"),              none.clone(),               Some(tunnel("a.example:443"))),
            (body("connect", "10.0.0.0/8/10.1.2.3:443"),    none.clone(),               Some(tunnel("10.1.2.3:443"))),
            (body("http.get", "http://a.example/x"),        json!({"method": "HEAD"}),  Some(request("http://a.example/x", "HEAD"))),
            (body("http.get", "http://a.example/x"),        none.clone(),               Some(request("http://a.example/x", "GET"))),
            (body("http.request", "http://a.example/x"),    none.clone(),               Some(request("http://a.example/x", "POST"))),
            (body("sandbox.run", "workspace/x"),            none.clone(),               None),
            (json!({"verb": "connect"}),                    none,                       None),
        ];
        for (body, arguments, expected) in table {
            assert_eq!(used(&body, &arguments), expected, "{body}");
        }
    }
}
