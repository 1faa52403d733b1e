//! The attacks of the issue, each refused with its reason.

use crate::servers::{echo, http};
use crate::tunnels::plain;
use crate::world::{World, all_of, rules};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn connect(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// A world that allows as much as documents can, and whose names lead wherever a test says.
async fn generous() -> World {
    let tunnels =
        json!({ "name": "all", "hosts": ["*.example.com", "example.com"], "ports": [80, 443], "tls": false });
    let clear = json!({ "name": "clear", "hosts": ["web.example.com"], "ports": [8080], "clearText": true });
    World::new(rules(json!([tunnels, clear]))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_an_address_is_reached() {
    let world = generous().await;
    #[rustfmt::skip]
    let hosts = [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.",
        "127.0.0.01", "0", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "127.127.127.127", "localhost", "localhost.", "ip6-localhost",
        "169.254.169.254", "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "169.254.43518",
        "0251.254.169.254", "0251.00376.000251.0000376", "425.510.425.510", "7147006462", "[::ffff:a9fe:a9fe]",
        "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[fe80::1%25eth0]", "[64:ff9b::a9fe:a9fe]", "169.254.169.254.",
        "%31%36%39.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fc00::1]", "8.8.8.8",
        "example.com@169.254.169.254", "169.254.169.254#example.com", "example.com\\@169.254.169.254", "metadata",
        "metadata.google.internal", "instance-data", "evilexample.com", "example.com.evil.org", "example.com.",
    ];
    for host in hosts {
        for target in [format!("{host}:80"), format!("{host}:443")] {
            let said = world.verdict(connect(&target).as_bytes()).await;
            assert!(
                ["403 not_granted", "400 malformed"].contains(&said.as_str()),
                "{target}: {said}"
            );
        }
        let absolute = format!("GET http://{host}:8080/ HTTP/1.1\r\nHost: {host}:8080\r\n\r\n");
        let said = world.verdict(absolute.as_bytes()).await;
        assert!(
            ["403 not_granted", "400 malformed"].contains(&said.as_str()),
            "{host}: {said}"
        );
    }
    assert_eq!(
        *world.names.asked.lock().unwrap(),
        Vec::<String>::new(),
        "what is denied is not resolved"
    );
    assert_eq!(world.bodies("action.permitted").len(), 0);
    // Many refusals are few entries: those past the limits are counted.
    assert!(world.bodies("action.denied").len() <= 64 && world.notes().len() <= 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowed_name_that_leads_elsewhere_is_refused_whole() {
    let world = generous().await;
    #[rustfmt::skip]
    let table: [(&str, &[&str], &str); 12] = [
        ("loopback",              &["127.0.0.1"],                   "403 address_refused"),
        ("metadata",              &["169.254.169.254"],             "403 address_refused"),
        ("private",               &["10.1.2.3"],                    "403 address_refused"),
        ("carrier's NAT",         &["100.64.0.1"],                  "403 address_refused"),
        ("IPv4 in IPv6",          &["::ffff:10.0.0.1"],             "403 address_refused"),
        ("NAT64",                 &["64:ff9b::7f00:1"],             "403 address_refused"),
        ("6to4",                  &["2002:7f00:1::"],               "403 address_refused"),
        ("Teredo",                &["2001:0:7f00:1::"],             "403 address_refused"),
        ("unique local",          &["fd12::1"],                     "403 address_refused"),
        ("one of several",        &["93.184.216.34", "127.0.0.1"],  "403 address_refused"),
        ("the last of several",   &["93.184.216.34", "2606:2800:220::1", "::1"], "403 address_refused"),
        ("nothing",               &[],                              "502 not_resolved"),
    ];
    for (name, addresses, expected) in table {
        world.names.set("a.example.com", &[addresses]);
        assert_eq!(
            world.tunnel("a.example.com:443").await.unwrap_err(),
            expected,
            "{name}"
        );
        world.names.set("web.example.com", &[addresses]);
        let absolute = "GET http://web.example.com:8080/ HTTP/1.1\r\nHost: web.example.com:8080\r\n\r\n";
        assert_eq!(world.verdict(absolute.as_bytes()).await, expected, "{name}");
    }
    let settled = world.settled(24).await;
    assert!(
        settled.iter().all(|body| body["outcome"] == "failure"),
        "{settled:?}"
    );
    assert_eq!(settled[0]["failure"]["type"], "address_refused");
    assert_eq!(
        settled[0]["summary"],
        "`a.example.com` leads to 127.0.0.1, which is a loopback address"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_changes_between_looks_is_looked_at_once() {
    let port = echo().await.port();
    let rule = json!({ "name": "echo", "hosts": ["echo.test"], "ports": [port], "networks": ["127.0.0.1/32"], "tls": false });
    let world = World::new(rules(json!([rule]))).await;
    world
        .names
        .set("echo.test", &[&["127.0.0.1"], &["169.254.169.254"]]);
    let first = world.tunnel(&format!("echo.test:{port}")).await;
    assert!(first.is_ok());
    assert_eq!(
        world.names.asked.lock().unwrap().len(),
        1,
        "the address that was checked is the one that is dialled"
    );
    let second = world.tunnel(&format!("echo.test:{port}")).await;
    assert_eq!(second.unwrap_err(), "403 address_refused");
    assert_eq!(world.names.asked.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_needs_its_network_named() {
    let port = echo().await.port();
    let rule = |networks: &[&str]| json!({ "name": "net", "networks": networks, "exceptNetworks": ["127.0.0.9/32"], "ports": [port], "tls": false });
    let world = World::new(rules(json!([rule(&["127.0.0.0/8"])]))).await;
    assert!(world.tunnel(&format!("127.0.0.1:{port}")).await.is_ok());
    assert_eq!(
        world.bodies("action.permitted")[0]["resource"],
        format!("127.0.0.0/8/127.0.0.1:{port}")
    );
    assert_eq!(
        world.tunnel(&format!("127.0.0.9:{port}")).await.unwrap_err(),
        "403 address_refused"
    );
    assert_eq!(world.tunnel("127.0.0.1:1").await.unwrap_err(), "403 not_granted");
    assert_eq!(
        world.tunnel(&format!("[::1]:{port}")).await.unwrap_err(),
        "403 not_granted"
    );
    assert_eq!(
        world.verdict(connect(&format!("127.1:{port}")).as_bytes()).await,
        "400 malformed"
    );
    // Metadata stays closed, whoever names its network.
    world.install(&rules(json!([rule(&["169.254.0.0/16"])])));
    let said = world
        .tunnel(&format!("169.254.169.254:{port}"))
        .await
        .unwrap_err();
    assert_eq!(said, "403 address_refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_read_in_two_ways_is_refused() {
    let (address, seen) = http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let port = address.port();
    let rule = json!({
        "name": "web", "hosts": ["web.test"], "ports": [port], "networks": ["127.0.0.0/8"], "clearText": true,
        "methods": ["GET", "POST"],
    });
    let world = World::new(rules(json!([rule]))).await;
    world.names.set("web.test", &[&["127.0.0.1"]]);
    let head = |first: &str, rest: &str| format!("{first} HTTP/1.1\r\n{rest}\r\n");
    let url = format!("http://web.test:{port}/");
    let host = format!("Host: web.test:{port}\r\n");
    #[rustfmt::skip]
    let table = [
        ("CL.TE",               head(&format!("POST {url}"), &format!("{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"))),
        ("TE.CL",               head(&format!("POST {url}"), &format!("{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"))),
        ("TE.TE",               head(&format!("POST {url}"), &format!("{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"))),
        ("a hidden TE",         head(&format!("POST {url}"), &format!("{host}Transfer-Encoding : chunked\r\n"))),
        ("a folded TE",         head(&format!("POST {url}"), &format!("{host}X: y\r\n Transfer-Encoding: chunked\r\n"))),
        ("two lengths",         head(&format!("POST {url}"), &format!("{host}Content-Length: 4\r\nContent-Length: 5\r\n"))),
        ("a signed length",     head(&format!("POST {url}"), &format!("{host}Content-Length: +4\r\n"))),
        ("two Hosts",           head(&format!("GET {url}"), &format!("{host}Host: evil.org\r\n"))),
        ("another Host",        head(&format!("GET {url}"), "Host: evil.org\r\n")),
        ("no Host",             head(&format!("GET {url}"), "")),
        ("a bare LF",           format!("GET {url} HTTP/1.1\nHost: web.test:{port}\n\n")),
        ("CRLF in the target",  head(&format!("GET {url}x\r\nX-Injected: y"), &host)),
        ("a tab in the line",   head(&format!("GET\t{url}"), &host)),
        ("a user",              head(&format!("GET http://web.test:{port}@evil.org/"), &host)),
        ("a backslash",         head(&format!("GET http://web.test:{port}\\@evil.org/"), &host)),
        ("a fragment",          head(&format!("GET {url}#x"), &host)),
        ("https in the clear",  head(&format!("GET https://web.test:{port}/"), &host)),
        ("ftp",                 head("GET ftp://web.test/", &host)),
        ("gopher",              head("GET gopher://web.test:25/_MAIL", &host)),
        ("a path alone",        head("GET /", &host)),
        ("a CR before a tab",   head(&format!("GET {url}"), &format!("{host}X: a\r\t\r\n"))),
        ("a NUL",               head(&format!("GET {url}"), &format!("{host}X: a\0b\r\n"))),
        ("HTTP/2",              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("CONNECT with a body", format!("CONNECT web.test:{port} HTTP/1.1\r\n{host}Content-Length: 4\r\n\r\nGET ")),
        ("a huge head",         head(&format!("GET {url}"), &format!("{host}X: {}\r\n", "y".repeat(40_000)))),
        ("many headers",        head(&format!("GET {url}"), &format!("{host}{}", "X: y\r\n".repeat(101)))),
    ];
    for (name, request) in table {
        assert_eq!(world.verdict(request.as_bytes()).await, "400 malformed", "{name}");
    }
    for field in [
        "X-HTTP-Method-Override: DELETE",
        "X_Http_Method: DELETE",
        "X-Original-URL: /admin",
        "x-rewrite-url: /admin",
        "Content_Length: 4",
        "Transfer_Encoding: chunked",
    ] {
        let request = head(&format!("POST {url}"), &format!("{host}{field}\r\n"));
        assert_eq!(world.verdict(request.as_bytes()).await, "400 override", "{field}");
    }
    assert_eq!(seen.lock().unwrap().len(), 0, "the server has heard nothing");
    assert_eq!(world.bodies("action.permitted").len(), 0);
    assert!(
        world
            .notes()
            .iter()
            .all(|note| ["malformed", "override"].contains(&note.as_str()))
    );
    assert!(!world.notes().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_slow_on_purpose_is_let_go() {
    let world = generous().await;
    let mut stream = world.connect().await;
    let began = tokio::time::Instant::now();
    let sending = async {
        for byte in "CONNECT a.example.com:443 HTTP/1.1\r\nX: yyyyyyyyyyyyyyyyyyyyyyyy".bytes() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        all_of(&mut stream).await
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), sending)
        .await
        .unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    assert!(began.elapsed() < Duration::from_secs(8));
    // And one that says nothing at all.
    let mut silent = world.connect().await;
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(world.egress.open(), 0);
}

/// The first message of a TLS client, as a real one says it.
pub fn hello(name: Option<&str>) -> Vec<u8> {
    use rustls::pki_types::ServerName;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("nobody.test").to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same with one extension more: ECH.
fn with_ech(mut hello: Vec<u8>) -> Vec<u8> {
    let extension = [0xfe, 0x0d, 0, 4, 0, 1, 2, 3];
    // The extensions are the end of the message: three lengths around them grow.
    let grown = |bytes: &mut [u8], by: usize| {
        let length = bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b)) + by;
        let width = bytes.len();
        bytes.copy_from_slice(&(length as u32).to_be_bytes()[4 - width..]);
    };
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    grown(&mut hello[3..5], extension.len());
    grown(&mut hello[6..9], extension.len());
    grown(&mut hello[at..at + 2], extension.len());
    hello.extend_from_slice(&extension);
    hello
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_speaks_tls_to_the_host_that_it_named() {
    let port = echo().await.port();
    let rule = |ech: bool| json!([{ "name": "tls", "hosts": ["echo.test"], "ports": [port], "networks": ["127.0.0.0/8"], "encryptedHello": ech }]);
    let world = World::new(rules(rule(false))).await;
    world.names.set("echo.test", &[&["127.0.0.1"]]);
    #[rustfmt::skip]
    let table = [
        ("the host's own name",    false, hello(Some("echo.test")),            "-"),
        ("another name",           false, hello(Some("evil.test")),            "sni_mismatch"),
        ("no name",                false, hello(None),                         "no_sni"),
        ("an encrypted hello",     false, with_ech(hello(Some("echo.test"))),  "encrypted_hello"),
        ("one that may be",        true,  with_ech(hello(Some("echo.test"))),  "-"),
        ("behind another name",    true,  with_ech(hello(Some("front.test"))), "sni_mismatch"),
        ("HTTP",                   false, b"GET / HTTP/1.1\r\n\r\n".to_vec(),  "not_tls"),
        ("SSH",                    false, b"SSH-2.0-OpenSSH\r\n".to_vec(),     "not_tls"),
        ("half a hello",           false, hello(Some("echo.test"))[..50].to_vec(), "too_slow"),
        ("nothing",                false, Vec::new(),                          "too_slow"),
    ];
    for (number, (name, ech, bytes, expected)) in table.into_iter().enumerate() {
        world.install(&rules(rule(ech)));
        let mut tunnel = world.tunnel(&format!("echo.test:{port}")).await.unwrap();
        tunnel.write_all(&bytes).await.unwrap();
        if bytes.is_empty() {
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
        let mut back = vec![0; bytes.len()];
        let reading = tokio::time::timeout(Duration::from_secs(3), tunnel.read_exact(&mut back)).await;
        let through = !bytes.is_empty() && matches!(reading, Ok(Ok(_)));
        drop(tunnel);
        let settled = world.settled(number + 1).await;
        let code = settled[number]["failure"]["type"]
            .as_str()
            .unwrap_or("-")
            .to_owned();
        assert_eq!((code.as_str(), through), (expected, expected == "-"), "{name}");
    }
}

/// Whoever floods is limited, and told so; another agent's connections go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_agent_that_floods_slows_nobody_else() {
    let port = echo().await.port();
    let mut spec = rules(json!([plain(&["echo.test"], port)]));
    spec["limits"] = json!({ "connections": 4, "perSecond": 2 });
    spec["agents"] = json!(["guest"]);
    let world = World::new(spec).await;
    world.names.set("echo.test", &[&["127.0.0.1"]]);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(world.tunnel(&format!("echo.test:{port}")).await.unwrap());
    }
    assert_eq!(
        world.tunnel(&format!("echo.test:{port}")).await.unwrap_err(),
        "429 connections"
    );
    drop(open);
    let mut refused = Vec::new();
    for _ in 0..40 {
        refused.push(world.verdict(connect("evil.org:443").as_bytes()).await);
    }
    assert!(refused.contains(&"429 flood".to_owned()), "{refused:?}");
    assert!(
        refused.iter().filter(|said| *said == "403 not_granted").count() <= 20,
        "{refused:?}"
    );
    let other = crate::world::running(&world.gate, "other").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let serving = world
        .egress
        .serve(listener, gate::egress::Who::Session(other))
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(serving.address()).await.unwrap();
    stream
        .write_all(connect("evil.org:443").as_bytes())
        .await
        .unwrap();
    let said = crate::world::verdict_of(&all_of(&mut stream).await);
    assert_eq!(said, "403 not_granted", "it is asked about, and not held up");
}
