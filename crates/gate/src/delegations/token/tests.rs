//! Every way in which a token is wrong, by its reason; and no way in which a chain that is made by the
//! rules, or verifies, holds more at its leaf than at its root.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const HERE: &str = "test.local/default";
const NOW: i64 = 1_767_225_600_000;

fn key(seed: u8) -> AgentKey {
    AgentKey::from_seed(&[seed; 32])
}

fn organization() -> AgentKey {
    key(200)
}

fn capability(text: &str) -> Capability {
    Capability::parse(text).unwrap()
}

fn to(seed: u8, capabilities: &[&str], ttl_s: i64, trust: u16) -> Narrowing {
    let public = key(seed).public();
    Narrowing {
        to: did_key(&public),
        to_key: public,
        capabilities: capabilities.iter().map(|text| capability(text)).collect(),
        except: Vec::new(),
        now: Timestamp::from_ms(NOW),
        until: Timestamp::from_ms(NOW + ttl_s * 1000),
        trust,
        more: 3,
        id: [seed; 16],
    }
}

fn checked(token: &str) -> Result<VerifiedChain, TokenError> {
    verify(token, &organization().public(), HERE)
}

/// The supervisor (key 1) holds deploying anywhere and reading data for an hour.
fn root() -> String {
    let root = to(1, &["deploy:*", "read:data/*"], 3600, 1000);
    issue(&organization(), HERE, &root).unwrap()
}

/// The same, and what it passed on to the deployer (key 2).
fn passed_on() -> String {
    let root = root();
    let narrowing = Narrowing {
        except: vec![capability("deploy:staging/secret")],
        ..to(2, &["deploy:staging/*"], 900, 700)
    };
    attenuate(&root, &checked(&root).unwrap(), &key(1), &narrowing).unwrap()
}

/// The claims of a token's last link.
fn claims(token: &str) -> Value {
    serde_json::to_value(read(token).unwrap()).unwrap()
}

/// Whatever `claims` says, signed by `key`.
fn forged(key: &AgentKey, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some("key-0".to_owned());
    jsonwebtoken::encode(&header, claims, &key.encoding().unwrap()).unwrap()
}

/// The token whose last link is changed as told and signed again by its right holder.
fn changed(token: &str, holder: u8, change: Value) -> String {
    let mut claims = claims(token);
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    forged(&key(holder), &claims)
}

fn base64url(value: &Value) -> String {
    written(value.to_string().as_bytes())
}

/// The token under another header, with the signature of `sign` over it.
fn under(token: &str, header: &Value, sign: impl FnOnce(&str) -> String) -> String {
    let body = token.split('.').nth(1).unwrap();
    let signed = format!("{}.{body}", base64url(header));
    format!("{signed}.{}", sign(&signed))
}

/// HMAC-SHA-256 with the public key as the secret: the old confusion of algorithms.
fn hmac(message: &str, secret: &[u8; 32]) -> String {
    let (mut inner, mut outer) = ([0x36u8; 64], [0x5cu8; 64]);
    for (at, byte) in secret.iter().enumerate() {
        inner[at] ^= byte;
        outer[at] ^= byte;
    }
    let within = Sha256::new().chain_update(inner).chain_update(message).finalize();
    written(&Sha256::new().chain_update(outer).chain_update(within).finalize())
}

#[test]
fn what_is_passed_on_is_less_and_says_who_acts() {
    let token = passed_on();
    let chain = checked(&token).unwrap();
    assert_eq!(chain.at(Timestamp::from_ms(NOW)), Ok(()));
    let (root, leaf) = (&chain.links()[0], chain.leaf().unwrap());
    assert_eq!(leaf.claims.sub, root.holder);
    assert_eq!(leaf.claims.act.as_ref().unwrap().sub, did_key(&key(2).public()));
    assert_eq!(
        (leaf.claims.more, leaf.claims.trust, leaf.signed_by),
        (2, 700, key(1).public())
    );
    let third = to(3, &["deploy:staging/web"], 60, 700);
    let deeper = attenuate(&token, &chain, &key(2), &third).unwrap();
    let chain = checked(&deeper).unwrap();
    let leaf = chain.leaf().unwrap();
    assert_eq!(
        leaf.claims.not,
        [capability("deploy:staging/secret")],
        "exceptions go down"
    );
    let act = leaf.claims.act.as_ref().unwrap();
    assert_eq!(
        act.act.as_ref().unwrap().sub,
        did_key(&key(2).public()),
        "who acted before"
    );
}

#[test]
fn a_forged_token_is_refused_with_its_reason() {
    let token = passed_on();
    let (good, ours) = (token.as_str(), organization());
    let head = |alg: &str| json!({"alg": alg, "typ": TYPE, "kid": "key-0"});
    let cut = &good[..good.len() - 4];
    let elsewhere = issue(&ours, "other/log", &to(1, &["deploy:*"], 3600, 1000)).unwrap();
    let did = |seed: u8| did_key(&key(seed).public());
    let cyclic = json!({"act": {"sub": did(1)}});
    let jwk_in_header = json!({"alg": "EdDSA", "typ": TYPE, "kid": "k", "jwk": {"kty": "OKP"}});
    let signed = |key: &AgentKey, text: &str| {
        use ed25519_dalek::Signer as _;
        let _ = key;
        written(
            &ed25519_dalek::SigningKey::from_bytes(&[1; 32])
                .sign(text.as_bytes())
                .to_bytes(),
        )
    };
    let second = attenuate(
        good,
        &checked(good).unwrap(),
        &key(2),
        &to(3, &["deploy:staging/a"], 60, 1),
    )
    .unwrap();
    let none_left = changed(good, 1, json!({"more": 0}));
    let mut too_deep = claims(&second);
    too_deep["parent"] = json!(none_left);
    #[rustfmt::skip]
    let table = [
        ("as it was made",               good.to_owned(),                                               "holds"),
        ("not a token",                  "a.b".to_owned(),                                              "not a delegation token: not three parts"),
        ("not JSON",                     "a.b.c".to_owned(),                                            "not a delegation token: the header is not JSON in base64url"),
        ("too long",                     "x".repeat(TOKEN_BYTES_MAX + 1),                               "the token is longer than 32768 bytes"),
        ("cut short",                    cut.to_owned(),                                                "link 1 is not signed by the holder of the link above"),
        ("algorithm none",               under(good, &head("none"), |_| String::new()),                 "algorithm `none` is not accepted: only EdDSA is"),
        ("HS256 with the public key",    under(good, &head("HS256"), |text| hmac(text, &key(1).public())), "algorithm `HS256` is not accepted: only EdDSA is"),
        ("HMAC said to be EdDSA",        under(good, &head("EdDSA"), |text| hmac(text, &key(1).public())), "link 1 is not signed by the holder of the link above"),
        ("another type of token",        under(good, &json!({"alg": "EdDSA", "typ": "JWT", "kid": "k"}), |text| signed(&key(1), text)), "not a delegation token: its type is not that of a delegation"),
        ("a key in its own header",      under(good, &jwk_in_header, |text| signed(&key(1), text)),     "not a delegation token: the header is not ours"),
        ("signed by a stranger",         forged(&key(9), &claims(good)),                                "link 1 is not signed by the holder of the link above"),
        ("signed by its own holder",     forged(&key(2), &claims(good)),                                "link 1 is not signed by the holder of the link above"),
        ("a root of another platform",   issue(&key(9), HERE, &to(1, &["deploy:*"], 60, 1)).unwrap(), "the first link is not signed by this organization"),
        ("a root that says it is ours",  forged(&key(9), &claims(&root())),                             "the first link is not signed by this organization"),
        ("for another platform",         elsewhere,                                                     "the token is for `other/log`"),
        ("its audience swapped",         changed(good, 1, json!({"aud": "other/log"})),                 "the token is for `other/log`"),
        ("a claim that is not ours",     changed(good, 1, json!({"admin": true})),                      "not a delegation token: the claims are not ours"),
        ("another subject",              changed(good, 1, json!({"sub": did(7)})),                      "who signs, who acts and who acted before do not fit together"),
        ("another issuer",               changed(good, 1, json!({"iss": did(7)})),                      "who signs, who acts and who acted before do not fit together"),
        ("nobody acts",                  changed(good, 1, json!({"act": null})),                        "who signs, who acts and who acted before do not fit together"),
        ("a history of its own",         changed(good, 1, json!({"act": {"sub": did(2), "act": {"sub": did(7)}}})), "who signs, who acts and who acted before do not fit together"),
        ("an actor that has no key",     changed(good, 1, json!({"act": {"sub": "did:web:x"}})),        "not a delegation token: a holder is a did:key with an Ed25519 key"),
        ("back to the root",             changed(good, 1, cyclic),                                      &format!("`{}` is on the chain twice", did(1))),
        ("deeper than allowed",          forged(&key(2), &too_deep),                                    "the chain is deeper than its root allows"),
        ("more depth than it got",       changed(good, 1, json!({"more": 3})),                          "the chain is deeper than its root allows"),
        ("a longer life",                changed(good, 1, json!({"exp": NOW / 1000 + 3601})),           "a link has to live within the life of the link above"),
        ("an earlier beginning",         changed(good, 1, json!({"iat": NOW / 1000 - 1})),              "a link has to live within the life of the link above"),
        ("no life",                      changed(good, 1, json!({"exp": NOW / 1000})),                  "a link has to live within the life of the link above"),
        ("more trust",                   changed(good, 1, json!({"trust": 1001})),                      "its trust ceiling is above 1000, that of the link above"),
        ("everything",                   changed(good, 1, json!({"cap": ["*:*"]})),                     "`*:*` names no verb or no resource, so it cannot be delegated"),
        ("every resource",               changed(good, 1, json!({"cap": ["deploy:*"]})),                "`deploy:*` names no verb or no resource, so it cannot be delegated"),
        ("another verb",                 changed(good, 1, json!({"cap": ["write:data/x"]})),            "`write:data/x` is not held by the link above"),
        ("a prefix that is no segment",  changed(good, 1, json!({"cap": ["read:database/x"]})),         "`read:database/x` is not held by the link above"),
        ("one wider among others",       changed(good, 1, json!({"cap": ["deploy:staging/a", "read:data"]})), "`read:data` is not held by the link above"),
        ("a capability that is none",    changed(good, 1, json!({"cap": ["deploy:sta*"]})),             "not a delegation token: the claims are not ours"),
        ("nothing",                      changed(good, 1, json!({"cap": []})),                          "not a delegation token: a link has 1 to 64 capabilities"),
        ("an exception dropped",         changed(&second, 2, json!({"not": []})),                       "the exception `deploy:staging/secret` of the link above is missing"),
        ("an identifier of the chain",   changed(good, 1, json!({"jti": "01".repeat(16)})),             &format!("the token's identifier `{}` was used before", "01".repeat(16))),
        ("an identifier that is none",   changed(good, 1, json!({"jti": "x"})),                         "the token's identifier `x` was used before"),
    ];
    for (name, token, expected) in table {
        let got = checked(&token).map_or_else(|error| error.to_string(), |_| "holds".to_owned());
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn a_chain_of_more_links_than_any_is_refused_before_a_signature_is_looked_at() {
    let mut token = passed_on();
    while token.len() < TOKEN_BYTES_MAX {
        let mut more = claims(&token);
        more["parent"] = json!(token);
        let longer = forged(&key(9), &more);
        if longer.len() > TOKEN_BYTES_MAX {
            break;
        }
        token = longer;
    }
    assert!(
        matches!(
            checked(&token),
            Err(TokenError::TooDeep | TokenError::Signature(_))
        ),
        "{:?}",
        checked(&token)
    );
}

#[test]
fn a_chain_holds_from_its_beginning_to_its_earliest_end() {
    let chain = checked(&passed_on()).unwrap();
    #[rustfmt::skip]
    let table = [
        ("before",           -1,        Err(TokenError::NotYet)),
        ("at its beginning", 0,         Ok(())),
        ("just before its end", 899_999, Ok(())),
        ("at its end",       900_000,   Err(TokenError::Expired)),
        ("while its root goes on", 1_800_000, Err(TokenError::Expired)),
    ];
    for (name, after, expected) in table {
        assert_eq!(chain.at(Timestamp::from_ms(NOW + after)), expected, "{name}");
    }
}

/// The seeds of the fuzz target are tokens that verify, so that it begins where it is interesting.
/// `UPDATE_GOLDEN=1` writes them.
#[test]
fn the_seeds_of_the_fuzz_target_verify() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/delegation_token");
    for (name, token) in [("root", root()), ("passed_on", passed_on())] {
        let path = format!("{directory}/{name}");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(&path, &token).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), token, "{name}");
        checked(&token).unwrap();
    }
}

#[test]
fn who_holds_another_key_cannot_pass_on() {
    let root = root();
    let chain = checked(&root).unwrap();
    let narrowing = to(2, &["deploy:staging/a"], 60, 1);
    assert_eq!(
        attenuate(&root, &chain, &key(9), &narrowing),
        Err(TokenError::Signature(1)),
        "a key that the chain is not bound to"
    );
    assert_eq!(
        attenuate(&passed_on(), &chain, &key(1), &narrowing),
        Err(TokenError::Signature(1)),
        "another token than the one that was verified"
    );
}

/// What one step of a random life tries to pass on; much of it is refused.
#[derive(Clone, Debug)]
struct Try {
    from: usize,
    to: u8,
    capabilities: Vec<&'static str>,
    ttl_s: i64,
    trust: u16,
}

const CAPABILITIES: [&str; 9] = [
    "*:*",
    "read:*",
    "read:data",
    "read:data/*",
    "read:data/a",
    "read:data/a/*",
    "read:database",
    "deploy:staging",
    "deploy:web:staging",
];

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let one = (
        any::<prop::sample::Index>(),
        2u8..9,
        prop::collection::vec(prop::sample::select(&CAPABILITIES[..]), 1..3),
        1i64..200,
        0u16..1000,
    );
    let one = one.prop_map(|(from, to, capabilities, ttl_s, trust)| Try {
        from: from.index(8),
        to,
        capabilities,
        ttl_s,
        trust,
    });
    prop::collection::vec(one, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random trees: whatever was passed on verifies, and no leaf holds what its root does not.
    #[test]
    fn no_leaf_holds_what_its_root_does_not(
        held in prop::collection::vec(prop::sample::select(&CAPABILITIES[..]), 1..4),
        tries in tries(),
    ) {
        let first = issue(&organization(), HERE, &to(1, &held, 100, 500)).unwrap();
        let mut tree = vec![(first, 1u8)];
        for (at, one) in tries.iter().enumerate() {
            let (token, holder) = tree[one.from % tree.len()].clone();
            let narrowing = Narrowing {
                id: [u8::try_from(at).unwrap() + 100; 16],
                ..to(one.to, &one.capabilities, one.ttl_s, one.trust)
            };
            let chain = checked(&token).unwrap();
            if let Ok(longer) = attenuate(&token, &chain, &key(holder), &narrowing) {
                tree.push((longer, one.to));
            }
        }
        let held: Vec<Capability> = held.iter().map(|text| capability(text)).collect();
        for (token, _) in &tree {
            let chain = checked(token).unwrap();
            prop_assert!(chain.links().len() <= 4);
            let mut above = (100 + NOW / 1000, 500);
            for link in chain.links() {
                for one in &link.claims.cap {
                    prop_assert!(held.iter().any(|held| held.covers_capability(one)), "{} of {:?}", one, held);
                }
                prop_assert!(link.claims.exp <= above.0 && link.claims.trust <= above.1);
                above = (link.claims.exp, link.claims.trust);
            }
        }
    }

    /// One bit of a good token changed: never the same rights under another text.
    #[test]
    fn no_changed_token_verifies(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let token = passed_on();
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(text == token || checked(&text).is_err());
        }
    }
}
