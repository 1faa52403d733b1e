//! Strict JSON: against serde_json as a second reader, and what it refuses.

#![expect(
    clippy::expect_used,
    reason = "tests; clippy sees only the functions marked so"
)]

use proptest::prelude::*;
use serde_json::Value;
use wire::json::{Kind, Tape, View};

/// Reads a view into a value of the other reader.
fn value(view: View) -> Value {
    match view.kind() {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(value),
        Kind::Number => serde_json::from_str(view.raw()).expect("a number"),
        Kind::Text => Value::String(view.text().expect("a text").into_owned()),
        Kind::Array => Value::Array(view.items().map(value).collect()),
        Kind::Object => Value::Object(
            view.members()
                .map(|(key, inner)| (key.into_owned(), value(inner)))
                .collect(),
        ),
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
        "\\PC{0,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_another_reader_reads(tree in json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
        let tape = Tape::parse(&text, 64).unwrap();
        prop_assert_eq!(value(tape.root(&text)), tree);
    }

    /// Any text: both take it and read the same, or we refuse it. What we take, the other takes.
    #[test]
    fn takes_nothing_that_another_reader_refuses(text in "[\\[\\]{},:\"\\\\ntrue0-9.eE+ ud8c]{0,24}") {
        if let Ok(tape) = Tape::parse(&text, 64) {
            // Numbers too great for the other reader are numbers all the same.
            match serde_json::from_str::<Value>(&text) {
                Ok(other) => prop_assert_eq!(value(tape.root(&text)), other),
                Err(error) => prop_assert!(error.to_string().contains("number out of range"), "{}: {}", text, error),
            }
        }
    }

    #[test]
    fn pointers_lead_back(tree in json()) {
        let text = serde_json::to_string(&tree).unwrap();
        let tape = Tape::parse(&text, 64).unwrap();
        let mut open = vec![tape.root(&text)];
        while let Some(view) = open.pop() {
            let pointer = view.pointer();
            // Long keys are cut, and control characters are not shown.
            if !pointer.contains(['…', '\u{fffd}']) {
                prop_assert_eq!(tree.pointer(&pointer), Some(&value(view)), "{}", pointer);
            }
            open.extend(view.items());
            open.extend(view.members().map(|(_, inner)| inner));
        }
    }
}

#[test]
fn what_is_refused_and_where() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        // what the row shows        text                          what, and where
        ("a document",               r#"{"a":[1,-2.5e3,null,true]}"#, "taken"),
        ("duplicate key",            r#"{"a":1,"a":2}"#,           "a key appears twice in one object at byte 7, in /a"),
        ("duplicate by escape",      r#"{"a":1,"\u0061":2}"#,      "a key appears twice in one object at byte 7, in /a"),
        ("duplicate further in",     r#"[0,{"b":{"a":1,"c":0,"a":2}}]"#, "a key appears twice in one object at byte 21, in /1/b/a"),
        ("same key in two objects",  r#"[{"a":1},{"a":1}]"#,       "taken"),
        ("lone high surrogate",      r#"["\ud800"]"#,              "lone surrogate in a string at byte 2, in /0"),
        ("high and no low",          r#"["\ud800\u0041"]"#,        "lone surrogate in a string at byte 2, in /0"),
        ("lone low surrogate",       r#"["\udc00"]"#,              "lone surrogate in a string at byte 2, in /0"),
        ("a pair",                   r#"["\ud83d\ude00"]"#,        "taken"),
        ("as deep as allowed",       "[[[1]]]",                    "taken"),
        ("deeper",                   "[[[[1]]]]",                  "nested too deep at byte 3, in /0/0/0"),
        ("a leading zero",           "[01]",                       "not JSON: expected `,` or `]` at byte 2, in "),
        ("a plus",                   "+1",                         "not JSON: expected a value at byte 0, in "),
        ("a bare dot",               "1.",                         "not JSON: expected a digit at byte 2, in "),
        ("NaN",                      "NaN",                        "not JSON: expected a value at byte 0, in "),
        ("a trailing comma",         r#"{"a":1,}"#,                "not JSON: expected a key at byte 7, in "),
        ("a comment",                "[1]//",                      "not JSON: something after the value at byte 3, in "),
        ("a raw line end",           "[\"a\nb\"]",                 "not JSON: control character in a string at byte 3, in /0"),
        ("an unknown escape",        r#"{"k/~":"\x"}"#,            "not JSON: unknown escape in a string at byte 9, in /k~1~0"),
        ("a byte order mark",        "\u{feff}{}",                 "not JSON: expected a value at byte 0, in "),
        ("nothing",                  "",                           "not JSON: ends before a value at byte 0, in "),
        ("cut",                      r#"{"a":["b"#,                "not JSON: ends inside a string at byte 8, in /a/0"),
    ];
    for (name, text, expected) in table {
        let got = match Tape::parse(text, 3) {
            Ok(_) => "taken".to_owned(),
            Err(error) => format!("{error}, in {}", error.place),
        };
        assert_eq!(&got, expected, "{name}");
    }
}

#[test]
fn whole_numbers_however_they_are_written() {
    #[rustfmt::skip]
    let table = [
        ("4", Some(4)), ("4.0", Some(4)), ("4e2", Some(400)), ("0", Some(0)), ("-0", Some(0)),
        ("4.5", None), ("-1", None), ("1e999", None), ("\"4\"", None),
        ("9007199254740991", Some(9_007_199_254_740_991)), ("9007199254740992", None),
        ("99999999999999999999", None),
    ];
    for (text, expected) in table {
        let tape = Tape::parse(text, 1).unwrap();
        assert_eq!(tape.root(text).whole(), expected, "{text}");
    }
}

#[test]
fn an_object_of_many_keys_is_read_in_time() {
    // Quadratic work would take minutes.
    let members: Vec<String> = (0..400_000).map(|n| format!("\"{n}\":0")).collect();
    let text = format!("{{{}}}", members.join(","));
    assert!(Tape::parse(&text, 1).is_ok());
    let text = format!("{{{},\"7\":1}}", members.join(","));
    assert_eq!(Tape::parse(&text, 1).unwrap_err().place, "/7");
}
