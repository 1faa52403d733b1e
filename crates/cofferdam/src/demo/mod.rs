//! The demo: the whole story on one machine, without a key and without a network.
//!
//! The platform runs in this process and the patient, a small HTTP service deployed from a real Git
//! repository, in a child. Nothing is canned: what is told is read from the journal, the API and the
//! patient as it happens. The one stand-in is for Prometheus and Alertmanager, which a stranger's
//! machine does not have: see [`watch`].
//!
//! When it ends by itself or is told to stop, it leaves nothing running, and no file unless `--keep` asks
//! for them. A demo that is killed outright leaves its directory in the system's temporary one.

mod breakage;
mod finding;
mod follow;
mod load;
mod narrator;
mod patient;
mod proof;
mod repository;
mod stage;
mod story;
mod tamper;
mod watch;

use crate::cli::arguments::Global;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use breakage::Breakage;
use clap::Args;
use follow::Decider;
use narrator::Narrator;
use serde_json::json;
use stage::{Directory, Stage};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use store::clock::SystemClock;
use story::Story;
use tokio::signal::unix::{SignalKind, signal};

pub use patient::{PatientArguments, run_patient};

pub(crate) const HELP: &str = "\
Examples:
  cofferdam demo
  cofferdam demo --break latency
  cofferdam demo --yes --output json     for scripts: one JSON object a line

It needs git, no key and no network, takes less than 20 seconds, and cleans up after itself.";

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// `cofferdam demo`
#[derive(Args, Clone, Debug)]
pub struct DemoArguments {
    /// Approve without asking
    #[arg(long, short)]
    pub yes: bool,
    /// What the bad release breaks
    #[arg(long = "break", value_enum, value_name = "WHAT", default_value_t = Breakage::Errors)]
    pub breakage: Breakage,
    /// Work in this new directory, and leave it there
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Runs the demo. Exit code 0 when everything happened as it should, also when the person said no.
pub fn run(demo: DemoArguments, _: &Global, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let decider = if demo.yes { Decider::Yes } else { Decider::Person };
    if decider == Decider::Person && !std::io::stdin().is_terminal() {
        let why = "the demo asks for an approval, and there is no terminal to ask at; say --yes to approve without asking";
        return Err(Failure::Misuse(why.into()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(perform(&demo, decider, screen));
    // A thread may still wait for the terminal; nothing else is left.
    runtime.shutdown_background();
    ended
}

async fn perform(demo: &DemoArguments, decider: Decider, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let clock = SystemClock::shared();
    let began = clock.monotonic();
    let directory = Directory::create(demo.keep.as_deref())?;
    let mut narrator = Narrator::new(screen, clock.clone());
    let mut stage = tokio::select! {
        stage = Stage::set(&directory, clock.clone()) => stage?,
        _ = interrupt.recv() => return Ok(ExitCode::from(INTERRUPTED)),
        _ = terminate.recv() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let mut story = Story {
        stage: &mut stage,
        narrator: &mut narrator,
        directory: &directory,
        breakage: demo.breakage,
        decider,
    };
    let told = tokio::select! {
        told = story.tell() => told.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::from(INTERRUPTED)),
        _ = terminate.recv() => Ok(ExitCode::from(INTERRUPTED)),
    };
    stage.end().await;
    let took = clock.monotonic().saturating_sub(began);
    let code = told?;
    if code == ExitCode::SUCCESS {
        let kept = demo.keep.as_ref().map(|path| path.display().to_string());
        let data = json!({ "seconds": took.as_secs_f64(), "kept": kept });
        narrator.tell("done", data, |_| {
            format!("   It took {:.1} s.", took.as_secs_f64())
        })?;
    }
    Ok(code)
}
