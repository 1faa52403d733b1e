//! What would become of a connection, told to whoever asks about it: by which rule, with what the gate would say, and
//! what every address of the name is. Connects to nothing and records nothing.

use super::opaque::{Spoken, proposal};
use super::rules::{Mode, Rule, Way};
use super::{Egress, resolve};
use assay::address::Class;
use assay::target::Target;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a name may take.
const TIME: Duration = Duration::from_secs(10);

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// As it was read: `api.example.com:443`.
    pub target: String,
    /// Which agent.
    pub agent: String,
    /// Whether it would be let through, as far as that can be known now.
    pub allowed: bool,
    /// `tunnel`, `inspect`, `clear`, or nothing without a rule.
    pub mode: Option<&'static str>,
    /// `egress/NAME#RULE`.
    pub rule: Option<String>,
    /// What the gate would say of the tunnel: `permit`, `deny`, `require_approval`; of a connection whose requests
    /// are seen nothing, since each of them is asked about.
    pub outcome: Option<&'static str>,
    /// Why, in words.
    pub reason: String,
    /// Every address that the name leads to, and what it is.
    pub addresses: Vec<Reached>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Which.
    pub address: IpAddr,
    /// What it is: `a public address`.
    pub class: &'static str,
    /// Why it may not be reached by the rule; nothing when it may, or without a rule.
    pub refused: Option<String>,
}

impl Egress {
    /// What would become of a CONNECT by `agent` to `text`, which is `HOST:PORT`. `None` when there is no such agent.
    pub async fn test(&self, agent: &str, text: &str) -> Option<Tested> {
        let authority = self.gate.authority();
        let (agent, _) = authority.resolve(agent)?;
        let mut tested = Tested {
            target: text.to_owned(),
            agent: agent.to_owned(),
            allowed: false,
            mode: None,
            rule: None,
            outcome: None,
            reason: String::new(),
            addresses: Vec::new(),
        };
        let target = match Target::parse(text) {
            Ok(target) => target,
            Err(error) => {
                tested.reason = error.to_string();
                return Some(tested);
            }
        };
        tested.target = target.to_string();
        let (rule, resource) = match self.allowed(agent).way(&target) {
            Some(Way::Tunnel(rule, resource)) => (Some(rule), Some(resource)),
            Some(Way::Inspect) => (self.inspecting(agent, &target), None),
            Some(Way::Clear(rule)) => (Some(rule), None),
            None => (None, None),
        };
        self.judge(&mut tested, &target, rule.as_deref(), resource);
        let closed = self.look(&mut tested, &target, rule.as_deref()).await;
        if let (true, Some(closed)) = (tested.allowed, closed) {
            tested.allowed = false;
            tested.reason = closed;
        }
        Some(tested)
    }

    fn inspecting(&self, agent: &str, target: &Target) -> Option<Arc<Rule>> {
        let allowed = self.allowed(agent);
        let opens = |rule: &&Arc<Rule>| rule.opens(target);
        allowed.rules.iter().find(opens).cloned()
    }

    /// The rule, and what the gate would say.
    fn judge(&self, tested: &mut Tested, target: &Target, rule: Option<&Rule>, resource: Option<String>) {
        let Some(rule) = rule else {
            tested.reason = format!("no Egress document lets agent `{}` reach {target}", tested.agent);
            return;
        };
        tested.rule = Some(rule.id.clone());
        let Some(resource) = resource else {
            let Mode::Seen { inspect, methods, .. } = &rule.mode else {
                return;
            };
            let (mode, how) = match inspect {
                true => ("inspect", "inspected"),
                false => ("clear", "in clear text"),
            };
            tested.mode = Some(mode);
            tested.allowed = true;
            tested.reason = format!("{how}: {} there, each asked about", methods.join(", "));
            return;
        };
        tested.mode = Some("tunnel");
        let made = proposal(
            &resource,
            target,
            &rule.environment,
            Spoken::Http { is_1_1: true },
        );
        let explained = made
            .ok()
            .and_then(|action| self.gate.explain(&tested.agent, &action));
        let Some(explained) = explained else {
            tested.reason = "it makes no action".to_owned();
            return;
        };
        tested.allowed = explained.outcome == "permit";
        tested.outcome = Some(explained.outcome);
        tested.reason = explained.reason;
    }

    /// The addresses; why one of them, or their absence, would refuse the connection.
    async fn look(&self, tested: &mut Tested, target: &Target, rule: Option<&Rule>) -> Option<String> {
        let own = self.own();
        let found = resolve::names(&*self.resolver, target);
        let found = match tokio::time::timeout(TIME, found).await {
            Ok(Ok(found)) => found,
            Ok(Err(unreached)) => return Some(unreached.told(target).2),
            Err(_) => return Some(format!("`{}` is not resolved in time", target.host)),
        };
        let mut why = None;
        for address in found {
            let closed = rule.and_then(|rule| rule.closed(&[address], target.port, &own).err());
            let refused = closed.map(|closed| closed.what);
            if let (Some(what), None) = (&refused, &why) {
                why = Some(format!("`{}` leads to {address}, which is {what}", target.host));
            }
            tested.addresses.push(Reached {
                address,
                class: Class::of(address).as_str(),
                refused,
            });
        }
        why
    }
}
