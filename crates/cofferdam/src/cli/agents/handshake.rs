//! `cofferdam agents handshake`: whether a peer is who it says, in three steps, the second of which is the peer's and needs no server.

use crate::cli::client::{Client, segment};
use crate::cli::failure::Failure;
use crate::cli::redeem::{read, read_key};
use crate::cli::screen::Screen;
use crate::cli::value::{field, raw, text};
use clap::{Args, Subcommand};
use gate::handshake::{Challenge, Response, respond};
use owo_colors::OwoColorize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(super) const HELP: &str = "\
Examples:
  cofferdam agents handshake begin ops/deploy -o json > challenge.json       # whoever wants to know
  cofferdam agents handshake sign challenge.json --key deploy.key -o json > response.json   # the peer, within 30 s
  cofferdam agents handshake judge challenge.json response.json

Exit codes of `judge`: 0 it is who it says, 1 it is not. Where the peer signed within 15 minutes, `begin` says so
and there is nothing to sign, unless it has to be --fresh.";

/// `cofferdam agents handshake`
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct Handshake {
    #[command(subcommand)]
    command: HandshakeCommand,
}

impl Handshake {
    /// Whether it needs no server.
    pub fn is_offline(&self) -> bool {
        matches!(self.command, HandshakeCommand::Sign(_))
    }
}

#[derive(Debug, Subcommand)]
enum HandshakeCommand {
    /// Ask for a challenge that the peer has to sign
    Begin {
        /// The agent, or its DID; whoever answers, without one
        peer: Option<String>,
        /// It has to sign now, though it did lately
        #[arg(long)]
        fresh: bool,
    },
    /// Sign a challenge as an agent
    Sign(Sign),
    /// Have the answer judged
    Judge {
        /// File with the challenge
        challenge: PathBuf,
        /// File with the answer
        response: PathBuf,
    },
}

#[derive(Args, Debug)]
struct Sign {
    /// File with the challenge
    challenge: PathBuf,
    /// File with the agent's key: 32 bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Its DID, when its key was replaced since it got one [default: that of the key]
    #[arg(long, value_name = "DID")]
    did: Option<String>,
}

/// Runs `agents handshake`. "It is not" is exit code 1, and it is an answer.
pub async fn run(handshake: &Handshake, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &handshake.command {
        HandshakeCommand::Begin { peer, fresh } => {
            let body = json!({"peer": peer, "fresh": fresh});
            let begun = client.post("/api/v1/handshakes", &body).await?;
            screen.data(&begun, |begun, _| match field(begun, "verified").as_bool() {
                Some(true) => verified(begun),
                _ => format!(
                    "{} within 30 s; -o json prints what `handshake sign` reads",
                    text(begun, "challenge").bold()
                ),
            })
        }
        HandshakeCommand::Sign(_) => offline(handshake, screen),
        HandshakeCommand::Judge { challenge, response } => {
            let (challenge, response): (Challenge, Response) = (parsed(challenge)?, parsed(response)?);
            let path = format!("/api/v1/handshakes/{}", segment(&challenge.challenge));
            let body = serde_json::to_value(response).map_err(anyhow::Error::from)?;
            let judged = client.post(&path, &body).await?;
            screen.data(&judged, |judged, _| verified(judged))?;
            match field(&judged, "verified").as_bool() {
                Some(true) => Ok(()),
                _ => Err(Failure::Told),
            }
        }
    }
}

/// Signs; sends nothing.
pub fn offline(handshake: &Handshake, screen: &mut Screen) -> Result<(), Failure> {
    let HandshakeCommand::Sign(sign) = &handshake.command else {
        return Err(Failure::Misuse("this command talks to a server".into()));
    };
    let (challenge, key): (Challenge, _) = (parsed(&sign.challenge)?, read_key(&sign.key)?);
    let did = sign.did.clone().unwrap_or_else(|| policy::did_key(&key.public()));
    let mut own = [0u8; 32];
    getrandom::fill(&mut own).map_err(|error| anyhow::anyhow!("no randomness for a nonce: {error}"))?;
    let response = respond(&key, &did, &challenge, &own);
    let told = serde_json::to_value(response).map_err(anyhow::Error::from)?;
    screen.data(&told, |told, _| {
        format!("signed as {}; -o json prints it", text(told, "did").bold())
    })
}

fn verified(judged: &Value) -> String {
    let peer = field(judged, "peer");
    match field(judged, "verified").as_bool() {
        Some(true) => format!(
            "{} {}  {}, trust {}  {}",
            "it is".green(),
            text(peer, "agent").bold(),
            text(peer, "level"),
            text(peer, "trust"),
            text(peer, "did").dimmed()
        ),
        _ => format!(
            "{}: {}  {}",
            "not verified".red(),
            raw(judged, "reason"),
            raw(judged, "check").dimmed()
        ),
    }
}

fn parsed<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let shown = path.display();
    serde_json::from_slice(&read(path)?).map_err(|error| Failure::Misuse(format!("`{shown}`: {error}")))
}
