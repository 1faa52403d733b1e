//! The official SDKs of OpenAI and Anthropic, for Python and Node, against the door to models: inside of `cofferdam run`,
//! where the door says whose they are, and outside, with the key of a session. The vendors are `vendors/`, which hold what
//! arrives to their documentation.
//!
//! `scripts/setup-sdk` installs the SDKs; without it these tests are skipped with a printed line.

use crate::run_command::{able, place, until};
use crate::{Up, told};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What no client, no record and no error ever shows.
const KEYS: [(&str, &str); 2] = [("openai", "sk-openai-4711"), ("anthropic", "sk-ant-4712")];
/// What the vendors say, and what they refuse with.
const TEXT: &str = "Hellø, world.";
const TOLD: &str = "Bergen: rain, Oslo: snow";
/// What a call of a brittle model costs, whatever becomes of it, in micro-units.
const BRITTLE: u64 = 10_000;
/// Models that a run is lent. `other` is not among them.
#[rustfmt::skip]
const LENT: [&str; 7] = ["brittle-claude", "brittle-gpt", "claude", "dear", "embed", "gpt", "priceless"];

/// Name, vendor, its name there, price in micro-units per million tokens: input, cached, written to the cache for minutes
/// and for an hour, output.
type Priced = (&'static str, &'static str, &'static str, [u64; 5]);
#[rustfmt::skip]
const PRICED: [Priced; 3] = [
    ("gpt",    "openai",    "gpt-4.1-mini",           [400_000, 100_000, 400_000, 400_000, 1_600_000]),
    ("claude", "anthropic", "claude-sonnet-4-5",      [3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000]),
    ("embed",  "openai",    "text-embedding-3-small", [20_000, 20_000, 20_000, 20_000, 0]),
];

#[test]
fn sdk_python_inside() {
    inside("python");
}

#[test]
fn sdk_node_inside() {
    inside("node");
}

#[test]
fn sdk_python_outside() {
    outside("python");
}

#[test]
fn sdk_node_outside() {
    outside("node");
}

/// Where `scripts/setup-sdk` puts them.
fn installed() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let place = cache.join("cofferdam/sdk");
    let is_there = place.join("installed").exists();
    let insisted = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some();
    assert!(is_there || !insisted, "scripts/setup-sdk was not run");
    if !is_there {
        eprintln!("skipped: scripts/setup-sdk was not run");
    }
    is_there.then_some(place)
}

/// Both vendors, by the script.
struct Vendors {
    child: Child,
    port: u16,
}

impl Vendors {
    fn start() -> Vendors {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/vendors/main.py");
        let mut child = Command::new("python3")
            .arg("-B")
            .arg(script)
            .arg("127.0.0.2")
            .args(KEYS.map(|(_, key)| key))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap();
        Vendors { child, port }
    }

    /// What it keeps at `path`.
    fn kept(&self, path: &str) -> Vec<Value> {
        let mut stream = TcpStream::connect(("127.0.0.2", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Vendors {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the keys and the documents of the models.
fn models(directory: &Path, vendors: &Vendors) -> String {
    let keys = directory.join("keys");
    std::fs::create_dir(&keys).unwrap();
    for (vendor, key) in KEYS {
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .create(true)
            .write(true)
            .mode(0o600)
            .open(keys.join(vendor));
        file.unwrap().write_all(key.as_bytes()).unwrap();
    }
    let document = |name: &str, vendor: &str, model: &str, price: Value| {
        let spec = json!({
            "provider": vendor, "endpoint": format!("http://127.0.0.2:{}/v1", vendors.port), "networks": ["127.0.0.2/32"],
            "onPremises": true, "model": model, "secretRef": { "file": keys.join(vendor) }, "outputTokens": 4096,
            "price": price,
        });
        json!({ "apiVersion": "cofferdam.dev/v1", "kind": "Model", "metadata": { "name": name }, "spec": spec }).to_string()
    };
    let dollars = |micros: u64| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let mut all: Vec<String> = PRICED
        .iter()
        .map(
            |(name, vendor, model, [input, cached, write, write_long, output])| {
                let price = json!({
                    "input": dollars(*input), "cachedInput": dollars(*cached), "cacheWrite": dollars(*write),
                    "cacheWriteLong": dollars(*write_long), "output": dollars(*output), "imageTokens": 1_500,
                });
                document(name, vendor, model, price)
            },
        )
        .collect();
    // A call that is cut is paid for whole: of these, that is always the same.
    let flat = json!({ "input": 0, "output": 0, "request": dollars(BRITTLE) });
    all.push(document("brittle-gpt", "openai", "brittle-gpt", flat.clone()));
    all.push(document("brittle-claude", "anthropic", "brittle-claude", flat));
    all.push(document(
        "other",
        "openai",
        "gpt-4.1-mini",
        json!({ "input": 1, "output": 1 }),
    ));
    all.push(document("priceless", "openai", "unheard-of", json!({})));
    all.push(document(
        "dear",
        "openai",
        "dear",
        json!({ "input": 1, "output": 1_000 }),
    ));
    all.join("\n---\n")
}

/// The vendors, the platform with its models, and the programs in a workspace; nothing where something is missing.
fn world(further: &[&str]) -> Option<(Vendors, Up, PathBuf)> {
    let installed = installed()?;
    let vendors = Vendors::start();
    let up = Up::start_with(place(), further);
    if !able(up.path()) {
        return None;
    }
    std::fs::write(up.path().join("models.yaml"), models(up.path(), &vendors)).unwrap();
    let (code, _, err) = up.run(&["apply", "-f", "models.yaml"]);
    assert_eq!(code, 0, "{err}");
    let workspace = up.path().join("workspace");
    std::fs::create_dir(&workspace).unwrap();
    for program in ["sdk.py", "sdk.mjs"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/cli")
            .join(program);
        std::fs::copy(from, workspace.join(program)).unwrap();
    }
    for packages in [".venv", "node_modules"] {
        std::os::unix::fs::symlink(installed.join(packages), workspace.join(packages)).unwrap();
    }
    Some((vendors, up, installed))
}

/// What is lent to a run, and what it may cost.
fn lent() -> Vec<&'static str> {
    let mut arguments = vec!["run", "--workspace", "workspace", "--budget", "1usd"];
    arguments.extend(LENT.iter().flat_map(|model| ["--model", model]));
    arguments
}

fn program(language: &str) -> [&'static str; 2] {
    match language {
        "python" => [".venv/bin/python", "sdk.py"],
        _ => ["node", "sdk.mjs"],
    }
}

fn inside(language: &str) {
    let Some((vendors, up, installed)) = world(&[]) else {
        return;
    };
    let mut arguments = lent();
    arguments.extend(["--read", installed.to_str().unwrap(), "--"]);
    arguments.extend(program(language));
    let (code, out, err) = up.run(&arguments);
    assert_eq!(code, 0, "{out}{err}");
    check(language, false, &out, &vendors, &up);
    // The line of the run says what it cost.
    let spent: u64 = cost(&up).values().map(|(_, micros)| micros).sum();
    assert!(err.contains(&policy::budget::dollars(spent)), "{spent}: {err}");
    assert!(!KEYS.iter().any(|(_, key)| err.contains(key)), "{err}");
}

fn outside(language: &str) {
    let Some((vendors, up, _)) = world(&["--egress", "127.0.0.1:0"]) else {
        return;
    };
    let mut arguments = lent();
    arguments.extend(["--", "sleep", "600"]);
    let mut guest = up.command(&arguments);
    let mut guest = guest.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut session = String::new();
    until("the session runs", || {
        let listed = up.json(&["sessions", "list"]);
        let running = listed
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["state"] == "running");
        session = running
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .unwrap_or_default();
        !session.is_empty()
    });
    let proxy = up.json(&["egress", "proxy", &session])["proxy"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = proxy
        .rsplit_once('@')
        .unwrap()
        .0
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    let [runs, what] = program(language);
    let output = Command::new(runs)
        .arg(what)
        .current_dir(up.path().join("workspace"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("OPENAI_BASE_URL", format!("{}/v1", up.url))
        .env("ANTHROPIC_BASE_URL", format!("{}/anthropic", up.url))
        .env("OPENAI_API_KEY", &key)
        .env("ANTHROPIC_API_KEY", &key)
        .output()
        .unwrap();
    let (code, out, err) = told(output);
    assert_eq!(code, 0, "{out}{err}");
    check(language, true, &out, &vendors, &up);
    // What the key was good for ends with its session.
    guest.kill().unwrap();
    guest.wait().unwrap();
    until("the session is over", || {
        up.json(&["sessions", "list"])
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["id"] != session.as_str() || one["state"] != "running")
    });
}

/// Every line, the vendors' view, the bill, and that no key is anywhere.
fn check(language: &str, outside: bool, out: &str, vendors: &Vendors, up: &Up) {
    let mut lines: BTreeMap<String, Value> = BTreeMap::new();
    for line in out.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {out}"));
        let members = line.as_object_mut().unwrap();
        let Value::String(feature) = members.remove("feature").unwrap() else {
            panic!("{out}")
        };
        lines.insert(feature, line);
    }
    let problems = vendors.kept("/problems");
    let mut wrong: Vec<String> = problems
        .iter()
        .map(|problem| format!("a vendor: {problem}"))
        .collect();
    for (feature, expected) in good() {
        let got = lines.remove(&feature).unwrap_or_default();
        if got != expected {
            wrong.push(format!("{feature}: expected {expected}, got {got}"));
        }
    }
    for (feature, expected, part) in bad(language, outside) {
        let mut got = lines.remove(&feature).unwrap_or_default();
        let message = got.as_object_mut().and_then(|got| got.remove("message"));
        let message = message.and_then(|message| Some(message.as_str()?.to_owned()));
        let message = message.unwrap_or_default();
        if got != expected || !message.contains(part) {
            wrong.push(format!(
                "{feature}: expected {expected} with `{part}`, got {got} {message}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lines.is_empty(), "nobody expects {lines:?}");
    let served = vendors.kept("/served");
    assert!(!served.iter().any(|one| one["model"] == "dear"), "{served:?}");
    assert_eq!(
        cost(up),
        bill(&served),
        "what the vendors served, at the prices of the documents"
    );
    let (code, exported, err) = up.run(&["audit", "export", "--jsonl"]);
    assert_eq!(code, 0, "{err}");
    let denied = exported
        .lines()
        .filter(|line| line.contains("the budget of this run would be passed"));
    assert_eq!(denied.count(), 3, "one call of each protocol, and none again");
    for (_, key) in KEYS {
        assert!(!out.contains(key) && !exported.contains(key), "{key}");
    }
    payloads(&exported, up);
}

/// Neither are the vendors' keys in what is kept beside the entries.
fn payloads(exported: &str, up: &Up) {
    let entries = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let calls: Vec<Value> = entries
        .filter(|entry| {
            entry["body"]["step"]
                .as_str()
                .is_some_and(|step| step.starts_with("llm/"))
        })
        .collect();
    assert!(calls.len() > 50, "{}", calls.len());
    for entry in calls.iter().step_by(7) {
        let (code, shown, err) = up.run(&[
            "audit",
            "show",
            &entry["sequence"].to_string(),
            "--output",
            "json",
        ]);
        assert_eq!(code, 0, "{err}");
        assert!(!KEYS.iter().any(|(_, key)| shown.contains(key)), "{shown}");
    }
    assert_eq!(up.run(&["audit", "verify"]).0, 0);
}

/// What `cofferdam cost report` says, by model: tokens and micro-units, of what cost anything.
fn cost(up: &Up) -> BTreeMap<String, (u64, u64)> {
    let report = up.json(&["cost", "report", "--by", "model"]);
    let lines = report["lines"]
        .as_array()
        .unwrap_or_else(|| panic!("{report}"))
        .iter();
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap();
    let lines = lines.map(|line| {
        let tokens = number(line, "tokens_input") + number(line, "tokens_output");
        (
            line["of"][0].as_str().unwrap().to_owned(),
            (tokens, number(line, "micros")),
        )
    });
    // How many tokens a call took that was cut, nobody knows.
    let known = lines.map(|(model, (tokens, micros))| match model.starts_with("brittle") {
        true => (model, (0, micros)),
        false => (model, (tokens, micros)),
    });
    known.filter(|(_, (_, micros))| *micros > 0).collect()
}

/// The same, of what the vendors say that they served.
fn bill(served: &[Value]) -> BTreeMap<String, (u64, u64)> {
    let mut bill = BTreeMap::new();
    for answer in served {
        let model = answer["model"].as_str().unwrap();
        let Some((name, _, _, prices)) = PRICED.iter().find(|(_, _, upstream, _)| *upstream == model) else {
            let (_, micros) = bill.entry(model.to_owned()).or_insert((0, 0));
            *micros += BRITTLE;
            continue;
        };
        let used: Vec<u64> = answer["used"]
            .as_array()
            .unwrap()
            .iter()
            .map(|count| count.as_u64().unwrap())
            .collect();
        let millionths: u64 = used.iter().zip(prices).map(|(count, price)| count * price).sum();
        let (tokens, micros) = bill.entry((*name).to_owned()).or_insert((0, 0));
        *tokens += used.iter().sum::<u64>();
        // Each call is rounded up.
        *micros += millionths.div_ceil(1_000_000);
    }
    bill
}

/// What works, exactly.
fn good() -> Vec<(String, Value)> {
    let chat =
        |text: Value, finish: &str, tokens: u64| json!({ "text": text, "finish": finish, "tokens": tokens });
    let with = |mut value: Value, more: Value| {
        value
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        value
    };
    let trip = json!({ "city": "Bergen", "days": 3 });
    let tools = |finish: &str, more: Value| with(chat(json!(TOLD), finish, 119), more);
    #[rustfmt::skip]
    let both = [
        ("chat",                 chat(json!(TEXT), "stop", 24)),
        ("chat_stream",          json!({ "text": TEXT, "finish": "stop", "usages": 0 })),
        ("chat_stream_usage",    chat(json!(TEXT), "stop", 24)),
        ("chat_tools",           tools("stop", json!({ "asked": "tool_calls", "calls": 2 }))),
        ("chat_tools_stream",    tools("stop", json!({ "asked": "tool_calls", "calls": 2 }))),
        ("chat_parse",           chat(trip.clone(), "stop", 52)),
        ("chat_image",           chat(json!("a red dot"), "stop", 304)),
        ("responses",            chat(json!(TEXT), "completed", 24)),
        ("responses_stream",     with(chat(json!(TEXT), "completed", 24), json!({ "streamed": TEXT }))),
        ("responses_tools",      tools("completed", json!({ "calls": 2 }))),
        ("responses_tools_stream", tools("completed", json!({ "calls": 2 }))),
        ("responses_parse",      chat(trip, "completed", 52)),
        ("message",              chat(json!(TEXT), "end_turn", 24)),
        ("message_stream",       with(chat(json!(TEXT), "end_turn", 24), json!({ "streamed": TEXT }))),
        ("message_tools",        tools("end_turn", json!({ "asked": "tool_use", "calls": 2 }))),
        ("message_tools_stream", tools("end_turn", json!({ "asked": "tool_use", "calls": 2 }))),
        ("message_image",        chat(json!("a red dot"), "end_turn", 304)),
    ];
    let unknown = json!({ "kept": { "kept": true }, "entry": true, "account": null });
    let names = |one: &str| json!({ "names": LENT, "one": one });
    let vector = json!([0.5, -0.25, 0.75]);
    let thinking = with(
        chat(json!(TEXT), "end_turn", 111),
        json!({ "thought": "It asks for little." }),
    );
    #[rustfmt::skip]
    let alone = [
        ("chat_unknown_fields",    unknown.clone()),
        ("message_unknown_fields", unknown),
        ("embeddings",             json!({ "vectors": [vector, vector], "tokens": 4 })),
        ("openai_models",          names("gpt")),
        ("anthropic_models",       names("claude")),
        ("count_tokens",           json!({ "tokens": 14 })),
        ("thinking",               thinking),
        // Written in all, of that for an hour, read.
        ("caching",                json!({ "counts": [[400, 300, 0], [0, 0, 400]] })),
    ];
    let on = |(feature, line): &(&str, Value)| {
        ["gpt", "claude"].map(|model| (format!("{feature} on {model}"), line.clone()))
    };
    let both: Vec<_> = both.iter().flat_map(on).collect();
    let alone = alone
        .into_iter()
        .map(|(feature, line)| (feature.to_owned(), line));
    both.into_iter().chain(alone).collect()
}

/// What is raised: its class, and a part of what it shows.
fn bad(language: &str, outside: bool) -> Vec<(String, Value, &'static str)> {
    let raised = |class: &str, status: u16| json!({ "raised": class, "status": status, "quick": true });
    #[rustfmt::skip]
    let refused = [
        ("of nothing",        raised("NotFoundError", 404),         "there is no model `nothing` here"),
        ("of other",          raised("PermissionDeniedError", 403), "name it in `agents` of Model `other`"),
        ("of priceless",      raised("PermissionDeniedError", 403), "model `priceless` has no price"),
        ("of dear",           raised("RateLimitError", 429),        "the budget of this run would be passed: $"),
        ("refused by gpt",    raised("BadRequestError", 400),       "the scripted vendor refuses this"),
        ("refused by claude", raised("BadRequestError", 400),       "the scripted vendor refuses this"),
    ];
    let refused = refused.into_iter().flat_map(|(what, line, part)| {
        ["chat", "responses", "message"].map(|kind| (format!("{kind} {what}"), line.clone(), part))
    });
    let broken = ["chat", "responses", "message"].into_iter().flat_map(|kind| {
        ["brittle-gpt", "brittle-claude"].map(|model| {
            let mut line = json!({ "raised": "APIError", "status": null, "quick": true, "before": "He" });
            // Python gives the vendor's own event of an error as an event.
            if (language, kind, model) == ("python", "responses", "brittle-gpt") {
                line = json!({ "raised": null, "event": "the scripted vendor broke", "before": "He" });
                return (format!("{kind} broken by {model}"), line, "");
            }
            if (language, kind) == ("python", "message") {
                line["raised"] = json!("APIStatusError");
                line["status"] = json!(200);
            }
            (
                format!("{kind} broken by {model}"),
                line,
                "the scripted vendor broke",
            )
        })
    });
    let no_key = match outside {
        true => (
            json!({ "raised": "AuthenticationError", "status": 401, "quick": true }),
            "the key is of no session",
        ),
        // The door says whose it is, whatever the key.
        false => (json!({ "raised": null }), ""),
    };
    let no_key = ("no key".to_owned(), no_key.0, no_key.1);
    let absent = ["speech", "batches"].map(|feature| {
        let line = raised("NotFoundError", 404);
        (
            feature.to_owned(),
            line,
            "there is no such path here: this gateway has ",
        )
    });
    refused.chain(broken).chain(absent).chain([no_key]).collect()
}
