//! The part of BER that LDAP uses (RFC 4511, 5.1): definite lengths, one-byte tags. Reading takes one element
//! after another and never recurses, so no input is too deep for it.

/// Longest length that is read: nothing we ask for is longer.
pub const LENGTH_MAX: usize = 256 * 1024;

/// `SEQUENCE`.
pub const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
pub const INTEGER: u8 = 0x02;
/// `OCTET STRING`.
pub const OCTETS: u8 = 0x04;
/// `ENUMERATED`.
pub const ENUMERATED: u8 = 0x0a;
/// `BOOLEAN`.
pub const BOOLEAN: u8 = 0x01;

/// What is no BER, or none that LDAP may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no answer in LDAP")]
pub struct Malformed;

/// Elements, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Over the content of an element.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element: its tag and content.
    ///
    /// # Errors
    /// There is none, or not all of it.
    pub fn element(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (&tag, rest) = self.0.split_first().ok_or(Malformed)?;
        let (length, head) = length(rest)?.ok_or(Malformed)?;
        let rest = rest.get(head..).ok_or(Malformed)?;
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok((tag, content))
    }

    /// The content of the next element, which has to be of that tag.
    ///
    /// # Errors
    /// It is another.
    pub fn expect(&mut self, wanted: u8) -> Result<&'a [u8], Malformed> {
        match self.element()? {
            (tag, content) if tag == wanted => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// A number from 0 to 2³¹-1.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&mut self, wanted: u8) -> Result<u32, Malformed> {
        let content = self.expect(wanted)?;
        let negative = content.first().is_none_or(|first| first & 0x80 != 0);
        if negative || content.len() > 4 {
            return Err(Malformed);
        }
        Ok(content
            .iter()
            .fold(0, |number, byte| (number << 8) | u32::from(*byte)))
    }
}

/// The length that `bytes` begin with, and how many bytes say so. `None`: more are needed to tell.
///
/// # Errors
/// It is indefinite, or longer than any that is read.
pub fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if first < 0x80 {
        return Ok(Some((usize::from(first), 1)));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(Malformed);
    }
    let Some(digits) = rest.get(..count) else {
        return Ok(None);
    };
    let length = digits
        .iter()
        .fold(0, |length, byte| (length << 8) | usize::from(*byte));
    match length <= LENGTH_MAX {
        true => Ok(Some((length, 1 + count))),
        false => Err(Malformed),
    }
}

/// Appends one element.
pub fn put(to: &mut Vec<u8>, tag: u8, content: &[u8]) {
    to.push(tag);
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => to.push(short),
        _ => {
            to.push(0x84);
            let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
            to.extend_from_slice(&length.to_be_bytes());
        }
    }
    to.extend_from_slice(content);
}

/// Appends a number.
pub fn put_number(to: &mut Vec<u8>, tag: u8, number: u32) {
    let bytes = number.to_be_bytes();
    // As few bytes as there are, but one more where the first bit would make it negative.
    let mut skip = 0;
    while skip < 3 && bytes.get(skip) == Some(&0) && bytes.get(skip + 1).is_some_and(|next| next & 0x80 == 0)
    {
        skip += 1;
    }
    match bytes.first().is_some_and(|first| first & 0x80 != 0) {
        true => put(to, tag, &[&[0], bytes.as_slice()].concat()),
        false => put(to, tag, bytes.get(skip..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for number in [0, 1, 127, 128, 255, 256, 0x7fff, 0x8000, 0x7fff_ffff] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, INTEGER, number);
            assert_eq!(Reader::new(&bytes).number(INTEGER), Ok(number));
        }
        for size in [0, 1, 127, 128, 5000] {
            let mut bytes = Vec::new();
            put(&mut bytes, OCTETS, &vec![7; size]);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.expect(OCTETS).unwrap().len(), size);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_no_element_is_refused() {
        #[rustfmt::skip]
        let table: [(&str, &[u8]); 7] = [
            ("nothing",                  &[]),
            ("a tag alone",              &[4]),
            ("less than it says",        &[4, 2, 0]),
            ("an indefinite length",     &[0x30, 0x80, 0, 0]),
            ("a length that is cut off", &[4, 0x82, 1]),
            ("more than is ever read",   &[4, 0x84, 0x7f, 0xff, 0xff, 0xff]),
            ("a length of five bytes",   &[4, 0x85, 0, 0, 0, 0, 1, 9]),
        ];
        for (name, bytes) in table {
            assert_eq!(Reader::new(bytes).element(), Err(Malformed), "{name}");
        }
    }
}
