//! The ceiling of a budget, of the whole product: a thousand calls at once against money for a hundred, over an upstream that
//! fails in every way that costs and in every way that does not, while the platform is killed and started again.
//!
//! What is compared is what the upstream could bill: it counts that itself, and outlives every kill.

use crate::Random;
use crate::platform::Platform;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Calls at once.
const CALLS: u64 = 1_000;
/// Calls that the budget pays for.
const PAID: u64 = 100;
/// What each costs, whatever becomes of it, in micro-units.
const PRICE: u64 = 10_000;
/// How many clients there are until the next kill. What a kill finds on its way is paid for, so they become more, that
/// something is left for all of them at once.
const CROWDS: [u64; 4] = [6, 12, 24, CALLS];
/// A crowd is killed when so many of its calls may have been billed.
const BILLED: u64 = 3;
/// Or when it has had so long.
const CROWD_PATIENCE: Duration = Duration::from_secs(4);
/// How often a client comes again.
const TRIES_MAX: u32 = 3;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a step of a session takes, and how many there are: together longer than all of this takes.
const HOLD: Duration = Duration::from_secs(5);
const STEPS: usize = 40;
/// Agents whose sessions call, one each.
const AGENTS: [&str; 8] = ["one", "two", "three", "four", "five", "six", "seven", "eight"];

/// Who may call, of the platform that was started last.
#[derive(Clone, Debug, Default)]
struct Open {
    /// Clients of lower numbers.
    crowd: u64,
    /// Keys of sessions.
    keys: Vec<String>,
}

/// Of each agent.
type Sessions = [Option<String>; AGENTS.len()];

/// How a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum End {
    Answered,
    Cut,
    Refused,
    Failed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_ceiling_holds_through_failures_and_restarts() {
    let upstream = Upstream::start().await;
    let mut platform = Platform::with(&documents(upstream.port), &["--egress", "127.0.0.1:0"]);
    let (opened, doors) = watch::channel(Open::default());
    let mut clients = JoinSet::new();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for number in 0..CALLS {
        let url = platform.url("/v1/chat/completions");
        clients.spawn(client(http.clone(), url, doors.clone(), number));
    }
    let (mut random, mut sessions) = (Random(0xCE11), Sessions::default());
    for crowd in CROWDS {
        open(&mut platform, &mut sessions, &opened, crowd).await;
        let (since, before) = (Instant::now(), upstream.billed());
        while upstream.billed() < before + BILLED && since.elapsed() < CROWD_PATIENCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        platform.kill();
    }
    open(&mut platform, &mut sessions, &opened, CALLS).await;
    let mut ends: Vec<End> = Vec::new();
    while let Some(end) = tokio::time::timeout(2 * PATIENCE, clients.join_next())
        .await
        .unwrap()
    {
        ends.push(end.unwrap());
    }
    ends.sort_unstable();
    let count = |end: End| ends.iter().filter(|one| **one == end).count();
    let [answered, cut, refused, failed] = [End::Answered, End::Cut, End::Refused, End::Failed].map(count);
    println!(
        "kill_nine: {} billed of {PAID} through {} kills: {answered} answered, {cut} cut, {refused} refused, {failed} failed",
        upstream.billed(),
        CROWDS.len()
    );
    assert_eq!(ends.len() as u64, CALLS);
    assert!(answered > 4 && refused > 400, "nothing was tested");

    // One after the other until nothing is left: then the budget is used up, and not by a micro-unit more.
    let key = doors.borrow().keys[0].clone();
    let url = platform.url("/v1/chat/completions");
    let mut last = None;
    for number in 0..4 * PAID {
        last = Some(ask(&http, &url, &key, number).await);
        match last {
            Some(Told::Refused) => break,
            Some(Told::Later) => tokio::time::sleep(Duration::from_millis(100)).await,
            _ => (),
        }
    }
    assert_eq!(last, Some(Told::Refused));
    let (spent, reserved) = account(&platform).await;
    assert_eq!((spent, reserved), (PAID * PRICE, 0));
    assert!(upstream.billed() <= PAID, "{} were billed", upstream.billed());
    let report = get(&platform, "/api/v1/cost?by=model").await;
    assert_eq!(
        report["lines"][0]["micros"], spent,
        "the journal says the same: {report}"
    );
}

/// Starts the platform, looks at its books, and lets clients in.
async fn open(platform: &mut Platform, sessions: &mut Sessions, opened: &watch::Sender<Open>, crowd: u64) {
    platform.start().await.unwrap();
    platform.ensure_tokens().await;
    account(platform).await;
    let mut keys = Vec::new();
    for (agent, session) in AGENTS.iter().zip(sessions) {
        keys.push(key(platform, agent, session).await);
    }
    opened.send(Open { crowd, keys }).unwrap();
}

/// A session of `agent` that holds still, and a key of it. One of before a kill goes on after it.
async fn key(platform: &Platform, agent: &str, session: &mut Option<String>) -> String {
    static TASKS: AtomicU64 = AtomicU64::new(0);
    let began = Instant::now();
    let mut since = began;
    loop {
        if session.is_none() || since.elapsed() > Duration::from_secs(4) {
            since = Instant::now();
            let id = format!("{agent}-{}", TASKS.fetch_add(1, Ordering::Relaxed));
            let task = json!({ "task_id": id, "agent": agent, "input": {} });
            let (_, answer) = post(platform, "/api/v1/tasks", &task).await;
            *session = Some(answer["session"].as_str().unwrap().to_owned());
        }
        let path = format!(
            "/api/v1/sessions/{}/egress",
            session.as_deref().unwrap_or_default()
        );
        let (status, answer) = post(platform, &path, &json!({})).await;
        if status == 200 {
            let proxy = answer["proxy"].as_str().unwrap();
            let (secret, _) = proxy.rsplit_once('@').unwrap();
            return secret.rsplit_once(':').unwrap().1.to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "{answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is spent and reserved. Never more than the limit.
async fn account(platform: &Platform) -> (u64, u64) {
    let budget = get(platform, "/api/v1/budgets/ceiling").await;
    let Some(account) = budget["accounts"].get(0) else {
        return (0, 0);
    };
    let [spent, reserved] = ["spent", "reserved"].map(|what| account[what]["micros"].as_u64().unwrap_or(0));
    assert!(spent + reserved <= PAID * PRICE, "{budget}");
    (spent, reserved)
}

async fn get(platform: &Platform, path: &str) -> Value {
    let request = reqwest::Client::new()
        .get(platform.url(path))
        .bearer_auth(platform.tokens().admin);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn post(platform: &Platform, path: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new()
        .post(platform.url(path))
        .bearer_auth(platform.tokens().admin)
        .header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
    )
}

/// What came of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Answered,
    Cut,
    /// The budget says no.
    Refused,
    /// The upstream failed.
    Failed,
    /// It is asked to come again.
    Later,
    /// The platform is not there, or does not know the key: another was started.
    Gone,
}

async fn ask(http: &reqwest::Client, url: &str, key: &str, number: u64) -> Told {
    let body = json!({
        "model": "flat", "messages": [{ "role": "user", "content": number.to_string() }], "stream": number.is_multiple_of(2),
    });
    let request = http
        .post(url)
        .bearer_auth(key)
        .header("content-type", "application/json");
    let Ok(answer) = request.body(body.to_string()).send().await else {
        return Told::Gone;
    };
    let reason = answer.headers().get("cofferdam-reason");
    let reason = reason.map(|reason| reason.to_str().unwrap().to_owned());
    let reason = reason.unwrap_or_default();
    let (status, text) = (answer.status().as_u16(), answer.text().await);
    match (status, text) {
        (200, Ok(text)) if !text.contains("\"error\"") => Told::Answered,
        (200, _) => Told::Cut,
        (429, _) if reason == "budget" => Told::Refused,
        // An agent may do so much in a second.
        (429, _) if reason == "bound" => Told::Later,
        (401 | 403, _) => Told::Gone,
        (_, text) => {
            assert!(status == 429 || status >= 500, "{status}: {text:?}");
            Told::Failed
        }
    }
}

/// Comes again as clients do, with the keys of whatever platform there is.
async fn client(http: reqwest::Client, url: String, mut doors: watch::Receiver<Open>, number: u64) -> End {
    let mut random = Random(number | 1);
    doors.wait_for(|open| open.crowd > number).await.unwrap();
    let (mut end, mut tries) = (End::Failed, 0);
    while tries < TRIES_MAX {
        let key = doors.borrow_and_update().keys[number as usize % AGENTS.len()].clone();
        match ask(&http, &url, &key, number).await {
            Told::Answered => return End::Answered,
            Told::Cut => return End::Cut,
            Told::Refused => (end, tries) = (End::Refused, tries + 1),
            Told::Failed => (end, tries) = (End::Failed, tries + 1),
            Told::Later => tokio::time::sleep(Duration::from_millis(random.below(1_500))).await,
            Told::Gone => drop(tokio::time::timeout(Duration::from_secs(1), doors.changed()).await),
        }
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
    }
    end
}

/// Counts what it could bill: whatever it took and did not refuse.
struct Upstream {
    port: u16,
    billed: Arc<AtomicU64>,
}

impl Upstream {
    async fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (billed, arrived) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = (Arc::clone(&billed), arrived);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counts = counts.clone();
                tokio::spawn(async move { serve(stream, &counts.0, &counts.1).await });
            }
        });
        Upstream { port, billed }
    }

    fn billed(&self) -> u64 {
        self.billed.load(Ordering::SeqCst)
    }
}

const USAGE: &str = r#""usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}"#;

/// One request of a connection. Six of ten fail, and cost nothing.
async fn serve(stream: TcpStream, billed: &AtomicU64, arrived: &AtomicU64) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    read.read_line(&mut line).await.ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        read.read_line(&mut header).await.ok()?;
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if header == "\r\n" || header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    if !line.starts_with("POST") {
        // What holds a session still, for less than its tool waits.
        tokio::time::sleep(HOLD).await;
        let ok = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        return write.write_all(ok).await.ok();
    }
    let mut random = Random(arrived.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9E37_79B9) | 1);
    let what = random.below(10);
    if what >= 4 {
        let status = ["500 Oh", "503 Busy", "429 Slow"][random.below(3) as usize];
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
        let refusal = format!("{head}retry-after: 0\r\ncontent-length: 2\r\n\r\n{{}}");
        return write.write_all(refusal.as_bytes()).await.ok();
    }
    billed.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(random.below(30))).await;
    let streams = body.windows(13).any(|part| part == b"\"stream\":true");
    let (kind, answer) = match streams {
        false => (
            "application/json",
            format!(
                r#"{{"id":"c","choices":[{{"index":0,"message":{{"role":"assistant","content":"x"}},"finish_reason":"stop"}}],{USAGE}}}"#
            ),
        ),
        true => (
            "text/event-stream",
            format!(
                "data: {}\n\ndata: {}\n\ndata: {{\"id\":\"c\",\"choices\":[],{USAGE}}}\n\ndata: [DONE]\n\n",
                r#"{"id":"c","choices":[{"index":0,"delta":{"content":"x"}}]}"#,
                r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            ),
        ),
    };
    // Whole, cut in the middle, or nothing at all.
    let sent = match what {
        0 | 1 => answer.as_str(),
        2 => answer.get(..70).unwrap(),
        _ => return None,
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    write.write_all(head.as_bytes()).await.ok()?;
    write.write_all(sent.as_bytes()).await.ok()
}

fn documents(port: u16) -> String {
    let document = |kind: &str, name: &str, spec: Value| {
        json!({ "apiVersion": "cofferdam.dev/v1", "kind": kind, "metadata": { "name": name }, "spec": spec })
            .to_string()
    };
    let bounds = json!({ "actionsPerSession": 1_000_000, "actionsPerMinute": 1_000_000, "actionsPerSecond": 1_000_000 });
    // There trust lowers no level, and those of this one may do much in a second.
    let autonomy = json!({ "default": "L1", "environments": { "test": "L3" }, "sandboxes": ["test"] });
    let url = format!("http://127.0.0.1:{port}/hold");
    let hold = |step: usize| json!({ "name": format!("hold_{step}"), "tool": "http.get", "arguments": { "url": url } });
    let steps: Vec<Value> = (0..STEPS).map(hold).collect();
    let mut all = vec![
        document(
            "Toolset",
            "world",
            json!({ "environment": "test", "tools": [{ "type": "http", "allow": [format!("http://127.0.0.1:{port}/")], "private": true }] }),
        ),
        document(
            "Model",
            "flat",
            json!({
                "provider": "compatible", "endpoint": format!("http://127.0.0.1:{port}/v1"), "networks": ["127.0.0.0/8"],
                "onPremises": true, "environment": "test", "agents": AGENTS, "outputTokens": 64,
                "price": { "input": 0, "output": 0, "request": format!("0.{:06}", PRICE) },
            }),
        ),
        document(
            "Budget",
            "ceiling",
            json!({ "per": "month", "limits": { "money": (PAID * PRICE / 1_000_000).to_string() } }),
        ),
    ];
    // The platform of this test has one.
    all.push(document(
        "Trigger",
        "alerts",
        json!({ "source": "alertmanager", "agent": AGENTS[0] }),
    ));
    let agents = AGENTS.iter().map(|agent| {
        let spec = json!({ "autonomy": autonomy, "sponsor": "crash", "toolsets": ["world"], "bounds": bounds, "runbook": { "steps": steps, "output": {} } });
        document("Agent", agent, spec)
    });
    all.extend(agents);
    all.join("\n---\n")
}
