//! What the platform costs its user, measured on the release binary: how soon it takes work, what it
//! occupies, how soon it acknowledges a task. Goals are printed beside, and decide nothing.
//!
//! `cargo bench -p cofferdam --bench platform -- tasks` measures only the parts whose name holds `tasks`.
//! `COFFERDAM_BENCH_ENTRIES` makes the large journal smaller than a million entries.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints figures, reads the clock, and ends when it cannot measure"
)]

#[path = "platform/disk.rs"]
mod disk;
#[path = "platform/entries.rs"]
mod entries;
#[path = "platform/figure.rs"]
mod figure;
#[path = "platform/http.rs"]
mod http;
#[path = "platform/load.rs"]
mod load;
#[path = "platform/process.rs"]
mod process;
#[path = "platform/run.rs"]
mod run;

use figure::figure;
use http::Client;
use process::Platform;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Starts of which the median counts.
const STARTS: usize = 5;
/// Entries of the large journal, unless `COFFERDAM_BENCH_ENTRIES` says otherwise.
const ENTRIES: u64 = 1_000_000;
/// Drills of the kill switch, of which the worst counts.
const DRILLS: usize = 5;
/// Sessions that one of them stops.
const DRILLED: usize = 200;
/// Sessions that wait for a person.
const WAITING: u32 = 1_000;
/// Tasks that are posted, one every [`TASK_EVERY`].
const TASKS: u32 = 5_000;
/// 500 a second.
const TASK_EVERY: Duration = Duration::from_millis(2);
/// After this long without a request the platform is idle.
const IDLE_AFTER: Duration = Duration::from_secs(5);
/// How long sessions may take until all of them wait, or all are done.
const SESSIONS_MAX: Duration = Duration::from_secs(120);
/// An agent that waits for a person, and one that reads something and is done.
const DOCUMENTS: &str = include_str!("platform/documents.yaml");

fn main() {
    let parts: [(&str, fn()); 7] = [
        ("size", size),
        ("empty", ready_when_empty),
        ("memory", memory),
        ("tasks", tasks),
        ("kill", kill),
        ("run", run::run),
        ("entries", ready_with_entries),
    ];
    // Cargo passes options of its own.
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for (name, part) in parts {
        if chosen.is_empty() || chosen.iter().any(|chosen| name.contains(chosen.as_str())) {
            part();
        }
    }
}

fn size() {
    // Beside `release`, where this one is: `make bench` puts it there.
    let built = Path::new(env!("CARGO_BIN_EXE_cofferdam"));
    let target = built.parent().and_then(Path::parent).unwrap();
    match std::fs::metadata(target.join("handed-out/cofferdam")) {
        Ok(found) => figure("binary", found.len() as f64 / 1e6, "MB", ..=30.0, ""),
        Err(_) => println!("binary: `make release` was not run, so there is none that is handed out"),
    }
}

fn ready_when_empty() {
    let starts = (0..STARTS)
        .map(|_| Platform::start(new_folder().path()).ready)
        .collect();
    let beside = floor_of_a_start(new_folder().path());
    figure(
        "ready on an empty directory, median",
        median_ms(starts),
        "ms",
        ..=150.0,
        &beside,
    );
}

/// The starts after the first find a journal that was not closed.
fn ready_with_entries() {
    let wanted = std::env::var("COFFERDAM_BENCH_ENTRIES")
        .ok()
        .and_then(|number| number.parse().ok());
    let folder = new_folder();
    let start = Instant::now();
    let entries = entries::fill(folder.path(), wanted.unwrap_or(ENTRIES));
    let filling = start.elapsed();
    let starts = (0..STARTS)
        .map(|_| Platform::start(folder.path()).ready)
        .collect();
    let beside = format!("{entries} entries, written in {:.0} s", filling.as_secs_f64());
    figure(
        "ready with a large journal, median",
        median_ms(starts),
        "ms",
        ..=1000.0,
        &beside,
    );
}

fn memory() {
    let folder = new_folder();
    let idle = Platform::start(folder.path());
    std::thread::sleep(IDLE_AFTER);
    figure(
        "resident when idle, without agents",
        idle.resident(),
        "MiB",
        ..=40.0,
        "",
    );
    drop(idle);
    std::fs::write(folder.path().join("cofferdam.yaml"), DOCUMENTS).unwrap();
    let platform = Platform::start(folder.path());
    std::thread::sleep(IDLE_AFTER);
    figure(
        "resident when idle, with two agents",
        platform.resident(),
        "MiB",
        ..=40.0,
        "",
    );
    let client = platform.client();
    load::post_tasks(&client, "asker", WAITING, TASK_EVERY);
    until_all_are(&client, "asker", WAITING, "waiting");
    std::thread::sleep(IDLE_AFTER);
    let beside = format!("{WAITING} sessions, each with an approval");
    figure(
        "resident with waiting sessions",
        platform.resident(),
        "MiB",
        ..=60.0,
        &beside,
    );
    drop(platform);
    let platform = Platform::start(folder.path());
    std::thread::sleep(IDLE_AFTER);
    figure(
        "the same after a restart",
        platform.resident(),
        "MiB",
        ..=60.0,
        &beside,
    );
}

fn tasks() {
    for agent in ["asker", "reader"] {
        let folder = new_folder();
        std::fs::write(folder.path().join("cofferdam.yaml"), DOCUMENTS).unwrap();
        let platform = Platform::start(folder.path());
        let client = platform.client();
        let [half_sync, most_sync] = disk::fdatasync(folder.path());
        let mut outcome = load::post_tasks(&client, agent, TASKS, TASK_EVERY);
        let start = Instant::now();
        let done = if agent == "asker" { "waiting" } else { "completed" };
        until_all_are(&client, agent, TASKS, done);
        let behind = start.elapsed().as_secs_f64();
        let rate = f64::from(TASKS) / outcome.took.as_secs_f64();
        let refused = outcome.refused;
        let beside = format!("{refused} refused; all {done} {behind:.1} s after the last");
        figure(&format!("POST tasks ({done}), a second"), rate, "", .., &beside);
        let [half, most] = [50, 99].map(|percent| disk::share(&mut outcome.latencies, percent));
        let [half_late, most_late] = [50, 99].map(|percent| disk::share(&mut outcome.late, percent));
        // A machine that is busy with something else syncs late and wakes late.
        let beside = |sync, late| {
            format!(
                "fdatasync {:.2} ms, client woken {:.2} ms late",
                ms(sync),
                ms(late)
            )
        };
        let [beside_half, beside_most] = [beside(half_sync, half_late), beside(most_sync, most_late)];
        figure(
            &format!("POST tasks ({done}), p50"),
            ms(half),
            "ms",
            ..,
            &beside_half,
        );
        figure(
            &format!("POST tasks ({done}), p99"),
            ms(most),
            "ms",
            ..10.0,
            &beside_most,
        );
    }
}

/// One stop over live sessions, as `cofferdam kill --drill` measures it: some act over and over, the others
/// are in one action.
fn kill() {
    let folder = new_folder();
    let platform = Platform::start(folder.path());
    let mut client = platform.client();
    let [sync, _] = disk::fdatasync(folder.path());
    let (mut actions, mut sessions, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..DRILLS {
        let asked = format!(r#"{{"sessions":{DRILLED}}}"#);
        let (status, body) = client.call("POST", "/api/v1/stops/drill", &asked).unwrap();
        assert!(
            status == 200 && body.contains(r#""unreached":[]"#),
            "{status} {body}"
        );
        let us = |name: &str| {
            let after = body.split(&format!("\"{name}\":")).nth(1).unwrap();
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            Duration::from_micros(digits.parse().unwrap())
        };
        actions.push(us("last_action_us"));
        sessions.push(us("last_session_us"));
        answers.push(us("answered_us"));
    }
    let beside = format!(
        "{DRILLED} sessions, worst of {DRILLS}; fdatasync {:.2} ms",
        ms(sync)
    );
    let worst = |times: Vec<Duration>| ms(times.into_iter().max().unwrap());
    figure(
        "kill to the last permitted action",
        worst(actions),
        "ms",
        ..=10.0,
        &beside,
    );
    figure(
        "kill to the last session ended",
        worst(sessions),
        "ms",
        ..=250.0,
        &beside,
    );
    figure("kill to its answer", worst(answers), "ms", .., &beside);
}

/// Asks for each task in turn, so that no answer is large.
fn until_all_are(client: &Client, agent: &str, count: u32, state: &str) {
    // Another connection, because one that was idle for long was closed.
    let mut client = client.again().unwrap();
    let start = Instant::now();
    let expected = format!("\"status\":\"{state}\"");
    for number in 0..count {
        loop {
            let (status, body) = client
                .call("GET", &format!("/api/v1/tasks/{agent}-{number}"), "")
                .unwrap();
            if body.contains(&expected) {
                break;
            }
            assert!(
                start.elapsed() < SESSIONS_MAX,
                "task {number} is not {state}: {status} {body}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a start cannot do without: running the program at all, and its syncs.
fn floor_of_a_start(folder: &Path) -> String {
    let runs = (0..STARTS)
        .map(|_| {
            let start = Instant::now();
            Command::new(env!("CARGO_BIN_EXE_cofferdam"))
                .arg("--version")
                .output()
                .unwrap();
            start.elapsed()
        })
        .collect();
    let [sync, _] = disk::fdatasync(folder);
    format!(
        "running `--version` {:.1} ms, fdatasync {:.2} ms",
        median_ms(runs),
        ms(sync)
    )
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    ms(disk::share(&mut times, 50))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// On the disk that the build is on: a temporary directory may be in memory.
fn new_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
