//! What a module's rules may answer. Whatever else they answer is an error, and denies.

use crate::canonical::hex;
use crate::rule::{Asking, EXPIRES_AFTER_MS, EXPIRES_AFTER_SECONDS_MAX};
use crate::{RuleId, Stages};
use regorus::Value;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Most texts or requests in one answer.
const ANSWERS_MAX: usize = 64;
/// Longest text, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Most approvers in one request.
const APPROVERS_MAX: usize = 64;

/// `deny`: a set of texts.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) if text.len() <= TEXT_BYTES_MAX => Ok(text.to_string()),
        Value::String(_) => Err(too_long("deny")),
        _ => Err("`deny` holds something that is not a text".to_owned()),
    };
    members("deny", value)?.into_iter().map(text).collect()
}

/// `require_approval`: a set of texts or of objects.
pub(super) fn asks(value: &Value, id: &RuleId) -> Result<Vec<Asking>, String> {
    members("require_approval", value)?
        .into_iter()
        .map(|one| ask(one, id))
        .collect()
}

/// `permit`: a boolean or a set. Undefined and empty opt in to nothing.
pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Undefined => Ok(false),
        Value::Bool(truth) => Ok(*truth),
        Value::Set(members) => Ok(!members.is_empty()),
        _ => Err("`permit` is neither true or false nor a set".to_owned()),
    }
}

/// An object of `require_approval`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskSpec {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    approvers: Stages,
    expires_after_seconds: Option<u32>,
}

fn ask(value: &Value, id: &RuleId) -> Result<Asking, String> {
    let spec = match value {
        Value::String(text) => AskSpec {
            reason: text.to_string(),
            approvers: Stages::default(),
            expires_after_seconds: None,
        },
        Value::Object(members) if members.len() <= 3 && members.iter().all(|(_, value)| is_flat(value)) => {
            let json = serde_json::to_value(value).map_err(|_| not_an_ask())?;
            serde_json::from_value(json).map_err(|_| not_an_ask())?
        }
        _ => return Err(not_an_ask()),
    };
    if spec.reason.len() > TEXT_BYTES_MAX {
        return Err(too_long("require_approval"));
    }
    let expires_after_ms = match spec.expires_after_seconds {
        None => EXPIRES_AFTER_MS,
        Some(seconds @ 1..=EXPIRES_AFTER_SECONDS_MAX) => i64::from(seconds) * 1000,
        Some(_) => {
            return Err(format!(
                "`expires_after_seconds` in `require_approval` is not from 1 to {EXPIRES_AFTER_SECONDS_MAX}"
            ));
        }
    };
    Ok(Asking {
        id: id.clone(),
        // Compared, never read; the words themselves may be made of arguments.
        question: format!("{id}: {}", hex(&Sha256::digest(&spec.reason))),
        reason: spec.reason,
        approvers: spec.approvers,
        waivable: Vec::new(),
        expires_after_ms,
        opts_in: true,
    })
}

/// A scalar, or a short list or set of values that are small: what an approver may be.
fn is_flat(value: &Value) -> bool {
    let scalar = |value: &Value| match value {
        Value::String(text) => text.len() <= TEXT_BYTES_MAX,
        Value::Object(members) => {
            members.len() <= 4
                && members
                    .iter()
                    .all(|(_, value)| matches!(value, Value::String(_) | Value::Number(_)))
        }
        Value::Array(_) | Value::Set(_) => false,
        _ => true,
    };
    match value {
        Value::Array(items) => items.len() <= APPROVERS_MAX && items.iter().all(scalar),
        Value::Set(items) => items.len() <= APPROVERS_MAX && items.iter().all(scalar),
        Value::Object(_) => false,
        other => scalar(other),
    }
}

/// The members of a set, or of a list, which is what a set becomes in JSON.
fn members<'v>(rule: &str, value: &'v Value) -> Result<Vec<&'v Value>, String> {
    let members: Vec<&Value> = match value {
        Value::Set(members) => members.iter().collect(),
        Value::Undefined => return Err(format!("`{rule}` is undefined")),
        _ => return Err(format!("`{rule}` is not a set")),
    };
    if members.len() > ANSWERS_MAX {
        return Err(format!("`{rule}` holds more than {ANSWERS_MAX} members"));
    }
    Ok(members)
}

fn not_an_ask() -> String {
    "`require_approval` holds something that is neither a text nor an object with `reason`, `approvers` \
     and `expires_after_seconds`"
        .to_owned()
}

fn too_long(rule: &str) -> String {
    format!("`{rule}` holds a text longer than {TEXT_BYTES_MAX} bytes")
}
