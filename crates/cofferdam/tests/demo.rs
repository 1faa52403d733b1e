//! The demo, run as a stranger would: the narration follows what happens, and nothing stays behind.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests; clippy sees only the functions marked so"
)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command
        .args(["demo", "--yes", "--output", "json"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Every event of a whole run, which has to end well.
fn told(arguments: &[&str]) -> Vec<Value> {
    let output = demo(arguments).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of<'e>(events: &'e [Value], act: &str, event: &str) -> Vec<&'e Value> {
    events
        .iter()
        .filter(|e| e["act"] == act && e["event"] == event)
        .collect()
}

fn only<'e>(events: &'e [Value], act: &str, event: &str) -> &'e Value {
    match of(events, act, event).as_slice() {
        [one] => one,
        other => panic!("{act} {event}: {other:?}"),
    }
}

/// Whether something answers at the address of a URL.
fn answers(url: &Value) -> bool {
    TcpStream::connect(url.as_str().unwrap().trim_start_matches("http://")).is_ok()
}

fn within(patience: Duration, holds: impl Fn() -> bool) -> bool {
    let step = Duration::from_millis(50);
    (0..patience.as_millis() / step.as_millis()).any(|_| {
        holds() || {
            std::thread::sleep(step);
            false
        }
    })
}

fn nothing_is_left(events: &[Value]) {
    let (platform, patient) = (
        only(events, "opening", "platform"),
        only(events, "opening", "patient"),
    );
    assert!(!answers(&platform["url"]), "the platform still runs");
    assert!(!answers(&patient["url"]), "the patient still runs");
    assert!(
        !Path::new(platform["data_dir"].as_str().unwrap()).exists(),
        "files are left"
    );
}

/// What holds of every run, whatever was broken. Gives what has to differ.
fn check(events: &[Value]) -> (String, String, String) {
    let steps = of(events, "triage", "step");
    assert!(steps.len() >= 8, "{steps:#?}");
    for step in &steps {
        assert_eq!(
            (&step["effect"], &step["decision"], &step["outcome"]),
            (&"read".into(), &"permit".into(), &"success".into()),
            "{step}"
        );
        assert!(
            step["reason"].as_str().unwrap().contains("toolset/shop"),
            "{step}"
        );
    }
    let refused = only(events, "refused", "step");
    assert_eq!(
        (&refused["effect"], &refused["decision"], &refused["code"]),
        (&"write".into(), &"deny".into(), &"no_rule".into())
    );
    assert!(!refused["remedy"].as_str().unwrap().is_empty());

    let release = only(events, "incident", "release");
    let summary = &only(events, "summary", "summary")["summary"];
    let change = &summary["changes"][0];
    assert_eq!(
        (&change["commit"], &change["author"]),
        (&release["commit"], &release["author"]),
        "the deploy correlates"
    );
    assert!(
        (0..60).contains(&change["before_onset_seconds"].as_i64().unwrap()),
        "{change}"
    );
    let past = only(events, "past", "resolved");
    assert_eq!(past["status"], "resolved");
    assert_eq!(
        summary["similar_incidents"][0]["id"], past["incident"],
        "the similar incident is the first one"
    );
    assert!(
        past["resolution"].as_str().unwrap().contains("person:sam"),
        "{past}"
    );
    assert_ne!(only(events, "past", "release")["commit"], release["commit"]);

    let asked = of(events, "approval", "step");
    assert_eq!(asked[0]["decision"], "require_approval");
    assert_eq!(
        only(events, "recovery", "merge")["branch"],
        asked[0]["branch"],
        "what was approved is what was merged"
    );
    let recovered = only(events, "recovery", "recovered");
    assert!(
        recovered["failing_percent"].as_f64().unwrap() < 1.0,
        "{recovered}"
    );
    assert_eq!(only(events, "recovery", "resolved")["status"], "resolved");

    let verdicts: Vec<_> = of(events, "proof", "verify")
        .into_iter()
        .map(|v| {
            (
                v["copy"].as_str().unwrap(),
                v["against"].as_bool().unwrap(),
                v["verified"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ("honest", false, true),
            ("honest", true, true),
            ("one_byte", false, false),
            ("rewritten", false, true),
            ("rewritten", true, false),
        ]
    );
    let finding = of(events, "proof", "verify")[2]["finding"].as_str().unwrap();
    assert!(
        finding.contains(&format!("entry {}", refused["entry"])),
        "{finding} names the entry {}",
        refused["entry"]
    );
    let seen = summary["observations"].to_string();
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    (text(release, "title"), seen, text(asked[0], "diff"))
}

#[test]
fn the_narration_follows_what_was_broken() {
    let modes = ["errors", "latency"];
    let runs = std::thread::scope(|scope| {
        let started: Vec<_> = modes
            .iter()
            .map(|mode| scope.spawn(move || told(&["--break", mode])))
            .collect();
        started
            .into_iter()
            .map(|run| run.join().unwrap())
            .collect::<Vec<_>>()
    });
    let [errors, latency] = runs.as_slice() else {
        unreachable!()
    };
    for events in [errors, latency] {
        nothing_is_left(events);
        let seconds = events.last().unwrap()["seconds"].as_f64().unwrap();
        assert!(seconds > 1.0, "{seconds}");
    }
    let (a, b) = (check(errors), check(latency));
    assert!(a.0 != b.0 && a.1 != b.1 && a.2 != b.2, "{a:?}\n{b:?}");
    assert!(
        a.1.contains("no_connections") && a.2.contains("+pool_size: 8"),
        "{a:?}"
    );
    assert!(
        b.1.contains("no request fails") && b.2.contains("+cache_ttl_seconds: 60"),
        "{b:?}"
    );
    assert_eq!(only(errors, "incident", "alert")["alert"], "ShopErrors");
    assert_eq!(only(latency, "incident", "alert")["alert"], "ShopSlow");
}

/// A demo in the middle of its story: the process and what it told so far.
fn begun() -> (Child, Vec<Value>) {
    let mut child = demo(&[]).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events: Vec<Value> = Vec::new();
    while events.last().is_none_or(|event| event["event"] != "alert") {
        events.push(serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap());
    }
    // Whatever it still says has to go somewhere.
    std::thread::spawn(move || {
        let _ = lines.map_while(Result::ok).count();
    });
    (child, events)
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
fn interrupting_it_leaves_nothing() {
    for name in ["INT", "TERM"] {
        let (mut child, events) = begun();
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        nothing_is_left(&events);
    }
}

#[test]
fn the_patient_does_not_outlive_a_demo_that_was_killed() {
    let (mut child, events) = begun();
    signal(&child, "KILL");
    child.wait().unwrap();
    let patient = &only(&events, "opening", "patient")["url"];
    assert!(
        within(Duration::from_secs(10), || !answers(patient)),
        "the patient still runs"
    );
    // Files cannot be removed by who was killed.
    let data = only(&events, "opening", "platform")["data_dir"]
        .as_str()
        .unwrap()
        .to_owned();
    let directory = Path::new(&data).parent().unwrap();
    assert!(
        directory
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("cofferdam-demo-")
    );
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .arg("demo")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("--yes"), "{said}");
}
