//! `cofferdam sandbox`: what this machine can hold a guest by. Asks no server.

use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, heading, table};
use ::sandbox::Ability;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam sandbox check
  cofferdam sandbox check --output json

What is missing refuses to start guests that need it, unless it is given up by its name in the first column.";

/// `cofferdam sandbox`
#[derive(Args, Debug)]
pub struct Sandbox {
    #[command(subcommand)]
    command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// Try what guests are held by; exit code 1 if something is missing
    Check,
}

/// Runs it.
pub fn run(sandbox: &Sandbox, screen: &mut Screen) -> Result<(), Failure> {
    match sandbox.command {
        SandboxCommand::Check => check(screen),
    }
}

fn check(screen: &mut Screen) -> Result<(), Failure> {
    let ability = ::sandbox::check().map_err(anyhow::Error::from)?;
    let value = serde_json::to_value(&ability).map_err(anyhow::Error::from)?;
    screen.data(&value, |_, columns| shown(&ability, columns))?;
    match ability.is_whole() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

fn shown(ability: &Ability, columns: usize) -> String {
    let word = |part: &::sandbox::Part| match json!(part) {
        Value::String(name) => name,
        other => other.to_string(),
    };
    let enforced = ability.enforced.iter();
    let mut rows: Vec<_> = enforced
        .map(|(part, by)| {
            vec![
                cell(word(part), Look::Plain),
                cell("✓", Look::Green),
                cell(by, Look::Plain),
            ]
        })
        .collect();
    rows.extend(ability.missing.iter().map(|(part, missing)| {
        vec![
            cell(word(part), Look::Plain),
            cell("missing", Look::Red),
            cell(&missing.why, Look::Plain),
        ]
    }));
    let mut text = table(columns, &["part", "", "by"], rows, "nothing was tried");
    for (part, missing) in &ability.missing {
        text += &format!(
            "\n{}\n  without it {}\n  get it: {}\n",
            heading(&word(part)),
            missing.lost,
            missing.remedy
        );
    }
    if !ability.clocks {
        text += "\nguests see how long this machine runs: the kernel has no namespaces of time (Linux 5.6)\n";
    }
    if let Err(why) = &ability.review {
        text += &format!("\nchanges cannot be collected for a review: {why}\n");
    }
    text
}
