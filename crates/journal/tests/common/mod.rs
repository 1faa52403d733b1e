//! A log as the store would hold it, in memory.

use journal::merkle::{Frontier, Hash, Nodes, leaf_hash, node_hash};
use journal::tiles::{self, Tile};
use journal::{Entry, checkpoint::Checkpoint, note::Signer};
use policy::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;

pub const ORIGIN: &str = "cofferdam.example/tests";

/// The log's key. Its seed is known, so it signs nothing but tests.
pub fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

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

/// Leaves, and every perfect subtree above them.
pub struct Log {
    pub leaves: Vec<Vec<u8>>,
    levels: Vec<Vec<Hash>>,
}

impl Log {
    pub fn of(leaves: Vec<Vec<u8>>) -> Log {
        let mut levels = vec![leaves.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            levels.push(
                below
                    .as_chunks()
                    .0
                    .iter()
                    .map(|[left, right]| node_hash(left, right))
                    .collect(),
            );
        }
        Log { leaves, levels }
    }
    pub fn with_entries(count: u64) -> Log {
        Log::of(
            (0..count)
                .map(|sequence| entry(sequence).to_leaf().unwrap())
                .collect(),
        )
    }
    /// What the log commits to at `size`.
    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        let mut frontier = Frontier::new();
        self.leaves
            .iter()
            .take(size as usize)
            .for_each(|leaf| frontier.append(leaf_hash(leaf)));
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: frontier.root(),
        }
    }
    /// All files of an export, by path.
    pub fn export(&self) -> BTreeMap<String, Vec<u8>> {
        let size = self.leaves.len() as u64;
        let content = |tile: Tile| match tile.level {
            Some(_) => tiles::hash_tile(&tile.hashes(self).unwrap().unwrap()),
            None => {
                let range = tile.range();
                let leaves = self.leaves[range.start as usize..range.end as usize].iter();
                tiles::entry_bundle(leaves.map(Vec::as_slice)).unwrap()
            }
        };
        let mut files: BTreeMap<_, _> = tiles::all(size)
            .map(|tile| (tile.path(), content(tile)))
            .collect();
        let note = self.checkpoint(size).sign(&signer()).unwrap();
        files.insert("checkpoint".to_owned(), note.into_bytes());
        files
    }
}

impl Nodes for Log {
    type Error = Infallible;
    fn node(&self, level: u8, index: u64) -> Result<Option<Hash>, Infallible> {
        Ok(self
            .levels
            .get(usize::from(level))
            .and_then(|level| level.get(index as usize))
            .copied())
    }
}
