//! The door to models: any client of OpenAI's or Anthropic's API, which holds no key.
//!
//! Every call is an action: judged by [`Gate::admit`](crate::Gate::admit) in the session of whoever asks, with what it can
//! cost at most, which is reserved before anything is sent; recorded before it is sent; settled with what it used.
//!
//! Invariants:
//! - **Nothing without a bound**: what has no ceiling price is refused, by its place in the request.
//! - **The key is the gate's**: it is read for one flight, put on the wire, and is nowhere else.
//! - **Three changes**: the model's name, an output cap where there is none, and asking a stream for its usage. Everything
//!   else of a body goes out as the client wrote it, and comes back as the upstream did.
//! - **What nobody knows was used is paid for whole**: a stream that was cut, an answer without its usage.
//! - **Restricted content never leaves** for a model that does not run on premises.

mod again;
mod attempt;
mod breaker;
mod cache;
mod choose;
mod client;
mod counts;
mod price;
mod queue;
mod reply;
mod send;
mod settle;
mod spec;
mod spoken;
mod stream;
mod table;

pub use choose::Models;
pub use counts::Counted;
pub use price::PriceSpec;
pub use reply::{Body, Reply};
pub use spec::{
    Model, ModelSpec, Provider, Route, RouteSpec, Sensitivity, TargetSpec, VERB, capability, is_alias,
};
pub use table::DATE as PRICES_DATE;
pub use wire::Protocol;

use crate::Gate;
use crate::egress::steps::Steps;
use crate::egress::who::{Shown, Who};
use crate::egress::{Egress, Resolve, answer::Refused};
use arc_swap::ArcSwap;
use attempt::Tried;
use breaker::Breakers;
use cache::Cache;
use client::Clients;
use counts::Counts;
use queue::Queues;
use secrets::Secret;
use serde::Serialize;
use spoken::Spoken;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wire::{Limits, Request};

/// Largest request, in bytes: images come inside it.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// All bodies together that are being read or sent, in MiB. What is made of one for reading takes some times as much.
const ROOM_MIB: usize = 96;
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before a model is tried again; doubled each time.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that an upstream may ask for and be waited for.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the surface stands on, besides the gate.
pub struct Settings {
    /// Who knows names.
    pub resolver: Arc<dyn Resolve>,
    /// Files and directories that no secret is read from.
    pub private: Arc<[PathBuf]>,
    /// Where this installation itself listens: never connected to.
    pub own: Vec<SocketAddr>,
}

/// One call as it came.
#[derive(Debug)]
pub struct Ask {
    /// Whose.
    pub session: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Headers of the protocol, names in lower case; those that mean something to the provider are passed on.
    pub headers: Vec<(String, String)>,
    /// What stands behind `?` in its URL.
    pub query: String,
    /// The body.
    pub body: Vec<u8>,
    /// Its sender is dropped when nobody waits for an answer any more.
    pub gone: watch::Receiver<()>,
}

/// The surface. Shared as `Arc<Llm>`.
pub struct Llm {
    gate: Arc<Gate>,
    egress: Arc<Egress>,
    models: ArcSwap<Models>,
    clients: Clients,
    breakers: Breakers,
    queues: Arc<Queues>,
    cache: Cache,
    counts: Arc<Counts>,
    steps: Steps,
    private: Arc<[PathBuf]>,
    /// What bodies may hold in memory together, in MiB.
    room: Arc<Semaphore>,
    /// Counts calls, so that routes spread them.
    turn: AtomicU64,
}

impl std::fmt::Debug for Llm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Llm").finish_non_exhaustive()
    }
}

/// One name that a client may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// `Model` or `Route`.
    pub kind: &'static str,
    /// Of a model: `closed` (well), `open` (failing, left alone for a while) or `half_open` (being tried).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<&'static str>,
}

impl Llm {
    /// With no models. `egress` knows whose tokens are whose.
    pub fn new(gate: Arc<Gate>, egress: Arc<Egress>, settings: Settings) -> Arc<Llm> {
        let Settings {
            resolver,
            private,
            own,
        } = settings;
        Arc::new(Llm {
            models: ArcSwap::default(),
            clients: Clients::new(resolver, own),
            breakers: Breakers::new(gate.clock.clone()),
            queues: Arc::default(),
            cache: Cache::new(gate.clock.clone()),
            counts: Arc::default(),
            steps: Steps::starting_at("llm", *gate.store.committed().borrow()),
            private,
            room: Arc::new(Semaphore::new(ROOM_MIB)),
            turn: AtomicU64::new(0),
            egress,
            gate,
        })
    }

    /// Puts models and routes in force, in the place of all before.
    pub fn install(&self, models: &Models) {
        // What was answered by other documents is not given again.
        self.cache.clear();
        self.models.store(Arc::new(models.clone()));
    }

    /// Room for a body of `bytes`, held until its call has been answered or begun to stream. INVARIANT (memory is
    /// bounded): before any of it is read.
    ///
    /// # Errors
    /// There is none for a while.
    pub async fn room(&self, protocol: Protocol, bytes: usize) -> Result<OwnedSemaphorePermit, Reply> {
        let wanted = bytes.min(REQUEST_BYTES_MAX).div_ceil(1024 * 1024).max(1);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted);
        match tokio::time::timeout(PATIENCE, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => {
                let refused = Refused {
                    retry_after: Some(5),
                    ..Refused::new(
                        503,
                        "overloaded",
                        "too many large requests are being read; try again",
                    )
                };
                Err(reply::refusal(protocol, &refused))
            }
        }
    }

    /// The session that a token is of: a secret of one session, or the token of an agent of whom one session runs.
    ///
    /// # Errors
    /// What whoever asks is told, in the shape of `protocol`.
    pub fn session_of(&self, protocol: Protocol, token: Option<&str>) -> Result<String, Reply> {
        let shown = token.map(|token| Shown {
            name: String::new(),
            secret: Secret::new(token.as_bytes().to_vec()),
        });
        let known = self.egress.session_of(&Who::ByToken, shown.as_ref());
        let told = |refused: Refused| {
            let refused = match refused.status {
                407 => Refused::new(401, "unauthenticated", "the key is of no session that runs here"),
                _ => refused,
            };
            reply::refusal(protocol, &refused)
        };
        known.map(|(session, _)| session).map_err(told)
    }

    /// A refusal of the doorkeeper, in the shape of `protocol`.
    pub fn refusal(&self, protocol: Protocol, status: u16, code: &'static str, what: &str) -> Reply {
        reply::refusal(protocol, &Refused::new(status, code, what))
    }

    /// What the agent of `session` may call.
    pub fn list(&self, session: &str) -> Vec<Listed> {
        let models = self.models.load();
        let may = |model: &Model| {
            let Some(action) = attempt::bare(model) else {
                return false;
            };
            self.gate.still_grants(session, &action).is_ok()
        };
        models.list(|model| may(model).then(|| self.breakers.state(&model.name)))
    }

    /// Names of the models that `name` comes to; `None` when it is no name of any.
    pub fn models_of(&self, name: &str) -> Option<Vec<String>> {
        let way = self.models.load().way(name, 0)?;
        Some(way.models.iter().map(|model| model.name.clone()).collect())
    }

    /// Whether documents let `agent` call anything.
    pub fn is_open_to(&self, agent: &str) -> bool {
        !self.models.load().grants_of(agent).is_empty()
    }

    /// What was called since the start.
    pub fn counted(&self) -> Vec<Counted> {
        self.counts.all()
    }

    /// Every model and route, for people.
    pub fn all(&self) -> Vec<Listed> {
        self.models
            .load()
            .list(|model| Some(self.breakers.state(&model.name)))
    }

    /// One call, whatever becomes of it. It is a task of its own, so that it is settled also when nobody waits any more.
    pub async fn call(self: &Arc<Self>, ask: Ask) -> Reply {
        let (protocol, llm) = (ask.protocol, Arc::clone(self));
        let answered = tokio::spawn(async move { llm.answered(ask).await }).await;
        let broken = |_| Err(Refused::new(500, "broken", "the call broke off"));
        match answered.unwrap_or_else(broken) {
            Ok(reply) => reply,
            Err(refused) => reply::refusal(protocol, &refused),
        }
    }

    async fn answered(self: &Arc<Self>, mut ask: Ask) -> Result<Reply, Refused> {
        let limits = Limits {
            bytes: REQUEST_BYTES_MAX,
            ..Limits::default()
        };
        let request = Request::parse(ask.protocol, std::mem::take(&mut ask.body), limits)
            .map_err(|fault| Refused::new(fault.code.status(), "malformed", fault.to_string()))?;
        let models = self.models.load_full();
        let name = request.model().into_owned();
        let Some(way) = models.way(&name, self.turn.fetch_add(1, Ordering::Relaxed)) else {
            return Err(self.unknown(&ask, &name).await);
        };
        let created = u64::try_from(self.gate.clock.now().ms() / 1000).unwrap_or_default();
        let mut last = None;
        for model in self.breakers.well_first(&way.models) {
            let spoken = match Spoken::of(&request, model, created) {
                Ok(spoken) => spoken,
                Err(refused) => {
                    last.get_or_insert(refused);
                    continue;
                }
            };
            match self
                .with_retries(&ask, &spoken, &models, model, (way.retries, way.cache))
                .await
            {
                Tried::Answered(reply) => return Ok(reply),
                Tried::Refused(refused) => return Err(refused),
                Tried::Failed {
                    refused, elsewhere, ..
                } => {
                    last = Some(refused);
                    if !elsewhere {
                        break;
                    }
                }
            }
        }
        Err(last
            .unwrap_or_else(|| Refused::new(503, "no_model", format!("`{name}` has no model that answers"))))
    }

    async fn with_retries(
        self: &Arc<Self>,
        ask: &Ask,
        spoken: &Spoken<'_>,
        models: &Models,
        model: &Arc<Model>,
        (retries, cache): (u32, Option<Duration>),
    ) -> Tried {
        let mut pause = PAUSE;
        for again in 0.. {
            let tried = self.attempt(ask, spoken, models, model, cache).await;
            let Tried::Failed {
                again: may, after, ..
            } = &tried
            else {
                return tried;
            };
            let wait = after.unwrap_or_else(|| pause.mul_f64(0.5 + self.jitter()));
            if !may || again >= retries || wait > PAUSE_MAX {
                return tried;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = send::left(ask) => return tried,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Tried::Refused(Refused::new(503, "no_model", "it was tried too often"))
    }

    /// 0 to 1: many clients that fail together should not come back together.
    fn jitter(&self) -> f64 {
        let mut byte = [0_u8];
        let _ = getrandom::fill(&mut byte);
        f64::from(byte[0]) / 255.0
    }
}
