//! Secrets, lent for an effect in flight and never printed.
//!
//! Invariants:
//! - **Nothing is lent without a flight**: [`lend`] borrows an [`InFlight`], which only a spent permit
//!   gives, and refuses one that a stop has cancelled.
//! - **Nothing is printed**: a [`Secret`] has no `Display`, no `Serialize`, no `Clone`; errors name the
//!   place of a secret, never its content.

use policy::InFlight;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

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
    #[error("cannot read secret file `{path}`")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("secret file `{path}` is not a regular file")]
    NotAFile {
        /// Which file.
        path: String,
    },
    /// One of the platform's own files, which whoever writes documents names no destination for.
    #[error("secret file `{path}` is one of the platform's own, and is sent to nobody")]
    Private {
        /// Which file.
        path: String,
    },
    /// A stop covers the flight that it was asked for.
    #[error("the action that needs the secret was stopped")]
    Stopped,
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

/// Lends the secret for `flight`; none that is, or lies below, one of `private`.
pub fn lend(flight: &InFlight, reference: &SecretRef, private: &[PathBuf]) -> Result<Secret, LendError> {
    if flight.cancel().is_cancelled() {
        return Err(LendError::Stopped);
    }
    outside(reference, private)
}

/// What the platform itself proves who it is with, to whoever tells it who people are: no agent's action, so there
/// is no flight. Called in one place (`tidy`).
pub fn own(reference: &SecretRef, private: &[PathBuf]) -> Result<Secret, LendError> {
    outside(reference, private)
}

/// INVARIANT (its own stays its own): whoever writes documents names the file and whom it is sent to, or what is signed
/// with it, so nothing of `private`, files and directories, is read. What is compared is what is opened: no link stands
/// in the path any more.
fn outside(reference: &SecretRef, private: &[PathBuf]) -> Result<Secret, LendError> {
    let SecretRef::File(path) = reference;
    let name = || path.display().to_string();
    let unreadable = |source| LendError::Unreadable { path: name(), source };
    let real = std::fs::canonicalize(path).map_err(unreadable)?;
    for own in private {
        match std::fs::canonicalize(own) {
            Ok(own) if real.starts_with(&own) => return Err(LendError::Private { path: name() }),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // Nobody can say what is in it.
            Err(source) => return Err(unreadable(source)),
        }
    }
    read(&real)
}

fn read(path: &Path) -> Result<Secret, LendError> {
    let name = || path.display().to_string();
    let unreadable = |source| LendError::Unreadable { path: name(), source };
    // Looked at before it is opened, because opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(LendError::NotAFile { path: name() });
    }
    let file = File::open(path).map_err(unreadable)?;
    // Of the open file, so that the one that is checked is the one that is read.
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(LendError::Exposed { path: name() });
    }
    // Room for one byte too many, so that the buffer never grows and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    file.take(SECRET_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let size = bytes
        .strip_suffix(b"\n")
        .map_or(bytes.len(), |text| text.strip_suffix(b"\r").unwrap_or(text).len());
    if size == 0 || bytes.len() > SECRET_BYTES_MAX {
        return Err(LendError::Size { path: name() });
    }
    bytes.truncate(size);
    Ok(Secret(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_lent_and_what_is_refused() {
        let large = "x".repeat(SECRET_BYTES_MAX);
        #[rustfmt::skip]
        let table: &[(&str, u32, &str, &str)] = &[
            // what the row shows    mode   content           lent, or why not
            ("owner only",           0o600, "s3cret",         "s3cret"),
            ("owner reads only",     0o400, "s3cret",         "s3cret"),
            ("a final newline",      0o600, "s3cret\n",       "s3cret"),
            ("one of another kind",  0o600, "s3cret\r\n",     "s3cret"),
            ("only the final one",   0o600, "a\nb\n\n",       "a\nb\n"),
            ("the group reads",      0o640, "s3cret",         "secret file `F` can be read by others; set its mode to 0600"),
            ("everybody reads",      0o604, "s3cret",         "secret file `F` can be read by others; set its mode to 0600"),
            ("the group writes",     0o620, "s3cret",         "secret file `F` can be read by others; set its mode to 0600"),
            ("empty",                0o600, "",               "secret file `F` is empty or larger than 64 KiB"),
            ("empty but a newline",  0o600, "\n",             "secret file `F` is empty or larger than 64 KiB"),
            ("as large as allowed",  0o600, &large,           &large),
            ("larger",               0o600, &format!("{large}x"), "secret file `F` is empty or larger than 64 KiB"),
        ];
        let directory = tempfile::tempdir().unwrap();
        for (name, mode, content, expected) in table {
            let path = directory.path().join("secret");
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
            let got = match read(&path) {
                Ok(secret) => String::from_utf8(secret.expose().to_vec()).unwrap(),
                Err(error) => error.to_string().replace(path.to_str().unwrap(), "F"),
            };
            assert_eq!(&got, expected, "{name}");
        }
    }

    #[test]
    fn what_is_the_platforms_own_is_sent_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["data", "data-keys/agents", "data-beside"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let put = |name: &str| {
            std::fs::write(at(name), "s3cret").unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        [
            "data/admin.token",
            "data-keys/agents/a.key",
            "data-beside/one",
            "data-beside/tls.key",
        ]
        .into_iter()
        .for_each(put);
        std::os::unix::fs::symlink(at("data/admin.token"), at("data-beside/link")).unwrap();
        std::os::unix::fs::symlink(at("data-keys"), at("data-beside/keys")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("other")).unwrap();
        let private = "secret file `F` is one of the platform's own, and is sent to nobody";
        #[rustfmt::skip]
        let table = [
            ("beside them, with a name alike", "data-beside/one",                 "s3cret"),
            ("a token",                        "data/admin.token",                private),
            ("a key",                          "data-keys/agents/a.key",          private),
            ("a key elsewhere",                "data-beside/tls.key",             private),
            ("on a way around",                "data-beside/../data/admin.token", private),
            ("through a link to it",           "data-beside/link",                private),
            ("through a link to where it is",  "data-beside/keys/agents/a.key",   private),
        ];
        // The data directory by its own name, and by a link; one of the others is not there.
        for data in ["data", "other"] {
            let tls = at("data-beside/tls.key");
            let apart = [at(data), at("data-keys"), at("data-organizations"), tls];
            for (name, file, expected) in table {
                let got = match own(&SecretRef::File(at(file)), &apart) {
                    Ok(secret) => String::from_utf8(secret.expose().to_vec()).unwrap(),
                    Err(error) => error.to_string().replace(at(file).to_str().unwrap(), "F"),
                };
                assert_eq!(got, expected, "{name}, {data}");
            }
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(read(directory.path()), Err(LendError::NotAFile { .. })));
        assert!(matches!(
            read(&directory.path().join("none")),
            Err(LendError::Unreadable { .. })
        ));
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new(b"s3cret".to_vec())), "***");
    }

    #[test]
    fn a_reference_names_one_known_place() {
        let read = |text| serde_json::from_str::<SecretRef>(text).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"file":"/run/x"}"#), Ok(SecretRef::File("/run/x".into())));
        assert!(
            read(r#"{"env":"X"}"#)
                .unwrap_err()
                .starts_with("unknown variant `env`")
        );
    }
}
