//! The guests of a drill: what they are asked with, what they say, and how they end.

use super::{DrillArguments, Guests};
use crate::cli::failure::Failure;
use crate::cli::run::platform::{Connection, Platform};
use crate::cli::run::terminal::pair;
use crate::guests::{Drill, EGRESS_PORT, Told, Wanted};
use ::sandbox::drill::{ARGUMENT, Outside, VARIABLE, Way};
use ::sandbox::{Choice, Exit, Git, container};
use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader, PipeReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The attack for which the disk counts as nearly full.
const FULL_DISK: &str = "resources.disk";
/// The attack for which the processors are what is scarce, and how much it gets of one, in thousandths.
const BUSY: (&str, u64) = ("resources.cpu", 200);
/// Memory of a guest, in bytes: so little that greed harms nobody.
const MEMORY_BYTES: u64 = 256 << 20;
/// Whose the workspace of an attacker in a container is, where the platform is root: somebody who exists nowhere else.
const NOBODY: u32 = 2_000_070_000;
/// How long a guest may take, in milliseconds.
const TIMEOUT_MS: u64 = 300_000;
/// Bytes by which the disk of the workspace may become fuller before a guest is ended, and that it tries to write.
const DISK_BYTES: (u64, u64) = (16 << 20, 48 << 20);
/// Most of what a guest says that is read, in bytes. One that says more is ended by a pipe that nobody reads.
const OUTPUT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the attacks are made. Removed when it is dropped.
pub(super) struct Site {
    // Before the directory: it removes what lies elsewhere.
    outside: Outside,
    program: PathBuf,
    wanted: Wanted,
    /// What the guest has for a keyboard; what is typed there by somebody else shows here.
    keyboard: OwnedFd,
    terminal: OwnedFd,
    directory: tempfile::TempDir,
}

impl Site {
    pub(super) fn new(arguments: &DrillArguments, platform: &Platform) -> Result<Site, Failure> {
        let directory = tempfile::Builder::new().prefix("cofferdam-drill-").tempdir();
        let directory = directory.context("no directory for what is attacked")?;
        // Guests may be another user. Nothing here is worth anything.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))
            .context("cannot open it to guests")?;
        let mut random = [0_u8; 12];
        getrandom::fill(&mut random).map_err(anyhow::Error::from)?;
        let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let program = std::env::current_exe().context("where this program is, is not known")?;
        let mut outside = Outside::new(directory.path(), &nonce, &program)
            .context("what is to be attacked cannot be made")?;
        let setting = outside.setting();
        setting.door = EGRESS_PORT;
        setting.fill = DISK_BYTES.1;
        setting.own = own(platform, arguments);
        let (keyboard, terminal) = pair()?;
        let wanted = Wanted {
            agent: None,
            argv: Vec::new(),
            env: BTreeMap::new(),
            workspace: outside.workspace(),
            allow: Vec::new(),
            networks: Vec::new(),
            learn: None,
            review: false,
            reads: shown(&program),
            git: Git::Read,
            profile: arguments.profile.into(),
            timeout_ms: Some(TIMEOUT_MS),
            memory_bytes: Some(MEMORY_BYTES),
            degrade: arguments.degrade.iter().copied().collect(),
            models: Vec::new(),
            budget: None,
            backend: arguments.backend,
            image: arguments.image.clone(),
            drill: None,
        };
        let is_contained = wanted.image.is_some() || matches!(wanted.backend, Some(Choice::Container(_)));
        if is_contained {
            outside.setting().itself = container::itself(&program).map_err(Failure::Failed)?;
            if rustix::process::geteuid().is_root() {
                // Root's own is nothing that a container may have.
                std::os::unix::fs::chown(outside.workspace(), Some(NOBODY), Some(NOBODY))
                    .context("the workspace cannot be given to whom the attacker is")?;
            }
        }
        Ok(Site {
            outside,
            program,
            wanted,
            keyboard,
            terminal,
            directory,
        })
    }

    pub(super) fn outside(&mut self) -> &mut Outside {
        &mut self.outside
    }

    pub(super) fn known(&self) -> &Outside {
        &self.outside
    }

    /// What was seen outside since the last look, with what was typed.
    pub(super) fn touched(&mut self) -> Vec<String> {
        let mut touched = self.outside.touched();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut [PollFd::new(&self.keyboard, PollFlags::IN)], Some(&now)).unwrap_or(0) > 0 {
            let mut typed = [0; 64];
            if rustix::io::read(&self.keyboard, &mut typed).is_ok_and(|read| read > 0) {
                touched.push("something was typed into the terminal".to_owned());
            }
        }
        touched
    }

    fn wanted(&self, words: &[&str]) -> Result<Wanted, Failure> {
        let mut setting = self.outside.known().clone();
        let mut wanted = self.wanted.clone();
        let itself = match setting.itself.as_slice() {
            [] => vec![self.program.display().to_string()],
            words => words.to_vec(),
        };
        wanted.argv = itself
            .into_iter()
            .chain([ARGUMENT.to_owned()])
            .chain(words.iter().map(|word| (*word).to_owned()))
            .collect();
        setting.floor = match words == [FULL_DISK] {
            true => {
                let disk = rustix::fs::statvfs(self.directory.path())
                    .context("how full the disk is, is not known")?;
                disk.f_bavail
                    .saturating_mul(disk.f_frsize)
                    .saturating_sub(DISK_BYTES.0)
            }
            false => 0,
        };
        let text = serde_json::to_string(&setting).map_err(anyhow::Error::from)?;
        wanted.env.insert(VARIABLE.to_owned(), text);
        wanted.drill = Some(Drill {
            tls: setting.tls,
            clear: setting.clear,
            private: setting.private,
            disk_free_bytes: setting.floor,
            cpu_millis: (words == [BUSY.0]).then_some(BUSY.1),
            everything: ::sandbox::drill::attacks()
                .any(|attack| words == [attack.id] && attack.way == Way::LentEverything),
        });
        Ok(wanted)
    }
}

/// What of the platform's own is worth an attack.
fn own(platform: &Platform, arguments: &DrillArguments) -> Vec<PathBuf> {
    let data = platform.data_dir();
    let beside = |suffix: &str| crate::app::beside(data, suffix);
    let all = [data.to_owned(), beside("-keys"), beside("-checkpoints")];
    let all = all.into_iter().chain(arguments.config.clone());
    all.filter_map(|path| path.canonicalize().ok()).collect()
}

/// The program itself, where guests do not see it anyway.
fn shown(program: &Path) -> Vec<PathBuf> {
    match program.starts_with("/usr") {
        true => Vec::new(),
        false => vec![program.to_owned()],
    }
}

/// One guest.
pub(super) struct Guest {
    connection: Connection,
    lines: BufReader<std::io::Take<PipeReader>>,
}

impl Guest {
    /// Starts one, as soon as it may run.
    pub(super) fn start(
        site: &Site,
        platform: &Platform,
        words: &[&str],
        guests: &mut Guests,
    ) -> Result<Result<Guest, String>, Failure> {
        let (out, to_out) = std::io::pipe().context("no pipe")?;
        let nowhere = File::options()
            .write(true)
            .open("/dev/null")
            .context("no /dev/null")?;
        let connection = platform.connect()?;
        let wanted = site.wanted(words)?;
        connection.ask(&wanted, [site.terminal.as_fd(), to_out.as_fd(), nowhere.as_fd()])?;
        drop(to_out);
        loop {
            match connection.hear()? {
                Told::Session(session) => guests.sessions.push(session),
                Told::Started { given_up } => {
                    guests.started += 1;
                    guests.given_up.extend(given_up);
                    let lines = BufReader::new(std::io::Read::take(out, OUTPUT_BYTES_MAX));
                    return Ok(Ok(Guest { connection, lines }));
                }
                Told::Waits { approval, server } => {
                    return Err(Failure::Failed(format!(
                        "a policy has a person approve what runs, and a drill runs many guests: cofferdam approvals show \
                         {approval} --server {server}"
                    )));
                }
                // Nothing is shown by a drill of which nothing runs.
                Told::Refused { reason, .. } if guests.started == 0 => return Err(Failure::Failed(reason)),
                Told::Refused { reason, .. } => return Ok(Err(reason)),
                Told::Review(_) => {}
                Told::Ended(_) => return Ok(Err("it ended before it began".to_owned())),
            }
        }
    }

    /// Its next line; nothing when it has ended, or says what nobody can read.
    pub(super) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(1..) => Some(line),
            _ => None,
        }
    }

    /// How it ended, or why it is not known.
    pub(super) fn end(self) -> Result<Result<Exit, String>, Failure> {
        loop {
            match self.connection.hear()? {
                Told::Ended(summary) => return Ok(Ok(summary.exit)),
                Told::Refused { reason, .. } => return Ok(Err(reason)),
                Told::Session(_) | Told::Waits { .. } | Told::Started { .. } | Told::Review(_) => {}
            }
        }
    }
}
