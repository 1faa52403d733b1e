//! `cofferdam run` as people and scripts use it: what passes through, what does not, and what is left when somebody
//! or something dies.

use crate::{Up, cofferdam, told};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often something that takes time is looked for: for 20 seconds.
const LOOKS: u32 = 1_000;

/// Whether this machine has all walls; where the peers are insisted upon it has to.
pub(crate) fn able(directory: &Path) -> bool {
    let (code, out, err) = told(cofferdam(directory).args(["sandbox", "check"]).output().unwrap());
    let insisted = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some();
    assert!(code == 0 || !insisted, "walls are insisted upon: {out}{err}");
    if code != 0 {
        eprintln!("skipped: this machine lacks walls, see `cofferdam sandbox check`");
    }
    code == 0
}

/// A directory that users other than this one may enter.
pub(crate) fn place() -> tempfile::TempDir {
    let made = tempfile::Builder::new()
        .prefix("cofferdam-")
        .tempdir_in("/var/tmp")
        .unwrap();
    std::fs::set_permissions(made.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    made
}

/// `run` in `directory` with nothing to read.
fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = cofferdam(directory)
        .arg("run")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    told(output.unwrap())
}

fn sh(directory: &Path, arguments: &[&str], script: &str) -> (i32, String, String) {
    let all = [arguments, &["--", "sh", "-c", script]].concat();
    run(directory, &all)
}

/// A server that says `ok` to everybody, on an address that guests need a way to.
pub(crate) fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    address
}

/// Until `is` says so.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never: {what}");
}

/// Whether a process has `mark` as an argument, whoever's it is; that of `run` itself does not count.
fn lives(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.filter_map(Result::ok).any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.first().is_some_and(|first| first.ends_with(b"sleep")) && words.contains(&mark.as_bytes())
    })
}

/// A guest that sleeps for `mark` seconds, when it does.
fn sleeping(up: &Up, mark: &str) -> Child {
    let child = up
        .command(&["run", "--", "sleep", mark])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the guest runs", || lives(mark));
    child
}

/// The newest session, not counting what the platform tells people by.
fn newest(up: &Up) -> Value {
    let sessions = up.json(&["sessions", "list"]);
    let all = sessions.as_array().or(sessions["sessions"].as_array()).unwrap();
    let newest = all.iter().find(|one| one["agent"] != "cofferdam-notifier");
    newest.unwrap().clone()
}

#[test]
fn with_nothing_configured_a_program_runs_and_reaches_nothing() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    let server = server();
    #[rustfmt::skip]
    let table = [
        // the script, its exit status, what it prints
        ("echo out; echo err >&2; exit 3".to_owned(),                       3,  "out\n"),
        ("id -u; id -un".to_owned(),                                        0,  "1000\nguest\n"),
        ("echo made > made.txt; cat made.txt".to_owned(),                   0,  "made\n"),
        ("cat /etc/shadow 2>/dev/null || echo none".to_owned(),             0,  "none\n"),
        ("ls -A .cofferdam .cofferdam-keys .cofferdam-checkpoints | grep -v :".to_owned(), 0, "\n\n"),
        ("touch .cofferdam/x 2>/dev/null || echo refused".to_owned(),       0,  "refused\n"),
        ("echo \"$A_SECRET$COFFERDAM_TOKEN\"".to_owned(),                   0,  "\n"),
        (format!("curl -sS http://{server}/ -o /dev/null -w '%{{http_code}}'"), 0, "403"),
        (format!("curl -sS --noproxy '*' http://{server}/ 2>/dev/null || echo none"), 0, "none\n"),
        ("kill -9 $$".to_owned(),                                           137, ""),
    ];
    for (script, code, out) in table {
        let output = cofferdam(directory.path())
            .args(["run", "--", "sh", "-c", &script])
            .env("A_SECRET", "hidden")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (ended, printed, err) = told(output);
        assert_eq!((ended, printed.as_str()), (code, out), "{script}: {err}");
        assert!(
            err.contains("actions permitted") || err.contains("action permitted"),
            "{script}: {err}"
        );
    }
    assert_eq!(
        std::fs::read_to_string(directory.path().join("made.txt")).unwrap(),
        "made\n"
    );
}

#[test]
fn what_is_read_and_written_passes_through() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    let mut child = cofferdam(directory.path())
        .args(["run", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let given = "a line\n".repeat(100_000);
    let mut input = child.stdin.take().unwrap();
    let written = given.clone();
    let writer = std::thread::spawn(move || input.write_all(written.as_bytes()).unwrap());
    let (code, out, err) = told(child.wait_with_output().unwrap());
    writer.join().unwrap();
    assert_eq!(code, 0, "{err}");
    assert!(
        out == given,
        "{} bytes came through of {}",
        out.len(),
        given.len()
    );
}

#[test]
fn what_is_lent_can_be_reached_and_nothing_else() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    let (server, other) = (server(), server());
    let script = format!(
        "curl -sS http://{server}/; curl -sSp http://{server}/; curl -sS http://{other}/ -o /dev/null -w '%{{http_code}}'"
    );
    let allowed = server.to_string();
    let lent = ["--allow", &allowed, "--allow-network", "127.0.0.2/32"];
    let (code, out, err) = sh(up.path(), &lent, &script);
    assert_eq!((code, out.as_str()), (0, "okok403"), "{err}");
    let session = newest(&up)["id"].as_str().unwrap().to_owned();
    let line = format!("2 actions permitted, 1 denied; the record: cofferdam sessions show {session}\n");
    assert_eq!(err, line);
    let (_, shown, _) = up.run(&["sessions", "show", &session]);
    for part in [
        "sandbox.run",
        "permitted by rule `policy/built-in-guest#run`",
        "a read that `person:admin, for ",
        "permitted by rule `policy/built-in-guest#lent`",
        "no Egress rule of this agent lets requests to this host through",
        "nothing in the workspace changed",
    ] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    // An address that is named itself needs no network named.
    let (_, out, err) = sh(
        up.path(),
        &["--allow", &allowed],
        &format!("curl -sS http://{server}/"),
    );
    assert_eq!(out, "ok", "{err}");
}

/// What is learned can be applied as it is, for an agent that is there, and is then what that agent reaches.
#[test]
fn what_a_program_needs_is_learned() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    let server = server();
    let script = format!(
        "curl -sS http://{server}/v1/x -o /dev/null -w '%{{http_code}}'; curl -sSp http://{server}/ -o /dev/null -w '%{{http_code}}'"
    );
    let network = ["--allow-network", "127.0.0.2/32"];
    #[rustfmt::skip]
    let table = [
        // how, what comes of the requests, permitted and denied
        ("--learn",       "403000", "0 actions permitted, 2 denied"),
        ("--learn=deny",  "403000", "0 actions permitted, 2 denied"),
        ("--learn=allow", "200200", "2 actions permitted, 0 denied"),
    ];
    for (how, out, counted) in table {
        let (_, printed, err) = sh(up.path(), &[&[how], &network[..]].concat(), &script);
        assert_eq!(printed, out, "{how}: {err}");
        let counts = err.lines().find(|line| line.contains("actions permitted"));
        assert!(counts.unwrap().starts_with(counted), "{how}: {err}");
        let port = server.port();
        let flag = format!("# For one run: cofferdam run --allow 127.0.0.2:{port}");
        for part in [
            flag.as_str(),
            "kind: Egress",
            "clearText: true",
            "- /v1/x",
            "- my-agent",
        ] {
            assert!(err.contains(part), "{how}: no `{part}` in {err}");
        }
        let document = err
            .split_once("# What it asked")
            .unwrap()
            .1
            .replace("my-agent", "triage");
        std::fs::write(up.path().join("learned.yaml"), format!("#{document}")).unwrap();
        let (code, _, refused) = up.run(&["diff", "-f", "learned.yaml"]);
        assert_eq!(code, 0, "{how}: {refused}");
    }
    assert_eq!(up.run(&["apply", "-f", "learned.yaml"]).0, 0);
    let target = format!("127.0.0.2:{}", server.port());
    // It says that it would not be: the address is one of this machine, and no network is named.
    let (_, tested, _) = up.run(&["egress", "test", &target, "--agent", "triage"]);
    assert!(tested.contains("egress/learned#use-1"), "{tested}");
    // What is not of the Internet is not lent either.
    let (_, printed, err) = sh(up.path(), &["--learn=allow"], &script);
    assert_eq!(printed, "403000", "{err}");
    let (_, _, err) = sh(up.path(), &["--learn"], "true");
    assert!(err.ends_with("it asked nothing of the network\n"), "{err}");
}

#[test]
fn a_kill_ends_what_runs_and_nothing_starts_until_it_is_lifted() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    let guest = sleeping(&up, "86401");
    let (code, out, err) = up.run(&["kill", "--all", "--reason", "a drill"]);
    assert_eq!(code, 0, "{err}");
    assert!(!lives("86401"), "it lives after the kill was answered");
    assert!(format!("{out}{err}").contains("processes: 1 ended"), "{out}{err}");
    let (code, _, err) = told(guest.wait_with_output().unwrap());
    assert_eq!(code, 137, "{err}");
    assert!(
        err.starts_with("it was killed; 0 actions permitted, 0 denied"),
        "{err}"
    );
    assert_eq!(newest(&up)["state"], "cancelled");
    let (code, _, err) = run(up.path(), &["--", "true"]);
    assert_eq!(code, 1);
    assert!(err.contains("stopped by person:admin: a drill"), "{err}");
    assert_eq!(up.run(&["kill", "lift", "--all", "--reason", "over"]).0, 0);
    assert_eq!(run(up.path(), &["--", "true"]).0, 0);
}

#[test]
fn whoever_dies_leaves_nothing_running_and_a_record() {
    let mut up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    // The command, at once.
    let mut guest = sleeping(&up, "86402");
    guest.kill().unwrap();
    assert_eq!(guest.wait().unwrap().signal(), Some(9));
    until("the guest is dead", || !lives("86402"));
    until("its end is recorded", || newest(&up)["state"] == "cancelled");
    // The command, told to end.
    let guest = sleeping(&up, "86403");
    let told_to = Command::new("kill")
        .args(["-s", "INT", &guest.id().to_string()])
        .status();
    assert!(told_to.unwrap().success());
    let (code, _, err) = told(guest.wait_with_output().unwrap());
    assert_eq!(code, 137, "{err}");
    assert!(!lives("86403"));
    // The platform, at once.
    let guest = sleeping(&up, "86404");
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    let (code, _, err) = told(guest.wait_with_output().unwrap());
    assert_eq!(code, 1);
    assert!(err.contains("the platform went away"), "{err}");
    until("the guest is dead", || !lives("86404"));
    let directory = std::mem::replace(&mut up.directory, place());
    // It writes the starter configuration again.
    std::fs::remove_file(directory.path().join("cofferdam.yaml")).unwrap();
    let up = Up::start_with(directory, &[]);
    let last = newest(&up);
    assert_eq!(last["state"], "cancelled");
    assert_eq!(last["reason"], "the platform ended, and the guest with it");
    // The platform, told to end.
    let guest = sleeping(&up, "86405");
    let told_to = Command::new("kill").arg(up.child.id().to_string()).status();
    assert!(told_to.unwrap().success());
    let (code, _, err) = told(guest.wait_with_output().unwrap());
    assert_eq!(code, 137, "{err}");
    assert!(err.starts_with("it was killed"), "{err}");
    assert!(!lives("86405"));
}

/// Operators run things; what may be reached, and who acts, is said by administrators and documents.
#[test]
fn who_may_run_what() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    for role in ["operator", "viewer"] {
        let (_, token, err) = up.run(&["tokens", "create", "--person", role, "--role", role]);
        assert!(!token.is_empty(), "{err}");
        std::fs::write(up.path().join(role), token).unwrap();
    }
    #[rustfmt::skip]
    let table: [(&str, &[&str], i32, &str); 7] = [
        ("operator", &[],                                  0, "0 actions permitted"),
        ("viewer",   &[],                                  1, "needs the role operator"),
        ("viewer",   &["--agent", "triage"],               1, "there is no agent `triage`"),
        ("operator", &["--allow", "example.com:443"],      1, "need the role admin"),
        ("operator", &["--learn=allow"],                   1, "need the role admin"),
        ("operator", &["--agent", "cofferdam-notifier"],   1, "is the platform's own"),
        ("operator", &["--agent", "triage"],               1, "denied: autonomy level L1 is read-only here; what would change it: "),
    ];
    for (who, arguments, code, expected) in table {
        let all = [&["--token-file", who], arguments, &["--", "true"]].concat();
        let (ended, _, err) = run(up.path(), &all);
        assert_eq!(ended, code, "{who} {arguments:?}: {err}");
        assert!(err.contains(expected), "{who} {arguments:?}: {err}");
    }
}

/// A new agent asks for each change, and to run is one: a person decides, and the run goes on or ends.
#[test]
fn a_run_waits_for_the_person_who_decides() {
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    let file = up.path().join("cofferdam.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("    default: L1 "))
        .unwrap();
    let autonomy = "  autonomy: {default: L1, environments: {workspace: L3}}\n";
    let changed = text.replacen(&format!("  autonomy:\n{line}\n"), autonomy, 1);
    assert_ne!(changed, text);
    std::fs::write(&file, changed).unwrap();
    until("the file is followed", || {
        up.run(&["describe", "agent", "triage", "--output", "json"])
            .1
            .contains("workspace")
    });
    let (_, token, err) = up.run(&["tokens", "create", "--person", "bob", "--role", "approver"]);
    assert!(!token.is_empty(), "{err}");
    std::fs::write(up.path().join("bob"), token).unwrap();
    #[rustfmt::skip]
    let table = [
        // what is done, exit status, output, what is said
        ("approve", 0,   "ran\n", "0 actions permitted, 0 denied"),
        ("deny",    1,   "",      "was denied: not now"),
        ("kill",    1,   "",      "it was ended before it began"),
    ];
    for (does, code, out, said) in table {
        let child = up
            .command(&["run", "--agent", "triage", "--", "echo", "ran"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut approval = String::new();
        until("it asks", || {
            let listed = up.json(&["approvals", "list"]);
            let pending = listed
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["state"] == "pending");
            approval = pending
                .map(|one| one["id"].as_str().unwrap().to_owned())
                .unwrap_or_default();
            !approval.is_empty()
        });
        match does {
            "kill" => drop(up.run(&["kill", "--agent", "triage", "--reason", "halt"])),
            verdict => {
                let decided = up.run(&[
                    "approvals",
                    verdict,
                    &approval,
                    "--reason",
                    "not now",
                    "--token-file",
                    "bob",
                ]);
                assert_eq!(decided.0, 0, "{decided:?}");
            }
        }
        let (ended, printed, err) = told(child.wait_with_output().unwrap());
        assert_eq!((ended, printed.as_str()), (code, out), "{does}: {err}");
        assert!(
            err.contains(&format!(
                "cofferdam approvals show {approval} --server http://127.0.0.1:"
            )),
            "{err}"
        );
        assert!(err.contains(said), "{does}: {err}");
        let state = newest(&up)["state"].clone();
        assert_eq!(state == "completed", code == 0, "{does}: {state}");
    }
}

/// What lies in a directory may be anybody's: it makes no platform act.
#[test]
fn a_platform_that_is_started_trusts_nothing_that_lies_there() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    std::fs::write(directory.path().join("cofferdam.yaml"), "this is: [no document").unwrap();
    let (code, _, err) = run(directory.path(), &["--", "true"]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(
        directory.path(),
        &[
            "--config",
            "cofferdam.yaml",
            "--data-dir",
            "./other",
            "--",
            "true",
        ],
    );
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("cofferdam.yaml"), "{err}");
    let open = directory.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (code, _, err) = run(directory.path(), &["--data-dir", "open", "--", "true"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("is not this user's alone"), "{err}");
}

/// A run that found the platform of another is not ended by the end of that one.
#[test]
fn the_first_run_waits_for_those_that_found_its_platform() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    let started = |script: &str| {
        let mut command = cofferdam(directory.path());
        command
            .args(["run", "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut first = started("read line");
    until("the platform is there", || {
        directory.path().join(".cofferdam/run.sock").exists()
    });
    let mut second = started("echo runs > second; read line; echo second");
    until("the second runs", || directory.path().join("second").exists());
    first.stdin.take().unwrap().write_all(b"end\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(first.try_wait().unwrap().is_none(), "it ended before the other");
    second.stdin.take().unwrap().write_all(b"end\n").unwrap();
    let (code, out, err) = told(second.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (0, "second\n"), "{err}");
    assert_eq!(told(first.wait_with_output().unwrap()).0, 0);
}

#[test]
fn what_cannot_be_run_is_said_with_what_to_do() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    #[rustfmt::skip]
    let table: [(&[&str], i32, &str); 15] = [
        (&[],                                         2, "required arguments"),
        (&["--", "no-such-program"],                  1, "cannot execute `no-such-program`"),
        (&["--workspace", "/no/such", "--", "true"],  1, "the workspace `"),
        (&["--workspace", "/", "--", "true"],         1, "no directory that a guest can have"),
        (&["--allow", "example.com", "--", "true"],   1, "write HOST:PORT, as in api.github.com:443"),
        (&["--allow", "a b:443", "--", "true"],       1, "--allow: "),
        (&["--allow-network", "10.0.0.0/8", "--", "true"], 2, "name them with --allow"),
        (&["--read", ".cofferdam", "--", "true"],     1, "is the platform's own"),
        (&["--agent", "nobody", "--", "true"],        1, "there is no agent `nobody`"),
        (&["--timeout", "soon", "--", "true"],        2, "30d"),
        (&["--timeout", "8d", "--", "true"],          2, "7d at most"),
        (&["--memory", "1K", "--", "true"],           2, "16M at least"),
        (&["--degrade", "luck", "--", "true"],        2, "`luck` is no part"),
        (&["--env", "NOT_SET_HERE", "--", "true"],    2, "there is no such variable here"),
        (&["--read", "/no/such", "--", "true"],       1, "/no/such"),
    ];
    for (arguments, code, expected) in table {
        let (ended, out, err) = run(directory.path(), arguments);
        assert_eq!(ended, code, "{arguments:?}: {out}{err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    let (code, _, err) = run(directory.path(), &["--timeout", "1s", "--", "sleep", "60"]);
    assert_eq!(code, 137);
    assert!(err.starts_with("its time was over; "), "{err}");
}

/// `script` gives a real terminal; the guest gets one of its own.
#[test]
fn a_terminal_passes_through_and_is_put_back() {
    let directory = place();
    if !able(directory.path()) {
        return;
    }
    let binary = env!("CARGO_BIN_EXE_cofferdam");
    let inside = "test -t 0 && test -t 1 && stty size && read line && echo got-$line";
    let script =
        format!("stty rows 40 cols 123; stty -g; {binary} run -- sh -c '{inside}'; echo code=$?; stty -g");
    let mut child = Command::new("script")
        .args(["--quiet", "--flush", "--command", &script, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut shown = String::new();
    let mut bytes = [0; 4096];
    let mut typed = false;
    while let Ok(n @ 1..) = out.read(&mut bytes) {
        shown.push_str(&String::from_utf8_lossy(&bytes[..n]));
        if !typed && shown.contains("40 123") {
            keys.write_all(b"words\n").unwrap();
            typed = true;
        }
    }
    child.wait().unwrap();
    // What goes to a file goes there alone, and what is said of it to the terminal.
    let script = format!("{binary} run -- sh -c 'echo to-file; echo to-terminal >&2' > out.txt");
    let output = Command::new("script")
        .args(["--quiet", "--flush", "--command", &script, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output();
    let (_, said, _) = told(output.unwrap());
    assert!(
        said.contains("to-terminal") && !said.contains("to-file"),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(directory.path().join("out.txt")).unwrap(),
        "to-file\n"
    );
    let modes: Vec<&str> = shown
        .lines()
        .map(str::trim)
        .filter(|line| line.matches(':').count() > 20)
        .collect();
    assert!(shown.contains("got-words"), "{shown}");
    assert!(shown.contains("code=0"), "{shown}");
    assert_eq!(modes.len(), 2, "{shown}");
    assert_eq!(modes[0], modes[1]);
}
