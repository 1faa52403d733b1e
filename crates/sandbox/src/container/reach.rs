//! Engines that a guest could come to: whoever connects to one's socket has all that the engine may do. A directory that is
//! shown read-only does not keep anybody from connecting.

use super::engine::{Candidate, candidates};
use std::fs;
use std::path::{Path, PathBuf};

/// Where engines listen below somebody's home: rootless Docker, Docker Desktop, Colima, Rancher Desktop, Podman's machine.
const IN_HOMES: [&str; 7] = [
    ".docker/run/docker.sock",
    ".docker/desktop/docker.sock",
    ".colima/docker.sock",
    ".colima/default/docker.sock",
    ".rd/docker.sock",
    ".local/share/containers/podman/machine/podman.sock",
    ".local/share/containers/podman/machine/qemu/podman.sock",
];
/// Below the directory of a user that runs.
const IN_RUNTIME: [&str; 2] = ["podman/podman.sock", "docker.sock"];
/// Those that others of this machine's engines stand on.
const BENEATH: [&str; 2] = ["/run/containerd/containerd.sock", "/run/crio/crio.sock"];
/// Where the directories of users that run are.
const RUNTIME: &str = "/run/user";

/// Where an engine listens that lies in `directory`, which is absolute and without links, or is it; if any does.
#[must_use]
pub fn listens_in(directory: &Path) -> Option<PathBuf> {
    let named = candidates(|name| std::env::var_os(name));
    // What a variable names is not all that there is.
    let usual = candidates(|name| std::env::var_os(name).filter(|_| name == "XDG_RUNTIME_DIR"));
    let known = named
        .into_iter()
        .chain(usual)
        .filter_map(|candidate| match candidate {
            Candidate::Socket(socket) => Some(socket),
            Candidate::Elsewhere(_) => None,
        });
    let below = |above: &Path, names: &[&str]| names.iter().map(|name| above.join(name)).collect::<Vec<_>>();
    let users = fs::read_dir(RUNTIME).into_iter().flatten().filter_map(Result::ok);
    let users = users.flat_map(|user| below(&user.path(), &IN_RUNTIME));
    // It may be anybody's home, or the directory of a user that runs.
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let homes = home.iter().map(PathBuf::as_path).chain([directory]);
    let homes = homes.flat_map(|home| below(home, &IN_HOMES));
    let all = known
        .chain(users)
        .chain(homes)
        .chain(below(directory, &IN_RUNTIME))
        .chain(BENEATH.map(PathBuf::from));
    all.into_iter().find(|socket| lies_in(socket, directory))
}

/// Whether it is there, by its own name or by that of where it leads.
fn lies_in(socket: &Path, directory: &Path) -> bool {
    let real = socket.canonicalize();
    real.is_ok_and(|real| real.starts_with(directory) || socket.starts_with(directory))
}
