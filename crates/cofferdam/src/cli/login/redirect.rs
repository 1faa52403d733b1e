//! Where the browser comes back to (RFC 8252, 7.3): a server on 127.0.0.1 for one answer. What it shows is
//! the same text whatever was sent.

use super::answer::{self, Asked};
use crate::cli::failure::Failure;
use crate::server;
use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use http::{HeaderName, StatusCode, header};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// The path of the redirect.
const PATH: &str = "/callback";
/// How long the browser may take to read its page once we have what we need.
const LAST_PAGE: Duration = Duration::from_secs(1);
const CAME_BACK: &str =
    "The answer has arrived. Go back to the terminal: it says whether you are logged in.\n";
const OVER: &str = "There is no login that waits for this.\n";

/// What every page is sent with.
type Page = (StatusCode, [(HeaderName, &'static str); 4], &'static str);
type Found = Result<secrets::Secret, answer::Refused>;

/// Waits for the browser.
pub struct Redirect {
    listener: TcpListener,
    /// As the provider is told it.
    pub uri: String,
}

/// The browser has come; its page may still be on the way.
pub struct Arrived {
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
}

impl Redirect {
    /// On one of `ports`, or on any that is free if there are none.
    pub async fn bind(ports: &[u16]) -> Result<Redirect, Failure> {
        let any = [0];
        let mut last = None;
        for port in if ports.is_empty() { &any } else { ports } {
            match TcpListener::bind(("127.0.0.1", *port)).await {
                Ok(listener) => {
                    let uri = format!("http://{}{PATH}", listener.local_addr()?);
                    return Ok(Redirect { listener, uri });
                }
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(String::new, |error| error.to_string());
        Err(Failure::Failed(format!(
            "cannot listen on 127.0.0.1 for the answer of the browser: {why}"
        )))
    }

    /// The first answer decides, be it a wrong one. After `wait` there is none.
    pub async fn wait(self, asked: Asked, wait: Duration) -> Result<(secrets::Secret, Arrived), Failure> {
        let (send, found) = oneshot::channel::<Found>();
        let first = Arc::new(Mutex::new(Some(send)));
        let callback = move |RawQuery(query): RawQuery| async move {
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            match first {
                Some(first) => {
                    let _ = first.send(answer::read(&query.unwrap_or_default(), &asked));
                    page(StatusCode::OK, CAME_BACK)
                }
                None => page(StatusCode::GONE, OVER),
            }
        };
        let router = Router::new()
            // HEAD has no page to show, so it is no answer.
            .route(PATH, get(callback).head(not_here))
            .method_not_allowed_fallback(not_here)
            .fallback(not_here);
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::serve(self.listener, router, None, stopped));
        let arrived = Arrived { stop, server };
        match tokio::time::timeout(wait, found).await {
            Ok(Ok(Ok(code))) => Ok((code, arrived)),
            Ok(Ok(Err(refused))) => {
                arrived.end().await;
                Err(Failure::Failed(refused.to_string()))
            }
            Ok(Err(_)) | Err(_) => {
                arrived.end().await;
                let seconds = wait.as_secs();
                Err(Failure::Failed(format!(
                    "the browser brought no answer within {seconds} seconds"
                )))
            }
        }
    }
}

impl Arrived {
    /// Closes the port.
    pub async fn end(self) {
        let _ = self.stop.send(true);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(LAST_PAGE, self.server).await.is_err() {
            abort.abort();
        }
    }
}

async fn not_here() -> Page {
    page(StatusCode::NOT_FOUND, OVER)
}

/// Plain text, kept nowhere and run by nobody.
fn page(status: StatusCode, text: &'static str) -> Page {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            state: "s".to_owned(),
            issuer: "https://id.example".to_owned(),
            names_itself: false,
        }
    }

    #[tokio::test]
    async fn one_answer_is_taken_and_what_else_comes_changes_nothing() {
        let redirect = Redirect::bind(&[]).await.unwrap();
        let uri = redirect.uri.clone();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let waiting = tokio::spawn(redirect.wait(asked(), Duration::from_secs(30)));
        let mut seen = Vec::new();
        for (method, path) in [
            ("GET", "/favicon.ico"),
            ("POST", "/callback?code=x&state=s"),
            ("HEAD", "/callback?code=x&state=s"),
            ("GET", "/callback?code=%3Cb%3E&state=s"),
            ("GET", "/callback?code=second&state=s"),
        ] {
            let at = uri.replace("/callback", path);
            let sent = http.request(method.parse().unwrap(), at).send().await.unwrap();
            let kind = sent.headers()["content-type"].to_str().unwrap().to_owned();
            seen.push((
                sent.status().as_u16(),
                kind.starts_with("text/plain"),
                sent.text().await.unwrap(),
            ));
        }
        let (code, arrived) = waiting.await.unwrap().unwrap();
        assert_eq!(code.expose(), b"<b>");
        arrived.end().await;
        let statuses: Vec<_> = seen.iter().map(|(status, ..)| *status).collect();
        assert_eq!(statuses, [404, 404, 404, 200, 410]);
        assert_eq!((seen[3].1, seen[3].2.as_str()), (true, CAME_BACK));
        assert!(http.get(&uri).send().await.is_err(), "the port is closed");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_waited_for_no_longer() {
        let redirect = Redirect::bind(&[]).await.unwrap();
        let waited = redirect.wait(asked(), Duration::from_millis(10)).await;
        let Err(failure) = waited else {
            panic!("nobody answered")
        };
        assert_eq!(
            failure.to_string(),
            "the browser brought no answer within 0 seconds"
        );
    }

    #[tokio::test]
    async fn of_the_ports_that_the_provider_knows_a_free_one_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = [&taken, &free].map(|one| one.local_addr().unwrap().port());
        drop(free);
        let redirect = Redirect::bind(&ports).await.unwrap();
        assert_eq!(redirect.uri, format!("http://127.0.0.1:{}/callback", ports[1]));
        let Err(failure) = Redirect::bind(&ports).await else {
            panic!("both are taken")
        };
        let said = failure.to_string();
        assert!(said.starts_with("cannot listen on 127.0.0.1"), "{said}");
    }
}
