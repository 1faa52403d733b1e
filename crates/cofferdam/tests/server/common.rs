//! A platform of its own for every test, and a small client.

use cofferdam::app::{self, Options, Running};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A started platform, its directory and its administrator's token.
pub struct Platform {
    pub running: Option<Running>,
    pub directory: tempfile::TempDir,
    pub admin: String,
    pub http: reqwest::Client,
    url: String,
}

/// An answer: status, body as JSON (or text as a JSON string), `Content-Type`.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    pub kind: String,
}

/// An agent that only searches incidents, and a trigger for it: needs nothing from outside.
pub const DOCUMENTS: &str = r#"
apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {name: search}
spec: {tools: [{type: incidents}]}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {name: finder}
spec:
  sponsor: alice
  toolsets: [search]
  runbook:
    steps:
      - name: found
        tool: incidents.search
        arguments: {words: "{{ (event.incident | default({})).title | default('nothing') }}"}
    output:
      summary: "found {{ steps.found.output.incidents | length }}"
      given: "{{ event }}"
---
apiVersion: cofferdam.dev/v1
kind: Trigger
metadata: {name: am}
spec: {source: alertmanager, agent: finder, debounceSeconds: 60}
"#;

impl Platform {
    /// With [`DOCUMENTS`] in force.
    pub async fn start() -> Platform {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cofferdam.yaml"), DOCUMENTS).unwrap();
        let config = directory.path().join("cofferdam.yaml");
        Platform::start_in(directory, |options| options.config = Some(config)).await
    }

    /// In `directory`, with what `change` makes of the options.
    pub async fn start_in(directory: tempfile::TempDir, change: impl FnOnce(&mut Options)) -> Platform {
        let mut options = options(directory.path());
        change(&mut options);
        let running = app::start(options).await.unwrap();
        let admin = std::fs::read_to_string(running.admin_token_file())
            .unwrap()
            .trim()
            .to_owned();
        let url = running.url();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Platform {
            running: Some(running),
            directory,
            admin,
            http,
            url,
        }
    }

    /// Stops it and starts it again on the same data.
    pub async fn restart(mut self) -> Platform {
        self.running.take().unwrap().shutdown().await;
        let config = self.directory.path().join("cofferdam.yaml");
        let config = config.exists().then_some(config);
        Platform::start_in(self.directory, |options| options.config = config).await
    }

    pub async fn stop(mut self) {
        self.running.take().unwrap().shutdown().await;
    }

    /// Stops it and keeps its directory.
    pub async fn stopped(mut self) -> tempfile::TempDir {
        self.running.take().unwrap().shutdown().await;
        self.directory
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// As the administrator.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Some(&self.admin), None).await
    }

    /// As the administrator.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            Method::POST,
            path,
            Some(&self.admin),
            Some(body.to_string().into_bytes()),
        )
        .await
    }

    /// With any token and body.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        answer(request.send().await.unwrap()).await
    }

    /// Makes a token for these roles, or for a trigger.
    pub async fn token(&self, body: Value) -> String {
        let made = self.post("/api/v1/tokens", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.body["secret"].as_str().unwrap().to_owned()
    }

    /// Makes a token for the trigger `am`.
    pub async fn trigger(&self) -> String {
        self.token(json!({"trigger": "am"})).await
    }

    /// Waits until `path` answers something that `done` likes.
    pub async fn until(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..600 {
            let answer = self.get(path).await;
            if answer.status.is_success() && done(&answer.body) {
                return answer.body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "{path} never became what was waited for: {:?}",
            self.get(path).await
        );
    }
}

pub fn options(directory: &Path) -> Options {
    Options {
        administrator: Some("alice".into()),
        ..Options::new(directory.join("data"))
    }
}

pub async fn answer(response: reqwest::Response) -> Answer {
    let status = response.status();
    let kind = response
        .headers()
        .get("content-type")
        .map_or("", |v| v.to_str().unwrap())
        .to_owned();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, body, kind }
}

/// A notification as Alertmanager sends it.
pub fn notification(name: &str, status: &str, severity: &str) -> Value {
    let labels = json!({"alertname": name, "severity": severity, "instance": "patient:8080"});
    let fingerprint = format!(
        "{:016x}",
        name.bytes()
            .fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)))
    );
    json!({
        "version": "4", "groupKey": format!("{{}}:{{alertname=\"{name}\"}}"), "truncatedAlerts": 0,
        "status": status, "receiver": "cofferdam", "groupLabels": {"alertname": name},
        "commonLabels": labels, "commonAnnotations": {"summary": format!("{name} is bad")},
        "externalURL": "http://127.0.0.1:9093",
        "alerts": [{
            "status": status, "labels": labels, "annotations": {"summary": format!("{name} is bad")},
            "startsAt": "2026-11-21T04:00:00Z",
            "endsAt": if status == "resolved" { "2026-11-21T04:10:00Z" } else { "0001-01-01T00:00:00Z" },
            "generatorURL": "http://127.0.0.1:9090/graph", "fingerprint": fingerprint,
        }],
    })
}
