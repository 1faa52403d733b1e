//! `cofferdam agents check` and `narrow`: delegation tokens without a server. Neither knows what was revoked since:
//! only the server does.

use super::failure::Failure;
use super::redeem;
use super::screen::Screen;
use super::table::table;
use super::text::visible;
use super::value::{list, raw, text, time};
use clap::Args;
use gate::delegations::new_id;
use gate::delegations::token::{self, Narrowing, VerifiedChain};
use policy::{Capability, Timestamp, did_key, public_key_of};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use store::clock::SystemClock;

/// Largest JWK Set that is read, in bytes.
const JWKS_BYTES_MAX: usize = 64 * 1024;

/// `cofferdam agents check`
#[derive(Args, Debug)]
pub struct Check {
    /// File with the delegation's token, as `delegate --token` prints it
    #[arg(long, value_name = "FILE")]
    delegation: PathBuf,
    /// File with the organization's key: what the server says at /.well-known/jwks.json
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    /// The platform that the token has to be for [default: the one that the key's file names]
    #[arg(long, value_name = "ORIGIN")]
    audience: Option<String>,
}

/// `cofferdam agents narrow`
#[derive(Args, Debug)]
pub struct Narrow {
    /// File with the token of the delegation that is passed on from
    #[arg(long, value_name = "FILE")]
    delegation: PathBuf,
    /// File with the key that it is bound to: 32 bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Who receives, as `agents show` says
    #[arg(long, value_name = "DID")]
    to: String,
    /// Key of the receiver, in base64url, when it was replaced [default: that of its DID]
    #[arg(long, value_name = "KEY")]
    to_key: Option<String>,
    /// What, as VERB:RESOURCE[:ENVIRONMENT]; may be given several times
    #[arg(long = "capability", value_name = "CAPABILITY", required = true)]
    capabilities: Vec<String>,
    /// What of that all the same not; may be given several times
    #[arg(long, value_name = "CAPABILITY")]
    except: Vec<String>,
    /// For how long, never longer than the delegation itself
    #[arg(long, value_name = "TIME", value_parser = super::tokens::seconds, default_value = "5m")]
    ttl: u64,
    /// The trust of the receiver counts no higher, 0 to 1000 [default: as it is]
    #[arg(long, value_name = "SCORE")]
    trust: Option<u16>,
    /// How many links may follow
    #[arg(long, value_name = "N", default_value = "0")]
    depth: u8,
}

/// Every signature, every narrowing, and whether it holds now.
pub fn check(check: &Check, screen: &mut Screen) -> Result<(), Failure> {
    let token = read_token(&check.delegation)?;
    let (organization, named) = organization(&check.jwks)?;
    let audience = check
        .audience
        .as_ref()
        .or(named.as_ref())
        .ok_or_else(|| Failure::Misuse("the key's file names no audience: say --audience".to_owned()))?;
    let chain = token::verify(&token, &organization, audience).map_err(refused)?;
    let holds = chain.at(SystemClock::shared().now());
    screen.data(&view(&chain, audience), |value, columns| {
        let rows = list(value, "links").iter().map(|link| {
            vec![
                text(link, "holder").into(),
                joined(link, "capabilities").into(),
                joined(link, "except").into(),
                time(link, "until").into(),
                text(link, "trust").into(),
            ]
        });
        table(
            columns,
            &["HOLDER", "MAY", "MAY NOT", "UNTIL", "TRUST"],
            rows.collect(),
            "",
        )
    })?;
    holds.map_err(refused)?;
    screen.tell("the chain verifies and holds now; whether a link was revoked only the server knows");
    Ok(())
}

/// Prints the new token. What would not verify is refused here already.
pub fn narrow(narrow: &Narrow, screen: &mut Screen) -> Result<(), Failure> {
    let token = read_token(&narrow.delegation)?;
    let key = redeem::read_key(&narrow.key)?;
    // Whoever narrows has it from somebody they believe, and the server checks it again.
    let (issuer, audience) = token::claimed(&token).map_err(refused)?;
    let issuer = public_key_of(&issuer).ok_or_else(|| misuse("the delegation's issuer is no did:key"))?;
    let chain = token::verify(&token, &issuer, &audience).map_err(refused)?;
    let now = SystemClock::shared().now();
    chain.at(now).map_err(refused)?;
    let above = chain.leaf().ok_or_else(|| misuse("the delegation has no link"))?;
    let life_ms = i64::try_from(narrow.ttl.saturating_mul(1000)).unwrap_or(i64::MAX);
    let to_key = match &narrow.to_key {
        Some(key) => from_base64url(key),
        None => public_key_of(&narrow.to),
    };
    let narrowing = Narrowing {
        to: narrow.to.clone(),
        to_key: to_key.ok_or_else(|| misuse("--to is a did:key, and --to-key 32 bytes in base64url"))?,
        capabilities: capabilities(&narrow.capabilities)?,
        except: capabilities(&narrow.except)?,
        now,
        until: Timestamp::from_ms(now.ms().saturating_add(life_ms)).min(above.until()),
        trust: narrow.trust.unwrap_or(above.claims.trust),
        more: narrow.depth,
        id: new_id().map_err(anyhow::Error::from)?,
    };
    let narrowed = token::attenuate(&token, &chain, &key, &narrowing).map_err(refused)?;
    let value = json!({"token": narrowed, "to": narrowing.to, "until": narrowing.until.to_string()});
    screen.data(&value, |value, _| visible(raw(value, "token")))
}

fn view(chain: &VerifiedChain, audience: &str) -> Value {
    let links = chain.links().iter().map(|link| {
        json!({
            "holder": link.holder, "signed_by": did_key(&link.signed_by), "capabilities": link.claims.cap,
            "except": link.claims.not, "until": link.until().to_string(), "trust": link.claims.trust,
            "may_follow": link.claims.more, "jti": link.claims.jti,
        })
    });
    json!({"audience": audience, "links": links.collect::<Vec<_>>()})
}

fn joined(value: &Value, path: &str) -> String {
    let texts = list(value, path).iter().filter_map(Value::as_str);
    visible(&texts.collect::<Vec<_>>().join("\n"))
}

/// The key, and the audience that its file names.
fn organization(path: &Path) -> Result<([u8; 32], Option<String>), Failure> {
    let shown = path.display();
    let bytes = redeem::read(path)?;
    let set = policy::canonical::parse(&bytes, JWKS_BYTES_MAX)
        .map_err(|error| Failure::Misuse(format!("`{shown}` is no JWK Set: {error}")))?;
    let ours = |key: &&Value| raw(key, "kty") == "OKP" && raw(key, "crv") == "Ed25519";
    let mut keys = list(&set, "keys").iter().filter(ours);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(Failure::Misuse(format!(
            "`{shown}` holds no Ed25519 key, or several"
        )));
    };
    let key = from_base64url(raw(key, "x"))
        .ok_or_else(|| Failure::Misuse(format!("`{shown}`: `x` is not 32 bytes in base64url")))?;
    Ok((
        key,
        set.get("audience").and_then(Value::as_str).map(str::to_owned),
    ))
}

fn from_base64url(text: &str) -> Option<[u8; 32]> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .ok()?;
    bytes.try_into().ok()
}

fn capabilities(written: &[String]) -> Result<Vec<Capability>, Failure> {
    let parse = |text: &String| {
        let form = format!("`{text}` is no capability: VERB:RESOURCE[:ENVIRONMENT]");
        Capability::parse(text).ok_or(Failure::Misuse(form))
    };
    written.iter().map(parse).collect()
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text =
        String::from_utf8(redeem::read(path)?).map_err(|_| misuse("the delegation's file holds no token"))?;
    Ok(text.trim().to_owned())
}

fn refused(error: token::TokenError) -> Failure {
    Failure::Failed(error.to_string())
}

fn misuse(what: &str) -> Failure {
    Failure::Misuse(what.to_owned())
}
