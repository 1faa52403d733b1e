//! The accept loop: HTTP/1.1 on one listener, with TLS when there is any, bounded in connections and in time.
//!
//! An own loop because the number of connections and of handshakes under way, the time for a handshake and for a
//! request's head, and the drain at the end are ours to decide.
//!
//! INVARIANT (a handshake takes nothing from those who are in): handshakes have places of their own, so whoever
//! opens connections and says nothing keeps others out for [`HANDSHAKE_TIMEOUT`] and cuts nobody off.

use crate::tls::{Shown, Tls};
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections at once. More wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// Handshakes under way at once. More wait there too.
const HANDSHAKES_MAX: usize = 256;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long open requests may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the system could not accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a record of TLS that opens a handshake begins with (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// For whoever speaks HTTP where TLS is spoken.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: 119\r\n\r\n\
{\"type\":\"urn:cofferdam:problem:tls\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"this port speaks TLS: write https://\"}";

/// Who serves, and how whoever comes is let in.
struct Door {
    router: Router,
    tls: Option<Arc<Tls>>,
    stop: watch::Receiver<bool>,
}

/// Places of one connection: its own, and one until its handshake is done.
struct Places {
    connection: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
}

/// Serves until `stop` turns true, then ends idle connections and waits for busy ones.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let graceful = GracefulShutdown::new();
    let door = Arc::new(Door {
        router,
        tls,
        stop: stop.clone(),
    });
    while !*stop.borrow_and_update() {
        let (Ok(connection), Ok(handshake)) = (
            Arc::clone(&slots).acquire_owned().await,
            Arc::clone(&handshakes).acquire_owned().await,
        ) else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = stop.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Events are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let places = Places {
            connection,
            handshake,
        };
        tokio::spawn(Arc::clone(&door).welcome(stream, places, graceful.watcher()));
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not end in time and were cut");
    }
}

impl Door {
    /// One connection from its handshake to its end.
    async fn welcome(self: Arc<Door>, stream: TcpStream, places: Places, watcher: Watcher) {
        let Places {
            connection,
            handshake,
        } = places;
        let Some(tls) = &self.tls else {
            drop(handshake);
            self.converse(stream, None, watcher).await;
            return drop(connection);
        };
        let mut stop = self.stop.clone();
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(tls, stream)) => shaken,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        drop(handshake);
        match shaken {
            Ok(Ok((stream, shown))) => self.converse(stream, shown, watcher).await,
            Ok(Err(why)) => tracing::debug!(why, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
        drop(connection);
    }

    async fn converse<S>(&self, stream: S, shown: Option<Arc<Shown>>, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let inner = TowerToHyperService::new(self.router.clone());
        // What was proved of the connection goes with each request: the one thing that no header can say.
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            if let Some(shown) = &shown {
                request.extensions_mut().insert(Arc::clone(shown));
            }
            inner.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// The handshake, and what the client proved in it.
async fn shake(
    tls: &Arc<Tls>,
    mut stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Option<Arc<Shown>>), String> {
    let mut first = [0u8; 1];
    let read = stream.peek(&mut first).await.map_err(|error| error.to_string())?;
    if read == 1 && first != [HANDSHAKE_RECORD] {
        let _ = stream.write_all(PLAIN).await;
        let _ = stream.shutdown().await;
        return Err("it speaks no TLS".to_owned());
    }
    let accepted = TlsAcceptor::from(tls.config()).accept(stream).await;
    let stream = accepted.map_err(|error| error.to_string())?;
    let shown = tls.shown(stream.get_ref().1).map_err(str::to_owned)?;
    Ok((stream, shown.map(Arc::new)))
}
