//! The part of the tree of tenancy that a policy is written for. Nothing is looked up here.

use super::Place;
use crate::{Link, PrincipalKind};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};

/// How everything is written.
const EVERYWHERE: &str = "everywhere";

/// A branch of the tree with all that is below it, down to one agent: `everywhere`, `acme`, `acme/sre`,
/// `acme/sre/ops`, `acme/sre/ops/triage`. Wider ones come first in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Branch(Vec<String>);

impl Branch {
    /// Most names: an organization, a team, a project and an agent.
    pub const DEPTH_MAX: usize = 4;

    /// Everything.
    pub fn everywhere() -> Branch {
        Branch::default()
    }

    /// An organization, then a team, a project and an agent of it. `None` for more than four, and when
    /// one is not a name ([`Place::is_name`]).
    pub fn new(names: &[String]) -> Option<Branch> {
        let fits = names.len() <= Branch::DEPTH_MAX && names.iter().all(|name| Place::is_name(name));
        fits.then(|| Branch(names.to_vec()))
    }

    /// Reads `everywhere`, or one to four names with slashes between them.
    pub fn parse(text: &str) -> Option<Branch> {
        if text == EVERYWHERE {
            return Some(Branch::everywhere());
        }
        Branch::new(&text.split('/').map(str::to_owned).collect::<Vec<_>>())
    }

    /// Whether it is all there is.
    pub fn is_everywhere(&self) -> bool {
        self.0.is_empty()
    }

    /// The organization that it is in, or is; `None` for everything.
    pub fn organization(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// The same below another organization; everything stays everything.
    #[must_use]
    pub fn moved_to(mut self, organization: &str) -> Branch {
        if let Some(first) = self.0.first_mut() {
            organization.clone_into(first);
        }
        self
    }

    /// How many names it has, 0 to 4.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether agent `name` of `place` is in it.
    pub fn contains(&self, place: &Place, name: &str) -> bool {
        let path = place.parts().into_iter().chain([name]);
        self.0.iter().zip(path).all(|(own, part)| own == part)
    }

    /// Whether all of `other` is in it.
    pub fn contains_branch(&self, other: &Branch) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Whether the agent of `link` is in it; `unknown` when nobody knows where it belongs.
    pub(crate) fn holds(&self, link: &Link, unknown: bool) -> bool {
        self.is_everywhere()
            || link.principal.kind == PrincipalKind::Agent
                && match &link.place {
                    Some(place) => self.contains(place, &link.principal.name),
                    None => unknown,
                }
    }
}

impl Ord for Branch {
    fn cmp(&self, other: &Branch) -> std::cmp::Ordering {
        (self.depth(), &self.0).cmp(&(other.depth(), &other.0))
    }
}

impl PartialOrd for Branch {
    fn partial_cmp(&self, other: &Branch) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Display for Branch {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.is_everywhere() {
            true => f.write_str(EVERYWHERE),
            false => f.write_str(&self.0.join("/")),
        }
    }
}

impl Serialize for Branch {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Branch, D::Error> {
        let text = String::deserialize(d)?;
        let what = || {
            serde::de::Error::custom(format!(
                "`{text}` is not everywhere, nor organization[/team[/project[/agent]]]"
            ))
        };
        Branch::parse(&text).ok_or_else(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_hold_agents_by_whole_names() {
        let place = Place::new("acme", "sre", "ops").unwrap();
        #[rustfmt::skip]
        let table = [
            ("everywhere", true), ("acme", true), ("acme/sre", true), ("acme/sre/ops", true), ("acme/sre/ops/triage", true),
            ("acm", false), ("acme/ops", false), ("acme/sre/op", false), ("acme/sre/ops/other", false), ("sre", false),
        ];
        for (branch, expected) in table {
            let branch = Branch::parse(branch).unwrap();
            assert_eq!(branch.contains(&place, "triage"), expected, "{branch}");
            assert_eq!(Branch::parse(&branch.to_string()), Some(branch));
        }
        for text in ["", "a/b/c/d/e", "a//b", "A", "/"] {
            assert_eq!(Branch::parse(text), None, "{text}");
        }
    }

    #[test]
    fn wider_branches_come_first() {
        let mut all = ["b/c", "a/b/c", "z", "a", "everywhere"].map(|text| Branch::parse(text).unwrap());
        all.sort();
        assert_eq!(
            all.map(|one| one.to_string()),
            ["everywhere", "a", "z", "b/c", "a/b/c"]
        );
    }
}
