//! Strict JSON: what two parsers could read differently is refused.
//!
//! Refuses duplicate keys, lone surrogates (serde_json does that), numbers that other readers would
//! round, and more bytes or depth than the limits. Never allocates more than the text calls for.

use crate::alertmanager::Refused;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Largest integer that every JSON reader carries exactly: 2^53 − 1 (RFC 8259, section 6).
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Reads one document of at most `bytes`, nested at most `depth`.
pub fn read(text: &[u8], bytes: usize, depth: usize) -> Result<Value, Refused> {
    if text.len() > bytes {
        return Err(Refused {
            place: format!("byte {bytes}"),
            what: format!("body is larger than {bytes} bytes"),
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth }
        .deserialize(&mut reader)
        .map_err(|error| refused(&error))?;
    reader.end().map_err(|error| refused(&error))?;
    Ok(value)
}

/// serde_json appends the position to its text; it is the place here.
fn refused(error: &serde_json::Error) -> Refused {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let what = text
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&text);
    Refused {
        place: format!("line {line}, column {column}"),
        what: what.to_owned(),
    }
}

/// Reads a value that may be nested `depth` deep.
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: Error>(&self) -> Result<Strict, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Strict { depth }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(E::custom("number cannot be carried without loss"));
        }
        Ok(Value::from(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(E::custom("number cannot be carried without loss"));
        }
        Ok(Value::from(value))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Integers that overflow 64 bits arrive here as floats.
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact as a float")]
        let fits = value.abs() <= INTEGER_MAX as f64;
        let number = if fits { Number::from_f64(value) } else { None };
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("number cannot be carried without loss"))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "key `{}` appears twice",
                    crate::redact::line(&key, 64)
                )));
            }
            let value = entries.next_value_seed(self.inner()?)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_what_is_refused() {
        #[rustfmt::skip]
        let table: &[(&str, &str, &str)] = &[
            // what the row shows          text                         value, or what and where
            ("a document",                 r#"{"a":[1,-2.5,null,true]}"#, r#"{"a":[1,-2.5,null,true]}"#),
            ("largest integer",            "9007199254740991",          "9007199254740991"),
            ("integer beyond",             "[9007199254740992]",        "number cannot be carried without loss at `line 1, column 17`"),
            ("negative integer beyond",    "-9007199254740992",         "number cannot be carried without loss at `line 1, column 17`"),
            ("integer beyond 64 bits",     "99999999999999999999",      "number cannot be carried without loss at `line 1, column 20`"),
            ("duplicate key",              r#"{"a":1,"a":2}"#,          "key `a` appears twice at `line 1, column 10`"),
            ("duplicate by escape",        "{\"a\":1,\"\\u0061\":2}",   "key `a` appears twice at `line 1, column 15`"),
            ("lone surrogate",             r#"["\ud800"]"#,             "unexpected end of hex escape at `line 1, column 9`"),
            ("as deep as allowed",         "[[[1]]]",                   "[[[1]]]"),
            ("deeper",                     "[[[[1]]]]",                 "nested too deep at `line 1, column 4`"),
            ("something after",            "1 2",                       "trailing characters at `line 1, column 3`"),
            ("nothing",                    "",                          "EOF while parsing a value at `line 1, column 0`"),
            ("too large",                  "\"0123456789012345678901234567890123456789\"", "body is larger than 32 bytes at `byte 32`"),
        ];
        for (name, text, expected) in table {
            let got = match read(text.as_bytes(), 32, 3) {
                Ok(value) => value.to_string(),
                Err(refused) => refused.to_string(),
            };
            assert_eq!(&got, expected, "{name}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused() {
        assert_eq!(
            read(b"\"\xff\"", 32, 3).unwrap_err().to_string(),
            "invalid unicode code point at `line 1, column 2`"
        );
    }
}
