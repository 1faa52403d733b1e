//! Sessions of guests: what a person lends to one is held there and nowhere else, never more than that person may do.

use crate::world::{World, action, agent, authority, new_session, post, read, rules};
use gate::{AgentAuthority, GUEST, GuestSession, NewSession, Role, SessionError, Tally};
use policy::{Action, Capability, Effect, Idempotence, Level, Principal};
use serde_json::json;

fn capability(text: &str) -> Capability {
    Capability::parse(text).unwrap()
}

async fn world() -> World {
    let nothing = AgentAuthority {
        grants: Vec::new(),
        ..agent(Level::L3)
    };
    World::with(authority(
        &rules(),
        &[(GUEST, nothing), ("reader", agent(Level::L0))],
    ))
    .await
}

fn by(cause: Principal, agent: &str) -> NewSession {
    NewSession {
        cause,
        ..new_session(agent)
    }
}

async fn running(world: &World, agent: &str, lent: &[&str]) -> String {
    let lent = lent.iter().copied().map(capability).collect();
    let new = by(Principal::person("alice"), agent);
    let lent = GuestSession {
        lent,
        learns: false,
        budget: None,
    };
    world.gate.create_guest_session(new, lent).await.unwrap().id
}

fn forbidden() -> Action {
    let (effect, idempotence) = (Effect::Write, Idempotence::Once);
    action("channel.post", "forbidden/door", json!({}), effect, idempotence)
}

#[tokio::test]
async fn what_is_lent_is_held_in_one_session_and_within_the_lender() {
    const ALL: &[&str] = &[
        "git.log:repository/*",
        "channel.post:channel/*",
        "channel.post:forbidden/*",
    ];
    let none = "denied: agent:cofferdam-guest holds no grant that covers this action";
    #[rustfmt::skip]
    let table = [
        // what is lent   what happens        the action               what comes of it
        (ALL,             "",                 read("repository/shop"), "permit"),
        (ALL,             "",                 post("x"),               "permit"),
        (ALL,             "",                 forbidden(),             "denied: rule `policy/test#never` forbids it: not this one"),
        (ALL,             "restart",          post("x"),               "permit"),
        (ALL,             "another session",  post("x"),               none),
        (&ALL[..1],       "",                 post("x"),               none),
        (&[],             "",                 read("repository/shop"), none),
        (ALL,             "alice only views", post("x"),               "denied: autonomy level L0 is read-only here"),
        (ALL,             "alice is revoked", post("x"),               "denied: "),
        (ALL,             "a reader's",       post("x"),               "denied: "),
    ];
    for (lent, event, action, expected) in table {
        let mut world = world().await;
        let alice = world.caller("alice", &[Role::Operator]).await;
        let mut session = running(&world, GUEST, lent).await;
        match event {
            "" => {}
            "restart" => world = world.reopened().await,
            "another session" => session = running(&world, GUEST, &[]).await,
            "a reader's" => session = running(&world, "reader", lent).await,
            revoked => {
                let id = alice.token();
                let ended = world.gate.revoke_token(&Principal::person("eve"), id).await;
                ended.unwrap();
                if revoked == "alice only views" {
                    world.caller("alice", &[Role::Viewer]).await;
                }
            }
        }
        let came = world.check(&session, "step", &action).await;
        let fits = if expected == "permit" {
            came == expected
        } else {
            came.starts_with(expected)
        };
        assert!(fits, "{lent:?}, {event}: {came}");
    }
}

#[tokio::test]
async fn who_lends_is_a_person_and_names_what() {
    let world = world().await;
    let person = || Principal::person("alice");
    #[rustfmt::skip]
    let table = [
        (person(),                     vec!["git.log:*"], false,      "cannot lend that: it names no verb or no resource"),
        (person(),                     vec!["*:repository/x"], false, "cannot lend that: it names no verb or no resource"),
        (person(),                     vec!["a.b:c"; 65], false,      "cannot lend that: it is more than 64 capabilities"),
        (person(),                     vec!["*:*"],            true,  "cannot lend that: it names no verb or no resource"),
        (Principal::service("robot"),  vec!["a.b:c"], false,          "cannot lend that: only a person lends"),
        (Principal::agent("reader"),   vec!["a.b:c"], false,          "cannot lend that: only a person lends"),
    ];
    for (cause, lent, learns, expected) in table {
        let lent: Vec<Capability> = lent.into_iter().map(capability).collect();
        let lent = GuestSession {
            lent,
            learns,
            budget: None,
        };
        let answer = world.gate.create_guest_session(by(cause, GUEST), lent).await;
        assert_eq!(answer.unwrap_err().to_string(), expected);
    }
    let answer = world
        .gate
        .create_guest_session(by(person(), "nobody"), GuestSession::default())
        .await;
    assert!(matches!(answer, Err(SessionError::UnknownAgent(name)) if name == "nobody"));
    assert!(world.kinds().iter().all(|kind| !kind.starts_with("session.")));
}

#[tokio::test]
async fn a_tally_counts_what_was_judged() {
    let world = world().await;
    world.caller("alice", &[Role::Operator]).await;
    let session = running(&world, GUEST, &["git.log:repository/shop"]).await;
    for n in 0..3 {
        world
            .check(&session, &format!("read-{n}"), &read("repository/shop"))
            .await;
    }
    world.check(&session, "post", &post("x")).await;
    let expected = Tally {
        turns: 0,
        micros: 0,
        permitted: 3,
        denied: 1,
    };
    assert_eq!(world.gate.tally(&session).unwrap(), expected);
    assert!(world.gate.tally("ses-99999").is_err());
}
