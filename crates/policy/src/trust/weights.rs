//! How much each dimension counts for a score. A person tunes it in an agent's document (S3-B16); the entry that
//! applies the document tells it, so that a rebuild counts by the weights of then.

use super::Dimension;
use serde::{Deserialize, Serialize};

/// What all of them sum to, in hundredths.
const WHOLE: u32 = 100;

/// The weight of each dimension, in hundredths, 0 to 100 each. They sum to 100: see [`Weights::problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each dimension is documented where it is defined")]
pub struct Weights {
    pub policy: u8,
    pub security: u8,
    pub quality: u8,
    pub efficiency: u8,
    pub collaboration: u8,
}

impl Default for Weights {
    /// Those of the guide (S3-B2).
    fn default() -> Weights {
        Weights {
            policy: 25,
            security: 25,
            quality: 20,
            efficiency: 15,
            collaboration: 15,
        }
    }
}

// S3-B2: the weights sum to 1.
const _: () = assert!(25 + 25 + 20 + 15 + 15 == WHOLE);

impl Weights {
    /// All, in the order of [`Dimension::ALL`].
    pub fn all(&self) -> [u8; 5] {
        [
            self.policy,
            self.security,
            self.quality,
            self.efficiency,
            self.collaboration,
        ]
    }

    /// Each dimension with its weight, in hundredths.
    pub fn weighted(&self) -> impl Iterator<Item = (Dimension, i64)> {
        Dimension::ALL.into_iter().zip(self.all().map(i64::from))
    }

    /// Why these weigh nothing: they do not sum to 1.
    pub fn problem(&self) -> Option<String> {
        let sum: u32 = self.all().into_iter().map(u32::from).sum();
        (sum != WHOLE).then(|| {
            format!("the weights of the dimensions sum to {sum} hundredths, and have to sum to {WHOLE}")
        })
    }

    /// Whether nobody tuned them.
    pub(crate) fn are_default(&self) -> bool {
        *self == Weights::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_or_weigh_nothing() {
        let of = |[policy, security, quality, efficiency, collaboration]: [u8; 5]| Weights {
            policy,
            security,
            quality,
            efficiency,
            collaboration,
        };
        #[rustfmt::skip]
        let table = [
            (Weights::default().all(),  None),
            ([100, 0, 0, 0, 0],         None),
            ([20, 20, 20, 20, 20],      None),
            ([25, 25, 20, 15, 14],      Some(99)),
            ([25, 25, 20, 15, 16],      Some(101)),
            ([0; 5],                    Some(0)),
            ([255; 5],                  Some(1275)),
        ];
        for (weights, sum) in table {
            let expected = sum.map(|sum| {
                format!("the weights of the dimensions sum to {sum} hundredths, and have to sum to 100")
            });
            assert_eq!(of(weights).problem(), expected, "{weights:?}");
        }
    }

    #[test]
    fn they_are_written_by_name() {
        let read = |text: &str| serde_json::from_str::<Weights>(text).map_err(|error| error.to_string());
        let all = r#"{"policy": 40, "security": 20, "quality": 20, "efficiency": 10, "collaboration": 10}"#;
        assert_eq!(read(all).unwrap().all(), [40, 20, 20, 10, 10]);
        let some = read(r#"{"policy": 40}"#).unwrap_err();
        assert!(some.starts_with("missing field `security`"), "{some}");
        let other = read(&all.replace("quality", "speed")).unwrap_err();
        assert!(other.starts_with("unknown field `speed`"), "{other}");
    }
}
