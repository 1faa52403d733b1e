//! The platform that a guest runs on: the one whose socket lies in the data directory, or one of this process.

use super::RunArguments;
use crate::app::{self, Options, Running};
use crate::cli::arguments::Global;
use crate::cli::failure::Failure;
use crate::guests::SOCKET;
use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// A connection, and the platform behind it when it is our own.
pub(super) struct Platform {
    socket: OwnedFd,
    token_file: PathBuf,
    own: Option<(Runtime, Running)>,
}

/// The platform that runs at the data directory, or one that is started there.
pub(super) fn find_or_start(arguments: &RunArguments, global: &Global) -> Result<Platform, Failure> {
    let socket = arguments.data_dir.join(SOCKET);
    let token_file = |directory: &Path| {
        let given = global.token_file.clone();
        given.unwrap_or_else(|| directory.join("admin.token"))
    };
    if let Some(socket) = reach(&socket)? {
        return Ok(Platform {
            socket,
            token_file: token_file(&arguments.data_dir),
            own: None,
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let running = runtime
        .block_on(app::start(Options::new(&arguments.data_dir)))
        .context("no platform runs here, and none can be started")?;
    let socket = reach(&socket)?.ok_or_else(|| Failure::Failed("the platform takes no runs".to_owned()))?;
    let token_file = token_file(&arguments.data_dir);
    Ok(Platform {
        socket,
        token_file,
        own: Some((runtime, running)),
    })
}

/// A connection, unless nobody listens.
fn reach(path: &Path) -> Result<Option<OwnedFd>, Failure> {
    let failed = |error: rustix::io::Errno| {
        Failure::Failed(format!("cannot use the socket `{}`: {error}", path.display()))
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(failed)?;
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

    pub(super) fn token(&self) -> Result<String, Failure> {
        let path = self.token_file.display();
        let text = std::fs::read_to_string(&self.token_file)
            .with_context(|| format!("cannot read the token file `{path}`; name yours with --token-file"))?;
        Ok(text.trim().to_owned())
    }

    /// Our own platform drains; anybody else's goes on.
    pub(super) fn shutdown(self) {
        if let Some((runtime, running)) = self.own {
            runtime.block_on(running.shutdown());
            runtime.shutdown_background();
        }
    }
}
