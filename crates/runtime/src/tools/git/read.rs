//! The operations that only read: `git.log`, `git.diff`, `git.show`, `git.blame`.

use super::command::{Git, GitError, OUTPUT_BYTES_MAX, Repository, check_path};
use super::parse::{LOG_FORMAT, parse_blame, parse_log};
use crate::tools::report::{action, argument, cancelled, failure, put, success, text};
use crate::tools::schema;
use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, Effect, Idempotence, InFlight, Settlement, Timestamp, Verb};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest diff that is given, in bytes.
const DIFF_BYTES_MAX: usize = 256 * 1024;
/// Most lines of a blame.
const BLAME_LINES_MAX: u64 = 500;
/// Most files of one commit in a list.
const FILES_MAX: usize = 200;
/// Commits in a list unless asked otherwise.
const LOG_LIMIT: u64 = 20;

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Log,
    Diff,
    Show,
    Blame,
}

impl Operation {
    pub(crate) const ALL: [Operation; 4] =
        [Operation::Log, Operation::Diff, Operation::Show, Operation::Blame];

    pub(crate) fn verb(self) -> &'static str {
        match self {
            Operation::Log => "git.log",
            Operation::Diff => "git.diff",
            Operation::Show => "git.show",
            Operation::Blame => "git.blame",
        }
    }

    /// The arguments that name commits, and what they mean when they are left out.
    fn revisions(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Operation::Log | Operation::Blame => &[("revision", "HEAD")],
            Operation::Diff => &[("from", ""), ("to", "HEAD")],
            Operation::Show => &[("commit", "HEAD")],
        }
    }
}

/// One reading operation on one repository.
pub(crate) struct Read {
    verb: Verb,
    repository: Arc<Repository>,
    operation: Operation,
}

impl Read {
    pub(crate) fn new(verb: Verb, repository: Arc<Repository>, operation: Operation) -> Read {
        Read {
            verb,
            repository,
            operation,
        }
    }

    async fn judge(&self, arguments: &Value) -> Result<Action, ToolError> {
        schema::check(&self.schema(), arguments)?;
        if let Some(path) = text(arguments, "path") {
            check_path("/path", path)?;
        }
        let mut exact = arguments.clone();
        for key in ["since", "until"] {
            if let Some(said) = text(arguments, key) {
                let time = Timestamp::parse(said).ok_or_else(|| {
                    argument(&format!("/{key}"), &format!("`{said}` is not an RFC 3339 time"))
                })?;
                put(&mut exact, key, time.to_string());
            }
        }
        for (key, default) in self.operation.revisions() {
            let name = text(arguments, key).unwrap_or(default);
            put(
                &mut exact,
                key,
                self.repository.commit(&format!("/{key}"), name).await?,
            );
        }
        let (effect, idempotence) = (Effect::Read, Idempotence::Idempotent);
        action(
            &self.verb,
            &self.repository.resource,
            exact,
            &self.repository.environment,
            effect,
            idempotence,
        )
        .map(Action::local)
    }

    async fn act(&self, flight: &InFlight) -> Settlement {
        let arguments = flight.action().arguments();
        let done = match self.operation {
            Operation::Log => self.log(flight, arguments).await,
            Operation::Diff => self.diff(flight, arguments).await,
            Operation::Show => self.show(flight, arguments).await,
            Operation::Blame => self.blame(flight, arguments).await,
        };
        match done {
            Ok((result, summary)) => success(result, &summary, true),
            Err(GitError::Cancelled) => cancelled(Effect::Read),
            Err(error) => failure("git", &error.to_string(), Value::Null),
        }
    }

    fn git(&self, flight: &InFlight, arguments: Vec<String>) -> Git<'_> {
        self.repository.git(arguments).cancel(flight.cancel())
    }

    async fn log(&self, flight: &InFlight, arguments: &Value) -> Result<(Value, String), GitError> {
        let limit = arguments
            .get("limit")
            .and_then(Value::as_u64)
            .unwrap_or(LOG_LIMIT);
        let mut words = log_words(limit);
        // As a filter, so that one commit with an odd date does not end the walk.
        words.extend(seconds(arguments, "since").map(|s| format!("--since-as-filter=@{s} +0000")));
        words.extend(seconds(arguments, "until").map(|s| format!("--until=@{s} +0000")));
        words.push(text(arguments, "revision").unwrap_or_default().to_owned());
        let output = self.git(flight, with_path(words, arguments)).run().await?;
        if output.code != 0 {
            return Err(GitError::Failed {
                what: "log".to_owned(),
                said: output.stderr,
            });
        }
        let mut commits = parse_log(&output.stdout);
        if output.truncated {
            // The last one may have been cut.
            commits.pop();
        }
        for commit in &mut commits {
            commit.files.truncate(FILES_MAX);
        }
        let summary = format!("{} commits", commits.len());
        Ok((
            json!({"commits": commits, "truncated": output.truncated}),
            summary,
        ))
    }

    async fn diff(&self, flight: &InFlight, arguments: &Value) -> Result<(Value, String), GitError> {
        let part = |key: &str| text(arguments, key).unwrap_or_default().to_owned();
        let mut words = diff_words();
        words.extend([part("from"), part("to")]);
        let (diff, truncated) = self.patch(flight, with_path(words, arguments)).await?;
        let summary = format!("{} lines of diff", diff.lines().count());
        Ok((
            json!({"from": part("from"), "to": part("to"), "diff": diff, "truncated": truncated}),
            summary,
        ))
    }

    async fn show(&self, flight: &InFlight, arguments: &Value) -> Result<(Value, String), GitError> {
        let sha = text(arguments, "commit").unwrap_or_default().to_owned();
        let mut words = log_words(1);
        words.push(sha.clone());
        let listed = self.git(flight, words).output().await?;
        let Some(commit) = parse_log(&listed).into_iter().next() else {
            return Err(GitError::Failed {
                what: "show".to_owned(),
                said: "no such commit".to_owned(),
            });
        };
        let body = vec![
            "log".to_owned(),
            "-1".to_owned(),
            "--format=%B".to_owned(),
            sha.clone(),
        ];
        let message = self.git(flight, body).line().await?;
        let mut words = diff_words();
        words.extend([
            "--root".to_owned(),
            "--no-commit-id".to_owned(),
            "--diff-merges=first-parent".to_owned(),
            sha,
        ]);
        let (diff, truncated) = self.patch(flight, with_path(words, arguments)).await?;
        let summary = format!(
            "{} files, {} lines of diff",
            commit.files.len(),
            diff.lines().count()
        );
        let mut result = json!(commit);
        put(&mut result, "message", message);
        put(&mut result, "diff", diff);
        put(&mut result, "truncated", truncated);
        Ok((result, summary))
    }

    async fn blame(&self, flight: &InFlight, arguments: &Value) -> Result<(Value, String), GitError> {
        let line = |key: &str| arguments.get(key).and_then(Value::as_u64);
        let from = line("from_line").unwrap_or(1);
        let to = line("to_line")
            .unwrap_or(u64::MAX)
            .min(from.saturating_add(BLAME_LINES_MAX - 1))
            .max(from);
        let mut words: Vec<String> = ["blame", "--porcelain", "--no-textconv"]
            .map(str::to_owned)
            .to_vec();
        // `-L n,+m` takes a range that ends beyond the file; `-L n,m` does not.
        words.extend([
            format!("-L{from},+{}", to - from + 1),
            text(arguments, "revision").unwrap_or_default().to_owned(),
        ]);
        let output = self.git(flight, with_path(words, arguments)).output().await?;
        let lines = parse_blame(&output);
        let summary = format!("{} lines", lines.len());
        Ok((json!({"lines": lines, "path": text(arguments, "path")}), summary))
    }

    async fn patch(&self, flight: &InFlight, words: Vec<String>) -> Result<(String, bool), GitError> {
        let output = self.git(flight, words).run().await?;
        if output.code != 0 {
            return Err(GitError::Failed {
                what: "diff-tree".to_owned(),
                said: output.stderr,
            });
        }
        let cut = output
            .stdout
            .get(..DIFF_BYTES_MAX.min(OUTPUT_BYTES_MAX))
            .unwrap_or(&output.stdout);
        let truncated = output.truncated || cut.len() < output.stdout.len();
        Ok((String::from_utf8_lossy(cut).into_owned(), truncated))
    }
}

impl Tool for Read {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        match self.operation {
            Operation::Log => "Lists commits with author, time, title and changed files, the newest first.",
            Operation::Diff => "Shows what changed between two commits.",
            Operation::Show => "Shows one commit: message, files and diff.",
            Operation::Blame => "Tells for each line of a file which commit it comes from.",
        }
    }
    fn schema(&self) -> Value {
        let name = json!({"type": "string", "minLength": 1, "maxLength": 200});
        let path = json!({"type": "string", "minLength": 1, "maxLength": 512});
        let time = json!({"type": "string", "maxLength": 40});
        let line = json!({"type": "integer", "minimum": 1, "maximum": 10_000_000});
        let (properties, required) = match self.operation {
            Operation::Log => (
                json!({
                    "revision": name, "path": path, "since": time, "until": time,
                    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                }),
                json!([]),
            ),
            Operation::Diff => (json!({"from": name, "to": name, "path": path}), json!(["from"])),
            Operation::Show => (json!({"commit": name, "path": path}), json!(["commit"])),
            Operation::Blame => (
                json!({"revision": name, "path": path, "from_line": line, "to_line": line}),
                json!(["path"]),
            ),
        };
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(self.judge(arguments))
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(self.act(flight))
    }
}

fn log_words(limit: u64) -> Vec<String> {
    let fixed = [
        "log",
        "-z",
        "--numstat",
        "--no-renames",
        "--diff-merges=first-parent",
        "--no-ext-diff",
        "--no-textconv",
    ];
    let mut words: Vec<String> = fixed.map(str::to_owned).to_vec();
    words.extend([LOG_FORMAT.to_owned(), format!("--max-count={limit}")]);
    words
}

fn diff_words() -> Vec<String> {
    [
        "diff-tree",
        "-p",
        "-r",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--no-renames",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn with_path(mut words: Vec<String>, arguments: &Value) -> Vec<String> {
    words.push("--".to_owned());
    words.extend(text(arguments, "path").map(str::to_owned));
    words
}

fn seconds(arguments: &Value, key: &str) -> Option<i64> {
    text(arguments, key)
        .and_then(Timestamp::parse)
        .map(|time| time.ms().div_euclid(1000))
}
