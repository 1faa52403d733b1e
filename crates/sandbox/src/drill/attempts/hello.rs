//! The first message of a TLS client, with a name of the attacker's choice: as small as one can be that is read.

/// What kind of extensions there are, besides the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hidden {
    /// None.
    #[default]
    No,
    /// Encrypted Client Hello.
    Ech,
    /// Its forerunner, which encrypted the name alone.
    Esni,
}

/// A ClientHello (RFC 8446, 4.1.2) to `name`, or to nobody.
pub fn hello(name: Option<&str>, hidden: Hidden) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let entry = [&[0][..], &sized(name.as_bytes())].concat();
        extension(&mut extensions, 0, &sized(&entry));
    }
    // TLS 1.3, P-256 and one signature scheme: enough to be a hello.
    extension(&mut extensions, 43, &[2, 3, 4]);
    extension(&mut extensions, 10, &sized(&[0, 23]));
    extension(&mut extensions, 13, &sized(&[4, 3]));
    match hidden {
        Hidden::No => {}
        Hidden::Ech => extension(&mut extensions, 0xfe0d, &[0, 1, 2, 3]),
        Hidden::Esni => extension(&mut extensions, 0xffce, &[0, 1, 2, 3]),
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session, one suite, no compression.
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(sized(&extensions));
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

fn extension(all: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    all.extend(kind.to_be_bytes());
    all.extend(sized(bytes));
}

/// Behind their length, in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}
