//! One token of a provider: read, verified, and what it says of the person. Asks nobody.

use super::keys::Wanted;
use super::{OidcSpec, Person};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use policy::Timestamp;
use serde_json::Value;

/// How far the clocks may be apart for what is not yet valid, in milliseconds. Nothing holds past its end.
const AHEAD_MS: i64 = 60 * 1000;

/// What a token says before it is verified: enough to find the key, and no more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub issuer: String,
    pub key: Wanted,
}

/// Reads whose token it claims to be.
pub(super) fn head(token: &str) -> Result<Head, &'static str> {
    let mut parts = token.split('.');
    let mut part = || {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        policy::canonical::parse(&bytes, super::TOKEN_BYTES_MAX).ok()
    };
    let (header, claims) = (part(), part());
    let (Some(header), Some(claims)) = (header, claims) else {
        return Err("it is no token that can be read");
    };
    let text = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).map(str::to_owned);
    let (_, algorithm) = algorithm(text(&header, "alg").as_deref())?;
    let kind = text(&header, "typ")
        .unwrap_or_else(|| "JWT".to_owned())
        .to_ascii_lowercase();
    if !["jwt", "at+jwt", "application/at+jwt"].contains(&kind.as_str()) {
        return Err("it is a token of another kind");
    }
    if header.get("crit").is_some() {
        return Err("it asks for something that is not known here");
    }
    let id = text(&header, "kid").ok_or("it names no key")?;
    let issuer = text(&claims, "iss").ok_or("it names no issuer")?;
    Ok(Head {
        issuer,
        key: Wanted { id, algorithm },
    })
}

/// The algorithms that are taken: asymmetric ones, by name.
fn algorithm(name: Option<&str>) -> Result<(Algorithm, &'static str), &'static str> {
    match name {
        Some("RS256") => Ok((Algorithm::RS256, "RS256")),
        Some("ES256") => Ok((Algorithm::ES256, "ES256")),
        Some("EdDSA") => Ok((Algorithm::EdDSA, "EdDSA")),
        _ => Err("its algorithm is not one of RS256, ES256, EdDSA"),
    }
}

/// Verifies all of it. The reason says what is wrong, and nothing that the token holds.
pub(super) fn verify(
    token: &str,
    head: &Head,
    key: &Jwk,
    spec: &OidcSpec,
    now: Timestamp,
) -> Result<Person, &'static str> {
    let (algorithm, _) = algorithm(Some(head.key.algorithm))?;
    let key = DecodingKey::from_jwk(key).map_err(|_| "the provider's key cannot be used")?;
    let mut validation = Validation::new(algorithm);
    // What follows the signature is compared below, by the platform's clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation);
    let claims = decoded.map_err(|_| "its signature is not the provider's")?.claims;
    let text = |field: &str| claims.get(field).and_then(Value::as_str);
    if text("iss") != Some(spec.issuer.as_str()) {
        return Err("it is of another issuer");
    }
    let mine = |audience: &Value| audience.as_str() == Some(spec.audience.as_str());
    let audience = claims.get("aud").ok_or("it is for nobody in particular")?;
    if !(mine(audience) || audience.as_array().is_some_and(|all| all.iter().any(mine))) {
        return Err("it is for another audience");
    }
    let seconds = |field: &str| {
        claims
            .get(field)
            .and_then(Value::as_f64)
            .map(|s| s.clamp(0.0, 1e11))
    };
    #[expect(clippy::cast_possible_truncation, reason = "clamped to what fits")]
    let at = |field: &str| seconds(field).map(|s| Timestamp::from_ms((s * 1000.0) as i64));
    let expires = at("exp").ok_or("it never ends")?;
    if expires <= now {
        return Err("it has expired");
    }
    let ahead = |field: &str| at(field).is_some_and(|from| from > now.plus_ms(AHEAD_MS));
    if ahead("nbf") || ahead("iat") {
        return Err("it does not hold yet");
    }
    // RFC 7800: whoever shows it has to prove that they hold a key, which nobody is asked for here.
    if claims.get("cnf").is_some() {
        return Err(
            "it is bound to a key (`cnf`), and nobody can prove to hold it here: ask for one that is not",
        );
    }
    if spec.name_claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err("its email address is not verified");
    }
    let name = text(&spec.name_claim)
        .filter(|name| super::is_name(name))
        .ok_or("it does not name a person")?;
    let groups = claims.get(&spec.groups_claim).and_then(Value::as_array);
    let groups = groups.into_iter().flatten().filter_map(Value::as_str);
    Ok(Person {
        name: name.to_owned(),
        groups: groups.map(str::to_owned).collect(),
        expires,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Signed as the provider would, with `more` among the claims.
    fn verified(more: &Value) -> Result<String, &'static str> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let public = URL_SAFE_NO_PAD.encode(key.public_key_raw());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": public});
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        let spec = json!({"issuer": "https://id.example", "audience": "us", "roles": {"sre": ["viewer"]}});
        let spec: OidcSpec = serde_json::from_value(spec).unwrap();
        let mut claims = json!({"iss": "https://id.example", "aud": "us", "sub": "alice", "exp": 2000});
        let fields = claims.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let header = jsonwebtoken::Header {
            kid: Some("k".to_owned()),
            ..jsonwebtoken::Header::new(Algorithm::EdDSA)
        };
        let signing = jsonwebtoken::EncodingKey::from_ed_der(key.serialized_der());
        let token = jsonwebtoken::encode(&header, &claims, &signing).unwrap();
        let now = Timestamp::from_ms(1_000_000);
        verify(&token, &head(&token)?, &jwk, &spec, now).map(|person| person.name)
    }

    #[test]
    fn a_token_that_is_worth_nothing_alone_is_not_taken_alone() {
        let bound =
            "it is bound to a key (`cnf`), and nobody can prove to hold it here: ask for one that is not";
        #[rustfmt::skip]
        let table = [
            ("a bearer's",              json!({}),                                   Ok("alice".to_owned())),
            ("bound to a certificate",  json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}), Err(bound)),
            ("bound to a key (DPoP)",   json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}), Err(bound)),
            ("bound to nothing known",  json!({"cnf": null}),                        Err(bound)),
            ("over",                    json!({"exp": 1000}),                        Err("it has expired")),
        ];
        for (name, more, expected) in table {
            assert_eq!(verified(&more), expected, "{name}");
        }
    }
}
