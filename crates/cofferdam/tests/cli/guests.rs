//! Agents that others wrote, behind the walls: the examples of `examples/guests`, copied and run as their README says,
//! with a model that plays by a script and a server that says `ok` in the place of Prometheus.
//!
//! `scripts/setup-guests` installs them. The large ones are run where `COFFERDAM_GUESTS=1`, and are skipped with a
//! printed line elsewhere.

use crate::run_command::{able, place, server, until};
use crate::{Up, told};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// What lies outside of the workspace.
const CANARY: &str = "canary-4711";
/// Where nobody may go, with TLS and without.
const FORBIDDEN: [&str; 2] = ["http://169.254.169.254/latest/meta-data/", "https://example.com/"];
/// What the README of the examples says of both.
const MODEL_PORT: &str = "11434";
const PROMETHEUS_PORT: &str = "9090";

/// One of `examples/guests`.
struct Guest {
    name: &'static str,
    /// Further arguments of `run`.
    further: &'static [&'static str],
    /// What it shows of a refused tunnel.
    tunnel: &'static str,
    /// Hosts that it asks for by itself, as pinned. None is allowed.
    own: &'static [&'static str],
    /// Whether the model speaks TLS, which the rule has opened.
    tls: bool,
    /// Whether the model is a `Model` of the gateway, and no host that it may reach.
    gateway: bool,
}

/// Clients show the line of the answer, or its status alone.
const LINE: &str = "no Egress document lets agent";
const STATUS: &str = "CONNECT tunnel failed, response 403";

#[rustfmt::skip]
const OPENAI: Guest = Guest { name: "openai", further: &[], tunnel: LINE, own: &[], tls: false, gateway: false };
#[rustfmt::skip]
const LANGGRAPH: Guest = Guest { name: "langgraph", further: &[], tunnel: LINE, own: &[], tls: false, gateway: false };
#[rustfmt::skip]
const AUTOGEN: Guest = Guest { name: "autogen", further: &[], tunnel: LINE, own: &[], tls: false, gateway: false };
#[rustfmt::skip]
const CREWAI: Guest = Guest { name: "crewai", further: &[], tunnel: LINE, own: &["telemetry.crewai.com:4319"], tls: false, gateway: false };
#[rustfmt::skip]
const OPENCLAW: Guest = Guest { name: "openclaw", further: &["--env", "OPENCLAW_CHILD_OOM_SCORE_ADJ=0"], tunnel: STATUS, own: &[], tls: false, gateway: false };
#[rustfmt::skip]
const CODEX: Guest = Guest { name: "codex", further: &[], tunnel: STATUS, own: &["chatgpt.com:443"], tls: false, gateway: false };

#[test]
fn guest_openai() {
    check(&OPENAI);
}

/// As it would reach a model on the Internet, with every request seen.
#[test]
fn guest_openai_over_tls() {
    check(&Guest { tls: true, ..OPENAI });
}

#[test]
fn guest_openai_through_the_gateway() {
    check(&Guest {
        gateway: true,
        ..OPENAI
    });
}

#[test]
fn guest_openai_is_stopped_by_its_budget() {
    stopped(&OPENAI, "openai.RateLimitError: Error code: 429");
}

#[test]
fn guest_langgraph() {
    check(&LANGGRAPH);
}

#[test]
fn guest_langgraph_through_the_gateway() {
    check(&Guest {
        gateway: true,
        ..LANGGRAPH
    });
}

#[test]
fn guest_langgraph_is_stopped_by_its_budget() {
    stopped(&LANGGRAPH, "openai.RateLimitError: Error code: 429");
}

#[test]
fn guest_autogen() {
    large(&AUTOGEN);
}

#[test]
fn guest_crewai() {
    large(&CREWAI);
}

#[test]
fn guest_openclaw() {
    large(&OPENCLAW);
}

#[test]
fn guest_codex() {
    large(&CODEX);
}

fn large(guest: &Guest) {
    match std::env::var_os("COFFERDAM_GUESTS").is_some_and(|value| value == "1") {
        true => check(guest),
        false => eprintln!("skipped: {} is large; COFFERDAM_GUESTS=1 asks for it", guest.name),
    }
}

/// Where `scripts/setup-guests` puts it.
fn installed(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let place = cache.join("cofferdam/guests").join(name);
    let is_there = place.join("installed").exists();
    let insisted = ["COFFERDAM_REQUIRE_PEERS", "COFFERDAM_GUESTS"];
    let insisted = insisted.iter().any(|name| std::env::var_os(name).is_some());
    assert!(is_there || !insisted, "scripts/setup-guests {name} was not run");
    if !is_there {
        eprintln!("skipped: scripts/setup-guests {name} was not run");
    }
    is_there.then_some(place)
}

/// The model that plays by a script.
struct Model {
    child: Child,
    port: String,
}

impl Model {
    fn start(steps: &Value, tls: &[PathBuf]) -> Model {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/model.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .args(["127.0.0.2", &steps.to_string()])
            .args(tls);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut port).unwrap();
        let port = port.trim().to_owned();
        Model { child, port }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for the model and its key, if it shall have them.
fn certificate(directory: &Path, tls: bool) -> Vec<PathBuf> {
    if !tls {
        return Vec::new();
    }
    let made = rcgen::generate_simple_self_signed(["127.0.0.2".to_owned()]).unwrap();
    let files = ["model.crt", "model.key"].map(|name| directory.join(name));
    std::fs::write(&files[0], made.cert.pem()).unwrap();
    std::fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
    files.to_vec()
}

/// The examples, as they stand in the repository.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// What the README says to run: the last that its row of this guest quotes.
fn command(name: &str) -> String {
    let text = std::fs::read_to_string(examples().join("README.md")).unwrap();
    let row = text
        .lines()
        .find(|line| line.starts_with(&format!("| `guests/{name}`")));
    let quoted = row.unwrap().rsplit('`').nth(1);
    quoted.unwrap().to_owned()
}

/// The example in a workspace of its own, with what is `written` replaced by what is so in the test.
fn workspace(up: &Up, name: &str, installed: &Path, written: &[(&str, &str)]) -> PathBuf {
    let workspace = up.path().join("workspace");
    std::fs::create_dir(&workspace).unwrap();
    for entry in std::fs::read_dir(examples().join("guests").join(name))
        .unwrap()
        .map(Result::unwrap)
    {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        std::fs::write(workspace.join(entry.file_name()), replaced(&text, written)).unwrap();
    }
    for packages in [".venv", "node_modules"]
        .iter()
        .filter(|packages| installed.join(packages).exists())
    {
        std::os::unix::fs::symlink(installed.join(packages), workspace.join(packages)).unwrap();
    }
    workspace
}

fn replaced(text: &str, written: &[(&str, &str)]) -> String {
    written
        .iter()
        .fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

/// Starts it, lets a person approve that it runs, and waits for its end.
fn run(up: &Up, arguments: &[&str]) -> Output {
    let (_, token, err) = up.run(&["tokens", "create", "--person", "bob", "--role", "approver"]);
    assert!(!token.is_empty(), "{err}");
    std::fs::write(up.path().join("bob"), token).unwrap();
    let mut command = up.command(&[&["run"], arguments].concat());
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut approval = String::new();
    until("it asks", || {
        let listed = up.json(&["approvals", "list"]);
        approval = listed[0]["id"].as_str().unwrap_or_default().to_owned();
        !approval.is_empty()
    });
    let approve = [
        "approvals",
        "approve",
        &approval,
        "--token-file",
        "bob",
        "--reason",
        "its first run",
    ];
    let (code, _, err) = up.run(&approve);
    assert_eq!(code, 0, "{err}");
    child.wait_with_output().unwrap()
}

fn check(guest: &Guest) {
    let name = guest.name;
    let Some(installed) = installed(name) else { return };
    let directory = place();
    let tls = certificate(directory.path(), guest.tls);
    let authority = tls
        .first()
        .map(|file| ["--egress-ca", file.to_str().unwrap()].map(str::to_owned));
    let authority = authority.iter().flatten().map(String::as_str).collect::<Vec<_>>();
    let up = Up::start_with(directory, &authority);
    if !able(up.path()) {
        return;
    }
    let outside = up.path().join("key.pem");
    std::fs::write(&outside, CANARY).unwrap();
    let prometheus = server().port().to_string();
    let alerts = format!("http://127.0.0.2:{prometheus}/api/v1/alerts");
    let steps = json!([
        ["read_file", "runbook.md"],
        ["fetch", alerts],
        ["fetch", FORBIDDEN[0]],
        ["fetch", FORBIDDEN[1]],
        ["read_file", outside],
        ["write_file", "cofferdam.yaml", "mine"],
        ["write_file", "report.md", "Fires: {1}\nTo do: {0}"],
    ]);
    let model = Model::start(&steps, &tls);
    let mut written = vec![(MODEL_PORT, model.port.as_str()), (PROMETHEUS_PORT, &prometheus)];
    written.extend(
        guest
            .tls
            .then_some(("clearText: true\n    methods", "inspect: true\n    methods")),
    );
    let workspace = workspace(&up, name, &installed, &written);
    let (code, _, err) = up.run(&["apply", "-f", guest.documents()]);
    assert_eq!(code, 0, "{err}");
    let before = std::fs::read_to_string(workspace.join("cofferdam.yaml")).unwrap();

    let (code, out, err) = started(&up, guest, &installed, &model, &written);
    assert_eq!(code, 0, "{out}{err}");
    refused(guest, &format!("{out}{err}"));
    let runbook = std::fs::read_to_string(workspace.join("runbook.md")).unwrap();
    let report = std::fs::read_to_string(workspace.join("report.md")).unwrap();
    assert_eq!(
        report.trim_end(),
        format!("Fires: ok\nTo do: {runbook}").trim_end()
    );
    assert_eq!(
        std::fs::read_to_string(workspace.join("cofferdam.yaml")).unwrap(),
        before
    );
    let id = asked(&up, guest, &alerts, &called(guest, &model));
    recorded(&up, &id);
}

impl Guest {
    /// Of its workspace, what is applied.
    fn documents(&self) -> &'static str {
        match self.gateway {
            true => "workspace/gateway.yaml",
            false => "workspace/cofferdam.yaml",
        }
    }
}

/// The verb of its calls of the model, and what their resources begin with.
fn called(guest: &Guest, model: &Model) -> (&'static str, String) {
    let scheme = if guest.tls { "https" } else { "http" };
    match guest.gateway {
        true => ("llm.call", "model/llama".to_owned()),
        false => ("http.request", format!("{scheme}://127.0.0.2:{}/v1", model.port)),
    }
}

/// Runs it as the README says. Behind the gateway it is told of no host and holds no key.
fn started(
    up: &Up,
    guest: &Guest,
    installed: &Path,
    model: &Model,
    written: &[(&str, &str)],
) -> (i32, String, String) {
    let base = format!("OPENAI_BASE_URL={}", called(guest, model).1);
    let command = replaced(&command(guest.name), written);
    let mut arguments = vec![
        "--agent",
        guest.name,
        "--workspace",
        "workspace",
        "--env",
        "MODEL=llama3.2",
    ];
    arguments.extend(["--read", installed.to_str().unwrap()]);
    if !guest.gateway {
        arguments.extend(["--env", &base, "--env", "OPENAI_API_KEY=none"]);
    }
    arguments.extend(guest.further);
    arguments.extend(["--", "sh", "-c", &command]);
    told(run(up, &arguments))
}

/// Its budget is used up while it works: the call is refused, nobody tries again, and it ends with what its framework
/// shows of that.
fn stopped(guest: &Guest, raised: &str) {
    let guest = &Guest {
        gateway: true,
        ..*guest
    };
    let name = guest.name;
    let Some(installed) = installed(name) else { return };
    let up = Up::start_with(place(), &[]);
    if !able(up.path()) {
        return;
    }
    let steps: Vec<Value> = (0..8).map(|_| json!(["read_file", "runbook.md"])).collect();
    let model = Model::start(&json!(steps), &[]);
    let dear = "price: {input: 0, output: 0, request: 0.3}";
    let written = [
        (MODEL_PORT, model.port.as_str()),
        ("price: {input: 0.1, output: 0.4}", dear),
    ];
    let workspace = workspace(&up, name, &installed, &written);
    let (code, _, err) = up.run(&["apply", "-f", guest.documents()]);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = started(&up, guest, &installed, &model, &written);
    assert_eq!(code, 1, "{out}{err}");
    let shown = format!("{out}{err}");
    let why = format!(
        "budget `{name}-day` would be passed: $0.90 of $1.00 are used or reserved, and this could use $0.30"
    );
    for part in [
        raised,
        &why,
        &format!("cofferdam budget raise {name}-day --account "),
        "3 actions permitted (3 calls of models, $0.90), 1 denied",
    ] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    assert!(!workspace.join("report.md").exists());
    let sessions = up.json(&["sessions", "list"]);
    let own = sessions
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["agent"] == name);
    let session = up.json(&["sessions", "show", own.unwrap()["id"].as_str().unwrap()]);
    let calls = session["calls"].as_array().unwrap().iter();
    let decided: Vec<&str> = calls
        .filter(|call| call["verb"] == "llm.call")
        .map(|call| call["decision"].as_str().unwrap())
        .collect();
    assert_eq!(decided, ["permit", "permit", "permit", "deny"], "{session}");
}

/// What it showed of what it may not.
fn refused(guest: &Guest, shown: &str) {
    for part in [
        "no Egress rule of this agent lets requests to this host through: GET http://169.254.169.254/latest/meta-data/",
        guest.tunnel,
        "No such file or directory",
        "Read-only file system",
    ] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    assert!(!shown.contains(CANARY), "{shown}");
}

/// The one session that the journal holds of it, and in that whatever it asked of the network.
fn asked(up: &Up, guest: &Guest, alerts: &str, (verb, model): &(&str, String)) -> String {
    let sessions = up.json(&["sessions", "list"]);
    let own: Vec<&Value> = sessions
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["agent"] == guest.name)
        .collect();
    assert_eq!(own.len(), 1, "{sessions}");
    let id = own[0]["id"].as_str().unwrap();
    let session = up.json(&["sessions", "show", id]);
    let calls = session["calls"].as_array().unwrap();
    let asked = |verb: &str, begins: &str| -> Vec<&str> {
        let of =
            |call: &&Value| call["verb"] == verb && call["resource"].as_str().unwrap().starts_with(begins);
        calls
            .iter()
            .filter(of)
            .map(|call| call["decision"].as_str().unwrap())
            .collect()
    };
    assert!(asked(verb, model).len() >= 8, "{session}");
    assert_eq!(asked("http.get", alerts), ["permit"], "{session}");
    assert_eq!(asked("http.get", FORBIDDEN[0]), ["deny"], "{session}");
    assert_eq!(asked("connect", "example.com:443"), ["deny"], "{session}");
    for host in guest.own {
        assert!(asked("connect", host).contains(&"deny"), "{host}: {session}");
    }
    for call in calls {
        let resource = call["resource"].as_str().unwrap();
        let may = call["verb"] == "sandbox.run" || resource.starts_with(model.as_str()) || resource == alerts;
        assert_eq!(call["decision"] == "permit", may, "{call}");
    }
    id.to_owned()
}

/// By which rules it ran, and what changed.
fn recorded(up: &Up, id: &str) {
    let session = up.json(&["sessions", "show", id]);
    let calls = session["calls"].as_array().unwrap();
    let (code, exported, err) = up.run(&["audit", "export", "--jsonl"]);
    assert_eq!(code, 0, "{err}");
    let entries = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries: Vec<Value> = entries.filter(|entry| entry["session"] == id).collect();
    let run = calls.iter().find(|call| call["verb"] == "sandbox.run").unwrap();
    let launches: Vec<&Value> = entries
        .iter()
        .filter(|entry| entry["body"]["guest"] == "started")
        .collect();
    assert_eq!(launches.len(), 1, "{exported}");
    let (launch, rules) = (&launches[0]["body"], &launches[0]["body"]["rules"]);
    assert_eq!(launch["permit"], run["permit"]);
    assert_eq!(rules["given_up"], json!({}));
    assert_eq!(rules["doors"], json!([7401]));
    assert_eq!(rules["landlock"]["connects"], json!([7401]));
    assert_eq!(
        rules["landlock"]["writes"],
        json!(["/dev", "/dev/shm", "/home", "/tmp", "/workspace"])
    );

    // After what changed come, of its session, its end and how often it was refused the same again.
    let after: Vec<&str> = entries
        .iter()
        .filter(|entry| entry["sequence"].as_u64() > run["settled"].as_u64())
        .map(|entry| entry["kind"].as_str().unwrap())
        .filter(|kind| *kind != "action.denied_again")
        .collect();
    assert_eq!(after, ["session.completed"], "{exported}");
    let shown = up.json(&["audit", "show", &run["settled"].to_string()]);
    let changed = &shown["payloads"]["result"]["value"]["workspace"];
    let expected = json!({"added": 1, "modified": 0, "removed": 0, "paths": ["A report.md"]});
    assert_eq!(changed, &expected, "{shown}");
    let (code, verified, err) = up.run(&["audit", "verify"]);
    assert_eq!(code, 0, "{verified}{err}");
}
