//! Tunnels: bytes that nobody looks at go through to the host that was named, and their first message of TLS names
//! that very host. The whole host is granted, to be written to; the record says that it was opaque.

use super::answer::Refused;
use super::intercept;
use super::relay::{Ended, Moved, Within, relay};
use super::resolve::dial;
use super::rules::{Mode, Rule, Way};
use super::seen;
use super::tunnels::{Held, What};
use super::visit::{Came, Flight, Visit, action};
use super::wire::{ReadError, Wire};
use assay::hello::Hello;
use assay::target::{Host, Target};
use policy::{Effect, Environment, Idempotence, Outcome};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// How a client asked, and so how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http { is_1_1: bool },
    Socks,
}

impl Spoken {
    fn as_str(self) -> &'static str {
        match self {
            Spoken::Http { .. } => "http-connect",
            Spoken::Socks => "socks5",
        }
    }

    pub fn refusal(self, refused: &Refused) -> Vec<u8> {
        match self {
            Spoken::Http { .. } => refused.http(),
            Spoken::Socks => refused.socks().to_vec(),
        }
    }

    pub fn established(self) -> &'static [u8] {
        match self {
            Spoken::Http { is_1_1: true } => b"HTTP/1.1 200 Connection established\r\n\r\n",
            Spoken::Http { is_1_1: false } => b"HTTP/1.0 200 Connection established\r\n\r\n",
            Spoken::Socks => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Connects the client with `target`, if it may.
pub(super) async fn connect(visit: Visit, mut wire: Wire<TcpStream>, target: Target, spoken: Spoken) {
    let tunnel = match way(&visit, &target, spoken) {
        Ok(Some(Way::Tunnel(rule, resource))) => {
            Box::pin(open(&visit, &mut wire, (&rule, &resource), &target, spoken)).await
        }
        Ok(Some(Way::Inspect)) => return intercept::connect(visit, wire, target, spoken).await,
        Ok(Some(Way::Clear(_))) => return seen::connect(visit, wire, target, spoken).await,
        Ok(None) => Err(Box::pin(refused(&visit, &target, spoken)).await),
        Err(refused) => Err(refused),
    };
    match tunnel {
        Err(refused) => {
            let _ = wire.write(&spoken.refusal(&refused)).await;
        }
        Ok(None) => {}
        Ok(Some(mut tunnel)) => {
            let within = Within {
                bytes: visit.allowed.bytes(),
                idle: visit.allowed.idle(),
                lifetime: visit.allowed.lifetime(),
            };
            let cancel = tunnel.flight.inner.cancel();
            let sides = (&mut wire.stream, &mut tunnel.server);
            let held = (&**visit.place.cut(), &cancel);
            let ended = relay(sides, &visit.egress.buffers, &tunnel.moved, within, held).await;
            Box::pin(close(&visit, tunnel, &target, &ended)).await;
        }
    }
}

/// By which rule `target` may be reached. A tunnel is announced before that is said for good: documents that change
/// from here on find it.
fn way(visit: &Visit, target: &Target, spoken: Spoken) -> Result<Option<Way>, Refused> {
    loop {
        let allowed = visit.egress.allowed_in(&visit.session, &visit.agent);
        let way = allowed.way(target);
        if let Some(Way::Tunnel(rule, resource)) = &way {
            let action = Arc::new(proposal(resource, target, &rule.environment, spoken)?);
            let held = Held {
                what: What::Tunnel(target.clone()),
                address: None,
                action,
                openness: rule.openness(),
            };
            visit
                .place
                .begins(format!("{resource} of {}", visit.session), held);
        }
        if visit.egress.is_current(&visit.session, &visit.agent, &allowed) {
            return Ok(way);
        }
    }
}

/// No rule is of it: that is recorded, and nothing is resolved.
pub(super) async fn refused(visit: &Visit, target: &Target, spoken: Spoken) -> Refused {
    let why = format!("no Egress document lets agent `{}` reach {target}", visit.agent);
    match proposal(&target.to_string(), target, &Environment::production(), spoken) {
        Ok(action) => visit.refuse(action, &why).await,
        Err(refused) => refused,
    }
}

/// The action that a tunnel is.
pub(super) fn proposal(
    resource: &str,
    target: &Target,
    environment: &Environment,
    spoken: Spoken,
) -> Result<policy::Action, Refused> {
    let arguments = json!({
        "host": target.host.to_string(), "port": target.port, "opaque": true, "protocol": spoken.as_str(),
    });
    let meaning = (Effect::Write, Idempotence::Once);
    action("connect", resource, arguments, environment, meaning)
}

/// A tunnel that was let through.
struct Open {
    flight: Flight,
    server: TcpStream,
    address: IpAddr,
    moved: Moved,
}

/// `None` when the client was told already, or is gone, and what was in flight is settled.
async fn open(
    visit: &Visit,
    wire: &mut Wire<TcpStream>,
    (rule, resource): (&Rule, &str),
    target: &Target,
    spoken: Spoken,
) -> Result<Option<Open>, Refused> {
    let action = proposal(resource, target, &rule.environment, spoken)?;
    let flight = visit.admit(action).await.map_err(|refused| match refused.rule {
        Some(_) => refused,
        None => refused.by(&rule.id),
    })?;
    let entry = flight.inner.entry();
    let (egress, cancel, cut) = (&visit.egress, flight.inner.cancel(), visit.place.cut());
    let own = egress.own();
    let asked = egress.asked_for(&visit.session, &visit.agent);
    let dialled = tokio::select! {
        biased;
        why = cut.turned() => Err(Refused::new(403, "cut", why)),
        () = cancel.cancelled() => Err(stopped()),
        dialled = dial(&asked, rule, target, &own, visit.allowed.connect()) => dialled.map_err(|unreached| {
            let (status, code, text) = unreached.told(target);
            Refused::new(status, code, text)
        }),
    };
    let (server, address) = match dialled {
        Ok(dialled) => dialled,
        Err(refused) => {
            visit
                .settle(flight, came_of(&refused, refused.message.clone()))
                .await;
            return Err(refused.by(&rule.id).recorded(Some(entry)));
        }
    };
    visit.place.reached(address);
    let mut tunnel = Open {
        flight,
        server,
        address,
        moved: Moved::default(),
    };
    // INVARIANT (an opaque tunnel is to whom it says): not a byte reaches the other side before that is so.
    let begun = tokio::select! {
        biased;
        why = cut.turned() => Err(Refused::new(403, "cut", why)),
        () = cancel.cancelled() => Err(stopped()),
        begun = begin(wire, &mut tunnel, rule, target, (spoken, egress.head_time)) => begun,
    };
    match begun {
        Ok(()) => Ok(Some(tunnel)),
        Err(refused) => {
            let summary = format!("{target} ({address}): {}", refused.message);
            visit.settle(tunnel.flight, came_of(&refused, summary)).await;
            Ok(None)
        }
    }
}

fn stopped() -> Refused {
    Refused::new(403, "stopped", "a stop covers it")
}

/// What came of a tunnel that was never open.
fn came_of(refused: &Refused, summary: String) -> Came {
    let outcome = match refused.code {
        "cut" | "stopped" => Outcome::Cancelled,
        _ => Outcome::Failure,
    };
    Came {
        outcome,
        ..Came::failed(refused.code, summary)
    }
}

/// Tells the client that it may begin, and sends on what it begins with.
async fn begin(
    wire: &mut Wire<TcpStream>,
    tunnel: &mut Open,
    rule: &Rule,
    target: &Target,
    (spoken, time): (Spoken, Duration),
) -> Result<(), Refused> {
    let gone = |error: std::io::Error| Refused::new(499, "client_gone", error.to_string());
    wire.write(spoken.established()).await.map_err(gone)?;
    if let Mode::Tunnel {
        tls: true,
        encrypted_hello,
    } = rule.mode
    {
        let hello = hello(wire, time).await?;
        speaks_to(&hello, &target.host, encrypted_hello)?;
    }
    let first = std::mem::take(&mut wire.ahead);
    tunnel.moved.out.fetch_add(first.len() as u64, Ordering::Relaxed);
    if first.is_empty() {
        return Ok(());
    }
    let lost = |error: std::io::Error| Refused::new(502, "broken", error.to_string());
    tunnel.server.write_all(&first).await.map_err(lost)
}

/// The first message of the client, which stays in `wire` to be sent on.
async fn hello(wire: &mut Wire<TcpStream>, time: Duration) -> Result<Hello, Refused> {
    let parse = |bytes: &[u8]| {
        let read = Hello::parse(bytes).map_err(|error| error.to_string())?;
        match read {
            None if bytes.len() > assay::hello::BYTES_MAX => Err("its first message is too long".to_owned()),
            other => Ok(other.map(|hello| (hello, 0))),
        }
    };
    wire.read(time, parse).await.map_err(|error| match error {
        ReadError::Malformed(what) => Refused::new(403, "not_tls", what),
        ReadError::Slow(_) => Refused::new(408, "too_slow", "no first message of TLS came in time"),
        other => Refused::new(499, "client_gone", other.to_string()),
    })
}

/// Whether the client speaks to the host that it named to us.
fn speaks_to(hello: &Hello, host: &Host, encrypted: bool) -> Result<(), Refused> {
    let wrong = |code, what: String| Err(Refused::new(403, code, what));
    if hello.is_encrypted && !encrypted {
        let what = "its TLS encrypts whom it speaks to (ECH or ESNI), so that nobody can compare it";
        return wrong("encrypted_hello", what.to_owned());
    }
    match (host, &hello.name) {
        (Host::Name(host), Some(name)) if host == name => Ok(()),
        (Host::Address(_), None) => Ok(()),
        (_, Some(name)) => {
            let name: String = name.chars().take(100).collect();
            wrong(
                "sni_mismatch",
                format!("its TLS is to `{name}`, and it was to be to `{host}`"),
            )
        }
        (_, None) => wrong(
            "no_sni",
            format!("its TLS names nobody, and it was to be to `{host}`"),
        ),
    }
}

/// Settles a tunnel that was open.
async fn close(visit: &Visit, tunnel: Open, target: &Target, ended: &Ended) {
    let (out, back) = (
        tunnel.moved.out.load(Ordering::Relaxed),
        tunnel.moved.back.load(Ordering::Relaxed),
    );
    let outcome = match ended {
        Ended::Cut(_) => Outcome::Cancelled,
        _ => Outcome::Success,
    };
    let told = ended.told();
    let summary = format!(
        "opaque tunnel to {target} at {}: {out} bytes out, {back} back; {told}",
        tunnel.address
    );
    let result = json!({
        "opaque": true, "address": tunnel.address.to_string(), "bytesOut": out, "bytesBack": back, "ended": told,
    });
    let came = Came {
        outcome,
        code: matches!(ended, Ended::Cut(_)).then_some("cut"),
        summary,
        result,
        told: back > 0,
    };
    let Open { flight, server, .. } = tunnel;
    // The other side first: what is recorded as ended has ended.
    drop(server);
    visit.settle(flight, came).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_to_whom_its_tls_says() {
        let hello = |name: Option<&str>, is_encrypted| Hello {
            name: name.map(str::to_owned),
            protocols: Vec::new(),
            is_encrypted,
        };
        #[rustfmt::skip]
        let table = [
            ("a.b",       hello(Some("a.b"), false),      false, "-"),
            ("a.b",       hello(Some("c.d"), false),      false, "sni_mismatch"),
            ("a.b",       hello(Some("a.b."), false),     false, "sni_mismatch"),
            ("a.b",       hello(None, false),             false, "no_sni"),
            ("a.b",       hello(Some("a.b"), true),       false, "encrypted_hello"),
            ("a.b",       hello(Some("a.b"), true),       true,  "-"),
            ("a.b",       hello(Some("front.cdn"), true), true,  "sni_mismatch"),
            ("10.0.0.1",  hello(None, false),             false, "-"),
            ("10.0.0.1",  hello(Some("a.b"), false),      false, "sni_mismatch"),
        ];
        for (host, hello, encrypted, expected) in table {
            let host = Host::parse(host).unwrap();
            let code = speaks_to(&hello, &host, encrypted).map_or_else(|refused| refused.code, |()| "-");
            assert_eq!(code, expected, "{host} {hello:?}");
        }
    }
}
