//! Filters of searches (RFC 4515) as documents write them, and the one that asks for a value. What a stranger
//! types is never part of a filter's text: it is a value of its own in what is sent, so there is nothing to escape.

use super::ber::{OCTETS, put};

/// Longest text, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// How deep `&`, `|` and `!` may stand in each other.
const DEPTH_MAX: usize = 8;
const WRONG: &str = "it is no filter: write it like (objectClass=person) or (&(a=b)(!(c=*)))";

/// A filter as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<u8>);

impl Filter {
    /// Reads a filter: `&`, `|`, `!`, `=`, `=*`, `>=`, `<=`, `~=`, and `*` within a value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Filter, &'static str> {
        if text.len() > TEXT_BYTES_MAX {
            return Err("it is longer than 1024 bytes");
        }
        let mut out = Vec::new();
        let rest = one(text.trim(), DEPTH_MAX, &mut out)?;
        match rest.is_empty() {
            true => Ok(Filter(out)),
            false => Err(WRONG),
        }
    }

    /// `attribute` is `value`, whatever that is.
    #[must_use]
    pub fn equal(attribute: &str, value: &str) -> Filter {
        let mut out = Vec::new();
        assertion(0xa3, attribute, value.as_bytes(), &mut out);
        Filter(out)
    }

    /// All of them.
    #[must_use]
    pub fn all(filters: &[Filter]) -> Filter {
        let mut out = Vec::new();
        let parts: Vec<u8> = filters.iter().flat_map(|filter| filter.0.clone()).collect();
        put(&mut out, 0xa0, &parts);
        Filter(out)
    }

    /// As it is sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether it is the name of an attribute.
#[must_use]
pub fn is_attribute(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-.;".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// One filter in parentheses; gives what stands after it.
fn one<'t>(text: &'t str, depth: usize, out: &mut Vec<u8>) -> Result<&'t str, &'static str> {
    let depth = depth.checked_sub(1).ok_or("it is too deep")?;
    let text = text.strip_prefix('(').ok_or(WRONG)?;
    let mut parts = Vec::new();
    let (tag, mut rest) = match text.split_at_checked(1) {
        Some(("&", rest)) => (0xa0, rest),
        Some(("|", rest)) => (0xa1, rest),
        Some(("!", rest)) => (0xa2, rest),
        _ => {
            let (item, rest) = text.split_once(')').ok_or(WRONG)?;
            simple(item, out)?;
            return Ok(rest);
        }
    };
    let mut count = 0;
    while rest.starts_with('(') {
        rest = one(rest, depth, &mut parts)?;
        count += 1;
    }
    if count == 0 || (tag == 0xa2 && count != 1) {
        return Err(WRONG);
    }
    put(out, tag, &parts);
    rest.strip_prefix(')').ok_or(WRONG)
}

/// `attribute=value` and its relatives.
fn simple(item: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let (attribute, value) = item.split_once('=').ok_or(WRONG)?;
    let (attribute, tag) = match attribute.split_at_checked(attribute.len().saturating_sub(1)) {
        Some((name, ">")) => (name, 0xa5),
        Some((name, "<")) => (name, 0xa6),
        Some((name, "~")) => (name, 0xa8),
        _ => (attribute, 0xa3),
    };
    if !is_attribute(attribute) || value.contains('(') {
        return Err(WRONG);
    }
    if tag == 0xa3 && value == "*" {
        put(out, 0x87, attribute.as_bytes());
        return Ok(());
    }
    let pieces: Vec<Vec<u8>> = value.split('*').map(unescaped).collect::<Result<_, _>>()?;
    match pieces.as_slice() {
        [whole] => assertion(tag, attribute, whole, out),
        pieces if tag == 0xa3 => substrings(attribute, pieces, out),
        _ => return Err(WRONG),
    }
    Ok(())
}

fn assertion(tag: u8, attribute: &str, value: &[u8], out: &mut Vec<u8>) {
    let mut content = Vec::new();
    put(&mut content, OCTETS, attribute.as_bytes());
    put(&mut content, OCTETS, value);
    put(out, tag, &content);
}

fn substrings(attribute: &str, pieces: &[Vec<u8>], out: &mut Vec<u8>) {
    let (mut content, mut list) = (Vec::new(), Vec::new());
    put(&mut content, OCTETS, attribute.as_bytes());
    let last = pieces.len() - 1;
    for (at, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
        let tag = match at {
            0 => 0x80,
            at if at == last => 0x82,
            _ => 0x81,
        };
        put(&mut list, tag, piece);
    }
    put(&mut content, 0x30, &list);
    put(out, 0xa4, &content);
}

/// `\2a` is the byte 2a.
fn unescaped(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut pieces = text.split('\\');
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (hex, rest) = piece.split_at_checked(2).ok_or(WRONG)?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        out.push(u8::from_str_radix(hex, 16).map_err(|_| WRONG)?);
        out.extend_from_slice(rest.as_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_or_refused() {
        let deep = format!("{}(a=b){}", "(!".repeat(8), ")".repeat(8));
        let long = format!("(a={})", "x".repeat(TEXT_BYTES_MAX));
        #[rustfmt::skip]
        let table: [(&str, Result<&[u8], &str>); 16] = [
            ("(a=b)",           Ok(b"\xa3\x06\x04\x01a\x04\x01b")),
            ("(a=*)",           Ok(b"\x87\x01a")),
            ("(a>=b)",          Ok(b"\xa5\x06\x04\x01a\x04\x01b")),
            (r"(a=\2a)",        Ok(b"\xa3\x06\x04\x01a\x04\x01*")),
            ("(a=b*c)",         Ok(b"\xa4\x0b\x04\x01a\x30\x06\x80\x01b\x82\x01c")),
            ("(!(a=*))",        Ok(b"\xa2\x03\x87\x01a")),
            ("(&(a=*)(b=*))",   Ok(b"\xa0\x06\x87\x01a\x87\x01b")),
            ("",                Err(WRONG)),
            ("a=b",             Err(WRONG)),
            ("(a=b",            Err(WRONG)),
            ("(a=b))",          Err(WRONG)),
            ("(a b=c)",         Err(WRONG)),
            (r"(a=\zz)",        Err(WRONG)),
            ("(!(a=b)(c=d))",   Err(WRONG)),
            (&deep,             Err("it is too deep")),
            (&long,             Err("it is longer than 1024 bytes")),
        ];
        for (text, expected) in table {
            let got = Filter::parse(text);
            assert_eq!(
                got.as_ref().map(Filter::bytes).map_err(|why| *why),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_typed_is_a_value_and_nothing_else() {
        let typed = Filter::equal("uid", "*)(uid=*");
        assert_eq!(typed.bytes(), b"\xa3\x0f\x04\x03uid\x04\x08*)(uid=*");
    }
}
