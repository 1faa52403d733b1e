//! Whether a peer is who it says (S3-I11), for agents and for whoever else has a role.

use super::call::{Answer, Call, json, ok};
use super::problem::ApiError;
use gate::handshake::{Begun, HandshakeError, Response};
use gate::{AgentError, AgentRow, Spot};
use http::StatusCode;
use policy::PrincipalKind;
use serde::Deserialize;
use serde_json::json;
use store::StoreError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    /// The agent or the DID that has to answer; whoever does, without one.
    peer: Option<String>,
    /// It has to sign now, though it did lately.
    #[serde(default)]
    fresh: bool,
}

/// `POST /api/v1/handshakes`: 201 with a challenge, or 200 when that peer signed within 15 minutes.
pub async fn begin(call: Call) -> Answer {
    let new: New = call.json()?;
    let peer = match &new.peer {
        Some(written) => {
            let unknown = || ApiError::from(AgentError::Unknown(written.clone()));
            let row = match written.starts_with("did:") {
                true => call.app.gate.agent_of_did(written)?.ok_or_else(unknown)?,
                false => call.app.gate.agent(written)?,
            };
            if !sees(&call, &row)? {
                return Err(unknown());
            }
            Some(row)
        }
        None => None,
    };
    let asker = call.caller.principal();
    match call.app.gate.challenge(asker, peer.as_ref(), new.fresh)? {
        Begun::Challenge(challenge) => json(StatusCode::CREATED, &challenge),
        Begun::Remembered(peer) => ok(&json!({"verified": true, "peer": peer})),
    }
}

/// `POST /api/v1/handshakes/{id}`: whether the peer that answered is who it says, and if not, which check failed.
pub async fn judge(call: Call) -> Answer {
    let response: Response = call.json()?;
    let (gate, asker) = (&call.app.gate, call.caller.principal());
    let id = call.parameter("id");
    let judged = gate.judge_response(asker, id, &response, &|row| sees(&call, row))?;
    match judged {
        Ok(peer) => ok(&json!({"verified": true, "peer": peer})),
        Err(failed) => ok(&json!({"verified": false, "check": failed.code(), "reason": failed.to_string()})),
    }
}

/// Whether the caller may know of that agent: an agent of those of its organization, anybody else where their role holds.
fn sees(call: &Call, row: &AgentRow) -> Result<bool, StoreError> {
    let caller = call.caller.principal();
    if caller.kind != PrincipalKind::Agent {
        return call.sees_agent(&row.name);
    }
    let gate = &call.app.gate;
    Ok(match (gate.spot_of(&caller.name)?, gate.spot_of(&row.name)?) {
        (Spot::Agent(own, _), Spot::Agent(theirs, _)) => own.organization == theirs.organization,
        _ => false,
    })
}

impl From<HandshakeError> for ApiError {
    fn from(error: HandshakeError) -> ApiError {
        match error {
            HandshakeError::TooMany => ApiError::overloaded(error.to_string()),
            HandshakeError::Store(store) => store.into(),
        }
    }
}
