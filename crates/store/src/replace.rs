//! Replacing the organization's key: every payload's key is wrapped anew, the payloads stay as they are.
//!
//! Safe against a crash at any point: the new key lies beside the old one before the journal takes it,
//! the journal says which of the two it was wrapped with, and the old one goes last.

use crate::engine::Engine;
use crate::keys;
use crate::seal::{self, OrganizationKey, SecretKey};
use crate::shared::Shared;
use crate::{NewEntry, StoreError};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;
use std::sync::PoisonError;

/// Names in the table `meta`.
const ORIGIN: &str = "origin";
const ORGANIZATION_ID: &str = "organization";
const DIGEST_KEY: &str = "digest_key";

/// The organization's key was replaced.
pub(crate) const LOG_REKEYED: &str = "log.rekeyed";

/// How many payloads are wrapped anew before the next are read.
const CHUNK: usize = 1_000;

/// Wraps every payload's key anew with a new key of the organization; returns how many.
pub(crate) fn replace(engine: &mut Engine, shared: &Shared) -> Result<u64, StoreError> {
    let refused = |error: keys::KeysError| {
        StoreError::Refused(format!("the organization's key was not replaced: {error}"))
    };
    let Some(directory) = &shared.keys_directory else {
        return Err(StoreError::Refused(
            "the organization's key has no directory to be replaced in".to_owned(),
        ));
    };
    let new = shared
        .with_organization_key(|in_force| keys::begin_replacement(directory, in_force))?
        .map_err(refused)?;
    let mut batch = engine.begin(shared)?;
    let connection = batch.connection();
    let rewrapped = shared.with_organization_key(|old| rewrap(connection, shared, old, &new))??;
    batch.append_own(NewEntry::new(
        LOG_REKEYED,
        crate::engine::SELF,
        json!({"key": new.id(), "payloads": rewrapped}),
    ))?;
    batch.wipe_log();
    batch.commit()?;
    *shared
        .organization
        .write()
        .unwrap_or_else(PoisonError::into_inner) = Some(new);
    keys::finish_replacement(directory).map_err(refused)?;
    Ok(rewrapped)
}

/// Binds a database to its log and keys, or checks that it is bound to these. Returns the digest key.
pub(crate) fn bind(
    connection: &Connection,
    origin: &str,
    organization: &OrganizationKey,
) -> Result<SecretKey, StoreError> {
    match meta(connection, ORIGIN)? {
        Some(stored) if stored == origin.as_bytes() => read_digest_key(connection, origin, organization),
        Some(stored) => {
            let stored = String::from_utf8_lossy(&stored).into_owned();
            Err(StoreError::Refused(format!(
                "the data directory holds the log `{stored}`, not `{origin}`"
            )))
        }
        None => {
            let unsealable = |_| StoreError::Unavailable {
                reason: "no randomness for keys".to_owned(),
            };
            let key = seal::random().map_err(unsealable)?;
            let wrapped = organization
                .wrap(&digest_key_place(origin), &key)
                .map_err(unsealable)?;
            let transaction = connection.unchecked_transaction()?;
            set_meta(&transaction, DIGEST_KEY, &wrapped)?;
            set_meta(&transaction, ORGANIZATION_ID, organization.id().as_bytes())?;
            set_meta(&transaction, ORIGIN, origin.as_bytes())?;
            transaction.commit()?;
            Ok(key)
        }
    }
}

/// The digest key of a database that is bound already.
pub(crate) fn read_digest_key(
    connection: &Connection,
    origin: &str,
    organization: &OrganizationKey,
) -> Result<SecretKey, StoreError> {
    let wrapped = meta(connection, DIGEST_KEY)?.ok_or_else(|| StoreError::Corrupt {
        finding: "the key of the digests is missing".to_owned(),
    })?;
    organization
        .unwrap(&digest_key_place(origin), &wrapped)
        .map_err(|_| {
            StoreError::Refused(
                "`organization.key` is not the key of this journal; put the right one back".to_owned(),
            )
        })
}

/// The key that the database was wrapped with: the given one, or its interrupted replacement, whose
/// replacing is then finished.
pub(crate) fn choose(
    connection: &Connection,
    given: OrganizationKey,
    directory: Option<&std::path::Path>,
    may_finish: bool,
) -> Result<OrganizationKey, StoreError> {
    let stored = meta(connection, ORGANIZATION_ID)?;
    let is_stored = |key: &OrganizationKey| stored.as_ref().is_none_or(|id| id == key.id().as_bytes());
    if is_stored(&given) {
        return Ok(given);
    }
    match directory.and_then(|directory| Some((directory, keys::read_next(directory)?))) {
        Some((directory, next)) if is_stored(&next) => {
            if may_finish {
                keys::finish_replacement(directory).map_err(|e| StoreError::Refused(e.to_string()))?;
            }
            Ok(next)
        }
        _ => Ok(given),
    }
}

/// After opening again: a replacement whose commit failed may have become durable nevertheless.
pub(crate) fn settle(connection: &Connection, shared: &Shared) -> Result<(), StoreError> {
    let mut organization = shared
        .organization
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(given) = organization.take() {
        *organization = Some(choose(
            connection,
            given,
            shared.keys_directory.as_deref(),
            !shared.foreign,
        )?);
    }
    Ok(())
}

fn rewrap(
    connection: &Connection,
    shared: &Shared,
    old: &OrganizationKey,
    new: &OrganizationKey,
) -> Result<u64, StoreError> {
    let unsealable = |_| StoreError::Unavailable {
        reason: "no randomness for keys".to_owned(),
    };
    let (mut after, mut count) = (0_i64, 0_u64);
    loop {
        let chunk: Vec<(i64, u64, String, Vec<u8>)> = connection
            .prepare_cached(
                "SELECT rowid, seq, name, wrapped_key FROM payloads
                 WHERE rowid > ?1 AND wrapped_key IS NOT NULL ORDER BY rowid LIMIT ?2",
            )?
            .query_map((after, CHUNK), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<Result<_, _>>()?;
        let Some((last, ..)) = chunk.last() else { break };
        after = *last;
        for (id, sequence, name, wrapped) in &chunk {
            let place = seal::place(&shared.origin, *sequence, name);
            let key = old.unwrap(&place, wrapped).map_err(|_| StoreError::Corrupt {
                finding: format!("the key of payload `{name}` of entry {sequence} does not unwrap"),
            })?;
            let wrapped = new.wrap(&place, &key).map_err(unsealable)?;
            connection
                .prepare_cached("UPDATE payloads SET wrapped_key = ?2 WHERE rowid = ?1")?
                .execute((id, wrapped))?;
            count = count.saturating_add(1);
        }
    }
    let digest_key = read_digest_key(connection, &shared.origin, old)?;
    let wrapped = new
        .wrap(&digest_key_place(&shared.origin), &digest_key)
        .map_err(unsealable)?;
    set_meta(connection, DIGEST_KEY, &wrapped)?;
    set_meta(connection, ORGANIZATION_ID, new.id().as_bytes())?;
    Ok(count)
}

fn digest_key_place(origin: &str) -> Vec<u8> {
    // No payload can stand there: sequences end long before.
    seal::place(origin, u64::MAX, DIGEST_KEY)
}

fn meta(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()?)
}

fn set_meta(connection: &Connection, name: &str, value: &[u8]) -> Result<(), StoreError> {
    connection.execute(
        "INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)",
        (name, value),
    )?;
    Ok(())
}
