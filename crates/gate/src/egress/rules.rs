//! What an agent may reach, compiled: which rule is of a target or a request, and which addresses it leaves.
//! Pure.
//!
//! Invariants:
//! - **What is inspected is never opaque**: where a rule that opens TLS covers a host, no tunnel to it is left.
//! - **Every address counts**: one that may not be reached refuses the whole answer of a resolver.

use super::spec::{EgressDocument, Limits};
use assay::address::{Class, Network, leads_to};
use assay::link::Prefix;
use assay::target::{Host, Target};
use policy::Environment;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// What a rule says of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// This one.
    Exact(Host),
    /// Everything below this name.
    Below(String),
    /// Every host, on any port: of a run that learns, and in no document.
    Any,
}

/// What happens to what a rule covers.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Bytes go through as they are.
    Tunnel { tls: bool, encrypted_hello: bool },
    /// Every request is seen and judged.
    Seen {
        inspect: bool,
        methods: Vec<String>,
        prefixes: Vec<Prefix>,
        body_bytes: u64,
    },
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// `egress/NAME#RULE`.
    pub id: String,
    pub environment: Environment,
    pub hosts: Vec<Pattern>,
    pub ports: Vec<u16>,
    pub networks: Vec<Network>,
    pub except: Vec<Network>,
    pub mode: Mode,
}

/// What one agent may reach, by all documents that name it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    pub rules: Vec<Arc<Rule>>,
    pub limits: Limits,
}

/// By agent.
pub(crate) type All = BTreeMap<String, Arc<Allowed>>;

/// How a target may be reached.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Opaquely, and how the resource is called: the target, or the network that it is in and the target.
    Tunnel(Arc<Rule>, String),
    /// With TLS opened.
    Inspect,
    /// Request by request in clear text, by this rule or others: what some clients ask CONNECT for as well.
    Clear(Arc<Rule>),
}

/// An address that may not be reached, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub address: IpAddr,
    pub what: String,
}

/// All documents together.
pub(crate) fn together(documents: &[EgressDocument]) -> All {
    let mut all: BTreeMap<String, Allowed> = BTreeMap::new();
    for document in documents {
        for agent in &document.agents {
            let allowed = all.entry(agent.clone()).or_default();
            allowed.rules.extend(document.rules.iter().cloned());
            allowed.limits = allowed.limits.and(document.limits);
        }
    }
    all.into_iter()
        .map(|(agent, allowed)| (agent, Arc::new(allowed)))
        .collect()
}

impl Allowed {
    /// What one document says, whoever it names.
    pub fn of(document: &EgressDocument) -> Allowed {
        Allowed {
            rules: document.rules.clone(),
            limits: document.limits,
        }
    }

    /// How `target` may be reached by CONNECT or SOCKS5.
    pub fn way(&self, target: &Target) -> Option<Way> {
        let of_port = || self.rules.iter().filter(|rule| rule.is_of_port(target.port));
        if self.rules.iter().any(|rule| rule.opens(target)) {
            return Some(Way::Inspect);
        }
        let tunnels = || of_port().filter(|rule| matches!(rule.mode, Mode::Tunnel { .. }));
        // The exact rule before the wide one, so that it does not depend on the order of documents.
        let exact = tunnels().find(|rule| rule.hosts.contains(&Pattern::Exact(target.host.clone())));
        if let Some(rule) = exact.or_else(|| tunnels().find(|rule| rule.names(&target.host))) {
            return Some(Way::Tunnel(Arc::clone(rule), target.to_string()));
        }
        let of_network = tunnels().find_map(|rule| {
            let Host::Address(address) = target.host else {
                return None;
            };
            let network = rule.networks.iter().find(|network| network.contains(address))?;
            Some(Way::Tunnel(Arc::clone(rule), format!("{network}/{target}")))
        });
        let clear = || {
            let seen = of_port().find(|rule| rule.openness().is_none() && rule.names(&target.host));
            seen.map(|rule| Way::Clear(Arc::clone(rule)))
        };
        of_network.or_else(clear)
    }

    /// The rule by which this request may be made; or why there is none.
    pub fn request(&self, url: &Url, method: &str) -> Result<Arc<Rule>, &'static str> {
        let mut why = "no Egress rule of this agent lets requests to this host through";
        for rule in &self.rules {
            let Mode::Seen {
                methods, prefixes, ..
            } = &rule.mode
            else {
                continue;
            };
            match rule.covers(prefixes, url) {
                true if methods.iter().any(|one| one == method) => return Ok(Arc::clone(rule)),
                true => why = "no Egress rule of this agent lets this method through there",
                false if prefixes.iter().any(|prefix| prefix.is_of_host(url)) => {
                    why = "no Egress rule of this agent lets this path through";
                }
                false => {}
            }
        }
        Err(why)
    }

    pub fn connections(&self) -> usize {
        self.limits.connections.unwrap_or(256) as usize
    }
    pub fn per_second(&self) -> u32 {
        self.limits.per_second.unwrap_or(100)
    }
    pub fn bytes(&self) -> u64 {
        self.limits.bytes.unwrap_or(u64::MAX)
    }
    pub fn idle(&self) -> Duration {
        seconds(self.limits.idle_seconds, 300)
    }
    pub fn lifetime(&self) -> Duration {
        seconds(self.limits.lifetime_seconds, 3600)
    }
    pub fn connect(&self) -> Duration {
        seconds(self.limits.connect_seconds, 60)
    }
}

fn seconds(given: Option<u32>, usual: u64) -> Duration {
    Duration::from_secs(given.map_or(usual, u64::from))
}

impl Rule {
    /// A rule that lets nothing through by itself: it says which networks names may lead to.
    pub fn of_networks(id: &str, networks: &[Network], environment: &Environment) -> Rule {
        Rule {
            id: id.to_owned(),
            environment: environment.clone(),
            hosts: Vec::new(),
            ports: Vec::new(),
            networks: networks.to_vec(),
            except: Vec::new(),
            mode: Mode::Tunnel {
                tls: false,
                encrypted_hello: false,
            },
        }
    }

    /// Whether TLS to `target` is opened by it.
    pub fn opens(&self, target: &Target) -> bool {
        let opens = matches!(self.mode, Mode::Seen { inspect: true, .. });
        opens && self.is_of_port(target.port) && self.names(&target.host)
    }

    /// Of a tunnel: whether it has to be TLS to that host, and whether its hello may be encrypted.
    pub fn openness(&self) -> Option<(bool, bool)> {
        match self.mode {
            Mode::Tunnel { tls, encrypted_hello } => Some((tls, encrypted_hello)),
            Mode::Seen { .. } => None,
        }
    }

    fn is_of_port(&self, port: u16) -> bool {
        self.is_of_any() || self.ports.contains(&port)
    }

    fn is_of_any(&self) -> bool {
        self.hosts.contains(&Pattern::Any)
    }

    fn covers(&self, prefixes: &[Prefix], url: &Url) -> bool {
        let is_clear = || url.scheme() == "http";
        prefixes.iter().any(|prefix| prefix.covers(url)) || self.is_of_any() && is_clear()
    }

    fn names(&self, host: &Host) -> bool {
        self.hosts.iter().any(|pattern| match (pattern, host) {
            (Pattern::Exact(own), host) => own == host,
            (Pattern::Below(name), Host::Name(host)) => {
                let labels = host.strip_suffix(name.as_str());
                labels.is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            }
            (Pattern::Any, _) => true,
            (Pattern::Below(_), Host::Address(_)) => false,
        })
    }

    /// Why one of `addresses` may not be reached on `port`; `own` are our own listeners.
    pub fn closed(&self, addresses: &[IpAddr], port: u16, own: &[SocketAddr]) -> Result<(), Closed> {
        addresses.iter().try_for_each(|address| {
            self.closed_one(*address, port, own).map_or(Ok(()), |what| {
                Err(Closed {
                    address: *address,
                    what,
                })
            })
        })
    }

    fn closed_one(&self, address: IpAddr, port: u16, own: &[SocketAddr]) -> Option<String> {
        let real = leads_to(address);
        let is_own = |own: &SocketAddr| {
            let any = own.ip().is_unspecified() && Class::of(real) != Class::Public;
            own.port() == port && (own.ip() == real || any)
        };
        if own.iter().any(is_own) {
            return Some("a door of this installation itself".to_owned());
        }
        if let Some(network) = self.except.iter().find(|network| network.contains(address)) {
            return Some(format!("in {network}, which `{}` excepts", self.id));
        }
        let class = Class::of(address);
        if class == Class::Public {
            return None;
        }
        // What stands behind a translation has to be named itself; a public one by the gateway's network.
        let judged = if class == Class::Nat64 { address } else { real };
        let is_named = |network: &Network| network.contains(judged);
        let is_listed = self.hosts.contains(&Pattern::Exact(Host::Address(address)));
        match class.is_opened_by_name() && (is_listed || self.networks.iter().any(is_named)) {
            true => None,
            false => Some(class.to_string()),
        }
    }
}
