//! What is open through the egress surface, for stops and for what is taken back: every connection of a session,
//! from when it is known whose it is until it has ended.
//!
//! A connection is cut by a turn in memory; whoever holds it ends it, settles what was in flight, and is gone from
//! here when that is done.

use crate::gate::lock;
use crate::{BoxFuture, Stood, Stoppable};
use assay::target::Target;
use policy::{Action, Stop, Subject};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::watch;
use url::Url;

/// The name that answers have for them.
pub(crate) const NAME: &str = "tunnels";

/// All that is open.
#[derive(Debug)]
pub(crate) struct Tunnels {
    open: Mutex<Open>,
    /// How many have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    by_number: BTreeMap<u64, Tunnel>,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    pub name: String,
    pub session: String,
    pub agent: String,
    /// Whom a stop has to be about to end it as a whole.
    pub subject: Subject,
    /// What to look at again when configuration or identities change.
    pub held: Option<Held>,
    cut: Arc<Cut>,
}

/// What is under way, and so what it rests on.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub what: What,
    /// Once it is known.
    pub address: Option<IpAddr>,
    pub action: Arc<Action>,
    /// What was asked of its TLS; see [`super::rules::Rule::openness`].
    pub openness: Option<(bool, bool)>,
}

/// How it was let through.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Tunnel(Target),
    /// A URL and a method.
    Request(Arc<Url>, String),
}

/// Turns once, with a reason.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    why: OnceLock<String>,
    turned: tokio::sync::Notify,
}

impl Cut {
    pub fn turn(&self, why: &str) {
        let _ = self.why.set(why.to_owned());
        self.turned.notify_waiters();
    }

    /// Resolves when it has turned, with why.
    pub async fn turned(&self) -> String {
        loop {
            let turned = self.turned.notified();
            tokio::pin!(turned);
            // Registered before the look, so that a turn in between is not missed.
            turned.as_mut().enable();
            if let Some(why) = self.why.get() {
                return why.clone();
            }
            turned.await;
        }
    }
}

/// A place among the open ones; gone when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    tunnels: Arc<Tunnels>,
    number: u64,
    cut: Arc<Cut>,
}

impl Place {
    pub fn cut(&self) -> &Arc<Cut> {
        &self.cut
    }

    /// Says what it is about to do. INVARIANT (nothing is missed): before it is judged, so that whatever changes
    /// afterwards finds it here, and whatever changed before is what it is judged by.
    pub fn begins(&self, name: String, held: Held) {
        self.change(|tunnel| {
            tunnel.name = name;
            tunnel.held = Some(held);
        });
    }

    /// Says which address it is connected to.
    pub fn reached(&self, address: IpAddr) {
        self.change(|tunnel| {
            if let Some(held) = &mut tunnel.held {
                held.address = Some(address);
            }
        });
    }

    /// Says that nothing is under way.
    pub fn rests(&self) {
        self.change(|tunnel| tunnel.held = None);
    }

    fn change(&self, change: impl FnOnce(&mut Tunnel)) {
        if let Some(tunnel) = lock(&self.tunnels.open).by_number.get_mut(&self.number) {
            change(tunnel);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.tunnels.open).by_number.remove(&self.number);
        self.tunnels.ended.send_modify(|ended| *ended += 1);
    }
}

impl Tunnels {
    pub fn new() -> Tunnels {
        Tunnels {
            open: Mutex::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// Takes a place for a connection of `session`.
    pub fn enter(self: &Arc<Self>, session: &str, agent: &str, subject: Subject) -> Place {
        let mut open = lock(&self.open);
        open.last += 1;
        let number = open.last;
        let cut = Arc::new(Cut::default());
        let tunnel = Tunnel {
            name: format!("connection {number} of {session}"),
            session: session.to_owned(),
            agent: agent.to_owned(),
            subject,
            held: None,
            cut: Arc::clone(&cut),
        };
        open.by_number.insert(number, tunnel);
        Place {
            tunnels: Arc::clone(self),
            number,
            cut,
        }
    }

    /// All that are open now.
    pub fn all(&self) -> Vec<(u64, Tunnel)> {
        let open = lock(&self.open);
        open.by_number
            .iter()
            .map(|(number, tunnel)| (*number, tunnel.clone()))
            .collect()
    }

    pub fn count(&self) -> usize {
        lock(&self.open).by_number.len()
    }

    /// Cuts one.
    pub fn cut(&self, number: u64, why: &str) {
        let cut = lock(&self.open)
            .by_number
            .get(&number)
            .map(|tunnel| Arc::clone(&tunnel.cut));
        if let Some(cut) = cut {
            cut.turn(why);
        }
    }

    /// Resolves when none of `numbers` is open any more.
    pub async fn gone(&self, numbers: &[u64]) {
        let mut ended = self.ended.subscribe();
        let is_open = || {
            let open = lock(&self.open);
            numbers.iter().any(|number| open.by_number.contains_key(number))
        };
        while is_open() && ended.changed().await.is_ok() {}
    }

    fn covered(&self, stop: &Stop) -> Vec<(u64, String)> {
        let open = lock(&self.open);
        let covered = open
            .by_number
            .iter()
            .filter(|(_, tunnel)| stop.scope.covers(&tunnel.subject));
        covered
            .map(|(number, tunnel)| (*number, tunnel.name.clone()))
            .collect()
    }
}

impl Stoppable for Tunnels {
    fn name(&self) -> &'static str {
        NAME
    }

    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Stood> {
        Box::pin(async move {
            let covered = self.covered(stop);
            let why = format!("stopped by {}: {}", stop.by, stop.reason);
            for (number, _) in &covered {
                self.cut(*number, &why);
            }
            let (numbers, names): (Vec<u64>, Vec<String>) = covered.into_iter().unzip();
            self.gone(&numbers).await;
            names.into()
        })
    }

    fn open(&self, stop: &Stop) -> Vec<String> {
        self.covered(stop).into_iter().map(|(_, name)| name).collect()
    }
}
