//! The door to models, over a scripted upstream that keeps what it was sent.

use crate::upstream::{Says, Upstream};
use crate::world::{World, agent, authority, rules};
use gate::egress::{Egress, Settings};
use gate::llm::{Ask, Body, Llm, ModelSpec, Models, Protocol, Reply, RouteSpec, Sensitivity};
use gate::{AgentAuthority, Authority, Bounds};
use policy::budget::{Budget, BudgetSpec};
use policy::{Branch, Grant, Level, Principal, StopScope};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use tokio::sync::watch;

/// What no client, no record and no error ever shows.
const KEY: &str = "sk-provider-4711";

struct Door {
    world: World,
    llm: Arc<Llm>,
    session: String,
    /// Whoever waits for answers.
    _here: watch::Sender<()>,
    gone: watch::Receiver<()>,
    _directory: tempfile::TempDir,
}

fn model(upstream: &Upstream, more: Value) -> ModelSpec {
    let mut spec = json!({
        "provider": "compatible", "endpoint": format!("http://{}/v1", upstream.address), "networks": ["127.0.0.0/8"],
        "onPremises": true, "model": "gpt-4o-mini", "speaks": ["chat", "responses", "embeddings", "messages"],
        "price": { "input": 1, "output": 10 },
    });
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn budget(spec: Value) -> Budget {
    let mut spec: BudgetSpec = serde_json::from_value(spec).unwrap();
    spec.place = Branch::everywhere();
    spec.compile("day").unwrap()
}

async fn door(models: &[(&str, ModelSpec)], routes: &[(&str, Value)], budgets: Vec<Budget>) -> Door {
    with(models, routes, budgets, BTreeMap::new()).await
}

async fn with(
    models: &[(&str, ModelSpec)],
    routes: &[(&str, Value)],
    budgets: Vec<Budget>,
    sensitivity: BTreeMap<String, Sensitivity>,
) -> Door {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("key");
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&secret)
        .unwrap();
    std::io::Write::write_all(&mut file, KEY.as_bytes()).unwrap();
    let compiled: Vec<_> = models
        .iter()
        .map(|(name, spec)| {
            let spec = ModelSpec {
                secret_ref: Some(secrets::SecretRef::File(secret.clone())),
                ..spec.clone()
            };
            Arc::new(spec.compile(name).unwrap())
        })
        .collect();
    let routes = routes.iter().map(|(name, spec)| {
        let spec: RouteSpec = serde_json::from_value(spec.clone()).unwrap();
        Arc::new(spec.compile(name, &compiled).unwrap())
    });
    let models = Models::new(compiled.clone(), routes.collect(), sensitivity);
    let grants: Vec<Grant> = compiled
        .iter()
        .filter_map(|model| model.grant("model/test"))
        .collect();
    let acting = AgentAuthority {
        grants,
        bounds: Bounds {
            actions_per_session: 100_000,
            actions_per_minute: 100_000,
            actions_per_second: NonZeroU32::new(100_000),
            ..Bounds::default()
        },
        ..agent(Level::L3)
    };
    let elsewhere = AgentAuthority {
        place: policy::Place::new("other", "sre", "ops").unwrap(),
        ..acting.clone()
    };
    let agents = [
        ("triage", acting),
        ("elsewhere", elsewhere),
        ("reader", agent(Level::L0)),
    ];
    let authority = Authority {
        budgets: Arc::new(budgets),
        ..authority(&rules(), &agents)
    };
    let world = World::with(authority).await;
    let egress = Egress::new(world.gate.clone(), Settings::default());
    let settings = gate::llm::Settings {
        resolver: Arc::new(gate::egress::System),
        private: Arc::from([]),
        own: Vec::new(),
    };
    let llm = Llm::new(world.gate.clone(), egress, settings);
    llm.install(&models);
    let session = world.running("triage").await;
    let (here, gone) = watch::channel(());
    Door {
        world,
        llm,
        session,
        _here: here,
        gone,
        _directory: directory,
    }
}

impl Door {
    async fn ask(&self, protocol: Protocol, body: &str) -> Reply {
        self.llm
            .call(Ask {
                session: self.session.clone(),
                protocol,
                headers: vec![
                    ("authorization".to_owned(), "Bearer inner".to_owned()),
                    ("anthropic-beta".to_owned(), "x-1".to_owned()),
                ],
                query: String::new(),
                body: body.as_bytes().to_vec(),
                gone: self.gone.clone(),
            })
            .await
    }

    /// Status, body and whatever `cofferdam-reason` says.
    async fn told(&self, protocol: Protocol, body: &str) -> (u16, String, String) {
        let reply = self.ask(protocol, body).await;
        let reason = header(&reply, "cofferdam-reason");
        (reply.status, whole(reply).await, reason)
    }

    /// Code and cost of each call that was settled, in order.
    async fn settled(&self) -> Vec<(String, u64)> {
        self.world.gate.flush().await.unwrap();
        let settled = self.world.bodies("action.settled");
        let told = |body: &Value| {
            let code = body.pointer("/failure/type").unwrap_or(&body["outcome"]);
            (
                code.as_str().unwrap().to_owned(),
                body["resources"]["cost_micros"].as_u64().unwrap(),
            )
        };
        settled.iter().map(told).collect()
    }
}

fn header(reply: &Reply, name: &str) -> String {
    let found = reply.headers.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

async fn whole(reply: Reply) -> String {
    match reply.body {
        Body::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Body::Stream(mut receiver) => {
            let mut all = Vec::new();
            while let Some(piece) = receiver.recv().await {
                all.extend_from_slice(&piece);
            }
            String::from_utf8(all).unwrap()
        }
    }
}

const CHAT: &str = r#"{"model":"m", "messages":[{"role":"user","content":"hi","x-own":1}], "vendor_hint": null, "max_tokens": 100}"#;
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29},"x-own":[1]}"#;

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn delta(text: &str) -> String {
    event(
        &json!({ "id": "c", "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "content": text } }] }),
    )
}

fn stop() -> String {
    event(
        &json!({ "id": "c", "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
    )
}

fn usage() -> String {
    event(
        &json!({ "id": "c", "object": "chat.completion.chunk", "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": 2 } }),
    )
}

const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn a_call_goes_out_as_it_was_written_and_comes_back_as_it_was_said() {
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let door = door(&[("m", model(&upstream, json!({})))], &[], Vec::new()).await;
    let reply = door.ask(Protocol::Chat, CHAT).await;
    assert_eq!(
        (reply.status, header(&reply, "content-type").as_str()),
        (200, "application/json")
    );
    let entry = header(&reply, "cofferdam-entry");
    assert_eq!(whole(reply).await, ANSWER, "to the byte");
    let sent = upstream.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        sent[0].body,
        CHAT.replace(r#""model":"m""#, r#""model":"gpt-4o-mini""#),
        "but for the model's name"
    );
    assert!(
        sent[0].head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        sent[0].head
    );
    assert!(
        sent[0].head.contains(&format!("authorization: Bearer {KEY}")),
        "{}",
        sent[0].head
    );
    assert!(
        !sent[0].head.contains("inner") && !sent[0].head.contains("anthropic"),
        "{}",
        sent[0].head
    );
    // 19 in at a dollar a million, 10 out at ten.
    assert_eq!(door.settled().await, [("success".to_owned(), 119)]);
    let permitted = &door.world.bodies("action.permitted")[0];
    let bytes = (CHAT.len() + "gpt-4o-mini".len() - 1) as u64;
    // One token a byte of what came in, the overhead, and the cap at its price.
    assert_eq!(
        permitted["reserved"]["amounts"]["micros"],
        (CHAT.len() as u64 + 1024) + 1000
    );
    assert_eq!(permitted["resource"], "model/m");
    assert_eq!(permitted["effect"], "read");
    let settled = &door.world.bodies("action.settled")[0];
    assert_eq!(settled["summary"], "19 in, 10 out, $0.000119");
    assert_eq!(
        entry,
        door.world
            .entries()
            .iter()
            .find(|e| e.kind == "action.permitted")
            .unwrap()
            .sequence
            .to_string()
    );
    // The record holds the request as it went out, and the key nowhere.
    let payload = door
        .world
        .gate
        .store()
        .read(|reader| reader.payload(entry.parse().unwrap(), "arguments"))
        .unwrap();
    let store::Erasable::Present(arguments) = payload else {
        panic!()
    };
    assert_eq!(arguments["arguments"]["request"], sent[0].body.as_str());
    assert_eq!(arguments["arguments"]["bytes"], bytes);
    assert_eq!(
        arguments["arguments"]["changes"],
        json!([{ "at": "/model", "from": "\"m\"", "to": "\"gpt-4o-mini\"" }])
    );
    assert!(!arguments.to_string().contains(KEY));
}

#[tokio::test]
async fn a_stream_is_passed_on_and_its_usage_is_for_who_asked() {
    let events = [delta("Hel"), delta("lo"), stop(), usage(), DONE.to_owned()].concat();
    for (asked, expected) in [
        (r#""stream_options":{"include_usage":true},"#, events.clone()),
        ("", [delta("Hel"), delta("lo"), stop(), DONE.to_owned()].concat()),
    ] {
        let script = events.clone();
        let upstream = Upstream::new(move |_| Says::stream(&script)).await;
        let door = door(&[("m", model(&upstream, json!({})))], &[], Vec::new()).await;
        let body = format!(r#"{{"model":"m",{asked}"stream":true,"messages":[],"max_tokens":9}}"#);
        let reply = door.ask(Protocol::Chat, &body).await;
        assert_eq!(header(&reply, "content-type"), "text/event-stream");
        assert_eq!(whole(reply).await, expected);
        assert!(upstream.sent()[0].body.contains(r#""include_usage":true"#));
        assert_eq!(door.settled().await, [("success".to_owned(), 29)]);
    }
}

#[tokio::test]
async fn what_nobody_knows_was_used_is_paid_for_whole() {
    let asks = r#"{"model":"m","stream":true,"messages":[],"max_tokens":9}"#;
    let most = asks.len() as u64 + 1024 + 90;
    #[rustfmt::skip]
    let table: [(&str, Says, &str, u64); 6] = [
        ("cut in the middle",     Says::stream(&delta("Hel")).cut(),                                    "broken",             most),
        ("no usage",              Says::stream(&[delta("Hel"), stop(), DONE.to_owned()].concat()),      "cut",             most),
        ("an error inside",       Says::stream(&[delta("a"), event(&json!({"error": {"message": "no"}}))].concat()), "upstream_failed", most),
        ("more than the cap",     Says::stream(&[delta(&"x".repeat(2000)), usage(), DONE.to_owned()].concat()), "ceiling",  most),
        ("text that cost nothing", Says::stream(&[delta("a"), stop(), event(&json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}})), DONE.to_owned()].concat()), "success", most),
        ("more than it can be",   Says::stream(&[delta("a"), stop(), event(&json!({"choices": [], "usage": {"prompt_tokens": 900_000, "completion_tokens": 9}})), DONE.to_owned()].concat()), "success", most),
    ];
    for (name, says, code, cost) in table {
        let upstream = Upstream::new(move |_| says.clone()).await;
        let door = door(&[("m", model(&upstream, json!({})))], &[], Vec::new()).await;
        let reply = door.ask(Protocol::Chat, asks).await;
        assert_eq!(reply.status, 200, "{name}");
        let body = whole(reply).await;
        assert_eq!(door.settled().await, [(code.to_owned(), cost)], "{name}: {body}");
        if matches!(code, "cut" | "broken" | "ceiling") {
            let last = body.trim_end().rsplit("\n\n").next().unwrap();
            assert!(
                last.contains("\"error\"") && last.contains("entry "),
                "{name}: the client is told: {last}"
            );
        }
    }
}

#[tokio::test]
async fn errors_of_upstreams_come_in_the_shape_of_the_protocol_and_cost_what_may_have_been_billed() {
    let error = |kind: &str| {
        format!(r#"{{"error":{{"message":"no: sk-provider-4711","type":"{kind}","code":"{kind}"}}}}"#)
    };
    #[rustfmt::skip]
    let table: [(u16, String, u16, &str); 8] = [
        (400, error("invalid_request_error"),   400, "upstream_bad_request"),
        (400, error("context_length_exceeded"), 400, "context_length_exceeded"),
        (401, error("invalid_api_key"),         502, "upstream_account"),
        (403, error("permission"),              502, "upstream_account"),
        (404, error("model_not_found"),         502, "upstream_not_found"),
        (429, error("insufficient_quota"),      502, "upstream_account"),
        (500, "<html>".to_owned(),              502, "upstream_failed"),
        (302, String::new(),                    502, "upstream_failed"),
    ];
    for (status, body, expected, code) in table {
        let said = body.clone();
        let upstream = Upstream::new(move |_| Says::json(status, &said)).await;
        let door = door(
            &[("m", model(&upstream, json!({})))],
            &[("r", json!({"targets": [{"model": "m"}], "retries": 0}))],
            Vec::new(),
        )
        .await;
        for (protocol, body) in [
            (Protocol::Chat, CHAT.replace("\"m\"", "\"r\"")),
            (
                Protocol::Messages,
                r#"{"model":"r","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#.to_owned(),
            ),
        ] {
            let (got, said, reason) = door.told(protocol, &body).await;
            assert_eq!((got, reason.as_str()), (expected, code), "{status}: {said}");
            let said: Value = serde_json::from_str(&said).unwrap();
            assert!(
                said["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("model `m` answered"),
                "{said}"
            );
            assert_eq!(
                said.get("type").is_some(),
                protocol == Protocol::Messages,
                "{said}"
            );
        }
        // A server that failed on the way may have billed it; nobody bills what was refused.
        let costs: Vec<u64> = door.settled().await.into_iter().map(|(_, cost)| cost).collect();
        assert!(
            costs.iter().all(|cost| (*cost > 0) == (status == 500)),
            "{status}: {costs:?}"
        );
        let leaves = format!("{:?}", door.world.bodies("action.settled"));
        assert!(
            !leaves.contains("4711"),
            "what a vendor says is in no leaf: {leaves}"
        );
    }
}

#[tokio::test]
async fn a_success_that_is_none_is_paid_for() {
    for says in [
        Says::json(200, r#"{"error":{"message":"overloaded"}}"#),
        Says::json(200, "no json"),
        Says::json(200, ANSWER).cut(),
    ] {
        let upstream = Upstream::new(move |_| says.clone()).await;
        let door = door(
            &[("m", model(&upstream, json!({})))],
            &[("r", json!({"targets": [{"model": "m"}], "retries": 0}))],
            Vec::new(),
        )
        .await;
        let (status, said, _) = door.told(Protocol::Chat, &CHAT.replace("\"m\"", "\"r\"")).await;
        assert!((500..600).contains(&status), "{status} {said}");
        let settled = door.settled().await;
        assert_eq!(
            (settled.len(), settled[0].1),
            (1, CHAT.len() as u64 + 2024),
            "{settled:?}"
        );
    }
}

#[tokio::test]
async fn a_route_tries_again_then_elsewhere_and_leaves_alone_what_keeps_failing() {
    let ill = Upstream::new(|_| Says::json(503, "{}")).await;
    let well = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let door = door(
        &[("a", model(&ill, json!({}))), ("b", model(&well, json!({})))],
        &[(
            "r",
            json!({ "aliases": ["gpt-x"], "targets": [{"model": "a"}], "fallbacks": ["b"], "retries": 1 }),
        )],
        Vec::new(),
    )
    .await;
    for _ in 0..4 {
        let (status, body, _) = door
            .told(Protocol::Chat, &CHAT.replace("\"m\"", "\"gpt-x\""))
            .await;
        assert_eq!((status, body.as_str()), (200, ANSWER));
    }
    // Twice, twice, once; then it is left alone, and tried only after the other.
    assert_eq!((ill.sent().len(), well.sent().len()), (6, 4));
    let state = |name: &str| {
        door.llm
            .all()
            .into_iter()
            .find(|one| one.name == name)
            .unwrap()
            .breaker
            .unwrap()
    };
    assert_eq!((state("a"), state("b")), ("open", "closed"));
    door.world.advance(31_000);
    assert_eq!(state("a"), "half_open");
    let permitted = door.world.bodies("action.permitted");
    assert_eq!(
        permitted
            .iter()
            .filter(|body| body["resource"] == "model/a")
            .count(),
        6,
        "each try is an action"
    );
}

#[tokio::test]
async fn a_route_spreads_calls_by_weight() {
    let (one, two) = (
        Upstream::new(|_| Says::json(200, ANSWER)).await,
        Upstream::new(|_| Says::json(200, ANSWER)).await,
    );
    let door = door(
        &[("a", model(&one, json!({}))), ("b", model(&two, json!({})))],
        &[(
            "r",
            json!({ "targets": [{"model": "a", "weight": 3}, {"model": "b", "weight": 1}] }),
        )],
        Vec::new(),
    )
    .await;
    for _ in 0..8 {
        assert_eq!(
            door.told(Protocol::Chat, &CHAT.replace("\"m\"", "\"r\"")).await.0,
            200
        );
    }
    assert_eq!((one.sent().len(), two.sent().len()), (6, 2));
}

#[tokio::test]
async fn what_has_no_bound_is_refused_by_name_before_anything_is_sent() {
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let door = door(
        &[
            ("m", model(&upstream, json!({}))),
            ("vendor", model(&upstream, json!({ "provider": "openai" }))),
            (
                "told",
                model(&upstream, json!({ "provider": "openai", "passes": ["x_new"] })),
            ),
            (
                "free",
                model(&upstream, json!({ "model": "unheard-of", "price": {} })),
            ),
            ("endless", model(&upstream, json!({ "model": "unheard-of" }))),
        ],
        &[],
        Vec::new(),
    )
    .await;
    let image = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}"#;
    let search = r#"{"model":"m","max_output_tokens":9,"input":"hi","tools":[{"type":"web_search"}]}"#;
    let tier = r#"{"model":"m","max_tokens":9,"messages":[],"service_tier":"priority"}"#;
    let field = r#"{"model":"vendor","max_tokens":9,"messages":[],"x_new":1}"#;
    #[rustfmt::skip]
    let table = [
        (Protocol::Chat,      field,                                              403, "`x_new` has no ceiling price (leave it out)"),
        (Protocol::Chat,      image,                                              403, "image"),
        (Protocol::Responses, search,                                             403, "web_search"),
        (Protocol::Chat,      tier,                                               403, "service_tier"),
        (Protocol::Chat,      r#"{"model":"free","messages":[],"max_tokens":9}"#, 403, "model `free` has no price"),
        (Protocol::Chat,      r#"{"model":"endless","messages":[]}"#,             403, "how long answers of model `endless` can be"),
        (Protocol::Chat,      r#"{"model":"nope","messages":[]}"#,                404, "there is no model `nope` here"),
        (Protocol::Chat,      r#"{"model":"m","messages":[],"model":"free"}"#,    400, "appears twice"),
        (Protocol::Chat,      "{",                                                400, ""),
    ];
    for (protocol, body, status, part) in table {
        let (got, said, _) = door.told(protocol, body).await;
        assert_eq!(got, status, "{body}: {said}");
        assert!(said.contains(part), "{body}: {said}");
    }
    assert!(upstream.sent().is_empty());
    // A server of one's own gets what it is sent, and a vendor what its Model says.
    for name in ["m", "told"] {
        let asks = format!(r#"{{"model":"{name}","max_tokens":9,"messages":[],"x_new":1}}"#);
        assert_eq!(door.told(Protocol::Chat, &asks).await.0, 200, "{name}");
        assert!(upstream.sent().last().unwrap().body.contains(r#""x_new":1"#));
    }
    assert_eq!(
        door.world.bodies("action.denied").len(),
        7,
        "and recorded, but for what is no request"
    );
}

#[tokio::test]
async fn an_over_budget_call_is_told_in_both_shapes_and_when_to_come_again() {
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let spent = vec![budget(json!({ "per": "day", "limits": { "money": "0.002" } }))];
    let door = door(&[("m", model(&upstream, json!({})))], &[], spent).await;
    for protocol in [Protocol::Chat, Protocol::Messages] {
        let reply = door.ask(protocol, &CHAT.replace("100", "1000")).await;
        assert_eq!(
            (reply.status, header(&reply, "cofferdam-reason").as_str()),
            (429, "budget")
        );
        assert_eq!(header(&reply, "x-should-retry"), "false", "not before tomorrow");
        assert!(header(&reply, "retry-after").parse::<u64>().unwrap() > 60);
        let said: Value = serde_json::from_str(&whole(reply).await).unwrap();
        let message = said["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("budget `day` would be passed: $0.00 of $0.002 are used"),
            "{message}"
        );
        assert!(message.contains("cofferdam budget raise day"), "{message}");
    }
    assert!(upstream.sent().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_number_of_calls_at_once_passes_a_budget() {
    let upstream = Upstream::new(|n| match n % 5 {
        0 => Says::json(500, "{}"),
        1 => Says::json(200, ANSWER).cut(),
        2 => Says::json(429, "{}"),
        _ => Says::json(200, ANSWER),
    })
    .await;
    let limit = 60_000;
    let spent = vec![budget(json!({ "per": "day", "limits": { "money": "0.06" } }))];
    let door = Arc::new(door(&[("m", model(&upstream, json!({})))], &[], spent).await);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let door = Arc::clone(&door);
        all.spawn(async move { door.told(Protocol::Chat, CHAT).await.0 });
    }
    let mut answered = 0;
    while let Some(status) = all.join_next().await {
        answered += usize::from(status.unwrap() == 200);
        let accounts = door.world.gate.accounts(None).unwrap();
        assert!(
            accounts[0].spent.micros + accounts[0].reserved.micros <= limit,
            "{accounts:?}"
        );
    }
    assert!(answered > 5, "{answered}");
    door.world.gate.flush().await.unwrap();
    let account = &door.world.gate.accounts(None).unwrap()[0];
    let charged: u64 = door.settled().await.iter().map(|(_, cost)| cost).sum();
    assert_eq!((account.spent.micros, account.reserved.micros), (charged, 0));
    assert!(charged <= limit);
}

#[tokio::test]
async fn a_stop_cuts_a_stream_and_a_client_that_leaves_ends_it() {
    for leaves in [false, true] {
        let upstream = Upstream::new(|_| Says::stream(&delta("Hel")).hang()).await;
        let door = door(&[("m", model(&upstream, json!({})))], &[], Vec::new()).await;
        let asks = r#"{"model":"m","stream":true,"messages":[],"max_tokens":9}"#;
        let reply = door.ask(Protocol::Chat, asks).await;
        let Body::Stream(mut receiver) = reply.body else {
            panic!()
        };
        assert_eq!(receiver.recv().await.unwrap(), delta("Hel"));
        let most = asks.len() as u64 + 1024 + 90;
        if leaves {
            drop(receiver);
            upstream.left().await;
            // It is settled by a task of its own.
            while door.settled().await.is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(door.settled().await, [("client_gone".to_owned(), most)]);
        } else {
            let scope = StopScope::Agent("triage".to_owned());
            let killed = door
                .world
                .gate
                .kill(&Principal::person("alice"), scope, "x")
                .await;
            assert_eq!(
                (killed.cancelled.len(), killed.unreached.len()),
                (1, 0),
                "{killed:?}"
            );
            let last = receiver.recv().await.unwrap();
            assert!(String::from_utf8_lossy(&last).contains("stop"), "{last:?}");
            assert!(receiver.recv().await.is_none());
            upstream.left().await;
            assert_eq!(door.settled().await, [("stopped".to_owned(), most)]);
        }
    }
}

#[tokio::test]
async fn restricted_content_stays() {
    use Sensitivity::{Internal, Public, Restricted};
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let cloud = json!({ "onPremises": false, "endpoint": "https://models.example/v1" });
    #[rustfmt::skip]
    let table: [(Value, Option<Sensitivity>, Option<&str>); 8] = [
        // The model, how sensitive the agent's content is, why it may not go there.
        (json!({}),                        None,             None),
        (json!({}),                        Some(Restricted), None),
        (json!({ "accepts": "internal" }), Some(Internal),   None),
        (json!({ "accepts": "public" }),   Some(Internal),   Some("accepts public at most")),
        (json!({ "accepts": "internal" }), None,             Some("since it does not say otherwise")),
        (cloud.clone(),                    Some(Restricted), Some("does not run on premises")),
        (json!({ "accepts": "internal" }), Some(Public),     None),
        (json!({ "accepts": "public" }),   Some(Restricted), Some("counts as restricted")),
    ];
    for (more, sensitivity, expected) in table {
        let says = sensitivity
            .map(|said| ("triage".to_owned(), said))
            .into_iter()
            .collect();
        let door = with(&[("m", model(&upstream, more.clone()))], &[], Vec::new(), says).await;
        let (status, said, _) = door.told(Protocol::Chat, CHAT).await;
        match expected {
            None => assert_eq!(status, 200, "{more} {sensitivity:?}: {said}"),
            Some(part) => {
                assert_eq!(status, 403, "{more} {sensitivity:?}: {said}");
                assert!(said.contains(part), "{said}");
            }
        }
    }
}

#[tokio::test]
async fn an_agent_calls_what_it_was_granted_and_sees_nothing_else() {
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let mut door = door(
        &[("m", model(&upstream, json!({ "aliases": ["gpt-4o"] })))],
        &[],
        Vec::new(),
    )
    .await;
    let names = |door: &Door| {
        door.llm
            .list(&door.session)
            .into_iter()
            .map(|one| one.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&door), ["m", "gpt-4o"]);
    door.session = door.world.running("reader").await;
    assert!(names(&door).is_empty());
    let (status, said, reason) = door.told(Protocol::Chat, CHAT).await;
    assert_eq!((status, reason.as_str()), (403, "not_granted"), "{said}");
    assert!(said.contains("name it in `agents` of Model `m`"), "{said}");
    assert!(upstream.sent().is_empty());
    let wrong = door
        .llm
        .session_of(Protocol::Chat, Some("cfe_wrong"))
        .unwrap_err();
    assert_eq!(wrong.status, 401);
}

#[tokio::test]
async fn addresses_that_no_document_names_are_not_connected_to() {
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    for endpoint in [
        format!("http://{}/v1", upstream.address),
        format!("http://localhost:{}/v1", upstream.address.port()),
    ] {
        let spec = model(&upstream, json!({ "networks": [], "endpoint": endpoint }));
        let door = door(&[("m", spec)], &[], Vec::new()).await;
        let (status, said, _) = door.told(Protocol::Chat, CHAT).await;
        assert_eq!(status, 502, "{said}");
        assert!(said.contains("loopback"), "{said}");
        assert_eq!(door.settled().await.iter().map(|(_, cost)| cost).sum::<u64>(), 0);
    }
    assert!(upstream.sent().is_empty());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_or_says_nothing_fails_by_name() {
    let hangs = Upstream::new(|_| Says::nothing()).await;
    let door = door(
        &[
            ("slow", model(&hangs, json!({ "timeoutSeconds": 1 }))),
            (
                "gone",
                model(&hangs, json!({ "endpoint": "http://127.0.0.1:1/v1" })),
            ),
        ],
        &[],
        Vec::new(),
    )
    .await;
    #[rustfmt::skip]
    let table = [("gone", "cannot be reached", 0), ("slow", "did not answer within 1 s", 1)];
    for (name, part, paid) in table {
        let (status, said, _) = door
            .told(Protocol::Chat, &CHAT.replace("\"m\"", &format!("\"{name}\"")))
            .await;
        assert_eq!(status, 502, "{said}");
        assert!(said.contains(part), "{said}");
        let settled = door.settled().await;
        let last = settled.last().unwrap();
        assert_eq!(last.1 > 0, paid == 1, "{settled:?}");
    }
}

#[tokio::test]
async fn a_client_of_one_vendor_works_on_the_model_of_another() {
    const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Hello"},{"type":"tool_use","id":"t1","name":"look","input":{"x":1}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":19,"output_tokens":10}}"#;
    let upstream = Upstream::new(|_| Says::json(200, MESSAGE)).await;
    let only = |speaks: &str| {
        model(
            &upstream,
            json!({ "speaks": [speaks], "model": "c", "outputTokens": 64 }),
        )
    };
    let door = door(&[("m", only("messages"))], &[], Vec::new()).await;
    let asks = r#"{"model":"m","messages":[{"role":"system","content":"Be terse."},{"role":"user","content":"hi"}],
        "tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}]}"#;
    let (status, said, _) = door.told(Protocol::Chat, asks).await;
    assert_eq!(status, 200, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let choice = &said["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("Hello"), &json!("tool_calls"))
    );
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "look");
    assert_eq!(said["usage"]["total_tokens"], 29);
    let sent = &upstream.sent()[0];
    assert!(sent.head.starts_with("POST /v1/messages "), "{}", sent.head);
    let body: Value = serde_json::from_str(&sent.body).unwrap();
    assert_eq!(
        (&body["model"], &body["max_tokens"], &body["tools"][0]["name"]),
        (&json!("c"), &json!(64), &json!("look"))
    );
    assert!(body["system"].to_string().contains("Be terse."), "{body}");
    assert_eq!(door.settled().await, [("success".to_owned(), 119)]);
    let permitted = door
        .world
        .entries()
        .into_iter()
        .find(|entry| entry.kind == "action.permitted")
        .unwrap();
    let payload = door
        .world
        .gate
        .store()
        .read(|reader| reader.payload(permitted.sequence, "arguments"))
        .unwrap();
    let store::Erasable::Present(arguments) = payload else {
        panic!()
    };
    assert_eq!(arguments["arguments"]["translated"]["from"], "chat");
    // What has no words there is refused by name, before anything is sent or reserved.
    let logit = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"logit_bias":{"1":2}}"#;
    let (status, said, reason) = door.told(Protocol::Chat, logit).await;
    assert_eq!((status, reason.as_str()), (400, "not_translated"));
    assert!(said.contains("/logit_bias"), "{said}");
    assert_eq!(upstream.sent().len(), 1);
}

#[tokio::test]
async fn streams_are_translated_as_they_come() {
    let events = [delta("Hel"), delta("lo"), stop(), usage(), DONE.to_owned()].concat();
    let upstream = Upstream::new(move |_| Says::stream(&events)).await;
    let door = door(
        &[("m", model(&upstream, json!({ "speaks": ["chat"] })))],
        &[],
        Vec::new(),
    )
    .await;
    let asks = r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let (status, said, _) = door.told(Protocol::Messages, asks).await;
    assert_eq!(status, 200, "{said}");
    for part in [
        "event: message_start",
        "text_delta",
        "Hel",
        "\"output_tokens\":2",
        "event: message_stop",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(door.settled().await, [("success".to_owned(), 29)]);
    // One that breaks off is told in the client's words.
    let upstream = Upstream::new(|_| Says::stream(&delta("Hel")).cut()).await;
    let door = self::door(
        &[("m", model(&upstream, json!({ "speaks": ["chat"] })))],
        &[],
        Vec::new(),
    )
    .await;
    let (_, said, _) = door.told(Protocol::Messages, asks).await;
    assert!(
        said.contains("event: error") && !said.contains("message_stop"),
        "{said}"
    );
}

#[tokio::test]
async fn the_same_again_is_answered_from_the_cache_where_a_route_says_so_and_costs_nothing() {
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let door = door(
        &[("m", model(&upstream, json!({})))],
        &[("r", json!({ "targets": [{"model": "m"}], "cacheSeconds": 60 }))],
        Vec::new(),
    )
    .await;
    let asks = |more: &str| {
        format!(r#"{{"model":"r","messages":[{{"role":"user","content":"hi"}}],"max_tokens":9{more}}}"#)
    };
    let cold = asks(r#","temperature":0"#);
    #[rustfmt::skip]
    let table = [
        // What is asked, and how often the upstream was asked by then.
        (cold.clone(),                                  1),
        (cold.clone(),                                  1),
        (asks(r#","temperature":0,"seed":1"#),          2),
        (asks(r#","temperature":1"#),                   3),
        (asks(r#","temperature":1"#),                   4),
        (asks(r#","temperature":0,"tools":[{"type":"function","function":{"name":"f"}}]"#), 5),
        (asks(r#","temperature":0,"tools":[{"type":"function","function":{"name":"f"}}]"#), 6),
    ];
    for (body, count) in table {
        let (status, said, _) = door.told(Protocol::Chat, &body).await;
        assert_eq!(
            (status, said.as_str(), upstream.sent().len()),
            (200, ANSWER, count),
            "{body}"
        );
    }
    let settled = door.world.bodies("action.settled");
    assert_eq!(settled[1]["summary"], "answered from the cache");
    assert_eq!(settled[1]["resources"]["cost_micros"], 0);
    door.world.advance(61_000);
    door.told(Protocol::Chat, &cold).await;
    assert_eq!(upstream.sent().len(), 7, "it is too old by then");
    let mut ask = Ask {
        session: door.session.clone(),
        protocol: Protocol::Chat,
        headers: vec![("cache-control".to_owned(), "no-cache".to_owned())],
        query: String::new(),
        body: cold.clone().into_bytes(),
        gone: door.gone.clone(),
    };
    door.llm.call(ask).await;
    assert_eq!(upstream.sent().len(), 8, "who does not want it does not get it");
    // Another organization's answer is nobody else's.
    ask = Ask {
        session: door.world.running("elsewhere").await,
        protocol: Protocol::Chat,
        headers: Vec::new(),
        query: String::new(),
        body: cold.into_bytes(),
        gone: door.gone.clone(),
    };
    assert_eq!(door.llm.call(ask).await.status, 200);
    assert_eq!(upstream.sent().len(), 9);
}

#[tokio::test]
async fn a_model_takes_so_many_calls_at_once_and_reserves_nothing_for_who_waits() {
    let upstream = Upstream::new(|_| Says::stream(&delta("Hel")).hang()).await;
    let day = budget(json!({ "per": "day", "limits": { "turns": 100 } }));
    let door = Arc::new(
        door(
            &[(
                "m",
                model(&upstream, json!({ "concurrent": 2, "timeoutSeconds": 1 })),
            )],
            &[],
            vec![day],
        )
        .await,
    );
    let asks = r#"{"model":"m","stream":true,"messages":[],"max_tokens":9}"#;
    let (one, two) = (
        door.ask(Protocol::Chat, asks).await,
        door.ask(Protocol::Chat, asks).await,
    );
    let (status, said, reason) = door.told(Protocol::Chat, asks).await;
    assert_eq!((status, reason.as_str()), (429, "model_busy"), "{said}");
    assert_eq!(door.world.gate.accounts(None).unwrap()[0].reserved.turns, 2);
    drop(one);
    let three = door.ask(Protocol::Chat, asks).await;
    assert_eq!(three.status, 200);
    drop((two, three));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_stop_up() {
    let events = std::iter::repeat_n(delta("Hello"), 400).collect::<String>();
    let upstream = Upstream::new(move |_| Says::stream(&events).hang()).await;
    let door = door(
        &[("m", model(&upstream, json!({ "concurrent": 1 })))],
        &[],
        Vec::new(),
    )
    .await;
    let asks = r#"{"model":"m","stream":true,"messages":[],"max_tokens":9000}"#;
    // Taken, and never read.
    let held = door.ask(Protocol::Chat, asks).await;
    let scope = StopScope::Agent("triage".to_owned());
    let killed = door
        .world
        .gate
        .kill(&Principal::person("alice"), scope, "x")
        .await;
    assert_eq!(
        (killed.cancelled.len(), killed.unreached.len()),
        (1, 0),
        "{killed:?}"
    );
    assert_eq!(door.settled().await.len(), 1);
    upstream.left().await;
    drop(held);
}

#[tokio::test]
async fn a_server_that_knows_one_cap_alone_is_told_that_one() {
    let upstream = Upstream::new(|_| Says::json(200, ANSWER)).await;
    let door = door(&[("m", model(&upstream, json!({})))], &[], Vec::new()).await;
    door.told(
        Protocol::Chat,
        r#"{"model":"m","messages":[],"max_completion_tokens":7}"#,
    )
    .await;
    let sent: Value = serde_json::from_str(&upstream.sent()[0].body).unwrap();
    assert_eq!(
        (&sent["max_tokens"], &sent["max_completion_tokens"]),
        (&json!(7), &json!(7))
    );
}
