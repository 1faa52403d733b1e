//! A supervisor with four agents that it passes narrow parts of its rights on to: every agent with every action in
//! every environment, and the reason of each answer.

use crate::world::{World, action, agent, authority};
use crate::{HOUR_MS, from, made, running, trigger};
use gate::{AgentAuthority, NewDelegation, Role, Verdict};
use policy::{Action, Capability, Effect, Environment, Grant, Idempotence, Level, Verb};
use serde_json::json;
use std::fmt::Write;

/// What each agent may do, by document, and by delegation for all but the first.
const AGENTS: [(&str, &[&str]); 5] = [
    (
        "supervisor",
        &[
            "deploy:staging",
            "deploy:production",
            "read:secrets",
            "write:secrets",
            "migrate:database",
            "delete:database",
            "read:metrics",
        ],
    ),
    ("deploy", &["deploy:staging", "deploy:production"]),
    ("secret-manager", &["read:secrets", "write:secrets"]),
    ("database", &["migrate:database"]),
    ("monitoring", &["read:metrics"]),
];

/// Every action that anybody of them could mean, and where.
const ACTIONS: [(&str, &str, Effect); 9] = [
    ("deploy", "staging", Effect::Write),
    ("deploy", "production", Effect::Write),
    ("read", "secrets", Effect::Read),
    ("write", "secrets", Effect::Write),
    ("migrate", "database", Effect::Destructive),
    ("delete", "database", Effect::Destructive),
    ("read", "metrics", Effect::Read),
    ("write", "metrics", Effect::Write),
    // No prefix of a name is the name.
    ("read", "secrets-of-others", Effect::Read),
];

fn acts((verb, resource, effect): (&str, &str, Effect), environment: &str) -> Action {
    Action::new(
        Verb::new(verb).unwrap(),
        resource,
        json!({}),
        Environment::new(environment).unwrap(),
        effect,
        Idempotence::Idempotent,
    )
    .unwrap()
}

fn holding(capabilities: &[&str]) -> AgentAuthority {
    let grant = |text: &&str| Grant {
        capability: Capability::parse(text).unwrap(),
        from: "document".to_owned(),
        until: None,
    };
    AgentAuthority {
        grants: capabilities.iter().map(grant).collect(),
        ..agent(Level::L4)
    }
}

/// Everything is permitted, but in production a deployment, a migration, a deletion and a written secret ask the
/// people who are on call.
async fn world() -> World {
    let ask = json!({ "rules": [
        { "name": "all", "match": {}, "outcome": "permit", "reason": "within what was granted" },
        { "name": "deployments", "condition": "action == 'deploy' and environment == 'production'",
          "outcome": "require_approval", "approvers": ["sre-team@company.com"], "reason": "sre-team looks" },
        { "name": "destructive", "match": { "verbs": ["migrate", "delete"], "environments": ["production"] },
          "outcome": "require_approval", "approvers": ["sre-team@company.com"], "reason": "it cannot be undone" },
        { "name": "secrets", "match": { "verbs": ["write"], "resources": ["secrets"], "environments": ["production"] },
          "outcome": "require_approval", "approvers": ["sre-team@company.com"], "reason": "others read it" },
    ] });
    let agents = AGENTS.map(|(name, capabilities)| (name, holding(capabilities)));
    let world = World::with(authority(&ask, &agents)).await;
    let names = AGENTS.map(|(name, _)| name.to_owned());
    world.gate.identify_agents(&names).await.unwrap();
    world
}

/// A session of each: the supervisor's own, and one under the delegation of each other.
async fn sessions(world: &World) -> Vec<(&'static str, String)> {
    let mut sessions = Vec::new();
    for (name, capabilities) in AGENTS {
        let delegation = match name {
            "supervisor" => None,
            _ => Some(made(world, from("supervisor", name, capabilities)).await.id),
        };
        sessions.push((
            name,
            running(world, name, &trigger(), delegation.as_deref()).await,
        ));
    }
    sessions
}

#[tokio::test]
async fn every_agent_of_a_supervisor_does_what_it_was_given_and_nothing_else() {
    let world = world().await;
    let sessions = sessions(&world).await;
    let not_held = |agent: &str| format!("denied: agent:{agent} holds no grant that covers this action");
    let mut found = format!("\n{:<26}{:<12}", "action", "environment");
    for (agent, _) in &sessions {
        write!(found, "{agent:<16}").unwrap();
    }
    for asked in ACTIONS {
        for environment in ["staging", "production"] {
            write!(
                found,
                "\n{:<26}{environment:<12}",
                format!("{}:{}", asked.0, asked.1)
            )
            .unwrap();
            for (agent, session) in &sessions {
                let step = format!("{}-{}-{environment}", asked.0, asked.1);
                let said = world.check(session, &step, &acts(asked, environment)).await;
                let word = match said.as_str() {
                    "permit" => "permitted",
                    _ if said.starts_with("needs approval") => "asks",
                    _ if said == not_held(agent) => "not held",
                    _ if said == not_held("supervisor") => "held by nobody",
                    _ => said.as_str(),
                };
                write!(found, "{word:<16}").unwrap();
            }
        }
    }
    let trimmed: Vec<&str> = found.lines().map(str::trim_end).collect();
    let expected = "
action                    environment supervisor      deploy          secret-manager  database        monitoring
deploy:staging            staging     permitted       permitted       not held        not held        not held
deploy:staging            production  asks            asks            not held        not held        not held
deploy:production         staging     permitted       permitted       not held        not held        not held
deploy:production         production  asks            asks            not held        not held        not held
read:secrets              staging     permitted       not held        permitted       not held        not held
read:secrets              production  permitted       not held        permitted       not held        not held
write:secrets             staging     permitted       not held        permitted       not held        not held
write:secrets             production  asks            not held        asks            not held        not held
migrate:database          staging     permitted       not held        not held        permitted       not held
migrate:database          production  asks            not held        not held        asks            not held
delete:database           staging     permitted       not held        not held        not held        not held
delete:database           production  asks            not held        not held        not held        not held
read:metrics              staging     permitted       not held        not held        not held        permitted
read:metrics              production  permitted       not held        not held        not held        permitted
write:metrics             staging     not held        held by nobody  held by nobody  held by nobody  held by nobody
write:metrics             production  not held        held by nobody  held by nobody  held by nobody  held by nobody
read:secrets-of-others    staging     not held        held by nobody  held by nobody  held by nobody  held by nobody
read:secrets-of-others    production  not held        held by nobody  held by nobody  held by nobody  held by nobody";
    assert_eq!(trimmed.join("\n"), expected, "{}", trimmed.join("\n"));
}

#[tokio::test]
async fn a_deployment_of_a_delegate_waits_for_the_people_on_call_and_ends_with_its_delegation() {
    let world = world().await;
    let delegation = made(&world, from("supervisor", "deploy", &["deploy:production"])).await;
    let session = running(&world, "deploy", &trigger(), Some(&delegation.id)).await;
    let deployment = acts(("deploy", "production", Effect::Write), "production");
    let asked = world.check(&session, "release", &deployment).await;
    assert!(asked.ends_with("`: sre-team looks"), "{asked}");
    let id = world.bodies("approval.requested")[0]["approval"]
        .as_str()
        .unwrap()
        .to_owned();
    let decide = async |name: &str, role: Role| {
        let caller = world.caller(name, &[role]).await;
        let said = world
            .gate
            .decide_approval(&caller, &id, Verdict::Approve, "read")
            .await;
        said.map_or_else(|error| error.to_string(), |view| format!("{:?}", view.state))
    };
    let other = decide("bob", Role::Approver).await;
    assert_eq!(other, "person:bob is not an approver of this action");
    assert_eq!(decide("sre-team@company.com", Role::Approver).await, "Approved");
    assert_eq!(world.check(&session, "release", &deployment).await, "permit");

    // Fifteen minutes later nothing is left of it, whoever approved.
    world.advance(HOUR_MS / 4);
    let over = world.check(&session, "again", &deployment).await;
    let expected = format!(
        "denied: agent:supervisor acts under delegation `{}`, which does not verify: the token has expired",
        delegation.id
    );
    assert_eq!(over, expected);
}

#[tokio::test]
async fn no_agent_of_a_supervisor_passes_on_what_another_has() {
    let world = world().await;
    let own = |from_agent: &str, under: &str, to: &str, what: &str| NewDelegation {
        under: Some(under.to_owned()),
        ttl_ms: 60_000,
        ..from(from_agent, to, &[what])
    };
    for (name, capabilities) in &AGENTS[1..] {
        let delegation = made(&world, from("supervisor", name, capabilities)).await.id;
        for (other, theirs) in &AGENTS[1..] {
            for capability in theirs.iter().filter(|_| name != other) {
                let refused = world
                    .gate
                    .delegate(&crate::alice(), own(name, &delegation, other, capability))
                    .await;
                let expected = format!("cannot be delegated: `{capability}` is not held by the link above");
                assert_eq!(
                    refused.map(|row| row.id).map_err(|error| error.to_string()),
                    Err(expected),
                    "{name}"
                );
            }
        }
    }
    // Not by its own document either: what is not on the chain of a session is not held in it.
    let session = running(&world, "monitoring", &trigger(), None).await;
    let said = world
        .check(
            &session,
            "s",
            &action(
                "read",
                "secrets",
                json!({}),
                Effect::Read,
                Idempotence::Idempotent,
            ),
        )
        .await;
    assert_eq!(
        said,
        "denied: agent:monitoring holds no grant that covers this action"
    );
}
