//! People who come from an OpenID provider: their tokens, verified and recorded as tokens of ours.
//!
//! Invariants:
//! - **Only what was signed for us**: one issuer that configuration names, our audience, a key of the issuer's,
//!   an algorithm of the list. Never `none`, never a shared secret.
//! - **Once recorded, it needs the provider no more**: it holds until it ends or is revoked, also while the
//!   provider is down; nobody new comes in then.
//! - **No request of a stranger asks the provider twice** within a pause.

pub(crate) mod fetch;
mod keys;
mod spec;
mod token;

pub use spec::ProviderSpec;
pub(crate) use spec::is_address;

use crate::app::App;
use crate::server::problem::ApiError;
use gate::{Caller, NewToken, TokenError};
use http::StatusCode;
use keys::{Keys, Trouble};
use policy::{Principal, Timestamp};
use std::sync::Arc;

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest life of a token here, whatever it says, in milliseconds.
const LIFE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// What is known of the providers.
pub struct Identity {
    keys: Keys,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// There is no TLS to ask providers over.
    pub fn new() -> reqwest::Result<Identity> {
        Ok(Identity { keys: Keys::new()? })
    }

    /// Whose token of a provider this is. What was taken before is known by the gate and is not asked for.
    ///
    /// # Errors
    /// 401 with the reason, 403 for somebody none of whose groups has a role, 503 when the provider is needed
    /// and cannot be asked.
    pub async fn take(&self, app: &App, token: &str) -> Result<Caller, ApiError> {
        let refused = |why: &str| ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", why);
        let head = token::head(token).map_err(refused)?;
        let providers = app.configuration.providers();
        let found = providers.iter().find(|(_, spec)| spec.issuer == head.issuer);
        let (name, spec) = found.ok_or_else(|| refused("no provider of that issuer is configured"))?;
        let key = self
            .keys
            .of(&spec.issuer, &head.key, app.clock.monotonic())
            .await
            .map_err(|trouble| match trouble {
                Trouble::Unknown => refused("the provider has no such key"),
                Trouble::Unreachable(why) => {
                    tracing::warn!(provider = name, why, "an identity provider cannot be asked");
                    ApiError::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "unavailable",
                        format!("the identity provider `{name}` cannot be asked, so nobody new comes in"),
                    )
                }
            })?;
        let now = app.gate.time();
        let person = token::verify(token, &head, &key, spec, now).map_err(refused)?;
        let (roles, groups) = spec.grants(&person.groups);
        if roles.is_empty() {
            return Err(ApiError::forbidden(format!(
                "none of the groups that `{}` is in has a role here",
                person.name
            )));
        }
        let new = NewToken {
            // Nobody here, and nobody of another provider, is called that.
            principal: Principal::person(&format!("{name}/{}", person.name)),
            roles,
            groups,
            trigger: None,
            expires: Some(person.expires.min(now.plus_ms(LIFE_MS_MAX))),
        };
        let by = Principal::service("cofferdam");
        app.gate
            .take_token(&by, new, name, token)
            .await
            .map_err(|error| match error {
                TokenError::Unknown(_) => refused("this token was revoked, or has ended"),
                TokenError::Misfit(why) => refused(&why),
                TokenError::TooMany(_) => ApiError::overloaded(error.to_string()),
                error @ TokenError::NoLogin(_) => error.into(),
                TokenError::Store(store) => store.into(),
            })
    }
}

/// Whether `token` may be one of a provider's, by its form.
#[must_use]
pub fn is_foreign(token: &str) -> bool {
    token.len() <= TOKEN_BYTES_MAX && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The providers in force, by name.
pub type Providers = Arc<std::collections::BTreeMap<String, ProviderSpec>>;

/// Who a verified token names, and until when.
struct Person {
    name: String,
    groups: Vec<String>,
    expires: Timestamp,
}
