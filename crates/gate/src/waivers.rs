//! Waivers: for a while, what an approver once approved is not asked again. Each action is still admitted,
//! decided and recorded, and its entry names the waiver.
//!
//! A waiver is of one agent, verb, resource, environment and effect, on behalf of the same principals and under
//! the same delegation as the approval it came from. It answers rules that let their asking be waived and
//! nothing else: that is `policy::decide`'s to say, each time. It ends by its time, with its session, when
//! somebody revokes it, at every stop that may be about its chain, and when an agent on it is suspended or
//! revoked; and it counts as long as those who gave it may still decide.

mod projection;

pub(crate) use projection::Waivers;

use crate::approvals::ApprovalView;
use crate::gate::platform;
use crate::record::short;
use crate::rows::{self, decode};
use crate::{Caller, Gate, SessionView, Spot, approvals, sessions};
use policy::{Action, Approved, Effect, Principal, Stages, Taints, Timestamp, Waived, WaiverScope};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use store::{Reader, Row, StoreError, Tx};

/// Name of the projection.
pub(crate) const WAIVERS: &str = "waivers";
/// Kinds of entries.
pub(crate) const GRANTED: &str = "waiver.granted";
/// See [`GRANTED`].
pub(crate) const REVOKED: &str = "waiver.revoked";
/// See [`GRANTED`].
pub(crate) const EXPIRED: &str = "waiver.expired";

/// Where a waiver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum WaiverState {
    Active,
    Revoked,
    Expired,
    /// A stop came, or an agent of its chain was suspended, revoked or removed.
    Void,
}

impl WaiverState {
    /// The only place a waiver changes state: it ends once, whichever way.
    fn after(self, end: WaiverState) -> Option<WaiverState> {
        match (self, end) {
            (WaiverState::Active, WaiverState::Revoked | WaiverState::Expired | WaiverState::Void) => {
                Some(end)
            }
            _ => None,
        }
    }
}

/// A waiver as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct WaiverView {
    /// `wvr-61`.
    pub id: String,
    pub state: WaiverState,
    /// The approval that it came from.
    pub approval: String,
    /// The session of that approval.
    pub session: String,
    pub agent: String,
    /// Everybody on whose behalf the agent acted, and the agent.
    pub behalf: Vec<String>,
    /// The delegation that it acted under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    pub verb: String,
    pub resource: String,
    pub environment: String,
    pub effect: Effect,
    pub scope: WaiverScope,
    pub granted: Timestamp,
    /// `None` for one that ends with its session.
    pub expires: Option<Timestamp>,
    /// Names of those who approved.
    pub by: Vec<String>,
    /// What the rules asked, and they answered.
    pub questions: Vec<String>,
    /// The lists of stages that they answered.
    pub asked: Vec<Stages>,
    /// What had entered the session when it was asked.
    pub taint: Taints,
    pub ended_by: Option<String>,
    pub ended_at: Option<Timestamp>,
    pub ended_because: Option<String>,
}

/// Why a waiver is not ended.
#[derive(Debug, thiserror::Error)]
pub enum WaiverError {
    /// There is none of that id.
    #[error("no waiver `{0}`")]
    Unknown(String),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// Those that hold first, then the newest, up to `limit`.
    pub fn waivers(&self, limit: usize) -> Result<Vec<WaiverView>, StoreError> {
        let now = self.deadlines.now();
        self.store.read(|reader| {
            let all = |view: &WaiverView| view.state == WaiverState::Active && !view.is_over(now);
            let mut shown = rows::newest(reader, WAIVERS, limit, all)?;
            let rest = limit - shown.len();
            shown.extend(rows::newest(reader, WAIVERS, rest, |view| !all(view))?);
            Ok(shown.into_iter().map(|view| view.at(now)).collect())
        })
    }

    /// Ends a waiver now. One that has ended stays as it is.
    pub async fn revoke_waiver(
        &self,
        caller: &Caller,
        id: &str,
        reason: &str,
    ) -> Result<WaiverView, WaiverError> {
        let (by, id, reason) = (caller.principal.clone(), id.to_owned(), short(reason));
        let write = move |tx: &mut Tx<'_>| {
            let view = row(tx, &id)?.ok_or_else(|| WaiverError::Unknown(id.clone()))?;
            if view.state == WaiverState::Active {
                end(tx, REVOKED, &view, &by, &reason)?;
            }
            Ok(row(tx, &id)?.unwrap_or(view))
        };
        let written = self.store.write::<_, WaiverError, _>(write).await?;
        Ok(written.value)
    }

    /// Records the end of waivers whose time is over. Called by a timer; they do not hold before that either.
    pub(crate) async fn expire_waivers(&self) -> Result<(), StoreError> {
        let deadlines = Arc::clone(&self.deadlines);
        let now = deadlines.now();
        let over = self.store.read(|reader| {
            let active = reader.find(WAIVERS, "active", "yes")?.into_iter();
            let views = active.map(|row| decode::<WaiverView>(row.value));
            views
                .filter(|view| view.as_ref().map_or(true, |view| view.is_over(now)))
                .collect::<Result<Vec<_>, _>>()
        })?;
        if over.is_empty() {
            return Ok(());
        }
        let write = move |tx: &mut Tx<'_>| {
            for view in over {
                if row(tx, &view.id)?.is_some_and(|view| view.state == WaiverState::Active) {
                    end(tx, EXPIRED, &view, &platform(), "its time is over")?;
                }
            }
            Ok(())
        };
        self.store.write::<_, StoreError, _>(write).await.map(drop)
    }
}

impl WaiverView {
    /// Whether its time is over.
    fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// As it stands at `now`: its time may be over before that is recorded.
    fn at(self, now: Timestamp) -> WaiverView {
        let expired = self.state == WaiverState::Active && self.is_over(now);
        WaiverView {
            state: if expired { WaiverState::Expired } else { self.state },
            ..self
        }
    }

    /// As a decision weighs it.
    fn given(&self) -> Approved {
        Approved {
            id: self.id.clone(),
            by: self.by.clone(),
            questions: self.questions.clone(),
            asked: self.asked.clone(),
            waiver: Some(Waived {
                scope: self.scope,
                taint: self.taint,
            }),
        }
    }

    /// Whether it is of `action` by this agent, in this session, on behalf of the same and for an account that
    /// is not its giver's: nobody approves what they caused, by a waiver neither.
    fn covers(&self, session: &SessionView, behalf: &[String], action: &Action, now: Timestamp) -> bool {
        let cause = &session.cause;
        let here = self.scope != WaiverScope::Session || self.session == session.id;
        let here = here && self.behalf == behalf && self.delegation == session.delegation;
        let same = self.environment == action.environment().as_str() && self.effect == action.effect();
        let own = cause.kind == policy::PrincipalKind::Person && self.by.contains(&cause.name)
            || self
                .by
                .iter()
                .any(|name| behalf.contains(&Principal::person(name).to_string()));
        self.state == WaiverState::Active && !self.is_over(now) && here && same && !own
    }
}

/// All that were ever given to `agent` for such an action.
pub(crate) fn alike(reader: &Reader<'_>, agent: &str, action: &Action) -> Result<Vec<Row>, StoreError> {
    reader.find(
        WAIVERS,
        "use",
        &use_of(agent, action.verb().as_str(), action.resource()),
    )
}

/// The newest waiver that covers `action` in `session`, on behalf of these, by whom acts there.
pub(crate) fn covering(
    reader: &Reader<'_>,
    alike: Vec<Row>,
    session: &SessionView,
    (behalf, spot): (Vec<String>, &Spot),
    (action, now): (&Action, Timestamp),
) -> Result<Option<Approved>, StoreError> {
    let mut found: Option<WaiverView> = None;
    for row in alike {
        let view: WaiverView = decode(row.value)?;
        let newer = found
            .as_ref()
            .is_none_or(|found| rows::number(&found.id) < rows::number(&view.id));
        if newer
            && view.covers(session, &behalf, action, now)
            && approvals::may_still_decide(
                reader,
                &session.id,
                spot,
                view.by.iter().map(String::as_str),
                now,
            )?
        {
            found = Some(view);
        }
    }
    Ok(found.map(|view| view.given()))
}

/// Whether it still holds in this transaction, for `session`.
pub(crate) fn still_holds(tx: &Tx<'_>, id: &str, session: &str, now: Timestamp) -> Result<bool, StoreError> {
    let Some(view) = row(tx, id)?.filter(|view| view.state == WaiverState::Active && !view.is_over(now))
    else {
        return Ok(false);
    };
    let resolvers = approvals::resolvers_in(tx, session)?;
    Ok(!resolvers.iter().any(|by| view.by.contains(&by.name)))
}

/// Records the waiver that all who approved `view` asked for.
pub(crate) fn grant(
    tx: &mut Tx<'_>,
    view: &ApprovalView,
    scope: WaiverScope,
    by: &Principal,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut names: Vec<&str> = Vec::new();
    for vote in &view.votes {
        if !names.contains(&vote.by.name.as_str()) {
            names.push(&vote.by.name);
        }
    }
    let expires = match scope {
        WaiverScope::Session => None,
        WaiverScope::Seconds(seconds) => Some(now.plus_ms(i64::from(seconds) * 1000)),
    };
    let body = json!({
        "waiver": format!("wvr-{}", tx.next_sequence()), "approval": view.id, "agent": view.agent,
        "behalf": view.behalf, "delegation": view.delegation,
        "verb": view.verb, "resource": view.resource, "environment": view.environment, "effect": view.effect,
        "scope": scope, "expires": expires, "by": names, "questions": view.questions,
        "asked": view.lists(), "taint": view.taint,
    });
    let entry = sessions::entry(tx, GRANTED, &view.session, by, body)?;
    tx.append(entry).map(drop)
}

/// Ends every waiver that reaches this session alone.
pub(crate) fn end_with_session(tx: &mut Tx<'_>, session: &str) -> Result<(), StoreError> {
    for row in tx.find(WAIVERS, "session", session)? {
        let view: WaiverView = decode(row.value)?;
        if view.scope == WaiverScope::Session {
            end(tx, EXPIRED, &view, &platform(), "its session ended")?;
        }
    }
    Ok(())
}

/// Ends the waiver that came from an approval which somebody takes back.
pub(crate) fn withdraw(tx: &mut Tx<'_>, approval: &ApprovalView, by: &Principal) -> Result<(), StoreError> {
    for row in tx.find(WAIVERS, "session", &approval.session)? {
        let view: WaiverView = decode(row.value)?;
        if view.approval == approval.id {
            end(tx, REVOKED, &view, by, "its approval was withdrawn")?;
        }
    }
    Ok(())
}

/// What the index `use` is by.
fn use_of(agent: &str, verb: &str, resource: &str) -> String {
    format!("{agent} {verb} {resource}")
}

fn row(tx: &Tx<'_>, id: &str) -> Result<Option<WaiverView>, StoreError> {
    tx.row(WAIVERS, id)?.map(decode).transpose()
}

fn end(
    tx: &mut Tx<'_>,
    kind: &'static str,
    view: &WaiverView,
    by: &Principal,
    reason: &str,
) -> Result<(), StoreError> {
    let body = json!({ "waiver": view.id, "reason": reason });
    let entry = sessions::entry(tx, kind, &view.session, by, body)?;
    tx.append(entry).map(drop)
}
