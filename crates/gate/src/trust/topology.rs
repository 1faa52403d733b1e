//! The trust equation of agents that work together: those of a place, or a tree of delegation. From configuration and
//! journal alone; it explains and decides nothing.

use super::equation::{EquationView, Surroundings};
use crate::{Authority, DelegationRow, Gate};
use policy::trust::{Gap, Member, Path, Propagated, Rubric, Topology, equation, propagation, topology};
use policy::{Area, Capability, Level};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use store::StoreError;

/// Most agents of one arrangement.
pub(crate) const MEMBERS_MAX: usize = 200;
/// Delegations that are looked through, the newest: none lives longer than a day.
const DELEGATIONS_MAX: usize = 10_000;

/// The equation of an arrangement, with what made it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopologyView {
    /// The place or the root, as it was asked for.
    pub of: String,
    /// `place` or `tree`.
    pub kind: &'static str,
    /// The result, and each number with whose it is.
    #[serde(flatten)]
    pub topology: Topology,
    /// Each agent by itself, in order of name.
    pub members: Vec<MemberView>,
    /// Toolsets that more than one of those who may change things hold: each takes a tenth of control.
    pub shared: Vec<Shared>,
    /// Safeguards that the highest level takes and that some agent lacks.
    pub gaps: Vec<Gap>,
    /// `sufficient`, or `invest or constrain` when there is a gap.
    pub verdict: &'static str,
    /// The part that holds the whole back, and what would change it.
    pub weakest: Weakest,
}

/// One agent of an arrangement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct MemberView {
    pub agent: String,
    pub level: Level,
    pub observability: u64,
    pub reversibility: u64,
    pub blast_radius: u64,
    /// By itself.
    pub score: u64,
}

/// What several may change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shared {
    /// `toolset/shop`.
    pub toolset: String,
    /// Who.
    pub agents: Vec<String>,
}

/// The weakest link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weakest {
    /// Who.
    pub agent: String,
    /// In what: the lowest of the three.
    pub rubric: Rubric,
    /// In ten-thousandths.
    pub value: u64,
    /// Where most is missing, unless nothing of the agent's own is.
    pub criterion: Option<&'static str>,
    /// What was found there.
    pub because: String,
    /// The score of the whole if nothing were missing there.
    pub then: u64,
    /// The score of the whole if whoever acts at the highest level acted one level lower.
    pub one_level_lower: u64,
    /// Whom a fall of its trust would reach, and how much of it.
    pub reaches: Vec<Propagated>,
}

/// Delegations by id.
type ById<'a> = HashMap<&'a str, &'a DelegationRow>;

/// Who works together, and along which chains.
struct Arrangement {
    kind: &'static str,
    members: BTreeSet<String>,
    paths: Vec<Path>,
}

impl Gate {
    /// The equation of the agents that `of` means, a tree's or a place's; `None` when there is neither, or one among
    /// them that is not `seen`. Blocks for as long as reading all delegations takes.
    pub fn trust_topology(
        &self,
        of: &str,
        surroundings: Surroundings,
        seen: &dyn Fn(&str) -> bool,
    ) -> Result<Option<TopologyView>, StoreError> {
        let all = self.delegations(None, DELEGATIONS_MAX)?;
        let arrangement = self.arrangement(of, &all)?;
        let Some(arrangement) = arrangement.filter(|found| found.members.iter().all(|agent| seen(agent)))
        else {
            return Ok(None);
        };
        let mut views = BTreeMap::new();
        for agent in &arrangement.members {
            if let Some(view) = self.trust_equation(agent, surroundings)? {
                views.insert(agent.clone(), view);
            }
        }
        let links = interactions(&all, &arrangement.members);
        let shared = shared(&self.authority(), &arrangement.members);
        let members: Vec<Member> = views.values().map(member).collect();
        let whole = |members: &[Member]| topology(members, &arrangement.paths, shared.len());
        let Some(found) = whole(&members) else {
            return Ok(None);
        };
        let weakest = weakest(&views, &members, &found, &links, whole);
        let has = views.values().map(|view| view.has);
        let has = has.reduce(|a, b| std::array::from_fn(|i| rung(&a, i).min(rung(&b, i))));
        let gaps = has.map(|has| Gap::all(found.level, has)).unwrap_or_default();
        let alone = |member: &Member| MemberView {
            agent: member.agent.clone(),
            level: member.level,
            observability: member.observability,
            reversibility: member.reversibility,
            blast_radius: member.blast_radius,
            score: equation(
                member.observability,
                member.reversibility,
                member.blast_radius,
                member.level,
            )
            .score,
        };
        Ok(Some(TopologyView {
            of: of.to_owned(),
            kind: arrangement.kind,
            members: members.iter().map(alone).collect(),
            shared,
            verdict: if gaps.is_empty() {
                "sufficient"
            } else {
                "invest or constrain"
            },
            gaps,
            weakest,
            topology: found,
        }))
    }

    /// An agent means the tree below it, and anything else a place.
    fn arrangement(&self, of: &str, all: &[DelegationRow]) -> Result<Option<Arrangement>, StoreError> {
        let authority = self.authority();
        let by_id: ById<'_> = all.iter().map(|row| (row.id.as_str(), row)).collect();
        let now = self.time();
        let stands = |row: &&DelegationRow| now < row.until && !is_revoked(row, &by_id);
        let standing: Vec<&DelegationRow> = all.iter().filter(stands).collect();
        let (kind, members) = match (authority.resolve(of), Area::parse(of)) {
            (Some((root, _)), _) => ("tree", tree(root, &standing)),
            (None, Some(area)) => {
                let inside = authority
                    .agents
                    .iter()
                    .filter(|(_, held)| area.contains(&held.place));
                let names = inside.map(|(name, _)| name.clone());
                ("place", names.filter(|name| !crate::is_reserved(name)).collect())
            }
            (None, None) => return Ok(None),
        };
        let members: BTreeSet<String> = members
            .into_iter()
            .filter(|name| authority.agents.contains_key(name))
            .take(MEMBERS_MAX)
            .collect();
        let root = authority.resolve(of).map(|(root, _)| root.to_owned());
        let mut paths: Vec<Path> = Vec::new();
        for row in &standing {
            let from = match &root {
                Some(root) => row.path.iter().position(|agent| agent == root),
                None => Some(0),
            };
            let Some(agents) = from.and_then(|from| row.path.get(from..)) else {
                continue;
            };
            if agents.len() > 1 && agents.iter().all(|agent| members.contains(agent)) {
                paths.push(Path {
                    agents: agents.to_vec(),
                    delegation: Some(row.id.clone()),
                    narrowing: narrowing(row, agents.len() - 1, &by_id, &authority),
                });
            }
        }
        let receives = |agent: &String| paths.iter().any(|path| path.agents.last() == Some(agent));
        let alone: Vec<Path> = members
            .iter()
            .filter(|agent| !receives(agent))
            .map(|agent| Path {
                agents: vec![agent.clone()],
                delegation: None,
                narrowing: 0,
            })
            .collect();
        paths.splice(0..0, alone);
        Ok((!members.is_empty()).then_some(Arrangement { kind, members, paths }))
    }
}

/// `root`, and everybody that something was passed on to below it.
fn tree(root: &str, standing: &[&DelegationRow]) -> BTreeSet<String> {
    let mut members = BTreeSet::from([root.to_owned()]);
    for row in standing {
        if let Some(at) = row.path.iter().position(|agent| agent == root) {
            members.extend(row.path.iter().skip(at).cloned());
        }
    }
    members
}

/// Whether it, or one above it, was revoked.
fn is_revoked(row: &DelegationRow, all: &ById<'_>) -> bool {
    let mut next = Some(row);
    // A chain is at most eight links deep.
    for _ in 0..16 {
        let Some(row) = next else { return false };
        if row.revoked.is_some() {
            return true;
        }
        next = row.under.as_ref().and_then(|id| all.get(id.as_str()).copied());
    }
    true
}

/// How many of the last `links` links of a delegation pass on less than there was: something that the giver holds, by
/// the delegation above or else by its own grants, is in no capability of it.
fn narrowing(row: &DelegationRow, links: usize, all: &ById<'_>, authority: &Authority) -> u32 {
    let (mut narrowing, mut next) = (0, Some(row));
    for _ in 0..links {
        let Some(row) = next else { break };
        let above = row.under.as_ref().and_then(|id| all.get(id.as_str()).copied());
        let held: Vec<Capability> = match (above, authority.agents.get(&row.from)) {
            (Some(above), _) => above.capabilities.clone(),
            (None, Some(giver)) => giver
                .grants
                .iter()
                .map(|grant| grant.capability.clone())
                .collect(),
            (None, None) => Vec::new(),
        };
        let passed = |held: &Capability| {
            row.capabilities
                .iter()
                .any(|passed| passed.covers_capability(held))
        };
        narrowing += u32::from(!held.iter().all(passed));
        next = above;
    }
    narrowing
}

/// How often each two of them handed something over: delegations that were ever made from one to the other.
fn interactions(all: &[DelegationRow], members: &BTreeSet<String>) -> Vec<(String, String, u64)> {
    let mut counts: BTreeMap<(&String, &String), u64> = BTreeMap::new();
    for row in all {
        if members.contains(&row.from) && members.contains(&row.to) {
            let pair = if row.from < row.to {
                (&row.from, &row.to)
            } else {
                (&row.to, &row.from)
            };
            *counts.entry(pair).or_default() += 1;
        }
    }
    let link = |((one, other), count): ((&String, &String), u64)| (one.clone(), other.clone(), count);
    counts.into_iter().map(link).collect()
}

/// Toolsets of more than one member that may change things.
fn shared(authority: &Authority, members: &BTreeSet<String>) -> Vec<Shared> {
    let mut holders: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    for name in members {
        let Some(held) = authority.agents.get(name) else {
            continue;
        };
        let production = policy::Environment::production();
        let anywhere = held.autonomy.environments.values().copied();
        let level = anywhere
            .chain([held.autonomy.default, held.autonomy.at(&production)])
            .max();
        if level.is_some_and(|level| level > Level::L1) {
            for grant in &held.grants {
                holders.entry(&grant.from).or_default().insert(name);
            }
        }
    }
    let several = holders.into_iter().filter(|(_, agents)| agents.len() > 1);
    let shared = |(toolset, agents): (&str, BTreeSet<&String>)| Shared {
        toolset: toolset.to_owned(),
        agents: agents.into_iter().cloned().collect(),
    };
    several.map(shared).collect()
}

fn member(view: &EquationView) -> Member {
    let value = |rubric| {
        let factor = view.factors.iter().find(|factor| factor.rubric == rubric);
        factor.map_or(0, |factor| factor.value)
    };
    Member {
        agent: view.agent.clone(),
        level: view.level,
        observability: value(Rubric::Observability),
        reversibility: value(Rubric::Reversibility),
        blast_radius: value(Rubric::BlastRadius),
    }
}

/// The lowest of the three, whose it is, and what the whole would be without what is most missing there.
fn weakest(
    views: &BTreeMap<String, EquationView>,
    members: &[Member],
    found: &Topology,
    links: &[(String, String, u64)],
    whole: impl Fn(&[Member]) -> Option<Topology>,
) -> Weakest {
    let candidates = [
        (found.blast_radius, Rubric::BlastRadius, &found.control.agent),
        (
            found.reversibility.value,
            Rubric::Reversibility,
            &found.reversibility.agent,
        ),
        (
            found.observability.value,
            Rubric::Observability,
            &found.observability.agent,
        ),
    ];
    let lowest = candidates.into_iter().min_by_key(|(value, ..)| *value);
    let (value, rubric, agent) = lowest.unwrap_or((0, Rubric::BlastRadius, &found.control.agent));
    let answers = views
        .get(agent)
        .and_then(|view| view.factors.iter().find(|factor| factor.rubric == rubric));
    let missing = |criterion: &str, percent: u8| {
        let weight = rubric.criteria().iter().find(|(name, _)| *name == criterion);
        weight.map_or(0, |(_, weight)| weight * u64::from(100 - percent.min(100)))
    };
    let most = answers.into_iter().flat_map(|factor| &factor.answers);
    let most = most.max_by_key(|answer| missing(answer.criterion, answer.percent));
    let most = most.filter(|answer| missing(answer.criterion, answer.percent) > 0);
    let mended = |member: &Member| {
        let mut member = member.clone();
        if let Some(answer) = most.filter(|_| member.agent == *agent) {
            let more = missing(answer.criterion, answer.percent);
            match rubric {
                Rubric::Observability => member.observability += more,
                Rubric::Reversibility => member.reversibility += more,
                Rubric::BlastRadius => member.blast_radius += more,
            }
        }
        member
    };
    let lower = |member: &Member| Member {
        level: if member.level == found.level {
            one_lower(member.level)
        } else {
            member.level
        },
        ..member.clone()
    };
    let score =
        |members: Vec<Member>| whole(&members).map_or(found.equation.score, |found| found.equation.score);
    Weakest {
        agent: agent.clone(),
        rubric,
        value,
        criterion: most.map(|answer| answer.criterion),
        because: most.map(|answer| answer.because.clone()).unwrap_or_default(),
        then: score(members.iter().map(mended).collect()),
        one_level_lower: score(members.iter().map(lower).collect()),
        reaches: propagation(agent, links),
    }
}

fn one_lower(level: Level) -> Level {
    match level {
        Level::L4 => Level::L3,
        Level::L3 => Level::L2,
        Level::L2 => Level::L1,
        Level::L1 | Level::L0 => Level::L0,
    }
}

fn rung(has: &[usize; 3], at: usize) -> usize {
    has.get(at).copied().unwrap_or(0)
}
