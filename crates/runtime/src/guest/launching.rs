//! What starts all guests: the launcher, started with the first and again when it died, and container engines.

use policy::InFlight;
use sandbox::container::{Containers, EngineError, Image};
use sandbox::{Config, Container, EngineKind, Guest, LaunchError, Launcher, Spec};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Starts programs behind walls, whatever they are to whoever asks.
#[derive(Debug, Default)]
pub struct Launching {
    config: Config,
    kept: Mutex<Option<Arc<Launcher>>>,
    containers: Option<Containers>,
}

impl Launching {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Arc<Launching> {
        Arc::new(Launching {
            config,
            kept: Mutex::default(),
            containers: None,
        })
    }

    /// The same, where guests may also be started in containers. Starts nothing yet, and looks for no engine.
    #[must_use]
    pub fn with_containers(config: Config, containers: sandbox::container::Config) -> Arc<Launching> {
        Arc::new(Launching {
            config,
            kept: Mutex::default(),
            containers: Some(Containers::new(containers)),
        })
    }

    /// The image that a reference means now. Blocks.
    pub(crate) fn image(
        &self,
        engine: Option<EngineKind>,
        reference: &str,
    ) -> Result<(Container, Image), EngineError> {
        self.containers()?.image(engine, reference)
    }

    fn containers(&self) -> Result<&Containers, EngineError> {
        let none = || EngineError::Unfit("this platform starts no containers".to_owned());
        self.containers.as_ref().ok_or_else(none)
    }

    /// See [`sandbox::Backend::launch`]. Blocks.
    pub(crate) fn launch(
        &self,
        flight: &InFlight,
        spec: &Spec,
        stdio: [OwnedFd; 3],
    ) -> Result<Guest, LaunchError> {
        match spec.container {
            Some(_) => self.containers()?.launch(flight, spec, stdio),
            None => self.launcher()?.launch(flight, spec, stdio),
        }
    }

    /// The same on a thread of the runtime, whose other tasks go elsewhere meanwhile where there is an elsewhere.
    pub(crate) fn launch_here(
        &self,
        flight: &InFlight,
        spec: &Spec,
        stdio: [OwnedFd; 3],
    ) -> Result<Guest, LaunchError> {
        blocking(|| self.launch(flight, spec, stdio))
    }

    /// The one that is kept, or a new one.
    fn launcher(&self) -> Result<Arc<Launcher>, LaunchError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(launcher) = kept.as_ref().filter(|launcher| launcher.is_alive()) {
            return Ok(Arc::clone(launcher));
        }
        let launcher = Arc::new(Launcher::start(self.config.clone())?);
        *kept = Some(Arc::clone(&launcher));
        Ok(launcher)
    }
}

/// Does what blocks on a thread of the runtime, whose other tasks go elsewhere meanwhile where there is an elsewhere.
pub(crate) fn blocking<T>(act: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(act),
        _ => act(),
    }
}
