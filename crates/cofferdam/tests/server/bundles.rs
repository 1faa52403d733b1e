//! Signed bundles: installed, refused, kept over a restart and a rebuild, and named by every decision.

use crate::common::{Answer, DOCUMENTS, Platform};
use gate::bundles::{Contents, Envelope, Part, PublisherKey};
use policy::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn key(seed: u8) -> PublisherKey {
    PublisherKey::from_seed(&[seed; 32])
}

fn publisher(more: Value) -> Value {
    let mut spec = json!({"publicKeys": [key(1).public()]});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    json!({"apiVersion": "cofferdam.dev/v1", "kind": "Publisher", "metadata": {"name": "acme"}, "spec": spec})
}

/// A policy that forbids to search incidents, or with another outcome something that nobody does.
fn policy(name: &str, outcome: &str) -> Value {
    let verb = if outcome == "deny" {
        "incidents.search"
    } else {
        "nothing.at.all"
    };
    json!({"apiVersion": "cofferdam.dev/v1", "kind": "Policy", "metadata": {"name": name},
        "spec": {"rules": [{"name": "r", "match": {"verbs": [verb]}, "outcome": outcome}]}})
}

fn envelope(version: u64, policies: &[Value]) -> Envelope {
    let part = |document: &Value| Part {
        path: format!("{}.yaml", document["metadata"]["name"].as_str().unwrap()),
        document: document.clone(),
    };
    let contents = Contents {
        publisher: "acme".into(),
        version,
        created: Timestamp::from_ms(0),
        documents: policies.iter().map(part).collect(),
        tests: vec![],
    };
    Envelope::sign(&contents, &key(1)).unwrap()
}

fn signed(version: u64, policies: &[Value]) -> Value {
    envelope(version, policies).value().clone()
}

async fn apply(
    platform: &Platform,
    documents: &[Value],
    bundles: &[Value],
    rollback: Option<&str>,
) -> Answer {
    let body = json!({"documents": documents, "bundles": bundles, "allow_rollback": rollback});
    platform.post("/api/v1/documents", &body).await
}

async fn versions(platform: &Platform) -> Vec<(Value, Value, Value)> {
    let rows = platform.get("/api/v1/bundles").await.body;
    let row = |row: &Value| {
        (
            row["version"].clone(),
            row["highest"].clone(),
            row["in_force"].clone(),
        )
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

async fn entries(platform: &Platform, kind: &str) -> Vec<Value> {
    let found = platform
        .get(&format!("/api/v1/audit/entries?from=0&kind={kind}"))
        .await
        .body;
    found["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["body"].clone())
        .collect()
}

async fn owner(platform: &Platform, name: &str) -> Value {
    platform
        .get(&format!("/api/v1/documents/Policy/{name}"))
        .await
        .body["owner"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_names_the_bundle_that_made_it_or_the_generation_of_a_document() {
    let platform = Platform::start().await;
    let bundles = [signed(7, &[policy("calm", "deny")])];
    let made = apply(
        &platform,
        &[publisher(json!({})), policy("loose", "permit")],
        &bundles,
        None,
    )
    .await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    assert_eq!(
        (
            &made.body["bundles"][0]["change"],
            &made.body["bundles"][0]["version"]
        ),
        (&json!("installed"), &json!(7))
    );
    let act = async || {
        let task = platform
            .post("/api/v1/tasks", &json!({"agent": "finder", "input": 1}))
            .await;
        let session = format!("/api/v1/sessions/{}", task.body["session"].as_str().unwrap());
        platform
            .until(&session, |session| {
                session["ended"].is_string()
                    || session["state"] == "completed"
                    || session["state"] == "failed"
            })
            .await;
        entries(&platform, "action.denied").await.pop().unwrap()
    };
    let denied = act().await;
    assert_eq!(
        (&denied["rule"], &denied["version"], &denied["bundles"]),
        (&json!("policy/calm#r"), &json!("acme@7"), &json!(["acme@7"])),
        "{denied}"
    );
    assert!(
        denied["policy"].as_str().unwrap().len() == 64 && denied["generation"].is_u64(),
        "{denied}"
    );
    let question = json!({"agent": "finder", "verb": "incidents.search", "resource": "incidents"});
    let told = platform.post("/api/v1/explain", &question).await.body;
    let lines = told["lines"].as_array().unwrap();
    let finding = |subject: &str| {
        lines.iter().find(|line| line["subject"] == subject).unwrap()["finding"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(finding("policy/calm#r").ends_with(" (acme@7)"), "{told}");
    assert!(
        finding(&format!("generation {}", denied["generation"])).ends_with(", with acme@7"),
        "{told}"
    );
    // The same policy by hand, once its bundle is gone, and then once more.
    let gone = platform
        .send(
            Method::DELETE,
            "/api/v1/bundles/acme",
            Some(&platform.admin),
            None,
        )
        .await;
    assert_eq!(
        (gone.status, &gone.body["bundles"][0]["change"]),
        (StatusCode::OK, &json!("removed")),
        "{gone:?}"
    );
    apply(&platform, &[policy("calm", "permit")], &[], None).await;
    apply(&platform, &[policy("calm", "deny")], &[], None).await;
    let denied = act().await;
    assert_eq!(
        (&denied["version"], &denied["bundles"]),
        (&json!("generation 2"), &Value::Null),
        "{denied}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_may_not_bring_is_refused_whole_with_its_reason() {
    let platform = Platform::start().await;
    let first = [signed(3, &[policy("calm", "permit")])];
    assert_eq!(
        apply(
            &platform,
            &[publisher(json!({})), policy("mine", "permit")],
            &first,
            None
        )
        .await
        .status,
        StatusCode::OK
    );
    let calm = |version| signed(version, &[policy("calm", "deny")]);
    let mut broken = policy("calm", "deny");
    broken["spec"]["rules"][0]["when"] = json!("agent ==");
    let mut misspelt = policy("calm", "deny");
    misspelt["spec"]["rulez"] = json!([]);
    let digest = "0".repeat(64);
    let bad = StatusCode::BAD_REQUEST;
    #[rustfmt::skip]
    let table = [
        ("an older one",              vec![],                                             vec![calm(2)],  None, StatusCode::CONFLICT, "version 2 of Publisher `acme` is older than 3"),
        ("the same number",           vec![],                                             vec![calm(3)],  None, StatusCode::CONFLICT, "was here before with other contents"),
        ("an empty reason",           vec![],                                             vec![calm(2)],  Some(" "), bad, "a reason has 1 to"),
        ("below the minimum",         vec![publisher(json!({"minimumVersion": 5}))],      vec![calm(4)],  None, bad, "version 4 is below the minimumVersion 5"),
        ("not the pinned version",    vec![publisher(json!({"pin": {"version": 5}}))],    vec![calm(4)],  None, bad, "pinned to version 5, and this is 4"),
        ("not the pinned digest",     vec![publisher(json!({"pin": {"digest": digest}}))], vec![calm(4)], None, bad, "is pinned to sha256 0000"),
        ("an empty pin",              vec![publisher(json!({"pin": {}}))],                vec![],         None, bad, "a pin has a version, a digest, or both"),
        ("a key that is none",        vec![publisher(json!({"publicKeys": ["x"]}))],      vec![],         None, bad, "not an Ed25519 public key"),
        ("no key",                    vec![publisher(json!({"publicKeys": []}))],         vec![],         None, bad, "1 to 8 keys"),
        ("a key that was taken away", vec![publisher(json!({"publicKeys": [key(2).public()]}))], vec![calm(4)], None, bad, "no signature is by a key of Publisher `acme`"),
        ("two of one publisher",      vec![],                                             vec![calm(4), calm(5)], None, bad, "a second bundle of Publisher `acme`"),
        ("what does not compile",     vec![],                                             vec![signed(4, &[broken])], None, bad, "rule `policy/calm#r`"),
        ("a field that is unknown",   vec![],                                             vec![signed(4, &[misspelt])], None, bad, "unknown field `rulez`"),
        ("no envelope",               vec![],                                             vec![json!({"a": 1})], None, bad, "not a signed bundle"),
        ("with a document not good",  vec![policy("A", "deny")],                          vec![calm(4)],  None, bad, "`A` is not a name"),
        ("its policy by hand",        vec![policy("calm", "deny")],                       vec![],         None, StatusCode::CONFLICT, "Policy `calm` is owned by the signed bundle of Publisher `acme`"),
    ];
    for (name, documents, bundles, rollback, status, expected) in table {
        let answer = apply(&platform, &documents, &bundles, rollback).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert!(
            answer.body["detail"].as_str().unwrap().contains(expected),
            "{name}: {answer:?}"
        );
        assert_eq!(
            versions(&platform).await,
            [(json!(3), json!(3), json!(true))],
            "{name}: the old one stays"
        );
        let stays = platform.get("/api/v1/documents/Policy/calm").await.body["document"].clone();
        assert_eq!(stays, policy("calm", "permit"), "{name}");
    }
    for (path, expected) in [
        (
            "/api/v1/documents/Policy/calm",
            "is owned by the signed bundle of Publisher `acme`",
        ),
        ("/api/v1/documents/Publisher/acme", "remove the bundle first"),
        (
            "/api/v1/bundles/nobody",
            "there is no bundle of Publisher `nobody` in force",
        ),
    ] {
        let answer = platform
            .send(Method::DELETE, path, Some(&platform.admin), None)
            .await;
        assert!(
            answer.body["detail"].as_str().unwrap().contains(expected),
            "{path}: {answer:?}"
        );
    }
    // Keys may change under what is in force, which goes on and says so.
    let rotated = publisher(json!({"publicKeys": [key(2).public()]}));
    assert_eq!(
        apply(&platform, &[rotated], &[], None).await.status,
        StatusCode::OK
    );
    let rows = platform.get("/api/v1/bundles").await.body;
    assert!(
        rows[0]["outgrown"]
            .as_str()
            .unwrap()
            .contains("a key that Publisher `acme` no longer has"),
        "{rows}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_back_over_a_removal_a_restart_and_a_rebuild_but_for_a_reason_that_is_recorded() {
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |_| {}).await;
    let bundle = |version| [signed(version, &[policy("calm", "permit")])];
    assert_eq!(
        apply(&platform, &[publisher(json!({}))], &bundle(3), None)
            .await
            .status,
        StatusCode::OK
    );
    let gone = platform
        .send(
            Method::DELETE,
            "/api/v1/bundles/acme",
            Some(&platform.admin),
            None,
        )
        .await;
    assert_eq!(gone.status, StatusCode::OK, "{gone:?}");
    assert_eq!(owner(&platform, "calm").await, Value::Null);
    let before = platform.get("/api/v1/bundles").await.body;
    let directory = platform.stopped().await;
    let data = directory.path().join("data");
    let rebuilt = std::process::Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["journal", "rebuild", "--data-dir"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    let platform = Platform::start_in(directory, |_| {}).await;
    assert_eq!(
        platform.get("/api/v1/bundles").await.body,
        before,
        "a rebuild gives the same"
    );
    let refused = apply(&platform, &[], &bundle(2), None).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    let back = apply(&platform, &[], &bundle(2), Some("3 locks us out")).await;
    assert_eq!(
        (back.status, &back.body["bundles"][0]["change"]),
        (StatusCode::OK, &json!("rolled_back")),
        "{back:?}"
    );
    assert_eq!(versions(&platform).await, [(json!(2), json!(3), json!(true))]);
    let entry = entries(&platform, "bundle.installed").await.pop().unwrap();
    assert_eq!(
        (&entry["rollback"], &entry["from"], &entry["version"]),
        (&json!("3 locks us out"), &json!(3), &json!(2))
    );
    // A pin with a reason says the same, for a directory, which has no command line.
    assert_eq!(
        apply(&platform, &[], &bundle(4), None).await.status,
        StatusCode::OK
    );
    let pin = publisher(json!({"pin": {"version": 3, "rollback": "4 is wrong"}}));
    let back = apply(&platform, &[pin], &bundle(3), None).await;
    assert_eq!(
        (back.status, &back.body["bundles"][0]["change"]),
        (StatusCode::OK, &json!("rolled_back")),
        "{back:?}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_policies_are_refused_where_only_signed_ones_count() {
    let platform = Platform::start().await;
    let at = |name: &str, place: Value| {
        let mut policy = policy(name, "permit");
        for (part, value) in place.as_object().unwrap() {
            policy["metadata"][part] = value.clone();
        }
        policy
    };
    let required = publisher(json!({"requireSigned": ["acme/payments"]}));
    assert_eq!(
        apply(&platform, &[required], &[], None).await.status,
        StatusCode::OK
    );
    #[rustfmt::skip]
    let table = [
        ("at the place",    json!({"organization": "acme", "team": "payments"}),                   false),
        ("below it",        json!({"organization": "acme", "team": "payments", "project": "api"}), false),
        ("above it",        json!({"organization": "acme"}),                                       false),
        ("everywhere",      json!({}),                                                             false),
        ("beside it",       json!({"organization": "acme", "team": "search"}),                     true),
    ];
    for (name, place, taken) in table {
        let policy = at("loose", place);
        let answer = apply(&platform, std::slice::from_ref(&policy), &[], None).await;
        assert_eq!(answer.status.is_success(), taken, "{name}: {answer:?}");
        if !taken {
            assert!(
                answer.body["detail"]
                    .as_str()
                    .unwrap()
                    .contains("an unsigned policy: Publisher `acme` requires"),
                "{name}: {answer:?}"
            );
            // To simulate it is no more than to look.
            let looked = platform
                .post("/api/v1/policies/simulate", &json!({"documents": [policy]}))
                .await;
            assert_eq!(looked.status, StatusCode::OK, "{name}: {looked:?}");
        }
    }
    // By its name it would take the place of the built-in one, which is for those of the place too.
    let beside = json!({"organization": "acme", "team": "search"});
    let answer = apply(&platform, &[at("rule-of-two", beside)], &[], None).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    // Requiring them where there is an unsigned one is refused, unless the bundle brings it along.
    let everywhere = publisher(json!({"requireSigned": true}));
    let answer = apply(&platform, std::slice::from_ref(&everywhere), &[], None).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    let beside = at("loose", json!({"organization": "acme", "team": "search"}));
    let answer = apply(&platform, &[everywhere], &[signed(1, &[beside])], None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(owner(&platform, "loose").await, json!("bundle:acme"));
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_brings_bundles_and_takes_them_away() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("conf");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("all.yaml"), DOCUMENTS).unwrap();
    std::fs::write(
        config.join("publisher.json"),
        publisher(json!({"requireSigned": true})).to_string(),
    )
    .unwrap();
    let write = |version, policies: &[Value]| {
        std::fs::write(
            config.join("acme.bundle"),
            envelope(version, policies).to_bytes().unwrap(),
        )
        .unwrap();
    };
    write(1, &[policy("calm", "permit"), policy("quiet", "permit")]);
    let conf = config.clone();
    let platform = Platform::start_in(directory, |options| {
        options.config = Some(conf);
        options.watch = true;
    })
    .await;
    assert_eq!(owner(&platform, "calm").await, json!("bundle:acme"));
    let foreign = apply(&platform, &[], &[signed(2, &[policy("calm", "deny")])], None).await;
    assert_eq!(foreign.status, StatusCode::CONFLICT, "{foreign:?}");
    assert!(
        foreign.body["detail"]
            .as_str()
            .unwrap()
            .contains("is owned by the configuration directory"),
        "{foreign:?}"
    );
    let part = |health: &Value| {
        health["parts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|part| part["name"] == "config")
            .unwrap()
            .clone()
    };
    // What is no longer in the next bundle is deleted.
    write(2, &[policy("calm", "deny")]);
    platform
        .until("/api/v1/bundles", |rows| rows[0]["version"] == 2)
        .await;
    assert_eq!(owner(&platform, "quiet").await, Value::Null);
    // An older file, a broken file and an unsigned policy are refused whole.
    for (what, expected) in [
        ("old", "is older than 2"),
        ("broken", "not a signed bundle"),
        ("unsigned", "an unsigned policy"),
        ("the same without its bundle", "an unsigned policy"),
    ] {
        match what {
            "old" => write(1, &[policy("calm", "permit")]),
            "broken" => std::fs::write(config.join("acme.bundle"), "{}").unwrap(),
            "the same without its bundle" => {
                std::fs::write(config.join("loose.json"), policy("calm", "deny").to_string()).unwrap();
                std::fs::remove_file(config.join("acme.bundle")).unwrap();
            }
            _ => std::fs::write(config.join("loose.json"), policy("loose", "permit").to_string()).unwrap(),
        }
        let health = platform
            .until("/api/v1/health", |health| {
                part(health)["status"] == "degraded"
                    && part(health)["detail"].as_str().unwrap().contains(expected)
            })
            .await;
        assert!(
            part(&health)["detail"]
                .as_str()
                .unwrap()
                .contains("the former state is in force"),
            "{what}: {health}"
        );
        assert_eq!(
            versions(&platform).await,
            [(json!(2), json!(2), json!(true))],
            "{what}"
        );
        let _ = std::fs::remove_file(config.join("loose.json"));
        write(2, &[policy("calm", "deny")]);
        platform
            .until("/api/v1/health", |health| part(health)["status"] == "healthy")
            .await;
    }
    // Gone, and the policy stands there by itself.
    std::fs::write(config.join("publisher.json"), publisher(json!({})).to_string()).unwrap();
    std::fs::write(config.join("calm.json"), policy("calm", "deny").to_string()).unwrap();
    std::fs::remove_file(config.join("acme.bundle")).unwrap();
    platform
        .until("/api/v1/bundles", |rows| rows[0]["in_force"] == false)
        .await;
    assert_eq!(owner(&platform, "calm").await, json!("directory"));
    platform.stop().await;
}
