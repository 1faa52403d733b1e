//! `cofferdam journal`: maintenance of a data directory that no server uses.

use super::audit::offline;
use super::failure::Failure;
use super::screen::{Screen, clear_progress, show_progress};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::json;
use std::path::{Path, PathBuf};

/// `cofferdam journal`
#[derive(Args, Debug)]
pub struct Journal {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Make every projection again from the entries, and say which were different
    Rebuild {
        /// The data directory
        #[arg(long, value_name = "DIR", default_value = "./.cofferdam")]
        data_dir: PathBuf,
        /// The keys [default: DIR-keys]
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
    /// Replace the organization's key, which wraps the keys of payloads, by a new one
    ReplaceKey {
        /// The data directory
        #[arg(long, value_name = "DIR", default_value = "./.cofferdam")]
        data_dir: PathBuf,
        /// The keys [default: DIR-keys]
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
}

/// Runs it.
pub fn run(journal: &Journal, screen: &mut Screen) -> Result<(), Failure> {
    match &journal.command {
        JournalCommand::Rebuild { data_dir, keys } => rebuild(data_dir, keys.as_deref(), screen),
        JournalCommand::ReplaceKey { data_dir, keys } => replace_key(data_dir, keys.as_deref(), screen),
    }
}

fn rebuild(data_dir: &Path, keys: Option<&Path>, screen: &mut Screen) -> Result<(), Failure> {
    let store = offline::open_to_write(data_dir, keys)?;
    show_progress("making projections again…");
    let different = store.rebuild();
    clear_progress();
    let different = different.map_err(anyhow::Error::from)?;
    screen.data(&json!({ "different": different }), |_, _| {
        match different.is_empty() {
            true => format!("{} every projection is what its entries say", "✓".green()),
            false => format!(
                "{} these were different and are replaced: {}",
                "!".yellow().bold(),
                different.join(", ")
            ),
        }
    })
}

fn replace_key(data_dir: &Path, keys: Option<&Path>, screen: &mut Screen) -> Result<(), Failure> {
    let store = offline::open_to_write(data_dir, keys)?;
    let payloads = store.replace_organization_key().map_err(anyhow::Error::from)?;
    screen.data(&json!({ "payloads": payloads }), |_, _| {
        let done = format!(
            "{} the key is another; the keys of {payloads} payloads are wrapped by it",
            "✓".green()
        );
        format!(
            "{done}\n{}",
            "the old one still opens copies that were made before".dimmed()
        )
    })
}
