//! What an approval has to keep, one line each: the eleven acceptance tests of the approval protocol.
//!
//! Each story begins with an action that waits, and ends with what the action gets, word for word.

use crate::world::{World, action, agent, authority, new_session, propose, read};
use gate::{Gate, Proposal, Refusal, Role, Verdict};
use journal::machine::SessionEvent;
use policy::{Effect, Idempotence, Level, Principal, PrincipalKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A world, a session in it and the approval that its step `a` waits for.
struct Story {
    world: World,
    session: String,
    id: String,
}

fn rules(rules: Value) -> gate::Authority {
    authority(&json!({ "rules": rules }), &[("triage", agent(Level::L3))])
}

fn ask(approvers: Value) -> Value {
    json!({"name": "ask", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
        "reason": "asked", "approvers": approvers})
}

impl Story {
    async fn caused_by(cause: Principal) -> Story {
        let world = World::with(rules(json!([ask(json!([]))]))).await;
        if cause.kind == PrincipalKind::Person {
            // Only those who may start something can cause it.
            world.caller(&cause.name, &[Role::Operator]).await;
        }
        let new = gate::NewSession {
            cause,
            ..new_session("triage")
        };
        let session = world.gate.create_session(new).await.unwrap().0.id;
        world.drive(&session, SessionEvent::Start).await;
        let Err(Refusal::Parked { approval: id, .. }) = world.admit(&session, "a", &propose("x")).await
        else {
            panic!("not parked");
        };
        Story { world, session, id }
    }

    async fn say(&self, name: &str, verdict: Verdict) -> String {
        let caller = self.world.caller(name, &[Role::Approver]).await;
        let said = self
            .world
            .gate
            .decide_approval(&caller, &self.id, verdict, "because")
            .await;
        said.map_or_else(|error| error.to_string(), |view| format!("{:?}", view.state))
    }

    /// Revokes every token of this person.
    async fn revoke(&self, name: &str) {
        self.revoke_one(name, Role::Approver).await;
    }

    /// Revokes every token of this person with this role.
    async fn revoke_one(&self, name: &str, role: Role) {
        let by = Principal::service("cofferdam");
        for token in self.world.gate.tokens().unwrap() {
            if token.principal == Principal::person(name) && token.roles.contains(&role.into()) {
                self.world.gate.revoke_token(&by, &token.id).await.unwrap();
            }
        }
    }

    /// A step of the session is left without an outcome, and this person says what became of it.
    async fn resolved_by(&self, name: &str) {
        let (gate, by) = (&self.world.gate, Principal::person(name));
        let permit = self
            .world
            .admit(&self.session, "lost", &read("repository/shop"))
            .await
            .unwrap();
        std::mem::forget(permit);
        gate.mark_uncertain().await.unwrap();
        let resolution = gate::Resolution::Done(json!({}));
        gate.resolve(&self.session, None, &by, resolution, "I saw it")
            .await
            .unwrap();
    }

    /// Whether the identical action is asked about again, by another approval, which from now on is meant.
    async fn again(&mut self) -> String {
        match self.world.admit(&self.session, "a", &propose("x")).await {
            Err(Refusal::Parked { approval, .. }) if approval != self.id => {
                self.id = approval;
                "asked again".to_owned()
            }
            other => format!("{other:?}"),
        }
    }

    /// What the identical action gets.
    async fn then(&self) -> String {
        self.told(&propose("x")).await
    }

    async fn told(&self, action: &policy::Action) -> String {
        self.world
            .check(&self.session, "a", action)
            .await
            .replace(&self.id, "ID")
    }

    /// What `count` identical actions get that are proposed at once: how many permits, how many answers.
    async fn at_once(&self, count: usize) -> String {
        let mut set = tokio::task::JoinSet::new();
        for step in 0..count {
            let (gate, session) = (self.world.gate.clone(), self.session.clone());
            set.spawn(async move { propose_once(&gate, session, step).await });
        }
        let (permits, refusals): (Vec<_>, Vec<_>) = set.join_all().await.into_iter().partition(Result::is_ok);
        let refusals: BTreeSet<_> = refusals.into_iter().map(|refused| refused.unwrap_err()).collect();
        format!("{} permit, {} question", permits.len(), refusals.len())
    }
}

async fn propose_once(gate: &Gate, session: String, step: usize) -> Result<(), String> {
    let proposal = Proposal {
        session,
        step: format!("steps/{step}"),
        action: propose("x"),
    };
    gate.admit(proposal)
        .await
        .map(drop)
        .map_err(|refusal| refusal.to_string())
}

/// The same action, written in another way.
fn reordered() -> policy::Action {
    action(
        "git.propose",
        "repository/shop",
        serde_json::from_str(r#"{ "title" : "x" }"#).unwrap(),
        Effect::Write,
        Idempotence::Idempotent,
    )
}

async fn told(story: &str) -> String {
    let cause = match story {
        "who caused it approves" => Principal::person("carol"),
        _ => Principal::service("trigger/alerts"),
    };
    let mut at = Story::caused_by(cause).await;
    let yes = Verdict::Approve;
    match story {
        "used twice"
        | "used at once by sixteen"
        | "another digest"
        | "written differently"
        | "policy changes and decides the same"
        | "policy changes its result"
        | "another rule asks the same people"
        | "its giver's tokens are revoked"
        | "its giver only views now"
        | "its giver has another token"
        | "its giver resolves a step of the session"
        | "policy forbids it now"
        | "not used in time"
        | "its session is another" => assert_eq!(at.say("bob", yes).await, "Approved"),
        _ => {}
    }
    match story {
        "used twice" => format!(
            "{}, then {}",
            at.then().await,
            at.world
                .check(&at.session, "b", &propose("x"))
                .await
                .split('`')
                .next()
                .unwrap()
        ),
        "used at once by sixteen" => at.at_once(16).await,
        "another digest" => match at.world.admit(&at.session, "b", &propose("y")).await {
            Err(Refusal::Parked { approval, .. }) if approval != at.id => "another approval".to_owned(),
            other => format!("{other:?}"),
        },
        "its session is another" => {
            at.session = at.world.running("triage").await;
            at.told(&propose("x")).await.split('`').next().unwrap().to_owned()
        }
        "written differently" => at.told(&reordered()).await,
        "policy changes and decides the same" => {
            at.world.gate.restore(rules(json!([ask(json!([])), {"name": "other", "match": {"verbs": ["db.drop"]}, "outcome": "deny"}])));
            at.then().await
        }
        "policy changes its result" => {
            at.world.gate.restore(rules(json!([ask(json!(["carol"]))])));
            at.then().await.split('`').next().unwrap().to_owned()
        }
        "another rule asks the same people" => {
            let other = json!({"name": "new", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
                "reason": "asked besides"});
            at.world.gate.restore(rules(json!([ask(json!([])), other])));
            at.then()
                .await
                .split_once('`')
                .unwrap()
                .1
                .split_once('`')
                .unwrap()
                .1
                .replace(&at.id, "ID")
        }
        "its giver's tokens are revoked" => {
            at.revoke("bob").await;
            at.again().await
        }
        "its giver only views now" => {
            at.world.caller("bob", &[Role::Viewer]).await;
            at.revoke_one("bob", Role::Approver).await;
            at.again().await
        }
        "its giver has another token" => {
            at.revoke("bob").await;
            at.world.caller("bob", &[Role::Approver]).await;
            at.then().await
        }
        "its giver resolves a step of the session" => {
            at.resolved_by("bob").await;
            format!("{}; {}", at.again().await, at.say("bob", yes).await)
        }
        "who resolved a step approves" => {
            at.resolved_by("bob").await;
            format!(
                "{}; {}, {}",
                at.say("bob", yes).await,
                at.say("carol", yes).await,
                at.then().await
            )
        }
        "policy forbids it now" => {
            at.world.gate.restore(rules(
                json!([ask(json!([])), {"name": "no", "match": {}, "outcome": "deny", "reason": "closed"}]),
            ));
            at.then().await
        }
        "not used in time" => {
            at.world.advance(600_000);
            at.then().await
        }
        "nobody decides in time" => {
            at.world.advance(600_000);
            at.then().await
        }
        "who caused it approves" => format!("{}; {}", at.say("carol", yes).await, at.say("bob", yes).await),
        // The agent's sponsor is alice.
        "its sponsor approves" => format!("{}, {}", at.say("alice", yes).await, at.then().await),
        "two approve at once" => {
            let (one, two) = tokio::join!(at.say("bob", yes), at.say("carol", yes));
            let said = BTreeSet::from([one, two]);
            format!("{said:?}, {}", at.then().await)
        }
        "one approves and one denies at once" => {
            let (_, no) = tokio::join!(at.say("bob", yes), at.say("carol", Verdict::Deny));
            format!("{no}, {}", at.then().await)
        }
        "the platform restarts" => {
            at.world = at.world.reopened().await;
            let waits = at.then().await;
            format!("{waits}; {}, {}", at.say("bob", yes).await, at.then().await)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_approval_keeps_its_promises() {
    #[rustfmt::skip]
    let table = [
        // 1. Bound to the digest of the canonical action, however it was written.
        ("written differently",                 "permit"),
        ("another digest",                      "another approval"),
        ("its session is another",              "needs approval "),
        // 2, 3. Weighed again by the policy of now, and that alone.
        ("policy changes and decides the same", "permit"),
        ("policy changes its result",           "needs approval "),
        ("another rule asks the same people",   ": asked; asked besides; it was approved as `ID`, but the rules ask for something or somebody else now, or who gave it has no say any more"),
        ("policy forbids it now",               "denied: rule `policy/test#no` forbids it: closed"),
        // As good as who gave it.
        ("its giver's tokens are revoked",      "asked again"),
        ("its giver only views now",            "asked again"),
        ("its giver has another token",         "permit"),
        // 4, 5. Spent once, in the transaction that admits.
        ("used twice",                          "permit, then needs approval "),
        ("used at once by sixteen",             "1 permit, 1 question"),
        // 6, 11. Time denies.
        ("not used in time",                    "approval `ID` was expired: it was approved, but not used in time"),
        ("nobody decides in time",              "approval `ID` was expired: nobody decided in time"),
        // 7. Nobody approves what they caused; to sponsor the agent is not to cause.
        ("who caused it approves",              "person:carol caused this action and cannot decide about it; Approved"),
        ("its sponsor approves",                "Approved, permit"),
        ("who resolved a step approves",        "person:bob caused this action and cannot decide about it; Approved, permit"),
        ("its giver resolves a step of the session", "asked again; person:bob caused this action and cannot decide about it"),
        // 9. Two who race.
        ("two approve at once",                 "{\"Approved\", \"`approve` cannot happen to an approval that is `approved`\"}, permit"),
        ("one approves and one denies at once", "Denied, approval `ID` was denied: because"),
        // 10. What waits is in the journal and nowhere else.
        ("the platform restarts",               "needs approval `ID`: asked; Approved, permit"),
    ];
    for (story, expected) in table {
        assert_eq!(told(story).await, expected, "{story}");
    }
}
