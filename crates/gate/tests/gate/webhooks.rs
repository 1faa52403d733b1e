//! Outside systems as approvers: what answers count, what each bad one is refused with, and that a key which is
//! no longer the channel's says nothing.

use crate::world::{World, agent, authority, propose};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use gate::{AnswerError, DocumentChange, InstallError, Owner, Refusal, Role, Signed, Verdict};
use journal::machine::Approval;
use policy::{Level, Principal, WaiverScope};
use serde_json::{Value, json};
use store::Erasable;
use store::clock::Clock as _;

const TICKETS: [u8; 32] = [1; 32];
const CHAT: [u8; 32] = [2; 32];
const STRANGER: [u8; 32] = [3; 32];

/// The public half, as documents have it.
fn public(seed: [u8; 32]) -> String {
    let key = SigningKey::from_bytes(&seed).verifying_key();
    format!("whpk_{}", STANDARD.encode(key.to_bytes()))
}

fn channel(name: &str, key: Option<&str>) -> DocumentChange {
    let approver = key.map(|key| json!({ "publicKey": key }));
    DocumentChange::Apply {
        kind: "Channel".to_owned(),
        name: name.to_owned(),
        document: json!({
            "apiVersion": "cofferdam.dev/v1", "kind": "Channel", "metadata": {"name": name},
            "spec": {"type": "webhook", "url": "https://x", "secretRef": {"file": "/k"}, "approver": approver},
        }),
    }
}

/// Puts `changes` in force beside what is.
async fn install(world: &World, changes: Vec<DocumentChange>) -> Result<u64, InstallError> {
    let now = world.gate.authority();
    let (by, next) = (Principal::person("admin"), gate::Authority::clone(&now));
    world
        .gate
        .install(&by, Owner::Api, now.generation, changes, next)
        .await
}

/// An agent whose proposals ask these approvers; two channels that approve and one that does not.
async fn world(approvers: Value) -> (World, String) {
    let rule = json!({
        "name": "ask", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval", "approvers": approvers,
        "waivable": ["session"], "expires_after_seconds": 3600,
    });
    let rules = json!({ "rules": [rule] });
    let world = World::with(authority(&rules, &[("triage", agent(Level::L4))])).await;
    let documents = vec![
        channel("tickets", Some(&public(TICKETS))),
        channel("chat", Some(&public(CHAT))),
        channel("mute", None),
    ];
    install(&world, documents).await.unwrap();
    let session = world.running("triage").await;
    (world, session)
}

/// What the platform wants to tell is never put to whom it would have to be told first: each telling would ask for
/// another one, without end.
#[tokio::test]
async fn what_the_platform_tells_asks_no_outside_system() {
    let rule = json!({
        "name": "ask", "match": {"effects": ["write"]}, "outcome": "require_approval",
        "approvers": [{"webhook": "tickets"}],
    });
    let rules = json!({ "rules": [rule] });
    let agents = [
        ("triage", agent(Level::L3)),
        ("cofferdam-notifier", agent(Level::L3)),
    ];
    let world = World::with(authority(&rules, &agents)).await;
    install(&world, vec![channel("tickets", Some(&public(TICKETS)))])
        .await
        .unwrap();
    for (name, told) in [
        ("triage", json!(["tickets"])),
        ("cofferdam-notifier", json!(null)),
    ] {
        let session = world.running(name).await;
        for _ in 0..2 {
            // Asked again it is the same question.
            let id = parked(&world, &session, "a", "x").await;
            let view = serde_json::to_value(world.gate.approval(&id).unwrap().unwrap()).unwrap();
            let asked = world.bodies("approval.requested").pop().unwrap();
            assert_eq!(
                asked.get("channels").cloned().unwrap_or_default(),
                told,
                "{name}: {asked}"
            );
            assert_eq!(view["agent"], name);
        }
    }
    assert_eq!(world.bodies("approval.requested").len(), 2);
}

async fn parked(world: &World, session: &str, step: &str, title: &str) -> String {
    match world.admit(session, step, &propose(title)).await {
        Err(Refusal::Parked { approval, .. }) => approval,
        other => panic!("not parked: {other:?}"),
    }
}

fn nonces(world: &World, id: &str) -> Value {
    let at = id.strip_prefix("apr-").unwrap().parse().unwrap();
    let payload = world.gate.store().read(|reader| reader.payload(at, "nonces"));
    match payload.unwrap() {
        Erasable::Present(nonces) => nonces,
        other => panic!("{other:?}"),
    }
}

/// What `channel` would say of the approval, were it honest.
fn honest(world: &World, id: &str, channel: &str, title: &str, decision: &str) -> Value {
    let view = world.gate.approval(id).unwrap().unwrap();
    let lists = match view.each_of.is_empty() {
        true => vec![policy::Stages::any_of(&view.approvers)],
        false => view.each_of,
    };
    json!({
        "version": 1, "approval": id, "digest": policy::canonical::hex(propose(title).digest()),
        "nonce": nonces(world, id)[channel], "stages": gate::stages_of(&lists, channel),
        "decision": decision, "reason": "CHG-1",
    })
}

/// Signs `body` with `key`, as of `seconds` from now.
async fn send(world: &World, channel: &str, key: [u8; 32], seconds: i64, body: &str) -> String {
    let timestamp = (world.clock.now().ms() / 1000 + seconds).to_string();
    let signed = format!("msg_1.{timestamp}.{body}");
    let signature = SigningKey::from_bytes(&key).sign(signed.as_bytes());
    let signature = format!("v1a,{}", STANDARD.encode(signature.to_bytes()));
    sent(world, channel, &timestamp, &signature, body).await
}

async fn sent(world: &World, channel: &str, timestamp: &str, signature: &str, body: &str) -> String {
    let signed = Signed {
        id: "msg_1",
        timestamp,
        signature,
        body: body.as_bytes(),
    };
    match world.gate.answer_approval(channel, signed).await {
        Ok(answered) => format!("{} {}", answered.decision.as_str(), answered.approval),
        Err(error) => error.to_string(),
    }
}

fn state(world: &World, id: &str) -> Approval {
    world.gate.approval(id).unwrap().unwrap().state
}

fn with(mut body: Value, name: &str, value: Value) -> String {
    body[name] = value;
    body.to_string()
}

const UNSIGNED: &str = "the signature is not that of the approver behind this channel";
const STALE: &str = "`webhook-timestamp` is not within 5 minutes of now";
const NOBODY: &str = "no approver is behind this channel";

#[tokio::test]
async fn each_bad_answer_is_refused_with_its_reason_and_leaves_no_trace() {
    let (world, session) = world(json!([{"webhook": "tickets"}, {"any": ["webhook:chat", "bob"]}])).await;
    let id = parked(&world, &session, "a", "x").await;
    let other = parked(&world, &session, "b", "y").await;
    let good = honest(&world, &id, "tickets", "x", "approve");
    let text = good.to_string();
    let not_asked =
        |id: &str| format!("approval `{id}` was not put to this channel with this nonce and this key");
    let stages = format!("`stages` are not those that approval `{id}` was put to this channel for");
    let action = format!("`digest` is not that of the action of approval `{id}`");
    let twice = text.replacen('{', "{\"nonce\":\"n\",", 1);
    let deep = with(
        good.clone(),
        "reason",
        serde_json::from_str(&format!("{}{}", "[".repeat(80), "]".repeat(80))).unwrap(),
    );
    let digest_of_other = policy::canonical::hex(propose("y").digest());
    let of = |name: &str, value: Value| with(good.clone(), name, value);
    #[rustfmt::skip]
    let table = [
        // what is wrong          to         signed by  at    body                                                   why not
        ("another key",           "tickets", STRANGER,  0,    text.clone(),                                          UNSIGNED.to_owned()),
        ("another channel's key", "tickets", CHAT,      0,    text.clone(),                                          UNSIGNED.to_owned()),
        ("to another channel",    "chat",    TICKETS,   0,    text.clone(),                                          UNSIGNED.to_owned()),
        ("no such channel",       "pager",   TICKETS,   0,    text.clone(),                                          NOBODY.to_owned()),
        ("one without a key",     "mute",    TICKETS,   0,    text.clone(),                                          NOBODY.to_owned()),
        ("an odd name",           "../x",    TICKETS,   0,    text.clone(),                                          NOBODY.to_owned()),
        ("too old",               "tickets", TICKETS,   -301, text.clone(),                                          STALE.to_owned()),
        ("from the future",       "tickets", TICKETS,   301,  text.clone(),                                          STALE.to_owned()),
        ("another nonce",         "tickets", TICKETS,   0,    of("nonce", json!("AAAA")),                            not_asked(&id)),
        ("no nonce",              "tickets", TICKETS,   0,    of("nonce", json!("")),                                not_asked(&id)),
        ("another's nonce",       "tickets", TICKETS,   0,    of("nonce", nonces(&world, &id)["chat"].clone()),      not_asked(&id)),
        ("of another approval",   "tickets", TICKETS,   0,    of("approval", json!(other)),                          not_asked(&other)),
        ("of none",               "tickets", TICKETS,   0,    of("approval", json!("apr-1")),                        not_asked("apr-1")),
        ("of another action",     "tickets", TICKETS,   0,    of("digest", json!(digest_of_other)),                  action),
        ("of another stage",      "tickets", TICKETS,   0,    of("stages", json!([{"list": 0, "stage": 1}])),        stages.clone()),
        ("of one stage more",     "tickets", TICKETS,   0,    of("stages", json!([{"list": 0, "stage": 0}, {"list": 0, "stage": 1}])), stages.clone()),
        ("of no stage",           "tickets", TICKETS,   0,    of("stages", json!([])),                               stages),
        ("it names a person",     "tickets", TICKETS,   0,    of("by", json!("person:bob")),                         "unknown member `by`".to_owned()),
        ("a member twice",        "tickets", TICKETS,   0,    twice,                                                 "duplicate key `nonce`".to_owned()),
        ("too large",             "tickets", TICKETS,   0,    of("reason", json!("x".repeat(20_000))),               "document is larger than 16384 bytes".to_owned()),
        ("too deep",              "tickets", TICKETS,   0,    deep,                                                  "document is nested deeper than 64".to_owned()),
        ("no JSON",               "tickets", TICKETS,   0,    "yes".to_owned(),                                      "expected a value".to_owned()),
        ("not its turn",          "chat",    CHAT,      0,    honest(&world, &id, "chat", "x", "approve").to_string(), "service:channel/chat decides later; first it waits for webhook:tickets".to_owned()),
    ];
    let before = world.kinds();
    for (name, to, key, seconds, body, expected) in table {
        assert_eq!(send(&world, to, key, seconds, &body).await, expected, "{name}");
    }
    let now = (world.clock.now().ms() / 1000).to_string();
    let headers = "the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` are not those of Standard Webhooks";
    for signature in ["", "v1,AAAA", "v1a,AAAA"] {
        assert_eq!(
            sent(&world, "tickets", &now, signature, &text).await,
            headers,
            "{signature}"
        );
    }
    // The signature is of the body as it was, and of no other.
    let signature = SigningKey::from_bytes(&TICKETS).sign(format!("msg_1.{now}.{text}").as_bytes());
    let signature = format!("v1a,{}", STANDARD.encode(signature.to_bytes()));
    let altered = text.replace("approve", "deny");
    assert_eq!(
        sent(&world, "tickets", &now, &signature, &altered).await,
        UNSIGNED
    );
    assert_eq!(world.kinds(), before, "nothing was recorded");
    assert_eq!(state(&world, &id), Approval::Pending);
    assert_eq!(
        sent(&world, "tickets", &now, &signature, &text).await,
        format!("approve {id}")
    );
}

#[tokio::test]
async fn an_answer_is_one_vote_of_its_stage_and_says_who_gave_it() {
    let (world, session) = world(json!([{"webhook": "tickets"}, "bob"])).await;
    let id = parked(&world, &session, "a", "x").await;
    let requested = &world.bodies("approval.requested")[0];
    assert_eq!(requested["webhooks"], json!({ "tickets": public(TICKETS) }));
    assert_eq!(
        requested["channels"],
        json!(["tickets"]),
        "who has to answer is told"
    );
    let nonce = nonces(&world, &id)["tickets"].clone();
    assert!(
        !requested.to_string().contains(nonce.as_str().unwrap()),
        "in no leaf"
    );

    let yes = honest(&world, &id, "tickets", "x", "approve").to_string();
    for _ in 0..3 {
        assert_eq!(
            send(&world, "tickets", TICKETS, 0, &yes).await,
            format!("approve {id}")
        );
    }
    assert_eq!(world.bodies("approval.voted").len(), 1, "however often it comes");
    let voted = &world.bodies("approval.voted")[0];
    assert_eq!(
        voted["approver"],
        json!({"kind": "webhook", "assurance": "signature"})
    );
    assert_eq!(
        (&voted["key"], &voted["reason"]),
        (&json!(public(TICKETS)), &json!("CHG-1"))
    );
    assert_eq!(
        (&voted["counts"], &voted["waits_for"]),
        (&json!([{"list": 0, "stage": 0}]), &json!("bob"))
    );
    let view = world.gate.approval(&id).unwrap().unwrap();
    assert_eq!(view.votes[0].by, Principal::service("channel/tickets"));
    let link = world
        .gate
        .store()
        .read(|reader| reader.payload(view.votes[0].entry, "vote"));
    let Erasable::Present(link) = link.unwrap() else {
        panic!("no link")
    };
    assert_eq!(
        link["approver"]["signed"]["body"],
        json!(yes),
        "the proof that it was said"
    );
    assert_eq!(
        link["action"],
        json!(policy::canonical::hex(propose("x").digest()))
    );

    let no = honest(&world, &id, "tickets", "x", "deny").to_string();
    let conflicting = format!("this channel answered `approve` to approval `{id}`, and that stands");
    assert_eq!(send(&world, "tickets", TICKETS, 0, &no).await, conflicting);
    let bob = world.caller("bob", &[Role::Approver]).await;
    let scope = Some(WaiverScope::Session);
    let said = world
        .gate
        .decide_in_scope(&bob, &id, Verdict::Approve, "", scope)
        .await;
    assert_eq!(said.unwrap().state, Approval::Approved);
    assert!(
        world.bodies("waiver.granted").is_empty(),
        "an outside system waives nothing"
    );
    assert_eq!(send(&world, "tickets", TICKETS, 0, &no).await, conflicting);
    assert_eq!(world.check(&session, "a", &propose("x")).await, "permit");
    assert_eq!(
        send(&world, "tickets", TICKETS, 0, &yes).await,
        format!("approve {id}"),
        "the same answer, the same"
    );
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_no_ends_it_and_what_is_over_or_decided_takes_no_answer() {
    let (world, session) = world(json!(["webhook:tickets", "webhook:chat", "bob"])).await;
    let id = parked(&world, &session, "a", "x").await;
    let no = honest(&world, &id, "tickets", "x", "deny").to_string();
    assert_eq!(
        send(&world, "tickets", TICKETS, 0, &no).await,
        format!("deny {id}")
    );
    assert_eq!(
        send(&world, "tickets", TICKETS, 0, &no).await,
        format!("deny {id}"),
        "again"
    );
    assert_eq!(world.bodies("approval.denied").len(), 1);
    let decided = "`approve` cannot happen to an approval that is `denied`";
    let yes = honest(&world, &id, "chat", "x", "approve").to_string();
    assert_eq!(send(&world, "chat", CHAT, 0, &yes).await, decided);

    let late = parked(&world, &session, "b", "y").await;
    let yes = honest(&world, &late, "tickets", "y", "approve").to_string();
    world.advance(3_600_000);
    let over = "`approve` cannot happen to an approval that is `expired`";
    assert_eq!(send(&world, "tickets", TICKETS, 0, &yes).await, over);
    assert_eq!(state(&world, &late), Approval::Expired, "and it is denied");

    let erased = parked(&world, &session, "c", "z").await;
    let yes = honest(&world, &erased, "tickets", "z", "approve").to_string();
    let at = erased.strip_prefix("apr-").unwrap().parse().unwrap();
    let erase = move |tx: &mut store::Tx<'_>| tx.erase(at, "person:alice", "asked for");
    world
        .gate
        .store()
        .write::<_, store::StoreError, _>(erase)
        .await
        .unwrap();
    let gone = format!("the action of approval `{erased}` was erased, so nobody can see what would happen");
    assert_eq!(send(&world, "tickets", TICKETS, 0, &yes).await, gone);
}

/// What asks people is answered by people: nobody in particular, a role, a person whose name is the channel's.
#[tokio::test]
async fn an_outside_system_answers_nothing_that_does_not_name_it() {
    for approvers in [
        json!([]),
        json!(["approver"]),
        json!(["tickets"]),
        json!([{"team": "tickets"}]),
        json!(["person:webhook:tickets"]),
    ] {
        let (world, session) = world(approvers.clone()).await;
        let id = parked(&world, &session, "a", "x").await;
        assert_eq!(world.bodies("approval.requested")[0]["webhooks"], Value::Null);
        let body = json!({
            "version": 1, "approval": id, "digest": policy::canonical::hex(propose("x").digest()), "nonce": "",
            "stages": [], "decision": "approve",
        });
        let expected = format!("approval `{id}` was not put to this channel with this nonce and this key");
        assert_eq!(
            send(&world, "tickets", TICKETS, 0, &body.to_string()).await,
            expected,
            "{approvers}"
        );
    }
    // And nobody but it answers where it alone is named.
    let (world, session) = world(json!(["webhook:tickets"])).await;
    let id = parked(&world, &session, "a", "x").await;
    for name in ["tickets", "channel/tickets"] {
        let caller = world.caller(name, &[Role::Approver, Role::Admin]).await;
        let said = world
            .gate
            .decide_approval(&caller, &id, Verdict::Approve, "")
            .await;
        let expected = format!("person:{name} is not an approver of this action");
        assert_eq!(said.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_key_that_was_replaced_or_a_channel_that_is_gone_says_nothing() {
    let delete = || DocumentChange::Delete {
        kind: "Channel".to_owned(),
        name: "tickets".to_owned(),
    };
    let asked_again =
        |id: &str| format!("approval `{id}` was not put to this channel with this nonce and this key");
    #[rustfmt::skip]
    let table: Vec<(&str, DocumentChange, [u8; 32], Option<&str>)> = vec![
        ("replaced, the old one signs", channel("tickets", Some(&public(STRANGER))), TICKETS, Some(UNSIGNED)),
        ("replaced, the new one signs", channel("tickets", Some(&public(STRANGER))), STRANGER, None),
        ("taken away",                  channel("tickets", None),                    TICKETS, Some(NOBODY)),
        ("deleted",                     delete(),                                    TICKETS, Some(NOBODY)),
    ];
    for (name, change, key, expected) in table {
        // Between the question and the answer.
        let (world, session) = world(json!(["webhook:tickets", "bob"])).await;
        let id = parked(&world, &session, "a", "x").await;
        let yes = honest(&world, &id, "tickets", "x", "approve").to_string();
        install(&world, vec![change.clone()]).await.unwrap();
        let expected = expected.map_or_else(|| asked_again(&id), str::to_owned);
        assert_eq!(send(&world, "tickets", key, 0, &yes).await, expected, "{name}");
        // Who proposes again is asked about anew, with the key of now.
        let again = parked(&world, &session, "a", "x").await;
        assert_ne!(again, id, "{name}");
        assert_eq!(state(&world, &id), Approval::Cancelled, "{name}");

        // Between the answer and the use: the vote counts no more.
        let (world, session) = self::world(json!(["webhook:tickets", "bob"])).await;
        let id = parked(&world, &session, "a", "x").await;
        let yes = honest(&world, &id, "tickets", "x", "approve").to_string();
        assert_eq!(
            send(&world, "tickets", TICKETS, 0, &yes).await,
            format!("approve {id}")
        );
        assert_eq!(state(&world, &id), Approval::Approved);
        install(&world, vec![change]).await.unwrap();
        let again = parked(&world, &session, "a", "x").await;
        assert_ne!(again, id, "{name}");
    }
}

#[tokio::test]
async fn what_was_asked_survives_a_restart_and_keeps_its_nonce() {
    let (world, session) = world(json!(["webhook:tickets"])).await;
    let id = parked(&world, &session, "a", "x").await;
    let yes = honest(&world, &id, "tickets", "x", "approve").to_string();
    let world = world.reopened().await;
    assert_eq!(parked(&world, &session, "a", "x").await, id);
    assert_eq!(
        send(&world, "tickets", TICKETS, 0, &yes).await,
        format!("approve {id}")
    );
    let world = world.reopened().await;
    assert_eq!(world.check(&session, "a", &propose("x")).await, "permit");
}

/// The keys of agents lie with the platform, which would then approve what it does.
#[tokio::test]
async fn no_agent_is_an_approver() {
    let (world, session) = world(json!(["webhook:tickets"])).await;
    world.gate.identify_agents(&["triage".to_owned()]).await.unwrap();
    let agent = world.gate.agent("triage").unwrap();
    let key = &agent.keys[0].public_key;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(key)
        .unwrap();
    let change = channel("tickets", Some(&format!("whpk_{}", STANDARD.encode(&bytes))));
    let refused = install(&world, vec![change]).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the approver of Channel `tickets` has the key of agent `triage`, and no agent approves"
    );
    let id = parked(&world, &session, "a", "x").await;
    let yes = honest(&world, &id, "tickets", "x", "approve").to_string();
    assert_eq!(
        send(&world, "tickets", TICKETS, 0, &yes).await,
        format!("approve {id}"),
        "the old one stands"
    );

    // Nor with a key that it had, be it too long ago for its row.
    let mut keys = vec![bytes];
    for _ in 0..7 {
        let by = Principal::person("admin");
        let row = world.gate.rotate_agent(&by, "triage").await.unwrap();
        let text = &row.keys[0].public_key;
        keys.push(
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(text)
                .unwrap(),
        );
    }
    // Nor one that no document speaks of any more: its key lies where it lay.
    let now = world.gate.authority();
    let mut without = gate::Authority::clone(&now);
    without.agents.clear();
    let by = Principal::person("admin");
    let gone = vec![channel("other", None)];
    let removed = world.gate.install(&by, Owner::Api, now.generation, gone, without);
    removed.await.unwrap();
    assert!(world.gate.authority().agents.is_empty());
    for (number, bytes) in keys.iter().enumerate() {
        let change = channel("tickets", Some(&format!("whpk_{}", STANDARD.encode(bytes))));
        let again = install(&world, vec![change]).await.unwrap_err().to_string();
        assert_eq!(again, refused, "key {number}");
    }
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
}

/// Of many that send the same answer at once one is recorded, and all are told the same.
#[tokio::test]
async fn answers_that_race_are_one_vote() {
    let (world, session) = world(json!([{"webhook": "tickets"}, "bob"])).await;
    let id = parked(&world, &session, "a", "x").await;
    let body = honest(&world, &id, "tickets", "x", "approve").to_string();
    let timestamp = (world.clock.now().ms() / 1000).to_string();
    let signature = SigningKey::from_bytes(&TICKETS).sign(format!("m.{timestamp}.{body}").as_bytes());
    let signature = format!("v1a,{}", STANDARD.encode(signature.to_bytes()));
    let sending = (0..8).map(|_| {
        let (gate, timestamp, signature, body) = (
            world.gate.clone(),
            timestamp.clone(),
            signature.clone(),
            body.clone(),
        );
        tokio::spawn(async move {
            let signed = Signed {
                id: "m",
                timestamp: &timestamp,
                signature: &signature,
                body: body.as_bytes(),
            };
            gate.answer_approval("tickets", signed).await
        })
    });
    for sent in sending.collect::<Vec<_>>() {
        let answered: Result<_, AnswerError> = sent.await.unwrap();
        assert_eq!(answered.unwrap().approval, id);
    }
    assert_eq!(world.bodies("approval.voted").len(), 1);
}
