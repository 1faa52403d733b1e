//! Why the store did not do what it was asked.

use rusqlite::ErrorCode;

/// Errors of reading and writing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// Nothing was acknowledged, and nothing can be for now: full disk, read-only file system, failed
    /// fsync. The caller may try again later. What was asked for may nevertheless have become durable
    /// (a commit whose fsync failed, a machine that lost power): it is unknown, and the journal tells
    /// once it was opened again.
    #[error("the journal cannot be written: {reason}")]
    Unavailable {
        /// What the system said.
        reason: String,
    },
    /// Another process has the data directory.
    #[error("`{path}` is in use by another process")]
    InUse {
        /// The data directory.
        path: String,
    },
    /// What is stored is not what was written. Acting has stopped.
    #[error("the journal does not verify: {finding}")]
    Corrupt {
        /// What was found, with the entry.
        finding: String,
    },
    /// The caller's closure refused; nothing of it was written.
    #[error("{0}")]
    Refused(String),
    /// The store was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Every error of SQLite is the medium's fault or an alteration, never the caller's: statements are fixed.
/// So a value that is not of its type, or a table that is not there, was put or taken by somebody else:
/// no waiting mends it.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        if is_alteration(&error) {
            return StoreError::Corrupt {
                finding: format!("the database was altered: {error}"),
            };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
                finding: format!("the database file is damaged: {error}"),
            },
            _ => StoreError::Unavailable {
                reason: error.to_string(),
            },
        }
    }
}

/// Whether no fault of the medium explains it.
fn is_alteration(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows, Utf8Error,
    };
    match error {
        FromSqlConversionFailure(..)
        | IntegralValueOutOfRange(..)
        | InvalidColumnType(..)
        | QueryReturnedNoRows
        | Utf8Error(..) => true,
        other => {
            let text = other.to_string();
            ["no such table", "no such column", "vtable constructor failed"]
                .iter()
                .any(|start| text.starts_with(start))
        }
    }
}
