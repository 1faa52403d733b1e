//! `cofferdam health`: the worst of the parts.

use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, table, word};
use super::value::{field, text};
use clap::Args;
use owo_colors::OwoColorize;
use serde_json::Value;

/// `cofferdam health`
#[derive(Args, Debug)]
pub struct Health {
    /// Ask again every two seconds, and print when something changed
    #[arg(long)]
    watch: bool,
}

/// Runs it. Exit code 1 when the platform is not healthy.
pub async fn run(health: &Health, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut last = None;
    loop {
        let answer = client.get("/api/v1/health", &[]).await?;
        let seen = states(&answer);
        if last.as_ref() != Some(&seen) {
            screen.data(&answer, show)?;
            last = Some(seen);
        }
        if !health.watch {
            return if text(&answer, "status") == "healthy" { Ok(()) } else { Err(Failure::Told) };
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
}

/// `(name, state, detail)` of every part, whether the server sent a list or a map of them.
fn parts(answer: &Value) -> Vec<(String, String, String)> {
    let part = |name: String, p: &Value| (name, text(p, "status"), text(p, "detail"));
    match field(answer, "parts") {
        Value::Array(parts) => parts.iter().map(|p| part(text(p, "name"), p)).collect(),
        Value::Object(parts) => parts.iter().map(|(name, p)| part(super::text::visible(name), p)).collect(),
        _ => Vec::new(),
    }
}

fn states(answer: &Value) -> Vec<(String, String)> {
    parts(answer).into_iter().map(|(name, state, _)| (name, state)).collect()
}

fn show(answer: &Value, columns: usize) -> String {
    let rows = parts(answer)
        .into_iter()
        .map(|(name, state, detail)| vec![cell(name, Look::Bold), word(state), detail.into()])
        .collect();
    let overall = text(answer, "status");
    let overall = super::table::painted(&overall, super::table::look_of(&overall));
    format!("{}\n{}", overall.bold(), table(columns, &["PART", "STATUS", "DETAIL"], rows, "no parts reported"))
}
