//! TLS that a rule wants opened: the client speaks to us, with a certificate of the installation's authority, and we to
//! the server, which is checked as if nobody stood between. Inside there is HTTP/1.1, and every request is an action.

use super::Egress;
use super::answer::Refused;
use super::opaque::Spoken;
use super::seen::{self, Scheme};
use super::visit::Visit;
use super::wire::Wire;
use assay::target::{Host, Target};
use rustls::pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

/// A socket with what was read of it before.
pub struct Prefixed {
    ahead: Vec<u8>,
    stream: TcpStream,
}

/// Opens the client's TLS to `target`, and serves its requests.
pub(super) async fn connect(visit: Visit, mut wire: Wire<TcpStream>, target: Target, spoken: Spoken) {
    Box::pin(async move {
        // What we cannot keep we do not begin.
        let trusting = &visit.egress.trusting;
        let config = trusting.client().and_then(|_| trusting.server(&target.host));
        let config = match config {
            Ok(config) => config,
            Err(what) => {
                tracing::error!(host = %target.host, what, "a connection cannot be inspected");
                let refused = Refused::new(503, "not_inspected", "the connection cannot be inspected here");
                let _ = wire.write(&spoken.refusal(&refused)).await;
                return;
            }
        };
        if wire.write(spoken.established()).await.is_err() {
            return;
        }
        let Wire { stream, ahead } = wire;
        let stream = Prefixed { ahead, stream };
        let opened = tokio::select! {
            biased;
            _ = visit.place.cut().turned() => return,
            opened = tokio::time::timeout(visit.egress.head_time, open(stream, &target, config)) => opened,
        };
        let slow = || Err(Refused::new(408, "too_slow", "no TLS came in time"));
        match opened.unwrap_or_else(|_| slow()) {
            Ok(stream) => seen::serve(&visit, Wire::new(stream), None, Scheme::Opened(target)).await,
            Err(refused) if refused.status == 499 => {}
            Err(refused) => {
                visit.note(&target.to_string(), &refused).await;
            }
        }
    })
    .await;
}

type Opened = tokio_rustls::server::TlsStream<Prefixed>;

async fn open(
    stream: Prefixed,
    target: &Target,
    config: std::sync::Arc<rustls::ServerConfig>,
) -> Result<Opened, Refused> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await;
    let start = start.map_err(|error| not_opened(&error))?;
    let name = start.client_hello().server_name().map(str::to_ascii_lowercase);
    match (&target.host, name) {
        (Host::Name(host), Some(name)) if *host == name => {}
        (Host::Address(_), None) => {}
        (host, Some(name)) => {
            let name: String = name.chars().take(100).collect();
            let what = format!("domain fronting: its TLS is to `{name}`, its connection to `{host}`");
            return Err(Refused::new(403, "domain_fronting", what));
        }
        (host, None) => {
            let what = format!("its TLS names nobody, and it was to be to `{host}`");
            return Err(Refused::new(403, "no_sni", what));
        }
    }
    start
        .into_stream(config)
        .await
        .map_err(|error| not_opened(&error))
}

/// Why the client's TLS did not come about: one that pins what it expects, or was not given our authority, says so.
fn not_opened(error: &io::Error) -> Refused {
    use rustls::{AlertDescription as Alert, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::CertificateExpired
            | Alert::AccessDenied,
        )) => Refused::new(
            403,
            "pinned",
            "the client does not take the certificate of this installation: it pins another, or was not given the \
             authority to trust",
        ),
        Some(Error::NoApplicationProtocol) => Refused::new(
            403,
            "no_protocol",
            "the client does not speak HTTP/1.1, which alone is inspected",
        ),
        Some(error) => Refused::new(403, "not_tls", format!("its TLS cannot be opened: {error}")),
        None => Refused::new(499, "client_gone", error.to_string()),
    }
}

/// TLS with the server, which has to be who it is asked for.
pub(super) async fn upstream(
    egress: &Egress,
    stream: TcpStream,
    target: &Target,
    time: Duration,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Refused> {
    let config = egress
        .trusting
        .client()
        .map_err(|what| Refused::new(503, "not_inspected", what))?;
    let name = match &target.host {
        Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        Host::Address(address) => Some(ServerName::from(*address)),
    };
    let name =
        name.ok_or_else(|| Refused::new(400, "malformed", format!("`{}` is no name for TLS", target.host)))?;
    let connecting = TlsConnector::from(config).connect(name, stream);
    match tokio::time::timeout(time, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Refused::new(
            502,
            "server_not_trusted",
            format!("{target}: {error}"),
        )),
        Err(_) => Err(Refused::new(
            504,
            "not_connected",
            format!("{target}: no TLS in time"),
        )),
    }
}

impl Prefixed {
    pub(super) fn new(ahead: Vec<u8>, stream: TcpStream) -> Prefixed {
        Prefixed { ahead, stream }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let length = self.ahead.len().min(into.remaining());
        let taken: Vec<u8> = self.ahead.drain(..length).collect();
        into.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
