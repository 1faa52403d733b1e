//! Documents: applied as a whole or not at all, from the API and from a directory.

use crate::common::{DOCUMENTS, Platform};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

fn channel(name: &str) -> Value {
    json!({"apiVersion": "cofferdam.dev/v1", "kind": "Channel", "metadata": {"name": name}, "spec": {"type": "log"}})
}

async fn watched(text: &str) -> Platform {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("conf");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("all.yaml"), text).unwrap();
    Platform::start_in(directory, |options| {
        options.config = Some(config);
        options.watch = true;
    })
    .await
}

fn config_part(health: &Value) -> &Value {
    health["parts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|part| part["name"] == "config")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_disk_is_applied_and_a_bad_one_is_refused_whole() {
    let platform = watched(DOCUMENTS).await;
    let file = platform.directory.path().join("conf/all.yaml");
    let more = format!("{DOCUMENTS}---\n{}\n", channel("log"));
    std::fs::write(&file, &more).unwrap();
    platform
        .until("/api/v1/documents", |list| list.as_array().unwrap().len() == 4)
        .await;
    // One good and one bad change in one save: neither comes.
    let generation = platform
        .until("/api/v1/health", |h| config_part(h)["status"] == "healthy")
        .await;
    let bad = more.replace("agent: finder", "agent: nobody") + "---\n" + &channel("second").to_string();
    std::fs::write(&file, bad).unwrap();
    let health = platform
        .until("/api/v1/health", |h| config_part(h)["status"] == "degraded")
        .await;
    let detail = config_part(&health)["detail"].as_str().unwrap();
    assert!(
        detail.contains("there is no Agent `nobody`") && detail.contains("all.yaml:"),
        "{detail}"
    );
    assert_eq!(
        platform
            .get("/api/v1/documents")
            .await
            .body
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let task = platform
        .post("/api/v1/tasks", &json!({"agent": "finder", "input": 1}))
        .await;
    assert_eq!(task.status, StatusCode::CREATED, "the old state is in force");
    // What is gone from the directory is deleted; and health says that all is well again.
    std::fs::write(&file, DOCUMENTS).unwrap();
    platform
        .until("/api/v1/documents", |list| list.as_array().unwrap().len() == 3)
        .await;
    let healed = platform
        .until("/api/v1/health", |h| config_part(h)["status"] == "healthy")
        .await;
    assert_ne!(config_part(&healed), config_part(&generation));
    platform.stop().await;
}

/// A policy with one rule that permits what nothing else does, and whatever is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_does_not_parse_is_refused_whole_and_the_old_one_stays() {
    let policy = |spec: &str| {
        format!(
            "{DOCUMENTS}---\napiVersion: cofferdam.dev/v1\nkind: Policy\nmetadata: {{name: p}}\nspec:\n{spec}\n"
        )
    };
    let good = "  rules: [{name: never, match: {verbs: [incidents.search]}, outcome: deny, reason: so}]";
    let platform = watched(&policy(good)).await;
    let file = platform.directory.path().join("conf/all.yaml");
    let verdict = async || {
        let explained = platform
            .post(
                "/api/v1/explain",
                &json!({"agent": "finder", "verb": "incidents.search", "arguments": {"words": "x"}}),
            )
            .await;
        explained.body.to_string()
    };
    let before = verdict().await;
    assert!(before.contains("policy/p#never"), "{before}");
    #[rustfmt::skip]
    let table = [
        ("YAML that is none",        "  rules: [{name: never",                                                                "all.yaml:"),
        ("a condition that is none", "  rules: [{name: never, outcome: permit, when: 'agent ==', reason: so}]",               "all.yaml:"),
        ("an outcome that is none",  "  rules: [{name: never, outcome: perhaps, reason: so}]",                                "`perhaps` is not an outcome"),
        ("a module that is none",    "  rego: 'package cofferdam; permit if {'",                                              "rego"),
        ("a field that is unknown",  "  rules: [{name: never, outcome: permit, reason: so, unless: x}]",                      "unknown field `unless`"),
    ];
    for (name, spec, why) in table {
        std::fs::write(&file, policy(spec)).unwrap();
        let health = platform
            .until("/api/v1/health", |h| {
                let part = config_part(h);
                part["status"] == "degraded" && part["detail"].as_str().unwrap().contains(why)
            })
            .await;
        assert!(
            config_part(&health)["detail"]
                .as_str()
                .unwrap()
                .contains("all.yaml"),
            "{name}: {health}"
        );
        assert_eq!(verdict().await, before, "{name}: the old policy decides");
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_directory_owns_is_read_only_to_the_api() {
    let platform = watched(DOCUMENTS).await;
    let delete = platform
        .send(
            Method::DELETE,
            "/api/v1/documents/trigger/am",
            Some(&platform.admin),
            None,
        )
        .await;
    assert_eq!(delete.status, StatusCode::CONFLICT, "{delete:?}");
    let mut trigger = platform.get("/api/v1/documents/trigger/am").await.body["document"].clone();
    trigger["spec"]["debounceSeconds"] = json!(1);
    let apply = platform
        .post(
            "/api/v1/documents",
            &json!({"documents": [trigger, channel("x")]}),
        )
        .await;
    assert_eq!(apply.status, StatusCode::CONFLICT, "{apply:?}");
    assert!(
        apply.body["detail"]
            .as_str()
            .unwrap()
            .contains("Trigger `am` is owned by"),
        "{apply:?}"
    );
    assert_eq!(
        platform.get("/api/v1/documents/channel").await.body,
        json!([]),
        "nothing of it was applied"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_come_by_the_api_and_stay_over_a_restart() {
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |_| {}).await;
    let body = json!({"documents": [channel("a"), channel("b")]});
    let dry = platform.post("/api/v1/documents?dry_run=true", &body).await;
    assert_eq!(
        (dry.status, &dry.body["changes"][0]["change"]),
        (StatusCode::OK, &json!("created")),
        "{dry:?}"
    );
    assert_eq!(platform.get("/api/v1/documents").await.body, json!([]));
    let applied = platform.post("/api/v1/documents", &body).await;
    assert_eq!(
        (applied.status, &applied.body["generation"]),
        (StatusCode::OK, &json!(1)),
        "{applied:?}"
    );
    let again = platform.post("/api/v1/documents", &body).await;
    assert_eq!(
        (&again.body["generation"], &again.body["changes"][0]["change"]),
        (&json!(1), &json!("unchanged"))
    );
    let platform = platform.restart().await;
    let shown = platform.get("/api/v1/documents/Channel/a").await.body;
    assert_eq!(
        (&shown["document"], &shown["owner"]),
        (&channel("a"), &json!("api"))
    );
    let gone = platform
        .send(
            Method::DELETE,
            "/api/v1/documents/Channel/a",
            Some(&platform.admin),
            None,
        )
        .await;
    assert_eq!(
        (gone.status, &gone.body["changes"][0]["change"]),
        (StatusCode::OK, &json!("deleted")),
        "{gone:?}"
    );
    let entries = platform
        .get("/api/v1/audit/entries?from=0&kind=config")
        .await
        .body;
    let kinds: Vec<_> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["kind"].clone())
        .collect();
    assert_eq!(kinds, ["config.applied", "config.applied", "config.deleted"]);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_documents_are_refused_with_their_place() {
    let platform = Platform::start().await;
    let with = |pointer: &str, value: Value| {
        let mut document = channel("a");
        *document.pointer_mut(pointer).unwrap() = value;
        json!({"documents": [channel("z"), document]})
    };
    let mut relative = channel("a");
    relative["spec"] = json!({"type": "webhook", "url": "https://x/", "secretRef": {"file": "k"}});
    let directory = |more: Value| {
        let mut ldap = json!({"url": "ldaps://x", "baseDn": "dc=x", "groupAttribute": "memberOf"});
        ldap.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let mut document = channel("a");
        document["kind"] = json!("IdentityProvider");
        document["spec"] = json!({"ldap": ldap, "roles": {"sre": ["viewer"]}});
        json!({"documents": [document]})
    };
    let mut unused = channel("a");
    unused["kind"] = json!("Trigger");
    unused["spec"] = json!({"source": "alertmanager", "agent": "nobody"});
    let table = [
        (
            "an unknown kind",
            with("/kind", json!("Schedule")),
            "/documents/1/kind",
        ),
        (
            "a wrong type",
            with("/spec/type", json!(7)),
            "/documents/1/spec/type",
        ),
        (
            "a bad name",
            with("/metadata/name", json!("A")),
            "/documents/1/metadata/name",
        ),
        (
            "the same twice",
            json!({"documents": [channel("a"), channel("a")]}),
            "/documents/1/metadata/name",
        ),
        (
            "a relative path",
            json!({"documents": [relative]}),
            "/documents/0/spec/secretRef/file",
        ),
        (
            "a relative path of a directory's secret",
            directory(json!({"bind": {"dn": "cn=x", "secretRef": {"file": "k"}}})),
            "/documents/0/spec/ldap/bind/secretRef/file",
        ),
        (
            "a relative path of its authorities",
            directory(json!({"caFile": "ca.pem"})),
            "/documents/0/spec/ldap/caFile",
        ),
        (
            "a dangling name",
            json!({"documents": [unused]}),
            "/documents/0/spec/agent",
        ),
        ("no list", json!({"documents": {}}), "/documents"),
        ("no documents", json!([]), ""),
    ];
    for (name, body, place) in table {
        let answer = platform.post("/api/v1/documents", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}: {answer:?}");
        assert_eq!(answer.body["place"], place, "{name}: {answer:?}");
    }
    // Deleting what others need is refused with who needs it.
    let platform = {
        let applied = platform
            .post("/api/v1/documents", &json!({"documents": [channel("free")]}))
            .await;
        assert_eq!(applied.status, StatusCode::OK, "{applied:?}");
        platform
    };
    assert_eq!(
        platform
            .get("/api/v1/documents")
            .await
            .body
            .as_array()
            .unwrap()
            .len(),
        4
    );
    platform.stop().await;
}

/// The watch must not see its own data directory, or every entry would reload the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_beside_the_data_is_not_reloaded_by_its_own_writing() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("all.yaml"), DOCUMENTS).unwrap();
    let config = directory.path().to_owned();
    let platform = Platform::start_in(directory, |options| {
        options.config = Some(config);
        options.watch = true;
    })
    .await;
    let size = async || platform.get("/api/v1/audit/entries?limit=1").await.body["size"].clone();
    let before = size().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(size().await, before);
    platform.stop().await;
}

/// `--data-dir ./cofferdam` beside `./cofferdam.yaml`; and a change that comes before the watch stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_whose_name_begins_like_the_data_directory_is_followed_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("data.yaml");
    std::fs::write(&config, DOCUMENTS).unwrap();
    let file = config.clone();
    let platform = Platform::start_in(directory, |options| {
        options.config = Some(config);
        options.watch = true;
    })
    .await;
    for (name, count) in [("at-once", 4), ("later", 5)] {
        let more = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{more}---\n{}\n", channel(name))).unwrap();
        platform
            .until("/api/v1/documents", |list| {
                list.as_array().unwrap().len() == count
            })
            .await;
    }
    platform.stop().await;
}

/// What is refused by now was stored when it was not: a start with it must not turn everything off.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_by_now_stays_in_force_where_it_is_stored() {
    let platform = Platform::start().await;
    let mut staff = channel("staff");
    staff["kind"] = json!("IdentityProvider");
    let ldap =
        json!({"url": "ldaps://x", "baseDn": "dc=x", "groupAttribute": "memberOf;x", "caFile": "ca.pem"});
    staff["spec"] = json!({"ldap": ldap, "roles": {"sre": ["viewer"]}});
    let gate = std::sync::Arc::clone(&platform.running.as_ref().unwrap().app().gate);
    let (by, now) = (policy::Principal::person("alice"), gate.authority());
    let (generation, same) = (now.generation, gate::Authority::clone(&now));
    let stored = gate::DocumentChange::Apply {
        kind: "IdentityProvider".to_owned(),
        name: "staff".to_owned(),
        document: staff.clone(),
    };
    gate.install(&by, gate::Owner::Api, generation, vec![stored], same)
        .await
        .unwrap();
    drop(gate);
    let directory = platform.stopped().await;
    let platform = Platform::start_in(directory, |_| ()).await;
    let login = platform.get("/api/v1/login").await.body;
    assert_eq!(login["providers"][0]["name"], "staff", "{login}");
    // Neither does it stand in the way of others, until it is applied again.
    for (document, status) in [
        (channel("other"), StatusCode::OK),
        (staff, StatusCode::BAD_REQUEST),
    ] {
        let answer = platform
            .post("/api/v1/documents", &json!({"documents": [document]}))
            .await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    platform.stop().await;
}
