//! What a tunnel through the egress surface costs, with policy and a durable record of each: connections a second, CPU
//! time of one, throughput of one, and the memory of many that idle. The same of Squid, where it is installed, in the
//! same run: the goals are ratios to it.
//!
//! The surface runs in a process of its own, as this program called anew, so that the load is not counted.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its figures"
)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

#[path = "../../cofferdam/benches/platform/figure.rs"]
mod figure;

use figure::figure;
use gate::egress::spec::EgressSpec;
use gate::egress::{Egress, Settings, Who};
use gate::{AgentAuthority, Authority, Bounds, Gate, NewSession};
use journal::machine::SessionEvent;
use policy::{Autonomy, Level, PolicySet, Principal};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::clock::SystemClock;
use store::{Keys, Options, Store};

/// How long each measurement goes on.
const EACH: Duration = Duration::from_secs(5);
/// Bytes that go through one tunnel to measure how fast.
const BULK: usize = 1 << 30;
/// Tunnels that idle.
const IDLE: usize = 5_000;
/// Goals: ratios to Squid, and memory.
const RATE_MIN: f64 = 1.0;
const CPU_MAX: f64 = 0.7;
const BULK_MIN: f64 = 0.9;
const IDLE_MIB_MAX: f64 = 64.0;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve(
            Path::new(&std::env::args().nth(2).expect("a directory")),
            port_of_arguments(),
        );
    }
    let echo = echo();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (mut ours, address) = start(directory.path(), echo);
    let own = measure("cofferdam", ours.id(), &address, echo);
    idle(ours.id(), &address, echo);
    let _ = ours.kill();
    let _ = ours.wait();
    // Squid gives its rights away: what it writes stands where anybody may.
    let anybody = tempfile::tempdir().expect("a directory");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(anybody.path(), open).expect("it may be opened");
    match squid(anybody.path(), echo) {
        None => println!("squid is not installed: no ratios"),
        Some((mut child, address)) => {
            let theirs = measure("squid", child.id(), &address, echo);
            for (at, threads) in [(0, 1), (1, 8)] {
                let (own, their) = (&own.0[at], &theirs.0[at]);
                let name = |what: &str| format!("egress, {threads} threads, {what} to squid");
                figure(&name("connections"), own.rate / their.rate, "×", RATE_MIN.., "");
                figure(
                    &name("CPU of one"),
                    own.cpu_us / their.cpu_us,
                    "×",
                    ..=CPU_MAX,
                    "",
                );
            }
            figure("egress, bulk to squid", own.1 / theirs.1, "×", BULK_MIN.., "");
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Measured {
    rate: f64,
    cpu_us: f64,
}

fn measure(who: &str, pid: u32, address: &str, echo: u16) -> ([Measured; 2], f64) {
    let rates = [1, 8].map(|threads| {
        let (before, start) = (cpu_ms(pid), Instant::now());
        let (mut times, failed) = load(address, echo, threads);
        let took = start.elapsed().as_secs_f64();
        let cpu_us = (cpu_ms(pid) - before) * 1000.0 / times.len().max(1) as f64;
        times.sort_unstable();
        let at = |share: usize| {
            times
                .get(times.len() * share / 100)
                .copied()
                .unwrap_or_default()
                .as_micros()
        };
        let beside = format!(
            "p50 {} µs, p99 {} µs, {cpu_us:.0} µs CPU each, {failed} failed",
            at(50),
            at(99)
        );
        let rate = times.len() as f64 / took;
        figure(
            &format!("{who}, {threads} threads, connections"),
            rate,
            "/s",
            ..,
            &beside,
        );
        Measured { rate, cpu_us }
    });
    let bulk = bulk(address, echo);
    figure(&format!("{who}, bulk"), bulk, "MiB/s", .., "");
    (rates, bulk)
}

fn tunnel(address: &str, echo: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let target = format!("127.0.0.1:{echo}");
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())?;
    let mut head = Vec::new();
    let mut buffer = [0u8; 512];
    while !head.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..length]);
    }
    match head.starts_with(b"HTTP/1.1 200") {
        true => Ok(stream),
        false => Err(std::io::Error::other(String::from_utf8_lossy(&head).into_owned())),
    }
}

fn load(address: &str, echo: u16, threads: usize) -> (Vec<Duration>, usize) {
    let end = Instant::now() + EACH;
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let address = address.to_owned();
            std::thread::spawn(move || {
                let (mut times, mut failed) = (Vec::new(), 0);
                while Instant::now() < end {
                    let start = Instant::now();
                    let done = tunnel(&address, echo).and_then(|mut stream| {
                        stream.write_all(b"x")?;
                        stream.read_exact(&mut [0u8; 1])
                    });
                    match done {
                        Ok(()) => times.push(start.elapsed()),
                        Err(error) => {
                            if failed == 0 {
                                eprintln!("{error}");
                            }
                            failed += 1;
                        }
                    }
                }
                (times, failed)
            })
        })
        .collect();
    let all = workers.into_iter().map(|worker| worker.join().expect("a worker"));
    all.fold((Vec::new(), 0), |(mut times, failed), (more, others)| {
        times.extend(more);
        (times, failed + others)
    })
}

fn bulk(address: &str, echo: u16) -> f64 {
    let mut stream = tunnel(address, echo).expect("a tunnel");
    let mut write = stream.try_clone().expect("a clone");
    let start = Instant::now();
    let writer = std::thread::spawn(move || {
        let buffer = vec![7u8; 1 << 16];
        for _ in 0..BULK / buffer.len() {
            write.write_all(&buffer).expect("it takes bytes");
        }
    });
    let (mut buffer, mut got) = (vec![0u8; 1 << 16], 0);
    while got < BULK {
        match stream.read(&mut buffer).expect("it gives bytes") {
            0 => break,
            length => got += length,
        }
    }
    writer.join().expect("a writer");
    (got >> 20) as f64 / start.elapsed().as_secs_f64()
}

fn idle(pid: u32, address: &str, echo: u16) {
    let before = rss_mib(pid);
    let mut open = Vec::new();
    while open.len() < IDLE {
        match tunnel(address, echo) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                println!("only {} tunnels idle: {error}", open.len());
                break;
            }
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    let name = format!("{} idle tunnels, memory", open.len());
    figure(&name, rss_mib(pid) - before, "MiB", ..=IDLE_MIB_MAX, "");
}

/// User and system time of a process and its children, in milliseconds.
fn cpu_ms(pid: u32) -> f64 {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<f64> = rest
            .split(' ')
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0)
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    (of(pid) + children.map(of).sum::<f64>()) * 10.0
}

fn rss_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or("0");
    line.trim()
        .split(' ')
        .next()
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1024.0
}

fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Small stacks: five thousand of them idle.
            let builder = std::thread::Builder::new().stack_size(256 * 1024);
            let _ = builder.spawn(move || {
                let (mut stream, mut buffer) = (stream, vec![0u8; 1 << 16]);
                let _ = stream.set_nodelay(true);
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

fn start(directory: &Path, echo: u16) -> (Child, String) {
    let own = std::env::current_exe().expect("its own path");
    let mut child = Command::new(own)
        .arg("serve")
        .arg(directory)
        .arg(echo.to_string())
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts itself");
    let mut line = String::new();
    let out = child.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut line).expect("its address");
    (child, line.trim().to_owned())
}

fn squid(directory: &Path, echo: u16) -> Option<(Child, String)> {
    let program = std::env::var("SQUID").unwrap_or_else(|_| "squid".to_owned());
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").ok()?;
        free.local_addr().ok()?.port()
    };
    let at = directory.display();
    let config = format!(
        "http_port 127.0.0.1:{port}\nacl ok dst 127.0.0.1\nacl port port {echo}\nhttp_access allow ok port\nhttp_access deny all\n\
         cache deny all\npid_filename {at}/squid.pid\naccess_log stdio:{at}/access.log\ncache_log {at}/cache.log\n\
         coredump_dir {at}\nshutdown_lifetime 1 second\n{}",
        std::env::var("SQUID_MORE").unwrap_or_default()
    );
    let path = directory.join("squid.conf");
    std::fs::write(&path, config).ok()?;
    let mut child = Command::new(program)
        .arg("-N")
        .arg("-f")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let address = format!("127.0.0.1:{port}");
    for _ in 0..100 {
        if TcpStream::connect(&address).is_ok() {
            return Some((child, address));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("squid does not start: see {at}/cache.log");
    let _ = child.kill();
    None
}

fn port_of_arguments() -> u16 {
    std::env::args()
        .nth(3)
        .and_then(|port| port.parse().ok())
        .expect("a port")
}

/// The surface, with one agent that may reach the echoing port, until its input ends.
fn serve(directory: &Path, echo: u16) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (gate, session, egress) = surface(directory, echo).await;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let serving = egress.serve(listener, Who::Session(session)).expect("it serves");
        println!("{}", serving.address());
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
        drop(gate);
    });
}

async fn surface(directory: &Path, echo: u16) -> (Arc<Gate>, String, Arc<Egress>) {
    let origin = "bench.local/default";
    let store = Store::open(Options {
        directory: directory.join("data"),
        origin: origin.to_owned(),
        keys: Keys::open_or_create(&directory.join("keys"), origin).expect("keys"),
        projections: gate::projections(),
        clock: SystemClock::shared(),
        checkpoints: None,
        vfs: None,
        synchronous: "FULL",
    });
    let gate = Gate::open(store.expect("a store")).expect("a gate");
    let spec = json!({
        "agents": ["guest"],
        "rules": [{ "name": "echo", "networks": ["127.0.0.0/8"], "ports": [echo], "tls": false }],
        "limits": { "connections": 100_000, "perSecond": 1_000_000 },
    });
    let spec: EgressSpec = serde_json::from_value(spec).expect("a document");
    let document = spec.compile("bench").expect("a document");
    let policies = document
        .policy
        .clone()
        .map(|policy| ("egress".to_owned(), policy));
    let autonomy = Autonomy {
        default: Level::L3,
        ..Autonomy::default()
    };
    let guest = AgentAuthority {
        grants: document.grants.clone(),
        autonomy,
        bounds: Bounds {
            actions_per_session: u32::MAX,
            actions_per_minute: u32::MAX,
            actions_per_second: Some(std::num::NonZeroU32::MAX),
            ..Bounds::default()
        },
        deny: Vec::new(),
        sponsor: "alice".to_owned(),
        place: policy::Place::default(),
        trust: gate::TrustTerms::PLATFORM,
    };
    gate.restore(Authority {
        budgets: Arc::default(),
        generation: 0,
        policies: Arc::new(PolicySet::load(&policies.into_iter().collect::<Vec<_>>()).expect("policies")),
        agents: BTreeMap::from([("guest".to_owned(), Arc::new(guest))]),
    });
    let new = NewSession {
        agent: "guest".to_owned(),
        cause: Principal::service("trigger/bench"),
        correlation: None,
        input: json!({}),
        title: "bench".to_owned(),
        idempotency_key: None,
        urgent: false,
        taint: policy::Taints::NONE,
    };
    let session = gate.create_session(new).await.expect("a session").0.id;
    let by = Principal::service("cofferdam");
    let started = gate
        .session_event(&session, &by, SessionEvent::Start, None, None)
        .await;
    started.expect("it starts");
    let egress = Egress::new(Arc::clone(&gate), Settings::default());
    egress.install(&[document]);
    (gate, session, egress)
}
