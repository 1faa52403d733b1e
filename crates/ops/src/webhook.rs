//! Sends a signed webhook.
//!
//! Over the runtime's checked client: no redirect, no proxy, no address that may not be reached. The
//! body of the answer is not read: a receiver has nothing to tell us but a status.

use hmac::{Hmac, KeyInit, Mac};
use policy::Timestamp;
use reqwest::{Method, Url};
use runtime::tools::http::{Client, SendError};
use secrets::Secret;
use sha2::Sha256;
use std::time::Duration;

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent.
pub(crate) struct Letter<'a> {
    pub url: &'a str,
    /// Whether loopback and private addresses may be reached.
    pub private: bool,
    /// The same on every retry.
    pub delivery: &'a str,
    /// JSON.
    pub body: Vec<u8>,
}

/// Why a letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotDelivered {
    /// The other side answered, and not with 2xx.
    #[error("refused with status {status}")]
    Refused { status: u16 },
    /// The address or the key cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// Sent, at least in part; no answer came.
    #[error("{0}")]
    Lost(String),
}

/// One client for what is public and one for what is private.
pub(crate) struct Sender {
    public: Client,
    private: Client,
}

impl Sender {
    pub fn new() -> Sender {
        Sender {
            public: Client::new(false),
            private: Client::new(true),
        }
    }

    /// One attempt. Gives the status that took it.
    pub async fn send(&self, letter: Letter<'_>, key: &Secret, now: Timestamp) -> Result<u16, NotDelivered> {
        let url = parse_url(letter.url).map_err(NotDelivered::Unusable)?;
        let timestamp = now.ms().div_euclid(1000).to_string();
        let signature = sign(key, &timestamp, &letter.body);
        let headers = [
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-cofferdam-delivery".to_owned(), letter.delivery.to_owned()),
            ("x-cofferdam-timestamp".to_owned(), timestamp),
            ("x-cofferdam-signature".to_owned(), signature),
        ];
        let client = if letter.private {
            &self.private
        } else {
            &self.public
        };
        let sending = client.send(Method::POST, &url, &headers, Some(letter.body), 0);
        match tokio::time::timeout(TIMEOUT, sending).await {
            Err(_) => Err(NotDelivered::Lost(format!(
                "no answer within {} seconds",
                TIMEOUT.as_secs()
            ))),
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => Ok(answer.status),
            Ok(Ok(answer)) => Err(NotDelivered::Refused {
                status: answer.status,
            }),
            Ok(Err(error @ SendError::Refused { .. })) => Err(NotDelivered::Unusable(error.to_string())),
            Ok(Err(error @ SendError::NotSent(_))) => Err(NotDelivered::NotSent(error.to_string())),
            Ok(Err(error @ SendError::Lost(_))) => Err(NotDelivered::Lost(error.to_string())),
        }
    }
}

/// A URL that can be posted to: http or https, with a host, without user or password.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`url` is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("`url` is neither http nor https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`url` holds a user or password; the signature is what authenticates".to_owned());
    }
    Ok(url)
}

/// `sha256=HEX(HMAC-SHA-256(key, timestamp "." body))`.
fn sign(key: &Secret, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length, so there is no error to handle; a digest of nothing would not verify.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        return "sha256=".to_owned();
    };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("sha256={}", policy::canonical::hex(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_others_compute() {
        // printf '1795255200.{"a":1}' | openssl dgst -sha256 -hmac 'key'
        assert_eq!(
            sign(&Secret::new(b"key".to_vec()), "1795255200", br#"{"a":1}"#),
            "sha256=1fb00f969ec5cbae664b48b69fd5a37cef3f939cece359305c86b5388ccd3fd7"
        );
        assert_ne!(
            sign(&Secret::new(b"key".to_vec()), "1795255201", br#"{"a":1}"#),
            "sha256=1fb00f969ec5cbae664b48b69fd5a37cef3f939cece359305c86b5388ccd3fd7"
        );
    }
}
