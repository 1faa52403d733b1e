//! From a notification to an incident, an investigation and a summary.

use crate::channel::ChannelSpec;
use crate::incident::IncidentView;
use gate::{Caller, Gate};
use runtime::Runtime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Projection;

/// `spec` of a `Trigger`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TriggerSpec {
    /// `alertmanager`: the only source in this version.
    pub source: Source,
    /// The agent that investigates.
    pub agent: String,
    /// Names of channels.
    #[serde(default)]
    pub channels: Vec<String>,
    /// A notification that tells nothing new within this window is only counted. Default 300.
    #[serde(default = "debounce")]
    pub debounce_seconds: u32,
    /// Labels that relate alerts to each other: an alert that agrees with an open incident in all of
    /// them attaches. Default `[alertname]`... of the same group key always attaches.
    #[serde(default)]
    pub related_by: Vec<String>,
}

fn debounce() -> u32 {
    300
}

/// Where notifications come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `POST /hooks/alertmanager`.
    Alertmanager,
}

/// What became of a notification. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Sequence of its entry.
    pub entry: u64,
    /// The incident, unless it resolved nothing known.
    pub incident: Option<String>,
    /// `opened`, `attached`, `repeated`, `resolved`, `logged`, `ignored`.
    pub disposition: String,
    /// The session that investigates, if one was queued now.
    pub session: Option<String>,
}

/// Why a notification was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The caller's token is not for a trigger that exists.
    #[error("no trigger `{0}`")]
    UnknownTrigger(String),
    /// Not one that can be read.
    #[error(transparent)]
    Refused(#[from] assay::alertmanager::Refused),
    /// Not recorded: try again later.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

/// Triage. Shared as `Arc`.
pub struct Triage {
    _private: (),
}

/// The projections of this crate: `incidents`, `deliveries`.
pub fn projections() -> Vec<Arc<dyn Projection>> {
    todo!()
}

impl Triage {
    /// Not running yet. Registers itself as the runtime's watcher.
    pub fn new(gate: Arc<Gate>, runtime: Arc<Runtime>) -> Arc<Triage> {
        let _ = (gate, runtime);
        todo!()
    }
    /// Triggers and channels from now on.
    pub fn install(&self, triggers: BTreeMap<String, TriggerSpec>, channels: BTreeMap<String, ChannelSpec>) {
        let _ = (triggers, channels);
        todo!()
    }
    /// Takes up undelivered messages and unfinished incidents, starts delivering.
    pub async fn start(self: &Arc<Self>) -> Result<(), store::StoreError> {
        todo!()
    }
    /// One notification, by a caller whose token is for a trigger.
    pub async fn receive(&self, caller: &Caller, body: &[u8]) -> Result<Received, IntakeError> {
        let _ = (caller, body);
        todo!()
    }
    /// The newest first.
    pub fn incidents(&self, limit: usize) -> Result<Vec<IncidentView>, store::StoreError> {
        let _ = limit;
        todo!()
    }
    /// One.
    pub fn incident(&self, id: &str) -> Result<Option<IncidentView>, store::StoreError> {
        let _ = id;
        todo!()
    }
    /// For `incidents.search`; made before the gate exists, so over the store alone.
    pub fn search(store: store::Store) -> Arc<dyn runtime::tools::IncidentSearch> {
        let _ = store;
        todo!()
    }
    /// Waits for deliveries under way, at most `grace`.
    pub async fn drain(&self, grace: std::time::Duration) {
        let _ = grace;
        todo!()
    }
}
