//! The first message of a TLS client, as far as it says whom it wants to speak to. Decrypts nothing.
//!
//! Total and strict: what contradicts itself, or says a thing twice, is refused rather than guessed.

/// Largest message, in bytes: what fits into a few records, post-quantum keys among it.
pub const BYTES_MAX: usize = 64 * 1024;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const ENCRYPTED_HELLO: u16 = 0xfe0d;
const ENCRYPTED_NAME: u16 = 0xffce;

/// What a client said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Whom it wants to speak to, in lower case.
    pub name: Option<String>,
    /// The protocols it offers.
    pub protocols: Vec<String>,
    /// Whether it holds another, encrypted hello (ECH), or an encrypted name (ESNI): then [`Hello::name`] may be a
    /// pretext.
    pub is_encrypted: bool,
}

/// Why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The first bytes are of another protocol.
    #[error("these are not the first bytes of TLS")]
    NotTls,
    /// Malformed.
    #[error("the first message of TLS is malformed: {0}")]
    Malformed(&'static str),
}

impl Hello {
    /// Reads the records at the start of `bytes`; `None` when more is needed.
    pub fn parse(bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
        let mut message = Vec::new();
        let mut rest = bytes;
        loop {
            // Told as soon as it can be: a client that speaks something else may wait for an answer.
            match rest {
                [kind, ..] if *kind != HANDSHAKE => return Err(HelloError::NotTls),
                [_, major, ..] if *major != 3 => return Err(HelloError::NotTls),
                _ => {}
            }
            let [_, _, _, high, low, body @ ..] = rest else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length == 0 || length > RECORD_BYTES_MAX {
                return Err(HelloError::Malformed("a record is empty or too long"));
            }
            let fragment = body.get(..length.min(body.len())).unwrap_or_default();
            message.extend_from_slice(fragment);
            match complete(&message)? {
                Some(hello) => return read(hello).map(Some),
                None if fragment.len() < length => return Ok(None),
                None => rest = body.get(length..).unwrap_or_default(),
            }
        }
    }
}

/// The body of the message, once all of it is there.
fn complete(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    match message.first() {
        None | Some(&CLIENT_HELLO) => {}
        Some(_) => return Err(HelloError::Malformed("it is no ClientHello")),
    }
    let [_, a, b, c, body @ ..] = message else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if length > BYTES_MAX {
        return Err(HelloError::Malformed("it is too long"));
    }
    if body.len() > length {
        return Err(HelloError::Malformed("something follows it in its record"));
    }
    Ok((body.len() == length).then_some(body))
}

fn read(body: &[u8]) -> Result<Hello, HelloError> {
    const SHORT: HelloError = HelloError::Malformed("it ends too early");
    let mut reader = Reader(body);
    // Version and random.
    reader.take(2 + 32).ok_or(SHORT)?;
    reader.vector(1).ok_or(SHORT)?;
    reader.vector(2).ok_or(SHORT)?;
    reader.vector(1).ok_or(SHORT)?;
    let mut hello = Hello::default();
    if reader.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader(reader.vector(2).ok_or(SHORT)?);
    if !reader.0.is_empty() {
        return Err(HelloError::Malformed("something follows its extensions"));
    }
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.number().ok_or(SHORT)?;
        let body = extensions.vector(2).ok_or(SHORT)?;
        if seen.contains(&kind) {
            return Err(HelloError::Malformed("an extension is there twice"));
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => hello.name = Some(name(body)?),
            ALPN => hello.protocols = protocols(body)?,
            ENCRYPTED_HELLO | ENCRYPTED_NAME => hello.is_encrypted = true,
            _ => {}
        }
    }
    Ok(hello)
}

/// The one host name in the list.
fn name(body: &[u8]) -> Result<String, HelloError> {
    const WRONG: HelloError = HelloError::Malformed("the server name is malformed, or not one");
    let mut reader = Reader(body);
    let mut list = Reader(reader.vector(2).ok_or(WRONG)?);
    let is_name = list.take(1).ok_or(WRONG)? == [0];
    let name = list.vector(2).ok_or(WRONG)?;
    if !is_name || !list.0.is_empty() || !reader.0.is_empty() {
        return Err(WRONG);
    }
    let text = std::str::from_utf8(name).map_err(|_| WRONG)?;
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| text.to_ascii_lowercase()).ok_or(WRONG)
}

fn protocols(body: &[u8]) -> Result<Vec<String>, HelloError> {
    const WRONG: HelloError = HelloError::Malformed("the list of protocols is malformed");
    let mut list = Reader(Reader(body).vector(2).ok_or(WRONG)?);
    let mut all = Vec::new();
    while !list.0.is_empty() {
        let one = list.vector(1).ok_or(WRONG)?;
        all.push(String::from_utf8_lossy(one).into_owned());
    }
    Ok(all)
}

/// What is left.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// Bytes whose length stands before them, in `width` bytes.
    fn vector(&mut self, width: usize) -> Option<&'b [u8]> {
        let length = self.take(width)?;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(width: usize, bytes: &[u8]) -> Vec<u8> {
        let length = (bytes.len() as u32).to_be_bytes();
        [&length[4 - width..], bytes].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, body)].concat()
    }

    fn sni(name: &str) -> Vec<u8> {
        extension(0, &vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat()))
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[7; 32],
            &vector(1, &[]),
            &vector(2, &[0x13, 1]),
            &vector(1, &[0]),
            &vector(2, &extensions.concat()),
        ];
        [&[1][..], &vector(3, &body.concat())].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message
            .chunks(size)
            .flat_map(|chunk| [&[22, 3, 1][..], &vector(2, chunk)].concat())
            .collect()
    }

    fn check(bytes: &[u8]) -> String {
        match Hello::parse(bytes) {
            Ok(None) => "more".to_owned(),
            Ok(Some(hello)) => format!("{:?} {:?} {}", hello.name, hello.protocols, hello.is_encrypted),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn hellos() {
        let alpn = extension(
            16,
            &vector(2, &[vector(1, b"h2"), vector(1, b"http/1.1")].concat()),
        );
        let ech = extension(0xfe0d, &[0; 8]);
        let two_names = extension(
            0,
            &vector(
                2,
                &[&[0][..], &vector(2, b"a.b"), &[0], &vector(2, b"c.d")].concat(),
            ),
        );
        let whole = records(&message(&[sni("A.b"), alpn.clone()]), 16_000);
        #[rustfmt::skip]
        let table = [
            ("a name",             whole.clone(),                                         r#"Some("a.b") ["h2", "http/1.1"] false"#),
            ("in small records",   records(&message(&[sni("a.b"), alpn]), 7),             r#"Some("a.b") ["h2", "http/1.1"] false"#),
            ("no name",            records(&message(&[]), 16_000),                        "None [] false"),
            ("ECH",                records(&message(&[sni("a.b"), ech]), 16_000),         r#"Some("a.b") [] true"#),
            ("ESNI",               records(&message(&[extension(0xffce, &[])]), 16_000),  "None [] true"),
            ("two names",          records(&message(&[two_names]), 16_000),               "the first message of TLS is malformed: the server name is malformed, or not one"),
            ("a name twice",       records(&message(&[sni("a.b"), sni("c.d")]), 16_000),  "the first message of TLS is malformed: an extension is there twice"),
            ("a name with NUL",    records(&message(&[sni("a.b\0c")]), 16_000),           "the first message of TLS is malformed: the server name is malformed, or not one"),
            ("an empty name",      records(&message(&[sni("")]), 16_000),                 "the first message of TLS is malformed: the server name is malformed, or not one"),
            ("HTTP",               b"GET / HTTP/1.1\r\n".to_vec(),                        "these are not the first bytes of TLS"),
            ("SSH",                b"SSH-2.0-x\r\n".to_vec(),                             "these are not the first bytes of TLS"),
            ("SSLv2",              vec![0x80, 0x2e, 1, 0, 2],                             "these are not the first bytes of TLS"),
            ("an empty record",    vec![22, 3, 1, 0, 0],                                  "the first message of TLS is malformed: a record is empty or too long"),
            ("another message",    records(&[2, 0, 0, 1, 0], 100),                        "the first message of TLS is malformed: it is no ClientHello"),
            ("more in the record", records(&[&message(&[])[..], &[1]].concat(), 16_000),  "the first message of TLS is malformed: something follows it in its record"),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(check(&bytes), expected, "{name}");
        }
        for cut in 0..whole.len() {
            assert_eq!(check(&whole[..cut]), "more", "{cut} bytes");
        }
    }
}
