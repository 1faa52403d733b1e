//! Which version of a policy is in force, for the record: a decision names the one that made it.

use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};

/// Where a policy in force came from, and which one of it is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PolicyVersion {
    /// Out of a signed bundle: `acme-security@7`.
    Bundle {
        /// Who signed it.
        publisher: String,
        /// The publisher's number of the bundle.
        version: u64,
    },
    /// A document by itself, how often it was applied since it is there: `generation 3`.
    Generation(u64),
}

impl PolicyVersion {
    /// Who signed it, of what came out of a bundle.
    pub fn publisher(&self) -> Option<&str> {
        match self {
            PolicyVersion::Bundle { publisher, .. } => Some(publisher),
            PolicyVersion::Generation(_) => None,
        }
    }

    /// Reads what [`Display`] writes.
    pub fn parse(text: &str) -> Option<PolicyVersion> {
        match (text.strip_prefix("generation "), text.split_once('@')) {
            (Some(number), _) => number.parse().ok().map(PolicyVersion::Generation),
            (None, Some((publisher, version))) => Some(PolicyVersion::Bundle {
                publisher: publisher.to_owned(),
                version: version.parse().ok()?,
            }),
            (None, None) => None,
        }
    }
}

impl Display for PolicyVersion {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            PolicyVersion::Bundle { publisher, version } => write!(f, "{publisher}@{version}"),
            PolicyVersion::Generation(number) => write!(f, "generation {number}"),
        }
    }
}

impl From<PolicyVersion> for String {
    fn from(version: PolicyVersion) -> String {
        version.to_string()
    }
}

impl TryFrom<String> for PolicyVersion {
    type Error = String;

    fn try_from(text: String) -> Result<PolicyVersion, String> {
        PolicyVersion::parse(&text)
            .ok_or_else(|| format!("`{text}` is not PUBLISHER@VERSION, nor `generation N`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        let bundle = PolicyVersion::Bundle {
            publisher: "acme-security".into(),
            version: 7,
        };
        let table = [
            ("acme-security@7", Some(bundle)),
            ("generation 3", Some(PolicyVersion::Generation(3))),
            ("generation x", None),
            ("acme@-1", None),
            ("acme", None),
        ];
        for (text, expected) in table {
            let read = PolicyVersion::parse(text);
            assert_eq!(read, expected, "{text}");
            if let Some(version) = read {
                assert_eq!(version.to_string(), text);
            }
        }
    }
}
