//! Everything that the story needs to happen: a directory, the repository, the patient, its customers,
//! the stand-in for Prometheus, and the platform. And its end: nothing of it stays.

use super::load::Load;
use super::repository::{Repository, Signature};
use super::watch::{Rule, Watch};
use crate::app::{self, Running};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use store::clock::SharedClock;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The name of the demo's log.
pub const ORIGIN: &str = "cofferdam.local/demo";
/// A colleague who may approve, and does so in the first incident.
pub const COLLEAGUE: &str = "sam";

const DOCUMENTS: &str = include_str!("documents.yaml");
const SERVICE: &str = "\
# How the shop behaves. It is deployed from the HEAD of this repository.
# connections to the database
pool_size: 8
# longest wait for a connection and a query
timeout_ms: 800
# how long an answer is kept
cache_ttl_seconds: 60
";

/// The alert rules of the shop.
const RULES: [Rule; 2] = [
    Rule {
        name: "ShopErrors",
        query: "sum(rate(shop_requests_total{class=\"5xx\"}[2s])) / sum(rate(shop_requests_total[2s])) > 0.05",
        for_ms: 400,
        severity: "critical",
        summary: "{value} % of the requests to the shop fail",
        scale: 100.0,
    },
    Rule {
        name: "ShopSlow",
        query: "sum(rate(shop_request_seconds_sum{route=\"stock\"}[2s])) / sum(rate(shop_request_seconds_count{route=\"stock\"}[2s])) > 0.06",
        for_ms: 400,
        severity: "warning",
        summary: "looking up stock takes {value} ms",
        scale: 1000.0,
    },
];

/// A directory that goes away with this, unless it is to be kept.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    /// The given one, which has to be new, or a temporary one that only we can enter.
    pub fn create(keep: Option<&Path>) -> Result<Directory, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let make = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
        if let Some(path) = keep {
            make(path).map_err(|e| {
                Failure::Other(
                    anyhow::Error::new(e).context(format!("`{}` has to be a new directory", path.display())),
                )
            })?;
            return Ok(Directory {
                path: path.canonicalize()?,
                keep: true,
            });
        }
        let base = std::env::temp_dir().canonicalize()?;
        for number in 0..100 {
            let path = base.join(format!("cofferdam-demo-{}-{number}", std::process::id()));
            match make(&path) {
                Ok(()) => return Ok(Directory { path, keep: false }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::Failed(format!(
            "`{}` is full of earlier demos",
            base.display()
        )))
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The patient's process. It ends when its standard input does: with this, or with us.
#[derive(Debug)]
pub struct Patient {
    child: Child,
    /// Base URL.
    pub url: String,
}

impl Patient {
    async fn start(repository: &Path) -> Result<Patient, Failure> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .arg("__patient")
            .arg("--repo")
            .arg(repository)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C is ours to handle: the patient then ends in order, and not in the middle of things.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).await?;
        }
        match line.trim() {
            "" => Err(Failure::Failed("the patient did not start".into())),
            address => Ok(Patient {
                child,
                url: format!("http://{address}"),
            }),
        }
    }

    async fn end(mut self) {
        drop(self.child.stdin.take());
        if tokio::time::timeout(Duration::from_secs(2), self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}

/// What the story happens on.
pub struct Stage {
    /// Requests that are no part of the platform.
    pub http: reqwest::Client,
    /// Alerts.
    pub watch: Watch,
    /// Talks to the platform as the person at the terminal.
    pub person: Client,
    /// The name of that person.
    pub person_name: String,
    /// Talks to the platform as a colleague who may approve.
    pub colleague: Client,
    /// Where the patient is deployed from.
    pub repository: Repository,
    /// Customers.
    pub load: Load,
    /// The patient.
    pub patient: Patient,
    /// The platform, until it is stopped.
    pub platform: Option<Running>,
}

impl Stage {
    /// Sets everything up below `directory`.
    pub async fn set(directory: &Directory, clock: SharedClock) -> Result<Stage, Failure> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(anyhow::Error::from)?;
        let repository = history(&directory.join("shop"), clock.now().ms() / 1000).await?;
        let patient = Patient::start(repository.path()).await?;
        let mut watch = Watch::bind(&patient.url, RULES.to_vec(), clock.clone()).await?;
        let documents = DOCUMENTS
            .replace("@PATIENT@", &patient.url)
            .replace("@PROMETHEUS@", watch.url())
            .replace("@REPOSITORY@", &repository.path().display().to_string());
        let config = directory.join("cofferdam.yaml");
        std::fs::write(&config, documents)?;
        let platform = app::start(app::Options {
            config: Some(config),
            origin: Some(ORIGIN.to_owned()),
            ..app::Options::new(directory.join("data"))
        })
        .await?;
        let person = Client::new(&platform.url(), std::fs::read(platform.admin_token_file())?)?;
        let colleague = token(
            &person,
            json!({"principal": format!("person:{COLLEAGUE}"), "roles": ["approver", "viewer"]}),
        );
        let colleague = Client::new(&platform.url(), colleague.await?.into_bytes())?;
        let hook = token(&person, json!({"trigger": "alertmanager"})).await?;
        let tokens = person.get("/api/v1/tokens", &[]).await?;
        let person_name = administrator(&tokens);
        let load = Load::on(&patient.url, http.clone());
        // The first look-ups fill the cache and are slow, as after any start; nobody is alarmed by that.
        load.warmed_up().await;
        watch.begin(
            http.clone(),
            format!("{}/hooks/alertmanager", platform.url()),
            hook,
        );
        let platform = Some(platform);
        Ok(Stage {
            http,
            watch,
            person,
            person_name,
            colleague,
            repository,
            load,
            patient,
            platform,
        })
    }

    /// What the patient says to a request; its text.
    pub async fn ask_patient(&self, method: reqwest::Method, path: &str) -> Result<String, Failure> {
        let url = format!("{}{path}", self.patient.url);
        let answer = async {
            self.http
                .request(method, url)
                .send()
                .await?
                .error_for_status()?
                .text()
                .await
        };
        answer
            .await
            .map_err(|e| Failure::Other(anyhow::Error::new(e).context("the patient does not answer")))
    }

    /// Stops the platform; what was acknowledged is then in files only.
    pub async fn stop_platform(&mut self) {
        if let Some(platform) = self.platform.take() {
            platform.shutdown().await;
        }
    }

    /// Ends everything, whatever state it is in.
    pub async fn end(mut self) {
        drop(self.load);
        drop(self.watch);
        if let Some(platform) = self.platform.take() {
            let _ = tokio::time::timeout(Duration::from_secs(5), platform.shutdown()).await;
        }
        self.patient.end().await;
    }
}

/// The repository with the history of a shop that was well so far.
async fn history(path: &Path, now: i64) -> Result<Repository, Failure> {
    const HOUR: i64 = 3600;
    let repository = Repository::create(path).await?;
    let ago = |name: &'static str, hours: i64| Signature {
        name,
        at: Some(now - hours * HOUR),
    };
    repository
        .commit(
            "service.yaml",
            SERVICE,
            "Serve the stock of the shop",
            ago("Ada Okafor", 9 * 24),
        )
        .await?;
    repository
        .commit(
            "README.md",
            "# shop\n",
            "Say what the shop is",
            ago("Bo Lindqvist", 3 * 24),
        )
        .await?;
    let how = "# shop\n\nDeployed from the HEAD of main: POST /-/redeploy\n";
    repository
        .commit(
            "README.md",
            how,
            "Document how it is deployed",
            ago("Chandra Rao", 5),
        )
        .await?;
    Ok(repository)
}

async fn token(person: &Client, what: Value) -> Result<String, Failure> {
    let made = person.post("/api/v1/tokens", &what).await?;
    Ok(crate::cli::value::raw(&made, "secret").to_owned())
}

/// The name of the administrator that the first start made: the oldest token's.
fn administrator(tokens: &Value) -> String {
    let principals = crate::cli::value::list(tokens, "")
        .iter()
        .map(|t| crate::cli::value::raw(t, "principal"));
    let first = principals
        .filter_map(|p| p.strip_prefix("person:"))
        .find(|name| *name != COLLEAGUE);
    first.unwrap_or("admin").to_owned()
}
