//! Reads JSON (RFC 8259) without the freedoms it leaves to readers.

use super::{CanonicalError, DEPTH_MAX, number};
use serde_json::{Map, Number, Value};

/// See [`super::parse`].
pub(super) fn parse(text: &[u8], limit: usize) -> Result<Value, CanonicalError> {
    if text.len() > limit {
        return Err(CanonicalError::TooLarge { limit });
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let valid = text.get(..error.valid_up_to()).unwrap_or_default();
            let reader = Reader {
                text: std::str::from_utf8(valid).unwrap_or_default(),
                at: valid.len(),
            };
            return Err(reader.refuse("not UTF-8"));
        }
    };
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.peek().is_some() {
        Err(reader.refuse("text after the document"))
    } else {
        Ok(value)
    }
}

/// A place in a text.
struct Reader<'a> {
    text: &'a str,
    /// In bytes; always on a character boundary.
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, CanonicalError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(deeper(depth)?),
            Some(b'[') => self.array(deeper(depth)?),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.refuse("expected a value")),
            None => Err(self.refuse("text ends where a value is expected")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, CanonicalError> {
        self.at += 1;
        let mut members = Map::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.refuse("expected a key in double quotes"));
            }
            let key = self.string()?;
            if members.contains_key(&key) {
                self.at = start;
                return Err(self.refuse(&format!("duplicate key `{}`", shown(&key))));
            }
            self.skip_space();
            if !self.take(b':') {
                return Err(self.refuse("expected `:`"));
            }
            let value = self.value(depth)?;
            members.insert(key, value);
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.refuse("expected `,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, CanonicalError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.refuse("expected `,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, CanonicalError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .unwrap_or(rest.len());
            out.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.refuse("control character in a string")),
                None => return Err(self.refuse("text ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, CanonicalError> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at = start;
                return self.unicode_escape();
            }
            Some(_) => return Err(self.refuse("unknown escape in a string")),
            None => return Err(self.refuse("text ends inside a string")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, CanonicalError> {
        let start = self.at;
        let unit = self.code_unit()?;
        let scalar = match unit {
            0xd800..=0xdbff => {
                let low = if self
                    .text
                    .get(self.at..)
                    .is_some_and(|rest| rest.starts_with("\\u"))
                {
                    self.code_unit()?
                } else {
                    0
                };
                (0xdc00..=0xdfff)
                    .contains(&low)
                    .then(|| 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
            }
            other => Some(other),
        };
        // `from_u32` refuses a low surrogate that stands alone.
        scalar.and_then(char::from_u32).ok_or_else(|| {
            self.at = start;
            self.refuse("lone surrogate in a string")
        })
    }

    /// Reads `\uXXXX`.
    fn code_unit(&mut self) -> Result<u32, CanonicalError> {
        let digits = self.text.get(self.at + 2..self.at + 6).unwrap_or_default();
        let valid = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match u32::from_str_radix(digits, 16) {
            Ok(unit) if valid => {
                self.at += 6;
                Ok(unit)
            }
            _ => Err(self.refuse("`\\u` without four hexadecimal digits")),
        }
    }

    fn number(&mut self) -> Result<Value, CanonicalError> {
        let start = self.at;
        self.take(b'-');
        let leading = self.at;
        let whole_digits = self.digits();
        if whole_digits == 0 {
            return Err(self.refuse("expected a digit"));
        }
        if whole_digits > 1 && self.text.as_bytes().get(leading) == Some(&b'0') {
            self.at = start;
            return Err(self.refuse("number with a leading zero"));
        }
        let mut integer = true;
        if self.take(b'.') {
            integer = false;
            if self.digits() == 0 {
                return Err(self.refuse("expected a digit"));
            }
        }
        if self.take(b'e') || self.take(b'E') {
            integer = false;
            let _ = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err(self.refuse("expected a digit"));
            }
        }
        let literal = self.text.get(start..self.at).unwrap_or_default();
        let number = literal
            .parse::<f64>()
            .ok()
            .and_then(|double| carried(double, integer));
        number.map(Value::Number).ok_or_else(|| {
            let what = format!(
                "number `{}` cannot be carried by JSON without loss",
                shown(literal)
            );
            Reader {
                text: self.text,
                at: start,
            }
            .refuse(&what)
        })
    }

    /// Skips digits; how many there were.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, CanonicalError> {
        if self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.refuse("expected a value"))
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn refuse(&self, what: &str) -> CanonicalError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        CanonicalError::Refused {
            what: what.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

fn deeper(depth: usize) -> Result<usize, CanonicalError> {
    if depth >= DEPTH_MAX {
        Err(CanonicalError::TooDeep)
    } else {
        Ok(depth + 1)
    }
}

/// The number a literal stands for. A literal without fraction and exponent must be a safe integer:
/// above 1e21 it would come back as a double with an exponent, which its writer did not mean.
fn carried(double: f64, integer_literal: bool) -> Option<Number> {
    match number::exact(double) {
        Some(integer) => Some(Number::from(integer)),
        None if integer_literal || !number::carried(double) => None,
        None => Number::from_f64(double),
    }
}

/// At most 40 characters of `text`, for a message.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
