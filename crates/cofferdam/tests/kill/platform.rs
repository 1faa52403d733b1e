//! The platform as its user has it: the binary, a data directory, HTTP.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Platform {
    folder: tempfile::TempDir,
    port: u16,
    further: &'static [&'static str],
    child: Option<Child>,
    http: reqwest::Client,
    tokens: Option<Tokens>,
}

/// Secrets of the three who take part. They survive every crash, or requests fail and the test with them.
#[derive(Clone)]
pub struct Tokens {
    pub admin: String,
    pub approver: String,
    pub trigger: String,
}

/// What the journal holds, read from its file while nothing runs.
#[derive(Default)]
pub struct Record {
    pub size: u64,
    /// Resources of all `action.permitted` entries.
    pub permitted: BTreeSet<String>,
    pub hashes: Vec<String>,
}

impl Platform {
    pub fn prepare(world: u16) -> Platform {
        Platform::with(&documents(world), &[])
    }

    /// With these documents and further arguments of `up`.
    pub fn with(documents: &str, further: &'static [&'static str]) -> Platform {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        std::fs::write(folder.path().join("config/crash.yaml"), documents).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Platform {
            folder,
            port,
            further,
            child: None,
            http: reqwest::Client::new(),
            tokens: None,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn tokens(&self) -> Tokens {
        self.tokens
            .clone()
            .expect("tokens were made after the first start")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub async fn start(&mut self) -> Result<(), String> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .current_dir(self.folder.path())
            .args(["up", "--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--data-dir")
            .arg(self.data())
            .arg("--config")
            .arg(self.folder.path().join("config"))
            .args(self.further)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(answer) = self.http.get(self.url("/readyz")).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            let ended = self.child.as_mut().and_then(|c| c.try_wait().unwrap());
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                return Err(format!(
                    "did not become ready ({ended:?}); its log ends (newest first): {tail:#?}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn ensure_tokens(&mut self) {
        if self.tokens.is_some() {
            return;
        }
        let admin = std::fs::read_to_string(self.data().join("admin.token"))
            .unwrap()
            .trim()
            .to_owned();
        let approver = self
            .new_token(
                &admin,
                json!({"principal": "person:approver", "roles": ["approver"]}),
            )
            .await;
        let trigger = self.new_token(&admin, json!({"trigger": "alerts"})).await;
        self.tokens = Some(Tokens {
            admin,
            approver,
            trigger,
        });
    }

    async fn new_token(&self, admin: &str, body: Value) -> String {
        let request = self.http.post(self.url("/api/v1/tokens")).bearer_auth(admin);
        let answer = request
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["secret"]
            .as_str()
            .unwrap_or_else(|| panic!("no secret in {text}"))
            .to_owned()
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap(); // SIGKILL
            child.wait().unwrap();
        }
    }

    /// Reads what came to the journal's file since `record` was read last. What was read before is
    /// the same as ever if the last of it is: `verify_offline` shows that for all of it.
    pub fn read_on(&self, record: &mut Record, context: &str) {
        let connection = rusqlite::Connection::open(self.data().join("journal.db")).unwrap();
        let mut statement = connection
            .prepare("SELECT seq, leaf, hash FROM entries WHERE seq >= ?1 ORDER BY seq")
            .unwrap();
        let known = record.hashes.pop();
        record.size = record.hashes.len() as u64;
        let from = record.size;
        let mut rows = statement.query([from]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            assert_eq!(
                row.get::<_, u64>(0).unwrap(),
                record.size,
                "{context}: the sequence has a gap"
            );
            let hash = policy::canonical::hex(&row.get::<_, Vec<u8>>(2).unwrap());
            if record.size == from && known.as_ref().is_some_and(|known| *known != hash) {
                panic!("{context}: entry {from} became another");
            }
            let leaf: Vec<u8> = row.get(1).unwrap();
            let entry: Value = serde_json::from_slice(&leaf).unwrap();
            if entry["kind"] == "action.permitted" {
                record
                    .permitted
                    .insert(entry["body"]["resource"].as_str().unwrap().to_owned());
            }
            record.hashes.push(hash);
            record.size += 1;
        }
        assert!(
            known.is_none() || record.size > from,
            "{context}: the journal shrank below entry {from}"
        );
    }

    /// `cofferdam audit verify` against every checkpoint that was handed out.
    pub fn verify_offline(&self, checkpoints: &[String], context: &str) {
        let against = self.folder.path().join("against.txt");
        std::fs::write(&against, checkpoints.join("\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["audit", "verify", "--data-dir"])
            .arg(self.data())
            .arg("--against")
            .arg(&against)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{context}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One agent that acts twice on its own, one that has to ask, and a trigger.
fn documents(world: u16) -> String {
    format!(
        r#"apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {{name: world}}
spec:
  environment: test
  tools:
    - {{type: http, allow: ["http://127.0.0.1:{world}/"], private: true, write: true}}
---
apiVersion: cofferdam.dev/v1
kind: Policy
metadata: {{name: crash}}
spec:
  rules:
    - name: effects
      match: {{verbs: [http.request], environments: [test], agents: [worker]}}
      outcome: permit
    - name: asked
      match: {{verbs: [http.request], environments: [test], agents: [asker]}}
      outcome: require_approval
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {{name: worker}}
spec:
  sponsor: crash
  toolsets: [world]
  autonomy: {{default: L3, sandboxes: [test]}}
  bounds: {{actionsPerSession: 50, actionsPerMinute: 1000000, actionsPerSecond: 1000000}}
  runbook:
    steps:
      - {{name: look, tool: http.get, arguments: {{url: "http://127.0.0.1:{world}/look"}}}}
      - {{name: first, tool: http.request, arguments: {{method: POST, url: "http://127.0.0.1:{world}/effect/{{{{ event.id }}}}/1", body: "x"}}}}
      - {{name: second, tool: http.request, arguments: {{method: POST, url: "http://127.0.0.1:{world}/effect/{{{{ event.id }}}}/2", body: "x"}}}}
    output: {{done: "{{{{ event.id }}}}"}}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {{name: asker}}
spec:
  sponsor: crash
  toolsets: [world]
  autonomy: {{default: L2}}
  bounds: {{actionsPerSession: 50, actionsPerMinute: 1000000, actionsPerSecond: 1000000}}
  runbook:
    steps:
      - {{name: ask, tool: http.request, arguments: {{method: POST, url: "http://127.0.0.1:{world}/asked/{{{{ event.id }}}}", body: "x"}}}}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {{name: triage}}
spec:
  sponsor: crash
  toolsets: [world]
  bounds: {{actionsPerSession: 50, actionsPerMinute: 1000000, actionsPerSecond: 1000000}}
  runbook:
    steps:
      - {{name: look, tool: http.get, arguments: {{url: "http://127.0.0.1:{world}/look"}}}}
    output: {{summary: "looked"}}
---
apiVersion: cofferdam.dev/v1
kind: Trigger
metadata: {{name: alerts}}
spec: {{source: alertmanager, agent: triage}}
"#
    )
}
