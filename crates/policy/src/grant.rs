//! Capabilities and who holds them until when. A grant lets a principal ask; it never permits by itself
//! more than a read.

use crate::action::PRODUCTION;
use crate::{Action, Environment, Timestamp};
use serde::{Deserialize, Serialize};

/// Text to match exactly, or a prefix followed by `*`, or `*` alone. Of resources alone there is one other
/// wildcard: `*.` in front of a host (`*.example.com:443`), which stands for one or more labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// `verb:resource[:environment]`. Verbs are matched by segments between dots, resources by segments
/// between slashes; `*` stands for everything from its segment on and nowhere else, so `read:data`
/// never covers `read:database`, nor does `read:data/*`.
///
/// The first colon ends the verb. Resources may hold colons (`http://h:8080/x`): what follows the last
/// one is an environment only when it is `*` (any) or a name with something besides digits in it. A
/// resource that would be misread is written with `:*` behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    verb: Pattern,
    resource: Pattern,
    /// `None` for any.
    environment: Option<Environment>,
}

/// A capability that a principal holds, from whom and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it allows to ask for.
    pub capability: Capability,
    /// Who gave it: `toolset/triage-read`, `delegation/del-7`.
    pub from: String,
    /// Holds strictly before this point; `None` means as long as the giver says so.
    pub until: Option<Timestamp>,
}

impl Pattern {
    /// `None` when empty or when `*` stands anywhere but at the end.
    pub fn new(text: &str) -> Option<Pattern> {
        let star = text.find('*');
        let fits = !text.is_empty() && star.is_none_or(|at| at + 1 == text.len());
        fits.then(|| Pattern(text.to_owned()))
    }
    /// The same, and `*` is a whole segment: alone, or right after `separator`.
    pub fn by_segments(text: &str, separator: char) -> Option<Pattern> {
        let whole = |prefix: &str| prefix.is_empty() || prefix.ends_with(separator);
        let fits = text.strip_suffix('*').is_none_or(whole);
        Pattern::new(text).filter(|_| fits)
    }
    /// The same of resources; and `*.` in front of a host is one or more of its labels.
    fn of_resource(text: &str) -> Option<Pattern> {
        let below = |host: &str| !host.is_empty() && host.bytes().all(|b| !matches!(b, b'*' | b'/' | b'@'));
        match text.strip_prefix("*.") {
            Some(host) if below(host) => Some(Pattern(text.to_owned())),
            _ => Pattern::by_segments(text, '/'),
        }
    }
    /// What follows the labels that `*.` in front stands for, with the dot: `.example.com:443`.
    fn below(&self) -> Option<&str> {
        self.0.strip_prefix('*').filter(|rest| rest.starts_with('.'))
    }
    /// Whether `text` is covered.
    pub fn covers(&self, text: &str) -> bool {
        if let Some(host) = self.below() {
            // A name in a path, or behind a user, is no host.
            let labels = text.strip_suffix(host);
            return labels.is_some_and(|labels| {
                !labels.is_empty()
                    && labels
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            });
        }
        match self.0.strip_suffix('*') {
            Some(prefix) => text.starts_with(prefix),
            None => text == self.0,
        }
    }
    /// Whether every text that `other` covers is covered.
    pub fn covers_pattern(&self, other: &Pattern) -> bool {
        match (self.below(), other.below()) {
            (Some(ours), Some(theirs)) => return theirs.ends_with(ours),
            (Some(_), None) => return !other.0.ends_with('*') && self.covers(&other.0),
            (None, Some(_)) => return self.is_any(),
            (None, None) => {}
        }
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(prefix), Some(narrower)) => narrower.starts_with(prefix),
            (Some(prefix), None) => other.0.starts_with(prefix),
            (None, Some(_)) => false,
            (None, None) => self.0 == other.0,
        }
    }
    /// Whether it is `*` alone.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Capability {
    /// Reads `verb:resource[:environment]`.
    pub fn parse(text: &str) -> Option<Capability> {
        let (verb, rest) = text.split_once(':')?;
        match rest.rsplit_once(':').filter(|(_, last)| is_qualifier(last)) {
            Some((resource, "*")) => Capability::new(verb, resource),
            Some((resource, environment)) => Capability::new(verb, resource)?.within(environment),
            None => Capability::new(verb, rest),
        }
    }
    /// Of these verbs on these resources in any environment; colons in `resource` belong to it.
    pub fn new(verb: &str, resource: &str) -> Option<Capability> {
        let of_verbs = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b);
        let fits = verb.len() <= 64
            && verb.bytes().all(of_verbs)
            && resource.len() <= crate::action::RESOURCE_BYTES_MAX
            && !resource.chars().any(char::is_control);
        let (verb, resource) = (Pattern::by_segments(verb, '.')?, Pattern::of_resource(resource)?);
        fits.then_some(Capability {
            verb,
            resource,
            environment: None,
        })
    }
    /// The same in one environment; `None` when that is no name of one (or of
    /// digits only, which reads as a port), or not the one it is limited to.
    pub fn within(self, environment: &str) -> Option<Capability> {
        let environment = Environment::new(environment)
            .ok()
            .filter(|name| is_qualifier(name.as_str()))?;
        let fits = self.environment.as_ref().is_none_or(|own| *own == environment);
        fits.then_some(Capability {
            environment: Some(environment),
            ..self
        })
    }
    /// Whether `action` is covered.
    pub fn covers(&self, action: &Action) -> bool {
        let there = |own: &Environment| own == action.environment();
        self.environment.as_ref().is_none_or(there)
            && self.verb.covers(action.verb().as_str())
            && self.resource.covers(action.resource())
    }
    /// Whether `action` is barred when this is an exception, a `deny` or a stop.
    pub fn bars(&self, action: &Action) -> bool {
        self.bars_deed(action.verb().as_str(), action.resource(), action.environment())
    }
    /// Whether doing `verb` to `resource` there is barred. What bars `production` bars every environment
    /// that counts as one, whatever it is called; what grants it grants that name alone.
    pub fn bars_deed(&self, verb: &str, resource: &str, environment: &Environment) -> bool {
        let is_there = |own: &Environment| {
            own == environment || own.as_str() == PRODUCTION && environment.is_production()
        };
        self.environment.as_ref().is_none_or(is_there)
            && self.verb.covers(verb)
            && self.resource.covers(resource)
    }
    /// Whether every action that `other` covers is covered.
    pub fn covers_capability(&self, other: &Capability) -> bool {
        self.verb.covers_pattern(&other.verb)
            && self.resource.covers_pattern(&other.resource)
            && (self.environment.is_none() || self.environment == other.environment)
    }
    /// Whether it is of some verbs, and not of all.
    pub fn names_a_verb(&self) -> bool {
        !self.verb.is_any()
    }
    /// Whether it names no verb or no resource. Such a capability may be held but never passed on.
    pub fn is_unbounded(&self) -> bool {
        self.verb.is_any() || self.resource.is_any()
    }
}

impl Grant {
    /// What a reviewer should know of it, in words: least privilege asks for a resource and an end.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.capability.verb.is_any() {
            warnings.push(format!(
                "`{}` from {} covers every verb",
                self.capability, self.from
            ));
        }
        if self.capability.resource.is_any() {
            warnings.push(format!(
                "`{}` from {} covers every resource",
                self.capability, self.from
            ));
        }
        if self.until.is_none() {
            warnings.push(format!("`{}` from {} has no end", self.capability, self.from));
        }
        warnings
    }
}

/// Whether the last part of a capability is an environment and not the end of a resource, such as a port.
fn is_qualifier(text: &str) -> bool {
    text == "*" || (Environment::new(text).is_ok() && text.bytes().any(|b| !b.is_ascii_digit()))
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resource = self.resource.as_str();
        write!(f, "{}:{resource}", self.verb.as_str())?;
        match &self.environment {
            Some(environment) => write!(f, ":{}", environment.as_str()),
            None if resource
                .rsplit_once(':')
                .is_some_and(|(_, last)| is_qualifier(last)) =>
            {
                f.write_str(":*")
            }
            None => Ok(()),
        }
    }
}

impl Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Capability, D::Error> {
        let text = String::deserialize(d)?;
        let what = || serde::de::Error::custom(format!("`{text}` is not verb:resource[:environment]"));
        Capability::parse(&text).ok_or_else(what)
    }
}
