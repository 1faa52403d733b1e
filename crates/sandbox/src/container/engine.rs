//! Container engines of this machine: where they listen, what they are, and the few requests that are made of them.
//!
//! Docker's Engine API, which Podman speaks too. Only sockets of this machine: a container is handed descriptors and
//! directories, which no engine elsewhere could have.

use super::http::{Answer, ask};
use crate::spec::EngineKind;
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long most requests may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Creating and starting a container copies nothing, and still takes seconds on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// The newest version of the API that is spoken, and the oldest: Docker 25 and 20.10.
const NEWEST: (u32, u32) = (1, 44);
const OLDEST: (u32, u32) = (1, 41);

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers at any place where engines listen.
    #[error(
        "no container engine answers{}: start one (`systemctl start podman.socket`, `systemctl --user start podman.socket`, \
         `systemctl start docker`), or name its socket in CONTAINER_HOST or DOCKER_HOST",
        tried(.0)
    )]
    None(Vec<String>),
    /// It was found and does not answer.
    #[error("the engine at `{}` does not answer: {why}", socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        why: String,
    },
    /// It answered with an error.
    #[error("the engine refused to {what}: {why}")]
    Refused {
        /// What it was asked for.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// Its answer lacks what is needed.
    #[error("the engine's answer to `{what}` lacks `{field}`")]
    Unreadable {
        /// What it was asked for.
        what: &'static str,
        /// What is not there.
        field: &'static str,
    },
    /// It is too old, of another kind, or on another machine.
    #[error("{0}")]
    Unfit(String),
}

fn tried(places: &[String]) -> String {
    match places {
        [] => String::new(),
        places => format!(" ({})", places.join("; ")),
    }
}

/// An engine that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// Which.
    pub kind: EngineKind,
    /// Its version.
    pub version: String,
    /// Where it listens.
    pub socket: PathBuf,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Whether its containers are users of a namespace (`userns-remap`, or rootless).
    pub user_namespace: bool,
    /// Whether it limits memory, processes and processor time.
    pub limits: [bool; 3],
    /// Whether it filters system calls.
    pub seccomp: bool,
    /// Version of its API that is spoken: `1.44`.
    pub api: String,
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration: `sha256:…`.
    pub id: String,
    /// Its names in registries, by digest.
    pub digests: Vec<String>,
    /// Variables that it sets, `NAME=VALUE`.
    pub env: Vec<String>,
}

/// A place where an engine may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    Socket(PathBuf),
    /// Named by a variable, and not on this machine.
    Elsewhere(String),
}

/// Where engines listen, most wanted first. What a variable names is alone.
pub(super) fn candidates(variable: impl Fn(&str) -> Option<OsString>) -> Vec<Candidate> {
    for name in ["CONTAINER_HOST", "DOCKER_HOST"] {
        let named = variable(name).and_then(|value| value.into_string().ok());
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            return vec![match named.strip_prefix("unix://") {
                Some(path) if path.starts_with('/') => Candidate::Socket(path.into()),
                _ => Candidate::Elsewhere(format!(
                    "{name}=`{named}` is no socket of this machine (unix:///…), and a container gets directories and \
                     descriptors of it"
                )),
            }];
        }
    }
    let own = variable("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter();
    let own = own.flat_map(|dir| [dir.join("podman/podman.sock"), dir.join("docker.sock")]);
    let system = [
        "/run/podman/podman.sock",
        "/run/docker.sock",
        "/var/run/docker.sock",
    ];
    own.chain(system.map(PathBuf::from))
        .map(Candidate::Socket)
        .collect()
}

/// Every engine that answers where engines usually do, or where a variable says; and why others do not.
#[must_use]
pub fn engines() -> (Vec<Engine>, Vec<String>) {
    among(candidates(|name| std::env::var_os(name)))
}

fn among(candidates: Vec<Candidate>) -> (Vec<Engine>, Vec<String>) {
    let (mut found, mut not) = (Vec::<Engine>::new(), Vec::new());
    for candidate in candidates {
        let socket = match candidate {
            Candidate::Socket(socket) => socket,
            Candidate::Elsewhere(why) => {
                not.push(why);
                continue;
            }
        };
        // `/var/run` is `/run` almost everywhere.
        let Ok(socket) = socket.canonicalize() else {
            continue;
        };
        if found.iter().any(|engine| engine.socket == socket) {
            continue;
        }
        match Engine::at(&socket) {
            Ok(engine) => found.push(engine),
            Err(error) => not.push(error.to_string()),
        }
    }
    (found, not)
}

/// The engine of this kind, or the first.
pub(super) fn find(kind: Option<EngineKind>, socket: Option<&Path>) -> Result<Engine, EngineError> {
    let (found, mut not) = match socket {
        Some(socket) => among(vec![Candidate::Socket(socket.to_owned())]),
        None => engines(),
    };
    let other = found.first().map(|engine| format!("there is {}", engine.kind));
    let fits = |engine: &Engine| kind.is_none_or(|kind| kind == engine.kind);
    found.into_iter().find(fits).ok_or_else(|| {
        not.extend(other);
        EngineError::None(not)
    })
}

impl Engine {
    /// Asks who listens there.
    pub fn at(socket: &Path) -> Result<Engine, EngineError> {
        const WHAT: &str = "tell its version";
        let get = |path: &str| ask(socket, "GET", path, None, PATIENCE).and_then(|answer| good(answer, WHAT));
        let version = get("/version")?;
        let components = version.get("Components").and_then(Value::as_array);
        let is_podman = components
            .into_iter()
            .flatten()
            .any(|component| component.get("Name").and_then(Value::as_str) == Some("Podman Engine"));
        let api = text(&version, "ApiVersion", WHAT)?;
        let (major, minor) = number(&api).ok_or(EngineError::Unreadable {
            what: WHAT,
            field: "ApiVersion",
        })?;
        if (major, minor) < OLDEST {
            return Err(EngineError::Unfit(format!(
                "the engine at `{}` speaks API {api}; 1.41 (Docker 20.10, Podman 4) is needed",
                socket.display()
            )));
        }
        let (major, minor) = (major, minor).min(NEWEST);
        let info = get("/info")?;
        let can = |name: &str| info.get(name).and_then(Value::as_bool).unwrap_or(false);
        let options = info.get("SecurityOptions").and_then(Value::as_array);
        let options: Vec<&str> = options.into_iter().flatten().filter_map(Value::as_str).collect();
        let has = |name: &str| {
            let is = |option: &&str| option.split(',').any(|part| part == format!("name={name}"));
            options.iter().any(is)
        };
        let rootless = has("rootless") || can("Rootless");
        Ok(Engine {
            kind: if is_podman {
                EngineKind::Podman
            } else {
                EngineKind::Docker
            },
            version: text(&version, "Version", WHAT)?,
            socket: socket.to_owned(),
            rootless,
            user_namespace: rootless || has("userns"),
            limits: ["MemoryLimit", "PidsLimit", "CpuCfsQuota"].map(can),
            seccomp: has("seccomp"),
            api: format!("{major}.{minor}"),
        })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, EngineError> {
        let patience = if body.is_some() || path.ends_with("/start") {
            START_PATIENCE
        } else {
            PATIENCE
        };
        ask(
            &self.socket,
            method,
            &format!("/v{}{path}", self.api),
            body,
            patience,
        )
    }

    /// What `reference` (a name with a tag or a digest, or an identifier) means now. Nothing is fetched: that is a way
    /// out of this machine, and the engine's.
    pub fn image(&self, reference: &str) -> Result<Image, EngineError> {
        const WHAT: &str = "show the image";
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if !reference.split('/').all(is_plain) || !reference.bytes().all(is_of_a_name) {
            return Err(EngineError::Unfit(format!(
                "`{reference}` is no name of an image"
            )));
        }
        let answer = self.ask("GET", &format!("/images/{reference}/json"), None)?;
        if answer.status == 404 {
            return Err(EngineError::Unfit(format!(
                "{} has no image `{reference}`, and none is fetched here: `{} pull {reference}`",
                self.kind, self.kind
            )));
        }
        let image = good(answer, WHAT)?;
        let strings = |value: Option<&Value>| -> Vec<String> {
            let all = value.and_then(Value::as_array).into_iter().flatten();
            all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let id = text(&image, "Id", WHAT)?;
        // Podman leaves the algorithm away in places.
        let id = if id.contains(':') {
            id
        } else {
            format!("sha256:{id}")
        };
        Ok(Image {
            id,
            digests: strings(image.get("RepoDigests")),
            env: strings(image.pointer("/Config/Env")),
        })
    }

    /// Creates a container, and says which.
    pub(super) fn create(&self, name: &str, body: &Value) -> Result<String, EngineError> {
        const WHAT: &str = "create the container";
        let answer = self.ask("POST", &format!("/containers/create?name={name}"), Some(body))?;
        text(&good(answer, WHAT)?, "Id", WHAT)
    }

    /// Starts it.
    pub(super) fn start(&self, id: &str) -> Result<(), EngineError> {
        good(
            self.ask("POST", &format!("/containers/{id}/start"), None)?,
            "start the container",
        )
        .map(drop)
    }

    /// All about it.
    pub(super) fn inspect(&self, id: &str) -> Result<Value, EngineError> {
        good(
            self.ask("GET", &format!("/containers/{id}/json"), None)?,
            "show the container",
        )
    }

    /// Ends it, and what it was is gone. Whoever is gone already is gone.
    pub(super) fn remove(&self, id: &str) -> Result<(), EngineError> {
        let answer = self.ask("DELETE", &format!("/containers/{id}?force=true&v=true"), None)?;
        match answer.status {
            // Gone, or being removed by the engine itself.
            404 | 409 => Ok(()),
            _ => good(answer, "remove the container").map(drop),
        }
    }

    /// Every container, running or not, that has this label.
    pub(super) fn labelled(&self, label: &str) -> Result<Vec<String>, EngineError> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let path = format!("/containers/json?all=true&filters={}", encoded(&filters));
        let answer = good(self.ask("GET", &path, None)?, "list containers")?;
        let ids = answer.as_array().into_iter().flatten();
        Ok(ids
            .filter_map(|one| one.get("Id")?.as_str().map(str::to_owned))
            .collect())
    }
}

fn good(answer: Answer, what: &'static str) -> Result<Value, EngineError> {
    match answer.status {
        200..=299 => Ok(answer.body),
        _ => Err(EngineError::Refused {
            what,
            why: answer.message(),
        }),
    }
}

fn text(value: &Value, field: &'static str, what: &'static str) -> Result<String, EngineError> {
    let text = value.get(field).and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or(EngineError::Unreadable { what, field })
}

/// `1.41`.
fn number(api: &str) -> Option<(u32, u32)> {
    let (major, minor) = api.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What names of images are made of (the distribution specification), and a path of a request may hold as it is.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte)
}

/// As a value of a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_the_engine_and_it_has_to_be_here() {
        let with = |name: &'static str, value: &'static str| {
            candidates(move |asked| (asked == name).then(|| value.into()))
        };
        let socket = |path: &str| Candidate::Socket(path.into());
        assert_eq!(with("DOCKER_HOST", "unix:///a/b.sock"), [socket("/a/b.sock")]);
        assert_eq!(with("CONTAINER_HOST", "unix:///a/b.sock"), [socket("/a/b.sock")]);
        for elsewhere in [
            "tcp://10.0.0.1:2375",
            "ssh://root@host/run/podman/podman.sock",
            "unix://relative",
        ] {
            let found = with("DOCKER_HOST", elsewhere);
            assert!(
                matches!(&found[..], [Candidate::Elsewhere(why)] if why.contains("no socket of this machine")),
                "{found:?}"
            );
        }
        let usual = with("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(usual[0], socket("/run/user/7/podman/podman.sock"));
        assert!(usual.contains(&socket("/run/docker.sock")), "{usual:?}");
    }

    #[test]
    fn what_is_no_name_of_an_image_is_asked_of_nobody() {
        let engine = Engine {
            kind: EngineKind::Docker,
            version: String::new(),
            socket: "/nowhere".into(),
            rootless: false,
            user_namespace: false,
            limits: [true; 3],
            seccomp: true,
            api: "1.41".to_owned(),
        };
        for name in [
            "",
            "/etc/passwd",
            "../containers",
            "a//b",
            "a?x=1",
            "a b",
            "a\r\nb",
            "a%2e%2e",
        ] {
            let refused = engine.image(name).unwrap_err().to_string();
            assert_eq!(refused, format!("`{name}` is no name of an image"));
        }
        let asked = engine.image("registry.example:5000/a/b@sha256:00").unwrap_err();
        assert!(matches!(asked, EngineError::Unreachable { .. }), "{asked}");
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encoded(r#"{"a":["b=c"]}"#), "%7B%22a%22%3A%5B%22b%3Dc%22%5D%7D");
    }
}
