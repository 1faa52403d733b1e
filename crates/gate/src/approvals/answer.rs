//! What an outside system answers: signed as Standard Webhooks has it (Ed25519, `v1a`), and read strictly.
//!
//! Nothing in a body says who answers: that is the key under which the signature verifies. Decides nothing,
//! reads no clock and no store.

use super::{Counted, Verdict};
use crate::channels::ApproverKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::Timestamp;
use policy::canonical::{self, CanonicalError};
use serde_json::{Map, Value};

/// Longest body, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How far its time may be from ours, in milliseconds, either way.
pub const ANSWER_AGE_MS_MAX: i64 = 5 * 60 * 1000;
/// Longest header that is looked at, in bytes.
const HEADER_BYTES_MAX: usize = 1024;
/// Longest identifier, in bytes.
const ID_BYTES_MAX: usize = 128;
/// Most signatures in one header: old and new key while one is replaced.
const SIGNATURES_MAX: usize = 8;
/// Longest text of a member, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Most stages.
const STAGES_MAX: usize = 64;
/// Format of the body.
const VERSION: u64 = 1;
/// Members of the body.
const MEMBERS: [&str; 7] = [
    "version", "approval", "digest", "nonce", "stages", "decision", "reason",
];

/// A request as it came: its headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, each given once,
/// and its body.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Signed<'a> {
    pub id: &'a str,
    pub timestamp: &'a str,
    pub signature: &'a str,
    pub body: &'a [u8],
}

/// Why nobody is known to have signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// A header is missing, given twice, or not of the form.
    #[error(
        "the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` are not those of Standard Webhooks"
    )]
    Headers,
    /// There is no such channel, or it approves nothing.
    #[error("no approver is behind this channel")]
    NoApprover,
    /// By another key, or of something else.
    #[error("the signature is not that of the approver behind this channel")]
    Signature,
    /// Too old, or from the future.
    #[error("`webhook-timestamp` is not within {} minutes of now", ANSWER_AGE_MS_MAX / 60_000)]
    Stale,
}

/// An answer that was read. It echoes what it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `apr-57`.
    pub approval: String,
    /// Of the action, SHA-256 over its canonical JSON, in hexadecimal.
    pub digest: String,
    /// As it was sent.
    pub nonce: String,
    /// As they were sent.
    pub stages: Vec<Counted>,
    /// Yes or no.
    pub decision: Verdict,
    /// Why.
    pub reason: String,
}

/// Why a body is no answer: the place, as a JSON pointer, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct AnswerFault {
    pub place: String,
    pub what: String,
    too_large: bool,
}

impl AnswerFault {
    /// Whether the body is longer than any answer.
    pub fn is_too_large(&self) -> bool {
        self.too_large
    }
}

impl Signed<'_> {
    /// Whether the holder of `key` signed it, within a few minutes of `now`.
    pub fn check(&self, key: &ApproverKey, now: Timestamp) -> Result<(), Unsigned> {
        let time = self.time().ok_or(Unsigned::Headers)?;
        let signatures = self.signatures().ok_or(Unsigned::Headers)?;
        let signed = [
            self.id.as_bytes(),
            b".",
            self.timestamp.as_bytes(),
            b".",
            self.body,
        ]
        .concat();
        // Every one of them, whichever is good: how long it takes tells nothing of the key.
        let good = signatures
            .iter()
            .filter(|signature| key.verifies(&signed, signature))
            .count();
        if good == 0 {
            return Err(Unsigned::Signature);
        }
        // Only whoever holds the key learns that the time is wrong.
        match now.since_ms(time).saturating_abs() <= ANSWER_AGE_MS_MAX {
            true => Ok(()),
            false => Err(Unsigned::Stale),
        }
    }

    /// When it was signed, if the identifier and the time are of the form. An identifier without a full stop
    /// cannot be taken for part of what stands after it.
    fn time(&self) -> Option<Timestamp> {
        let id = (1..=ID_BYTES_MAX).contains(&self.id.len())
            && self
                .id
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'.');
        let digits = (1..=12).contains(&self.timestamp.len())
            && self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: i64 = self.timestamp.parse().ok().filter(|_| id && digits)?;
        Some(Timestamp::from_ms(seconds.checked_mul(1000)?))
    }

    /// The Ed25519 signatures; others are passed over, as the specification says.
    fn signatures(&self) -> Option<Vec<[u8; 64]>> {
        if self.signature.len() > HEADER_BYTES_MAX {
            return None;
        }
        let written = self
            .signature
            .split(' ')
            .filter_map(|one| one.strip_prefix("v1a,"));
        let bytes = written.map(|text| STANDARD.decode(text).ok()?.try_into().ok());
        let signatures: Vec<[u8; 64]> = bytes.take(SIGNATURES_MAX).collect::<Option<_>>()?;
        (!signatures.is_empty()).then_some(signatures)
    }
}

impl Answer {
    /// Reads a body: JSON without duplicate or unknown members.
    pub fn read(body: &[u8]) -> Result<Answer, AnswerFault> {
        let value = canonical::parse(body, ANSWER_BYTES_MAX).map_err(AnswerFault::from)?;
        let Value::Object(mut members) = value else {
            return Err(fault("", "not an object"));
        };
        if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            let shown: String = unknown.chars().filter(char::is_ascii_graphic).take(64).collect();
            return Err(fault("", &format!("unknown member `{shown}`")));
        }
        if members.remove("version").and_then(|version| version.as_u64()) != Some(VERSION) {
            return Err(fault("/version", &format!("has to be {VERSION}")));
        }
        let reason = match members.contains_key("reason") {
            true => text(&mut members, "reason")?,
            false => String::new(),
        };
        Ok(Answer {
            approval: text(&mut members, "approval")?,
            digest: text(&mut members, "digest")?,
            nonce: text(&mut members, "nonce")?,
            stages: stages(members.remove("stages"))?,
            decision: match text(&mut members, "decision")?.as_str() {
                "approve" => Verdict::Approve,
                "deny" => Verdict::Deny,
                _ => return Err(fault("/decision", "has to be `approve` or `deny`")),
            },
            reason,
        })
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<String, AnswerFault> {
    let place = format!("/{name}");
    match members.remove(name) {
        Some(Value::String(text)) if text.len() <= TEXT_BYTES_MAX => Ok(text),
        Some(Value::String(_)) => Err(fault(&place, &format!("is longer than {TEXT_BYTES_MAX} bytes"))),
        Some(_) => Err(fault(&place, "not a text")),
        None => Err(fault(&place, "missing")),
    }
}

fn stages(value: Option<Value>) -> Result<Vec<Counted>, AnswerFault> {
    let Some(Value::Array(items)) = value else {
        return Err(fault("/stages", "missing, or not a list"));
    };
    if items.len() > STAGES_MAX {
        return Err(fault("/stages", &format!("has more than {STAGES_MAX} items")));
    }
    let stage = |(at, item): (usize, Value)| {
        let number = |name: &str| {
            item.get(name)?
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
        };
        match (item.as_object().map(Map::len), number("list"), number("stage")) {
            (Some(2), Some(list), Some(stage)) => Ok(Counted { list, stage }),
            _ => {
                let what = "has to have the numbers `list` and `stage`, and nothing else";
                Err(fault(&format!("/stages/{at}"), what))
            }
        }
    };
    items.into_iter().enumerate().map(stage).collect()
}

fn fault(place: &str, what: &str) -> AnswerFault {
    AnswerFault {
        place: place.to_owned(),
        what: what.to_owned(),
        too_large: false,
    }
}

impl From<CanonicalError> for AnswerFault {
    fn from(error: CanonicalError) -> AnswerFault {
        match error {
            CanonicalError::Refused { what, line, column } => {
                fault(&format!("line {line}, column {column}"), &what.to_string())
            }
            CanonicalError::Number { ref pointer, .. } => fault(pointer, &error.to_string()),
            CanonicalError::TooDeep => fault("", &error.to_string()),
            CanonicalError::TooLarge { .. } => AnswerFault {
                too_large: true,
                ..fault("", &error.to_string())
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentKey;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "version": 1, "approval": "apr-57", "digest": "d", "nonce": "n",
            "stages": [{"list": 0, "stage": 1}], "decision": "approve", "reason": "CHG-1",
        })
    }

    fn with(name: &str, value: Value) -> String {
        let mut body = body();
        match value.is_null() {
            true => body.as_object_mut().unwrap().remove(name),
            false => body.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        body.to_string()
    }

    #[test]
    fn answers_are_read_strictly() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let twice = body()
            .to_string()
            .replace("{\"approval\"", "{\"nonce\": \"n\", \"approval\"");
        #[rustfmt::skip]
        let table = [
            (body().to_string(),                         "", "ok"),
            (with("reason", Value::Null),                "", "ok"),
            (with("decision", json!("deny")),            "", "ok"),
            ("[]".to_owned(),                            "", "not an object"),
            (with("approver", json!("person:alice")),    "", "unknown member `approver`"),
            (with("\u{202e}x", json!(1)),                "", "unknown member `x`"),
            (with("version", json!(2)),                  "/version", "has to be 1"),
            (with("version", Value::Null),               "/version", "has to be 1"),
            (with("nonce", Value::Null),                 "/nonce", "missing"),
            (with("nonce", json!(1)),                    "/nonce", "not a text"),
            (with("reason", json!("x".repeat(4097))),    "/reason", "is longer than 4096 bytes"),
            (with("decision", json!("yes")),             "/decision", "has to be `approve` or `deny`"),
            (with("stages", Value::Null),                "/stages", "missing, or not a list"),
            (with("stages", json!([{"list": 0}])),       "/stages/0", "has to have the numbers `list` and `stage`, and nothing else"),
            (with("stages", json!([{"list": 0, "stage": 1, "by": 2}])), "/stages/0", "has to have the numbers `list` and `stage`, and nothing else"),
            (with("stages", json!([{"list": -1, "stage": 0}])), "/stages/0", "has to have the numbers `list` and `stage`, and nothing else"),
            (with("stages", json!(vec![json!({"list": 0, "stage": 0}); 65])), "/stages", "has more than 64 items"),
            (with("reason", json!("x".repeat(20_000))),  "", "larger than 16384 bytes"),
            (with("reason", serde_json::from_str(&deep).unwrap()), "", "nested deeper"),
            (twice,                                      "line 1, column", "duplicate"),
            ("{".to_owned(),                             "line 1, column", "expected a key"),
        ];
        for (text, place, expected) in table {
            let (at, what) = match Answer::read(text.as_bytes()) {
                Ok(_) => (String::new(), "ok".to_owned()),
                Err(AnswerFault { place, what, .. }) => (place, what),
            };
            assert!(
                at.starts_with(place) && (!place.is_empty() || at.is_empty()),
                "{text}: {at}"
            );
            assert!(what.contains(expected), "{text}: {what}");
        }
    }

    #[test]
    fn what_is_signed_is_who_and_when_and_what() {
        let (key, other) = (AgentKey::from_seed(&[1; 32]), AgentKey::from_seed(&[2; 32]));
        let public =
            |key: &AgentKey| ApproverKey::parse(&format!("whpk_{}", STANDARD.encode(key.public()))).unwrap();
        let sign = |key: &AgentKey, text: &str| format!("v1a,{}", STANDARD.encode(key.sign(text.as_bytes())));
        let good = sign(&key, "m-1.1700000000.{}");
        let both = format!("v1,AAAA {} {good}", sign(&other, "m-1.1700000000.{}"));
        let many = vec![sign(&other, "x"); 8].join(" ") + " " + &good;
        let now = |seconds: i64| Timestamp::from_ms(seconds * 1000);
        let (at, headers) = (1_700_000_000, Err(Unsigned::Headers));
        #[rustfmt::skip]
        let table = [
            ("as it is",                 "m-1", "1700000000", good.clone(), "{}", at, Ok(())),
            ("five minutes ago",         "m-1", "1700000000", good.clone(), "{}", at + 300, Ok(())),
            ("more than that",           "m-1", "1700000000", good.clone(), "{}", at + 301, Err(Unsigned::Stale)),
            ("in five minutes",          "m-1", "1700000000", good.clone(), "{}", at - 300, Ok(())),
            ("later than that",          "m-1", "1700000000", good.clone(), "{}", at - 301, Err(Unsigned::Stale)),
            ("an altered body",          "m-1", "1700000000", good.clone(), "{ }", at, Err(Unsigned::Signature)),
            ("another time",             "m-1", "1700000001", good.clone(), "{}", at, Err(Unsigned::Signature)),
            ("another identifier",       "m-2", "1700000000", good.clone(), "{}", at, Err(Unsigned::Signature)),
            ("another key",              "m-1", "1700000000", sign(&other, "m-1.1700000000.{}"), "{}", at, Err(Unsigned::Signature)),
            ("two keys and a secret",    "m-1", "1700000000", both, "{}", at, Ok(())),
            ("too many signatures",      "m-1", "1700000000", many, "{}", at, Err(Unsigned::Signature)),
            ("a moved full stop",        "m-1.1700000000", "1", sign(&key, "m-1.1700000000.1.{}"), "{}", 1, headers),
            ("no signature",             "m-1", "1700000000", String::new(), "{}", at, headers),
            ("of a shared secret alone", "m-1", "1700000000", "v1,AAAA".to_owned(), "{}", at, headers),
            ("not base64",               "m-1", "1700000000", "v1a,%".to_owned(), "{}", at, headers),
            ("too long",                 "m-1", "1700000000", good.repeat(20), "{}", at, headers),
            ("no identifier",            "",    "1700000000", good.clone(), "{}", at, headers),
            ("no time",                  "m-1", "", good.clone(), "{}", at, headers),
            ("a negative time",          "m-1", "-1", good.clone(), "{}", at, headers),
            ("a time of thirteen digits", "m-1", "1700000000000", good, "{}", at, headers),
        ];
        for (name, id, timestamp, signature, body, seconds, expected) in table {
            let signed = Signed {
                id,
                timestamp,
                signature: &signature,
                body: body.as_bytes(),
            };
            assert_eq!(signed.check(&public(&key), now(seconds)), expected, "{name}");
        }
    }
}
