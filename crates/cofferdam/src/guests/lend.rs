//! What a person lends to one run: hosts that are allowed, as an `Egress` document that nobody wrote down, and the
//! capabilities that follow from it.

use super::Wanted;
use gate::egress::spec::{EgressDocument, EgressRule, EgressSpec};
use policy::Capability;
use runtime::guest::{ENVIRONMENT, VERB};

/// The document of a run, and what it lends.
pub(super) fn lent(wanted: &Wanted) -> Result<(EgressDocument, Vec<Capability>), String> {
    let rules: Result<Vec<EgressRule>, String> = wanted
        .allow
        .iter()
        .enumerate()
        .map(|(at, allowed)| rule(at, allowed, &wanted.networks))
        .collect();
    let spec = EgressSpec {
        description: "lent to one run".to_owned(),
        agents: vec![gate::GUEST.to_owned()],
        environment: ENVIRONMENT.to_owned(),
        rules: rules?,
        limits: Default::default(),
    };
    let document = spec.compile("lent").map_err(|wrong| {
        let said = wrong.into_iter().map(|(_, what)| what);
        format!("--allow: {}", said.collect::<Vec<_>>().join("; "))
    })?;
    let run = Capability::new(VERB, &format!("workspace{}", wanted.workspace.display()))
        .ok_or("the workspace's path makes no resource: it holds `*` or a control character")?;
    let own = document.grants.iter().map(|grant| grant.capability.clone());
    let all = own.chain([run]).collect();
    Ok((document, all))
}

/// `HOST:PORT`, a tunnel that nobody looks into.
fn rule(at: usize, allowed: &str, networks: &[String]) -> Result<EgressRule, String> {
    let what = || format!("--allow `{allowed}`: write HOST:PORT, as in api.github.com:443");
    let (host, port) = allowed.rsplit_once(':').ok_or_else(what)?;
    let port: u16 = port.parse().map_err(|_| what())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let spec = serde_json::json!({
        "name": format!("allow-{at}"),
        "hosts": [host],
        "ports": [port],
        "networks": networks,
        // What is no TLS has no name that could be compared with the host's; on 443 everything is.
        "tls": port == 443,
        "clearText": port != 443,
        "methods": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"],
        "bodyBytes": 64 * 1024 * 1024,
    });
    serde_json::from_value(spec).map_err(|error| format!("--allow `{allowed}`: {error}"))
}
