//! Where an agent belongs in the tree of tenancy: `organization/team/project`. Nothing is looked up here.

mod branch;
mod reach;

pub use branch::Branch;
pub use reach::{Reach, Spot};

use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};

/// What stands for a part that nobody named.
const DEFAULT: &str = "default";

/// A leaf of the tree, where agents live: `acme/sre/ops`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// `acme`.
    pub organization: String,
    /// `sre`.
    pub team: String,
    /// `ops`.
    pub project: String,
}

/// A branch of the tree and all that is below it: `acme`, `acme/sre`, `acme/sre/ops`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Area(Vec<String>);

impl Default for Place {
    fn default() -> Place {
        Place {
            organization: DEFAULT.to_owned(),
            team: DEFAULT.to_owned(),
            project: DEFAULT.to_owned(),
        }
    }
}

impl Place {
    /// `None` when a part is not a name ([`Place::is_name`]).
    pub fn new(organization: &str, team: &str, project: &str) -> Option<Place> {
        let names = [organization, team, project].into_iter().all(Place::is_name);
        names.then(|| Place {
            organization: organization.to_owned(),
            team: team.to_owned(),
            project: project.to_owned(),
        })
    }

    /// Reads `organization/team/project`.
    pub fn parse(text: &str) -> Option<Place> {
        let mut parts = text.split('/');
        let place = Place::new(parts.next()?, parts.next()?, parts.next()?)?;
        parts.next().is_none().then_some(place)
    }

    /// Whether `text` is `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, as names of documents are.
    pub fn is_name(text: &str) -> bool {
        (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    }

    /// Whether `written` means agent `name` of this place: its name after any suffix of the path, so
    /// `triage`, `ops/triage`, `sre/ops/triage` or `acme/sre/ops/triage`.
    pub fn answers_to(&self, name: &str, written: &str) -> bool {
        let path = format!("{self}/{name}");
        path == written
            || path
                .strip_suffix(written)
                .is_some_and(|before| before.ends_with('/') && written.ends_with(name))
    }

    /// What it is in, the widest first: an organization, a team, a project.
    pub fn areas(&self) -> [Area; 3] {
        let [organization, team, project] = self.parts().map(str::to_owned);
        [
            Area(vec![organization.clone()]),
            Area(vec![organization.clone(), team.clone()]),
            Area(vec![organization, team, project]),
        ]
    }

    fn parts(&self) -> [&str; 3] {
        [&self.organization, &self.team, &self.project]
    }
}

impl Area {
    /// Reads one to three names with slashes between them.
    pub fn parse(text: &str) -> Option<Area> {
        let parts: Vec<String> = text.split('/').map(str::to_owned).collect();
        let fits = parts.len() <= 3 && parts.iter().all(|part| Place::is_name(part));
        fits.then_some(Area(parts))
    }

    /// Whether `place` is in it.
    pub fn contains(&self, place: &Place) -> bool {
        self.0.iter().zip(place.parts()).all(|(own, part)| own == part)
    }

    /// Whether all of `other` is in it.
    pub fn contains_area(&self, other: &Area) -> bool {
        other.0.starts_with(&self.0)
    }

    /// How many names it has, 1 to 3: an organization, a team or a project.
    pub fn depth(&self) -> usize {
        self.0.len()
    }
}

impl From<&Place> for Area {
    fn from(place: &Place) -> Area {
        Area(place.parts().map(str::to_owned).to_vec())
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.organization, self.team, self.project)
    }
}

impl Display for Area {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Place, D::Error> {
        let text = String::deserialize(d)?;
        let what = || serde::de::Error::custom(format!("`{text}` is not organization/team/project"));
        Place::parse(&text).ok_or_else(what)
    }
}

impl Serialize for Area {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Area {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Area, D::Error> {
        let text = String::deserialize(d)?;
        let what = || serde::de::Error::custom(format!("`{text}` is not organization[/team[/project]]"));
        Area::parse(&text).ok_or_else(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_hold_places_by_whole_names() {
        let place = Place::new("acme", "sre", "ops").unwrap();
        #[rustfmt::skip]
        let table = [
            ("acme", true), ("acme/sre", true), ("acme/sre/ops", true),
            ("acm", false), ("acme/sr", false), ("acme/sre/op", false), ("other", false),
            ("acme/other", false), ("acme/sre/other", false), ("sre", false),
        ];
        for (area, expected) in table {
            assert_eq!(Area::parse(area).unwrap().contains(&place), expected, "{area}");
        }
        let (team, project) = (
            Area::parse("acme/sre").unwrap(),
            Area::parse("acme/sre/ops").unwrap(),
        );
        assert!(team.contains_area(&project) && team.contains_area(&team));
        assert!(!project.contains_area(&team));
    }

    #[test]
    fn a_place_is_in_three_areas() {
        let place = Place::new("acme", "sre", "ops").unwrap();
        let areas = place.areas();
        assert!(areas.iter().all(|area| area.contains(&place)));
        assert_eq!(
            areas.map(|area| area.to_string()),
            ["acme", "acme/sre", "acme/sre/ops"]
        );
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "", "/", "acme/", "/acme", "Acme", "a b", "a/b/c/d", "a//b", "-a", "a/../b",
        ] {
            assert_eq!(Area::parse(text), None, "{text:?}");
        }
        for text in ["acme", "acme/sre", "a/b/c/d", "a//b", "a/b/"] {
            assert_eq!(Place::parse(text), None, "{text:?}");
        }
        assert_eq!(Place::default().to_string(), "default/default/default");
        let place = Place::parse("acme/sre/ops").unwrap();
        assert_eq!(
            serde_json::from_value::<Place>(serde_json::to_value(&place).unwrap()).unwrap(),
            place
        );
    }

    #[test]
    fn an_agent_answers_to_its_name_after_any_suffix_of_its_path() {
        let place = Place::new("acme", "sre", "ops").unwrap();
        #[rustfmt::skip]
        let table = [
            ("triage", true), ("ops/triage", true), ("sre/ops/triage", true), ("acme/sre/ops/triage", true),
            ("iage", false), ("ps/triage", false), ("sre/triage", false), ("x/acme/sre/ops/triage", false),
            ("", false), ("/triage", false), ("ops/", false),
        ];
        for (written, expected) in table {
            assert_eq!(place.answers_to("triage", written), expected, "{written}");
        }
    }
}
