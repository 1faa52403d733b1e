//! The command line against `cofferdam up`, as scripts and people use it: what it prints, where, and
//! with which exit code.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests; clippy sees only the functions marked so"
)]

#[path = "cli/contained.rs"]
mod contained;
#[path = "cli/drill.rs"]
mod drill;
#[path = "cli/exec.rs"]
mod exec;
#[path = "cli/guests.rs"]
mod guests;
#[path = "cli/policies.rs"]
mod policies;
#[path = "cli/review.rs"]
mod review;
#[path = "cli/run.rs"]
mod run_command;
#[path = "cli/sdk.rs"]
mod sdk;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A running `cofferdam up` in a directory of its own, with the starter configuration.
struct Up {
    child: Child,
    url: String,
    directory: tempfile::TempDir,
}

impl Up {
    fn start() -> Up {
        Up::start_with(tempfile::tempdir().unwrap(), &[])
    }

    /// In `directory`, which gets the starter configuration too, with these arguments of `up`.
    fn start_with(directory: tempfile::TempDir, arguments: &[&str]) -> Up {
        Up::start_where(directory, arguments, &[])
    }

    /// The same, with these variables.
    fn start_where(directory: tempfile::TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Up {
        let git = Command::new("git")
            .args(["init", "--quiet"])
            .current_dir(directory.path())
            .status()
            .unwrap();
        assert!(git.success());
        assert_eq!(run(directory.path(), &["init"]).0, 0);
        let mut child = cofferdam(directory.path())
            .args(["up", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("listening on ")
                    .map(|(_, url)| url.trim().to_owned())
            })
            .unwrap();
        std::thread::spawn(move || lines.count());
        Up {
            child,
            url,
            directory,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = cofferdam(self.path());
        command.args(arguments).env("COFFERDAM_SERVER", &self.url);
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        told(self.command(arguments).output().unwrap())
    }

    /// Standard output as JSON, of a command that has to end well.
    fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
    }

    fn stop(mut self) -> tempfile::TempDir {
        interrupt(&self.child);
        assert!(self.child.wait().unwrap().success());
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cofferdam(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command
        .current_dir(directory)
        .env_remove("COFFERDAM_SERVER")
        .env_remove("COFFERDAM_TOKEN_FILE");
    command
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    told(
        cofferdam(directory)
            .args(arguments)
            .stderr(Stdio::piped())
            .output()
            .unwrap(),
    )
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

fn interrupt(child: &Child) {
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn every_command_says_what_it_should_and_how_it_ended() {
    let up = Up::start();
    #[rustfmt::skip]
    let table: &[(&str, i32, &str, &str)] = &[
        // command                                       code  on stdout               on stderr
        ("health",                                       0,    "healthy",              ""),
        ("get agents",                                   0,    "triage",               ""),
        ("get agent triage --output yaml",               0,    "kind: Agent",          ""),
        ("get agent nobody",                             1,    "",                     "nobody"),
        ("get schedules",                                  2,    "",                     "`schedules` is no kind"),
        ("describe policy defaults",                     0,    "changes-are-proposed", ""),
        ("delete agent triage",                          1,    "",                     "owned by the configuration directory"),
        ("diff -f cofferdam.yaml",                       0,    "nothing changes",      ""),
        ("apply -f missing.yaml",                        1,    "",                     "missing.yaml"),
        ("tokens list",                                  0,    "person:",              ""),
        ("tokens revoke tok-999",                        1,    "",                     "tok-999"),
        ("tokens create --person a --trigger b",         2,    "",                     "cannot be used with"),
        ("sessions list",                                0,    "no sessions",          ""),
        ("sessions show ses-999",                        1,    "",                     "ses-999"),
        ("sessions cancel ses-999 --reason x",           1,    "",                     "ses-999"),
        ("sessions watch ses-999",                       1,    "",                     "ses-999"),
        ("sessions resolve ses-999 --not-done --reason x", 1,  "",                     "ses-999"),
        ("incidents list",                               0,    "no incidents",         ""),
        ("incidents show INC-2000-0101-001",             1,    "",                     "INC-2000-0101-001"),
        ("approvals list",                               0,    "no approvals",         ""),
        ("approvals approve apr-999",                    1,    "",                     "apr-999"),
        ("approvals deny ../../tokens --reason x",       1,    "",                     "tokens"),
        ("explain git.log:repository/service --as triage", 0,  "permit",               ""),
        ("explain git.propose:repository/service --as triage --env production --arg k=v", 0, "what would change it", ""),
        ("explain nothing --as triage",                  2,    "",                     "VERB:RESOURCE"),
        ("explain a:b --as nobody",                      1,    "",                     "no agent `nobody`"),
        ("kill --agent triage --reason drill",           0,    "stopped agent:triage", ""),
        ("kill list",                                    0,    "drill",                ""),
        ("explain git.log:repository/service --as triage", 0,  "deny",                 ""),
        ("kill lift --agent triage --reason over",       0,    "lifted",               ""),
        ("kill lift --agent triage --reason over",       1,    "",                     "agent:triage"),
        ("kill --agent nobody --reason slip",            1,    "stopped agent:nobody", "there is no agent:nobody"),
        ("kill --session ses-999 --reason slip",         1,    "stopped session",      "there is no session:ses-999"),
        ("kill lift --agent nobody --reason slip",       0,    "lifted",               ""),
        ("kill --reason x",                              2,    "",                     "required"),
        ("audit tail -n 2",                              0,    "stop.lifted",          ""),
        ("audit tail --kind stop -n 5",                  0,    "stop.raised",          ""),
        ("audit show 0",                                 0,    "log.opened",           ""),
        ("audit show 99999",                             1,    "",                     "99999"),
        ("audit verify",                                 0,    "honest",               ""),
        ("audit verify --data-dir .cofferdam",           0,    "honest",               ""),
        ("audit verify --data-dir nowhere",              1,    "",                     "no data directory"),
        ("audit verify --against cofferdam.yaml",        1,    "",                     "holds no checkpoints"),
        ("audit export --jsonl",                         0,    "log.opened",           ""),
        ("audit export --tiles out",                     2,    "",                     "--data-dir"),
        ("audit export --tiles out --data-dir .cofferdam", 0,  "out",                  ""),
        ("journal rebuild --data-dir .cofferdam",        1,    "",                     "in use by another process"),
        ("completions bash",                             0,    "_cofferdam()",         ""),
        ("validate",                                     0,    "is valid",             ""),
        ("init",                                         1,    "",                     "exists"),
        ("--token-file missing health",                  1,    "",                     "cannot read the token file `missing`"),
        ("--token-file cofferdam.yaml health",           1,    "",                     "error:"),
        ("--server http://127.0.0.1:1 health",           3,    "",                     "cannot reach the server"),
        ("--server 127.0.0.1:7400 health",               2,    "",                     "is not a server"),
        ("nonsense",                                     2,    "",                     "unrecognized"),
    ];
    for (line, code, out, err) in table {
        let told = up.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(told.0, *code, "{line}: {told:?}");
        assert!(told.1.contains(out) && told.2.contains(err), "{line}: {told:?}");
        assert_eq!(
            told.1.is_empty(),
            out.is_empty(),
            "{line}: data goes to standard output alone: {told:?}"
        );
    }
}

/// What only the server can find is told with its place in the file all the same.
#[test]
fn what_the_server_refuses_points_into_the_file() {
    let up = Up::start();
    let text = "apiVersion: cofferdam.dev/v1
kind: Trigger
metadata: {name: extra}
spec:
  source: alertmanager
  agent: nobody
---
apiVersion: cofferdam.dev/v1
kind: Policy
metadata: {name: broken}
spec:
  rules:
    - {name: bad, when: \"action.verb ==\", outcome: deny, reason: x}
";
    std::fs::write(up.path().join("bad.yaml"), text).unwrap();
    for command in ["apply", "diff"] {
        let (code, out, err) = up.run(&[command, "--file", "bad.yaml"]);
        assert_eq!((code, out.as_str()), (1, ""), "{command}: {err}");
        for expected in [
            "bad.yaml:6:10: there is no Agent `nobody`",
            "6 |   agent: nobody",
            "bad.yaml:13:7: rule `",
        ] {
            assert!(err.contains(expected), "{command}: no `{expected}` in: {err}");
        }
    }
}

#[test]
fn a_secret_stands_alone_on_standard_output() {
    let up = Up::start();
    let (code, secret, told) = up.run(&[
        "tokens",
        "create",
        "--person",
        "alice",
        "--role",
        "viewer",
        "--expires-in",
        "1h",
    ]);
    assert_eq!(code, 0, "{told}");
    assert!(
        secret.starts_with("cfd_") && secret.trim().len() == 47,
        "{secret}"
    );
    assert!(!told.contains(secret.trim()), "{told}");
    std::fs::write(up.path().join("alice"), &secret).unwrap();
    assert_eq!(up.run(&["--token-file", "alice", "incidents", "list"]).0, 0);
    let (code, _, told) = up.run(&["--token-file", "alice", "tokens", "list"]);
    assert_eq!(code, 1, "{told}");
    assert!(
        !up.run(&["tokens", "list", "--output", "json"])
            .1
            .contains(secret.trim())
    );
}

/// An alert whose texts try to move the cursor, to begin a row and to hide a word.
const HOSTILE: &str = r#"{"version": "4", "status": "firing", "receiver": "r", "groupKey": "g", "truncatedAlerts": 0,
    "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
    "alerts": [{"status": "firing", "fingerprint": "00112233aabbccdd", "generatorURL": "",
        "labels": {"alertname": "High\u001b[2JErrorRate\u202e", "severity": "critical", "instance": "a\nb:1"},
        "annotations": {"summary": "\u001b]0;owned\u0007 half of all \u200brequests fail"},
        "startsAt": "2026-11-21T05:00:00Z", "endsAt": "0001-01-01T00:00:00Z"}]}"#;

fn notify(up: &Up) {
    let (_, secret, _) = up.run(&["tokens", "create", "--trigger", "alertmanager"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let status = runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http
            .post(format!("{}/hooks/alertmanager", up.url))
            .bearer_auth(secret.trim());
        request.body(HOSTILE).send().await.unwrap().status()
    });
    assert!(status.is_success(), "{status}");
}

#[test]
fn incidents_are_an_array_that_scripts_can_read_and_alert_text_does_nothing_to_a_terminal() {
    let up = Up::start();
    assert_eq!(up.json(&["incidents", "list"]), serde_json::json!([]));
    notify(&up);
    let mut incident = Value::Null;
    for _ in 0..200 {
        incident = up.json(&["incidents", "list"])[0].clone();
        if incident["summary"].is_object() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(incident["severity"], "critical");
    assert!(incident["summary"]["observations"].is_array(), "{incident}");
    let (id, session) = (
        incident["id"].as_str().unwrap(),
        incident["sessions"][0].as_str().unwrap(),
    );
    for arguments in [
        vec!["incidents", "list"],
        vec!["incidents", "show", id],
        vec!["sessions", "list"],
        vec!["sessions", "show", session],
        vec!["sessions", "watch", session],
        vec!["audit", "tail", "-n", "100"],
        vec!["audit", "show", "9"],
        vec!["audit", "show", "10"],
    ] {
        for columns in ["80", "120"] {
            let (code, out, err) = told(up.command(&arguments).env("COLUMNS", columns).output().unwrap());
            assert_eq!(code, 0, "{arguments:?}: {err}");
            let hidden = |c: char| (c.is_control() && c != '\n') || ['\u{202e}', '\u{200b}'].contains(&c);
            assert!(!out.contains(hidden), "{arguments:?} at {columns}: {out:?}");
            let tables = ["list", "watch", "tail"].contains(&arguments[1]) || arguments[0] == "sessions";
            let wide = out
                .lines()
                .find(|line| line.chars().count() > columns.parse().unwrap());
            assert!(!tables || wide.is_none(), "{arguments:?} at {columns}: {wide:?}");
        }
    }
    let coloured = up.run(&["--color", "always", "incidents", "list"]).1;
    assert!(coloured.contains("\u{1b}["), "{coloured:?}");
}

#[test]
fn what_the_starter_says_is_meant_and_an_agent_that_tells_nobody_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let lint = || {
        run(
            directory.path(),
            &["policy", "lint", "cofferdam.yaml", "--output", "json"],
        )
    };
    assert_eq!(run(directory.path(), &["init"]).0, 0);
    let (code, found, said) = lint();
    assert_eq!((code, said.as_str()), (0, ""), "{found}");

    let file = directory.path().join("cofferdam.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let named = "  channels: [log]               # who is told";
    assert!(text.contains(named));
    std::fs::write(&file, text.replace(named, "  # who is told")).unwrap();
    let (code, found, _) = lint();
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (code, &found["findings"][0]["code"]),
        (1, &Value::from("untold")),
        "{found}"
    );
    assert_eq!(found["findings"][0]["rule"], "agent/triage");
    assert_eq!(found["findings"].as_array().map(Vec::len), Some(1), "{found}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let up = Up::start();
    let mut child = up
        .command(&["audit", "tail", "-f", "-n", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    drop(out);
    // The next entry is written to nobody.
    assert_eq!(up.run(&["kill", "--agent", "triage", "--reason", "x"]).0, 0);
    let (code, _, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_journal_verifies_offline_until_somebody_changes_it() {
    let up = Up::start();
    let proof = up.json(&["audit", "prove", "2"]);
    let directory = up.stop();
    let here = directory.path();
    assert_eq!(run(here, &["audit", "verify", "--data-dir", ".cofferdam"]).0, 0);
    assert_eq!(run(here, &["journal", "rebuild"]).0, 0);
    assert_eq!(run(here, &["journal", "replace-key"]).0, 0);
    assert_eq!(run(here, &["audit", "verify", "--data-dir", ".cofferdam"]).0, 0);
    let public = [
        "audit",
        "verify",
        "--data-dir",
        ".cofferdam",
        "--key",
        proof["vkey"].as_str().unwrap(),
    ];
    let (code, out, err) = run(here, &public);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("left out"), "{out}");

    std::fs::write(here.join("proof.json"), proof.to_string()).unwrap();
    let vkey = proof["vkey"].as_str().unwrap();
    let other = Up::start().json(&["audit", "prove", "0"])["vkey"]
        .as_str()
        .unwrap()
        .to_owned();
    for (arguments, code) in [
        (vec![], 0),
        (vec!["--key", vkey], 0),
        (vec!["--key", &other], 1),
        (vec!["--key", "x"], 2),
    ] {
        let told = run(
            here,
            &[&["audit", "check", "proof.json"], arguments.as_slice()].concat(),
        );
        assert_eq!(told.0, code, "{arguments:?}: {told:?}");
    }

    let database = here.join(".cofferdam/journal.db");
    let mut bytes = std::fs::read(&database).unwrap();
    // In a leaf, and nowhere else.
    let needle = b"\"body\":{\"generation\"";
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[at + 10] ^= 1;
    std::fs::write(&database, bytes).unwrap();
    let (code, out, err) = run(here, &["audit", "verify", "--data-dir", ".cofferdam"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("ALTERED") && out.contains("entry "), "{out}{err}");
    let (code, out, _) = run(
        here,
        &["audit", "verify", "--data-dir", ".cofferdam", "--output", "json"],
    );
    assert_eq!(code, 1);
    let verdict: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(verdict["verified"], false);
}

/// Whatever the machine, each part is either enforced by something or missing with its cost and its remedy, and
/// the exit code says which.
#[test]
fn what_this_machine_can_enforce_is_told_part_by_part() {
    let directory = tempfile::tempdir().unwrap();
    let (code, out, err) = run(directory.path(), &["sandbox", "check", "--output", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let (enforced, missing) = (&told["enforced"], told["missing"].as_object().unwrap());
    assert_eq!(code, i32::from(!missing.is_empty()), "{out}");
    for part in sandbox::Part::ALL {
        let name = serde_json::to_value(part).unwrap();
        let name = name.as_str().unwrap();
        let by = enforced[name].as_str().is_some_and(|by| !by.is_empty());
        let lacks = missing.get(name).is_some_and(|lack| {
            ["why", "lost", "remedy"]
                .iter()
                .all(|key| lack[key].as_str().is_some_and(|text| !text.is_empty()))
        });
        assert!(by != lacks, "{name}: {out}");
    }
    // Typed by a person, what the platform starts for itself does nothing.
    let (code, out, err) = run(directory.path(), &["__sandbox"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("there is nothing here to call"), "{err}");
}
