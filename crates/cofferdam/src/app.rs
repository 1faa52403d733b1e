//! Starts the platform: keys, store, gate, runtime, triage and the HTTP server, wired together.
//!
//! `up`, the demo and the tests all start it here, so what they run is the same thing. It decides
//! nothing about actions: that is the gate's.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one (see [`Running::address`]).
    pub listen: SocketAddr,
    /// Where data lives. Made if missing.
    pub data_dir: PathBuf,
    /// A file or a directory of documents. `None`: only what was applied through the API.
    pub config: Option<PathBuf>,
    /// Whether changes below `config` are applied as they happen.
    pub watch: bool,
    /// The name under which checkpoints are signed. `None`: the one that the store already has,
    /// or `cofferdam.local/HOSTNAME` on first start.
    pub origin: Option<String>,
    /// The file outside the data directory that checkpoints are appended to. `None`: the default
    /// beside the data directory.
    pub checkpoints: Option<PathBuf>,
    /// The person whom the first start makes administrator. `None`: `$USER`, or `admin`.
    pub administrator: Option<String>,
}

impl Options {
    /// The defaults, for a data directory: loopback, a free port, no configuration.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            config: None,
            watch: false,
            origin: None,
            checkpoints: None,
            administrator: None,
        }
    }
}

/// A started platform. Dropping it without [`Running::shutdown`] stops it without draining.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    admin_token_file: PathBuf,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The 0600 file that holds the administrator's token: `<data-dir>/admin.token`.
    #[must_use]
    pub fn admin_token_file(&self) -> &std::path::Path {
        &self.admin_token_file
    }

    /// Stops accepting, drains the runtime and triage, and closes the store.
    #[expect(clippy::unused_async, reason = "the signature others code against; filled in next")]
    pub async fn shutdown(self) {}
}

/// Opens everything and starts serving.
///
/// # Errors
/// What could not be opened, read or bound, with what to do about it.
#[expect(clippy::unused_async, reason = "the signature others code against; filled in next")]
pub async fn start(options: Options) -> anyhow::Result<Running> {
    anyhow::bail!("cannot start on `{}` yet", options.data_dir.display())
}
