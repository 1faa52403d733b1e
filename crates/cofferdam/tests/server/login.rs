//! `cofferdam login` as a person meets it: the program itself, a real provider, and a small browser that fills in
//! the provider's forms.

use crate::common::Platform;
use crate::oidc::Provider;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What the person does at the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Person {
    /// Logs in under this name and agrees.
    Is(&'static str),
    /// Presses "cancel".
    Cancels,
    /// Never opens the page.
    StaysAway,
}

/// The command line, with a home of its own.
pub fn cofferdam(platform: &Platform, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command
        .args(arguments)
        .current_dir(home)
        .env("COFFERDAM_SERVER", platform.url(""))
        .env("XDG_CONFIG_HOME", home)
        .env_remove("COFFERDAM_TOKEN_FILE")
        .env_remove("COLUMNS")
        .env("DISPLAY", "")
        .env("WAYLAND_DISPLAY", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Exit code, standard output, standard error.
pub async fn run(mut command: Command) -> (i32, String, String) {
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A login that waits for its browser.
struct Waiting {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    said: String,
    /// Where it sends the person; `None` when it ended before.
    url: Option<Url>,
}

impl Waiting {
    async fn start(mut command: Command) -> Waiting {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut said, mut url) = (String::new(), None);
        while let Some(line) = lines.next_line().await.unwrap() {
            url = line
                .trim()
                .starts_with("http")
                .then(|| line.trim().parse().unwrap());
            if url.is_some() {
                break;
            }
            said += &format!("{line}\n");
        }
        Waiting {
            child,
            lines,
            said,
            url,
        }
    }

    async fn end(mut self) -> (i32, String, String) {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.said += &format!("{line}\n");
        }
        let mut out = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .await
            .unwrap();
        (self.child.wait().await.unwrap().code().unwrap(), out, self.said)
    }
}

/// Enough of one: cookies, redirects, forms.
struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new() -> Browser {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Browser {
            http,
            cookies: BTreeMap::new(),
        }
    }

    /// From the first page to the address that leaves the provider.
    async fn visit(&mut self, start: Url, person: Person) -> Url {
        let (provider, mut form) = (start.port(), None);
        let mut at = start;
        for _ in 0..20 {
            let (status, location, page) = self.load(&at, form.take()).await;
            if let Some(location) = location {
                at = at.join(&location).unwrap();
                if at.port() != provider {
                    return at;
                }
                continue;
            }
            assert_eq!(status, StatusCode::OK, "{page}");
            let after = |mark: &str| {
                page.split(mark)
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
                    .to_owned()
            };
            let prompt = after("name=\"prompt\" value=\"");
            match person {
                Person::Cancels => at = at.join(&format!("{}/abort", at.path())).unwrap(),
                Person::Is(name) if prompt == "login" => {
                    form = Some(format!("prompt=login&login={name}&password=any"));
                }
                _ => form = Some("prompt=consent".to_owned()),
            }
        }
        panic!("it never left the provider: {at}");
    }

    async fn load(&mut self, at: &Url, form: Option<String>) -> (StatusCode, Option<String>, String) {
        let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let request = match form {
            Some(form) => self
                .http
                .post(at.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form),
            None => self.http.get(at.clone()),
        };
        let answer = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer.headers().get("location");
        let location = location.map(|at| at.to_str().unwrap().to_owned());
        (answer.status(), location, answer.text().await.unwrap())
    }
}

fn changed(url: &Url, field: &str, value: &str) -> Url {
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let mut url = url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(pairs.iter().map(|(name, old)| {
            let new = if name == field { value } else { old };
            (name, new)
        }));
    url
}

/// One login: what the provider document says besides, who comes, and what somebody on the way changes.
struct Row {
    name: &'static str,
    spec: Value,
    person: Person,
    /// In the address that the person opens.
    there: Option<(&'static str, &'static str)>,
    /// In the address that the browser comes back to.
    back: Option<(&'static str, &'static str)>,
    code: i32,
    says: &'static str,
}

async fn configure(platform: &Platform, issuer: &str, more: &Value) {
    let mut spec = json!({
        "issuer": issuer, "audience": "cofferdam",
        "roles": {"sre": ["operator@acme", "viewer"], "leads": ["admin"]},
    });
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let document = json!({
        "apiVersion": "cofferdam.dev/v1", "kind": "IdentityProvider", "metadata": {"name": "corporate"}, "spec": spec,
    });
    let applied = platform
        .post("/api/v1/documents", &json!({"documents": [document]}))
        .await;
    assert!(applied.status.is_success(), "{applied:?}");
}

async fn login(platform: &Platform, home: &Path, row: &Row) -> (i32, String, String) {
    let mut arguments = vec!["login", "--no-browser", "--output", "json"];
    if row.person == Person::StaysAway {
        arguments.extend(["--timeout", "0s"]);
    }
    let waiting = Waiting::start(cofferdam(platform, home, &arguments)).await;
    if let Some(url) = waiting.url.clone()
        && row.person != Person::StaysAway
    {
        let start = row
            .there
            .map_or(url.clone(), |(field, value)| changed(&url, field, value));
        let mut browser = Browser::new();
        let back = browser.visit(start, row.person).await;
        let back = row
            .back
            .map_or(back.clone(), |(field, value)| changed(&back, field, value));
        let (status, _, page) = browser.load(&back, None).await;
        assert_eq!(
            (status, page.as_str()),
            (
                StatusCode::OK,
                "The answer has arrived. Go back to the terminal: it says whether you are logged in.\n"
            ),
            "{}",
            row.name
        );
    }
    waiting.end().await
}

/// The one file of a login, if there is one.
fn token_file(home: &Path) -> Option<std::path::PathBuf> {
    let files = std::fs::read_dir(home.join("cofferdam/login")).ok()?;
    files.map(|file| file.unwrap().path()).next()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_by_the_browser_or_is_told_why_not() {
    let Some(provider) = Provider::fresh().await else {
        return;
    };
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |_| {}).await;
    let alice = Person::Is("alice");
    let row = |name, spec, person, code, says| Row {
        name,
        spec,
        person,
        there: None,
        back: None,
        code,
        says,
    };
    let access = json!({"clientId": "cofferdam", "scopes": ["use"], "resource": "urn:ours"});
    #[rustfmt::skip]
    let table = [
        row("the ID token",                 json!({}), alice, 0, ""),
        row("an access token",              access, alice, 0, ""),
        row("a group without a role",       json!({}), Person::Is("bob"), 1, "error: Forbidden: none of the groups that `bob` is in has a role here"),
        row("denied by the person",         json!({}), Person::Cancels, 1, "error: the provider let nobody in: access_denied: End-User aborted interaction"),
        row("nobody comes",                 json!({}), Person::StaysAway, 1, "error: the browser brought no answer within 0 seconds"),
        row("for another audience",         json!({"audience": "other", "clientId": "cofferdam"}), alice, 1, "error: Unauthorized: it is for another audience"),
        row("an access token of another",   json!({"scopes": ["use"], "resource": "urn:other"}), alice, 1, "error: Unauthorized: it is for another audience"),
        Row { back: Some(("state", "forged")), ..row("another state", json!({}), alice, 1, "error: the browser brought an answer to another login: its state is not ours") },
        Row { back: Some(("iss", "https://evil.example")), ..row("another issuer", json!({}), alice, 1, "error: the browser brought an answer of another issuer than was asked") },
        Row { back: Some(("code", "forged")), ..row("another code", json!({}), alice, 1, "error: the provider `corporate` gave no token: invalid_grant: grant request is invalid") },
        Row { there: Some(("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")), ..row("a code of another verifier", json!({}), alice, 1, "error: the provider `corporate` gave no token: invalid_grant: grant request is invalid") },
        Row { there: Some(("nonce", "another")), ..row("an ID token of another login", json!({}), alice, 1, "error: the provider `corporate` gave no token: its ID token is of another login") },
    ];
    for row in table {
        let home = tempfile::tempdir().unwrap();
        configure(&platform, &provider.issuer, &row.spec).await;
        let (code, out, said) = login(&platform, home.path(), &row).await;
        assert_eq!(code, row.code, "{}: {out} {said}", row.name);
        let last = said.trim_end().lines().last().unwrap_or_default();
        match token_file(home.path()) {
            None => assert_eq!((last, out.as_str()), (row.says, ""), "{}", row.name),
            Some(file) => {
                assert_eq!(row.code, 0, "{}: nothing is kept", row.name);
                assert_in_and_out(
                    &platform,
                    home.path(),
                    &file,
                    &serde_json::from_str(&out).unwrap(),
                )
                .await;
            }
        }
    }
    // Nobody new comes in while it is down.
    provider.stop().await;
    let home = tempfile::tempdir().unwrap();
    let (code, _, said) = run(cofferdam(&platform, home.path(), &["login"])).await;
    assert_eq!(code, 1);
    assert!(
        said.starts_with("error: the provider `corporate` cannot be used: error sending request"),
        "{said}"
    );
    platform.stop().await;
}

/// Commands are the person's then, and nobody's after a logout.
async fn assert_in_and_out(platform: &Platform, home: &Path, file: &Path, told: &Value) {
    assert_eq!(told["principal"], "person:corporate/alice");
    assert_eq!(told["token_file"], json!(file));
    assert!(told["expires"].is_string(), "{told}");
    let token = std::fs::read_to_string(file).unwrap();
    assert!(!told.to_string().contains(token.trim()), "the token is not told");
    assert_eq!(
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let ran = async |arguments: &[&str]| run(cofferdam(platform, home, arguments)).await;
    let (code, out, _) = ran(&["whoami"]).await;
    assert!(code == 0 && out.starts_with("person:corporate/alice"), "{out}");
    let (code, _, said) = ran(&["logout"]).await;
    assert_eq!((code, file.exists()), (0, false), "{said}");
    // The same token is not taken again, although the provider would still vouch for it.
    let again = platform
        .send(Method::GET, "/api/v1/whoami", Some(token.trim()), None)
        .await;
    assert_eq!(
        again.body["detail"], "this token was revoked, or has ended",
        "{again:?}"
    );
    let (code, _, said) = ran(&["logout"]).await;
    assert_eq!(code, 1);
    assert!(
        said.starts_with("error: nobody is logged in at http://127.0.0.1:"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_people_come_by_one_provider() {
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |_| {}).await;
    let roles = json!({"sre": ["viewer"]});
    let oidc = json!({"issuer": "https://id.example", "audience": "a", "roles": roles});
    let ldap = json!({"ldap": {"url": "ldaps://ldap.example", "baseDn": "dc=example", "groupAttribute": "memberOf"}, "roles": roles});
    let loose = json!({"ldap": {"url": "ldap://ldap.example", "baseDn": "dc=example", "groupAttribute": "memberOf"}, "roles": {}});
    let typo = json!({"ldap": {"uri": "ldaps://ldap.example"}, "roles": roles});
    let port = json!({"issuer": "https://id.example", "audience": "a", "roles": roles, "scopes": ["a b"], "resource": "x", "redirectPorts": [80]});
    let same = "IdentityProvider `one` is of the same people";
    #[rustfmt::skip]
    let table = [
        (&[&oidc, &ldap][..],  "".to_owned()),
        (&[&oidc, &oidc],      format!("/documents/1/spec/issuer: {same}")),
        (&[&ldap, &ldap],      format!("/documents/1/spec/ldap/baseDn: {same}")),
        (&[&loose],            "/documents/0/spec/ldap/url: passwords would cross the network in the clear: use ldaps://, startTls, or allowPlaintext: true; /documents/0/spec/roles: give 1 to 1000 groups roles".to_owned()),
        (&[&typo],             "/documents/0/spec/ldap/uri: unknown field `uri`".to_owned()),
        (&[&port],             "/documents/0/spec/scopes: at most 32 scopes, each one word; /documents/0/spec/resource: a resource is an absolute URI without a fragment (RFC 8707); /documents/0/spec/redirectPorts: at most 16 ports, from 1024 on".to_owned()),
    ];
    for (specs, expected) in table {
        let named = specs.iter().zip(["one", "two"]).map(|(spec, name)| {
            json!({"apiVersion": "cofferdam.dev/v1", "kind": "IdentityProvider", "metadata": {"name": name}, "spec": spec})
        });
        let documents: Vec<Value> = named.collect();
        let answer = platform
            .post(
                "/api/v1/documents?dry_run=true",
                &json!({ "documents": documents }),
            )
            .await;
        let problems = answer.body["problems"].as_array().cloned().unwrap_or_default();
        let text = |problem: &Value, field: &str| problem[field].as_str().unwrap().to_owned();
        let problems: Vec<_> = problems
            .iter()
            .map(|problem| format!("{}: {}", text(problem, "place"), text(problem, "detail")))
            .collect();
        assert!(
            problems.join("; ").starts_with(&expected),
            "{expected}: {problems:?}"
        );
        assert_eq!(expected.is_empty(), answer.status.is_success(), "{answer:?}");
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_needs_a_provider_and_overwrites_nothing() {
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |_| {}).await;
    let home = tempfile::tempdir().unwrap();
    let ran = async |arguments: &[&str]| run(cofferdam(&platform, home.path(), arguments)).await;
    let none = "the server has no identity provider: a document of kind IdentityProvider makes one, and `cofferdam tokens create` makes tokens without";
    let admin = platform.data_dir().join("admin.token");
    let admin = admin.to_str().unwrap();
    let kept = format!(
        "`{admin}` is there already and login overwrites no file that you name; `cofferdam logout` ends and removes a login"
    );
    let made = "Conflict: `tok-1` is from no login; `cofferdam tokens revoke tok-1` ends it";
    let own = "--local removes the file of `login`; one that you name is yours to remove";
    #[rustfmt::skip]
    let table: [(&[&str], i32, &str); 4] = [
        (&["login"],                                     1, none),
        (&["login", "--token-file", admin],              2, &kept),
        (&["logout", "--token-file", admin],             1, made),
        (&["logout", "--local", "--token-file", admin],  2, own),
    ];
    for (arguments, expected, says) in table {
        let (code, _, said) = ran(arguments).await;
        assert_eq!(
            (code, said),
            (expected, format!("error: {says}\n")),
            "{arguments:?}"
        );
        assert!(Path::new(admin).exists(), "{arguments:?}");
    }
    platform.stop().await;
}
