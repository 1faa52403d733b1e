//! `cofferdam import`: documents of what other gateways were configured with, and what became of each part.
//!
//! Pure: a text in, documents and findings out. Nothing secret is repeated: a key that stands in the text is named by its
//! place, and the file that it belongs into.

mod litellm;

pub use litellm::litellm;

use serde::Serialize;
use serde_json::Value;

/// How much of a part could be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Taken {
    /// It means the same here.
    Exact,
    /// It means nearly the same, or something has to be done by hand.
    Partial,
    /// There is nothing like it.
    Impossible,
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// JSON pointer into what was read.
    pub at: String,
    /// How much.
    pub taken: Taken,
    /// As what, or why not.
    pub what: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Imported {
    /// Documents, in the order in which they are to be read.
    pub documents: Vec<Value>,
    /// What became of each part, in the order of the text.
    pub findings: Vec<Finding>,
}

impl Imported {
    fn found(&mut self, at: impl Into<String>, taken: Taken, what: impl Into<String>) {
        self.findings.push(Finding {
            at: at.into(),
            taken,
            what: what.into(),
        });
    }
}
