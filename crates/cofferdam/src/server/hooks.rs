//! Webhooks: what others tell us. A notification is answered after it is durable, or not taken; so is the answer
//! of an outside system that approves, which nothing but its signature authenticates.

use super::call::{Answer, Call, json, ok};
use super::exchange::Bare;
use super::problem::ApiError;
use crate::server::metrics::Refused;
use gate::{ANSWER_BYTES_MAX, AnswerError, Signed, Unsigned};
use http::StatusCode;

/// `POST` here: what an outside system answers that approves.
pub const APPROVALS: &str = "/hooks/approvals/{channel}";

/// How many answers are verified at once: each takes a few signatures of strangers.
pub(super) const AT_ONCE_MAX: usize = 8;

/// `POST /hooks/alertmanager`: one notification of Alertmanager, version 4.
pub async fn alertmanager(call: Call) -> Answer {
    let Ok(_slot) = call.app.intake.try_acquire() else {
        call.app.metrics.webhook_refused(Refused::Overloaded);
        return Err(ApiError::overloaded(
            "too many notifications at once; send it again",
        ));
    };
    match call.app.triage.receive(&call.caller, &call.body).await {
        Ok(received) => {
            call.app.metrics.webhook_taken();
            let status = if received.session.is_some() {
                StatusCode::ACCEPTED
            } else {
                StatusCode::OK
            };
            json(status, &received)
        }
        Err(error) => {
            let error = ApiError::from(error);
            call.app.metrics.webhook_refused(Refused::of(error.status()));
            Err(error)
        }
    }
}

/// `POST /hooks/approvals/{channel}`: yes or no, signed as Standard Webhooks has it with Ed25519. 200 says that it
/// is recorded, now or when it came before.
pub async fn approval(bare: Bare) -> Answer {
    let Ok(_place) = bare.app.doors.answering.try_acquire() else {
        return Err(ApiError::overloaded(
            "other answers are being verified; try again when they are",
        ));
    };
    let answered = match signed(&bare) {
        Ok(signed) => {
            bare.app
                .gate
                .answer_approval(bare.parameter("channel"), signed)
                .await
        }
        Err(unsigned) => Err(unsigned.into()),
    };
    match answered {
        Ok(answered) => {
            bare.app.runtime.wake();
            let decision = answered.decision.as_str();
            ok(&serde_json::json!({ "approval": answered.approval, "decision": decision }))
        }
        Err(error) => {
            if matches!(error, AnswerError::Unsigned(_)) {
                bare.app.metrics.unauthenticated();
            }
            Err(error.into())
        }
    }
}

/// The three headers, each given once, and the body.
fn signed(bare: &Bare) -> Result<Signed<'_>, Unsigned> {
    let header = |name| bare.header(name).ok_or(Unsigned::Headers);
    Ok(Signed {
        id: header("webhook-id")?,
        timestamp: header("webhook-timestamp")?,
        signature: header("webhook-signature")?,
        body: &bare.body,
    })
}

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> ApiError {
        let detail = error.to_string();
        match error {
            // Whoever is not known learns no name of a channel and no reason, but for the clock, which only the
            // holder of the key is told.
            AnswerError::Unsigned(Unsigned::Stale) => ApiError::unsigned(detail),
            AnswerError::Unsigned(Unsigned::Headers | Unsigned::NoApprover | Unsigned::Signature) => {
                ApiError::unsigned("send an answer that the approver of this channel signed")
            }
            AnswerError::Fault(fault) if fault.is_too_large() => ApiError::too_large(ANSWER_BYTES_MAX),
            AnswerError::Fault(fault) => ApiError::malformed(fault.place, fault.what),
            AnswerError::NotAsked(_) => ApiError::new(StatusCode::FORBIDDEN, "not_asked", detail),
            AnswerError::AnotherAction(_) => ApiError::new(StatusCode::CONFLICT, "another_action", detail),
            AnswerError::AnotherStage(_) => ApiError::new(StatusCode::CONFLICT, "another_stage", detail),
            AnswerError::Conflicting(..) => ApiError::conflict(detail),
            AnswerError::Changing => ApiError::unavailable(detail),
            AnswerError::Vote(error) => error.into(),
        }
    }
}
