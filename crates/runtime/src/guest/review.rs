//! What becomes of changes that a guest made in a review: a person sees them and says whether they are kept. Keeping
//! them is an action of its own, `sandbox.keep`, judged like any other; without it nothing changes.

use super::running::Place;
use super::{ENVIRONMENT, Guests, News, Quit, RunError, changes};
use crate::tools::report;
use gate::{Proposal, SessionView};
use policy::{Action, ActionError, Effect, Environment, Idempotence, InFlight, Outcome, Taints, Verb};
use sandbox::Spec;
use sandbox::review::{self, KeepError, Review};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The verb of the action that keeps what a guest changed in a review. Its resource is that of [`super::VERB`].
pub const KEEP: &str = "sandbox.keep";
/// The step of a guest's session that keeps changes.
const STEP: &str = "keep";

/// What a person says about the changes that they saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Make them: those of this [`Review::digest`] and no others.
    Keep(String),
    /// Make none.
    Discard,
}

/// What became of the changes of a review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reviewed {
    /// There were none.
    Nothing,
    /// They are in the workspace.
    Kept {
        /// Entry of the permit.
        entry: u64,
    },
    /// They are gone, as was said or because nobody said anything.
    Discarded,
    /// They were to be kept and were not, or not all of them.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What is to be looked at.
pub(super) struct Collected {
    spec: Arc<Spec>,
    place: PathBuf,
    before: Arc<changes::Snapshot>,
    review: Result<Arc<Review>, String>,
}

impl Collected {
    /// What a guest of `spec` changed, if it was started for a review.
    pub(super) async fn of(spec: &Arc<Spec>, before: &Arc<changes::Snapshot>) -> Option<Collected> {
        let place = spec.review.clone()?;
        let at = place.clone();
        let looked = tokio::task::spawn_blocking(move || review::look(&at)).await;
        let review = match looked {
            Ok(Ok(review)) => within(spec, &review).map(|()| Arc::new(review)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        Some(Collected {
            spec: Arc::clone(spec),
            place,
            before: Arc::clone(before),
            review,
        })
    }

    /// For the outcome of the run.
    pub(super) fn changes(&self) -> changes::Changes {
        match &self.review {
            Ok(review) => changes::reviewed(&self.before, review),
            Err(why) => changes::unknown(why),
        }
    }
}

/// Nothing lies where the guest found the platform's own directories empty: the mounts there saw to that.
fn within(spec: &Spec, review: &Review) -> Result<(), String> {
    let odd = review.changes.iter().find(|change| {
        let path = spec.workspace.join(&change.path);
        spec.hidden.iter().any(|hidden| path.starts_with(hidden))
    });
    match odd {
        None => Ok(()),
        Some(change) => Err(format!("`{}` is the platform's own", change.path.display())),
    }
}

impl Guests {
    /// Asks whether they are kept, and keeps them if that is said and permitted. Whatever ends the run before that ends
    /// it without them.
    pub(super) async fn reviewed(
        &self,
        session: &SessionView,
        collected: Option<Collected>,
        verdict: Option<oneshot::Receiver<Verdict>>,
        (cut, news, end): (&Place, &mpsc::UnboundedSender<News>, &mut Quit),
    ) -> Result<Option<Reviewed>, RunError> {
        let Some(collected) = collected else {
            return Ok(None);
        };
        let review = match &collected.review {
            Ok(review) if review.changes.is_empty() => return Ok(Some(Reviewed::Nothing)),
            Ok(review) => Arc::clone(review),
            Err(reason) => {
                let reason = format!("the changes cannot be reviewed: {reason}");
                return Ok(Some(Reviewed::Failed { reason }));
            }
        };
        let said = match verdict {
            None => Verdict::Discard,
            Some(verdict) => {
                let _ = news.send(News::Review(collected.place.clone()));
                tokio::select! {
                    said = verdict => said.unwrap_or(Verdict::Discard),
                    () = cut.wanted() => Verdict::Discard,
                    () = end.wanted() => Verdict::Discard,
                }
            }
        };
        let reviewed = match said {
            Verdict::Discard => {
                let note = json!({ "guest": "discarded", "review": review.digest });
                self.gate
                    .note(&session.id, &super::running::platform(), note)
                    .await?;
                Reviewed::Discarded
            }
            Verdict::Keep(digest) if digest != review.digest => Reviewed::Failed {
                reason: KeepError::Altered.to_string(),
            },
            Verdict::Keep(_) => self.keep(session, collected, review, (cut, news, end)).await?,
        };
        Ok(Some(reviewed))
    }

    /// Makes the changes, if the gate lets it.
    async fn keep(
        &self,
        session: &SessionView,
        collected: Collected,
        review: Arc<Review>,
        line: (&Place, &mpsc::UnboundedSender<News>, &mut Quit),
    ) -> Result<Reviewed, RunError> {
        let proposal = Proposal {
            session: session.id.clone(),
            step: STEP.to_owned(),
            action: action(&collected, &review)?,
        };
        let permit = match self.permitted(proposal, line).await {
            Ok(permit) => permit,
            Err(RunError::Ended) => return Ok(Reviewed::Discarded),
            Err(RunError::Refused(refusal)) => {
                let reason = super::refused(&refusal);
                return Ok(Reviewed::Failed { reason });
            }
            Err(error) => return Err(error),
        };
        let flight = permit.spend(self.gate.stop_set())?;
        let entry = flight.entry();
        let (flight, kept) = beside(flight, collected, review).await?;
        let reviewed = match &kept {
            Ok(_) => Reviewed::Kept { entry },
            Err((_, reason)) => Reviewed::Failed {
                reason: reason.clone(),
            },
        };
        flight.settle(settlement(kept)).await?;
        Ok(reviewed)
    }
}

/// What keeping means, bound to what was seen.
fn action(collected: &Collected, review: &Review) -> Result<Action, ActionError> {
    let workspace = &collected.spec.workspace;
    let arguments = json!({
        "workspace": workspace,
        "changes": changes::reviewed(&collected.before, review),
        "digest": review.digest,
    });
    let resource = format!("workspace{}", workspace.display());
    let made = Action::new(
        Verb::new(KEEP)?,
        &resource,
        arguments,
        Environment::new(ENVIRONMENT)?,
        Effect::Write,
        Idempotence::Once,
    );
    Ok(made?.bringing(Taints::UNTRUSTED).local())
}

/// How many changes were made, or the outcome and why it is that.
type Kept = Result<usize, (Outcome, String)>;

/// On a thread for what blocks.
async fn beside(
    flight: InFlight,
    collected: Collected,
    review: Arc<Review>,
) -> Result<(InFlight, Kept), RunError> {
    let making = tokio::task::spawn_blocking(move || {
        let kept = make(&flight, &collected, &review);
        (flight, kept)
    });
    // Should it have panicked, its flight was dropped there, which leaves it uncertain.
    making
        .await
        .map_err(|error| RunError::Launch(sandbox::LaunchError::Gone(error.to_string())))
}

fn make(flight: &InFlight, collected: &Collected, review: &Review) -> Kept {
    let Spec {
        workspace, hidden, ..
    } = &*collected.spec;
    changes::meanwhile(&collected.before, workspace, hidden, review)
        .map_err(|why| (Outcome::NotStarted, why))?;
    match review::keep(flight, &collected.place, review, workspace) {
        Ok(()) => Ok(review.changes.len()),
        Err(error @ KeepError::Failed { .. }) => Err((
            Outcome::Uncertain,
            format!("not all of the changes were made: {error}"),
        )),
        Err(error) => Err((Outcome::NotStarted, error.to_string())),
    }
}

fn settlement(kept: Kept) -> policy::Settlement {
    match kept {
        Ok(made) => report::success(
            json!({ "made": made }),
            &format!("{made} changes were made"),
            false,
        ),
        Err((outcome, why)) => report::ended(outcome, "not_kept", &why, Value::Null),
    }
}
