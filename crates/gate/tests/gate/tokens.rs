//! Tokens, sessions and documents as callers of the API see them.

use crate::world::{START_MS, World, new_session};
use gate::{DocumentChange, NewToken, Owner, Role, RoleAt, SessionError, TokenError};
use journal::machine::{Session, SessionEvent};
use policy::{Principal, Timestamp};
use serde_json::json;

fn new(principal: Principal, roles: &[Role], trigger: Option<&str>) -> NewToken {
    NewToken {
        principal,
        roles: RoleAt::everywhere(roles),
        groups: Vec::new(),
        trigger: trigger.map(str::to_owned),
        expires: None,
    }
}

async fn make(world: &World, new: NewToken) -> (String, String) {
    let (view, secret) = world
        .gate
        .create_token(&Principal::service("cofferdam"), new)
        .await
        .unwrap();
    (view.id, String::from_utf8(secret.expose().to_vec()).unwrap())
}

#[tokio::test]
async fn a_token_identifies_until_it_ends() {
    let world = World::new().await;
    let (id, alice) = make(
        &world,
        new(Principal::person("alice"), &[Role::Admin, Role::Approver], None),
    )
    .await;
    let expires = Some(Timestamp::from_ms(START_MS + 1000));
    let (_, brief) = make(
        &world,
        NewToken {
            expires,
            ..new(Principal::person("bob"), &[Role::Viewer], None)
        },
    )
    .await;
    let (_, hook) = make(
        &world,
        new(
            Principal::service("trigger/alerts"),
            &[Role::Trigger],
            Some("alerts"),
        ),
    )
    .await;
    assert!(alice.starts_with("cfd_") && alice.len() == 47);
    let world = world.reopened().await;
    let caller = world.gate.identify(&alice).unwrap();
    assert_eq!(caller.principal(), &Principal::person("alice"));
    assert_eq!(
        (caller.roles(), caller.token()),
        (
            RoleAt::everywhere(&[Role::Admin, Role::Approver]).as_slice(),
            id.as_str()
        )
    );
    assert_eq!(world.gate.identify(&hook).unwrap().trigger(), Some("alerts"));
    assert!(world.gate.identify(&brief).is_ok());
    world.advance(1000);
    assert!(world.gate.identify(&brief).is_err());
    for wrong in [
        "",
        "cfd_",
        &alice[1..],
        &alice.to_uppercase(),
        &format!("{alice}A"),
        &format!("{}_", &alice[..46]),
    ] {
        assert!(world.gate.identify(wrong).is_err(), "{wrong}");
    }
    world
        .gate
        .revoke_token(&Principal::person("bob"), &id)
        .await
        .unwrap();
    assert!(world.gate.identify(&alice).is_err());
    let world = world.reopened().await;
    assert!(world.gate.identify(&alice).is_err());
    let shown: Vec<_> = world
        .gate
        .tokens()
        .unwrap()
        .into_iter()
        .map(|view| (view.principal.to_string(), view.revoked))
        .collect();
    let expected = [
        ("service:trigger/alerts", false),
        ("person:bob", false),
        ("person:alice", true),
    ];
    assert_eq!(shown, expected.map(|(name, revoked)| (name.to_owned(), revoked)));
    let unknown = world
        .gate
        .revoke_token(&Principal::person("bob"), "tok-99")
        .await
        .unwrap_err();
    assert_eq!(unknown.to_string(), "no token `tok-99`");
}

#[tokio::test]
async fn roles_fit_their_principal() {
    let world = World::new().await;
    #[rustfmt::skip]
    let table: [(Principal, &[Role], Option<&str>, &str); 8] = [
        (Principal::agent("a"),   &[Role::Viewer],  None,      "agent:a is an agent; agents hold no token"),
        (Principal::person("a"),  &[],              None,      "a token for person:a needs at least one role"),
        (Principal::person("a"),  &[Role::Trigger], Some("t"), "person:a is a person; only services send to triggers"),
        (Principal::person("a"),  &[Role::Viewer],  Some("t"), "person:a is a person; only services send to triggers"),
        (Principal::service("a"), &[Role::Trigger], None,      "service:a is a service: its token has the role `trigger`, one trigger, and nothing else"),
        (Principal::service("a"), &[Role::Admin],   Some("t"), "service:a is a service: its token has the role `trigger`, one trigger, and nothing else"),
        (Principal::person("a b"), &[Role::Viewer], None,      "`a b` is not a name: use 1 to 64 letters, digits, `.`, `_`, `-`, `@`, `/`"),
        (Principal::person(""),   &[Role::Viewer],  None,      "`` is not a name: use 1 to 64 letters, digits, `.`, `_`, `-`, `@`, `/`"),
    ];
    for (principal, roles, trigger, answer) in table {
        let refused = world
            .gate
            .create_token(&Principal::person("root"), new(principal, roles, trigger))
            .await;
        let Err(TokenError::Misfit(said)) = refused else {
            panic!("{answer}: {refused:?}")
        };
        assert_eq!(said, answer);
    }
    assert!(world.gate.tokens().unwrap().is_empty());
}

#[tokio::test]
async fn a_session_is_created_once_for_one_key() {
    let world = World::new().await;
    let keyed = || gate::NewSession {
        idempotency_key: Some("task-1".into()),
        ..new_session("triage")
    };
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (gate, new) = (world.gate.clone(), keyed());
        set.spawn(async move { gate.create_session(new).await.unwrap() });
    }
    let made = set.join_all().await;
    assert_eq!(made.iter().filter(|(_, new)| *new).count(), 1);
    assert!(
        made.iter()
            .all(|(view, _)| view.id == made[0].0.id && view.state == Session::Queued)
    );
    let world = world.reopened().await;
    assert!(!world.gate.create_session(keyed()).await.unwrap().1);
    let unknown = world
        .gate
        .create_session(new_session("nobody"))
        .await
        .unwrap_err();
    assert_eq!(unknown.to_string(), "no agent `nobody`");
    assert!(matches!(world.gate.session("ses-77"), Err(SessionError::Unknown(id)) if id == "ses-77"));
}

#[tokio::test]
async fn sessions_are_listed_newest_first() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(world.running("triage").await);
    }
    let by = Principal::service("cofferdam");
    for id in &ids[..6] {
        world
            .gate
            .session_event(id, &by, SessionEvent::Fail, Some("broke".into()), None)
            .await
            .unwrap();
    }
    ids.reverse();
    let listed = |state, limit| -> Vec<String> {
        world
            .gate
            .sessions(state, limit)
            .unwrap()
            .into_iter()
            .map(|view| view.id)
            .collect()
    };
    assert_eq!(listed(None, 100), ids);
    assert_eq!(listed(None, 3), ids[..3]);
    assert_eq!(listed(Some(Session::Running), 100), ids[..6]);
    assert_eq!(listed(Some(Session::Failed), 2), ids[6..8]);
    assert_eq!(
        world.gate.session(&ids[11]).unwrap().reason.as_deref(),
        Some("broke")
    );
    let illegal = world
        .gate
        .session_event(&ids[11], &by, SessionEvent::Start, None, None)
        .await
        .unwrap_err();
    assert_eq!(
        illegal.to_string(),
        "`start` cannot happen to a session that is `failed`"
    );
}

#[tokio::test]
async fn titles_are_short_and_hold_no_secret() {
    let world = World::new().await;
    let title = format!("token=abcdefghij {}", "x".repeat(500));
    let view = world
        .gate
        .create_session(gate::NewSession {
            title,
            ..new_session("triage")
        })
        .await
        .unwrap()
        .0;
    assert!(view.title.starts_with("token=[REDACTED] xxx"), "{}", view.title);
    assert_eq!(view.title.chars().count(), 200);
}

#[tokio::test]
async fn documents_are_applied_counted_and_deleted() {
    let world = World::new().await;
    let by = Principal::person("alice");
    let apply = |name: &str, n: u64| DocumentChange::Apply {
        kind: "Agent".into(),
        name: name.into(),
        document: json!({ "n": n }),
    };
    let delete = |name: &str| DocumentChange::Delete {
        kind: "Agent".into(),
        name: name.into(),
    };
    let install = async |expected, changes| {
        let authority = gate::Authority::clone(&world.gate.authority());
        world
            .gate
            .install(&by, Owner::Directory, expected, changes, authority)
            .await
    };
    assert_eq!(install(0, vec![apply("a", 1), apply("b", 1)]).await.unwrap(), 1);
    assert_eq!(install(1, vec![apply("a", 2)]).await.unwrap(), 2);
    assert_eq!(install(2, vec![delete("b"), delete("never")]).await.unwrap(), 3);
    assert_eq!(install(3, vec![delete("b")]).await.unwrap(), 3);
    assert_eq!(install(3, vec![]).await.unwrap(), 3);
    let views = world.gate.documents().unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!(
        (views[0].name.as_str(), views[0].generation, &views[0].document),
        ("a", 2, &json!({ "n": 2 }))
    );
    let api = world
        .gate
        .install(
            &by,
            Owner::Api,
            3,
            vec![apply("c", 1), delete("a")],
            gate::Authority::clone(&world.gate.authority()),
        )
        .await;
    assert_eq!(
        api.unwrap_err().to_string(),
        "Agent `a` is owned by the configuration directory; change it there"
    );
    assert_eq!(world.gate.documents().unwrap().len(), 1, "the whole or nothing");
    let world = world.reopened().await;
    assert_eq!(world.gate.authority().generation, 3);
}

/// Somebody sees the new token in the list and revokes it before its maker has it.
#[tokio::test]
async fn a_token_revoked_while_it_is_made_never_identifies() {
    let world = World::new().await;
    let by = Principal::service("cofferdam");
    let mut making = std::pin::pin!(
        world
            .gate
            .create_token(&by, new(Principal::person("eve"), &[Role::Admin], None))
    );
    let waker = std::task::Waker::noop();
    let poll = making.as_mut().poll(&mut std::task::Context::from_waker(waker));
    assert!(poll.is_pending());
    let id = loop {
        if let Some(view) = world.gate.tokens().unwrap().pop() {
            break view.id;
        }
        std::thread::yield_now();
    };
    world.gate.revoke_token(&by, &id).await.unwrap();
    let (_, secret) = making.await.unwrap();
    assert!(
        world
            .gate
            .identify(std::str::from_utf8(secret.expose()).unwrap())
            .is_err()
    );
}

/// Somebody to whom a provider gives as many tokens as they like holds few here, and what they held before
/// is not kept where decisions read it.
#[tokio::test]
async fn a_person_of_a_provider_holds_few_tokens_and_leaves_no_pile() {
    let world = World::new().await;
    let by = Principal::service("cofferdam");
    let ann = Principal::person("corporate/ann");
    let take = async |number: u64, expires: Timestamp| {
        let new = NewToken {
            expires: Some(expires),
            ..new(ann.clone(), &[Role::Viewer], None)
        };
        world
            .gate
            .take_token(&by, new, "corporate", &format!("head.{number}.signature"))
            .await
    };
    let until = |ms: i64| Timestamp::from_ms(START_MS + ms);
    let held = |world: &World| {
        let row = world.rows().remove("agents:person/corporate/ann").unwrap();
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        row["tokens"].as_object().unwrap().len()
    };
    for number in 0..gate::HOLDING_MAX as u64 {
        take(number, until(1000)).await.unwrap();
    }
    let (entries, rows) = (world.entries().len(), world.rows());
    let more = take(1000, until(1000)).await.unwrap_err();
    assert!(matches!(more, TokenError::TooMany(_)), "{more}");
    // The same one again is the same one, and moves nothing that decisions are compared with.
    assert_eq!(take(3, until(1000)).await.unwrap().principal(), &ann);
    assert_eq!((world.entries().len(), world.rows()), (entries, rows));
    assert_eq!(held(&world), gate::HOLDING_MAX);
    for round in 1..20 {
        world.advance(1000);
        take(2000 + round, until(1000 * round as i64 + 900))
            .await
            .unwrap();
        assert_eq!(held(&world), 2, "the one that holds and the last that ended");
    }
    let of_tokens = world
        .rows()
        .into_keys()
        .filter(|key| key.starts_with("agents:token/"));
    assert_eq!(of_tokens.count(), 2);
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
    let world = world.reopened().await;
    assert!(world.gate.identify("head.2019.signature").is_ok());
    assert!(world.gate.identify("head.2018.signature").is_err());
}

/// It was taken by a program that did not keep its signed part by itself.
#[tokio::test]
async fn a_token_that_was_taken_and_ended_long_ago_is_not_taken_again() {
    use sha2::Digest;
    let world = World::new().await;
    let text = "head.body.signature";
    let body = json!({
        "token": format!("tok-{}", world.entries().len()), "principal": "person:corporate/ann", "roles": ["viewer"],
        "groups": [], "expires": null, "provider": "corporate",
        "sha256": policy::canonical::hex(&sha2::Sha256::digest(text)),
    });
    let id = body["token"].as_str().unwrap().to_owned();
    let by = Principal::service("cofferdam");
    let actor = by.clone();
    let create = move |tx: &mut store::Tx<'_>| tx.append(store::NewEntry::new("token.created", actor, body));
    world
        .gate
        .store()
        .write::<_, store::StoreError, _>(create)
        .await
        .unwrap();
    let take = async || {
        let new = new(Principal::person("corporate/ann"), &[Role::Viewer], None);
        world.gate.take_token(&by, new, "corporate", text).await
    };
    assert_eq!(take().await.unwrap().token(), id);
    world.gate.revoke_token(&by, &id).await.unwrap();
    assert!(matches!(take().await.unwrap_err(), TokenError::Unknown(_)));
}

/// The end of a token and its revocation are of one time, whatever is done to the machine's clock between.
#[tokio::test]
async fn a_revocation_under_a_clock_that_went_back_is_the_last_end() {
    let world = World::new().await;
    let by = Principal::service("cofferdam");
    let (kept, _) = make(&world, new(Principal::person("carol"), &[Role::Admin], None)).await;
    let brief = NewToken {
        expires: Some(Timestamp::from_ms(START_MS + 3_600_000)),
        ..new(Principal::person("carol"), &[Role::Admin], None)
    };
    make(&world, brief).await;
    world.advance(7_200_000);
    let now = world.gate.time();
    world.clock.set(Timestamp::from_ms(START_MS));
    world.gate.revoke_token(&by, &kept).await.unwrap();
    let row = world.rows().remove("agents:person/carol").unwrap();
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    let revoked: Timestamp = serde_json::from_value(row["tokens"][&kept]["revoked"].clone()).unwrap();
    assert!(revoked >= now, "{revoked} is before {now}");
}

/// What is over stays as it is: its end moves nothing that decisions are compared with.
#[tokio::test]
async fn a_token_that_is_over_is_not_ended_once_more() {
    let world = World::new().await;
    let by = Principal::service("cofferdam");
    let brief = NewToken {
        expires: Some(Timestamp::from_ms(START_MS + 1000)),
        ..new(Principal::person("bob"), &[Role::Viewer], None)
    };
    let (ran_out, _) = make(&world, brief).await;
    let (kept, secret) = make(&world, new(Principal::person("carol"), &[Role::Viewer], None)).await;
    world.advance(1000);
    let entries = world.entries().len();
    world.gate.end_token(&by, &ran_out).await.unwrap();
    assert_eq!(world.entries().len(), entries);
    for _ in 0..2 {
        world.gate.end_token(&by, &kept).await.unwrap();
        assert!(world.gate.identify(&secret).is_err());
    }
    assert_eq!(world.bodies("token.ended").len(), 1);
}
