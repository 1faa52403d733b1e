//! The organization's keys: one wraps payload keys, one signs checkpoints. They lie beside the data
//! directory, not in it, so that a copied data directory is neither readable nor forgeable.

use std::path::Path;

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Reading or writing failed.
    #[error("key file `{path}`: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("key file `{path}` can be read by others; set its mode to 0600")]
    Exposed {
        /// Which file.
        path: String,
    },
    /// Not 32 bytes.
    #[error("key file `{path}` does not hold a key")]
    Malformed {
        /// Which file.
        path: String,
    },
}

/// Keys in memory. Not printed, not cloned, zeroised when dropped.
pub struct Keys {
    _private: (),
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// Reads `organization.key` and `log.key` below `directory`, making what is missing (0700, 0600).
    pub fn open_or_create(directory: &Path, origin: &str) -> Result<Keys, KeysError> {
        let _ = (directory, origin);
        todo!()
    }
    /// The key that verifies this log's checkpoints.
    pub fn verifier(&self) -> journal::note::Verifier {
        todo!()
    }
}
