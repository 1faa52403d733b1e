//! `cofferdam run --review`: what is shown of what a program changed, and what is in the workspace afterwards.

use crate::run_command::{able, place};
use crate::{Up, told};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Changes of every kind.
const SCRIPT: &str = "echo after > changed; rm removed; rm -r gone; mkdir -p new/deep; echo x > new/deep/file
    chmod 755 tool; ln -s /etc/passwd link; rm target; echo y > target; mkfifo pipe; rm -r swapped; mkdir swapped
    echo z > swapped/only; echo s > suid; chmod 4755 suid 2>/dev/null; rm -r was-dir; echo f > was-dir; rm was-file
    mkdir was-file; echo g > was-file/in; mkdir -m 700 closed; cat changed";

/// What there is before, and outside of it something that a link leads to.
fn prepare(directory: &Path) {
    for name in ["changed", "removed", "tool", "was-file", "kept"] {
        std::fs::write(directory.join(name), "before\n").unwrap();
    }
    for name in ["gone/deep", "swapped/deep", "was-dir/deep"] {
        std::fs::create_dir_all(directory.join(name)).unwrap();
        std::fs::write(directory.join(name).join("file"), "before\n").unwrap();
    }
    symlink("/etc/hostname", directory.join("target")).unwrap();
}

/// Every path with what it is and what is in it; nothing of the platform's.
fn all(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            if name.starts_with(".cofferdam") {
                continue;
            }
            let metadata = path.symlink_metadata().unwrap();
            let mode = metadata.mode() & 0o7777;
            found.push(if metadata.is_dir() {
                open.push(path);
                format!("{name}/ {mode:o}")
            } else if metadata.is_symlink() {
                format!("{name} -> {}", path.read_link().unwrap().display())
            } else {
                format!(
                    "{name} {mode:o} {}",
                    std::fs::read_to_string(&path).unwrap().trim()
                )
            });
        }
    }
    found.sort();
    found
}

#[test]
fn changes_are_kept_or_discarded_as_was_said() {
    let before = |directory: &Path| {
        prepare(directory);
        all(directory)
    };
    let kept = [
        "changed 644 after",
        "closed/ 700",
        "kept 644 before",
        "link -> /etc/passwd",
        "new/ 755",
        "new/deep/ 755",
        "new/deep/file 644 x",
        "suid 644 s",
        "swapped/ 755",
        "swapped/only 644 z",
        "target 644 y",
        "tool 755 before",
        "was-dir 644 f",
        "was-file/ 755",
        "was-file/in 644 g",
    ];
    #[rustfmt::skip]
    let table = [
        // how, whether it is kept, what is said
        ("--review=keep",    true,  "its changes are kept; 0 actions permitted"),
        ("--review=discard", false, "its changes are discarded; 0 actions permitted"),
        ("--review",         false, "there is no terminal to ask at, so nothing is kept; --review=keep keeps\n"),
    ];
    for (how, is_kept, said) in table {
        let directory = place();
        if !able(directory.path()) {
            return;
        }
        let there = before(directory.path());
        // Without a terminal, whatever the test has.
        let output = Command::new("setsid")
            .args([
                "--wait",
                env!("CARGO_BIN_EXE_cofferdam"),
                "run",
                how,
                "--",
                "sh",
                "-c",
                SCRIPT,
            ])
            .current_dir(directory.path())
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .output();
        let (code, out, err) = told(output.unwrap());
        assert_eq!((code, out.as_str()), (0, "after\n"), "{how}: {err}");
        let now = all(directory.path());
        match is_kept {
            true => assert_eq!(now, kept, "{how}: {err}"),
            false => assert_eq!(now, there, "{how}: {err}"),
        }
        assert!(err.contains(said), "{how}: {err}");
        for shown in [
            "  A new/deep/file\n",
            "  D removed\n",
            "  D gone\n",
            "  A link -> /etc/passwd\n",
            "  M target\n",
            "  M tool (mode 644 → 755)\n",
            "  M swapped/ (what was there is gone)\n",
            "  - pipe (a pipe or a socket: it is never kept)\n",
            "--- a/changed\n+++ b/changed\n@@ -1 +1 @@\n-before\n+after\n",
        ] {
            assert!(err.contains(shown), "{how}: {shown}: {err}");
        }
        assert_eq!(
            std::fs::read_dir("/var/tmp").unwrap().filter(left).count(),
            0,
            "{how}"
        );
    }
}

/// Whether a directory of changes was left behind by nobody who runs.
fn left(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    let entry = entry.as_ref().unwrap();
    let is_review = entry
        .file_name()
        .to_string_lossy()
        .starts_with("cofferdam-review-");
    // Other tests have theirs at the same time.
    let age = entry
        .metadata()
        .and_then(|found| found.modified())
        .map(|at| at.elapsed());
    is_review && age.is_ok_and(|age| age.is_ok_and(|age| age.as_secs() > 300))
}

/// An agent that may only look runs all the same, and what it would change is not made.
#[test]
fn to_keep_is_an_action_of_its_own() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    #[rustfmt::skip]
    let table: [(&[&str], i32, &str, &str); 2] = [
        (&[],                    0, "action.permitted", "its changes are kept; "),
        (&["--agent", "triage"], 1, "action.denied",    "its changes are not kept: denied: autonomy level L1 is read-only here; \
                                            what would change it: "),
    ];
    for (agent, code, kind, said) in table {
        let is_kept = code == 0;
        let all = [
            &["run", "--review=keep"],
            agent,
            &["--", "sh", "-c", "echo x > made"],
        ]
        .concat();
        let (ended, _, err) = up.run(&all);
        assert_eq!(ended, code, "{agent:?}: {err}");
        assert!(err.contains(said), "{agent:?}: {err}");
        assert_eq!(up.path().join("made").exists(), is_kept, "{agent:?}");
        let (_, entries, err) = up.run(&["audit", "tail", "--output", "json", "-n", "50"]);
        let is_it = |line: &&str| line.contains("sandbox.keep") && line.contains(kind);
        assert_eq!(
            entries.lines().filter(is_it).count(),
            1,
            "{agent:?}: {entries}{err}"
        );
        if is_kept {
            std::fs::remove_file(up.path().join("made")).unwrap();
        }
    }
}

/// `cofferdam run --review` at a terminal, until it asks.
struct Asked {
    child: Child,
    keys: std::process::ChildStdin,
    shown: String,
}

fn asked(up: &Up, script: &str) -> Asked {
    let binary = env!("CARGO_BIN_EXE_cofferdam");
    let line = format!("{binary} run --review -- sh -c '{script}'; echo code=$?");
    let mut child = Command::new("script")
        .args(["--quiet", "--flush", "--command", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("COFFERDAM_SERVER", &up.url)
        .current_dir(up.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut shown = String::new();
    let mut bytes = [0; 4096];
    while !shown.contains("[y/N]") {
        let read = out.read(&mut bytes).unwrap();
        assert_ne!(read, 0, "{shown}");
        shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let keys = child.stdin.take().unwrap();
    child.stdout = Some(out);
    Asked { child, keys, shown }
}

#[test]
fn whoever_is_asked_decides_about_what_they_saw() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    #[rustfmt::skip]
    let table = [
        // what happens, what is typed, what is said, what is in the file then
        ("",       "y\n", "its changes are kept; ",      "after\n"),
        ("",       "n\n", "its changes are discarded; ", "before\n"),
        ("",       "\n",  "its changes are discarded; ", "before\n"),
        ("edited", "y\n", "its changes are not kept: `file` was changed by somebody else meanwhile; ", "theirs\n"),
        ("killed", "",    "its changes are discarded; ", "before\n"),
    ];
    let file = up.path().join("file");
    for (happens, typed, said, then) in table {
        std::fs::write(&file, "before\n").unwrap();
        let mut asked = asked(&up, "echo after > file");
        assert!(asked.shown.contains("+after"), "{}", asked.shown);
        match happens {
            "edited" => std::fs::write(&file, "theirs\n").unwrap(),
            "killed" => {
                let (code, _, err) = up.run(&["kill", "--all", "--reason", "a drill"]);
                assert_eq!(code, 0, "{err}");
            }
            _ => {}
        }
        asked.keys.write_all(typed.as_bytes()).unwrap();
        let mut rest = String::new();
        asked
            .child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut rest)
            .unwrap();
        assert!(asked.child.wait().unwrap().success());
        assert!(rest.contains(said), "{happens} {typed:?}: {rest}");
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            then,
            "{happens} {typed:?}"
        );
        if happens == "killed" {
            let (code, _, err) = up.run(&["kill", "lift", "--all", "--reason", "over"]);
            assert_eq!(code, 0, "{err}");
        }
    }
}
