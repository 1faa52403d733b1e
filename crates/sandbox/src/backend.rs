//! What starts guests: as processes behind walls of our own, or in containers of an engine; virtual machines have room
//! beside them (S1-4.1).

use crate::ability::Ability;
use crate::guest::Guest;
use crate::launcher::{Config, LaunchError, Launcher};
use crate::spec::{EngineKind, Spec};
use policy::InFlight;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;

/// How far guests are from the machine, weakest first. A policy asks for a least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces, Landlock, seccomp and cgroups, on the kernel of the machine.
    Process,
    /// A container engine's.
    Container,
    /// A kernel of its own.
    MicroVm,
}

/// What shall start a guest, as documents and commands write it: `process`, `container`, `container:docker`,
/// `container:podman`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Choice {
    /// Walls of this platform's own.
    #[default]
    Process,
    /// A container of this engine, or of any.
    Container(Option<EngineKind>),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice, String> {
        match text {
            "process" => Ok(Choice::Process),
            "container" => Ok(Choice::Container(None)),
            "container:docker" => Ok(Choice::Container(Some(EngineKind::Docker))),
            "container:podman" => Ok(Choice::Container(Some(EngineKind::Podman))),
            "container:kubernetes" => Err(
                "`container:kubernetes` does not exist: the doors of a guest are sockets of this machine, and a pod is on another"
                    .to_owned(),
            ),
            other => Err(format!(
                "`{other}` is no backend; there are process, container, container:docker and container:podman"
            )),
        }
    }
}

impl TryFrom<String> for Choice {
    type Error = String;

    fn try_from(text: String) -> Result<Choice, String> {
        text.parse()
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> String {
        choice.to_string()
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Process => f.write_str("process"),
            Choice::Container(None) => f.write_str("container"),
            Choice::Container(Some(engine)) => write!(f, "container:{engine}"),
        }
    }
}

/// A way to start guests.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// How far its guests are from the machine.
    fn isolation(&self) -> Isolation;

    /// What it can enforce here.
    fn ability(&self) -> Ability;

    /// Starts a guest, or says why not; then nothing runs. See [`Launcher::launch`].
    fn launch(&self, flight: &InFlight, spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Guest, LaunchError>;
}

impl Backend for Launcher {
    fn isolation(&self) -> Isolation {
        Isolation::Process
    }

    fn ability(&self) -> Ability {
        Launcher::ability(self).clone()
    }

    fn launch(&self, flight: &InFlight, spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Guest, LaunchError> {
        Launcher::launch(self, flight, spec, stdio)
    }
}

/// What this machine can enforce, and what is missing. Starts a zygote that tries it, and ends it.
pub fn check() -> Result<Ability, LaunchError> {
    Ok(Launcher::start(Config::default())?.ability().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for text in ["process", "container", "container:docker", "container:podman"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("container:kubernetes", "does not exist"),
            ("vm", "is no backend"),
        ] {
            let refused = text.parse::<Choice>().unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
