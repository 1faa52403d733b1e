//! `cofferdam agents svid`: an agent's certificate.

use super::path;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::redeem::{read, read_key};
use crate::cli::screen::Screen;
use crate::cli::tokens::seconds;
use crate::cli::value::raw;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// `cofferdam agents svid`
#[derive(Args, Debug)]
pub struct Svid {
    /// Which one
    agent: String,
    /// For how long, at most 15m
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, default_value = "15m")]
    life: u64,
    /// File with the agent's key: 32 bytes
    #[arg(long, value_name = "FILE", requires = "key_pem")]
    key: Option<PathBuf>,
    /// Writes that key here as TLS reads it, for its owner alone
    #[arg(long, value_name = "FILE", requires = "key")]
    key_pem: Option<PathBuf>,
}

/// Runs `agents svid`: the certificate alone, to be kept beside the agent's key.
pub async fn svid(svid: &Svid, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    if let (Some(key), Some(to)) = (&svid.key, &svid.key_pem) {
        write_key(&read_key_bytes(key)?, to)?;
    }
    let body = json!({"seconds": svid.life});
    let made = client.post(&path(&svid.agent, "/svid"), &body).await?;
    screen.data(&made, |made, _| pem(raw(made, "certificate")))
}

fn read_key_bytes(path: &Path) -> Result<secrets::Secret, Failure> {
    // Looked at first: what is no key is not written as one.
    read_key(path)?;
    Ok(secrets::Secret::new(read(path)?))
}

/// PKCS #8 in PEM (RFC 8410, 7).
fn write_key(seed: &secrets::Secret, to: &Path) -> Result<(), Failure> {
    const HEAD: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ];
    let der = secrets::Secret::new([HEAD.as_slice(), seed.expose()].concat());
    let text = secrets::Secret::new(STANDARD.encode(der.expose()).into_bytes());
    let lines = [
        b"-----BEGIN PRIVATE KEY-----\n".as_slice(),
        text.expose(),
        b"\n-----END PRIVATE KEY-----\n",
    ];
    let pem = secrets::Secret::new(lines.concat());
    let written = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(to)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(pem.expose())
    };
    written().map_err(|source| {
        let shown = to.display();
        Failure::Other(anyhow::Error::new(source).context(format!("cannot write `{shown}`")))
    })
}

/// Line by line, so that nothing but a certificate is shown.
fn pem(text: &str) -> String {
    let lines = text.lines().map(crate::cli::text::visible);
    lines.collect::<Vec<_>>().join("\n")
}
