//! Redeeming a delegation: what the holder of a chain gets for it, and every bad day with its reason.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use gate::delegations::proof::{Request, prove};
use gate::delegations::token::{Narrowing, attenuate, verify};
use gate::{ACCESS_MS_MAX, AgentKey, RedeemError, Redeemed, Shown};
use serde_json::{Value, json};

const HOST: &str = "localhost:7400";
const PATH: &str = "/api/v1/token";
const ORIGIN: &str = "test.local/default";

/// The seed of an agent's present key, as the agent has it.
fn seed(world: &World, agent: &str) -> [u8; 32] {
    let id = world.gate.agent(agent).unwrap().keys[0].id.clone();
    file(world, &id)
}

fn file(world: &World, name: &str) -> [u8; 32] {
    let path = world
        .directory
        .path()
        .join(format!("data-keys/agents/{name}.key"));
    std::fs::read(path).unwrap().try_into().unwrap()
}

fn proved(world: &World, seed: &[u8; 32], chain: &str) -> String {
    let (key, now) = (AgentKey::from_seed(seed), world.gate.store().clock().now());
    prove(
        &key,
        "POST",
        &format!("http://{HOST}{PATH}"),
        chain,
        now,
        &[9; 16],
    )
    .unwrap()
}

async fn redeemed(
    world: &World,
    chain: &str,
    proof: &str,
) -> Result<(Redeemed, secrets::Secret), RedeemError> {
    let request = Request {
        method: "POST",
        host: HOST,
        path: PATH,
    };
    world
        .gate
        .redeem(Shown {
            chain,
            proof,
            request,
        })
        .await
}

/// By the right holder, at once.
async fn by(world: &World, agent: &str, chain: &str) -> Result<(Redeemed, secrets::Secret), RedeemError> {
    let proof = proved(world, &seed(world, agent), chain);
    redeemed(world, chain, &proof).await
}

/// The token with its last claims changed, signed again by `signer`, or not at all.
fn altered(token: &str, signer: Option<&[u8; 32]>, change: impl Fn(&mut Value)) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    change(&mut claims);
    let signed = format!("{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = match signer {
        Some(seed) => URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(seed).sign(signed.as_bytes()).to_bytes()),
        None => parts[2].to_owned(),
    };
    format!("{signed}.{signature}")
}

/// The token with another algorithm in its header.
fn with_algorithm(token: &str, alg: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    let head = json!({"alg": alg, "typ": "delegation+jwt", "kid": "key-0"}).to_string();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head))
}

fn secret(secret: &secrets::Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

#[tokio::test]
async fn a_delegation_is_redeemed_once_and_is_worth_itself_as_long_as_it_stands() {
    let world = world().await;
    let delegation = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let (redeemed, token) = by(&world, "deploy", &delegation.token).await.unwrap();
    assert_eq!(
        (redeemed.agent.as_str(), &redeemed.delegation),
        ("deploy", &delegation.id)
    );
    assert_eq!(
        redeemed.until.since_ms(world.gate.store().clock().now()),
        ACCESS_MS_MAX
    );
    let caller = world.gate.identify(&secret(&token)).unwrap();
    assert_eq!(caller.principal(), &Principal::agent("deploy"));
    assert_eq!(
        (caller.roles(), caller.delegation()),
        (&[Role::Agent.into()][..], Some(delegation.id.as_str()))
    );
    assert_eq!(caller.token(), redeemed.token);
    let entry = world.bodies("token.redeemed");
    assert_eq!(entry[0]["delegation"], delegation.id.as_str());
    assert!(
        !serde_json::to_string(&world.entries())
            .unwrap()
            .contains(&secret(&token)),
        "no secret is told"
    );
    // It survives a start, and the end of what it rests on ends it at once.
    let world = world.reopened().await;
    assert!(world.gate.identify(&secret(&token)).is_ok());
    assert!(matches!(
        by(&world, "deploy", &delegation.token).await,
        Err(RedeemError::Replayed)
    ));
    event(&world, "lead", AgentEvent::Suspend).await.unwrap();
    assert!(
        world.gate.identify(&secret(&token)).is_err(),
        "a link above is held back"
    );
    event(&world, "lead", AgentEvent::Resume).await.unwrap();
    assert!(world.gate.identify(&secret(&token)).is_ok());
    world
        .gate
        .revoke_delegation(&alice(), &delegation.id, "done")
        .await
        .unwrap();
    assert!(world.gate.identify(&secret(&token)).is_err(), "revoked");
}

#[tokio::test]
async fn what_was_redeemed_ends_after_minutes_and_is_forgotten_with_its_delegation() {
    let world = world().await;
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let (_, token) = by(&world, "deploy", &first.token).await.unwrap();
    world.advance(ACCESS_MS_MAX.cast_unsigned());
    assert!(world.gate.identify(&secret(&token)).is_err());
    let rows = |world: &World| {
        world
            .rows()
            .keys()
            .filter(|key| key.starts_with("redemptions:"))
            .count()
    };
    assert_eq!(
        rows(&world),
        2,
        "the redemption, and how far others were forgotten"
    );
    world.advance(HOUR_MS);
    let second = made(&world, from("lead", "scout", &["git.log:repository/*"])).await;
    by(&world, "scout", &second.token).await.unwrap();
    assert_eq!(rows(&world), 2, "the first has ended and is forgotten");
}

#[tokio::test]
async fn what_was_narrowed_offline_is_recorded_when_it_is_redeemed() {
    let world = world().await;
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let organization = AgentKey::from_seed(&file(&world, "organization")).public();
    let chain = verify(&first.token, &organization, ORIGIN).unwrap();
    let scout = world.gate.agent("scout").unwrap();
    let now = world.gate.store().clock().now();
    let narrowing = Narrowing {
        to_key: AgentKey::from_seed(&seed(&world, "scout")).public(),
        to: scout.did,
        capabilities: vec![Capability::parse("git.log:repository/a").unwrap()],
        except: Vec::new(),
        now,
        until: now.plus_ms(60_000),
        trust: 500,
        more: 0,
        id: [3; 16],
    };
    let deploy = AgentKey::from_seed(&seed(&world, "deploy"));
    let token = attenuate(&first.token, &chain, &deploy, &narrowing).unwrap();
    let (redeemed, secret_of) = by(&world, "scout", &token).await.unwrap();
    let row = world.gate.delegation(&redeemed.delegation).unwrap();
    assert_eq!(
        (row.from.as_str(), row.to.as_str(), row.under.as_ref()),
        ("deploy", "scout", Some(&first.id))
    );
    assert_eq!(row.by, Principal::agent("deploy"), "nobody else made it");
    world.caller("alice", &[Role::Operator]).await;
    let session = running(&world, "scout", &Principal::agent("scout"), Some(&row.id)).await;
    assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
    let got = world.check(&session, "2", &read("repository/b")).await;
    assert_eq!(got, "denied: agent:scout holds no grant that covers this action");
    world
        .gate
        .revoke_delegation(&alice(), &first.id, "done")
        .await
        .unwrap();
    assert!(
        world.gate.identify(&secret(&secret_of)).is_err(),
        "what is above ends it"
    );
}

#[tokio::test]
async fn an_agent_acts_on_the_account_of_whoever_passed_something_on_first() {
    let world = world().await;
    let delegation = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let session = running(
        &world,
        "deploy",
        &Principal::agent("deploy"),
        Some(&delegation.id),
    )
    .await;
    let got = world.check(&session, "1", &read("repository/a")).await;
    assert_eq!(
        got, "denied: person:alice holds no grant that covers this action",
        "who holds no token"
    );
    world.caller("alice", &[Role::Operator]).await;
    assert_eq!(world.check(&session, "2", &read("repository/a")).await, "permit");
}

/// What `day` makes of a redemption: the reason, and the code in the journal.
async fn bad(day: &str) -> (String, String) {
    let world = world().await;
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let (chain, holder) = (first.token.clone(), seed(&world, "deploy"));
    let lead = seed(&world, "lead");
    let did = world.gate.agent("lead").unwrap().did;
    let by_lead = |change: &dyn Fn(&mut Value)| altered(&chain, Some(&lead), change);
    let chain = match day {
        "forged" => altered(&chain, None, |claims| claims["trust"] = json!(999)),
        "signed by its holder" => altered(&chain, Some(&holder), |claims| claims["trust"] = json!(999)),
        "swapped audience" => by_lead(&|claims| claims["aud"] = json!("other/log")),
        "over-deep" => by_lead(&|claims| claims["more"] = json!(9)),
        "cyclic" => by_lead(&|claims| claims["act"]["sub"] = json!(did)),
        "widened" => by_lead(&|claims| claims["cap"] = json!(["vault.read:secret/a"])),
        "made of a known identifier" => by_lead(&|claims| claims["trust"] = json!(1)),
        "not made here" => by_lead(&|claims| claims["jti"] = json!("0".repeat(32))),
        "not yet" => by_lead(&|claims| claims["iat"] = json!(claims["iat"].as_i64().unwrap() + 60)),
        "no algorithm" => with_algorithm(&chain, "none"),
        "a shared secret" => with_algorithm(&chain, "HS256"),
        _ => chain,
    };
    match day {
        "expired" => world.advance(HOUR_MS),
        "replayed" => drop(by(&world, "deploy", &chain).await.unwrap()),
        "revoked" => drop(
            world
                .gate
                .revoke_delegation(&alice(), &first.id, "so")
                .await
                .unwrap(),
        ),
        "suspended" => drop(event(&world, "deploy", AgentEvent::Suspend).await.unwrap()),
        "rotated and forgotten" => {
            for _ in 0..7 {
                world.gate.rotate_agent(&alice(), "lead").await.unwrap();
            }
        }
        "sponsor revoked" => {
            let caller = world.caller("alice", &[Role::Operator]).await;
            world.gate.revoke_token(&alice(), caller.token()).await.unwrap();
        }
        _ => {}
    }
    let proof = match day {
        "wrong key" => proved(&world, &seed(&world, "scout"), &chain),
        "a proof of another token" => proved(&world, &holder, "another.token.yet"),
        "no proof" => String::new(),
        _ => proved(&world, &holder, &chain),
    };
    if day == "an old proof" {
        world.advance(61_000);
    }
    let reason = match redeemed(&world, &chain, &proof).await {
        Ok(_) => "redeemed".to_owned(),
        Err(error) => error.to_string(),
    };
    let code = world.bodies("token.refused").last().map(|body| {
        // Texts in entries are redacted, and a DID looks like a key.
        let same = body["reason"] == reason.as_str() || day == "cyclic";
        assert!(same, "{day}: the entry says what the holder is told, not {body}");
        body["code"].as_str().unwrap().to_owned()
    });
    (reason, code.unwrap_or_default())
}

#[tokio::test]
async fn a_bad_day_is_refused_with_its_reason_and_recorded() {
    #[rustfmt::skip]
    let table = [
        ("a good one",               "redeemed",                                                            ""),
        ("forged",                   "link 1 is not signed by the holder of the link above",                "token_unverified"),
        ("signed by its holder",     "link 1 is not signed by the holder of the link above",                "token_unverified"),
        ("swapped audience",         "the token is for `other/log`",                                        "token_audience"),
        ("over-deep",                "the chain is deeper than its root allows",                            "token_unverified"),
        ("cyclic",                   "is on the chain twice",                                               "token_unverified"),
        ("widened",                  "`vault.read:secret/a` is not held by the link above",                 "token_unverified"),
        ("made of a known identifier", "was used before",                                                   "token_unverified"),
        ("not made here",            "its first delegation was not made here",                              "delegation_unknown"),
        ("not yet",                  "the token does not hold yet",                                         "token_not_yet"),
        ("no algorithm",             "algorithm `none` is not accepted: only EdDSA is",                     "token_unverified"),
        ("a shared secret",          "algorithm `HS256` is not accepted: only EdDSA is",                    "token_unverified"),
        ("expired",                  "the token has expired",                                               "token_expired"),
        ("replayed",                 "the token was redeemed before",                                       "token_replayed"),
        ("revoked",                  "which was revoked",                                                   "delegation_revoked"),
        ("suspended",                "agent:deploy is suspended",                                           "agent_suspended"),
        ("rotated and forgotten",    "the key of agent `lead` was rotated",                                 "delegation_unverified"),
        ("sponsor revoked",          "agent:lead has lost its sponsor: every token of `alice` was revoked", "sponsor_left"),
        ("wrong key",                "the proof is not by the key that the token is bound to",              "proof_other_key"),
        ("a proof of another token", "the proof is for another token",                                      "proof_invalid"),
        ("an old proof",             "the proof was not made within 60 seconds of now",                     "proof_invalid"),
        ("no proof",                 "not a proof: not three parts",                                        "proof_invalid"),
    ];
    for (day, reason, code) in table {
        let (got, recorded) = bad(day).await;
        assert!(got.contains(reason), "{day}: {got}");
        assert_eq!(recorded, code, "{day}");
    }
}

#[tokio::test]
async fn strangers_cannot_fill_the_journal_with_refusals() {
    let world = world().await;
    for _ in 0..100 {
        assert!(redeemed(&world, "a.b.c", "").await.is_err());
    }
    assert_eq!(world.bodies("token.refused").len(), 60);
    world.advance(60_000);
    assert!(redeemed(&world, "a.b.c", "").await.is_err());
    let refused = world.bodies("token.refused");
    assert_eq!(
        (refused.len(), &refused[60]["unrecorded_before"]),
        (61, &json!(40))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_redemptions_at_once_one_is_given() {
    let world = std::sync::Arc::new(world().await);
    for _ in 0..4 {
        let delegation = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
        let both = [(); 2].map(|()| {
            let (world, token) = (world.clone(), delegation.token.clone());
            tokio::spawn(async move { by(&world, "deploy", &token).await.is_ok() })
        });
        let mut given = 0;
        for one in both {
            given += usize::from(one.await.unwrap());
        }
        assert_eq!(given, 1);
    }
}

/// The key that a delegation is bound to is replaced while its holder has a token and a session runs under it.
#[tokio::test]
async fn a_token_and_a_session_go_on_while_keys_are_rotated_until_the_key_is_forgotten() {
    for rotated in ["deploy", "lead"] {
        let world = world().await;
        let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
        let (_, token) = by(&world, "deploy", &first.token).await.unwrap();
        let session = running(&world, "deploy", &trigger(), Some(&first.id)).await;
        let mut steps = 0..;
        let mut acts = async || {
            let step = steps.next().unwrap().to_string();
            world.check(&session, &step, &read("repository/a")).await
        };
        let holds = || world.gate.identify(&secret(&token)).is_ok();
        assert_eq!((holds(), acts().await.as_str()), (true, "permit"));
        let old = seed(&world, rotated);
        for times in 1..=5 {
            world.gate.rotate_agent(&alice(), rotated).await.unwrap();
            let now = (holds(), acts().await);
            assert_eq!(now, (true, "permit".to_owned()), "{rotated}, {times} times");
        }
        // Its sixth successor is one more than what is remembered.
        world.gate.rotate_agent(&alice(), rotated).await.unwrap();
        let why = format!("the key of agent `{rotated}` was rotated");
        let said = acts().await;
        assert!(!holds() && said.contains(&why), "{rotated}: {said}");
        // Nor does the old key redeem what it could have.
        let again = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
        let proof = proved(&world, &old, &again.token);
        let refused = redeemed(&world, &again.token, &proof).await.unwrap_err();
        assert!(matches!(refused, RedeemError::NotHolder), "{rotated}: {refused}");
    }
}

/// A key that was replaced verifies for a day, and a delegation made with it ends before.
#[tokio::test]
async fn a_rotated_key_ends_nothing_before_its_time_and_everything_after() {
    let world = world().await;
    let first = made(&world, from("lead", "deploy", &["git.log:repository/*"])).await;
    let session = running(&world, "deploy", &trigger(), Some(&first.id)).await;
    world.gate.rotate_agent(&alice(), "deploy").await.unwrap();
    world.advance(first.until.since_ms(world.gate.time()) as u64 - 1);
    assert_eq!(world.check(&session, "1", &read("repository/a")).await, "permit");
    world.advance(1);
    let said = world.check(&session, "2", &read("repository/a")).await;
    assert!(said.contains("has expired"), "{said}");
}
