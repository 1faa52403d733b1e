//! An answer that is given again, and who has to wait for a model in turn.

use super::attempt::{Outgoing, Tried, action, arguments};
use super::reply::{Body, Reply};
use super::settle::{Account, Ended};
use super::spec::Model;
use super::spoken::Spoken;
use super::{Ask, Llm, cache};
use crate::egress::answer::Refused;
use bytes::Bytes;
use policy::budget::Amounts;
use std::sync::Arc;
use std::time::Duration;

impl Llm {
    /// The key of an answer that may be given again, and the answer if there is one.
    pub(super) fn kept(
        &self,
        ask: &Ask,
        spoken: &Spoken<'_>,
        model: &Model,
        body: &[u8],
        ttl: Option<Duration>,
    ) -> Option<(cache::Key, Option<Bytes>)> {
        let ttl = ttl.filter(|_| spoken.request.cacheable() && !spoken.request.stream())?;
        let opts_out = |(name, value): &(String, String)| {
            name == "cache-control" && (value.contains("no-cache") || value.contains("no-store"))
        };
        if ask.headers.iter().any(opts_out) {
            return None;
        }
        let view = self.gate.session(&ask.session).ok()?;
        let authority = self.gate.authority();
        let organization = authority.agents.get(&view.agent)?.place.organization.clone();
        // What the client speaks is part of what it gets.
        let client = spoken
            .translation
            .as_ref()
            .map_or("", |translation| translation.client.name());
        // So is what is asked for in headers.
        let asked = ask
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("anthropic-") || name == "openai-beta");
        let asked: String = asked.map(|(name, value)| format!("{name}:{value};")).collect();
        let of = format!("{}/{client}/{}/{asked}{}", model.name, model.endpoint, ask.query);
        let key = cache::key(&organization, &of, body);
        Some((key, self.cache.get(&key, ttl)))
    }

    /// An answer that is given again. It is an action like any other, that costs nothing.
    pub(super) async fn again(
        self: &Arc<Self>,
        ask: &Ask,
        spoken: &Spoken<'_>,
        model: &Arc<Model>,
        outgoing: Outgoing,
        body: Bytes,
    ) -> Tried {
        let free = Amounts {
            turns: 1,
            ..Amounts::default()
        };
        let outgoing = Outgoing {
            most: free,
            ..outgoing
        };
        let Some(action) =
            action(model, arguments(spoken, model, &outgoing)).map(|action| action.costing(free))
        else {
            return Tried::Refused(Refused::new(400, "malformed", "the request makes no action"));
        };
        match self.admit(ask, action).await {
            Err(refused) => Tried::Refused(refused),
            Ok(flight) => {
                let entry = flight.entry();
                let account = Account::new(self, model, spoken.request.protocol(), free);
                drop(account.hand_over(flight, Ended::again()));
                Tried::Answered(Reply {
                    status: 200,
                    headers: vec![
                        ("content-type".to_owned(), "application/json".to_owned()),
                        ("cofferdam-entry".to_owned(), entry.to_string()),
                        ("cofferdam-cache".to_owned(), "hit".to_owned()),
                    ],
                    body: Body::Whole(body),
                })
            }
        }
    }

    /// Where the agent of a session belongs: who waits, waits in turn with others.
    pub(super) fn project(&self, session: &str) -> String {
        let view = self.gate.session(session).ok();
        let authority = self.gate.authority();
        let held = view.and_then(|view| {
            authority
                .agents
                .get(&view.agent)
                .map(|held| held.place.to_string())
        });
        held.unwrap_or_default()
    }
}
