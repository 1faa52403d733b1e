//! The organization's keys: one wraps payload keys, one signs checkpoints. They lie beside the data
//! directory, not in it, so that a copied data directory is neither readable nor forgeable.

use crate::seal::{self, KEY_LEN, OrganizationKey, SecretKey};
use journal::note::{Signer, Verifier};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Name of the file with the organization's key: 32 bytes.
pub(crate) const ORGANIZATION: &str = "organization.key";
/// Name of the file with the key that is about to replace it.
pub(crate) const ORGANIZATION_NEXT: &str = "organization.key.next";
/// Name of the file with the seed of the key that signs checkpoints: 32 bytes.
const LOG: &str = "log.key";
/// Name of the directory with the keys of agents.
const AGENTS: &str = "agents";

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Reading or writing failed.
    #[error("key file `{path}` cannot be used")]
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
    pub(crate) organization: Option<OrganizationKey>,
    pub(crate) signer: Option<Signer>,
    verifier: Verifier,
    /// Where they were read from.
    pub(crate) directory: Option<PathBuf>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// Reads `organization.key` and `log.key` below `directory`, making what is missing (0700, 0600).
    pub fn open_or_create(directory: &Path, origin: &str) -> Result<Keys, KeysError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| io(directory, e))?;
        let organization = read_or_create(&directory.join(ORGANIZATION))?;
        let path = directory.join(LOG);
        let signer = Signer::from_seed(origin, &*read_or_create(&path)?)
            .map_err(|e| io(&path, std::io::Error::other(e.to_string())))?;
        Ok(Keys {
            organization: Some(OrganizationKey::from_bytes(&organization)),
            verifier: signer.verifier(),
            signer: Some(signer),
            directory: Some(directory.to_owned()),
        })
    }

    /// Only the key that verifies checkpoints: enough to verify a copy, but not its payloads or its
    /// projections, which are digested with a secret.
    pub fn verifier_only(verifier: Verifier) -> Keys {
        Keys {
            organization: None,
            signer: None,
            verifier,
            directory: None,
        }
    }

    /// The key that verifies this log's checkpoints.
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }
}

/// The keys of agents, one file of 32 bytes each, held where the organization's keys are. Handed out by
/// [`crate::Store::keyring`]; what it reads is zeroised by whoever drops it.
#[derive(Clone, Debug)]
pub struct Keyring {
    directory: PathBuf,
}

impl Keyring {
    pub(crate) fn below(keys: &Path) -> Keyring {
        Keyring {
            directory: keys.join(AGENTS),
        }
    }

    /// The seed of the key of that name, made if it is missing. The name is a file's: lower-case letters,
    /// digits and `-`.
    pub fn open_or_create(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
        self.made()?;
        read_or_create(&self.path(name)?)
    }

    /// The seed of the key of that name.
    pub fn read(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
        read(&self.path(name)?)
    }

    /// Keeps a seed under that name. One that is kept already is never replaced.
    pub fn keep(&self, name: &str, seed: &Zeroizing<[u8; 32]>) -> Result<(), KeysError> {
        self.made()?;
        let path = self.path(name)?;
        if path.exists() {
            return Err(io(&path, std::io::ErrorKind::AlreadyExists.into()));
        }
        write(&path, seed)
    }

    /// Forgets the key of that name; one that is gone already is no error.
    pub fn remove(&self, name: &str) -> Result<(), KeysError> {
        let path = self.path(name)?;
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(&path, e)),
            _ => Ok(()),
        }
    }

    fn made(&self) -> Result<(), KeysError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.directory)
            .map_err(|e| io(&self.directory, e))
    }

    fn path(&self, name: &str) -> Result<PathBuf, KeysError> {
        let fits = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let path = self.directory.join(format!("{name}.key"));
        match fits {
            true => Ok(path),
            false => Err(io(&path, std::io::ErrorKind::InvalidInput.into())),
        }
    }
}

/// Writes a new key beside the present one; [`finish_replacement`] puts it in its place. A key in force
/// that a replacement before left beside its place is put there first: it is the only copy.
pub(crate) fn begin_replacement(
    directory: &Path,
    in_force: &OrganizationKey,
) -> Result<OrganizationKey, KeysError> {
    if read_next(directory).is_some_and(|next| next.id() == in_force.id()) {
        finish_replacement(directory)?;
    }
    let path = directory.join(ORGANIZATION_NEXT);
    match std::fs::remove_file(&path) {
        Ok(()) => (),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => (),
        Err(e) => return Err(io(&path, e)),
    }
    create(&path).map(|key| OrganizationKey::from_bytes(&key))
}

/// Puts the new key in the place of the old one, which is gone afterwards.
pub(crate) fn finish_replacement(directory: &Path) -> Result<(), KeysError> {
    let from = directory.join(ORGANIZATION_NEXT);
    std::fs::rename(&from, directory.join(ORGANIZATION)).map_err(|e| io(&from, e))?;
    sync_directory(directory)
}

/// The key of a replacement that was interrupted after the journal had taken it, if there is one.
pub(crate) fn read_next(directory: &Path) -> Option<OrganizationKey> {
    read(&directory.join(ORGANIZATION_NEXT))
        .ok()
        .map(|key| OrganizationKey::from_bytes(&key))
}

fn read_or_create(path: &Path) -> Result<SecretKey, KeysError> {
    match read(path) {
        Err(KeysError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => create(path),
        other => other,
    }
}

fn read(path: &Path) -> Result<SecretKey, KeysError> {
    let mut file = File::open(path).map_err(|e| io(path, e))?;
    let metadata = file.metadata().map_err(|e| io(path, e))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeysError::Exposed {
            path: path.display().to_string(),
        });
    }
    let malformed = || KeysError::Malformed {
        path: path.display().to_string(),
    };
    if metadata.len() != KEY_LEN as u64 {
        return Err(malformed());
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    file.read_exact(key.as_mut_slice()).map_err(|_| malformed())?;
    Ok(key)
}

/// Makes a key under another name first, so that a crash leaves no half of one.
fn create(path: &Path) -> Result<SecretKey, KeysError> {
    let key = seal::random().map_err(|_| io(path, std::io::Error::other("no randomness")))?;
    write(path, &key)?;
    Ok(key)
}

fn write(path: &Path, key: &SecretKey) -> Result<(), KeysError> {
    let draft = path.with_extension("draft");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft);
    let mut file = written.map_err(|e| io(&draft, e))?;
    file.write_all(key.as_slice())
        .and_then(|()| file.sync_all())
        .map_err(|e| io(&draft, e))?;
    std::fs::rename(&draft, path).map_err(|e| io(path, e))?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(directory: &Path) -> Result<(), KeysError> {
    File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| io(directory, e))
}

fn io(path: &Path, source: std::io::Error) -> KeysError {
    KeysError::Io {
        path: path.display().to_string(),
        source,
    }
}
