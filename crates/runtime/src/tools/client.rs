//! The one HTTP client: no redirects, no proxies, names resolved by a resolver that refuses addresses.
//!
//! Invariants:
//! - **No connection to an address that [`refusal`] names**, whether it came as text or from DNS. The
//!   resolver's answer is the address that is connected to, so there is nothing to rebind.
//! - **Whoever gets [`SendError::NotSent`] may repeat**; after [`SendError::Lost`] nobody knows.

use super::address::{literal, refusal};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, Url};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long connecting may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a whole exchange may take.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// What came back. A status of any kind is an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// HTTP status.
    pub status: u16,
    /// Headers in order; names in lower case, values as text where they are.
    pub headers: Vec<(String, String)>,
    /// At most as many bytes as asked for.
    pub body: Vec<u8>,
    /// Whether the body was longer, or was lost on the way.
    pub truncated: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The address may not be reached.
    #[error("`{host}` is {what}, which this binding may not reach")]
    Refused {
        /// Host as asked for.
        host: String,
        /// What it is.
        what: String,
    },
    /// No connection: nothing was sent.
    #[error("no connection: {0}")]
    NotSent(String),
    /// Sent, at least in part, and no answer came.
    #[error("no answer: {0}")]
    Lost(String),
}

/// See the module. Connections are made lazily and never kept.
#[derive(Debug)]
pub struct Client {
    private: bool,
    inner: OnceLock<Result<reqwest::Client, String>>,
}

impl Client {
    /// `private` lets it reach loopback and private networks.
    pub fn new(private: bool) -> Client {
        Client {
            private,
            inner: OnceLock::new(),
        }
    }

    /// Sends one request and reads up to `limit` bytes of the answer.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(String, String)],
        body: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Exchange, SendError> {
        if let Some(address) = literal(url)
            && let Some(what) = refusal(address, self.private)
        {
            return Err(SendError::Refused {
                host: address.to_string(),
                what: what.to_owned(),
            });
        }
        let client = self.inner.get_or_init(|| build(self.private)).as_ref();
        let client = client.map_err(|reason| SendError::NotSent(reason.clone()))?;
        let mut request = client.request(method, url.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(classify)?;
        Ok(read(response, limit).await)
    }
}

async fn read(mut response: reqwest::Response, limit: usize) -> Exchange {
    let headers = response.headers().iter();
    let headers =
        headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    let mut exchange = Exchange {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: Vec::new(),
        truncated: false,
    };
    loop {
        match response.chunk().await {
            Ok(None) => return exchange,
            Ok(Some(chunk)) => {
                let room = limit.saturating_sub(exchange.body.len());
                exchange.body.extend(chunk.iter().take(room));
                if chunk.len() > room {
                    exchange.truncated = true;
                    return exchange;
                }
            }
            Err(_) => {
                exchange.truncated = true;
                return exchange;
            }
        }
    }
}

fn build(private: bool) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        // A kept connection that the other side just closed cannot be told from a lost answer.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("cofferdam/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Resolver { private }))
        .build()
        .map_err(|error| format!("cannot make an HTTP client: {}", chain(&error)))
}

/// Resolves by the system and refuses the whole answer when one address of it may not be reached.
struct Resolver {
    private: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreachable(SendError);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            for address in &addresses {
                if let Some(what) = refusal(address.ip(), private) {
                    let what = what.to_owned();
                    return Err(Box::new(Unreachable(SendError::Refused { host, what }))
                        as Box<dyn Error + Send + Sync>);
                }
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn classify(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    let mut next: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(one) = next {
        if let Some(Unreachable(refused)) = one.downcast_ref::<Unreachable>() {
            return refused.clone();
        }
        next = one.source();
    }
    let said = chain(&error);
    if error.is_connect() || error.is_builder() {
        SendError::NotSent(said)
    } else {
        SendError::Lost(said)
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(one) = next {
        text.push_str(": ");
        text.push_str(&one.to_string());
        next = one.source();
    }
    text.chars().take(300).collect()
}
