//! `cofferdam run --image` as people use it: in a container of a real engine, on a real platform.

use crate::run_command::{place, server, until};
use crate::{Up, cofferdam, told};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use testkit::engine::{Engine, IMAGE};

/// Whoever owns workspaces here, and is nobody else.
const OWNER: u32 = 4_242;

/// A platform beside an engine, and a workspace.
fn world() -> Option<(Engine, Up)> {
    let directory = place();
    let socket = directory.path().join("engine.sock");
    let engine = Engine::start(&socket)?;
    let workspace = directory.path().join("work");
    std::fs::create_dir(&workspace).unwrap();
    std::os::unix::fs::chown(&workspace, Some(OWNER), Some(OWNER)).unwrap();
    let host = format!("unix://{}", socket.display());
    let up = Up::start_where(directory, &[], &[("DOCKER_HOST", &host)]);
    Some((engine, up))
}

/// `run` in the workspace.
fn command(up: &Up, arguments: &[&str], script: &str) -> Command {
    let mut command = up.command(&["run", "--workspace", "work"]);
    command
        .args(arguments)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null());
    command
}

fn run(up: &Up, arguments: &[&str], script: &str) -> (i32, String, String) {
    told(command(up, arguments, script).output().unwrap())
}

/// One that says that it runs, and sleeps.
fn sleeping(up: &Up) -> Child {
    let script = "touch /workspace/runs; (setsid sleep 1000 &); sleep 1000";
    let mut command = command(up, &["--image", IMAGE], script);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the guest runs", || up.path().join("work/runs").exists());
    std::fs::remove_file(up.path().join("work/runs")).unwrap();
    child
}

/// How many containers of this platform run.
fn running(engine: &Engine, up: &Up) -> usize {
    let listed = engine.podman().args(["ps", "--format", "json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    let ours = up.path().join("work").display().to_string();
    let all = listed.as_array().into_iter().flatten();
    all.filter(|one| one.to_string().contains("dev.cofferdam.owner"))
        .filter(|one| {
            let id = one["Id"].as_str().unwrap();
            let shown = engine.podman().args(["inspect", id]).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains(&ours)
        })
        .count()
}

#[test]
fn a_container_is_judged_recorded_and_reaches_what_is_lent() {
    let Some((_engine, up)) = world() else { return };
    let server = server();
    let script = format!(
        "wget -qO- http://{server}/; echo; wget -qO- http://10.0.0.1/ 2>&1; cat /etc/shadow 2>&1; echo mine > made; exit 3"
    );
    let allowed = server.to_string();
    let (code, out, err) = run(
        &up,
        &["--image", IMAGE, "--allow", &allowed, "--env", "TOKEN=hush"],
        &script,
    );
    assert_eq!(code, 3, "{err}");
    assert!(
        out.starts_with("ok\n") && out.contains("403") && out.contains("shadow"),
        "{out}{err}"
    );
    assert!(
        err.contains("not enforced: users: the engine gives containers no user namespace"),
        "{err}"
    );
    assert!(
        err.contains("1 actions permitted") || err.contains("1 action permitted, 1 denied"),
        "{err}"
    );
    let session = err.trim().rsplit(' ').next().unwrap().to_owned();
    let shown = up.json(&["sessions", "show", &session]).to_string();
    let (_, entries, _) = up.run(&["audit", "tail", "-n", "100", "--output", "json"]);
    let (_, text, _) = up.run(&["sessions", "show", &session]);
    for part in ["sandbox.run", "made"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    // The image by its digest was judged; what the engine gave stands in the launch entry; no secret stands anywhere.
    for part in ["sha256:", "ReadonlyRootfs", "\"NetworkMode\":\"none\""] {
        assert!(
            shown.contains(part) || entries.contains(part),
            "no `{part}` in {shown} {entries}"
        );
    }
    assert!(!shown.contains("hush") && !entries.contains("hush"));
}

#[test]
fn a_document_says_which_container_and_nobody_chooses_another() {
    let Some((_engine, up)) = world() else { return };
    let document = format!(
        "apiVersion: cofferdam.dev/v1\nkind: Agent\nmetadata: {{name: contained}}\nspec:\n  description: in a container\n  \
         sponsor: admin\n  guest: {{backend: 'container:podman', image: '{IMAGE}'}}\n  \
         autonomy: {{environments: {{workspace: L3}}, sandboxes: [dev]}}\n"
    );
    std::fs::write(up.path().join("agent.yaml"), &document).unwrap();
    let (code, _, err) = up.run(&["apply", "-f", "agent.yaml"]);
    assert_eq!(code, 0, "{err}");
    #[rustfmt::skip]
    let table: [(&[&str], i32, &str); 4] = [
        (&["--agent", "contained", "--backend", "process"],       1, "the agent's document says `backend: container:podman`, not process"),
        (&["--agent", "contained", "--image", "other:1"],         1, "the agent's document says `image: localhost/cofferdam-tests"),
        (&["--backend", "container"],                             1, "a container has an image: name it with --image"),
        (&["--backend", "container:kubernetes", "--image", "a"],  2, "does not exist"),
    ];
    for (arguments, status, expected) in table {
        let (code, _, err) = run(&up, arguments, "true");
        assert_eq!(code, status, "{arguments:?}: {err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    std::fs::write(
        up.path().join("agent.yaml"),
        document.replace("container:podman", "process"),
    )
    .unwrap();
    let (code, out, err) = up.run(&["diff", "-f", "agent.yaml"]);
    assert!(
        code != 0 && format!("{out}{err}").contains("an image is for `backend: container`"),
        "{out}{err}"
    );
}

#[test]
fn the_example_is_a_document() {
    let Some((_engine, up)) = world() else { return };
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/contained/cofferdam.yaml"
    );
    let (code, out, err) = up.run(&["apply", "-f", example]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = run(&up, &["--agent", "contained"], "true");
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("and none is fetched here: `podman pull registry.example/agents/contained@sha256:"),
        "{err}"
    );
}

#[test]
fn a_stop_a_lost_command_and_a_dead_platform_end_a_container() {
    let Some((engine, mut up)) = world() else { return };
    let guest = sleeping(&up);
    let (code, out, err) = up.run(&["kill", "--all", "--reason", "a drill"]);
    assert_eq!(code, 0, "{err}");
    assert!(format!("{out}{err}").contains("processes: 1 ended"), "{out}{err}");
    let (code, _, err) = told(guest.wait_with_output().unwrap());
    assert_eq!(code, 137, "{err}");
    assert!(err.contains("it was killed; 0 actions permitted"), "{err}");
    assert_eq!(up.run(&["kill", "lift", "--all", "--reason", "over"]).0, 0);

    let mut lost = sleeping(&up);
    assert_eq!(running(&engine, &up), 1);
    lost.kill().unwrap();
    lost.wait().unwrap();
    until("a container whose command is gone is gone", || {
        running(&engine, &up) == 0
    });

    let mut guest = sleeping(&up);
    assert_eq!(running(&engine, &up), 1);
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    until("a container whose platform is gone is gone", || {
        running(&engine, &up) == 0
    });
    assert!(!guest.wait().unwrap().success());
}

#[test]
fn the_drill_from_inside_a_container_holds() {
    let directory = place();
    let socket = directory.path().join("engine.sock");
    let Some(_engine) = Engine::start(&socket) else {
        return;
    };
    let host = format!("unix://{}", socket.display());
    let with = |arguments: &[&str]| {
        let mut command = cofferdam(directory.path());
        command
            .args(arguments)
            .env("DOCKER_HOST", &host)
            .stderr(Stdio::piped());
        told(command.output().unwrap())
    };
    let (_, out, err) = with(&["sandbox", "check", "--output", "json"]);
    let checked: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    assert_eq!(checked["containers"][0]["engine"]["kind"], "podman", "{checked}");
    let all = ["drill", "--image", IMAGE, "--output", "json"];
    let (_, out, err) = with(&all);
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    let ids = |verdict: &str| -> Vec<&str> {
        let findings = found["findings"].as_array().unwrap().iter();
        let of = findings.filter(|finding| finding["verdict"] == verdict);
        of.map(|finding| finding["id"].as_str().unwrap()).collect()
    };
    assert_eq!(ids("broken"), Vec::<&str>::new(), "{out}");
    // A busybox holds no set-user-id program, and the launcher is the platform itself.
    assert_eq!(
        ids("not_tried"),
        ["processes.set-user-id", "life.launcher"],
        "{out}"
    );
    assert!(ids("held").len() > 80, "{out}");
}
