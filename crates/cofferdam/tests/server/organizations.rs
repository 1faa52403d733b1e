//! Organizations that one process serves: each has a log, keys and people of its own, and nothing of one
//! can be seen or touched with the tokens of another; only a stop of everything reaches them all.

use crate::common::{DOCUMENTS, Platform, options};
use cofferdam::app;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const ACME: &str = "/organizations/acme";
const GLOBEX: &str = "/organizations/globex";

/// A platform that serves two organizations, and the tokens of their administrators.
async fn both() -> (Platform, String, String) {
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |options| {
        options.organizations = vec!["acme".to_owned(), "globex".to_owned()];
    })
    .await;
    let [acme, globex] = ["acme", "globex"].map(|name| token(&of(&platform, name)));
    (platform, acme, globex)
}

fn of(platform: &Platform, name: &str) -> PathBuf {
    app::organizations::directory(&platform.data_dir(), name)
}

fn token(data_dir: &Path) -> String {
    std::fs::read_to_string(data_dir.join("admin.token"))
        .unwrap()
        .trim()
        .to_owned()
}

/// The documents as the API takes them.
fn documents() -> Value {
    let parsed: Vec<Value> = serde_saphyr::from_multiple(DOCUMENTS).unwrap();
    json!({"documents": parsed})
}

#[tokio::test]
async fn what_is_one_organizations_is_unknown_to_the_others() {
    let (platform, acme, globex) = both().await;
    let send = |method, path: String, token: &str, body: Option<Value>| {
        let (platform, token) = (&platform, token.to_owned());
        async move {
            let body = body.map(|body| body.to_string().into_bytes());
            platform.send(method, &path, Some(&token), body).await
        }
    };
    let applied = send(
        Method::POST,
        format!("{ACME}/api/v1/documents"),
        &acme,
        Some(documents()),
    )
    .await;
    assert!(applied.status.is_success(), "{applied:?}");
    let task = json!({"agent": "finder", "input": {"text": "look"}});
    let made = send(Method::POST, format!("{ACME}/api/v1/tasks"), &acme, Some(task)).await;
    assert!(made.status.is_success(), "{made:?}");
    let id = made.body["id"].as_str().unwrap().to_owned();
    #[rustfmt::skip]
    let table = [
        // where                                         whose       status
        (format!("{ACME}/api/v1/tasks/{id}"),            &acme,           200),
        (format!("{ACME}/api/v1/tasks/{id}"),            &globex,         401),
        (format!("{ACME}/api/v1/tasks/{id}"),            &platform.admin, 401),
        (format!("{GLOBEX}/api/v1/tasks/{id}"),          &globex,         404),
        (format!("{GLOBEX}/api/v1/tasks/{id}"),          &acme,           401),
        (format!("/api/v1/tasks/{id}"),                  &platform.admin, 404),
        (format!("/api/v1/tasks/{id}"),                  &acme,           401),
        (format!("{ACME}/api/v1/documents/Agent/finder"),   &acme,           200),
        (format!("{GLOBEX}/api/v1/documents/Agent/finder"), &globex,         404),
        ("/api/v1/documents/Agent/finder".to_owned(),       &platform.admin, 404),
        ("/organizations/initech/api/v1/sessions".to_owned(), &acme,         404),
        (format!("{ACME}/organizations/globex/api/v1/sessions"), &globex,    404),
    ];
    for (path, whose, expected) in table {
        let answer = send(Method::GET, path.clone(), whose, None).await;
        assert_eq!(answer.status.as_u16(), expected, "{path}: {answer:?}");
    }
    let nobody = send(
        Method::GET,
        "/organizations/initech/api/v1/sessions".to_owned(),
        &acme,
        None,
    )
    .await;
    assert_eq!(nobody.body["detail"], "there is no organization `initech` here");
    // An agent is in the organization that it was given to, and no other can be named.
    let mut elsewhere = documents();
    elsewhere["documents"][1]["metadata"]["organization"] = json!("globex");
    let refused = send(
        Method::POST,
        format!("{ACME}/api/v1/documents"),
        &acme,
        Some(elsewhere),
    )
    .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
    let said = refused.body.to_string();
    assert!(
        said.contains("this is the organization `acme`, and `globex` is another one"),
        "{said}"
    );
    platform.stop().await;
}

#[tokio::test]
async fn a_stop_of_everything_reaches_every_organization_and_no_other_stop_does() {
    let (platform, acme, globex) = both().await;
    let stops = |prefix: &'static str, token: &str| {
        let (platform, token) = (&platform, token.to_owned());
        async move {
            let path = format!("{prefix}/api/v1/stops");
            let answer = platform.send(Method::GET, &path, Some(&token), None).await;
            let scopes = answer.body.as_array().unwrap().clone();
            scopes
                .iter()
                .map(|stop| stop["scope"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    let own = json!({"scope": "all", "reason": "ours alone"})
        .to_string()
        .into_bytes();
    let path = format!("{ACME}/api/v1/stops");
    let raised = platform.send(Method::POST, &path, Some(&acme), Some(own)).await;
    assert_eq!(raised.body.get("organizations"), None, "{raised:?}");
    assert_eq!(stops(ACME, &acme).await, ["all"]);
    assert_eq!(
        stops(GLOBEX, &globex).await,
        Vec::<String>::new(),
        "one stops nobody else"
    );
    assert_eq!(stops("", &platform.admin).await, Vec::<String>::new());

    let named = platform
        .post("/api/v1/stops", &json!({"scope": "tool:git.*", "reason": "r"}))
        .await;
    assert_eq!(named.body.get("organizations"), None, "{named:?}");
    let everything = json!({"scope": "all", "reason": "fire"});
    let raised = platform.post("/api/v1/stops", &everything).await;
    let reached: Vec<(&str, bool)> = raised.body["organizations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["organization"].as_str().unwrap(),
                one["durable"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(reached, [("acme", true), ("globex", true)]);
    assert_eq!(stops(GLOBEX, &globex).await, ["all"]);
    assert!(
        platform
            .post("/api/v1/stops", &everything)
            .await
            .status
            .is_success(),
        "raised once more"
    );
    let by_acme = platform
        .send(
            Method::DELETE,
            &path,
            Some(&acme),
            Some(everything.to_string().into_bytes()),
        )
        .await;
    assert_eq!(
        by_acme.status,
        StatusCode::FORBIDDEN,
        "the platform's is the platform's: {by_acme:?}"
    );
    let lifted = platform
        .send(
            Method::DELETE,
            "/api/v1/stops",
            Some(&platform.admin),
            Some(everything.to_string().into_bytes()),
        )
        .await;
    assert!(lifted.status.is_success(), "{lifted:?}");
    assert_eq!(stops(GLOBEX, &globex).await, Vec::<String>::new());
    assert_eq!(stops(ACME, &acme).await, ["all"], "its own stays");
    let again = platform
        .send(
            Method::DELETE,
            "/api/v1/stops",
            Some(&platform.admin),
            Some(everything.to_string().into_bytes()),
        )
        .await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert_eq!(
        stops(ACME, &acme).await,
        ["all"],
        "what is not there lifts nothing"
    );
    platform.stop().await;
}

#[tokio::test]
async fn an_organization_that_comes_later_is_held_by_what_stands() {
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |_| ()).await;
    let everything = json!({"scope": "all", "reason": "fire"});
    assert!(
        platform
            .post("/api/v1/stops", &everything)
            .await
            .status
            .is_success()
    );
    let directory = platform.stopped().await;
    let platform = Platform::start_in(directory, |options| {
        options.organizations = vec!["acme".to_owned()]
    })
    .await;
    let acme = token(&of(&platform, "acme"));
    let path = format!("{ACME}/api/v1/stops");
    let stops = platform.send(Method::GET, &path, Some(&acme), None).await;
    assert_eq!(stops.body[0]["scope"], "all", "{stops:?}");
    let reason = stops.body[0]["reason"].as_str().unwrap();
    assert_eq!(reason, "fire (person:alice of the platform)");
    platform.stop().await;
}

/// Its own stop stood before the platform's, which could not be raised in it: it is no less held by that.
#[tokio::test]
async fn an_organization_that_was_not_served_meanwhile_lifts_nothing_while_the_platform_is_stopped() {
    let (platform, acme, _) = both().await;
    let path = format!("{ACME}/api/v1/stops");
    let everything = json!({"scope": "all", "reason": "fire"});
    let body = || Some(everything.to_string().into_bytes());
    let raised = platform.send(Method::POST, &path, Some(&acme), body()).await;
    assert!(raised.status.is_success(), "{raised:?}");
    let journal = of(&platform, "acme").join("journal.db");
    let directory = platform.stopped().await;
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, b"this is no database, and long enough to be looked at").unwrap();
    let platform = Platform::start_in(directory, |_| ()).await;
    let raised = platform.post("/api/v1/stops", &everything).await;
    assert!(
        raised.body["organizations"][0]["not_served"].is_string(),
        "{raised:?}"
    );
    let directory = platform.stopped().await;
    std::fs::write(&journal, whole).unwrap();
    let platform = Platform::start_in(directory, |_| ()).await;
    let by_acme = platform.send(Method::DELETE, &path, Some(&acme), body()).await;
    assert_eq!(by_acme.status, StatusCode::FORBIDDEN, "{by_acme:?}");
    let own = platform
        .send(Method::DELETE, "/api/v1/stops", Some(&platform.admin), body())
        .await;
    assert!(own.status.is_success(), "{own:?}");
    let by_acme = platform.send(Method::DELETE, &path, Some(&acme), body()).await;
    assert!(
        by_acme.status.is_success(),
        "its own is its own again: {by_acme:?}"
    );
    platform.stop().await;
}

#[tokio::test]
async fn each_has_a_log_and_keys_of_its_own_and_one_that_is_ill_keeps_nobody_from_working() {
    let (platform, _, globex) = both().await;
    let (acme_dir, globex_dir) = (of(&platform, "acme"), of(&platform, "globex"));
    let key = |directory: &Path| std::fs::read(app::beside(directory, "-keys").join("log.key")).unwrap();
    assert_ne!(key(&acme_dir), key(&globex_dir));
    assert_ne!(key(&acme_dir), key(&platform.data_dir()));
    assert_eq!(
        app::stored_origin(&acme_dir).unwrap(),
        "cofferdam.local/default/acme"
    );

    let directory = platform.stopped().await;
    std::fs::write(
        acme_dir.join("journal.db"),
        b"this is no database, and long enough to be looked at",
    )
    .unwrap();
    // Nobody names them now: those that are there are served.
    let platform = Platform::start_in(directory, |_| ()).await;
    let path = format!("{GLOBEX}/api/v1/sessions");
    let answer = platform.send(Method::GET, &path, Some(&globex), None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let health = platform.get("/api/v1/health").await;
    let part = health.body["parts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|part| part["name"] == "organizations")
        .unwrap()
        .clone();
    assert_eq!(part["status"], "unhealthy", "{part}");
    assert!(
        part["detail"]
            .as_str()
            .unwrap()
            .starts_with("acme is not served: "),
        "{part}"
    );
    let raised = platform
        .post("/api/v1/stops", &json!({"scope": "all", "reason": "fire"}))
        .await;
    let acme = &raised.body["organizations"][0];
    assert_eq!(acme["organization"], "acme");
    assert!(acme["not_served"].is_string(), "{acme}");
    platform.stop().await;
}

/// Strangers who knock at the doors of one keep nobody from those of another.
#[tokio::test]
async fn the_doors_that_take_no_token_are_each_ones_own() {
    let (platform, _, _) = both().await;
    let served = &platform.running.as_ref().unwrap().app().organizations;
    let doors = &served["acme"].as_ref().unwrap().doors;
    let all = [&doors.logging_in, &doors.redeeming, &doors.answering];
    let held: Vec<_> = all
        .iter()
        .map(|door| {
            let all = u32::try_from(door.available_permits()).unwrap();
            door.try_acquire_many(all).unwrap()
        })
        .collect();
    for door in ["/api/v1/login", "/api/v1/token", "/hooks/approvals/tickets"] {
        for (at, is_full) in [(ACME, true), (GLOBEX, false), ("", false)] {
            let path = format!("{at}{door}");
            let answer = platform
                .send(Method::POST, &path, None, Some(b"{}".to_vec()))
                .await;
            let refused = answer.status == StatusCode::TOO_MANY_REQUESTS;
            assert_eq!(refused, is_full, "{path}: {answer:?}");
        }
    }
    drop(held);
    platform.stop().await;
}

#[tokio::test]
async fn names_that_would_lie_on_top_of_others_are_refused() {
    for name in ["acme-keys", "acme-checkpoints", "", "..", "a/b", "Acme"] {
        let directory = tempfile::tempdir().unwrap();
        let mut wanted = options(directory.path());
        wanted.organizations = vec![name.to_owned()];
        let refused = app::start(wanted).await.unwrap_err().to_string();
        assert!(refused.contains("cannot be an organization"), "{name}: {refused}");
    }
}
