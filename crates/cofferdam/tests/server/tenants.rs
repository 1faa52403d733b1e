//! Two tenants on one platform: what one of them has is not there for the other.

use crate::common::{Platform, notification};
use cofferdam::server::routes::{Handler, ROUTES};
use gate::Role;
use reqwest::Method;
use serde_json::{Value, json};

const ROLES: [Role; 5] = [
    Role::Admin,
    Role::Operator,
    Role::Approver,
    Role::Auditor,
    Role::Viewer,
];

/// An agent of `place` that waits for a person, one beside it, and a trigger.
fn tenant(agent: &str, organization: &str, team: &str, repository: &std::path::Path) -> String {
    format!(
        r#"---
apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {{name: {agent}-tools}}
spec: {{tools: [{{type: git, name: {agent}-service, path: {}, propose: true}}, {{type: incidents}}]}}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {{name: {agent}, organization: {organization}, team: {team}, project: api}}
spec:
  sponsor: carol
  toolsets: [{agent}-tools]
  autonomy: {{default: L2}}
  runbook:
    steps:
      - {{name: found, tool: incidents.search, arguments: {{words: Broken}}}}
      - name: proposal
        tool: git.propose
        arguments: {{base: main, title: Add, message: because, files: [{{path: new.txt, content: x}}]}}
    output: {{found: "{{{{ steps.found.output.incidents | length }}}}"}}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {{name: {agent}-helper, organization: {organization}, team: {team}, project: api}}
spec:
  sponsor: carol
  toolsets: [{agent}-tools]
  runbook: {{steps: [{{name: found, tool: incidents.search, arguments: {{words: Broken}}}}]}}
---
apiVersion: cofferdam.dev/v1
kind: Trigger
metadata: {{name: {agent}-alerts}}
spec: {{source: alertmanager, agent: {agent}}}
"#,
        repository.display()
    )
}

const POLICY: &str = r#"
apiVersion: cofferdam.dev/v1
kind: Policy
metadata: {name: changes}
spec:
  rules:
    - {name: ask, match: {verbs: [git.propose]}, outcome: require_approval, reason: a person looks}
"#;

/// What a tenant has.
struct Things {
    session: String,
    approval: String,
    incident: String,
    task: String,
    token: String,
    delegation: String,
    entry: u64,
}

async fn platform() -> Platform {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("service");
    std::fs::create_dir(&repository).unwrap();
    let git = |arguments: &[&str]| {
        let run = std::process::Command::new("git")
            .arg("-C")
            .arg(&repository)
            .args(arguments)
            .output();
        assert!(run.unwrap().status.success());
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&[
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@invalid",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "Begin",
    ]);
    let config = directory.path().join("cofferdam.yaml");
    let (ours, theirs) = (
        tenant("payer", "acme", "pay", &repository),
        tenant("seeker", "globex", "find", &repository),
    );
    std::fs::write(&config, format!("{POLICY}{ours}{theirs}")).unwrap();
    Platform::start_in(directory, |options| options.config = Some(config)).await
}

/// An alert, and with it an incident, a session and an approval that waits; a task, a token, a delegation.
async fn things(platform: &Platform, agent: &str, area: &str) -> Things {
    let trigger = platform
        .token(json!({"trigger": format!("{agent}-alerts")}))
        .await;
    let body = notification("Broken", "firing", "critical")
        .to_string()
        .into_bytes();
    let sent = platform
        .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
        .await;
    assert!(sent.status.is_success(), "{sent:?}");
    let waits = |list: &Value| list.as_array().unwrap().iter().any(|one| one["agent"] == agent);
    let approvals = platform.until("/api/v1/approvals", waits).await;
    let approval = approvals
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["agent"] == agent)
        .unwrap();
    let session = approval["session"].as_str().unwrap().to_owned();
    let incidents = platform.get("/api/v1/incidents").await.body;
    let incidents = incidents.as_array().unwrap();
    let incident = incidents
        .iter()
        .find(|one| one["sessions"][0] == session.as_str())
        .unwrap();
    let task = platform
        .post(
            "/api/v1/tasks",
            &json!({"task_id": format!("of-{agent}"), "agent": agent, "input": {}}),
        )
        .await;
    assert!(task.status.is_success(), "{task:?}");
    let token = platform
        .post(
            "/api/v1/tokens",
            &json!({"principal": format!("of-{agent}"), "roles": [format!("viewer@{area}")]}),
        )
        .await;
    let delegation = platform
        .post(
            "/api/v1/delegations",
            &json!({"from": agent, "to": format!("{agent}-helper"), "capabilities": ["incidents.search:incidents"], "ttl_seconds": 600}),
        )
        .await;
    assert!(delegation.status.is_success(), "{delegation:?}");
    let entries = platform
        .get(&format!("/api/v1/audit/entries?session={session}"))
        .await;
    Things {
        approval: approval["id"].as_str().unwrap().to_owned(),
        incident: incident["id"].as_str().unwrap().to_owned(),
        task: format!("of-{agent}"),
        token: token.body["token"]["id"].as_str().unwrap().to_owned(),
        delegation: delegation.body["id"].as_str().unwrap().to_owned(),
        entry: entries.body["entries"][0]["sequence"].as_u64().unwrap(),
        session,
    }
}

/// What a request for what `theirs` has is answered with: first to the other tenant, then to their own. Whoever
/// lacks the role of the route is answered 403, wherever they are.
type Row = (&'static str, &'static str, String, Value, u16, &'static [u16]);

#[rustfmt::skip]
fn rows(theirs: &Things) -> Vec<Row> {
    let Things { session, approval, incident, task, token, delegation, entry } = theirs;
    let (no, odd) = (Value::Null, json!({"nothing": 1}));
    let stop = json!({"scope": format!("session:{session}"), "reason": "halt"});
    vec![
        ("GET", "/metrics", "/metrics".into(), no.clone(), 403, &[403]),
        ("GET", "/api/v1/health", "/api/v1/health".into(), no.clone(), 403, &[403]),
        ("POST", "/hooks/alertmanager", "/hooks/alertmanager".into(), odd.clone(), 403, &[403]),
        ("POST", "/api/v1/tasks", "/api/v1/tasks".into(), json!({"agent": "seeker", "input": {}}), 400, &[201]),
        ("GET", "/api/v1/tasks/{id}", format!("/api/v1/tasks/{task}"), no.clone(), 404, &[200]),
        ("GET", "/api/v1/sessions", "/api/v1/sessions".into(), no.clone(), 200, &[200]),
        ("GET", "/api/v1/sessions/{id}", format!("/api/v1/sessions/{session}"), no.clone(), 404, &[200]),
        ("GET", "/api/v1/sessions/{id}/output", format!("/api/v1/sessions/{session}/output"), no.clone(), 404, &[200, 404]),
        ("GET", "/api/v1/sessions/{id}/events", format!("/api/v1/sessions/{session}/events?from=x"), no.clone(), 404, &[400]),
        ("POST", "/api/v1/sessions/{id}/cancel", format!("/api/v1/sessions/{session}/cancel"), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/sessions/{id}/resolve", format!("/api/v1/sessions/{session}/resolve"), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/sessions/{id}/egress", format!("/api/v1/sessions/{session}/egress"), no.clone(), 404, &[409]),
        ("GET", "/api/v1/incidents", "/api/v1/incidents".into(), no.clone(), 200, &[200]),
        ("GET", "/api/v1/incidents/{id}", format!("/api/v1/incidents/{incident}"), no.clone(), 404, &[200]),
        ("GET", "/api/v1/approvals", "/api/v1/approvals".into(), no.clone(), 200, &[200]),
        ("GET", "/api/v1/approvals/{id}", format!("/api/v1/approvals/{approval}"), no.clone(), 404, &[200]),
        ("POST", "/api/v1/approvals/{id}/approve", format!("/api/v1/approvals/{approval}/approve"), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/approvals/{id}/deny", format!("/api/v1/approvals/{approval}/deny"), odd.clone(), 404, &[400]),
        ("GET", "/api/v1/waivers", "/api/v1/waivers".into(), no.clone(), 200, &[200]),
        // There is none.
        ("POST", "/api/v1/waivers/{id}/revoke", "/api/v1/waivers/wvr-1/revoke".into(), odd.clone(), 404, &[404]),
        ("GET", "/api/v1/documents", "/api/v1/documents".into(), no.clone(), 200, &[200]),
        ("POST", "/api/v1/documents", "/api/v1/documents".into(), odd.clone(), 403, &[403]),
        ("GET", "/api/v1/documents/{kind}", "/api/v1/documents/Agent".into(), no.clone(), 200, &[200]),
        ("GET", "/api/v1/documents/{kind}/{name}", "/api/v1/documents/Agent/seeker".into(), no.clone(), 404, &[200]),
        ("DELETE", "/api/v1/documents/{kind}/{name}", "/api/v1/documents/Agent/seeker".into(), no.clone(), 403, &[403]),
        ("GET", "/api/v1/models", "/api/v1/models".into(), no.clone(), 403, &[403]),
        ("POST", "/api/v1/models/{name}/test", "/api/v1/models/gpt/test".into(), odd.clone(), 403, &[403]),
        ("GET", "/api/v1/budgets", "/api/v1/budgets".into(), no.clone(), 403, &[403]),
        ("GET", "/api/v1/budgets/{name}", "/api/v1/budgets/day".into(), no.clone(), 403, &[403]),
        ("POST", "/api/v1/budgets/{name}/raise", "/api/v1/budgets/day/raise".into(), odd.clone(), 403, &[403]),
        ("GET", "/api/v1/cost", "/api/v1/cost".into(), no.clone(), 403, &[403]),
        ("GET", "/api/v1/bundles", "/api/v1/bundles".into(), no.clone(), 403, &[403]),
        ("DELETE", "/api/v1/bundles/{name}", "/api/v1/bundles/acme".into(), no.clone(), 403, &[403]),
        ("GET", "/api/v1/tokens", "/api/v1/tokens".into(), no.clone(), 200, &[200]),
        ("POST", "/api/v1/tokens", "/api/v1/tokens".into(), json!({"principal": "eve", "roles": ["viewer@globex/find"]}), 403, &[201]),
        ("DELETE", "/api/v1/tokens/{id}", format!("/api/v1/tokens/{token}"), no.clone(), 404, &[204]),
        ("GET", "/api/v1/stops", "/api/v1/stops".into(), no.clone(), 200, &[200]),
        ("POST", "/api/v1/stops", "/api/v1/stops".into(), stop.clone(), 404, &[200]),
        ("DELETE", "/api/v1/stops", "/api/v1/stops".into(), stop, 404, &[200, 404]),
        ("POST", "/api/v1/stops/drill", "/api/v1/stops/drill".into(), odd.clone(), 403, &[403]),
        ("GET", "/api/v1/trust", "/api/v1/trust".into(), no.clone(), 200, &[200]),
        ("GET", "/api/v1/trust/{agent}", "/api/v1/trust/seeker".into(), no.clone(), 404, &[200]),
        ("GET", "/api/v1/trust/{agent}/history", "/api/v1/trust/seeker/history".into(), no.clone(), 404, &[200]),
        ("GET", "/api/v1/trust/{agent}/equation", "/api/v1/trust/seeker/equation".into(), no.clone(), 404, &[200]),
        ("GET", "/api/v1/trust/{agent}/risk", "/api/v1/trust/seeker/risk".into(), no.clone(), 404, &[200]),
        ("GET", "/api/v1/topology", "/api/v1/topology?of=seeker".into(), no.clone(), 404, &[200]),
        ("GET", "/api/v1/reports/trust", "/api/v1/reports/trust".into(), no.clone(), 200, &[200]),
        ("POST", "/api/v1/trust/{agent}/promote", "/api/v1/trust/seeker/promote".into(), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/explain", "/api/v1/explain".into(), json!({"agent": "seeker", "verb": "git.propose", "resource": "repository/x"}), 400, &[200]),
        ("POST", "/api/v1/policies/simulate", "/api/v1/policies/simulate".into(), odd.clone(), 403, &[403]),
        ("GET", "/api/v1/policies/suggestions", "/api/v1/policies/suggestions".into(), no.clone(), 403, &[403]),
        ("POST", "/api/v1/egress/test", "/api/v1/egress/test".into(), json!({"agent": "seeker", "target": "127.0.0.1:443"}), 400, &[200]),
        ("GET", "/api/v1/egress/authority", "/api/v1/egress/authority".into(), no.clone(), 403, &[403]),
        ("POST", "/api/v1/logout", "/api/v1/logout".into(), odd.clone(), 400, &[400]),
        ("GET", "/api/v1/whoami", "/api/v1/whoami".into(), no.clone(), 200, &[200]),
        ("GET", "/api/v1/agents", "/api/v1/agents".into(), no.clone(), 200, &[200]),
        ("POST", "/api/v1/agents", "/api/v1/agents".into(), json!({"name": "newcomer", "sponsor": "carol", "place": "globex/find/api"}), 403, &[201]),
        ("GET", "/api/v1/agents/{name}", "/api/v1/agents/seeker".into(), no.clone(), 404, &[200]),
        ("POST", "/api/v1/agents/{name}/suspend", "/api/v1/agents/seeker/suspend".into(), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/agents/{name}/resume", "/api/v1/agents/seeker/resume".into(), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/agents/{name}/revoke", "/api/v1/agents/seeker/revoke".into(), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/agents/{name}/rotate", "/api/v1/agents/seeker/rotate".into(), odd.clone(), 404, &[200]),
        ("POST", "/api/v1/agents/{name}/elevate", "/api/v1/agents/seeker/elevate".into(), odd.clone(), 404, &[400]),
        ("POST", "/api/v1/agents/{name}/svid", "/api/v1/agents/seeker/svid".into(), json!({}), 404, &[201]),
        // Nothing raises it.
        ("POST", "/api/v1/agents/{name}/lower", "/api/v1/agents/seeker/lower".into(), json!({"reason": "done"}), 404, &[409]),
        ("POST", "/api/v1/handshakes", "/api/v1/handshakes".into(), json!({"peer": "seeker"}), 404, &[201]),
        // Nobody asked for it.
        ("POST", "/api/v1/handshakes/{id}", "/api/v1/handshakes/chl-0".into(), odd.clone(), 400, &[400]),
        ("GET", "/api/v1/delegations", "/api/v1/delegations".into(), no.clone(), 200, &[200]),
        ("POST", "/api/v1/delegations", "/api/v1/delegations".into(), json!({"from": "seeker", "to": "seeker-helper", "capabilities": ["incidents.search:incidents"], "ttl_seconds": 60}), 404, &[201]),
        ("POST", "/api/v1/delegations/{id}/revoke", format!("/api/v1/delegations/{delegation}/revoke"), odd.clone(), 404, &[400]),
        ("GET", "/api/v1/audit/entries", "/api/v1/audit/entries".into(), no.clone(), 200, &[200]),
        ("GET", "/api/v1/audit/entries/{sequence}", format!("/api/v1/audit/entries/{entry}"), no.clone(), 404, &[200]),
        ("GET", "/api/v1/audit/events", "/api/v1/audit/events?from=x".into(), no.clone(), 400, &[400]),
        ("GET", "/api/v1/audit/checkpoint", "/api/v1/audit/checkpoint".into(), no.clone(), 403, &[403]),
        ("GET", "/api/v1/audit/proofs/inclusion", "/api/v1/audit/proofs/inclusion?sequence=0".into(), no.clone(), 403, &[403]),
        ("GET", "/api/v1/audit/proofs/consistency", "/api/v1/audit/proofs/consistency?old=1".into(), no, 403, &[403]),
        ("POST", "/api/v1/audit/verify", "/api/v1/audit/verify".into(), odd, 403, &[403]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_hides_from_a_tenant_what_another_has() {
    let platform = platform().await;
    let _ours = things(&platform, "payer", "acme/pay").await;
    let theirs = things(&platform, "seeker", "globex/find").await;
    let rows = rows(&theirs);
    let mut tokens = Vec::new();
    for role in ROLES {
        let of = async |area: &str| {
            let name = format!("{}-{}", role.as_str(), area.replace('/', "-"));
            platform
                .token(json!({"principal": name, "roles": [format!("{}@{area}", role.as_str())]}))
                .await
        };
        tokens.push((role, of("acme").await, of("globex/find").await));
    }
    let marks = [
        "seeker",
        "globex",
        &theirs.session,
        &theirs.incident,
        &theirs.approval,
        &theirs.delegation,
    ];
    for route in ROUTES {
        let Handler::Guarded(allowed, ..) = &route.handler else {
            continue;
        };
        let row = rows
            .iter()
            .find(|row| (row.0, row.1) == (route.method, route.path));
        let (method, _, path, body, outside, inside) =
            row.unwrap_or_else(|| panic!("no row for {} {}", route.method, route.path));
        let method: Method = method.parse().unwrap();
        let body = (!body.is_null()).then(|| body.to_string().into_bytes());
        for (role, outsider, insider) in &tokens {
            let may = allowed.contains(role);
            let answer = platform
                .send(method.clone(), path, Some(outsider), body.clone())
                .await;
            let status = answer.status.as_u16();
            let expected = if may { *outside } else { 403 };
            assert_eq!(
                status, expected,
                "{method} {path} as {role:?} of another tenant: {answer:?}"
            );
            let told = answer.body.to_string();
            let leak = marks.iter().find(|mark| status == 200 && told.contains(**mark));
            assert_eq!(
                leak, None,
                "{method} {path} as {role:?} of another tenant: {told}"
            );
            let answer = platform
                .send(method.clone(), path, Some(insider), body.clone())
                .await;
            let expected = if may { inside } else { &[403][..] };
            let status = answer.status.as_u16();
            assert!(
                expected.contains(&status),
                "{method} {path} as {role:?} of theirs: {answer:?}"
            );
        }
    }
    platform.stop().await;
}

/// What names a thing of another tenant in a body is answered as what names nothing, word for word.
#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_ids_are_answered_as_those_of_nothing() {
    let platform = platform().await;
    let ours = things(&platform, "payer", "acme/pay").await;
    let theirs = things(&platform, "seeker", "globex/find").await;
    let tenant = platform
        .token(json!({"principal": "ann", "roles": ["admin@acme"]}))
        .await;
    let stop = |scope: String| ("/api/v1/stops", json!({"scope": scope, "reason": "halt"}));
    let task = |id: &str| {
        (
            "/api/v1/tasks",
            json!({"agent": "payer", "input": 1, "delegation": id}),
        )
    };
    let ask = |id: &str| {
        let question =
            json!({"agent": "payer", "verb": "git.log", "resource": "repository/x", "delegation": id});
        ("/api/v1/explain", question)
    };
    let under = |id: &str| {
        let new = json!({"from": "payer", "to": "payer-helper", "capabilities": ["incidents.search:incidents"],
                         "ttl_seconds": 60, "under": id});
        ("/api/v1/delegations", new)
    };
    #[rustfmt::skip]
    let table = [
        (stop("agent:seeker".into()),                     stop("agent:nobody".into())),
        (stop("agent:find/api/seeker".into()),            stop("agent:find/api/nobody".into())),
        (stop("agent:globex/find/api/seeker".into()),     stop("agent:globex/find/api/nobody".into())),
        (stop(format!("session:{}", theirs.session)),     stop("session:ses-99999".into())),
        (stop("team:find".into()),                        stop("team:nobody".into())),
        (task(&theirs.delegation),                        task("del-99999")),
        (ask(&theirs.delegation),                         ask("del-99999")),
        (under(&theirs.delegation),                       under("del-99999")),
    ];
    for ((path, theirs_named), (_, nothing)) in table {
        let mut answers = Vec::new();
        for body in [&theirs_named, &nothing] {
            let named = body["delegation"].as_str().or(body["under"].as_str());
            let named = named.or(body["scope"]
                .as_str()
                .and_then(|scope| scope.split_once(':').map(|it| it.1)));
            let body = body.to_string().into_bytes();
            let got = platform.send(Method::POST, path, Some(&tenant), Some(body)).await;
            answers.push((got.status, got.body.to_string().replace(named.unwrap(), "X")));
        }
        assert!(answers[0].0.is_client_error(), "{theirs_named}: {answers:?}");
        assert_eq!(answers[0], answers[1], "{theirs_named}");
    }
    // Its own are told apart from nothing.
    for (path, body) in [ask(&ours.delegation), task(&ours.delegation)] {
        let body = body.to_string().into_bytes();
        let got = platform.send(Method::POST, path, Some(&tenant), Some(body)).await;
        let detail = got.body["detail"].as_str().unwrap();
        assert!(
            detail.contains("is not to agent") || detail.contains("is to another agent"),
            "{got:?}"
        );
    }
    // Lists come in pages.
    for _ in 0..3 {
        let new = json!({"from": "payer", "to": "payer-helper", "capabilities": ["incidents.search:incidents"],
                         "ttl_seconds": 60});
        let made = platform.post("/api/v1/delegations", &new).await;
        assert!(made.status.is_success(), "{made:?}");
    }
    let ids = async |query: &str, token: &str| {
        let path = format!("/api/v1/delegations{query}");
        let page = platform.send(Method::GET, &path, Some(token), None).await;
        let ids = page
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    for token in [&tenant, &platform.admin] {
        let all = ids("", token).await;
        assert_eq!(all.contains(&theirs.delegation), token == &platform.admin);
        let mut paged = ids("?limit=2", token).await;
        while paged.len() < all.len() {
            let next = ids(&format!("?limit=2&before={}", paged.last().unwrap()), token).await;
            assert!((1..=2).contains(&next.len()));
            paged.extend(next);
        }
        assert_eq!(paged, all);
    }
    platform.stop().await;
}

/// What the root holds back the root lets go; a tenant sees that it is, and lets go what is its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_lifts_and_resumes_nothing_that_the_root_holds_back() {
    let platform = platform().await;
    let (root, theirs) = (platform.admin.clone(), "admin@acme");
    let tenant = platform
        .token(json!({"principal": "ann", "roles": [theirs]}))
        .await;
    let lesser = platform
        .token(json!({"principal": "ben", "roles": ["operator@acme/pay"]}))
        .await;
    let both = platform
        .token(json!({"principal": "bea", "roles": ["operator", "admin@acme"]}))
        .await;
    let stop = |what: &str| (what.to_owned(), "/api/v1/stops".to_owned());
    let agent = |verb: &str| ("POST".to_owned(), format!("/api/v1/agents/payer/{verb}"));
    let (raise, lift) = (stop("POST"), stop("DELETE"));
    let (suspend, resume) = (agent("suspend"), agent("resume"));
    let scope = json!({"scope": "agent:payer", "reason": "halt"});
    let (why, lock, unlock) = (
        json!({"reason": "so"}),
        json!({"reason": "so", "security": true}),
        json!({"reason": "so", "override": true}),
    );
    let raised_at =
        |place: &str| format!("this stop was raised at {place}, and your role does not hold there");
    let held_at =
        |place: &str| format!("agent `payer` is held back at {place}, and your role does not hold there");
    #[rustfmt::skip]
    let table = [
        (&root,   &raise,   &scope,  200, String::new()),
        (&tenant, &lift,    &scope,  403, raised_at("the root")),
        (&tenant, &raise,   &scope,  200, String::new()),
        (&tenant, &lift,    &scope,  403, raised_at("the root")),
        (&root,   &lift,    &scope,  200, String::new()),
        (&tenant, &raise,   &scope,  200, String::new()),
        (&lesser, &lift,    &scope,  403, raised_at("acme")),
        (&tenant, &lift,    &scope,  200, String::new()),
        (&lesser, &raise,   &scope,  200, String::new()),
        (&tenant, &lift,    &scope,  200, String::new()),
        (&root,   &suspend, &why,    200, String::new()),
        (&tenant, &resume,  &why,    403, held_at("the root")),
        (&tenant, &resume,  &unlock, 403, held_at("the root")),
        (&root,   &resume,  &why,    200, String::new()),
        (&tenant, &suspend, &why,    200, String::new()),
        (&lesser, &resume,  &why,    403, held_at("acme")),
        (&root,   &suspend, &lock,   200, String::new()),
        (&tenant, &resume,  &unlock, 403, held_at("the root")),
        (&both,   &resume,  &unlock, 403, held_at("the root")),
        (&root,   &resume,  &unlock, 200, String::new()),
        (&tenant, &suspend, &lock,   200, String::new()),
        (&tenant, &resume,  &unlock, 200, String::new()),
        (&tenant, &suspend, &why,    200, String::new()),
        (&root,   &suspend, &why,    200, String::new()),
        (&tenant, &resume,  &why,    403, held_at("the root")),
        (&root,   &resume,  &why,    200, String::new()),
        (&tenant, &suspend, &lock,   200, String::new()),
        (&root,   &suspend, &why,    200, String::new()),
        (&tenant, &resume,  &unlock, 403, held_at("the root")),
        (&root,   &suspend, &lock,   200, String::new()),
        (&root,   &resume,  &why,    409, String::new()),
        (&root,   &resume,  &unlock, 200, String::new()),
    ];
    for (number, (token, (method, path), body, status, detail)) in table.into_iter().enumerate() {
        let method: Method = method.parse().unwrap();
        let body = body.to_string().into_bytes();
        let answer = platform.send(method, path, Some(token), Some(body)).await;
        assert_eq!(answer.status.as_u16(), status, "row {number}: {answer:?}");
        if status == 403 {
            assert_eq!(answer.body["detail"], detail.as_str(), "row {number}");
            // Whoever is refused can see why.
            let shown = match path.ends_with("stops") {
                true => platform.send(Method::GET, path, Some(token), None).await.body[0]["at"].clone(),
                false => {
                    let agent = platform
                        .send(Method::GET, "/api/v1/agents/payer", Some(token), None)
                        .await;
                    agent.body["held_at"].clone()
                }
            };
            assert!(
                detail.contains(shown.as_str().unwrap().split(", ").next().unwrap()),
                "{shown}"
            );
        }
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_its_own_and_its_agents_find_no_others_incidents() {
    let platform = platform().await;
    let ours = things(&platform, "payer", "acme/pay").await;
    let theirs = things(&platform, "seeker", "globex/find").await;
    let all: Vec<String> = ROLES
        .iter()
        .map(|role| format!("{}@acme", role.as_str()))
        .collect();
    let token = platform.token(json!({"principal": "alice", "roles": all})).await;
    #[rustfmt::skip]
    let table = [
        ("/api/v1/sessions", ours.session.as_str(), theirs.session.as_str()),
        ("/api/v1/incidents", &ours.incident, &theirs.incident),
        ("/api/v1/approvals", &ours.approval, &theirs.approval),
        ("/api/v1/documents", "payer-alerts", "seeker"),
        ("/api/v1/tokens", &ours.token, &theirs.token),
        ("/api/v1/trust", "payer", "seeker"),
        ("/api/v1/agents", "payer", "seeker"),
        ("/api/v1/delegations", &ours.delegation, &theirs.delegation),
        ("/api/v1/audit/entries?limit=1000", &ours.session, &theirs.session),
        ("/api/v1/audit/entries?limit=1000&kind=incident", &ours.incident, &theirs.incident),
    ];
    for (path, own, other) in table {
        let answer = platform.send(Method::GET, path, Some(&token), None).await;
        let told = answer.body.to_string();
        let quoted = |text: &str| told.contains(&format!("\"{text}\""));
        assert!(quoted(own) && !quoted(other), "{path}: {told}");
    }
    // The stream gives what the list does.
    let url = platform.url("/api/v1/audit/events?from=0");
    let mut stream = platform.http.get(url).bearer_auth(&token).send().await.unwrap();
    let mut told = String::new();
    while !told.contains(&format!("\"{}\"", ours.delegation)) {
        told += std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(
        told.contains(&ours.session) && !told.contains("seeker") && !told.contains(&theirs.incident),
        "{told}"
    );
    // Theirs came second and found itself alone, though the same words stand in our incident.
    let session = platform
        .get(&format!("/api/v1/sessions/{}", theirs.session))
        .await;
    let search = session.body["calls"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["verb"] == "incidents.search");
    assert!(
        search.unwrap().to_string().contains("1 similar incidents"),
        "{search:?}"
    );
    // Someone of both: votes only where the role holds.
    for (roles, expected) in [
        (json!(["approver@globex/find", "viewer@acme"]), 403),
        (json!(["approver@acme/pay/api/payer-helper", "viewer@acme"]), 403),
        (json!(["approver@acme/pay/api/payer"]), 200),
    ] {
        let voter = platform
            .token(json!({"principal": "victor", "roles": roles}))
            .await;
        let path = format!("/api/v1/approvals/{}/approve", ours.approval);
        let answer = platform
            .send(Method::POST, &path, Some(&voter), Some(b"{}".to_vec()))
            .await;
        assert_eq!(answer.status.as_u16(), expected, "{roles}: {answer:?}");
    }
    platform.stop().await;
}

/// A certificate is revoked as a whole: where it is somebody's elsewhere by now, at the root.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_revokes_no_certificate_that_holds_elsewhere() {
    let platform = platform().await;
    let take = async |certificate: &[u8], role: &str| {
        let new = gate::NewToken {
            principal: policy::Principal::person("mesh/dave"),
            roles: vec![gate::RoleAt::parse(role).unwrap()],
            groups: Vec::new(),
            trigger: None,
            expires: None,
        };
        let (by, certificate) = (
            policy::Principal::service("cofferdam"),
            gate::Thumbprint::of(certificate),
        );
        let gate = &platform.running.as_ref().unwrap().app().gate;
        let taken = gate.take_certificate(&by, new, "mesh", &certificate).await;
        taken.unwrap().token().to_owned()
    };
    let own = take(b"own", "viewer@acme/pay").await;
    let before = take(b"moved", "viewer@acme/pay").await;
    let after = take(b"moved", "viewer@globex").await;
    let admin = platform
        .token(json!({"principal": "ada", "roles": ["admin@acme"]}))
        .await;
    let admin = Some(admin.as_str());
    let root = Some(platform.admin.as_str());
    for (id, whose, status) in [
        (&after, admin, 404),
        (&before, admin, 403),
        (&own, admin, 204),
        (&before, root, 204),
    ] {
        let path = format!("/api/v1/tokens/{id}");
        let answer = platform.send(Method::DELETE, &path, whose, None).await;
        assert_eq!(answer.status.as_u16(), status, "{id}: {answer:?}");
        let tokens = platform.get("/api/v1/tokens").await.body;
        let revoked = |id: &str| {
            let of = |token: &&Value| token["id"] == id;
            tokens.as_array().unwrap().iter().find(of).unwrap()["revoked"] == true
        };
        assert_eq!(revoked(&after), whose == root, "{id}");
        assert_eq!(revoked(&before), whose == root, "{id}");
    }
    platform.stop().await;
}
