//! The story, act by act. Every act waits for what really happens and tells it.

use super::breakage::Breakage;
use super::follow::{Decider, Follow, Found};
use super::narrator::Narrator;
use super::proof;
use super::repository::Signature;
use super::stage::{COLLEAGUE, Directory, Stage};
use super::watch::Sent;
use crate::cli::client::segment;
use crate::cli::failure::Failure;
use crate::cli::table::Look;
use crate::cli::text::{indented, short_hashes};
use crate::cli::value::{field, text};
use owo_colors::OwoColorize;
use policy::Timestamp;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Share of requests that fail.
const FAILING: &str =
    "sum(rate(shop_requests_total{class=\"5xx\"}[2s])) / sum(rate(shop_requests_total[2s]))";
/// Seconds that a look-up takes.
const PACE: &str = "sum(rate(shop_request_seconds_sum{route=\"stock\"}[2s])) / sum(rate(shop_request_seconds_count{route=\"stock\"}[2s]))";

/// A look-up that takes less, in milliseconds, is well: far below what the alert asks for.
const WELL_MS: f64 = 40.0;

/// What the story needs.
pub struct Story<'a, 's> {
    /// What it happens on.
    pub stage: &'a mut Stage,
    /// Who tells it.
    pub narrator: &'a mut Narrator<'s>,
    /// Where files are.
    pub directory: &'a Directory,
    /// What the bad release breaks.
    pub breakage: Breakage,
    /// Who decides about the change.
    pub decider: Decider,
}

/// An incident and who investigates it.
struct Opened {
    incident: String,
    session: String,
    onset: Timestamp,
}

impl Story<'_, '_> {
    /// From the beginning to the end.
    pub async fn tell(&mut self) -> Result<(), Failure> {
        self.opening().await?;
        self.past().await?;
        let opened = self.bad_release().await?;
        self.narrator.act("triage", "The agent investigates")?;
        let found = self.follow(&opened, self.decider).await?;
        self.recovery(&opened.incident, &found).await?;
        self.summary(&opened.incident).await?;
        self.stage.stop_platform().await;
        proof::show(self.narrator, self.directory, &found).await?;
        self.closing()
    }

    async fn opening(&mut self) -> Result<(), Failure> {
        self.narrator.act("opening", "The platform and its patient")?;
        let url = self
            .stage
            .platform
            .as_ref()
            .map(crate::app::Running::url)
            .unwrap_or_default();
        let data = self.directory.join("data").display().to_string();
        let said = format!("{url}, journal in {data}");
        self.narrator.fact(
            "platform",
            "platform",
            &said,
            Look::Plain,
            json!({ "url": url, "data_dir": data }),
        )?;
        let commit = self.stage.repository.head().await?;
        let patient = self.stage.patient.url.clone();
        let said = format!(
            "a shop at {patient}, released from a Git repository at {}",
            short(&commit)
        );
        self.narrator.fact(
            "patient",
            "patient",
            &said,
            Look::Plain,
            json!({ "url": patient, "commit": commit }),
        )?;
        let agents = self
            .stage
            .person
            .get("/api/v1/documents/Agent/triage", &[])
            .await?;
        let level = text(&agents, "document.spec.autonomy.environments.production");
        let said = format!(
            "triage, autonomy {level} in production: reads what its tools grant, writes nothing without a rule"
        );
        self.narrator.fact(
            "agent",
            "agent",
            &said,
            Look::Plain,
            json!({ "agent": "triage", "level": level }),
        )?;
        let (served, failed) = (self.served(), self.failed());
        let said = format!("{served} requests so far, {failed} failed");
        self.narrator.fact(
            "customers",
            "customers",
            &said,
            Look::Plain,
            json!({ "served": served, "failed": failed }),
        )
    }

    /// A first incident, from release to recovery, told in short.
    async fn past(&mut self) -> Result<(), Failure> {
        self.narrator
            .act("past", "A first incident, so that there is a past")?;
        let breakage = self.breakage.earlier();
        self.release(breakage).await?;
        let opened = self.alert(breakage).await?;
        let found = self.follow(&opened, Decider::Colleague).await?;
        let said = format!("{} actions permitted, {} refused", found.permitted, found.refused);
        let data =
            json!({ "session": opened.session, "permitted": found.permitted, "refused": found.refused });
        self.narrator
            .fact("triaged", "triage", &said, Look::Plain, data)?;
        self.land(&found, COLLEAGUE).await?;
        self.resolved(&opened.incident, breakage).await
    }

    async fn follow(&mut self, opened: &Opened, decider: Decider) -> Result<Found, Failure> {
        Follow::new(self.stage, self.narrator, decider, opened.onset)
            .until_it_ends(&opened.session)
            .await
    }

    async fn bad_release(&mut self) -> Result<Opened, Failure> {
        self.narrator.act("incident", "A bad release")?;
        self.release(self.breakage).await?;
        self.alert(self.breakage).await
    }

    async fn recovery(&mut self, incident: &str, found: &Found) -> Result<(), Failure> {
        self.narrator
            .act("recovery", "A person lands it, and the patient recovers")?;
        let person = self.stage.person_name.clone();
        self.land(found, &person).await?;
        self.resolved(incident, self.breakage).await
    }

    /// Somebody commits the bad change and releases it.
    async fn release(&mut self, breakage: Breakage) -> Result<(), Failure> {
        let bad = breakage.commit();
        let head = self.stage.repository.head().await?;
        let settings = self.stage.repository.file_at(&head, "service.yaml").await?;
        let changed = format!("{}\n", settings.replacen(bad.from, bad.to, 1));
        let who = Signature {
            name: bad.author,
            at: None,
        };
        let commit = self
            .stage
            .repository
            .commit("service.yaml", &changed, bad.title, who)
            .await?;
        self.stage
            .ask_patient(reqwest::Method::POST, "/-/redeploy")
            .await?;
        let said = format!("{} “{}” by {}", short(&commit), bad.title, bad.author);
        let data = json!({ "commit": commit, "title": bad.title, "author": bad.author });
        self.narrator.fact("release", "release", &said, Look::Bold, data)
    }

    /// Waits until the alert fires and the platform took it.
    async fn alert(&mut self, breakage: Breakage) -> Result<Opened, Failure> {
        let sent = self.notification(breakage.alert(), "firing").await?;
        let data = json!({ "alert": sent.alert, "status": sent.status, "summary": sent.summary, "payload": sent.payload });
        self.narrator.fact(
            "alert",
            "alert",
            &format!("{}: {}", sent.alert, sent.summary),
            Look::Red,
            data,
        )?;
        let (incident, session) = (text(&sent.answer, "incident"), text(&sent.answer, "session"));
        if incident.is_empty() || session.is_empty() {
            return Err(Failure::Failed(format!(
                "the alert started no investigation: {}",
                sent.answer
            )));
        }
        let (disposition, entry) = (text(&sent.answer, "disposition"), text(&sent.answer, "entry"));
        let said = format!("{incident} {disposition}, entry {entry}; {session} investigates");
        let data = json!({ "incident": incident, "session": session, "entry": field(&sent.answer, "entry") });
        self.narrator
            .fact("incident", "incident", &said, Look::Plain, data)?;
        let began = sent
            .payload
            .pointer("/alerts/0/startsAt")
            .and_then(Value::as_str)
            .and_then(Timestamp::parse);
        let onset = began.ok_or_else(|| Failure::Failed("the alert does not say when it began".into()))?;
        Ok(Opened {
            incident,
            session,
            onset,
        })
    }

    /// A person merges the branch, or takes the change back by hand, and releases.
    async fn land(&mut self, found: &Found, person: &str) -> Result<(), Failure> {
        let who = Signature {
            name: person,
            at: None,
        };
        let repository = &self.stage.repository;
        let (how, branch, commit) = match &found.branch {
            Some(branch) => {
                let commit = repository.merge(branch, &format!("Merge {branch}"), who).await?;
                ("git merge".to_owned(), branch.clone(), commit)
            }
            None => {
                let head = repository.head().await?;
                (
                    format!("git revert {} by hand", short(&head)),
                    String::new(),
                    repository.revert(&head, who).await?,
                )
            }
        };
        let said = format!("{how}; main is at {}", short(&commit));
        let data = json!({ "by": person, "branch": branch, "commit": commit });
        self.narrator
            .fact("merge", &format!("as {person}"), &said, Look::Plain, data)?;
        self.stage
            .ask_patient(reqwest::Method::POST, "/-/redeploy")
            .await?;
        let said = format!("{} runs", short(&commit));
        self.narrator.fact(
            "redeploy",
            "release",
            &said,
            Look::Plain,
            json!({ "commit": commit }),
        )
    }

    /// Waits until the alert is over and the incident is closed, and looks at the patient.
    async fn resolved(&mut self, incident: &str, breakage: Breakage) -> Result<(), Failure> {
        let sent = self.notification(breakage.alert(), "resolved").await?;
        let shown = self.incident(incident).await?;
        let (failing, pace) = self.recovered().await?;
        let said = format!(
            "{} is over: {failing:.0} % fail, a look-up takes {pace:.0} ms",
            sent.alert
        );
        let data = json!({ "alert": sent.alert, "failing_percent": failing, "look_up_ms": pace });
        self.narrator
            .fact("recovered", "patient", &said, Look::Green, data)?;
        let said = format!(
            "{incident} {}: {}",
            text(&shown, "status"),
            short_hashes(&text(&shown, "resolution"))
        );
        let data = json!({
            "incident": incident, "status": field(&shown, "status"), "resolution": field(&shown, "resolution"),
        });
        self.narrator
            .fact("resolved", "incident", &said, Look::Green, data)
    }

    async fn summary(&mut self, incident: &str) -> Result<(), Failure> {
        self.narrator.act("summary", "What the person reads")?;
        let shown = self.incident(incident).await?;
        let found = field(&shown, "summary").clone();
        if found.is_null() {
            return Err(Failure::Failed(format!("{incident} has no summary")));
        }
        self.narrator.tell(
            "summary",
            json!({ "incident": incident, "summary": found }),
            |columns| {
                indented(
                    &crate::cli::incidents::summary(&found, columns.saturating_sub(3)),
                    3,
                )
            },
        )
    }

    fn closing(&mut self) -> Result<(), Failure> {
        let (served, failed) = (self.served(), self.failed());
        let data = json!({ "served": served, "failed": failed });
        self.narrator.tell("end", data, |_| {
            let next = [
                ("cofferdam init", "writes a configuration to start from"),
                ("cofferdam up", "runs the platform on 127.0.0.1:7400"),
                ("cofferdam demo --break latency", "breaks the shop in another way"),
            ];
            let lines = next.map(|(command, what)| format!("   {:<32}{}\n", command.bold(), what.dimmed()));
            format!(
                "\n{}\n{}",
                "   Nothing of this is left running. Next:".dimmed(),
                lines.concat()
            )
        })
    }

    /// The next notification about `alert` with that status. Others are told to the platform as well,
    /// but not here.
    async fn notification(&mut self, alert: &str, status: &str) -> Result<Sent, Failure> {
        let wait = async {
            while let Some(sent) = self.stage.watch.sent.recv().await {
                if sent.alert == alert && sent.status == status {
                    return Ok(sent);
                }
            }
            Err(Failure::Failed("the stand-in for Prometheus ended".into()))
        };
        let sent = tokio::time::timeout(PATIENCE, wait).await;
        let sent =
            sent.map_err(|_| Failure::Failed(format!("`{alert}` was not {status} within {PATIENCE:?}")))??;
        match sent.http_status {
            200..300 => Ok(sent),
            status => Err(Failure::Failed(format!(
                "the platform answered {status} to the alert: {}",
                sent.answer
            ))),
        }
    }

    /// Waits until the patient is well, and gives what it still shows: how many percent of the requests
    /// fail, and how many milliseconds a look-up takes.
    async fn recovered(&self) -> Result<(f64, f64), Failure> {
        let wait = async {
            loop {
                let failing = self.stage.watch.value(FAILING).unwrap_or_default() * 100.0;
                let pace = self.stage.watch.value(PACE).unwrap_or_default() * 1000.0;
                if failing < 1.0 && pace < WELL_MS {
                    return (failing, pace);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let shown = tokio::time::timeout(PATIENCE, wait).await;
        shown.map_err(|_| Failure::Failed(format!("the patient did not recover within {PATIENCE:?}")))
    }

    async fn incident(&self, id: &str) -> Result<Value, Failure> {
        self.stage
            .person
            .get(&format!("/api/v1/incidents/{}", segment(id)), &[])
            .await
    }

    fn served(&self) -> u64 {
        self.stage.load.seen.served.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.stage.load.seen.failed.load(Ordering::Relaxed)
    }
}

/// The first eight characters of a commit.
fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}
