//! `true` in bubblewrap, with the mounts that a guest has.

use sandbox::Mount;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether bubblewrap is installed.
pub fn is_there() -> bool {
    let version = Command::new("bwrap")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    version.is_ok()
}

/// The same mounts, as bubblewrap is told of them.
pub fn wrapped(mounts: &[Mount], workspace: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]);
    for link in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        if let Ok(to) = std::fs::read_link(Path::new("/").join(link)) {
            command.arg("--symlink").arg(to).arg(Path::new("/").join(link));
        }
    }
    let own = |m: &&Mount| m.of.starts_with('/') && !m.at.starts_with("/dev") && !m.at.starts_with("/proc");
    for mount in mounts.iter().filter(own) {
        let how = if mount.options.iter().any(|o| o == "rw") {
            "--bind"
        } else {
            "--ro-bind"
        };
        command.args([how, &mount.of, &mount.at]);
    }
    command.args([
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/home/guest",
        "--chdir",
        "/workspace",
        "/usr/bin/true",
    ]);
    command.current_dir(workspace).stdin(Stdio::null());
    command
}
