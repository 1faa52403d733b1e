//! Writes what a notification means into the journal, in one transaction.
//!
//! A repeat within the trigger's window is counted in memory and makes no entry; the count goes into
//! the next entry about its incident, so that nobody can fill the disk by saying the same again. A
//! crash loses such counts and nothing else.

use crate::board::{self, Newest, Record, Resolution, Same, Told, kind};
use crate::incident;
use crate::intake::{self, Change, Facts};
use policy::{Principal, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{NewEntry, Retention, StoreError, Tx};

/// What ended an incident when nothing that was done is known.
fn no_change() -> Resolution {
    Resolution {
        text: "resolved without a recorded change".to_owned(),
        taint: policy::Taints::NONE,
    }
}

/// One notification on its way into the journal.
pub(crate) struct Intake {
    pub trigger: String,
    pub actor: Principal,
    pub debounce_ms: i64,
    pub facts: Facts,
    /// The body as it came.
    pub raw: Value,
    /// What was done about incidents that this notification may end, by id.
    pub resolutions: BTreeMap<String, Resolution>,
    pub counts: Arc<Counts>,
}

/// What was noted, of the first change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub entry: u64,
    pub incident: Option<String>,
    pub disposition: &'static str,
    /// Set when the entry opens a window in which what fits nothing is only counted.
    pub window: Option<Timestamp>,
}

impl Noted {
    fn of(entry: u64, incident: String, disposition: &'static str) -> Noted {
        Noted {
            entry,
            incident: Some(incident),
            disposition,
            window: None,
        }
    }
}

/// Counts that are not in the journal yet.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// By incident.
    repeats: Mutex<HashMap<String, u64>>,
    /// By trigger: when what fits nothing was last recorded, in which entry, and how often since.
    ignored: Mutex<HashMap<String, (Timestamp, u64, u64)>>,
}

impl Counts {
    /// Repeats of an incident that are not in its row yet.
    pub fn repeats(&self, incident: &str) -> u64 {
        lock(&self.repeats).get(incident).copied().unwrap_or(0)
    }
    /// Incidents with such repeats.
    pub fn incidents(&self) -> Vec<String> {
        lock(&self.repeats).keys().cloned().collect()
    }
    /// `entry` is durable: what fits nothing is only counted for a while.
    pub fn open_window(&self, trigger: &str, at: Timestamp, entry: u64) {
        lock(&self.ignored).insert(trigger.to_owned(), (at, entry, 0));
    }
    fn add(&self, incident: &str, repeats: u64) {
        *lock(&self.repeats).entry(incident.to_owned()).or_default() += repeats;
    }
    fn take(&self, incident: &str) -> u64 {
        lock(&self.repeats).remove(incident).unwrap_or(0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts that an entry took with it; given back unless that entry is durable.
#[derive(Default)]
pub(crate) struct Taken {
    counts: Arc<Counts>,
    taken: Mutex<Vec<(String, u64)>>,
}

impl Taken {
    pub fn of(counts: &Arc<Counts>) -> Arc<Taken> {
        Arc::new(Taken {
            counts: Arc::clone(counts),
            taken: Mutex::default(),
        })
    }
    fn take(&self, incident: &str) -> u64 {
        let repeats = self.counts.take(incident);
        if repeats > 0 {
            lock(&self.taken).push((incident.to_owned(), repeats));
        }
        repeats
    }
    /// The entries are durable.
    pub fn keep(&self) {
        lock(&self.taken).clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for (incident, repeats) in lock(&self.taken).drain(..) {
            self.counts.add(&incident, repeats);
        }
    }
}

impl Intake {
    /// Runs on the writer's thread.
    pub fn record(&self, tx: &mut Tx<'_>, taken: &Taken) -> Result<Noted, StoreError> {
        let changes = intake::weigh(&self.trigger, &self.facts, |key| {
            records(tx.find(board::NAME, "open", key)?)
        })?;
        let mut first = None;
        for change in changes {
            let noted = match change {
                Change::Open => self.open(tx)?,
                Change::Attach {
                    incident,
                    firing,
                    resolved,
                    escalates,
                } => {
                    let facts = Facts {
                        firing,
                        resolved,
                        ..self.facts.clone()
                    };
                    self.attach(tx, taken, incident, facts, escalates, first.is_none())?
                }
                Change::Repeat { incident } => self.repeat(tx, taken, incident)?,
                Change::Resolve { incident, resolved } => {
                    self.resolve(tx, taken, incident, resolved, first.is_none())?
                }
            };
            first.get_or_insert(noted);
        }
        first.map_or_else(|| self.ignore(tx), Ok)
    }

    fn open(&self, tx: &mut Tx<'_>) -> Result<Noted, StoreError> {
        let (id, day, number) = next_id(tx)?;
        let info = self.facts.severity == incident::Severity::Info;
        let (kind, disposition) = if info {
            (kind::LOGGED, "logged")
        } else {
            (kind::OPENED, "opened")
        };
        let told = Told {
            incident: id.clone(),
            trigger: self.trigger.clone(),
            facts: self.facts.clone(),
            escalates: false,
            repeats: 0,
            number: Some((day, number)),
        };
        let entry = tx.append(self.entry(kind, &id, &told, true)?)?;
        Ok(Noted::of(entry, id, disposition))
    }

    fn attach(
        &self,
        tx: &mut Tx<'_>,
        taken: &Taken,
        incident: String,
        facts: Facts,
        escalates: bool,
        first: bool,
    ) -> Result<Noted, StoreError> {
        let told = Told {
            incident: incident.clone(),
            trigger: self.trigger.clone(),
            facts,
            escalates,
            repeats: taken.take(&incident),
            number: None,
        };
        let entry = tx.append(self.entry(kind::ATTACHED, &incident, &told, first)?)?;
        Ok(Noted::of(entry, incident, "attached"))
    }

    /// The first repeat of a window is an entry, the others are counted.
    fn repeat(&self, tx: &mut Tx<'_>, taken: &Taken, incident: String) -> Result<Noted, StoreError> {
        let row = tx.row(board::NAME, &incident)?.map(record).transpose()?;
        let recent = row
            .as_ref()
            .and_then(|row| row.repeated)
            .is_some_and(|at| self.within(tx.now(), at));
        let entry = match row {
            Some(row) if recent => {
                taken.counts.add(&incident, 1);
                row.told
            }
            _ => {
                let same = Same {
                    incident: incident.clone(),
                    trigger: self.trigger.clone(),
                    repeats: taken.take(&incident).saturating_add(1),
                    resolved: Vec::new(),
                    resolution: None,
                };
                tx.append(self.entry(kind::REPEATED, &incident, &same, true)?)?
            }
        };
        Ok(Noted::of(entry, incident, "repeated"))
    }

    fn resolve(
        &self,
        tx: &mut Tx<'_>,
        taken: &Taken,
        incident: String,
        resolved: Vec<String>,
        first: bool,
    ) -> Result<Noted, StoreError> {
        let same = Same {
            incident: incident.clone(),
            trigger: self.trigger.clone(),
            repeats: taken.take(&incident),
            resolved,
            resolution: Some(self.resolutions.get(&incident).cloned().unwrap_or_else(no_change)),
        };
        let entry = tx.append(self.entry(kind::RESOLVED, &incident, &same, first)?)?;
        Ok(Noted::of(entry, incident, "resolved"))
    }

    /// Something ended that nobody here knew of. The first of a window is an entry.
    fn ignore(&self, tx: &mut Tx<'_>) -> Result<Noted, StoreError> {
        let now = tx.now();
        let before = lock(&self.counts.ignored).get(&self.trigger).copied();
        let noted = |entry, window| Noted {
            entry,
            incident: None,
            disposition: "ignored",
            window,
        };
        if let Some((at, entry, _)) = before
            && self.within(now, at)
        {
            if let Some((.., count)) = lock(&self.counts.ignored).get_mut(&self.trigger) {
                *count = count.saturating_add(1);
            }
            return Ok(noted(entry, None));
        }
        let count = before.map_or(0, |(.., count)| count).saturating_add(1);
        let body = json!({"trigger": self.trigger, "resolved": self.facts.resolved, "count": count});
        let entry = NewEntry::new(kind::IGNORED, &self.actor, body);
        let entry = tx.append(entry.payload("notification", Retention::Intake, self.raw.clone()))?;
        Ok(noted(entry, Some(now)))
    }

    /// A clock that went back opens a new window.
    fn within(&self, now: Timestamp, at: Timestamp) -> bool {
        (0..self.debounce_ms).contains(&now.since_ms(at))
    }

    fn entry(
        &self,
        kind: &'static str,
        incident: &str,
        body: &impl Serialize,
        whole: bool,
    ) -> Result<NewEntry, StoreError> {
        let entry = NewEntry::new(kind, &self.actor, value(body)?).correlation(incident);
        Ok(if whole {
            entry.payload("notification", Retention::Intake, self.raw.clone())
        } else {
            entry
        })
    }
}

/// Writes counts that would otherwise be lost when the process ends.
pub(crate) fn flush(tx: &mut Tx<'_>, taken: &Taken, incidents: &[String]) -> Result<(), StoreError> {
    for incident in incidents {
        let Some(row) = tx.row(board::NAME, incident)?.map(record).transpose()? else {
            continue;
        };
        let repeats = taken.take(incident);
        if repeats > 0 {
            let trigger = row.view.trigger;
            let same = Same {
                incident: incident.clone(),
                trigger,
                repeats,
                resolved: Vec::new(),
                resolution: None,
            };
            let actor = Principal::service("cofferdam");
            tx.append(NewEntry::new(kind::REPEATED, actor, value(&same)?).correlation(incident))?;
        }
    }
    Ok(())
}

/// The next id of the day. A clock that went back to a day that has incidents goes on counting there.
fn next_id(tx: &Tx<'_>) -> Result<(String, String, u64), StoreError> {
    let now = tx.now();
    let day = incident::day(now);
    let newest = tx
        .row(board::NAME, board::NEWEST)?
        .map(board::read::<Newest>)
        .transpose()
        .map_err(corrupt)?;
    let mut number = newest
        .filter(|newest| newest.day == day)
        .map_or(0, |newest| newest.number);
    loop {
        number = number.saturating_add(1);
        let id = incident::id(now, number);
        if tx.row(board::NAME, &id)?.is_none() {
            return Ok((id, day, number));
        }
    }
}

/// A row as its type.
pub(crate) fn record(value: Value) -> Result<Record, StoreError> {
    board::read(value).map_err(corrupt)
}

/// Rows as their type.
pub(crate) fn records(rows: Vec<store::Row>) -> Result<Vec<Record>, StoreError> {
    rows.into_iter().map(|row| record(row.value)).collect()
}

fn corrupt(error: store::Corrupt) -> StoreError {
    StoreError::Corrupt {
        finding: error.to_string(),
    }
}

/// A body or payload as JSON.
pub(crate) fn value(body: &impl Serialize) -> Result<Value, StoreError> {
    serde_json::to_value(body).map_err(|error| StoreError::Refused(error.to_string()))
}

#[cfg(test)]
mod tests;
