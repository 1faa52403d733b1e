//! The trust equation of several agents that work together. It explains and warns; it decides nothing. Whole
//! numbers only.
//!
//! Agents do not multiply autonomy (S2-4.16), and an arrangement is as good as its weakest part: the highest level and
//! the least observability, reversibility and blast-radius control of any chain count, and the cap of S2-4.2 holds of
//! the whole. What a link of a chain narrows gives back a quarter of what control lacks; what several may change
//! takes a tenth of it each, half at most. The rubric has no numbers for these two, so they are ours.

use super::equation::{Equation, equation};
use crate::Level;
use serde::Serialize;
use std::collections::BTreeMap;

/// All of something, in ten-thousandths.
const WHOLE: u64 = 10_000;
/// One in so many of what control lacks is given back by each link that narrows.
const NARROWING: u64 = 4;
/// Tenths of control that what is shared takes at most.
const SHARED_MAX: u64 = 5;
/// Of a fall of trust, what reaches others at most: 0.3 (S3-B8).
const PROPAGATED: u64 = 3_000;
/// Interactions from which on all of that reaches them.
const INTERACTIONS: u64 = 100;
/// As far as it reaches.
const HOPS_MAX: u32 = 2;

/// One agent of an arrangement; factors in ten-thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Member {
    pub agent: String,
    pub level: Level,
    pub observability: u64,
    pub reversibility: u64,
    pub blast_radius: u64,
}

/// How rights come to an agent: alone, or by delegations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// From the root to the agent that acts.
    pub agents: Vec<String>,
    /// The last delegation, if there is one.
    pub delegation: Option<String>,
    /// How many of its links pass on less than there was.
    pub narrowing: u32,
}

/// A chain with what comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// From the root to the agent that acts.
    pub agents: Vec<String>,
    /// The last delegation, if there is one.
    pub delegation: Option<String>,
    /// How many of its links pass on less than there was.
    pub narrowing: u32,
    /// Blast-radius control of the agent that acts, raised by what was narrowed.
    pub control: u64,
}

/// A number of an arrangement, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Least {
    /// In ten-thousandths.
    pub value: u64,
    /// The agent; of control, the one that acts at the end of the chain.
    pub agent: String,
}

/// What an arrangement comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// The result.
    #[serde(flatten)]
    pub equation: Equation,
    /// The highest.
    pub level: Level,
    /// Who acts at it.
    pub highest: Vec<String>,
    /// The lowest.
    pub observability: Least,
    /// The lowest.
    pub reversibility: Least,
    /// The lowest of any chain, before what is shared.
    pub control: Least,
    /// The same after what is shared.
    pub blast_radius: u64,
    /// Every chain.
    pub chains: Vec<Reach>,
}

/// Whose fall of trust would reach whom, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Propagated {
    /// Whom.
    pub agent: String,
    /// Over how many links.
    pub hops: u32,
    /// Between the two on the last of them.
    pub interactions: u64,
    /// In ten-thousandths of the fall.
    pub share: u64,
}

/// The equation of `members` that act along `paths` and of whom several may change `shared` things; `None` without a
/// member or a chain.
pub fn topology(members: &[Member], paths: &[Path], shared: usize) -> Option<Topology> {
    let of = |agent: &String| members.iter().find(|member| member.agent == *agent);
    let level = members.iter().map(|member| member.level).max()?;
    let highest = members.iter().filter(|member| member.level == level);
    let least = |value: fn(&Member) -> u64| {
        let lowest = members.iter().min_by_key(|member| value(member))?;
        Some(Least {
            value: value(lowest).min(WHOLE),
            agent: lowest.agent.clone(),
        })
    };
    let reach = |path: &Path| {
        let control = of(path.agents.last()?)?.blast_radius.min(WHOLE);
        let narrowed =
            (0..path.narrowing).fold(control, |control, _| control + (WHOLE - control) / NARROWING);
        Some(Reach {
            agents: path.agents.clone(),
            delegation: path.delegation.clone(),
            narrowing: path.narrowing,
            control: narrowed,
        })
    };
    let chains: Vec<Reach> = paths.iter().filter_map(reach).collect();
    let widest = chains.iter().min_by_key(|reach| reach.control)?;
    let control = Least {
        value: widest.control,
        agent: widest.agents.last()?.clone(),
    };
    let taken = u64::try_from(shared).unwrap_or(u64::MAX).min(SHARED_MAX);
    let blast_radius = control.value * (10 - taken) / 10;
    let (observability, reversibility) = (
        least(|member| member.observability)?,
        least(|member| member.reversibility)?,
    );
    Some(Topology {
        equation: equation(observability.value, reversibility.value, blast_radius, level),
        level,
        highest: highest.map(|member| member.agent.clone()).collect(),
        observability,
        reversibility,
        control,
        blast_radius,
        chains,
    })
}

/// Whom a fall of `agent` would reach over `links` (two agents and how often they interacted), each agent once and by
/// the shortest way: 0.3 × min(1, n / 100) × 0.5 for each hop, two hops far (S3-B8).
pub fn propagation(agent: &str, links: &[(String, String, u64)]) -> Vec<Propagated> {
    let mut reached: Vec<Propagated> = Vec::new();
    let mut edge = vec![agent.to_owned()];
    for hops in 1..=HOPS_MAX {
        let mut next = Vec::new();
        for from in &edge {
            for (one, other, interactions) in links {
                let to = match (one == from, other == from) {
                    (true, false) => other,
                    (false, true) => one,
                    _ => continue,
                };
                if to == agent
                    || reached
                        .iter()
                        .any(|known| known.agent == *to && known.hops < hops)
                {
                    continue;
                }
                let share = share(*interactions, hops);
                let found = Propagated {
                    agent: to.clone(),
                    hops,
                    interactions: *interactions,
                    share,
                };
                match reached.iter_mut().find(|known| known.agent == *to) {
                    Some(known) if known.share < share => *known = found,
                    Some(_) => {}
                    None => {
                        next.push(to.clone());
                        reached.push(found);
                    }
                }
            }
        }
        edge = next;
    }
    reached
}

/// Whose fall would reach `agent`, in order of name: the same the other way round, so that what one agent gets from
/// many is told without following each of them.
pub fn arriving(agent: &str, links: &[(String, String, u64)]) -> Vec<Propagated> {
    let of = |from: &str| {
        let ends = |link: &(String, String, u64)| match link {
            (one, other, n) if one == from && other != from => Some((other.clone(), *n)),
            (other, one, n) if one == from && other != from => Some((other.clone(), *n)),
            _ => None,
        };
        links.iter().filter_map(ends).collect::<Vec<_>>()
    };
    let mut found: BTreeMap<String, Propagated> = BTreeMap::new();
    let mut reach = |from: String, interactions: u64, hops: u32| {
        let share = share(interactions, hops);
        let known = found.get(&from);
        if known.is_none_or(|known| known.hops == hops && known.share < share) {
            let agent = from.clone();
            found.insert(
                from,
                Propagated {
                    agent,
                    hops,
                    interactions,
                    share,
                },
            );
        }
    };
    let near = of(agent);
    for (from, interactions) in &near {
        reach(from.clone(), *interactions, 1);
    }
    for (through, interactions) in &near {
        for (from, _) in of(through).into_iter().filter(|(from, _)| from != agent) {
            reach(from, *interactions, HOPS_MAX);
        }
    }
    found.into_values().collect()
}

/// What arrives of a fall over `hops` links, the last of them between two with so many interactions (S3-B8).
fn share(interactions: u64, hops: u32) -> u64 {
    (PROPAGATED * interactions.min(INTERACTIONS) / INTERACTIONS) >> hops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(agent: &str, level: Level, o: u64, r: u64, b: u64) -> Member {
        Member {
            agent: agent.to_owned(),
            level,
            observability: o,
            reversibility: r,
            blast_radius: b,
        }
    }

    fn path(agents: &[&str], narrowing: u32) -> Path {
        Path {
            agents: agents.iter().map(|agent| (*agent).to_owned()).collect(),
            delegation: None,
            narrowing,
        }
    }

    #[test]
    fn an_arrangement_is_as_good_as_its_weakest_part() {
        use Level::{L0, L1, L3};
        let whole = |agent, level| member(agent, level, 10_000, 10_000, 10_000);
        let b = |agent, b| member(agent, L0, 10_000, 10_000, b);
        #[rustfmt::skip]
        let table = [
            // what the row shows                 members                                       paths                                     shared  score   B     capped
            ("one alone is the equation",         vec![whole("a", L1)],                         vec![path(&["a"], 0)],                    0,      3_536, 10_000, false),
            ("many do not multiply autonomy",     vec![whole("a", L1), whole("b", L1), whole("c", L1)], vec![path(&["a"], 0), path(&["b"], 0), path(&["c"], 0)], 0, 3_536, 10_000, false),
            ("the highest level counts",          vec![whole("a", L0), whole("b", L3)],         vec![path(&["a"], 0), path(&["b"], 0)],   0,      1_250, 10_000, false),
            ("the least observability counts",    vec![whole("a", L0), member("b", L0, 5_000, 10_000, 10_000)], vec![path(&["a"], 0), path(&["b"], 0)], 0, 5_000, 10_000, false),
            ("two weak ones do not add up",       vec![member("a", L0, 5_000, 10_000, 10_000), member("b", L0, 10_000, 5_000, 10_000)], vec![path(&["a"], 0), path(&["b"], 0)], 0, 2_500, 10_000, false),
            ("the cap of one holds of all",       vec![whole("a", L0), member("b", L0, 10_000, 3_900, 10_000)], vec![path(&["a"], 0), path(&["b"], 0)], 0, 2_000, 10_000, true),
            ("the widest chain counts",           vec![b("a", 9_000), b("b", 6_000)],           vec![path(&["a"], 0), path(&["b"], 0)],   0,      6_000, 6_000, false),
            ("a link that narrows nothing",       vec![b("a", 9_000), b("b", 6_000)],           vec![path(&["a"], 0), path(&["a", "b"], 0)], 0,   6_000, 6_000, false),
            ("a link that narrows",               vec![b("a", 9_000), b("b", 6_000)],           vec![path(&["a"], 0), path(&["a", "b"], 1)], 0,   7_000, 7_000, false),
            ("two of them",                       vec![b("a", 9_000), b("b", 6_000)],           vec![path(&["a"], 0), path(&["a", "x", "b"], 2)], 0, 7_750, 7_750, false),
            ("the wider of two ways to it",       vec![b("a", 9_000), b("b", 6_000)],           vec![path(&["a"], 0), path(&["a", "b"], 1), path(&["a", "b"], 0)], 0, 6_000, 6_000, false),
            ("one thing that several may change", vec![b("a", 9_000), b("b", 6_000)],           vec![path(&["a"], 0), path(&["b"], 0)],   1,      5_400, 5_400, false),
            ("many of them take half",            vec![b("a", 9_000), b("b", 8_000)],           vec![path(&["a"], 0), path(&["b"], 0)],   50,     4_000, 4_000, false),
            ("and may cap it",                    vec![b("a", 9_000), b("b", 6_000)],           vec![path(&["a"], 0), path(&["b"], 0)],   9,      2_000, 3_000, true),
        ];
        for (name, members, paths, shared, score, blast_radius, capped) in table {
            let found = topology(&members, &paths, shared).unwrap();
            assert_eq!(
                (found.equation.score, found.blast_radius, found.equation.capped),
                (score, blast_radius, capped),
                "{name}: {found:?}"
            );
        }
        assert_eq!(topology(&[], &[], 0), None);
        assert_eq!(
            topology(&[whole("a", L0)], &[path(&["b"], 0)], 0),
            None,
            "nobody acts"
        );
    }

    #[test]
    fn each_number_says_whose_it_is() {
        let members = [
            member("a", Level::L3, 9_000, 8_000, 9_000),
            member("b", Level::L1, 7_000, 9_000, 5_000),
            member("c", Level::L3, 9_000, 9_000, 9_000),
        ];
        let found = topology(&members, &[path(&["a"], 0), path(&["a", "b"], 1)], 0).unwrap();
        assert_eq!(
            (
                found.observability.agent.as_str(),
                found.reversibility.agent.as_str()
            ),
            ("b", "a")
        );
        assert_eq!((found.control.agent.as_str(), found.control.value), ("b", 6_250));
        assert_eq!(found.highest, ["a", "c"]);
    }

    #[test]
    fn a_fall_reaches_two_hops_and_each_agent_once() {
        type Row = (&'static str, Vec<(String, String, u64)>, &'static [&'static str]);
        let link = |one: &str, other: &str, n| (one.to_owned(), other.to_owned(), n);
        let told = |links: &[(String, String, u64)]| {
            let found = propagation("a", links).into_iter();
            found
                .map(|one| format!("{} {} {}", one.agent, one.hops, one.share))
                .collect::<Vec<_>>()
        };
        #[rustfmt::skip]
        let table: [Row; 7] = [
            ("nobody",               vec![],                                                       &[]),
            ("all of a hundred",     vec![link("a", "b", 100)],                                    &["b 1 1500"]),
            ("more than a hundred",  vec![link("a", "b", 900)],                                    &["b 1 1500"]),
            ("half, either way",     vec![link("b", "a", 50)],                                     &["b 1 750"]),
            ("two hops",             vec![link("a", "b", 100), link("b", "c", 50)],                &["b 1 1500", "c 2 375"]),
            ("not three",            vec![link("a", "b", 100), link("b", "c", 100), link("c", "d", 100)], &["b 1 1500", "c 2 750"]),
            ("no circles",           vec![link("a", "b", 100), link("b", "c", 100), link("c", "a", 10)], &["b 1 1500", "c 1 150"]),
        ];
        for (name, links, expected) in table {
            assert_eq!(told(&links), expected, "{name}");
        }
    }

    proptest::proptest! {
        /// What arrives at one is what reaches it from each of the others.
        #[test]
        fn what_arrives_is_what_was_sent(counts in proptest::collection::btree_map((0..6_u8, 0..6_u8), 0..150_u64, 0..12)) {
            let name = |at: u8| format!("a{at}");
            let pairs = counts.iter().filter(|((one, other), _)| one < other);
            let links: Vec<_> = pairs.map(|((one, other), n)| (name(*one), name(*other), *n)).collect();
            for to in (0..6).map(name) {
                let arriving = arriving(&to, &links);
                for from in (0..6).map(name).filter(|from| *from != to) {
                    let sent = propagation(&from, &links).into_iter().find(|one| one.agent == to);
                    let arrived = arriving.iter().find(|one| one.agent == from);
                    let told = |one: &Propagated| (one.hops, one.share);
                    proptest::prop_assert_eq!(arrived.map(told), sent.as_ref().map(told), "{} to {}", from, to);
                }
            }
        }
    }
}
