//! `cofferdam up`: runs the platform in the foreground until it is told to stop.

use crate::app::{self, Door, Options};
use crate::tls::TlsFiles;
use anyhow::Context as _;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// What is used when no `--config` is given and it exists.
const DEFAULT_CONFIG: &str = "cofferdam.yaml";
/// Threads that run async code. Work is small; what blocks has threads of its own.
const WORKER_THREADS: usize = 2;
/// Threads for what blocks: reading configuration, verification.
const BLOCKING_THREADS: usize = 8;

/// What `cofferdam up` was asked for. The command line is parsed in `cli`.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// `--listen`, default `127.0.0.1:7400`.
    pub listen: SocketAddr,
    /// `--listen-without-tls`: allows an address other than loopback without TLS.
    pub listen_without_tls: bool,
    /// `--tls-cert`, `--tls-key`, `--tls-client-ca`.
    pub tls: Option<TlsFiles>,
    /// `--allow-host`: names besides `localhost` and addresses.
    pub allow_host: Vec<String>,
    /// `--data-dir`, default `./.cofferdam`.
    pub data_dir: PathBuf,
    /// `--config`; default `./cofferdam.yaml` when that exists.
    pub config: Option<PathBuf>,
    /// `--serve-organization`.
    pub organizations: Vec<String>,
    /// `--origin`.
    pub origin: Option<String>,
    /// `--checkpoints`.
    pub checkpoints: Option<PathBuf>,
    /// `--egress`.
    pub egress: Door,
    /// `--egress-ca`.
    pub egress_ca: Option<PathBuf>,
}

/// Runs until Ctrl-C or SIGTERM, then drains; a second signal ends at once.
///
/// Builds its own tokio runtime and sets up logging to stderr.
///
/// # Errors
/// What could not be opened or bound, with what to do about it.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    check_listen(&arguments)?;
    log_to_stderr();
    allow_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(serve(arguments));
    // Everything that had to end has ended. A verification that still reads must not hold us up.
    runtime.shutdown_background();
    result
}

/// Every tunnel takes two file descriptors, and the usual limit is a thousand: as many as the system lets us have.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Tokens would go over the network in clear text.
fn check_listen(arguments: &Arguments) -> anyhow::Result<()> {
    let address = arguments.listen;
    if address.ip().is_loopback() || arguments.listen_without_tls || arguments.tls.is_some() {
        return Ok(());
    }
    anyhow::bail!(
        "`{address}` can be reached from other machines, and without TLS tokens would be sent in clear text. Give \
         --tls-cert and --tls-key, listen on 127.0.0.1 behind a proxy that ends TLS, or say --listen-without-tls"
    )
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let config = arguments
        .config
        .or_else(|| Path::new(DEFAULT_CONFIG).is_file().then(|| DEFAULT_CONFIG.into()));
    if config.is_none() {
        tracing::warn!(
            "there is no configuration, so no agent can act; `cofferdam init` writes one to start from"
        );
    }
    let running = app::start(Options {
        listen: arguments.listen,
        hosts: arguments.allow_host,
        config,
        watch: true,
        organizations: arguments.organizations,
        origin: arguments.origin,
        checkpoints: arguments.checkpoints,
        tls: arguments.tls,
        runs: true,
        guests_ahead: 1,
        egress: arguments.egress,
        egress_ca: arguments.egress_ca,
        ..Options::new(arguments.data_dir)
    })
    .await?;
    tracing::info!("listening on {}", running.url());
    if let Some(address) = running.app().egress_address {
        tracing::info!("the way to the network for agents with a token is http://{address}");
    }
    if running.admin_token_file().exists() {
        tracing::info!(
            "the administrator's token is in `{}`",
            running.admin_token_file().display()
        );
    }
    for file in running.admin_token_files() {
        tracing::info!(
            "an organization's administrator has the token in `{}`",
            file.display()
        );
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping: what runs may settle; interrupt again to end at once");
    tokio::select! {
        () = running.shutdown() => tracing::info!("stopped"),
        _ = interrupt.recv() => tracing::warn!("ended without draining; the next start recovers"),
        _ = terminate.recv() => tracing::warn!("ended without draining; the next start recovers"),
    }
    Ok(())
}

/// `COFFERDAM_LOG` takes the filter of tracing: `info`, `debug`, `gate=debug,info`.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("COFFERDAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let built = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .finish();
    // Somebody who embeds us may have set up logging before; theirs stays.
    let _ = tracing::subscriber::set_global_default(built);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on_without_saying_so() {
        let table = [
            ("127.0.0.1:0", false, false, true),
            ("[::1]:0", false, false, true),
            ("0.0.0.0:0", false, false, false),
            ("10.0.0.1:0", false, false, false),
            ("0.0.0.0:0", true, false, true),
            ("0.0.0.0:0", false, true, true),
        ];
        for (listen, listen_without_tls, with_tls, expected) in table {
            let files = TlsFiles {
                certificate: "c".into(),
                key: "k".into(),
                client_ca: None,
            };
            let arguments = Arguments {
                listen: listen.parse().unwrap(),
                listen_without_tls,
                tls: with_tls.then_some(files),
                allow_host: Vec::new(),
                data_dir: PathBuf::new(),
                config: None,
                organizations: Vec::new(),
                origin: None,
                checkpoints: None,
                egress: Door::Closed,
                egress_ca: None,
            };
            assert_eq!(check_listen(&arguments).is_ok(), expected, "{listen}");
        }
    }
}
