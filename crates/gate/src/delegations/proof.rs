//! Proof of possession: whoever shows a delegation signs, with the key it is bound to, for which request
//! and when. A JWT in the shape of RFC 9449 (DPoP). Reads no clock; what was used before is asked elsewhere.

use super::token::{Jwk, TOKEN_BYTES_MAX, hash};
use crate::agents::key::{AgentKey, unwritten, verifies, written};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest proof that is read, in bytes.
pub const PROOF_BYTES_MAX: usize = 2048;
/// How far the time of a proof may be from ours, in milliseconds, either way.
pub const PROOF_AGE_MS_MAX: i64 = 60_000;
/// `typ` of the header (RFC 9449, 4.2).
const TYPE: &str = "dpop+jwt";

/// Why a proof is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not of the form.
    #[error("not a proof: {0}")]
    Malformed(&'static str),
    /// Another algorithm, `none` or one with a shared secret among them.
    #[error("algorithm `{0}` is not accepted: only EdDSA is")]
    Algorithm(String),
    /// Not signed by the key that it names.
    #[error("the proof is not signed by the key that it names")]
    Signature,
    /// For another method or another URL.
    #[error("the proof is for another request")]
    OtherRequest,
    /// Too old, or from the future.
    #[error("the proof was not made within {} seconds of now", PROOF_AGE_MS_MAX / 1000)]
    Stale,
    /// For another token.
    #[error("the proof is for another token")]
    OtherToken,
}

/// A proof that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Who signed it.
    pub key: [u8; 32],
    /// Its identifier.
    pub jti: String,
}

/// What a proof has to be of.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Host and port, as the request named them.
    pub host: &'a str,
    /// Path, without query.
    pub path: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    typ: String,
    jwk: Jwk,
}

/// Names as RFC 9449, 4.2 has them; `ath` is of the token that is shown.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    htm: String,
    htu: String,
    iat: i64,
    jti: String,
    ath: String,
}

/// Proves that `key` is held, for a request of `method` to `url` that shows `token`.
pub fn prove(
    key: &AgentKey,
    method: &str,
    url: &str,
    token: &str,
    now: Timestamp,
    id: &[u8; 16],
) -> Option<String> {
    let head = Head {
        alg: "EdDSA".to_owned(),
        typ: TYPE.to_owned(),
        jwk: Jwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: written(&key.public()),
        },
    };
    let claims = Claims {
        htm: method.to_owned(),
        htu: url.to_owned(),
        iat: now.ms().div_euclid(1000),
        jti: policy::canonical::hex(id),
        ath: written(&hash(token)),
    };
    let part = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    let (head, claims) = (serde_json::to_vec(&head).ok()?, serde_json::to_vec(&claims).ok()?);
    let signed = format!("{}.{}", part(head), part(claims));
    let signature = key.sign(signed.as_bytes());
    Some(format!("{signed}.{}", written(&signature)))
}

/// Whether `proof` is of `request` and of `token`, at `now`.
pub fn check(proof: &str, request: Request<'_>, token: &str, now: Timestamp) -> Result<Proof, ProofError> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::Malformed("it is too long"));
    }
    let three = ProofError::Malformed("not three parts");
    let (signed, signature) = proof.rsplit_once('.').ok_or(three.clone())?;
    let (head, claims) = signed
        .split_once('.')
        .filter(|(_, claims)| !claims.contains('.'))
        .ok_or(three)?;
    let head = json(head).ok_or(ProofError::Malformed("the header is not JSON in base64url"))?;
    if let Some(alg) = head
        .get("alg")
        .and_then(|alg| alg.as_str())
        .filter(|alg| *alg != "EdDSA")
    {
        return Err(ProofError::Algorithm(alg.chars().take(20).collect()));
    }
    let head: Head = serde_json::from_value(head)
        .map_err(|_| ProofError::Malformed("the header is not that of a proof"))?;
    if head.typ != TYPE {
        return Err(ProofError::Malformed("its type is not that of a proof"));
    }
    let key = head
        .jwk
        .public()
        .ok_or(ProofError::Malformed("its key is not of Ed25519"))?;
    let signature = unwritten::<64>(signature).ok_or(ProofError::Signature)?;
    if !verifies(&key, signed.as_bytes(), &signature) {
        return Err(ProofError::Signature);
    }
    let claims = json(claims).ok_or(ProofError::Malformed("the claims are not JSON in base64url"))?;
    let claims: Claims = serde_json::from_value(claims)
        .map_err(|_| ProofError::Malformed("the claims are not those of a proof"))?;
    if claims.htm != request.method || !is_of(&claims.htu, request) {
        return Err(ProofError::OtherRequest);
    }
    let made = claims.iat.saturating_mul(1000);
    if now.ms().saturating_sub(made).saturating_abs() > PROOF_AGE_MS_MAX {
        return Err(ProofError::Stale);
    }
    if claims.ath != written(&hash(token)) {
        return Err(ProofError::OtherToken);
    }
    if !(16..=64).contains(&claims.jti.len()) {
        return Err(ProofError::Malformed("its identifier has 16 to 64 characters"));
    }
    Ok(Proof { key, jti: claims.jti })
}

/// Whether `url` names the request. A proxy may have ended TLS, so either scheme will do.
fn is_of(url: &str, request: Request<'_>) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let slash = rest.and_then(|rest| rest.find('/').map(|at| rest.split_at(at)));
    slash.is_some_and(|(host, path)| host.eq_ignore_ascii_case(request.host) && path == request.path)
}

fn json(part: &str) -> Option<serde_json::Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    policy::canonical::parse(&bytes, TOKEN_BYTES_MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000;
    const REQUEST: Request<'static> = Request {
        method: "POST",
        host: "localhost:7400",
        path: "/api/v1/token",
    };

    fn checked(proof: &str) -> String {
        match check(proof, REQUEST, "the.token.shown", Timestamp::from_ms(NOW)) {
            Ok(proof) => format!("by {}", written(&proof.key).len()),
            Err(error) => error.to_string(),
        }
    }

    /// `head` and `claims` as they are, signed by `key`.
    fn signed(head: &serde_json::Value, claims: &serde_json::Value, key: &AgentKey) -> String {
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let signature = key.sign(signed.as_bytes());
        format!("{signed}.{}", written(&signature))
    }

    #[test]
    fn a_proof_is_of_one_key_one_request_one_token_and_one_minute() {
        let (key, other) = (AgentKey::from_seed(&[1; 32]), AgentKey::from_seed(&[2; 32]));
        let made = |method: &str, url: &str, token: &str, at: i64| {
            prove(&key, method, url, token, Timestamp::from_ms(at), &[7; 16]).unwrap()
        };
        let here = "http://localhost:7400/api/v1/token";
        let good = made("POST", here, "the.token.shown", NOW);
        let mut parts = good.split('.');
        let part = |text: Option<&str>| json(text.unwrap()).unwrap();
        let (head, claims) = (part(parts.next()), part(parts.next()));
        let with = |member: &str, value: serde_json::Value| {
            let mut head = head.clone();
            head[member] = value;
            signed(&head, &claims, &key)
        };
        #[rustfmt::skip]
        let table = [
            ("as it was made",        good.clone(),                                                            "by 43"),
            ("through TLS",           made("POST", "https://LOCALHOST:7400/api/v1/token", "the.token.shown", NOW), "by 43"),
            ("another method",        made("GET", here, "the.token.shown", NOW),                               "the proof is for another request"),
            ("another path",          made("POST", "http://localhost:7400/api/v1/tasks", "the.token.shown", NOW), "the proof is for another request"),
            ("another host",          made("POST", "http://evil.example/api/v1/token", "the.token.shown", NOW), "the proof is for another request"),
            ("with a query",          made("POST", &format!("{here}?a=b"), "the.token.shown", NOW),            "the proof is for another request"),
            ("another token",         made("POST", here, "another.token", NOW),                                "the proof is for another token"),
            ("a minute ago",          made("POST", here, "the.token.shown", NOW - 60_000),                     "by 43"),
            ("longer ago",            made("POST", here, "the.token.shown", NOW - 61_000),                     "the proof was not made within 60 seconds of now"),
            ("from the future",       made("POST", here, "the.token.shown", NOW + 61_000),                     "the proof was not made within 60 seconds of now"),
            ("signed by another",     signed(&head, &claims, &other),                                          "the proof is not signed by the key that it names"),
            ("no algorithm",          with("alg", "none".into()),                                              "algorithm `none` is not accepted: only EdDSA is"),
            ("a shared secret",       with("alg", "HS256".into()),                                             "algorithm `HS256` is not accepted: only EdDSA is"),
            ("another type",          with("typ", "delegation+jwt".into()),                                    "not a proof: its type is not that of a proof"),
            ("more in the header",    with("jku", "http://evil.example/".into()),                              "not a proof: the header is not that of a proof"),
            ("nothing",               String::new(),                                                           "not a proof: not three parts"),
            ("a part too many",       format!("{good}.x"),                                                     "not a proof: not three parts"),
            ("cut short",             good[..good.len() - 2].to_owned(),                                       "the proof is not signed by the key that it names"),
            ("far too long",          format!("{good}{}", "x".repeat(PROOF_BYTES_MAX)),                        "not a proof: it is too long"),
        ];
        for (name, proof, expected) in table {
            assert_eq!(checked(&proof), expected, "{name}");
        }
    }
}
