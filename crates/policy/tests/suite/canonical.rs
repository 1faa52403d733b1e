//! Strict reading and canonical writing: vectors of RFC 8785, what is refused and where, and
//! properties over arbitrary documents and arbitrary bytes.

use policy::canonical::{self, CanonicalError, DEPTH_MAX};
use proptest::prelude::*;
use serde_json::{Value, json};

const LIMIT: usize = 1 << 20;

fn canonical(text: &str) -> String {
    let value = canonical::parse(text.as_bytes(), LIMIT).unwrap();
    String::from_utf8(canonical::to_bytes(&value).unwrap()).unwrap()
}

#[test]
fn canonical_forms_are_those_of_rfc_8785() {
    #[rustfmt::skip]
    let table = [
        ("section 3.2.2", r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
         }"#,
         r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#),
        ("section 3.2.3: order by UTF-16 code units", r#"{
            "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
            "\u00f6": "Latin Small Letter O With Diaeresis"
         }"#,
         "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\
          \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"),
        ("every control character", "\"\\u0000\\u0007\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f\"",
         "\"\\u0000\\u0007\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}\""),
        ("whole numbers, however written", "[1.0, 1e0, 10E-1, -0, -0.0, 0e9, 100, 1e2, -9007199254740991]",
         "[1,1,1,0,0,0,100,100,-9007199254740991]"),
        ("fractions", "[0.1, 1.5e-7, 123456789.125, 5e-324, 1.7976931348623157e308]",
         "[0.1,1.5e-7,123456789.125,5e-324,1.7976931348623157e+308]"),
        ("empty containers", "{ \"b\" : [ ] , \"a\" : { } }", r#"{"a":{},"b":[]}"#),
        ("a bare text", " \"x\" ", "\"x\""),
    ];
    for (name, text, expected) in table {
        assert_eq!(canonical(text), expected, "{name}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused_with_its_place() {
    #[rustfmt::skip]
    let table: [(&str, &[u8], &str); 36] = [
        ("nothing", b"", "text ends where a value is expected at line 1, column 1"),
        ("only space", b" \n ", "text ends where a value is expected at line 2, column 2"),
        ("a byte order mark", b"\xef\xbb\xbf{}", "expected a value at line 1, column 1"),
        ("not UTF-8", b"{\n \"a\": \"\xff\"}", "not UTF-8 at line 2, column 8"),
        ("an encoded surrogate", b"\"\xed\xa0\x80\"", "not UTF-8 at line 1, column 2"),
        ("a duplicate key", b"{\"a\":1,\n  \"a\":2}", "duplicate key `a` at line 2, column 3"),
        ("a duplicate key, escaped", b"{\"a\":1,\"\\u0061\":2}", "duplicate key `a` at line 1, column 8"),
        ("a duplicate key, deep", b"[{\"x\":{\"a\":1,\"a\":1}}]", "duplicate key `a` at line 1, column 14"),
        ("a lone high surrogate", b"\"\\ud800\"", "lone surrogate in a string at line 1, column 2"),
        ("a lone low surrogate", b"\"a\\udc00\"", "lone surrogate in a string at line 1, column 3"),
        ("surrogates in the wrong order", b"\"\\udc00\\ud800\"", "lone surrogate in a string at line 1, column 2"),
        ("two high surrogates", b"\"\\ud800\\ud800\"", "lone surrogate in a string at line 1, column 2"),
        ("a surrogate and a plain escape", b"\"\\ud800\\n\"", "lone surrogate in a string at line 1, column 2"),
        ("an integer beyond 2^53", b"[9007199254740992]", "number `9007199254740992` cannot be carried by JSON without loss at line 1, column 2"),
        ("a negative one", b"-9007199254740992", "number `-9007199254740992` cannot be carried by JSON without loss at line 1, column 1"),
        ("an integer that hides in an exponent", b"1e16", "number `1e16` cannot be carried by JSON without loss at line 1, column 1"),
        ("a very long integer", b"1000000000000000000000000000000000000000000000000000", "number `1000000000000000000000000000000000000000…` cannot be carried by JSON without loss at line 1, column 1"),
        ("an overflowing number", b"1e400", "number `1e400` cannot be carried by JSON without loss at line 1, column 1"),
        ("infinity", b"Infinity", "expected a value at line 1, column 1"),
        ("not a number", b"NaN", "expected a value at line 1, column 1"),
        ("a leading zero", b"[01]", "number with a leading zero at line 1, column 2"),
        ("a plus sign", b"+1", "expected a value at line 1, column 1"),
        ("a bare point", b".5", "expected a value at line 1, column 1"),
        ("a point without digits", b"1.", "expected a digit at line 1, column 3"),
        ("an exponent without digits", b"1e+", "expected a digit at line 1, column 4"),
        ("a minus alone", b"-", "expected a digit at line 1, column 2"),
        ("text after the document", b"{} {}", "text after the document at line 1, column 4"),
        ("a trailing comma", b"[1,]", "expected a value at line 1, column 4"),
        ("a trailing comma in an object", b"{\"a\":1,}", "expected a key in double quotes at line 1, column 8"),
        ("single quotes", b"{'a':1}", "expected a key in double quotes at line 1, column 2"),
        ("a comment", b"[1 /* one */]", "expected `,` or `]` at line 1, column 4"),
        ("a control character", b"\"a\nb\"", "control character in a string at line 1, column 3"),
        ("an unknown escape", b"\"\\x41\"", "unknown escape in a string at line 1, column 3"),
        ("a short escape", b"\"\\u12\"", "`\\u` without four hexadecimal digits at line 1, column 2"),
        ("a signed escape", b"\"\\u+123\"", "`\\u` without four hexadecimal digits at line 1, column 2"),
        ("an unfinished text", b"\"abc", "text ends inside a string at line 1, column 5"),
    ];
    for (name, text, expected) in table {
        let error = canonical::parse(text, LIMIT).expect_err(name);
        assert_eq!(error.to_string(), expected, "{name}");
    }
}

#[test]
fn size_and_depth_are_limited_at_the_limit_itself() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(canonical::parse(nested(DEPTH_MAX).as_bytes(), LIMIT).is_ok());
    assert_eq!(
        canonical::parse(nested(DEPTH_MAX + 1).as_bytes(), LIMIT),
        Err(CanonicalError::TooDeep)
    );
    assert_eq!(
        canonical::parse(nested(100_000).as_bytes(), LIMIT),
        Err(CanonicalError::TooDeep)
    );
    assert!(canonical::parse(b"[1]", 3).is_ok());
    assert_eq!(
        canonical::parse(b"[1]", 2),
        Err(CanonicalError::TooLarge { limit: 2 })
    );
}

#[test]
fn a_parsed_value_that_json_cannot_carry_is_named_by_its_pointer() {
    #[rustfmt::skip]
    let table = [
        (json!({"a": [1, {"b/c~d": u64::MAX}]}), "/a/1/b~1c~0d"),
        (json!(i64::MIN), ""),
        (json!([9_007_199_254_740_992_i64]), "/0"),
        (json!([1e17]), "/0"),
    ];
    for (value, expected) in table {
        match canonical::to_bytes(&value) {
            Err(CanonicalError::Number { pointer, .. }) => assert_eq!(pointer, expected, "{value}"),
            other => panic!("{value}: {other:?}"),
        }
    }
    let deep = (0..=DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(canonical::to_bytes(&deep), Err(CanonicalError::TooDeep));
}

#[test]
fn the_digest_is_the_sha_256_of_the_canonical_form() {
    assert_eq!(
        canonical::hex(&canonical::digest(&json!({})).unwrap()),
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
}

/// Values as the strict reader makes them: whole numbers are integers.
fn values() -> impl Strategy<Value = Value> {
    let integer = -canonical::INTEGER_MAX..=canonical::INTEGER_MAX;
    let fraction = any::<f64>().prop_filter("a fraction, or printed with an exponent", |double| {
        double.is_finite() && (double.fract() != 0.0 || double.abs() >= 1e21)
    });
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        integer.prop_map(Value::from),
        fraction.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(crate::proptest_config())]

    #[test]
    fn a_value_survives_its_canonical_form(value in values()) {
        let bytes = canonical::to_bytes(&value).unwrap();
        let again = canonical::parse(&bytes, LIMIT).unwrap();
        prop_assert_eq!(&again, &value);
        prop_assert_eq!(canonical::to_bytes(&again).unwrap(), bytes);
    }

    #[test]
    fn the_library_reads_the_same_out_of_a_canonical_form(value in values()) {
        let bytes = canonical::to_bytes(&value).unwrap();
        let library: Value = serde_json::from_slice(&bytes).unwrap();
        // Its doubles may be off by one unit in the last place, which shows as another canonical form.
        let ours = canonical::parse(&bytes, LIMIT).unwrap();
        prop_assert_eq!(shape(&library), shape(&ours));
    }

    #[test]
    fn every_double_reads_back_from_what_is_printed(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        if let Some(number) = serde_json::Number::from_f64(double)
            && let Ok(bytes) = canonical::to_bytes(&Value::Number(number))
        {
            let text = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap(), double);
        }
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = canonical::parse(&bytes, LIMIT);
    }

    #[test]
    fn reading_what_looks_like_json_never_panics(text in r#"([\[\]{}:,"\\0-9eE.+\- utrfalsn]|\\u[dD][89a-fA-F][0-9a-f]{2}|é){0,60}"#) {
        if let Ok(value) = canonical::parse(text.as_bytes(), LIMIT) {
            // What the strict reader takes, the library takes too.
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            prop_assert!(canonical::to_bytes(&value).is_ok());
        }
    }
}

/// `value` with its fractions replaced by zero.
fn shape(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => json!(0),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect(),
        other => other.clone(),
    }
}
