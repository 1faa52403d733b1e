//! `cofferdam sandbox`: what this machine can hold a guest by. Asks no server.

use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, heading, table};
use ::sandbox::Ability;
use ::sandbox::container::{self, Engine};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam sandbox check
  cofferdam sandbox check --output json

What is missing refuses to start guests that need it, unless it is given up by its name in the first column. Container
engines are asked what they enforce; what a container does enforce is looked at from inside before anything runs in it.";

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
    let (engines, not) = container::engines();
    let mut value = serde_json::to_value(&ability).map_err(anyhow::Error::from)?;
    if let Some(value) = value.as_object_mut() {
        let each = engines
            .iter()
            .map(|engine| json!({ "engine": engine, "ability": container::ability(engine) }));
        value.insert("containers".to_owned(), each.collect());
    }
    let shown = |_: &Value, columns| shown(&ability, columns) + &containers(&engines, &not, columns);
    screen.data(&value, shown)?;
    match ability.is_whole() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

/// Engines that guests can be started by, and what each is said to enforce: what it does is looked at in every container.
fn containers(engines: &[Engine], not: &[String], columns: usize) -> String {
    let row = |engine: &Engine| {
        let ability = container::ability(engine);
        let missing: Vec<String> = ability.missing.keys().map(word).collect();
        let lacks = match missing.is_empty() {
            true => cell("✓", Look::Green),
            false => cell(missing.join(", "), Look::Plain),
        };
        let root = if engine.rootless { "no root" } else { "as root" };
        vec![
            cell(format!("container:{}", engine.kind), Look::Plain),
            cell(format!("{} {root}", engine.version), Look::Plain),
            lacks,
            cell(engine.socket.display().to_string(), Look::Dim),
        ]
    };
    let rows = engines.iter().map(row).collect();
    let titles = ["backend", "engine", "without", "at"];
    let mut text = format!(
        "\n{}",
        table(columns, &titles, rows, "no container engine answers")
    );
    for why in not {
        text += &format!("\n{why}\n");
    }
    text
}

fn word(part: &::sandbox::Part) -> String {
    match json!(part) {
        Value::String(name) => name,
        other => other.to_string(),
    }
}

fn shown(ability: &Ability, columns: usize) -> String {
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
