//! `cofferdam agents token`: what an agent's own program calls to use a delegation. It reads the agent's
//! key, signs with it, and sends no part of it anywhere.

use super::arguments::Global;
use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::text::visible;
use super::value::raw;
use clap::Args;
use gate::AgentKey;
use gate::delegations::{new_id, proof};
use std::path::{Path, PathBuf};
use store::clock::SystemClock;

/// `cofferdam agents token`
#[derive(Args, Debug)]
pub struct Token {
    /// File with the delegation's token, as `delegate --token` prints it
    #[arg(long, value_name = "FILE")]
    delegation: PathBuf,
    /// File with the key that it is bound to: 32 bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Redeems a delegation and prints the token, which lives for five minutes. Needs no other token.
pub async fn run(token: &Token, global: &Global, screen: &mut Screen) -> Result<(), Failure> {
    let chain = String::from_utf8(read(&token.delegation)?)
        .map_err(|_| Failure::Misuse("the delegation's file holds no token".into()))?;
    let key = read_key(&token.key)?;
    let client = Client::without_token(global)?;
    let id = new_id().map_err(anyhow::Error::from)?;
    let (url, now) = (client.url(PATH), SystemClock::shared().now());
    let proof = proof::prove(&key, "POST", &url, chain.trim(), now, &id)
        .ok_or_else(|| Failure::Failed("the proof cannot be written".into()))?;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", chain.trim()),
    ];
    let answer = client.exchange(PATH, &form, &proof).await?;
    screen.data(&answer, |answer, _| visible(raw(answer, "access_token")))
}

const PATH: &str = crate::server::REDEEM_PATH;

/// The key of an agent, from its file.
pub(super) fn read_key(path: &Path) -> Result<AgentKey, Failure> {
    let seed = secrets::Secret::new(read(path)?);
    let seed: &[u8; 32] = seed
        .expose()
        .try_into()
        .map_err(|_| Failure::Misuse("the key's file has 32 bytes and nothing else".into()))?;
    Ok(AgentKey::from_seed(seed))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|source| {
        let shown = path.display();
        Failure::Other(anyhow::Error::new(source).context(format!("cannot read `{shown}`")))
    })
}
