//! The tools `exec.run` and `exec.eval` of an agent, as its steps use them: what runs, with what effect, and what does not.

use crate::Up;
use crate::run_command::{able, place};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// An agent that runs what its task says, with a program of its workspace and some of the system.
fn documents(workspace: &Path) -> String {
    let workspace = workspace.display();
    format!(
        "apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {{name: commands}}
spec:
  environment: test
  tools:
    - type: exec
      workspace: {workspace}
      seconds: 5
      commands:
        - {{program: /usr/bin/cat, effect: read}}
        - {{program: /usr/bin/touch, effect: write}}
        - {{program: /usr/bin/dash, effect: read}}
        - {{program: /usr/bin/sleep, effect: read}}
        - {{program: /usr/bin/rm}}
        - {{program: '{workspace}/bin/*', effect: write}}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {{name: hand}}
spec:
  sponsor: admin
  autonomy: {{default: L3, sandboxes: [test]}}
  toolsets: [commands]
  runbook:
    steps:
      - {{name: ran, tool: exec.run, when: 'event.eval is not defined', arguments: {{argv: '{{{{ event.argv }}}}'}}}}
      - {{name: evaluated, tool: exec.eval, when: 'event.eval is defined', arguments: {{argv: '{{{{ event.argv }}}}'}}}}
    output: {{steps: '{{{{ steps }}}}'}}
---
apiVersion: cofferdam.dev/v1
kind: Policy
metadata: {{name: commands}}
spec:
  rules:
    - {{name: all, match: {{verbs: ['exec.*'], environments: [test]}}, outcome: permit, opts_in: true, reason: it is a test}}
"
    )
}

/// With those documents, where every user may enter.
fn up() -> Option<Up> {
    let directory = place();
    if !able(directory.path()) {
        return None;
    }
    let workspace = directory.path().join("work");
    std::fs::create_dir_all(workspace.join("bin")).unwrap();
    std::fs::write(workspace.join("file"), "words\n").unwrap();
    script(
        &workspace.join("bin/tool"),
        "#!/bin/sh\necho tool \"$@\" > made; cat file /etc/shadow",
    );
    std::fs::write(workspace.join("check.sh"), "touch $1 && echo touched").unwrap();
    let up = Up::start_with(directory, &[]);
    std::fs::write(up.path().join("exec.yaml"), documents(&workspace)).unwrap();
    let (code, _, err) = up.run(&["apply", "-f", "exec.yaml"]);
    assert_eq!(code, 0, "{err}");
    Some(up)
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn curl(up: &Up, arguments: &[&str], path: &str) -> Value {
    let token = std::fs::read_to_string(up.path().join(".cofferdam/admin.token")).unwrap();
    let output = Command::new("curl")
        .args(["-sS", "-H", &format!("authorization: Bearer {}", token.trim())])
        .args(arguments)
        .arg(format!("{}{path}", up.url))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The task's path.
fn begin(up: &Up, event: &Value) -> String {
    let body = json!({"agent": "hand", "input": event}).to_string();
    let made = curl(
        up,
        &["-H", "content-type: application/json", "-d", &body],
        "/api/v1/tasks",
    );
    format!(
        "/api/v1/tasks/{}",
        made["id"].as_str().unwrap_or_else(|| panic!("{made}"))
    )
}

fn until(up: &Up, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_000 {
        let task = curl(up, &[], path);
        if is(&task) {
            return task;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("never: {}", curl(up, &[], path));
}

fn is_over(task: &Value) -> bool {
    matches!(
        task["status"].as_str(),
        Some("completed" | "failed" | "cancelled")
    )
}

#[test]
fn a_command_does_what_it_was_told_to_be_and_no_more() {
    let Some(up) = up() else { return };
    let work = up.path().join("work");
    #[rustfmt::skip]
    let table: [(&[&str], &str); 12] = [
        // what is run, and what its task says
        (&["cat", "file"],              r#""text":"words\n""#),
        (&["/bin/cat", "file"],         r#""text":"words\n""#),
        (&["cat", "file; id", "$(id)"], r#"cat: 'file; id': No such file or directory"#),
        (&["cat", "/etc/shadow"],       r#"cat: /etc/shadow"#),
        // Told to read: what it writes goes nowhere.
        (&["dash", "check.sh", "gone"], r#""text":"touched\n""#),
        (&["touch", "made-by-touch"],   r#""code":0"#),
        (&["bin/tool", "a b"],          r#"words"#),
        (&["sleep", "60"],              "its time was over"),
        // Not told to be anything.
        (&["rm", "file"],               "destructive"),
        (&["ls"],                       "`/usr/bin/ls` is none of the programs that may run here"),
        (&["dash", "-c", "id"],         "`dash -c` evaluates its argument: that is `exec.eval`, which a person approves"),
        (&["nowhere"],                  "there is no program `nowhere`"),
    ];
    for (argv, expected) in table {
        let path = begin(&up, &json!({"argv": argv}));
        let task = until(&up, &path, |task| is_over(task) || task["status"] == "waiting").to_string();
        assert!(task.contains(expected), "{argv:?}: {task}");
    }
    assert!(work.join("file").exists() && !work.join("gone").exists());
    assert!(work.join("made-by-touch").exists());
    assert_eq!(std::fs::read_to_string(work.join("made")).unwrap(), "tool a b\n");
}

/// What is evaluated is asked about although a policy permits it, and what was approved is what runs.
#[test]
fn what_is_evaluated_is_approved_as_it_is() {
    let Some(up) = up() else { return };
    let work = up.path().join("work");
    let (_, token, err) = up.run(&["tokens", "create", "--person", "bob", "--role", "approver"]);
    assert!(!token.is_empty(), "{err}");
    std::fs::write(up.path().join("bob"), token).unwrap();
    #[rustfmt::skip]
    let table: [(&[&str], bool, &str); 3] = [
        (&["dash", "-c", "echo evaluated"],        false, r#""text":"evaluated\n""#),
        (&["dash", "-c", ". ./check.sh", "x"],     false, r#""code":"#),
        (&["dash", "-e", "check.sh"],              true,  "nothing in it is evaluated: that is `exec.run`"),
    ];
    for (argv, refused, expected) in table {
        let path = begin(&up, &json!({"eval": true, "argv": argv}));
        if !refused {
            approve(&up, &path);
        }
        let task = until(&up, &path, is_over).to_string();
        assert!(task.contains(expected), "{argv:?}: {task}");
    }
    // The file that it names is another by the time that it may run: that is another action, and nobody approved it.
    let path = begin(&up, &json!({"eval": true, "argv": ["dash", "-xc", "check.sh"]}));
    let waiting = until(&up, &path, |task| task["status"] == "waiting");
    std::fs::write(work.join("check.sh"), "echo another").unwrap();
    approve(&up, &path);
    let asked_again = |task: &Value| task["status"] == "waiting" && task["reason"] != waiting["reason"];
    until(&up, &path, asked_again);
}

fn approve(up: &Up, path: &str) {
    until(up, path, |task| task["status"] == "waiting");
    let listed = up.json(&["approvals", "list"]);
    let pending = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["state"] == "pending");
    let id = pending.unwrap()["id"].as_str().unwrap();
    let (code, _, err) = up.run(&[
        "approvals",
        "approve",
        id,
        "--reason",
        "seen",
        "--token-file",
        "bob",
    ]);
    assert_eq!(code, 0, "{err}");
}
