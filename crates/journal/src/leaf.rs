//! Whether bytes are a leaf: the canonical JSON of an entry, read in one pass that allocates nothing.
//!
//! Never builds a value. Reading and verifying come through [`check`], so that both accept the same
//! bytes, and writing through [`check_fields`]; parsing a leaf and writing it again would tell as much,
//! at ten times the cost.

use crate::entry::{Entry, EntryError};
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
    parts(leaf).map(|parts| parts.head)
}

/// What [`check`] asks of fields beyond their types. The leaf of what passes is accepted by [`check`],
/// when it is not larger than one may be.
pub(crate) fn check_fields(entry: &Entry, timestamp: &str) -> Result<(), EntryError> {
    let sequence_max = canonical::INTEGER_MAX.unsigned_abs();
    let asked = [
        (entry.v == 1, NO_FORMAT),
        (is_kind(&entry.kind), NO_KIND),
        (is_log(&entry.log), NO_LOG),
        (entry.sequence <= sequence_max, NO_SEQUENCE),
        (is_timestamp(timestamp), NO_TIMESTAMP),
        (
            entry.commitments.iter().all(|c| is_digest(&c.hmac_sha256)),
            NO_DIGEST,
        ),
    ];
    match asked.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(EntryError::Malformed((*what).to_owned())),
        None => Ok(()),
    }
}

const NO_FORMAT: &str = "no format 1 of the entry at its end";
const NO_KIND: &str = "kind is not `DOMAIN.EVENT` in lower case";
const NO_LOG: &str = "name of the log is empty or odd";
const NO_SEQUENCE: &str = "sequence is not a count";
const NO_TIMESTAMP: &str = "timestamp is not RFC 3339 in UTC with milliseconds";
const NO_DIGEST: &str = "commitment is not 64 lower-case hexadecimal digits";

/// The fields of a leaf as they stand in it: texts between their quotes, all else in JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'l> {
    pub(crate) head: Head<'l>,
    pub(crate) actor: &'l str,
    pub(crate) body: &'l str,
    pub(crate) cause: Option<&'l str>,
    pub(crate) commitments: Option<&'l str>,
    pub(crate) correlation: Option<&'l str>,
    pub(crate) projections: Option<&'l str>,
    pub(crate) session: Option<&'l str>,
    pub(crate) timestamp: &'l str,
}

/// [`check`], and what was found.
pub(crate) fn parts(leaf: &[u8]) -> Result<Parts<'_>, EntryError> {
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
    /// The fields in the order in which [`crate::Entry::to_leaf`] writes them.
    fn entry(&mut self) -> Scan<Parts<'l>> {
        self.literal("{\"actor\":")?;
        let actor = self.string()?;
        self.literal(",\"body\":")?;
        let body = self.passed(|scanner| scanner.value(1))?;
        let cause = self.optional(",\"cause\":", Scanner::string)?;
        let commitments = self.optional(",\"commitments\":", |scanner| {
            scanner.passed(Scanner::commitments)
        })?;
        let correlation = self.optional(",\"correlation\":", Scanner::string)?;
        self.literal(",\"kind\":")?;
        let kind = self.string()?;
        self.require(is_kind(kind), NO_KIND)?;
        self.literal(",\"log\":")?;
        let log = self.string()?;
        self.require(is_log(log), NO_LOG)?;
        let projections = self.optional(",\"projections\":", |scanner| {
            scanner.passed(Scanner::projections)
        })?;
        self.literal(",\"sequence\":")?;
        let sequence = self.number()?.parse().map_err(|_| NO_SEQUENCE)?;
        let session = self.optional(",\"session\":", Scanner::string)?;
        self.literal(",\"timestamp\":")?;
        let timestamp = self.string()?;
        self.require(is_timestamp(timestamp), NO_TIMESTAMP)?;
        self.literal(",\"v\":1}").map_err(|_| NO_FORMAT)?;
        self.require(self.at == self.bytes.len(), "text after the entry")?;
        let head = Head { sequence, kind, log };
        Ok(Parts {
            head,
            actor,
            body,
            cause,
            commitments,
            correlation,
            projections,
            session,
            timestamp,
        })
    }

    fn commitments(&mut self) -> Scan<()> {
        let members = self.array(Scanner::commitment)?;
        self.require(members > 0, "no commitments, which are left out then")
    }

    fn projections(&mut self) -> Scan<()> {
        let members = self.object(|scanner| scanner.string().map(drop))?;
        self.require(members > 0, "no projections, which are left out then")
    }

    fn commitment(&mut self) -> Scan<()> {
        self.literal("{\"hmac_sha256\":")?;
        let hash = self.string()?;
        self.require(is_digest(hash), NO_DIGEST)?;
        self.literal(",\"name\":")?;
        self.string()?;
        self.literal("}")
    }

    /// What `scan` goes over.
    fn passed(&mut self, scan: impl FnOnce(&mut Self) -> Scan<()>) -> Scan<&'l str> {
        let start = self.at;
        scan(self)?;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// What `scan` finds after `key`, if that comes next.
    #[inline(always)]
    fn optional<T>(&mut self, key: &'static str, scan: impl FnOnce(&mut Self) -> Scan<T>) -> Scan<Option<T>> {
        if self.has(key) {
            scan(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Any value, inside `depth` containers.
    fn value(&mut self, depth: usize) -> Scan<()> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= canonical::DEPTH_MAX => Err("nested too deep"),
            Some(b'{') => self.object(|scanner| scanner.value(depth + 1)).map(drop),
            Some(b'[') => self.array(|scanner| scanner.value(depth + 1)).map(drop),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    /// Members sorted by the UTF-16 code units of their keys, none twice. How many there were.
    fn object(&mut self, mut member: impl FnMut(&mut Self) -> Scan<()>) -> Scan<usize> {
        self.byte(b'{')?;
        let mut previous: Option<Key> = None;
        let mut count = 0;
        while !self.take(b'}') {
            if count > 0 {
                self.byte(b',')?;
            }
            let key = Key::of(self.string()?);
            let sorted = previous.is_none_or(|previous| previous.is_before(&key));
            self.require(sorted, "key that is out of order or not unique")?;
            self.byte(b':')?;
            member(self)?;
            previous = Some(key);
            count += 1;
        }
        Ok(count)
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self) -> Scan<()>) -> Scan<usize> {
        self.byte(b'[')?;
        let mut count = 0;
        while !self.take(b']') {
            if count > 0 {
                self.byte(b',')?;
            }
            item(self)?;
            count += 1;
        }
        Ok(count)
    }

    /// A string with no escape that could be shorter. What stands between its quotes, escapes and all.
    fn string(&mut self) -> Scan<&'l str> {
        self.byte(b'"')?;
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

    /// Whether `literal` comes next; passes it. Inlined, a comparison with a constant.
    #[inline(always)]
    fn has(&mut self, literal: &'static str) -> bool {
        let there = self
            .bytes
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(literal.as_bytes()));
        self.at += if there { literal.len() } else { 0 };
        there
    }

    #[inline(always)]
    fn literal(&mut self, literal: &'static str) -> Scan<()> {
        let there = self.has(literal);
        self.require(there, "not what canonical JSON of an entry has")
    }

    fn byte(&mut self, byte: u8) -> Scan<()> {
        let there = self.take(byte);
        self.require(there, "not what canonical JSON of an entry has")
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

/// A key as it stands between its quotes.
struct Key<'l> {
    raw: &'l str,
    /// Without escapes, and ASCII: as most are. Such keys sort by their bytes.
    plain: bool,
}

impl<'l> Key<'l> {
    fn of(raw: &'l str) -> Key<'l> {
        // No short circuit: this way it takes a few instructions for a whole key.
        let odd = |byte: u8| (byte >= 0x80) | (byte == b'\\');
        Key {
            raw,
            plain: !raw.bytes().fold(false, |any, byte| any | odd(byte)),
        }
    }
    /// By the UTF-16 code units of what the keys stand for.
    fn is_before(&self, next: &Key) -> bool {
        if self.plain && next.plain {
            return self.raw < next.raw;
        }
        let unescaped =
            |key: &Key| serde_json::from_str::<String>(&format!("\"{}\"", key.raw)).unwrap_or_default();
        unescaped(self).encode_utf16().lt(unescaped(next).encode_utf16())
    }
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

/// Whether a name needs no escape, so that it stands in the leaf as it is.
fn is_log(log: &str) -> bool {
    !log.is_empty() && !log.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
}

fn is_digest(hash: &str) -> bool {
    let lower_hex = |byte: u8| byte.is_ascii_digit() | (b'a'..=b'f').contains(&byte);
    hash.len() == 64 && hash.bytes().fold(true, |all, byte| all & lower_hex(byte))
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
