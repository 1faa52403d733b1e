//! The files of the disk: what is visible, what is durable, and what lies between.

use super::locks::{Index, Locks};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// What becomes of unsynced writes when power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All are lost.
    Drop,
    /// Some reach the disk, some in part; which, the seed decides.
    Tear(u64),
}

/// How the disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Writes find no space.
    Full,
    /// Syncs fail, and what they should have made durable is lost at a power loss.
    Fsync,
    /// Writes, truncations and deletions are refused.
    ReadOnly,
}

/// Why an operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Power is gone.
    Dead,
    /// The disk refuses.
    Refused(Refusal),
    /// There is no such file.
    Missing,
}

#[derive(Default)]
pub(super) struct Files {
    files: BTreeMap<String, Contents>,
    /// Deleted, but the directory was not synced.
    undead: BTreeMap<String, Vec<u8>>,
    pub(super) boundaries: u64,
    pub(super) syncs: BTreeMap<String, u64>,
    pub(super) power_loss: Option<(u64, Loss)>,
    pub(super) refusal: Option<(Range<u64>, Refusal)>,
    pub(super) dead: bool,
    /// What was done at each boundary, and which files were made before it.
    history: Vec<Done>,
}

/// What happened to a file.
#[derive(Clone)]
struct Done {
    name: String,
    what: What,
}

#[derive(Clone)]
enum What {
    Made,
    Changed(Change),
    Synced,
    Deleted { sync: bool },
}

/// One file.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) visible: Vec<u8>,
    /// `None` until the file was synced once: its name is not durable either.
    durable: Option<Vec<u8>>,
    unsynced: Vec<Change>,
    pub(super) locks: Locks,
    pub(super) index: Index,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Files {
    /// Makes the file when it is missing and `create` says so.
    pub(super) fn open(&mut self, name: &str, create: bool) -> Result<(), Fault> {
        self.alive()?;
        if !self.files.contains_key(name) {
            if !create {
                return Err(Fault::Missing);
            }
            if let Some((range, Refusal::ReadOnly)) = &self.refusal
                && range.contains(&self.boundaries.saturating_add(1))
            {
                return Err(Fault::Refused(Refusal::ReadOnly));
            }
            self.files.insert(name.to_owned(), Contents::default());
            self.note(name, What::Made);
        }
        Ok(())
    }

    pub(super) fn exists(&self, name: &str) -> Result<bool, Fault> {
        self.alive()?;
        Ok(self.files.contains_key(name))
    }

    pub(super) fn contents(&mut self, name: &str) -> Result<&mut Contents, Fault> {
        self.alive()?;
        self.files.get_mut(name).ok_or(Fault::Missing)
    }

    /// As [`Files::contents`], also without power: connections let go of their locks then.
    pub(super) fn contents_of_the_dead(&mut self, name: &str) -> Option<&mut Contents> {
        self.files.get_mut(name)
    }

    pub(super) fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.change(
            name,
            Change::Write {
                offset,
                bytes: bytes.to_vec(),
            },
        )
    }

    pub(super) fn truncate(&mut self, name: &str, length: usize) -> Result<(), Fault> {
        self.change(name, Change::Truncate { length })
    }

    pub(super) fn sync(&mut self, name: &str) -> Result<(), Fault> {
        self.note(name, What::Synced);
        let refusal = self.boundary(|_| ())?;
        let count = self.syncs.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        let file = self.files.get_mut(name).ok_or(Fault::Missing)?;
        let changes = std::mem::take(&mut file.unsynced);
        if refusal == Some(Refusal::Fsync) {
            return Err(Fault::Refused(Refusal::Fsync));
        }
        if file.durable.is_none() {
            // SQLite syncs the directory with the first sync of a new journal or log.
            self.undead.clear();
        }
        let durable = file.durable.get_or_insert_default();
        changes.iter().for_each(|change| change.apply(durable));
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str, sync: bool) -> Result<(), Fault> {
        if !self.exists(name)? {
            return Err(Fault::Missing);
        }
        self.note(name, What::Deleted { sync });
        if self.boundary(|_| ())? == Some(Refusal::ReadOnly) {
            return Err(Fault::Refused(Refusal::ReadOnly));
        }
        if let Some(Contents {
            durable: Some(durable),
            ..
        }) = self.files.remove(name)
            && !sync
        {
            self.undead.insert(name.to_owned(), durable);
        }
        Ok(())
    }

    /// Everything unsynced meets its fate; nothing works from here on.
    pub(super) fn lose_power(&mut self, loss: Loss) {
        self.dead = true;
        let mut chance = Chance::new(loss);
        for file in self.files.values_mut() {
            let changes = std::mem::take(&mut file.unsynced);
            let Some(chance) = &mut chance else { continue };
            // The name of a new file may have become durable without a sync.
            if file.durable.is_some() || chance.below(2) == 0 {
                let durable = file.durable.get_or_insert_default();
                changes
                    .into_iter()
                    .for_each(|change| change.tear(durable, chance));
            }
        }
    }

    /// The disk of a run like this one in which power was lost at boundary `at`.
    pub(super) fn replay(&self, at: u64, loss: Loss) -> Files {
        let mut files = Files {
            power_loss: Some((at, loss)),
            ..Files::default()
        };
        for Done { name, what } in &self.history {
            let done = match what.clone() {
                What::Made => files.open(name, true),
                What::Changed(change) => files.change(name, change),
                What::Synced => files.sync(name),
                What::Deleted { sync } => files.delete(name, sync),
            };
            if done == Err(Fault::Dead) {
                break;
            }
        }
        files
    }

    /// Numbers of the boundaries that are syncs.
    pub(super) fn sync_boundaries(&self) -> Vec<u64> {
        let boundaries = self
            .history
            .iter()
            .filter(|done| !matches!(done.what, What::Made));
        (1..)
            .zip(boundaries)
            .filter(|(_, done)| matches!(done.what, What::Synced))
            .map(|(n, _)| n)
            .collect()
    }

    fn note(&mut self, name: &str, what: What) {
        if !self.dead {
            self.history.push(Done {
                name: name.to_owned(),
                what,
            });
        }
    }

    /// Names and bytes of all files, to tell disks apart.
    pub(super) fn fingerprint(&self) -> Vec<(String, Vec<u8>)> {
        self.files
            .iter()
            .map(|(name, file)| (name.clone(), file.visible.clone()))
            .collect()
    }

    /// What a machine finds that starts from this disk.
    pub(super) fn survivors(&self) -> Files {
        let durable = self
            .files
            .iter()
            .filter_map(|(name, file)| Some((name, file.durable.as_ref()?)));
        let files = durable
            .chain(&self.undead)
            .map(|(name, bytes)| {
                let contents = Contents {
                    visible: bytes.clone(),
                    durable: Some(bytes.clone()),
                    ..Contents::default()
                };
                (name.clone(), contents)
            })
            .collect();
        Files {
            files,
            ..Files::default()
        }
    }

    fn change(&mut self, name: &str, change: Change) -> Result<(), Fault> {
        self.note(name, What::Changed(change.clone()));
        let mut change = Some(change);
        // At a power loss the write that was under way may have reached the disk as well.
        let refusal = self.boundary(|files| {
            if let (Some(file), Some(change)) = (files.get_mut(name), change.take()) {
                file.unsynced.push(change);
            }
        })?;
        if let Some(refusal @ (Refusal::Full | Refusal::ReadOnly)) = refusal {
            return Err(Fault::Refused(refusal));
        }
        let file = self.files.get_mut(name).ok_or(Fault::Missing)?;
        if let Some(change) = change {
            change.apply(&mut file.visible);
            file.unsynced.push(change);
        }
        Ok(())
    }

    /// Counts a boundary. When power is lost at it, `last` says what was under way.
    fn boundary(
        &mut self,
        last: impl FnOnce(&mut BTreeMap<String, Contents>),
    ) -> Result<Option<Refusal>, Fault> {
        self.alive()?;
        self.boundaries = self.boundaries.saturating_add(1);
        if let Some((at, loss)) = self.power_loss
            && at == self.boundaries
        {
            last(&mut self.files);
            self.lose_power(loss);
            return Err(Fault::Dead);
        }
        let refusal = self
            .refusal
            .as_ref()
            .filter(|(range, _)| range.contains(&self.boundaries));
        Ok(refusal.map(|(_, refusal)| *refusal))
    }

    fn alive(&self) -> Result<(), Fault> {
        match self.dead {
            true => Err(Fault::Dead),
            false => Ok(()),
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes: new } => put(bytes, *offset, new),
            Change::Truncate { length } => bytes.resize(*length, 0),
        }
    }

    /// All, nothing, a beginning or some sectors of it.
    fn tear(&self, durable: &mut Vec<u8>, chance: &mut Chance) {
        let fate = chance.below(4);
        match (self, fate) {
            (_, 0) => (),
            (_, 1) | (Change::Truncate { .. }, _) => self.apply(durable),
            (Change::Write { offset, bytes }, fate) => {
                let whole = chance.below(bytes.len() as u64 / SECTOR as u64 + 1);
                let mut start = 0;
                let mut sector = 0;
                while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
                    // Up to the next border of a sector of the file.
                    let length = (SECTOR - (offset + start) % SECTOR).min(rest.len());
                    let keep = if fate == 2 {
                        sector < whole
                    } else {
                        chance.below(2) == 0
                    };
                    if let (true, Some(piece)) = (keep, rest.get(..length)) {
                        put(durable, offset + start, piece);
                    }
                    start += length;
                    sector += 1;
                }
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset.saturating_add(new.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(new);
    }
}

/// A small generator (xorshift64*): the same seed tears alike.
struct Chance(u64);

impl Chance {
    fn new(loss: Loss) -> Option<Chance> {
        match loss {
            Loss::Drop => None,
            Loss::Tear(seed) => Some(Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33)
            .checked_rem(limit)
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The durable bytes of `f` after a power loss, as text.
    fn survivor(files: &mut Files, loss: Loss) -> Option<String> {
        files.lose_power(loss);
        let mut after = files.survivors();
        after
            .contents("f")
            .ok()
            .map(|f| String::from_utf8(f.visible.clone()).unwrap())
    }

    #[test]
    fn only_what_was_synced_survives() {
        #[expect(clippy::type_complexity, reason = "a table of closures")]
        #[rustfmt::skip]
        let table: [(&str, fn(&mut Files), Option<&str>); 7] = [
            ("never synced", |f| f.write("f", 0, b"one").unwrap(), None),
            ("synced", |f| { f.write("f", 0, b"one").unwrap(); f.sync("f").unwrap(); }, Some("one")),
            ("written after the sync", |f| { f.write("f", 0, b"one").unwrap(); f.sync("f").unwrap(); f.write("f", 0, b"two").unwrap(); }, Some("one")),
            ("cut after the sync", |f| { f.write("f", 0, b"one").unwrap(); f.sync("f").unwrap(); f.truncate("f", 0).unwrap(); }, Some("one")),
            ("deleted without a sync", |f| { f.write("f", 0, b"one").unwrap(); f.sync("f").unwrap(); f.delete("f", false).unwrap(); }, Some("one")),
            ("deleted with a sync", |f| { f.write("f", 0, b"one").unwrap(); f.sync("f").unwrap(); f.delete("f", true).unwrap(); }, None),
            ("a sync failed, the next did not", |f| {
                f.write("f", 0, b"one").unwrap();
                f.sync("f").unwrap();
                f.write("f", 0, b"two").unwrap();
                f.refusal = Some((0..u64::MAX, Refusal::Fsync));
                assert_eq!(f.sync("f"), Err(Fault::Refused(Refusal::Fsync)));
                f.refusal = None;
                f.sync("f").unwrap();
                assert_eq!(f.contents("f").unwrap().visible, b"two", "visible until power is lost");
            }, Some("one")),
        ];
        for (name, run, expected) in table {
            let mut files = Files::default();
            files.open("f", true).unwrap();
            run(&mut files);
            assert_eq!(survivor(&mut files, Loss::Drop).as_deref(), expected, "{name}");
            assert_eq!(
                files.write("f", 0, b"x"),
                Err(Fault::Dead),
                "{name}: nothing works without power"
            );
        }
    }

    #[test]
    fn tearing_keeps_whole_sectors_and_every_fate_occurs() {
        let mut fates = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut files = Files::default();
            files.open("f", true).unwrap();
            files.write("f", 0, &[b'.'; 4 * SECTOR]).unwrap();
            files.sync("f").unwrap();
            files.write("f", 0, &[b'X'; 4 * SECTOR]).unwrap();
            let text = survivor(&mut files, Loss::Tear(seed)).unwrap();
            let sectors: String = text
                .as_bytes()
                .chunks(SECTOR)
                .map(|s| {
                    assert!(s.iter().all(|b| b == &s[0]), "a sector is never torn");
                    s[0] as char
                })
                .collect();
            fates.insert(sectors);
        }
        for fate in ["....", "XXXX", "XX..", "X..X"] {
            assert!(fates.contains(fate), "{fate} in {fates:?}");
        }
    }

    #[test]
    fn power_is_lost_at_the_boundary_and_a_refusal_ends() {
        let mut files = Files::default();
        files.open("f", true).unwrap();
        files.refusal = Some((1..3, Refusal::Full));
        files.power_loss = Some((4, Loss::Drop));
        assert_eq!(files.write("f", 0, b"1"), Err(Fault::Refused(Refusal::Full)));
        assert_eq!(files.write("f", 0, b"2"), Err(Fault::Refused(Refusal::Full)));
        assert_eq!(files.write("f", 0, b"3"), Ok(()));
        assert_eq!(files.sync("f"), Err(Fault::Dead));
    }
}
