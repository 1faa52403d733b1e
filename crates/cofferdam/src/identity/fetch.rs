//! Asking a provider over HTTP, for the server and for `cofferdam login`: bounded in time and in size, without
//! redirect and proxy. It trusts nothing that it is told but the address of an issuer that was named to it.

use super::spec::is_address;
use http::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// How long a provider may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A client of providers.
#[derive(Clone)]
pub(crate) struct Fetch {
    http: reqwest::Client,
}

impl Fetch {
    pub fn new() -> reqwest::Result<Fetch> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        Ok(Fetch { http })
    }

    /// The discovery document of an issuer: of that one, word for word.
    pub async fn discover(&self, issuer: &str) -> Result<Value, String> {
        let below = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let found = self.get(&below).await?;
        match found.get("issuer").and_then(Value::as_str) == Some(issuer) {
            true => Ok(found),
            false => Err("its discovery document is of another issuer".to_owned()),
        }
    }

    /// What stands at an address, which has to be there.
    pub async fn get(&self, address: &str) -> Result<Value, String> {
        match answered(self.http.get(address)).await? {
            (status, Ok(body)) if status.is_success() => Ok(body),
            (status, Err(why)) if status.is_success() => Err(why),
            (status, _) => Err(format!("it answered {status}")),
        }
    }

    /// What a form is answered with, whatever the status; what is no JSON is null.
    pub async fn post(&self, address: &str, form: &[(&str, &str)]) -> Result<(StatusCode, Value), String> {
        let mut spelled = reqwest::Url::parse(address).map_err(|error| error.to_string())?;
        spelled.query_pairs_mut().clear().extend_pairs(form);
        let request = self
            .http
            .post(address)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(spelled.query().unwrap_or_default().to_owned());
        let (status, body) = answered(request).await?;
        Ok((status, body.unwrap_or_default()))
    }
}

/// The status, and the body if it is JSON.
async fn answered(request: reqwest::RequestBuilder) -> Result<(StatusCode, Result<Value, String>), String> {
    let told = |error: reqwest::Error| {
        let error = error.without_url();
        format!("{error}: {}", crate::server::root_cause(&error))
    };
    let mut response = request.send().await.map_err(told)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
    }
    let body = policy::canonical::parse(&bytes, ANSWER_BYTES_MAX).map_err(|error| error.to_string());
    Ok((response.status(), body))
}

/// An address that a discovery document names, which has to be one that may be asked.
pub(crate) fn endpoint(discovered: &Value, field: &str) -> Option<String> {
    let at = discovered.get(field).and_then(Value::as_str);
    at.filter(|at| is_address(at)).map(str::to_owned)
}
