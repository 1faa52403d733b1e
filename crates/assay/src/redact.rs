//! Takes secrets out of text that people and leaves will see (S0-A14).

/// `text` with what looks like a secret replaced by `[REDACTED]`, cut to `limit` characters.
pub fn redact(text: &str, limit: usize) -> String {
    let _ = (text, limit);
    todo!()
}
