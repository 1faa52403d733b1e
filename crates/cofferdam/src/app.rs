//! Starts the platform: keys, store, gate, runtime, triage and the HTTP server, wired together.
//!
//! `up`, the demo and the tests all start it here, so what they run is the same thing. It decides
//! nothing about actions: that is the gate's.

mod administrator;
mod background;
mod bundles;
mod configuration;
mod door;
mod files;
pub mod organizations;
mod origin;
mod watch;

pub use bundles::{ChangedBundle, Wanted};
pub use configuration::{ApplyError, Change, Changed, ChangedDocument, Configuration};
pub use door::Door;
pub use files::beside;
pub use organizations::Own;
use organizations::Served;
use origin::has_origin;
pub use origin::{DEFAULT_ORIGIN, OriginError, stored_origin};

use crate::guests;
use crate::health::{Cell, Part, Report, Status, Verification};
use crate::identity::Identity;
use crate::server;
use crate::server::metrics::Metrics;
use crate::tls::{Tls, TlsFiles};
use anyhow::Context as _;
use gate::Gate;
use gate::egress::{Egress, Serving, Who};
use gate::llm::Llm;
use ops::Triage;
use runtime::guest::Guests;
use runtime::{Runtime, Settings};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::clock::{SharedClock, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch as channel};
use tokio::task::JoinSet;

/// Notifications that are taken at once; more are told to come again.
const INTAKE_MAX: usize = 64;
/// Questions to `explain` that are answered at once: a tool may have to run for each.
const EXPLAINING_MAX: usize = 4;
/// How long running sessions may take to settle when the platform stops.
const RUNTIME_GRACE: Duration = Duration::from_secs(15);
/// How long deliveries may take when the platform stops.
const TRIAGE_GRACE: Duration = Duration::from_secs(5);
/// Free space below which `health` warns, in bytes.
const DISK_LOW: u64 = 64 * 1024 * 1024;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one (see [`Running::address`]).
    pub listen: SocketAddr,
    /// Where data lives. Made if missing.
    pub data_dir: PathBuf,
    /// Names, besides `localhost` and addresses, that requests may use for us in their `Host`.
    pub hosts: Vec<String>,
    /// A file or a directory of documents. `None`: only what was applied through the API.
    pub config: Option<PathBuf>,
    /// Whether changes below `config` are applied as they happen.
    pub watch: bool,
    /// The name under which checkpoints are signed. `None`: the one that the data directory has, or
    /// [`DEFAULT_ORIGIN`] on first start.
    pub origin: Option<String>,
    /// The file outside the data directory that checkpoints are appended to. `None`: the default
    /// beside the data directory.
    pub checkpoints: Option<PathBuf>,
    /// The person whom the first start makes administrator. `None`: `$USER`, or `admin`.
    pub administrator: Option<String>,
    /// The organizations to serve besides those that there are; see [`organizations`].
    pub organizations: Vec<String>,
    /// The one that this is. `None`: the platform's own.
    pub organization: Option<String>,
    /// The clock. `None`: the machine's.
    pub clock: Option<SharedClock>,
    /// Name of an SQLite VFS that the journal lives on; tests put a faulty disk here.
    pub vfs: Option<String>,
    /// What the listener speaks TLS with. `None`: it speaks none.
    pub tls: Option<TlsFiles>,
    /// Whether `cofferdam run` is taken, at a socket in the data directory.
    pub runs: bool,
    /// Places for guests that are built ahead once the first was started; each takes about a megabyte.
    pub guests_ahead: usize,
    /// Where the egress surface listens for whoever shows a token.
    pub egress: Door,
    /// Authorities of servers that agents reach, besides the system's, in PEM.
    pub egress_ca: Option<PathBuf>,
}

impl Options {
    /// The defaults, for a data directory: loopback, a free port, no configuration.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            hosts: Vec::new(),
            config: None,
            watch: false,
            origin: None,
            checkpoints: None,
            administrator: None,
            organizations: Vec::new(),
            organization: None,
            clock: None,
            vfs: None,
            tls: None,
            runs: false,
            guests_ahead: 0,
            egress: Door::Closed,
            egress_ca: None,
        }
    }
}

/// What handlers and background tasks share.
pub struct App {
    /// The one gate.
    pub gate: Arc<Gate>,
    /// Sessions.
    pub runtime: Arc<Runtime>,
    /// Incidents.
    pub triage: Arc<Triage>,
    /// Programs of others that run behind walls.
    pub guests: Arc<Guests>,
    /// The door to the network.
    pub egress: Arc<Egress>,
    /// The door to models.
    pub llm: Arc<Llm>,
    /// Where it listens for whoever shows a token, if it does.
    pub egress_address: Option<SocketAddr>,
    /// Documents.
    pub configuration: Configuration,
    /// Whoever comes from a provider.
    pub identity: Identity,
    /// Counters.
    pub metrics: Metrics,
    /// The clock of the store.
    pub clock: SharedClock,
    /// Names that requests may use for us.
    pub hosts: Vec<String>,
    /// Where the platform listens.
    pub address: SocketAddr,
    /// Slots for notifications.
    pub intake: Semaphore,
    /// Slots for questions to `explain`.
    pub explaining: Arc<Semaphore>,
    /// Slots for strangers.
    pub doors: server::Doors,
    /// One slot for verification on demand.
    pub verifying: Arc<Semaphore>,
    /// Below which path it is served: nothing, or `/organizations/acme`.
    pub below: String,
    /// The gate of the platform, when this is one of its organizations: what it stops, it lifts.
    pub platform: OnceLock<Arc<Gate>>,
    /// The organizations that are served beside this one, which is the platform's own then.
    pub organizations: BTreeMap<String, Served>,
    /// Turns true when the platform stops.
    pub draining: channel::Receiver<bool>,
    /// What the listener speaks TLS with, if it does.
    pub tls: Option<Arc<Tls>>,
    /// Files and directories that are the platform's own, of all organizations: nothing of them is sent to anybody.
    pub private: Arc<[PathBuf]>,
    verification: Cell<Verification>,
    /// Of the timers, on the monotonic clock.
    heartbeat: Cell<Option<Duration>>,
}

impl App {
    /// Every part and the worst of them.
    #[must_use]
    pub fn health(&self) -> Report {
        let now = self.clock.monotonic();
        let mut parts = vec![
            self.store_health(),
            self.verification.get().part(),
            Part::alive("runtime", Some(self.runtime.heartbeat()), now),
            self.triage_health(),
            self.configuration.health(),
            Part::alive("background", self.heartbeat.get(), now),
            disk_health(self.gate.store().directory()),
        ];
        parts.extend(self.tls.as_ref().map(|tls| tls.health()));
        parts.extend(self.egress_health());
        parts.extend(self.organizations_health());
        Report::of(parts)
    }

    /// How many organizations are served, and which are not well. None at all is no part.
    fn organizations_health(&self) -> Option<Part> {
        let ill = |(name, served): (&String, &Served)| match served {
            Err(why) => Some((Status::Unhealthy, format!("{name} is not served: {why}"))),
            Ok(app) => {
                let status = app.health().status;
                (status != Status::Healthy)
                    .then(|| (status, format!("{name} is not well, see its own health")))
            }
        };
        let (statuses, details): (Vec<Status>, Vec<String>) =
            self.organizations.iter().filter_map(ill).unzip();
        let part = match statuses.into_iter().max() {
            None => Part::new(
                "organizations",
                Status::Healthy,
                format!("{} served", self.organizations.len()),
            ),
            Some(worst) => Part::new("organizations", worst, details.join("; ")),
        };
        (!self.organizations.is_empty()).then_some(part)
    }

    /// What the trust equation asks about the platform.
    #[must_use]
    pub fn surroundings(&self) -> gate::Surroundings {
        gate::Surroundings {
            channels: self.configuration.channels(),
            verified: match self.verification.get() {
                Verification::Passed { .. } => Some(true),
                Verification::Failed(_) => Some(false),
                Verification::Pending | Verification::Running { .. } | Verification::Impossible(_) => None,
            },
            checkpoints: matches!(self.gate.store().latest_checkpoint(), Ok(Some(_))),
        }
    }

    fn store_health(&self) -> Part {
        let entries = *self.gate.store().committed().borrow();
        match (self.gate.store().health(), self.gate.unsettled()) {
            (store::Health::Ready, _) if self.gate.store().is_comparing() => Part::new(
                "store",
                Status::Degraded,
                format!(
                    "{entries} entries; comparing large tables with their digests, and acting waits for that"
                ),
            ),
            (store::Health::Ready, 0) => Part::new("store", Status::Healthy, format!("{entries} entries")),
            (store::Health::Ready, n) => Part::new(
                "store",
                Status::Degraded,
                format!("{n} outcomes wait to be recorded"),
            ),
            (store::Health::Unavailable(why), _) => {
                let detail = format!("refuses new actions, tries again by itself: {why}");
                Part::new("store", Status::Unhealthy, detail)
            }
            (store::Health::Corrupt(finding), _) => Part::new(
                "store",
                Status::Unhealthy,
                format!("acting has stopped: {finding}"),
            ),
        }
    }

    /// Triage lives by its journal: it has to be able to read its incidents, and to give signs of life.
    fn triage_health(&self) -> Part {
        match self.triage.incidents(1) {
            Ok(_) => Part::alive("triage", Some(self.triage.heartbeat()), self.clock.monotonic()),
            Err(error) => Part::new("triage", Status::Unhealthy, error.to_string()),
        }
    }
}

fn disk_health(directory: &Path) -> Part {
    match rustix::fs::statvfs(directory) {
        Err(error) => Part::new("disk", Status::Degraded, format!("cannot be asked: {error}")),
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let status = if free < DISK_LOW {
                Status::Degraded
            } else {
                Status::Healthy
            };
            Part::new("disk", status, format!("{} MiB free", free / (1024 * 1024)))
        }
    }
}

/// A started platform. Dropping it without [`Running::shutdown`] stops it without draining.
pub struct Running {
    address: SocketAddr,
    scheme: &'static str,
    own: Opened,
    organizations: Vec<Opened>,
    /// Takes connections of the egress surface until it is dropped.
    egress: Option<Serving>,
    stop: channel::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
}

/// One organization with what moves in it.
struct Opened {
    app: Arc<App>,
    admin_token_file: PathBuf,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, or `https://ADDRESS` with TLS, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The 0600 file that holds the administrator's token: `<data-dir>/admin.token`.
    #[must_use]
    pub fn admin_token_file(&self) -> &Path {
        &self.own.admin_token_file
    }

    /// The same for each organization that is served beside.
    pub fn admin_token_files(&self) -> impl Iterator<Item = &Path> {
        self.organizations
            .iter()
            .map(|one| one.admin_token_file.as_path())
    }

    /// What it runs on.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.own.app
    }

    /// Stops accepting, drains every runtime and triage, and closes the stores.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        drop(self.egress.take());
        let _ = (&mut self.server).await;
        let organizations = std::mem::take(&mut self.organizations);
        let others = futures_util::future::join_all(organizations.into_iter().map(Opened::shutdown));
        tokio::join!(self.own.end(), others);
    }
}

impl Opened {
    /// What a crash interrupted first, then timers.
    async fn set_going(&mut self, options: &Options) -> anyhow::Result<()> {
        let app = &self.app;
        app.guests
            .end_left_behind()
            .await
            .context("cannot take up the sessions")?;
        app.runtime.start().await.context("cannot take up the sessions")?;
        app.triage.start().await;
        self.tasks = background::spawn(app, options);
        if options.runs {
            take_runs(app, options, &mut self.tasks);
        }
        Ok(())
    }

    async fn shutdown(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        self.app.guests.drain().await;
        self.app.egress.drain().await;
        self.app.runtime.drain(RUNTIME_GRACE).await;
        self.app.triage.drain(TRIAGE_GRACE).await;
        self.tasks.shutdown().await;
        if let Err(error) = self.app.gate.flush().await {
            tracing::error!(%error, "something could not be recorded before the end");
        }
        if let Err(error) = self.app.gate.store().close().await {
            tracing::error!(%error, "the journal was not closed well; the next start recovers it");
        }
    }
}

/// Without the socket everything else works.
fn take_runs(app: &Arc<App>, options: &Options, tasks: &mut JoinSet<()>) {
    let own = Own::of(options);
    match guests::listen(&options.data_dir).and_then(|listener| Ok((listener, own?))) {
        Ok((listener, own)) => drop(tasks.spawn(guests::serve(Arc::clone(app), own, listener))),
        Err(error) => {
            let path = options.data_dir.join(guests::SOCKET);
            tracing::warn!(%error, "`cofferdam run` cannot be taken at `{}`", path.display());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Opens everything and starts serving.
///
/// # Errors
/// What could not be opened, read or bound, with what to do about it.
pub async fn start(options: Options) -> anyhow::Result<Running> {
    // 1. The port first: whoever cannot listen should change nothing.
    let at = options.listen;
    let taken = || format!("cannot listen on `{at}`; choose another address with --listen");
    let listener = TcpListener::bind(at).await.with_context(taken)?;
    let address = listener
        .local_addr()
        .context("cannot tell the listener's address")?;
    let egress = door::bind(options.egress)?;
    let tls = open_tls(&options)?;
    let (stop, draining) = channel::channel(false);
    let around = Around {
        draining: draining.clone(),
        tls: tls.clone(),
        egress: egress.as_ref().and_then(|listener| listener.local_addr().ok()),
        private: organizations::private(&options)
            .context("cannot tell where the platform's own files are")?
            .into(),
        own: Own::of(&options).context("cannot tell where the platform's own files are")?,
    };
    // 2. Every organization. One that cannot be opened keeps nobody else from working.
    let mut organizations = Vec::new();
    let mut served = BTreeMap::new();
    for (name, options) in organizations::options(&options)? {
        let opened = open(&options, address, BTreeMap::new(), &around).await;
        let one = opened.map_err(|error| format!("{error:#}"));
        if let Err(error) = &one {
            tracing::error!(organization = name, "not served: {error}");
        }
        served.insert(
            name,
            one.as_ref().map(|one| Arc::clone(&one.app)).map_err(Clone::clone),
        );
        organizations.extend(one.map(|one| (one, options)));
    }
    let mut own = open(&options, address, served, &around).await?;
    // INVARIANT (a stop of everything stops everybody): also whoever was not there when it was raised.
    for (one, _) in &organizations {
        organizations::hold(&own.app, &one.app).await;
    }
    own.set_going(&options).await?;
    let mut going = Vec::new();
    for (mut one, options) in organizations {
        if let Err(error) = one.set_going(&options).await {
            // Its API answers, nothing acts in it, and its health says that nothing gives signs of life.
            let organization = options.organization.unwrap_or_default();
            tracing::error!(organization, "not set going: {error:#}");
        }
        going.push(one);
    }
    let organizations = going;
    // 3. Callers last.
    let router = server::router_of_all(&own.app);
    if let Some(tls) = &tls {
        files::follow(tls, &own.app)?;
    }
    let egress = egress.map(|listener| own.app.egress.serve(listener, Who::ByToken));
    let egress = egress.transpose().context("cannot serve the egress surface")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = tokio::spawn(server::serve(listener, router, tls, draining));
    Ok(Running {
        address,
        scheme,
        own,
        organizations,
        egress,
        stop,
        server,
    })
}

/// What every organization shares.
struct Around {
    draining: channel::Receiver<bool>,
    tls: Option<Arc<Tls>>,
    /// Where the egress surface of the platform listens.
    egress: Option<SocketAddr>,
    private: Arc<[PathBuf]>,
    own: Own,
}

/// The files of TLS, which are read before anything is opened: whoever cannot be reached should change nothing.
fn open_tls(options: &Options) -> anyhow::Result<Option<Arc<Tls>>> {
    let Some(files) = &options.tls else {
        return Ok(None);
    };
    let clock = options.clock.clone().unwrap_or_else(SystemClock::shared);
    let tls = Tls::open(files.clone(), clock).context("cannot speak TLS")?;
    Ok(Some(Arc::new(tls)))
}

/// Opens one organization. Nothing moves in it yet.
async fn open(
    options: &Options,
    address: SocketAddr,
    organizations: BTreeMap<String, Served>,
    around: &Around,
) -> anyhow::Result<Opened> {
    // 1. The journal, and in it what everything else is recomputed from.
    let store = files::open_store(options).await?;
    let gate = Gate::open(store.clone()).context("cannot recompute what the gate acts on")?;
    let runtime = Runtime::new(Arc::clone(&gate), Settings::default());
    let launching = files::launching(options);
    let guests = Guests::new(&runtime, Arc::clone(&launching));
    let below = options
        .organization
        .as_deref()
        .map(organizations::path)
        .unwrap_or_default();
    let triage = Triage::new(
        Arc::clone(&gate),
        Arc::clone(&runtime),
        &below,
        Arc::clone(&around.private),
    );
    // 2. What may act: nothing, until configuration says so.
    let egress = door::open(&gate, options, [address].into_iter().chain(around.egress))?;
    let llm = door::models(&gate, &egress, &around.private, address);
    let configuration = Configuration::new(
        Arc::clone(&gate),
        Arc::clone(&runtime),
        Arc::clone(&triage),
        (Arc::clone(&egress), Arc::clone(&llm)),
        files::supplied(triage.search(), launching, &around.own),
        options.organization.clone(),
    );
    files::configure(&configuration, options).await?;
    let admin_token_file = administrator::ensure(&gate, options).await?;
    let app = Arc::new(App {
        clock: store.clock(),
        gate,
        runtime,
        triage,
        guests,
        egress,
        llm,
        egress_address: around.egress.filter(|_| options.organization.is_none()),
        configuration,
        identity: Identity::new(files::svids(options, &store)).context("cannot ask identity providers")?,
        metrics: Metrics::default(),
        hosts: options.hosts.clone(),
        address,
        intake: Semaphore::new(INTAKE_MAX),
        explaining: Arc::new(Semaphore::new(EXPLAINING_MAX)),
        doors: server::Doors::default(),
        verifying: Arc::new(Semaphore::new(1)),
        below,
        platform: OnceLock::new(),
        organizations,
        draining: around.draining.clone(),
        tls: around.tls.clone(),
        private: Arc::clone(&around.private),
        verification: Cell::default(),
        heartbeat: Cell::default(),
    });
    server::llm::at_doors(&app);
    Ok(Opened {
        app,
        admin_token_file,
        tasks: JoinSet::new(),
    })
}
