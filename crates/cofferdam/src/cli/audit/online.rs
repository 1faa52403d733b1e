//! The journal of a running server.

use super::super::client::{Client, segment};
use super::super::entry;
use super::super::failure::Failure;
use super::super::screen::{Screen, clear_progress, show_progress};
use super::super::table::{Look, cell, fields, heading, word};
use super::super::text::block;
use super::super::value::{field, list, number, text, time};
use super::{Tail, Verify};
use serde_json::{Value, json};
use std::collections::VecDeque;

const ENTRIES: &str = "/api/v1/audit/entries";
const EVENTS: &str = "/api/v1/audit/events";
/// Entries per request.
const PAGE: u64 = 1000;

/// Prints the newest entries, and goes on if asked to.
pub(super) async fn tail(tail: &Tail, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let newest = newest(tail, client).await?;
    let mut last = None;
    for entry in &newest {
        last = field(entry, "sequence").as_u64().or(last);
        screen.item(entry, entry::line)?;
    }
    if !tail.follow {
        return Ok(());
    }
    let kind: Vec<_> = tail.kind.iter().map(|k| ("kind", k.clone())).collect();
    let (path, query) = match &tail.session {
        Some(id) => (
            format!("/api/v1/sessions/{}/events", segment(id)),
            vec![("follow", "true".to_owned())],
        ),
        None => (EVENTS.to_owned(), kind),
    };
    let wanted = |entry: &Value| {
        tail.kind
            .as_ref()
            .is_none_or(|kind| text(entry, "kind").starts_with(kind.as_str()))
    };
    loop {
        let mut events = client.events(&path, &query, last).await?;
        while let Some(event) = events.next().await? {
            last = event.id.or(last);
            if event.name == "entry" && wanted(&event.data) {
                screen.item(&event.data, entry::line)?;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// The last entries that `tail` asks for. With a filter the whole journal is looked through, because
/// the last of a kind may be anywhere.
async fn newest(tail: &Tail, client: &Client) -> Result<Vec<Value>, Failure> {
    let wanted = usize::try_from(tail.lines).unwrap_or(usize::MAX);
    if tail.session.is_none() && tail.kind.is_none() && tail.lines <= PAGE {
        let mut page = client
            .get(ENTRIES, &[("limit", tail.lines.min(PAGE).to_string())])
            .await?;
        return Ok(page
            .get_mut("entries")
            .and_then(Value::as_array_mut)
            .map(std::mem::take)
            .unwrap_or_default());
    }
    let mut newest = VecDeque::new();
    let mut from = 0;
    loop {
        let mut query = vec![("from", from.to_string()), ("limit", PAGE.to_string())];
        query.extend(tail.session.iter().map(|s| ("session", s.clone())));
        query.extend(tail.kind.iter().map(|k| ("kind", k.clone())));
        let page = client.get(ENTRIES, &query).await?;
        newest.extend(list(&page, "entries").iter().cloned());
        while newest.len() > wanted {
            newest.pop_front();
        }
        let next = number(&page, "next");
        if next <= from || next >= number(&page, "size") {
            return Ok(newest.into());
        }
        from = next;
    }
}

/// One entry in full.
pub(super) async fn show(sequence: u64, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let stored = client.get(&format!("{ENTRIES}/{sequence}"), &[]).await?;
    screen.data(&stored, |stored, columns| {
        let entry = if field(stored, "entry").is_object() {
            field(stored, "entry")
        } else {
            stored
        };
        let kind = text(entry, "kind");
        let head = fields(
            columns,
            &[
                ("entry", cell(text(entry, "sequence"), Look::Bold)),
                ("kind", word(kind)),
                ("what", entry::what(entry).into()),
                ("time", time(entry, "timestamp").into()),
                ("actor", text(entry, "actor").into()),
                ("cause", text(entry, "cause").into()),
                ("session", text(entry, "session").into()),
                ("about", text(entry, "correlation").into()),
                ("leaf hash", cell(text(stored, "hash"), Look::Dim)),
            ],
        );
        let pretty = |value: &Value| block(&serde_json::to_string_pretty(value).unwrap_or_default());
        let mut out = format!("{head}\n{}{}\n", heading("body"), pretty(field(entry, "body")));
        for (name, payload) in field(stored, "payloads").as_object().into_iter().flatten() {
            let shown = match text(payload, "state").as_str() {
                "present" => pretty(field(payload, "value")),
                state => state.to_owned(),
            };
            out.push_str(&format!(
                "\n{}{shown}\n",
                heading(&format!("{name}, kept beside it"))
            ));
        }
        out
    })
}

/// Asks the server to verify, with the checkpoints that the caller kept.
pub(super) async fn verify(verify: &Verify, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let against = super::offline::read_notes(&verify.against)?;
    let mut lines = client
        .post_lines("/api/v1/audit/verify", &json!({ "against": against }))
        .await?;
    let answer = loop {
        match lines.next().await? {
            None => {
                break Err(Failure::Failed(
                    "the server ended the verification without a verdict".into(),
                ));
            }
            Some(line) if line.get("progress").is_some() => {
                let (done, all) = (number(&line, "progress.done"), number(&line, "progress.all"));
                show_progress(&format!("verifying {done} of {all} entries…"));
            }
            Some(line) => break verdict_of(line, against.len()),
        }
    };
    clear_progress();
    let answer = answer?;
    screen.data(&answer, |answer, _| super::offline::verdict(answer))?;
    if field(&answer, "verified").as_bool() == Some(true) {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

/// The server's last line in the form that offline verification gives.
fn verdict_of(line: Value, against: usize) -> Result<Value, Failure> {
    if let Some(Value::Object(found)) = line.get("verified") {
        let mut found = found.clone();
        found.insert("verified".into(), json!(true));
        found.insert("against".into(), json!(against));
        return Ok(found.into());
    }
    match line.get("finding") {
        Some(finding) => Ok(json!({"verified": false, "finding": finding})),
        None => Err(Failure::Failed(format!(
            "verification could not be done: {}",
            text(&line, "error")
        ))),
    }
}

/// Prints a proof bundle. It is JSON whatever `--output` says, because it is for a file.
pub(super) async fn prove(sequence: u64, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let bundle = client
        .get(
            "/api/v1/audit/proofs/inclusion",
            &[("sequence", sequence.to_string())],
        )
        .await?;
    screen.line(&serde_json::to_string_pretty(&bundle).map_err(anyhow::Error::from)?)
}

/// Prints every entry as a line of JSON.
pub(super) async fn export(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut from = 0;
    loop {
        let page = client
            .get(
                ENTRIES,
                &[("from", from.to_string()), ("limit", PAGE.to_string())],
            )
            .await?;
        for entry in list(&page, "entries") {
            screen.line(&entry.to_string())?;
        }
        let next = number(&page, "next");
        if next <= from || next >= number(&page, "size") {
            return Ok(());
        }
        from = next;
    }
}
