//! Ending a stop: by whoever has a role at each place at which it was raised, as policy lets them; durable
//! first, effective second.

use super::{STOPS, StopRow, raised};
use crate::record::short;
use crate::rows::decode;
use crate::{Authority, Gate, HeldAt, documents, held};
use journal::kind;
use policy::{Principal, PrincipalKind, Reach, Stop, StopScope};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{NewEntry, StoreError, Tx};

impl Gate {
    /// Ends the stop of this scope that stands now, if policy lets `by` do it and one of `reaches`, where
    /// their role holds, covers each place at which it was raised; durable first, effective second. A
    /// refusal is recorded. One that is pulled while this is being recorded stands. `false` when there was
    /// none, neither in memory nor in the journal.
    pub async fn lift(
        &self,
        by: &Principal,
        reaches: &[Reach],
        scope: &StopScope,
        reason: &str,
    ) -> Result<bool, LiftError> {
        self.end(by, reaches, scope, reason, Asked::Anybody(None)).await
    }

    /// The same in an organization of a platform: nothing is lifted as long as the same holds `above`, whoever
    /// raised it here.
    ///
    /// INVARIANT (the platform's is the platform's): that it holds is asked after what stands here was read. The
    /// platform stops itself before its organizations, so whatever is its own here is found to hold. Who raised it
    /// here does not tell: what stood when the platform stopped everything was not raised again for it.
    pub async fn lift_below(
        &self,
        by: &Principal,
        reaches: &[Reach],
        scope: &StopScope,
        reason: &str,
        above: Above,
    ) -> Result<bool, LiftError> {
        self.end(by, reaches, scope, reason, Asked::Anybody(Some(above)))
            .await
    }

    /// The same for whoever pulled it as a part of something else, such as the cancelling of a session that
    /// is over now: neither policy nor place is asked when nobody else pulled it, nor, when they are a
    /// person, they a second time.
    pub async fn lift_own(
        &self,
        by: &Principal,
        reaches: &[Reach],
        scope: &StopScope,
        reason: &str,
    ) -> Result<bool, LiftError> {
        self.end(by, reaches, scope, reason, Asked::IfNotAlone).await
    }

    /// The same, and nothing is lifted that anybody else pulled too, nor what holds `above` again by then: whoever
    /// lifts it everywhere has seen one stop, and a newer one may be here before they are.
    pub async fn lift_own_alone(
        &self,
        by: &Principal,
        scope: &StopScope,
        reason: &str,
        above: Above,
    ) -> Result<bool, LiftError> {
        self.end(by, crate::EVERYWHERE, scope, reason, Asked::Nobody(above))
            .await
    }

    async fn end(
        &self,
        by: &Principal,
        reaches: &[Reach],
        scope: &StopScope,
        reason: &str,
        asked: Asked,
    ) -> Result<bool, LiftError> {
        let (store, reserve, stops) = (
            self.store.clone(),
            Arc::clone(&self.reserve),
            Arc::clone(&self.stops),
        );
        let (by, scope, reason) = (by.clone(), scope.clone(), short(reason));
        let reaches = reaches.to_vec();
        let authority = Arc::clone(&self.authority);
        let task = tokio::spawn(async move {
            let mut reserve = reserve.lock().await;
            let standing = stops.standing(&scope);
            let waiting = reserve.waiting().iter().filter(|stop| stop.scope == scope);
            // Those that still wait for the lock are recorded here, before their end.
            let owed = standing.unrecorded.iter().map(|(_, stop)| stop.clone());
            let lift = Lift {
                owed: waiting.cloned().chain(owed).collect(),
                scope: scope.to_string(),
                by,
                reaches,
                reason,
                standing: standing.stop.clone(),
                authority: authority.load_full(),
                held_above: asked.is_held_above(),
                asked,
            };
            let write = move |tx: &mut Tx<'_>| lift.record(tx);
            let lifted = store.write::<_, StoreError, _>(write).await?.value?;
            if lifted {
                reserve.forget(&scope);
                for (number, _) in standing.unrecorded {
                    stops.recorded(number);
                }
                if let Some(number) = standing.number {
                    stops.lift(&scope, number);
                }
            }
            Ok(lifted)
        });
        task.await
            .map_err(|error| StoreError::Refused(format!("the stop was not lifted: {error}")))?
    }
}

/// Whether the same is stopped above now.
pub struct Above {
    /// Asked once.
    pub holds: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Whether policy and places are asked.
enum Asked {
    /// Always; and what somebody above holds is not lifted.
    Anybody(Option<Above>),
    /// Unless the stop is theirs alone.
    IfNotAlone,
    /// Never, for nothing is lifted but what is theirs alone, and not what holds above again.
    Nobody(Above),
}

impl Asked {
    fn is_held_above(&self) -> bool {
        match self {
            Asked::Anybody(Some(above)) | Asked::Nobody(above) => (above.holds)(),
            Asked::Anybody(None) | Asked::IfNotAlone => false,
        }
    }
}

/// A lift on its way into the journal.
struct Lift {
    scope: String,
    by: Principal,
    /// Where they have the role to lift it.
    reaches: Vec<Reach>,
    reason: String,
    asked: Asked,
    /// Somebody above holds it.
    held_above: bool,
    /// What is in force in memory.
    standing: Option<Stop>,
    /// Raised, and not recorded before.
    owed: Vec<Stop>,
    authority: Arc<Authority>,
}

impl Lift {
    /// `false` when there is no stop. A refusal is an entry too, and not an error of this write.
    fn record(&self, tx: &mut Tx<'_>) -> Result<Result<bool, LiftError>, StoreError> {
        let (raisers, at) = self.raisers(tx)?;
        if raisers.is_empty() {
            return Ok(Ok(false));
        }
        let by = self.by.to_string();
        // A person who raised it twice meant it twice; a service only did its work again.
        let is_once = self.by.kind != PrincipalKind::Person || raisers.get(&by) == Some(&1);
        let is_alone = raisers.len() == 1 && raisers.contains_key(&by) && is_once;
        let judged = match self.asked {
            Asked::Nobody(_) if self.held_above || !is_alone => return Ok(Ok(false)),
            Asked::Nobody(_) => Ok(()),
            Asked::IfNotAlone if is_alone => Ok(()),
            Asked::IfNotAlone | Asked::Anybody(_) => self.judge(tx, &raisers, &at)?,
        };
        if let Err(refusal) = judged {
            let raised_by: Vec<&String> = raisers.keys().collect();
            let body = json!({
                "scope": self.scope, "reason": short(&refusal.to_string()), "raised_by": raised_by,
            });
            tx.append(NewEntry::new(kind::STOP_LIFT_REFUSED, by, body))?;
            return Ok(Err(refusal));
        }
        for stop in &self.owed {
            tx.append(raised(stop))?;
        }
        let body = json!({ "scope": self.scope, "reason": self.reason });
        tx.append(NewEntry::new(kind::STOP_LIFTED, by, body))?;
        Ok(Ok(true))
    }

    /// Everybody who raised it since it was lifted last, how often, and where: by the journal, and by what
    /// is still to be recorded.
    fn raisers(&self, tx: &Tx<'_>) -> Result<(BTreeMap<String, u64>, HeldAt), StoreError> {
        let recorded: Option<StopRow> = tx.row(STOPS, &self.scope)?.map(decode).transpose()?;
        let (mut raisers, mut at) = recorded.map(|row| (row.raisers, row.at)).unwrap_or_default();
        for stop in &self.owed {
            *raisers.entry(stop.by.clone()).or_default() += 1;
            at = at.and(stop.at.clone());
        }
        if let Some(stop) = &self.standing {
            raisers.entry(stop.by.clone()).or_insert(1);
            at = at.and(stop.at.clone());
        }
        Ok((raisers, at))
    }

    /// Places, and policy as of this transaction. What was raised at a place is lifted by whoever has the
    /// role there; nobody who raised it lifts it, whoever raised it again later.
    fn judge(
        &self,
        tx: &Tx<'_>,
        raisers: &BTreeMap<String, u64>,
        at: &HeldAt,
    ) -> Result<Result<(), LiftError>, StoreError> {
        if self.held_above {
            return Ok(Err(LiftError::Held(self.scope.clone())));
        }
        if let Some(above) = at.above(&self.reaches) {
            return Ok(Err(LiftError::Above(held::told(above))));
        }
        if documents::generation_now(tx)? != self.authority.generation {
            let changed = "the policies were changed meanwhile; lift it again";
            return Err(StoreError::Refused(changed.to_owned()));
        }
        let Some(policy) = self.authority.policies.lifted_by_another() else {
            return Ok(Ok(()));
        };
        let (by, policy) = (self.by.clone(), policy.to_owned());
        Ok(match by.kind {
            PrincipalKind::Person if raisers.contains_key(&by.to_string()) => {
                Err(LiftError::OwnStop(by, policy))
            }
            PrincipalKind::Person => Ok(()),
            _ => Err(LiftError::NotAPerson(by, policy)),
        })
    }
}

/// Why a stop was not lifted. It stands.
#[derive(Debug, thiserror::Error)]
pub enum LiftError {
    /// It was raised by a role at a place where theirs does not hold.
    #[error("this stop was raised at {0}, and your role does not hold there")]
    Above(String),
    /// The platform stopped the same in every organization.
    #[error("the platform has stopped `{0}` in every organization; it is lifted there first")]
    Held(String),
    /// Whoever raised it.
    #[error("{0} raised this stop, and policy `{1}` lets only another person lift it")]
    OwnStop(Principal, String),
    /// Not a person.
    #[error("policy `{1}` lets only a person lift a stop; {0} is none")]
    NotAPerson(Principal, String),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}
