//! Reading a [`Tape`](super::Tape): a value, with its text and its place.

use super::{INTEGER_MAX, Node, step};
use std::borrow::Cow;
use std::ops::Range;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number,
    /// A string.
    Text,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value in a parsed text. Cheap to copy.
#[derive(Clone, Copy)]
pub struct View<'a> {
    text: &'a str,
    nodes: &'a [Node],
    at: usize,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.raw())
    }
}

impl<'a> View<'a> {
    pub(super) fn new(text: &'a str, nodes: &'a [Node], at: usize) -> View<'a> {
        View { text, nodes, at }
    }

    fn node(&self) -> Node {
        const NOTHING: Node = Node {
            kind: Kind::Null,
            escaped: false,
            start: 0,
            end: 0,
            next: u32::MAX,
        };
        self.nodes.get(self.at).copied().unwrap_or(NOTHING)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.node().kind
    }

    /// Where it stands in the text, in bytes, quotes and brackets included.
    pub fn span(&self) -> Range<usize> {
        let node = self.node();
        node.start as usize..node.end as usize
    }

    /// Its text, as it was written.
    pub fn raw(&self) -> &'a str {
        self.text.get(self.span()).unwrap_or_default()
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// A string, without its escapes.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::Text).then(|| text(self.text, self.nodes, self.at))
    }

    /// Whether it is this string.
    pub fn is(&self, word: &str) -> bool {
        self.text().is_some_and(|text| text == word)
    }

    /// A truth value.
    pub fn bool(&self) -> Option<bool> {
        match self.kind() {
            Kind::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A whole number from 0 to 2^53 − 1, however it was written (`4`, `4.0`, `4e0`).
    pub fn whole(&self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        if let Ok(value) = self.raw().parse::<u64>() {
            return (value <= INTEGER_MAX).then_some(value);
        }
        let value = self.number()?;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "2^53 - 1 is exact as a float, and what is in its range is cast exactly"
        )]
        let whole =
            (value.fract() == 0.0 && (0.0..=INTEGER_MAX as f64).contains(&value)).then_some(value as u64);
        whole
    }

    /// A finite number.
    pub fn number(&self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        self.raw().parse::<f64>().ok().filter(|value| value.is_finite())
    }

    /// The elements of an array; of anything else, none.
    pub fn items(&self) -> Items<'a> {
        Items {
            rest: if self.kind() == Kind::Array {
                self.inside()
            } else {
                self.nothing()
            },
        }
    }

    /// Keys and values of an object, in the order of the text; of anything else, none.
    pub fn members(&self) -> Members<'a> {
        Members {
            rest: if self.kind() == Kind::Object {
                self.inside()
            } else {
                self.nothing()
            },
        }
    }

    /// The value of a key, `null` too.
    pub fn get(&self, key: &str) -> Option<View<'a>> {
        let mut members = self.members();
        while let Some((name, value)) = members.pair() {
            if name.is(key) {
                return Some(value);
            }
        }
        None
    }

    /// The value of a key, where it is there and not `null`.
    pub fn some(&self, key: &str) -> Option<View<'a>> {
        self.get(key).filter(|value| !value.is_null())
    }

    /// A value further in, by keys, where it is there and not `null`.
    pub fn at(&self, keys: &[&str]) -> Option<View<'a>> {
        keys.iter().try_fold(*self, |value, key| value.some(key))
    }

    /// Whether an array or object has nothing in it.
    pub fn is_empty(&self) -> bool {
        self.node().next as usize == self.at + 1
    }

    /// JSON pointer (RFC 6901) from the root.
    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        let mut here = View { at: 0, ..*self };
        while here.at != self.at {
            let inner = if here.kind() == Kind::Array {
                let mut items = here.items().enumerate();
                items
                    .find(|(_, item)| item.holds(self.at))
                    .map(|(at, item)| (Cow::from(at.to_string()), item))
            } else {
                here.members().find(|(_, value)| value.holds(self.at))
            };
            let Some((key, value)) = inner else { break };
            pointer = step(&pointer, &key);
            here = value;
        }
        pointer
    }

    fn holds(&self, at: usize) -> bool {
        (self.at..self.node().next as usize).contains(&at)
    }

    /// The nodes between the brackets.
    fn inside(&self) -> Rest<'a> {
        Rest {
            next: self.at + 1,
            end: self.node().next as usize,
            of: *self,
        }
    }

    fn nothing(&self) -> Rest<'a> {
        Rest {
            next: 0,
            end: 0,
            of: *self,
        }
    }
}

/// Siblings that are left.
#[derive(Clone)]
struct Rest<'a> {
    next: usize,
    end: usize,
    of: View<'a>,
}

impl<'a> Iterator for Rest<'a> {
    type Item = View<'a>;
    fn next(&mut self) -> Option<View<'a>> {
        if self.next >= self.end {
            return None;
        }
        let value = View {
            at: self.next,
            ..self.of
        };
        self.next = value.node().next as usize;
        Some(value)
    }
}

/// See [`View::items`].
#[derive(Clone)]
pub struct Items<'a> {
    rest: Rest<'a>,
}

impl<'a> Iterator for Items<'a> {
    type Item = View<'a>;
    fn next(&mut self) -> Option<View<'a>> {
        self.rest.next()
    }
}

/// See [`View::members`].
#[derive(Clone)]
pub struct Members<'a> {
    rest: Rest<'a>,
}

impl<'a> Members<'a> {
    /// The key as a value too, for its span.
    pub(crate) fn pair(&mut self) -> Option<(View<'a>, View<'a>)> {
        Some((self.rest.next()?, self.rest.next()?))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, View<'a>);
    fn next(&mut self) -> Option<(Cow<'a, str>, View<'a>)> {
        let (key, value) = self.pair()?;
        Some((key.text().unwrap_or_default(), value))
    }
}

/// The string at a node, without its quotes and escapes. The parser has checked the escapes.
pub(super) fn text<'a>(text: &'a str, nodes: &[Node], at: usize) -> Cow<'a, str> {
    let Some(node) = nodes.get(at) else {
        return Cow::Borrowed("");
    };
    let inner = text
        .get(node.start as usize + 1..(node.end as usize).saturating_sub(1))
        .unwrap_or_default();
    if !node.escaped {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        rest = unescape(after, &mut out);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Reads one escape, after its backslash, and gives what follows.
fn unescape<'a>(after: &'a str, out: &mut String) -> &'a str {
    let mut chars = after.chars();
    match chars.next() {
        Some('b') => out.push('\u{8}'),
        Some('f') => out.push('\u{c}'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('t') => out.push('\t'),
        Some('u') => {
            let code = |from: &str| u32::from_str_radix(from.get(..4)?, 16).ok();
            let rest = chars.as_str();
            let high = code(rest).unwrap_or(0xfffd);
            let rest = rest.get(4..).unwrap_or_default();
            if (0xd800..0xdc00).contains(&high) {
                let low = rest.get(2..).and_then(code).unwrap_or(0xdc00);
                let pair = 0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff);
                out.push(char::from_u32(pair).unwrap_or('\u{fffd}'));
                return rest.get(6..).unwrap_or_default();
            }
            out.push(char::from_u32(high).unwrap_or('\u{fffd}'));
            return rest;
        }
        Some(c) => out.push(c),
        None => (),
    }
    chars.as_str()
}
