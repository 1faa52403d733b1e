//! SOCKS5 (RFC 1928, RFC 1929) as far as a client may speak it to us: CONNECT to a name or an address, without
//! a method or with a name and a password. BIND and UDP do not exist.

use crate::target::{Host, Target, TargetError};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First byte of everything that a client says.
pub const VERSION: u8 = 5;
/// No authentication.
pub const NONE: u8 = 0;
/// Name and password.
pub const PASSWORD: u8 = 2;

/// Why a client is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    /// Another version.
    #[error("only SOCKS5 is spoken here")]
    Version,
    /// Nothing that we know.
    #[error("the client offers no method of ours")]
    Method,
    /// Not one byte 0 where there has to be one, or an empty name.
    #[error("the message is malformed")]
    Malformed,
    /// BIND or UDP ASSOCIATE.
    #[error("only CONNECT is supported: no BIND, no UDP")]
    Command,
    /// None of the three.
    #[error("an address of an unknown type")]
    AddressType,
    /// The target.
    #[error("the target is malformed: {0}")]
    Target(TargetError),
}

/// What was read, and how many bytes it is.
pub type Read<T> = Result<Option<(T, usize)>, SocksError>;

/// The greeting: the methods that the client offers.
pub fn greeting(bytes: &[u8]) -> Read<Vec<u8>> {
    match bytes {
        [] | [VERSION] => Ok(None),
        [VERSION, 0, ..] => Err(SocksError::Method),
        [VERSION, count, rest @ ..] => {
            let count = usize::from(*count);
            Ok(rest.get(..count).map(|methods| (methods.to_vec(), 2 + count)))
        }
        _ => Err(SocksError::Version),
    }
}

/// A name and a password.
pub fn password(bytes: &[u8]) -> Read<(Vec<u8>, Vec<u8>)> {
    let text = |at: usize| -> Option<&[u8]> {
        let length = usize::from(*bytes.get(at)?);
        bytes.get(at + 1..at + 1 + length)
    };
    match bytes.first() {
        None => return Ok(None),
        Some(1) => {}
        Some(_) => return Err(SocksError::Malformed),
    }
    let Some(name) = text(1) else { return Ok(None) };
    let at = 2 + name.len();
    let Some(password) = text(at) else { return Ok(None) };
    Ok(Some((
        (name.to_vec(), password.to_vec()),
        at + 1 + password.len(),
    )))
}

/// What the client wants to be connected with.
pub fn request(bytes: &[u8]) -> Read<Target> {
    let [version, command, reserved, kind, rest @ ..] = bytes else {
        return match bytes.first() {
            None | Some(&VERSION) => Ok(None),
            Some(_) => Err(SocksError::Version),
        };
    };
    match (*version, *command, *reserved) {
        (VERSION, 1, 0) => {}
        (VERSION, 2 | 3, 0) => return Err(SocksError::Command),
        (VERSION, ..) => return Err(SocksError::Malformed),
        _ => return Err(SocksError::Version),
    }
    let (length, before) = match (*kind, rest.first()) {
        (1, _) => (4, 0),
        (4, _) => (16, 0),
        (3, None) => return Ok(None),
        (3, Some(0)) => return Err(SocksError::Malformed),
        (3, Some(length)) => (usize::from(*length), 1),
        _ => return Err(SocksError::AddressType),
    };
    let Some(host) = rest.get(before..before + length) else {
        return Ok(None);
    };
    let Some([high, low]) = rest.get(before + length..before + length + 2) else {
        return Ok(None);
    };
    let port = u16::from_be_bytes([*high, *low]);
    if port == 0 {
        return Err(SocksError::Target(TargetError::Port));
    }
    let host = host_of(*kind, host)?;
    Ok(Some((Target { host, port }, 4 + before + length + 2)))
}

fn host_of(kind: u8, bytes: &[u8]) -> Result<Host, SocksError> {
    if let (1, [a, b, c, d]) = (kind, bytes) {
        return Ok(Host::Address(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d))));
    }
    if kind == 4 {
        let octets: [u8; 16] = bytes.try_into().map_err(|_| SocksError::Malformed)?;
        return Ok(Host::Address(IpAddr::V6(Ipv6Addr::from(octets))));
    }
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(SocksError::Malformed)?;
    // A name is sent as one; brackets belong to URLs.
    if text.starts_with('[') {
        return Err(SocksError::Malformed);
    }
    Host::parse(text).map_err(SocksError::Target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let named = |name: &str, port: u16| {
            let mut bytes = vec![5, 1, 0, 3, name.len() as u8];
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&port.to_be_bytes());
            bytes
        };
        type Row = (&'static str, Vec<u8>, Result<Option<&'static str>, &'static str>);
        #[rustfmt::skip]
        let table: [Row; 13] = [
            ("a name",          named("Example.com", 443),                 Ok(Some("example.com:443"))),
            ("an address",      vec![5, 1, 0, 1, 127, 0, 0, 1, 0, 80],     Ok(Some("127.0.0.1:80"))),
            ("IPv6",            [&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 80]].concat(), Ok(Some("[::1]:80"))),
            ("cut short",       vec![5, 1, 0, 3, 11, b'e'],                Ok(None)),
            ("nothing",         vec![],                                    Ok(None)),
            ("BIND",            vec![5, 2, 0, 1, 1, 1, 1, 1, 0, 80],       Err("only CONNECT is supported: no BIND, no UDP")),
            ("UDP",             vec![5, 3, 0, 1, 1, 1, 1, 1, 0, 80],       Err("only CONNECT is supported: no BIND, no UDP")),
            ("SOCKS4",          vec![4, 1, 0, 80, 1, 1, 1, 1, 0],          Err("only SOCKS5 is spoken here")),
            ("a type",          vec![5, 1, 0, 2, 1, 1, 1, 1, 0, 80],       Err("an address of an unknown type")),
            ("an empty name",   vec![5, 1, 0, 3, 0, 0, 80],                Err("the message is malformed")),
            ("an odd address",  named("0x7f.1", 80),                       Err("the target is malformed: the host is 127.0.0.1 in an odd spelling: `0x7f.1` is a loopback address")),
            ("NUL in a name",   named("example.com\0.evil.org", 80),       Err("the target is malformed: the host holds a space or a control character")),
            ("no port",         named("example.com", 0),                   Err("the target is malformed: invalid syntax: the port has to be a number from 1 to 65535")),
        ];
        for (name, bytes, expected) in table {
            let read = request(&bytes).map(|read| read.map(|(target, used)| (target.to_string(), used)));
            let expected = expected
                .map(|target| target.map(|target| (target.to_owned(), bytes.len())))
                .map_err(str::to_owned);
            assert_eq!(read.map_err(|error| error.to_string()), expected, "{name}");
        }
    }

    #[test]
    fn greetings_and_passwords() {
        assert_eq!(greeting(&[5, 2, 0, 2, 9]), Ok(Some((vec![0, 2], 4))));
        assert_eq!(greeting(&[5, 2, 0]), Ok(None));
        assert_eq!(greeting(&[5, 0]), Err(SocksError::Method));
        assert_eq!(greeting(&[4, 1]), Err(SocksError::Version));
        assert_eq!(
            password(&[1, 1, b'a', 2, b'b', b'c']),
            Ok(Some(((b"a".to_vec(), b"bc".to_vec()), 6)))
        );
        assert_eq!(password(&[1, 1, b'a', 2, b'b']), Ok(None));
        assert_eq!(password(&[5, 1]), Err(SocksError::Malformed));
    }
}
