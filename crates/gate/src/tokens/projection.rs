//! Tokens, as the fold over their entries. The only place where their rows change, live and in replay.

use super::{TOKENS, TokenView};
use crate::RoleAt;
use crate::rows::{self, body};
use journal::{Entry, kind};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Applied, Corrupt, Projection, Row, Rows};

/// A token as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TokenRow {
    #[serde(flatten)]
    pub(super) view: TokenView,
    /// Of the secret, lower-case hexadecimal.
    pub(super) sha256: String,
    /// Of a provider's token without its signature, or of a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signed: Option<String>,
}

#[derive(Deserialize)]
struct Created {
    token: String,
    principal: Principal,
    roles: Vec<RoleAt>,
    #[serde(default)]
    groups: Vec<String>,
    trigger: Option<String>,
    expires: Option<Timestamp>,
    provider: Option<String>,
    sha256: String,
    signed: Option<String>,
    certificate: Option<String>,
}

#[derive(Deserialize)]
struct Over {
    token: String,
    at: Option<Timestamp>,
}

/// Rows are [`TokenRow`]s by id.
pub(crate) struct Tokens;

impl Projection for Tokens {
    fn name(&self) -> &'static str {
        TOKENS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[kind::TOKEN_CREATED, kind::TOKEN_REVOKED, kind::TOKEN_ENDED]
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let hash = |name| Some((name, row.value.get(name)?.as_str()?.to_owned()));
        ["sha256", "signed"].into_iter().filter_map(hash).collect()
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        if entry.kind == kind::TOKEN_CREATED {
            return create(entry, body(entry)?, rows);
        }
        let Over { token, at } = body(entry)?;
        let missing = || {
            Corrupt(format!(
                "entry {} ends token `{token}`, which is not there",
                entry.sequence
            ))
        };
        let mut row: TokenRow = rows::get(rows, &token)?.ok_or_else(missing)?;
        match entry.kind.as_str() {
            kind::TOKEN_ENDED => {
                let at = at.unwrap_or(entry.timestamp);
                row.view.expires = Some(row.view.expires.map_or(at, |expires| expires.min(at)));
            }
            _ => row.view.revoked = true,
        }
        rows::put(rows, &token, &row)
    }
}

fn create(entry: &Entry, created: Created, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Created {
        token,
        principal,
        roles,
        groups,
        trigger,
        expires,
        provider,
        sha256,
        signed,
        certificate,
    } = created;
    if rows::number(&token) != entry.sequence {
        return Err(Corrupt(format!(
            "entry {} creates token `{token}`, whose number is another",
            entry.sequence
        )));
    }
    let view = TokenView {
        id: token,
        principal,
        roles,
        groups,
        trigger,
        created: entry.timestamp,
        expires,
        revoked: false,
        provider,
        certificate,
    };
    let key = view.id.clone();
    let row = TokenRow { view, sha256, signed };
    rows::put(rows, &key, &row)
}
