//! The head of an HTTP/1 message, read so strictly that nobody behind us can read it otherwise.
//!
//! Invariants:
//! - **One reading.** Lines end in CRLF and nothing else does; no line goes on in the next; a length is said once,
//!   in one way; there is one `Host`, and it is the one of the target.
//! - **Bounded.** No more than [`BYTES_MAX`] are looked at, and no more than [`FIELDS_MAX`] fields kept.

use crate::target::{Target, TargetError};

/// Largest head, in bytes, with the empty line.
pub const BYTES_MAX: usize = 32 * 1024;
/// Most fields.
pub const FIELDS_MAX: usize = 100;
/// Longest target of a request, in bytes.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Fields that are of one connection and never passed on (RFC 9110, 7.6.1), with those that tell a server who
/// stands between, and ours.
const OF_A_HOP: [&str; 14] = [
    "connection",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
];

/// One field: the name as it was written, the value without space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// A token.
    pub name: String,
    /// No control character but the tab.
    pub value: Vec<u8>,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection ends. Of answers only.
    UntilClose,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `CONNECT host:port`.
    Connect(Target),
    /// `GET http://host/path`: where, and path with query.
    Absolute(Target, String),
    /// `GET /path`.
    Origin(String),
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// What for.
    pub asked: Asked,
    /// What `Host` says, when there is one.
    pub host: Option<Target>,
    /// Whether it is HTTP/1.1, and not 1.0.
    pub is_1_1: bool,
    /// In order.
    pub fields: Vec<Field>,
    /// What follows.
    pub body: Body,
    /// Bytes of the head.
    pub length: usize,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// What stands behind it.
    pub reason: String,
    /// Whether it is HTTP/1.1, and not 1.0.
    pub is_1_1: bool,
    /// In order.
    pub fields: Vec<Field>,
    /// What follows, unless the request was `HEAD` or the status has none.
    pub body: Body,
    /// Bytes of the head.
    pub length: usize,
}

/// Why a head is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Past a limit.
    #[error("the head is too large: {0}")]
    TooLarge(&'static str),
    /// CR without LF, LF without CR, NUL.
    #[error("a line ends in something else than CRLF, or a control character is in it")]
    Control,
    /// The first line.
    #[error("the first line is malformed: {0}")]
    Line(&'static str),
    /// Another version of HTTP.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// A field.
    #[error("a header is malformed: {0}")]
    Field(&'static str),
    /// A length that can be read in two ways.
    #[error("the length of the body is ambiguous: {0}")]
    Length(&'static str),
    /// More or less than one `Host`, or another one than the target's.
    #[error("{0}")]
    Host(&'static str),
    /// The target.
    #[error("the target is malformed: {0}")]
    Target(TargetError),
    /// Neither an authority, nor an absolute URL, nor a path.
    #[error("the target is malformed: {0}")]
    Form(&'static str),
}

impl Request {
    /// Reads the head at the start of `bytes`; `None` when more is needed.
    pub fn parse(bytes: &[u8]) -> Result<Option<Request>, HeadError> {
        let Some((line, fields, length)) = lines(bytes)? else {
            return Ok(None);
        };
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError::Line("use `METHOD TARGET VERSION` with single spaces"));
        };
        if !is_token(method) || method.len() > 32 {
            return Err(HeadError::Line("the method is no token"));
        }
        if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(HeadError::Line(
                "the target holds something else than visible ASCII",
            ));
        }
        let is_1_1 = version_of(version)?;
        let asked = asked(method, target)?;
        let host = host(&fields, &asked, is_1_1)?;
        let body = body_of(&fields, is_1_1)?.unwrap_or(Body::None);
        if matches!(asked, Asked::Connect(_)) && !matches!(body, Body::None | Body::Length(0)) {
            return Err(HeadError::Length("CONNECT has no body"));
        }
        Ok(Some(Request {
            method: method.to_owned(),
            asked,
            host,
            is_1_1,
            fields,
            body,
            length,
        }))
    }
}

impl Response {
    /// Reads the head at the start of `bytes`; `None` when more is needed.
    pub fn parse(bytes: &[u8]) -> Result<Option<Response>, HeadError> {
        let Some((line, fields, length)) = lines(bytes)? else {
            return Ok(None);
        };
        let (version, rest) = line
            .split_once(' ')
            .ok_or(HeadError::Line("use `VERSION STATUS REASON`"))?;
        let is_1_1 = version_of(version)?;
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let digits = status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit());
        let status = status
            .parse()
            .ok()
            .filter(|status| digits && (100..=599).contains(status));
        let status = status.ok_or(HeadError::Line("the status is not 100 to 599"))?;
        let body = match status {
            100..=199 | 204 | 304 => {
                body_of(&fields, is_1_1)?;
                Body::None
            }
            _ => body_of(&fields, is_1_1)?.unwrap_or(Body::UntilClose),
        };
        Ok(Some(Response {
            status,
            reason: reason.to_owned(),
            is_1_1,
            fields,
            body,
            length,
        }))
    }
}

/// The values of a field.
pub fn values<'f>(fields: &'f [Field], name: &str) -> impl Iterator<Item = &'f [u8]> {
    let named = fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| field.value.as_slice())
}

/// The fields that go on past this hop: none that is of a hop, or that `Connection` names, or that tells who stands
/// between. `Host` and `Content-Length` are left out too, for whoever passes them on writes their own.
pub fn passed_on(fields: &[Field]) -> impl Iterator<Item = &Field> {
    let named: Vec<String> = values(fields, "connection")
        .flat_map(|value| value.split(|b| *b == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .collect();
    fields.iter().filter(move |field| {
        let name = field.name.to_ascii_lowercase();
        let ours = name == "host" || name == "content-length" || name.starts_with("x-forwarded-");
        !ours && !OF_A_HOP.contains(&name.as_str()) && !named.contains(&name)
    })
}

/// The first line, the fields, and how many bytes they are.
type Lines = (String, Vec<Field>, usize);

fn lines(bytes: &[u8]) -> Result<Option<Lines>, HeadError> {
    let seen = bytes.get(..BYTES_MAX.min(bytes.len())).unwrap_or_default();
    let end = seen.windows(4).position(|four| four == b"\r\n\r\n");
    let known = seen
        .get(..end.map_or(seen.len(), |end| end + 2))
        .unwrap_or_default();
    controlled(known)?;
    let Some(end) = end else {
        return match bytes.len() {
            BYTES_MAX.. => Err(HeadError::TooLarge("more than 32 KiB")),
            _ => Ok(None),
        };
    };
    let mut lines = known
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let first = std::str::from_utf8(first).map_err(|_| HeadError::Line("it is not ASCII"))?;
    if first.len() > TARGET_BYTES_MAX {
        return Err(HeadError::TooLarge("the first line is longer than 8 KiB"));
    }
    let mut fields = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if fields.len() == FIELDS_MAX {
            return Err(HeadError::TooLarge("more than 100 headers"));
        }
        fields.push(field(line)?);
    }
    Ok(Some((first.to_owned(), fields, end + 4)))
}

/// Every LF is after a CR, every CR before an LF or not yet followed, and nothing else is a control character but
/// the tab.
fn controlled(known: &[u8]) -> Result<(), HeadError> {
    let mut before = 0;
    for byte in known {
        match byte {
            b'\n' if before != b'\r' => return Err(HeadError::Control),
            b'\n' => {}
            _ if before == b'\r' => return Err(HeadError::Control),
            b'\t' | b'\r' => {}
            0..=0x1f | 0x7f => return Err(HeadError::Control),
            _ => {}
        }
        before = *byte;
    }
    Ok(())
}

fn field(line: &[u8]) -> Result<Field, HeadError> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(HeadError::Field("a line begins with space, as if it went on"));
    }
    let colon = line.iter().position(|b| *b == b':');
    let colon = colon.ok_or(HeadError::Field("a line has no colon"))?;
    let (name, value) = line.split_at(colon);
    let name = std::str::from_utf8(name).ok().filter(|name| is_token(name));
    let name = name.ok_or(HeadError::Field("a name is no token, or has space behind it"))?;
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    Ok(Field {
        name: name.to_owned(),
        value: value.to_vec(),
    })
}

fn is_token(text: &str) -> bool {
    let of_tokens = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(of_tokens)
}

fn version_of(text: &str) -> Result<bool, HeadError> {
    match text {
        "HTTP/1.1" => Ok(true),
        "HTTP/1.0" => Ok(false),
        _ => Err(HeadError::Version),
    }
}

fn asked(method: &str, target: &str) -> Result<Asked, HeadError> {
    if method == "CONNECT" {
        return Target::parse(target)
            .map(Asked::Connect)
            .map_err(HeadError::Target);
    }
    if target.starts_with('/') {
        return path(target).map(Asked::Origin);
    }
    let rest = target
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("http://"))
        .and_then(|_| target.get(7..))
        .ok_or(HeadError::Form(
            "use http://HOST/PATH, and CONNECT for everything else",
        ))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let target = Target::parse_with(authority, 80).map_err(HeadError::Target)?;
    let rest = match rest {
        "" => "/".to_owned(),
        rest if rest.starts_with('?') => format!("/{rest}"),
        rest => rest.to_owned(),
    };
    path(&rest).map(|path| Asked::Absolute(target, path))
}

fn path(text: &str) -> Result<String, HeadError> {
    if text.contains(['#', '\\']) {
        return Err(HeadError::Form("a path holds `#` or a backslash"));
    }
    Ok(text.to_owned())
}

/// One `Host`, of the target. HTTP/1.0 needs none.
fn host(fields: &[Field], asked: &Asked, is_1_1: bool) -> Result<Option<Target>, HeadError> {
    let mut hosts = values(fields, "host");
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(HeadError::Host("there is more than one Host"));
    }
    let default = match asked {
        Asked::Connect(target) => target.port,
        Asked::Absolute(..) => 80,
        Asked::Origin(_) => 443,
    };
    let host = match first {
        None if is_1_1 => return Err(HeadError::Host("there is no Host")),
        None => return Ok(None),
        Some(host) => std::str::from_utf8(host).map_err(|_| HeadError::Host("the Host is not ASCII"))?,
    };
    let host = Target::parse_with(host, default).map_err(HeadError::Target)?;
    match asked {
        Asked::Connect(target) | Asked::Absolute(target, _) if *target != host => {
            Err(HeadError::Host("the Host is another one than the target's"))
        }
        _ => Ok(Some(host)),
    }
}

/// The length of the body; `None` when nothing says one.
fn body_of(fields: &[Field], is_1_1: bool) -> Result<Option<Body>, HeadError> {
    let mut lengths = values(fields, "content-length");
    let mut codings = values(fields, "transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() {
        return Err(HeadError::Length("there is more than one Content-Length"));
    }
    if codings.next().is_some() {
        return Err(HeadError::Length("there is more than one Transfer-Encoding"));
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err(HeadError::Length(
            "there are both Content-Length and Transfer-Encoding",
        )),
        (None, None) => Ok(None),
        (None, Some(_)) if !is_1_1 => Err(HeadError::Length("HTTP/1.0 knows no Transfer-Encoding")),
        (None, Some(coding)) => match coding.eq_ignore_ascii_case(b"chunked") {
            true => Ok(Some(Body::Chunked)),
            false => Err(HeadError::Length("the only Transfer-Encoding is `chunked`")),
        },
        (Some(length), None) => number(length)
            .map(|length| Some(Body::Length(length)))
            .ok_or(HeadError::Length("Content-Length is no plain number")),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let plain = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

/// The size that a line before a chunk says, without its CRLF; no extensions.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    let plain = (1..=12).contains(&line.len()) && line.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(line).ok().filter(|_| plain)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match Request::parse(text.as_bytes()) {
            Ok(None) => "more".to_owned(),
            Ok(Some(read)) => format!("{} {:?} {:?}", read.method, read.asked, read.body),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn requests_are_read_in_one_way_or_not_at_all() {
        const CONTROL: &str = "a line ends in something else than CRLF, or a control character is in it";
        #[rustfmt::skip]
        let table = [
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n", r#"CONNECT Connect(Target { host: Name("a.b"), port: 443 }) None"#),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n",     r#"CONNECT Connect(Target { host: Name("a.b"), port: 443 }) None"#),
            ("CONNECT a.b:443 HTTP/1.0\r\n\r\n",                  r#"CONNECT Connect(Target { host: Name("a.b"), port: 443 }) None"#),
            ("GET http://a.b/c?d HTTP/1.1\r\nHost: a.b\r\n\r\n",  r#"GET Absolute(Target { host: Name("a.b"), port: 80 }, "/c?d") None"#),
            ("GET http://a.b HTTP/1.1\r\nHost: a.b:80\r\n\r\n",   r#"GET Absolute(Target { host: Name("a.b"), port: 80 }, "/") None"#),
            ("GET HTTP://A.b?x HTTP/1.1\r\nHost: a.B\r\n\r\n",    r#"GET Absolute(Target { host: Name("a.b"), port: 80 }, "/?x") None"#),
            ("GET /x HTTP/1.1\r\nHost: a.b\r\n\r\n",              r#"GET Origin("/x") None"#),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nContent-Length: 3\r\n\r\n", r#"POST Origin("/x") Length(3)"#),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nTransfer-Encoding: chunked\r\n\r\n", r#"POST Origin("/x") Chunked"#),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n",     "more"),
            ("CONN",                                              "more"),
            ("CONNECT a.b:443 HTTP/1.1\nHost: a.b:443\n\n",       CONTROL),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\n\r\n",   CONTROL),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\rX: y\r\n\r\n", CONTROL),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\0\r\n\r\n",   CONTROL),
            ("CONNECT a.b:443\r\nX: y HTTP/1.1\r\n\r\n",          "the first line is malformed: use `METHOD TARGET VERSION` with single spaces"),
            ("CONNECT  a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n",    "the first line is malformed: use `METHOD TARGET VERSION` with single spaces"),
            ("CONNECT a.b:443 HTTP/2\r\nHost: a.b\r\n\r\n",       "only HTTP/1.0 and HTTP/1.1 are spoken here"),
            ("CONNECT a.b:443 http/1.1\r\nHost: a.b\r\n\r\n",     "only HTTP/1.0 and HTTP/1.1 are spoken here"),
            ("CONNECT a.b HTTP/1.1\r\nHost: a.b\r\n\r\n",         "the target is malformed: missing port in address"),
            ("CONNECT 0x7f.1:443 HTTP/1.1\r\nHost: a.b\r\n\r\n",  "the target is malformed: the host is 127.0.0.1 in an odd spelling: `0x7f.1` is a loopback address"),
            ("CONNECT a.b@c.d:443 HTTP/1.1\r\nHost: a.b\r\n\r\n", "the target is malformed: the host names a user"),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: c.d:443\r\n\r\n", "the Host is another one than the target's"),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:80\r\n\r\n",  "the Host is another one than the target's"),
            ("CONNECT a.b:443 HTTP/1.1\r\n\r\n",                  "there is no Host"),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\nHost: a.b\r\n\r\n", "there is more than one Host"),
            ("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\nContent-Length: 5\r\n\r\n", "the length of the body is ambiguous: CONNECT has no body"),
            ("GET http://a.b/ HTTP/1.1\r\nHost: evil.org\r\n\r\n", "the Host is another one than the target's"),
            ("GET http://u@a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n",   "the target is malformed: the host names a user"),
            ("GET http://a.b\\@c.d/ HTTP/1.1\r\nHost: a.b\r\n\r\n", "the target is malformed: the host holds a part of a path"),
            ("GET http:///x HTTP/1.1\r\nHost: a.b\r\n\r\n",       "the target is malformed: missing port in address"),
            ("GET https://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n",    "the target is malformed: use http://HOST/PATH, and CONNECT for everything else"),
            ("GET ftp://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n",      "the target is malformed: use http://HOST/PATH, and CONNECT for everything else"),
            ("OPTIONS * HTTP/1.1\r\nHost: a.b\r\n\r\n",           "the target is malformed: use http://HOST/PATH, and CONNECT for everything else"),
            ("GET /a#b HTTP/1.1\r\nHost: a.b\r\n\r\n",            "the target is malformed: a path holds `#` or a backslash"),
            ("GET /é HTTP/1.1\r\nHost: a.b\r\n\r\n",              "the first line is malformed: the target holds something else than visible ASCII"),
            ("GET /x HTTP/1.1\r\nHost: a.b\r\n folded\r\n\r\n",   "a header is malformed: a line begins with space, as if it went on"),
            ("GET /x HTTP/1.1\r\n Host: a.b\r\n\r\n",             "a header is malformed: a line begins with space, as if it went on"),
            ("GET /x HTTP/1.1\r\nHost : a.b\r\n\r\n",             "a header is malformed: a name is no token, or has space behind it"),
            ("GET /x HTTP/1.1\r\nHost: a.b\r\nnocolon\r\n\r\n",   "a header is malformed: a line has no colon"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "the length of the body is ambiguous: there is more than one Content-Length"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nContent-Length: 3, 3\r\n\r\n", "the length of the body is ambiguous: Content-Length is no plain number"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nContent-Length: +3\r\n\r\n", "the length of the body is ambiguous: Content-Length is no plain number"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nContent-Length: 0x3\r\n\r\n", "the length of the body is ambiguous: Content-Length is no plain number"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "the length of the body is ambiguous: there are both Content-Length and Transfer-Encoding"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", "the length of the body is ambiguous: there is more than one Transfer-Encoding"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "the length of the body is ambiguous: the only Transfer-Encoding is `chunked`"),
            ("POST /x HTTP/1.1\r\nHost: a.b\r\nTransfer-Encoding: xchunked\r\n\r\n", "the length of the body is ambiguous: the only Transfer-Encoding is `chunked`"),
            ("POST /x HTTP/1.0\r\nHost: a.b\r\nTransfer-Encoding: chunked\r\n\r\n", "the length of the body is ambiguous: HTTP/1.0 knows no Transfer-Encoding"),
        ];
        for (text, expected) in table {
            assert_eq!(check(text), expected, "{text:?}");
        }
    }

    #[test]
    fn heads_are_bounded() {
        let many = format!(
            "GET /x HTTP/1.1\r\nHost: a.b\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS_MAX)
        );
        assert_eq!(check(&many), "the head is too large: more than 100 headers");
        let long = format!(
            "GET /{} HTTP/1.1\r\nHost: a.b\r\n\r\n",
            "x".repeat(TARGET_BYTES_MAX)
        );
        assert_eq!(
            check(&long),
            "the head is too large: the first line is longer than 8 KiB"
        );
        assert_eq!(
            check(&"x".repeat(BYTES_MAX)),
            "the head is too large: more than 32 KiB"
        );
        assert_eq!(check(&"x".repeat(BYTES_MAX - 1)), "more");
    }

    #[test]
    fn what_is_of_a_hop_stays_there() {
        let text = "GET /x HTTP/1.1\r\nHost: a.b\r\nConnection: X-Secret, close\r\nX-Secret: 1\r\nVia: me\r\n\
                    X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: c.d\r\nForwarded: for=x\r\nProxy-Authorization: y\r\n\
                    TE: trailers\r\nUpgrade: h2c\r\nAccept: */*\r\nX-Kept: 1\r\n\r\n";
        let read = Request::parse(text.as_bytes()).unwrap().unwrap();
        let kept: Vec<_> = passed_on(&read.fields).map(|field| field.name.as_str()).collect();
        assert_eq!(kept, ["Accept", "X-Kept"]);
    }

    #[test]
    fn answers() {
        #[rustfmt::skip]
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",   Ok((200, Body::Length(5)))),
            ("HTTP/1.1 200\r\n\r\n",                           Ok((200, Body::UntilClose))),
            ("HTTP/1.0 302 Found\r\n\r\n",                     Ok((302, Body::UntilClose))),
            ("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n",    Ok((304, Body::None))),
            ("HTTP/1.1 100 Continue\r\n\r\n",                  Ok((100, Body::None))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Err("the length of the body is ambiguous: there is more than one Content-Length")),
            ("HTTP/1.1 20 OK\r\n\r\n",                         Err("the first line is malformed: the status is not 100 to 599")),
            ("ICY 200 OK\r\n\r\n",                             Err("only HTTP/1.0 and HTTP/1.1 are spoken here")),
        ];
        for (text, expected) in table {
            let read = Response::parse(text.as_bytes());
            let read = read.map(|read| read.map(|read| (read.status, read.body)).unwrap());
            assert_eq!(
                read.map_err(|error| error.to_string()),
                expected.map_err(str::to_owned),
                "{text:?}"
            );
        }
        for (line, size) in [
            ("0", Some(0)),
            ("1F", Some(31)),
            ("", None),
            ("-1", None),
            ("1;x=y", None),
            ("0x1", None),
            (" 1", None),
        ] {
            assert_eq!(chunk_size(line.as_bytes()), size, "{line}");
        }
    }
}
