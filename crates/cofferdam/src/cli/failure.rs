//! Why a command did not do what it was asked, and the exit code that says so.

use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 3: no answer.
    #[error("cannot reach the server at `{server}`; is `cofferdam up` running there?")]
    Unreachable {
        /// Which one.
        server: String,
        /// What the system said.
        #[source]
        source: reqwest::Error,
    },
    /// Exit code 3: somebody answered, and no connection that is safe came of it.
    #[error("no safe connection to `{server}`: {why}")]
    Insecure {
        /// Which one.
        server: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// Exit code 1: the server said no.
    #[error("{title}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// In short.
        title: String,
        /// In words, with every place that there is.
        detail: String,
        /// The same one by one: where in the request as a JSON pointer, and what is wrong there.
        problems: Vec<(String, String)>,
    },
    /// Exit code 2: the command line does not make sense.
    #[error("{0}")]
    Misuse(String),
    /// Exit code 1: something else went wrong, said in words.
    #[error("{0}")]
    Failed(String),
    /// Exit code 1: what went wrong was printed already.
    #[error("it failed")]
    Told,
    /// Exit code 0: whoever read our output has seen enough.
    #[error("the reader of the output is gone")]
    Closed,
    /// Exit code 1.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// Which exit code tells it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Closed => ExitCode::SUCCESS,
            Failure::Refused { .. } | Failure::Failed(_) | Failure::Told | Failure::Other(_) => {
                ExitCode::from(1)
            }
            Failure::Misuse(_) => ExitCode::from(2),
            Failure::Unreachable { .. } | Failure::Insecure { .. } => ExitCode::from(3),
        }
    }

    /// Every message of the chain, from the outermost to the cause; empty when all was said.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        if matches!(self, Failure::Closed | Failure::Told) {
            return Vec::new();
        }
        let mut messages = vec![self.to_string()];
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            messages.push(error.to_string());
            cause = error.source();
        }
        messages
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Other(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let table = [
            (
                "a closed pipe is a quiet success",
                Failure::from(broken),
                ExitCode::SUCCESS,
                0,
            ),
            (
                "another error of writing fails",
                Failure::from(denied),
                ExitCode::from(1),
                1,
            ),
            ("misuse", Failure::Misuse("no".into()), ExitCode::from(2), 1),
            (
                "what was told is not told twice",
                Failure::Told,
                ExitCode::from(1),
                0,
            ),
        ];
        for (name, failure, code, messages) in table {
            assert_eq!(failure.exit_code(), code, "{name}");
            assert_eq!(failure.messages().len(), messages, "{name}");
        }
    }
}
