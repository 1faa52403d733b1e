//! At which places those had their role who hold something back: whoever lets it go has theirs at each.
//!
//! Invariant: **what does not say where counts as held at the root**, as entries and rows did before they
//! told the place.

use policy::{Reach, Spot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The role of the platform itself.
pub const EVERYWHERE: &[Reach] = &[Reach::Everywhere];

/// Every place at which something is held back now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeldAt(BTreeSet<Reach>);

impl HeldAt {
    /// By whoever it was, at the root.
    pub(crate) fn root() -> HeldAt {
        HeldAt(BTreeSet::from([Reach::Everywhere]))
    }

    /// One more holds it back; the root stands for all.
    #[must_use]
    pub fn and(mut self, at: Reach) -> HeldAt {
        self.0.insert(at);
        match self.is_root() {
            true => HeldAt::root(),
            false => self,
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.contains(&Reach::Everywhere)
    }

    /// Any of them; the root when there is none.
    pub(crate) fn one(&self) -> Reach {
        self.0.first().cloned().unwrap_or(Reach::Everywhere)
    }

    /// The first place that none of `reaches` covers.
    pub(crate) fn above(&self, reaches: &[Reach]) -> Option<&Reach> {
        let lacks = |at: &&Reach| !reaches.iter().any(|reach| reach.covers(&at.spot()));
        self.0.iter().find(lacks)
    }
}

/// As people read them: `the root`, `acme/pay`.
impl std::fmt::Display for HeldAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(told).collect();
        f.write_str(&names.join(", "))
    }
}

/// As people read it.
pub(crate) fn told(at: &Reach) -> String {
    match at {
        Reach::Everywhere => "the root".to_owned(),
        other => other.to_string(),
    }
}

/// The widest of `reaches` that covers `spot`; the root when none does, which only the root lets go.
pub(crate) fn widest(reaches: &[Reach], spot: &Spot) -> Reach {
    let covering = reaches.iter().filter(|reach| reach.covers(spot));
    covering
        .min_by_key(|reach| reach.depth())
        .cloned()
        .unwrap_or(Reach::Everywhere)
}

/// Of an entry: nothing is said of the root.
pub(crate) fn said(at: &Reach) -> Option<&Reach> {
    (*at != Reach::Everywhere).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str) -> Reach {
        match text {
            "/" => Reach::Everywhere,
            text => Reach::parse(text).unwrap(),
        }
    }

    #[test]
    fn whoever_lets_go_has_a_role_at_every_place_of_those_who_hold() {
        #[rustfmt::skip]
        let table: [(&[&str], &[&str], Option<&str>); 9] = [
            (&["/"],                       &["/"],                    None),
            (&["/"],                       &["acme"],                 Some("the root")),
            (&["acme"],                    &["/"],                    None),
            (&["acme"],                    &["acme"],                 None),
            (&["acme"],                    &["acme/pay"],             Some("acme")),
            (&["acme/pay/api/deploy"],     &["acme/pay"],             None),
            (&["acme/pay", "acme"],        &["acme/pay"],             Some("acme")),
            (&["acme/pay", "/"],           &["acme"],                 Some("the root")),
            (&["acme", "globex"],          &["globex"],               Some("acme")),
        ];
        for (held, reaches, lacks) in table {
            let held = held
                .iter()
                .fold(HeldAt::default(), |at, text| at.and(reach(text)));
            let reaches: Vec<Reach> = reaches.iter().map(|text| reach(text)).collect();
            assert_eq!(
                held.above(&reaches).map(told).as_deref(),
                lacks,
                "{held} {reaches:?}"
            );
            let kept = serde_json::to_string(&held).unwrap();
            assert_eq!(serde_json::from_str::<HeldAt>(&kept).unwrap(), held);
        }
    }

    #[test]
    fn the_widest_role_that_reaches_there_holds() {
        let spot = reach("acme/pay/api/deploy").spot();
        let table: [(&[&str], &str); 4] = [
            (&["acme/pay", "acme", "globex"], "acme"),
            (&["acme/pay/api/deploy"], "acme/pay/api/deploy"),
            (&["acme", "/"], "/"),
            (&["globex"], "/"),
        ];
        for (reaches, expected) in table {
            let reaches: Vec<Reach> = reaches.iter().map(|text| reach(text)).collect();
            assert_eq!(widest(&reaches, &spot), reach(expected), "{reaches:?}");
        }
    }
}
