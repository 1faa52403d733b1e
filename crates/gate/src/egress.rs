//! The door to the network: a forward proxy for HTTP CONNECT, absolute-form HTTP/1.1 and SOCKS5, on one port, told
//! apart by the first byte.
//!
//! Every tunnel, and every request that is seen, is an action: judged by [`Gate::admit`](crate::Gate::admit) in the
//! session of whoever asks, recorded before a name is resolved, settled with what went out and came back.
//!
//! Invariants:
//! - **Nothing without a document**: an agent that no `Egress` names reaches nothing, and nothing that it asks for is
//!   resolved.
//! - **Checked is dialled**: a name is resolved once, every address of the answer is looked at, and one of exactly
//!   these is connected to.
//! - **One reading**: a head that could be read in two ways is refused, and what is sent on is written anew.
//! - **An opaque tunnel is to whom it says**: its TLS names the host of its CONNECT, or nothing goes through.
//! - **Nothing outlives a stop**, nor the document, the grant or the session that it rests on.

pub(crate) mod answer;
mod authority;
mod exchange;
mod flood;
mod intercept;
mod learn;
mod meaning;
mod note;
mod opaque;
mod relay;
pub(crate) mod resolve;
pub(crate) mod rules;
mod seen;
mod serve;
pub mod spec;
pub(crate) mod steps;
mod test;
mod tunnels;
mod visit;
mod watch;
pub(crate) mod who;
mod wire;

pub use authority::AuthorityError;
pub use intercept::Prefixed;
pub use learn::Learned;
pub use meaning::{is_read, meaning};
pub use resolve::{Resolve, System};
pub use serve::Serving;
pub use test::{Reached, Tested};
pub use who::Who;

use crate::gate::lock;
use crate::{Gate, SessionView};
use arc_swap::ArcSwap;
use authority::Trusting;
use flood::Flood;
use relay::Buffers;
use rules::{All, Allowed};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use steps::Steps;
use tunnels::Tunnels;

/// How long connections may take to end when the platform stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Another surface that is served at the doors of guests, which have no other way to it: what a client sends there that is
/// no request to a proxy.
pub trait Inside: Send + Sync {
    /// Whether a request for this path is its.
    fn takes(&self, path: &str) -> bool;
    /// Serves the connection of `session`, whose first request is still to be read, until it ends.
    fn serve(&self, session: String, stream: Prefixed) -> crate::BoxFuture<'static, ()>;
}

/// What the surface stands on, besides the gate.
pub struct Settings {
    /// Who knows names.
    pub resolver: Arc<dyn Resolve>,
    /// Where the installation's own authority is kept; it is made when it is first needed. `None`: nothing is
    /// inspected, and what has to be is refused.
    pub keys: Option<PathBuf>,
    /// Authorities of servers, besides the system's.
    pub roots: Vec<CertificateDer<'static>>,
    /// Where this installation itself listens: never connected to.
    pub own: Vec<SocketAddr>,
    /// How long a client may take for a head, or for the first message of TLS, however slowly it sends.
    pub head_time: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            resolver: Arc::new(System),
            keys: None,
            roots: Vec::new(),
            own: Vec::new(),
            head_time: Duration::from_secs(10),
        }
    }
}

/// The surface. Shared as `Arc<Egress>`.
pub struct Egress {
    gate: Arc<Gate>,
    rules: ArcSwap<All>,
    resolver: Arc<dyn Resolve>,
    own: Mutex<Vec<SocketAddr>>,
    head_time: Duration,
    trusting: Trusting,
    tunnels: Arc<Tunnels>,
    flood: Arc<Flood>,
    buffers: Buffers,
    steps: Steps,
    asking: resolve::Asking,
    notes: note::Notes,
    /// What single sessions may reach, in the place of what documents say of their agents.
    lent: Mutex<HashMap<String, Arc<Allowed>>>,
    /// Sessions by the SHA-256 of a secret.
    secrets: Mutex<HashMap<[u8; 32], String>>,
    /// What is served at doors of guests besides.
    inside: OnceLock<Arc<dyn Inside>>,
    /// What does not change of sessions.
    sessions: Mutex<HashMap<String, Arc<SessionView>>>,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress")
            .field("open", &self.tunnels.count())
            .finish_non_exhaustive()
    }
}

impl Egress {
    /// With nothing allowed. Has to be called within a Tokio runtime: what is open is looked at whenever what it rests
    /// on may have changed.
    pub fn new(gate: Arc<Gate>, settings: Settings) -> Arc<Egress> {
        let tunnels = Arc::new(Tunnels::new());
        gate.add_stoppable(Arc::clone(&tunnels) as Arc<dyn crate::Stoppable>);
        let egress = Arc::new(Egress {
            rules: ArcSwap::from_pointee(All::new()),
            trusting: Trusting::new(&settings, gate.clock.clone()),
            resolver: settings.resolver,
            own: Mutex::new(settings.own),
            head_time: settings.head_time,
            tunnels,
            flood: Arc::new(Flood::new(gate.clock.clone())),
            buffers: Buffers::default(),
            steps: Steps::starting_at("egress", *gate.store.committed().borrow()),
            asking: resolve::Asking::default(),
            notes: note::Notes::new(gate.clock.clone()),
            lent: Mutex::default(),
            secrets: Mutex::default(),
            inside: OnceLock::new(),
            sessions: Mutex::default(),
            gate,
        });
        tokio::spawn(watch::follow(Arc::downgrade(&egress)));
        egress
    }

    /// Puts documents in force, in the place of all before. What is open and would not be let through any more is cut
    /// before this returns.
    pub fn install(&self, documents: &[spec::EgressDocument]) {
        self.rules.store(Arc::new(rules::together(documents)));
        self.look_again();
    }

    /// Lets `session` reach what `document` says, in the place of what documents say of its agent, until it is
    /// [taken back](Egress::take_back). It is in memory: whoever lends it runs the session.
    pub fn lend(&self, session: &str, document: &spec::EgressDocument) {
        let allowed = Arc::new(Allowed::of(document));
        lock(&self.lent).insert(session.to_owned(), allowed);
        self.look_again();
    }

    /// Ends what was lent, and cuts what rests on it.
    pub fn take_back(&self, session: &str) {
        lock(&self.lent).remove(session);
        self.look_again();
    }

    /// Serves `inside` at the doors of guests from now on, besides. Only the first is.
    pub fn serve_inside(&self, inside: Arc<dyn Inside>) {
        let _ = self.inside.set(inside);
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.tunnels.count()
    }

    /// One more address that is never connected to, because it is a door of this installation.
    pub fn add_own(&self, address: SocketAddr) {
        lock(&self.own).push(address);
    }

    /// The certificate of the authority that inspected connections are signed by, for guests to trust; made when there
    /// is none yet.
    ///
    /// # Errors
    /// It cannot be read or made.
    pub fn authority_pem(&self) -> Result<String, AuthorityError> {
        self.trusting
            .authority()
            .map(|authority| authority.pem().to_owned())
    }

    /// Cuts everything and waits until it has ended: when the platform stops.
    pub async fn drain(&self) {
        let numbers: Vec<u64> = self.tunnels.all().into_iter().map(|(number, _)| number).collect();
        for number in &numbers {
            self.tunnels.cut(*number, "the platform stops");
        }
        // What could not be recorded is owed to the journal already, and is not waited for here.
        if tokio::time::timeout(DRAIN, self.tunnels.gone(&numbers))
            .await
            .is_err()
        {
            tracing::warn!("connections are left to end with the process");
        }
    }

    fn allowed(&self, agent: &str) -> Arc<Allowed> {
        self.rules.load().get(agent).cloned().unwrap_or_default()
    }

    /// The same in `session`, which may have been lent something of its own.
    fn allowed_in(&self, session: &str, agent: &str) -> Arc<Allowed> {
        let lent = lock(&self.lent).get(session).cloned();
        lent.unwrap_or_else(|| self.allowed(agent))
    }

    /// Who has limits together.
    fn whose<'a>(&self, session: &'a str, agent: &'a str) -> &'a str {
        match lock(&self.lent).contains_key(session) {
            true => session,
            false => agent,
        }
    }

    /// Whether what made `allowed` is still in force.
    fn is_current(&self, session: &str, agent: &str, allowed: &Arc<Allowed>) -> bool {
        let current = self.allowed_in(session, agent);
        Arc::ptr_eq(&current, allowed) || (current.rules.is_empty() && allowed.rules.is_empty())
    }

    /// The resolver, for those that have limits together with `session`.
    fn asked_for<'a>(&'a self, session: &'a str, agent: &'a str) -> resolve::Fair<'a> {
        resolve::Fair {
            resolver: &self.resolver,
            asking: &self.asking,
            whose: self.whose(session, agent),
        }
    }

    pub(crate) fn own(&self) -> Vec<SocketAddr> {
        lock(&self.own).clone()
    }
}
