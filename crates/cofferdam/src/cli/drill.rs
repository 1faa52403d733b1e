//! `drill`: attacks the walls as they are configured here, from inside, and says what held, what did not, and why it
//! matters.
//!
//! It runs guests as `cofferdam run` does, on the platform that runs here or on one of its own, so what it meets are the
//! walls and the gate that every guest meets. What it attacks outside it made itself.

mod end;
mod guest;
mod report;

use super::arguments::Global;
use super::failure::Failure;
use super::run::platform::{Platform, Where, is_there};
use super::run::{Walls, part};
use super::screen::{Screen, clear_progress, show_progress};
use ::sandbox::drill::{Board, Finding, Verdict, Way};
use ::sandbox::{Choice, Part};
use clap::Args;
use guest::{Guest, Site};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Shown below the options.
pub const HELP: &str = "\
Examples:
  cofferdam drill                         every attack, on the platform of ./.cofferdam or on one of its own
  cofferdam drill --list                  what there is to try, and who claims to stop it
  cofferdam drill --only gate             one area; or one attack: --only files.link
  cofferdam drill --profile strict --output json
  cofferdam drill --image docker.io/library/debian:12     from inside a container, as `run --image` makes one
  cofferdam drill --degrade memory_limit --degrade process_count --degrade cpu_limit

It is safe on a live installation: what it attacks outside it made itself, and its greed is bounded. Nothing leaves this
machine but what its resolver is asked. Where nothing promises to stop an attack, it is told as not guaranteed, and never counted as held.

Exit codes: 0 nothing broke; 1 something did, or an attack could not be tried; 2 misuse";

/// Attack the walls of this installation.
#[derive(Args, Clone, Debug)]
pub struct DrillArguments {
    /// Only this area or this attack; may be given several times
    #[arg(long, value_name = "AREA|ID")]
    pub only: Vec<String>,
    /// Show the attacks, and make none
    #[arg(long)]
    pub list: bool,
    /// Which system calls the attacker may make
    #[arg(long, value_enum, default_value_t = Walls::Standard)]
    pub profile: Walls,
    /// A wall to do without where this machine cannot build it; `cofferdam sandbox check` names them
    #[arg(long, value_name = "PART", value_parser = part)]
    pub degrade: Vec<Part>,
    /// What starts the attacker: process, container, container:podman or container:docker [default: process]
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<Choice>,
    /// The image of its container; the attacker brings itself
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Where the platform keeps its data [default: ./.cofferdam, or a platform of its own, thrown away, if that is not
    /// there]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Documents of the platform that is started, when none runs there
    #[arg(long, value_name = "FILE|DIR")]
    pub config: Option<PathBuf>,
}

/// Where a platform usually keeps its data.
const USUAL: &str = "./.cofferdam";

/// Makes the attacks. Exit code 1 if one works or could not be tried.
pub fn run(arguments: &DrillArguments, global: &Global, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let mut board = Board::new(&arguments.only).map_err(Failure::Misuse)?;
    if arguments.list {
        report::list(&board, screen)?;
        return Ok(ExitCode::SUCCESS);
    }
    // One that only lies there stays as it is: its agents would act because of a drill.
    let usual = Some(Path::new(USUAL)).filter(|usual| is_there(usual));
    let at = Where {
        data_dir: arguments.data_dir.as_deref().or(usual),
        config: arguments.config.as_deref(),
    };
    show_progress("starting…");
    let platform = Platform::find_or_start(&at, global).inspect_err(|_| clear_progress())?;
    let made = attack(arguments, &platform, &mut board);
    clear_progress();
    let is_interrupted = platform.is_interrupted();
    let (is_own, is_thrown_away) = (platform.is_own(), platform.is_thrown_away());
    platform.shutdown();
    if is_interrupted {
        let why = "it was interrupted; nothing is left behind";
        return Err(Failure::Failed(why.to_owned()));
    }
    let mut guests = made?;
    if matches!(arguments.profile, Walls::Build) {
        let why = "the profile `build` lets a guest use any TCP of its own loopback";
        guests.given_up.insert(Part::LandlockTcp, why.to_owned());
    }
    let findings = board.findings(&guests.given_up);
    let is_bad = |finding: &Finding| match finding.verdict {
        Verdict::Broken => true,
        // It would be somebody else's launcher.
        Verdict::NotTried => finding.id != "life.launcher",
        Verdict::Held | Verdict::NotGuaranteed => false,
    };
    let is_held = findings.iter().any(|finding| finding.verdict == Verdict::Held);
    let is_bad = findings.iter().any(is_bad);
    let report = Report {
        findings,
        given_up: guests.given_up,
        sessions: guests.sessions,
        profile: arguments.profile.into(),
        is_own,
        is_thrown_away,
    };
    report.show(screen)?;
    // A drill in which nothing held shows nothing.
    let asked = board
        .chosen()
        .any(|attack| !matches!(attack.way, Way::Opaque { .. }));
    Ok(ExitCode::from(u8::from(is_bad || (asked && !is_held))))
}

/// What is known of the guests that attacked.
#[derive(Debug, Default)]
struct Guests {
    sessions: Vec<String>,
    started: usize,
    given_up: std::collections::BTreeMap<Part, String>,
}

fn attack(arguments: &DrillArguments, platform: &Platform, board: &mut Board) -> Result<Guests, Failure> {
    let mut site = Site::new(arguments, platform)?;
    let mut guests = Guests::default();
    loop {
        let batch = board.next_batch();
        if batch.is_empty() || platform.is_interrupted() {
            break;
        }
        let words: Vec<&str> = batch.iter().map(String::as_str).collect();
        let mut guest = match Guest::start(&site, platform, &words, &mut guests)? {
            Ok(guest) => guest,
            Err(why) => {
                board.failed(&why);
                continue;
            }
        };
        while let Some(line) = guest.line() {
            board.heard(&line);
            board.touched(site.touched());
            progress(board);
        }
        match guest.end()? {
            Ok(exit) => board.ended(&exit),
            Err(why) => board.failed(&why),
        }
        site.outside().left(board);
        board.touched(site.touched());
    }
    let from_outside: Vec<_> = board.chosen().filter(|attack| !attack.is_inside()).collect();
    for attack in from_outside {
        let made = match attack.way {
            _ if platform.is_interrupted() => break,
            Way::Disconnect => end::disconnect(&site, platform, &mut guests)?,
            Way::KillLauncher => end::kill_launcher(&site, platform, &mut guests)?,
            _ => continue,
        };
        board.made(attack.id, made);
        progress(board);
    }
    Ok(guests)
}

fn progress(board: &Board) {
    let (done, all) = board.progress();
    let running = board.running().unwrap_or_default();
    show_progress(&format!("{done} of {all} attacks made  {running}"));
}
