//! Delegation tokens: EdDSA JWTs, each holding the one above it, that anybody can check and narrow
//! offline. Reads no clock and no journal: whether an agent was revoked since is asked elsewhere.
//!
//! The first link is signed by the organization and says what an agent holds; each further one is signed
//! by the holder of the link above (its `cnf` key) and says less. Every claim is compared with the one
//! above, so a chain that verifies holds nothing at its leaf that it does not hold at its root.

use crate::agents::key::{AgentKey, unwritten, written};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use policy::{Capability, Timestamp, did_key, key_id, public_key_of};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

mod error;

pub use error::TokenError;

/// Longest token that is read, in bytes: eight links with many capabilities.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// Most delegations below any root, whatever it allows.
pub const DEPTH_MAX: u8 = 8;
/// Most links of any chain.
pub const LINKS_MAX: usize = DEPTH_MAX as usize + 1;
/// Most capabilities or exceptions of one link.
pub const CAPABILITIES_MAX: usize = 64;
/// `typ` of the header, so that no other token of ours is taken for one.
const TYPE: &str = "delegation+jwt";

/// What one link says. Names as registered for JWTs where there are such: RFC 7519, RFC 8693 (`act`),
/// RFC 7800 (`cnf`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// DID of the signer.
    pub iss: String,
    /// DID of the agent at the root, on whose authority all of this is.
    pub sub: String,
    /// Who acts: the holder, and inside who acted before it. Absent in the first link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// The platform that it is for: the origin of its log.
    pub aud: String,
    /// Seconds since 1970.
    pub iat: i64,
    /// Holds strictly before it.
    pub exp: i64,
    /// Unique, 128 random bits.
    pub jti: String,
    /// The holder's key, which signs what the holder passes on.
    pub cnf: Confirmation,
    /// What the holder may ask for.
    pub cap: Vec<Capability>,
    /// What of that it may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<Capability>,
    /// Its trust counts no higher, 0 to 1000.
    pub trust: u16,
    /// How many links may follow.
    pub more: u8,
    /// The link above, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// Who acts (RFC 8693, 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Its DID.
    pub sub: String,
    /// Who acted before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

/// The key of the holder (RFC 7800).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// RFC 8037.
    pub jwk: Jwk,
}

/// An Ed25519 public key as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// Base64url.
    pub x: String,
}

impl Jwk {
    /// The key, if it is one of Ed25519.
    pub fn public(&self) -> Option<[u8; 32]> {
        let Jwk { kty, crv, x } = self;
        (kty == "OKP" && crv == "Ed25519").then(|| unwritten(x)).flatten()
    }
}

/// The header as we write it. Anything else in one is refused: no `jwk`, `jku`, `x5c`, `crit`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    typ: String,
    #[serde(rename = "kid")]
    _kid: String,
}

/// A link that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLink {
    /// What it says.
    pub claims: Claims,
    /// DID of the holder.
    pub holder: String,
    /// The key that signed it.
    pub signed_by: [u8; 32],
    /// SHA-256 of the token up to and with this link.
    pub hash: [u8; 32],
}

/// A chain whose every signature and every narrowing holds. Its times are asked for with
/// [`VerifiedChain::at`], so that it can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    links: Vec<VerifiedLink>,
}

/// What a holder passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowing {
    /// DID of the new holder.
    pub to: String,
    /// Its key.
    pub to_key: [u8; 32],
    /// A subset.
    pub capabilities: Vec<Capability>,
    /// Besides those of the chain, which are taken over.
    pub except: Vec<Capability>,
    /// From.
    pub now: Timestamp,
    /// Until; whole seconds count.
    pub until: Timestamp,
    /// No higher than the chain's.
    pub trust: u16,
    /// At most this many links may follow; no more than the chain lets follow, whatever it says.
    pub more: u8,
    /// 128 random bits.
    pub id: [u8; 16],
}

/// The first link: the organization says what an agent holds.
pub fn issue(organization: &AgentKey, audience: &str, root: &Narrowing) -> Result<String, TokenError> {
    let claims = Claims {
        iss: did_key(&organization.public()),
        sub: root.to.clone(),
        act: None,
        aud: audience.to_owned(),
        iat: seconds(root.now),
        exp: seconds(root.until),
        jti: policy::canonical::hex(&root.id),
        cnf: confirmation(&root.to_key),
        cap: root.capabilities.clone(),
        not: root.except.clone(),
        trust: root.trust,
        more: root.more,
        parent: None,
    };
    sign(organization, &claims)
}

/// One link more, signed by the holder of `token`, which `chain` is the verification of. Needs no
/// server. Refuses what would not verify.
pub fn attenuate(
    token: &str,
    chain: &VerifiedChain,
    holder: &AgentKey,
    narrowing: &Narrowing,
) -> Result<String, TokenError> {
    let above = chain
        .leaf()
        .ok_or_else(|| TokenError::Malformed("no link".to_owned()))?;
    if hash(token) != above.hash || key_of(&above.claims) != Some(holder.public()) {
        return Err(TokenError::Signature(chain.links.len()));
    }
    let mut not = above.claims.not.clone();
    not.extend(
        narrowing
            .except
            .iter()
            .filter(|one| !above.claims.not.contains(one))
            .cloned(),
    );
    let claims = Claims {
        iss: above.holder.clone(),
        sub: above.claims.sub.clone(),
        act: Some(Actor {
            sub: narrowing.to.clone(),
            act: above.claims.act.clone().map(Box::new),
        }),
        aud: above.claims.aud.clone(),
        iat: seconds(narrowing.now),
        exp: seconds(narrowing.until),
        jti: policy::canonical::hex(&narrowing.id),
        cnf: confirmation(&narrowing.to_key),
        cap: narrowing.capabilities.clone(),
        not,
        trust: narrowing.trust,
        more: above
            .claims
            .more
            .checked_sub(1)
            .ok_or(TokenError::TooDeep)?
            .min(narrowing.more),
        parent: Some(token.to_owned()),
    };
    chain.narrows(&claims)?;
    sign(holder, &claims)
}

/// Every signature from the organization's down, and every narrowing. Says nothing of times.
pub fn verify(token: &str, organization: &[u8; 32], audience: &str) -> Result<VerifiedChain, TokenError> {
    let tokens = nested(token)?;
    let mut chain = VerifiedChain { links: Vec::new() };
    for (depth, (token, claims)) in tokens.into_iter().enumerate() {
        let signed_by = match chain.leaf() {
            None => *organization,
            Some(above) => key_of(&above.claims).ok_or(TokenError::Signature(depth))?,
        };
        check_signature(&token, &claims, &signed_by).map_err(|()| match depth {
            0 => TokenError::Unanchored,
            _ => TokenError::Signature(depth),
        })?;
        if claims.aud != audience {
            return Err(TokenError::Audience(claims.aud));
        }
        let holder = match chain.leaf() {
            None => root(&claims, organization)?,
            Some(_) => chain.narrows(&claims)?,
        };
        chain.links.push(VerifiedLink {
            hash: hash(&token),
            claims,
            holder,
            signed_by,
        });
    }
    Ok(chain)
}

/// What the outermost link says of itself: by whom the first one is signed, and for which platform. Nothing of it
/// is checked; for whoever narrows what they were given, and lets the server judge.
pub fn claimed(token: &str) -> Result<(String, String), TokenError> {
    let mut links = nested(token)?.into_iter();
    let (_, root) = links
        .next()
        .ok_or_else(|| TokenError::Malformed("no link".to_owned()))?;
    Ok((root.iss, root.aud))
}

impl VerifiedLink {
    /// Holds strictly before.
    pub fn until(&self) -> Timestamp {
        at_second(self.claims.exp)
    }

    /// The holder's key.
    pub fn key(&self) -> Option<[u8; 32]> {
        key_of(&self.claims)
    }
}

impl VerifiedChain {
    /// From the root's link to the holder's.
    pub fn links(&self) -> &[VerifiedLink] {
        &self.links
    }

    /// The holder's link.
    pub fn leaf(&self) -> Option<&VerifiedLink> {
        self.links.last()
    }

    /// Whether it holds at `now`.
    pub fn at(&self, now: Timestamp) -> Result<(), TokenError> {
        for link in &self.links {
            if now >= at_second(link.claims.exp) {
                return Err(TokenError::Expired);
            }
            if now < at_second(link.claims.iat) {
                return Err(TokenError::NotYet);
            }
        }
        Ok(())
    }

    /// Whether `claims` may follow, and the DID of their holder. The order is that of the table of
    /// refusals in the tests.
    fn narrows(&self, claims: &Claims) -> Result<String, TokenError> {
        let above = self.leaf().ok_or(TokenError::Unanchored)?;
        let holder = &claims.act.as_ref().ok_or(TokenError::Actors)?.sub;
        let of_above = claims.act.as_ref().and_then(|act| act.act.as_deref());
        if claims.iss != above.holder
            || claims.sub != above.claims.sub
            || of_above != above.claims.act.as_ref()
        {
            return Err(TokenError::Actors);
        }
        if public_key_of(holder).is_none() || key_of(claims).is_none() {
            return Err(TokenError::Malformed(
                "a holder is a did:key with an Ed25519 key".to_owned(),
            ));
        }
        if self.links.iter().any(|link| link.holder == *holder) {
            return Err(TokenError::Cyclic(holder.clone()));
        }
        if above.claims.more == 0 || claims.more >= above.claims.more || self.links.len() >= LINKS_MAX {
            return Err(TokenError::TooDeep);
        }
        if claims.exp > above.claims.exp || claims.iat < above.claims.iat || claims.iat >= claims.exp {
            return Err(TokenError::Outlives);
        }
        if claims.trust > above.claims.trust {
            return Err(TokenError::Ceiling(above.claims.trust));
        }
        if claims.cap.is_empty() || claims.cap.len().max(claims.not.len()) > CAPABILITIES_MAX {
            return Err(TokenError::Malformed(format!(
                "a link has 1 to {CAPABILITIES_MAX} capabilities"
            )));
        }
        for capability in &claims.cap {
            if capability.is_unbounded() {
                return Err(TokenError::Unbounded(capability.to_string()));
            }
            if !above
                .claims
                .cap
                .iter()
                .any(|held| held.covers_capability(capability))
            {
                return Err(TokenError::Widened(capability.to_string()));
            }
        }
        if let Some(lost) = above.claims.not.iter().find(|one| !claims.not.contains(one)) {
            return Err(TokenError::Excepted(lost.to_string()));
        }
        let mut seen: HashSet<&str> = self.links.iter().map(|link| link.claims.jti.as_str()).collect();
        if !is_id(&claims.jti) || !seen.insert(&claims.jti) {
            return Err(TokenError::Replayed(claims.jti.clone()));
        }
        Ok(holder.clone())
    }
}

/// The holder of a first link.
fn root(claims: &Claims, organization: &[u8; 32]) -> Result<String, TokenError> {
    if claims.act.is_some() || claims.iss != did_key(organization) {
        return Err(TokenError::Actors);
    }
    let sound = public_key_of(&claims.sub).is_some()
        && key_of(claims).is_some()
        && claims.cap.len().max(claims.not.len()) <= CAPABILITIES_MAX
        && claims.trust <= 1000
        && is_id(&claims.jti);
    if !sound {
        return Err(TokenError::Malformed("the first link".to_owned()));
    }
    if claims.iat >= claims.exp {
        return Err(TokenError::Outlives);
    }
    Ok(claims.sub.clone())
}

/// The tokens inside each other, the outermost last. Nothing is believed yet.
fn nested(token: &str) -> Result<Vec<(String, Claims)>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let mut found = Vec::new();
    let mut next = Some(token.to_owned());
    while let Some(token) = next {
        if found.len() == LINKS_MAX {
            return Err(TokenError::TooDeep);
        }
        let claims = read(&token)?;
        next = claims.parent.clone();
        found.push((token, claims));
    }
    found.reverse();
    Ok(found)
}

/// Header and claims, strictly: no duplicate and no unknown members. Nothing is believed yet.
fn read(token: &str) -> Result<Claims, TokenError> {
    let malformed = |what: &str| TokenError::Malformed(what.to_owned());
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("not three parts"));
    };
    let head = json(head).ok_or_else(|| malformed("the header is not JSON in base64url"))?;
    if let Some(alg) = head
        .get("alg")
        .and_then(|alg| alg.as_str())
        .filter(|alg| *alg != "EdDSA")
    {
        return Err(TokenError::Algorithm(alg.chars().take(20).collect()));
    }
    let head: Head = serde_json::from_value(head).map_err(|_| malformed("the header is not ours"))?;
    if head.alg != "EdDSA" || head.typ != TYPE {
        return Err(malformed("its type is not that of a delegation"));
    }
    let body = json(body).ok_or_else(|| malformed("the claims are not JSON in base64url"))?;
    serde_json::from_value(body).map_err(|_| malformed("the claims are not ours"))
}

fn json(part: &str) -> Option<serde_json::Value> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .ok()?;
    policy::canonical::parse(&bytes, TOKEN_BYTES_MAX).ok()
}

/// By the library, with the one algorithm that we use; and it has to read what we read.
fn check_signature(token: &str, claims: &Claims, public: &[u8; 32]) -> Result<(), ()> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // Times and audience are compared by us: the library would ask the machine's clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_ed_components(&written(public)).map_err(drop)?;
    let decoded = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(drop)?;
    (decoded.claims == *claims).then_some(()).ok_or(())
}

fn sign(key: &AgentKey, claims: &Claims) -> Result<String, TokenError> {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key_id(&key.public()));
    let encoding = key
        .encoding()
        .ok_or_else(|| TokenError::Malformed("the key".to_owned()))?;
    let token = jsonwebtoken::encode(&header, claims, &encoding)
        .map_err(|error| TokenError::Malformed(error.to_string()))?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    Ok(token)
}

/// What a token is known by.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn confirmation(public: &[u8; 32]) -> Confirmation {
    Confirmation {
        jwk: Jwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: written(public),
        },
    }
}

fn key_of(claims: &Claims) -> Option<[u8; 32]> {
    claims.cnf.jwk.public()
}

fn is_id(jti: &str) -> bool {
    jti.len() == 32
        && jti
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whole seconds: a token's life is rounded down.
fn seconds(at: Timestamp) -> i64 {
    at.ms().div_euclid(1000)
}

/// A second as a point in time.
fn at_second(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests;
