//! The first start makes a local administrator and puts the token into a file that only its owner can
//! read. It says where the file is, never what is in it.

use super::Options;
use anyhow::Context as _;
use gate::{Gate, NewToken, Role};
use policy::Principal;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the administrator may do.
const ROLES: [Role; 3] = [Role::Admin, Role::Approver, Role::Operator];

/// Makes the administrator's token unless there is one; returns the file.
///
/// A crash in the middle is seen at the next start: the file is there and empty. Then the token that
/// nobody ever saw is revoked and another one is made.
pub(super) async fn ensure(gate: &Arc<Gate>, options: &Options) -> anyhow::Result<PathBuf> {
    let file = options.data_dir.join("admin.token");
    let begun = match std::fs::metadata(&file) {
        Ok(metadata) => metadata.len() == 0,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("cannot look at `{}`", file.display())),
    };
    let tokens = gate.tokens()?;
    if !begun
        && tokens
            .iter()
            .any(|token| !token.revoked && token.roles.contains(&Role::Admin))
    {
        return Ok(file);
    }
    let name = name(options);
    let principal = Principal::person(&name);
    let platform = Principal::service("cofferdam");
    write(&file, b"").with_context(|| format!("cannot write `{}`", file.display()))?;
    for token in tokens
        .iter()
        .filter(|token| begun && !token.revoked && token.principal == principal)
    {
        gate.revoke_token(&platform, &token.id).await?;
    }
    let new = NewToken {
        principal,
        roles: ROLES.to_vec(),
        trigger: None,
        expires: None,
    };
    let (_, secret) = gate.create_token(&platform, new).await?;
    write(&file, secret.expose()).with_context(|| format!("cannot write `{}`", file.display()))?;
    tracing::info!("made the administrator `{name}`");
    Ok(file)
}

/// As given, or the name of the user who started us, as far as it can be a name.
fn name(options: &Options) -> String {
    let given = options
        .administrator
        .clone()
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_default();
    let fits = (1..=63).contains(&given.len())
        && given
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if fits { given } else { "admin".to_owned() }
}

/// Replaces the file as a whole; readable by its owner alone from the first byte on.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("token.new");
    let _ = std::fs::remove_file(&draft);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(content)?;
    if !content.is_empty() {
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    std::fs::rename(&draft, path)
}
