//! How upstreams are connected to: no redirects, no proxies; every address that a name has is looked at, and one of exactly
//! these is connected to.

use super::spec::Model;
use crate::egress::Resolve;
use crate::egress::resolve;
use crate::egress::rules::Rule;
use crate::gate::lock;
use assay::address::Network;
use assay::target::{Host, Target};
use reqwest::dns::{Addrs, Name, Resolve as Lookup, Resolving};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Host as UrlHost;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

/// One client for all models whose endpoints have one port and may be in the same networks.
pub(super) struct Clients {
    resolver: Arc<dyn Resolve>,
    own: Vec<SocketAddr>,
    made: Mutex<HashMap<(Vec<Network>, u16), reqwest::Client>>,
}

impl Clients {
    pub fn new(resolver: Arc<dyn Resolve>, own: Vec<SocketAddr>) -> Clients {
        Clients {
            resolver,
            own,
            made: Mutex::default(),
        }
    }

    /// The client for `model`.
    ///
    /// # Errors
    /// Its endpoint is an address that may not be reached, or no client can be made.
    pub fn of(&self, model: &Model) -> Result<reqwest::Client, String> {
        let rule = Arc::new(Rule::of_networks(
            &format!("model/{}", model.name),
            &model.networks,
            &model.environment,
        ));
        let port = model.endpoint.port_or_known_default().unwrap_or_default();
        // An address is not looked up, so it is looked at here.
        let address = match model.endpoint.host() {
            Some(UrlHost::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(UrlHost::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if let Some(address) = address {
            rule.closed(&[address], port, &self.own)
                .map_err(|closed| format!("its endpoint {} is {}", closed.address, closed.what))?;
        }
        let mut made = lock(&self.made);
        let key = (model.networks.clone(), port);
        if let Some(client) = made.get(&key) {
            return Ok(client.clone());
        }
        let lookup = Checked {
            resolver: Arc::clone(&self.resolver),
            own: self.own.clone(),
            rule,
            port,
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .user_agent(concat!("cofferdam/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(lookup))
            .build()
            .map_err(|error| format!("no client can be made: {error}"))?;
        made.insert(key, client.clone());
        Ok(client)
    }
}

/// INVARIANT (every address counts): one that may not be reached refuses the whole answer.
struct Checked {
    resolver: Arc<dyn Resolve>,
    own: Vec<SocketAddr>,
    rule: Arc<Rule>,
    port: u16,
}

impl Lookup for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, rule, own) = (
            Arc::clone(&self.resolver),
            Arc::clone(&self.rule),
            self.own.clone(),
        );
        let port = self.port;
        Box::pin(async move {
            let host =
                Host::parse(name.as_str()).map_err(|error| std::io::Error::other(error.to_string()))?;
            let target = Target { host, port };
            let found = resolve::addresses(resolver.as_ref(), &rule, &target, &own).await;
            let found = found.map_err(|why| std::io::Error::other(why.told(&target).2))?;
            let addresses: Vec<SocketAddr> = found
                .into_iter()
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
