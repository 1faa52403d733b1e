//! The file that takes stops when the journal cannot: made in full beforehand, overwritten in place.
//!
//! Two slots are written in turn, each with a number and a SHA-256, so that a torn write leaves the
//! other. What cannot be read may have been a stop: then everything is stopped. It holds only stops that
//! the journal does not hold yet. (On a file system that copies on
//! write, overwriting may need space all the same; the answer to a stop then says so.)

use crate::held;
use policy::{Reach, Stop, StopScope};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use store::StoreError;

/// Name of the file in the data directory.
const NAME: &str = "stops.reserve";
/// Size of each of the two slots, in bytes.
const SLOT: usize = 8192;
/// Hash before the text of a slot, in bytes.
const HASH: usize = 32;

/// The open file.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
    number: u64,
    stops: Vec<Stop>,
    /// The file says something else than `stops`.
    dirty: bool,
    /// Somebody is bringing `stops` into the journal.
    pub(crate) recording: bool,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    number: u64,
    stops: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    scope: String,
    reason: String,
    by: String,
    /// Not said of the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Reach>,
}

impl Kept {
    /// A scope of a form that is not known, as a later version may write it, stops everything.
    fn stop(self) -> Stop {
        Stop {
            scope: StopScope::parse(&self.scope).unwrap_or(StopScope::All),
            reason: self.reason,
            by: self.by,
            at: self.at.unwrap_or(Reach::Everywhere),
        }
    }
}

impl Reserve {
    /// Opens the file below `directory` and reads it, making it in full when it is not there.
    pub(crate) fn open(directory: &Path) -> Result<Reserve, StoreError> {
        let path = directory.join(NAME);
        let open = || -> std::io::Result<(File, Option<Slot>, bool)> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            let length = file.metadata()?.len();
            if length != 2 * SLOT as u64 {
                file.set_len(0)?;
                // Written, not only made long: a hole in a file is no space.
                file.write_all_at(&[0; 2 * SLOT], 0)?;
                file.sync_all()?;
                File::open(directory)?.sync_all()?;
            }
            let mut bytes = vec![0; 2 * SLOT];
            file.read_exact_at(&mut bytes, 0)?;
            let newest = bytes.chunks(SLOT).filter_map(read).max_by_key(|slot| slot.number);
            let cut = ![0, 2 * SLOT as u64].contains(&length);
            let damaged = cut || bytes.chunks(SLOT).any(is_damaged);
            Ok((file, newest, damaged))
        };
        let (file, slot, damaged) = open().map_err(|error| StoreError::Unavailable {
            reason: format!("`{}`: {error}", path.display()),
        })?;
        let (number, kept) = slot.map_or((0, Vec::new()), |slot| (slot.number, slot.stops));
        let mut reserve = Reserve {
            file,
            number,
            stops: kept.into_iter().map(Kept::stop).collect(),
            dirty: false,
            recording: false,
        };
        if damaged {
            reserve.stop_everything(&path);
        }
        Ok(reserve)
    }

    /// A stop may be among what cannot be read. Both slots are written, so that this is found once.
    fn stop_everything(&mut self, path: &Path) {
        tracing::error!(path = %path.display(), "the reserve of stops is damaged: everything is stopped");
        let everything = Stop {
            scope: StopScope::All,
            reason: format!("`{}` was damaged, and a stop may be lost", path.display()),
            by: crate::gate::platform().to_string(),
            at: Reach::Everywhere,
        };
        self.keep(everything);
        self.write();
    }

    /// Stops that wait to be recorded.
    pub(crate) fn waiting(&self) -> &[Stop] {
        &self.stops
    }

    /// Keeps one more, one for each scope, raiser and place; says whether it is on the disk.
    pub(crate) fn keep(&mut self, stop: Stop) -> bool {
        self.stops
            .retain(|kept| kept.scope != stop.scope || kept.by != stop.by || kept.at != stop.at);
        self.stops.push(stop);
        self.write()
    }

    /// Forgets those of this scope, which was lifted.
    pub(crate) fn forget(&mut self, scope: &StopScope) -> bool {
        self.forget_those(|kept| kept.scope == *scope)
    }

    /// Forgets what this raiser kept of this scope, because the journal holds it; who else raised it is
    /// remembered.
    pub(crate) fn forget_recorded(&mut self, stop: &Stop) -> bool {
        self.forget_those(|kept| kept.scope == stop.scope && kept.by == stop.by && kept.at == stop.at)
    }

    fn forget_those(&mut self, over: impl Fn(&Stop) -> bool) -> bool {
        let before = self.stops.len();
        self.stops.retain(|kept| !over(kept));
        (before == self.stops.len() && !self.dirty) || self.write()
    }

    fn write(&mut self) -> bool {
        self.dirty = true;
        let number = self.number + 1;
        let slot = slot(number, &self.stops).or_else(|| {
            // More than fits: then everything is stopped, which covers them all.
            let all = Stop {
                scope: StopScope::All,
                reason: format!("{} stops could not be recorded", self.stops.len()),
                by: crate::gate::platform().to_string(),
                at: Reach::Everywhere,
            };
            slot(number, &[all])
        });
        let Some(slot) = slot else { return false };
        let offset = (number % 2) * SLOT as u64;
        match self
            .file
            .write_all_at(&slot, offset)
            .and_then(|()| self.file.sync_data())
        {
            Ok(()) => {
                self.number = number;
                self.dirty = false;
                true
            }
            Err(error) => {
                tracing::error!(%error, "stops cannot be written to their reserve");
                false
            }
        }
    }
}

/// A slot's bytes; `None` when the stops do not fit.
fn slot(number: u64, stops: &[Stop]) -> Option<Vec<u8>> {
    let kept = stops.iter().map(|stop| Kept {
        scope: stop.scope.to_string(),
        reason: stop.reason.clone(),
        by: stop.by.clone(),
        at: held::said(&stop.at).cloned(),
    });
    let text = serde_json::to_vec(&Slot {
        number,
        stops: kept.collect(),
    })
    .ok()?;
    let room = SLOT - HASH;
    (text.len() <= room).then(|| {
        let padded: Vec<u8> = text
            .into_iter()
            .chain(std::iter::repeat(b' '))
            .take(room)
            .collect();
        [Sha256::digest(&padded).as_slice(), &padded].concat()
    })
}

/// A slot that was written whole.
fn read(bytes: &[u8]) -> Option<Slot> {
    let (hash, text) = bytes.split_at_checked(HASH)?;
    (Sha256::digest(text).as_slice() == hash).then(|| serde_json::from_slice(text).ok())?
}

/// Neither written whole nor never written.
fn is_damaged(bytes: &[u8]) -> bool {
    read(bytes).is_none() && bytes.iter().any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(scope: StopScope) -> Stop {
        Stop {
            scope,
            reason: "halt".to_owned(),
            by: "person:eve".to_owned(),
            at: Reach::Everywhere,
        }
    }

    fn found(directory: &Path) -> Vec<String> {
        let reserve = Reserve::open(directory).unwrap();
        reserve
            .waiting()
            .iter()
            .map(|stop| stop.scope.to_string())
            .collect()
    }

    #[test]
    fn what_is_kept_is_found_and_what_is_forgotten_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::open(directory.path()).unwrap();
        assert!(found(directory.path()).is_empty());
        assert!(reserve.keep(stop(StopScope::All)));
        assert!(reserve.keep(stop(StopScope::Agent("a".to_owned()))));
        assert!(reserve.keep(stop(StopScope::Session("ses-1".to_owned()))));
        assert!(reserve.keep(stop(StopScope::All)));
        assert_eq!(found(directory.path()), ["agent:a", "session:ses-1", "all"]);
        assert!(reserve.forget(&StopScope::Agent("a".to_owned())));
        assert!(reserve.forget(&StopScope::Agent("b".to_owned())));
        assert_eq!(found(directory.path()), ["session:ses-1", "all"]);
        // Of one scope everybody who raised it, until it is lifted.
        let bob = Stop {
            by: "person:bob".to_owned(),
            ..stop(StopScope::All)
        };
        assert!(reserve.keep(bob.clone()));
        assert_eq!(found(directory.path()), ["session:ses-1", "all", "all"]);
        assert!(reserve.forget_recorded(&stop(StopScope::All)));
        assert_eq!(Reserve::open(directory.path()).unwrap().waiting()[1..], [bob]);
        assert!(reserve.keep(stop(StopScope::All)) && reserve.forget(&StopScope::All));
        assert_eq!(found(directory.path()), ["session:ses-1"]);
    }

    #[test]
    fn a_torn_slot_leaves_the_other_and_stops_everything() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::open(directory.path()).unwrap();
        reserve.keep(stop(StopScope::Agent("first".to_owned())));
        reserve.keep(stop(StopScope::Agent("second".to_owned())));
        let path = directory.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        // The second write went to slot 0; any part of it may be missing.
        for torn in [0, 1, HASH, HASH + 7, SLOT - 1] {
            let mut bytes = whole.clone();
            bytes[torn] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(found(directory.path()), ["agent:first", "all"], "byte {torn}");
        }
        let mut neither = whole.clone();
        (neither[0], neither[SLOT]) = (!whole[0], !whole[SLOT]);
        let longer = [whole.clone(), vec![0]].concat();
        for (name, bytes) in [
            ("neither", neither),
            ("short", whole[..SLOT].to_vec()),
            ("long", longer),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(found(directory.path()), ["all"], "{name}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * SLOT as u64);
            // Once it was lifted it is not found again.
            assert!(Reserve::open(directory.path()).unwrap().forget(&StopScope::All));
            assert!(found(directory.path()).is_empty(), "{name}");
        }
        // Nothing was ever in an empty file.
        std::fs::write(&path, b"").unwrap();
        assert!(found(directory.path()).is_empty());
    }

    /// The file is a format: what one version keeps, another one finds. Before areas, tools, capabilities
    /// and the network could be stopped, it was the same.
    #[test]
    fn a_slot_is_this_text_behind_its_hash() {
        let scopes = [
            "all",
            "network",
            "org:acme",
            "team:acme/sre",
            "project:acme/sre/ops",
            "tool:git.*",
            "capability:git.log:repository/shop",
            "agent:a",
            "session:ses-1",
        ];
        let stops: Vec<Stop> = scopes.map(|text| stop(StopScope::parse(text).unwrap())).to_vec();
        let bytes = slot(7, &stops).unwrap();
        let text = std::str::from_utf8(&bytes[HASH..]).unwrap();
        assert_eq!(bytes.len(), SLOT);
        let expected = concat!(
            r#"{"number":7,"stops":["#,
            r#"{"scope":"all","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"network","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"org:acme","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"team:acme/sre","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"project:acme/sre/ops","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"tool:git.*","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"capability:git.log:repository/shop","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"agent:a","reason":"halt","by":"person:eve"},"#,
            r#"{"scope":"session:ses-1","reason":"halt","by":"person:eve"}]}"#,
        );
        assert_eq!(text.trim_end_matches(' '), expected);
        assert_eq!(&bytes[..HASH], Sha256::digest(text).as_slice());

        let directory = tempfile::tempdir().unwrap();
        drop(Reserve::open(directory.path()).unwrap());
        let path = directory.path().join(NAME);
        let mut file = std::fs::read(&path).unwrap();
        file[..SLOT].copy_from_slice(&bytes);
        std::fs::write(&path, &file).unwrap();
        assert_eq!(found(directory.path()), scopes);
    }

    #[test]
    fn what_cannot_be_understood_stops_everything() {
        let kept = Kept {
            scope: "galaxy:7".to_owned(),
            reason: "halt".to_owned(),
            by: "person:eve".to_owned(),
            at: None,
        };
        assert_eq!(kept.stop(), stop(StopScope::All));
    }
}
