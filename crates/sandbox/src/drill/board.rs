//! What came of each attack, from what its guest says, how its guest ended, and what was seen outside. Pure.

use super::attacks::{Attack, Way, attacks};
use crate::ability::consequences;
use crate::guest::{Exit, Stop};
use crate::spec::Part;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Longest line that a guest says and that is read, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What the attacker says of one attack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Seen {
    /// Each try was stopped, by this.
    Held(String),
    /// One worked.
    Broken(String),
    /// A try was ended by this signal; how its guest ends says by whom.
    Killed(i32),
    /// It shows nothing, and why.
    NotTried(String),
}

/// What came of an attack from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was stopped, and how.
    Held(String),
    /// It worked, and what is to be seen of it.
    Broken(String),
    /// It shows nothing, and why.
    NotTried(String),
}

/// A line of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    /// It begins.
    Begin {
        /// With which.
        id: String,
        /// And with which of its tries.
        at: usize,
    },
    /// It is done.
    Seen {
        /// With which.
        id: String,
        /// What came of it.
        seen: Seen,
    },
}

/// What came of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was tried, and stopped by what claims to stop it.
    Held,
    /// It worked, although something claims to stop it.
    Broken,
    /// Nothing claims to stop it here.
    NotGuaranteed,
    /// Something claims to stop it, and it could not be tried.
    NotTried,
}

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Which attack.
    pub id: &'static str,
    /// What it tries.
    pub title: &'static str,
    /// What it means if it works.
    pub why: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What stopped it, what worked, or why nothing is guaranteed.
    pub evidence: String,
    /// How to have it guaranteed, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Parts that each claim to stop it alone, and are built.
    pub walls: Vec<Part>,
    /// Who claims to stop it, where no part does.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub by: &'static str,
}

/// The state of a drill.
#[derive(Debug)]
pub struct Board {
    chosen: Vec<&'static Attack>,
    seen: BTreeMap<&'static str, Seen>,
    /// What was seen outside, by attack.
    touched: BTreeMap<&'static str, Vec<String>>,
    running: Option<(&'static str, usize)>,
    /// Those whose guest was ended by one of their tries: what goes on in another guest, from which on, and how those
    /// before were stopped.
    begun: BTreeMap<&'static str, (usize, Vec<String>)>,
    last: Option<&'static str>,
    /// Those that the guest that runs is to make.
    batch: BTreeSet<&'static str>,
}

impl Board {
    /// Of these attacks, identifiers or areas; of all when none is named.
    ///
    /// # Errors
    /// One that is neither.
    pub fn new(only: &[String]) -> Result<Board, String> {
        let names = |attack: &Attack, name: &String| name == attack.id || name == attack.area();
        if let Some(unknown) = only
            .iter()
            .find(|name| !attacks().any(|attack| names(attack, name)))
        {
            return Err(format!(
                "`{unknown}` is no attack and no area; `cofferdam drill --list` names them"
            ));
        }
        let is_chosen = |attack: &&Attack| only.is_empty() || only.iter().any(|name| names(attack, name));
        Ok(Board {
            chosen: attacks().filter(is_chosen).collect(),
            seen: BTreeMap::new(),
            touched: BTreeMap::new(),
            running: None,
            begun: BTreeMap::new(),
            last: None,
            batch: BTreeSet::new(),
        })
    }

    /// Those that were chosen.
    pub fn chosen(&self) -> impl Iterator<Item = &'static Attack> {
        self.chosen.iter().copied()
    }

    /// How many are done, and of how many.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        let opaque = |attack: &&&Attack| matches!(attack.way, Way::Opaque { .. });
        let all = self.chosen.len() - self.chosen.iter().filter(opaque).count();
        (self.seen.len(), all)
    }

    /// The one that is made now.
    #[must_use]
    pub fn running(&self) -> Option<&'static str> {
        self.running.map(|(id, _)| id)
    }

    /// What the next guest is to make, as it is told; nothing when all is made.
    pub fn next_batch(&mut self) -> Vec<String> {
        let open = |attack: &&&Attack| attack.is_inside() && !self.seen.contains_key(attack.id);
        let mut open = self.chosen.iter().filter(open);
        let first = open.next().map(|first| match first.way {
            Way::Inside => {
                let beside = open.filter(|attack| attack.way == Way::Inside);
                std::iter::once(first.id)
                    .chain(beside.map(|attack| attack.id))
                    .collect()
            }
            _ => vec![first.id],
        });
        let next: Vec<&'static str> = first.unwrap_or_default();
        self.batch = next.iter().copied().collect();
        let told = next.iter().map(|id| match self.begun.get(id) {
            Some((at, _)) => format!("{id}@{at}"),
            None => (*id).to_owned(),
        });
        told.collect()
    }

    /// A line of the guest that runs. What is none of ours is left aside: anything may write there.
    pub fn heard(&mut self, line: &str) {
        if line.len() > LINE_BYTES_MAX {
            return;
        }
        match serde_json::from_str(line) {
            Ok(Said::Begin { id, at }) => self.running = self.known(&id).map(|id| (id, at)),
            Ok(Said::Seen { id, seen }) => {
                if let Some(id) = self.known(&id) {
                    let seen = self.with_those_before(id, seen);
                    self.seen.insert(id, seen);
                    (self.running, self.last) = (None, Some(id));
                }
            }
            Err(_) => {}
        }
    }

    /// What was seen outside meanwhile.
    pub fn touched(&mut self, evidence: Vec<String>) {
        let by = self.running().or(self.last).or(self.batch.first().copied());
        if let Some(by) = by.filter(|_| !evidence.is_empty()) {
            self.touched.entry(by).or_default().extend(evidence);
        }
    }

    /// What is seen of one attack outside.
    pub fn touched_by(&mut self, id: &str, evidence: String) {
        if let Some(attack) = self.chosen.iter().find(|attack| attack.id == id) {
            self.touched.entry(attack.id).or_default().push(evidence);
        }
    }

    /// How the guest ended.
    pub fn ended(&mut self, exit: &Exit) {
        let batch = std::mem::take(&mut self.batch);
        for id in &batch {
            if let Some(Seen::Killed(signal)) = self.seen.get(id) {
                let seen = self.killed(id, *signal, exit);
                self.seen.insert(id, seen);
            }
        }
        let stop = exit.stop.as_ref();
        // Inside, only the attack that ran can have brought this about; the disk may be full before it begins.
        let running = self.running.take();
        let ran = running.map(|(id, _)| id);
        self.last = ran.or(self.last);
        let early = batch
            .iter()
            .find(|id| ran.is_none() && !self.seen.contains_key(*id));
        let answered = ran.or(early.copied().filter(|_| stop == Some(&Stop::Disk)));
        if let Some(id) = answered {
            let how = format!("{:?}, {:?}", exit.end, exit.stop);
            let seen = match self.answer(id, stop) {
                Some(how) if matches!(stop, Some(Stop::Call(_))) => {
                    // Its other tries are still to be made.
                    let at = running.map_or(0, |(_, at)| at);
                    let (next, stopped) = self.begun.entry(id).or_default();
                    *next = at.saturating_add(1);
                    if !stopped.contains(&how) {
                        stopped.push(how);
                    }
                    return;
                }
                Some(how) => Seen::Held(how),
                None => Seen::NotTried(format!("its guest ended meanwhile: {how}")),
            };
            self.seen.insert(id, seen);
        } else {
            // A guest that made nothing of what it was to make makes nothing of it the next time either.
            for id in batch {
                let why = || {
                    Seen::NotTried(format!(
                        "its guest ended before it: {:?}, {:?}",
                        exit.end, exit.stop
                    ))
                };
                self.seen.entry(id).or_insert_with(why);
            }
        }
    }

    /// Nothing came of the guest that was to run: what it was to make is not tried.
    pub fn failed(&mut self, why: &str) {
        self.running = None;
        for id in std::mem::take(&mut self.batch) {
            self.seen
                .entry(id)
                .or_insert_with(|| Seen::NotTried(why.to_owned()));
        }
    }

    /// What came of one that is made from outside.
    pub fn made(&mut self, id: &str, made: Made) {
        if let Some(id) = self.known(id) {
            let seen = match made {
                Made::Held(how) => Seen::Held(how),
                Made::Broken(what) => Seen::Broken(what),
                Made::NotTried(why) => Seen::NotTried(why),
            };
            self.seen.insert(id, seen);
        }
    }

    /// The result, given what is not built, and why.
    #[must_use]
    pub fn findings(&self, given_up: &BTreeMap<Part, String>) -> Vec<Finding> {
        let judged = self.chosen.iter().map(|attack| {
            let touched = self.touched.get(attack.id).map(|all| all.join("; "));
            judge(attack, self.seen.get(attack.id), touched, given_up)
        });
        judged.collect()
    }

    /// Of an attack that went on in several guests, everything that stopped it.
    fn with_those_before(&self, id: &str, seen: Seen) -> Seen {
        match (self.begun.get(id), seen) {
            (Some((_, before)), Seen::Held(how)) => {
                let is_new = |how: &String| !how.is_empty() && !before.contains(how);
                let all = before.iter().cloned().chain(Some(how).filter(is_new));
                Seen::Held(all.collect::<Vec<_>>().join(", "))
            }
            (_, seen) => seen,
        }
    }

    fn known(&self, id: &str) -> Option<&'static str> {
        self.chosen
            .iter()
            .find(|attack| attack.id == id)
            .map(|attack| attack.id)
    }

    /// How an end by `stop` answers this attack, if what ended it claims to.
    fn answer(&self, id: &str, stop: Option<&Stop>) -> Option<String> {
        let attack = self.chosen.iter().find(|attack| attack.id == id)?;
        let claims = |part: Part| attack.walls.contains(&part);
        match stop? {
            // In `strict`, whatever call it is: without it there is no attack.
            Stop::Call(name) => Some(format!("ended at the call `{name}`")),
            Stop::Memory if claims(Part::MemoryLimit) => Some("ended for its memory".to_owned()),
            Stop::Disk if attack.id == "resources.disk" => Some("ended for the disk".to_owned()),
            _ => None,
        }
    }

    /// Signals that walls end processes by, and that of memory where the kernel counted it.
    fn killed(&self, id: &str, signal: i32, exit: &Exit) -> Seen {
        let attack = self.chosen.iter().find(|attack| attack.id == id);
        let claims = |part: Part| attack.is_some_and(|attack| attack.walls.contains(&part));
        match signal {
            libc::SIGSYS if claims(Part::Seccomp) => Seen::Held("ended by the filter of calls".to_owned()),
            libc::SIGKILL if claims(Part::MemoryLimit) && exit.usage.memory_kills > 0 => {
                Seen::Held("ended for its memory".to_owned())
            }
            signal => Seen::NotTried(format!("the attacker was ended by signal {signal}")),
        }
    }
}

/// The one place that says what an attack shows.
fn judge(
    attack: &'static Attack,
    seen: Option<&Seen>,
    touched: Option<String>,
    given_up: &BTreeMap<Part, String>,
) -> Finding {
    let built = attack.walls.iter().filter(|part| !given_up.contains_key(part));
    let walls: Vec<Part> = built.copied().collect();
    let missing = attack
        .walls
        .iter()
        .filter_map(|part| Some((part, given_up.get(part)?)));
    let missing = missing.map(|(part, why)| format!("{}: {why}", name(*part)));
    let is_claimed = attack.walls.is_empty() || !walls.is_empty();
    let is_seen_outside = attack.way == Way::SeenOutside;
    let (verdict, evidence, remedy) = match (&attack.way, seen, touched) {
        (Way::Opaque { reason, remedy }, ..) => (
            Verdict::NotGuaranteed,
            (*reason).to_owned(),
            Some((*remedy).to_owned()),
        ),
        (_, _, Some(evidence)) => (Verdict::Broken, evidence, None),
        (_, Some(Seen::Broken(_)), None) if is_seen_outside => (
            Verdict::Held,
            "nothing of it was left at the end".to_owned(),
            None,
        ),
        (_, Some(Seen::Broken(evidence)), None) => (Verdict::Broken, evidence.clone(), None),
        (_, Some(Seen::Held(how)), None) => (Verdict::Held, how.clone(), None),
        (_, Some(Seen::NotTried(why)), None) => (Verdict::NotTried, why.clone(), None),
        (_, Some(Seen::Killed(signal)), None) => (
            Verdict::NotTried,
            format!("the attacker was ended by signal {signal}"),
            None,
        ),
        (_, None, None) => (Verdict::NotTried, "the drill ended before it".to_owned(), None),
    };
    let is_open = verdict == Verdict::NotGuaranteed;
    let (verdict, evidence, remedy) = match is_claimed || is_open {
        true => (verdict, evidence, remedy),
        false => {
            let mut told: Vec<&str> = attack.walls.iter().map(|part| consequences(*part).1).collect();
            told.dedup();
            let missing = missing.collect::<Vec<_>>().join("; ");
            let found = match verdict {
                Verdict::Broken => format!("it works: {evidence}"),
                Verdict::NotTried => format!("it was not tried: {evidence}"),
                _ => format!("it was stopped this time: {evidence}"),
            };
            (
                Verdict::NotGuaranteed,
                format!("without {missing}; {found}"),
                Some(told.join("; or ")),
            )
        }
    };
    Finding {
        id: attack.id,
        title: attack.title,
        why: attack.why,
        verdict,
        evidence,
        remedy,
        walls,
        by: attack.by,
    }
}

fn name(part: Part) -> String {
    match serde_json::to_value(part) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{part:?}"),
    }
}

#[cfg(test)]
mod tests;
