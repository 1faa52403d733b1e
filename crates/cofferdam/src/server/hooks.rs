//! Webhooks: what others tell us. A notification is answered after it is durable, or not taken.

use super::call::{Answer, Call, json};
use super::problem::ApiError;
use crate::server::metrics::Refused;
use http::StatusCode;

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
