//! What the gate would say, rule by rule, without asking it to decide.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use policy::{Action, ActionError, Effect, Environment, Idempotence, Principal, Verb};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    agent: String,
    verb: String,
    /// May be left out when the agent's tool computes it from the arguments.
    resource: Option<String>,
    /// As `resource`.
    environment: Option<String>,
    /// As `resource`. Only for the sake of the question: a real action's effect is its tool's.
    effect: Option<Effect>,
    #[serde(default)]
    arguments: Option<Value>,
    /// The delegation that it would act under.
    delegation: Option<String>,
}

/// `POST /api/v1/explain`: the decision about a hypothetical action, and what would change it.
///
/// `assumed` lists what was neither given nor computed by a tool. To compute it the tool may look at the
/// world without a permit, so of what it computed only the resource, the environment and the effect
/// are told; the arguments are told as they were given.
pub async fn explain(call: Call) -> Answer {
    let mut question: Question = call.json()?;
    if let Some((name, _)) = call.app.gate.authority().resolve(&question.agent) {
        question.agent = name.to_owned();
    }
    if let Some(own) = call.caller.delegation() {
        let asked = question.delegation.get_or_insert_with(|| own.to_owned());
        if question.agent != call.caller.principal().name || asked.as_str() != own {
            return Err(ApiError::forbidden(
                "an agent asks about itself alone, under the delegation that it redeemed",
            ));
        }
    }
    let unknown = || ApiError::malformed("/agent", format!("there is no agent `{}`", question.agent));
    call.admit_agent(&question.agent, unknown)?;
    if let Some(id) = &question.delegation {
        call.admit_delegation(id, &question.agent, || {
            gate::DelegateError::Unknown(id.clone()).into()
        })?;
    }
    if let Some(id) = &question.delegation
        && call.app.gate.delegation(id)?.to != question.agent
    {
        let what = format!("delegation `{id}` is not to agent `{}`", question.agent);
        return Err(ApiError::malformed("/delegation", what));
    }
    let Ok(_slot) = call.app.explaining.try_acquire() else {
        return Err(ApiError::overloaded(
            "other questions are being answered; try again when they are",
        ));
    };
    let arguments = question.arguments.clone().unwrap_or_else(|| json!({}));
    let computed = call
        .app
        .configuration
        .propose(&question.agent, &question.verb, &arguments)
        .await;
    let mut assumed = Vec::new();
    let action = match (&computed, overrides(&question, computed.as_ref())) {
        (Some(action), false) => action.clone(),
        _ => hypothetical(&question, computed.as_ref(), arguments.clone(), &mut assumed)?,
    };
    let platform = Principal::service("cofferdam");
    let cause = match call.caller.delegation() {
        Some(_) => call.caller.principal(),
        None => &platform,
    };
    let delegation = question.delegation.as_deref();
    let explanation = call
        .app
        .gate
        .explain_as(cause, &question.agent, &action, delegation);
    let explanation = explanation
        .ok_or_else(|| ApiError::malformed("/agent", format!("there is no agent `{}`", question.agent)))?;
    ok(&json!({
        "agent": question.agent,
        "action": {
            "verb": action.verb(), "resource": action.resource(), "environment": action.environment(),
            "effect": action.effect(), "arguments": arguments,
        },
        "assumed": assumed,
        "outcome": explanation.outcome,
        "reason": explanation.reason,
        "remedy": explanation.remedy,
        "lines": explanation.lines,
    }))
}

/// Whether the question is about something else than the tool would propose.
fn overrides(question: &Question, computed: Option<&Action>) -> bool {
    computed.is_some_and(|action| {
        question
            .resource
            .as_deref()
            .is_some_and(|r| r != action.resource())
            || question
                .environment
                .as_deref()
                .is_some_and(|e| e != action.environment().as_str())
            || question.effect.is_some_and(|e| e != action.effect())
    })
}

fn hypothetical(
    question: &Question,
    computed: Option<&Action>,
    arguments: Value,
    assumed: &mut Vec<String>,
) -> Result<Action, ApiError> {
    let resource = match (&question.resource, computed) {
        (Some(resource), _) => resource.clone(),
        (None, Some(action)) => action.resource().to_owned(),
        (None, None) => {
            return Err(ApiError::malformed(
                "/resource",
                "no tool of the agent computes it from these arguments: give it",
            ));
        }
    };
    let environment = match (&question.environment, computed) {
        (Some(text), _) => Environment::new(text),
        (None, Some(action)) => Ok(action.environment().clone()),
        (None, None) => {
            assumed.push("environment production".to_owned());
            Ok(Environment::production())
        }
    };
    let effect = match (question.effect, computed) {
        (Some(effect), _) => effect,
        (None, Some(action)) => action.effect(),
        (None, None) => {
            assumed.push("effect write".to_owned());
            Effect::Write
        }
    };
    let idempotence = computed.map_or(Idempotence::Once, Action::idempotence);
    let made = Verb::new(&question.verb)
        .and_then(|verb| Action::new(verb, &resource, arguments, environment?, effect, idempotence));
    // What no tool computed counts as reaching the network, as an action of an unknown tool does.
    let local = computed.is_some_and(|action| !action.reaches_network());
    let made = made.map(|action| if local { action.local() } else { action });
    made.map_err(|error| {
        let place = match error {
            ActionError::Verb(_) => "/verb",
            ActionError::Resource(_) => "/resource",
            ActionError::Environment(_) => "/environment",
            ActionError::NotAnObject | ActionError::Arguments(_) => "/arguments",
        };
        ApiError::malformed(place, error.to_string())
    })
}
