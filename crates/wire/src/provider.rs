//! Where each provider takes what: paths, headers, and which protocol to speak to it.
//!
//! Gemini is spoken to by its OpenAI-compatible endpoint, not by `generateContent`: a client of Chat then passes through
//! with its bytes untouched (fields that Google adds survive both ways), and what other clients say needs no third
//! form. Its count of output leaves thoughts out; they are taken from the total ([`crate::usage_of`]).

use crate::protocol::Protocol;

/// Who runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// `https://api.openai.com`
    OpenAi,
    /// `https://api.anthropic.com`
    Anthropic,
    /// `https://generativelanguage.googleapis.com`
    Gemini,
    /// `https://RESOURCE.openai.azure.com`
    Azure,
    /// `https://bedrock-runtime.REGION.amazonaws.com`
    Bedrock,
    /// `https://api.mistral.ai`
    Mistral,
    /// Any server of OpenAI's protocol: vLLM, Ollama, llama.cpp, a gateway.
    Compatible,
}

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its protocol. Where it is not the client's, requests and answers are translated.
    pub protocol: Protocol,
    /// It knows the cap of Chat as `max_tokens` alone ([`crate::Rewrite::older_cap`]).
    pub older_cap: bool,
    /// A stream has to be asked for its usage ([`crate::Rewrite::ask_usage`]).
    pub ask_usage: bool,
    /// It refuses fields that it does not know.
    pub strict: bool,
}

/// How the vendor of a protocol itself is spoken to.
impl From<Protocol> for Dialect {
    fn from(protocol: Protocol) -> Dialect {
        Dialect {
            protocol,
            older_cap: false,
            ask_usage: protocol == Protocol::Chat,
            strict: false,
        }
    }
}

/// Where to send a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Path and query below the base URL ([`url`]).
    pub path: String,
    /// Headers beside the content type and the credential.
    pub headers: Vec<(&'static str, String)>,
    /// Where the key goes.
    pub credential: Credential,
}

/// A header that holds a key, and what stands before it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Name, in lower case.
    pub header: &'static str,
    /// `Bearer ` or nothing.
    pub prefix: &'static str,
}

const BEARER: Credential = Credential {
    header: "authorization",
    prefix: "Bearer ",
};

impl Provider {
    /// How to speak to it on behalf of a client of `protocol`; `None` where it has nothing of that kind.
    pub fn dialect(self, protocol: Protocol) -> Option<Dialect> {
        use Protocol::{Chat, Converse, CountTokens, Embeddings, Messages, Responses};
        let spoken = match (self, protocol) {
            (_, Converse) => return None,
            (Provider::OpenAi | Provider::Azure, Chat | Responses | Embeddings) => protocol,
            (Provider::Gemini | Provider::Mistral | Provider::Compatible, Chat | Embeddings) => protocol,
            (Provider::Anthropic, Messages | CountTokens) => protocol,
            (Provider::Anthropic, Chat | Responses) => Messages,
            (Provider::Bedrock, Chat | Responses | Messages) => Converse,
            (Provider::Anthropic | Provider::Bedrock, Embeddings) | (_, CountTokens) => return None,
            (_, Messages | Responses) => Chat,
        };
        Some(Dialect {
            protocol: spoken,
            older_cap: matches!(self, Provider::Gemini | Provider::Mistral | Provider::Compatible),
            // Mistral sends it unasked, and knows no such field.
            ask_usage: spoken == Chat && self != Provider::Mistral,
            strict: self == Provider::Mistral,
        })
    }

    /// Where a request goes. `protocol` is that of its dialect, `model` the provider's name of the model (Azure: of the
    /// deployment), `api_version` the dated version of Azure's API; without one its undated `v1` is meant.
    pub fn endpoint(
        self,
        protocol: Protocol,
        model: &str,
        stream: bool,
        api_version: Option<&str>,
    ) -> Endpoint {
        let path = match (self, api_version) {
            (Provider::Gemini, _) => format!("/v1beta/openai{}", unversioned(protocol)),
            (Provider::Azure, None) => format!("/openai{}", protocol.path()),
            (Provider::Azure, Some(version)) if protocol == Protocol::Responses => {
                format!("/openai/responses?api-version={}", encoded(version))
            }
            (Provider::Azure, Some(version)) => {
                let (model, version) = (encoded(model), encoded(version));
                format!(
                    "/openai/deployments/{model}{}?api-version={version}",
                    unversioned(protocol)
                )
            }
            (Provider::Bedrock, _) => {
                let stream = if stream { "-stream" } else { "" };
                format!("/model/{}/converse{stream}", encoded(model))
            }
            _ => protocol.path().to_owned(),
        };
        let (headers, credential) = match self {
            Provider::Anthropic => (
                vec![("anthropic-version", "2023-06-01".to_owned())],
                Credential {
                    header: "x-api-key",
                    prefix: "",
                },
            ),
            Provider::Azure => (
                Vec::new(),
                Credential {
                    header: "api-key",
                    prefix: "",
                },
            ),
            _ => (Vec::new(), BEARER),
        };
        Endpoint {
            path,
            headers,
            credential,
        }
    }

    /// The kind of content in which a stream comes.
    pub fn stream_type(self) -> &'static str {
        match self {
            Provider::Bedrock => "application/vnd.amazon.eventstream",
            _ => "text/event-stream",
        }
    }
}

/// Base and path as one. A base that already ends with the version (`http://127.0.0.1:8000/v1`, as these servers tell
/// their users to write it) has it once.
pub fn url(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let last = base.rsplit('/').next().unwrap_or_default();
    let version = path.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    match version {
        Some((first, rest)) if first == last && first.starts_with('v') => format!("{base}/{rest}"),
        _ => format!("{base}{path}"),
    }
}

fn unversioned(protocol: Protocol) -> &'static str {
    let path = protocol.path();
    path.strip_prefix("/v1").unwrap_or(path)
}

/// A segment of a path, or a value of a query (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push('%');
            out.extend(
                [b >> 4, b & 15]
                    .iter()
                    .filter_map(|half| char::from_digit(u32::from(*half), 16))
                    .map(|c| c.to_ascii_uppercase()),
            );
        }
    }
    out
}
