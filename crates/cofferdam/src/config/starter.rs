//! `cofferdam init`: the commented configuration that works as it is.

use std::io::Write as _;
use std::path::Path;

/// The starter configuration, as `cofferdam init` writes it.
pub const STARTER: &str = include_str!("starter.yaml");

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It is never overwritten.
    #[error("`{0}` exists; move it away or name another file")]
    Exists(String),
    /// The system said no.
    #[error("cannot write `{path}`")]
    Unwritable {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Writes the starter configuration to `path`; refuses to overwrite.
///
/// # Errors
/// The file exists or cannot be written.
pub fn init(path: &Path) -> Result<(), InitError> {
    let shown = path.display().to_string();
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(STARTER.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => InitError::Exists(shown),
        _ => InitError::Unwritable { path: shown, source },
    })
}
