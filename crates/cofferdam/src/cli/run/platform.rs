//! The platform that a guest runs on: the one whose socket lies in the data directory, or one of this process.

use crate::app::{self, Options, Running};
use crate::cli::arguments::Global;
use crate::cli::failure::Failure;
use crate::guests::{SOCKET, Told, Wanted};
use anyhow::Context as _;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, shutdown, socket_with,
    sockopt::socket_peercred,
};
use sandbox::wire;
use secrets::Secret;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Where to look for a platform, and what to start one with.
#[derive(Debug)]
pub(in crate::cli) struct Where<'a> {
    /// Its data; nowhere for a platform of its own, whose data is thrown away.
    pub data_dir: Option<&'a Path>,
    /// Documents of one that is started.
    pub config: Option<&'a Path>,
}

/// A platform, and what is needed to speak with it.
pub(in crate::cli) struct Platform {
    path: PathBuf,
    /// That by which it was found, for the first who asks.
    first: Mutex<Option<OwnedFd>>,
    data_dir: PathBuf,
    token_file: PathBuf,
    runtime: Runtime,
    own: Option<Running>,
    interrupt: Arc<Interrupt>,
    /// Of a platform whose data is thrown away.
    _directory: Option<tempfile::TempDir>,
}

/// One guest's connection: when it is dropped, the guest ends.
pub(in crate::cli) struct Connection {
    socket: OwnedFd,
    token: OwnedFd,
    interrupt: Arc<Interrupt>,
}

/// Whether somebody wants the command to end, and the connection to end then.
#[derive(Default)]
struct Interrupt {
    is_wanted: AtomicBool,
    current: Mutex<Option<OwnedFd>>,
}

impl Interrupt {
    fn current(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The platform ends what runs, records it, and says so.
    fn now(&self) {
        self.is_wanted.store(true, Ordering::Release);
        if let Some(socket) = &*self.current() {
            let _ = shutdown(socket, Shutdown::Write);
        }
    }
}

impl Platform {
    /// The platform that runs there, or one that is started there.
    pub(in crate::cli) fn find_or_start(at: &Where<'_>, global: &Global) -> Result<Platform, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start threads")?;
        let interrupt = Arc::<Interrupt>::default();
        // From here on, nothing that is made is left behind by a signal.
        runtime
            .block_on(async { watch(&interrupt) })
            .context("cannot wait for signals")?;
        let directory = match at.data_dir {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("cofferdam-")
                    .tempdir()
                    .context("no temporary directory")?,
            ),
        };
        let data_dir = match (at.data_dir, &directory) {
            (None, Some(own)) => own.path().join("data"),
            (given, _) => given.unwrap_or(Path::new("")).to_owned(),
        };
        let path = data_dir.join(SOCKET);
        let given = global.token_file.clone().filter(|_| directory.is_none());
        let token_file = given.unwrap_or_else(|| data_dir.join("admin.token"));
        let first = reach(&path)?;
        let own = match first {
            Some(_) => None,
            None => {
                ours(&data_dir)?;
                let options = Options {
                    runs: true,
                    // What lies here may be anybody's: a repository that was just cloned.
                    config: at.config.map(Path::to_owned),
                    ..Options::new(&data_dir)
                };
                let running = runtime.block_on(app::start(options));
                Some(running.context("no platform runs here, and none can be started")?)
            }
        };
        Ok(Platform {
            path,
            first: Mutex::new(first),
            data_dir,
            token_file,
            runtime,
            own,
            interrupt,
            _directory: directory,
        })
    }
}

/// Tells `interrupt` of signals.
fn watch(interrupt: &Arc<Interrupt>) -> std::io::Result<()> {
    let mut signals = Signals::new()?;
    let interrupt = Arc::clone(interrupt);
    tokio::spawn(async move {
        loop {
            signals.next().await;
            interrupt.now();
        }
    });
    Ok(())
}

/// By which somebody says that the command is to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// A platform acts by what its directory holds: it has to be of this user alone.
fn ours(directory: &Path) -> Result<(), Failure> {
    let Ok(found) = std::fs::symlink_metadata(directory) else {
        return Ok(());
    };
    let is_ours =
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    match is_ours {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "`{}` is not this user's alone, so no platform is started in it; name another with --data-dir",
            directory.display()
        ))),
    }
}

/// Whether a platform listens there.
pub(in crate::cli) fn is_there(data_dir: &Path) -> bool {
    matches!(reach(&data_dir.join(SOCKET)), Ok(Some(_)))
}

/// A connection, unless nobody listens.
fn reach(path: &Path) -> Result<Option<OwnedFd>, Failure> {
    let failed = |error: rustix::io::Errno| {
        Failure::Failed(format!("cannot use the socket `{}`: {error}", path.display()))
    };
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed)?;
    match connect(&socket, &SocketAddrUnix::new(path).map_err(failed)?) {
        // It is given a token: whoever listens has to be this user.
        Ok(()) => match socket_peercred(&socket).map_err(failed)?.uid == rustix::process::geteuid() {
            true => Ok(Some(socket)),
            false => Err(Failure::Failed(format!(
                "another user listens at `{}`; name your own with --data-dir",
                path.display()
            ))),
        },
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

impl Platform {
    /// A connection for one guest.
    pub(in crate::cli) fn connect(&self) -> Result<Connection, Failure> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let none = || Failure::Failed("the platform takes no runs".to_owned());
        let socket = match first {
            Some(first) => first,
            None => reach(&self.path)?.ok_or_else(none)?,
        };
        let token = self.token()?;
        *self.interrupt.current() = Some(socket.try_clone().context("cannot copy a descriptor")?);
        if self.is_interrupted() {
            self.interrupt.now();
        }
        Ok(Connection {
            socket,
            token,
            interrupt: Arc::clone(&self.interrupt),
        })
    }

    /// Whether it was started for this command.
    pub(in crate::cli) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Where it keeps its data.
    pub(in crate::cli) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether its data is thrown away.
    pub(in crate::cli) fn is_thrown_away(&self) -> bool {
        self._directory.is_some()
    }

    /// Whether somebody wants the command to end.
    pub(in crate::cli) fn is_interrupted(&self) -> bool {
        self.interrupt.is_wanted.load(Ordering::Acquire)
    }

    /// The token, in a file in memory.
    fn token(&self) -> Result<OwnedFd, Failure> {
        let path = self.token_file.display();
        let read = std::fs::read(&self.token_file).map(Secret::new);
        let token = read
            .with_context(|| format!("cannot read the token file `{path}`; name yours with --token-file"))?;
        let made = rustix::fs::memfd_create("token", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = std::fs::File::from(made.context("cannot hand the token over")?);
        file.write_all(token.expose().trim_ascii())
            .context("cannot hand the token over")?;
        file.rewind().context("cannot hand the token over")?;
        Ok(file.into())
    }

    /// Our own platform drains; anybody else's goes on.
    pub(in crate::cli) fn shutdown(self) {
        if let Some(running) = self.own {
            self.runtime.block_on(async {
                let signalled = async {
                    match Signals::new() {
                        Ok(mut signals) => signals.next().await,
                        Err(_) => std::future::pending().await,
                    }
                };
                // Others may have found it, and run something on it.
                tokio::select! {
                    () = running.app().guests.rest() => {}
                    () = signalled => {}
                }
                running.shutdown().await;
            });
        }
        self.runtime.shutdown_background();
    }
}

impl Connection {
    /// Asks for a guest with these standard descriptors.
    pub(in crate::cli) fn ask(&self, wanted: &Wanted, stdio: [BorrowedFd<'_>; 3]) -> Result<(), Failure> {
        let [stdin, stdout, stderr] = stdio;
        let fds = [self.token.as_fd(), stdin, stdout, stderr];
        wire::send(&self.socket, wanted, &fds).map_err(|error| match error {
            wire::WireError::Unreadable(why) => Failure::Misuse(format!("what to run cannot be said: {why}")),
            error => gone(&error),
        })
    }

    /// The connection itself, for answers.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// What the platform says next.
    pub(in crate::cli) fn hear(&self) -> Result<Told, Failure> {
        Ok(wire::receive(&self.socket).map_err(|error| gone(&error))?.0)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nobody is to end a connection by its number later.
        self.interrupt.current().take();
    }
}

pub(super) fn gone(error: &wire::WireError) -> Failure {
    Failure::Failed(format!(
        "the platform went away: {error}; what ran has ended with it"
    ))
}
