//! For how long a rule lets its approval step be waived, once somebody approved.

use serde::{Deserialize, Serialize};

/// Longest waiver, in seconds: a day.
const SECONDS_MAX: u32 = 24 * 60 * 60;

/// What a waiver reaches: written `session`, `30m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WaiverScope {
    /// The session of the action that was approved, until it ends.
    Session,
    /// Every session, for so many seconds.
    Seconds(u32),
}

impl TryFrom<String> for WaiverScope {
    type Error = String;

    fn try_from(text: String) -> Result<WaiverScope, String> {
        if text == "session" {
            return Ok(WaiverScope::Session);
        }
        let seconds = |unit: char, factor: u32| {
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(factor)
        };
        match seconds('h', 3600)
            .or_else(|| seconds('m', 60))
            .or_else(|| seconds('s', 1))
        {
            Some(seconds @ 1..=SECONDS_MAX) => Ok(WaiverScope::Seconds(seconds)),
            _ => Err(format!(
                "`{text}` is no scope of a waiver: use `session`, or a time of at most 24 hours like `30m` or `1h`"
            )),
        }
    }
}

impl From<WaiverScope> for String {
    fn from(scope: WaiverScope) -> String {
        scope.to_string()
    }
}

impl std::fmt::Display for WaiverScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WaiverScope::Session => f.write_str("session"),
            WaiverScope::Seconds(seconds) if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            WaiverScope::Seconds(seconds) if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            WaiverScope::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}
