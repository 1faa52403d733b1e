//! What a person lends to one run: hosts that are allowed, as an `Egress` document that nobody wrote down, and the
//! capabilities that follow from it.

use super::{Drill, Learn, Wanted};
use gate::GuestSession;
use gate::egress::spec::{EgressDocument, EgressRule, EgressSpec};
use policy::Capability;
use runtime::guest::{ENVIRONMENT, KEEP, VERB};
use serde_json::json;

/// Verbs of which everything is lent to a run that learns.
const ANYTHING: [&str; 3] = ["connect", "http.get", "http.request"];
/// The port on which everything is TLS.
const HTTPS: u16 = 443;
/// What requests in clear text may do.
const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
/// Largest body of such a request, in bytes.
const BODY_BYTES: u64 = 64 * 1024 * 1024;

/// The document of a run of `agent`, and what is lent to it.
/// `models` are those that the names it may call come to.
pub(super) fn lent(
    wanted: &Wanted,
    agent: &str,
    models: &[String],
) -> Result<(EgressDocument, GuestSession), String> {
    let mut all = Vec::new();
    for (at, allowed) in wanted.allow.iter().enumerate() {
        all.extend(rules(at, allowed, &wanted.networks)?);
    }
    if let Some(drill) = &wanted.drill {
        all.extend(probes(drill)?);
    }
    let spec = EgressSpec {
        description: "lent to one run".to_owned(),
        agents: vec![agent.to_owned()],
        environment: ENVIRONMENT.to_owned(),
        rules: all,
        limits: Default::default(),
    };
    let everything = wanted.drill.as_ref().is_some_and(|drill| drill.everything);
    let learns = wanted.learn == Some(Learn::Allow) || everything;
    let document = match learns {
        true => EgressDocument::anything("lent", ENVIRONMENT, &wanted.networks),
        false => spec.compile("lent"),
    };
    let document = document.map_err(|wrong| {
        let said = wrong.into_iter().map(|(_, what)| what);
        format!("--allow: {}", said.collect::<Vec<_>>().join("; "))
    })?;
    let workspace = format!("workspace{}", wanted.workspace.display());
    let own_verbs = [Some(VERB), Some(KEEP).filter(|_| wanted.review)];
    let here = own_verbs.into_iter().flatten().map(|verb| {
        Capability::new(verb, &workspace)
            .ok_or("the workspace's path makes no resource: it holds `*` or a control character")
    });
    let here = here.collect::<Result<Vec<_>, _>>()?;
    let own = document.grants.iter().map(|grant| grant.capability.clone());
    let anything = ANYTHING.iter().filter(|_| learns);
    let anything = anything.filter_map(|verb| Capability::new(verb, "*"));
    let called = models.iter().filter_map(|model| gate::llm::capability(model));
    let lent = own.chain(anything).chain(called).chain(here).collect();
    Ok((
        document,
        GuestSession {
            lent,
            learns,
            budget: wanted.budget,
        },
    ))
}

/// `HOST:PORT`: a tunnel that nobody looks into, which is TLS to that host on 443; on other ports requests in clear text
/// as well, which are seen.
fn rules(at: usize, allowed: &str, networks: &[String]) -> Result<Vec<EgressRule>, String> {
    let what = || format!("--allow `{allowed}`: write HOST:PORT, as in api.github.com:443");
    let (host, port) = allowed.rsplit_once(':').ok_or_else(what)?;
    let port: u16 = port.parse().map_err(|_| what())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_https = port == HTTPS;
    let tunnel = json!({
        "name": format!("allow-{at}"), "hosts": [host], "ports": [port], "networks": networks, "tls": is_https,
    });
    let seen = json!({
        "name": format!("allow-{at}-requests"), "hosts": [host], "ports": [port], "networks": networks,
        "clearText": true, "methods": METHODS, "bodyBytes": BODY_BYTES,
    });
    let specs = [Some(tunnel), Some(seen).filter(|_| !is_https)];
    let read = |spec| serde_json::from_value(spec).map_err(|error| format!("--allow `{allowed}`: {error}"));
    specs.into_iter().flatten().map(read).collect()
}

/// What a drill is lent: each is answered by the drill itself.
fn probes(drill: &Drill) -> Result<Vec<EgressRule>, String> {
    let networks = ["127.0.0.0/8", "::1/128"];
    let specs = json!([
        { "name": "drill-tls", "hosts": ["localhost"], "ports": [drill.tls], "networks": networks },
        {
            "name": "drill-clear", "hosts": ["localhost"], "ports": [drill.clear], "networks": networks, "clearText": true,
            "methods": METHODS,
        },
        { "name": "drill-private", "hosts": ["localhost"], "ports": [drill.private], "tls": false },
    ]);
    serde_json::from_value(specs).map_err(|error| format!("the drill's rules: {error}"))
}
