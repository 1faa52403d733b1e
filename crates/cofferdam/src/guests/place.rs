//! The place of a guest: its walls, and the environment by which programs find the doors.

use super::Wanted;
use crate::app::Own;
use sandbox::container::listens_in;
use sandbox::{Bind, Limits, Spec};
use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The port, inside, of the door to the network.
pub const EGRESS_PORT: u16 = 7401;
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

/// Variables that clients of models read a key from.
const KEYS: [&str; 2] = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"];
/// What they find there.
const NO_KEY: &str = "cofferdam-holds-the-key";
/// The longest life of a run, in milliseconds: seven days (S3-K8).
pub const LIFE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// The spec of a run. `authorities` is a file outside that holds the authorities to trust; `hidden` is what of the
/// platform's own lies in reach.
/// `calls` says whether it may call models.
pub(super) fn spec(wanted: &Wanted, authorities: Option<&Path>, hidden: Vec<PathBuf>, calls: bool) -> Spec {
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
        timeout_ms: wanted
            .timeout_ms
            .or(spec.limits.timeout_ms)
            .map(|life| life.min(LIFE_MS_MAX)),
        // Only ever more: nobody takes the rest of a disk by asking for it.
        disk_free_bytes: wanted
            .drill
            .as_ref()
            .map_or(0, |drill| drill.disk_free_bytes)
            .max(spec.limits.disk_free_bytes),
        // Only ever less.
        cpu_millis: wanted
            .drill
            .as_ref()
            .and_then(|drill| drill.cpu_millis)
            .into_iter()
            .chain(spec.limits.cpu_millis)
            .min(),
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
    if calls {
        set("OPENAI_BASE_URL", &format!("{proxy}/v1"));
        set("ANTHROPIC_BASE_URL", &format!("{proxy}/anthropic"));
        // The door says whose it is. Clients want a key, and this one opens nothing.
        for name in KEYS {
            set(name, NO_KEY);
        }
    }
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

/// What a platform calls its directories when nobody says otherwise; also those of other platforms are hidden.
const USUAL: &str = ".cofferdam";

/// The platform's own directories that lie in the workspace: the guest finds them empty. Anything of the platform's own
/// that lies elsewhere in reach, where it cannot be hidden for good, refuses.
pub fn hidden(workspace: &Path, own: &Own) -> Result<Vec<PathBuf>, String> {
    if let Some(socket) = listens_in(workspace) {
        return Err(reaches_an_engine(
            &format!("the workspace `{}`", workspace.display()),
            &socket,
        ));
    }
    let mut hidden = BTreeSet::new();
    for path in &own.directories {
        let path = located(path)?;
        if within(&path, workspace)? {
            // Otherwise the guest could make it, and the platform would find what it put there.
            let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
            made.map_err(|error| format!("cannot make `{}`: {error}", path.display()))?;
            hidden.insert(path);
        }
    }
    for path in &own.files {
        let path = located(path)?;
        // A document directory may be hidden as well; its usual file is one of those that are read-only anyway.
        let is_protected =
            path.parent() == Some(workspace) && DOCUMENTS.iter().any(|name| path.ends_with(name));
        if !is_protected && within(&path, workspace)? {
            match path.is_dir() {
                true => drop(hidden.insert(path)),
                false => return Err(in_the_way(&path)),
            }
        }
    }
    let read = std::fs::read_dir(workspace).map_err(|error| format!("`{}`: {error}", workspace.display()))?;
    for entry in read.filter_map(Result::ok) {
        let is_usual = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(USUAL));
        if is_usual && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            hidden.insert(entry.path());
        }
    }
    Ok(hidden.into_iter().collect())
}

/// Names of documents that are read-only in every workspace.
const DOCUMENTS: [&str; 2] = ["cofferdam.yaml", "cofferdam.yml"];

/// Nothing that is shown besides may hold anything of the platform's own.
pub(super) fn reads(wanted: &Wanted, own: &Own) -> Result<Vec<PathBuf>, String> {
    let mut all = Vec::new();
    for read in &wanted.reads {
        let path = read
            .canonicalize()
            .map_err(|error| format!("--read `{}`: {error}", read.display()))?;
        if let Some(socket) = listens_in(&path) {
            return Err(reaches_an_engine(
                &format!("--read `{}`", read.display()),
                &socket,
            ));
        }
        for kept in own.directories.iter().chain(&own.files) {
            let kept = located(kept)?;
            if kept.starts_with(&path) || path.starts_with(&kept) {
                return Err(format!(
                    "--read `{}` shows `{}`, which is the platform's own",
                    read.display(),
                    kept.display()
                ));
            }
        }
        all.push(path);
    }
    Ok(all)
}

/// Whether `path` lies directly in the workspace. Deeper down, what is above it could be renamed, and something else be
/// found in its place.
fn within(path: &Path, workspace: &Path) -> Result<bool, String> {
    if workspace.starts_with(path) {
        return Err(format!(
            "the workspace `{}` lies in `{}`, where the platform keeps its own; choose another",
            workspace.display(),
            path.display()
        ));
    }
    match path.starts_with(workspace) {
        true if path.parent() != Some(workspace) => Err(in_the_way(path)),
        is_there => Ok(is_there),
    }
}

fn reaches_an_engine(what: &str, socket: &Path) -> String {
    format!(
        "{what} holds `{}`, where a container engine listens, and whoever connects to it gets out: choose another, or let the \
         engine listen elsewhere",
        socket.display()
    )
}

fn in_the_way(path: &Path) -> String {
    format!(
        "`{}` is the platform's own and lies in the workspace, where it cannot be hidden; choose another workspace, or keep it \
         elsewhere",
        path.display()
    )
}

/// Where something is, or would be if it is not there.
fn located(path: &Path) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("`{}`: {error}", path.display());
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(path), ..) => Ok(path),
        (Err(_), Some(above), Some(name)) if above.is_dir() => {
            Ok(above.canonicalize().map_err(failed)?.join(name))
        }
        (Err(_), ..) => std::path::absolute(path).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn wanted(workspace: &Path, reads: &[PathBuf]) -> Wanted {
        let text = serde_json::json!({
            "agent": null, "argv": ["true"], "env": {}, "workspace": workspace, "allow": [], "networks": [],
            "learn": null, "review": false, "reads": reads, "git": "read", "profile": "standard", "timeout_ms": null,
            "memory_bytes": null, "degrade": [],
        });
        serde_json::from_value(text).unwrap()
    }

    type Names<'a> = &'a [&'a str];

    #[test]
    fn what_is_the_platforms_own_is_hidden_or_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in [
            "w/.cofferdam",
            "w/deep/own",
            "w/policies",
            "w/.cofferdam-other",
            "elsewhere",
        ] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["w/cofferdam.yaml", "w/key.pem"] {
            fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(root.join("w/.cofferdam"), root.join("link")).unwrap();
        #[rustfmt::skip]
        let table: [(&str, Names<'_>, Names<'_>, Result<Names<'_>, &str>); 11] = [
            // workspace     directories         files                  what is hidden, or why it is refused
            ("w",            &["w/.cofferdam"],  &[],                   Ok(&[".cofferdam", ".cofferdam-other"])),
            ("w",            &["link"],          &[],                   Ok(&[".cofferdam", ".cofferdam-other"])),
            ("w",            &["w/new"],         &[],                   Ok(&[".cofferdam", ".cofferdam-other", "new"])),
            ("w",            &["elsewhere"],     &["elsewhere/key"],    Ok(&[".cofferdam", ".cofferdam-other"])),
            ("w",            &[],                &["w/cofferdam.yaml"], Ok(&[".cofferdam", ".cofferdam-other"])),
            ("w",            &[],                &["w/policies"],       Ok(&[".cofferdam", ".cofferdam-other", "policies"])),
            ("w",            &[],                &["w/key.pem"],        Err("cannot be hidden")),
            ("w",            &[],                &["w/none.pem"],       Err("cannot be hidden")),
            ("w",            &["w/deep/own"],    &[],                   Err("cannot be hidden")),
            ("w/.cofferdam", &["w/.cofferdam"],  &[],                   Err("where the platform keeps its own")),
            ("w/deep",       &["w"],             &[],                   Err("where the platform keeps its own")),
        ];
        let at = |names: &[&str]| names.iter().map(|name| root.join(name)).collect::<Vec<_>>();
        for (workspace, directories, files, expected) in table {
            let own = Own {
                directories: at(directories),
                files: at(files),
            };
            let found = hidden(&root.join(workspace), &own);
            match expected {
                Ok(names) => assert_eq!(
                    found.unwrap(),
                    at(&names
                        .iter()
                        .map(|n| format!("w/{n}"))
                        .collect::<Vec<_>>()
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>())
                ),
                Err(part) => assert!(
                    found.as_ref().is_err_and(|why| why.contains(part)),
                    "{files:?}: {found:?}"
                ),
            }
        }
    }

    #[test]
    fn where_an_engine_listens_is_no_workspace_and_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["home/.docker/run", "run/podman", "linked/.colima", "other"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let listen = |name: &str| std::os::unix::net::UnixListener::bind(root.join(name)).unwrap();
        let _listeners = [
            listen("home/.docker/run/docker.sock"),
            listen("run/podman/podman.sock"),
        ];
        let real = root.join("home/.docker/run/docker.sock");
        std::os::unix::fs::symlink(real, root.join("linked/.colima/docker.sock")).unwrap();
        let own = Own::default();
        for (name, socket) in [
            ("home", Some("home/.docker/run/docker.sock")),
            ("run", Some("run/podman/podman.sock")),
            ("linked", Some("linked/.colima/docker.sock")),
            ("other", None),
        ] {
            let path = root.join(name);
            let found = [
                hidden(&path, &own).err(),
                reads(&wanted(&root, &[path]), &own).err(),
            ];
            let why = socket.map(|socket| {
                format!(
                    "holds `{}`, where a container engine listens",
                    root.join(socket).display()
                )
            });
            for found in found {
                match (&found, &why) {
                    (Some(found), Some(why)) => assert!(found.contains(why), "{name}: {found}"),
                    _ => assert_eq!(found.is_some(), why.is_some(), "{name}: {found:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_read_besides_holds_nothing_of_the_platforms_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["own/inside", "other"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("own"), root.join("link")).unwrap();
        let own = Own {
            directories: vec![root.join("own")],
            files: vec![root.join("file")],
        };
        for (read, is_shown) in [
            ("other", true),
            ("own", false),
            ("own/inside", false),
            ("", false),
            ("link", false),
        ] {
            let found = reads(&wanted(&root, &[root.join(read)]), &own);
            assert_eq!(found.is_ok(), is_shown, "{read}: {found:?}");
        }
    }
}
