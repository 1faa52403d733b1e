//! `cofferdam run -- true` against a platform that runs, with its record, and `true` in bubblewrap with the same mounts,
//! in turns.

#[path = "../../../sandbox/benches/launch/bubblewrap.rs"]
mod bubblewrap;
#[path = "../../../sandbox/tests/attacker/flight.rs"]
mod flight;

use crate::disk::share;
use crate::figure::figure;
use crate::new_folder;
use crate::process::Platform;
use sandbox::{Config, Launcher, Mount, Spec};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs of each kind.
const ROUNDS: usize = 40;
/// Goal, against bubblewrap.
const RATIO_MAX: f64 = 1.0;
/// The kernel takes namespaces apart in the background, and the pool is filled there too.
const REST: Duration = Duration::from_millis(80);

pub fn run() {
    let folder = new_folder();
    let platform = Platform::start(folder.path());
    let workspace = Path::new("/tmp").join(format!("cofferdam-bench-run-{}", std::process::id()));
    std::fs::create_dir(&workspace).unwrap();
    let mounts = mounts(&workspace);
    let is_there = bubblewrap::is_there();
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let mut commands = vec![(&mut own, ours(folder.path(), &workspace))];
        if is_there {
            commands.push((&mut theirs, bubblewrap::wrapped(&mounts, &workspace)));
        }
        for (times, mut command) in commands {
            std::thread::sleep(REST);
            let begin = Instant::now();
            let status = command
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            let took = begin.elapsed();
            assert!(status.success(), "{command:?}");
            // The first starts the launcher.
            if round > 0 {
                times.push(took);
            }
        }
    }
    drop(platform);
    std::fs::remove_dir_all(&workspace).unwrap();
    let half = |times: &mut Vec<Duration>| share(times, 50).as_secs_f64() * 1e3;
    let own = half(&mut own);
    match is_there {
        true => {
            let theirs = half(&mut theirs);
            let beside = format!("{own:.2} ms, bwrap {theirs:.2} ms");
            let name = "`cofferdam run -- true`, ratio to bwrap, p50";
            figure(name, own / theirs, "×", ..=RATIO_MAX, &beside);
        }
        false => {
            figure(
                "`cofferdam run -- true`, p50",
                own,
                "ms",
                ..,
                "bwrap is not installed",
            );
        }
    }
}

fn ours(folder: &Path, workspace: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command.arg("run").arg("--data-dir").arg(folder.join("data"));
    command.arg("--workspace").arg(workspace).args(["--", "true"]);
    command
}

/// What a guest has.
fn mounts(workspace: &Path) -> Vec<Mount> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_cofferdam"));
    let launcher = Launcher::start(Config { program, pool: 0 }).unwrap();
    let mut spec = Spec::new(vec!["true".to_owned()], workspace.to_owned());
    spec.degrade = launcher.ability().missing.keys().copied().collect();
    let null = || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
    let guest = launcher.launch(&flight::flight(), &spec, [null(), null(), null()]);
    guest.unwrap().rules().mounts.clone()
}
