//! Clients that work until the platform dies under them, and remember what they were told.

use super::platform::{Platform, Record, Tokens};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What clients were told, and what must therefore be true for ever.
#[derive(Default)]
pub struct Acknowledged {
    /// Task id and session, in the order in which they were acknowledged.
    pub tasks: Vec<(String, String)>,
    /// Incident and the sequence of the entry, likewise.
    pub incidents: Vec<(String, u64)>,
    /// Approvals that a person granted.
    pub approved: Vec<String>,
    /// Signed notes.
    pub checkpoints: Vec<String>,
    /// Entries that were shown: sequence to leaf hash.
    pub entries: BTreeMap<u64, String>,
    /// How much of it a restart was asked about already.
    asked: Asked,
}

#[derive(Default)]
struct Asked {
    tasks: usize,
    incidents: usize,
    approved: usize,
}

/// Sessions that may be queued once the load has run for so many kills: until then a backlog may grow.
const QUEUED_MAX: usize = 400;
const GROWS_UNTIL: u32 = 150;

/// How long a load may take to come to what it was asked for before it is cut all the same.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Acknowledged>>,
}

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    base: String,
    tokens: Tokens,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    crash: u32,
}

impl Load {
    pub fn start(platform: &Platform, crash: u32) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let client = Client {
            http: reqwest::Client::new(),
            base: platform.url(""),
            tokens: platform.tokens(),
            stop: Arc::clone(&stop),
            acknowledged: Arc::clone(&acknowledged),
            crash,
        };
        let clients = vec![
            tokio::spawn(client.clone().tasks("worker", "w")),
            tokio::spawn(client.clone().tasks("worker", "v")),
            tokio::spawn(client.clone().tasks("asker", "a")),
            tokio::spawn(client.clone().alerts()),
            tokio::spawn(client.clone().approve()),
            tokio::spawn(client.watch()),
        ];
        Load {
            stop,
            acknowledged,
            clients,
        }
    }

    /// Returns when `wanted` changes were acknowledged, however slow the machine is, or its patience is at an end.
    pub async fn until(&self, wanted: u64) {
        let since = Instant::now();
        while self.acknowledged.load(Ordering::Relaxed) < wanted && since.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.push(client.await.unwrap());
        }
        all
    }
}

impl Client {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// `None` once the platform is dead; an answer that is no success is a defect of its own.
    async fn call(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Option<Value> {
        let changes = method == "POST";
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        assert!(
            status.is_success() || status.as_u16() == 409,
            "{path} answered {status}: {text}"
        );
        if changes && status.is_success() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        serde_json::from_str(&text).ok()
    }

    /// Waits while much is queued: what only ever waits has no effect that a kill could meet, and past its time box
    /// it never will, so that many kills would end in nothing but restarts.
    async fn keep_pace(&self) {
        let path = format!("/api/v1/sessions?state=queued&limit={QUEUED_MAX}");
        while self.goes_on() {
            let listed = self.call(&self.tokens.admin, "GET", &path, None).await;
            let Some(Value::Array(queued)) = listed else {
                return;
            };
            if queued.len() < QUEUED_MAX {
                return;
            }
            // A debug build that lists hundreds of sessions dozens of times a second does nothing else.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn tasks(self, agent: &'static str, mark: &'static str) -> Acknowledged {
        let mut told = Acknowledged::default();
        for number in 0.. {
            if number == 0 && self.crash > GROWS_UNTIL {
                self.keep_pace().await;
            }
            let id = format!("{mark}{}-{number}", self.crash);
            let task = json!({"task_id": id, "agent": agent, "input": {"id": id}});
            let Some(answer) = self
                .call(&self.tokens.admin, "POST", "/api/v1/tasks", Some(task))
                .await
            else {
                break;
            };
            let session = answer["session"]
                .as_str()
                .unwrap_or_else(|| panic!("no session in {answer}"));
            told.tasks.push((id, session.to_owned()));
            if !self.goes_on() {
                break;
            }
        }
        told
    }

    async fn alerts(self) -> Acknowledged {
        let mut told = Acknowledged::default();
        for number in 0u64.. {
            if number == 0 && self.crash > GROWS_UNTIL {
                self.keep_pace().await;
            }
            let fingerprint = format!("{:016x}", (u64::from(self.crash) << 32) | number);
            let Some(answer) = self
                .call(
                    &self.tokens.trigger,
                    "POST",
                    "/hooks/alertmanager",
                    Some(alert(&fingerprint)),
                )
                .await
            else {
                break;
            };
            if let (Some(incident), Some(entry)) = (answer["incident"].as_str(), answer["entry"].as_u64()) {
                told.incidents.push((incident.to_owned(), entry));
            }
            if !self.goes_on() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(told.incidents.len() < 10_000);
        told
    }

    async fn approve(self) -> Acknowledged {
        let mut told = Acknowledged::default();
        while self.goes_on() {
            let Some(Value::Array(all)) = self
                .call(&self.tokens.approver, "GET", "/api/v1/approvals?limit=20", None)
                .await
            else {
                break;
            };
            for approval in all.iter().filter(|a| a["state"] == "pending") {
                let id = approval["id"].as_str().unwrap();
                let path = format!("/api/v1/approvals/{id}/approve");
                let Some(answer) = self
                    .call(
                        &self.tokens.approver,
                        "POST",
                        &path,
                        Some(json!({"reason": "load"})),
                    )
                    .await
                else {
                    return told;
                };
                if answer["state"] == "approved" || answer["state"] == "spent" {
                    told.approved.push(id.to_owned());
                }
            }
        }
        told
    }

    /// Takes checkpoints and entries as an auditor would.
    async fn watch(self) -> Acknowledged {
        let mut told = Acknowledged::default();
        while self.goes_on() {
            let Some(answer) = self
                .call(&self.tokens.admin, "GET", "/api/v1/audit/checkpoint", None)
                .await
            else {
                break;
            };
            let note = answer["note"]
                .as_str()
                .unwrap_or_else(|| panic!("no note in {answer}"));
            if told.checkpoints.last().is_none_or(|last| last != note) {
                told.checkpoints.push(note.to_owned());
            }
            let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
            let path = format!("/api/v1/audit/entries/{}", size - 1);
            let Some(entry) = self.call(&self.tokens.admin, "GET", &path, None).await else {
                break;
            };
            let hash = entry["hash"]
                .as_str()
                .unwrap_or_else(|| panic!("no hash in {entry}"));
            told.entries.insert(size - 1, hash.to_owned());
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        told
    }
}

impl Acknowledged {
    pub fn take(&mut self, all: Vec<Acknowledged>) {
        for one in all {
            self.tasks.extend(one.tasks);
            self.incidents.extend(one.incidents);
            self.approved.extend(one.approved);
            self.checkpoints.extend(one.checkpoints);
            self.entries.extend(one.entries);
        }
    }

    pub fn counts(&self) -> String {
        format!(
            "{} tasks, {} incidents, {} approvals, {} checkpoints acknowledged",
            self.tasks.len(),
            self.incidents.len(),
            self.approved.len(),
            self.checkpoints.len()
        )
    }

    /// Against the file that was left behind.
    pub fn check_record(&self, record: &Record, context: &str) {
        for (sequence, hash) in &self.entries {
            let found = record.hashes.get(usize::try_from(*sequence).unwrap());
            assert_eq!(
                found,
                Some(hash),
                "{context}: entry {sequence} was shown and is gone or another"
            );
        }
        for (incident, entry) in &self.incidents {
            assert!(
                *entry < record.size,
                "{context}: {incident} was acknowledged as entry {entry}, which is gone"
            );
        }
        for (task, session) in &self.tasks {
            let entry: u64 = session.trim_start_matches("ses-").parse().unwrap();
            assert!(
                entry < record.size,
                "{context}: task {task} was acknowledged as {session}, which is gone"
            );
        }
    }

    /// Against the restarted platform: what is new since the last restart, by asking for it.
    pub async fn check(&mut self, platform: &Platform, context: &str) {
        let http = reqwest::Client::new();
        let token = platform.tokens().approver;
        let get = async |path: String| {
            let answer = http
                .get(platform.url(&path))
                .bearer_auth(&token)
                .send()
                .await
                .unwrap();
            assert!(
                answer.status().is_success(),
                "{context}: {path} answered {}",
                answer.status()
            );
            serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()
        };
        for (task, session) in &self.tasks[self.asked.tasks..] {
            let found = get(format!("/api/v1/tasks/{task}")).await;
            assert_eq!(found["session"], json!(session), "{context}: task {task}");
        }
        for (incident, _) in &self.incidents[self.asked.incidents..] {
            assert_eq!(
                get(format!("/api/v1/incidents/{incident}")).await["id"],
                json!(incident),
                "{context}"
            );
        }
        for approval in &self.approved[self.asked.approved..] {
            let state = get(format!("/api/v1/approvals/{approval}")).await["state"].clone();
            assert!(
                state == "approved" || state == "spent",
                "{context}: {approval} was approved and is {state}"
            );
        }
        self.asked = Asked {
            tasks: self.tasks.len(),
            incidents: self.incidents.len(),
            approved: self.approved.len(),
        };
    }
}

fn alert(fingerprint: &str) -> Value {
    let labels = json!({"alertname": "Crash", "instance": fingerprint, "severity": "warning"});
    json!({
        "version": "4", "groupKey": format!("{{}}:{{instance=\"{fingerprint}\"}}"), "status": "firing", "receiver": "crash",
        "truncatedAlerts": 0, "externalURL": "http://127.0.0.1", "groupLabels": {"instance": fingerprint},
        "commonLabels": labels, "commonAnnotations": {},
        "alerts": [{
            "status": "firing", "labels": labels, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": fingerprint,
        }],
    })
}
