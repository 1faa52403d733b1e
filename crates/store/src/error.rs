//! Why the store did not do what it was asked.

/// Errors of reading and writing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written, and nothing can be for now: full disk, read-only file system, failed fsync.
    /// The caller may try again later.
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
