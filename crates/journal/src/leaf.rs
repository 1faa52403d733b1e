//! Whether bytes are a leaf: the canonical JSON of an entry, read in one pass that allocates nothing.
//!
//! Never builds a value. Reading and verifying come through [`check`], so that both accept the same
//! bytes; parsing a leaf and writing it again would tell as much, at ten times the cost.

use crate::entry::EntryError;
use policy::canonical;

/// What a leaf says of itself, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'l> {
    /// Where it stands.
    pub sequence: u64,
    /// What happened.
    pub kind: &'l str,
    /// Name of the log.
    pub log: &'l str,
}

/// Accepts exactly the bytes that [`crate::Entry::to_leaf`] gives: RFC 8785, every field of its
/// type, none missing or unknown, absent ones left out.
pub fn check(leaf: &[u8]) -> Result<Head<'_>, EntryError> {
    if leaf.len() > crate::LEAF_BYTES_MAX {
        return Err(EntryError::TooLarge { bytes: leaf.len() });
    }
    let text = std::str::from_utf8(leaf)
        .map_err(|error| EntryError::Malformed(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    let mut scanner = Scanner {
        text,
        bytes: leaf,
        at: 0,
    };
    scanner
        .entry()
        .map_err(|what| EntryError::Malformed(format!("{what} at byte {}", scanner.at)))
}

/// What is wrong; the scanner stands where.
type Scan<T> = Result<T, &'static str>;

/// A place in a leaf.
struct Scanner<'l> {
    text: &'l str,
    bytes: &'l [u8],
    at: usize,
}

impl<'l> Scanner<'l> {
    fn entry(&mut self) -> Scan<Head<'l>> {
        let (mut sequence, mut kind, mut log, mut required) = (0, "", "", 0);
        self.object(|scanner, key| {
            // Keys are strictly sorted, so none is counted twice.
            required += u8::from(matches!(
                key,
                "actor" | "body" | "kind" | "log" | "sequence" | "timestamp" | "v"
            ));
            match key {
                "actor" | "cause" | "correlation" | "session" => scanner.string().map(drop),
                "body" => scanner.value(1),
                "commitments" => scanner.commitments(),
                "kind" => {
                    kind = scanner.string()?;
                    scanner.require(is_kind(kind), "kind is not `DOMAIN.EVENT` in lower case")
                }
                "log" => {
                    log = scanner.string()?;
                    scanner.require(
                        !log.is_empty() && !log.contains('\\'),
                        "name of the log is empty or odd",
                    )
                }
                "projections" => scanner.projections(),
                "sequence" => {
                    let digits = scanner.number()?;
                    sequence = digits.parse().map_err(|_| "sequence is not a count")?;
                    Ok(())
                }
                "timestamp" => {
                    let timestamp = scanner.string()?;
                    scanner.require(
                        is_timestamp(timestamp),
                        "timestamp is not RFC 3339 in UTC with milliseconds",
                    )
                }
                "v" => scanner.literal("1").map_err(|_| "format of the entry is not 1"),
                _ => Err("unknown field"),
            }
        })?;
        self.require(required == 7, "a field is missing")?;
        self.require(self.at == self.bytes.len(), "text after the entry")?;
        Ok(Head { sequence, kind, log })
    }

    fn commitments(&mut self) -> Scan<()> {
        let members = self.array(|scanner| {
            let mut hashed = false;
            let members = scanner.object(|scanner, key| match key {
                "hmac_sha256" => {
                    let text = scanner.string()?;
                    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                    hashed = text.len() == 64 && text.bytes().all(lower_hex);
                    Ok(())
                }
                "name" => scanner.string().map(drop),
                _ => Err("unknown field"),
            })?;
            scanner.require(
                members == 2 && hashed,
                "commitment is not a name and 64 lower-case hexadecimal digits",
            )
        })?;
        self.require(members > 0, "no commitments, which are left out then")
    }

    fn projections(&mut self) -> Scan<()> {
        let members = self.object(|scanner, _| scanner.string().map(drop))?;
        self.require(members > 0, "no projections, which are left out then")
    }

    /// Any value, inside `depth` containers.
    fn value(&mut self, depth: usize) -> Scan<()> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= canonical::DEPTH_MAX => Err("nested too deep"),
            Some(b'{') => self.object(|scanner, _| scanner.value(depth + 1)).map(drop),
            Some(b'[') => self.array(|scanner| scanner.value(depth + 1)).map(drop),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    /// Members sorted by the UTF-16 code units of their keys, none twice. How many there were.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'l str) -> Scan<()>) -> Scan<usize> {
        self.literal("{")?;
        let mut previous: Option<&str> = None;
        let mut count = 0;
        while !self.take(b'}') {
            if count > 0 {
                self.literal(",")?;
            }
            let key = self.string()?;
            let sorted = previous.is_none_or(|previous| is_before(previous, key));
            self.require(sorted, "key that is out of order or not unique")?;
            self.literal(":")?;
            member(self, key)?;
            previous = Some(key);
            count += 1;
        }
        Ok(count)
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self) -> Scan<()>) -> Scan<usize> {
        self.literal("[")?;
        let mut count = 0;
        while !self.take(b']') {
            if count > 0 {
                self.literal(",")?;
            }
            item(self)?;
            count += 1;
        }
        Ok(count)
    }

    /// A string with no escape that could be shorter. What stands between its quotes, escapes and all.
    fn string(&mut self) -> Scan<&'l str> {
        self.literal("\"")?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            self.at += plain.unwrap_or(rest.len());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return Err("control character in a string"),
                None => return Err("text ends inside a string"),
            }
        }
        let inside = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(inside)
    }

    fn escape(&mut self) -> Scan<()> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        self.at += match rest {
            [b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r', ..] => 2,
            // Control characters that have no short form.
            [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..] => 6,
            [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
            _ => return Err("escape that is not canonical"),
        };
        Ok(())
    }

    /// A number as ECMAScript prints it, that every reader carries exactly.
    fn number(&mut self) -> Scan<&'l str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e');
        let length = rest
            .iter()
            .position(|byte| !of_number(byte))
            .unwrap_or(rest.len());
        let number = self.text.get(self.at..self.at + length).unwrap_or_default();
        self.require(is_canonical_number(number), "not a canonical value")?;
        self.at += length;
        Ok(number)
    }

    fn literal(&mut self, literal: &'static str) -> Scan<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.require(
            rest.starts_with(literal.as_bytes()),
            "not what canonical JSON of an entry has",
        )?;
        self.at += literal.len();
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn require(&self, holds: bool, what: &'static str) -> Scan<()> {
        if holds { Ok(()) } else { Err(what) }
    }
}

/// Whether `a` sorts before `b` by the UTF-16 code units of what they stand for.
fn is_before(a: &str, b: &str) -> bool {
    let plain = |key: &str| key.bytes().all(|byte| byte.is_ascii() && byte != b'\\');
    if plain(a) && plain(b) {
        return a < b;
    }
    let unescaped = |key: &str| serde_json::from_str::<String>(&format!("\"{key}\"")).unwrap_or_default();
    unescaped(a).encode_utf16().lt(unescaped(b).encode_utf16())
}

fn is_canonical_number(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    // Fifteen digits are below 2^53, whatever they are.
    if digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return if digits.starts_with('0') {
            number == "0"
        } else {
            !digits.is_empty()
        };
    }
    canonical::parse(number.as_bytes(), number.len())
        .and_then(|value| canonical::to_bytes(&value))
        .is_ok_and(|written| written == number.as_bytes())
}

fn is_kind(kind: &str) -> bool {
    let of_kind =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_');
    !kind.is_empty() && kind.bytes().all(of_kind)
}

/// `2026-11-21T04:27:00.000Z`: a real day, of a year from 0 to 9998 (what comes after is at the end of
/// what `policy::Timestamp` can say).
fn is_timestamp(text: &str) -> bool {
    let number = |from: usize, to: usize| {
        let digits = text
            .get(from..to)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u16>().ok())
    };
    let mark = |at: usize| text.as_bytes().get(at).copied();
    let marks = [4, 7, 10, 13, 16, 19, 23].map(mark) == [b'-', b'-', b'T', b':', b':', b'.', b'Z'].map(Some);
    let parts = (
        number(0, 4),
        number(5, 7),
        number(8, 10),
        number(11, 13),
        number(14, 16),
        number(17, 19),
    );
    let (Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)) = parts else {
        return false;
    };
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        2 => 28 + u16::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let real = year < 9999 && (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
    text.len() == 24 && marks && real && number(20, 23).is_some()
}
