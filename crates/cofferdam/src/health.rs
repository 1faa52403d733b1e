//! Health: the worst of the parts, where a part that says nothing is not healthy.

use serde::Serialize;
use std::sync::Mutex;
use std::time::Duration;

/// A part that was not heard of for longer is degraded (S4-36).
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(60);

/// How a part is; the later the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Does what it should.
    Healthy,
    /// Does less than it should, or is silent.
    Degraded,
    /// Does not do what it should.
    Unhealthy,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `store`, `journal`, `runtime`, `triage`, `config`, `background`, `disk`.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// In words: what is known, what is wrong, what to do.
    pub detail: String,
}

/// All parts and the worst of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst.
    pub status: Status,
    /// In a fixed order.
    pub parts: Vec<Part>,
}

impl Report {
    /// Of these parts. None at all is not healthy.
    #[must_use]
    pub fn of(parts: Vec<Part>) -> Report {
        let status = parts
            .iter()
            .map(|part| part.status)
            .max()
            .unwrap_or(Status::Unhealthy);
        Report { status, parts }
    }
}

impl Part {
    /// Of any status.
    #[must_use]
    pub fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Part {
        Part {
            name,
            status,
            detail: detail.into(),
        }
    }
    /// A part that gave its last sign of life at `last` on the monotonic clock that now says `now`.
    #[must_use]
    pub fn alive(name: &'static str, last: Option<Duration>, now: Duration) -> Part {
        match last.map(|last| now.saturating_sub(last)) {
            None => Part::new(name, Status::Degraded, "no sign of life yet"),
            Some(age) if age > HEARTBEAT_MAX => Part::new(
                name,
                Status::Degraded,
                format!("no sign of life for {} s", age.as_secs()),
            ),
            Some(age) => Part::new(
                name,
                Status::Healthy,
                format!("last sign of life {} s ago", age.as_secs()),
            ),
        }
    }
}

/// What verification of the whole journal found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Not begun.
    #[default]
    Pending,
    /// Under way.
    Running {
        /// Entries read.
        done: u64,
        /// Of how many.
        all: u64,
    },
    /// Everything is as it was written.
    Passed {
        /// Entries read.
        entries: u64,
    },
    /// Something is not.
    Failed(String),
    /// It could not be done.
    Impossible(String),
}

impl Verification {
    /// As a part.
    #[must_use]
    pub fn part(&self) -> Part {
        let (status, detail) = match self {
            Verification::Pending => (Status::Healthy, "verification has not begun".to_owned()),
            Verification::Running { done, all } => {
                (Status::Healthy, format!("verifying: {done} of {all} entries"))
            }
            Verification::Passed { entries } => {
                (Status::Healthy, format!("{entries} entries verified at start"))
            }
            Verification::Failed(finding) => (
                Status::Unhealthy,
                format!("{finding}; acting has stopped. `cofferdam audit export --jsonl` saves what is good"),
            ),
            Verification::Impossible(why) => (Status::Degraded, format!("could not be verified: {why}")),
        };
        Part::new("journal", status, detail)
    }
}

/// A value that one task writes and `health` reads.
#[derive(Debug, Default)]
pub struct Cell<T>(Mutex<T>);

impl<T: Clone> Cell<T> {
    /// Replaces it.
    pub fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = value;
    }
    /// A copy.
    #[must_use]
    pub fn get(&self) -> T {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_is_the_whole_and_silence_is_not_health() {
        let s = Duration::from_secs;
        let table = [
            (
                "all well",
                vec![Part::alive("a", Some(s(100)), s(160))],
                Status::Healthy,
            ),
            (
                "one silent",
                vec![
                    Part::alive("a", Some(s(100)), s(161)),
                    Part::alive("b", Some(s(161)), s(161)),
                ],
                Status::Degraded,
            ),
            (
                "never heard of",
                vec![Part::alive("a", None, s(1))],
                Status::Degraded,
            ),
            (
                "one broken",
                vec![
                    Part::new("a", Status::Unhealthy, ""),
                    Part::alive("b", None, s(1)),
                ],
                Status::Unhealthy,
            ),
            ("no parts", vec![], Status::Unhealthy),
            (
                "an altered journal",
                vec![Verification::Failed("entry 7".into()).part()],
                Status::Unhealthy,
            ),
            (
                "an unread journal",
                vec![Verification::Impossible("x".into()).part()],
                Status::Degraded,
            ),
        ];
        for (name, parts, expected) in table {
            assert_eq!(Report::of(parts).status, expected, "{name}");
        }
    }
}
