//! `git.propose`: a commit on a branch of its own, for a person to merge.
//!
//! Invariants:
//! - **What is judged is what is made**: the action holds the base commit, the tree and the whole diff;
//!   `run` makes that tree or nothing.
//! - **Only a new branch below `cofferdam/` moves**: no push, no work tree, no branch that exists.

use super::command::{GitError, Repository, check_path};
use crate::tools::report::{action, argument, cancelled, ended, failure, put, success, text};
use crate::tools::schema;
use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, Effect, Idempotence, InFlight, Outcome, Settlement, Verb, canonical};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

/// Longest diff that can be proposed, in bytes: whoever approves has to see all of it.
const DIFF_BYTES_MAX: usize = 128 * 1024;
/// Most files of a proposal.
const FILES_MAX: u64 = 50;
/// Longest content of one file, in characters.
const CONTENT_CHARS_MAX: u64 = 64 * 1024;
/// Digits of a commit in a line for people.
const COMMIT_SHOWN: usize = 12;
/// Who commits. `.invalid` never receives mail (RFC 2606).
const EMAIL: &str = "agent@cofferdam.invalid";

/// `git.propose` on one repository.
pub(crate) struct Propose {
    verb: Verb,
    repository: Arc<Repository>,
}

/// Why no tree could be built.
enum Unbuilt {
    /// The proposal itself is at fault.
    Argument(String, String),
    /// Git is.
    Git(GitError),
}

impl From<GitError> for Unbuilt {
    fn from(error: GitError) -> Unbuilt {
        Unbuilt::Git(error)
    }
}

impl Propose {
    pub(crate) fn new(verb: Verb, repository: Arc<Repository>) -> Propose {
        Propose { verb, repository }
    }

    async fn judge(&self, arguments: &Value) -> Result<Action, ToolError> {
        schema::check(&self.schema(), arguments)?;
        if arguments.get("revert").is_some() == arguments.get("files").is_some() {
            return Err(argument("/", "has to hold either `revert` or `files`"));
        }
        let title = text(arguments, "title").unwrap_or_default();
        if title.chars().any(char::is_control) || title.trim().is_empty() {
            return Err(argument("/title", "is not one line of text"));
        }
        let mut exact = self.resolved(arguments, title).await?;
        let scratch = self.scratch().await.map_err(unresolved)?;
        let objects = [
            (
                "GIT_OBJECT_DIRECTORY",
                scratch.directory.path().join("objects").into_os_string(),
            ),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES", scratch.alternate.clone()),
        ];
        let tree = self
            .tree(&exact, scratch.directory.path(), &objects)
            .await
            .map_err(|unbuilt| match unbuilt {
                Unbuilt::Argument(place, what) => argument(&place, &what),
                Unbuilt::Git(error) => unresolved(error),
            })?;
        let diff = self
            .diff(text(&exact, "base").unwrap_or_default(), &tree, &objects)
            .await
            .map_err(unresolved)?;
        let diff = whole(diff)?;
        put(&mut exact, "tree", tree);
        put(&mut exact, "diff", diff);
        let digest = canonical::digest(&exact).map_err(|error| argument("/", &error.to_string()))?;
        let digest: String = canonical::hex(&digest).chars().take(8).collect();
        put(
            &mut exact,
            "branch",
            format!("cofferdam/{}-{digest}", slug(title)),
        );
        let repository = &self.repository;
        action(
            &self.verb,
            &repository.resource,
            exact,
            &repository.environment,
            Effect::Write,
            Idempotence::Idempotent,
        )
        .map(Action::local)
    }

    /// The arguments with commits for names.
    async fn resolved(&self, arguments: &Value, title: &str) -> Result<Value, ToolError> {
        let base = self
            .repository
            .commit("/base", text(arguments, "base").unwrap_or("HEAD"))
            .await?;
        let mut exact =
            json!({"base": base, "title": title, "message": text(arguments, "message").unwrap_or_default()});
        match text(arguments, "revert") {
            Some(name) => put(
                &mut exact,
                "revert",
                self.repository.commit("/revert", name).await?,
            ),
            None => put(
                &mut exact,
                "files",
                arguments.get("files").cloned().unwrap_or_default(),
            ),
        }
        Ok(exact)
    }

    async fn act(&self, flight: &InFlight) -> Settlement {
        match self.make(flight).await {
            Ok((commit, already)) => {
                let arguments = flight.action().arguments();
                let branch = text(arguments, "branch").unwrap_or_default();
                let result = json!({
                    "branch": branch, "commit": commit, "base": arguments.get("base"), "tree": arguments.get("tree"),
                    "diff": arguments.get("diff"), "already": already,
                });
                let short: String = commit.chars().take(COMMIT_SHOWN).collect();
                success(result, &format!("{branch} at {short}"), false)
            }
            Err(Unbuilt::Argument(place, what)) => {
                failure("not_made", &format!("{place}: {what}"), Value::Null)
            }
            Err(Unbuilt::Git(GitError::Cancelled)) => cancelled(Effect::Write),
            Err(Unbuilt::Git(error @ GitError::Timeout)) => {
                ended(Outcome::Uncertain, "timeout", &error.to_string(), Value::Null)
            }
            Err(Unbuilt::Git(error)) => failure("git", &error.to_string(), Value::Null),
        }
    }

    /// Makes the commit and its branch; the bool says that they were there already.
    async fn make(&self, flight: &InFlight) -> Result<(String, bool), Unbuilt> {
        let arguments = flight.action().arguments();
        let part = |key: &str| text(arguments, key).unwrap_or_default();
        let (base, tree, branch) = (part("base"), part("tree"), part("branch"));
        let repository = &self.repository;
        let reference = format!("refs/heads/{branch}");
        let existing = repository
            .git(["rev-parse", "--verify", "--quiet", &reference])
            .run()
            .await?;
        if existing.code == 0 {
            let commit = String::from_utf8_lossy(&existing.stdout).trim().to_owned();
            let shape = repository
                .git(["log", "-1", "--format=%T %P", &commit])
                .line()
                .await?;
            return if shape == format!("{tree} {base}") {
                Ok((commit, true))
            } else {
                Err(fault(
                    "/branch",
                    &format!("`{branch}` exists and is something else"),
                ))
            };
        }
        let head = repository.git(["symbolic-ref", "--quiet", "HEAD"]).run().await?;
        if String::from_utf8_lossy(&head.stdout).trim() == reference {
            return Err(fault("/branch", &format!("`{branch}` is checked out")));
        }
        let scratch = tempfile::tempdir().map_err(GitError::NotRun)?;
        if self.tree(arguments, scratch.path(), &[]).await? != tree {
            return Err(fault("/tree", "is not what the change gives now"));
        }
        let commit = repository
            .git(["commit-tree", "--no-gpg-sign", tree, "-p", base, "-F", "-"])
            .env(
                "GIT_AUTHOR_NAME",
                format!("Cofferdam agent {}", flight.actor().name),
            )
            .env("GIT_AUTHOR_EMAIL", EMAIL)
            .env("GIT_COMMITTER_NAME", "Cofferdam")
            .env("GIT_COMMITTER_EMAIL", EMAIL)
            .input(message(part("title"), part("message"), flight))
            .cancel(flight.cancel())
            .line()
            .await?;
        let nothing = "0".repeat(commit.len());
        if flight.cancel().is_cancelled() {
            return Err(GitError::Cancelled.into());
        }
        let update = [
            "update-ref",
            "--no-deref",
            "-m",
            "cofferdam: proposed",
            &reference,
            &commit,
            &nothing,
        ];
        repository.git(update).output().await?;
        Ok((commit, false))
    }

    /// Builds the tree that `exact` means. Objects go where `objects` says, scratch files below `scratch`.
    async fn tree(
        &self,
        exact: &Value,
        scratch: &Path,
        objects: &[(&'static str, OsString)],
    ) -> Result<String, Unbuilt> {
        let base = text(exact, "base").unwrap_or_default();
        match text(exact, "revert") {
            Some(commit) => self.reverted(base, commit, objects).await,
            None => self.edited(base, exact, scratch, objects).await,
        }
    }

    /// Merges what leads from the commit back to its parent onto the base.
    async fn reverted(
        &self,
        base: &str,
        commit: &str,
        objects: &[(&'static str, OsString)],
    ) -> Result<String, Unbuilt> {
        let parent = format!("{commit}^1");
        let parent = self
            .repository
            .git(["rev-parse", "--verify", "--quiet", &parent])
            .run()
            .await?;
        if parent.code != 0 {
            return Err(fault(
                "/revert",
                "is the first commit, which nothing goes back from",
            ));
        }
        let parent = String::from_utf8_lossy(&parent.stdout).trim().to_owned();
        let merge_base = format!("--merge-base={commit}");
        let words = [
            "merge-tree",
            "--write-tree",
            "-z",
            "--name-only",
            "--no-messages",
            &merge_base,
            base,
            &parent,
        ];
        let merged = self.repository.git(words).envs(objects).run().await?;
        let stdout = String::from_utf8_lossy(&merged.stdout).into_owned();
        let mut parts = stdout.split('\0').filter(|part| !part.is_empty());
        let tree = parts.next().unwrap_or_default().trim().to_owned();
        match merged.code {
            0 => Ok(tree),
            1 => {
                let files: Vec<&str> = parts.take(5).collect();
                Err(fault(
                    "/revert",
                    &format!("conflicts with later changes in {}", files.join(", ")),
                ))
            }
            _ => Err(GitError::Failed {
                what: "merge-tree".to_owned(),
                said: merged.stderr,
            }
            .into()),
        }
    }

    /// Puts the given files over the base.
    async fn edited(
        &self,
        base: &str,
        exact: &Value,
        scratch: &Path,
        objects: &[(&'static str, OsString)],
    ) -> Result<String, Unbuilt> {
        let mut environment = objects.to_vec();
        environment.push(("GIT_INDEX_FILE", scratch.join("index").into_os_string()));
        let run = |words: Vec<String>| self.repository.git(words).envs(&environment);
        run(vec!["read-tree".to_owned(), base.to_owned()])
            .output()
            .await?;
        for (index, file) in exact
            .get("files")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
        {
            let place = format!("/files/{index}/path");
            let (path, content) = (
                text(file, "path").unwrap_or_default(),
                text(file, "content").unwrap_or_default(),
            );
            check_path(&place, path).map_err(|_| fault(&place, "is not a path inside the repository"))?;
            let listed = ["ls-files", "--stage", "-z", "--", path]
                .map(str::to_owned)
                .to_vec();
            let listed = run(listed).output().await?;
            let mode = match String::from_utf8_lossy(&listed).get(..6) {
                None => "100644",
                Some("100644") if !below(&listed) => "100644",
                Some("100755") if !below(&listed) => "100755",
                Some(_) => return Err(fault(&place, "is a link, a directory or a submodule")),
            };
            let blob = ["hash-object", "-w", "--no-filters", "--stdin"]
                .map(str::to_owned)
                .to_vec();
            let blob = run(blob).input(content).line().await?;
            let entry = format!("{mode},{blob},{path}");
            let add = vec![
                "update-index".to_owned(),
                "--add".to_owned(),
                "--cacheinfo".to_owned(),
                entry,
            ];
            run(add)
                .output()
                .await
                .map_err(|_| fault(&place, "lies below something that is no directory"))?;
        }
        Ok(run(vec!["write-tree".to_owned()]).line().await?)
    }

    async fn diff(
        &self,
        base: &str,
        tree: &str,
        objects: &[(&'static str, OsString)],
    ) -> Result<Vec<u8>, GitError> {
        let words = [
            "diff-tree",
            "-p",
            "-r",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--no-renames",
        ];
        let words = words.into_iter().chain(["--full-index", "--binary", base, tree]);
        self.repository.git(words).envs(objects).output().await
    }

    async fn scratch(&self) -> Result<Scratch, GitError> {
        let directory = tempfile::tempdir().map_err(GitError::NotRun)?;
        std::fs::create_dir(directory.path().join("objects")).map_err(GitError::NotRun)?;
        let words = ["rev-parse", "--path-format=absolute", "--git-path", "objects"];
        let path = self.repository.git(words).line().await?;
        // In quotes, since a bare path ends at a colon.
        let alternate = format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")).into();
        Ok(Scratch { directory, alternate })
    }
}

/// Where judging builds: objects of its own, over those of the repository.
struct Scratch {
    directory: tempfile::TempDir,
    alternate: OsString,
}

impl Tool for Propose {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        "Proposes a change as a commit on a new branch, for a person to merge: a revert of a commit, or new \
         contents of files. Never touches the checked-out branch, never pushes."
    }
    fn schema(&self) -> Value {
        let name = json!({"type": "string", "minLength": 1, "maxLength": 200});
        json!({
            "type": "object", "additionalProperties": false, "required": ["title"],
            "properties": {
                "base": name,
                "title": {"type": "string", "minLength": 1, "maxLength": 100},
                "message": {"type": "string", "maxLength": 4000},
                "revert": name,
                "files": {"type": "array", "minItems": 1, "maxItems": FILES_MAX, "items": {
                    "type": "object", "additionalProperties": false, "required": ["path", "content"],
                    "properties": {
                        "path": {"type": "string", "minLength": 1, "maxLength": 512},
                        "content": {"type": "string", "maxLength": CONTENT_CHARS_MAX},
                    },
                }},
            },
        })
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(self.judge(arguments))
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(self.act(flight))
    }
}

/// A diff that whoever approves can read to its end.
fn whole(diff: Vec<u8>) -> Result<String, ToolError> {
    if diff.is_empty() {
        return Err(argument("/", "changes nothing"));
    }
    if diff.len() > DIFF_BYTES_MAX {
        let what = format!("makes a diff of more than {DIFF_BYTES_MAX} bytes, too long to be approved");
        return Err(argument("/", &what));
    }
    String::from_utf8(diff).map_err(|_| argument("/", "makes a diff that is not UTF-8 text"))
}

fn message(title: &str, message: &str, flight: &InFlight) -> String {
    let body = if message.trim().is_empty() {
        String::new()
    } else {
        format!("{}\n\n", message.trim())
    };
    format!(
        "{title}\n\n{body}Cofferdam-Session: {}\nCofferdam-Entry: {}\n",
        if flight.session().is_empty() {
            "none"
        } else {
            flight.session()
        },
        flight.entry()
    )
}

/// Whether `git ls-files --stage -z` listed more than one file: then its path is a directory.
fn below(listed: &[u8]) -> bool {
    listed.iter().filter(|b| **b == 0).count() != 1
}

/// Lower-case words joined by `-`, at most 40 characters: part of a branch name.
fn slug(title: &str) -> String {
    let mapped: String = title
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let words: Vec<&str> = mapped.split('-').filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(40).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() {
        "change".to_owned()
    } else {
        slug.to_owned()
    }
}

fn unresolved(error: GitError) -> ToolError {
    ToolError::Unresolved {
        name: "the change".to_owned(),
        reason: error.to_string(),
    }
}

fn fault(place: &str, what: &str) -> Unbuilt {
    Unbuilt::Argument(place.to_owned(), what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        #[rustfmt::skip]
        let table = [
            ("Revert \"Break it\"",  "revert-break-it"),
            ("../../x..lock",        "x-lock"),
            ("éé",                   "change"),
            ("a  --  b",             "a-b"),
            ("-@{0}~^:?*[\\",        "0"),
        ];
        for (title, expected) in table {
            assert_eq!(slug(title), expected);
        }
        assert_eq!(slug(&"word ".repeat(20)).len(), 39);
    }
}
