//! Where the platform keeps what it knows: the journal, and what lies beside its directory.

use super::{App, Configuration, Options, Own};
use crate::guests;
use crate::tls::Tls;
use anyhow::Context as _;
use gate::svid::Svids;
use runtime::guest::Launching;
use runtime::tools::exec::Commands;
use runtime::tools::{IncidentSearch, Supplied};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::clock::SystemClock;
use store::{Keys, Store};

/// Opening reads and checks the tail of the journal, so it is done beside the async threads.
pub(super) async fn open_store(options: &Options) -> anyhow::Result<Store> {
    let options = options.clone();
    let opened = tokio::task::spawn_blocking(move || -> anyhow::Result<Store> {
        let directory = &options.data_dir;
        let origin = super::origin::settle(directory, options.origin.as_deref())?;
        let keys = Keys::open_or_create(&beside(directory, "-keys"), &origin)?;
        let checkpoints = checkpoints_file(&options, &origin);
        let mut projections = gate::projections();
        projections.extend(ops::triage::projections());
        Ok(Store::open(store::Options {
            directory: directory.clone(),
            origin,
            keys,
            projections,
            clock: options.clock.clone().unwrap_or_else(SystemClock::shared),
            checkpoints: Some(checkpoints),
            vfs: options.vfs.clone(),
            synchronous: "FULL",
        })?)
    });
    opened.await.context("opening the journal was interrupted")?
}

/// What signs for the agents of one organization, beside its other keys.
pub(super) fn svids(options: &Options, store: &Store) -> Svids {
    Svids::new(beside(&options.data_dir, "-keys").join("svid"), store.origin())
}

/// Has the listener follow its files, and look at certificates of the platform's own agents where it asks clients for any.
pub(super) fn follow(tls: &Arc<Tls>, own: &App) -> anyhow::Result<()> {
    if tls.asks_clients() {
        let root = own.identity.svids.root(own.clock.now());
        tls.trust_agents(root.context("cannot sign for agents")?)
            .context("cannot speak TLS")?;
    }
    tokio::spawn(Arc::clone(tls).follow(own.draining.clone()));
    Ok(())
}

/// The file that checkpoints are appended to: as given, or `<data-dir>-checkpoints/ORIGIN.txt`.
fn checkpoints_file(options: &Options, origin: &str) -> PathBuf {
    options.checkpoints.clone().unwrap_or_else(|| {
        beside(&options.data_dir, "-checkpoints").join(format!("{}.txt", origin.replace('/', "_")))
    })
}

/// `./.cofferdam` and `-keys` give `./.cofferdam-keys`.
#[must_use]
pub fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let name = directory
        .file_name()
        .map_or_else(|| "cofferdam".into(), std::ffi::OsStr::to_os_string);
    let mut name = name;
    name.push(suffix);
    directory.with_file_name(name)
}

/// What starts programs behind walls.
pub(super) fn launching(options: &Options) -> Arc<Launching> {
    let processes = sandbox::Config {
        pool: options.guests_ahead,
        ..sandbox::Config::default()
    };
    let directory = std::path::absolute(&options.data_dir).unwrap_or_else(|_| options.data_dir.clone());
    let owner = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    let containers = sandbox::container::Config {
        program: processes.program.clone(),
        // Long before containers, and of one platform at a time, as its data is.
        directory: directory.join("containers"),
        socket: None,
        owner: owner.iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
    };
    Launching::with_containers(processes, containers)
}

/// What tools need of the platform.
pub(super) fn supplied(incidents: Arc<dyn IncidentSearch>, launching: Arc<Launching>, own: &Own) -> Supplied {
    let own = own.clone();
    let hidden = Box::new(move |workspace: &Path| guests::hidden(workspace, &own));
    Supplied {
        incidents,
        commands: Some(Arc::new(Commands { launching, hidden })),
    }
}

/// Puts in force what is stored, and what a file says.
pub(super) async fn configure(configuration: &Configuration, options: &Options) -> anyhow::Result<()> {
    let restored = configuration.restore();
    restored.context("cannot read the stored documents")?;
    configuration.identify().await;
    match &options.config {
        Some(path) => follow_or_keep(configuration, path).await,
        None => Ok(()),
    }
}

/// Puts what `path` says in force. When it is wrong, the state that is stored stays in force and `health`
/// names the problem: a restart must not turn a refused change into an outage. Only without such a
/// state is it an error.
async fn follow_or_keep(configuration: &Configuration, path: &Path) -> anyhow::Result<()> {
    match configuration.synchronize(path).await {
        Err(error) if !(configuration.is_in_force() && error.is_refusal()) => {
            Err(anyhow::anyhow!(error.render()))
        }
        Err(error) => {
            tracing::error!(
                "`{}` was refused whole, the stored configuration is in force:\n{}",
                path.display(),
                error.render()
            );
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}
