//! Locks of files and the index of a write-ahead log, as SQLite wants them from a VFS.

use std::collections::BTreeMap;

/// Who asks: one number per open file handle.
pub(super) type Holder = u64;

/// The levels of SQLite's file locks, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

/// Locks on one file.
#[derive(Default)]
pub(super) struct Locks(BTreeMap<Holder, Level>);

impl Locks {
    /// Raises a lock; `false` when somebody else is in the way.
    pub(super) fn lock(&mut self, holder: Holder, wanted: Level) -> bool {
        let others = self
            .0
            .iter()
            .filter(|(h, _)| **h != holder)
            .map(|(_, level)| *level)
            .max()
            .unwrap_or_default();
        let (granted, level) = match wanted {
            Level::None => (true, Level::None),
            Level::Shared => (others < Level::Pending, Level::Shared),
            Level::Reserved | Level::Pending => (others < Level::Reserved, wanted),
            // Readers may finish, and no new ones come.
            Level::Exclusive if others == Level::Shared => (false, Level::Pending),
            Level::Exclusive => (others == Level::None, Level::Exclusive),
        };
        if granted || level == Level::Pending {
            let held = self.0.entry(holder).or_default();
            *held = (*held).max(level);
        }
        granted
    }

    /// Lowers a lock.
    pub(super) fn unlock(&mut self, holder: Holder, level: Level) {
        match level {
            Level::None => drop(self.0.remove(&holder)),
            level => drop(self.0.insert(holder, level)),
        }
    }

    /// Whether anybody intends to write.
    pub(super) fn is_reserved(&self) -> bool {
        self.0.values().any(|level| *level >= Level::Reserved)
    }
}

/// Shared memory of a write-ahead log: regions whose addresses stay, and eight slots of locks.
#[derive(Default)]
pub(super) struct Index {
    /// Boxed words, so that regions neither move nor are misaligned.
    regions: Vec<Box<[u64]>>,
    slots: [Slot; SLOTS],
    users: BTreeMap<Holder, ()>,
}

/// Locks that SQLite uses in shared memory.
const SLOTS: usize = 8;

#[derive(Default)]
struct Slot {
    shared: BTreeMap<Holder, ()>,
    exclusive: Option<Holder>,
}

impl Index {
    /// Address of a region of `size` bytes; null when it is not there and `extend` is false.
    pub(super) fn region(&mut self, holder: Holder, number: usize, size: usize, extend: bool) -> *mut u64 {
        self.users.insert(holder, ());
        while extend && self.regions.len() <= number {
            self.regions
                .push(vec![0; size.div_ceil(size_of::<u64>())].into_boxed_slice());
        }
        self.regions
            .get_mut(number)
            .map_or(std::ptr::null_mut(), |region| region.as_mut_ptr())
    }

    /// Takes slots; `false` when somebody else is in the way of one.
    pub(super) fn lock(&mut self, holder: Holder, slots: std::ops::Range<usize>, exclusive: bool) -> bool {
        let Some(slots) = self.slots.get_mut(slots) else {
            return false;
        };
        let free = |slot: &Slot| {
            let by_other = slot.exclusive.is_some_and(|h| h != holder);
            !by_other && (!exclusive || slot.shared.keys().all(|h| *h == holder))
        };
        if !slots.iter().all(free) {
            return false;
        }
        for slot in slots {
            match exclusive {
                true => slot.exclusive = Some(holder),
                false => drop(slot.shared.insert(holder, ())),
            }
        }
        true
    }

    /// Gives slots back.
    pub(super) fn unlock(&mut self, holder: Holder, slots: std::ops::Range<usize>) {
        for slot in self.slots.get_mut(slots).into_iter().flatten() {
            slot.shared.remove(&holder);
            if slot.exclusive == Some(holder) {
                slot.exclusive = None;
            }
        }
    }

    /// A user leaves; with the last one the memory goes.
    pub(super) fn unmap(&mut self, holder: Holder) {
        self.unlock(holder, 0..SLOTS);
        self.users.remove(&holder);
        if self.users.is_empty() {
            self.regions.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_exclude_each_other_as_sqlite_says() {
        #[rustfmt::skip]
        let table = [
            // held by the other, wanted, granted
            (Level::None,      Level::Exclusive, true),
            (Level::Shared,    Level::Shared,    true),
            (Level::Shared,    Level::Reserved,  true),
            (Level::Shared,    Level::Exclusive, false),
            (Level::Reserved,  Level::Shared,    true),
            (Level::Reserved,  Level::Reserved,  false),
            (Level::Pending,   Level::Shared,    false),
            (Level::Exclusive, Level::Shared,    false),
        ];
        for (held, wanted, granted) in table {
            let mut locks = Locks::default();
            locks.unlock(1, held);
            assert_eq!(locks.lock(2, wanted), granted, "{wanted:?} beside {held:?}");
        }
    }

    #[test]
    fn slots_exclude_each_other() {
        let mut index = Index::default();
        assert!(index.lock(1, 0..1, false) && index.lock(2, 0..2, false));
        assert!(!index.lock(1, 0..2, true), "another reads");
        index.unlock(2, 0..8);
        assert!(index.lock(1, 0..2, true), "own reading is not in the way");
        assert!(!index.lock(2, 1..2, false), "another writes");
    }
}
