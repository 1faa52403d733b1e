//! The few messages of LDAP (RFC 4511) that a login takes: bind, search, StartTLS. Written by us, read strictly.

use super::ber::{BOOLEAN, ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, put, put_number};
use super::filter::Filter;

/// RFC 4511, 4.14.
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// Most values of one attribute that are kept.
const VALUES_MAX: usize = 1000;

/// What the directory said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// How an operation ended.
    Done(u32),
    /// Something that was searched for.
    Found(Found),
    /// Somewhere else, where we do not go.
    Elsewhere,
}

/// An entry of the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its distinguished name.
    pub dn: String,
    /// What it has of the attribute that was asked for, as far as it is text.
    pub values: Vec<String>,
    /// Whether there is more than this, which may be anything.
    pub cut: bool,
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// At which entry.
    pub base: &'a str,
    /// And at all below it.
    pub below: bool,
    /// Which.
    pub filter: &'a Filter,
    /// What is wanted of each.
    pub attribute: &'a str,
    /// How many at most.
    pub most: u32,
    /// How long it may take there, in seconds.
    pub seconds: u32,
}

/// Asks to be `dn` by a password.
#[must_use]
pub fn bind(id: u32, dn: &str, password: &[u8]) -> secrets::Secret {
    let mut operation = Vec::with_capacity(dn.len() + password.len() + 32);
    put_number(&mut operation, INTEGER, 3);
    put(&mut operation, OCTETS, dn.as_bytes());
    put(&mut operation, 0x80, password);
    let operation = secrets::Secret::new(operation);
    secrets::Secret::new(message(id, 0x60, operation.expose()))
}

/// Asks for TLS on this connection.
#[must_use]
pub fn start_tls(id: u32) -> Vec<u8> {
    let mut operation = Vec::new();
    put(&mut operation, 0x80, START_TLS.as_bytes());
    message(id, 0x77, &operation)
}

/// Searches, dereferencing nothing.
#[must_use]
pub fn search(id: u32, what: &Search<'_>) -> Vec<u8> {
    let (mut operation, mut attributes) = (Vec::new(), Vec::new());
    put(&mut operation, OCTETS, what.base.as_bytes());
    put_number(&mut operation, ENUMERATED, if what.below { 2 } else { 0 });
    put_number(&mut operation, ENUMERATED, 0);
    put_number(&mut operation, INTEGER, what.most);
    put_number(&mut operation, INTEGER, what.seconds);
    put(&mut operation, BOOLEAN, &[0]);
    operation.extend_from_slice(what.filter.bytes());
    put(&mut attributes, OCTETS, what.attribute.as_bytes());
    put(&mut operation, SEQUENCE, &attributes);
    message(id, 0x63, &operation)
}

fn message(id: u32, tag: u8, operation: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(operation.len() + 16);
    put_number(&mut content, INTEGER, id);
    put(&mut content, tag, operation);
    let mut out = Vec::with_capacity(content.len() + 8);
    put(&mut out, SEQUENCE, &content);
    // It may hold a password.
    drop(secrets::Secret::new(content));
    out
}

/// Reads the content of a message that answers the one of that id. Of an entry only `attribute` is kept.
///
/// # Errors
/// It is no message, none that answers it, or of a kind that we did not ask for.
pub fn read(content: &[u8], id: u32, attribute: &str) -> Result<Said, Malformed> {
    let mut message = Reader::new(content);
    if message.number(INTEGER)? != id {
        return Err(Malformed);
    }
    let (tag, operation) = message.element()?;
    let mut operation = Reader::new(operation);
    match tag {
        // Of a bind, a search, an extended operation.
        0x61 | 0x65 | 0x78 => Ok(Said::Done(operation.number(ENUMERATED)?)),
        0x64 => found(operation, attribute).map(Said::Found),
        0x73 => Ok(Said::Elsewhere),
        _ => Err(Malformed),
    }
}

/// The name of an attribute is read without regard to case. One with options is another attribute, but
/// `;range=`: so Active Directory says that there are more values than it sends (MS-ADTS, 3.1.1.3.1.3.3).
fn found(mut operation: Reader<'_>, asked: &str) -> Result<Found, Malformed> {
    let mut found = Found {
        dn: text(operation.expect(OCTETS)?).ok_or(Malformed)?,
        ..Found::default()
    };
    let mut list = Reader::new(operation.expect(SEQUENCE)?);
    while !list.is_empty() {
        let mut attribute = Reader::new(list.expect(SEQUENCE)?);
        let name = text(attribute.expect(OCTETS)?)
            .ok_or(Malformed)?
            .to_ascii_lowercase();
        let mut set = Reader::new(attribute.expect(0x31)?);
        let (bare, options) = name.split_once(';').unwrap_or((&name, ""));
        if !bare.eq_ignore_ascii_case(asked) {
            continue;
        }
        found.cut |= options.starts_with("range=");
        while options.is_empty() && !set.is_empty() {
            let value = set.expect(OCTETS)?;
            found.cut |= found.values.len() >= VALUES_MAX;
            if !found.cut {
                found.values.extend(text(value));
            }
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_refused() {
        let entry =
            b"\x02\x01\x07\x64\x18\x04\x04dc=x\x30\x10\x30\x0e\x04\x03uid\x31\x07\x04\x01a\x04\x02\xff\xfe";
        let of = |values: &[&str], cut| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            let dn = "dc=x".to_owned();
            Ok(Said::Found(Found { dn, values, cut }))
        };
        // An entry with an attribute of that name, and so many values.
        let with = |name: &str, count: usize| {
            let (mut set, mut attribute, mut list, mut entry) = (vec![], vec![], vec![], vec![]);
            (0..count).for_each(|_| put(&mut set, OCTETS, b"a"));
            put(&mut attribute, OCTETS, name.as_bytes());
            put(&mut attribute, 0x31, &set);
            put(&mut list, SEQUENCE, &attribute);
            put(&mut entry, OCTETS, b"dc=x");
            put(&mut entry, SEQUENCE, &list);
            let mut out = b"\x02\x01\x07".to_vec();
            put(&mut out, 0x64, &entry);
            out
        };
        let (other, many, more) = (
            with("cn", 3),
            with("UID", VALUES_MAX),
            with("uid", VALUES_MAX + 1),
        );
        let (ranged, tagged) = (with("uid;range=0-1499", 2), with("uid;lang-de", 2));
        #[rustfmt::skip]
        let table: [(&str, &[u8], Result<Said, Malformed>); 14] = [
            ("a bind that is refused",     b"\x02\x01\x07\x61\x07\x0a\x01\x31\x04\x00\x04\x00", Ok(Said::Done(49))),
            ("an entry, text alone",       entry,                                                of(&["a"], false)),
            ("what nobody asked for",      &other,                                               of(&[], false)),
            ("in its language",            &tagged,                                              of(&[], false)),
            ("as many values as are kept", &many,                                                of(&["a"; VALUES_MAX], false)),
            ("one more",                   &more,                                                of(&["a"; VALUES_MAX], true)),
            ("a part of them",             &ranged,                                              of(&[], true)),
            ("a reference elsewhere",      b"\x02\x01\x07\x73\x02\x04\x00",                      Ok(Said::Elsewhere)),
            ("an answer to something else", b"\x02\x01\x08\x61\x07\x0a\x01\x00\x04\x00\x04\x00", Err(Malformed)),
            ("a request",                  b"\x02\x01\x07\x42\x00",                              Err(Malformed)),
            ("no code",                    b"\x02\x01\x07\x61\x00",                              Err(Malformed)),
            ("a negative code",            b"\x02\x01\x07\x61\x03\x0a\x01\xff",                  Err(Malformed)),
            ("an entry without a name",    b"\x02\x01\x07\x64\x02\x30\x00",                      Err(Malformed)),
            ("nothing",                    b"",                                                  Err(Malformed)),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(read(bytes, 7, "uid"), expected, "{name}");
        }
    }
}
