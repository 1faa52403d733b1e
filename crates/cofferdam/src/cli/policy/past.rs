//! `cofferdam policy simulate` and `suggest`: policies and what was decided before. Both ask the server, which
//! looks at its journal and changes nothing.

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::screen::{Screen, yaml};
use crate::cli::table::{Look, cell, look_of, table};
use crate::cli::tokens::seconds;
use crate::cli::value::{field, list, number, text, time};
use crate::config::Problems;
use crate::config::bundle::load_unverified;
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct Simulate {
    /// A file of documents, or a directory of them, as they would be applied
    #[arg(short, long, value_name = "FILE|DIR")]
    file: PathBuf,
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = seconds)]
    since: u64,
    /// Leave out the policies in force that are not among them
    #[arg(long)]
    only: bool,
}

#[derive(Args, Debug)]
pub(super) struct Suggest {
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = seconds)]
    since: u64,
    /// For one agent only
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
}

/// Exit code 1 when anything would have been decided otherwise.
pub(super) async fn simulate(asked: &Simulate, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let documents = load_unverified(&asked.file).map_err(|problems: Problems| {
        screen.tell(crate::cli::text::block(&problems.render()).trim_end());
        Failure::Told
    })?;
    let documents: Vec<Value> = documents.into_iter().map(|document| document.value).collect();
    let question = json!({ "documents": documents, "since_seconds": asked.since, "only": asked.only });
    let answer = client.post("/api/v1/policies/simulate", &question).await?;
    let result = field(&answer, "result");
    screen.data(result, show)?;
    match field(result, "changed").as_object().is_some_and(Map::is_empty) {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

fn show(result: &Value, columns: usize) -> String {
    let by = |value: &Value| match text(value, "rule") {
        rule if rule.is_empty() => text(value, "outcome"),
        rule => format!("{} by {rule}", text(value, "outcome")),
    };
    let rows = list(result, "differences").iter().map(|one| {
        let (before, after) = (field(one, "before"), field(one, "after"));
        vec![
            cell(text(one, "sequence"), Look::Bold),
            time(one, "timestamp").into(),
            text(one, "agent").into(),
            format!(
                "{}:{}:{}",
                text(one, "verb"),
                text(one, "resource"),
                text(one, "environment")
            )
            .into(),
            cell(by(before), look_of(&text(before, "outcome"))),
            cell(by(after), look_of(&text(after, "outcome"))),
        ]
    });
    let headers = ["ENTRY", "TIME", "AGENT", "ACTION", "BEFORE", "AFTER"];
    let mut out = table(
        columns,
        &headers,
        rows.collect(),
        "no decision would have been another",
    );
    out.push('\n');
    for (what, count) in field(result, "changed").as_object().into_iter().flatten() {
        out.push_str(&format!("{count} {what}\n"));
    }
    let counted = |name: &str, what: &str| match number(result, name) {
        0 => String::new(),
        count => format!("{count} {what}\n"),
    };
    out.push_str(&format!(
        "{} of {} decisions were decided again\n",
        number(result, "replayed"),
        number(result, "decisions")
    ));
    out.push_str(&counted("erased", "were not: their actions are erased"));
    out.push_str(&counted("waived", "were not: they rest on waivers of then"));
    out.push_str(&counted(
        "beside",
        "were not: a stop, a bound or an identity decided them",
    ));
    out
}

/// Prints documents to read, and then to apply.
pub(super) async fn suggest(asked: &Suggest, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut query = vec![("since_seconds", asked.since.to_string())];
    query.extend(asked.agent.as_ref().map(|agent| ("agent", agent.clone())));
    let answer = client.get("/api/v1/policies/suggestions", &query).await?;
    let found = field(&answer, "suggestions");
    let documents = suggested(found)?;
    screen.data(found, |_, _| documents.clone())
}

fn suggested(found: &Value) -> Result<String, Failure> {
    let mut out = format!("# Denials looked at: {}\n", number(found, "denials"));
    for (code, count) in field(found, "left_out").as_object().into_iter().flatten() {
        out.push_str(&format!("# Nothing is suggested for {count} of `{code}`.\n"));
    }
    for missing in list(found, "grants") {
        out.push_str(&format!(
            "# {} lacks the grant `{}` (denied {} ×): a toolset or a delegation has to give it.\n",
            text(missing, "principal"),
            text(missing, "capability"),
            text(missing, "denials")
        ));
    }
    for policy in list(found, "policies") {
        out.push_str("---\n");
        if field(policy, "first").as_bool() == Some(true) {
            out.push_str(&format!(
                "# Nothing permits agent {0} anything yet. With this, `{1}` leaves {0}, and whoever it delegates to, only what\n#   `{1}` permits or asks about.\n",
                text(policy, "agent"),
                text(policy, "place")
            ));
        }
        let rules = field(policy, "document.rules")
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for (rule, covering) in rules.iter().zip(list(policy, "rules")) {
            out.push_str(&format!(
                "# {}: denied {} × to agent {}\n",
                text(rule, "name"),
                text(covering, "denials"),
                text(policy, "agent")
            ));
            for wildcard in list(covering, "wildcards") {
                let part = |at: usize| wildcard.get(at).map(crate::cli::value::shown).unwrap_or_default();
                out.push_str(&format!(
                    "#   `{}` stands for {} resources that were denied, and for all others there\n",
                    part(0),
                    part(1)
                ));
            }
        }
        out.push_str(&yaml(&document(policy, rules))?);
    }
    Ok(out)
}

/// The document as a person would write it.
fn document(policy: &Value, rules: &[Value]) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(text(policy, "name")));
    let place = text(policy, "place");
    if place != "everywhere" {
        for (field, name) in ["organization", "team", "project", "agent"]
            .iter()
            .zip(place.split('/'))
        {
            metadata.insert((*field).to_owned(), json!(name));
        }
    }
    let rule = |rule: &Value| json!({ "name": field(rule, "name"), "match": field(rule, "match"), "outcome": field(rule, "outcome") });
    json!({
        "apiVersion": crate::config::document::API_VERSION,
        "kind": "Policy",
        "metadata": metadata,
        "spec": { "rules": rules.iter().map(rule).collect::<Vec<_>>() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suggested_can_be_applied_as_it_is_printed() {
        let matching = json!({"verbs": ["git.merge"], "resources": ["repository/*"], "effects": ["write"],
            "environments": ["staging"], "agents": ["triage"]});
        let found = json!({"denials": 12, "left_out": {"forbidden": 2}, "grants": [], "policies": [{
            "name": "suggested-triage", "agent": "triage", "place": "acme/sre",
            "rules": [{"denials": 10, "wildcards": [["repository/*", 9]]}],
            "document": {"place": "acme/sre", "rules": [
                {"name": "suggested-1", "match": matching, "outcome": "permit", "when": null}]}}]});
        let text = suggested(&found).unwrap();
        assert!(text.starts_with(
            "# Denials looked at: 12\n# Nothing is suggested for 2 of `forbidden`.\n---\n# suggested-1: denied 10 × to agent \
             triage\n#   `repository/*` stands for 9 resources that were denied, and for all others there\n"
        ), "{text}");
        let documents = crate::config::from_text("s.yaml", &text).unwrap();
        let [document] = documents.as_slice() else {
            panic!("{text}")
        };
        let crate::config::Spec::Policy(spec) = &document.spec else {
            panic!("{text}")
        };
        assert_eq!(
            (document.name.as_str(), spec.place.to_string()),
            ("suggested-triage", "acme/sre".to_owned())
        );
        assert_eq!(serde_json::to_value(&spec.rules[0].matching).unwrap(), matching);
    }
}
