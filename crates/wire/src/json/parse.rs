//! The parser: recursive, bounded by depth, one pass over the bytes.

use super::{Kind, Malformed, Node, What, step, view};
use std::borrow::Cow;

pub(super) fn parse(text: &str, depth: usize) -> Result<Vec<Node>, Malformed> {
    if u32::try_from(text.len()).is_err() {
        return Err(fault(What::TooLarge, 0));
    }
    let mut parser = Parser {
        text,
        at: 0,
        // A node takes two bytes of text on average at least; bodies are mostly strings.
        nodes: Vec::with_capacity(16 + text.len() / 64),
    };
    parser.space();
    parser.value(depth)?;
    parser.space();
    match parser.peek() {
        None => Ok(parser.nodes),
        Some(_) => Err(parser.grammar("something after the value")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nodes: Vec<Node>,
}

fn fault(what: What, offset: usize) -> Malformed {
    Malformed {
        what,
        offset,
        place: String::new(),
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn grammar(&self, what: &'static str) -> Malformed {
        fault(What::Grammar(what), self.at)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Opens a node; it is closed by [`Parser::close`].
    fn open(&mut self, kind: Kind) -> usize {
        self.nodes.push(Node {
            kind,
            escaped: false,
            start: short(self.at),
            end: 0,
            next: 0,
        });
        self.nodes.len() - 1
    }

    fn close(&mut self, node: usize, escaped: bool) {
        let next = short(self.nodes.len());
        let end = short(self.at);
        if let Some(node) = self.nodes.get_mut(node) {
            (node.end, node.next, node.escaped) = (end, next, escaped);
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(deeper(depth, self.at)?),
            Some(b'[') => self.array(deeper(depth, self.at)?),
            Some(b't') => self.word("true", Kind::Bool(true)),
            Some(b'f') => self.word("false", Kind::Bool(false)),
            Some(b'n') => self.word("null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.grammar("expected a value")),
            None => Err(self.grammar("ends before a value")),
        }
    }

    fn word(&mut self, word: &'static str, kind: Kind) -> Result<(), Malformed> {
        if !self
            .text
            .as_bytes()
            .get(self.at..)
            .unwrap_or_default()
            .starts_with(word.as_bytes())
        {
            return Err(self.grammar("expected a value"));
        }
        let node = self.open(kind);
        self.at += word.len();
        self.close(node, false);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let node = self.open(Kind::Number);
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.close(node, false);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == from {
            return Err(self.grammar("expected a digit"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Malformed> {
        let node = self.open(Kind::Text);
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1f) => return Err(self.grammar("control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.grammar("ends inside a string")),
            }
        }
        self.at += 1;
        self.close(node, escaped);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let lone = || fault(What::LoneSurrogate, from);
                match self.hex()? {
                    0xd800..=0xdbff => {
                        if !self
                            .text
                            .as_bytes()
                            .get(self.at..)
                            .unwrap_or_default()
                            .starts_with(b"\\u")
                        {
                            return Err(lone());
                        }
                        self.at += 1;
                        if !matches!(self.hex()?, 0xdc00..=0xdfff) {
                            return Err(lone());
                        }
                    }
                    0xdc00..=0xdfff => return Err(lone()),
                    _ => (),
                }
            }
            _ => return Err(self.grammar("unknown escape in a string")),
        }
        Ok(())
    }

    /// Four digits after the `u` that stands here.
    fn hex(&mut self) -> Result<u32, Malformed> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.grammar("expected four hexadecimal digits"))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn array(&mut self, depth: usize) -> Result<(), Malformed> {
        let node = self.open(Kind::Array);
        self.at += 1;
        self.space();
        let mut count = 0_usize;
        if self.peek() != Some(b']') {
            loop {
                self.space();
                self.value(depth)
                    .map_err(|error| inside(error, &count.to_string()))?;
                count += 1;
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break,
                    _ => return Err(self.grammar("expected `,` or `]`")),
                }
            }
        }
        self.at += 1;
        self.close(node, false);
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Malformed> {
        let node = self.open(Kind::Object);
        self.at += 1;
        self.space();
        let mut count = 0_usize;
        if self.peek() != Some(b'}') {
            loop {
                self.member(depth)?;
                count += 1;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break,
                    _ => return Err(self.grammar("expected `,` or `}`")),
                }
            }
        }
        self.at += 1;
        self.close(node, false);
        self.unique(node, count)
    }

    fn member(&mut self, depth: usize) -> Result<(), Malformed> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.grammar("expected a key"));
        }
        let key = self.nodes.len();
        self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.grammar("expected `:`"));
        }
        self.at += 1;
        self.space();
        if let Err(error) = self.value(depth) {
            return Err(inside(error, &self.key(key)));
        }
        self.space();
        Ok(())
    }

    fn key(&self, node: usize) -> Cow<'_, str> {
        view::text(self.text, &self.nodes, node)
    }

    /// INVARIANT (one reading): no key is twice in an object, in whatever spelling.
    fn unique(&self, object: usize, count: usize) -> Result<(), Malformed> {
        if count < 2 {
            return Ok(());
        }
        let mut keys = Vec::with_capacity(count);
        let mut at = object + 1;
        for _ in 0..count {
            keys.push((self.key(at), at));
            at = self
                .nodes
                .get(at + 1)
                .map_or(usize::MAX, |value| value.next as usize);
        }
        keys.sort_unstable();
        for pair in keys.windows(2) {
            if let [(one, _), (two, at)] = pair
                && one == two
            {
                let offset = self.nodes.get(*at).map_or(0, |node| node.start as usize);
                return Err(inside(fault(What::DuplicateKey, offset), two));
            }
        }
        Ok(())
    }
}

fn deeper(depth: usize, at: usize) -> Result<usize, Malformed> {
    depth.checked_sub(1).ok_or_else(|| fault(What::TooDeep, at))
}

/// Puts a step before the place of an error that comes up.
fn inside(mut error: Malformed, key: &str) -> Malformed {
    error.place = step("", key) + &error.place;
    error
}

/// The length of the text was compared with `u32::MAX`, and there are no more nodes than bytes.
fn short(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
