//! The repository that the patient is deployed from, and what people do in it.
//!
//! Runs `git` with nobody's configuration and no hooks. Everything is local; nothing is pushed.

use crate::cli::failure::Failure;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// A local repository.
#[derive(Clone, Debug)]
pub struct Repository {
    path: PathBuf,
}

/// Who commits, and when: seconds since 1970, or now.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// Name; the address is made from it.
    pub name: &'a str,
    /// When; `None` for now.
    pub at: Option<i64>,
}

impl Repository {
    /// One that exists.
    #[must_use]
    pub fn at(path: &Path) -> Repository {
        Repository {
            path: path.to_path_buf(),
        }
    }

    /// A new one, with nothing in it.
    pub async fn create(path: &Path) -> Result<Repository, Failure> {
        std::fs::create_dir_all(path)?;
        let repository = Repository::at(path);
        repository
            .git(&["init", "--quiet", "--initial-branch=main"], None)
            .await?;
        Ok(repository)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit that is checked out.
    pub async fn head(&self) -> Result<String, Failure> {
        self.git(&["rev-parse", "--verify", "HEAD"], None).await
    }

    /// A file of a commit.
    pub async fn file_at(&self, commit: &str, file: &str) -> Result<String, Failure> {
        self.git(&["cat-file", "blob", &format!("{commit}:{file}")], None)
            .await
    }

    /// Writes a file and commits it.
    pub async fn commit(
        &self,
        file: &str,
        text: &str,
        title: &str,
        who: Signature<'_>,
    ) -> Result<String, Failure> {
        std::fs::write(self.path.join(file), text)?;
        self.git(&["add", "--", file], None).await?;
        self.git(&["commit", "--quiet", "--no-verify", "-m", title], Some(who))
            .await?;
        self.head().await
    }

    /// Merges a branch into the one that is checked out, as a person would.
    pub async fn merge(&self, branch: &str, title: &str, who: Signature<'_>) -> Result<String, Failure> {
        self.git(
            &[
                "merge",
                "--quiet",
                "--no-ff",
                "--no-verify",
                "-m",
                title,
                "--",
                branch,
            ],
            Some(who),
        )
        .await?;
        self.head().await
    }

    /// Reverts a commit by hand, as a person would.
    pub async fn revert(&self, commit: &str, who: Signature<'_>) -> Result<String, Failure> {
        self.git(&["revert", "--no-edit", commit], Some(who)).await?;
        self.head().await
    }

    async fn git(&self, arguments: &[&str], who: Option<Signature<'_>>) -> Result<String, Failure> {
        let mut command = Command::new("git");
        command
            .current_dir(&self.path)
            .args([
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "commit.gpgSign=false",
                "-c",
                "core.fsmonitor=false",
            ])
            .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
            .args(arguments)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_EDITOR", "true")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        if let Some(who) = who {
            let address = format!("{}@shop.invalid", who.name.to_lowercase().replace(' ', "."));
            command
                .env("GIT_AUTHOR_NAME", who.name)
                .env("GIT_AUTHOR_EMAIL", &address)
                .env("GIT_COMMITTER_NAME", who.name)
                .env("GIT_COMMITTER_EMAIL", &address);
            if let Some(at) = who.at {
                command
                    .env("GIT_AUTHOR_DATE", format!("@{at} +0000"))
                    .env("GIT_COMMITTER_DATE", format!("@{at} +0000"));
            }
        }
        let output = command.output().await.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::Failed("the demo needs `git`, which is not installed".into())
            }
            _ => Failure::from(e),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::Failed(format!(
            "`git {}` failed: {said}",
            arguments.join(" ")
        )))
    }
}
