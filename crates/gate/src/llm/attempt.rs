//! One try at one model: what it can cost, the gate, the wire, and what came of it. Each is an action of its own.

use super::price::Unbounded;
use super::reply::Reply;
use super::send::left;
use super::settle::Account;
use super::spec::{Model, Provider, VERB, resource};
use super::spoken::Spoken;
use super::{Ask, Body, Llm, Models};
use crate::egress::answer::Refused;
use crate::{Proposal, Refusal};
use policy::budget::Amounts;
use policy::{Action, Effect, Idempotence, InFlight, Taints, Verb};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use wire::{Change, Protocol, Request, Rewrite};

/// The largest request whose text is kept whole beside the entry, in bytes; of a larger one its digest is.
const KEPT_BYTES_MAX: usize = 160 * 1024;

/// How a try ended.
pub(super) enum Tried {
    /// There is an answer, or a stream has begun.
    Answered(Reply),
    /// The gate said no, or the request is wrong: nobody else is asked.
    Refused(Refused),
    /// The upstream failed.
    Failed {
        refused: Refused,
        /// Whether the same may do better.
        again: bool,
        /// When, as it says.
        after: Option<Duration>,
        /// Whether another may.
        elsewhere: bool,
    },
}

/// What is sent, and what it can cost.
pub(super) struct Outgoing {
    pub body: Vec<u8>,
    pub changes: Vec<Change>,
    pub most: Amounts,
    /// The cap on output tokens in force, of all answers together.
    pub cap: u64,
}

/// A call of `model` without anything of it: for asking whether there may be one.
pub(super) fn bare(model: &Model) -> Option<Action> {
    action(model, json!({}))
}

pub(super) fn action(model: &Model, arguments: Value) -> Option<Action> {
    let verb = Verb::new(VERB).ok()?;
    let (name, environment) = (resource(&model.name), model.environment.clone());
    let action = Action::new(
        verb,
        &name,
        arguments,
        environment,
        Effect::Read,
        Idempotence::Idempotent,
    );
    // What an answer says was made of what the session holds already.
    Some(action.ok()?.at_most(Taints::NONE))
}

impl Llm {
    /// A name that means nothing: recorded, as what the session's agent holds no grant for.
    pub(super) async fn unknown(&self, ask: &Ask, name: &str) -> Refused {
        let shown: String = name
            .chars()
            .filter(|c| !c.is_control() && *c != '*')
            .take(128)
            .collect();
        let what = format!("there is no model `{shown}` here");
        let made = Verb::new(VERB).and_then(|verb| {
            let environment = policy::Environment::production();
            Action::new(
                verb,
                &resource(&shown),
                json!({}),
                environment,
                Effect::Read,
                Idempotence::Idempotent,
            )
        });
        let Ok(action) = made else {
            return Refused::new(404, "model_not_found", what);
        };
        let refused = self
            .unlisted(ask, action, &what, "a Model or Route document of that name")
            .await;
        match refused.code {
            "not_granted" => Refused {
                status: 404,
                code: "model_not_found",
                ..refused
            },
            _ => refused,
        }
    }

    /// What is refused of `model` before the gate is asked whether it may be: each reason is an action of its own, or the
    /// second would count as a repeat of the first.
    async fn not_bounded(&self, ask: &Ask, model: &Model, why: &str, remedy: &str) -> Refused {
        match action(model, json!({ "refused": why })) {
            Some(action) => self.unlisted(ask, action, why, remedy).await,
            None => Refused::new(403, "not_granted", why),
        }
    }

    async fn unlisted(&self, ask: &Ask, action: Action, why: &str, remedy: &str) -> Refused {
        let step = self.steps.take(&ask.session, &action);
        let proposal = Proposal {
            session: ask.session.clone(),
            step: step.clone(),
            action: action.clone(),
        };
        let refusal = Box::pin(self.gate.refuse_unlisted(proposal, why, remedy)).await;
        let refused = self.known(&ask.session, &refusal, &action, step);
        match refused.code {
            "not_granted" => Refused {
                message: why.to_owned(),
                ..refused
            }
            .remedied(remedy),
            _ => refused,
        }
    }

    /// What the client is told, with the entry of it; its step may be used again.
    fn known(&self, session: &str, refusal: &Refusal, action: &Action, step: String) -> Refused {
        let known = self.gate.call(session, &step).ok().flatten();
        self.steps.refused(session, action, step);
        let refused = Refused::of(refusal).recorded(known.map(|call| call.first));
        match (refused.code, action.resource().strip_prefix("model/")) {
            ("not_granted", Some(model)) => refused.remedied(format!(
                "name it in `agents` of Model `{model}`; for one run: cofferdam run --model {model}"
            )),
            _ => refused,
        }
    }

    /// One try.
    pub(super) async fn attempt(
        self: &Arc<Self>,
        ask: &Ask,
        spoken: &Spoken<'_>,
        models: &Models,
        model: &Arc<Model>,
        cache: Option<Duration>,
    ) -> Tried {
        let outgoing = match self.outgoing(ask, &spoken.request, models, model).await {
            Ok(outgoing) => outgoing,
            Err(refused) => return Tried::Refused(refused),
        };
        let kept = self.kept(ask, spoken, model, &outgoing.body, cache);
        if let Some((_, Some(body))) = &kept {
            return self.again(ask, spoken, model, outgoing, body.clone()).await;
        }
        // INVARIANT (waiting holds nothing): before the gate is asked, so that nothing is reserved meanwhile.
        let project = self.project(&ask.session);
        let entering = self
            .queues
            .enter(&model.name, model.concurrent, &project, model.timeout);
        let entered = tokio::select! {
            biased;
            entered = entering => entered,
            () = left(ask) => Err(Refused::new(499, "client_gone", "the client left")),
        };
        let place = match entered {
            Ok(place) => place,
            Err(refused) => return Tried::Refused(refused),
        };
        let arguments = arguments(spoken, model, &outgoing);
        let Some(action) = action(model, arguments).map(|action| action.costing(outgoing.most)) else {
            return Tried::Refused(Refused::new(400, "malformed", "the request makes no action"));
        };
        let flight = match self.admit(ask, action).await {
            Ok(flight) => flight,
            Err(refused) => return Tried::Refused(refused),
        };
        let account = Account::new(self, model, spoken.request.protocol(), outgoing.most).holding(place);
        let tried = self.fly(ask, spoken, (model, outgoing), flight, account).await;
        if let (
            Some((key, None)),
            Tried::Answered(Reply {
                status: 200,
                body: Body::Whole(body),
                ..
            }),
        ) = (&kept, &tried)
        {
            self.cache.put(*key, body);
        }
        tried
    }

    pub(super) async fn admit(&self, ask: &Ask, action: Action) -> Result<InFlight, Refused> {
        let step = self.steps.take(&ask.session, &action);
        let proposal = Proposal {
            session: ask.session.clone(),
            step: step.clone(),
            action: action.clone(),
        };
        let refusal = match Box::pin(self.gate.admit_soon(proposal)).await {
            Ok(permit) => match permit.spend(self.gate.stop_set()) {
                Ok(flight) => return Ok(flight),
                Err(stopped) => Refusal::Stopped(stopped),
            },
            Err(refusal) => refusal,
        };
        Err(self.known(&ask.session, &refusal, &action, step))
    }

    /// Refuses content that may not go to `model`.
    async fn kept_here(&self, ask: &Ask, models: &Models, model: &Model) -> Result<(), Refused> {
        let view = self.gate.session(&ask.session);
        let view = view.map_err(|error| Refused::new(503, "unrecorded", error.to_string()))?;
        let subject = self.gate.session_subject(&view);
        let agents = subject.agents.iter().map(|member| member.name.as_str());
        if let Some(why) = models.keeps(model, agents, view.taint) {
            let remedy = "a model that runs on premises, or another `sensitivity` of the agent";
            return Err(self.not_bounded(ask, model, &why, remedy).await);
        }
        Ok(())
    }

    /// Refuses what has no bound, by its place.
    async fn most(
        &self,
        ask: &Ask,
        model: &Model,
        most: Result<(u64, u64), Unbounded>,
    ) -> Result<(u64, u64), Refused> {
        let unbounded = match most {
            Ok(most) => return Ok(most),
            Err(unbounded) => unbounded,
        };
        let place = match unbounded.place.as_str() {
            "" => "the request",
            place => place,
        };
        let why = format!("{place}: {} has no ceiling price", unbounded.what);
        Err(self.not_bounded(ask, model, &why, unbounded.remedy).await)
    }

    /// What would be sent, unless it may not be or nobody knows what it could cost.
    async fn outgoing(
        &self,
        ask: &Ask,
        request: &Request,
        models: &Models,
        model: &Model,
    ) -> Result<Outgoing, Refused> {
        self.kept_here(ask, models, model).await?;
        let Some(price) = &model.price else {
            let why = format!(
                "model `{}` has no price, so that nobody knows what it could cost",
                model.name
            );
            return Err(self
                .not_bounded(
                    ask,
                    model,
                    &why,
                    "give the Model `price.input` and `price.output`",
                )
                .await);
        };
        let mut bound = request.bound();
        bound.costs.retain(|cost| !model.passes(cost));
        let cap = bound.output_cap.unwrap_or(model.output);
        let protocol = request.protocol();
        let free = protocol == Protocol::CountTokens;
        let writes = !matches!(protocol, Protocol::Embeddings | Protocol::CountTokens);
        if writes && cap == 0 {
            let why = format!("nobody knows how long answers of model `{}` can be", model.name);
            return Err(self
                .not_bounded(
                    ask,
                    model,
                    &why,
                    "set an output cap, or give the Model `outputTokens`",
                )
                .await);
        }
        let most = match free {
            true => (0, 0),
            false => {
                let most = price.most(&bound, cap, model.context);
                self.most(ask, model, most).await?
            }
        };
        let (body, changes) = request.rewrite(&Rewrite {
            model: Some(&model.upstream),
            output_cap: writes.then_some(cap),
            older_cap: model.provider.knows_older_cap(),
            // Mistral sends it unasked, and knows no such field.
            ask_usage: request.stream() && model.provider != Provider::Mistral,
        });
        Ok(Outgoing {
            body,
            changes,
            cap: cap
                .max(bound.thinking_budget.unwrap_or_default())
                .saturating_mul(bound.choices.max(1)),
            most: Amounts {
                micros: most.0,
                tokens: most.1,
                turns: 1,
                calls: 0,
            },
        })
    }
}

/// What the record holds of a call: everything, of one that is not large.
pub(super) fn arguments(spoken: &Spoken<'_>, model: &Model, outgoing: &Outgoing) -> Value {
    let request = &spoken.request;
    let body = &outgoing.body;
    let sha256: [u8; 32] = Sha256::digest(body).into();
    let changes: Vec<Value> = outgoing
        .changes
        .iter()
        .map(|change| json!({ "at": change.pointer, "from": change.from, "to": change.to }))
        .collect();
    let mut arguments = json!({
        "model": model.upstream, "endpoint": model.endpoint.as_str(), "protocol": request.protocol().name(),
        "stream": request.stream(), "bytes": body.len(), "sha256": policy::canonical::hex(&sha256),
        "changes": changes, "most": outgoing.most,
    });
    if let (Some(translation), Some(members)) = (&spoken.translation, arguments.as_object_mut()) {
        members.insert("translated".to_owned(), translation.told());
    }
    // What goes out is text: it was checked.
    if let (true, Ok(text), Some(members)) = (
        body.len() <= KEPT_BYTES_MAX,
        std::str::from_utf8(body),
        arguments.as_object_mut(),
    ) {
        members.insert("request".to_owned(), text.into());
    }
    arguments
}
