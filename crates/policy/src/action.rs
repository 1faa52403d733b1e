//! An action: what an agent wants to do to the world, as policy weighs it. Complete and checked once it
//! exists; never changed afterwards, and never done here.

use crate::Taints;
use crate::budget::Amounts;
use crate::canonical::{self, CanonicalError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What an action does to its resource. Ordered: a later one needs more authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something that can be changed back.
    Write,
    /// Changes something that cannot be brought back.
    Destructive,
}

/// Whether doing an action twice is the same as doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotence {
    /// May be repeated after a crash.
    Idempotent,
    /// A repeat is a second effect: after a crash a person resolves it.
    Once,
}

/// The name of an operation, the same as the tool's: `git.propose`. Lower case, digits, `_`, `-`, `.`;
/// 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Verb(String);

/// Where an action takes effect: `production`, `staging`, … 1 to 64 characters of `[a-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Environment(String);

/// The environment that every one of unknown name counts as.
pub(crate) const PRODUCTION: &str = "production";
/// Longest resource name, in bytes.
pub const RESOURCE_BYTES_MAX: usize = 1024;
/// Largest canonical arguments, in bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;

/// What an action uses of which nobody said anything.
const CALL: Amounts = Amounts {
    micros: 0,
    tokens: 0,
    calls: 1,
    turns: 0,
};

/// One effect on the world, complete: nothing that matters to the decision is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    verb: Verb,
    resource: String,
    arguments: Value,
    environment: Environment,
    effect: Effect,
    idempotence: Idempotence,
    /// Of the tool, not of what is done: no part of the canonical form.
    network: bool,
    brings: Taints,
    at_most: Taints,
    /// What it uses at most, as its surface found out: no part of the canonical form.
    bound: Amounts,
    canonical: Vec<u8>,
    digest: [u8; 32],
}

/// Why something is not an action.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ActionError {
    /// Not of the form [`Verb`] asks for.
    #[error("`{0}` is not a verb: use 1 to 64 of a-z, 0-9, `_`, `-`, `.`")]
    Verb(String),
    /// Empty, too long, or with control characters.
    #[error("`{0}` is not a resource: use 1 to {RESOURCE_BYTES_MAX} bytes without control characters")]
    Resource(String),
    /// Not of the form [`Environment`] asks for.
    #[error("`{0}` is not an environment: use 1 to 64 of a-z, 0-9, `_`, `-`")]
    Environment(String),
    /// Arguments are not a JSON object.
    #[error("arguments are not a JSON object")]
    NotAnObject,
    /// Arguments have no canonical form, or too large a one.
    #[error("arguments: {0}")]
    Arguments(#[from] CanonicalError),
}

impl Verb {
    /// Checks and wraps.
    pub fn new(text: &str) -> Result<Verb, ActionError> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b));
        if fits {
            Ok(Verb(text.to_owned()))
        } else {
            Err(ActionError::Verb(text.to_owned()))
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Environment {
    /// Checks and wraps.
    pub fn new(text: &str) -> Result<Environment, ActionError> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
        if fits {
            Ok(Environment(text.to_owned()))
        } else {
            Err(ActionError::Environment(text.to_owned()))
        }
    }

    /// `production`.
    pub fn production() -> Environment {
        Environment(PRODUCTION.to_owned())
    }

    /// Whether this is production. Fails closed: only the well-known names of other places
    /// (`development`, `dev`, `test`, `testing`, `staging`, `sandbox`, `preview`, `local`) are not.
    pub fn is_production(&self) -> bool {
        !matches!(
            self.0.as_str(),
            "development" | "dev" | "test" | "testing" | "staging" | "sandbox" | "preview" | "local"
        )
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Effect {
    /// `read`, `write` or `destructive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Read => "read",
            Effect::Write => "write",
            Effect::Destructive => "destructive",
        }
    }
}

impl Idempotence {
    /// `idempotent` or `once`.
    pub fn as_str(self) -> &'static str {
        match self {
            Idempotence::Idempotent => "idempotent",
            Idempotence::Once => "once",
        }
    }
}

impl Action {
    /// Checks every part and fixes the canonical form and digest.
    pub fn new(
        verb: Verb,
        resource: &str,
        arguments: Value,
        environment: Environment,
        effect: Effect,
        idempotence: Idempotence,
    ) -> Result<Action, ActionError> {
        let fits =
            (1..=RESOURCE_BYTES_MAX).contains(&resource.len()) && !resource.chars().any(char::is_control);
        if !fits {
            return Err(ActionError::Resource(resource.chars().take(80).collect()));
        }
        if !arguments.is_object() {
            return Err(ActionError::NotAnObject);
        }
        let canonical = canonical_form(&verb, resource, &arguments, &environment, effect, idempotence)?;
        let digest = Sha256::digest(&canonical).into();
        Ok(Action {
            verb,
            resource: resource.to_owned(),
            arguments,
            environment,
            effect,
            idempotence,
            network: true,
            brings: Taints::NONE,
            at_most: Taints::UNTRUSTED,
            bound: CALL,
            canonical,
            digest,
        })
    }

    /// Says, as only its tool can, what its result brings into the session.
    #[must_use]
    pub fn bringing(self, brings: Taints) -> Action {
        Action { brings, ..self }
    }

    /// Says, as only its tool can, what its result may hold besides. Until that is said: untrusted text.
    #[must_use]
    pub fn at_most(self, at_most: Taints) -> Action {
        Action { at_most, ..self }
    }

    /// Says, as only its tool can, that doing it reaches no network. Until that is said it counts as if it
    /// did.
    #[must_use]
    pub fn local(self) -> Action {
        Action {
            network: false,
            ..self
        }
    }

    /// Says, as only its tool or surface can, what doing it uses at most. Until that is said: one call.
    #[must_use]
    pub fn costing(self, bound: Amounts) -> Action {
        Action { bound, ..self }
    }

    /// The operation.
    pub fn verb(&self) -> &Verb {
        &self.verb
    }
    /// What it acts on: `repository/patient`, `http://127.0.0.1:8080/metrics`.
    pub fn resource(&self) -> &str {
        &self.resource
    }
    /// A JSON object; exactly what will be done is in here.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }
    /// Where it takes effect.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
    /// What it does to its resource.
    pub fn effect(&self) -> Effect {
        self.effect
    }
    /// Whether it may be repeated.
    pub fn idempotence(&self) -> Idempotence {
        self.idempotence
    }
    /// Whether doing it may reach the network.
    pub fn reaches_network(&self) -> bool {
        self.network
    }
    /// What doing it uses at most: reserved before it begins.
    pub fn bound(&self) -> &Amounts {
        &self.bound
    }
    /// What its result brings into the session, whatever it turns out to be.
    pub fn brings(&self) -> Taints {
        self.brings
    }
    /// What its result may bring: what entered the session when nobody knows how it ended.
    pub fn may_bring(&self) -> Taints {
        self.brings.and(self.at_most)
    }
    /// RFC 8785 form of `{arguments, effect, environment, idempotence, resource, verb}`.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }
    /// SHA-256 of [`Action::canonical`]. Belongs in payloads only; leaves hold a salted commitment.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// The members stand in the order of RFC 8785 already; the arguments are written one container deep,
/// so that whoever reads the whole strictly finds it within the limit of depth.
fn canonical_form(
    verb: &Verb,
    resource: &str,
    arguments: &Value,
    environment: &Environment,
    effect: Effect,
    idempotence: Idempotence,
) -> Result<Vec<u8>, CanonicalError> {
    let mut out = b"{\"arguments\":".to_vec();
    let before = out.len();
    canonical::write_value(&mut out, arguments, 1)?;
    if out.len() - before > ARGUMENTS_BYTES_MAX {
        return Err(CanonicalError::TooLarge {
            limit: ARGUMENTS_BYTES_MAX,
        });
    }
    let members = [
        ("effect", effect.as_str()),
        ("environment", environment.as_str()),
        ("idempotence", idempotence.as_str()),
        ("resource", resource),
        ("verb", verb.as_str()),
    ];
    for (name, text) in members {
        out.push(b',');
        canonical::write_string(&mut out, name);
        out.push(b':');
        canonical::write_string(&mut out, text);
    }
    out.push(b'}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn action(
        verb: &str,
        resource: &str,
        arguments: Value,
        environment: &str,
    ) -> Result<Action, ActionError> {
        let (verb, environment) = (Verb::new(verb)?, Environment::new(environment)?);
        Action::new(
            verb,
            resource,
            arguments,
            environment,
            Effect::Write,
            Idempotence::Once,
        )
    }

    #[test]
    fn the_canonical_form_is_the_whole_action() {
        let action = action(
            "git.propose",
            "repository/\"é\"",
            json!({"z": 1.0, "a": [true]}),
            "staging",
        )
        .unwrap();
        let expected = r#"{"arguments":{"a":[true],"z":1},"effect":"write","environment":"staging","idempotence":"once","resource":"repository/\"é\"","verb":"git.propose"}"#;
        assert_eq!(String::from_utf8_lossy(action.canonical()), expected);
        let whole = canonical::parse(action.canonical(), 1 << 20).unwrap();
        assert_eq!(canonical::to_bytes(&whole).unwrap(), action.canonical());
        assert_eq!(canonical::digest(&whole).unwrap(), *action.digest());
    }

    #[test]
    fn what_no_tool_called_local_counts_as_reaching_the_network() {
        let made = action("a", "r", json!({}), "dev").unwrap();
        assert!(made.reaches_network());
        let local = made.clone().local();
        assert!(!local.reaches_network());
        assert_eq!(local.digest(), made.digest(), "an approval is of what is done");
    }

    #[test]
    fn every_part_changes_the_digest() {
        let base = action("a", "r", json!({"x": 1}), "dev").unwrap();
        let others = [
            action("b", "r", json!({"x": 1}), "dev"),
            action("a", "s", json!({"x": 1}), "dev"),
            action("a", "r", json!({"x": 2}), "dev"),
            action("a", "r", json!({"x": 1}), "test"),
        ];
        for other in others {
            assert_ne!(base.digest(), other.unwrap().digest());
        }
        for (effect, idempotence) in [
            (Effect::Read, Idempotence::Once),
            (Effect::Destructive, Idempotence::Once),
            (Effect::Write, Idempotence::Idempotent),
        ] {
            let (verb, environment) = (base.verb().clone(), base.environment().clone());
            let other = Action::new(verb, "r", json!({"x": 1}), environment, effect, idempotence).unwrap();
            assert_ne!(base.digest(), other.digest(), "{effect:?} {idempotence:?}");
        }
    }

    #[test]
    fn what_is_not_an_action_is_refused_with_the_part() {
        let deep = (0..canonical::DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
        let large = json!({"text": "x".repeat(ARGUMENTS_BYTES_MAX)});
        let long = "r".repeat(RESOURCE_BYTES_MAX + 1);
        let too_long = format!(
            "`{}` is not a resource: use 1 to 1024 bytes without control characters",
            "r".repeat(80)
        );
        #[rustfmt::skip]
        let table = [
            (action("", "r", json!({}), "dev"), "`` is not a verb: use 1 to 64 of a-z, 0-9, `_`, `-`, `.`"),
            (action("Git", "r", json!({}), "dev"), "`Git` is not a verb: use 1 to 64 of a-z, 0-9, `_`, `-`, `.`"),
            (action("a", "r", json!({}), "Prod"), "`Prod` is not an environment: use 1 to 64 of a-z, 0-9, `_`, `-`"),
            (action("a", "", json!({}), "dev"), "`` is not a resource: use 1 to 1024 bytes without control characters"),
            (action("a", "a\nb", json!({}), "dev"), "`a\nb` is not a resource: use 1 to 1024 bytes without control characters"),
            (action("a", &long, json!({}), "dev"), too_long.as_str()),
            (action("a", "r", json!([]), "dev"), "arguments are not a JSON object"),
            (action("a", "r", json!({"a": {"b": u64::MAX}}), "dev"), "arguments: number `18446744073709551615` at `/a/b` cannot be carried by JSON without loss"),
            (action("a", "r", json!({"deep": deep}), "dev"), "arguments: document is nested deeper than 64"),
            (action("a", "r", large, "dev"), "arguments: document is larger than 262144 bytes"),
        ];
        for (result, expected) in table {
            assert_eq!(result.expect_err(expected).to_string(), expected);
        }
    }

    #[test]
    fn only_well_known_names_are_not_production() {
        for (name, production) in [
            ("production", true),
            ("prod", true),
            ("staging2", true),
            ("staging", false),
            ("dev", false),
            ("local", false),
        ] {
            assert_eq!(
                Environment::new(name).unwrap().is_production(),
                production,
                "{name}"
            );
        }
    }
}
