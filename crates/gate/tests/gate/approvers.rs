//! Who has to approve, and how many, when one name is not enough: stages, teams, several rules at once,
//! and the chain that votes form.

use crate::world::{World, agent, authority, new_session, post, propose};
use gate::{Refusal, Role, Verdict};
use journal::machine::{Approval, SessionEvent};
use policy::{Level, Principal};
use serde_json::{Value, json};
use store::Erasable;

/// Lists of approvers, as written.
type Lists<'a> = &'a [&'a Value];

/// A world whose rules ask for each of `lists`, and a session that runs.
async fn asking(lists: &[Value]) -> (World, String) {
    let rules: Vec<_> = lists
        .iter()
        .enumerate()
        .map(|(n, list)| {
            json!({"name": format!("r{n}"), "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
                "reason": format!("r{n} asks"), "approvers": list})
        })
        .collect();
    let world = World::with(authority(
        &json!({ "rules": rules }),
        &[("triage", agent(Level::L3))],
    ))
    .await;
    let session = world.running("triage").await;
    (world, session)
}

async fn parked(world: &World, session: &str, action: &policy::Action) -> String {
    match world.admit(session, "a", action).await {
        Err(Refusal::Parked { approval, .. }) => approval,
        other => panic!("not parked: {other:?}"),
    }
}

/// `alice`, `bob@security`, `no:carol@security@ops`: what comes of it.
async fn say(world: &World, id: &str, said: &str) -> String {
    let (verdict, who) = match said.strip_prefix("no:") {
        Some(who) => (Verdict::Deny, who),
        None => (Verdict::Approve, said),
    };
    let mut names = who.split('@');
    let name = names.next().unwrap();
    let groups: Vec<&str> = names.collect();
    let caller = world.member(name, &[Role::Approver], &groups).await;
    match world.gate.decide_approval(&caller, id, verdict, "because").await {
        Ok(view) => format!("{:?} {}", view.state, view.votes.len()).to_lowercase(),
        Err(error) => error.to_string(),
    }
}

/// Each line: what the rules ask for; who says what, in order; what each gets; what the action gets then.
#[tokio::test]
async fn votes_count_stage_by_stage() {
    let staged = json!(["sre-oncall", { "team": "security", "count": 2 }]);
    let (alice, either, two) = (json!(["alice"]), json!(["alice", "bob"]), json!([{ "count": 2 }]));
    let security_then_alice = json!([{ "team": "security" }, { "any": ["alice"] }]);
    let waits = "needs approval `ID`: r0 asks";
    let both = "needs approval `ID`: r0 asks; r1 asks";
    #[rustfmt::skip]
    let table: &[(Lists, &str, &[&str], &str)] = &[
        // One list of names: one of them.
        (&[&either], "bob", &["approved 1"], "permit"),
        // Any two, but not one twice.
        (&[&two], "alice alice", &["pending 1", "pending 1"], waits),
        (&[&two], "alice bob", &["pending 1", "approved 2"], "permit"),
        // Stages in order, by people and by teams.
        (&[&staged], "x@sre-oncall a@security b@security", &["pending 1", "pending 2", "approved 3"], "permit"),
        (&[&staged], "sre-oncall a@security b@security", &["pending 1", "pending 2", "approved 3"], "permit"),
        (&[&staged], "a@security x@sre-oncall",
            &["person:a decides later; first it waits for sre-oncall", "pending 1"], waits),
        (&[&staged], "x@sre-oncall a@security a@security", &["pending 1", "pending 2", "pending 2"], waits),
        // One person is one vote in a list, whatever the person belongs to.
        (&[&staged], "x@sre-oncall@security x@sre-oncall@security a@security",
            &["pending 1", "pending 1", "pending 2"], waits),
        // A person whose name is the team's is not in the team.
        (&[&staged], "x@sre-oncall security", &["pending 1", "person:security is not an approver of this action"], waits),
        // Nobody else counts, and a denial ends.
        (&[&staged], "x@ops", &["person:x is not an approver of this action"], waits),
        (&[&staged], "x@sre-oncall no:a@security b@security",
            &["pending 1", "denied 1", "`approve` cannot happen to an approval that is `denied`"],
            "approval `ID` was denied: because"),
        // A vote stands, and what was given can be withdrawn before it is used.
        (&[&two], "alice no:alice bob no:alice",
            &["pending 1", "person:alice approved it and that vote stands; another approver can deny it", "approved 2", "denied 2"],
            "approval `ID` was denied: because"),
        // Several rules: each list is answered, by one person or by several.
        (&[&alice, &either], "alice", &["approved 1"], "permit"),
        (&[&alice, &either], "bob", &["pending 1"], both),
        (&[&alice, &either], "bob alice", &["pending 1", "approved 2"], "permit"),
        (&[&alice, &security_then_alice], "alice b@security alice", &["pending 1", "pending 2", "approved 3"], "permit"),
    ];
    for (lists, said, expected, then) in table {
        let lists: Vec<Value> = lists.iter().map(|&list| list.clone()).collect();
        let (world, session) = asking(&lists).await;
        let id = parked(&world, &session, &propose("x")).await;
        let mut got = Vec::new();
        for one in said.split_whitespace() {
            got.push(say(&world, &id, one).await);
        }
        assert_eq!(got, *expected, "{lists:?}: {said}");
        let told = world.check(&session, "a", &propose("x")).await;
        assert_eq!(told, then.replace("ID", &id), "{lists:?}: {said}");
    }
}

#[tokio::test]
async fn every_vote_names_the_action_and_the_vote_before_it() {
    let (world, session) = asking(&[json!(["alice", { "team": "security" }])]).await;
    let id = parked(&world, &session, &propose("x")).await;
    for said in ["alice", "bob@security"] {
        say(&world, &id, said).await;
    }
    let view = world.gate.approval(&id).unwrap().unwrap();
    assert_eq!((view.state, view.votes.len()), (Approval::Approved, 2));
    let link = |at: usize| {
        let entry = view.votes[at].entry;
        match world
            .gate
            .store()
            .read(|reader| reader.payload(entry, "vote"))
            .unwrap()
        {
            Erasable::Present(link) => link,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (link(0), link(1));
    let digest = json!(policy::canonical::hex(propose("x").digest()));
    assert_eq!([&first["action"], &second["action"]], [&digest, &digest]);
    assert_eq!(
        [&first["previous"], &second["previous"]],
        [&Value::Null, &first["entry"]]
    );
    assert_eq!(second["counts"], json!([{ "list": 0, "stage": 1 }]));
    let approver = &second["approver"];
    assert_eq!(
        (&approver["name"], &approver["groups"]),
        (&json!("bob"), &json!(["security"]))
    );
    for mut link in [first, second] {
        let entry = link.as_object_mut().unwrap().remove("entry").unwrap();
        let found = policy::canonical::digest(&link).unwrap();
        assert_eq!(entry, json!(policy::canonical::hex(&found)));
    }
    // What votes are of stands beside the entries only: the digest of a short action could be guessed.
    for kind in ["approval.voted", "approval.approved"] {
        assert!(
            !world.bodies(kind)[0]
                .to_string()
                .contains(digest.as_str().unwrap()),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn votes_survive_a_restart_and_a_replay() {
    let (world, session) = asking(&[json!([{ "count": 3 }])]).await;
    let id = parked(&world, &session, &propose("x")).await;
    assert_eq!(say(&world, &id, "alice").await, "pending 1");
    let world = world.reopened().await;
    assert_eq!(say(&world, &id, "alice").await, "pending 1");
    assert_eq!(say(&world, &id, "bob").await, "pending 2");
    let world = world.reopened().await;
    assert_eq!(say(&world, &id, "carol").await, "approved 3");
    assert_eq!(world.check(&session, "a", &propose("x")).await, "permit");
}

#[tokio::test]
async fn votes_for_an_old_question_do_not_answer_a_new_one() {
    let ask = |list: Value| {
        let rule =
            json!({"match": {"verbs": ["git.propose"]}, "outcome": "require_approval", "approvers": list});
        authority(&json!({ "rules": [rule] }), &[("triage", agent(Level::L3))])
    };
    let world = World::with(ask(json!([{ "count": 2 }]))).await;
    let session = world.running("triage").await;
    let first = parked(&world, &session, &propose("x")).await;
    assert_eq!(say(&world, &first, "alice").await, "pending 1");
    world
        .gate
        .restore(ask(json!([{ "any": ["bob", "carol"], "count": 2 }])));
    let second = parked(&world, &session, &propose("x")).await;
    assert_ne!(first, second);
    let late = say(&world, &first, "bob").await;
    assert_eq!(late, "`approve` cannot happen to an approval that is `cancelled`");
    for (said, expected) in [
        ("alice", "person:alice is not an approver of this action"),
        ("bob", "pending 1"),
        ("carol", "approved 2"),
    ] {
        assert_eq!(say(&world, &second, said).await, expected, "{said}");
    }
}

#[tokio::test]
async fn of_two_who_vote_at_once_both_count_and_one_is_the_last() {
    let (world, session) = asking(&[json!([{ "count": 2 }])]).await;
    let id = parked(&world, &session, &propose("x")).await;
    let mut set = tokio::task::JoinSet::new();
    for name in ["alice", "bob"] {
        let caller = world.caller(name, &[Role::Approver]).await;
        let (gate, id) = (world.gate.clone(), id.clone());
        set.spawn(async move {
            gate.decide_approval(&caller, &id, Verdict::Approve, "")
                .await
                .unwrap()
                .state
        });
    }
    let mut states: Vec<_> = set
        .join_all()
        .await
        .iter()
        .map(|state| format!("{state:?}"))
        .collect();
    states.sort();
    assert_eq!(states, ["Approved", "Pending"]);
    assert_eq!(
        (
            world.bodies("approval.voted").len(),
            world.bodies("approval.approved").len()
        ),
        (1, 1)
    );
}

/// A no that comes after a yes takes it back while it was not used, so whoever was first, nothing happens.
#[tokio::test]
async fn of_a_yes_and_a_no_at_once_the_no_stands() {
    for round in 0..8 {
        let (world, session) = asking(&[json!([])]).await;
        let id = parked(&world, &session, &propose("x")).await;
        let mut set = tokio::task::JoinSet::new();
        for (name, verdict) in [("alice", Verdict::Approve), ("bob", Verdict::Deny)] {
            let caller = world.caller(name, &[Role::Approver]).await;
            let (gate, id) = (world.gate.clone(), id.clone());
            set.spawn(async move {
                let said = gate.decide_approval(&caller, &id, verdict, "so").await;
                said.map_or_else(|error| error.to_string(), |view| format!("{:?}", view.state))
            });
        }
        let mut told = set.join_all().await;
        told.sort();
        let late = "`approve` cannot happen to an approval that is `denied`";
        assert!(
            told == ["Approved", "Denied"] || told == ["Denied", late],
            "{round}: {told:?}"
        );
        assert_eq!(world.bodies("approval.denied").len(), 1, "{round}");
        let again = world.check(&session, "a", &propose("x")).await;
        assert_eq!(again, format!("approval `{id}` was denied: so"), "{round}");
    }
}

/// A rule that asks for nobody but whoever caused the action: no silent wait for the deadline.
#[tokio::test]
async fn what_nobody_can_approve_says_so() {
    let asks = |name: &str, verb: &str, approvers: Value| {
        json!({"name": name, "match": {"verbs": [verb]}, "outcome": "require_approval",
            "reason": format!("{name} asks"), "approvers": approvers})
    };
    let rules = json!({"rules": [
        asks("one", "git.propose", json!(["alice"])), asks("two", "git.propose", json!([{"team": "ops"}, "carol"])),
        asks("three", "channel.post", json!(["carol"])),
    ]});
    let world = World::with(authority(&rules, &[("triage", agent(Level::L3))])).await;
    world.caller("carol", &[Role::Operator]).await;
    let new = gate::NewSession {
        cause: Principal::person("carol"),
        ..new_session("triage")
    };
    let session = world.gate.create_session(new).await.unwrap().0.id;
    world.drive(&session, SessionEvent::Start).await;
    let nobody = "nobody can approve this: a rule asks for no one but who caused it";
    for (action, asked) in [(propose("x"), "one asks; two asks"), (post("x"), "three asks")] {
        let id = parked(&world, &session, &action).await;
        let reason = world.gate.approval(&id).unwrap().unwrap().reason;
        assert_eq!(reason, format!("{nobody}; {asked}"));
        let said = say(&world, &id, "carol@ops").await;
        assert_eq!(said, "person:carol caused this action and cannot decide about it");
    }
}

#[tokio::test]
async fn who_asks_and_what_was_decided_last_is_shown() {
    let (world, session) = asking(&[json!([])]).await;
    let first = parked(&world, &session, &propose("x")).await;
    let shown = world.gate.approval(&first).unwrap().unwrap();
    assert_eq!(
        (shown.behalf.as_slice(), shown.trust),
        (["agent:triage".to_owned()].as_slice(), Some(1000))
    );
    assert_eq!((shown.level, shown.similar), (Some(Level::L3), None));
    assert_eq!(say(&world, &first, "no:alice").await, "denied 0");
    let other = world.running("triage").await;
    let second = parked(&world, &other, &propose("y")).await;
    let similar = world.gate.approval(&second).unwrap().unwrap().similar.unwrap();
    assert_eq!(
        (similar.id, similar.state, similar.decided_by, similar.reason),
        (
            first,
            Approval::Denied,
            Principal::person("alice"),
            Some("because".to_owned())
        )
    );
}
