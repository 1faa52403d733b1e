//! What is refused as a bundle, and why; and which bundle may come after which.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use policy::{Timestamp, canonical};
use serde_json::json;
use std::collections::BTreeMap;

fn policy(name: &str) -> Value {
    json!({"apiVersion": "cofferdam.dev/v1", "kind": "Policy", "metadata": {"name": name}, "spec": {"rules": []}})
}

fn contents(version: u64, names: &[&str]) -> Contents {
    let part = |name: &&str| Part {
        path: format!("{name}.yaml"),
        document: policy(name),
    };
    Contents {
        publisher: "acme".into(),
        version,
        created: Timestamp::from_ms(1_700_000_000_000),
        documents: names.iter().map(part).collect(),
        tests: vec![Table {
            path: "a.test.yaml".into(),
            text: "cases: []\n".into(),
        }],
    }
}

fn key(seed: u8) -> PublisherKey {
    PublisherKey::from_seed(&[seed; 32])
}

fn signed(version: u64, names: &[&str]) -> Envelope {
    Envelope::sign(&contents(version, names), &key(1)).unwrap()
}

/// `acme` with the keys 1 and 2, `other` with the key 3.
fn publishers() -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([
        ("acme".to_owned(), vec![key(2).public(), key(1).public()]),
        ("other".to_owned(), vec![key(3).public()]),
    ])
}

/// A payload that is what `change` makes of a good one, with digests that fit again, signed with key 1.
fn resigned(change: impl Fn(&mut Value)) -> Vec<u8> {
    let good = signed(1, &["a", "b"]);
    let payload = STANDARD
        .decode(good.value()["payload"].as_str().unwrap())
        .unwrap();
    let mut value: Value = serde_json::from_slice(&payload).unwrap();
    value.as_object_mut().unwrap().remove("sha256");
    change(&mut value);
    for part in value["documents"].as_array_mut().unwrap() {
        let digest = canonical::digest(&part["document"]).unwrap();
        part["sha256"] = json!(canonical::hex(&digest));
    }
    value["sha256"] = json!(canonical::hex(&canonical::digest(&value).unwrap()));
    sealed(&canonical::to_bytes(&value).unwrap(), PAYLOAD_TYPE)
}

fn sealed(payload: &[u8], kind: &str) -> Vec<u8> {
    let mut pae = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    pae.extend_from_slice(payload);
    let envelope = json!({"payload": STANDARD.encode(payload), "payloadType": kind,
        "signatures": [{"sig": STANDARD.encode(key(1).sign(&pae))}]});
    envelope.to_string().into_bytes()
}

/// The envelope of a good bundle after `change`, with the signature that it had.
fn altered(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut value = signed(1, &["a", "b"]).value().clone();
    change(&mut value);
    value.to_string().into_bytes()
}

/// The payload with one text in it replaced by another, and the signature that it had.
fn tampered(from: &str, to: &str) -> Vec<u8> {
    altered(|value| {
        let payload = STANDARD.decode(value["payload"].as_str().unwrap()).unwrap();
        let text = String::from_utf8(payload).unwrap();
        assert!(text.contains(from), "{text}");
        value["payload"] = json!(STANDARD.encode(text.replace(from, to)));
    })
}

fn check(bytes: &[u8]) -> String {
    match Envelope::read(bytes).and_then(|envelope| envelope.verify(&publishers())) {
        Ok(bundle) => format!("{}@{}", bundle.contents.publisher, bundle.contents.version),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_no_bundle_of_a_publisher_is_refused_with_its_reason() {
    let good = || signed(1, &["a", "b"]).to_bytes().unwrap();
    let many: Vec<String> = (0..=DOCUMENTS_MAX).map(|n| format!("p{n:04}")).collect();
    let part = |path: &str, document: Value| json!({"path": path, "sha256": "", "document": document});
    let twice_a_key = String::from_utf8(good())
        .unwrap()
        .replacen('{', "{\"payload\":\"\",", 1);
    let mut large = good();
    large.resize(BYTES_MAX + 1, b' ');
    // Another document, all digests made again, and the signature that the good one had.
    let mended = altered(|value| {
        let other: Value =
            serde_json::from_slice(&resigned(|v| v["documents"][1]["document"] = policy("c"))).unwrap();
        value["payload"] = other["payload"].clone();
    });
    let digest = {
        let bytes: Value = serde_json::from_slice(&resigned(|_| ())).unwrap();
        let mut value: Value =
            serde_json::from_slice(&STANDARD.decode(bytes["payload"].as_str().unwrap()).unwrap()).unwrap();
        value.as_object_mut().unwrap().remove("sha256");
        value["documents"][1]["sha256"] = json!("0".repeat(64));
        value["sha256"] = json!(canonical::hex(&canonical::digest(&value).unwrap()));
        sealed(&canonical::to_bytes(&value).unwrap(), PAYLOAD_TYPE)
    };
    #[rustfmt::skip]
    let table = [
        ("good",                       good(),                                                     "acme@1"),
        ("resigned as it was",         resigned(|_| ()),                                           "acme@1"),
        ("base64url is base64 too",    altered(|v| { let bytes = STANDARD.decode(v["payload"].as_str().unwrap()).unwrap();
                                           v["payload"] = json!(URL_SAFE_NO_PAD.encode(bytes)); }), "acme@1"),
        ("an unknown field beside it", altered(|v| v["note"] = json!("x")),                        "acme@1"),
        ("a signature that says nothing first", altered(|v| v["signatures"].as_array_mut().unwrap().insert(0, json!({"sig": "AAAA"}))), "acme@1"),
        ("no JSON",                    b"spec: {}".to_vec(),                                       "not a signed bundle: expected a value at line 1, column 1"),
        ("a key twice",                twice_a_key.into_bytes(),                                   "not a signed bundle: duplicate key `payload`"),
        ("oversized",                  large,                                                      "not a signed bundle: document is larger than 786432 bytes"),
        ("no signature",               altered(|v| v["signatures"] = json!([])),                   "is not signed"),
        ("no list of signatures",      altered(|v| v["signatures"] = json!({})),                   "not a signed bundle: no list `signatures`"),
        ("many signatures",            altered(|v| v["signatures"] = json!(vec![json!({"sig": ""}); 9])), "not a signed bundle: more than 8 signatures"),
        ("another payload type",       altered(|v| v["payloadType"] = json!("application/vnd.in-toto+json")), "holds `application/vnd.in-toto+json`, and not `application/vnd.cofferdam.policy-bundle.v1+json`"),
        ("signed as another type",     sealed(b"{}", "text/plain"),                                "holds `text/plain`, and not"),
        ("a tampered document",        tampered("\"name\":\"b\"", "\"name\":\"c\""),               "/sha256: is not the digest of the contents"),
        ("the same with digests that fit", mended,                                                 "no signature is by a key of Publisher `acme`"),
        ("a document's digest alone",  digest,                                                     "/documents/1/sha256: is not the digest of the document"),
        ("a tampered version",         tampered("\"version\":1", "\"version\":9"),                 "/sha256: is not the digest of the contents"),
        ("no canonical payload",       tampered("\"version\":1", "\"version\": 1"),                ": not in its canonical form"),
        ("an unknown publisher",       resigned(|v| v["publisher"] = json!("stranger")),           "there is no Publisher `stranger`; an administrator names it and its public keys first"),
        ("another publisher's key",    resigned(|v| v["publisher"] = json!("other")),              "no signature is by a key of Publisher `other`"),
        ("a wrong key",                Envelope::sign(&contents(1, &["a"]), &key(9)).unwrap().to_bytes().unwrap(), "no signature is by a key of Publisher `acme`"),
        ("one bit of the signature",   altered(|v| { let mut sig = STANDARD.decode(v["signatures"][0]["sig"].as_str().unwrap()).unwrap(); sig[3] ^= 1;
                                           v["signatures"][0]["sig"] = json!(STANDARD.encode(sig)); }), "no signature is by a key of Publisher `acme`"),
        ("too many documents",         resigned(|v| v["documents"] = many.iter().map(|name| part(&format!("{name}.yaml"), policy(name))).collect()), "/documents: more than 200"),
        ("none at all",                resigned(|v| v["documents"] = json!([])),                   "/documents: there are none"),
        ("a path twice",               resigned(|v| v["documents"][1]["path"] = json!("a.yaml")),  "/documents/1/path: `a.yaml` is there twice"),
        ("a name twice",               resigned(|v| v["documents"][1]["document"] = policy("a")),  "/documents/1/document/metadata/name: `a` is there twice"),
        ("out of order",               resigned(|v| v["documents"][1]["path"] = json!("0.yaml")),  "/documents/1/path: is not in order"),
        ("a path out of it",           resigned(|v| v["documents"][1]["path"] = json!("../b.yaml")), "/documents/1/path: is not a relative path"),
        ("another kind",               resigned(|v| v["documents"][1]["document"]["kind"] = json!("Agent")), "/documents/1/document/kind: is of kind `Agent`, and bundles hold policies only"),
        ("a bundle within a bundle",   resigned(|v| v["documents"][1]["document"] = signed(1, &["x"]).value().clone()), "/documents/1/document: is a bundle, and bundles hold no bundles"),
        ("an unknown field in it",     resigned(|v| v["note"] = json!("x")),                       ": unknown field `note`"),
        ("version 0",                  resigned(|v| v["version"] = json!(0)),                      "/version: is not from 1 to 9007199254740991"),
        ("a version as text",          resigned(|v| v["version"] = json!("1")),                    "/version: is not from 1 to"),
        ("no time",                    resigned(|v| v["created"] = json!("today")),                "/created: is not a time"),
        ("a tampered table",           resigned(|v| v["tests"][0]["text"] = json!("cases: [1]\n")), "/tests/0/sha256: is not the digest of the text"),
    ];
    for (name, bytes, expected) in table {
        let found = check(&bytes);
        assert!(found.starts_with(expected), "{name}: {found}");
    }
}

#[test]
fn the_same_contents_are_the_same_bytes_and_another_time_is_another_bundle() {
    let bytes = |contents: &Contents| Envelope::sign(contents, &key(1)).unwrap().to_bytes().unwrap();
    let (one, mut other) = (contents(3, &["a", "b"]), contents(3, &["a", "b"]));
    assert_eq!(bytes(&one), bytes(&one.clone()));
    other.created = Timestamp::from_ms(5);
    assert_ne!(one.digest().unwrap(), other.digest().unwrap());
    let read = Envelope::read(&bytes(&one)).unwrap();
    assert_eq!(read.unverified().unwrap(), one);
    assert_eq!(read.keys(), [key(1).public()]);
}

#[test]
fn while_keys_change_the_old_and_the_new_one_sign() {
    for (seed, expected) in [(1, true), (2, true), (3, false)] {
        let envelope = Envelope::sign(&contents(1, &["a"]), &key(seed)).unwrap();
        let found = envelope.verify(&publishers());
        assert_eq!(
            found
                .as_ref()
                .is_ok_and(|bundle| bundle.key == key(seed).public()),
            expected,
            "{found:?}"
        );
    }
}

#[test]
fn what_would_not_be_read_is_not_signed() {
    let mut two = contents(1, &["a", "b"]);
    two.documents[1].path = "a.yaml".into();
    let error = Envelope::sign(&two, &key(1)).unwrap_err().to_string();
    assert_eq!(error, "/documents/1/path: `a.yaml` is there twice");
}

#[test]
fn a_version_goes_up_and_back_only_with_a_reason() {
    let digest = |names: &[&str], version| contents(version, names).digest().unwrap();
    // Version 3 of a and b is in force; or 2, after 3 was left; or 3 was removed.
    let row = |version: u64, in_force| BundleRow {
        publisher: "acme".into(),
        version,
        digest: digest(&["a", "b"], version),
        key: key(1).public(),
        created: Timestamp::from_ms(0),
        via: Owner::Api,
        policies: vec![],
        in_force,
        highest: 3,
        highest_digest: digest(&["a", "b"], 3),
        updated: Timestamp::from_ms(0),
        entry: 1,
    };
    let same: &[&str] = &["a", "b"];
    #[rustfmt::skip]
    let table = [
        ("the first",                     None,                 1, same,   None,      "Forward"),
        ("the next",                      Some(row(3, true)),   4, same,   None,      "Forward"),
        ("a jump",                        Some(row(3, true)),   9, same,   None,      "Forward"),
        ("the same",                      Some(row(3, true)),   3, same,   None,      "Unchanged"),
        ("the same number, other things", Some(row(3, true)),   3, &["a"], None,      "version 3 of Publisher `acme` was here before with other contents"),
        ("nor for a reason",              Some(row(3, true)),   3, &["a"], Some("x"), "version 3 of Publisher `acme` was here before with other contents"),
        ("an older one",                  Some(row(3, true)),   2, same,   None,      "version 2 of Publisher `acme` is older than 3"),
        ("an older one for a reason",     Some(row(3, true)),   2, same,   Some("x"), "Back"),
        ("again after a rollback",        Some(row(2, true)),   2, same,   None,      "Unchanged"),
        ("up after a rollback",           Some(row(2, true)),   3, same,   None,      "Forward"),
        ("up to another 3",               Some(row(2, true)),   3, &["a"], None,      "version 3 of Publisher `acme` was here before with other contents"),
        ("the same after its removal",    Some(row(3, false)),  3, same,   None,      "Forward"),
        ("an older one after a removal",  Some(row(3, false)),  2, same,   None,      "version 2 of Publisher `acme` is older than 3"),
        ("the old one after a removal",   Some(row(2, false)),  2, same,   None,      "version 2 of Publisher `acme` is older than 3"),
    ];
    for (name, seen, version, names, rollback, expected) in table {
        let bundle = signed(version, names).verify(&publishers()).unwrap();
        let found = match bundle.step(seen.as_ref(), rollback) {
            Ok(step) => format!("{step:?}"),
            Err(stale) => stale.to_string(),
        };
        assert!(found.starts_with(expected), "{name}: {found}");
    }
}

#[test]
fn documents_pass_between_owners_only_with_the_bundle() {
    let of = |publisher: &str| Owner::Bundle(publisher.into());
    let installs = |via: Owner| {
        let bundle = Box::new(signed(1, &["a"]).verify(&publishers()).unwrap());
        vec![BundleChange::Install {
            bundle,
            via,
            rollback: None,
        }]
    };
    let removes = |via: Owner| {
        vec![BundleChange::Remove {
            publisher: "acme".into(),
            via,
        }]
    };
    #[rustfmt::skip]
    let table = [
        ("its own",                         Owner::Api,       Owner::Api,       vec![],                     true),
        ("another owner's",                 Owner::Directory, Owner::Api,       vec![],                     false),
        ("a bundle's, by hand",             of("acme"),       Owner::Api,       vec![],                     false),
        ("a bundle's, by its next",         of("acme"),       of("acme"),       installs(Owner::Api),       true),
        ("a bundle's, by another's",        of("other"),      of("acme"),       installs(Owner::Api),       false),
        ("into a bundle that comes",        Owner::Api,       of("acme"),       installs(Owner::Api),       true),
        ("into a bundle of a directory",    Owner::Api,       of("acme"),       installs(Owner::Directory), false),
        ("into a bundle that does not come", Owner::Api,      of("acme"),       vec![],                     false),
        ("out of a bundle that goes",       of("acme"),       Owner::Api,       removes(Owner::Api),        true),
        ("out of it into a directory",      of("acme"),       Owner::Directory, removes(Owner::Api),        false),
        ("out of another one",              of("other"),      Owner::Api,       removes(Owner::Api),        false),
    ];
    for (name, before, owner, bundles, expected) in table {
        assert_eq!(may_take(&before, &owner, &bundles), expected, "{name}");
    }
}

/// Made by a script of a few lines (Python, `cryptography`), not by this code.
#[test]
fn a_bundle_that_another_program_made_is_verified() {
    let bytes = include_bytes!("../../../../fuzz/seeds/policy_bundle/one");
    let bundle = Envelope::read(bytes).unwrap().verify(&publishers()).unwrap();
    assert_eq!(
        (bundle.contents.names(), bundle.contents.version),
        (vec!["calm"], 1)
    );
    assert_eq!(
        bundle.contents.digest().unwrap(),
        "d666082e28badad125102ba6c129a5ff094783471ba13d01e26b2c10e2c7e061"
    );
    assert_eq!(bundle.key(), "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w");
}
