//! `Model` and `Route` documents: what models there are, who may call them, by which names, and what they cost. Read and
//! compiled here; connects to nothing.
//!
//! A document gives its agents the grant `llm.call:model/NAME` for each model it names. A call reads: it changes nothing but
//! what it costs, so no rule has to permit it; rules that ask or forbid, levels, stops, bounds and budgets count as for
//! every action.

use super::price::{Price, PriceSpec};
use super::table;
use assay::address::Network;
use policy::{Capability, Environment, Grant};
use secrets::SecretRef;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use wire::Protocol;

/// The verb of every call.
pub const VERB: &str = "llm.call";
/// Most agents, names or targets of a document.
const ITEMS_MAX: usize = 256;
/// Longest name that a client may have for a model, in bytes.
const ALIAS_BYTES_MAX: usize = 128;
/// How long an upstream may take for the first byte of its answer, unless it says otherwise, in seconds.
const TIMEOUT_SECONDS: u32 = 120;

/// What is wrong, and where.
type Wrong = (String, String);

/// Whose API a model is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// OpenAI.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Google, by the API of OpenAI's shape that it offers.
    Gemini,
    /// Mistral.
    Mistral,
    /// Azure OpenAI, by its `v1` API: `endpoint` is `https://RESOURCE.openai.azure.com/openai/v1`.
    Azure,
    /// Any server that speaks OpenAI's API: vLLM, Ollama, llama.cpp. Has to have an `endpoint`.
    Compatible,
}

/// How sensitive something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// Everybody may know it.
    Public,
    /// The organization may.
    Internal,
    /// Vulnerabilities, keys, regulated data, what the organization lives on.
    Restricted,
}

/// `spec` of a `Model`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ModelSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whose API.
    pub provider: Provider,
    /// The URL that paths such as `/chat/completions` are put behind; the provider's own unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its name there; that of the document unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Other names that clients may call it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Who may call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Where the provider's key is. Without it none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Networks that are not of the Internet and that its endpoint may be in: `127.0.0.0/8`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Whether it runs where the organization's data may be: restricted content goes nowhere else.
    #[serde(default)]
    pub on_premises: bool,
    /// The most sensitive content that may go to it: then whoever does not say how sensitive theirs is counts as
    /// restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Sensitivity>,
    /// What it costs, over the table that is shipped.
    #[serde(default)]
    pub price: PriceSpec,
    /// Its context window in tokens, over what is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Its longest answer in tokens, over what is known of it: the cap of a request that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Which kinds of calls it takes, if not all that its provider has: `chat`, `responses`, `embeddings`, `messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaks: Option<Vec<String>>,
    /// Fields of requests that this version knows nothing of and that cost nothing there: they are passed on. A
    /// `compatible` server gets all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<String>,
    /// How long it may take for the first byte of its answer, in seconds; 120 unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How many calls it takes at once; more wait, each project in turn. No limit unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Where calls take effect; `production` unless it says otherwise.
    #[serde(default = "production")]
    pub environment: String,
}

/// `spec` of a `Route`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Other names that clients may call it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Who may use it, and so call its models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// The models that calls are spread over.
    pub targets: Vec<TargetSpec>,
    /// Names of models that are tried in this order when no target answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// How often one model is tried again when it fails for the moment; 1 unless it says otherwise, 5 at most.
    #[serde(default = "one")]
    pub retries: u32,
    /// How old an answer may be, in seconds, that is given again to the very same request; 0, and so never, unless it says
    /// otherwise; a day at most. Only of requests without tools that ask for no chance (`temperature: 0`), and of embeddings.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_seconds: u32,
}

/// One model of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TargetSpec {
    /// A `Model`.
    pub model: String,
    /// Its share of the calls; 1 unless it says otherwise.
    #[serde(default = "one")]
    pub weight: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn one() -> u32 {
    1
}

fn production() -> String {
    "production".to_owned()
}

/// A model, compiled.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) name: String,
    pub(crate) provider: Provider,
    pub(crate) endpoint: Url,
    pub(crate) upstream: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) agents: Vec<String>,
    pub(crate) secret: Option<SecretRef>,
    pub(crate) networks: Vec<Network>,
    pub(crate) on_premises: bool,
    pub(crate) accepts: Option<Sensitivity>,
    pub(crate) price: Option<Price>,
    pub(crate) context: u64,
    pub(crate) output: u64,
    pub(crate) speaks: Vec<Protocol>,
    pub(crate) timeout: Duration,
    pub(crate) concurrent: Option<u32>,
    pub(crate) passes: Vec<String>,
    pub(crate) environment: Environment,
}

/// A route, compiled.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) agents: Vec<String>,
    pub(crate) targets: Vec<(Arc<Model>, u32)>,
    pub(crate) fallbacks: Vec<Arc<Model>>,
    pub(crate) retries: u32,
    pub(crate) cache: Option<Duration>,
}

impl Provider {
    /// Whether it knows the cap of an answer as `max_tokens` alone.
    pub(crate) fn knows_older_cap(self) -> bool {
        matches!(self, Provider::Compatible | Provider::Mistral | Provider::Gemini)
    }

    fn endpoint(self) -> Option<&'static str> {
        match self {
            Provider::OpenAi => Some("https://api.openai.com/v1"),
            Provider::Anthropic => Some("https://api.anthropic.com/v1"),
            Provider::Gemini => Some("https://generativelanguage.googleapis.com/v1beta/openai"),
            Provider::Mistral => Some("https://api.mistral.ai/v1"),
            Provider::Azure | Provider::Compatible => None,
        }
    }

    fn speaks(self) -> &'static [Protocol] {
        match self {
            Provider::OpenAi | Provider::Azure => {
                &[Protocol::Chat, Protocol::Responses, Protocol::Embeddings]
            }
            Provider::Anthropic => &[Protocol::Messages, Protocol::CountTokens],
            Provider::Gemini | Provider::Mistral | Provider::Compatible => {
                &[Protocol::Chat, Protocol::Embeddings]
            }
        }
    }
}

/// The resource that a call of `model` acts on.
pub(crate) fn resource(model: &str) -> String {
    format!("model/{model}")
}

/// What whoever may call `model` holds.
pub fn capability(model: &str) -> Option<Capability> {
    Capability::new(VERB, &resource(model))
}

impl ModelSpec {
    /// The model called `name`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn compile(&self, name: &str) -> Result<Model, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let endpoint = self.endpoint(&mut wrong);
        let upstream = self.model.clone().unwrap_or_else(|| name.to_owned());
        self.names(&upstream, &mut wrong);
        let networks = self.networks(&mut wrong);
        let mut no = |at: &str, what: String| wrong.push((at.to_owned(), what));
        let environment = Environment::new(&self.environment);
        let environment = environment.map_err(|error| no("/environment", error.to_string()));
        let speaks = self.speaks().map_err(|(at, what)| no(&at, what));
        if self
            .timeout_seconds
            .is_some_and(|seconds| !(1..=3600).contains(&seconds))
        {
            no("/timeoutSeconds", "use 1 to 3600".to_owned());
        }
        if self.concurrent == Some(0) {
            no(
                "/concurrent",
                "0 would let nothing through; leave the model out".to_owned(),
            );
        }
        if !self.on_premises && self.accepts == Some(Sensitivity::Restricted) {
            no(
                "/accepts",
                "restricted content never leaves; say `onPremises: true` if it stays".to_owned(),
            );
        }
        let known = table::known(&upstream);
        let price = self.price.over(
            known.as_ref().map(|known| &known.price),
            self.provider == Provider::Anthropic,
        );
        let price = price.map_err(|more| wrong.extend(more));
        match (endpoint, environment, speaks, price) {
            (Some(endpoint), Ok(environment), Ok(speaks), Ok(price)) if wrong.is_empty() => Ok(Model {
                name: name.to_owned(),
                provider: self.provider,
                endpoint,
                upstream,
                aliases: self.aliases.clone(),
                agents: self.agents.clone(),
                secret: self.secret_ref.clone(),
                networks,
                on_premises: self.on_premises,
                accepts: self.accepts,
                price,
                context: self
                    .context_tokens
                    .or(known.as_ref().map(|known| known.context))
                    .unwrap_or(0),
                output: self
                    .output_tokens
                    .or(known.map(|known| known.output))
                    .unwrap_or(0),
                speaks,
                timeout: Duration::from_secs(self.timeout_seconds.unwrap_or(TIMEOUT_SECONDS).into()),
                concurrent: self.concurrent,
                passes: self.passes.clone(),
                environment,
            }),
            _ => Err(wrong),
        }
    }

    fn endpoint(&self, wrong: &mut Vec<Wrong>) -> Option<Url> {
        let mut no = |what: &str| wrong.push(("/endpoint".to_owned(), what.to_owned()));
        let Some(text) = self.endpoint.as_deref().or(self.provider.endpoint()) else {
            no("this provider needs one");
            return None;
        };
        let Some(url) = Url::parse(text).ok().filter(is_endpoint) else {
            no("it is no URL of the form https://HOST[:PORT]/PATH");
            return None;
        };
        if url.scheme() == "http" && !self.on_premises {
            no("over http:// keys and prompts can be read on the way; say `onPremises: true`");
        }
        Some(url)
    }

    fn names(&self, upstream: &str, wrong: &mut Vec<Wrong>) {
        for (at, alias) in self
            .aliases
            .iter()
            .enumerate()
            .filter(|(_, alias)| !is_alias(alias))
        {
            wrong.push((format!("/aliases/{at}"), alias_rule(alias)));
        }
        if !is_alias(upstream) {
            wrong.push(("/model".to_owned(), alias_rule(upstream)));
        }
        if self.aliases.len().max(self.agents.len()) > ITEMS_MAX {
            wrong.push((String::new(), format!("more than {ITEMS_MAX} aliases or agents")));
        }
    }

    fn networks(&self, wrong: &mut Vec<Wrong>) -> Vec<Network> {
        let mut networks = Vec::new();
        for (at, text) in self.networks.iter().enumerate() {
            match Network::parse(text) {
                Ok(network) => networks.push(network),
                Err(what) => wrong.push((format!("/networks/{at}"), what)),
            }
        }
        networks
    }

    fn speaks(&self) -> Result<Vec<Protocol>, Wrong> {
        let all = self.provider.speaks();
        let Some(named) = &self.speaks else {
            return Ok(all.to_vec());
        };
        let mut speaks = Vec::new();
        for (at, name) in named.iter().enumerate() {
            let found = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
            speaks.push(found.ok_or_else(|| {
                let names: Vec<_> = Protocol::ALL.iter().map(|protocol| protocol.name()).collect();
                (
                    format!("/speaks/{at}"),
                    format!("`{name}` is none of {}", names.join(", ")),
                )
            })?);
        }
        Ok(speaks)
    }
}

impl Model {
    /// The grant of whoever may call it.
    pub fn grant(&self, from: &str) -> Option<Grant> {
        Some(Grant {
            capability: capability(&self.name)?,
            from: from.to_owned(),
            until: None,
        })
    }

    /// Who may call it.
    pub fn agents(&self) -> &[String] {
        &self.agents
    }

    /// Its key's place, for whoever checks documents.
    pub fn secret(&self) -> Option<&SecretRef> {
        self.secret.as_ref()
    }

    /// Whether something of a request that nobody knows the price of is known to cost nothing here.
    pub(crate) fn passes(&self, cost: &wire::Cost) -> bool {
        let is_passed = self.provider == Provider::Compatible || self.passes.contains(&cost.name);
        cost.kind == wire::CostKind::UnknownField && is_passed
    }

    /// Whether `name` is one of its names.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

impl RouteSpec {
    /// The route called `name` over `models`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn compile(&self, name: &str, models: &[Arc<Model>]) -> Result<Route, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut find = |at: String, name: &str| {
            let found = models.iter().find(|model| model.name == name).cloned();
            if found.is_none() {
                wrong.push((at, format!("there is no Model `{name}`")));
            }
            found
        };
        let mut targets = Vec::new();
        for (at, target) in self.targets.iter().enumerate() {
            let found = find(format!("/targets/{at}/model"), &target.model);
            targets.extend(found.map(|model| (model, target.weight)));
        }
        let mut fallbacks = Vec::new();
        for (at, name) in self.fallbacks.iter().enumerate() {
            fallbacks.extend(find(format!("/fallbacks/{at}"), name));
        }
        if targets.iter().all(|(_, weight)| *weight == 0) && wrong.is_empty() {
            wrong.push((
                "/targets".to_owned(),
                "give at least one model with a weight".to_owned(),
            ));
        }
        if self
            .targets
            .len()
            .max(self.fallbacks.len())
            .max(self.aliases.len())
            > ITEMS_MAX
        {
            wrong.push((
                String::new(),
                format!("more than {ITEMS_MAX} targets, fallbacks or aliases"),
            ));
        }
        for (at, alias) in self
            .aliases
            .iter()
            .enumerate()
            .filter(|(_, alias)| !is_alias(alias))
        {
            wrong.push((format!("/aliases/{at}"), alias_rule(alias)));
        }
        if self.cache_seconds > 86_400 {
            wrong.push(("/cacheSeconds".to_owned(), "use 0 to 86400".to_owned()));
        }
        if self.retries > 5 {
            wrong.push(("/retries".to_owned(), "use 0 to 5".to_owned()));
        }
        match wrong.is_empty() {
            false => Err(wrong),
            true => Ok(Route {
                name: name.to_owned(),
                aliases: self.aliases.clone(),
                agents: self.agents.clone(),
                targets,
                fallbacks,
                retries: self.retries,
                cache: (self.cache_seconds > 0).then(|| Duration::from_secs(self.cache_seconds.into())),
            }),
        }
    }
}

impl Route {
    /// Who may use it.
    pub fn agents(&self) -> &[String] {
        &self.agents
    }

    /// Every model that a call of it may come to.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.targets.iter().map(|(model, _)| model).chain(&self.fallbacks)
    }

    /// Whether `name` is one of its names.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

fn is_endpoint(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http")
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.as_str().len() <= 512
}

/// Whether clients may call a model so.
pub fn is_alias(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/@".contains(&b);
    (1..=ALIAS_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

fn alias_rule(text: &str) -> String {
    format!("`{text}` is no name of a model: use 1 to {ALIAS_BYTES_MAX} of a-z, A-Z, 0-9 and -_.:/@")
}
