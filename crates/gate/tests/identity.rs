//! Agents as principals and what they pass on, over a real journal: what every status, every delegation
//! and every person's absence does to the next action, and that a change in between is never missed.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails here"
)]

#[path = "gate/world.rs"]
#[expect(
    dead_code,
    reason = "this binary needs a part of what the tests of the gate share"
)]
mod world;

#[path = "identity/exchange.rs"]
mod exchange;
#[path = "identity/lineage.rs"]
mod lineage;
#[path = "identity/supervisor.rs"]
mod supervisor;

use gate::{AgentError, DelegateError, DelegationRow, NewAgent, NewDelegation, NewSession, Role};
use journal::machine::SessionEvent;
use policy::{AgentEvent, AgentStatus, Capability, Level, Principal};
use std::os::unix::fs::PermissionsExt;
use world::{World, agent, authority, new_session, post, read, rules};

const HOUR_MS: u64 = 60 * 60 * 1000;

fn alice() -> Principal {
    Principal::person("alice")
}

/// Four agents that could all do the same, and each a key.
async fn world() -> World {
    let four = ["lead", "deploy", "scout", "intern"].map(|name| (name, agent(Level::L3)));
    let world = World::with(authority(&rules(), &four)).await;
    world
        .gate
        .identify_agents(&four.map(|(name, _)| name.to_owned()))
        .await
        .unwrap();
    world
}

fn from(from: &str, to: &str, capabilities: &[&str]) -> NewDelegation {
    NewDelegation {
        from: from.to_owned(),
        to: to.to_owned(),
        capabilities: capabilities
            .iter()
            .map(|text| Capability::parse(text).unwrap())
            .collect(),
        except: Vec::new(),
        ttl_ms: 15 * 60 * 1000,
        trust: None,
        under: None,
    }
}

async fn made(world: &World, new: NewDelegation) -> DelegationRow {
    world.gate.delegate(&alice(), new).await.unwrap()
}

/// A session of `agent` under a delegation, caused by `cause`, that runs.
async fn running(world: &World, agent: &str, cause: &Principal, delegation: Option<&str>) -> String {
    let new = NewSession {
        cause: cause.clone(),
        ..new_session(agent)
    };
    let delegation = delegation.map(str::to_owned);
    let id = world
        .gate
        .create_session_under(new, delegation)
        .await
        .unwrap()
        .0
        .id;
    world.drive(&id, SessionEvent::Start).await;
    id
}

fn trigger() -> Principal {
    Principal::service("trigger/alerts")
}

async fn event(world: &World, agent: &str, event: AgentEvent) -> Result<AgentStatus, String> {
    let row = world
        .gate
        .agent_event(&alice(), gate::EVERYWHERE, agent, event, "so", None)
        .await;
    row.map(|row| row.status).map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_agents_status_meets_its_next_action() {
    let world = world().await;
    let session = running(&world, "deploy", &trigger(), None).await;
    #[rustfmt::skip]
    let table = [
        (None,                       "permit"),
        (Some(AgentEvent::Suspend),  "denied: agent:deploy is suspended"),
        (Some(AgentEvent::Resume),   "permit"),
        (Some(AgentEvent::Lock),     "denied: agent:deploy is locked"),
        (Some(AgentEvent::Override), "permit"),
        (Some(AgentEvent::Revoke),   "denied: agent:deploy is revoked"),
    ];
    for (step, (happens, expected)) in table.into_iter().enumerate() {
        if let Some(happens) = happens {
            event(&world, "deploy", happens).await.unwrap();
        }
        let got = world
            .check(&session, &format!("step-{step}"), &read("repository/a"))
            .await;
        assert_eq!(got, expected, "{happens:?}");
    }
    let refused = event(&world, "deploy", AgentEvent::Override).await;
    assert_eq!(
        refused,
        Err("an agent that is revoked cannot override".to_owned())
    );
    let denied = world.bodies("action.denied");
    let codes: Vec<_> = denied.iter().map(|body| body["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["agent_suspended", "agent_locked", "agent_revoked"]);
    // What was revoked stays so, whatever is opened again.
    let world = world.reopened().await;
    let got = world.check(&session, "again", &read("repository/a")).await;
    assert_eq!(got, "denied: agent:deploy is revoked");
}

/// Whoever holds back once more what is locked does not say why it is locked.
#[tokio::test]
async fn why_an_agent_is_locked_is_told_until_it_is_locked_no_more() {
    let world = world().await;
    #[rustfmt::skip]
    let table = [
        (AgentEvent::Lock,     "its key is out",  "its key is out"),
        (AgentEvent::Suspend,  "over the week",   "its key is out"),
        (AgentEvent::Lock,     "twice by now",    "twice by now"),
        (AgentEvent::Override, "it has a new one", "it has a new one"),
        (AgentEvent::Suspend,  "over the week",   "over the week"),
        (AgentEvent::Suspend,  "and the next",    "and the next"),
    ];
    for (event, reason, told) in table {
        let driven = world
            .gate
            .agent_event(&alice(), gate::EVERYWHERE, "scout", event, reason, None)
            .await;
        assert_eq!(driven.unwrap().reason.as_deref(), Some(told), "{event:?}");
    }
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_security_suspension_needs_an_override_and_an_end_a_later_one() {
    let world = world().await;
    event(&world, "scout", AgentEvent::Lock).await.unwrap();
    let refused = event(&world, "scout", AgentEvent::Resume).await;
    assert_eq!(refused, Err("an agent that is locked cannot resume".to_owned()));
    let child = NewAgent {
        name: "temp".to_owned(),
        sponsor: None,
        parent: Some("lead".to_owned()),
        place: None,
        expires: Some(world.gate.store().clock().now().plus_ms(1000)),
    };
    let row = world.gate.create_agent(&alice(), child.clone()).await.unwrap();
    assert_eq!(
        (row.status, row.sponsor.as_str()),
        (AgentStatus::Created, "alice"),
        "its sponsor is inherited"
    );
    let twice = world
        .gate
        .create_agent(&alice(), child.clone())
        .await
        .unwrap_err();
    assert_eq!(twice.to_string(), "there is an agent `temp` already");
    let orphan = NewAgent {
        name: "orphan".to_owned(),
        parent: None,
        ..child.clone()
    };
    let orphan = world.gate.create_agent(&alice(), orphan).await.unwrap_err();
    assert_eq!(
        orphan.to_string(),
        "an agent needs a sponsor: the name of a person"
    );
    let outliving = NewAgent {
        name: "heir".to_owned(),
        parent: Some("temp".to_owned()),
        ..child
    };
    let outliving = world.gate.create_agent(&alice(), outliving).await.unwrap_err();
    assert_eq!(outliving.to_string(), "agent `temp` is created");
    world.advance(1000);
    let row = world.gate.agent("temp").unwrap();
    assert_eq!(
        row.status_at(world.gate.store().clock().now()),
        AgentStatus::Expired
    );
    let later = Some(world.gate.store().clock().now().plus_ms(5000));
    let renewed = world
        .gate
        .agent_event(
            &alice(),
            gate::EVERYWHERE,
            "temp",
            AgentEvent::Renew,
            "more",
            later,
        )
        .await
        .unwrap();
    assert_eq!(
        renewed.status_at(world.gate.store().clock().now()),
        AgentStatus::Active
    );
}

#[tokio::test]
async fn keys_lie_beside_the_organizations_and_nowhere_else() {
    let world = world().await;
    let row = world.gate.agent("deploy").unwrap();
    let keys = world.directory.path().join("data-keys/agents");
    let file = keys.join(format!("{}.key", row.keys[0].id));
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(
        (metadata.len(), metadata.permissions().mode() & 0o777),
        (32, 0o600)
    );
    let seed = std::fs::read(&file).unwrap();
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let told = format!(
        "{row:?} {} {:?}",
        serde_json::to_string(&row).unwrap(),
        world.rows()
    );
    let entries = serde_json::to_string(&world.entries()).unwrap();
    for text in [told, entries] {
        assert!(
            !text.contains(&hex) && !text.contains("PRIVATE"),
            "no seed is told"
        );
    }
    assert!(row.did.starts_with("did:key:z6Mk"), "{}", row.did);
}

#[tokio::test]
async fn a_rotated_key_is_proved_and_verifies_for_a_day() {
    let world = world().await;
    let before = world.gate.agent("lead").unwrap();
    let delegation = made(&world, from("lead", "deploy", &["git.log:repository/a"])).await;
    let session = running(&world, "deploy", &trigger(), Some(&delegation.id)).await;
    let after = world.gate.rotate_agent(&alice(), "lead").await.unwrap();
    assert_eq!(after.did, before.did, "the DID stays");
    assert_ne!(after.keys[0].id, before.keys[0].id);
    assert_eq!(
        after.keys[1].until.map(|until| until.since_ms(after.updated)),
        Some(24 * 60 * 60 * 1000)
    );
    let got = world.check(&session, "1", &read("repository/a")).await;
    assert_eq!(got, "permit", "a session goes on while keys are rotated");
    for _ in 0..6 {
        world.gate.rotate_agent(&alice(), "lead").await.unwrap();
    }
    let row = world.gate.agent("lead").unwrap();
    assert_eq!(row.keys.len(), 6, "the present one and five old ones");
    let gone = world
        .directory
        .path()
        .join(format!("data-keys/agents/{}.key", before.keys[0].id));
    assert!(!gone.exists(), "a key that nobody remembers is gone");
    let got = world.check(&session, "2", &read("repository/a")).await;
    let expected = format!(
        "denied: agent:lead acts under delegation `{}`, which does not verify: the key of agent `lead` was rotated",
        delegation.id
    );
    assert_eq!(got, expected);
    assert_eq!(row, world.reopened().await.gate.agent("lead").unwrap());
}

#[tokio::test]
async fn a_session_under_a_delegation_may_do_what_was_delegated_and_no_more() {
    let world = world().await;
    let new = NewDelegation {
        except: vec![Capability::parse("git.log:repository/secret").unwrap()],
        ..from(
            "lead",
            "deploy",
            &["git.log:repository/*", "channel.post:channel/oncall"],
        )
    };
    let first = made(&world, new).await;
    let under = NewDelegation {
        under: Some(first.id.clone()),
        ..from("deploy", "scout", &["git.log:repository/*"])
    };
    let second = made(&world, under).await;
    assert_eq!(second.path, ["lead", "deploy", "scout"]);
    assert_eq!(second.except, first.except, "exceptions are inherited");
    assert_eq!(second.previous, first.hash, "each names the one above");
    let (one, two) = (
        running(&world, "deploy", &trigger(), Some(&first.id)).await,
        running(&world, "scout", &trigger(), Some(&second.id)).await,
    );
    #[rustfmt::skip]
    let table = [
        (&one, read("repository/a"),      "permit"),
        (&one, post("hello"),             "permit"),
        (&one, read("repository/secret"), "denied: agent:deploy holds no grant that covers this action"),
        (&one, read("elsewhere"),         "denied: agent:deploy holds no grant that covers this action"),
        (&two, read("repository/a"),      "permit"),
        (&two, read("repository/secret"), "denied: agent:deploy holds no grant that covers this action"),
        (&two, post("hello"),             "denied: agent:scout holds no grant that covers this action"),
    ];
    for (at, (session, action, expected)) in table.into_iter().enumerate() {
        let got = world.check(session, &format!("s{at}"), &action).await;
        assert_eq!(got, expected, "{at}");
    }
    let permitted = world.bodies("action.permitted");
    let chain = &permitted[2]["chain"];
    let told: Vec<String> = chain
        .as_array()
        .unwrap()
        .iter()
        .map(|link| {
            format!(
                "{} {}",
                link["principal"].as_str().unwrap(),
                link["from"].as_str().unwrap()
            )
        })
        .collect();
    let expected = [
        "agent:lead toolset/all".to_owned(),
        format!("agent:deploy delegation/{}", first.id),
        format!("agent:scout delegation/{}", second.id),
    ];
    assert_eq!(told, expected, "the record tells every link and who gave it");
}

#[tokio::test]
async fn what_is_above_ends_what_is_below_on_the_next_action() {
    for what in [
        "revoked",
        "expired",
        "suspended above",
        "revoked below",
        "sponsor left",
        "sponsor logged out",
    ] {
        let world = world().await;
        let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
        let under = NewDelegation {
            under: Some(first.id.clone()),
            ttl_ms: 60_000,
            ..from("deploy", "scout", &["git.log:repository/a"])
        };
        let second = made(&world, under).await;
        let session = running(&world, "scout", &trigger(), Some(&second.id)).await;
        assert_eq!(
            world.check(&session, "before", &read("repository/a")).await,
            "permit",
            "{what}"
        );
        let (first, second) = (first.id, second.id);
        let expected = match what {
            "revoked" => {
                world
                    .gate
                    .revoke_delegation(&alice(), &first, "done")
                    .await
                    .unwrap();
                format!("denied: agent:deploy acts under delegation `{first}`, which was revoked")
            }
            "revoked below" => {
                world
                    .gate
                    .revoke_delegation(&alice(), &second, "done")
                    .await
                    .unwrap();
                format!("denied: agent:scout acts under delegation `{second}`, which was revoked")
            }
            "expired" => {
                world.advance(60_000);
                format!(
                    "denied: agent:lead acts under delegation `{second}`, which does not verify: the token has expired"
                )
            }
            "suspended above" => {
                event(&world, "lead", AgentEvent::Suspend).await.unwrap();
                "denied: agent:lead is suspended".to_owned()
            }
            "sponsor logged out" => {
                logged_out(&world).await;
                "permit".to_owned()
            }
            _ => {
                let caller = world.caller("alice", &[Role::Operator]).await;
                world.gate.revoke_token(&alice(), caller.token()).await.unwrap();
                "denied: agent:lead has lost its sponsor: every token of `alice` was revoked".to_owned()
            }
        };
        assert_eq!(
            world.check(&session, "after", &read("repository/a")).await,
            expected,
            "{what}"
        );
    }
}

/// Alice comes from a provider and goes again; that token is over, and is not taken a second time.
async fn logged_out(world: &World) {
    let new = || gate::NewToken {
        principal: Principal::person("alice"),
        roles: gate::RoleAt::everywhere(&[Role::Operator]),
        groups: Vec::new(),
        trigger: None,
        expires: Some(world.gate.time().plus_ms(3_600_000)),
    };
    let take = async || {
        let by = Principal::service("cofferdam");
        world.gate.take_token(&by, new(), "corporate", "a.b.c").await
    };
    let caller = take().await.unwrap();
    world.advance(1000);
    world.gate.end_login(&caller).await.unwrap();
    assert!(world.gate.identify("a.b.c").is_err() && take().await.is_err());
    let view = world.gate.tokens().unwrap().remove(0);
    assert_eq!((view.revoked, view.expires), (false, Some(world.gate.time())));
    let made = world.caller("bob", &[Role::Operator]).await;
    let refused = world.gate.end_login(&made).await.unwrap_err().to_string();
    assert!(refused.contains("is from no login"), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_delegated_is_refused_with_its_reason() {
    let world = world().await;
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let second = made(&world, under(&first, "deploy", "scout")).await;
    let third = made(&world, under(&second, "scout", "intern")).await;
    let revoked = made(&world, from("lead", "scout", &["git.log:repository/*"])).await;
    world
        .gate
        .revoke_delegation(&alice(), &revoked.id, "done")
        .await
        .unwrap();
    event(&world, "intern", AgentEvent::Suspend).await.unwrap();
    let under_first = |new: NewDelegation| NewDelegation {
        under: Some(first.id.clone()),
        ..new
    };
    let did = |name: &str| world.gate.agent(name).unwrap().did;
    #[rustfmt::skip]
    let table = [
        ("everything",           from("lead", "deploy", &["*:*"]),                  "cannot be delegated: `*:*` names no verb or no resource, so it cannot be delegated".to_owned()),
        ("every resource",       from("lead", "deploy", &["git.log:*"]),            "cannot be delegated: `git.log:*` names no verb or no resource, so it cannot be delegated".to_owned()),
        ("what it does not hold", from("lead", "deploy", &["vault.read:secret/a"]), "cannot be delegated: `vault.read:secret/a` is not held by the link above".to_owned()),
        ("more than it received", under_first(from("deploy", "scout", &["git.diff:repository/a"])), "cannot be delegated: `git.diff:repository/a` is not held by the link above".to_owned()),
        ("a longer life",        under_first(NewDelegation { ttl_ms: 16 * 60 * 1000, ..from("deploy", "scout", &["git.log:repository/a"]) }), "cannot be delegated: a link has to live within the life of the link above".to_owned()),
        ("a higher ceiling",     NewDelegation { trust: Some(1001), ..from("lead", "deploy", &["git.log:repository/a"]) }, "cannot be delegated: its trust ceiling is above 1000, that of the link above".to_owned()),
        ("back up the chain",    under(&second, "scout", "lead"),                   format!("cannot be delegated: `{}` is on the chain twice", did("lead"))),
        ("to itself",            from("lead", "lead", &["git.log:repository/a"]),   format!("cannot be delegated: `{}` is on the chain twice", did("lead"))),
        ("to one held back",     from("lead", "intern", &["git.log:repository/a"]), "agent `intern` is suspended".to_owned()),
        ("to nobody",            from("lead", "nobody", &["git.log:repository/a"]), "no agent `nobody`".to_owned()),
        ("under what is not its", under(&first, "scout", "intern"),                 format!("delegation `{}` is not to agent `scout`", first.id)),
        ("under nothing",        NewDelegation { under: Some("del-9999".into()), ..from("deploy", "scout", &["git.log:repository/a"]) }, "no delegation `del-9999`".to_owned()),
        ("under what was revoked", under(&revoked, "scout", "deploy"),              format!("delegation `{}` was revoked", revoked.id)),
        ("for no time",          NewDelegation { ttl_ms: 0, ..from("lead", "deploy", &["git.log:repository/a"]) }, "a delegation lives from 1 second to 24 hours".to_owned()),
        ("for days",             NewDelegation { ttl_ms: 48 * 3_600_000, ..from("lead", "deploy", &["git.log:repository/a"]) }, "a delegation lives from 1 second to 24 hours".to_owned()),
    ];
    for (name, new, expected) in table {
        let got = world.gate.delegate(&alice(), new).await;
        assert_eq!(
            got.map(|row| row.id).map_err(|error| error.to_string()),
            Err(expected),
            "{name}"
        );
    }
    event(&world, "intern", AgentEvent::Resume).await.unwrap();
    assert_eq!(third.path.len(), 4, "three links below the root");
    let four = ["lead", "deploy", "scout", "intern", "last"].map(|name| (name, agent(Level::L3)));
    world.gate.restore(authority(&rules(), &four));
    let deeper = world
        .gate
        .delegate(&alice(), under(&third, "intern", "last"))
        .await
        .unwrap_err();
    assert_eq!(
        deeper.to_string(),
        "cannot be delegated: the chain is deeper than its root allows"
    );
}

fn under(above: &DelegationRow, from_agent: &str, to: &str) -> NewDelegation {
    NewDelegation {
        under: Some(above.id.clone()),
        ..from(from_agent, to, &["git.log:repository/a"])
    }
}

#[tokio::test]
async fn a_session_starts_only_under_a_delegation_to_its_agent_that_holds() {
    let world = world().await;
    let delegation = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let revoked = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    world
        .gate
        .revoke_delegation(&alice(), &revoked.id, "done")
        .await
        .unwrap();
    let (good, revoked) = (delegation.id.clone(), revoked.id);
    #[rustfmt::skip]
    let table = [
        ("deploy", "del-9999",        0,           "delegation `del-9999` is not there".to_owned()),
        ("scout",  good.as_str(),     0,           format!("delegation `{good}` is to another agent")),
        ("deploy", revoked.as_str(),  0,           format!("delegation `{revoked}` was revoked")),
        ("deploy", good.as_str(),     HOUR_MS,     format!("delegation `{good}` has expired")),
    ];
    for (agent, delegation, after, expected) in table {
        world.advance(after);
        let got = world
            .gate
            .create_session_under(new_session(agent), Some(delegation.to_owned()))
            .await;
        assert_eq!(got.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_person_lends_no_more_than_they_may_themselves() {
    #[rustfmt::skip]
    let table: [(&str, &[Role], &str, &str); 5] = [
        ("an operator",      &[Role::Operator],               "permit", "permit"),
        ("an administrator", &[Role::Admin],                  "permit", "permit"),
        ("a viewer",         &[Role::Viewer],                 "permit", "denied: autonomy level L0 is read-only here"),
        ("both",             &[Role::Viewer, Role::Operator], "permit", "permit"),
        ("nobody we know",   &[],                             "denied: person:carol holds no grant that covers this action",
                                                              "denied: person:carol holds no grant that covers this action"),
    ];
    for (name, roles, reads, writes) in table {
        let world = world().await;
        if !roles.is_empty() {
            world.caller("carol", roles).await;
        }
        let session = running(&world, "deploy", &Principal::person("carol"), None).await;
        assert_eq!(
            world.check(&session, "read", &read("repository/a")).await,
            reads,
            "{name}"
        );
        assert_eq!(world.check(&session, "write", &post("x")).await, writes, "{name}");
    }
    let world = world().await;
    let caller = world.caller("carol", &[Role::Operator]).await;
    let session = running(&world, "deploy", &Principal::person("carol"), None).await;
    assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
    world.gate.revoke_token(&alice(), caller.token()).await.unwrap();
    assert_eq!(
        world.check(&session, "2", &read("repository/a")).await,
        "denied: person:carol holds no grant that covers this action",
        "whose token is gone lends nothing from then on"
    );
}

/// A revocation and an action at once, many times: an action is permitted before the revocation is
/// recorded, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_action_is_permitted_after_its_delegation_was_revoked() {
    let world = std::sync::Arc::new(world().await);
    for round in 0..8 {
        let delegation = made(&world, from("lead", "deploy", &["git.log:repository/*"]))
            .await
            .id;
        let session = running(&world, "deploy", &trigger(), Some(&delegation)).await;
        let acts = {
            let (world, session) = (world.clone(), session.clone());
            tokio::spawn(async move {
                for step in 0..4 {
                    drop(
                        world
                            .admit(&session, &format!("{step}"), &read("repository/a"))
                            .await,
                    );
                }
            })
        };
        world
            .gate
            .revoke_delegation(&alice(), &delegation, "race")
            .await
            .unwrap();
        acts.await.unwrap();
        let entries = world.entries();
        let revoked = entries
            .iter()
            .rposition(|entry| entry.kind == "delegation.revoked")
            .unwrap();
        let late = entries[revoked..]
            .iter()
            .filter(|entry| entry.kind == "action.permitted" && entry.session.as_deref() == Some(&session));
        assert_eq!(late.count(), 0, "round {round}");
    }
}

#[tokio::test]
async fn a_rebuild_of_the_fold_gives_the_same_rows() {
    let world = world().await;
    let delegation = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    event(&world, "scout", AgentEvent::Lock).await.unwrap();
    world.gate.rotate_agent(&alice(), "lead").await.unwrap();
    world
        .gate
        .revoke_delegation(&alice(), &delegation.id, "done")
        .await
        .unwrap();
    world.caller("carol", &[Role::Viewer]).await;
    let before = world.rows();
    assert!(before.keys().any(|key| key == "agents:person/carol"));
    let world = world.reopened().await;
    assert!(world.gate.store().verify(&[], &mut |_, _| ()).unwrap().is_ok());
    assert_eq!(world.rows(), before);
    assert_eq!(
        world.gate.delegations(None, 10).unwrap()[0]
            .revoked
            .as_ref()
            .unwrap()
            .by,
        "person:alice"
    );
    assert!(matches!(world.gate.agent("nobody"), Err(AgentError::Unknown(_))));
    assert!(matches!(
        world.gate.delegation("del-1"),
        Err(DelegateError::Unknown(_))
    ));
}

#[tokio::test]
async fn what_has_ended_stays_so_when_the_clock_goes_back() {
    let world = world().await;
    let start = world.gate.time();
    let delegation = made(&world, from("lead", "deploy", &["git.log:repository/a"])).await;
    let session = running(&world, "deploy", &trigger(), Some(&delegation.id)).await;
    let new = gate::NewToken {
        principal: Principal::person("bob"),
        roles: vec![Role::Operator.into()],
        groups: Vec::new(),
        trigger: None,
        expires: Some(start.plus_ms(60_000)),
    };
    let (_, secret) = world.gate.create_token(&alice(), new).await.unwrap();
    let secret = std::str::from_utf8(secret.expose()).unwrap();
    let bob = world.gate.identify(secret).unwrap();
    let ended = format!(
        "denied: agent:lead acts under delegation `{0}`, which does not verify: the token has expired",
        delegation.id
    );
    #[rustfmt::skip]
    let table = [
        // what the clock says, in ms from the start    the delegation     the token
        (0,                                             "permit",          true),
        (16 * 60_000,                                   ended.as_str(),    false),
        (0,                                             ended.as_str(),    false),
        (-3_600_000,                                    ended.as_str(),    false),
    ];
    for (step, (clock, expected, holds)) in table.into_iter().enumerate() {
        world.clock.set(start.plus_ms(clock));
        let got = world
            .check(&session, &format!("step-{step}"), &read("repository/a"))
            .await;
        assert_eq!(got, expected, "{clock}");
        assert_eq!(world.gate.identify(secret).is_ok(), holds, "{clock}");
        assert_eq!(world.gate.still_holds(&bob), holds, "{clock}");
    }
    let under = Some(delegation.id.clone());
    let late = world
        .gate
        .create_session_under(new_session("deploy"), under)
        .await;
    let expected = format!("delegation `{}` has expired", delegation.id);
    assert_eq!(late.unwrap_err().to_string(), expected);
    // Nor when the process starts with a clock that is behind.
    let world = world.reopened().await;
    assert!(world.gate.identify(secret).is_err());
}

#[tokio::test]
async fn a_kill_names_the_approvals_of_those_that_were_delegated_to() {
    let world = world().await;
    let delegation = made(&world, from("lead", "deploy", &["git.propose:repository/a"])).await;
    let session = running(&world, "deploy", &trigger(), Some(&delegation.id)).await;
    let other = running(&world, "scout", &trigger(), None).await;
    let ask = |resource: &str| {
        let (write, once) = (policy::Effect::Write, policy::Idempotence::Once);
        world::action("git.propose", resource, serde_json::json!({}), write, once)
    };
    for (session, resource) in [(&session, "repository/a"), (&other, "repository/b")] {
        let asked = world.check(session, "ask", &ask(resource)).await;
        assert!(asked.contains("apr-"), "{asked}");
    }
    let approvals = world.gate.approvals(10).unwrap();
    let delegated = approvals.iter().find(|view| view.agent == "deploy").unwrap();
    let scope = policy::StopScope::parse("agent:lead").unwrap();
    let answer = world.gate.kill(&alice(), scope, "halt").await;
    let names = vec![delegated.id.clone()];
    let named = gate::Held {
        what: "approvals",
        names,
    };
    assert!(answer.reached.contains(&named), "{answer:?}");
    assert_eq!(answer.unreached, []);
}
