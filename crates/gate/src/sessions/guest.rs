//! Sessions of guests: programs of others that run behind walls. The person who starts one may lend to its agent, for
//! this one session, what it does not hold by itself.
//!
//! INVARIANT (nothing lent without a lender): what is lent counts as held by the one that acts, and the person who lent
//! it stays first in its chain, so it is never more than that person may do.

use super::{NewSession, SessionError, SessionView};
use crate::Gate;
use journal::kind;
use policy::budget::Ceiling;
use policy::{Capability, Chain, Grant, Principal, PrincipalKind};
use serde::{Deserialize, Serialize};

/// The platform's own agent for programs that no document speaks of. It holds nothing by itself.
pub const GUEST: &str = "cofferdam-guest";
/// Most capabilities that are lent to one session: all of them stand in its first entry.
const LENT_MAX: usize = 64;

/// What makes a session one of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSession {
    /// What its cause lent to its agent, for this session alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lent: Vec<Capability>,
    /// Whether it is there to find out what its program needs: what is lent may name every resource of a verb.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learns: bool,
    /// What it may use in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Ceiling>,
}

/// How many actions of one session were judged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Permitted, by a person or without one.
    pub permitted: u64,
    /// Denied, by a rule, a person or a limit.
    pub denied: u64,
    /// Calls of models that were permitted.
    pub turns: u64,
    /// What they cost, in millionths of a US dollar, as far as they are over.
    pub micros: u64,
}

impl Gate {
    /// A session for a guest of `new.agent`. Only a person lends to it.
    ///
    /// # Errors
    /// There is no such agent, it cannot be lent that, or the store cannot write.
    pub async fn create_guest_session(
        &self,
        new: NewSession,
        guest: GuestSession,
    ) -> Result<SessionView, SessionError> {
        let GuestSession { lent, learns, .. } = &guest;
        let is_wide = |one: &Capability| one.is_unbounded() && !(*learns && one.names_a_verb());
        let reason = match () {
            () if !lent.is_empty() && new.cause.kind != PrincipalKind::Person => "only a person lends",
            () if lent.len() > LENT_MAX => "it is more than 64 capabilities",
            () if lent.iter().any(is_wide) => "it names no verb or no resource",
            () => {
                let created = self.create_with(new, None, Some(guest)).await;
                return created.map(|(view, _)| view);
            }
        };
        Err(SessionError::NotLent(reason))
    }

    /// How the actions of a session were judged so far.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn tally(&self, session: &str) -> Result<Tally, SessionError> {
        let session = self.session(session)?;
        let mut tally = Tally::default();
        self.store.read(|reader| {
            super::each_entry(reader, &session, |entry| {
                match entry.kind.as_str() {
                    kind::ACTION_PERMITTED => {
                        tally.permitted += 1;
                        tally.turns += u64::from(
                            entry
                                .body
                                .get("verb")
                                .is_some_and(|verb| verb == crate::llm::VERB),
                        );
                    }
                    kind::ACTION_SETTLED => {
                        let cost = entry
                            .body
                            .pointer("/resources/cost_micros")
                            .and_then(serde_json::Value::as_u64);
                        tally.micros += cost.unwrap_or_default();
                    }
                    kind::ACTION_DENIED => tally.denied += 1,
                    _ => {}
                }
                Ok(())
            })
        })?;
        Ok(tally)
    }
}

impl SessionView {
    /// The chain with what was lent for this session: the one that acts has it besides its own.
    pub(crate) fn lending(&self, mut chain: Chain) -> Chain {
        let Some(guest) = &self.guest else { return chain };
        let lent = guest.lent.iter().map(|capability| Grant {
            capability: capability.clone(),
            from: format!("{}, for {}", self.cause, self.id),
            until: None,
        });
        let acts = Principal::agent(&self.agent);
        if let Some(link) = chain.links.last_mut().filter(|link| link.principal == acts) {
            link.grants.extend(lent);
        }
        chain
    }
}
