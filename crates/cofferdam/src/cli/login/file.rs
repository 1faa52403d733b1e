//! Where the token of a login lies: one file for each server and organization, which only its owner can read.

use crate::cli::arguments::Global;
use crate::cli::failure::Failure;
use reqwest::Url;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Of the server and organization that the command line names: `~/.config/cofferdam/login/http-127.0.0.1-7400.token`.
#[must_use]
pub fn path(global: &Global) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let below = config.or_else(home)?.join("cofferdam/login");
    Some(below.join(format!("{}.token", name(global)?)))
}

/// No two servers have the same: the scheme is the first part, the port the last.
fn name(global: &Global) -> Option<String> {
    let url = Url::parse(&global.server).ok()?;
    let mut name = format!("{}-", url.scheme());
    for byte in url.host_str()?.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name.push_str(&format!("-{}", url.port_or_known_default()?));
    if let Some(organization) = &global.organization {
        name.push_str(&format!("@{organization}"));
    }
    Some(name)
}

/// Writes the file as a whole; readable by its owner alone from the first byte on.
pub fn write(path: &Path, token: &[u8]) -> Result<(), Failure> {
    let told = |source: std::io::Error| {
        let shown = path.display();
        Failure::Other(anyhow::Error::new(source).context(format!("cannot write the token file `{shown}`")))
    };
    if let Some(directory) = path.parent().filter(|at| !at.as_os_str().is_empty()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(told)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let write = || {
        let _ = std::fs::remove_file(&draft);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(token)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::Arguments;
    use clap::Parser as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn each_server_and_organization_has_a_file_of_its_own() {
        let table = [
            ("--server http://127.0.0.1:7400", "http-127.0.0.1-7400"),
            ("--server http://127.0.0.1:7400/", "http-127.0.0.1-7400"),
            (
                "--server https://Cofferdam.example",
                "https-cofferdam.example-443",
            ),
            ("--server http://[::1]:7400", "http-%5B%3A%3A1%5D-7400"),
            (
                "--server http://127.0.0.1:7400 --organization acme",
                "http-127.0.0.1-7400@acme",
            ),
        ];
        for (line, expected) in table {
            let line = format!("cofferdam whoami {line}");
            let arguments = Arguments::parse_from(line.split(' '));
            assert_eq!(name(&arguments.global).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_token_is_written_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cofferdam/login/one.token");
        for token in ["first", "second"] {
            write(&path, token.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{token}\n"));
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
