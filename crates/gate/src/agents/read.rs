//! Reading the rows of identities, within a commit and outside of one.

use super::key::written;
use super::projection::{Forgotten, GENERATION, Generation, KEY};
use super::{AGENTS, AgentRow, PersonRow};
use crate::rows::decode;
use policy::did_key;
use store::{Reader, StoreError, Tx};

/// Rows read at a time.
const READ_AT_ONCE: usize = 512;
/// What keys of rows of agents begin with.
const AGENT: &str = "agent/";

/// The row of an agent, as of now in this transaction.
pub(crate) fn agent_row(tx: &Tx<'_>, name: &str) -> Result<Option<AgentRow>, StoreError> {
    tx.row(AGENTS, &format!("agent/{name}"))?.map(decode).transpose()
}

/// The agent whose key this is or was, configured or not: by its first one, which names it for ever, by those that are
/// remembered, and by those that were remembered once.
pub(crate) fn of_key(tx: &Tx<'_>, public: &[u8; 32]) -> Result<Option<String>, StoreError> {
    let first = tx.find(AGENTS, "did", &did_key(public))?.into_iter().next();
    let first: Option<AgentRow> = first.map(|row| decode(row.value)).transpose()?;
    if let Some(row) = first {
        return Ok(Some(row.name));
    }
    let text = written(public);
    if let Some(row) = tx.row(AGENTS, &format!("{KEY}{text}"))? {
        return Ok(Some(decode::<Forgotten>(row)?.agent));
    }
    let mut after = AGENT.to_owned();
    loop {
        let rows = tx.rows(AGENTS, Some(&after), READ_AT_ONCE)?;
        let Some(last) = rows.last() else { return Ok(None) };
        after = last.key.clone();
        for row in rows {
            if !row.key.starts_with(AGENT) {
                return Ok(None);
            }
            let row: AgentRow = decode(row.value)?;
            if row.keys.iter().any(|held| held.public_key == text) {
                return Ok(Some(row.name));
            }
        }
    }
}

pub(crate) fn read_agent(reader: &Reader<'_>, name: &str) -> Result<Option<AgentRow>, StoreError> {
    reader
        .row(AGENTS, &format!("agent/{name}"))?
        .map(decode)
        .transpose()
}

/// The row of a person, as of now in this transaction.
pub(crate) fn person_row(tx: &Tx<'_>, name: &str) -> Result<Option<PersonRow>, StoreError> {
    tx.row(AGENTS, &format!("person/{name}"))?.map(decode).transpose()
}

pub(crate) fn read_person(reader: &Reader<'_>, name: &str) -> Result<Option<PersonRow>, StoreError> {
    reader
        .row(AGENTS, &format!("person/{name}"))?
        .map(decode)
        .transpose()
}

/// How many entries the fold has taken; compared in every commit.
pub(crate) fn generation(reader: &Reader<'_>) -> Result<u64, StoreError> {
    count(reader.row(AGENTS, GENERATION)?)
}

/// The same, as of now in this transaction.
pub(crate) fn generation_now(tx: &Tx<'_>) -> Result<u64, StoreError> {
    count(tx.row(AGENTS, GENERATION)?)
}

fn count(row: Option<serde_json::Value>) -> Result<u64, StoreError> {
    row.map_or(Ok(0), |row| Ok(decode::<Generation>(row)?.generation))
}

/// Every row whose key begins with `prefix`.
pub(crate) fn all<T: serde::de::DeserializeOwned>(
    reader: &Reader<'_>,
    prefix: &str,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    each(reader, prefix, |row| found.push(row))?;
    Ok(found)
}

/// Gives every row whose key begins with `prefix`, in order of key.
pub(crate) fn each<T: serde::de::DeserializeOwned>(
    reader: &Reader<'_>,
    prefix: &str,
    mut give: impl FnMut(T),
) -> Result<(), StoreError> {
    let mut after = prefix.to_owned();
    loop {
        let rows = reader.rows(AGENTS, Some(&after), READ_AT_ONCE)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.key.clone();
        for row in rows {
            if !row.key.starts_with(prefix) {
                return Ok(());
            }
            give(decode(row.value)?);
        }
    }
}
