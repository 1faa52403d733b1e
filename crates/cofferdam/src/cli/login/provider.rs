//! The provider's side of a login: where to send the person, and what the code is changed for.
//!
//! Invariants:
//! - **The code is worth nothing alone**: it is bound to a verifier that never leaves this process but to the
//!   provider (RFC 7636, S256).
//! - **The token is of this login**: the ID token that comes with it names our nonce.

use super::answer::{Asked, told};
use crate::cli::failure::Failure;
use crate::identity::fetch::{Fetch, endpoint};
use crate::identity::{is_address, is_foreign};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use secrets::Secret;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Longest token that is taken, in bytes.
const TOKEN_BYTES_MAX: usize = crate::identity::TOKEN_BYTES_MAX;

/// A provider as the server names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Provider {
    /// People log in there.
    Oidc(OpenId),
    /// People log in here.
    Ldap {
        /// As documents call it.
        name: String,
    },
}

impl Provider {
    /// As documents call it.
    pub fn name(&self) -> &str {
        match self {
            Provider::Oidc(OpenId { name, .. }) | Provider::Ldap { name } => name,
        }
    }
}

/// An OpenID provider.
#[derive(Clone, Debug, Deserialize)]
pub struct OpenId {
    /// As documents call it.
    pub name: String,
    issuer: String,
    client_id: String,
    scopes: Vec<String>,
    resource: Option<String>,
    /// Where the browser may come back to.
    pub redirect_ports: Vec<u16>,
}

/// A login that has begun.
pub struct Begun {
    provider: OpenId,
    fetch: Fetch,
    token_endpoint: String,
    redirect: String,
    verifier: Secret,
    nonce: String,
    /// What the answer has to be to.
    pub asked: Asked,
    /// Where the person goes.
    pub url: Url,
}

impl OpenId {
    /// Asks the provider where people log in there.
    pub async fn begin(self, redirect: &str) -> Result<Begun, Failure> {
        if !is_address(&self.issuer) {
            let what = format!("the issuer of `{}` is no address that may be asked", self.name);
            return Err(Failure::Failed(what));
        }
        let fetch = Fetch::new().map_err(anyhow::Error::from)?;
        let wrong =
            |why: &str| Failure::Failed(format!("the provider `{}` cannot be used: {why}", self.name));
        let found = fetch.discover(&self.issuer).await.map_err(|why| wrong(&why))?;
        let methods = found
            .get("code_challenge_methods_supported")
            .and_then(Value::as_array);
        if methods.is_some_and(|all| all.iter().all(|one| one != "S256")) {
            return Err(wrong(
                "it does not bind a code to whoever asked for it (PKCE, S256)",
            ));
        }
        let no = "its discovery document names no";
        let authorize = endpoint(&found, "authorization_endpoint")
            .ok_or_else(|| wrong(&format!("{no} authorization_endpoint")))?;
        let token_endpoint =
            endpoint(&found, "token_endpoint").ok_or_else(|| wrong(&format!("{no} token_endpoint")))?;
        let mut url = Url::parse(&authorize).map_err(|error| wrong(&error.to_string()))?;
        let (verifier, state, nonce) = (random()?, random()?, random()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let scope = ["openid"]
            .into_iter()
            .chain(self.scopes.iter().map(String::as_str));
        let scope = scope.collect::<Vec<_>>().join(" ");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", &scope)
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if let Some(resource) = &self.resource {
            url.query_pairs_mut().append_pair("resource", resource);
        }
        let names_itself = found.get("authorization_response_iss_parameter_supported");
        Ok(Begun {
            asked: Asked {
                state,
                issuer: self.issuer.clone(),
                names_itself: names_itself == Some(&Value::Bool(true)),
            },
            redirect: redirect.to_owned(),
            verifier: Secret::new(verifier.into_bytes()),
            provider: self,
            fetch,
            token_endpoint,
            nonce,
            url,
        })
    }
}

impl Begun {
    /// Changes the code for the token that the server takes: the ID token, or for a resource the access token.
    pub async fn redeem(self, code: &Secret) -> Result<Secret, Failure> {
        let name = &self.provider.name;
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        let (code, verifier) = (text(code), text(&self.verifier));
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &self.redirect),
            ("client_id", &self.provider.client_id),
            ("code_verifier", &verifier),
        ];
        if let Some(resource) = &self.provider.resource {
            form.push(("resource", resource));
        }
        let failed = |why: String| Failure::Failed(format!("the provider `{name}` gave no token: {why}"));
        let (status, body) = self
            .fetch
            .post(&self.token_endpoint, &form)
            .await
            .map_err(failed)?;
        let said = |field: &str| body.get(field).and_then(Value::as_str);
        if !status.is_success() {
            let why = match said("error") {
                Some(error) => told(error, said("error_description")),
                None => format!("it answered {status}"),
            };
            return Err(failed(why));
        }
        let id_token = said("id_token").ok_or_else(|| failed("its answer holds no ID token".to_owned()))?;
        if nonce(id_token).as_deref() != Some(&self.nonce) {
            return Err(failed("its ID token is of another login".to_owned()));
        }
        let token = match (&self.provider.resource, said("access_token")) {
            (None, _) => id_token,
            (Some(_), Some(token)) if is_foreign(token) => token,
            (Some(_), _) => {
                let what = "its access token is no JWT, so nobody but the provider can read it";
                return Err(failed(what.to_owned()));
            }
        };
        Ok(Secret::new(token.as_bytes().to_vec()))
    }
}

/// What an ID token says of the login that it is of. It came from the provider itself, and the server verifies
/// its signature; here it is only compared.
fn nonce(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims = policy::canonical::parse(&claims, TOKEN_BYTES_MAX).ok()?;
    claims.get("nonce").and_then(Value::as_str).map(str::to_owned)
}

/// 256 bits, 43 characters: what RFC 7636, 4.1 recommends.
fn random() -> Result<String, Failure> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Failed(format!("no randomness: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
