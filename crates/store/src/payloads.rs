//! Payloads beside entries: sealed when written, checked against their commitments when read.
//!
//! What is sealed is a salt of 32 bytes and the canonical JSON. The entry commits to the JSON under
//! that salt, so that erasing the payload leaves nothing to guess it by.

use crate::read::Erasable;
use crate::seal::{self, KEY_LEN};
use crate::shared::Shared;
use crate::{NewPayload, Retention, StoreError};
use journal::Commitment;
use journal::verify::Finding;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

/// Largest payload, in bytes of canonical JSON.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Retention {
    /// As stored.
    fn name(self) -> &'static str {
        match self {
            Retention::Action => "action",
            Retention::Config => "config",
            Retention::Intake => "intake",
        }
    }
}

/// Seals and stores a payload of the entry that gets `sequence`. Returns the commitment and the size.
pub(crate) fn put(
    connection: &Connection,
    shared: &Shared,
    sequence: u64,
    payload: &NewPayload,
) -> Result<(Commitment, usize), StoreError> {
    let name = payload.name;
    let json = policy::canonical::to_bytes(&payload.value)
        .map_err(|e| StoreError::Refused(format!("payload `{name}` cannot be recorded: {e}")))?;
    if json.len() > PAYLOAD_BYTES_MAX {
        let bytes = json.len();
        return Err(StoreError::Refused(format!(
            "payload `{name}` of {bytes} bytes is larger than {PAYLOAD_BYTES_MAX}"
        )));
    }
    let unsealable = |_| StoreError::Unavailable {
        reason: "no randomness for payload keys".to_owned(),
    };
    let salt = seal::random().map_err(unsealable)?;
    let commitment = journal::entry::commit(&salt, &json);
    let mut plaintext = zeroize::Zeroizing::new(Vec::with_capacity(KEY_LEN + json.len()));
    plaintext.extend_from_slice(salt.as_slice());
    plaintext.extend_from_slice(&json);
    let place = seal::place(&shared.origin, sequence, name);
    let key = seal::random().map_err(unsealable)?;
    let wrapped = shared
        .with_organization_key(|organization| organization.wrap(&place, &key))?
        .map_err(unsealable)?;
    let ciphertext = seal::seal(&key, &place, &plaintext).map_err(unsealable)?;
    connection
        .prepare_cached(
            "INSERT INTO payloads(seq, name, retention, wrapped_key, ciphertext) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((sequence, name, payload.retention.name(), wrapped, ciphertext))?;
    let commitment = Commitment {
        name: name.to_owned(),
        hmac_sha256: policy::canonical::hex(&commitment),
    };
    Ok((commitment, json.len()))
}

/// A column that erasing empties.
type MaybeErased = Option<Vec<u8>>;

/// Reads a payload and checks it against what its entry commits to.
pub(crate) fn get(
    connection: &Connection,
    shared: &Shared,
    sequence: u64,
    name: &str,
    commitments: &[Commitment],
) -> Result<Result<Erasable<Value>, Finding>, StoreError> {
    let altered = |reason: &str| Finding::Payload {
        sequence,
        name: name.to_owned(),
        reason: reason.to_owned(),
    };
    let stored: Option<(MaybeErased, MaybeErased)> = connection
        .prepare_cached("SELECT wrapped_key, ciphertext FROM payloads WHERE seq = ?1 AND name = ?2")?
        .query_row((sequence, name), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some(commitment) = commitments.iter().find(|c| c.name == name) else {
        return Ok(match stored {
            None => Ok(Erasable::Absent),
            Some(_) => Err(altered("the entry has no payload of that name")),
        });
    };
    let (wrapped, ciphertext) = match stored {
        Some((Some(wrapped), Some(ciphertext))) => (wrapped, ciphertext),
        Some((None, None)) => return Ok(Ok(Erasable::Erased)),
        Some(_) => return Ok(Err(altered("half of it is gone"))),
        None => return Ok(Err(altered("it is missing"))),
    };
    let place = seal::place(&shared.origin, sequence, name);
    let opened = shared
        .with_organization_key(|organization| organization.unwrap(&place, &wrapped))?
        .and_then(|key| seal::open(&key, &place, &ciphertext));
    let Ok(opened) = opened else {
        return Ok(Err(altered("it does not decrypt")));
    };
    let Some((salt, json)) = opened.split_first_chunk::<KEY_LEN>() else {
        return Ok(Err(altered("it is cut short")));
    };
    if policy::canonical::hex(&journal::entry::commit(salt, json)) != commitment.hmac_sha256 {
        return Ok(Err(altered("it is not what the entry commits to")));
    }
    Ok(serde_json::from_slice(json)
        .map(Erasable::Present)
        .map_err(|_| altered("it is no JSON")))
}

/// Destroys key, salt and text of an entry's payloads; returns the names of those that were there.
pub(crate) fn erase(connection: &Connection, sequence: u64) -> Result<Vec<String>, StoreError> {
    let names = connection
        .prepare_cached(
            "UPDATE payloads SET wrapped_key = NULL, ciphertext = NULL
             WHERE seq = ?1 AND wrapped_key IS NOT NULL RETURNING name",
        )?
        .query_map([sequence], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    Ok(names)
}

/// Writes integral floating-point numbers as integers, which is what their canonical form is read back
/// as: live projections and replayed ones see the same value.
pub(crate) fn settle_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let (true, Some(float)) = (number.is_f64(), number.as_f64())
                && float.fract() == 0.0
                && float.abs() <= 9_007_199_254_740_991.0
            {
                #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
                let integer = float as i64;
                *number = integer.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(settle_numbers),
        Value::Object(members) => members.values_mut().for_each(settle_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_settle_as_they_would_be_read_back() {
        let mut value = json!({"a": [1.0, -0.0, 0.5, 9_007_199_254_740_991.0, 1.5e-9], "b": {"c": 3}});
        settle_numbers(&mut value);
        assert_eq!(
            value,
            json!({"a": [1, 0, 0.5, 9_007_199_254_740_991_i64, 1.5e-9], "b": {"c": 3}})
        );
        let back: Value = serde_json::from_slice(&policy::canonical::to_bytes(&value).unwrap()).unwrap();
        assert_eq!(back.pointer("/a/0"), value.pointer("/a/0"));
    }
}
