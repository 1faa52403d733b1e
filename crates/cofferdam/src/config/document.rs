//! One document: its envelope, its kind, its typed `spec`.
//!
//! Strict: unknown kinds, unknown fields and misspelt names are refused with their place.

use super::problem::Problem;
use super::publisher::PublisherSpec;
use super::source::{Origin, Parsed, escape};
use crate::identity::{CertificateProviderSpec, ProviderSpec};
use gate::egress::spec::EgressSpec;
use gate::llm::{ModelSpec, RouteSpec};
use ops::channel::ChannelSpec;
use ops::triage::TriggerSpec;
use policy::budget::BudgetSpec;
use policy::{Branch, Place, PolicyDocument, PolicyVersion};
use runtime::agent::AgentSpec;
use runtime::tools::ToolsetSpec;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fmt::{Display, Formatter};

/// `apiVersion` of every document.
pub const API_VERSION: &str = "cofferdam.dev/v1";
/// What stands for a part of a place that is left out between others.
const DEFAULT: &str = "default";

/// The kinds that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Kind {
    Agent,
    Toolset,
    Policy,
    Trigger,
    Channel,
    IdentityProvider,
    Publisher,
    Egress,
    Model,
    Route,
    Budget,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Kind; 11] = [
        Kind::Agent,
        Kind::Toolset,
        Kind::Policy,
        Kind::Trigger,
        Kind::Channel,
        Kind::IdentityProvider,
        Kind::Publisher,
        Kind::Egress,
        Kind::Model,
        Kind::Route,
        Kind::Budget,
    ];

    /// As written in `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Agent => "Agent",
            Kind::Toolset => "Toolset",
            Kind::Policy => "Policy",
            Kind::Trigger => "Trigger",
            Kind::Channel => "Channel",
            Kind::IdentityProvider => "IdentityProvider",
            Kind::Publisher => "Publisher",
            Kind::Egress => "Egress",
            Kind::Model => "Model",
            Kind::Route => "Route",
            Kind::Budget => "Budget",
        }
    }

    /// Reads `Agent`, and for people also `agent` and `agents`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Kind> {
        let lower = text.to_ascii_lowercase();
        Kind::ALL.into_iter().find(|kind| {
            let name = kind.as_str().to_ascii_lowercase();
            lower == name || lower == format!("{name}s") || (*kind == Kind::Policy && lower == "policies")
        })
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a document says, by kind.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "see the types")]
pub enum Spec {
    Agent(Box<AgentSpec>),
    Toolset(ToolsetSpec),
    Policy(PolicyDocument),
    Trigger(TriggerSpec),
    Channel(ChannelSpec),
    IdentityProvider(Box<ProviderSpec>),
    /// An `IdentityProvider` whose people and services show client certificates.
    CertificateProvider(Box<CertificateProviderSpec>),
    Publisher(Box<PublisherSpec>),
    Egress(Box<EgressSpec>),
    Model(Box<ModelSpec>),
    Route(Box<RouteSpec>),
    Budget(Box<BudgetSpec>),
}

/// A document that is well-formed by itself.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its kind.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: String,
    /// Where an agent belongs; the default place for every other kind. A policy's is in its spec.
    pub place: Place,
    /// The typed `spec`.
    pub spec: Spec,
    /// Which version of it this is, of a policy that is in force or came out of a bundle.
    pub version: Option<PolicyVersion>,
    /// The whole document, as it is stored.
    pub value: Value,
    /// For problems found later.
    pub origin: Origin,
}

impl Document {
    /// A problem at `pointer` of this document.
    #[must_use]
    pub fn problem(&self, pointer: &str, what: impl Into<String>) -> Problem {
        self.origin.problem(pointer, what)
    }
}

/// Reads one document.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(parsed: Parsed) -> Result<Document, Problem> {
    let Parsed { value, origin } = parsed;
    let map = value
        .as_object()
        .ok_or_else(|| origin.problem("", "a document is a mapping"))?;
    let version = text(map, &origin, "apiVersion")?;
    if version != API_VERSION {
        return Err(origin.problem(
            "/apiVersion",
            format!("unknown apiVersion `{version}`; use `{API_VERSION}`"),
        ));
    }
    let word = text(map, &origin, "kind")?;
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == word)
        .ok_or_else(|| {
            let known = Kind::ALL.map(Kind::as_str).join(", ");
            origin.problem(
                "/kind",
                format!("unknown kind `{word}`; this version knows {known}"),
            )
        })?;
    if let Some(key) = map
        .keys()
        .find(|key| !["apiVersion", "kind", "metadata", "spec"].contains(&key.as_str()))
    {
        let at = format!("/{}", escape(key));
        return Err(origin.problem(
            &at,
            format!("unknown field `{key}`; a document has apiVersion, kind, metadata, spec"),
        ));
    }
    let (name, place, branch) = metadata(map, kind, &origin)?;
    let spec = map
        .get("spec")
        .ok_or_else(|| origin.problem("", "missing field `spec`"))?;
    let spec = spec_of(kind, spec, branch, &origin)?;
    let place = match kind {
        Kind::Agent => place,
        _ => Place::default(),
    };
    Ok(Document {
        kind,
        name,
        place,
        spec,
        version: None,
        value,
        origin,
    })
}

fn spec_of(kind: Kind, spec: &Value, branch: Branch, origin: &Origin) -> Result<Spec, Problem> {
    Ok(match kind {
        Kind::Agent => Spec::Agent(Box::new(typed(spec, origin)?)),
        Kind::Toolset => Spec::Toolset(typed(spec, origin)?),
        Kind::Policy => Spec::Policy(PolicyDocument {
            place: branch,
            ..typed(spec, origin)?
        }),
        Kind::Trigger => Spec::Trigger(typed(spec, origin)?),
        Kind::Channel => Spec::Channel(typed(spec, origin)?),
        Kind::IdentityProvider if spec.get("certificates").is_some() => {
            Spec::CertificateProvider(Box::new(typed(spec, origin)?))
        }
        Kind::IdentityProvider => Spec::IdentityProvider(Box::new(match spec.get("ldap") {
            Some(_) => ProviderSpec::Ldap(typed(spec, origin)?),
            None => ProviderSpec::Oidc(typed(spec, origin)?),
        })),
        Kind::Publisher => Spec::Publisher(Box::new(typed(spec, origin)?)),
        Kind::Egress => Spec::Egress(Box::new(typed(spec, origin)?)),
        Kind::Model => Spec::Model(Box::new(typed(spec, origin)?)),
        Kind::Route => Spec::Route(Box::new(typed(spec, origin)?)),
        Kind::Budget => Spec::Budget(Box::new(BudgetSpec {
            place: branch,
            ..typed(spec, origin)?
        })),
    })
}

fn text<'m>(map: &'m Map<String, Value>, origin: &Origin, field: &str) -> Result<&'m str, Problem> {
    match map.get(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(origin.problem(&format!("/{field}"), format!("`{field}` has to be a text"))),
        None => Err(origin.problem("", format!("missing field `{field}`"))),
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    /// For people and tools that sort documents; nothing here reads them.
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    /// Of agents, policies and budgets only, as are `team` and `project`.
    organization: Option<String>,
    team: Option<String>,
    project: Option<String>,
    /// Of policies and budgets only.
    agent: Option<String>,
}

fn metadata(
    map: &Map<String, Value>,
    kind: Kind,
    origin: &Origin,
) -> Result<(String, Place, Branch), Problem> {
    let value = map
        .get("metadata")
        .ok_or_else(|| origin.problem("", "missing field `metadata`"))?;
    let metadata: Metadata = at(value, "/metadata", origin)?;
    if !Place::is_name(&metadata.name) {
        let what = format!(
            "`{}` is not a name: use 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends",
            metadata.name
        );
        return Err(origin.problem("/metadata/name", what));
    }
    if metadata.labels.len() > 64 {
        return Err(origin.problem("/metadata/labels", "more than 64 labels"));
    }
    let given = [
        ("organization", metadata.organization),
        ("team", metadata.team),
        ("project", metadata.project),
        ("agent", metadata.agent),
    ];
    let (mut path, mut depth) = (Vec::new(), 0);
    for (field, given) in given {
        if let Some(name) = &given {
            let at = format!("/metadata/{field}");
            let has_branch = matches!(kind, Kind::Policy | Kind::Budget);
            if !has_branch && (kind != Kind::Agent || field == "agent") {
                let what = format!(
                    "only agents, policies and budgets have a place: `{field}` is not for kind {kind}"
                );
                return Err(origin.problem(&at, what));
            }
            if !Place::is_name(name) {
                let what = format!("`{name}` is not a name: use 1 to 63 of a-z, 0-9 and `-`");
                return Err(origin.problem(&at, what));
            }
            depth = path.len() + 1;
        }
        path.push(given.unwrap_or_else(|| DEFAULT.to_owned()));
    }
    // The names were looked at above.
    let place = match path.as_slice() {
        [organization, team, project, ..] => Place::new(organization, team, project),
        _ => None,
    };
    path.truncate(depth);
    let branch = Branch::new(&path).unwrap_or_default();
    Ok((metadata.name, place.unwrap_or_default(), branch))
}

fn typed<T: DeserializeOwned>(spec: &Value, origin: &Origin) -> Result<T, Problem> {
    at(spec, "/spec", origin)
}

/// Deserialises `value`, which stands at `pointer`; the place of an error is followed into it.
fn at<T: DeserializeOwned>(value: &Value, pointer: &str, origin: &Origin) -> Result<T, Problem> {
    use serde_path_to_error::Segment;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut place = pointer.to_owned();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => place.push_str(&format!("/{index}")),
                Segment::Map { key } => place.push_str(&format!("/{}", escape(key))),
                Segment::Enum { variant } => place.push_str(&format!("/{}", escape(variant))),
                Segment::Unknown => {}
            }
        }
        origin.problem(&place, error.inner().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::{Source, parse};
    use super::*;

    fn check(text: &str) -> String {
        let parsed = parse(Source {
            name: "c.yaml".into(),
            text: text.into(),
        })
        .unwrap()
        .remove(0);
        match read(parsed) {
            Ok(Document {
                kind,
                name,
                spec: Spec::Policy(spec),
                ..
            }) => format!("{kind} {name} {}", spec.place),
            Ok(document) if document.place == Place::default() => {
                format!("{} {}", document.kind, document.name)
            }
            Ok(document) => format!("{} {} {}", document.kind, document.name, document.place),
            Err(problem) => problem.to_string(),
        }
    }

    const HEAD: &str = "apiVersion: cofferdam.dev/v1\nkind: Trigger\nmetadata: {name: am}\n";

    #[test]
    fn envelopes() {
        let spec = "spec: {source: alertmanager, agent: triage}\n";
        let long = format!(
            "apiVersion: cofferdam.dev/v1\nkind: Trigger\nmetadata: {{name: {}}}\n{spec}",
            "a".repeat(64)
        );
        let table = [
            ("good", format!("{HEAD}{spec}"), "Trigger am"),
            (
                "no mapping",
                "- 1\n".into(),
                "c.yaml:1:1: a document is a mapping",
            ),
            (
                "no version",
                "kind: Agent\n".into(),
                "c.yaml:1:1: missing field `apiVersion`",
            ),
            (
                "another version",
                "kind: Agent\napiVersion: v2\n".into(),
                "c.yaml:2:13: unknown apiVersion `v2`; use `cofferdam.dev/v1`",
            ),
            (
                "a kind of later",
                "apiVersion: cofferdam.dev/v1\nkind: Schedule\n".into(),
                "c.yaml:2:7: unknown kind `Schedule`; this version knows Agent, Toolset, Policy, Trigger, Channel, IdentityProvider, Publisher, Egress, Model, Route, Budget",
            ),
            (
                "a field too many",
                format!("{HEAD}{spec}status: {{}}\n"),
                "c.yaml:5:1: unknown field `status`; a document has apiVersion, kind, metadata, spec",
            ),
            ("no spec", HEAD.into(), "c.yaml:1:1: missing field `spec`"),
            (
                "a bad name",
                format!("apiVersion: cofferdam.dev/v1\nkind: Trigger\nmetadata: {{name: A_b}}\n{spec}"),
                "c.yaml:3:18: `A_b` is not a name: use 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends",
            ),
            ("a long name", long, "c.yaml:3:18: `aaaa"),
        ];
        for (name, text, expected) in table {
            let got = check(&text);
            assert!(got.starts_with(expected), "{name}: {got}");
        }
    }

    #[test]
    fn agents_and_policies_have_places_and_nothing_else_has() {
        let spec = "spec: {source: alertmanager, agent: triage}\n";
        let agent = "spec: {sponsor: alice, runbook: {steps: []}}\n";
        let table = [
            (
                "an agent's place",
                format!(
                    "apiVersion: cofferdam.dev/v1\nkind: Agent\nmetadata: {{name: deploy, organization: acme, team: sre, project: ops}}\n{agent}"
                ),
                "Agent deploy acme/sre/ops",
            ),
            (
                "a place that is no name",
                format!(
                    "apiVersion: cofferdam.dev/v1\nkind: Agent\nmetadata: {{name: deploy, team: a/b}}\n{agent}"
                ),
                "c.yaml:3:32: `a/b` is not a name",
            ),
            (
                "a place of something else",
                format!(
                    "apiVersion: cofferdam.dev/v1\nkind: Trigger\nmetadata: {{name: am, team: sre}}\n{spec}"
                ),
                "c.yaml:3:28: only agents, policies and budgets have a place: `team` is not for kind Trigger",
            ),
            (
                "a policy's place",
                "apiVersion: cofferdam.dev/v1\nkind: Policy\nmetadata: {name: calm, team: sre}\nspec: {}\n".into(),
                "Policy calm default/sre",
            ),
            (
                "a policy of one agent",
                "apiVersion: cofferdam.dev/v1\nkind: Policy\nmetadata: {name: calm, organization: acme, team: sre, project: ops, agent: triage}\nspec: {}\n".into(),
                "Policy calm acme/sre/ops/triage",
            ),
            (
                "a place in a spec",
                "apiVersion: cofferdam.dev/v1\nkind: Policy\nmetadata: {name: calm}\nspec: {place: acme}\n".into(),
                "c.yaml:4:15: unknown field `place`",
            ),
            (
                "an agent of an agent",
                format!("apiVersion: cofferdam.dev/v1\nkind: Agent\nmetadata: {{name: deploy, agent: a}}\n{agent}"),
                "c.yaml:3:33: only agents, policies and budgets have a place: `agent` is not for kind Agent",
            ),
        ];
        for (name, text, expected) in table {
            let got = check(&text);
            assert!(got.starts_with(expected), "{name}: {got}");
        }
    }

    #[test]
    fn specs_are_strict_and_errors_point_into_them() {
        let table = [
            (
                "an unknown field",
                "spec:\n  source: alertmanager\n  agent: triage\n  agnet: x\n",
                "c.yaml:7:10: unknown field `agnet`, expected one of",
            ),
            (
                "a wrong type",
                "spec:\n  source: alertmanager\n  agent: [triage]\n",
                "c.yaml:6:3: invalid type: sequence",
            ),
            (
                "a missing field",
                "spec:\n  source: alertmanager\n",
                "c.yaml:4:1: missing field `agent`",
            ),
            (
                "an unknown variant",
                "spec:\n  source: grafana\n  agent: t\n",
                "c.yaml:5:11: unknown variant `grafana`",
            ),
            (
                "an element",
                "spec:\n  source: alertmanager\n  agent: t\n  channels:\n    - log\n    - 7\n",
                "c.yaml:9:7: invalid type: integer `7`, expected a string",
            ),
        ];
        for (name, spec, expected) in table {
            let got = check(&format!("{HEAD}{spec}"));
            assert!(got.starts_with(expected), "{name}: {got}");
        }
    }

    #[test]
    fn kinds_are_read_as_people_write_them() {
        for (word, expected) in [
            ("Agent", Some(Kind::Agent)),
            ("policies", Some(Kind::Policy)),
            ("toolsets", Some(Kind::Toolset)),
            ("budgets", Some(Kind::Budget)),
            ("Schedule", None),
        ] {
            assert_eq!(Kind::parse(word), expected, "{word}");
        }
    }
}
