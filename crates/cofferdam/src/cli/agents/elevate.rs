//! `cofferdam agents elevate` and `lower`: a level that is lent for minutes, and what `show` says of it.

use super::path;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::tokens::seconds;
use crate::cli::value::{field, text, time};
use clap::Args;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

/// `cofferdam agents elevate`
#[derive(Args, Debug)]
pub struct Elevate {
    /// Which one
    agent: String,
    /// To which level: L3 takes a trust score of 850, L2 of 500
    #[arg(long, value_name = "LEVEL", value_parser = ["L2", "L3"])]
    to: String,
    /// For how long, at most 1h
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, default_value = "5m")]
    life: u64,
    /// Why
    #[arg(long)]
    reason: String,
}

/// Runs `agents elevate`.
pub async fn elevate(elevate: &Elevate, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let body = json!({"to": elevate.to, "seconds": elevate.life, "reason": elevate.reason});
    let made = client.post(&path(&elevate.agent, "/elevate"), &body).await?;
    screen.data(&made, |made, _| {
        format!(
            "{} {} to {} until {}, nowhere in production  {}",
            "raised".yellow(),
            text(made, "agent").bold(),
            text(made, "to").bold(),
            time(made, "expires"),
            text(made, "id").dimmed()
        )
    })
}

/// Runs `agents lower`.
pub async fn lower(agent: &str, reason: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let ended = client
        .post(&path(agent, "/lower"), &json!({"reason": reason}))
        .await?;
    screen.data(&ended, |ended, _| {
        format!(
            "{} {}: its document's level holds again  {}",
            "lowered".green(),
            text(ended, "agent").bold(),
            text(ended, "id").dimmed()
        )
    })
}

/// The lines of `agents show` on how fast it may act, and on what raises its level.
pub fn shown(agent: &Value) -> String {
    let mut out = String::new();
    let pace = field(agent, "pace");
    if !pace.is_null() {
        out.push_str(&format!(
            "{:<10} {} actions a second, {} at once  {}\n",
            "pace".dimmed(),
            text(pace, "per_second"),
            text(pace, "burst"),
            format!("ring {}", text(pace, "ring")).dimmed()
        ));
    }
    let raised = field(agent, "elevation");
    if !raised.is_null() {
        out.push_str(&format!(
            "{:<10} to {} until {} by {}: {}  {}\n",
            "raised".yellow(),
            text(raised, "to").bold(),
            time(raised, "expires"),
            text(raised, "by"),
            text(raised, "reason"),
            text(raised, "id").dimmed()
        ));
    }
    out
}
