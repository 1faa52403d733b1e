//! `http.get` and `http.request` against a server on loopback.

use crate::server::{Answer, Server};
use crate::world::{Hands, line};
use policy::Effect;
use serde_json::json;

fn answers(request: &str) -> Answer {
    let path = request.split(' ').nth(1).unwrap_or_default();
    match path {
        "/ok" => Answer::Gives(
            "200 OK\r\nContent-Type: text/plain\r\nX-Secret: no",
            b"fine".to_vec(),
        ),
        "/json" => Answer::Gives("200 OK", br#"{"n":1}"#.to_vec()),
        "/large" => Answer::Gives("200 OK", vec![b'x'; 1024 * 1024 + 7]),
        "/binary" => Answer::Gives("200 OK", vec![0xff, 0xfe]),
        "/error" => Answer::Gives("500 Internal Server Error", b"broken".to_vec()),
        "/refused" => Answer::Gives("403 Forbidden", Vec::new()),
        "/gateway" => Answer::Gives("502 Bad Gateway", Vec::new()),
        "/away" => Answer::Gives("302 Found\r\nLocation: http://169.254.169.254/latest", Vec::new()),
        "/close" => Answer::Closes,
        _ => Answer::Hangs,
    }
}

fn toolset(server: &Server, private: bool) -> serde_json::Value {
    let allow = [
        format!("http://{}/", server.address),
        format!("http://localhost:{}/", server.address.port()),
    ];
    json!({"environment": "staging", "tools": [{"type": "http", "allow": allow, "private": private, "write": true}]})
}

#[tokio::test]
async fn a_get_gives_whatever_the_answer_is() {
    let server = Server::start(answers).await;
    let hands = Hands::on(toolset(&server, true)).await;
    let url = |path: &str| json!({"url": format!("http://{}{path}", server.address)});
    #[rustfmt::skip]
    let table = [
        ("/ok",     "Success 200 with 4 bytes",       json!({"status": 200, "body": "fine", "base64": false, "truncated": false})),
        ("/json",   "Success 200 with 7 bytes",       json!({"json": {"n": 1}})),
        ("/binary", "Success 200 with 2 bytes",       json!({"body": "//4=", "base64": true})),
        ("/large",  "Success 200 with 1048576 bytes", json!({"truncated": true})),
        ("/error",  "Success 500 with 6 bytes",       json!({"status": 500, "body": "broken"})),
        ("/away",   "Success 302 with 0 bytes",       json!({"status": 302, "headers": {"content-length": "0", "location": "http://169.254.169.254/latest"}})),
        ("/close",  "Failure no answer: ",            json!({})),
    ];
    for (path, expected, parts) in table {
        let settlement = hands.act("http.get", url(path)).await.unwrap();
        assert!(
            line(&settlement).starts_with(expected),
            "{path}: {}",
            line(&settlement)
        );
        assert!(settlement.taints.has(policy::Taint::Untrusted), "{path}");
        for (key, value) in parts.as_object().unwrap() {
            assert_eq!(&settlement.result[key], value, "{path} {key}");
        }
    }
    let shown = hands.act("http.get", url("/ok")).await.unwrap().result["headers"].clone();
    assert_eq!(
        shown,
        json!({"content-length": "4", "content-type": "text/plain"}),
        "only known headers are shown"
    );
    assert!(
        !server.asked().iter().any(|asked| asked.contains("latest")),
        "no redirect is followed"
    );
}

#[tokio::test]
async fn a_request_is_what_its_method_says() {
    let server = Server::start(answers).await;
    let hands = Hands::on(toolset(&server, true)).await;
    #[rustfmt::skip]
    let table = [
        ("POST",   "/ok",      Effect::Write,       "Success 200 with 4 bytes"),
        ("POST",   "/refused", Effect::Write,       "Failure 403 with 0 bytes"),
        ("POST",   "/error",   Effect::Write,       "Failure 500 with 6 bytes"),
        ("POST",   "/gateway", Effect::Write,       "Uncertain 502 with 0 bytes, from in between"),
        ("PUT",    "/gateway", Effect::Write,       "Failure 502 with 0 bytes"),
        ("POST",   "/close",   Effect::Write,       "Uncertain no answer: "),
        ("PUT",    "/close",   Effect::Write,       "Uncertain no answer: "),
        ("GET",    "/close",   Effect::Read,        "Failure no answer: "),
        ("DELETE", "/ok",      Effect::Destructive, "denied or held"),
    ];
    for (method, path, effect, expected) in table {
        let mut arguments = json!({"method": method, "url": format!("http://{}{path}", server.address)});
        if method != "GET" {
            arguments["body"] = json!("hello");
            arguments["headers"] = json!({"content-type": "text/plain", "idempotency-key": "k1"});
        }
        let action = hands.propose("http.request", &arguments).await.unwrap();
        assert_eq!(action.effect(), effect, "{method}");
        match hands.act_on(action).await {
            Ok(settlement) => assert!(
                line(&settlement).starts_with(expected),
                "{method} {path}: {}",
                line(&settlement)
            ),
            Err(refusal) => assert_eq!(
                (method, refusal.starts_with("needs approval")),
                ("DELETE", true),
                "{refusal}"
            ),
        }
    }
    let asked = server.asked();
    assert!(asked[0].starts_with("POST /ok HTTP/1.1"), "{}", asked[0]);
    assert!(
        asked[0].contains("idempotency-key: k1") && asked[0].ends_with("hello"),
        "{}",
        asked[0]
    );
    assert!(!asked.iter().any(|asked| asked.starts_with("DELETE")));
    assert_eq!(asked.len(), 8, "nothing is sent twice");
}

#[tokio::test]
async fn a_server_that_is_not_there_was_sent_nothing() {
    let server = Server::start(answers).await;
    let port = {
        tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let toolset = json!({"environment": "staging", "tools": [
        {"type": "http", "allow": [format!("http://127.0.0.1:{port}/")], "private": true, "write": true}]});
    let hands = Hands::on(toolset).await;
    let arguments = json!({"method": "POST", "url": format!("http://127.0.0.1:{port}/x")});
    let settlement = hands.act("http.request", arguments).await.unwrap();
    assert!(
        line(&settlement).starts_with("Failure no connection: "),
        "{}",
        line(&settlement)
    );
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn arguments_that_reach_elsewhere_make_no_action() {
    let server = Server::start(answers).await;
    let hands = Hands::on(toolset(&server, true)).await;
    let (address, port) = (server.address, server.address.port());
    let long = format!("http://{address}/{}", "x".repeat(3000));
    let elsewhere = format!("http://127.0.0.1:{}/", port ^ 1);
    #[rustfmt::skip]
    let table = [
        ("http.get", json!({}),                                       "argument `/url`: is missing".to_owned()),
        ("http.get", json!({"url": elsewhere}),                       format!("argument `/url`: `{elsewhere}` is not among what this toolset allows")),
        ("http.get", json!({"url": format!("http://a@{address}/")}),  "argument `/url`: names a user; credentials do not belong in a URL".to_owned()),
        ("http.get", json!({"url": "file:///etc/passwd"}),            "argument `/url`: has scheme `file`; use http or https".to_owned()),
        ("http.get", json!({"url": long}),                            format!("argument `/url`: has {} characters, more than 2048", long.len())),
        ("http.get", json!({"url": format!("http://{address}/"), "effect": "read"}), "argument `/effect`: is not known".to_owned()),
        ("http.get", json!({"url": format!("http://{address}/"), "headers": {"authorization": "x"}}), "argument `/headers/authorization`: is not known".to_owned()),
        ("http.get", json!({"url": format!("http://{address}/"), "headers": {"accept": "a\r\nx: y"}}), "argument `/headers/accept`: is not printable ASCII".to_owned()),
        ("http.request", json!({"method": "GET", "url": format!("http://{address}/"), "body": "x"}), "argument `/body`: does not belong to a request that only reads".to_owned()),
        ("http.request", json!({"method": "TRACE", "url": format!("http://{address}/")}), "argument `/method`: is none of \"GET\", \"HEAD\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\"".to_owned()),
    ];
    for (verb, arguments, expected) in table {
        assert_eq!(hands.propose(verb, &arguments).await.unwrap_err(), expected);
    }
    // The same address in another spelling is the same address, and its name is the plain one.
    let action = hands
        .propose(
            "http.get",
            &json!({"url": format!("http://2130706433:{port}/ok?a=b#c")}),
        )
        .await
        .unwrap();
    assert_eq!(action.resource(), format!("http://{address}/ok"));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn addresses_are_refused_as_text_and_out_of_dns() {
    let server = Server::start(answers).await;
    let hands = Hands::on(toolset(&server, false)).await;
    for host in [
        server.address.to_string(),
        format!("localhost:{}", server.address.port()),
    ] {
        let settlement = hands
            .act("http.get", json!({"url": format!("http://{host}/ok")}))
            .await
            .unwrap();
        let said = line(&settlement);
        assert!(
            said.contains("is a loopback address, which this binding may not reach"),
            "{said}"
        );
    }
    assert!(server.asked().is_empty());

    // Not even a binding that allows private addresses reaches a metadata service.
    let allow = [
        "http://169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
    ];
    let toolset =
        json!({"environment": "staging", "tools": [{"type": "http", "allow": allow, "private": true}]});
    let hands = Hands::on(toolset).await;
    for url in allow {
        let said = line(&hands.act("http.get", json!({"url": url})).await.unwrap());
        assert!(
            said.starts_with("Failure") && said.contains("the metadata service of a cloud"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_name_may_resolve_to_a_private_address_when_the_binding_says_so() {
    let server = Server::start(answers).await;
    let hands = Hands::on(toolset(&server, true)).await;
    let url = format!("http://localhost:{}/ok", server.address.port());
    assert_eq!(
        line(&hands.act("http.get", json!({"url": url})).await.unwrap()),
        "Success 200 with 4 bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cuts_a_request_that_hangs() {
    let server = Server::start(answers).await;
    let hands = Hands::on(toolset(&server, true)).await;
    let url = format!("http://{}/hang", server.address);
    let stop = async {
        while server.asked().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let by = policy::Principal::person("alice");
        hands.gate.stop(&by, policy::StopScope::All, "enough").await;
    };
    let (settlement, ()) = tokio::join!(
        hands.act("http.request", json!({"method": "POST", "url": url})),
        stop
    );
    assert_eq!(
        line(&settlement.unwrap()),
        "Uncertain cut off by a stop after it may have begun"
    );
}
