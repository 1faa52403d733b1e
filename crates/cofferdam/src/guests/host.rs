//! The platform's end of the socket: takes what a command wants, runs it, and says what comes of it.

use super::{Hello, Summary, Told, Wanted, lend, place};
use crate::app::App;
use gate::egress::{Egress, Serving, Who};
use gate::{Caller, GUEST, Role, SessionView};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use runtime::guest::{Doors, Guests, News, Opened, Run};
use sandbox::wire;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// The socket's name in the data directory.
pub const SOCKET: &str = "run.sock";
/// How long a command may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// Commands that wait to be let in.
const WAITING: i32 = 64;

/// Takes commands at `<data-dir>/run.sock` for as long as the process lives.
///
/// # Errors
/// The socket cannot be made: its path may be too long for one, which has 107 bytes.
pub fn serve(app: &Arc<App>, guests: &Arc<Guests>, data_dir: &Path) -> io::Result<()> {
    let path = data_dir.join(SOCKET);
    // Whoever has the data directory's lock is alone; what lies there is of one that died.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // The data directory is its owner's alone, and so is what is in it.
    bind(&listener, &SocketAddrUnix::new(&path)?)?;
    listen(&listener, WAITING)?;
    let host = Arc::new(Host {
        app: Arc::clone(app),
        guests: Arc::clone(guests),
        runtime: Handle::current(),
    });
    std::thread::Builder::new()
        .name("run-socket".to_owned())
        .spawn(move || host.take(&listener))?;
    Ok(())
}

struct Host {
    app: Arc<App>,
    guests: Arc<Guests>,
    runtime: Handle,
}

impl Host {
    fn take(self: Arc<Self>, listener: &OwnedFd) {
        loop {
            let stream = match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(stream) => stream,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
                Err(error) => {
                    tracing::error!(%error, "no more runs are taken");
                    return;
                }
            };
            let host = Arc::clone(&self);
            let begun = std::thread::Builder::new()
                .name("run".to_owned())
                .spawn(move || host.welcome(stream));
            if let Err(error) = begun {
                tracing::warn!(%error, "a run was turned away");
            }
        }
    }

    /// One command, on a thread of its own: it watches the connection as long as the guest runs.
    fn welcome(&self, stream: OwnedFd) {
        let stream = Arc::new(stream);
        let (session, refused) = (None, |reason| Told::Refused { session: None, reason });
        let _: Option<String> = session;
        let (hello, stdio) = match greeted(&stream) {
            Ok(greeted) => greeted,
            Err(reason) => return tell(&stream, &refused(reason)),
        };
        let (end, ended) = oneshot::channel();
        let (host, told) = (self.clone_parts(), Arc::clone(&stream));
        self.runtime.spawn(async move {
            let last = match host.run(hello, stdio, &told, ended).await {
                Ok(summary) => Told::Ended(Box::new(summary)),
                Err((session, reason)) => Told::Refused { session, reason },
            };
            tell(&told, &last);
            // The thread that watches sees the end.
            let _ = rustix::net::shutdown(told.as_fd(), rustix::net::Shutdown::Both);
        });
        // Nothing more is said; what comes is the end.
        let _ = set_socket_timeout(&*stream, Timeout::Recv, None);
        let _: Result<((), _), _> = wire::receive(&*stream);
        drop(end);
    }

    fn clone_parts(&self) -> Parts {
        Parts {
            app: Arc::clone(&self.app),
            guests: Arc::clone(&self.guests),
        }
    }
}

/// What the run of one guest needs.
struct Parts {
    app: Arc<App>,
    guests: Arc<Guests>,
}

type Failed = (Option<String>, String);

impl Parts {
    async fn run(
        &self,
        hello: Hello,
        stdio: [OwnedFd; 3],
        told: &OwnedFd,
        ended: oneshot::Receiver<()>,
    ) -> Result<Summary, Failed> {
        let none = |reason: String| (None, reason);
        let caller = self.app.gate.identify(&hello.token).map_err(|error| none(error.to_string()))?;
        drop(hello.token);
        let mut wanted = hello.run;
        let agent = self.agent(&caller, &wanted).map_err(none)?;
        wanted.workspace = workspace(&wanted.workspace).map_err(none)?;
        let own = self.app.own_directories();
        let hidden = place::within(&wanted.workspace, &own).map_err(none)?;
        let (document, lent) = lend::lent(&wanted).map_err(none)?;
        let authorities = self.app.guest_authorities();
        let run = Run {
            agent,
            by: caller.principal().clone(),
            lent,
            spec: place::spec(&wanted, authorities.as_deref(), hidden),
            doors: Arc::new(Lent {
                egress: Arc::clone(&self.app.egress),
                document,
            }),
            stdio,
        };
        let (news, mut heard) = mpsc::unbounded_channel();
        let running = self.guests.run(run, news, ended);
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
                    News::Started(rules) => tell(told, &Told::Started { given_up: rules.given_up }),
                },
                ended = &mut running => break ended,
            }
        };
        let ended = ended.map_err(|error| (session, chain(&error)))?;
        let (permitted, denied) = self.app.gate.tally(&ended.session.id).unwrap_or((ended.session.actions, 0));
        Ok(Summary {
            session: ended.session.id,
            entry: ended.entry,
            exit: ended.exit,
            permitted: permitted.saturating_sub(1),
            denied,
        })
    }

    /// Whose rights it has: the agent that was named, if the caller runs things where that is, or the guest's, which a
    /// person who runs things everywhere lends to.
    fn agent(&self, caller: &Caller, wanted: &Wanted) -> Result<String, String> {
        let runs = [Role::Admin, Role::Operator];
        let Some(written) = &wanted.agent else {
            return match caller.holds(&runs, &gate::Spot::Root) {
                true => Ok(GUEST.to_owned()),
                false => Err("to run a guest without an agent needs the role operator; name one with --agent".to_owned()),
            };
        };
        let unknown = || format!("there is no agent `{written}`");
        let authority = self.app.gate.authority();
        let (name, _) = authority.resolve(written).ok_or_else(unknown)?;
        let spot = self.app.gate.spot_of(name).map_err(|error| error.to_string())?;
        match caller.holds(&runs, &spot) {
            true if wanted.allow.is_empty() => Ok(name.to_owned()),
            true => Err("--allow lends to a run without an agent; what this one may reach, `Egress` documents say".to_owned()),
            false => Err(unknown()),
        }
    }
}

/// The doors of one run.
struct Lent {
    egress: Arc<Egress>,
    document: gate::egress::spec::EgressDocument,
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
fn greeted(stream: &OwnedFd) -> Result<(Hello, [OwnedFd; 3]), String> {
    let peer = socket_peercred(stream).map_err(|error| error.to_string())?;
    if peer.uid != rustix::process::geteuid() {
        return Err("this platform runs as another user: run guests as that user, or a platform of your own".to_owned());
    }
    set_socket_timeout(stream, Timeout::Recv, Some(PATIENCE)).map_err(|error| error.to_string())?;
    let (hello, fds): (Hello, Vec<OwnedFd>) = wire::receive(stream).map_err(|error| error.to_string())?;
    let stdio = fds.try_into().map_err(|_| "three descriptors come with it, for input, output and errors".to_owned())?;
    Ok((hello, stdio))
}

/// Whoever is gone is told nothing.
fn tell(stream: &OwnedFd, told: &Told) {
    let _ = wire::send(stream, told, &[]);
}

fn workspace(written: &Path) -> Result<PathBuf, String> {
    let path = written
        .canonicalize()
        .map_err(|error| format!("the workspace `{}`: {error}", written.display()))?;
    match path.is_dir() && path != Path::new("/") {
        true => Ok(path),
        false => Err(format!("the workspace `{}` is no directory that a guest can have", path.display())),
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
