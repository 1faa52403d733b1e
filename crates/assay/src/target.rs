//! A host and a port as a client writes them, read so that there is one spelling of each.
//!
//! Invariants:
//! - **What could be an address is one, or is refused**: a host that any resolver might take for a number
//!   is never a name.
//! - **Nothing is mended**: what would have to be decoded, folded or cut is refused by what it is.

use crate::address::Class;
use core::net::IpAddr;
use std::fmt::{Display, Formatter};

/// Longest host, in bytes, as DNS has it.
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a name, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A host in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Lower case ASCII, no dot at the end; never one that reads as an address.
    Name(String),
    /// An address in its usual spelling.
    Address(IpAddr),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Which host.
    pub host: Host,
    /// Which port.
    pub port: u16,
}

/// Why something is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing behind the host.
    #[error("missing port in address")]
    MissingPort,
    /// An IPv6 address without brackets.
    #[error("too many colons in address")]
    TooManyColons,
    /// Not 1 to 65535.
    #[error("invalid syntax: the port has to be a number from 1 to 65535")]
    Port,
    /// No host.
    #[error("the host is empty")]
    Empty,
    /// Longer than names may be.
    #[error("the host is longer than {HOST_BYTES_MAX} bytes, or a part of it than {LABEL_BYTES_MAX}")]
    Long,
    /// A character that no host has, by what it would do.
    #[error("the host {0}")]
    Character(&'static str),
    /// Letters that are not ASCII: a name is written as DNS has it.
    #[error("the host is not ASCII; DNS knows it as `{0}`")]
    NotAscii(String),
    /// An address in another spelling than the usual one.
    #[error("the host is {1} in an odd spelling: `{0}` is {2}")]
    Odd(String, IpAddr, Class),
    /// It ends in a number, and is no address.
    #[error("the host ends in a number and is no IPv4 address")]
    Number,
    /// `example.com.`
    #[error("the host ends in a dot; leave it out")]
    Dot,
    /// None of these, and no name.
    #[error("the host is no name: {0}")]
    Name(String),
}

impl Host {
    /// Reads a host, without a port: `example.com`, `10.0.0.1`, `[::1]`.
    pub fn parse(text: &str) -> Result<Host, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.len() > HOST_BYTES_MAX {
            return Err(TargetError::Long);
        }
        if let Some(what) = text.chars().find_map(foreign) {
            return Err(TargetError::Character(what));
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner
                .parse()
                .map(Host::Address)
                .map_err(|_| TargetError::Character("is in brackets and no address"));
        }
        if text.contains(['[', ']', ':']) {
            return Err(TargetError::Character(
                "has brackets or colons that do not belong there",
            ));
        }
        let read = url::Host::parse(text).map_err(|error| match ends_in_number(text) {
            true => TargetError::Number,
            false => TargetError::Name(error.to_string()),
        })?;
        match read {
            url::Host::Ipv4(address) if address.to_string() == text => Ok(Host::Address(address.into())),
            url::Host::Ipv4(address) => {
                let class = Class::of(address.into());
                Err(TargetError::Odd(text.to_owned(), address.into(), class))
            }
            url::Host::Ipv6(_) => Err(TargetError::Character("is an address without brackets")),
            url::Host::Domain(name) => named(text, name),
        }
    }
}

/// What `url` made of `text`, when that is how it was written.
fn named(text: &str, name: String) -> Result<Host, TargetError> {
    if !text.is_ascii() {
        return Err(TargetError::NotAscii(name));
    }
    if name.ends_with('.') {
        return Err(TargetError::Dot);
    }
    if name.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
        return Err(TargetError::Long);
    }
    let of_names = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && label.bytes().all(of_names);
    if name != text.to_ascii_lowercase() || !name.split('.').all(is_label) {
        return Err(TargetError::Name(
            "use letters, digits and `-` between single dots".to_owned(),
        ));
    }
    Ok(Host::Name(name))
}

/// Whether the last label is one that a resolver may take for a part of an address.
fn ends_in_number(text: &str) -> bool {
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    let of_digits = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    of_digits
        || last
            .strip_prefix("0x")
            .or(last.strip_prefix("0X"))
            .is_some_and(hex)
}

fn foreign(c: char) -> Option<&'static str> {
    Some(match c {
        '%' => "is percent-encoded, or has a zone",
        '@' => "names a user",
        '/' | '\\' | '?' | '#' => "holds a part of a path",
        c if c.is_whitespace() || c.is_control() => "holds a space or a control character",
        '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}' => {
            "holds an invisible character"
        }
        _ => return None,
    })
}

impl Target {
    /// Reads `HOST:PORT`; an IPv6 address is in brackets.
    pub fn parse(text: &str) -> Result<Target, TargetError> {
        let (host, port) = split(text)?;
        let port = port_of(port)?;
        Ok(Target {
            host: Host::parse(host)?,
            port,
        })
    }

    /// Reads `HOST` or `HOST:PORT`, as the header `Host` has it.
    pub fn parse_with(text: &str, default: u16) -> Result<Target, TargetError> {
        match split(text) {
            Err(TargetError::MissingPort) if !text.is_empty() => Ok(Target {
                host: Host::parse(text)?,
                port: default,
            }),
            Err(error) => Err(error),
            Ok(_) => Target::parse(text),
        }
    }
}

/// The host as it is written, with its brackets, and the port.
fn split(text: &str) -> Result<(&str, &str), TargetError> {
    if let Some(rest) = text.strip_prefix('[') {
        let end = rest.find(']').ok_or(TargetError::MissingPort)?;
        let port = rest.get(end + 1..).and_then(|after| after.strip_prefix(':'));
        let port = port.ok_or(TargetError::MissingPort)?;
        let host = text.get(..end + 2).ok_or(TargetError::MissingPort)?;
        return Ok((host, port));
    }
    let (host, port) = text.rsplit_once(':').ok_or(TargetError::MissingPort)?;
    match host.contains(':') {
        true => Err(TargetError::TooManyColons),
        false => Ok((host, port)),
    }
}

fn port_of(text: &str) -> Result<u16, TargetError> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port != 0 && digits);
    port.ok_or(TargetError::Port)
}

impl Display for Host {
    /// As the header `Host` has it: IPv6 in brackets.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match Target::parse(text) {
            Ok(target) => format!("{target}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn targets_have_one_spelling() {
        #[rustfmt::skip]
        let table = [
            ("example.com:443",            "example.com:443"),
            ("EXAMPLE.com:443",            "example.com:443"),
            ("a_b.example.com:443",        "a_b.example.com:443"),
            ("xn--jv8h.example.com:123",   "xn--jv8h.example.com:123"),
            ("10.0.0.1:80",                "10.0.0.1:80"),
            ("[::1]:80",                   "[::1]:80"),
            ("[0:0:0:0:0:0:0:1]:080",      "[::1]:80"),
            ("[127.0.0.1]:80",             "127.0.0.1:80"),
            ("example.com",                "missing port in address"),
            ("",                           "missing port in address"),
            ("[[example.net]]:1337",       "missing port in address"),
            ("2001:DB8::1337",             "too many colons in address"),
            ("::1:80",                     "too many colons in address"),
            ("example.com:",               "invalid syntax: the port has to be a number from 1 to 65535"),
            ("example.com:0",              "invalid syntax: the port has to be a number from 1 to 65535"),
            ("example.com:+80",            "invalid syntax: the port has to be a number from 1 to 65535"),
            ("example.com:65536",          "invalid syntax: the port has to be a number from 1 to 65535"),
            ("example.com:https",          "invalid syntax: the port has to be a number from 1 to 65535"),
            (":443",                       "the host is empty"),
            ("example.com.:443",           "the host ends in a dot; leave it out"),
            ("user@example.com:443",       "the host names a user"),
            ("example.com@evil.org:443",   "the host names a user"),
            ("example.com/x:443",          "the host holds a part of a path"),
            ("example.com\\x:443",         "the host holds a part of a path"),
            ("exa mple.com:443",           "the host holds a space or a control character"),
            ("exa\u{200b}mple.com:443",    "the host holds an invisible character"),
            ("%65xample.com:443",          "the host is percent-encoded, or has a zone"),
            ("[fe80::1%eth0]:80",          "the host is percent-encoded, or has a zone"),
            ("[example.com]:80",           "the host is in brackets and no address"),
            ("a..b:443",                   "the host is no name: use letters, digits and `-` between single dots"),
            ("-a.b:443",                   "the host is no name: use letters, digits and `-` between single dots"),
            ("*.example.com:443",          "the host is no name: use letters, digits and `-` between single dots"),
            ("ex@mple.com:443",            "the host names a user"),
            ("bücher.example:443",         "the host is not ASCII; DNS knows it as `xn--bcher-kva.example`"),
            ("ｅxample.com:443",           "the host is not ASCII; DNS knows it as `example.com`"),
        ];
        for (text, expected) in table {
            assert_eq!(check(text), expected, "{text:?}");
        }
        assert_eq!(
            check(&format!("{}.com:1", "a".repeat(64))),
            TargetError::Long.to_string()
        );
        assert_eq!(
            check(&format!("{}com:1", "a.".repeat(130))),
            TargetError::Long.to_string()
        );
    }

    #[test]
    fn every_spelling_of_an_address_is_that_address_or_nothing() {
        #[rustfmt::skip]
        let table = [
            ("2130706433",             Some("127.0.0.1")),
            ("0x7f000001",             Some("127.0.0.1")),
            ("0x7f.1",                 Some("127.0.0.1")),
            ("0177.0.0.1",             Some("127.0.0.1")),
            ("017700000001",           Some("127.0.0.1")),
            ("127.1",                  Some("127.0.0.1")),
            ("127.0.1",                Some("127.0.0.1")),
            ("127.0.0.1.",             Some("127.0.0.1")),
            ("127.0.0.01",             Some("127.0.0.1")),
            ("127。0。0。1",            Some("127.0.0.1")),
            ("１２７.0.0.1",            Some("127.0.0.1")),
            ("①②⑦.0.0.1",             Some("127.0.0.1")),
            ("0",                      Some("0.0.0.0")),
            ("2852039166",             Some("169.254.169.254")),
            ("0xa9fea9fe",             Some("169.254.169.254")),
            ("0xA9.0xFE.0xA9.0xFE",    Some("169.254.169.254")),
            ("0251.0376.0251.0376",    Some("169.254.169.254")),
            ("0251.254.169.254",       Some("169.254.169.254")),
            ("0251.00376.000251.0000376", Some("169.254.169.254")),
            ("169.254.43518",          Some("169.254.169.254")),
            ("425.510.425.510",        None),
            ("7147006462",             None),
            ("0o177.0.0.1",            None),
            ("1.2.3.4.5",              None),
            ("256.256.256.256",        None),
            ("a.0x",                   None),
            ("a.1",                    None),
        ];
        for (text, expected) in table {
            match Host::parse(text) {
                Err(TargetError::Odd(_, address, class)) => {
                    assert_eq!(Some(address.to_string().as_str()), expected, "{text}");
                    assert_ne!(class, Class::Public, "{text}");
                }
                Err(TargetError::Number) => assert_eq!(expected, None, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_host_header_may_leave_the_port_out() {
        let table = [
            ("example.com", Ok("example.com:80")),
            ("example.com:8080", Ok("example.com:8080")),
            ("[::1]", Ok("[::1]:80")),
            ("", Err(TargetError::MissingPort)),
            ("a:b:c", Err(TargetError::TooManyColons)),
        ];
        for (text, expected) in table {
            let read = Target::parse_with(text, 80);
            assert_eq!(
                read.map(|target| target.to_string()),
                expected.map(str::to_owned),
                "{text}"
            );
        }
    }
}
