//! Leaves: what is written reads back, and nothing else is read.
#![expect(clippy::unwrap_used, reason = "a test")]

use journal::entry::commit;
use journal::{Commitment, Entry, EntryError, LEAF_BYTES_MAX, leaf};
use policy::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn entry(body: Value) -> Entry {
    Entry {
        v: 1,
        log: "log.example".to_owned(),
        sequence: 7,
        timestamp: Timestamp::from_ms(1_795_000_000_123),
        kind: "action.settled".to_owned(),
        session: None,
        actor: "agent:triage".to_owned(),
        cause: None,
        correlation: None,
        body,
        commitments: Vec::new(),
        projections: [].into(),
    }
}

#[test]
fn a_leaf_is_canonical_json() {
    let whole = Entry {
        session: Some("ses-3".to_owned()),
        cause: Some("person:\u{e9}\u{1f600} \"\\\n\u{1}".to_owned()),
        correlation: Some("INC-2026-1121-001".to_owned()),
        commitments: vec![
            Commitment {
                name: "arguments".to_owned(),
                hmac_sha256: "0a".repeat(32)
            };
            2
        ],
        // U+10000 is two UTF-16 units that sort before U+E000; by bytes it would come after.
        projections: [
            ("\u{e000}".to_owned(), "b".to_owned()),
            ("\u{10000}".to_owned(), "a".to_owned()),
        ]
        .into(),
        ..entry(json!({ "z": [1, -2, 0.5, 1e21, null, true], "a": {} }))
    };
    let hmac = "0a".repeat(32);
    let expected = format!(
        "{}{}{}",
        r#"{"actor":"agent:triage","body":{"a":{},"z":[1,-2,0.5,1e+21,null,true]},"#,
        "\"cause\":\"person:\u{e9}\u{1f600} \\\"\\\\\\n\\u0001\",",
        format_args!(
            "{}{}{}{}",
            format_args!(
                r#""commitments":[{{"hmac_sha256":"{hmac}","name":"arguments"}},{{"hmac_sha256":"{hmac}","name":"arguments"}}],"#
            ),
            r#""correlation":"INC-2026-1121-001","kind":"action.settled","log":"log.example","#,
            "\"projections\":{\"\u{10000}\":\"a\",\"\u{e000}\":\"b\"},",
            r#""sequence":7,"session":"ses-3","timestamp":"2026-11-18T11:06:40.123Z","v":1}"#
        )
    );
    let leaf = whole.to_leaf().unwrap();
    assert_eq!(String::from_utf8_lossy(&leaf), expected);
    assert_eq!(Entry::from_leaf(&leaf).as_ref(), Ok(&whole));
    assert_eq!(
        leaf::check(&leaf).map(|head| (head.sequence, head.kind, head.log)),
        Ok((7, "action.settled", "log.example"))
    );

    let small = entry(json!(null));
    let expected = r#"{"actor":"agent:triage","body":null,"kind":"action.settled","log":"log.example","sequence":7,"timestamp":"2026-11-18T11:06:40.123Z","v":1}"#;
    assert_eq!(String::from_utf8_lossy(&small.to_leaf().unwrap()), expected);
}

/// The leaf of a small entry with `from` replaced by `to`, read; what is wrong with it.
fn complaint(from: &str, to: &str) -> String {
    let honest = Entry {
        commitments: vec![Commitment {
            name: "result".to_owned(),
            hmac_sha256: "0a".repeat(32),
        }],
        ..entry(json!({ "a": 1, "b": "text" }))
    };
    let honest = String::from_utf8(honest.to_leaf().unwrap()).unwrap();
    assert!(honest.contains(from), "{honest}");
    let error = Entry::from_leaf(honest.replacen(from, to, 1).as_bytes())
        .unwrap_err()
        .to_string();
    let error = error.strip_prefix("not an entry: ").unwrap();
    error.split(" at byte ").next().unwrap().to_owned()
}

#[test]
fn what_is_no_leaf() {
    let order = "key that is out of order or not unique";
    let form = "not what canonical JSON of an entry has";
    let escape = "escape that is not canonical";
    let time = "timestamp is not RFC 3339 in UTC with milliseconds";
    let value = "not a canonical value";
    let hash = "commitment is not 64 lower-case hexadecimal digits";
    let last = "no format 1 of the entry at its end";
    #[rustfmt::skip]
    let table = [
        // what the row shows            from                       to                       complaint
        ("white space",                  r#""a":1"#,                r#""a": 1"#,             value),
        ("white space before",           "{\"actor",                " {\"actor",             form),
        ("a newline after",              "\"v\":1}",                "\"v\":1}\n",            "text after the entry"),
        ("keys out of order",            r#""a":1,"b":"text""#,     r#""b":"text","a":1"#,   order),
        ("a key twice",                  r#""b":"text""#,           r#""a":1"#,              order),
        ("fields out of order",          r#""v":1"#,                r#""cause":"x""#,        last),
        ("a comma at the end",           r#""text"}"#,              r#""text",}"#,           form),
        ("a comma at the start",         r#"{"a""#,                 r#"{,"a""#,              form),
        ("an escape that is not needed", "text",                    r"te\u0078t",            escape),
        ("an escaped slash",             "text",                    r"te\/t",                escape),
        ("a long escape with a short form", "text",                 r"\u000a",               escape),
        ("a short one missing",          "text",                    r"\u0008",               escape),
        ("an escape in capitals",        "text",                    r"\u001F",               escape),
        ("a lone surrogate",             "text",                    r"\ud800",               escape),
        ("a raw control character",      "text",                    "a\tb",                  "control character in a string"),
        ("a text without end",           "name\":\"result\"}],\"kind\":\"action.settled\",\"log\":\"log.example\",\"sequence\":7,\"timestamp\":\"2026-11-18T11:06:40.123Z\",\"v\":1}", "name\":\"res", "text ends inside a string"),
        ("cut short",                    "\"v\":1}",                "\"v",                   last),
        ("minus zero",                   ":1,",                     ":-0,",                  value),
        ("a leading zero",               ":1,",                     ":01,",                  value),
        ("a plus",                       ":1,",                     ":+1,",                  value),
        ("a fraction of nothing",        ":1,",                     ":1.0,",                 value),
        ("an exponent without need",     ":1,",                     ":1e3,",                 value),
        ("an integer beyond 2^53",       ":1,",                     ":9007199254740993,",    value),
        ("digits that a double lacks",   ":1,",                     ":0.10000000000000001,", value),
        ("no number at all",             ":1,",                     ":-,",                   value),
        ("a word",                       ":1,",                     ":True,",                value),
        ("an unknown field",             r#""v":1"#,                r#""v":1,"w":1"#,        last),
        ("a missing field",              r#","kind":"action.settled""#, "",                  form),
        ("null for an absent field",     r#","kind""#,              r#","correlation":null,"kind""#, form),
        ("another format",               r#""v":1"#,                r#""v":2"#,              last),
        ("a sequence below zero",        r#""sequence":7"#,         r#""sequence":-7"#,      "sequence is not a count"),
        ("a sequence with a fraction",   r#""sequence":7"#,         r#""sequence":0.5"#,     "sequence is not a count"),
        ("a sequence in quotes",         r#""sequence":7"#,         r#""sequence":"7""#,     value),
        ("a kind in capitals",           "action.settled",          "Action.settled",        "kind is not `DOMAIN.EVENT` in lower case"),
        ("no kind",                      "action.settled",          "",                      "kind is not `DOMAIN.EVENT` in lower case"),
        ("no log",                       "log.example",             "",                      "name of the log is empty or odd"),
        ("another time zone",            "40.123Z",                 "40.123+00:00",          time),
        ("microseconds",                 ".123Z",                   ".123456Z",              time),
        ("a day that is not",            "2026-11-18",              "2026-02-29",            time),
        ("a month that is not",          "2026-11-18",              "2026-13-18",            time),
        ("a leap second",                "11:06:40",                "11:06:60",              time),
        ("a year of letters",            "2026-",                   "20é-",                  time),
        ("no commitments",               r#"[{"hmac_sha256":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","name":"result"}]"#, "[]", "no commitments, which are left out then"),
        ("a commitment in capitals",     "0a",                      "0A",                    hash),
        ("a short commitment",           "0a",                      "",                      hash),
        ("a commitment without a name",  r#","name":"result""#,     "",                      form),
        ("more in a commitment",         r#""name":"result""#,      r#""name":"result","x":1"#, form),
        ("no projections",               r#","sequence""#,          r#","projections":{},"sequence""#, "no projections, which are left out then"),
        ("nested too deep",              ":1,",                     &format!(":{}1{},", "[".repeat(63), "]".repeat(63)), "nested too deep"),
    ];
    for (name, from, to, expected) in table {
        assert_eq!(complaint(from, to), expected, "{name}");
    }
    assert_eq!(
        leaf::check(b"{\xff}"),
        Err(EntryError::Malformed("not UTF-8 at byte 1".to_owned()))
    );
    assert_eq!(
        leaf::check(&[b' '; LEAF_BYTES_MAX + 1]),
        Err(EntryError::TooLarge {
            bytes: LEAF_BYTES_MAX + 1
        })
    );
}

#[test]
fn what_cannot_be_written() {
    let good = || entry(json!({}));
    let at = |ms| Entry {
        timestamp: Timestamp::from_ms(ms),
        ..good()
    };
    let deep = (0..63).fold(json!(1), |inner, _| json!([inner]));
    #[rustfmt::skip]
    let table = [
        ("a number that JSON cannot carry", entry(json!({"n": u64::MAX})),                "cannot be carried by JSON without loss"),
        ("a body nested too deep",          entry(json!([deep])),                         "nested deeper than 64"),
        ("a format that is not ours",       Entry { v: 2, ..good() },                     "no format 1 of the entry at its end"),
        ("a sequence beyond 2^53",          Entry { sequence: 1 << 53, ..good() },        "sequence is not a count"),
        ("a kind with a space",             Entry { kind: "a b".to_owned(), ..good() },   "kind is not `DOMAIN.EVENT`"),
        ("a log with a quote",              Entry { log: "a\"b".to_owned(), ..good() },   "name of the log is empty or odd"),
        ("a time before the year 0",        at(-70_000_000_000_000),                      "timestamp is not RFC 3339"),
        ("a time without end",              at(i64::MAX),                                 "timestamp is not RFC 3339"),
        ("more than a leaf holds",          entry(json!("x".repeat(LEAF_BYTES_MAX))),     "is larger than 61440"),
    ];
    for (name, entry, complaint) in table {
        let error = entry.to_leaf().unwrap_err().to_string();
        assert!(error.contains(complaint), "{name}: {error}");
    }
    assert!(entry(deep).to_leaf().is_ok());
}

#[test]
fn commitments_are_hmac_sha_256() {
    // RFC 4231, test case 1: a key of 20 bytes, here with the zeros that HMAC fills a block up with.
    let mut salt = [0; 32];
    salt[..20].fill(0x0b);
    let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
    assert_eq!(policy::canonical::hex(&commit(&salt, b"Hi There")), expected);
}

/// JSON that everybody carries, with keys and texts that need care.
fn body() -> impl Strategy<Value = Value> {
    let text = "[a-c\u{0}-\u{1f}\"\\\\/\u{7f}\u{e9}\u{d7ff}\u{e000}\u{10000}]{0,6}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<f64>()
            .prop_filter("carried", |number| number.fract() != 0.0 || number.abs() >= 1e21)
            .prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn entries() -> impl Strategy<Value = Entry> {
    let text = || "[a-z\"\\\\\u{0}-\u{1f}\u{e9}\u{e000}\u{10000}]{0,8}";
    let some = || prop::option::of(text());
    let hashes = prop::collection::vec((text(), any::<[u8; 32]>()), 0..3);
    let projections = prop::collection::btree_map(text(), text(), 0..4);
    let time = -62_000_000_000_000i64..250_000_000_000_000;
    (
        body(),
        0..1u64 << 53,
        time,
        some(),
        some(),
        some(),
        text(),
        hashes,
        projections,
    )
        .prop_map(
            |(body, sequence, ms, session, cause, correlation, actor, hashes, projections)| Entry {
                sequence,
                timestamp: Timestamp::from_ms(ms),
                session,
                cause,
                correlation,
                actor,
                commitments: hashes
                    .into_iter()
                    .map(|(name, hash)| Commitment {
                        name,
                        hmac_sha256: policy::canonical::hex(&hash),
                    })
                    .collect(),
                projections,
                ..entry(body)
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_canonical_and_reads_back(entry in entries()) {
        let leaf = entry.to_leaf().unwrap();
        let slow = policy::canonical::to_bytes(&serde_json::to_value(&entry).unwrap()).unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&leaf), String::from_utf8_lossy(&slow));
        prop_assert_eq!(Entry::from_leaf(&leaf), Ok(entry));
    }

    /// The scanner and a parser that writes again what it has read accept the same bytes.
    #[test]
    fn a_changed_leaf_is_accepted_only_when_canonical(entry in entries(), at: prop::sample::Index, with in ".|[ -~]{0,3}") {
        let leaf = String::from_utf8(entry.to_leaf().unwrap()).unwrap();
        let at = at.index(leaf.len());
        prop_assume!(leaf.is_char_boundary(at) && leaf.is_char_boundary(at + 1));
        let changed = [&leaf[..at], &with, &leaf[at + 1..]].concat();
        let slowly = policy::canonical::parse(changed.as_bytes(), LEAF_BYTES_MAX)
            .ok()
            .and_then(|value| serde_json::from_value::<Entry>(value).ok())
            .and_then(|entry| entry.to_leaf().ok())
            .is_some_and(|again| again == changed.as_bytes());
        prop_assert_eq!(leaf::check(changed.as_bytes()).is_ok(), slowly, "{}", changed);
        prop_assert_eq!(Entry::from_leaf(changed.as_bytes()).is_ok(), slowly, "{}", changed);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Entry::from_leaf(&bytes).is_err());
    }
}
