//! `cofferdam health`: the worst of the parts.

use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, table, word};
use super::value::{list, text};
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
            return if text(&answer, "status") == "healthy" {
                Ok(())
            } else {
                Err(Failure::Told)
            };
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
}

fn states(answer: &Value) -> Vec<(String, String)> {
    list(answer, "parts")
        .iter()
        .map(|part| (text(part, "name"), text(part, "status")))
        .collect()
}

fn show(answer: &Value, columns: usize) -> String {
    let row = |part: &Value| {
        vec![
            cell(text(part, "name"), Look::Bold),
            word(text(part, "status")),
            text(part, "detail").into(),
        ]
    };
    let rows = list(answer, "parts").iter().map(row).collect();
    let overall = text(answer, "status");
    let overall = super::table::painted(&overall, super::table::look_of(&overall));
    format!(
        "{}\n{}",
        overall.bold(),
        table(columns, &["PART", "STATUS", "DETAIL"], rows, "no parts reported")
    )
}
