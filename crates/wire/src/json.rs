//! Strict JSON that remembers where everything stood.
//!
//! A [`Tape`] is one pass over a text: a flat list of nodes with their spans, so that a body can be
//! judged, and a few bytes of it replaced, while all others stay as they were written. Refused is what two
//! parsers could read differently: keys that appear twice in an object, lone surrogates, bytes that are no
//! UTF-8, and more depth than the limit. Numbers keep their text; whoever reads one says what it may be.

mod build;
mod parse;
mod view;

pub(crate) use build::Json;
pub use view::{Kind, View};

/// Greatest integer that every JSON reader carries exactly: 2^53 − 1 (RFC 8259, section 6).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// One parsed text, without the text: spans and kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tape {
    nodes: Vec<Node>,
}

/// A value, or a key of an object (which stands before its value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    kind: Kind,
    /// A string with at least one backslash in it.
    escaped: bool,
    /// In bytes of the text, quotes and brackets included.
    start: u32,
    end: u32,
    /// Index of the node after this one and all in it.
    next: u32,
}

impl Tape {
    /// Reads `text` as one value, nested at most `depth` deep (a scalar is 0 deep).
    pub fn parse(text: &str, depth: usize) -> Result<Tape, Malformed> {
        Ok(Tape {
            nodes: parse::parse(text, depth)?,
        })
    }

    /// The outermost value. `text` is the text that was parsed; of another one the result means nothing.
    pub fn root<'a>(&'a self, text: &'a str) -> View<'a> {
        View::new(text, &self.nodes, 0)
    }
}

/// Why a text is not JSON that everybody reads alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Malformed {
    /// What is wrong.
    pub what: What,
    /// 0-based, in bytes.
    pub offset: usize,
    /// JSON pointer (RFC 6901) of the value in which it stands.
    pub place: String,
}

/// The kinds of [`Malformed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// Not the grammar of RFC 8259.
    #[error("not JSON: {0}")]
    Grammar(&'static str),
    /// A key is twice in one object, however it is escaped.
    #[error("a key appears twice in one object")]
    DuplicateKey,
    /// `\ud800` without its other half: no Unicode text.
    #[error("lone surrogate in a string")]
    LoneSurrogate,
    /// Deeper than the limit.
    #[error("nested too deep")]
    TooDeep,
    /// A text of 4 GiB or more.
    #[error("too large")]
    TooLarge,
}

/// Adds a step to a JSON pointer (RFC 6901). A long key is cut: places are shown to people.
pub(crate) fn step(pointer: &str, key: &str) -> String {
    const SHOWN_MAX: usize = 64;
    let mut out = String::with_capacity(pointer.len() + key.len().min(SHOWN_MAX) + 1);
    out.push_str(pointer);
    out.push('/');
    for (at, c) in key.chars().enumerate() {
        match c {
            _ if at == SHOWN_MAX => {
                out.push('…');
                break;
            }
            '~' => out.push_str("~0"),
            '/' => out.push_str("~1"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
