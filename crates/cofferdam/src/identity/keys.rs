//! The keys of providers: discovered, kept, and asked for again when a token names one that is not there.

use super::fetch::{Fetch, endpoint};
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// A provider is asked at most once in so long.
const PAUSE: Duration = Duration::from_secs(5);
/// Keys are asked for again after so long: one that was withdrawn is not good for ever.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Most keys that are kept of one provider.
const KEYS_MAX: usize = 100;

/// What a token says of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub id: String,
    /// `RS256`, `ES256`, `EdDSA`.
    pub algorithm: &'static str,
}

/// Why there is no key.
pub(super) enum Trouble {
    /// The provider has none that fits.
    Unknown,
    /// It could not be asked.
    Unreachable(String),
}

/// The keys of all providers, by issuer.
pub(super) struct Keys {
    fetch: Fetch,
    held: std::sync::Mutex<HashMap<String, Arc<Mutex<Option<Held>>>>>,
}

/// Those of one.
struct Held {
    keys: Vec<Value>,
    /// On the monotonic clock, as `tried`.
    fetched: Option<Duration>,
    tried: Duration,
    /// What went wrong the last time.
    trouble: Option<String>,
}

impl Keys {
    pub fn new() -> reqwest::Result<Keys> {
        Ok(Keys {
            fetch: Fetch::new()?,
            held: std::sync::Mutex::default(),
        })
    }

    /// The issuer's key that a token names, at `now` on the monotonic clock. One at a time, so that many tokens ask once.
    pub async fn of(&self, issuer: &str, wanted: &Wanted, now: Duration) -> Result<Jwk, Trouble> {
        let issuers = self.of_issuer(issuer);
        let mut slot = issuers.lock().await;
        let held = slot.as_ref();
        let fresh = held.is_some_and(|held| held.fetched.is_some_and(|at| now.saturating_sub(at) < AGE_MAX));
        if let Some(key) = held.filter(|_| fresh).and_then(|held| find(&held.keys, wanted)) {
            return Ok(key);
        }
        if let Some(held) = held.filter(|held| now.saturating_sub(held.tried) < PAUSE) {
            return match &held.trouble {
                Some(why) => Err(Trouble::Unreachable(why.clone())),
                None => Err(Trouble::Unknown),
            };
        }
        let asked = self.ask(issuer).await;
        let held = slot.get_or_insert_with(|| Held {
            keys: Vec::new(),
            fetched: None,
            tried: now,
            trouble: None,
        });
        held.tried = now;
        match asked {
            Ok(keys) => {
                held.trouble = None;
                held.fetched = Some(now);
                held.keys = keys;
                find(&held.keys, wanted).ok_or(Trouble::Unknown)
            }
            Err(why) => {
                held.trouble = Some(why.clone());
                Err(Trouble::Unreachable(why))
            }
        }
    }

    async fn ask(&self, issuer: &str) -> Result<Vec<Value>, String> {
        let at = endpoint(&self.fetch.discover(issuer).await?, "jwks_uri");
        let set = self
            .fetch
            .get(&at.ok_or("its discovery document names no address of keys")?)
            .await?;
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("its keys are no set of keys")?;
        Ok(keys.iter().take(KEYS_MAX).cloned().collect())
    }

    /// What is held of one issuer, behind a lock of its own: a provider that is slow holds up nobody else.
    fn of_issuer(&self, issuer: &str) -> Arc<Mutex<Option<Held>>> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(issuer.to_owned()).or_default())
    }
}

/// The key of that id, if it is for signing with that algorithm.
fn find(keys: &[Value], wanted: &Wanted) -> Option<Jwk> {
    let text = |key: &Value, field: &str| key.get(field).and_then(Value::as_str).map(str::to_owned);
    let fits = |key: &&Value| {
        text(key, "kid").as_deref() == Some(&wanted.id)
            && text(key, "use").is_none_or(|purpose| purpose == "sig")
            && text(key, "alg").is_none_or(|algorithm| algorithm == wanted.algorithm)
    };
    let key = keys.iter().find(fits)?;
    serde_json::from_value(key.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One takes connections and never answers, the other takes none.
    #[tokio::test]
    async fn a_provider_that_does_not_answer_holds_up_no_other() {
        let bound = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (silent, gone) = (bound().await, bound().await);
        let issuer = |of: &tokio::net::TcpListener| format!("http://{}", of.local_addr().unwrap());
        let (slow, closed) = (issuer(&silent), issuer(&gone));
        drop(gone);
        let keys = Keys::new().unwrap();
        let wanted = Wanted {
            id: "a".to_owned(),
            algorithm: "RS256",
        };
        let now = Duration::from_secs(100);
        let mut waits = std::pin::pin!(keys.of(&slow, &wanted, now));
        tokio::select! {
            biased;
            _ = &mut waits => panic!("nobody answers there"),
            // Polled after the other one, whose lock is held by then.
            other = keys.of(&closed, &wanted, now) => {
                assert!(matches!(other, Err(Trouble::Unreachable(_))));
            }
        }
    }
}
