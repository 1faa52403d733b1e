//! Opening a data directory: the lock, the keys, the checks of a start, the writer's thread.

use crate::copier::Copier;
use crate::digest::DigestKey;
use crate::engine::{Checks, Engine};
use crate::shared::Shared;
use crate::store::{Health, Options};
use crate::writer::Writer;
use crate::{StoreError, replace, schema, signing};
use rusqlite::Connection;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the lock of a directory is tried.
const LOCK_TRIES: u32 = 40;
/// How long between two tries: a second in all.
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(25);

/// Name of the file that is locked while a process writes.
const LOCK: &str = "lock";

/// What a writing store consists of.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) orders: Sender<crate::writer::Order>,
    pub(crate) thread: JoinHandle<()>,
}

/// Opens for writing. What does not verify is opened all the same, as corrupt: it can be read and
/// exported, not written.
pub(crate) fn open(mut options: Options) -> Result<Opened, StoreError> {
    refuse_duplicate_projections(&options)?;
    make_directory(&options.directory)?;
    let lock = take_lock(&options.directory)?;
    if let Err(error) = schema::remove_scratch(&options.directory) {
        tracing::warn!(%error, "what a verification left cannot be removed");
    }
    let database = options.directory.join(schema::DATABASE);
    let connection = schema::open_writer(&database, options.vfs.as_deref(), options.synchronous)?;
    let Some(organization) = options.keys.organization.take() else {
        return Err(StoreError::Refused(
            "the journal cannot be written without the organization's key".to_owned(),
        ));
    };
    let organization = replace::choose(&connection, organization, options.keys.directory.as_deref(), true)?;
    let digest_key = DigestKey::new(&replace::bind(&connection, &options.origin, &organization)?);
    let reader = schema::open_reader(&database, options.vfs.as_deref())?;
    // Reads once, so that the connection takes part in the write-ahead log's index from now on.
    crate::query::size(&reader)?;
    let shared = Arc::new(Shared::new(
        options,
        Some(organization),
        Some(digest_key),
        false,
        reader,
    ));
    let engine = match load(&shared, connection) {
        Ok(engine) => {
            signing::empty_wal(&engine.connection);
            shared.committed.send_replace(engine.head.frontier.size());
            Some(engine)
        }
        Err(StoreError::Corrupt { finding }) => {
            tracing::error!(%finding, "the journal does not verify");
            shared.set_health(Health::Corrupt(finding));
            shared
                .committed
                .send_replace(shared.with_reader(crate::query::size)?);
            None
        }
        Err(error) => return Err(error),
    };
    if engine.as_ref().is_some_and(|engine| engine.has_large(&shared)) {
        shared.comparing.store(true, Ordering::SeqCst);
    }
    let (orders, receiver) = channel();
    let thread = spawn(shared.clone(), receiver, engine, lock)?;
    Ok(Opened {
        shared,
        orders,
        thread,
    })
}

fn load(shared: &Shared, connection: Connection) -> Result<Engine, StoreError> {
    let mut engine =
        Engine::load(shared, connection, Checks::Opening)?.map_err(|finding| StoreError::Corrupt {
            finding: finding.to_string(),
        })?;
    engine.reconcile(shared)?;
    Ok(engine)
}

/// Opens for reading only.
pub(crate) fn open_read_only(mut options: Options) -> Result<Arc<Shared>, StoreError> {
    refuse_duplicate_projections(&options)?;
    let database = options.directory.join(schema::DATABASE);
    if options.vfs.is_none() && !database.exists() {
        return Err(StoreError::Refused(format!(
            "there is no journal in `{}`",
            options.directory.display()
        )));
    }
    let reader = schema::open_foreign(&database, options.vfs.as_deref())?;
    let (organization, digest_key) = match options.keys.organization.take() {
        Some(given) => {
            let key = replace::choose(&reader, given, options.keys.directory.as_deref(), false)?;
            let digest_key = replace::read_digest_key(&reader, &options.origin, &key)?;
            (Some(key), Some(DigestKey::new(&digest_key)))
        }
        None => (None, None),
    };
    let shared = Shared::new(options, organization, digest_key, true, reader);
    shared
        .committed
        .send_replace(shared.with_reader(crate::query::size)?);
    Ok(Arc::new(shared))
}

fn spawn(
    shared: Arc<Shared>,
    orders: Receiver<crate::writer::Order>,
    engine: Option<Engine>,
    lock: File,
) -> Result<JoinHandle<()>, StoreError> {
    let writer = Writer {
        copier: Copier::start(&shared),
        shared,
        orders,
        engine,
        soon: Default::default(),
        lock: Some(lock),
        tried: Duration::ZERO,
    };
    std::thread::Builder::new()
        .name("journal-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|e| StoreError::Unavailable {
            reason: format!("no thread for the writer: {e}"),
        })
}

fn refuse_duplicate_projections(options: &Options) -> Result<(), StoreError> {
    let mut names: Vec<&str> = options.projections.iter().map(|p| p.name()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => Err(StoreError::Refused(format!(
            "two projections are named `{}`",
            pair.first().copied().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

fn make_directory(directory: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| StoreError::Unavailable {
            reason: format!("`{}` cannot be made: {e}", directory.display()),
        })
}

fn take_lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK);
    let unavailable = |e: std::io::Error| StoreError::Unavailable {
        reason: format!("`{}`: {e}", path.display()),
    };
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(unavailable)?;
    // Whoever is just ending lets go in a moment: the last outcomes are handed to a thread that nobody waits for.
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(std::fs::TryLockError::Error(e)) => return Err(unavailable(e)),
        }
    }
    Err(StoreError::InUse {
        path: directory.display().to_string(),
    })
}
