//! Strict JSON in, canonical JSON out (RFC 8785), and its SHA-256.
//!
//! Refuses what two parsers could read differently: duplicate keys, lone surrogates, integers
//! outside ±(2^53 − 1), numbers that are not finite, more depth or bytes than the limits.

use serde_json::Value;

/// Greatest depth of nesting of a document that is read strictly.
pub const DEPTH_MAX: usize = 64;

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
        /// 1-based.
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
    let _ = (text, limit);
    todo!()
}

/// The RFC 8785 form of `value`.
pub fn to_bytes(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let _ = value;
    todo!()
}

/// SHA-256 of [`to_bytes`].
pub fn digest(value: &Value) -> Result<[u8; 32], CanonicalError> {
    let _ = value;
    todo!()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
