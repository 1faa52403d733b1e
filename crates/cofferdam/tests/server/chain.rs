//! Delegation tokens without the server: checked by its published key, also by somebody else's library (npm's
//! `jose`), and narrowed by the agent that holds one.

use crate::common::{DOCUMENTS, Platform};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Three agents that could do the same.
async fn platform() -> Platform {
    let directory = tempfile::tempdir().unwrap();
    let agent = DOCUMENTS
        .split("---\n")
        .find(|text| text.contains("kind: Agent"))
        .unwrap();
    let others = ["scout", "rover"].map(|name| format!("---\n{}", agent.replace("finder", name)));
    let config = directory.path().join("cofferdam.yaml");
    std::fs::write(&config, format!("{DOCUMENTS}{}", others.concat())).unwrap();
    Platform::start_in(directory, |options| options.config = Some(config)).await
}

fn cofferdam(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["agents", "--output", "json"])
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Who holds it, link by link, as `jose` says.
fn by_jose(packages: &Path, jwks: &Path, token: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/chain.mjs");
    Command::new("node")
        .arg(script)
        .args([packages, jwks, token])
        .output()
        .unwrap()
}

struct World {
    platform: Platform,
    jwks: String,
    /// From finder to scout, who may pass it on.
    token: String,
    capability: String,
}

impl World {
    async fn new() -> World {
        let platform = platform().await;
        let finder = platform.get("/api/v1/agents/finder").await.body;
        let capability = finder["grants"][0]["capability"].as_str().unwrap().to_owned();
        let new = json!({"from": "finder", "to": "scout", "capabilities": [capability], "ttl_seconds": 600});
        let made = platform.post("/api/v1/delegations", &new).await.body;
        let jwks = platform.http.get(platform.url("/.well-known/jwks.json"));
        let jwks = jwks.send().await.unwrap().text().await.unwrap();
        let token = made["token"].as_str().unwrap().to_owned();
        World {
            platform,
            jwks,
            token,
            capability,
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.platform.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// DID, and the file of the key.
    async fn agent(&self, name: &str) -> (String, String) {
        let agent = self.platform.get(&format!("/api/v1/agents/{name}")).await.body;
        let id = agent["keys"][0]["id"].as_str().unwrap();
        let file = format!("data-keys/agents/{id}.key");
        let file: PathBuf = self.platform.directory.path().join(file);
        let did = agent["did"].as_str().unwrap().to_owned();
        (did, file.to_str().unwrap().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_narrowed_without_the_server_and_redeemed_with_it() {
    let world = World::new().await;
    let (jwks, held) = (
        world.file("jwks.json", &world.jwks),
        world.file("held.jwt", &world.token),
    );
    let ((scout, key), (rover, rovers_key)) = (world.agent("scout").await, world.agent("rover").await);
    #[rustfmt::skip]
    let narrowed = cofferdam(&["narrow", "--delegation", &held, "--key", &key, "--to", &rover,
        "--capability", &world.capability, "--ttl", "1m", "--trust", "400"]);
    let token = printed(&narrowed)["token"].as_str().unwrap().to_owned();
    let narrowed = world.file("narrowed.jwt", &token);

    let checked = cofferdam(&["check", "--delegation", &narrowed, "--jwks", &jwks]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let chain = printed(&checked);
    let holders: Vec<&str> = chain["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["holder"].as_str().unwrap())
        .collect();
    let (finder, _) = world.agent("finder").await;
    assert_eq!(holders, [&finder, &scout, &rover]);
    assert_eq!(chain["links"][2]["trust"], 400, "{chain}");

    let redeemed = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["agents", "--server", &world.platform.url(""), "--output", "json"])
        .args(["token", "--delegation", &narrowed, "--key", &rovers_key])
        .output()
        .unwrap();
    assert_eq!(printed(&redeemed)["agent"], "rover", "{redeemed:?}");

    let Some(packages) = crate::oidc::packages() else {
        let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some();
        assert!(!required, "jose, which oidc-provider brings, is missing");
        eprintln!("jose is not installed: skipping what it says");
        return world.platform.stop().await;
    };
    let said = by_jose(&packages, Path::new(&jwks), Path::new(&narrowed));
    let names = String::from_utf8_lossy(&said.stdout);
    assert_eq!(names.trim(), holders.join(" "), "{said:?}");
    let altered = world.file("altered.jwt", &altered(&token));
    let said = by_jose(&packages, Path::new(&jwks), Path::new(&altered));
    let why = String::from_utf8_lossy(&said.stderr);
    assert!(
        !said.status.success() && why.contains("signature verification failed"),
        "{said:?}"
    );
    world.platform.stop().await;
}

/// Another signature.
fn altered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{first}{}", &signature[1..])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_verify_or_would_not_is_refused_with_the_reason() {
    let world = World::new().await;
    let other = World::new().await;
    let (jwks, held) = (
        world.file("jwks.json", &world.jwks),
        world.file("held.jwt", &world.token),
    );
    let ((scout, key), (rover, rovers_key)) = (world.agent("scout").await, world.agent("rover").await);
    let theirs = world.file("theirs.json", &other.jwks);
    let altered = world.file("altered.jwt", &altered(&world.token));
    let bare = json!({"keys": serde_json::from_str::<Value>(&world.jwks).unwrap()["keys"]});
    let bare = world.file("bare.json", &bare.to_string());
    let none = world.file("none.json", r#"{"keys": []}"#);
    let twice = world.file("twice.json", r#"{"keys": [], "keys": []}"#);
    let check = |token: &str, jwks: &str, more: &[&str]| {
        cofferdam(&[&["check", "--delegation", token, "--jwks", jwks], more].concat())
    };
    let narrow = |key: &str, to: &str, capability: &str, more: &[&str]| {
        let asked = [
            "narrow",
            "--delegation",
            &held,
            "--key",
            key,
            "--to",
            to,
            "--capability",
            capability,
        ];
        cofferdam(&[&asked, more].concat())
    };
    let may = world.capability.as_str();
    #[rustfmt::skip]
    let table = [
        ("another organization's key", check(&held, &theirs, &[]),                 1, "the first link is not signed by this organization"),
        ("an altered signature",       check(&altered, &jwks, &[]),                1, "link 1 is not signed by the holder of the link above"),
        ("for another platform",       check(&held, &jwks, &["--audience", "b"]),  1, "the token is for `cofferdam.local/default`"),
        ("no audience to compare",     check(&held, &bare, &[]),                   2, "the key's file names no audience"),
        ("no key in the file",         check(&held, &none, &[]),                   2, "holds no Ed25519 key, or several"),
        ("a file that reads two ways", check(&held, &twice, &[]),                  2, "is no JWK Set"),
        ("no token in the file",       check(&jwks, &jwks, &[]),                   1, "not a delegation token: not three parts"),
        ("no file",                    check("nowhere", &jwks, &[]),               1, "cannot read `nowhere`"),
        ("by who does not hold it",    narrow(&rovers_key, &rover, may, &[]),      1, "link 2 is not signed by the holder of the link above"),
        ("to one that is on it",       narrow(&key, &scout, may, &[]),             1, "is on the chain twice"),
        ("to nobody",                  narrow(&key, "rover", may, &[]),            2, "--to is a did:key"),
        ("more than is held",          narrow(&key, &rover, "db.drop:orders", &[]),1, "`db.drop:orders` is not held by the link above"),
        ("everything",                 narrow(&key, &rover, "*:*", &[]),           1, "names no verb or no resource"),
        ("no capability",              narrow(&key, &rover, "x", &[]),             2, "`x` is no capability"),
        ("more trust",                 narrow(&key, &rover, may, &["--trust", "1001"]), 1, "its trust ceiling is above 1000"),
        ("no key in the key's file",   narrow(&held, &rover, may, &[]),            2, "the key's file has 32 bytes and nothing else"),
    ];
    for (name, output, code, said) in table {
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        let why = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        assert!(why.contains(said), "{name}: {why}");
    }
    world.platform.stop().await;
    other.platform.stop().await;
}
