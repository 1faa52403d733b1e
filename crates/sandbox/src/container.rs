//! Guests in containers of Docker or Podman: the engine makes the place, and what a process can take away from itself
//! is taken away by a first process of ours, in the container.
//!
//! How it goes: an image is resolved to the digest that is judged and recorded. The engine is asked for a container
//! without network, with a read-only root, without capabilities, with limits and with the filter of system calls that
//! all guests have. Its first process is this program, which brings its own libraries. It connects to a socket that
//! is mounted there; it tells what the kernel shows it of the place; and only when that is what was ordered is it told
//! what to run, and handed the descriptors of the guest. It makes the doors' sockets, so that the platform accepts from
//! inside without any relay, adds Landlock and a filter whose refusals are told, and starts the program.
//!
//! Invariants:
//! - **No bytes of a guest go through its engine**: no stream is attached, nothing is logged, and neither arguments nor
//!   environment are in what the engine is told.
//! - **The connection is the container's life.** It ends with the platform, and then the first process, and with it the
//!   kernel ends all others. No lease has to run out.
//! - **No engine elsewhere**: what is mounted and handed over is of this machine.

mod engine;
mod http;
mod inside;
mod order;
mod profile;
mod program;
mod reach;
mod seen;
mod verify;
mod ward;

pub use engine::{Engine, EngineError, Image, engines};
pub use inside::entry;
pub use program::itself;
pub use reach::listens_in;
pub(crate) use seen::{Counted, counted};

use crate::ability::Ability;
use crate::backend::{Backend, Isolation};
use crate::guest::Guest;
use crate::launcher::LaunchError;
use crate::spec::Part;
use crate::spec::{Container, EngineKind, Spec};
use crate::step::Cause;
use policy::InFlight;
use program::Program;
use rustix::fs::{FileType, fstat};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// First argument of this program as the first process of a container.
pub const ARGUMENT: &str = "__contained";

/// Where containers are made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program that calls [`entry`] when its first argument is [`ARGUMENT`]: this one.
    pub program: PathBuf,
    /// A directory of the platform's own, where sockets and a copy of the program are put. Made when it is needed.
    pub directory: PathBuf,
    /// Where an engine listens. Without it: where CONTAINER_HOST or DOCKER_HOST say, or where engines usually do.
    pub socket: Option<PathBuf>,
    /// By which containers of this platform are known from those of others. Those that it left behind when it died are
    /// removed when an engine is used first.
    pub owner: String,
}

/// A way to start guests in containers. It finds engines when they are needed first, and looks again when they are gone.
#[derive(Debug)]
pub struct Containers {
    config: Config,
    /// Never locked while an engine is asked.
    kept: Mutex<Kept>,
    /// Engines that were asked what platforms before this one left.
    swept: Mutex<Vec<PathBuf>>,
}

#[derive(Debug, Default)]
struct Kept {
    engines: BTreeMap<Option<EngineKind>, Engine>,
    staged: Option<Arc<Program>>,
    made: u64,
}

impl Containers {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(config: Config) -> Containers {
        Containers {
            config,
            kept: Mutex::default(),
            swept: Mutex::default(),
        }
    }

    /// The image that a reference means now, and what it brings. Blocks for milliseconds.
    ///
    /// # Errors
    /// No engine answers, or it has no such image: none is fetched.
    pub fn image(
        &self,
        engine: Option<EngineKind>,
        reference: &str,
    ) -> Result<(Container, Image), EngineError> {
        let found = self.engine(engine)?;
        let image = found.image(reference)?;
        let container = Container {
            engine: Some(found.kind),
            image: reference.to_owned(),
            id: image.id.clone(),
        };
        Ok((container, image))
    }

    /// See [`Backend::launch`]. Blocks for some hundred milliseconds, and two minutes at most.
    pub fn launch(&self, flight: &InFlight, spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Guest, LaunchError> {
        if flight.cancel().is_cancelled() {
            return Err(LaunchError::Stopped);
        }
        spec.check()?;
        let no = |why: &str| Err(LaunchError::Container(why.to_owned()));
        let Some(container) = &spec.container else {
            return no("no image is named");
        };
        if spec.review.is_some() {
            return no(
                "changes in a container cannot be collected for a review: run it without, or as a process",
            );
        }
        // Whoever has a directory open reaches from it whatever its own rights let it.
        for fd in &stdio {
            let kind = fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
            if kind.is_ok_and(|kind| kind == FileType::Directory) {
                return no(
                    "a standard descriptor is a directory of this machine, which no container is handed",
                );
            }
        }
        let engine = self.engine(container.engine)?;
        let (program, number) = self.staged().map_err(|cause| LaunchError::Container(cause.0))?;
        let place = order::Place {
            engine,
            program: &program,
            directory: self
                .config
                .directory
                .join(format!("{}-{number}", std::process::id())),
            owner: &self.config.owner,
            flight,
        };
        place.launch(spec, container, stdio)
    }

    fn engine(&self, kind: Option<EngineKind>) -> Result<Engine, EngineError> {
        let known = self.kept().engines.get(&kind).cloned();
        // It may have been started anew, as another version.
        let known = known.and_then(|engine| Engine::at(&engine.socket).ok());
        let engine = match known {
            Some(engine) => engine,
            None => engine::find(kind, self.config.socket.as_deref())?,
        };
        for left in self.left_behind(&engine)? {
            // Should it not go, it stops nobody: the next start tries again.
            let _ = engine.remove(&left);
        }
        self.kept().engines.insert(kind, engine.clone());
        Ok(engine)
    }

    /// What platforms before this one left there, asked once. Nobody makes a container of this one's while it is asked,
    /// which would be taken for theirs.
    fn left_behind(&self, engine: &Engine) -> Result<Vec<String>, EngineError> {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.contains(&engine.socket) {
            return Ok(Vec::new());
        }
        let left = engine.labelled(&format!("{}={}", profile::OWNER, self.config.owner))?;
        swept.push(engine.socket.clone());
        Ok(left)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This program, where containers get it from, and a number for the next of them.
    fn staged(&self) -> Result<(Arc<Program>, u64), Cause> {
        let mut kept = self.kept();
        kept.made += 1;
        if let Some(staged) = &kept.staged {
            return Ok((Arc::clone(staged), kept.made));
        }
        let directory = &self.config.directory;
        // What a platform left that died.
        match fs::remove_dir_all(directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Cause::of(directory.display())(e));
            }
            _ => (),
        }
        let made = fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(directory);
        made.map_err(Cause::of(directory.display()))?;
        let staged = Arc::new(Program::stage(&self.config.program, &directory.join("program"))?);
        kept.staged = Some(Arc::clone(&staged));
        Ok((staged, kept.made))
    }
}

impl Backend for Containers {
    fn isolation(&self) -> Isolation {
        Isolation::Container
    }

    fn ability(&self) -> Ability {
        match self.engine(None) {
            Ok(engine) => ability(&engine),
            Err(error) => {
                let mut ability = Ability::default();
                Part::ALL
                    .iter()
                    .for_each(|part| ability.lacks(*part, error.to_string()));
                ability
            }
        }
    }

    fn launch(&self, flight: &InFlight, spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Guest, LaunchError> {
        Containers::launch(self, flight, spec, stdio)
    }
}

/// What an engine says that it enforces. What it does is looked at in each container.
#[must_use]
pub fn ability(engine: &Engine) -> Ability {
    let mut ability = Ability {
        landlock_abi: crate::sys::landlock_abi(),
        other_users: !engine.rootless,
        review: Err("changes in a container cannot be collected".to_owned()),
        ..Ability::default()
    };
    let by = engine.kind.to_string();
    for part in Part::ALL {
        ability.has(*part, &by);
    }
    if !engine.user_namespace {
        ability.lacks(Part::Users, "its containers have no user namespace");
    }
    ability.lacks(Part::IdmappedWorkspace, "the engine maps no owners");
    if !engine.seccomp {
        ability.lacks(Part::Seccomp, "the engine filters no system calls");
    }
    let limits = [Part::MemoryLimit, Part::ProcessCount, Part::CpuLimit];
    for (part, _) in limits.into_iter().zip(engine.limits).filter(|(_, can)| !can) {
        ability.lacks(part, "the engine says that it cannot limit it");
    }
    for (part, from) in crate::ability::LANDLOCK_FROM {
        if ability.landlock_abi < from {
            ability.lacks(
                part,
                format!(
                    "Landlock has interface {}, and {from} is needed",
                    ability.landlock_abi
                ),
            );
        }
    }
    ability
}
