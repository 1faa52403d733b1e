//! `cofferdam init`: the commented configuration that works as it is.

use std::io::Write as _;
use std::path::Path;

/// The starter configuration, as `cofferdam init` writes it.
pub const STARTER: &str = include_str!("starter.yaml");

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It is never overwritten.
    #[error("`{0}` exists; move it away or name another file")]
    Exists(String),
    /// The system said no.
    #[error("cannot write `{path}`")]
    Unwritable {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Writes the starter configuration to `path`; refuses to overwrite.
///
/// # Errors
/// The file exists or cannot be written.
pub fn init(path: &Path) -> Result<(), InitError> {
    let shown = path.display().to_string();
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(STARTER.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => InitError::Exists(shown),
        _ => InitError::Unwritable { path: shown, source },
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Spec, from_text};
    use super::*;
    use policy::Outcome;
    use runtime::runbook::{Next, Plan, StepResult};
    use serde_json::{Value, json};

    /// The summary and the last observation, when the last change came at `time` and touched `files`.
    fn said(time: &str, files: &Value) -> (String, String) {
        let documents = from_text("starter", STARTER).unwrap();
        let agent = documents.iter().find_map(|document| match &document.spec {
            Spec::Agent(spec) => Some(spec),
            _ => None,
        });
        let incident = json!({"id": "INC-1", "title": "Down", "onset": "2026-11-21T10:00:00.000Z"});
        let event = json!({"now": "2026-11-21T10:05:00.000Z", "incident": incident, "alert": {"name": "Down", "labels": {}}});
        let mut plan = Plan::new(agent.unwrap().runbook.as_ref().unwrap(), &event);
        while let Next::Propose { key, .. } = plan.advance() {
            let commit = json!({"commit": "1a2b3c4d5e6f7a8b9c0d", "author": "Ann", "title": "Turn", "time": time, "files": files});
            let output = match key.as_str() {
                "firing" => json!({"alerts": []}),
                "rules" => json!({"rules": []}),
                "commits" => json!({"commits": [commit]}),
                "suspect" => commit,
                _ => json!({"incidents": []}),
            };
            plan.record(StepResult::settled(Outcome::Success, output, None, Some(7)));
        }
        let output = plan.output(false).unwrap().unwrap();
        let last = output["observations"].as_array().unwrap().last().unwrap();
        let words = |text: &Value| {
            text.as_str()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        (words(&output["summary"]), words(&last["text"]))
    }

    #[test]
    fn the_starter_tells_the_last_change_in_words() {
        #[rustfmt::skip]
        let table = [
            ("2026-11-21T10:00:00.000Z", json!([]),                               "less than a minute", "no file"),
            ("2026-11-21T09:59:30.000Z", json!([{"path": "a"}]),                  "less than a minute", "a"),
            ("2026-11-21T09:58:30.000Z", json!([{"path": "a"}, {"path": "b/c"}]), "1.5 minutes",        "a, b/c"),
        ];
        for (time, files, distance, touched) in table {
            assert_eq!(
                said(time, &files),
                (
                    format!(
                        "Down. The last change before it began is 1a2b3c4d5e6… \"Turn\" by Ann, {distance} earlier."
                    ),
                    format!("1a2b3c4d5e6… touches {touched}")
                )
            );
        }
    }
}
