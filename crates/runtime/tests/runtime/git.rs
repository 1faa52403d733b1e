//! `git.*` against real repositories.

use crate::world::{Hands, line};
use policy::{Effect, Idempotence};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

struct Repository {
    directory: tempfile::TempDir,
    hands: Hands,
}

/// Git as a person would run it, with fixed names and dates.
fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args([
            "-c",
            "user.name=Ann",
            "-c",
            "user.email=ann@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Repository {
    /// Three commits on `main`: a start, one that breaks `limit`, one elsewhere.
    async fn new() -> Repository {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("repo:x");
        std::fs::create_dir(&path).unwrap();
        git(&path, &["init", "-q"]);
        let commit = |file: &str, content: &str, title: &str, date: &str| {
            std::fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
            std::fs::write(path.join(file), content).unwrap();
            git(&path, &["add", "-A"]);
            let date = format!("--date={date}");
            let stamp = date.trim_start_matches("--date=").to_owned();
            let output = Command::new("git")
                .current_dir(&path)
                .args([
                    "-c",
                    "user.name=Ann",
                    "-c",
                    "user.email=ann@example.com",
                    "commit",
                    "-q",
                    "-m",
                    title,
                    &date,
                ])
                .env("GIT_COMMITTER_DATE", stamp)
                .output()
                .unwrap();
            assert!(output.status.success());
        };
        commit("src/limit", "10\n", "Start", "2026-11-20T10:00:00Z");
        commit("src/limit", "0\n", "Break the limit", "2026-11-21T09:00:00+02:00");
        commit("README", "hello\n", "Say hello", "2026-11-21T10:00:00Z");
        let binding = json!({"type": "git", "name": "patient", "path": path, "propose": true});
        let hands = Hands::on(json!({"environment": "staging", "tools": [binding]})).await;
        Repository { directory, hands }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("repo:x")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.path(), arguments)
    }

    async fn result(&self, verb: &str, arguments: Value) -> Value {
        let settlement = self.hands.act(verb, arguments).await.unwrap();
        assert!(settlement.failure.is_none(), "{verb}: {}", line(&settlement));
        settlement.result
    }

    /// Everything that judging must not change: refs, objects, index, work tree.
    fn state(&self) -> String {
        let objects = self.git(&["count-objects", "-v"]);
        let refs = self.git(&["for-each-ref"]);
        format!(
            "{objects}\n{refs}\n{}\n{}",
            self.git(&["status", "--porcelain"]),
            self.git(&["rev-parse", "HEAD"])
        )
    }
}

#[tokio::test]
async fn log_lists_commits_with_their_files() {
    let repository = Repository::new().await;
    let log = repository.result("git.log", json!({})).await;
    let said: Vec<String> = log["commits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            format!(
                "{} {} {} {}",
                c["title"], c["author"], c["time"], c["files"][0]["path"]
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            r#""Say hello" "Ann" "2026-11-21T10:00:00.000Z" "README""#,
            r#""Break the limit" "Ann" "2026-11-21T07:00:00.000Z" "src/limit""#,
            r#""Start" "Ann" "2026-11-20T10:00:00.000Z" "src/limit""#,
        ]
    );
    let titles = |log: Value| {
        log["commits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["title"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    #[rustfmt::skip]
    let table = [
        (json!({"limit": 1}),                                   vec!["Say hello"]),
        (json!({"path": "src/limit"}),                          vec!["Break the limit", "Start"]),
        (json!({"since": "2026-11-21T00:00:00Z"}),              vec!["Say hello", "Break the limit"]),
        (json!({"until": "2026-11-21T08:00:00Z"}),              vec!["Break the limit", "Start"]),
        (json!({"since": "2026-11-21T08:59:00+02:00", "until": "2026-11-21T09:01:00+02:00"}), vec!["Break the limit"]),
        (json!({"revision": "HEAD~2"}),                         vec!["Start"]),
    ];
    for (arguments, expected) in table {
        assert_eq!(
            titles(repository.result("git.log", arguments.clone()).await),
            expected,
            "{arguments}"
        );
    }
}

#[tokio::test]
async fn names_become_commits_before_judgement() {
    let repository = Repository::new().await;
    let head = repository.git(&["rev-parse", "main"]);
    #[rustfmt::skip]
    let table = [
        ("git.log",   json!({"revision": "main"}), "revision"),
        ("git.show",  json!({"commit": "HEAD"}),   "commit"),
        ("git.diff",  json!({"from": "main~1"}),   "to"),
        ("git.blame", json!({"path": "README"}),   "revision"),
    ];
    for (verb, arguments, key) in table {
        let action = repository.hands.propose(verb, &arguments).await.unwrap();
        assert_eq!(action.arguments()[key], json!(head), "{verb}");
        assert_eq!(
            (action.resource(), action.effect()),
            ("repository/patient", Effect::Read),
            "{verb}"
        );
    }
    #[rustfmt::skip]
    let refused = [
        ("git.show",  json!({"commit": "--output=/tmp/x"}), "argument `/commit`: is not the name of a commit, branch or tag"),
        ("git.show",  json!({"commit": "HEAD:README"}),     "argument `/commit`: is not the name of a commit, branch or tag"),
        ("git.show",  json!({"commit": "HEAD^{/x}"}),       "argument `/commit`: is not the name of a commit, branch or tag"),
        ("git.show",  json!({"commit": "nowhere"}),         "cannot resolve `nowhere`: no such commit"),
        ("git.log",   json!({"path": "../x"}),              "argument `/path`: is not a path inside the repository"),
        ("git.log",   json!({"since": "yesterday"}),        "argument `/since`: `yesterday` is not an RFC 3339 time"),
        ("git.log",   json!({"limit": 101}),                "argument `/limit`: is more than 100"),
        ("git.blame", json!({"path": "-L1"}),               "argument `/path`: is not a path inside the repository"),
    ];
    for (verb, arguments, expected) in refused {
        assert_eq!(
            repository.hands.propose(verb, &arguments).await.unwrap_err(),
            expected,
            "{arguments}"
        );
    }
}

#[tokio::test]
async fn show_diff_and_blame() {
    let repository = Repository::new().await;
    let show = repository.result("git.show", json!({"commit": "HEAD~1"})).await;
    assert_eq!(
        (&show["title"], &show["message"]),
        (&json!("Break the limit"), &json!("Break the limit"))
    );
    assert!(show["diff"].as_str().unwrap().contains("-10\n+0\n"), "{show}");
    assert_eq!(
        show["files"],
        json!([{"path": "src/limit", "added": 1, "deleted": 1}])
    );
    let root = repository.result("git.show", json!({"commit": "HEAD~2"})).await;
    assert!(
        root["diff"].as_str().unwrap().contains("+10\n"),
        "the first commit too: {root}"
    );
    let diff = repository
        .result("git.diff", json!({"from": "HEAD~2", "path": "README"}))
        .await;
    assert!(
        diff["diff"].as_str().unwrap().contains("+hello")
            && !diff["diff"].as_str().unwrap().contains("limit")
    );
    let blame = repository
        .result(
            "git.blame",
            json!({"path": "src/limit", "from_line": 1, "to_line": 9}),
        )
        .await;
    assert_eq!(blame["lines"].as_array().unwrap().len(), 1);
    assert_eq!(blame["lines"][0]["commit"], show["commit"]);
    assert_eq!(
        (&blame["lines"][0]["text"], &blame["lines"][0]["line"]),
        (&json!("0"), &json!(1))
    );
    let gone = repository
        .hands
        .act("git.blame", json!({"path": "nowhere"}))
        .await
        .unwrap();
    assert!(
        line(&gone).starts_with("Failure git blame: fatal: no such path"),
        "{}",
        line(&gone)
    );
}

#[tokio::test]
async fn a_revert_is_judged_without_a_trace_and_made_as_judged() {
    let repository = Repository::new().await;
    let broke = repository.git(&["rev-parse", "HEAD~1"]);
    let head = repository.git(&["rev-parse", "HEAD"]);
    let before = repository.state();
    let arguments = json!({"title": "Revert \"Break the limit\"", "message": "It set the limit to 0.", "revert": "HEAD~1"});
    let action = repository.hands.propose("git.propose", &arguments).await.unwrap();
    assert_eq!(repository.state(), before, "judging changes nothing");
    assert_eq!(
        (action.effect(), action.idempotence()),
        (Effect::Write, Idempotence::Idempotent)
    );
    let exact = action.arguments().clone();
    assert_eq!((&exact["base"], &exact["revert"]), (&json!(head), &json!(broke)));
    let diff = exact["diff"].as_str().unwrap();
    assert!(diff.contains("-0\n+10\n") && !diff.contains("README"), "{diff}");
    let branch = exact["branch"].as_str().unwrap().to_owned();
    assert!(
        branch.starts_with("cofferdam/revert-break-the-limit-")
            && branch.len() == "cofferdam/revert-break-the-limit-".len() + 8
    );
    let again = repository.hands.propose("git.propose", &arguments).await.unwrap();
    assert_eq!(
        again.digest(),
        action.digest(),
        "the same proposal is the same action"
    );

    let made = repository.hands.act_on(action).await.unwrap();
    assert!(
        made.failure.is_none() && made.taints.is_empty(),
        "{}",
        line(&made)
    );
    assert_eq!(
        repository.git(&["rev-parse", &branch]),
        made.result["commit"].as_str().unwrap()
    );
    let made_diff = repository.git(&["diff", "--full-index", &head, &branch]);
    assert_eq!(made_diff, diff.trim(), "what was judged is what was made");
    assert_eq!(repository.git(&["show", &format!("{branch}:src/limit")]), "10");
    let message = repository.git(&["log", "-1", "--format=%an <%ae>%n%B", &branch]);
    assert!(message.starts_with("Cofferdam agent worker <agent@cofferdam.invalid>\nRevert \"Break the limit\"\n\nIt set the limit to 0.\n\nCofferdam-Session: ses-"), "{message}");
    assert!(message.contains("\nCofferdam-Entry: "), "{message}");
    assert_eq!(
        repository.git(&["rev-parse", "HEAD"]),
        head,
        "the checked-out branch stays"
    );
    assert_eq!(
        repository.git(&["status", "--porcelain"]),
        "",
        "the work tree stays"
    );

    let repeated = repository.hands.act_on(again).await.unwrap();
    assert_eq!(
        (&repeated.result["already"], &repeated.result["commit"]),
        (&json!(true), &made.result["commit"])
    );
    assert_eq!(
        repository.git(&["for-each-ref", "--format=%(refname)"]),
        format!("refs/heads/{branch}\nrefs/heads/main")
    );
}

#[tokio::test]
async fn files_are_proposed_over_the_base() {
    let repository = Repository::new().await;
    std::fs::write(repository.path().join("run.sh"), "#!/bin/sh\n").unwrap();
    repository.git(&["add", "run.sh"]);
    repository.git(&["update-index", "--chmod=+x", "run.sh"]);
    std::os::unix::fs::symlink("README", repository.path().join("link")).unwrap();
    repository.git(&["add", "link"]);
    repository.git(&["commit", "-q", "-m", "More"]);
    let files = json!([
        {"path": "src/limit", "content": "20\n"}, {"path": "docs/new file", "content": "new\n"},
        {"path": "run.sh", "content": "#!/bin/sh\nexit\n"},
    ]);
    let made = repository
        .result("git.propose", json!({"title": "Raise the limit", "files": files}))
        .await;
    let branch = made["branch"].as_str().unwrap();
    assert_eq!(
        repository.git(&["show", &format!("{branch}:docs/new file")]),
        "new"
    );
    assert!(
        repository
            .git(&["ls-tree", branch, "run.sh"])
            .starts_with("100755"),
        "the mode stays"
    );
    assert_eq!(
        repository.git(&["rev-parse", &format!("{branch}^")]),
        repository.git(&["rev-parse", "HEAD"])
    );
    let propose = |files: Value| json!({"title": "x", "files": files});
    #[rustfmt::skip]
    let refused = [
        (json!({"title": "x"}),                                              "argument `/`: has to hold either `revert` or `files`"),
        (json!({"title": "x", "revert": "HEAD", "files": [{"path": "a", "content": ""}]}), "argument `/`: has to hold either `revert` or `files`"),
        (json!({"title": "x\ny", "revert": "HEAD"}),                         "argument `/title`: is not one line of text"),
        (json!({"title": "x", "revert": "HEAD~3"}),                          "argument `/revert`: is the first commit, which nothing goes back from"),
        (propose(json!([{"path": "README", "content": "hello\n"}])),         "argument `/`: changes nothing"),
        (propose(json!([{"path": "../x", "content": ""}])),                  "argument `/files/0/path`: is not a path inside the repository"),
        (propose(json!([{"path": ".git/hooks/x", "content": ""}])),          "argument `/files/0/path`: is not a path inside the repository"),
        (propose(json!([{"path": "link", "content": "x"}])),                 "argument `/files/0/path`: is a link, a directory or a submodule"),
        (propose(json!([{"path": "link/x", "content": "x"}])),               "argument `/files/0/path`: lies below something that is no directory"),
    ];
    for (arguments, expected) in refused {
        assert_eq!(
            repository
                .hands
                .propose("git.propose", &arguments)
                .await
                .unwrap_err(),
            expected,
            "{arguments}"
        );
    }
    let large: Vec<Value> = (0..3)
        .map(|n| json!({"path": format!("f{n}"), "content": "x\n".repeat(30_000)}))
        .collect();
    let refused = repository
        .hands
        .propose("git.propose", &propose(json!(large)))
        .await
        .unwrap_err();
    assert!(refused.contains("too long to be approved"), "{refused}");
}

#[tokio::test]
async fn a_revert_that_conflicts_is_refused_and_names_the_file() {
    let repository = Repository::new().await;
    std::fs::write(repository.path().join("src/limit"), "5\n").unwrap();
    repository.git(&["commit", "-q", "-am", "Change it again"]);
    let refused = repository
        .hands
        .propose("git.propose", &json!({"title": "x", "revert": "HEAD~2"}))
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        "argument `/revert`: conflicts with later changes in src/limit"
    );
}

#[tokio::test]
async fn a_branch_that_is_something_else_is_left_alone() {
    let repository = Repository::new().await;
    let action = repository
        .hands
        .propose("git.propose", &json!({"title": "x", "revert": "HEAD~1"}))
        .await
        .unwrap();
    let branch = action.arguments()["branch"].as_str().unwrap().to_owned();
    repository.git(&["branch", &branch, "HEAD~1"]);
    let made = repository.hands.act_on(action).await.unwrap();
    assert_eq!(
        line(&made),
        format!("Failure /branch: `{branch}` exists and is something else")
    );
    assert_eq!(
        repository.git(&["rev-parse", &branch]),
        repository.git(&["rev-parse", "HEAD~1"])
    );
}

#[tokio::test]
async fn nothing_that_a_repository_holds_is_run() {
    let repository = Repository::new().await;
    let trap = repository.directory.path().join("trapped");
    let script = repository.directory.path().join("trap.sh");
    std::fs::write(&script, format!("#!/bin/sh\ntouch {}\ncat\n", trap.display())).unwrap();
    Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    let script = script.to_str().unwrap();
    for key in [
        "core.pager",
        "core.fsmonitor",
        "diff.external",
        "diff.trap.textconv",
        "diff.trap.command",
        "filter.trap.clean",
        "filter.trap.smudge",
        "gpg.program",
        "core.sshCommand",
        "core.alternateRefsCommand",
    ] {
        repository.git(&["config", key, script]);
    }
    repository.git(&["config", "log.showSignature", "true"]);
    repository.git(&["config", "commit.gpgSign", "true"]);
    std::fs::write(
        repository.path().join(".git/info/attributes"),
        "* diff=trap filter=trap\n",
    )
    .unwrap();
    for hook in [
        "reference-transaction",
        "post-commit",
        "pre-commit",
        "post-index-change",
    ] {
        let path = repository.path().join(".git/hooks").join(hook);
        std::fs::copy(script, &path).unwrap();
    }
    repository.result("git.log", json!({"path": "src/limit"})).await;
    repository.result("git.show", json!({"commit": "HEAD~1"})).await;
    repository.result("git.diff", json!({"from": "HEAD~2"})).await;
    repository.result("git.blame", json!({"path": "README"})).await;
    repository
        .result("git.propose", json!({"title": "x", "revert": "HEAD~1"}))
        .await;
    repository
        .result(
            "git.propose",
            json!({"title": "y", "files": [{"path": "README", "content": "z\n"}]}),
        )
        .await;
    assert!(!trap.exists(), "something of the repository was run");
}

#[tokio::test]
async fn what_is_no_repository_gives_nothing_and_no_repository_above_it_is_taken() {
    let repository = Repository::new().await;
    let inside = repository.path().join("src");
    for path in [inside, repository.directory.path().join("none")] {
        let binding = json!({"type": "git", "name": "x", "path": path});
        let hands = Hands::on(json!({"environment": "staging", "tools": [binding]})).await;
        let said = hands.propose("git.log", &json!({})).await.unwrap_err();
        assert!(said.starts_with("cannot resolve `HEAD`: "), "{said}");
    }
    let spec =
        serde_json::from_value(json!({"tools": [{"type": "git", "name": "x", "path": "here"}]})).unwrap();
    let refused = runtime::tools::bind("t", &spec, &crate::world::supplied())
        .map(drop)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "spec.tools[0]: `here` is not an absolute path"
    );
}
