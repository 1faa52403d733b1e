//! Which files a command would run.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where names without a slash are looked for, as the walls show it: nothing that a workspace could shadow.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
/// Largest file that is run, in bytes: all of it is read.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// A file, by what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Where it is, through no link.
    pub(super) path: PathBuf,
    /// SHA-256 of its content, in hexadecimal.
    pub(super) sha256: String,
}

/// What `name` resolves to: in the workspace, if it holds a slash and is relative.
pub(super) fn program(name: &str, workspace: &Path) -> Result<Found, String> {
    let tried = match name.contains('/') {
        true => vec![workspace.join(name)],
        false => PATH
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .collect(),
    };
    let runs = |path: &&PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let path = tried
        .iter()
        .find(runs)
        .ok_or_else(|| format!("there is no program `{name}`"))?;
    found(path)
}

/// The first argument that names a file of the workspace: a script, or what a program works on. What an approval shows is
/// what will be read.
pub(super) fn script(arguments: &[String], workspace: &Path) -> Result<Option<Found>, String> {
    let operand = arguments.iter().find(|argument| !argument.starts_with('-'));
    let Some(path) = operand.and_then(|operand| workspace.join(operand).canonicalize().ok()) else {
        return Ok(None);
    };
    match path.starts_with(workspace) && path.is_file() {
        true => found(&path).map(Some),
        false => Ok(None),
    }
}

/// A file as it is now.
pub(super) fn found(path: &Path) -> Result<Found, String> {
    let unreadable = |error: std::io::Error| format!("`{}`: {error}", path.display());
    let resolved = path.canonicalize().map_err(unreadable)?;
    let mut file = File::open(&resolved).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    if length > BYTES_MAX {
        return Err(format!(
            "`{}` has {length} bytes, and may have {BYTES_MAX}",
            path.display()
        ));
    }
    let mut digest = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut block).map_err(unreadable)?;
        match block.get(..read) {
            Some([]) | None => break,
            Some(bytes) => digest.update(bytes),
        }
    }
    Ok(Found {
        path: resolved,
        sha256: digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}
