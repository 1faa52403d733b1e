//! Which addresses and URLs a tool may reach. Pure: resolves nothing, connects to nothing.
//!
//! Invariants:
//! - **The metadata services of clouds are never reached**, whoever allows private addresses.
//! - **An address inside another one counts**: IPv4 in IPv6 is judged as IPv4.
//! - **What is compared is what is sent**: both sides are parsed by the same parser, and a text that it
//!   would have to mend is refused.

use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Why `address` may not be reached, or `None`. `private` opens loopback, private, shared and benchmark
/// networks; link-local, multicast, reserved and documentation addresses stay closed.
pub fn refusal(address: IpAddr, private: bool) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => refusal_v4(v4, private),
        IpAddr::V6(v6) => refusal_v6(v6, private),
    }
}

fn refusal_v4(address: Ipv4Addr, private: bool) -> Option<&'static str> {
    let octets = address.octets();
    let (always, unless_private) = match octets {
        // Alibaba's metadata service stands in the shared range, Amazon's and others' in link-local; Azure
        // gives a machine its secrets at an address that looks like any other.
        [100, 100, 100, 200] | [169, 254, 169, 254] | [168, 63, 129, 16] => {
            (Some("the metadata service of a cloud"), None)
        }
        [0, ..] => (Some("an unspecified address"), None),
        [169, 254, ..] => (Some("a link-local address"), None),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => (Some("a documentation address"), None),
        [192, 0, 0, _] | [192, 88, 99, _] => (Some("a reserved address"), None),
        [224..=239, ..] => (Some("a multicast address"), None),
        [240..=255, ..] => (Some("a reserved address"), None),
        [127, ..] => (None, Some("a loopback address")),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => (None, Some("a private address")),
        [100, 64..=127, ..] => (None, Some("a shared (CGNAT) address")),
        [198, 18..=19, ..] => (None, Some("a benchmark address")),
        _ => (None, None),
    };
    always.or(if private { None } else { unless_private })
}

fn refusal_v6(address: Ipv6Addr, private: bool) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        refusal_v4(Ipv4Addr::new(a, b, c, d), private)
    };
    let (always, unless_private) = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => (Some("an unspecified address"), None),
        [0, 0, 0, 0, 0, 0, 0, 1] => (None, Some("a loopback address")),
        // IPv4-mapped, then the deprecated IPv4-compatible and IPv4-translated forms.
        [0, 0, 0, 0, 0, 0xffff, high, low] => (embedded(high, low), None),
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => (Some("an IPv4 address in disguise"), None),
        // NAT64 translates to IPv4 behind our back: whoever allows private networks allows their gateway.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (embedded(high, low), Some("a NAT64 address")),
        [0x64, 0xff9b, ..] => (Some("a local NAT64 address"), None),
        [0x2002, ..] | [0x2001, 0, ..] => (Some("a tunnel address"), None),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => (Some("a documentation address"), None),
        [0x0100, 0, 0, 0, ..] => (Some("a reserved address"), None),
        // Amazon's network for metadata, credentials of pods, time and names; Scaleway's metadata.
        [0xfd00, 0x0ec2, ..] | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042] => {
            (Some("the metadata service of a cloud"), None)
        }
        // Google's IPv6 metadata address.
        [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => (Some("the metadata service of a cloud"), None),
        [0xfc00..=0xfdff, ..] => (None, Some("a unique local address")),
        [0xfe80..=0xfebf, ..] => (Some("a link-local address"), None),
        [0xfec0..=0xfeff, ..] => (Some("a site-local address"), None),
        [0xff00..=0xffff, ..] => (Some("a multicast address"), None),
        _ => (None, None),
    };
    always.or(if private { None } else { unless_private })
}

/// Reads a URL strictly: http or https, a host, no user, nothing that a parser would have to mend.
pub fn parse_url(text: &str) -> Result<Url, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("is longer than {URL_BYTES_MAX} bytes"));
    }
    if text
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
    {
        return Err("holds a space, a control character or a backslash".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("has scheme `{}`; use http or https", url.scheme()));
    }
    // The parser would mend `http:host`, `http:/host` and `http:///host`.
    let rest = text.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err("is not a URL: `//` has to stand between scheme and host".to_owned());
    }
    if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return Err("names a user; credentials do not belong in a URL".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has no host".to_owned());
    }
    Ok(url)
}

/// The address in the URL when its host is one in any spelling; names are the resolver's affair.
pub fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host)
        .parse()
        .ok()
}

/// The URL without query and fragment: the name of the resource.
pub fn resource(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    bare.into()
}

/// What a binding allows: equal scheme, host and port, and a path below the given one, by segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    url: Url,
    segments: Vec<String>,
}

impl Prefix {
    /// Reads `http://127.0.0.1:8080/api`; a final slash changes nothing.
    pub fn parse(text: &str) -> Result<Prefix, String> {
        let url = parse_url(text)?;
        if url.query().is_some() || url.fragment().is_some() || text.contains('*') {
            return Err("is a prefix: leave out query, fragment and `*`".to_owned());
        }
        let segments: Vec<String> = path(&url)
            .into_iter()
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect();
        if segments.iter().any(|s| !is_plain(s)) {
            return Err("has a path with an encoded slash or dots".to_owned());
        }
        Ok(Prefix { url, segments })
    }

    /// Whether `url` is at or below this prefix.
    pub fn covers(&self, url: &Url) -> bool {
        let same = url.scheme() == self.url.scheme()
            && url.host_str() == self.url.host_str()
            && url.port_or_known_default() == self.url.port_or_known_default();
        if self.segments.is_empty() {
            return same;
        }
        let path = path(url);
        // Below a path, a server that decodes twice or ignores `;` could climb out again.
        same && path.iter().all(|s| is_plain(s))
            && path.len() >= self.segments.len()
            && self
                .segments
                .iter()
                .zip(&path)
                .all(|(ours, theirs)| ours == theirs)
    }

    /// Patterns of the resources that are covered.
    pub fn patterns(&self) -> Vec<String> {
        let mut bare = self.url.clone();
        bare.set_path(&self.segments.join("/"));
        let bare: String = bare.into();
        if self.segments.is_empty() {
            vec![format!("{bare}*")]
        } else {
            vec![format!("{bare}/*"), bare]
        }
    }
}

fn path(url: &Url) -> Vec<&str> {
    url.path_segments().map(Iterator::collect).unwrap_or_default()
}

fn is_plain(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    let bad = ["%2f", "%5c", "%2e", "%25", "%00", "%3b"]
        .iter()
        .any(|code| lower.contains(code));
    !bad && !segment.starts_with("..") && segment != "." && !segment.contains(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        #[rustfmt::skip]
        let table = [
            // address                  public only                        with `private`
            ("93.184.216.34",           "-",                               "-"),
            ("2606:2800:220:1::1",      "-",                               "-"),
            ("127.0.0.1",               "a loopback address",              "-"),
            ("127.255.255.254",         "a loopback address",              "-"),
            ("::1",                     "a loopback address",              "-"),
            ("10.0.0.1",                "a private address",               "-"),
            ("172.16.0.1",              "a private address",               "-"),
            ("172.31.255.255",          "a private address",               "-"),
            ("172.32.0.1",              "-",                               "-"),
            ("192.168.1.1",             "a private address",               "-"),
            ("100.64.0.1",              "a shared (CGNAT) address",        "-"),
            ("100.128.0.1",             "-",                               "-"),
            ("198.18.0.1",              "a benchmark address",             "-"),
            ("fc00::1",                 "a unique local address",          "-"),
            ("fd12:3456::1",            "a unique local address",          "-"),
            ("64:ff9b::8.8.8.8",        "a NAT64 address",                 "-"),
            ("64:ff9b::169.254.169.254","the metadata service of a cloud", "the metadata service of a cloud"),
            ("64:ff9b::127.0.0.1",      "a loopback address",              "-"),
            ("64:ff9b:1::1",            "a local NAT64 address",           "a local NAT64 address"),
            ("::ffff:127.0.0.1",        "a loopback address",              "-"),
            ("::ffff:10.1.2.3",         "a private address",               "-"),
            ("::ffff:8.8.8.8",          "-",                               "-"),
            ("::ffff:169.254.169.254",  "the metadata service of a cloud", "the metadata service of a cloud"),
            ("::127.0.0.1",             "an IPv4 address in disguise",     "an IPv4 address in disguise"),
            ("::ffff:0:127.0.0.1",      "an IPv4 address in disguise",     "an IPv4 address in disguise"),
            ("2002:7f00:1::",           "a tunnel address",                "a tunnel address"),
            ("2001:0:1::1",             "a tunnel address",                "a tunnel address"),
            ("169.254.169.254",         "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:ec2::254",           "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd20:ce::254",            "the metadata service of a cloud", "the metadata service of a cloud"),
            ("168.63.129.16",           "the metadata service of a cloud", "the metadata service of a cloud"),
            ("::ffff:168.63.129.16",    "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:ec2::23",            "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:42::42",             "the metadata service of a cloud", "the metadata service of a cloud"),
            ("fd00:ec3::23",            "a unique local address",          "-"),
            ("100.100.100.200",         "the metadata service of a cloud", "the metadata service of a cloud"),
            ("169.254.170.2",           "a link-local address",            "a link-local address"),
            ("fe80::1",                 "a link-local address",            "a link-local address"),
            ("fec0::1",                 "a site-local address",            "a site-local address"),
            ("0.0.0.0",                 "an unspecified address",          "an unspecified address"),
            ("0.1.2.3",                 "an unspecified address",          "an unspecified address"),
            ("::",                      "an unspecified address",          "an unspecified address"),
            ("224.0.0.1",               "a multicast address",             "a multicast address"),
            ("ff02::1",                 "a multicast address",             "a multicast address"),
            ("255.255.255.255",         "a reserved address",              "a reserved address"),
            ("192.0.2.1",               "a documentation address",         "a documentation address"),
            ("2001:db8::1",             "a documentation address",         "a documentation address"),
            ("100::1",                  "a reserved address",              "a reserved address"),
        ];
        for (address, public, private) in table {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(refusal(address, false).unwrap_or("-"), public, "{address} public");
            assert_eq!(
                refusal(address, true).unwrap_or("-"),
                private,
                "{address} private"
            );
        }
    }

    #[test]
    fn every_spelling_of_an_address_is_seen_as_that_address() {
        #[rustfmt::skip]
        let table = [
            ("http://2130706433/",               "127.0.0.1"),
            ("http://0x7f000001/",               "127.0.0.1"),
            ("http://0x7f.1/",                   "127.0.0.1"),
            ("http://0177.0.0.1/",               "127.0.0.1"),
            ("http://017700000001/",             "127.0.0.1"),
            ("http://127.1/",                    "127.0.0.1"),
            ("http://127.0.1/",                  "127.0.0.1"),
            ("http://127.0.0.1./",               "127.0.0.1"),
            ("http://%31%32%37.0.0.1/",          "127.0.0.1"),
            ("http://127。0。0。1/",              "127.0.0.1"),
            ("http://１２７.0.0.1/",              "127.0.0.1"),
            ("http://①②⑦.0.0.1/",               "127.0.0.1"),
            ("http://[::ffff:127.0.0.1]/",       "::ffff:127.0.0.1"),
            ("http://[::FFFF:7f00:1]/",          "::ffff:127.0.0.1"),
            ("http://[0:0:0:0:0:0:0:1]/",        "::1"),
            ("http://2852039166/",               "169.254.169.254"),
            ("http://0xa9fea9fe/latest",         "169.254.169.254"),
            ("http://0251.0376.0251.0376/",      "169.254.169.254"),
            ("http://169.254.43518/",            "169.254.169.254"),
            ("http://[fd00:ec2::254]/latest",    "fd00:ec2::254"),
            ("http://0/",                        "0.0.0.0"),
        ];
        for (text, expected) in table {
            let address = literal(&parse_url(text).unwrap());
            assert_eq!(address, Some(expected.parse().unwrap()), "{text}");
            assert!(refusal(address.unwrap(), false).is_some(), "{text}");
        }
        assert_eq!(literal(&parse_url("http://localhost/").unwrap()), None);
    }

    #[test]
    fn urls_are_read_strictly() {
        #[rustfmt::skip]
        let table = [
            ("http://example.com/a?b#c",        "-"),
            ("https://example.com",             "-"),
            ("http://user@example.com/",        "names a user; credentials do not belong in a URL"),
            ("http://user:x@example.com/",      "names a user; credentials do not belong in a URL"),
            ("http://@example.com/",            "names a user; credentials do not belong in a URL"),
            ("http://a@b@example.com/",         "names a user; credentials do not belong in a URL"),
            ("file:///etc/passwd",              "has scheme `file`; use http or https"),
            ("gopher://example.com/",           "has scheme `gopher`; use http or https"),
            ("http://example.com\\@evil.test/", "holds a space, a control character or a backslash"),
            ("http://example.com/a b",          "holds a space, a control character or a backslash"),
            ("http://exa\nmple.com/",           "holds a space, a control character or a backslash"),
            ("/relative",                       "is not a URL: relative URL without a base"),
            ("http://",                         "is not a URL: empty host"),
            ("http:example.com/",               "is not a URL: `//` has to stand between scheme and host"),
            ("http:/example.com/",              "is not a URL: `//` has to stand between scheme and host"),
            ("http:///example.com/",            "is not a URL: `//` has to stand between scheme and host"),
            ("http:////example.com/",           "is not a URL: `//` has to stand between scheme and host"),
            ("HTTP://example.com/",             "-"),
            ("http://[::1%25eth0]/",            "is not a URL: invalid IPv6 address"),
            ("http://1.2.3.4.5/",               "is not a URL: invalid IPv4 address"),
            ("http://256.256.256.256/",         "is not a URL: invalid IPv4 address"),
        ];
        for (text, expected) in table {
            assert_eq!(
                parse_url(text).err().unwrap_or("-".to_owned()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn prefixes() {
        #[rustfmt::skip]
        let table = [
            ("http://h:8080/",    "http://h:8080/any/thing",        true),
            ("http://h:8080/",    "http://h:8080",                  true),
            ("http://h:8080/",    "http://h:8081/",                 false),
            ("http://h:8080/",    "https://h:8080/",                false),
            ("http://h:8080/",    "http://h:8080.evil.test/",       false),
            ("http://h/",         "http://h:80/",                   true),
            ("http://h/",         "http://H/",                      true),
            ("http://h/",         "http://h./",                     false),
            ("http://h/",         "http://h.evil.test/",            false),
            ("http://h/",         "http://evil.test/?http://h/",    false),
            ("http://h/",         "http://h/a%2Fb",                 true),
            ("http://h/api",      "http://h/api",                   true),
            ("http://h/api",      "http://h/api/",                  true),
            ("http://h/api/",     "http://h/api",                   true),
            ("http://h/api",      "http://h/api/x?y",               true),
            ("http://h/api",      "http://h/apix",                  false),
            ("http://h/api",      "http://h/API",                   false),
            ("http://h/api",      "http://h/",                      false),
            ("http://h/api",      "http://h/api/../secret",         false),
            ("http://h/api",      "http://h/api/%2e%2e/secret",     false),
            ("http://h/api",      "http://h/api/..%2fsecret",       false),
            ("http://h/api",      "http://h/api/%2e%2e%2fsecret",   false),
            ("http://h/api",      "http://h/api/%252e%252e%252fs",  false),
            ("http://h/api",      "http://h/api/..;/secret",        false),
            ("http://h/api",      "http://h/api/..%5csecret",       false),
            ("http://h/api",      "http://h//api/x",                false),
            ("http://127.0.0.1/", "http://2130706433/",             true),
        ];
        for (prefix, url, expected) in table {
            let covers = parse_url(url).is_ok_and(|url| Prefix::parse(prefix).unwrap().covers(&url));
            assert_eq!(covers, expected, "{prefix} {url}");
        }
        for bad in ["http://h/*", "http://h/?a", "http://h/a%2fb", "h/"] {
            assert!(Prefix::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_cover_what_the_prefix_covers() {
        assert_eq!(Prefix::parse("http://h:80").unwrap().patterns(), ["http://h/*"]);
        assert_eq!(
            Prefix::parse("http://h:81/a/b/").unwrap().patterns(),
            ["http://h:81/a/b/*", "http://h:81/a/b"]
        );
    }
}
