//! What has entered a session, as labels: what it read is what it may leak or be led by.
//!
//! Labels are only ever added to a session. This module decides nothing: rules do.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taint {
    /// Text from outside that a model must not trust.
    Untrusted,
    /// Secrets.
    Secrets,
    /// Data of customers.
    CustomerData,
}

/// A set of labels.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Taints(u8);

impl Taint {
    /// Every label, in the order in which they are told.
    pub const ALL: [Taint; 3] = [Taint::Untrusted, Taint::Secrets, Taint::CustomerData];

    /// `untrusted`, `secrets`, `customer_data`.
    pub fn as_str(self) -> &'static str {
        match self {
            Taint::Untrusted => "untrusted",
            Taint::Secrets => "secrets",
            Taint::CustomerData => "customer_data",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Taint::Untrusted => 1,
            Taint::Secrets => 2,
            Taint::CustomerData => 4,
        }
    }
}

impl Taints {
    /// No label.
    pub const NONE: Taints = Taints(0);
    /// [`Taint::Untrusted`] alone.
    pub const UNTRUSTED: Taints = Taints(1);

    /// Every label.
    pub const ALL: Taints = Taints(7);

    /// Of these labels.
    pub fn of(labels: &[Taint]) -> Taints {
        Taints(labels.iter().fold(0, |bits, label| bits | label.bit()))
    }

    /// Whether it has the label.
    pub fn has(self, label: Taint) -> bool {
        self.0 & label.bit() != 0
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self == Taints::NONE
    }

    /// The same, as serde asks.
    pub fn is_none(&self) -> bool {
        self.is_empty()
    }

    /// The labels of both.
    #[must_use]
    pub fn and(self, other: Taints) -> Taints {
        Taints(self.0 | other.0)
    }

    /// Its labels, in order.
    pub fn labels(self) -> impl Iterator<Item = Taint> {
        Taint::ALL.into_iter().filter(move |label| self.has(*label))
    }
}

impl std::fmt::Debug for Taints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.labels().map(Taint::as_str)).finish()
    }
}

impl Serialize for Taints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.labels().map(Taint::as_str))
    }
}

impl<'de> Deserialize<'de> for Taints {
    /// A list of labels; or, as entries of before had it, whether there was untrusted text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Taints, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Flag(bool),
            Labels(Vec<String>),
        }
        let labels = match Written::deserialize(deserializer)? {
            Written::Flag(true) => return Ok(Taints::UNTRUSTED),
            Written::Flag(false) => return Ok(Taints::NONE),
            Written::Labels(labels) => labels,
        };
        labels.iter().try_fold(Taints::NONE, |all, text| {
            let label = Taint::ALL.into_iter().find(|label| label.as_str() == text);
            let unknown = || {
                serde::de::Error::custom(format!(
                    "`{text}` is not a label: use untrusted, secrets or customer_data"
                ))
            };
            Ok(all.and(Taints::of(&[label.ok_or_else(unknown)?])))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_read_as_they_are_written() {
        #[rustfmt::skip]
        let table = [
            // what is read                           what it is
            (json!([]),                               Ok("[]")),
            (json!(false),                            Ok("[]")),
            (json!(true),                             Ok(r#"["untrusted"]"#)),
            (json!(["customer_data", "untrusted"]),   Ok(r#"["untrusted","customer_data"]"#)),
            (json!(["secrets", "secrets"]),           Ok(r#"["secrets"]"#)),
            (json!(["secret"]),                       Err("`secret` is not a label: use untrusted, secrets or customer_data")),
        ];
        for (read, expected) in table {
            let found = serde_json::from_value::<Taints>(read.clone());
            let told = found.map(|taints| serde_json::to_string(&taints).unwrap());
            let told = told.map_err(|error| error.to_string());
            assert_eq!(told.as_deref().map_err(String::as_str), expected, "{read}");
        }
    }
}
