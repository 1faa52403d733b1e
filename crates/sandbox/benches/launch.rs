//! How long it takes from asking for a guest that runs `true` until it is over: from nothing, out of the pool, and by
//! bubblewrap with the same mounts, in turns in one run. And how long a claim of the pool takes, until `true` runs; and
//! a kill, until the last process of a deep tree is dead.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

#[path = "launch/bubblewrap.rs"]
mod bubblewrap;
#[path = "../../cofferdam/benches/platform/figure.rs"]
mod figure;
#[path = "../tests/attacker/flight.rs"]
mod flight;

use bubblewrap::{is_there, wrapped};
use figure::figure;
use sandbox::{Config, Guest, Launcher, Spec};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Guests of each kind, in turns.
const ROUNDS: usize = 60;
/// Goal for the launcher alone, against bubblewrap.
const RATIO_MAX: f64 = 0.6;
/// Goal for a claim of the pool, in milliseconds.
const CLAIM_MS_MAX: f64 = 1.0;
/// Goal for a kill, in milliseconds; the worst of [`KILLS`] counts.
const KILL_MS_MAX: f64 = 100.0;
/// Trees that are killed.
const KILLS: usize = 10;
/// Processes of one, each the parent of the next and the leader of a session of its own.
const DEPTH: usize = 200;

fn main() {
    let workspace = Path::new("/tmp").join(format!("cofferdam-bench-{}", std::process::id()));
    std::fs::create_dir(&workspace).unwrap();
    measure(&workspace);
    std::fs::remove_dir(&workspace).unwrap();
}

fn measure(workspace: &Path) {
    let cold = start(0);
    let warm = start(1);
    let limited = Spec::new(vec!["true".to_owned()], workspace.to_owned());
    let mut plain = limited.clone();
    // What bubblewrap has not either: cgroups are made and joined ahead in the pool alone.
    plain.limits.memory_bytes = None;
    plain.limits.pids = None;
    plain.limits.cpu_millis = None;
    for part in cold.ability().missing.keys() {
        plain.degrade.insert(*part);
    }
    let limited = Spec {
        degrade: plain.degrade.clone(),
        ..limited
    };
    let mounts = whole(&cold, &plain).rules().mounts.clone();
    let bubblewrap = is_there();

    let mut times: [Vec<Duration>; 5] = Default::default();
    for _ in 0..ROUNDS {
        let begin = rested();
        whole(&cold, &plain);
        times[0].push(begin.elapsed());
        let begin = rested();
        whole(&cold, &limited);
        times[1].push(begin.elapsed());
        let begin = rested();
        let guest = launch(&warm, &limited);
        times[2].push(begin.elapsed());
        wait(&guest);
        times[3].push(begin.elapsed());
        if bubblewrap {
            let begin = rested();
            assert!(wrapped(&mounts, workspace).status().unwrap().success());
            times[4].push(begin.elapsed());
        }
    }
    let [plain, limited, claim, pooled, bwrap] = times.map(median);
    let against = |ms: f64| format!("{:.2} × bwrap's {bwrap:.2} ms", ms / bwrap);
    if bubblewrap {
        figure(
            "launch `true`, ratio to bwrap, p50",
            plain / bwrap,
            "×",
            ..=RATIO_MAX,
            &against(plain),
        );
    } else {
        println!("bwrap is not installed: there is nothing to compare with");
    }
    figure("launch `true`, without cgroups, p50", plain, "ms", .., "");
    figure(
        "launch `true`, with cgroups, p50",
        limited,
        "ms",
        ..,
        &against(limited),
    );
    figure(
        "claim of the pool until `true` runs, p50",
        claim,
        "ms",
        ..=CLAIM_MS_MAX,
        "with cgroups",
    );
    figure(
        "claim of the pool until `true` is over, p50",
        pooled,
        "ms",
        ..,
        &against(pooled),
    );
    kill(&warm, workspace);
}

/// From asking for the end until the last of a tree is dead: all of them hold the pipe that is read from.
fn kill(launcher: &Launcher, workspace: &Path) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_sandbox-attacker"));
    let inside = workspace.join("attacker");
    std::fs::copy(&program, &inside).unwrap();
    let argv = ["./attacker", "tree", &DEPTH.to_string()].map(str::to_owned);
    let mut spec = Spec::new(argv.to_vec(), workspace.to_owned());
    spec.degrade = launcher.ability().missing.keys().copied().collect();
    let times = (0..KILLS)
        .map(|_| {
            let (mut out, into) = std::io::pipe().unwrap();
            let null = || {
                OwnedFd::from(
                    std::fs::File::options()
                        .read(true)
                        .write(true)
                        .open("/dev/null")
                        .unwrap(),
                )
            };
            let guest = launcher
                .launch(&flight::flight(), &spec, [null(), into.into(), null()])
                .unwrap();
            let mut said = [0; 64];
            assert!(
                std::io::Read::read(&mut out, &mut said).unwrap() > 0,
                "the tree stands"
            );
            let begin = Instant::now();
            guest.kill();
            while std::io::Read::read(&mut out, &mut said).unwrap() > 0 {}
            let dead = begin.elapsed();
            ended(&guest);
            dead
        })
        .collect::<Vec<_>>();
    std::fs::remove_file(inside).unwrap();
    let worst = times.into_iter().max().unwrap();
    figure(
        "kill to the last process of a deep tree dead",
        worst.as_secs_f64() * 1000.0,
        "ms",
        ..=KILL_MS_MAX,
        &format!("{DEPTH} processes, worst of {KILLS}"),
    );
}

/// The kernel takes network namespaces apart in the background, and whoever makes the next one waits for it; the pool is
/// filled in the background too. None of both is to count for whoever comes next.
fn rested() -> Instant {
    std::thread::sleep(Duration::from_millis(60));
    Instant::now()
}

fn start(pool: usize) -> Launcher {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_sandbox-attacker"));
    Launcher::start(Config { program, pool }).unwrap()
}

fn launch(launcher: &Launcher, spec: &Spec) -> Guest {
    let null = || {
        OwnedFd::from(
            std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .unwrap(),
        )
    };
    launcher
        .launch(&flight::flight(), spec, [null(), null(), null()])
        .unwrap()
}

fn whole(launcher: &Launcher, spec: &Spec) -> Guest {
    let guest = launch(launcher, spec);
    wait(&guest);
    guest
}

fn wait(guest: &Guest) {
    assert_eq!(ended(guest), sandbox::End::Code(0));
}

fn ended(guest: &Guest) -> sandbox::End {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(guest.wait()).end
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times
        .get(times.len() / 2)
        .map_or(f64::NAN, |t| t.as_secs_f64() * 1000.0)
}
