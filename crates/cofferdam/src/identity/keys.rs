//! The keys of providers: discovered, kept, and asked for again when a token names one that is not there.

use super::spec::is_address;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::Mutex;

/// A provider is asked at most once in so long.
const PAUSE: Duration = Duration::from_secs(5);
/// Keys are asked for again after so long: one that was withdrawn is not good for ever.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a provider may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
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

/// The keys of all providers.
pub(super) struct Keys {
    http: reqwest::Client,
    held: Mutex<HashMap<String, Held>>,
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
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        Ok(Keys {
            http,
            held: Mutex::default(),
        })
    }

    /// The issuer's key that a token names, at `now` on the monotonic clock. One at a time, so that many tokens ask once.
    pub async fn of(&self, issuer: &str, wanted: &Wanted, now: Duration) -> Result<Jwk, Trouble> {
        let mut all = self.held.lock().await;
        let held = all.get(issuer);
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
        let held = all.entry(issuer.to_owned()).or_insert_with(|| Held {
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
        let below = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let found = self.read(&below).await?;
        if found.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("its discovery document is of another issuer".to_owned());
        }
        let at = found
            .get("jwks_uri")
            .and_then(Value::as_str)
            .filter(|at| is_address(at));
        let set = self
            .read(at.ok_or("its discovery document names no address of keys")?)
            .await?;
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("its keys are no set of keys")?;
        Ok(keys.iter().take(KEYS_MAX).cloned().collect())
    }

    async fn read(&self, address: &str) -> Result<Value, String> {
        let told = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.http.get(address).send().await.map_err(told)?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err("its answer is too long".to_owned());
            }
        }
        policy::canonical::parse(&bytes, ANSWER_BYTES_MAX).map_err(|error| error.to_string())
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
