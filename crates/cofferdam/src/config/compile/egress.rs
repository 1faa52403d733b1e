//! What agents may reach over the network: each `Egress` by itself, for agents that there are.

use super::Index;
use crate::config::document::{Document, Kind, Spec};
use crate::config::problem::Problem;
use gate::AgentAuthority;
use gate::egress::spec::EgressDocument;
use policy::PolicyDocument;

/// What the policy of an `Egress` is called: nobody else's name begins so.
const PREFIX: &str = "cofferdam-egress-";

/// Every document that is right, by name.
pub(super) fn all(
    documents: &[Document],
    index: &Index<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<(String, EgressDocument)> {
    let mut all = Vec::new();
    for document in documents {
        let Spec::Egress(spec) = &document.spec else {
            continue;
        };
        for (at, agent) in spec.agents.iter().enumerate() {
            if !index.contains_key(&(Kind::Agent, agent.as_str())) {
                let what = format!("there is no Agent `{agent}`");
                problems.push(document.problem(&format!("/spec/agents/{at}"), what));
            }
        }
        match spec.compile(&document.name) {
            Ok(compiled) => all.push((document.name.clone(), compiled)),
            Err(wrong) => problems.extend(
                wrong
                    .into_iter()
                    .map(|(at, what)| document.problem(&format!("/spec{at}"), what)),
            ),
        }
    }
    all
}

/// What opts in to what they let through, besides what is `built_in`.
pub(super) fn policies(
    all: &[(String, EgressDocument)],
    built_in: [(String, PolicyDocument); 2],
) -> Vec<(String, PolicyDocument)> {
    let named = |(name, document): &(String, EgressDocument)| {
        Some((format!("{PREFIX}{name}"), document.policy.clone()?))
    };
    built_in.into_iter().chain(all.iter().filter_map(named)).collect()
}

/// The authority of `agent` with what it holds by them.
pub(super) fn given(
    all: &[(String, EgressDocument)],
    agent: &str,
    mut authority: AgentAuthority,
) -> AgentAuthority {
    let of_it = all
        .iter()
        .filter(|(_, document)| document.agents.iter().any(|one| one == agent));
    let grants = of_it.flat_map(|(_, document)| document.grants.iter().cloned());
    authority.grants.extend(grants);
    authority
}

#[cfg(test)]
mod tests {
    use super::super::super::source::{Source, parse};
    use super::super::super::{STARTER, unsupplied};
    use super::super::compile;

    fn check(egress: &str) -> Result<Vec<String>, String> {
        let text = format!(
            "{STARTER}---\napiVersion: cofferdam.dev/v1\nkind: Egress\nmetadata: {{name: web}}\n{egress}"
        );
        let parsed = parse(Source {
            name: "c.yaml".into(),
            text,
        });
        let documents = parsed.unwrap().into_iter();
        let mut documents: Vec<_> = documents.map(|one| one.value).collect();
        for document in &mut documents {
            super::super::super::load::resolve_paths(document, std::path::Path::new("/srv"));
        }
        let named = documents.into_iter().enumerate();
        let read = super::super::super::from_values(named.map(|(n, value)| (n.to_string(), value)).collect());
        let read = read.map_err(|problems| problems.to_string())?;
        let supplied = unsupplied();
        let compiled = compile(&read, 1, &supplied).map_err(|problems| problems.to_string())?;
        let grants = compiled.authority.agents["triage"].grants.iter();
        let of_it = grants.filter(|grant| grant.from == "egress/web");
        Ok(of_it.map(|grant| grant.capability.to_string()).collect())
    }

    #[test]
    fn an_egress_gives_its_agents_grants_and_is_refused_at_its_place() {
        let rules = |agents: &str, host: &str| {
            format!("spec:\n  agents: [{agents}]\n  rules:\n  - {{name: a, hosts: [{host}]}}\n")
        };
        assert_eq!(
            check(&rules("triage", "api.example.com")).unwrap(),
            ["connect:api.example.com:443"]
        );
        #[rustfmt::skip]
        let table = [
            (rules("nobody", "api.example.com"),  "there is no Agent `nobody`"),
            (rules("triage", "'*'"),              "`*`: the host is no name"),
            (rules("", "api.example.com"),        "it is for nobody; name at least one agent"),
            ("spec: {agents: [triage], rules: [{name: a, host: x}]}\n".to_owned(), "unknown field `host`"),
        ];
        for (text, expected) in table {
            let said = check(&text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
