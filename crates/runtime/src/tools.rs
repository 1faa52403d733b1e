//! `Toolset` documents and the built-in tools they bind.

use gate::Tools;
use policy::Grant;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `spec` of a `Toolset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ToolsetSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Where these tools act. Default `production`: the strictest.
    #[serde(default = "production")]
    pub environment: String,
    /// What is bound.
    pub tools: Vec<Binding>,
}

fn production() -> String {
    "production".to_owned()
}

/// One binding of tools to what they may touch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", tag = "type")]
pub enum Binding {
    /// `http.get` and, with `write: true`, `http.request` (whose effect follows the method).
    Http {
        /// Prefixes of URLs: `http://127.0.0.1:8080/`. Scheme, host and port have to be equal.
        allow: Vec<String>,
        /// Whether loopback and private addresses may be reached. Default no.
        #[serde(default)]
        private: bool,
        /// Whether `http.request` exists.
        #[serde(default)]
        write: bool,
    },
    /// `prometheus.query`, `.query_range`, `.alerts`, `.rules`.
    Prometheus {
        /// Base URL.
        url: String,
    },
    /// `git.log`, `.diff`, `.show`, `.blame` and, with `propose: true`, `git.propose`.
    Git {
        /// Name in resources: `repository/NAME`.
        name: String,
        /// A local repository.
        path: PathBuf,
        /// Whether `git.propose` exists.
        #[serde(default)]
        propose: bool,
    },
    /// `incidents.search`.
    Incidents {},
}

/// Why a toolset cannot be bound.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("spec.tools[{index}]: {what}")]
pub struct BindError {
    /// Which binding.
    pub index: usize,
    /// What is wrong.
    pub what: String,
}

/// Search over incidents, supplied by `ops`.
pub trait IncidentSearch: Send + Sync {
    /// Closed and open incidents like these words, best first: JSON objects with `id`, `title`,
    /// `severity`, `status`, `opened`, `resolution`, `score`.
    fn similar(&self, words: &str, not: Option<&str>, limit: usize) -> Result<Vec<serde_json::Value>, String>;
}

/// Makes the tools and the grants of toolset `name`.
pub fn bind(
    name: &str,
    spec: &ToolsetSpec,
    incidents: std::sync::Arc<dyn IncidentSearch>,
) -> Result<(Tools, Vec<Grant>), BindError> {
    let _ = (name, spec, incidents);
    todo!()
}
