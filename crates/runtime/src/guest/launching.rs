//! The launcher of all guests: started with the first, and again when it died.

use policy::InFlight;
use sandbox::{Config, Guest, LaunchError, Launcher, Spec};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Starts programs behind walls, whatever they are to whoever asks.
#[derive(Debug, Default)]
pub struct Launching {
    config: Config,
    kept: Mutex<Option<Arc<Launcher>>>,
}

impl Launching {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Arc<Launching> {
        Arc::new(Launching {
            config,
            kept: Mutex::default(),
        })
    }

    /// See [`Launcher::launch`]. Blocks.
    pub(crate) fn launch(
        &self,
        flight: &InFlight,
        spec: &Spec,
        stdio: [OwnedFd; 3],
    ) -> Result<Guest, LaunchError> {
        self.launcher()?.launch(flight, spec, stdio)
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
