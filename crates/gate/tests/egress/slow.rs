//! Sides that are slow, or do nothing at all: what is sent then, how it ends, and what is recorded.

use crate::world::{World, rules, verdict_of};
use policy::{Principal, StopScope};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a connection, once it has read the head of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Server {
    /// Sends a byte of its answer now and then.
    Drips,
    /// Sends as fast as it can, without end.
    Floods,
    /// Says nothing.
    Waits,
    /// Reads ten bytes of a body and answers then.
    Reads,
}

async fn server(does: Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, does));
        }
    });
    port
}

async fn serve(mut stream: TcpStream, does: Server) -> Option<()> {
    let mut said = Vec::new();
    while !said.windows(4).any(|four| four == b"\r\n\r\n") {
        stream.read_buf(&mut said).await.ok().filter(|read| *read > 0)?;
    }
    let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n";
    match does {
        Server::Drips => {
            stream.write_all(endless).await.ok()?;
            loop {
                stream.write_all(b"x").await.ok()?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Server::Floods => {
            stream.write_all(endless).await.ok()?;
            loop {
                stream.write_all(&[b'x'; 65_536]).await.ok()?;
            }
        }
        Server::Waits => tokio::time::sleep(Duration::from_secs(60)).await,
        Server::Reads => {
            let head = said.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            while said.len() < head + 10 {
                stream.read_buf(&mut said).await.ok().filter(|read| *read > 0)?;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
            stream.write_all(answer).await.ok()?;
        }
    }
    Some(())
}

async fn world(port: u16, limits: Value) -> World {
    let mut spec = rules(json!([{
        "name": "web", "hosts": ["web.test"], "ports": [port], "networks": ["127.0.0.0/8"], "clearText": true,
        "methods": ["GET", "POST"],
    }]));
    for (name, value) in limits.as_object().unwrap() {
        spec["limits"][name] = value.clone();
    }
    let world = World::new(spec).await;
    world.names.set("web.test", &[&["127.0.0.1"]]);
    world
}

fn request(method: &str, port: u16, rest: &str) -> String {
    format!("{method} http://web.test:{port}/ HTTP/1.1\r\nHost: web.test:{port}\r\n{rest}\r\n")
}

/// Until nothing is open, for as many tenths of a second.
async fn closed(world: &World, tenths: u32) -> bool {
    for _ in 0..tenths {
        if world.egress.open() == 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_its_lifetime_whoever_is_slow() {
    for (does, method, outcome) in [
        (Server::Drips, "GET", "cancelled"),
        (Server::Floods, "GET", "cancelled"),
        (Server::Waits, "GET", "cancelled"),
        // It was sent: nobody knows what came of it.
        (Server::Waits, "POST", "uncertain"),
    ] {
        let port = server(does).await;
        let world = world(port, json!({ "lifetimeSeconds": 1 })).await;
        let mut stream = world.connect().await;
        let asked = request(method, port, "Content-Length: 0\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        // And the client reads nothing.
        assert!(closed(&world, 60).await, "{does:?} {method}: it goes on");
        assert_eq!(world.settled(1).await[0]["outcome"], outcome, "{does:?} {method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_holds_up_neither_a_kill_nor_the_end() {
    for ends in ["kill", "drain"] {
        let port = server(Server::Floods).await;
        let world = world(port, json!({})).await;
        let mut stream = world.connect().await;
        stream
            .write_all(request("GET", port, "").as_bytes())
            .await
            .unwrap();
        // Until nothing fits between them any more.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(world.egress.open(), 1, "{ends}");
        let ending = async {
            match ends {
                "kill" => {
                    let by = Principal::person("eve");
                    let answer = world
                        .gate
                        .kill(&by, StopScope::Agent("guest".into()), "halt")
                        .await;
                    drop(answer);
                }
                _ => world.egress.drain().await,
            }
        };
        tokio::time::timeout(Duration::from_secs(4), ending)
            .await
            .expect("it waits for the client");
        assert!(closed(&world, 40).await, "{ends}: it goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_waited_for_as_long_as_one_that_says_nothing() {
    let port = server(Server::Floods).await;
    let world = world(port, json!({ "idleSeconds": 1 })).await;
    let mut stream = world.connect().await;
    stream
        .write_all(request("GET", port, "").as_bytes())
        .await
        .unwrap();
    assert!(closed(&world, 100).await, "it goes on");
    let settled = &world.settled(1).await[0];
    let why = (&settled["outcome"], &settled["failure"]["type"]);
    assert_eq!(why, (&"failure".into(), &"too_slow".into()), "{settled}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_takes_its_time_as_long_as_bytes_move() {
    let port = server(Server::Reads).await;
    let world = world(port, json!({ "idleSeconds": 1 })).await;
    let mut stream = world.connect().await;
    let asked = request("POST", port, "Content-Length: 10\r\nConnection: close\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(b"x").await.unwrap();
    }
    let answer = crate::world::all_of(&mut stream).await;
    assert_eq!(verdict_of(&answer), "200", "{answer}");
}
