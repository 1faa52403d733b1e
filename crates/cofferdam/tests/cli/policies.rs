//! Policies from end to end: real sessions that no rule permits, what `policy suggest` and `simulate` make of them by
//! the command line and the API, the suggestion in force, and signed bundles.

use crate::Up;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Two agents with the same tools. Each proposes a change, and calls a door that nothing listens at when its task
/// says so.
const AGENTS: &str = r#"
apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {name: shop}
spec:
  environment: staging
  tools:
    - {type: git, name: shop, path: ../shop, propose: true}
    - {type: http, allow: ["http://127.0.0.1:1/"], private: true, write: true}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {name: changer, organization: acme, team: sre}
spec: &spec
  sponsor: carol
  toolsets: [shop]
  autonomy: {default: L2}
  runbook:
    steps:
      - name: proposal
        tool: git.propose
        arguments: {base: main, title: "{{ event.title }}", message: because, files: [{path: new.txt, content: x}]}
        onError: continue
      - name: call
        tool: http.request
        when: event.call
        arguments: {method: POST, url: "http://127.0.0.1:1/"}
        onError: continue
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {name: twin, organization: acme, team: sre}
spec: *spec
"#;

fn git(repository: &Path, arguments: &[&str]) -> String {
    let who = ["-c", "user.name=x", "-c", "user.email=x@invalid", "-C"];
    let run = Command::new("git")
        .args(who)
        .arg(repository)
        .args(arguments)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

fn start() -> Up {
    let directory = tempfile::tempdir().unwrap();
    let (shop, conf) = (directory.path().join("shop"), directory.path().join("conf"));
    std::fs::create_dir(&shop).unwrap();
    std::fs::create_dir(&conf).unwrap();
    git(&shop, &["init", "--quiet", "--initial-branch=main"]);
    git(&shop, &["commit", "--quiet", "--allow-empty", "-m", "Begin"]);
    // YAML's aliases do not reach over documents.
    let (before, spec) = AGENTS.split_once("spec: &spec").unwrap();
    let body = spec.split("---").next().unwrap();
    let text = format!(
        "{before}spec:{}",
        spec.replace("spec: *spec", &format!("spec:{body}"))
    );
    std::fs::write(conf.join("agents.yaml"), text).unwrap();
    Up::start_with(directory, &["--config", "conf"])
}

impl Up {
    fn ask(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Value {
        let token = std::fs::read_to_string(self.path().join(".cofferdam/admin.token")).unwrap();
        let url = format!("{}{path}", self.url);
        let asking = async {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut request = http.request(method, url).bearer_auth(token.trim());
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
            answer.json().await.unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(asking)
    }

    /// Gives `agent` a task, approves what it asks for, and tells what was decided: `proposal asked`,
    /// `proposal permitted`, `call denied: no_rule`.
    fn works(&self, agent: &str, title: &str, call: bool) -> Vec<String> {
        let task = json!({"agent": agent, "own_words": true, "input": {"title": title, "call": call}});
        let task = self.ask(reqwest::Method::POST, "/api/v1/tasks", Some(&task));
        let id = task["session"].as_str().unwrap();
        if self.settled(id) == "waiting" {
            let approvals = self.json(&["approvals", "list"]);
            let pending = approvals
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["state"] == "pending");
            let approval = pending.unwrap()["id"].as_str().unwrap().to_owned();
            let line = [
                "--token-file",
                "bob.token",
                "approvals",
                "approve",
                &approval,
                "--reason",
                "fine",
            ];
            let told = self.run(&line);
            assert_eq!(told.0, 0, "{told:?}");
            while self.settled(id) == "waiting" {}
        }
        let query = format!("/api/v1/audit/entries?limit=1000&session={id}");
        let entries = self.ask(reqwest::Method::GET, &query, None);
        let told = |entry: &Value| {
            let (kind, body) = (entry["kind"].as_str().unwrap(), &entry["body"]);
            let step = body["step"].as_str().unwrap_or_default();
            match kind {
                "action.denied" => Some(format!("{step} denied: {}", body["code"].as_str().unwrap())),
                "action.permitted" => Some(format!("{step} permitted")),
                "approval.requested" => Some(format!("{step} asked")),
                _ => None,
            }
        };
        entries["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(told)
            .collect()
    }

    /// The state of a session that neither runs nor is about to.
    fn settled(&self, id: &str) -> String {
        for _ in 0..600 {
            let session = self.json(&["sessions", "show", id]);
            let session = session.get("session").unwrap_or(&session);
            let state = session["state"].as_str().unwrap();
            if !["created", "queued", "running"].contains(&state) {
                return state.to_owned();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{id} goes on: {:?}", self.run(&["sessions", "show", id]));
    }

    fn until(&self, arguments: &[&str], done: impl Fn(&Value) -> bool) {
        for _ in 0..200 {
            let (code, out, _) = self.run(&[arguments, &["--output", "json"]].concat());
            if code == 0 && done(&serde_json::from_str(&out).unwrap()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!(
            "{arguments:?} never became what was waited for: {:?}",
            self.run(arguments)
        );
    }
}

#[test]
fn what_was_denied_is_suggested_simulated_applied_and_then_permitted_and_nothing_beside_it() {
    let up = start();
    // Nobody approves what they caused.
    let (code, bob, err) = up.run(&["tokens", "create", "--person", "bob", "--role", "approver"]);
    assert_eq!(code, 0, "{err}");
    std::fs::write(up.path().join("bob.token"), bob).unwrap();
    assert_eq!(up.works("changer", "One", false), ["proposal denied: no_rule"]);
    assert_eq!(up.works("changer", "Two", false), ["proposal denied: no_rule"]);
    assert_eq!(
        up.works("twin", "Three", true),
        ["proposal denied: no_rule", "call denied: no_rule"]
    );

    // The command line and the API say the same; another agent's denials are not among them.
    let path = "/api/v1/policies/suggestions?since_seconds=3600&agent=changer";
    let asked = up.ask(reqwest::Method::GET, path, None);
    let told = up.json(&["policy", "suggest", "--since", "1h", "--agent", "changer"]);
    assert_eq!(asked["suggestions"], told);
    assert_eq!(
        (&told["denials"], told["policies"].as_array().unwrap().len()),
        (&json!(2), 1),
        "{told}"
    );
    assert_eq!(
        told["policies"][0]["document"]["rules"][0]["match"],
        json!({"verbs": ["git.propose"], "resources": ["repository/shop"], "effects": ["write"],
            "environments": ["staging"], "agents": ["changer"]})
    );
    let (code, printed, err) = up.run(&["policy", "suggest", "--since", "1h", "--agent", "changer"]);
    assert_eq!(code, 0, "{err}");
    for line in [
        "# Denials looked at: 2",
        "# Nothing permits agent changer anything yet.",
        "# suggested-1: denied 2 × to agent changer",
    ] {
        assert!(printed.contains(line), "no `{line}` in: {printed}");
    }

    // What it would have changed: the two denials of that agent, and the twin's neither.
    std::fs::write(up.path().join("suggested.yaml"), &printed).unwrap();
    let (code, out, err) = up.run(&["policy", "simulate", "--since", "1h", "-f", "suggested.yaml"]);
    assert_eq!(code, 1, "{err}");
    assert!(
        out.contains("2 deny → require_approval\n4 of 4 decisions were decided again"),
        "{out}"
    );
    let documents = [up.json(&["diff", "-f", "suggested.yaml"])["changes"][0]["after"].clone()];
    let asked = json!({"documents": documents, "since_seconds": 3600});
    let asked = up.ask(reqwest::Method::POST, "/api/v1/policies/simulate", Some(&asked));
    assert_eq!(asked["result"]["changed"], json!({"deny → require_approval": 2}));
    let one = &asked["result"]["differences"][0];
    assert_eq!(
        (&one["agent"], &one["before"]["outcome"], &one["after"]["reason"]),
        (
            &json!("changer"),
            &json!("deny"),
            &json!("level L2 asks for each write action")
        ),
        "{asked}"
    );
    let (code, out, _) = up.run(&["policy", "simulate", "--since", "1h", "-f", "conf"]);
    assert_eq!(code, 0, "what is in force decides the same: {out}");
    assert!(out.contains("no decision would have been another"), "{out}");

    // In force, as a file of the directory.
    std::fs::copy(
        up.path().join("suggested.yaml"),
        up.path().join("conf/suggested.yaml"),
    )
    .unwrap();
    up.until(&["get", "policies"], |list| !list.as_array().unwrap().is_empty());
    assert_eq!(
        up.works("changer", "Four", true),
        ["proposal asked", "proposal permitted", "call denied: no_rule"]
    );
    assert_eq!(up.works("twin", "Five", false), ["proposal denied: no_rule"]);
    let branches = git(&up.path().join("shop"), &["branch", "--list", "cofferdam/*"]);
    assert_eq!(branches.lines().count(), 1, "one change was proposed: {branches}");
    let left = up.json(&["policy", "suggest", "--since", "1h", "--agent", "changer"]);
    let verbs: Vec<_> = left["policies"][0]["document"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["match"]["verbs"][0].clone())
        .collect();
    assert!(verbs.contains(&json!("http.request")), "{left}");

    // A changed directory: the permit gone, a rule that forbids come.
    let changed = up.path().join("changed");
    std::fs::create_dir(&changed).unwrap();
    let forbids = "apiVersion: cofferdam.dev/v1\nkind: Policy\nmetadata: {name: frozen}\nspec:\n  rules:\n    - {name: all, match: {verbs: [git.propose]}, outcome: deny, reason: frozen}\n";
    std::fs::write(changed.join("frozen.yaml"), forbids).unwrap();
    let (code, out, _) = up.run(&["policy", "simulate", "--since", "1h", "-f", "changed"]);
    assert_eq!(code, 1);
    for line in [
        "4 deny by another rule\n",
        "1 permit → deny\n",
        "1 require_approval → deny\n",
        "8 of 8 decisions",
        "deny by policy/frozen#all",
    ] {
        assert!(out.contains(line), "no `{line}` in: {out}");
    }
    let (code, out, _) = up.run(&[
        "policy",
        "simulate",
        "--since",
        "1h",
        "-f",
        "agents-only",
        "--only",
    ]);
    assert_eq!((code, out.as_str()), (1, ""), "there is no such file");
    std::fs::write(up.path().join("none.yaml"), "").unwrap();
    let (code, out, _) = up.run(&["policy", "simulate", "--since", "1h", "-f", "none.yaml", "--only"]);
    assert_eq!(code, 1, "without any policy the permit is none: {out}");
    assert!(out.contains("1 permit → deny\n"), "{out}");
}

#[test]
fn a_bundle_is_made_checked_installed_and_goes_back_only_for_a_reason() {
    let up = start();
    let policies = up.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let policy = |outcome: &str| {
        let text = format!(
            "apiVersion: cofferdam.dev/v1\nkind: Policy\nmetadata: {{name: calm}}\nspec:\n  rules:\n    - {{name: r, match: {{verbs: [git.propose]}}, outcome: {outcome}, reason: calm}}\n"
        );
        std::fs::write(policies.join("calm.yaml"), text).unwrap();
    };
    policy("deny");
    std::fs::write(policies.join("calm.test.yaml"), "cases: []\n").unwrap();
    let (code, key, err) = up.run(&["policy", "bundle", "key", "--out", "security.key"]);
    assert_eq!(code, 0, "{err}");
    let key = key.trim();
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(up.path().join("security.key")).unwrap());
    assert_eq!((key.len(), mode & 0o777), (43, 0o600));
    let bundle = |version: &str, out: &str| {
        let line = format!(
            "policy bundle -f policies --publisher acme --version {version} --key security.key --created 2026-01-01T00:00:00Z --tests --out {out}"
        );
        up.run(&line.split(' ').collect::<Vec<_>>())
    };
    let made = bundle("1", "one.bundle");
    assert!(
        made.0 == 0 && made.1.contains("signed acme@1, 1 policies, sha256 "),
        "{made:?}"
    );
    assert_eq!(bundle("1", "again.bundle").0, 0);
    let bytes = |name: &str| std::fs::read(up.path().join(name)).unwrap();
    assert_eq!(
        bytes("one.bundle"),
        bytes("again.bundle"),
        "the same input, the same bytes"
    );
    policy("permit");
    assert_eq!(bundle("2", "two.bundle").0, 0);
    std::fs::write(up.path().join("publisher.yaml"), format!("apiVersion: cofferdam.dev/v1\nkind: Publisher\nmetadata: {{name: acme}}\nspec: {{publicKeys: [{key}], requireSigned: true}}\n")).unwrap();
    std::fs::write(up.path().join("open.key"), bytes("security.key")).unwrap();
    std::fs::copy(up.path().join("one.bundle"), policies.join("inner.bundle")).unwrap();
    let inner = bundle("3", "x.bundle");
    assert!(
        inner.0 == 1 && inner.2.contains("bundles hold no bundles"),
        "{inner:?}"
    );
    std::fs::remove_file(policies.join("inner.bundle")).unwrap();
    let other = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";
    #[rustfmt::skip]
    let table: &[(String, i32, &str, &str)] = &[
        // command                                                        code  on stdout                  on stderr
        (format!("policy bundle verify one.bundle --publisher-key {key}"), 0,   "✓ signed by ",            ""),
        (format!("policy bundle verify one.bundle --publisher-key {other}"), 1, "",                        "no signature is by a key of Publisher `acme`"),
        (format!("policy bundle verify conf/agents.yaml --publisher-key {key}"), 1, "",                    "not a signed bundle"),
        ("policy bundle verify one.bundle".into(),                         2,   "",                        "--publisher-key"),
        ("policy bundle show one.bundle".into(),                           0,   "calm.test.yaml",          ""),
        ("policy bundle key --out security.key".into(),                       1,   "",                        "exists"),
        ("policy bundle".into(),                                           2,   "",                        "required arguments were not provided"),
        ("policy bundle -f conf --publisher acme --version 3 --key security.key --out x.bundle".into(), 1, "", "bundles hold policies only"),
        ("policy bundle -f policies --publisher acme --version 0 --key security.key --out x.bundle".into(), 2, "", "0 is not in 1.."),
        ("policy bundle -f policies --publisher acme --version 3 --key open.key --out x.bundle".into(), 1, "", "only its owner can read"),
        ("policy bundle -f policies --publisher acme --version 3 --key one.bundle --out x.bundle".into(), 1, "", "private key"),
        ("policy lint one.bundle".into(),                                  0,   "nothing found",           ""),
        ("apply -f one.bundle".into(),                                     1,   "",                        "there is no Publisher `acme`"),
        ("apply -f publisher.yaml".into(),                                 0,   "+ Publisher acme",        ""),
        ("apply -f policies".into(),                                       1,   "",                        "an unsigned policy: Publisher `acme` requires"),
        ("diff -f one.bundle".into(),                                      0,   "+ bundle acme@1",         ""),
        ("apply -f two.bundle".into(),                                     0,   "+ bundle acme@2",         ""),
        ("apply -f two.bundle".into(),                                     0,   "nothing changes",         ""),
        ("apply -f one.bundle".into(),                                     1,   "",                        "version 1 of Publisher `acme` is older than 2"),
        ("delete policy calm".into(),                                      1,   "",                        "is owned by the signed bundle of Publisher `acme`"),
        ("get policies".into(),                                            0,   "bundle:acme",             ""),
        ("describe policy calm".into(),                                    0,   "signed bundle of acme",   ""),
        ("policy bundle list".into(),                                      0,   "in force",                ""),
        ("policy explain git.propose:repository/shop --as changer --env staging".into(), 0, "permit: calm (acme@2)", ""),
        ("apply -f one.bundle --allow-rollback drill".into(),              0,   "! bundle back to acme@1, before it 2", ""),
        ("audit tail -n 3".into(),                                         0,   "acme@1 · 1 policies · back from 2: drill", ""),
        ("policy bundle remove acme".into(),                               0,   "- bundle of acme, before it 1", ""),
        ("policy bundle remove acme".into(),                               1,   "",                        "no bundle of Publisher `acme` in force"),
        ("policy bundle list".into(),                                      0,   "removed",                 ""),
    ];
    for (line, code, out, err) in table {
        let told = up.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(told.0, *code, "{line}: {told:?}");
        assert!(told.1.contains(out) && told.2.contains(err), "{line}: {told:?}");
    }
}
