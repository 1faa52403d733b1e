//! Tokens of people and triggers: opaque, random, stored as SHA-256 only.

use crate::{Caller, Gate, Role, Unidentified};
use policy::{Principal, Timestamp};
use serde::Serialize;

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// For whom: a person, or a service for triggers.
    pub principal: Principal,
    /// What it may do.
    pub roles: Vec<Role>,
    /// For `Role::Trigger`: which.
    pub trigger: Option<String>,
    /// Ends by itself.
    pub expires: Option<Timestamp>,
}

/// A token as shown: never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "see NewToken")]
pub struct TokenView {
    /// `tok-7`.
    pub id: String,
    pub principal: Principal,
    pub roles: Vec<Role>,
    pub trigger: Option<String>,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: bool,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is none of that id.
    #[error("no token `{0}`")]
    Unknown(String),
    /// A role that does not fit the principal.
    #[error("{0}")]
    Misfit(String),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// Makes a token; the secret (`cfd_…`, 43 characters of base64url after the prefix) is handed out this once.
    pub async fn create_token(&self, by: &Principal, new: NewToken) -> Result<(TokenView, secrets::Secret), TokenError> {
        let _ = (by, new);
        todo!()
    }
    /// Ends a token now.
    pub async fn revoke_token(&self, by: &Principal, id: &str) -> Result<(), TokenError> {
        let _ = (by, id);
        todo!()
    }
    /// All, the newest first.
    pub fn tokens(&self) -> Result<Vec<TokenView>, TokenError> {
        todo!()
    }
    /// Step 1 of the gate: whose token is this? Constant-time; no store access on the hot path.
    pub fn identify(&self, token: &str) -> Result<Caller, Unidentified> {
        let _ = token;
        todo!()
    }
}
