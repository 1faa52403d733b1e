//! What other models call how far an agent may go alone, each as one of our levels (SX-1): so that what was written for
//! them loads. Where a word says less than a level does, it is the lower one.
//!
//! Invariants:
//! - **Total**: every word of a model has a level. A word that is not a model's has none, and is refused.
//! - **Monotone**: along a model's order no level is lower than the one before it.

use super::Level;

/// A model by the name that documents give it, and its words in rising order.
type Model = (&'static str, &'static [(&'static str, Level)]);

/// `guide`: tiers of tool sets (observe, recommend, draft, sandbox, gated production). `thesis`: what an agent may write, from
/// nothing over test environments to everything. `ch4`: autonomy 1 to 5 of the trust equation. `orb`: the four
/// levels of its later form, which ends below unattended. `atf`: by seniority. `ring`: privilege, 0 the
/// highest, which no agent gets.
#[rustfmt::skip]
pub(super) const MODELS: &[Model] = &[
    ("guide",  &[("0", Level::L0), ("1", Level::L1), ("2", Level::L2), ("3", Level::L3), ("4", Level::L4)]),
    ("thesis", &[("0", Level::L0), ("1", Level::L2), ("2", Level::L2), ("3", Level::L3), ("4", Level::L4)]),
    ("ch4",    &[("L1", Level::L0), ("L2", Level::L1), ("L3", Level::L2), ("L4", Level::L3), ("L5", Level::L4)]),
    ("orb",    &[("L0", Level::L0), ("L1", Level::L1), ("L2", Level::L2), ("L3", Level::L3)]),
    ("atf",    &[("intern", Level::L0), ("junior", Level::L1), ("senior", Level::L2), ("principal", Level::L3)]),
    ("ring",   &[("3", Level::L0), ("2", Level::L2), ("1", Level::L3), ("0", Level::L3)]),
];

impl Level {
    /// Reads `L2`, or `MODEL:WORD` as `atf:senior`.
    ///
    /// # Errors
    /// What may be written in its place.
    pub fn parse(text: &str) -> Result<Level, String> {
        let own = [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4];
        if let Some(level) = own.into_iter().find(|level| level.as_str() == text) {
            return Ok(level);
        }
        let Some((model, word)) = text.split_once(':') else {
            return Err(format!(
                "`{text}` is no level: L0 to L4, or MODEL:WORD of another model"
            ));
        };
        let Some((_, words)) = MODELS.iter().find(|(name, _)| *name == model) else {
            let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
            return Err(format!("`{model}` is no model of autonomy: {}", names.join(", ")));
        };
        let found = words.iter().find(|(name, _)| *name == word);
        found.map(|(_, level)| *level).ok_or_else(|| {
            let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            format!("`{word}` is no level of `{model}`: {}", names.join(", "))
        })
    }

    /// `L2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::L0 => "L0",
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L3 => "L3",
            Level::L4 => "L4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_every_model_has_a_level_and_none_falls() {
        for (model, words) in MODELS {
            let read: Vec<Level> = words
                .iter()
                .map(|(word, _)| Level::parse(&format!("{model}:{word}")).unwrap())
                .collect();
            assert!(read.is_sorted(), "{model}: {read:?}");
            assert_eq!(read.first(), Some(&Level::L0), "{model} begins with observing");
        }
        let counted: Vec<(&str, usize)> = MODELS.iter().map(|(name, words)| (*name, words.len())).collect();
        #[rustfmt::skip]
        assert_eq!(counted, [("guide", 5), ("thesis", 5), ("ch4", 5), ("orb", 4), ("atf", 4), ("ring", 4)]);
    }

    #[test]
    fn what_is_no_level_is_refused_with_what_may_be_said() {
        let table = [
            ("L2", Ok(Level::L2)),
            ("atf:senior", Ok(Level::L2)),
            ("ring:0", Ok(Level::L3)),
            ("ch4:L5", Ok(Level::L4)),
            (
                "l2",
                Err("`l2` is no level: L0 to L4, or MODEL:WORD of another model"),
            ),
            (
                "L5",
                Err("`L5` is no level: L0 to L4, or MODEL:WORD of another model"),
            ),
            ("ring:4", Err("`4` is no level of `ring`: 3, 2, 1, 0")),
            ("orb:L4", Err("`L4` is no level of `orb`: L0, L1, L2, L3")),
            (
                "sae:3",
                Err("`sae` is no model of autonomy: guide, thesis, ch4, orb, atf, ring"),
            ),
            (
                "",
                Err("`` is no level: L0 to L4, or MODEL:WORD of another model"),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(Level::parse(text), expected.map_err(str::to_owned), "{text}");
            let read: Result<Level, String> =
                serde_json::from_value(text.into()).map_err(|error| error.to_string());
            assert_eq!(read, expected.map_err(str::to_owned), "{text} in a document");
        }
        assert_eq!(serde_json::to_value(Level::L3).unwrap(), "L3");
    }
}
