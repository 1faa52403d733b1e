//! The first start makes a local administrator and puts the token into a file that only its owner can
//! read. It says where the file is, never what is in it.

use super::Options;
use anyhow::Context as _;
use gate::{Gate, NewToken, Role, RoleAt, TokenView};
use policy::Principal;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the administrator may do.
const ROLES: [Role; 3] = [Role::Admin, Role::Approver, Role::Operator];

/// Makes the administrator's token unless there is one; returns the file, which may be missing when
/// there is another administrator.
///
/// A file that is missing although the token that it held was not revoked was lost; one that is empty
/// shows a crash in the middle. In both cases that token, which nobody has, is revoked and another one
/// is made. Whoever wants to live without the file revokes its token first.
pub(super) async fn ensure(gate: &Arc<Gate>, options: &Options) -> anyhow::Result<PathBuf> {
    let file = options.data_dir.join("admin.token");
    let held = match std::fs::metadata(&file) {
        Ok(metadata) if metadata.len() == 0 => Held::Nothing,
        Ok(_) => Held::Token,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Held::Missing,
        Err(error) => return Err(error).with_context(|| format!("cannot look at `{}`", file.display())),
    };
    let name = name(options);
    let principal = Principal::person(&name);
    let now = gate.time();
    let tokens = gate.tokens()?;
    let valid = |token: &&TokenView| !token.revoked && token.expires.is_none_or(|expires| expires > now);
    let ours = |token: &&TokenView| {
        token.principal == principal
            && RoleAt::everywhere(&ROLES)
                .iter()
                .all(|role| token.roles.contains(role))
    };
    let lost: Vec<&TokenView> = tokens.iter().filter(valid).filter(ours).collect();
    let administered = tokens
        .iter()
        .filter(valid)
        .any(|token| token.roles.contains(&Role::Admin.into()));
    match held {
        Held::Token if administered => return Ok(file),
        Held::Missing if administered && lost.is_empty() => return Ok(file),
        Held::Token | Held::Missing | Held::Nothing => {}
    }
    let platform = Principal::service("cofferdam");
    // From here on a crash leaves the empty file that says so.
    write(&file, b"").with_context(|| format!("cannot write `{}`", file.display()))?;
    for token in lost {
        gate.revoke_token(&platform, &token.id).await?;
        tracing::warn!("revoked `{}`: nobody has what `admin.token` held", token.id);
    }
    let new = NewToken {
        principal,
        roles: RoleAt::everywhere(&ROLES),
        groups: Vec::new(),
        trigger: None,
        expires: None,
    };
    let (_, secret) = gate.create_token(&platform, new).await?;
    write(&file, secret.expose()).with_context(|| format!("cannot write `{}`", file.display()))?;
    tracing::info!("made the administrator `{name}`");
    Ok(file)
}

/// What the file tells of the token that was made for it.
enum Held {
    Token,
    /// It was begun and not ended.
    Nothing,
    Missing,
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
    std::fs::rename(&draft, path)?;
    // The token is recorded for good, so the name of the file has to be as well.
    match path.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
