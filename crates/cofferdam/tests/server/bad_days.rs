//! Bad days: an altered journal, a disk that refuses, too much at once.

use crate::common::{DOCUMENTS, Platform, notification};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::faulty::{Disk, Refusal};

fn part(health: &Value, name: &str) -> Value {
    health["parts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|part| part["name"] == name)
        .unwrap()
        .clone()
}

/// One byte of one committed entry, changed while nobody looked: the start finds it, acting stops,
/// reading goes on, and every refusal is a 503 that says why.
#[tokio::test(flavor = "multi_thread")]
async fn an_altered_journal_stops_acting_and_names_the_entry() {
    let platform = Platform::start().await;
    let body = json!({"task_id": "t", "agent": "finder", "input": 1});
    platform.post("/api/v1/tasks", &body).await;
    platform
        .until("/api/v1/tasks/t", |task| task["status"] == "completed")
        .await;
    let trigger = platform.trigger().await;
    let Platform {
        running, directory, ..
    } = platform;
    running.unwrap().shutdown().await;
    let database = rusqlite::Connection::open(directory.path().join("data/journal.db")).unwrap();
    let altered = "UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'finder', 'findes') AS BLOB) \
                   WHERE seq = (SELECT min(seq) FROM entries WHERE kind = 'session.created')";
    assert_eq!(database.execute(altered, []).unwrap(), 1);
    let entry: u64 = database
        .query_row(
            "SELECT min(seq) FROM entries WHERE kind = 'session.created'",
            [],
            |row| row.get::<_, i64>(0),
        )
        .unwrap()
        .try_into()
        .unwrap();
    drop(database);

    let config = directory.path().join("cofferdam.yaml");
    let platform = Platform::start_in(directory, |options| options.config = Some(config)).await;
    let health = platform
        .until("/api/v1/health", |health| {
            part(health, "journal")["status"] == "unhealthy"
        })
        .await;
    assert_eq!(health["status"], "unhealthy");
    let said = part(&health, "journal");
    assert!(
        said["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("entry {entry} was altered")),
        "{health}"
    );
    let again = json!({"task_id": "u", "agent": "finder", "input": 1});
    let task = platform.post("/api/v1/tasks", &again).await;
    assert_eq!(task.status, StatusCode::SERVICE_UNAVAILABLE, "{task:?}");
    let body = notification("A", "firing", "critical").to_string().into_bytes();
    let hook = platform
        .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
        .await;
    assert_eq!(hook.status, StatusCode::SERVICE_UNAVAILABLE, "{hook:?}");
    assert!(
        hook.body["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("entry {entry}")),
        "{hook:?}"
    );
    let ready = platform.send(Method::GET, "/readyz", None, None).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    only_diagnosis_goes_on(&platform, entry).await;
    // A stop works all the same.
    let stop = platform
        .post("/api/v1/stops", &json!({"scope": "all", "reason": "altered"}))
        .await;
    assert_eq!(stop.status, StatusCode::OK, "{stop:?}");
    assert_eq!(
        platform.get("/api/v1/stops").await.body.as_array().unwrap().len(),
        1
    );
    platform.stop().await;
}

/// With a token that is still in memory, every route of the table: reading is answered, a stop too, and
/// whatever else there is or will be is refused with the finding before its handler runs.
async fn only_diagnosis_goes_on(platform: &Platform, entry: u64) {
    let stops = platform.get("/api/v1/stops").await.body;
    let said = stops[0]["reason"].as_str().unwrap_or_default();
    assert!(
        stops[0]["scope"] == "all" && said.contains(&format!("entry {entry} was altered")),
        "{stops}"
    );
    let mut refused = 0;
    for route in cofferdam::server::routes::ROUTES {
        let path = route.path.replace(['{', '}'], "");
        let trigger = route.path.starts_with("/hooks/");
        let streams = route.path.ends_with("/events");
        if trigger || streams || matches!((route.method, route.path), ("POST", "/api/v1/stops")) {
            continue;
        }
        // Of sessions, and none runs: the gate permits nothing either.
        if matches!(route.handler, cofferdam::server::routes::Handler::Surface(..)) {
            continue;
        }
        let method: Method = route.method.parse().unwrap();
        let token = Some(platform.admin.as_str());
        let answer = platform.send(method, &path, token, None).await;
        let reads = route.method == "GET" || route.path == "/api/v1/audit/verify";
        let dead = answer.status == StatusCode::SERVICE_UNAVAILABLE
            && answer.body["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("acting has stopped"));
        let signs = route.path.starts_with("/api/v1/audit/") || route.path == "/readyz";
        assert!(
            dead != reads || signs,
            "{} {}: {answer:?}",
            route.method,
            route.path
        );
        refused += usize::from(!reads);
    }
    assert!(refused > 10, "{refused} routes change something");
}

/// A full disk, a failed fsync, a disk that became read-only: new actions are refused with 503, health
/// says so, what was acknowledged is there, and when the disk takes writes again so do we.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_is_told_and_recovered_from() {
    for refusal in [Refusal::Full, Refusal::Fsync, Refusal::ReadOnly] {
        let disk = Disk::new();
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("cofferdam.yaml");
        std::fs::write(&config, DOCUMENTS).unwrap();
        let platform = Platform::start_in(directory, |options| {
            options.config = Some(config);
            options.vfs = Some(disk.vfs().to_owned());
        })
        .await;
        let trigger = platform.trigger().await;
        let task = |id: &str| json!({"task_id": id, "agent": "finder", "input": 1});
        assert_eq!(
            platform.post("/api/v1/tasks", &task("before")).await.status,
            StatusCode::CREATED
        );
        platform
            .until("/api/v1/tasks/before", |task| task["status"] == "completed")
            .await;

        disk.refuse(Some(refusal));
        let refused = platform.post("/api/v1/tasks", &task("during")).await;
        assert_eq!(
            refused.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{refusal:?}: {refused:?}"
        );
        let body = notification("A", "firing", "critical").to_string().into_bytes();
        let hook = platform
            .send(
                Method::POST,
                "/hooks/alertmanager",
                Some(&trigger),
                Some(body.clone()),
            )
            .await;
        assert_eq!(
            hook.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{refusal:?}: {hook:?}"
        );
        let health = platform.get("/api/v1/health").await.body;
        assert_eq!(
            part(&health, "store")["status"],
            "unhealthy",
            "{refusal:?}: {health}"
        );
        let ready = platform.send(Method::GET, "/readyz", None, None).await;
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "{refusal:?}");
        // A stop works first; the file that was laid out beforehand keeps it.
        let stop = platform
            .post(
                "/api/v1/stops",
                &json!({"scope": "agent:nobody", "reason": "drill"}),
            )
            .await;
        assert_eq!(
            (stop.status, &stop.body["durable"]),
            (StatusCode::OK, &json!(true)),
            "{refusal:?}: {stop:?}"
        );

        disk.refuse(None);
        platform
            .until("/api/v1/health", |health| {
                part(health, "store")["status"] == "healthy"
            })
            .await;
        assert_eq!(
            platform.get("/api/v1/tasks/before").await.body["status"],
            "completed",
            "{refusal:?}"
        );
        let again = platform.post("/api/v1/tasks", &task("during")).await;
        assert!(again.status.is_success(), "{refusal:?}: {again:?}");
        let hook = platform
            .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
            .await;
        assert!(hook.status.is_success(), "{refusal:?}: {hook:?}");
        platform
            .until("/api/v1/tasks/during", |task| task["status"] == "completed")
            .await;
        platform.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_notifications_at_once_are_told_to_come_again() {
    let platform = Platform::start().await;
    let trigger = platform.trigger().await;
    let body = || Some(notification("A", "firing", "critical").to_string().into_bytes());
    let app = std::sync::Arc::clone(platform.running.as_ref().unwrap().app());
    let slots = app
        .intake
        .acquire_many(u32::try_from(app.intake.available_permits()).unwrap())
        .await
        .unwrap();
    let full = platform
        .send(Method::POST, "/hooks/alertmanager", Some(&trigger), body())
        .await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS, "{full:?}");
    drop(slots);
    let taken = platform
        .send(Method::POST, "/hooks/alertmanager", Some(&trigger), body())
        .await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
    // One verification at a time: each reads everything.
    let slot = app.verifying.acquire().await.unwrap();
    let verify = platform
        .send(Method::POST, "/api/v1/audit/verify", Some(&platform.admin), None)
        .await;
    assert_eq!(verify.status, StatusCode::TOO_MANY_REQUESTS, "{verify:?}");
    drop(slot);
    platform.stop().await;
}
