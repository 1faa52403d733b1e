//! Secrets, lent for an effect in flight and never printed.

use policy::InFlight;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret in memory: no `Clone`, no `Display`, no `Serialize`; `Debug` prints `***`; zeroised.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps bytes.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }
    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is: `secretRef: {file: /run/secrets/hook}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum SecretRef {
    /// A file that only its owner can read; a final newline is not part of it. At most 64 KiB.
    File(std::path::PathBuf),
}

/// Why nothing was lent.
#[derive(Debug, thiserror::Error)]
pub enum LendError {
    /// The file cannot be read.
    #[error("secret file `{path}`: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("secret file `{path}` can be read by others; set its mode to 0600")]
    Exposed {
        /// Which file.
        path: String,
    },
    /// Empty or too large.
    #[error("secret file `{path}` is empty or larger than 64 KiB")]
    Size {
        /// Which file.
        path: String,
    },
}

/// Lends the secret for `flight`.
pub fn lend(flight: &InFlight, reference: &SecretRef) -> Result<Secret, LendError> {
    let _ = (flight, reference);
    todo!()
}
