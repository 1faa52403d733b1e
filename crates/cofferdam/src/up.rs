//! `cofferdam up`: runs the platform in the foreground until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What `cofferdam up` was asked for. The command line is parsed in `cli`.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// `--listen`, default `127.0.0.1:7400`.
    pub listen: SocketAddr,
    /// `--listen-without-tls`: allows an address other than loopback, although there is no TLS yet.
    pub listen_without_tls: bool,
    /// `--data-dir`, default `./.cofferdam`.
    pub data_dir: PathBuf,
    /// `--config`; default `./cofferdam.yaml` when that exists.
    pub config: Option<PathBuf>,
    /// `--origin`.
    pub origin: Option<String>,
    /// `--checkpoints`.
    pub checkpoints: Option<PathBuf>,
}

/// Runs until Ctrl-C or SIGTERM, then drains; a second signal ends at once.
///
/// Builds its own tokio runtime and sets up logging to stderr.
///
/// # Errors
/// What could not be opened or bound, with what to do about it.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::bail!("cannot listen on `{}` yet", arguments.listen)
}
