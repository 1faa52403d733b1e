//! Listeners: each connection is looked at by its first byte, found to be somebody's, and handed on.

use super::answer::Refused;
use super::opaque::Spoken;
use super::visit::Visit;
use super::who::{Shown, Who};
use super::wire::{ReadError, Wire};
use super::{Egress, Inside, Prefixed, opaque, seen};
use crate::gate::lock;
use assay::head::{Asked, Request, values};
use assay::socks;
use assay::target::Target;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// Connections of one listener whose owner is not known yet.
const UNKNOWN_MAX: usize = 1024;
/// How long the listener rests when the system gives no more connections.
const REST: Duration = Duration::from_millis(50);

/// A listener that takes connections; dropped, it takes no more. Those that are open go on.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    task: AbortHandle,
}

impl Serving {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Egress {
    /// Takes connections of `listener`, which may be bound in another network namespace. Has to be called within a
    /// Tokio runtime. What the shared listener is bound to is never connected to.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn serve(self: &Arc<Self>, listener: std::net::TcpListener, who: Who) -> io::Result<Serving> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        // One inside a guest's walls is another machine's for us.
        if who == Who::ByToken {
            lock(&self.own).push(address);
        }
        let task = tokio::spawn(take(Arc::clone(self), listener, Arc::new(who)));
        Ok(Serving {
            address,
            task: task.abort_handle(),
        })
    }
}

async fn take(egress: Arc<Egress>, listener: TcpListener, who: Arc<Who>) {
    let unknown = Arc::new(Semaphore::new(UNKNOWN_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Whoever comes past so many that say nothing is turned away: they have ten seconds each.
                let Ok(slot) = Arc::clone(&unknown).try_acquire_owned() else {
                    continue;
                };
                let _ = stream.set_nodelay(true);
                tokio::spawn(welcome(Arc::clone(&egress), stream, Arc::clone(&who), slot));
            }
            Err(error) => {
                tracing::warn!(%error, "the egress surface takes no connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// What a client asked for, once it is known whose it is.
enum Wanted {
    Tunnel(Target, Spoken),
    Request(Box<Request>),
    /// The head as it came, for another surface.
    Inside(Arc<dyn Inside>, Vec<u8>),
}

async fn welcome(egress: Arc<Egress>, stream: TcpStream, who: Arc<Who>, slot: OwnedSemaphorePermit) {
    let mut wire = Wire::new(stream);
    // On the heap: this room is given back before the connection begins to live.
    let met = Box::pin(meet(&egress, &mut wire, &who)).await;
    drop(slot);
    let Some((visit, wanted)) = met else { return };
    match wanted {
        Wanted::Tunnel(target, spoken) => opaque::connect(visit, wire, target, spoken).await,
        Wanted::Request(request) => seen::in_clear(visit, wire, *request).await,
        Wanted::Inside(inside, head) => {
            let stream = Prefixed::new([head, wire.ahead].concat(), wire.stream);
            let served = inside.serve(visit.session.clone(), stream);
            tokio::select! {
                biased;
                _ = visit.place.cut().turned() => {}
                () = served => {}
            }
        }
    }
}

async fn meet(egress: &Arc<Egress>, wire: &mut Wire<TcpStream>, who: &Who) -> Option<(Visit, Wanted)> {
    let first = wire
        .read(egress.head_time, |bytes| {
            Ok(bytes.first().map(|first| (*first, 0)))
        })
        .await
        .ok()?;
    match first {
        socks::VERSION => by_socks(egress, wire, who).await,
        _ => by_http(egress, wire, who).await,
    }
}

async fn by_http(egress: &Arc<Egress>, wire: &mut Wire<TcpStream>, who: &Who) -> Option<(Visit, Wanted)> {
    let (request, head) = match request_and_head(wire, egress.head_time).await {
        Ok(read) => read,
        Err(error) => {
            let refused = error.refused()?;
            if let (Who::Session(_), ReadError::Malformed(_)) = (who, &error)
                && let Ok((session, agent)) = egress.session_of(who, None)
                && let Ok(visit) = egress.visit(&session, &agent)
            {
                visit.note("a request", &refused).await;
            }
            let _ = wire.write(&refused.http()).await;
            return None;
        }
    };
    let shown = values(&request.fields, "proxy-authorization")
        .next()
        .and_then(Shown::of_header);
    let visit = egress
        .session_of(who, shown.as_ref())
        .and_then(|(session, agent)| egress.visit(&session, &agent));
    let is_1_1 = request.is_1_1;
    let wanted = match request.asked {
        Asked::Connect(target) => Ok(Wanted::Tunnel(target, Spoken::Http { is_1_1 })),
        Asked::Absolute(..) => Ok(Wanted::Request(Box::new(request))),
        Asked::Origin(ref path) if let Some(inside) = egress.inside_for(who, path) => {
            Ok(Wanted::Inside(inside, head))
        }
        Asked::Origin(_) => Err(Refused::new(
            400,
            "malformed",
            "this is a proxy: use CONNECT, or http://HOST/PATH in full",
        )),
    };
    match visit.and_then(|visit| Ok((visit, wanted?))) {
        Ok(met) => Some(met),
        Err(refused) => {
            let _ = wire.write(&refused.http()).await;
            None
        }
    }
}

/// One head of a request.
pub(super) async fn request<S>(wire: &mut Wire<S>, time: Duration) -> Result<Request, ReadError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let parse = |bytes: &[u8]| {
        let read = Request::parse(bytes).map_err(|error| error.to_string())?;
        Ok(read.map(|request| {
            let length = request.length;
            (request, length)
        }))
    };
    wire.read(time, parse).await
}

async fn by_socks(egress: &Arc<Egress>, wire: &mut Wire<TcpStream>, who: &Who) -> Option<(Visit, Wanted)> {
    let told = |error: socks::SocksError| error.to_string();
    let methods = wire
        .read(egress.head_time, |bytes| socks::greeting(bytes).map_err(told))
        .await
        .ok()?;
    let method = match who {
        Who::Session(_) if methods.contains(&socks::NONE) => socks::NONE,
        _ if methods.contains(&socks::PASSWORD) => socks::PASSWORD,
        _ => {
            let _ = wire.write(&[socks::VERSION, 0xff]).await;
            return None;
        }
    };
    wire.write(&[socks::VERSION, method]).await.ok()?;
    let shown = match method {
        socks::PASSWORD => {
            let read = wire
                .read(egress.head_time, |bytes| socks::password(bytes).map_err(told))
                .await
                .ok()?;
            Some(Shown {
                name: String::from_utf8(read.0).ok()?,
                secret: secrets::Secret::new(read.1),
            })
        }
        _ => None,
    };
    let known = egress.session_of(who, shown.as_ref());
    if method == socks::PASSWORD {
        let failed = u8::from(known.is_err());
        wire.write(&[1, failed]).await.ok()?;
    }
    let visit = known.and_then(|(session, agent)| egress.visit(&session, &agent));
    let target = wire
        .read(egress.head_time, |bytes| socks::request(bytes).map_err(told))
        .await;
    match (visit, target) {
        (Ok(visit), Ok(target)) => Some((visit, Wanted::Tunnel(target, Spoken::Socks))),
        (visit, target) => {
            let refused = match (&visit, target) {
                (Err(refused), _) => Some(refused.clone()),
                (_, Err(error)) => error.refused(),
                _ => None,
            };
            let refused = refused?;
            if let Ok(visit) = &visit {
                visit.note("a SOCKS5 request", &refused).await;
            }
            let _ = wire.write(&refused.socks()).await;
            None
        }
    }
}

/// The same with the bytes of the head, where it is no request to a proxy.
async fn request_and_head(
    wire: &mut Wire<TcpStream>,
    time: Duration,
) -> Result<(Request, Vec<u8>), ReadError> {
    let parse = |bytes: &[u8]| {
        let read = Request::parse(bytes).map_err(|error| error.to_string())?;
        Ok(read.map(|request| {
            let length = request.length;
            let head = match request.asked {
                Asked::Origin(_) => bytes.get(..length).unwrap_or_default().to_vec(),
                Asked::Connect(_) | Asked::Absolute(..) => Vec::new(),
            };
            ((request, head), length)
        }))
    };
    wire.read(time, parse).await
}

impl Egress {
    /// Who serves `path` at the door of a guest; nobody at the shared one, which is a proxy and nothing else.
    fn inside_for(&self, who: &Who, path: &str) -> Option<Arc<dyn Inside>> {
        let path = path.split('?').next().unwrap_or_default();
        let inside = self.inside.get().filter(|inside| inside.takes(path))?;
        matches!(who, Who::Session(_)).then(|| Arc::clone(inside))
    }

    /// A place for a connection of `session`, within the limits of its agent.
    fn visit(self: &Arc<Self>, session: &str, agent: &str) -> Result<Visit, Refused> {
        let allowed = self.allowed_in(session, agent);
        // One that was lent something has limits of its own: others of its agent are nobody it knows.
        let whose = self.whose(session, agent);
        let seat = self.flood.enter(whose, &allowed)?;
        let subject = self.subject(session, agent);
        Ok(Visit {
            place: self.tunnels.enter(session, agent, subject),
            egress: Arc::clone(self),
            session: session.to_owned(),
            agent: agent.to_owned(),
            allowed,
            moved: Default::default(),
            _seat: seat,
        })
    }
}
