//! Names become addresses here and nowhere else, once for each connection: what was checked is what is dialled, so
//! there is nothing to rebind.

use super::rules::{Closed, Rule};
use crate::BoxFuture;
use crate::gate::lock;
use assay::address::leads_to;
use assay::target::{Host, Target};
use std::collections::HashMap;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 64;
/// How long one of several addresses may take before the next is tried.
const EACH: Duration = Duration::from_secs(10);

/// Who knows names.
pub trait Resolve: Send + Sync {
    /// Every address of `name`.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// Names that are asked about at once. A question cannot be taken back, and whoever is asked may never answer: it holds
/// its place here for as long as it holds a thread, so that all others of the platform are left to others.
static LOOKING: Semaphore = Semaphore::const_new(4);
/// Names that people gave to addresses on this machine.
const HOSTS: &str = "/etc/hosts";
/// Most of that file that is read, in bytes.
const HOSTS_BYTES_MAX: u64 = 1024 * 1024;

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let place = LOOKING.acquire().await.map_err(std::io::Error::other)?;
            let name = name.to_owned();
            let looking = tokio::task::spawn_blocking(move || {
                let _place = place;
                look_up(&name)
            });
            looking.await.map_err(std::io::Error::other)?
        })
    }
}

fn look_up(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let mut text = String::new();
    let read =
        std::fs::File::open(HOSTS).and_then(|file| file.take(HOSTS_BYTES_MAX).read_to_string(&mut text));
    if read.is_ok() {
        let found = of_hosts(&text, name);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    // With a dot at the end no search list makes another name of it.
    let found = (format!("{name}."), 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The addresses that `hosts(5)` has for `name`, which is lower case.
fn of_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let of_name = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|word| word.eq_ignore_ascii_case(name))
            .then_some(address)
    });
    of_name.collect()
}

/// Questions of those that have limits together, so that nobody's unanswered ones keep others from asking.
#[derive(Debug, Default)]
pub(crate) struct Asking(Mutex<HashMap<String, Arc<Semaphore>>>);

/// Names that one of them asks about at once: fewer than [`LOOKING`] has places.
const ASKING: usize = 2;
/// Those that are told apart.
const ASKERS_MAX: usize = 4096;

impl Asking {
    fn of(&self, whose: &str) -> Arc<Semaphore> {
        let mut all = lock(&self.0);
        if all.len() >= ASKERS_MAX {
            // Whoever asks right now keeps what it has.
            all.retain(|_, asking| Arc::strong_count(asking) > 1);
        }
        let new = || Arc::new(Semaphore::new(ASKING));
        Arc::clone(all.entry(whose.to_owned()).or_insert_with(new))
    }
}

/// The resolver, for one of those that have limits together.
pub(crate) struct Fair<'a> {
    pub resolver: &'a Arc<dyn Resolve>,
    pub asking: &'a Asking,
    pub whose: &'a str,
}

impl Resolve for Fair<'_> {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let asking = self.asking.of(self.whose);
            let place = asking.acquire_owned().await.map_err(std::io::Error::other)?;
            let (resolver, name) = (Arc::clone(self.resolver), name.to_owned());
            // Whoever stops waiting has its place back when the question is answered, and not before.
            let looking = tokio::spawn(async move {
                let _place = place;
                resolver.resolve(&name).await
            });
            looking.await.map_err(std::io::Error::other)?
        })
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// One of the addresses may not be reached.
    Closed(Closed),
    /// The name has none.
    Unresolved(String),
    /// Nobody answers.
    Refused(String),
    /// In time.
    Slow,
}

impl Unreached {
    /// Status, word and text.
    pub fn told(&self, target: &Target) -> (u16, &'static str, String) {
        match self {
            Unreached::Closed(Closed { address, what }) => {
                let text = format!("`{}` leads to {address}, which is {what}", target.host);
                (403, "address_refused", text)
            }
            Unreached::Unresolved(what) => (502, "not_resolved", format!("`{}`: {what}", target.host)),
            Unreached::Refused(what) => (502, "not_connected", format!("{target}: {what}")),
            Unreached::Slow => (504, "not_connected", format!("{target} did not answer in time")),
        }
    }
}

/// The addresses of the target, whatever they are.
pub(crate) async fn names(resolver: &dyn Resolve, target: &Target) -> Result<Vec<IpAddr>, Unreached> {
    let found = match &target.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => {
            let found = resolver.resolve(name).await;
            let mut found = found.map_err(|error| Unreached::Unresolved(error.to_string()))?;
            found.dedup();
            found
        }
    };
    if found.is_empty() || found.len() > ADDRESSES_MAX {
        return Err(Unreached::Unresolved(format!("it has {} addresses", found.len())));
    }
    Ok(found)
}

/// The addresses of the target, none of which the rule closes.
pub(crate) async fn addresses(
    resolver: &dyn Resolve,
    rule: &Rule,
    target: &Target,
    own: &[SocketAddr],
) -> Result<Vec<IpAddr>, Unreached> {
    let found = names(resolver, target).await?;
    // INVARIANT (every address counts): also those that would not be tried.
    rule.closed(&found, target.port, own).map_err(Unreached::Closed)?;
    let everywhere = own
        .iter()
        .any(|own| own.ip().is_unspecified() && own.port() == target.port);
    if let Some(address) = found
        .iter()
        .find(|address| everywhere && is_of_this_machine(**address))
    {
        let what = "a door of this installation itself".to_owned();
        return Err(Unreached::Closed(Closed {
            address: *address,
            what,
        }));
    }
    Ok(found)
}

/// Whether this machine has that address: what listens on all of them listens there too.
fn is_of_this_machine(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((leads_to(address), 0)).is_ok()
}

/// Connects with the first of the checked addresses that answers.
pub(crate) async fn dial(
    resolver: &dyn Resolve,
    rule: &Rule,
    target: &Target,
    own: &[SocketAddr],
    time: Duration,
) -> Result<(TcpStream, IpAddr), Unreached> {
    let dialling = async {
        let addresses = addresses(resolver, rule, target, own).await?;
        let mut last = Unreached::Slow;
        let several = addresses.len() > 1;
        for address in addresses {
            let connecting = TcpStream::connect(SocketAddr::new(address, target.port));
            let each = if several { EACH.min(time) } else { time };
            match tokio::time::timeout(each, connecting).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, address));
                }
                Ok(Err(error)) => last = Unreached::Refused(error.to_string()),
                Err(_) => last = Unreached::Slow,
            }
        }
        Err(last)
    };
    tokio::time::timeout(time, dialling)
        .await
        .unwrap_or(Err(Unreached::Slow))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never answers about `never`, and at once about anything else.
    struct Silent;

    impl Resolve for Silent {
        fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
            Box::pin(async move {
                match name {
                    "never" => std::future::pending().await,
                    _ => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                }
            })
        }
    }

    #[tokio::test]
    async fn unanswered_names_of_one_keep_nobody_else_from_asking() {
        let (resolver, asking): (Arc<dyn Resolve>, _) = (Arc::new(Silent), Asking::default());
        let ask = async |whose: &str, name: &str, seconds: f64| {
            let (resolver, asking) = (&resolver, &asking);
            let fair = Fair {
                resolver,
                asking,
                whose,
            };
            let time = Duration::from_secs_f64(seconds);
            tokio::time::timeout(time, fair.resolve(name)).await.is_ok()
        };
        for _ in 0..ASKING {
            assert!(!ask("greedy", "never", 0.01).await);
        }
        assert!(!ask("greedy", "other", 0.01).await, "its places are taken");
        assert!(ask("another", "other", 60.0).await);
    }

    #[test]
    fn what_listens_everywhere_listens_at_every_address_of_this_machine() {
        for (address, own) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
        ] {
            assert_eq!(is_of_this_machine(address.parse().unwrap()), own, "{address}");
        }
    }

    #[test]
    fn names_of_the_machine() {
        let text = "127.0.0.1 localhost\n# 1.1.1.1 commented\n10.0.0.1\tA.corp a # b.corp\n::1 localhost ip6\nodd line\n";
        #[rustfmt::skip]
        let table: [(&str, &[&str]); 5] = [
            ("localhost", &["127.0.0.1", "::1"]),
            ("a.corp",    &["10.0.0.1"]),
            ("a",         &["10.0.0.1"]),
            ("b.corp",    &[]),
            ("line",      &[]),
        ];
        for (name, expected) in table {
            let found: Vec<String> = of_hosts(text, name).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
