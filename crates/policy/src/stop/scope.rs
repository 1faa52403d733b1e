//! What a stop covers, and what it is asked about. Names are compared whole; nothing is looked up here.

use crate::{Action, Area, Capability, Environment, Pattern, Place};
use std::cmp::Ordering;
use std::fmt::{Display, Formatter};

/// What a stop covers. Ordered from the widest to the narrowest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StopScope {
    /// Everything.
    All,
    /// Every action that may reach the network.
    Network,
    /// Every agent of an organization, a team or a project.
    Area(Area),
    /// Every action of these verbs.
    Tool(Pattern),
    /// Every action that a capability bars: one of `production` in every environment that counts as one.
    Capability(Capability),
    /// One agent, by name.
    Agent(String),
    /// One session, by id.
    Session(String),
}

/// What a stop can cover: whose action, in which session, and what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Every agent on the chain.
    pub agents: Vec<Member>,
    /// The session, or empty.
    pub session: String,
    /// What is to be done; `None` when a session as a whole is meant, which only a stop of its agents or
    /// of itself covers.
    pub doing: Option<Doing>,
}

/// An agent and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Unique on the platform.
    pub name: String,
    /// Its place in the tree of tenancy.
    pub place: Place,
}

/// What of an action a stop can cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// Its verb.
    pub verb: String,
    /// Its resource.
    pub resource: String,
    /// Where it takes effect.
    pub environment: Environment,
    /// Whether it may reach the network.
    pub network: bool,
}

impl StopScope {
    /// Whether `subject` is within this scope.
    pub fn covers(&self, subject: &Subject) -> bool {
        let does = |covered: &dyn Fn(&Doing) -> bool| subject.doing.as_ref().is_some_and(covered);
        match self {
            StopScope::All => true,
            StopScope::Network => does(&|doing| doing.network),
            StopScope::Area(area) => subject.agents.iter().any(|agent| area.contains(&agent.place)),
            StopScope::Tool(verbs) => does(&|doing| verbs.covers(&doing.verb)),
            StopScope::Capability(held) => {
                does(&|doing| held.bars_deed(&doing.verb, &doing.resource, &doing.environment))
            }
            StopScope::Agent(name) => subject.agents.iter().any(|agent| agent.name == *name),
            StopScope::Session(id) => subject.session == *id,
        }
    }

    /// Whether it covers single actions and no session as a whole: what it covers is refused, and the
    /// session goes on.
    pub fn is_of_actions(&self) -> bool {
        matches!(
            self,
            StopScope::Network | StopScope::Tool(_) | StopScope::Capability(_)
        )
    }

    /// Reads what [`Display`] writes: `all`, `network`, `org:A`, `team:A/B`, `project:A/B/C`, `tool:VERBS`,
    /// `capability:CAPABILITY`, `agent:NAME`, `session:ID`.
    pub fn parse(text: &str) -> Option<StopScope> {
        let area = |text: &str, depth| {
            let area = Area::parse(text).filter(|area| area.depth() == depth);
            area.map(StopScope::Area)
        };
        match text.split_once(':') {
            None if text == "all" => Some(StopScope::All),
            None if text == "network" => Some(StopScope::Network),
            Some(("org", path)) => area(path, 1),
            Some(("team", path)) => area(path, 2),
            Some(("project", path)) => area(path, 3),
            Some(("tool", verbs)) => Pattern::new(verbs).map(StopScope::Tool),
            Some(("capability", text)) => Capability::parse(text).map(StopScope::Capability),
            Some(("agent", name)) if !name.is_empty() => Some(StopScope::Agent(name.to_owned())),
            Some(("session", id)) if !id.is_empty() => Some(StopScope::Session(id.to_owned())),
            _ => None,
        }
    }

    /// The smaller, the wider.
    fn rank(&self) -> usize {
        match self {
            StopScope::All => 0,
            StopScope::Network => 1,
            StopScope::Area(area) => 1 + area.depth(),
            StopScope::Tool(_) => 5,
            StopScope::Capability(_) => 6,
            StopScope::Agent(_) => 7,
            StopScope::Session(_) => 8,
        }
    }
}

impl Display for StopScope {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            StopScope::All => f.write_str("all"),
            StopScope::Network => f.write_str("network"),
            StopScope::Area(area) => match area.depth() {
                1 => write!(f, "org:{area}"),
                2 => write!(f, "team:{area}"),
                _ => write!(f, "project:{area}"),
            },
            StopScope::Tool(verbs) => write!(f, "tool:{}", verbs.as_str()),
            StopScope::Capability(held) => write!(f, "capability:{held}"),
            StopScope::Agent(name) => write!(f, "agent:{name}"),
            StopScope::Session(id) => write!(f, "session:{id}"),
        }
    }
}

impl Ord for StopScope {
    fn cmp(&self, other: &StopScope) -> Ordering {
        let width = self.rank().cmp(&other.rank());
        width.then_with(|| self.to_string().cmp(&other.to_string()))
    }
}

impl PartialOrd for StopScope {
    fn partial_cmp(&self, other: &StopScope) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Subject {
    /// The same, doing `action`.
    #[must_use]
    pub fn doing(self, action: &Action) -> Subject {
        let doing = Doing {
            verb: action.verb().as_str().to_owned(),
            resource: action.resource().to_owned(),
            environment: action.environment().clone(),
            network: action.reaches_network(),
        };
        Subject {
            doing: Some(doing),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_are_written_and_ordered_by_width() {
        let texts = [
            "all",
            "network",
            "org:acme",
            "org:zoo",
            "team:acme/sre",
            "project:acme/sre/ops",
            "tool:git.*",
            "tool:git.log",
            "capability:git.log:repository/shop:staging",
            "capability:http.*:https://example.org/*",
            "agent:triage",
            "session:ses-1",
        ];
        let scopes: Vec<_> = texts.iter().map(|text| StopScope::parse(text).unwrap()).collect();
        let written: Vec<_> = scopes.iter().map(StopScope::to_string).collect();
        assert_eq!(written, texts);
        let mut sorted = scopes.clone();
        sorted.reverse();
        sorted.sort();
        assert_eq!(sorted, scopes);
        #[rustfmt::skip]
        let none = [
            "", "All", "all:", "network:x", "agent:", "session:", "agent", "org:", "org:acme/sre", "team:acme",
            "team:acme/sre/ops", "project:acme/sre", "org:Acme", "tool:", "tool:*.log", "capability:git.log",
            "capability::x", "capability:git.*x:y", "capability:git.log:repo*", "room:a",
        ];
        for text in none {
            assert_eq!(StopScope::parse(text), None, "{text}");
        }
    }
}
