//! The place of a guest: its walls, and the environment by which programs find the doors.

use super::Wanted;
use sandbox::{Bind, Limits, Spec};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The port, inside, of the door to the network.
pub(super) const EGRESS_PORT: u16 = 7401;
/// Where the authorities that it shall trust are inside.
const AUTHORITIES: &str = "/opt/cofferdam/authorities.pem";
/// Variables that name the proxy; programs read one case or the other.
const PROXY: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
/// What is on the guest's own loopback is no business of the proxy's.
const DIRECT: &str = "localhost,127.0.0.1,::1";
/// Variables by which programs of several worlds find authorities: OpenSSL and Go, Python's requests and httpx, curl,
/// Node, Git, pip, the AWS SDKs.
const TRUST: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
];

/// The spec of a run. `authorities` is a file outside that holds the authorities to trust; `hidden` is what of the
/// platform's own lies in reach.
pub(super) fn spec(wanted: &Wanted, authorities: Option<&Path>, hidden: Vec<PathBuf>) -> Spec {
    let mut spec = Spec::new(wanted.argv.clone(), wanted.workspace.clone());
    spec.profile = wanted.profile;
    spec.git = wanted.git;
    spec.degrade.clone_from(&wanted.degrade);
    spec.doors.insert(EGRESS_PORT);
    spec.hidden = hidden;
    let seen = |path: &PathBuf| Bind {
        source: path.clone(),
        target: path.clone(),
    };
    spec.reads = wanted.reads.iter().map(seen).collect();
    spec.limits = Limits {
        memory_bytes: wanted.memory_bytes.or(spec.limits.memory_bytes),
        timeout_ms: wanted.timeout_ms.or(spec.limits.timeout_ms),
        ..spec.limits
    };
    let proxy = format!("http://127.0.0.1:{EGRESS_PORT}");
    let mut set = |name: &str, value: &str| spec.env.insert(name.to_owned(), value.to_owned());
    for name in PROXY {
        set(name, &proxy);
        set(&name.to_lowercase(), &proxy);
    }
    set("NO_PROXY", DIRECT);
    set("no_proxy", DIRECT);
    // Node reads none of these without being told to, from version 24 on.
    set("NODE_USE_ENV_PROXY", "1");
    if let Some(source) = authorities {
        for name in TRUST {
            set(name, AUTHORITIES);
        }
        spec.reads.push(Bind {
            source: source.to_owned(),
            target: AUTHORITIES.into(),
        });
    }
    spec.env.extend(wanted.env.clone());
    spec
}

/// Which of the platform's own directories lie in the workspace: the guest shall see none of them. Those that are not
/// there yet are made: otherwise the guest could make them, and the platform would find what it put there.
pub(super) fn within(workspace: &Path, own: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut hidden = Vec::new();
    for path in own {
        if path.starts_with(workspace) && !path.exists() {
            let made = std::fs::DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(path);
            made.map_err(|error| format!("cannot make `{}`: {error}", path.display()))?;
        }
        let Ok(path) = path.canonicalize() else { continue };
        if workspace.starts_with(&path) {
            return Err(format!(
                "the workspace `{}` lies in `{}`, where the platform keeps its own; choose another",
                workspace.display(),
                path.display()
            ));
        }
        match path.starts_with(workspace) {
            false => {}
            true if path.is_dir() => hidden.push(path),
            // An empty directory can be put over a directory alone.
            true => {
                return Err(format!(
                    "`{}` is the platform's own and lies in the workspace; move it into a directory of its own, or \
                     choose another workspace",
                    path.display()
                ));
            }
        }
    }
    Ok(hidden)
}
