//! What ends a tunnel besides its two sides: stops, documents, identities, sessions, limits.

use crate::servers::echo;
use crate::stoppable::{self, Stand};
use crate::tunnels::plain;
use crate::world::{World, drive, echoes, rules, running};
use gate::Gate;
use gate::egress::{Serving, Who};
use journal::machine::SessionEvent;
use policy::{Level, Principal, StopScope};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;

async fn world() -> (World, u16) {
    let port = echo().await.port();
    let mut spec = rules(json!([plain(&["echo.test"], port)]));
    spec["agents"] = json!(["guest", "other"]);
    let world = World::new(spec).await;
    world.names.set("echo.test", &[&["127.0.0.1"]]);
    (world, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_tunnel_rests_on_ends_it() {
    for what in [
        "kill",
        "network",
        "tool",
        "document",
        "mode",
        "tls",
        "environment",
        "agent",
        "session",
        "idle",
        "bytes",
        "lifetime",
    ] {
        let (world, port) = world().await;
        let mut tunnel = world.tunnel(&format!("echo.test:{port}")).await.unwrap();
        assert!(echoes(&mut tunnel).await, "{what}");
        let by = Principal::person("eve");
        let limited = |limit: &str, value: u32| {
            let mut spec = rules(json!([plain(&["echo.test"], port)]));
            spec["limits"][limit] = json!(value);
            world.install(&spec);
        };
        let mut reopen = None;
        match what {
            "kill" => drop(world.gate.kill(&by, StopScope::Agent("guest".into()), "halt").await),
            "network" => drop(world.gate.kill(&by, StopScope::Network, "halt").await),
            "tool" => {
                let scope = StopScope::parse("tool:connect").unwrap();
                drop(world.gate.kill(&by, scope, "halt").await);
            }
            "document" => world.install(&rules(json!([plain(&["other.test"], port)]))),
            "mode" => world.install(&rules(json!([{
                "name": "i", "hosts": ["echo.test"], "ports": [port], "networks": ["127.0.0.0/8"], "inspect": true,
            }]))),
            // What was let through as anything is no longer let through as that.
            "tls" => {
                let mut rule = plain(&["echo.test"], port);
                rule["tls"] = json!(true);
                world.install(&rules(json!([rule])));
            }
            "environment" => {
                let mut spec = rules(json!([plain(&["echo.test"], port)]));
                spec["environment"] = json!("staging");
                world.install(&spec);
            }
            "agent" => {
                let mut spec = rules(json!([plain(&["echo.test"], port)]));
                spec["agents"] = json!(["other"]);
                world.install(&spec);
            }
            "session" => drive(&world.gate, &world.session, SessionEvent::Cancel).await,
            "idle" => reopen = Some(("idleSeconds", 1)),
            "bytes" => reopen = Some(("bytes", 6)),
            _ => reopen = Some(("lifetimeSeconds", 1)),
        }
        if let Some((limit, value)) = reopen {
            limited(limit, value);
            drop(tunnel);
            tunnel = world.tunnel(&format!("echo.test:{port}")).await.unwrap();
            if what != "bytes" {
                assert!(echoes(&mut tunnel).await, "{what}");
                tokio::time::sleep(Duration::from_millis(1_600)).await;
            }
        }
        // Sessions and identities are looked at twice a second; everything else is at once.
        if what == "session" {
            tokio::time::sleep(Duration::from_millis(800)).await;
        }
        assert!(!echoes(&mut tunnel).await, "{what}: it goes on");
        let settled = world.settled(1 + usize::from(reopen.is_some())).await;
        let last = settled.last().unwrap();
        let summary = last["summary"].as_str().unwrap();
        assert!(summary.contains("; cut: "), "{what}: {summary}");
        // It is gone from the list a moment after its outcome is recorded.
        for _ in 0..200 {
            if world.egress.open() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(world.egress.open(), 0, "{what}");
    }
}

/// Nothing changes but the time, or what the session has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_ends_with_its_grant_and_with_what_its_session_has_seen() {
    let forbid = json!({ "rules": [{
        "name": "clean", "when": "taint.secrets && action.verb == 'connect'", "outcome": "deny", "reason": "it has seen secrets",
    }] });
    for what in ["grant", "labels"] {
        let port = echo().await.port();
        let spec = rules(json!([plain(&["echo.test"], port)]));
        let world = World::with(spec.clone(), Level::L3, forbid.clone(), Vec::new()).await;
        world.names.set("echo.test", &[&["127.0.0.1"]]);
        if what == "grant" {
            world.install_until(&spec, Duration::from_millis(1_500));
        }
        let target = format!("echo.test:{port}");
        let mut tunnel = world.tunnel(&target).await.unwrap();
        assert!(echoes(&mut tunnel).await, "{what}");
        if what == "labels" {
            // Past the first look, which is at everything.
            tokio::time::sleep(Duration::from_millis(700)).await;
            world.taint("secrets").await;
        }
        // Labels are looked at twice a second, time every five seconds.
        let mut goes_on = true;
        for _ in 0..if what == "labels" { 20 } else { 80 } {
            tokio::time::sleep(Duration::from_millis(100)).await;
            goes_on = echoes(&mut tunnel).await;
            if !goes_on {
                break;
            }
        }
        assert!(!goes_on, "{what}: it goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_suspended_loses_its_tunnels() {
    let (world, port) = world().await;
    world.gate.identify_agents(&["guest".to_owned()]).await.unwrap();
    let mut tunnel = world.tunnel(&format!("echo.test:{port}")).await.unwrap();
    assert!(echoes(&mut tunnel).await);
    let by = Principal::person("eve");
    let (reaches, event) = (gate::EVERYWHERE, policy::AgentEvent::Suspend);
    let suspended = world.gate.agent_event(&by, reaches, "guest", event, "odd", None);
    suspended.await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!echoes(&mut tunnel).await);
    assert!(
        world.settled(1).await[0]["summary"]
            .as_str()
            .unwrap()
            .contains("; cut: ")
    );
}

/// What goes on counts as entered: a rule that looks at labels sees what an open tunnel may have brought.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_open_tunnel_may_bring_counts_before_it_ends() {
    let port = echo().await.port();
    let extra = json!({ "rules": [{
        "name": "clean", "match": { "resources": ["second.test*"] }, "when": "taint.untrusted", "outcome": "deny",
        "reason": "something untrusted came in",
    }] });
    let extra = json!({ "rules": [{ "when": "taint.untrusted && action.resource.startsWith('second.test')",
        "name": "clean", "outcome": "deny", "reason": extra["rules"][0]["reason"] }] });
    let spec = rules(json!([plain(&["first.test", "second.test"], port)]));
    let world = World::with(spec, policy::Level::L3, extra, Vec::new()).await;
    world.names.set("first.test", &[&["127.0.0.1"]]);
    world.names.set("second.test", &[&["127.0.0.1"]]);
    drop(world.tunnel(&format!("second.test:{port}")).await.unwrap());
    world.settled(1).await;
    let _open = world.tunnel(&format!("first.test:{port}")).await.unwrap();
    let said = world.tunnel(&format!("second.test:{port}")).await.unwrap_err();
    assert_eq!(said, "403 forbidden");
}

/// The surface, as the contract of all that is stopped sees it: each tunnel is a session's of its own.
struct Tunnels {
    world: World,
    port: u16,
    open: Mutex<HashMap<String, (TcpStream, Serving)>>,
}

impl Stand for Tunnels {
    fn gate(&self) -> &Arc<Gate> {
        &self.world.gate
    }
    fn what(&self) -> &'static str {
        "tunnels"
    }
    fn scope(&self) -> StopScope {
        StopScope::Agent("guest".to_owned())
    }
    async fn open(&self, covered: bool) -> Option<String> {
        let session = running(&self.world.gate, if covered { "guest" } else { "other" }).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let serving = self
            .world
            .egress
            .serve(listener, Who::Session(session.clone()))
            .unwrap();
        let target = format!("echo.test:{}", self.port);
        let mut stream = TcpStream::connect(serving.address()).await.unwrap();
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut head = [0; 39];
        stream.read_exact(&mut head).await.ok()?;
        if !head.starts_with(b"HTTP/1.1 200 ") || !echoes(&mut stream).await {
            return None;
        }
        let name = format!("{target} of {session}");
        self.open.lock().unwrap().insert(name.clone(), (stream, serving));
        Some(name)
    }
    async fn lives(&self, name: &str) -> bool {
        let Some((mut stream, serving)) = self.open.lock().unwrap().remove(name) else {
            return false;
        };
        let lives = echoes(&mut stream).await;
        self.open
            .lock()
            .unwrap()
            .insert(name.to_owned(), (stream, serving));
        lives
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_keep_the_contract_of_all_that_is_stopped() {
    let (world, port) = world().await;
    let open = Mutex::default();
    stoppable::is_kept_by(&Tunnels { world, port, open }).await;
}
