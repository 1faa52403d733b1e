//! Strict JSON in, canonical JSON out (RFC 8785), and its SHA-256.
//!
//! Refuses what two parsers could read differently: duplicate keys, lone surrogates, integers
//! outside ±(2^53 − 1), numbers that are not finite, more depth or bytes than the limits. A whole
//! number is read as an integer however it was written (`1.0`, `1e0` and `-0` too), so that what is
//! parsed from a canonical form equals what the form was made from.

mod number;
mod read;
mod write;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use number::whole;
pub(crate) use write::{write_string, write_value};

/// Greatest depth of nesting of a document that is read strictly.
pub const DEPTH_MAX: usize = 64;
/// Greatest magnitude of an integer that every JSON reader carries exactly: 2^53 − 1 (RFC 7493).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// Why a text is not a document that everybody reads alike.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CanonicalError {
    /// Not JSON at all, or JSON that this module refuses.
    #[error("{what} at line {line}, column {column}")]
    Refused {
        /// What is wrong, in words.
        what: String,
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
    },
    /// A number in an already parsed value cannot be carried by JSON without loss.
    #[error("number `{number}` at `{pointer}` cannot be carried by JSON without loss")]
    Number {
        /// As written.
        number: String,
        /// JSON pointer.
        pointer: String,
    },
    /// More than the limit.
    #[error("document is larger than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("document is nested deeper than {DEPTH_MAX}")]
    TooDeep,
}

/// Parses `text` strictly; `limit` in bytes.
pub fn parse(text: &[u8], limit: usize) -> Result<Value, CanonicalError> {
    read::parse(text, limit)
}

/// The RFC 8785 form of `value`.
pub fn to_bytes(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(128);
    write_value(&mut out, value, 0)?;
    Ok(out)
}

/// Appends the RFC 8785 form of `value` to `out`, where it stands `depth` containers deep. After an error
/// `out` holds a part of it.
pub fn append(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), CanonicalError> {
    write_value(out, value, depth)
}

/// Appends `text` as the JSON string that RFC 8785 asks for (section 3.2.2.2).
pub fn append_text(out: &mut Vec<u8>, text: &str) {
    write_string(out, text);
}

/// SHA-256 of [`to_bytes`].
pub fn digest(value: &Value) -> Result<[u8; 32], CanonicalError> {
    Ok(Sha256::digest(to_bytes(value)?).into())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}
