//! The journal of a running server.

use super::super::client::Client;
use super::super::entry;
use super::super::failure::Failure;
use super::super::screen::Screen;
use super::super::table::{Look, cell, fields, heading, word};
use super::super::value::{field, list, number, text, time};
use super::{Tail, Verify};
use serde_json::{Value, json};

const ENTRIES: &str = "/api/v1/audit/entries";
const EVENTS: &str = "/api/v1/audit/events";
/// Entries per request.
const PAGE: u64 = 1000;

/// Prints the newest entries, and goes on if asked to.
pub(super) async fn tail(tail: &Tail, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut query = vec![("limit", tail.lines.to_string())];
    query.extend(tail.session.iter().map(|s| ("session", s.clone())));
    query.extend(tail.kind.iter().map(|k| ("kind", k.clone())));
    let newest = [query.clone(), vec![("newest", "true".to_owned())]].concat();
    let entries = client.get(ENTRIES, &newest).await?;
    let mut last = None;
    for entry in list(&entries, "") {
        last = field(entry, "sequence").as_u64().or(last);
        screen.item(entry, entry::line)?;
    }
    if !tail.follow {
        return Ok(());
    }
    loop {
        let mut events = client.events(EVENTS, &query, last).await?;
        while let Some(event) = events.next().await? {
            last = event.id.or(last);
            if !event.data.is_null() {
                screen.item(&event.data, entry::line)?;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// One entry in full.
pub(super) async fn show(sequence: u64, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let stored = client.get(&format!("{ENTRIES}/{sequence}"), &[]).await?;
    screen.data(&stored, |stored, columns| {
        let entry = if field(stored, "entry").is_object() { field(stored, "entry") } else { stored };
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
        let pretty = |value: &Value| super::super::text::block(&serde_json::to_string_pretty(value).unwrap_or_default());
        let mut out = format!("{head}\n{}{}\n", heading("body"), pretty(field(entry, "body")));
        if !field(stored, "payloads").is_null() {
            out.push_str(&format!("\n{}{}\n", heading("kept beside it"), pretty(field(stored, "payloads"))));
        }
        out
    })
}

/// Asks the server to verify, with the checkpoints that the caller kept.
pub(super) async fn verify(verify: &Verify, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let against = super::offline::read_notes(&verify.against)?;
    screen.progress("verifying…");
    let answer = client.post("/api/v1/audit/verify", &json!({ "against": against })).await;
    screen.progress_done();
    let answer = answer?;
    screen.data(&answer, |answer, _| super::offline::verdict(answer))?;
    if field(&answer, "verified").as_bool() == Some(true) { Ok(()) } else { Err(Failure::Told) }
}

/// Prints a proof bundle. It is JSON whatever `--output` says, because it is for a file.
pub(super) async fn prove(sequence: u64, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let bundle = client.get("/api/v1/audit/proofs/inclusion", &[("sequence", sequence.to_string())]).await?;
    screen.line(&serde_json::to_string_pretty(&bundle).map_err(anyhow::Error::from)?)
}

/// Prints every entry as a line of JSON.
pub(super) async fn export(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut from = 0;
    loop {
        let page = client.get(ENTRIES, &[("from", from.to_string()), ("limit", PAGE.to_string())]).await?;
        let entries = list(&page, "");
        for entry in entries {
            screen.line(&entry.to_string())?;
        }
        match entries.last() {
            Some(last) => from = number(last, "sequence") + 1,
            None => return Ok(()),
        }
    }
}
