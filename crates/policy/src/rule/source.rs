//! Reads policies in the shape of the source documents.

use super::{LoadError, Match, PolicyDocument, RuleOutcome, RuleSpec, Stages};
use serde_json::{Map, Value};

/// Fields of a rule that are read.
const FIELDS: [&str; 7] = [
    "name",
    "condition",
    "action",
    "reason",
    "approvers",
    "enabled",
    "description",
];

/// See [`PolicyDocument::from_source_dialect`].
pub(super) fn documents(value: &Value) -> Result<Vec<(String, PolicyDocument)>, LoadError> {
    let refuse = |what: &str| LoadError {
        rule: "policies".to_owned(),
        index: 0,
        what: what.to_owned(),
    };
    let policies = value.get("policies").and_then(Value::as_array);
    let policies = policies.ok_or_else(|| refuse("document has no list `policies`"))?;
    let mut documents: Vec<(String, PolicyDocument)> = Vec::new();
    for policy in policies {
        let name = policy
            .get("name")
            .and_then(Value::as_str)
            .ok_or_else(|| refuse("a policy has no `name`"))?;
        let members = policy.as_object().into_iter().flat_map(Map::keys);
        if let Some(unknown) = members
            .into_iter()
            .find(|key| !matches!(key.as_str(), "name" | "rules" | "description"))
        {
            return Err(refuse(&format!(
                "field `{unknown}` of policy `{name}` is not supported"
            )));
        }
        let rules = policy.get("rules").and_then(Value::as_array);
        let rules = rules.ok_or_else(|| refuse(&format!("policy `{name}` has no list `rules`")))?;
        documents.push((
            name.to_owned(),
            PolicyDocument {
                rules: enabled(name, rules)?,
                ..PolicyDocument::default()
            },
        ));
    }
    Ok(documents)
}

fn enabled(policy: &str, rules: &[Value]) -> Result<Vec<RuleSpec>, LoadError> {
    let mut specs = Vec::new();
    for (index, value) in rules.iter().enumerate() {
        let label = value.get("name").and_then(Value::as_str).map(str::to_owned);
        let name = label.unwrap_or_else(|| format!("rule-{}", index + 1));
        let refuse = |what| LoadError {
            rule: format!("policy/{policy}#{name}"),
            index,
            what,
        };
        match value.get("enabled") {
            Some(Value::Bool(false)) => continue,
            None | Some(Value::Bool(true)) => (),
            Some(_) => return Err(refuse("`enabled` is not true or false".to_owned())),
        }
        specs.push(rule(&name, value).map_err(refuse)?);
    }
    Ok(specs)
}

fn rule(name: &str, value: &Value) -> Result<RuleSpec, String> {
    let members = value.as_object().ok_or("a rule is not an object")?;
    if let Some(unknown) = members.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(format!(
            "field `{unknown}` is not supported: use {}",
            FIELDS.join(", ")
        ));
    }
    let text = |field: &str| match members.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{field}` is not a text")),
    };
    let outcome = RuleOutcome::parse(&text("action")?.ok_or("a rule has no `action`")?)?;
    let approvers = match members.get("approvers") {
        None => Stages::default(),
        Some(listed) => serde_json::from_value::<Stages>(listed.clone())
            .map_err(|_| "`approvers` is not a list of texts".to_owned())?,
    };
    Ok(RuleSpec {
        name: Some(name.to_owned()),
        matching: Match::default(),
        when: None,
        condition: Some(text("condition")?.ok_or("a rule has no `condition`")?),
        outcome,
        reason: text("reason")?.or(text("description")?).unwrap_or_default(),
        approvers,
        waivable: Vec::new(),
        expires_after_seconds: None,
        opts_in: true,
    })
}
