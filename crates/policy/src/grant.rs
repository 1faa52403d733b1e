//! Capabilities and who holds them until when. A grant lets a principal ask; it never permits by itself
//! more than a read.

use crate::{Action, Timestamp};

/// Text to match exactly, or a prefix followed by `*`, or `*` alone. No other wildcard exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// `verb:resource`, each a [`Pattern`]. The first colon separates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// Which verbs.
    pub verb: Pattern,
    /// Which resources.
    pub resource: Pattern,
}

/// A capability that a principal holds, from whom and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it allows to ask for.
    pub capability: Capability,
    /// Who gave it: `toolset/triage-read`.
    pub from: String,
    /// Holds strictly before this point; `None` means as long as the giver says so.
    pub until: Option<Timestamp>,
}

impl Pattern {
    /// `None` when empty or when `*` stands anywhere but at the end.
    pub fn new(text: &str) -> Option<Pattern> {
        let star = text.find('*');
        let fits = !text.is_empty() && star.is_none_or(|at| at + 1 == text.len());
        fits.then(|| Pattern(text.to_owned()))
    }
    /// Whether `text` is covered.
    pub fn covers(&self, text: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => text.starts_with(prefix),
            None => text == self.0,
        }
    }
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Capability {
    /// Reads `verb:resource`.
    pub fn parse(text: &str) -> Option<Capability> {
        let (verb, resource) = text.split_once(':')?;
        Some(Capability {
            verb: Pattern::new(verb)?,
            resource: Pattern::new(resource)?,
        })
    }
    /// Whether `action` is covered.
    pub fn covers(&self, action: &Action) -> bool {
        self.verb.covers(action.verb().as_str()) && self.resource.covers(action.resource())
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.verb.as_str(), self.resource.as_str())
    }
}
