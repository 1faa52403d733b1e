//! `Channel` documents, and posting to a channel as an action of the platform's own agent.
//!
//! The platform delivers summaries itself, but not past its own gate: a post is an action
//! (`channel.post` on `channel/NAME`) of the built-in agent [`NOTIFIER`], which holds that one grant
//! and is permitted that one verb by a built-in rule. Deny rules and stops hold for it as for anybody.
//!
//! Never follows a redirect, never reaches a private address unless the document says so.

use crate::webhook;
use gate::{AgentAuthority, ApproverKey, Bounds, BoxFuture, ChannelApprover, Tool, ToolError};
use policy::{
    Action, Autonomy, Capability, Effect, Environment, Failure, Grant, Idempotence, InFlight, Level, Match,
    Outcome, PolicyDocument, Resources, RuleOutcome, RuleSpec, Settlement, Verb,
};
use secrets::SecretRef;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// Name of the agent that delivers. No document may define an agent of this name.
pub const NOTIFIER: &str = "cofferdam-notifier";
/// The only verb it has.
pub const VERB: &str = "channel.post";

/// `spec` of a `Channel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "type"
)]
pub enum ChannelSpec {
    /// Into the log of the process.
    Log {},
    /// `POST` of JSON, signed: `X-Cofferdam-Signature: sha256=HEX(HMAC-SHA-256(key, TIMESTAMP "." BODY))`
    /// and `X-Cofferdam-Timestamp` (seconds since 1970), `X-Cofferdam-Delivery` (the same id on every
    /// retry). Any 2xx takes it.
    Webhook {
        /// Where to.
        url: String,
        /// The HMAC key.
        secret_ref: SecretRef,
        /// Whether loopback and private addresses may be reached. Default no.
        #[serde(default)]
        private: bool,
        /// Who answers for it, when the system behind it approves what rules ask `webhook:NAME` about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approver: Option<ChannelApprover>,
    },
}

impl ChannelSpec {
    /// What is wrong with it beyond its form: a webhook's URL that is none, or holds a password.
    pub fn check(&self) -> Result<(), String> {
        match self {
            ChannelSpec::Log {} => Ok(()),
            ChannelSpec::Webhook { url, .. } => webhook::parse_url(url).map(drop),
        }
    }

    /// The key under which the system behind it answers, if it approves anything.
    pub fn approver(&self) -> Option<ApproverKey> {
        match self {
            ChannelSpec::Log {} => None,
            ChannelSpec::Webhook { approver, .. } => approver.as_ref().map(|approver| approver.public_key),
        }
    }
}

/// What the binary adds to every [`gate::Authority`]: the agent's name, what it holds, and the policy
/// that permits its one verb.
pub fn authority() -> (String, AgentAuthority, (String, PolicyDocument)) {
    let capability = Capability::new(VERB, "channel/*");
    let grants = capability.map(|capability| Grant {
        capability,
        from: "built-in/notifier".to_owned(),
        until: None,
    });
    let agent = AgentAuthority {
        grants: grants.into_iter().collect(),
        autonomy: Autonomy {
            default: Level::L3,
            ..Autonomy::default()
        },
        bounds: Bounds {
            actions_per_session: 50,
            actions_per_minute: 600,
            ..Bounds::default()
        },
        deny: Vec::new(),
        sponsor: "cofferdam".to_owned(),
        place: policy::Place::default(),
        trust: gate::TrustTerms::PLATFORM,
    };
    let rule = RuleSpec {
        name: Some("post".to_owned()),
        matching: Match {
            verbs: Some(vec![VERB.to_owned()]),
            resources: Some(vec!["channel/*".to_owned()]),
            effects: Some(vec![Effect::Write]),
            environments: None,
            agents: Some(vec![NOTIFIER.to_owned()]),
        },
        when: None,
        condition: None,
        outcome: RuleOutcome::Permit,
        reason: "the platform delivers what documents have a channel told of".to_owned(),
        approvers: policy::Stages::default(),
        waivable: Vec::new(),
        expires_after_seconds: None,
        opts_in: true,
    };
    (
        NOTIFIER.to_owned(),
        agent,
        (
            "built-in-notifier".to_owned(),
            PolicyDocument {
                rules: vec![rule],
                built_in: true,
                ..PolicyDocument::default()
            },
        ),
    )
}

/// The channels in force. Replaced as a whole by a new configuration.
#[derive(Debug, Default)]
pub(crate) struct Channels(RwLock<BTreeMap<String, ChannelSpec>>);

impl Channels {
    pub fn install(&self, channels: BTreeMap<String, ChannelSpec>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = channels;
    }
    pub fn get(&self, name: &str) -> Option<ChannelSpec> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }
}

/// `channel.post`: arguments `channel`, `delivery`, `message`. The channel's address becomes part of
/// the action, so that what is done is what was judged even when the document changes meanwhile.
pub(crate) struct Post {
    verb: Verb,
    channels: Arc<Channels>,
    sender: webhook::Sender,
    clock: store::clock::SharedClock,
    /// The platform's own files and directories: no key of a channel.
    private: Arc<[PathBuf]>,
}

impl Post {
    pub fn new(
        channels: Arc<Channels>,
        clock: store::clock::SharedClock,
        private: Arc<[PathBuf]>,
    ) -> Result<Post, policy::ActionError> {
        Ok(Post {
            verb: Verb::new(VERB)?,
            channels,
            sender: webhook::Sender::new(),
            clock,
            private,
        })
    }

    fn action(&self, arguments: &Value) -> Result<Action, ToolError> {
        let channel = text(arguments, "channel")?;
        let delivery = text(arguments, "delivery")?;
        let message = arguments
            .get("message")
            .ok_or_else(|| argument("message", "missing"))?;
        let spec = self.channels.get(channel).ok_or_else(|| ToolError::Unresolved {
            name: format!("channel/{channel}"),
            reason: "no such channel".to_owned(),
        })?;
        let to = serde_json::to_value(&spec).map_err(|error| argument("channel", &error.to_string()))?;
        let exact = json!({"channel": channel, "delivery": delivery, "to": to, "message": message});
        let (effect, idempotence) = (Effect::Write, Idempotence::Idempotent);
        let resource = format!("channel/{channel}");
        let local = matches!(spec, ChannelSpec::Log {});
        let action = Action::new(
            self.verb.clone(),
            &resource,
            exact,
            Environment::production(),
            effect,
            idempotence,
        )
        .map_err(|error| argument("/", &error.to_string()))?;
        // Nothing of what the other side says back is kept.
        let action = action.at_most(policy::Taints::NONE);
        Ok(if local { action.local() } else { action })
    }

    async fn post(&self, flight: &InFlight) -> Settlement {
        let arguments = flight.action().arguments();
        let to = arguments
            .get("to")
            .cloned()
            .map(serde_json::from_value::<ChannelSpec>);
        let (Some(Ok(spec)), Ok(delivery), Some(message)) =
            (to, text(arguments, "delivery"), arguments.get("message"))
        else {
            return settled(Outcome::Failure, "malformed", "the action names no channel");
        };
        match spec {
            ChannelSpec::Log {} => {
                let first = |places: [&str; 2]| {
                    let mut found = places.into_iter().filter_map(|place| message.pointer(place));
                    found.find_map(Value::as_str).unwrap_or_default().to_owned()
                };
                let said = first(["/summary/summary", "/text"]);
                let about = first(["/incident/id", "/about"]);
                tracing::info!(target: "cofferdam::channel", about, delivery, "{said}");
                settled(Outcome::Success, "", "logged")
            }
            ChannelSpec::Webhook {
                url,
                secret_ref,
                private,
                ..
            } => {
                let key = match secrets::lend(flight, &secret_ref, &self.private) {
                    Ok(key) => key,
                    Err(error) => return settled(Outcome::Failure, "no_secret", &error.to_string()),
                };
                let letter = webhook::Letter {
                    url: &url,
                    private,
                    delivery,
                    body: message.to_string().into_bytes(),
                };
                let cancel = flight.cancel();
                tokio::select! {
                    sent = self.sender.send(letter, &key, self.clock.now()) => report(sent),
                    () = cancel.cancelled() => settled(Outcome::Uncertain, "cancelled", "cut off by a stop"),
                }
            }
        }
    }
}

impl Tool for Post {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        "Posts a message to a channel. The same delivery twice is the same message."
    }
    fn schema(&self) -> Value {
        json!({
            "type": "object", "additionalProperties": false, "required": ["channel", "delivery", "message"],
            "properties": {
                "channel": {"type": "string", "maxLength": 253},
                "delivery": {"type": "string", "maxLength": 512},
                "message": {"type": "object"},
            },
        })
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move { self.action(arguments) })
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(self.post(flight))
    }
}

fn text<'a>(arguments: &'a Value, member: &str) -> Result<&'a str, ToolError> {
    arguments
        .get(member)
        .and_then(Value::as_str)
        .ok_or_else(|| argument(member, "not a string"))
}

fn argument(place: &str, what: &str) -> ToolError {
    ToolError::Arguments {
        place: place.to_owned(),
        what: what.to_owned(),
    }
}

fn report(sent: Result<u16, webhook::NotDelivered>) -> Settlement {
    use webhook::NotDelivered::{Lost, NotSent, Refused, Unusable};
    match sent {
        Ok(status) => settled(Outcome::Success, "", &format!("taken with status {status}")),
        Err(error @ Refused { .. }) => settled(Outcome::Failure, "http_status", &error.to_string()),
        Err(error @ Unusable(_)) => settled(Outcome::Failure, "unusable", &error.to_string()),
        Err(error @ NotSent(_)) => settled(Outcome::Failure, "not_connected", &error.to_string()),
        Err(error @ Lost(_)) => settled(Outcome::Uncertain, "no_answer", &error.to_string()),
    }
}

fn settled(outcome: Outcome, kind: &str, said: &str) -> Settlement {
    let summary = assay::redact::line(said, 200);
    let failure = (outcome != Outcome::Success).then(|| Failure {
        kind: kind.to_owned(),
        message: summary.clone(),
    });
    // What the other side says back is not kept, so nothing of the outside comes in.
    Settlement {
        outcome,
        result: Value::Null,
        summary,
        failure,
        resources: Resources::default(),
        taints: policy::Taints::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_channels_are_read_strictly() {
        let read = |text: &str| {
            let spec = serde_json::from_str::<ChannelSpec>(text).map_err(|error| error.to_string())?;
            spec.check().map(|()| spec)
        };
        assert_eq!(read(r#"{"type":"log"}"#), Ok(ChannelSpec::Log {}));
        assert_eq!(
            read(r#"{"type":"webhook","url":"https://x/y","secretRef":{"file":"/k"}}"#),
            Ok(ChannelSpec::Webhook {
                url: "https://x/y".to_owned(),
                secret_ref: SecretRef::File("/k".into()),
                private: false,
                approver: None,
            })
        );
        let key = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let text = format!(
            r#"{{"type":"webhook","url":"https://x/y","secretRef":{{"file":"/k"}},"approver":{{"publicKey":"{key}"}}}}"#
        );
        let approver = read(&text).map(|spec| spec.approver().map(|key| key.to_string()));
        assert_eq!(approver, Ok(Some(key.to_owned())));
        for (text, reason) in [
            (
                r#"{"type":"webhook","url":"https://x/y"}"#,
                "missing field `secretRef`",
            ),
            (r#"{"type":"pigeon"}"#, "unknown variant `pigeon`"),
            (
                r#"{"type":"webhook","url":"https://x","secretRef":{"file":"/k"},"approver":{"publicKey":"x"}}"#,
                "a public key is written `whpk_`",
            ),
            (
                r#"{"type":"webhook","url":"https://x","secretRef":{"file":"/k"},"approver":{}}"#,
                "missing field `publicKey`",
            ),
            (
                r#"{"type":"log","approver":{"publicKey":"x"}}"#,
                "unknown field `approver`",
            ),
            (
                r#"{"type":"webhook","url":"ftp://x","secretRef":{"file":"/k"}}"#,
                "neither http nor https",
            ),
            (
                r#"{"type":"webhook","url":"http://a:b@x","secretRef":{"file":"/k"}}"#,
                "a user or password",
            ),
        ] {
            let got = read(text).unwrap_err();
            assert!(got.contains(reason), "{text}: {got}");
        }
    }

    #[test]
    fn the_notifier_may_post_and_nothing_else() {
        let (name, agent, (_, document)) = authority();
        assert_eq!(name, NOTIFIER);
        assert_eq!(agent.grants.len(), 1);
        assert_eq!(agent.grants[0].capability.to_string(), "channel.post:channel/*");
        assert!(policy::PolicySet::load(&[("built-in-notifier".to_owned(), document)]).is_ok());
    }
}
