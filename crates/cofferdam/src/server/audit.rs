//! The journal, read: entries, proofs, checkpoints, verification. Nothing here can change it.

use super::call::{Answer, Call, ok};
use super::places::entry_spots;
use super::problem::ApiError;
use super::redacted::redacted;
use super::stream::{self, Follow, is_of, view};
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream as futures_stream;
use gate::Role;
use http::{HeaderValue, header};
use journal::merkle::Hash;
use journal::proof::InclusionBundle;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use store::{Erasable, Store, StoreError, Stored};
use tokio::sync::mpsc;

/// Most entries in one answer.
const LIST_MAX: usize = 1000;
/// Most entries looked at for one answer that filters by kind.
const SCAN_MAX: usize = 20_000;
/// Most checkpoints to verify against at once.
const AGAINST_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// First sequence wanted; without it the newest entries come.
    from: Option<u64>,
    limit: Option<usize>,
    session: Option<String>,
    kind: Option<String>,
}

/// `GET /api/v1/audit/entries?from=&limit=&session=&kind=`: `entries` in order of sequence, the
/// journal's `size`, and `next`, where to go on.
pub async fn entries(call: Call) -> Answer {
    let query: List = call.query()?;
    let limit = query.limit.unwrap_or(100).clamp(1, LIST_MAX);
    let whole = call.everywhere();
    let store = call.app.gate.store().clone();
    let size = size(&store)?;
    let window = if whole { limit } else { SCAN_MAX };
    let newest = size.saturating_sub(u64::try_from(window).unwrap_or(u64::MAX));
    let mut from = query
        .from
        .unwrap_or(if query.session.is_some() { 0 } else { newest });
    let mut found: Vec<Value> = Vec::new();
    let mut looked_at = 0;
    while found.len() < limit && looked_at < SCAN_MAX {
        let page: Vec<Stored> = store.read(|reader| match &query.session {
            Some(session) => reader.session_entries(session, from, limit),
            None => reader.entries(from, limit),
        })?;
        let Some(last) = page.last() else { break };
        looked_at += page.len();
        from = last.entry.sequence.saturating_add(1);
        for stored in page {
            let wanted = query
                .kind
                .as_deref()
                .is_none_or(|kind| is_of(&stored.entry.kind, kind));
            if wanted && (whole || call.sees(&entry_spots(&call.app, &stored.entry)?)) {
                if found.len() == limit {
                    from = stored.entry.sequence;
                    break;
                }
                found.push(view(&stored));
            }
        }
    }
    ok(&json!({"entries": found, "size": size, "next": from}))
}

/// `GET /api/v1/audit/entries/{sequence}`: one, with its payloads as far as they were not erased. Only an
/// administrator sees them as they are; `redacted` says where something was hidden.
pub async fn entry(call: Call) -> Answer {
    let sequence = sequence(call.parameter("sequence"))?;
    let admin = call.app.gate.store().read(|reader| reader.entry(sequence))?;
    let spots = admin
        .map(|stored| entry_spots(&call.app, &stored.entry))
        .transpose()?;
    let plain = spots.is_some_and(|spots| spots.iter().all(|spot| call.caller.holds(&[Role::Admin], spot)));
    let shown = call.app.gate.store().read(|reader| {
        let Some(stored) = reader.entry(sequence)? else {
            return Ok(None);
        };
        let mut payloads = Map::new();
        for commitment in &stored.entry.commitments {
            let payload = match reader.payload(sequence, &commitment.name)? {
                Erasable::Present(value) if plain => json!({"state": "present", "value": value}),
                Erasable::Present(value) => {
                    let shown = redacted(value.clone());
                    json!({"state": "present", "redacted": shown != value, "value": shown})
                }
                Erasable::Erased => json!({"state": "erased"}),
                Erasable::Absent => json!({"state": "absent"}),
            };
            payloads.insert(commitment.name.clone(), payload);
        }
        Ok(Some((view(&stored), payloads)))
    })?;
    let (mut shown, payloads) = shown.ok_or_else(|| ApiError::not_found(format!("entry {sequence}")))?;
    if let Some(map) = shown.as_object_mut() {
        map.insert("payloads".into(), payloads.into());
    }
    ok(&shown)
}

fn size(store: &Store) -> Result<u64, StoreError> {
    store.read(|reader| reader.size())
}

pub(super) fn sequence(text: &str) -> Result<u64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::malformed("sequence", format!("`{text}` is not a sequence")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    from: Option<u64>,
    kind: Option<String>,
}

/// `GET /api/v1/audit/events?from=&kind=`: entries as they come; without `from`, only new ones.
pub async fn events(call: Call) -> Answer {
    let query: Events = call.query()?;
    let from = match stream::resume_after(&call.headers)?.or(query.from) {
        Some(from) => from,
        None => size(call.app.gate.store())?,
    };
    Ok(stream::events(
        &call,
        Follow::Journal {
            kind: query.kind,
            whole: call.everywhere(),
            roles: call.roles,
        },
        from,
    ))
}

/// `GET /api/v1/audit/checkpoint`: the present size, signed, and the key that verifies it.
pub async fn checkpoint(call: Call) -> Answer {
    let store = call.app.gate.store();
    let signed = store.checkpoint().await?;
    ok(&json!({
        "origin": signed.checkpoint.origin,
        "size": signed.checkpoint.size,
        "root": STANDARD.encode(signed.checkpoint.root),
        "note": signed.note,
        "vkey": store.verifier().to_vkey(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inclusion {
    sequence: u64,
}

/// `GET /api/v1/audit/proofs/inclusion?sequence=`: a bundle that proves the entry offline.
pub async fn inclusion(call: Call) -> Answer {
    let query: Inclusion = call.query()?;
    let store = call.app.gate.store();
    let signed = store.checkpoint().await?;
    let size = signed.checkpoint.size;
    let found = store.read(|reader| {
        Ok((
            reader.entry(query.sequence)?,
            reader.inclusion_proof(query.sequence, size)?,
        ))
    })?;
    let (Some(stored), Some(proof)) = found else {
        return Err(ApiError::not_found(format!(
            "entry {} in the log of {size} entries",
            query.sequence
        )));
    };
    let leaf = stored
        .entry
        .to_leaf()
        .map_err(|error| ApiError::internal(&error))?;
    ok(&InclusionBundle::new(
        &signed.note,
        &store.verifier(),
        query.sequence,
        &leaf,
        &proof,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consistency {
    old: u64,
    new: Option<u64>,
}

/// `GET /api/v1/audit/proofs/consistency?old=&new=`: that the smaller log is a prefix of the larger.
pub async fn consistency(call: Call) -> Answer {
    let query: Consistency = call.query()?;
    let store = call.app.gate.store();
    let signed = store.checkpoint().await?;
    let new = query.new.unwrap_or(signed.checkpoint.size);
    let proof = if query.old <= new && new <= signed.checkpoint.size {
        store.read(|reader| reader.consistency_proof(query.old, new))?
    } else {
        None
    };
    let proof: Vec<Hash> = proof.ok_or_else(|| {
        let size = signed.checkpoint.size;
        ApiError::malformed(
            "query",
            format!("`old` ≤ `new` ≤ {size} has to hold, and `old` cannot be 0"),
        )
    })?;
    let proof: Vec<String> = proof.iter().map(|hash| STANDARD.encode(hash)).collect();
    ok(
        &json!({"old": query.old, "new": new, "proof": proof, "checkpoint": signed.note, "vkey": store.verifier().to_vkey()}),
    )
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    /// Signed notes kept elsewhere.
    #[serde(default)]
    against: Vec<String>,
}

/// `POST /api/v1/audit/verify`: reads everything; one JSON object a line, `progress` while it goes on
/// and `verified` or `finding` at the end.
pub async fn verify(call: Call) -> Answer {
    let body: Verify = if call.body.is_empty() {
        Verify::default()
    } else {
        call.json()?
    };
    if body.against.len() > AGAINST_MAX {
        return Err(ApiError::malformed(
            "/against",
            format!("more than {AGAINST_MAX} checkpoints"),
        ));
    }
    let slot = std::sync::Arc::clone(&call.app.verifying)
        .try_acquire_owned()
        .map_err(|_| ApiError::overloaded("a verification is under way; try again when it is done"))?;
    let store = call.app.gate.store().clone();
    let (lines, receiver) = mpsc::channel::<String>(16);
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        // A reader that went away must not stop the verification from ending by itself.
        let mut progress = |done: u64, all: u64| {
            let _ = lines.try_send(format!("{}\n", json!({"progress": {"done": done, "all": all}})));
        };
        let result = store.verify(&body.against, &mut progress);
        let _ = lines.blocking_send(format!("{}\n", verdict(result)));
    });
    let body = futures_stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok::<_, Infallible>(line), receiver))
    });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

fn verdict(result: Result<Result<store::Verified, journal::verify::Finding>, store::StoreError>) -> Value {
    match result {
        Ok(Ok(verified)) => json!({"verified": {
            "entries": verified.entries,
            "root": STANDARD.encode(verified.root),
            "checkpoints": verified.checkpoints,
            "projections": verified.projections,
        }}),
        Ok(Err(finding)) => json!({"finding": finding.to_string()}),
        Err(error) => json!({"error": error.to_string()}),
    }
}
