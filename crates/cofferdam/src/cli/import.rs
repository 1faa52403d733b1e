//! `cofferdam import`: what another gateway was configured with, as documents.

use super::arguments::Format;
use super::failure::Failure;
use super::screen::{Screen, yaml};
use super::text::visible;
use crate::config;
use crate::import::{Imported, Taken, litellm};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest file, in bytes.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(super) const HELP: &str = "\
Examples:
  cofferdam import litellm config.yaml > models.yaml
  cofferdam import litellm config.yaml --output json

Documents go to standard output, and what became of each part to standard error: exact, partial (something has to be
done by hand) or impossible. Keys are never repeated; each is named by the file that it belongs into.";

/// `cofferdam import`
#[derive(Args, Debug)]
pub struct Import {
    #[command(subcommand)]
    command: ImportCommand,
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    /// A config.yaml of LiteLLM's proxy
    Litellm {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs it.
pub fn run(import: &Import, screen: &mut Screen) -> Result<(), Failure> {
    let ImportCommand::Litellm { file } = &import.command;
    let imported =
        litellm(&read(file)?).map_err(|what| Failure::Failed(format!("`{}`: {what}", file.display())))?;
    match screen.format {
        Format::Table => {
            for finding in &imported.findings {
                let word = match finding.taken {
                    Taken::Exact => "exact",
                    Taken::Partial => "partial",
                    Taken::Impossible => "impossible",
                };
                screen.tell(&visible(&format!("{word:<11}{}: {}", finding.at, finding.what)));
            }
            screen.raw(documents(&imported)?.as_bytes())
        }
        Format::Json | Format::Yaml => {
            let value = serde_json::to_value(&imported).map_err(anyhow::Error::from)?;
            screen.data(&value, |_, _| String::new())
        }
    }
}

fn read(file: &Path) -> Result<Value, Failure> {
    let what = || format!("cannot read `{}`", file.display());
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(what)?;
    opened
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(what)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::Failed(format!(
            "`{}` is larger than 4 MiB",
            file.display()
        )));
    }
    config::plain(&file.display().to_string(), &text).map_err(Failure::Failed)
}

fn documents(imported: &Imported) -> Result<String, Failure> {
    let texts = imported
        .documents
        .iter()
        .map(yaml)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(texts
        .iter()
        .map(|text| text.trim_end().to_owned() + "\n")
        .collect::<Vec<_>>()
        .join("---\n"))
}
