//! Parts of the tree of tenancy, as roles have them, and where in it a thing is.

use super::{Area, Place};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};

/// A part of the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// The root: all of it, and what belongs to nobody in particular.
    Everywhere,
    /// An organization, a team or a project with all that is in it.
    Area(Area),
    /// One agent, at its place and no other.
    Agent(Place, String),
}

/// Where a thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// It belongs to nobody in particular, or to whom cannot be told: for roles at the root alone.
    Root,
    /// A branch as a whole.
    Area(Area),
    /// An agent's, or the agent.
    Agent(Place, String),
}

impl Reach {
    /// Reads one to four names with slashes between them.
    pub fn parse(text: &str) -> Option<Reach> {
        if let Some(area) = Area::parse(text) {
            return Some(Reach::Area(area));
        }
        let (place, agent) = text.rsplit_once('/')?;
        let place = Place::parse(place)?;
        Place::is_name(agent).then(|| Reach::Agent(place, agent.to_owned()))
    }

    /// Whether all of `spot` is in it.
    pub fn covers(&self, spot: &Spot) -> bool {
        match (self, spot) {
            (Reach::Everywhere, _) => true,
            (Reach::Area(area), Spot::Area(other)) => area.contains_area(other),
            (Reach::Area(area), Spot::Agent(place, _)) => area.contains(place),
            (Reach::Agent(place, name), Spot::Agent(other, agent)) => place == other && name == agent,
            (Reach::Area(_), Spot::Root) | (Reach::Agent(..), Spot::Root | Spot::Area(_)) => false,
        }
    }

    /// The same part, as something that is somewhere.
    pub fn spot(&self) -> Spot {
        match self {
            Reach::Everywhere => Spot::Root,
            Reach::Area(area) => Spot::Area(area.clone()),
            Reach::Agent(place, agent) => Spot::Agent(place.clone(), agent.clone()),
        }
    }

    /// From the root, 0, down to an agent, 4.
    pub fn depth(&self) -> usize {
        match self {
            Reach::Everywhere => 0,
            Reach::Area(area) => area.depth(),
            Reach::Agent(..) => 4,
        }
    }
}

impl From<Spot> for Reach {
    /// No more than that.
    fn from(spot: Spot) -> Reach {
        match spot {
            Spot::Root => Reach::Everywhere,
            Spot::Area(area) => Reach::Area(area),
            Spot::Agent(place, agent) => Reach::Agent(place, agent),
        }
    }
}

/// What the root is called in rows and entries: no name of a part has it.
const ROOT: &str = "/";

impl Display for Reach {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Reach::Everywhere => f.write_str(ROOT),
            Reach::Area(area) => write!(f, "{area}"),
            Reach::Agent(place, agent) => write!(f, "{place}/{agent}"),
        }
    }
}

impl Serialize for Reach {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Reach, D::Error> {
        let text = String::deserialize(d)?;
        let what = || serde::de::Error::custom(format!("`{text}` is no part of the tree"));
        match text.as_str() {
            ROOT => Ok(Reach::Everywhere),
            _ => Reach::parse(&text).ok_or_else(what),
        }
    }
}
