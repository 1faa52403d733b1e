//! The platform's side: starts the zygote, and asks it for guests.

use crate::ability::{Ability, Missing};
use crate::guest::{Door, Guest};
use crate::order::{Answer, Hello, Order};
use crate::spec::{Part, SPEC_BYTES_MAX, Spec, SpecError};
use crate::step::StepFailure;
use crate::wire::{self, WireError};
use policy::InFlight;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::ffi::OsString;
use std::io::{Seek, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// First argument of a platform that is a zygote.
pub const ARGUMENT: &str = "__sandbox";
/// A launch takes milliseconds; a machine that swaps takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How guests are started.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program that calls [`crate::entry`] when its first argument is [`ARGUMENT`]: this one.
    pub program: PathBuf,
    /// Processes that wait, past their namespaces, for a spec. 0 to 64; each takes about a megabyte.
    pub pool: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            program: PathBuf::from("/proc/self/exe"),
            pool: 0,
        }
    }
}

/// A way to start guests. Dropped, all its guests are ended.
#[derive(Debug)]
pub struct Launcher {
    control: OwnedFd,
    ability: Arc<Ability>,
    pid: u32,
}

/// Why there is no guest. Nothing ran, but for what [`LaunchError::Gone`] says.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The spec describes no guest.
    #[error("the guest is not described")]
    Spec(#[from] SpecError),
    /// This machine cannot enforce a part, and the spec does not give it up.
    #[error("`{}` cannot be enforced here: {}; without it, {}. Get it: {}. Or give it up by name", word(*part), missing.why, missing.lost, missing.remedy)]
    Unenforceable {
        /// Which part.
        part: Part,
        /// What is missing.
        missing: Missing,
    },
    /// A container engine is not there, or did not do what it was asked. Nothing of the guest ran.
    #[error(transparent)]
    Engine(#[from] crate::container::EngineError),
    /// What a container cannot have, or what its engine did not give it.
    #[error("{0}")]
    Container(String),
    /// A stop covers the flight that it was asked for.
    #[error("the action that starts the guest was stopped")]
    Stopped,
    /// A wall could not be built.
    #[error("{0}")]
    Step(StepFailure),
    /// All walls stood, and the program could not be executed.
    #[error("cannot execute {0}")]
    NotExecuted(String),
    /// The zygote is not there or does not answer. Start another launcher. A guest that it starts too late is ended
    /// as soon as it looks, since whoever asked is gone: nobody knows what that guest did until then.
    #[error("the launcher does not answer: {0}")]
    Gone(String),
}

/// The name of a part, as specs write it.
fn word(part: Part) -> String {
    let name = serde_json::to_value(part).ok();
    name.and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

impl From<WireError> for LaunchError {
    fn from(error: WireError) -> LaunchError {
        LaunchError::Gone(error.to_string())
    }
}

impl From<Errno> for LaunchError {
    fn from(error: Errno) -> LaunchError {
        LaunchError::Gone(error.to_string())
    }
}

impl From<std::io::Error> for LaunchError {
    fn from(error: std::io::Error) -> LaunchError {
        LaunchError::Gone(error.to_string())
    }
}

impl Launcher {
    /// Starts the zygote, and waits until it knows what this machine can enforce. Blocks for some milliseconds.
    pub fn start(config: Config) -> Result<Launcher, LaunchError> {
        let (control, theirs) = wire::pair()?;
        let mut command = Command::new(&config.program);
        command
            .args([OsString::from(ARGUMENT), config.pool.min(64).to_string().into()])
            // Its memory, which guests come from, shall hold nothing of the platform's environment.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null());
        // A thread of its own, which waits for the zygote: the kernel counts the death of the thread that started a
        // process, not of its process, as the death of its parent.
        let (started, start) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("sandbox-zygote".to_owned())
            .spawn(move || {
                let child = command.spawn();
                // Closes the zygote's end here, so that its death closes the connection.
                drop(command);
                match child {
                    Ok(mut child) => {
                        let _ = started.send(Ok(child.id()));
                        let _ = child.wait();
                    }
                    Err(e) => drop(started.send(Err(e))),
                }
            })?;
        let pid = start.recv().map_err(|e| LaunchError::Gone(e.to_string()))??;
        set_socket_timeout(&control, Timeout::Recv, Some(PATIENCE))?;
        let (hello, _): (Hello, _) = wire::receive(&control)?;
        Ok(Launcher {
            control,
            ability: Arc::new(hello.ability),
            pid,
        })
    }

    /// What this machine can enforce.
    pub fn ability(&self) -> &Ability {
        &self.ability
    }

    /// Whether the zygote is there: its end closes the connection.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.control, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 0)
    }

    /// The pid of the zygote.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Starts a guest, which only an action in flight does; whose it is stays with the caller. `stdio` are its
    /// standard descriptors, of which a terminal becomes its controlling one. Blocks for the milliseconds that it
    /// takes, and 20 seconds at most. The guest runs when this returns. When it fails, nothing runs; but what
    /// [`LaunchError::Gone`] tells of may have begun before it was ended, so that its outcome is uncertain.
    pub fn launch(&self, flight: &InFlight, spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Guest, LaunchError> {
        if flight.cancel().is_cancelled() {
            return Err(LaunchError::Stopped);
        }
        spec.check()?;
        let left_out = self.ability.parts_left_out(spec);
        let left_out = left_out.map_err(|(part, missing)| LaunchError::Unenforceable { part, missing })?;
        if spec.review.is_some() {
            self.ability.review.clone().map_err(|why| {
                LaunchError::Step(StepFailure {
                    number: 0,
                    name: "review".to_owned(),
                    cause: why,
                })
            })?;
        }
        let (reply, theirs) = wire::pair()?;
        let text = sealed(spec)?;
        let order = Order::of(spec, left_out);
        let [stdin, stdout, stderr] = &stdio;
        let fds: [BorrowedFd<'_>; 5] = [
            theirs.as_fd(),
            text.as_fd(),
            stdin.as_fd(),
            stdout.as_fd(),
            stderr.as_fd(),
        ];
        wire::send(&self.control, &order, &fds)?;
        drop(theirs);
        drop(stdio);
        set_socket_timeout(&reply, Timeout::Recv, Some(PATIENCE))?;
        let (answer, fds) = wire::receive(&reply)?;
        match answer {
            Answer::Started { rules, doors } => running(reply, *rules, &doors, fds),
            Answer::Failed(failure) => Err(LaunchError::Step(failure)),
            Answer::NotExecuted(cause) => Err(LaunchError::NotExecuted(cause)),
        }
    }
}

/// The spec goes past the zygote in a file of its own: what it holds, tokens among it, is in no memory that later
/// guests come from.
pub(crate) fn sealed(spec: &Spec) -> Result<OwnedFd, LaunchError> {
    let text = serde_json::to_vec(spec).map_err(|e| LaunchError::Gone(e.to_string()))?;
    if text.len() > SPEC_BYTES_MAX {
        return Err(LaunchError::Spec(SpecError::TooMany {
            what: "bytes of arguments and environment".to_owned(),
            found: text.len(),
            most: SPEC_BYTES_MAX,
        }));
    }
    let mut file = std::fs::File::from(memfd_create("spec", MemfdFlags::CLOEXEC)?);
    file.write_all(&text)?;
    file.rewind()?;
    Ok(file.into())
}

fn running(
    reply: OwnedFd,
    rules: crate::rules::Rules,
    ports: &[u16],
    fds: Vec<OwnedFd>,
) -> Result<Guest, LaunchError> {
    rustix::io::ioctl_fionbio(&reply, true)?;
    let mut fds = fds.into_iter();
    let pidfd = fds
        .next()
        .ok_or_else(|| LaunchError::Gone("no pidfd".to_owned()))?;
    let doors = ports.iter().zip(fds).map(|(port, fd)| Door {
        port: *port,
        listener: TcpListener::from(fd),
    });
    Ok(Guest::new(reply, pidfd, doors.collect(), rules))
}
