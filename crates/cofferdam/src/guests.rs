//! `cofferdam run`: the platform's side, and what both sides say to each other.
//!
//! The command has the terminal, and the platform has the gate; so the command hands over the guest's standard
//! descriptors through a socket in the data directory, and the platform starts the guest itself, out of a permit.
//! When the connection ends, the guest ends.
//!
//! Invariants:
//! - **Whoever asks is known twice**: by the token, as everywhere, and by the kernel, as the user who runs the platform.
//! - **No guest without its asker**: the connection is watched as long as the guest runs.

mod contain;
mod host;
mod lend;
mod place;
mod trust;

pub use host::{SOCKET, listen, serve};
pub use place::{EGRESS_PORT, LIFE_MS_MAX, hidden};

use gate::egress::Learned;
use policy::budget::dollars;
use runtime::guest::{Reviewed, said};
use sandbox::{Choice, Exit, Git, Part, Profile};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What to run, and in which place: the first message to the platform. With it come four descriptors: a file in memory
/// that holds the token, which is in no message, and standard input, output and error of the guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// A configured agent; none for one that holds only what is lent here.
    pub agent: Option<String>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables of its environment, besides those that it is given anyway.
    pub env: BTreeMap<String, String>,
    /// The directory that it works in.
    pub workspace: PathBuf,
    /// `HOST:PORT` that it may reach.
    pub allow: Vec<String>,
    /// Networks that those names may lead to, although they are not of the Internet.
    pub networks: Vec<String>,
    /// Whether it is to be found out what it needs.
    pub learn: Option<Learn>,
    /// Whether its changes are collected until a [`runtime::guest::Verdict`], the second message, keeps them.
    #[serde(default)]
    pub review: bool,
    /// Further paths that it may read, at the same place inside.
    pub reads: Vec<PathBuf>,
    /// What it may do with the repository in its workspace.
    pub git: Git,
    /// Which system calls it may make.
    pub profile: Profile,
    /// Ended after so long, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Parts that are given up where this machine has them not.
    pub degrade: BTreeSet<Part>,
    /// Names of models or routes that it may call; of an agent, none: its documents say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// What it may use in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<policy::budget::Ceiling>,
    /// What starts it; without it what its agent's document says, or else the platform itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Choice>,
    /// The image of its container; without it what its agent's document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What a drill needs besides, to have something to attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drill>,
}

/// What is lent to attacks on the way out, so that a refusal shows something: ports of `localhost`, where the drill
/// itself listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// For tunnels of TLS.
    pub tls: u16,
    /// For requests in clear text.
    pub clear: u16,
    /// Without its network named: nobody gets through to it.
    pub private: u16,
    /// The disk's free space below which it is ended, in bytes, if that is more than for every guest.
    pub disk_free_bytes: u64,
    /// Thousandths of a processor, if that is less than for every guest.
    #[serde(default)]
    pub cpu_millis: Option<u64>,
    /// Whether every host of the Internet is lent, besides: where names and addresses lead is what is attacked.
    #[serde(default)]
    pub everything: bool,
}

/// How it is found out what a program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Learn {
    /// What was not lent is refused, as always, and told at the end.
    Deny,
    /// The whole Internet is lent; what was used is told at the end.
    Allow,
}

/// What the platform says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Nothing runs, or it is not known how it ended.
    Refused {
        /// Where it was refused in, if it came so far.
        session: Option<String>,
        /// Why, and what to do.
        reason: String,
    },
    /// It runs in this session.
    Session(String),
    /// It waits for a person.
    Waits {
        /// What to decide about.
        approval: String,
        /// Where: `http://127.0.0.1:7400`.
        server: String,
    },
    /// It runs, without these parts.
    Started {
        /// Why each is missing.
        given_up: BTreeMap<Part, String>,
    },
    /// Its changes are in this directory, in which [`sandbox::review::look`] finds them.
    Review(PathBuf),
    /// It ended.
    Ended(Box<Summary>),
}

/// How a run ended, in the numbers that a person asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its session.
    pub session: String,
    /// Entry of the permit that it ran by.
    pub entry: u64,
    /// How its program ended.
    pub exit: Exit,
    /// Actions that were permitted, the run itself not counted.
    pub permitted: u64,
    /// Actions that were denied.
    pub denied: u64,
    /// What it asked of the network, when that was to be found out.
    pub learned: Option<Learned>,
    /// Calls of models.
    #[serde(default)]
    pub turns: u64,
    /// What they cost, in millionths of a US dollar.
    #[serde(default)]
    pub cost_micros: u64,
    /// What became of its changes, when they were to be reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<Reviewed>,
}

impl Summary {
    /// The exit status that a shell would give it: its own, or 128 and the signal. 1 when all went well but that its
    /// changes were to be kept and were not.
    #[must_use]
    pub fn status(&self) -> u8 {
        let status = match (self.exit.end, &self.reviewed) {
            (sandbox::End::Code(0), Some(Reviewed::Failed { .. })) => 1,
            (sandbox::End::Code(code), _) => code,
            (sandbox::End::Signal(signal), _) => 128 + signal,
        };
        u8::try_from(status).unwrap_or(1)
    }

    /// One line for people. A platform that was started for it is gone by then.
    #[must_use]
    pub fn line(&self, is_own: bool) -> String {
        let Summary {
            session,
            permitted,
            denied,
            ..
        } = self;
        let stopped = match &self.exit.stop {
            Some(_) => format!("{}; ", said(&self.exit)),
            None => String::new(),
        };
        let first = if is_own { "cofferdam up, then " } else { "" };
        let actions = if *permitted == 1 { "action" } else { "actions" };
        let reviewed = match &self.reviewed {
            None => String::new(),
            Some(Reviewed::Nothing) => "it changed nothing; ".to_owned(),
            Some(Reviewed::Kept { .. }) => "its changes are kept; ".to_owned(),
            Some(Reviewed::Discarded) => "its changes are discarded; ".to_owned(),
            Some(Reviewed::Failed { reason }) => format!("its changes are not kept: {reason}; "),
        };
        let money = match self.turns {
            0 => String::new(),
            1 => format!(" (1 call of a model, {})", dollars(self.cost_micros)),
            turns => format!(" ({turns} calls of models, {})", dollars(self.cost_micros)),
        };
        format!(
            "{stopped}{reviewed}{permitted} {actions} permitted{money}, {denied} denied; the record: {first}cofferdam sessions show \
             {session}"
        )
    }
}
