//! The platform's end of the socket: takes what a command wants, runs it, and says what comes of it.

use super::{Learn, Summary, Told, Wanted, contain, lend, place, trust};
use crate::app::{App, Own};
use gate::egress::spec::EgressDocument;
use gate::egress::{Egress, Learned, Serving, Who};
use gate::{Caller, GUEST, GuestSession, Refusal, Role, SessionError, SessionView, Tally};
use policy::Principal;
use runtime::guest::{
    Aside, Doors, Driving, ENVIRONMENT, Ended, News, Opened, Reviewed, Run, RunError, Verdict, refused,
};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use sandbox::Spec;
use sandbox::wire;
use secrets::Secret;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// The socket's name in the data directory.
pub const SOCKET: &str = "run.sock";
/// The agent of what is learned, for whoever ran it to put theirs in its place.
const NAME_YOURS: &str = "my-agent";
/// Largest token, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;
/// How long a command may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it rests when the system gives no more connections.
const REST: Duration = Duration::from_millis(50);
/// Commands that wait to be let in.
const WAITING: i32 = 64;

/// Listens at `<data-dir>/run.sock`.
///
/// # Errors
/// The socket cannot be made: its path may be too long for one, which has 107 bytes.
pub fn listen(data_dir: &Path) -> io::Result<OwnedFd> {
    let path = data_dir.join(SOCKET);
    // Whoever has the data directory's lock is alone; what lies there is of one that died.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // The data directory is its owner's alone, and so is what is in it.
    bind(&listener, &SocketAddrUnix::new(&path)?)?;
    rustix::net::listen(&listener, WAITING)?;
    Ok(listener)
}

/// Takes commands for as long as this is polled. Those that were taken go on.
pub async fn serve(app: Arc<App>, own: Own, listener: OwnedFd) {
    // Tokio has no type for sockets of this kind; that of streams accepts from any.
    let listener = match UnixListener::from_std(listener.into()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no runs are taken"),
    };
    let host = Arc::new(Host {
        app,
        own,
        runtime: Handle::current(),
        authorities: OnceLock::new(),
    });
    loop {
        match accept(&listener).await {
            Ok(stream) => host.take(stream),
            Err(error) => {
                tracing::warn!(%error, "a run was not taken");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn accept(listener: &UnixListener) -> io::Result<OwnedFd> {
    let (stream, _) = listener.accept().await?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream.into())
}

struct Host {
    app: Arc<App>,
    own: Own,
    runtime: Handle,
    /// Where guests find whom to trust; made for the first.
    authorities: OnceLock<Option<PathBuf>>,
}

/// What a command wants, once it is clear that it may.
struct Prepared {
    wanted: Wanted,
    agent: String,
    by: Principal,
    lent: GuestSession,
    spec: Spec,
    document: EgressDocument,
}

/// Whether it shall end, and what is said about its changes.
type Heard = (oneshot::Receiver<()>, oneshot::Receiver<Verdict>);

/// The session, if it came so far, and why nothing came of it.
type Failed = (Option<String>, String);

impl Host {
    fn take(self: &Arc<Self>, stream: OwnedFd) {
        let host = Arc::clone(self);
        // A thread of its own, which watches the connection as long as the guest runs.
        let begun = std::thread::Builder::new()
            .name("run".to_owned())
            .spawn(move || host.welcome(stream));
        if let Err(error) = begun {
            tracing::warn!(%error, "a run was turned away");
        }
    }

    fn welcome(self: Arc<Self>, stream: OwnedFd) {
        let stream = Arc::new(stream);
        let (prepared, stdio) = match greeted(&stream)
            .and_then(|(token, wanted, stdio)| Ok((self.prepare(&token, wanted)?, stdio)))
        {
            Ok(greeted) => greeted,
            Err(reason) => {
                let refused = Told::Refused {
                    session: None,
                    reason,
                };
                return tell(&stream, &refused);
            }
        };
        let (end, ended) = oneshot::channel();
        let (say, verdict) = oneshot::channel();
        let (host, told) = (Arc::clone(&self), Arc::clone(&stream));
        self.runtime.spawn(async move {
            host.answer(prepared, stdio, &told, (ended, verdict)).await;
            // The thread that watches sees the end.
            let _ = rustix::net::shutdown(&*told, rustix::net::Shutdown::Both);
        });
        // What comes is what is said about a review, and then the end.
        let _ = set_socket_timeout(&*stream, Timeout::Recv, None);
        if let Ok((said, _)) = wire::receive::<Verdict>(&*stream) {
            let _ = say.send(said);
            let _: Result<(serde_json::Value, _), _> = wire::receive(&*stream);
        }
        drop(end);
    }

    /// Where the platform answers.
    fn url(&self) -> String {
        let scheme = if self.app.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.app.address)
    }

    fn authorities(&self) -> Option<&Path> {
        let made = self.authorities.get_or_init(|| {
            let made = trust::file(self.app.gate.store().directory(), &self.app.egress);
            made.inspect_err(
                |error| tracing::warn!(%error, "guests trust whom the system trusts, and nobody else"),
            )
            .ok()
        });
        made.as_deref()
    }

    /// Who it is that asks, and what exactly they want. Blocks: it looks at files.
    fn prepare(&self, token: &Secret, mut wanted: Wanted) -> Result<Prepared, String> {
        let token = std::str::from_utf8(token.expose()).unwrap_or_default();
        let caller = self.app.gate.identify(token).map_err(|error| error.to_string())?;
        let agent = self.agent(&caller, &wanted)?;
        let looked_at;
        (wanted.workspace, looked_at) = workspace(&wanted.workspace)?;
        wanted.reads = place::reads(&wanted, &self.own)?;
        let hidden = place::hidden(&wanted.workspace, &self.own)?;
        let models = self.models(&wanted)?;
        let (document, lent) = lend::lent(&wanted, &agent, &models)?;
        let calls = !models.is_empty() || self.app.llm.is_open_to(&agent);
        let mut spec = place::spec(&wanted, self.authorities(), hidden, calls);
        spec.looked_at = Some(looked_at);
        let terms = self.app.runtime.guest_terms(&agent);
        if let Some((engine, reference)) = contain::wanted(&wanted, terms.as_ref())? {
            let found = self.app.guests.image(engine, &reference);
            let (container, image) = found.map_err(|error| error.to_string())?;
            contain::put(&mut spec, &wanted, container, &image);
        }
        Ok(Prepared {
            agent,
            by: caller.principal().clone(),
            lent,
            spec,
            document,
            wanted,
        })
    }

    /// Runs it and says what came of it; a platform that stops waits for that.
    async fn answer(&self, prepared: Prepared, stdio: [OwnedFd; 3], told: &OwnedFd, heard: Heard) {
        let driving = self.app.guests.enter();
        let last = match &driving {
            Ok(driving) => self.run(driving, prepared, stdio, (told, heard)).await,
            Err(error) => Err((None, error.to_string())),
        };
        let last = match last {
            Ok(summary) => Told::Ended(Box::new(summary)),
            Err((session, reason)) => Told::Refused { session, reason },
        };
        tell(told, &last);
    }

    async fn run(
        &self,
        driving: &Driving,
        prepared: Prepared,
        stdio: [OwnedFd; 3],
        (told, (end, verdict)): (&OwnedFd, Heard),
    ) -> Result<Summary, Failed> {
        let Prepared {
            wanted,
            agent,
            by,
            lent,
            mut spec,
            document,
        } = prepared;
        // Gone when this returns, with what was not kept.
        let review = match wanted.review {
            true => Some(Aside::of(&wanted.workspace).map_err(|reason| (None, reason))?),
            false => None,
        };
        spec.review = review.as_ref().and_then(Aside::path).map(Path::to_owned);
        let run = Run {
            agent,
            by,
            lent,
            spec,
            doors: Arc::new(Lent {
                egress: Arc::clone(&self.app.egress),
                document,
            }),
            stdio,
            verdict: review.is_some().then_some(verdict),
        };
        let (news, heard) = mpsc::unbounded_channel();
        let running = self.app.guests.run(driving, run, news, end);
        let ended = self.pass_on(running, heard, told).await?;
        let agent = wanted
            .learn
            .map(|_| wanted.agent.unwrap_or_else(|| NAME_YOURS.to_owned()));
        let (tally, learned) = self.counted(&ended.session.id, agent).await;
        // Running it, and keeping what it changed.
        let own = match &ended.reviewed {
            Some(Reviewed::Kept { .. }) => 2,
            _ => 1,
        };
        Ok(Summary {
            session: ended.session.id,
            entry: ended.entry,
            exit: ended.exit,
            permitted: tally.permitted.saturating_sub(own),
            denied: tally.denied,
            learned,
            reviewed: ended.reviewed,
            cost_micros: tally.micros,
            turns: tally.turns,
        })
    }

    /// Tells the command what is told while it runs, until it ended.
    async fn pass_on(
        &self,
        running: impl Future<Output = Result<Ended, RunError>>,
        mut heard: mpsc::UnboundedReceiver<News>,
        told: &OwnedFd,
    ) -> Result<Ended, Failed> {
        tokio::pin!(running);
        let mut session = None;
        let ended = loop {
            tokio::select! {
                biased;
                Some(said) = heard.recv() => match said {
                    News::Session(id) => {
                        session = Some(id.clone());
                        tell(told, &Told::Session(id));
                    }
                    News::Waits(approval) => {
                        let server = self.url();
                        tell(told, &Told::Waits { approval, server });
                    }
                    News::Started(rules) => tell(told, &Told::Started { given_up: rules.given_up }),
                    News::Review(place) => tell(told, &Told::Review(place)),
                },
                ended = &mut running => break ended,
            }
        };
        ended.map_err(|error| (session, why(&error)))
    }

    /// What it did, and what it asked of the network for the document of `learning`, if it was to be found out. It ran,
    /// and how it ended is what was asked for: without these numbers it is still the answer.
    async fn counted(&self, session: &str, learning: Option<String>) -> (Tally, Option<Learned>) {
        let (gate, id) = (Arc::clone(&self.app.gate), session.to_owned());
        // Beside the async threads: a run may have thousands of entries.
        let counting = tokio::task::spawn_blocking(move || {
            let learned = learning.map(|agent| gate.learned(&id, &agent, ENVIRONMENT));
            Ok::<_, SessionError>((gate.tally(&id)?, learned.transpose()?))
        });
        match counting.await {
            Ok(Ok(counted)) => counted,
            failed => {
                tracing::warn!(?failed, "what a run did cannot be counted");
                Default::default()
            }
        }
    }

    /// The models that the names it may call come to.
    fn models(&self, wanted: &Wanted) -> Result<Vec<String>, String> {
        let mut models = Vec::new();
        for name in &wanted.models {
            let found = self.app.llm.models_of(name);
            models.extend(found.ok_or_else(|| {
                format!("--model `{name}`: there is no Model or Route of that name; `cofferdam llm list` shows them")
            })?);
        }
        Ok(models)
    }

    /// Whose rights it has: the agent that was named, if the caller runs things where that is, or the guest's, which a
    /// person who runs things everywhere lends to.
    fn agent(&self, caller: &Caller, wanted: &Wanted) -> Result<String, String> {
        let runs = [Role::Admin, Role::Operator];
        let lends = !wanted.allow.is_empty()
            || !wanted.models.is_empty()
            || wanted.learn == Some(Learn::Allow)
            || wanted.drill.is_some();
        // Only an administrator says in documents what may be reached.
        if lends && !caller.holds(&[Role::Admin], &gate::Spot::Root) {
            return Err(
                "--allow, --model, --learn=allow and drills need the role admin, as `Egress` and `Model` documents do"
                    .to_owned(),
            );
        }
        let Some(written) = &wanted.agent else {
            return match caller.holds(&runs, &gate::Spot::Root) {
                true => Ok(GUEST.to_owned()),
                false => Err(
                    "to run a guest without an agent needs the role operator; name one with --agent"
                        .to_owned(),
                ),
            };
        };
        let unknown = || format!("there is no agent `{written}`");
        let authority = self.app.gate.authority();
        let (name, _) = authority.resolve(written).ok_or_else(unknown)?;
        if gate::is_reserved(name) {
            return Err(format!("`{name}` is the platform's own; leave --agent away"));
        }
        let spot = self.app.gate.spot_of(name).map_err(|error| error.to_string())?;
        match caller.holds(&runs, &spot) {
            true if !lends => Ok(name.to_owned()),
            true => Err(
                "--allow, --model and --learn=allow lend to a run without an agent; what this one may reach and call, `Egress`, `Model` and `Route` documents say"
                    .to_owned(),
            ),
            false => Err(unknown()),
        }
    }
}

/// The doors of one run.
struct Lent {
    egress: Arc<Egress>,
    document: EgressDocument,
}

impl Doors for Lent {
    fn prepare(&self, session: &SessionView) {
        if session.agent == GUEST {
            self.egress.lend(&session.id, &self.document);
        }
    }

    fn open(&self, session: &SessionView, listener: TcpListener) -> io::Result<Opened> {
        let serving: Serving = self.egress.serve(listener, Who::Session(session.id.clone()))?;
        Ok(Box::new(serving))
    }

    fn close(&self, session: &SessionView) {
        self.egress.take_back(&session.id);
    }
}

/// Whoever connects has to be the user who runs the platform, and to say what they want.
fn greeted(stream: &OwnedFd) -> Result<(Secret, Wanted, [OwnedFd; 3]), String> {
    set_socket_timeout(stream, Timeout::Recv, Some(PATIENCE)).map_err(|error| error.to_string())?;
    // Read first: whoever closes with something unread takes the answer from the other side.
    let received = wire::receive(stream).map_err(|error| error.to_string());
    let peer = socket_peercred(stream).map_err(|error| error.to_string())?;
    if peer.uid != rustix::process::geteuid() {
        return Err(
            "this platform runs as another user: run guests as that user, or a platform of your own"
                .to_owned(),
        );
    }
    let (wanted, fds): (Wanted, Vec<OwnedFd>) = received?;
    let four = <[OwnedFd; 4]>::try_from(fds);
    let [token, stdin, stdout, stderr] =
        four.map_err(|_| "four descriptors come with it: a token, input, output and errors".to_owned())?;
    Ok((shown(token)?, wanted, [stdin, stdout, stderr]))
}

/// The token in a file, and in nothing that could make us wait.
fn shown(file: OwnedFd) -> Result<Secret, String> {
    let file = std::fs::File::from(file);
    let failed = |error: io::Error| format!("the token cannot be read: {error}");
    if !file.metadata().map_err(failed)?.is_file() {
        return Err("the token comes in a file".to_owned());
    }
    let mut token = Vec::with_capacity(TOKEN_BYTES_MAX);
    file.take(TOKEN_BYTES_MAX as u64)
        .read_to_end(&mut token)
        .map_err(failed)?;
    Ok(Secret::new(token))
}

/// Whoever is gone is told nothing.
fn tell(stream: &OwnedFd, told: &Told) {
    let _ = wire::send(stream, told, &[]);
}

fn workspace(written: &Path) -> Result<(PathBuf, (u64, u64)), String> {
    let failed = |error: io::Error| format!("the workspace `{}`: {error}", written.display());
    let path = written.canonicalize().map_err(failed)?;
    // Not through a link that has taken its place since.
    let found = path.symlink_metadata().map_err(failed)?;
    match found.is_dir() && path != Path::new("/") {
        true => Ok((path, (found.dev(), found.ino()))),
        false => Err(format!(
            "the workspace `{}` is no directory that a guest can have",
            path.display()
        )),
    }
}

/// Why nothing came of it, and what would change that.
fn why(error: &RunError) -> String {
    match error {
        RunError::Refused(refusal @ Refusal::Denied(_)) => refused(refusal),
        error => chain(error),
    }
}

/// Every message, from the outermost to the cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
