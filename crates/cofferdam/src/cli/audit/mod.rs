//! `cofferdam audit`: reads, verifies, proves and exports the journal.

pub mod offline;
mod online;

use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use clap::{Args, Subcommand};
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Examples:
  cofferdam audit tail -f
  cofferdam audit verify                                      ask the running server
  cofferdam audit verify --data-dir ./.cofferdam              without a server
  cofferdam audit verify --data-dir COPY --against NOTE.txt   against a checkpoint kept elsewhere
  cofferdam audit verify --data-dir COPY --key VKEY           with the public key alone
  cofferdam audit prove 17 > entry-17.json
  cofferdam audit check entry-17.json

Whoever owns the disk and the key can rewrite the journal and sign it again. A checkpoint that was
kept elsewhere convicts them: keep some.";

/// `cofferdam audit`
#[derive(Args, Debug)]
pub struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Print the newest entries, and with -f those that come
    Tail(Tail),
    /// Show one entry and what is kept beside it
    Show {
        /// Which one
        sequence: u64,
    },
    /// Check every entry, the tree, its checkpoints and projections; exit code 1 if anything was altered
    Verify(Verify),
    /// Print a proof that an entry stands in the journal, which anyone can check
    Prove {
        /// Which one
        sequence: u64,
    },
    /// Check a proof that `prove` printed; needs neither server nor journal
    Check {
        /// The file, or `-`
        file: PathBuf,
        /// The key that has to have signed it, as the file says if not given
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
    /// Write the journal out: entries as JSON lines, or everything in C2SP tlog-tiles layout
    Export(Export),
}

/// `audit tail`
#[derive(Args, Debug)]
struct Tail {
    /// Go on with new entries as they come
    #[arg(short, long)]
    follow: bool,
    /// How many to begin with
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u64,
    /// Only of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only of this kind, or of kinds that begin with it: `action.denied`, `approval.`
    #[arg(long)]
    kind: Option<String>,
}

/// `audit verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// Verify this data directory without a server
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A file of signed checkpoints that was kept elsewhere; may be given several times
    /// [default: the checkpoints beside the data directory]
    #[arg(long, value_name = "FILE")]
    pub against: Vec<PathBuf>,
    /// The keys [default: DIR-keys]
    #[arg(long, value_name = "DIR", requires = "data_dir")]
    pub keys: Option<PathBuf>,
    /// Only the public key that signs checkpoints: for whoever has no business with the others. What
    /// is digested with a secret, payloads and projections, is then left out
    #[arg(long, value_name = "VKEY", requires = "data_dir", conflicts_with = "keys")]
    pub key: Option<String>,
}

/// `audit export`
#[derive(Args, Debug)]
struct Export {
    /// Write checkpoint, tiles and entries below this directory; needs --data-dir
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "jsonl",
        conflicts_with = "jsonl",
        requires = "data_dir"
    )]
    tiles: Option<PathBuf>,
    /// Print entries as JSON lines
    #[arg(long)]
    jsonl: bool,
    /// Read this data directory instead of asking the server; a running server does not mind
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The keys [default: DIR-keys]
    #[arg(long, value_name = "DIR", requires = "data_dir")]
    keys: Option<PathBuf>,
}

impl Audit {
    /// Whether it needs no server.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        match &self.command {
            AuditCommand::Verify(verify) => verify.data_dir.is_some(),
            AuditCommand::Export(export) => export.data_dir.is_some(),
            AuditCommand::Check { .. } => true,
            _ => false,
        }
    }
}

/// Runs what needs a server.
pub async fn run(audit: &Audit, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &audit.command {
        AuditCommand::Tail(tail) => online::tail(tail, client, screen).await,
        AuditCommand::Show { sequence } => online::show(*sequence, client, screen).await,
        AuditCommand::Verify(verify) => online::verify(verify, client, screen).await,
        AuditCommand::Prove { sequence } => online::prove(*sequence, client, screen).await,
        AuditCommand::Export(_) => online::export(client, screen).await,
        AuditCommand::Check { .. } => Err(Failure::Misuse("`audit check` talks to no server".into())),
    }
}

/// Runs what needs none.
pub fn run_offline(audit: &Audit, screen: &mut Screen) -> Result<(), Failure> {
    match &audit.command {
        AuditCommand::Verify(verify) => offline::verify(verify, screen),
        AuditCommand::Export(export) => offline::export(export, screen),
        AuditCommand::Check { file, key } => offline::check(file, key.as_deref(), screen),
        _ => Err(Failure::Misuse("this needs a server".into())),
    }
}
