//! The platform that a guest runs on: the one whose socket lies in the data directory, or one of this process.

use super::RunArguments;
use crate::app::{self, Options, Running};
use crate::cli::arguments::Global;
use crate::cli::failure::Failure;
use crate::guests::SOCKET;
use anyhow::Context as _;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, shutdown, socket_with,
};
use secrets::Secret;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// A connection, and the platform behind it when it is our own.
pub(super) struct Platform {
    socket: OwnedFd,
    token_file: PathBuf,
    runtime: Runtime,
    own: Option<Running>,
}

/// The platform that runs at the data directory, or one that is started there.
pub(super) fn find_or_start(arguments: &RunArguments, global: &Global) -> Result<Platform, Failure> {
    let path = arguments.data_dir.join(SOCKET);
    let given = global.token_file.clone();
    let token_file = given.unwrap_or_else(|| arguments.data_dir.join("admin.token"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let (socket, own) = match reach(&path)? {
        Some(socket) => (socket, None),
        None => {
            ours(&arguments.data_dir)?;
            let options = Options {
                runs: true,
                // What lies here may be anybody's: a repository that was just cloned.
                config: arguments.config.clone(),
                ..Options::new(&arguments.data_dir)
            };
            let running = runtime
                .block_on(app::start(options))
                .context("no platform runs here, and none can be started")?;
            let socket =
                reach(&path)?.ok_or_else(|| Failure::Failed("the platform takes no runs".to_owned()))?;
            (socket, Some(running))
        }
    };
    let told = socket.try_clone().context("cannot copy a descriptor")?;
    runtime.spawn(async move {
        if signalled().await.is_ok() {
            // The platform ends what runs, records it, and says so.
            let _ = shutdown(&told, Shutdown::Write);
        }
    });
    Ok(Platform {
        socket,
        token_file,
        runtime,
        own,
    })
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

/// Until somebody wants the command to end.
async fn signalled() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
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
        Ok(()) => Ok(Some(socket)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

impl Platform {
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether it was started for this run.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The token, in a file in memory.
    pub(super) fn token(&self) -> Result<OwnedFd, Failure> {
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
    pub(super) fn shutdown(self) {
        if let Some(running) = self.own {
            self.runtime.block_on(async {
                // Others may have found it, and run something on it.
                tokio::select! {
                    () = running.app().guests.rest() => {}
                    _ = signalled() => {}
                }
                running.shutdown().await;
            });
        }
        self.runtime.shutdown_background();
    }
}
