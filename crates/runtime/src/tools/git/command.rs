//! Runs git as an argument vector, with nothing of the surroundings but `PATH`.

use crate::tools::report::argument;
use gate::ToolError;
use policy::{Cancel, Environment};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How long one run of git may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Most output of one run that is read, in bytes.
pub(super) const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Longest name of a revision.
const REVISION_BYTES_MAX: usize = 200;

/// A repository under the name that its resource has.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// `repository/NAME`.
    pub(crate) resource: String,
    pub(crate) environment: Environment,
    path: PathBuf,
}

/// What a run of git gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) code: i32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
    /// Whether there was more output than is read.
    pub(super) truncated: bool,
}

/// Why git gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    #[error("cannot run git: {0}")]
    NotRun(std::io::Error),
    #[error("git took longer than {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("cut off by a stop")]
    Cancelled,
    #[error("git {what}: {said}")]
    Failed { what: String, said: String },
}

/// One run of git, being put together.
pub(super) struct Git<'a> {
    repository: &'a Repository,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    input: Option<Vec<u8>>,
    cancel: Option<Cancel>,
}

impl Repository {
    /// Whether there is a repository is seen when it is used: one that is away for a while makes its own
    /// calls fail, and must not make a whole configuration invalid at the next start.
    pub(crate) fn new(resource: String, environment: Environment, path: &Path) -> Result<Repository, String> {
        if !path.is_absolute() {
            return Err(format!("`{}` is not an absolute path", path.display()));
        }
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Repository {
            resource,
            environment,
            path,
        })
    }

    /// A run with these arguments.
    pub(super) fn git<I: Into<OsString>>(&self, arguments: impl IntoIterator<Item = I>) -> Git<'_> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Git {
            repository: self,
            arguments,
            environment: Vec::new(),
            input: None,
            cancel: None,
        }
    }

    /// The commit that `name` means now. `place` is the argument it came in.
    pub(super) async fn commit(&self, place: &str, name: &str) -> Result<String, ToolError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._/~^@-+".contains(&b);
        if name.is_empty()
            || name.len() > REVISION_BYTES_MAX
            || name.starts_with('-')
            || !name.bytes().all(fits)
        {
            return Err(argument(place, "is not the name of a commit, branch or tag"));
        }
        let revision = format!("{name}^{{commit}}");
        let run = self
            .git(["rev-parse", "--verify", "--quiet", "--end-of-options", &revision])
            .run()
            .await;
        let unresolved = |reason: String| ToolError::Unresolved {
            name: name.to_owned(),
            reason,
        };
        let output = run.map_err(|error| unresolved(error.to_string()))?;
        let sha = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.code == 0 && is_sha(&sha) {
            Ok(sha)
        } else {
            Err(unresolved("no such commit".to_owned()))
        }
    }
}

impl Git<'_> {
    /// Sets a variable.
    pub(super) fn env(mut self, key: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((key, value.into()));
        self
    }

    /// Sets several variables.
    pub(super) fn envs(mut self, all: &[(&'static str, OsString)]) -> Self {
        self.environment.extend(all.iter().cloned());
        self
    }

    /// Gives standard input.
    pub(super) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Kills git when this turns.
    pub(super) fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Runs and demands success; gives standard output, which has to be complete.
    pub(super) async fn output(self) -> Result<Vec<u8>, GitError> {
        let what = self
            .arguments
            .first()
            .map(|a| a.to_string_lossy().into_owned())
            .unwrap_or_default();
        let output = self.run().await?;
        match (output.code, output.truncated) {
            (0, false) => Ok(output.stdout),
            (0, true) => Err(GitError::Failed {
                what,
                said: format!("gave more than {OUTPUT_BYTES_MAX} bytes"),
            }),
            (code, _) => Err(GitError::Failed {
                what,
                said: format!("{} (exit code {code})", output.stderr),
            }),
        }
    }

    /// As [`Git::output`], one line of text.
    pub(super) async fn line(self) -> Result<String, GitError> {
        Ok(String::from_utf8_lossy(&self.output().await?).trim().to_owned())
    }

    /// Runs, whatever the exit code.
    pub(super) async fn run(self) -> Result<Output, GitError> {
        let cancel = self.cancel.clone();
        let work = tokio::time::timeout(TIMEOUT, self.exchange());
        match cancel {
            None => work.await.map_err(|_| GitError::Timeout)?,
            Some(cancel) => tokio::select! {
                done = work => done.map_err(|_| GitError::Timeout)?,
                () = cancel.cancelled() => Err(GitError::Cancelled),
            },
        }
    }

    async fn exchange(self) -> Result<Output, GitError> {
        let mut command = hardened(&self.repository.path);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)));
        let mut child = command.spawn().map_err(GitError::NotRun)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = self.input.unwrap_or_default();
        let write = async move {
            if let Some(mut stdin) = stdin {
                // Git may close its input early; its exit code says whether that was right.
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let mut out = Vec::new();
        let mut said = Vec::new();
        let ((), read, _) = tokio::join!(
            write,
            bounded(stdout, &mut out, OUTPUT_BYTES_MAX),
            bounded(stderr, &mut said, 4096)
        );
        let truncated = read.map_err(GitError::NotRun)?;
        if truncated {
            // Closing the pipe ends most commands; the rest is killed.
            let _ = child.start_kill();
        }
        let status = child.wait().await.map_err(GitError::NotRun)?;
        let code = if truncated { 0 } else { status.code().unwrap_or(-1) };
        let stderr: String = String::from_utf8_lossy(&said).trim().chars().take(300).collect();
        Ok(Output {
            code,
            stdout: out,
            stderr,
            truncated,
        })
    }
}

/// Reads up to `limit` bytes, and says whether there was more.
async fn bounded(
    pipe: Option<impl tokio::io::AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    limit: usize,
) -> std::io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    pipe.take(limit as u64 + 1).read_to_end(into).await?;
    let more = into.len() > limit;
    into.truncate(limit);
    Ok(more)
}

/// Settings that win over those of the repository: nothing that it names is run, nothing is fetched.
const SETTINGS: [&str; 11] = [
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.quotePath=false",
    "core.alternateRefsCommand=",
    "diff.external=",
    "protocol.allow=never",
    "log.showSignature=false",
    "submodule.recurse=false",
    "gc.auto=0",
];

/// Variables, the only ones besides `PATH`.
const VARIABLES: [(&str, &str); 8] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("HOME", "/nonexistent"),
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
];

fn hardened(path: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().envs(VARIABLES);
    if let Some(search) = std::env::var_os("PATH") {
        command.env("PATH", search);
    }
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    let mut safe = OsString::from("safe.directory=");
    safe.push(path);
    command.arg("-c").arg(safe);
    command.args([
        "--no-optional-locks",
        "--no-replace-objects",
        "--literal-pathspecs",
        "--no-pager",
    ]);
    // Named, so that git looks for no repository in the directories above.
    let inner = path.join(".git");
    let repository = if inner.exists() { inner } else { path.to_owned() };
    command.arg("-C").arg(path).arg("--git-dir").arg(repository);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Whether `text` is an object name in full.
pub(super) fn is_sha(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Checks a path inside a repository: relative, plain, no way up, nothing of git's own.
pub(super) fn check_path(place: &str, path: &str) -> Result<(), ToolError> {
    let plain = !path.is_empty() && path.len() <= 512 && !path.starts_with(['-', '/', ':']);
    let sound = path.chars().all(|c| !c.is_control() && c != '\\');
    let parts = path.split('/').all(|part| {
        let lower = part.to_ascii_lowercase();
        !part.is_empty() && part != "." && part != ".." && lower != ".git" && !lower.starts_with("git~")
    });
    if plain && sound && parts {
        Ok(())
    } else {
        Err(argument(place, "is not a path inside the repository"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in ["a", "src/main.rs", "a b/c", "é", ".github/x", "a..b", "x-"] {
            assert!(check_path("/path", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "/a",
            ":(top)a",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            ".git",
            ".git/config",
            "sub/.GIT/config",
            "GIT~1/x",
            "a\\b",
            "a\0b",
            "a\nb",
        ] {
            assert!(check_path("/path", bad).is_err(), "{bad:?}");
        }
    }
}
