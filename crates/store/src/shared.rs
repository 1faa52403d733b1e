//! What the writer's thread and all readers share: names, keys, projections, health.

use crate::clock::SharedClock;
use crate::digest::DigestKey;
use crate::kept::{Known, Latest};
use crate::seal::OrganizationKey;
use crate::store::Health;
use crate::{Projection, StoreError, schema};
use journal::note::{Signer, Verifier};
use rusqlite::Connection;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Idle connections kept for readers. One of them always stays open: it keeps the write-ahead log's
/// index alive while the writer opens again, so that frames of a failed commit stay outside it and
/// are written over, instead of being taken for committed although they may not be on disk.
const READERS_MAX: usize = 4;

pub(crate) struct Shared {
    pub(crate) origin: String,
    pub(crate) directory: PathBuf,
    pub(crate) vfs: Option<String>,
    pub(crate) synchronous: &'static str,
    pub(crate) signer: Option<Signer>,
    pub(crate) verifier: Verifier,
    pub(crate) organization: RwLock<Option<OrganizationKey>>,
    pub(crate) keys_directory: Option<PathBuf>,
    /// `None` when only verifying without the organization's key.
    pub(crate) digest_key: Option<DigestKey>,
    /// In order of name.
    pub(crate) projections: Vec<Arc<dyn Projection>>,
    pub(crate) clock: SharedClock,
    pub(crate) checkpoints: Option<PathBuf>,
    pub(crate) foreign: bool,
    pub(crate) health: Mutex<Health>,
    /// The writer's thread compares what opening left out; what is written waits for it.
    pub(crate) comparing: AtomicBool,
    pub(crate) committed: tokio::sync::watch::Sender<u64>,
    pub(crate) changes: Changes,
    latest: Mutex<Latest>,
    readers: Mutex<Option<Vec<Connection>>>,
}

/// When each projection changed last, counted in commits of this process: so that what was read of one can
/// be known to be what it still is, without reading it again.
#[derive(Debug)]
pub(crate) struct Changes {
    commits: AtomicU64,
    /// In the order of the projections.
    last: Vec<AtomicU64>,
}

impl Changes {
    fn of(projections: usize) -> Changes {
        Changes {
            commits: AtomicU64::new(0),
            last: (0..projections).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Taken before a snapshot is: it shows every change up to here.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.commits.load(Ordering::SeqCst))
    }

    /// These changed in a commit that every snapshot from now on shows; before anybody is told of it.
    /// INVARIANT (no moment too late): the projections say so before the count of commits does.
    pub(crate) fn told(&self, changed: &[bool]) {
        let next = self.commits.load(Ordering::SeqCst) + 1;
        for (last, _) in self.last.iter().zip(changed).filter(|(_, changed)| **changed) {
            last.store(next, Ordering::SeqCst);
        }
        self.commits.store(next, Ordering::SeqCst);
    }

    /// Whether the projection of this number changed after `moment`, or may have.
    pub(crate) fn since(&self, projection: usize, moment: Moment) -> bool {
        let last = self.last.get(projection);
        last.is_none_or(|last| last.load(Ordering::SeqCst) > moment.0)
    }
}

/// A point in the order of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Shared {
    /// Everything but the readers comes from outside.
    pub(crate) fn new(
        options: crate::Options,
        organization: Option<OrganizationKey>,
        digest_key: Option<DigestKey>,
        foreign: bool,
        reader: Connection,
    ) -> Shared {
        let mut projections = options.projections;
        projections.sort_by_key(|p| p.name());
        let changes = Changes::of(projections.len());
        Shared {
            origin: options.origin,
            directory: options.directory,
            vfs: options.vfs,
            synchronous: options.synchronous,
            verifier: options.keys.verifier(),
            signer: options.keys.signer,
            keys_directory: options.keys.directory,
            organization: RwLock::new(organization),
            digest_key,
            projections,
            clock: options.clock,
            checkpoints: options.checkpoints,
            foreign,
            health: Mutex::new(Health::Ready),
            comparing: AtomicBool::new(false),
            changes,
            latest: Mutex::default(),
            committed: tokio::sync::watch::Sender::new(0),
            readers: Mutex::new(Some(vec![reader])),
        }
    }

    /// The number of a projection.
    pub(crate) fn number_of(&self, projection: &str) -> Option<usize> {
        self.projections
            .binary_search_by_key(&projection, |p| p.name())
            .ok()
    }

    /// These projections changed in a commit, see [`Changes::told`], and in them these rows; `None`: nobody knows which.
    pub(crate) fn told(&self, changed: &[bool], rows: Option<Vec<(usize, String, Option<Known>)>>) {
        // INVARIANT (no row too late): whoever puts a row there looks under this lock whether it changed since.
        let mut latest = lock(&self.latest);
        match rows {
            Some(rows) => latest.follow(rows),
            None => latest.clear(),
        }
        self.changes.told(changed);
    }

    pub(crate) fn forget_latest(&self) {
        lock(&self.latest).clear();
    }

    /// A row as the last commit left it, if that is known.
    pub(crate) fn latest(&self, projection: usize, key: &str) -> Option<Option<Arc<Value>>> {
        lock(&self.latest).get(projection, key)
    }

    /// A row was read in a snapshot that was taken after `moment`.
    pub(crate) fn was_read(
        &self,
        projection: usize,
        key: &str,
        row: (Option<Arc<Value>>, usize),
        moment: Moment,
    ) {
        let mut latest = lock(&self.latest);
        // Another process may write to what is not ours.
        if !self.foreign && !self.changes.since(projection, moment) {
            latest.put(projection, key, row.0, row.1);
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.join(schema::DATABASE)
    }

    pub(crate) fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    /// Corrupt stays corrupt.
    pub(crate) fn set_health(&self, health: Health) {
        let mut present = lock(&self.health);
        if !matches!(*present, Health::Corrupt(_)) {
            *present = health;
        }
    }

    /// Needs the organization's key.
    pub(crate) fn with_organization_key<T>(
        &self,
        f: impl FnOnce(&OrganizationKey) -> T,
    ) -> Result<T, StoreError> {
        let key = self.organization.read().unwrap_or_else(PoisonError::into_inner);
        key.as_ref().map(f).ok_or_else(|| {
            StoreError::Refused("payloads cannot be read without the organization's key".to_owned())
        })
    }

    /// Needs the key of the digests.
    pub(crate) fn digest_key(&self) -> Result<&DigestKey, StoreError> {
        self.digest_key.as_ref().ok_or_else(|| {
            StoreError::Refused("projections cannot be digested without the organization's key".to_owned())
        })
    }

    /// Lends a connection for reading. It comes back unless reading failed.
    pub(crate) fn with_reader<T>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = match lock(&self.readers).as_mut() {
            None => return Err(StoreError::Closed),
            // The last one stays where it is.
            Some(idle) if idle.len() > 1 => idle.pop(),
            Some(_) => None,
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.open_reader()?,
        };
        connection.execute_batch("BEGIN DEFERRED")?;
        let result = f(&connection);
        let ended = connection.execute_batch("COMMIT");
        let keep = ended.is_ok()
            && !matches!(
                result,
                Err(StoreError::Unavailable { .. } | StoreError::Corrupt { .. })
            );
        if let (true, Some(idle)) = (keep, lock(&self.readers).as_mut())
            && idle.len() < READERS_MAX
        {
            idle.push(connection);
        }
        result
    }

    /// A reader of its own, for long reads.
    pub(crate) fn open_reader(&self) -> Result<Connection, StoreError> {
        match self.foreign {
            true => schema::open_foreign(&self.database(), self.vfs.as_deref()),
            false => schema::open_reader(&self.database(), self.vfs.as_deref()),
        }
    }

    /// No reading from here on.
    pub(crate) fn close_readers(&self) {
        lock(&self.readers).take();
    }
}

/// A poisoned lock still guards whole values here: every guarded value is replaced at once.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
