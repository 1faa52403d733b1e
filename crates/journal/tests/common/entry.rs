//! Entries as a triage leaves them.

use journal::Entry;
use policy::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// Name of the log.
pub const ORIGIN: &str = "cofferdam.example/tests";

/// An entry like those of a triage, about 700 bytes long.
pub fn entry(sequence: u64) -> Entry {
    let resource = format!("prometheus:query/up{{job=\"checkout-{}\"}}", sequence % 13);
    Entry {
        v: 1,
        log: ORIGIN.to_owned(),
        sequence,
        timestamp: Timestamp::from_ms(1_795_000_000_000 + sequence as i64),
        kind: "action.permitted".to_owned(),
        session: Some(format!("ses-{}", sequence / 10)),
        actor: "agent:triage".to_owned(),
        cause: Some("service:trigger/alertmanager".to_owned()),
        correlation: Some("INC-2026-1121-001".to_owned()),
        body: json!({
            "step": "latency", "verb": "prometheus.query", "resource": resource, "environment": "production",
            "effect": "read", "idempotence": "idempotent", "decision": "permit", "reason": "granted by toolset",
            "rule": null, "level": "L1", "policy": "9f86d081884c7d659a2feaa0c55ad015", "generation": 3,
            "trust": 500, "taint": ["alert"],
        }),
        commitments: vec![journal::Commitment {
            name: "arguments".to_owned(),
            hmac_sha256: policy::canonical::hex(&journal::entry::commit(&[1; 32], &sequence.to_be_bytes())),
        }],
        projections: BTreeMap::new(),
    }
}
