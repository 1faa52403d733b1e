//! What goes through, what is recorded of it, and that many at once do.

use crate::servers::{self, echo, http};
use crate::world::{World, all_of, echoes, rules, verdict_of};
use policy::Level;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A rule that lets plain tunnels to `hosts` on loopback through.
pub fn plain(hosts: &[&str], port: u16) -> Value {
    json!({ "name": "echo", "hosts": hosts, "ports": [port], "networks": ["127.0.0.0/8"], "tls": false })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_is_an_action_with_an_outcome() {
    let port = echo().await.port();
    let world = World::new(rules(json!([plain(&["echo.test"], port)]))).await;
    world.names.set("echo.test", &[&["127.0.0.1"]]);
    let mut tunnel = world.tunnel(&format!("echo.test:{port}")).await.unwrap();
    assert!(echoes(&mut tunnel).await);
    // Half closed: what was said is still answered.
    tunnel.write_all(b"last").await.unwrap();
    tunnel.shutdown().await.unwrap();
    assert_eq!(all_of(&mut tunnel).await, "last");
    let settled = world.settled(1).await;
    let permitted = &world.bodies("action.permitted")[0];
    assert_eq!(permitted["verb"], "connect");
    assert_eq!(permitted["resource"], format!("echo.test:{port}"));
    assert_eq!(permitted["effect"], "write");
    assert_eq!(permitted["rule"], "policy/cofferdam-egress-test#connect");
    let expected =
        format!("opaque tunnel to echo.test:{port} at 127.0.0.1: 8 bytes out, 8 back; closed by both sides");
    assert_eq!(settled[0]["summary"], expected);
    assert_eq!(
        (&settled[0]["outcome"], &settled[0]["taints"]),
        (&json!("success"), &json!(["untrusted"]))
    );
    assert_eq!(*world.names.asked.lock().unwrap(), ["echo.test"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_connections_of_one_session_at_once_go_through() {
    let port = echo().await.port();
    let world = std::sync::Arc::new(World::new(rules(json!([plain(&["echo.test"], port)]))).await);
    world.names.set("echo.test", &[&["127.0.0.1"]]);
    let mut tunnels = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let world = world.clone();
        tunnels.spawn(async move {
            let mut tunnel = world.tunnel(&format!("echo.test:{port}")).await?;
            assert!(echoes(&mut tunnel).await);
            Ok::<_, String>(tunnel)
        });
    }
    let open: Vec<_> = tunnels.join_all().await;
    assert_eq!(open.iter().filter(|tunnel| tunnel.is_ok()).count(), 200);
    assert_eq!(world.egress.open(), 200);
    drop(open);
    assert_eq!(world.settled(200).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socks5_reaches_the_same_hosts() {
    let port = echo().await.port();
    let world = World::new(rules(json!([plain(&["echo.test"], port)]))).await;
    world.names.set("echo.test", &[&["127.0.0.1"]]);
    let asked = |name: &str, port: u16| {
        let mut bytes = vec![5, 1, 0, 3, name.len() as u8];
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes
    };
    #[rustfmt::skip]
    let table = [
        ("an allowed host",  asked("echo.test", port),                0),
        ("another host",     asked("other.test", port),               2),
        ("another port",     asked("echo.test", 1),                   2),
        ("an address",       vec![5, 1, 0, 1, 169, 254, 169, 254, 0, 80], 2),
        ("an odd address",   asked("0x7f.1", port),                   2),
        ("BIND",             vec![5, 2, 0, 1, 1, 1, 1, 1, 0, 80],     2),
        ("UDP",              vec![5, 3, 0, 1, 1, 1, 1, 1, 0, 80],     2),
    ];
    for (name, request, expected) in table {
        let mut stream = world.connect().await;
        stream.write_all(&[5, 2, 0, 2]).await.unwrap();
        let mut method = [0; 2];
        stream.read_exact(&mut method).await.unwrap();
        assert_eq!(method, [5, 0], "{name}");
        stream.write_all(&request).await.unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[1], expected, "{name}");
        if expected == 0 {
            assert!(echoes(&mut stream).await, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_clear_text_are_written_anew() {
    let (address, seen) = http("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: x\r\nX-Kept: 1\r\n\r\nhi").await;
    let port = address.port();
    let rule = json!({
        "name": "web", "hosts": ["web.test"], "ports": [port], "networks": ["127.0.0.0/8"], "clearText": true,
        "methods": ["GET", "POST"], "paths": ["/api"], "bodyBytes": 5,
    });
    let world = World::new(rules(json!([rule]))).await;
    world.names.set("web.test", &[&["127.0.0.1"]]);
    let answer = world
        .say(format!(
            "GET http://web.test:{port}/api/x?q=1 HTTP/1.1\r\nHost: web.test:{port}\r\nVia: me\r\nX-Secret: 1\r\n\
             Connection: X-Secret, close\r\nProxy-Authorization: Bearer x\r\nX-Forwarded-For: 10.0.0.1\r\nAccept: a\r\n\r\n"
        ).as_bytes())
        .await;
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nX-Kept: 1\r\n\r\nhi"
    );
    assert_eq!(
        seen.lock().unwrap()[0],
        format!("GET /api/x?q=1 HTTP/1.1\r\nHost: web.test:{port}\r\nConnection: close\r\nAccept: a\r\n\r\n")
    );
    let permitted = &world.bodies("action.permitted")[0];
    assert_eq!(permitted["verb"], "http.get");
    assert_eq!(permitted["resource"], format!("http://web.test:{port}/api/x"));
    let head = |method: &str, path: &str, more: &str| {
        format!(
            "{method} http://web.test:{port}{path} HTTP/1.1\r\nHost: web.test:{port}\r\nConnection: close\r\n{more}"
        )
    };
    #[rustfmt::skip]
    let table = [
        ("a body",                head("POST", "/api/y", "Content-Length: 5\r\n\r\nhello"),                     "200"),
        ("a body in chunks",      head("POST", "/api/y", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "200"),
        ("one that is too large", head("POST", "/api/y", "Content-Length: 6\r\n\r\nhello!"),                    "413 body_too_large"),
        ("as large, in chunks",   head("POST", "/api/y", "Transfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n"), "413 body_too_large"),
        ("chunks with a rest",    head("POST", "/api/y", "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n"), "400 malformed"),
        ("trailers",              head("POST", "/api/y", "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: c.d\r\n\r\n"), "400 malformed"),
        ("another method",        head("DELETE", "/api/y", "\r\n"),                                             "403 not_granted"),
        ("another path",          head("GET", "/other", "\r\n"),                                                "403 not_granted"),
        ("out of the path",       head("GET", "/api/../other", "\r\n"),                                         "403 not_granted"),
        ("out of it, encoded",    head("GET", "/api/%2e%2e%2fother", "\r\n"),                                   "403 not_granted"),
    ];
    for (name, request, expected) in table {
        assert_eq!(world.verdict(request.as_bytes()).await, expected, "{name}");
    }
    let sent: Vec<String> = seen.lock().unwrap().clone();
    assert!(sent[1].ends_with("Content-Length: 5\r\n\r\nhello"), "{sent:?}");
    assert!(
        sent[2].ends_with("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "{sent:?}"
    );
}

/// Node's `fetch` asks CONNECT for `http://` too. It is served as if it had asked in full, and gets no tunnel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_to_what_is_seen_in_clear_text_is_none() {
    let (address, seen) = http("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let port = address.port();
    let rule = json!({
        "name": "web", "hosts": ["web.test"], "ports": [port, 80], "networks": ["127.0.0.0/8"], "clearText": true,
        "methods": ["GET", "POST"], "paths": ["/api"],
    });
    let world = World::new(rules(json!([rule]))).await;
    world.names.set("web.test", &[&["127.0.0.1"]]);
    let own = format!("web.test:{port}");
    let head = |method: &str, path: &str, host: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    #[rustfmt::skip]
    let table = [
        ("a request",             own.as_str(),   head("GET", "/api", &own),                                     "200"),
        ("one that writes",       &own,           head("POST", "/api/x", &own),                                  "200"),
        ("another method",        &own,           head("DELETE", "/api", &own),                                  "403 not_granted"),
        ("another path",          &own,           head("GET", "/other", &own),                                   "403 not_granted"),
        ("another host",          &own,           head("GET", "/api", "evil.test"),                              "403 domain_fronting"),
        ("another port",          &own,           head("GET", "/api", "web.test"),                               "403 domain_fronting"),
        ("in full",               &own,           head("GET", &format!("http://{own}/api"), &own),               "400 malformed"),
        ("a tunnel in it",        &own,           head("CONNECT", &own, &own),                                   "400 malformed"),
        ("TLS",                   &own,           "\u{16}\u{3}\u{1}\0\u{5}hello".to_owned(),                      "400 tls_in_clear"),
        ("no HTTP",               &own,           "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),                          "400 malformed"),
        // Nobody answers there: it came as far as being connected.
        ("the port of http",      "web.test:80",  head("GET", "/api", "web.test"),                               "502 not_connected"),
        ("said or not",           "web.test:80",  head("GET", "/api", "web.test:80"),                            "502 not_connected"),
        ("another than that",     "web.test:80",  head("GET", "/api", "web.test:81"),                            "403 domain_fronting"),
    ];
    for (name, target, request, expected) in table {
        let mut stream = world.tunnel(target).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(verdict_of(&said), expected, "{name}: {said}");
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
    let noted = world.bodies("session.noted");
    let of_tls = noted
        .iter()
        .find(|body| body["egress"]["refused"] == "tls_in_clear");
    assert_eq!(of_tls.unwrap()["egress"]["target"], own.as_str());
    let permitted = world.bodies("action.permitted");
    assert!(
        permitted.iter().all(|body| body["verb"] != "connect"),
        "{permitted:?}"
    );
    assert_eq!(permitted[0]["resource"], format!("http://{own}/api"));
    assert_eq!(world.tunnel("web.test:22").await.unwrap_err(), "403 not_granted");
}

/// Several requests over one connection of the client are several actions, each over its own connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_carry_several_requests_each_of_which_is_judged() {
    let (address, seen) =
        http("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
    let port = address.port();
    let rule = json!({
        "name": "web", "hosts": ["web.test"], "ports": [port], "networks": ["127.0.0.0/8"], "clearText": true,
        "paths": ["/a"],
    });
    let world = World::new(rules(json!([rule]))).await;
    world.names.set("web.test", &[&["127.0.0.1"]]);
    let one =
        |path: &str| format!("GET http://web.test:{port}{path} HTTP/1.1\r\nHost: web.test:{port}\r\n\r\n");
    let answer = world
        .say((one("/a") + &one("/a/b") + &one("/c") + &one("/a")).as_bytes())
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 403 ").count(), 1, "{answer}");
    assert_eq!(
        seen.lock().unwrap().len(),
        2,
        "nothing is served behind a refusal"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_rules_and_approvals_count_as_for_every_action() {
    let (address, _) = http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let port = address.port();
    let web = json!({
        "name": "web", "hosts": ["web.test"], "ports": [port], "networks": ["127.0.0.0/8"], "clearText": true,
        "methods": ["GET", "POST"],
    });
    let tunnel = plain(&["echo.test"], echo().await.port());
    let asks = json!({ "rules": [{ "name": "ask", "match": { "verbs": ["connect"] }, "outcome": "require_approval", "reason": "a person looks" }] });
    let denies = json!({ "rules": [{ "name": "no", "match": { "verbs": ["connect"] }, "outcome": "deny", "reason": "never" }] });
    #[rustfmt::skip]
    let table = [
        (Level::L0, json!({}), "GET",     "200"),
        (Level::L0, json!({}), "POST",    "403 read_only"),
        (Level::L0, json!({}), "CONNECT", "403 read_only"),
        (Level::L2, json!({}), "CONNECT", "403 needs_approval"),
        (Level::L3, json!({}), "POST",    "200"),
        (Level::L3, json!({}), "CONNECT", "200"),
        (Level::L3, asks,      "CONNECT", "403 needs_approval"),
        (Level::L3, denies,    "CONNECT", "403 forbidden"),
    ];
    for (level, extra, method, expected) in table {
        let world = World::with(rules(json!([web, tunnel])), level, extra.clone(), Vec::new()).await;
        world.names.set("web.test", &[&["127.0.0.1"]]);
        world.names.set("echo.test", &[&["127.0.0.1"]]);
        let said = match method {
            "CONNECT" => {
                let target = format!("echo.test:{}", tunnel["ports"][0]);
                world
                    .tunnel(&target)
                    .await
                    .map_or_else(|said| said, |_| "200".to_owned())
            }
            _ => {
                let request = format!(
                    "{method} http://web.test:{port}/ HTTP/1.1\r\nHost: web.test:{port}\r\nConnection: close\r\n\r\n"
                );
                world.verdict(request.as_bytes()).await
            }
        };
        assert_eq!(said, expected, "{level:?} {method} {extra}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_shared_listener_a_token_says_whose_connection_it_is() {
    let port = echo().await.port();
    let world = World::new(rules(json!([plain(&["echo.test"], port)]))).await;
    world.names.set("echo.test", &[&["127.0.0.1"]]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let shared = world.egress.serve(listener, gate::egress::Who::ByToken).unwrap();
    let secret = world.egress.secret_for(&world.session).unwrap();
    let secret = std::str::from_utf8(secret.expose()).unwrap();
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{secret}", world.session))
    };
    #[rustfmt::skip]
    let table = [
        ("nothing",       String::new(),                                        "407 unknown_caller"),
        ("another",       "Proxy-Authorization: Bearer cfe_x\r\n".to_owned(),   "407 unknown_caller"),
        ("nonsense",      "Proxy-Authorization: Basic !\r\n".to_owned(),        "407 unknown_caller"),
        ("a bearer",      format!("Proxy-Authorization: Bearer {secret}\r\n"),  "200"),
        ("basic",         format!("Proxy-Authorization: Basic {basic}\r\n"),    "200"),
    ];
    for (name, header, expected) in table {
        let mut stream = tokio::net::TcpStream::connect(shared.address()).await.unwrap();
        let request = format!("CONNECT echo.test:{port} HTTP/1.1\r\nHost: echo.test:{port}\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(verdict_of(&all_of(&mut stream).await), expected, "{name}");
    }
    // Its own door is none that it opens.
    let own = shared.address().port();
    world.install(&rules(json!([plain(&["echo.test"], own)])));
    assert_eq!(
        world.tunnel(&format!("echo.test:{own}")).await.unwrap_err(),
        "403 address_refused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_what_nobody_can_read_in_one_way_is_not_passed_on() {
    #[rustfmt::skip]
    let table = [
        ("two lengths",       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",            "502 bad_answer"),
        ("both lengths",      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nhi",    "502 bad_answer"),
        ("a bare LF",         "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",                                        "502 bad_answer"),
        ("another protocol",  "HTTP/1.1 101 Switching\r\n\r\n",                                                  "502 bad_answer"),
        ("nothing",           "",                                                                                "502 no_answer"),
        ("a redirect",        "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "302"),
    ];
    for (name, answer, expected) in table {
        let (address, seen) = servers::http(answer).await;
        let port = address.port();
        let rule = json!({ "name": "web", "hosts": ["web.test"], "ports": [port], "networks": ["127.0.0.0/8"], "clearText": true });
        let world = World::new(rules(json!([rule]))).await;
        world.names.set("web.test", &[&["127.0.0.1"]]);
        let request = format!(
            "GET http://web.test:{port}/ HTTP/1.1\r\nHost: web.test:{port}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(world.verdict(request.as_bytes()).await, expected, "{name}");
        assert_eq!(seen.lock().unwrap().len(), 1, "{name}: nothing is followed");
    }
}
