//! What a link binds below itself, and what an agent keeps of the one that it was created under.

use super::*;

/// The four agents, of which `change` makes another authority.
fn changed(change: impl Fn(&str, &mut gate::AgentAuthority) -> bool) -> gate::Authority {
    let mut four = Vec::new();
    for name in ["lead", "deploy", "scout", "intern"] {
        let mut held = agent(Level::L3);
        if change(name, &mut held) {
            four.push((name, held));
        }
    }
    authority(&rules(), &four)
}

#[tokio::test]
async fn every_link_limits_how_many_hang_below_it() {
    let world = world().await;
    let limited = |name: &str, limit: u8| {
        let name = name.to_owned();
        changed(move |other, held| {
            if other == name {
                held.bounds.delegation_depth = limit;
            }
            true
        })
    };
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    world.gate.restore(limited("deploy", 0));
    let fresh = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let refused =
        |new: NewDelegation| async { world.gate.delegate(&alice(), new).await.unwrap_err().to_string() };
    let deploy = "agent `deploy` may have no more than 0 delegations below it";
    assert_eq!(
        refused(under(&first, "deploy", "scout")).await,
        deploy,
        "lowered since"
    );
    let deep = "cannot be delegated: the chain is deeper than its root allows";
    assert_eq!(
        refused(under(&fresh, "deploy", "scout")).await,
        deep,
        "the token says so by itself"
    );
    world.gate.restore(limited("deploy", 1));
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let second = made(&world, under(&first, "deploy", "scout")).await;
    assert_eq!(refused(under(&second, "scout", "intern")).await, deep);
    let session = running(&world, "scout", &trigger(), Some(&second.id)).await;
    assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
    world.gate.restore(limited("deploy", 0));
    let expected = format!(
        "denied: agent:deploy acts under delegation `{}`, which does not verify: agent `deploy` may have no more than 0 below it",
        second.id
    );
    assert_eq!(world.check(&session, "2", &read("repository/a")).await, expected);
}

#[tokio::test]
async fn what_an_agent_must_never_do_binds_whoever_it_passes_anything_on_to() {
    let world = world().await;
    let never = |who: &'static str| {
        changed(move |name, held| {
            if name == who {
                held.deny = vec![Capability::parse("git.log:repository/secret").unwrap()];
            }
            true
        })
    };
    for who in ["lead", "deploy", "scout"] {
        world.gate.restore(never(who));
        let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
        let second = NewDelegation {
            under: Some(first.id.clone()),
            ..from("deploy", "scout", &["git.log:repository/*"])
        };
        let second = made(&world, second).await;
        let told = second.except.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected: &[&str] = if who == "scout" {
            &[]
        } else {
            &["git.log:repository/secret"]
        };
        assert_eq!(
            told, expected,
            "{who}: the token says what whoever is above must never do"
        );
        let session = running(&world, "scout", &trigger(), Some(&second.id)).await;
        let (free, secret) = (read("repository/a"), read("repository/secret"));
        assert_eq!(world.check(&session, "1", &free).await, "permit", "{who}");
        let expected = format!("denied: agent:{who} holds no grant that covers this action");
        assert_eq!(world.check(&session, "2", &secret).await, expected);
    }
    // By its own right as well, although its grants cover it; and from one that was applied later.
    world.gate.restore(changed(|_, _| true));
    let session = running(&world, "deploy", &trigger(), None).await;
    assert_eq!(
        world.check(&session, "1", &read("repository/secret")).await,
        "permit"
    );
    world.gate.restore(never("deploy"));
    let expected = "denied: agent:deploy holds no grant that covers this action";
    assert_eq!(
        world.check(&session, "2", &read("repository/secret")).await,
        expected
    );
}

#[tokio::test]
async fn an_agent_without_a_document_or_an_identity_ends_what_hangs_from_it() {
    let world = world().await;
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let second = made(&world, under(&first, "deploy", "scout")).await;
    let session = running(&world, "scout", &trigger(), Some(&second.id)).await;
    #[rustfmt::skip]
    let table = [
        ("nobody",  "permit"),
        ("deploy",  "denied: agent:deploy is not configured any more"),
        ("lead",    "denied: agent:lead is not configured any more"),
        ("nobody",  "permit"),
    ];
    for (step, (gone, expected)) in table.into_iter().enumerate() {
        world.gate.restore(changed(|name, _| name != gone));
        let got = world
            .check(&session, &step.to_string(), &read("repository/a"))
            .await;
        assert_eq!(got, expected, "{gone} deleted");
    }
    // An agent that nothing made known: only the platform's own need no identity.
    let ghost = |trust| {
        let held = gate::AgentAuthority {
            trust,
            ..agent(Level::L3)
        };
        authority(&rules(), &[("ghost", held)])
    };
    world.gate.restore(ghost(gate::TrustTerms::PLATFORM));
    let session = running(&world, "ghost", &trigger(), None).await;
    assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
    world.gate.restore(ghost(gate::TrustTerms::default()));
    let got = world.check(&session, "2", &read("repository/a")).await;
    assert_eq!(got, "denied: agent:ghost has no identity");
}

fn child_of(parent: &str, name: &str, sponsor: Option<&str>) -> NewAgent {
    NewAgent {
        name: name.to_owned(),
        sponsor: sponsor.map(str::to_owned),
        parent: Some(parent.to_owned()),
        place: None,
        expires: None,
    }
}

#[tokio::test]
async fn what_ends_an_agent_ends_those_that_were_created_under_it() {
    #[rustfmt::skip]
    let table = [
        (AgentEvent::Suspend, "denied: agent:grandchild was created under agent `lead`, which is suspended"),
        (AgentEvent::Lock,    "denied: agent:grandchild was created under agent `lead`, which is locked"),
        (AgentEvent::Revoke,  "denied: agent:grandchild was created under agent `lead`, which is revoked"),
    ];
    for (happens, expected) in table {
        let world = world().await;
        let with = ["lead", "child", "grandchild"].map(|name| (name, agent(Level::L3)));
        for (parent, name) in [("lead", "child"), ("child", "grandchild")] {
            world
                .gate
                .create_agent(&alice(), child_of(parent, name, None))
                .await
                .unwrap();
            world.gate.restore(authority(&rules(), &with));
            world.gate.identify_agents(&[name.to_owned()]).await.unwrap();
        }
        let session = running(&world, "grandchild", &trigger(), None).await;
        assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
        event(&world, "lead", happens).await.unwrap();
        assert_eq!(world.check(&session, "2", &read("repository/a")).await, expected);
    }
}

#[tokio::test]
async fn a_child_keeps_the_sponsor_that_it_inherited() {
    let world = world().await;
    #[rustfmt::skip]
    let table = [
        (None,                 Ok("alice")),
        (Some("alice"),        Ok("alice")),
        (Some("person:alice"), Ok("alice")),
        (Some("bob"),          Err("it inherits its sponsor `alice` and cannot have another")),
        (Some("agent:lead"),   Err("an agent needs a sponsor: the name of a person")),
        (Some(" "),            Err("an agent needs a sponsor: the name of a person")),
    ];
    for (number, (sponsor, expected)) in table.into_iter().enumerate() {
        let child = child_of("lead", &format!("child-{number}"), sponsor);
        let got = world.gate.create_agent(&alice(), child).await;
        let got = got.map(|row| row.sponsor).map_err(|error| error.to_string());
        assert_eq!(
            got,
            expected.map(str::to_owned).map_err(str::to_owned),
            "{sponsor:?}"
        );
    }
    let with = |sponsor: &str| {
        let child = gate::AgentAuthority {
            sponsor: sponsor.to_owned(),
            ..agent(Level::L3)
        };
        authority(&rules(), &[("lead", agent(Level::L3)), ("child-0", child)])
    };
    let install = async |sponsor: &str| {
        let change = gate::DocumentChange::Apply {
            kind: "Agent".to_owned(),
            name: "child-0".to_owned(),
            document: serde_json::json!({}),
        };
        let generation = world.gate.authority().generation;
        let installed = world
            .gate
            .install(
                &alice(),
                gate::Owner::Api,
                generation,
                vec![change],
                with(sponsor),
            )
            .await;
        installed.map(drop).map_err(|error| error.to_string())
    };
    let expected = "agent `child-0` inherits its sponsor `alice` and cannot have another";
    assert_eq!(install("bob").await, Err(expected.to_owned()));
    assert_eq!(install("alice").await, Ok(()));
    let session = running(&world, "child-0", &trigger(), None).await;
    assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
    let caller = world.caller("alice", &[Role::Operator]).await;
    world.gate.revoke_token(&alice(), caller.token()).await.unwrap();
    let expected = "denied: agent:child-0 has lost its sponsor: every token of `alice` was revoked";
    assert_eq!(world.check(&session, "2", &read("repository/a")).await, expected);
}

#[tokio::test]
async fn no_end_lifts_what_holds_an_agent_back() {
    let world = world().await;
    let now = world.gate.store().clock().now();
    let soon = Some(now.plus_ms(1000));
    for happens in [AgentEvent::Suspend, AgentEvent::Lock, AgentEvent::Revoke] {
        let got = world
            .gate
            .agent_event(&alice(), gate::EVERYWHERE, "lead", happens, "so", soon)
            .await;
        let expected = "only an agent that has expired gets another end";
        assert_eq!(got.unwrap_err().to_string(), expected, "{happens:?}");
    }
    let child = NewAgent {
        expires: soon,
        ..child_of("lead", "temp", None)
    };
    world.gate.create_agent(&alice(), child).await.unwrap();
    event(&world, "temp", AgentEvent::Suspend).await.unwrap();
    world.advance(1000);
    let later = Some(now.plus_ms(HOUR_MS.cast_signed()));
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
        .await;
    assert_eq!(
        renewed.unwrap_err().to_string(),
        "an agent that is suspended cannot renew"
    );
    // Resuming lifts the suspension and not the end.
    event(&world, "temp", AgentEvent::Resume).await.unwrap();
    let row = world.gate.agent("temp").unwrap();
    assert_eq!(
        row.status_at(world.gate.store().clock().now()),
        AgentStatus::Expired
    );
}

#[tokio::test]
async fn the_platforms_own_agent_has_no_identity_to_change() {
    let own = ["lead", "cofferdam-notifier"].map(|name| (name, agent(Level::L3)));
    let world = World::with(authority(&rules(), &own)).await;
    let expected =
        "`cofferdam-notifier` is the platform's own name; to hold such an agent back, raise a stop";
    for happens in [AgentEvent::Suspend, AgentEvent::Lock, AgentEvent::Revoke] {
        assert_eq!(
            event(&world, "cofferdam-notifier", happens).await,
            Err(expected.to_owned())
        );
    }
    let child = child_of("lead", "cofferdam-notifier", None);
    assert_eq!(
        world
            .gate
            .create_agent(&alice(), child)
            .await
            .unwrap_err()
            .to_string(),
        expected
    );
    let rotated = world.gate.rotate_agent(&alice(), "cofferdam-notifier").await;
    assert_eq!(rotated.unwrap_err().to_string(), expected);
    for (giver, to) in [("lead", "cofferdam-notifier"), ("cofferdam-notifier", "lead")] {
        let got = world
            .gate
            .delegate(&alice(), from(giver, to, &["git.log:repository/a"]))
            .await;
        assert_eq!(got.unwrap_err().to_string(), expected);
    }
    assert!(
        world.gate.agent("cofferdam-notifier").is_err(),
        "no row is made of it"
    );
    // Nor is it orphaned by a person of its sponsor's name.
    let caller = world.caller("alice", &[Role::Operator]).await;
    let session = running(&world, "cofferdam-notifier", &trigger(), None).await;
    world.gate.revoke_token(&alice(), caller.token()).await.unwrap();
    assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
}

#[tokio::test]
async fn an_agent_is_held_back_without_any_key() {
    let world = world().await;
    let keys = world.directory.path().join("data-keys/agents");
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::write(&keys, "").unwrap();
    assert_eq!(
        event(&world, "scout", AgentEvent::Suspend).await,
        Ok(AgentStatus::Suspended)
    );
    assert_eq!(
        event(&world, "scout", AgentEvent::Revoke).await,
        Ok(AgentStatus::Revoked)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_delegations_at_once_are_signed_by_one_key() {
    for round in 0..4 {
        let world = std::sync::Arc::new(world().await);
        let made = (0..8).map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let new = from("lead", "deploy", &["git.log:repository/*"]);
                // What others made meanwhile may have changed what it rests on.
                loop {
                    match world.gate.delegate(&alice(), new.clone()).await {
                        Err(DelegateError::Changing) => {}
                        other => return other.map(drop).map_err(|error| error.to_string()),
                    }
                }
            })
        });
        for made in made.collect::<Vec<_>>() {
            assert_eq!(made.await.unwrap(), Ok(()), "round {round}");
        }
    }
}
