//! Every route with who may call it: the golden text, and the same asked of a running platform.

use crate::common::Platform;
use cofferdam::server::routes::{Handler, ROUTES, table};
use gate::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;

const ROLES: [Role; 6] = [
    Role::Admin,
    Role::Operator,
    Role::Approver,
    Role::Auditor,
    Role::Viewer,
    Role::Trigger,
];

/// A change of rights is a difference in this file that a reviewer sees. `UPDATE_GOLDEN=1` writes it.
#[test]
fn routes_and_rights_are_the_golden_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/routes.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, table()).unwrap();
    }
    assert_eq!(table(), std::fs::read_to_string(path).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_each_role_as_the_table_says() {
    let platform = Platform::start().await;
    let mut tokens = Vec::new();
    for role in ROLES {
        let body = match role {
            Role::Trigger => json!({"trigger": "am"}),
            role => json!({"principal": format!("person:{}", role.as_str()), "roles": [role]}),
        };
        tokens.push((role, platform.token(body).await));
    }
    for route in ROUTES {
        let method: Method = route.method.parse().unwrap();
        // Ids that do not exist: past the check of rights there is a 400 or 404, and nothing is done.
        let path = ["id", "name", "sequence", "agent", "channel"]
            .iter()
            .fold(route.path.replace("{kind}", "Agent"), |path, name| {
                path.replace(&format!("{{{name}}}"), "999999")
            });
        // The one route whose answer would not end by itself, and the one that does a lot.
        let path = if path.ends_with("/audit/events") {
            format!("{path}?from=x")
        } else {
            path
        };
        let body = (method != Method::GET).then(|| b"{\"nothing\": 1}".to_vec());
        let Handler::Guarded(allowed, ..) = &route.handler else {
            let answer = platform.send(method, &path, None, body).await;
            let expected = match route.handler {
                // Judged by what is shown, and nothing is.
                Handler::Proved(..) if path.starts_with("/hooks/") => StatusCode::UNAUTHORIZED,
                Handler::Proved(..) => StatusCode::BAD_REQUEST,
                // A key of a session, and there is none.
                Handler::Surface(..) => StatusCode::UNAUTHORIZED,
                _ => StatusCode::OK,
            };
            assert_eq!(
                answer.status, expected,
                "{} {path} asks for no token",
                route.method
            );
            continue;
        };
        for (what, token) in [
            ("no token", None),
            (
                "a wrong token",
                Some("cfd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ),
        ] {
            let answer = platform.send(method.clone(), &path, token, body.clone()).await;
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{} {path} with {what}: {answer:?}",
                route.method
            );
            assert_eq!(answer.kind, "application/problem+json");
        }
        for (role, token) in &tokens {
            let answer = platform
                .send(method.clone(), &path, Some(token), body.clone())
                .await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(
                !refused,
                allowed.contains(role),
                "{} {path} as {role:?}: {answer:?}",
                route.method
            );
            assert!(
                !answer.status.is_server_error(),
                "{} {path} as {role:?}: {answer:?}",
                route.method
            );
        }
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_route_and_no_host_is_refused_without_a_word_about_the_inside() {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::start_in(directory, |options| {
        options.hosts = vec!["cofferdam.example".to_owned()];
    })
    .await;
    let table = [
        (Method::GET, "/api/v1/nothing", "127.0.0.1", 404),
        (Method::GET, "/", "127.0.0.1", 404),
        (Method::PUT, "/api/v1/tasks", "127.0.0.1", 405),
        (Method::GET, "/healthz", "localhost", 200),
        (Method::GET, "/healthz", "cofferdam.example:80", 200),
        (Method::GET, "/healthz", "evil.example", 421),
        (Method::GET, "/api/v1/health", "evil.example", 421),
    ];
    for (method, path, host, expected) in table {
        let request = platform
            .http
            .request(method.clone(), platform.url(path))
            .header("host", host);
        let answer = crate::common::answer(request.bearer_auth(&platform.admin).send().await.unwrap()).await;
        assert_eq!(
            answer.status.as_u16(),
            expected,
            "{method} {path} at {host}: {answer:?}"
        );
    }
    platform.stop().await;
}
