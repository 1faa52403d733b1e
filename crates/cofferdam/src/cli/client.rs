//! The HTTP client of the commands: one server, one token, JSON both ways, and event streams.
//!
//! It never prints the token, follows no redirect and uses no proxy.

use super::arguments::Global;
use super::events::{Events, Lines};
use super::failure::Failure;
use super::secure;
use super::value;
use reqwest::{Method, Url};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A server and the right to talk to it.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// The path of an organization, or nothing.
    below: String,
    /// Whether we show a client certificate.
    shows: bool,
    /// `None`: a client certificate says who we are.
    token: Option<secrets::Secret>,
    /// Said beside a refusal of the token.
    hint: Option<&'static str>,
}

/// Where the first start of a server puts its administrator's token.
const ADMINISTRATOR: &str = "./.cofferdam/admin.token";

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// As the command line says. Reads the token's file: the one that is named, none beside a client certificate,
    /// that of a login at this server, or the administrator's, in that order.
    pub fn from_global(global: &Global) -> Result<Client, Failure> {
        let login = || super::login::file::path(global).filter(|path| path.exists());
        let (path, hint) = match (&global.token_file, &global.client_cert) {
            (Some(path), _) => (path.clone(), None),
            (None, Some(_)) => return Client::of(global, None),
            (None, None) => match login() {
                Some(path) => (path, Some("your login may have ended: `cofferdam login`")),
                None => (PathBuf::from(ADMINISTRATOR), None),
            },
        };
        let token = std::fs::read(&path).map_err(|source| {
            let path = path.display();
            Failure::Other(anyhow::Error::new(source).context(format!(
                "cannot read the token file `{path}`; `cofferdam login`, or name yours with --token-file or COFFERDAM_TOKEN_FILE"
            )))
        })?;
        Ok(Client {
            hint,
            ..Client::of(global, Some(token))?
        })
    }

    /// The same with another token than the command line's.
    pub fn with_token(global: &Global, token: Vec<u8>) -> Result<Client, Failure> {
        Client::of(global, Some(token))
    }

    /// The same without a token.
    pub fn without_token(global: &Global) -> Result<Client, Failure> {
        Client::of(global, None)
    }

    fn of(global: &Global, token: Option<Vec<u8>>) -> Result<Client, Failure> {
        let organization = global.organization.as_deref();
        Ok(Client {
            below: organization
                .map(crate::app::organizations::path)
                .unwrap_or_default(),
            shows: global.client_cert.is_some(),
            ..Client::over(&global.server, token, secure::prepared(global)?)?
        })
    }

    /// For a server and a token; white space around the token is not part of it.
    pub fn new(server: &str, token: Vec<u8>) -> Result<Client, Failure> {
        Client::over(server, Some(token), reqwest::Client::builder())
    }

    fn over(server: &str, token: Option<Vec<u8>>, http: reqwest::ClientBuilder) -> Result<Client, Failure> {
        let base = Url::parse(server).ok().filter(is_server).ok_or_else(|| {
            // Not as it was given: it may hold a password.
            let shown = server.rsplit_once('@').map_or(server, |(_, host)| host);
            Failure::Misuse(format!(
                "`{shown}` is not a server; write it like http://127.0.0.1:7400, without path, user or password"
            ))
        })?;
        let http = http
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("cofferdam/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(anyhow::Error::from)?;
        Ok(Client {
            http,
            base,
            below: String::new(),
            shows: false,
            token: token.map(|token| secrets::Secret::new(token.trim_ascii().to_vec())),
            hint: None,
        })
    }

    /// `GET`.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.call(Method::GET, path, query, None).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    /// `POST` of JSON with a query.
    pub async fn post_query(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: &Value,
    ) -> Result<Value, Failure> {
        self.call(Method::POST, path, query, Some(body)).await
    }

    /// `DELETE`, with what it needs in the query or the body.
    pub async fn delete(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, &[], body).await
    }

    /// A stream of server-sent events, which begins after event `after`.
    pub async fn events(
        &self,
        path: &str,
        query: &[(&str, String)],
        after: Option<u64>,
    ) -> Result<Events, Failure> {
        let mut request = self
            .request(Method::GET, path, query)?
            .header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        if response.status().is_success() {
            return Ok(Events::new(response));
        }
        let status = response.status();
        Err(self.refused(
            status.as_u16(),
            &body_of(response).await.map_err(|e| self.unreachable(e))?,
        ))
    }

    /// `POST` of JSON that is answered by lines of JSON, as they come.
    pub async fn post_lines(&self, path: &str, body: &Value) -> Result<Lines, Failure> {
        let response = self
            .request(Method::POST, path, &[])?
            .json(body)
            .send()
            .await
            .map_err(|e| self.unreachable(e))?;
        if response.status().is_success() {
            return Ok(Lines::new(response));
        }
        let status = response.status();
        Err(self.refused(
            status.as_u16(),
            &body_of(response).await.map_err(|e| self.unreachable(e))?,
        ))
    }

    /// Where `path` is, as a proof names it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.below));
        url.into()
    }

    /// `POST` of a form without our token, with a proof of what the form shows.
    pub async fn exchange(&self, path: &str, form: &[(&str, &str)], proof: &str) -> Result<Value, Failure> {
        let mut spelled = self.base.clone();
        spelled.query_pairs_mut().extend_pairs(form);
        let request = self
            .http
            .request(Method::POST, self.url(path))
            .header("dpop", proof)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(spelled.query().unwrap_or_default().to_owned());
        self.answered(path, request).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut request = self
            .request(method, path, query)?
            .timeout(Duration::from_secs(60));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answered(path, request).await
    }

    async fn answered(&self, path: &str, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            Ok((status, body_of(response).await?))
        };
        let (status, bytes) = patiently(answer).await.map_err(|e| self.unreachable(e))?;
        if !status.is_success() {
            return Err(self.refused(status.as_u16(), &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| Failure::Failed(format!("the server's answer to `{path}` is not JSON: {e}")))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<reqwest::RequestBuilder, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.below));
        if !query.is_empty() {
            url.query_pairs_mut()
                .extend_pairs(query.iter().map(|(k, v)| (*k, v.as_str())));
        }
        let request = self.http.request(method, url);
        let Some(token) = &self.token else {
            return Ok(request);
        };
        let mut header = reqwest::header::HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat())
            .map_err(|_| {
                Failure::Failed("the token file holds no token: it has characters that no token has".into())
            })?;
        header.set_sensitive(true);
        Ok(request.header(reqwest::header::AUTHORIZATION, header))
    }

    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        match (refusal(status, body), self.hint) {
            (
                Failure::Refused {
                    status: 401,
                    title,
                    detail,
                    problems,
                },
                Some(hint),
            ) => Failure::Refused {
                status: 401,
                title,
                detail: format!("{detail}\n{hint}"),
                problems,
            },
            (failure, _) => failure,
        }
    }

    fn unreachable(&self, source: reqwest::Error) -> Failure {
        let server = self.base.as_str().trim_end_matches('/').to_owned();
        match secure::why(&source, self.shows) {
            Some(why) => Failure::Insecure { server, why },
            None => Failure::Unreachable {
                server,
                source: source.without_url(),
            },
        }
    }
}

/// Whether nothing of it would be lost or printed that should not be: a scheme, a host, maybe a port.
fn is_server(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && (url.path(), url.query(), url.fragment()) == ("/", None, None)
}

/// Waits for `answer`, and says so to whoever watches once it takes more than a second.
async fn patiently<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        () = tokio::time::sleep(Duration::from_secs(1)) => {
            super::screen::show_progress("waiting for the server…");
            let answer = answer.await;
            super::screen::clear_progress();
            answer
        }
    }
}

/// One segment of a path, with everything that could end it encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // A dot could make `..`, which a URL resolves away.
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

async fn body_of(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(bytes)
}

/// Reads RFC 9457 problem details; anything else is shown by its status.
fn refusal(status: u16, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let title = match value::raw(&problem, "title") {
        "" => http::StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or("refused")
            .to_owned(),
        title => title.to_owned(),
    };
    let said = |value: &Value| {
        let (place, detail) = (value::raw(value, "place"), value::raw(value, "detail"));
        (!detail.is_empty()).then(|| (place.to_owned(), detail.to_owned()))
    };
    let mut problems: Vec<_> = value::list(&problem, "problems")
        .iter()
        .filter_map(said)
        .collect();
    if problems.is_empty() {
        problems.extend(said(&problem));
    }
    let lines: Vec<String> = problems
        .iter()
        .map(|(place, detail)| match place.as_str() {
            "" => detail.clone(),
            place => format!("{detail} (at `{place}`)"),
        })
        .collect();
    let detail = match lines.is_empty() {
        true => format!("the server answered {status}"),
        false => lines.join("\n"),
    };
    Failure::Refused {
        status,
        title,
        detail,
        problems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_the_server_said() {
        let table: [(&str, u16, &str, &str); 4] = [
            (
                "problem details with a place",
                400,
                r#"{"title":"Bad request","detail":"expected a string","place":"/alerts/0"}"#,
                "Bad request: expected a string (at `/alerts/0`)",
            ),
            (
                "several problems",
                400,
                r#"{"title":"Bad request","detail":"a","place":"/a","problems":[{"place":"/a","detail":"a"},{"place":"","detail":"b"}]}"#,
                "Bad request: a (at `/a`)\nb",
            ),
            ("no body", 503, "", "Service Unavailable: the server answered 503"),
            (
                "a body that is no JSON",
                404,
                "<html>",
                "Not Found: the server answered 404",
            ),
        ];
        for (name, status, body, expected) in table {
            assert_eq!(refusal(status, body.as_bytes()).to_string(), expected, "{name}");
        }
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("ses-42"), "ses-42");
        assert_eq!(segment("../a?b#c/d"), "%2E%2E%2Fa%3Fb%23c%2Fd");
    }

    #[test]
    fn servers_are_urls() {
        #[rustfmt::skip]
        let table = [
            "", "127.0.0.1:7400", "ftp://x", "http://", "http://h/path", "http://h/?q", "http://h/#f",
            "http://alice:hunter2@h", "http://hunter2@h/",
        ];
        for bad in table {
            match Client::new(bad, Vec::new()) {
                Err(Failure::Misuse(said)) => assert!(!said.contains("hunter2"), "{said}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
        for good in ["http://h", "http://h/", "https://h:7400", "http://[::1]:7400/"] {
            assert!(Client::new(good, Vec::new()).is_ok(), "{good}");
        }
    }
}
