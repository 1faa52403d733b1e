//! `cofferdam drill` as people and scripts use it: every attack is there, all are held here, what is touched outside
//! is found, and nothing is left.

use crate::run_command::{able, place, until};
use crate::{Up, cofferdam, interrupt, run, told};
use serde_json::Value;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What nobody promises, wherever it runs.
const OPAQUE: [&str; 4] = ["files.shown", "later.work", "gate.tunnel", "gate.rebinding"];

/// `drill` whose temporary files are all in `directory`.
fn drill(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = cofferdam(directory);
    let temporary = directory.join("temporary");
    std::fs::create_dir_all(&temporary).unwrap();
    command.arg("drill").args(arguments).env("TMPDIR", temporary);
    command.stderr(Stdio::piped());
    command
}

/// What a drill left of what it made in the directory that it was given. What lies elsewhere is looked for where its name
/// is known: `what_is_attacked_is_gone_with_the_drill` of `sandbox`.
fn left(directory: &Path) -> Vec<PathBuf> {
    let here = std::fs::read_dir(directory.join("temporary")).unwrap();
    here.map(|entry| entry.unwrap().path()).collect()
}

fn ids<'a>(found: &'a Value, verdict: &str) -> Vec<&'a str> {
    let findings = found["findings"].as_array().unwrap().iter();
    let of = findings.filter(|finding| finding["verdict"] == verdict);
    of.map(|finding| finding["id"].as_str().unwrap()).collect()
}

/// An attack that is missing, or that somebody else is said to stop, shows as a difference in this file.
/// `UPDATE_GOLDEN=1` writes it.
#[test]
fn every_attack_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let (code, out, err) = run(directory.path(), &["drill", "--list", "--output", "json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let listed: Value = serde_json::from_str(&out).unwrap();
    let mut text =
        "# Attacks of `cofferdam drill`, and the parts each of which claims to stop it alone.\n".to_owned();
    for attack in listed.as_array().unwrap() {
        let walls: Vec<&str> = attack["walls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_str().unwrap())
            .collect();
        let by = match (attack["opaque"].is_string(), walls.is_empty()) {
            (true, _) => "-".to_owned(),
            (_, true) => attack["by"].as_str().unwrap().to_owned(),
            _ => walls.join(" "),
        };
        text += &format!("{:<26} {by}\n", attack["id"].as_str().unwrap());
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/drill.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&golden).unwrap());
}

#[test]
fn all_attacks_are_held_and_nothing_is_left() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    let output = drill(directory.path(), &["--output", "json"]).output().unwrap();
    let (code, out, err) = told(output);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(ids(&found, "broken"), Vec::<&str>::new());
    assert_eq!(ids(&found, "not_guaranteed"), OPAQUE);
    let held = ids(&found, "held").len();
    assert_eq!(found["score"]["held"], held);
    assert!(held >= 90, "{held}");
    // What it started it threw away, in a place of its own.
    assert_eq!(found["recorded"], false);
    assert!(!found["sessions"].as_array().unwrap().is_empty());
    assert_eq!(left(directory.path()), Vec::<PathBuf>::new());
    assert!(!directory.path().join(".cofferdam").exists());
}

#[test]
fn on_a_platform_that_runs_it_is_recorded() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    let only = [
        "--only",
        "gate.private",
        "--only",
        "files.workspace",
        "--only",
        "life.launcher",
    ];
    let (code, out, err) = told(drill(up.path(), &only).output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines.last(),
        Some(&"2 of 3 attacks held, 0 not guaranteed, 1 not tried"),
        "{out}"
    );
    for part in [
        "✓  files.workspace",
        "✓  gate.private",
        "?  life.launcher",
        "it would end every guest of the platform",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let session = out
        .split("cofferdam sessions show ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let (_, shown, _) = up.run(&["sessions", "show", session]);
    for part in [
        "__attack files.workspace gate.private",
        "sandbox.run",
        "which is a loopback address",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(left(up.path()), Vec::<PathBuf>::new());
}

/// What is touched outside counts, whatever the attacker says; here the test has a hand in it.
#[test]
fn what_is_touched_outside_is_broken() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    let child = drill(directory.path(), &["--only", "gate.slow"]).spawn().unwrap();
    let mut outside = PathBuf::new();
    until("what is attacked is there", || {
        let made = std::fs::read_dir(directory.path().join("temporary")).unwrap();
        let mut made = made.map(|entry| entry.unwrap().path().join("outside"));
        made.find(|path| path.join("engine.sock").exists())
            .is_some_and(|found| {
                outside = found;
                true
            })
    });
    std::fs::write(outside.join("new"), "").unwrap();
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    for part in [
        "✗  gate.slow",
        "`new` was made outside",
        "why it matters: who holds every connection",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(
        out.ends_with("\n0 of 1 attacks held, 0 not guaranteed\n"),
        "{out}"
    );
}

#[test]
fn what_is_given_up_is_not_guaranteed() {
    let directory = place();
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !able(directory.path()) || !is_root {
        return;
    }
    // Somebody else, who has no cgroups.
    const SOMEBODY: u32 = 54_321;
    std::os::unix::fs::chown(directory.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let program = directory.path().join("cofferdam");
    std::fs::copy(env!("CARGO_BIN_EXE_cofferdam"), &program).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("drill").args(arguments).current_dir(directory.path());
        command
            .env("HOME", directory.path())
            .env("TMPDIR", directory.path());
        told(
            command
                .uid(SOMEBODY)
                .gid(SOMEBODY)
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    };
    let only = ["--only", "resources.memory", "--only", "files.workspace"];
    let (code, out, err) = run(&only);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("`memory_limit` cannot be enforced here"), "{err}");
    let degraded = [
        "--degrade",
        "memory_limit",
        "--degrade",
        "process_count",
        "--degrade",
        "cpu_limit",
    ];
    let (code, out, err) = run(&[&only[..], &degraded].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for part in [
        "–  resources.memory",
        "without memory_limit: ",
        "it works: `memory ",
        "get it: run the platform as root, or give it a cgroup",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(
        out.ends_with("\n1 of 1 attacks held, 1 not guaranteed\n"),
        "{out}"
    );
    // Of which nothing is held, nothing is shown.
    assert_eq!(run(&[&only[..2], &degraded].concat()).0, 1);
}

#[test]
fn misuse_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let (code, out, err) = run(directory.path(), &["drill", "--only", "everything"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.contains("`everything` is no attack and no area; `cofferdam drill --list` names them"),
        "{err}"
    );
    // What runs in guests has nothing to attack outside of one.
    let (code, out, err) = run(directory.path(), &["__attack", "files.shadow"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("there is nothing here to call"), "{err}");
}

#[test]
fn an_interrupted_drill_leaves_nothing() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    let child = drill(directory.path(), &["--only", "gate.slow"]).spawn().unwrap();
    let marked = |id: u32| {
        let children = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        children
            .filter(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
                line.windows(8).any(|word| word == b"__attack")
                    && (id == 0 || status.contains(&format!("PPid:\t{id}\n")))
            })
            .count()
    };
    until("it attacks", || {
        marked(child.id()) > 0 && !left(directory.path()).is_empty()
    });
    interrupt(&child);
    let (code, _, err) = told(child.wait_with_output().unwrap());
    assert_eq!(code, 1);
    assert!(
        err.contains("it was interrupted; nothing is left behind"),
        "{err}"
    );
    assert_eq!(left(directory.path()), Vec::<PathBuf>::new());
}
