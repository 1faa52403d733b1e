//! Which files a command would run.

use sandbox::WORKSPACE_AT;
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
/// What `make` reads without being told.
const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];
/// Most files that one command may name.
const FILES_MAX: usize = 64;
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

/// What an argument names in the workspace, from outside: inside it is elsewhere.
fn located(operand: &str, workspace: &Path) -> Option<PathBuf> {
    let written = match operand.strip_prefix(WORKSPACE_AT) {
        Some(below) => below.trim_start_matches('/'),
        None => operand,
    };
    let path = workspace.join(written).canonicalize().ok()?;
    (path.starts_with(workspace) && path.is_file()).then_some(path)
}

/// Whether an argument names a file: of the workspace, or of the system that is shown.
pub(super) fn is_file(operand: &str, workspace: &Path) -> bool {
    let devices = ["/dev/", "/proc/"];
    let is_elsewhere = || Path::new(operand).is_absolute() && Path::new(operand).is_file();
    !devices.iter().any(|device| operand.starts_with(device))
        && (located(operand, workspace).is_some() || is_elsewhere())
}

/// All files of the workspace that the arguments name, also behind a `=`, and what `make` reads by itself: what an approval
/// was for is what is read.
pub(super) fn files(program: &Found, arguments: &[String], workspace: &Path) -> Result<Vec<Found>, String> {
    let parts = arguments.iter().flat_map(|argument| {
        let behind = argument.split_once('=').map(|(_, value)| value);
        std::iter::once(argument.as_str()).chain(behind)
    });
    let is_make = program
        .path
        .file_name()
        .is_some_and(|name| name == "make" || name == "gmake");
    let by_itself = MAKEFILES.iter().filter(|_| is_make).copied();
    let mut paths: Vec<PathBuf> = parts
        .chain(by_itself)
        .filter_map(|part| located(part, workspace))
        .collect();
    paths.sort();
    paths.dedup();
    if paths.len() > FILES_MAX {
        return Err(format!("names {} files, and may name {FILES_MAX}", paths.len()));
    }
    paths.iter().map(|path| found(path)).collect()
}

/// A file as it is now.
pub(super) fn found(path: &Path) -> Result<Found, String> {
    let unreadable = |error: std::io::Error| format!("`{}`: {error}", path.display());
    let resolved = path.canonicalize().map_err(unreadable)?;
    let file = File::open(&resolved).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    if length > BYTES_MAX {
        return Err(format!(
            "`{}` has {length} bytes, and may have {BYTES_MAX}",
            path.display()
        ));
    }
    // No further than it is long now: somebody may go on writing.
    let mut file = file.take(length);
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
