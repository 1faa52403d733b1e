//! URLs and prefixes of them, as an agent or a document writes them. Resolves nothing, connects to nothing.
//!
//! Invariants:
//! - **What is compared is what is sent**: both sides are parsed by the same parser, and a text that it
//!   would have to mend is refused.

use core::net::IpAddr;
use url::Url;

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

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

/// What is allowed: equal scheme, host and port, and a path below the given one, by segments.
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

    /// Whether `url` has the scheme, host and port of this prefix.
    pub fn is_of_host(&self, url: &Url) -> bool {
        url.scheme() == self.url.scheme()
            && url.host_str() == self.url.host_str()
            && url.port_or_known_default() == self.url.port_or_known_default()
    }

    /// Whether `url` is at or below this prefix.
    pub fn covers(&self, url: &Url) -> bool {
        let same = self.is_of_host(url);
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
    use crate::address::refusal;

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
