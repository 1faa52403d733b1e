//! Takes secrets out of text that people and leaves will see (S0-A14, S1-9.8).
//!
//! Errs on the side of hiding: a harmless word after `token:` is lost, a secret is not shown. It
//! never claims that what is left holds no secret; it only takes out what looks like one.

use regex::Regex;
use std::sync::LazyLock;

const MARK: &str = "[REDACTED]";

/// How much of a text is looked at beyond what is shown: room for what is dropped, and for a secret
/// that begins in what is shown and ends after it.
const BEYOND: usize = 16 * 1024;

/// `text` with what looks like a secret replaced by `[REDACTED]`, cut to `limit` characters.
///
/// Control and invisible characters are dropped first, for one inside a word could hide it from the
/// patterns and the text from a reader; line breaks and tabs stay.
pub fn redact(text: &str, limit: usize) -> String {
    cut(clean(text, limit), limit)
}

/// [`redact`] on one line: white space of any kind and length becomes one blank.
pub fn line(text: &str, limit: usize) -> String {
    // Redacted with its line breaks, because they end some secrets; cut once, at the end.
    cut(
        clean(text, limit)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        limit,
    )
}

fn clean(text: &str, limit: usize) -> String {
    let visible: String = text
        .chars()
        .filter(|&c| !hides(c))
        .take(limit.saturating_add(BEYOND))
        .collect();
    PATTERNS.iter().fold(visible, |text, (pattern, replacement)| {
        pattern.replace_all(&text, *replacement).into_owned()
    })
}

fn cut(text: String, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text;
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    if limit > 0 {
        short.push('…');
    }
    short
}

/// Characters that no reader sees, or that change how others are seen: controls, formats (zero width,
/// direction), tags, variation selectors, fillers.
fn hides(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// What looks like a secret, and what stands there instead; applied in this order. Whole things (a
/// key block, a URL's user, a header) come before the words that may occur in them.
#[rustfmt::skip]
const TABLE: &[(&str, &str)] = &[
    // PEM private keys, to their end or to the end of the text.
    (r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----.*?(-----END [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----|\z)", MARK),
    // scheme://user:password@host
    (r"(?i)([a-z][a-z0-9+.-]*://)[^\s/?#]*@", "${1}[REDACTED]@"),
    // Authorization: Bearer x; also as a JSON member.
    (r#"(?i)((?:proxy-)?authorization)(["'\\]*\s*[:=]\s*["'\\]*)(?:[a-z-]{1,20}\s+)?[^\s"'\\]+"#, "${1}${2}[REDACTED]"),
    // The same without the header; long enough not to be a word.
    (r#"(?i)(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{16,}"#, "${1}${2}[REDACTED]"),
    // password=x, "api_key": "x", SECRET_TOKEN: x (S0-A14).
    (r#"(?i)([a-z0-9_.-]*(?:pass(?:word|wd|phrase)|api[_-]?key|access[_-]?key|private[_-]?key|secret|token|credential)[a-z0-9_.-]*)(["'\\]*\s*(?:=>|[:=]+)\s*)("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\S+)"#, "${1}${2}[REDACTED]"),
    // The same words, and `key`, before anything that is long enough (S1-9.8).
    (r#"(?i)((?:key|token|secret|password|credential)s?)([\s:=>"'`,(]{1,8}(?:(?:is|was)\s+)?["'`]?)[^\s"'`,;()\[\]]{20,}"#, "${1}${2}[REDACTED]"),
    // By their own looks: AWS key ids, GitHub, GitLab, Slack, Stripe, model providers, Google, npm, ours, JWT.
    (r"(?:AKIA|ASIA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA)[A-Z0-9]{16}", MARK),
    (r"(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|gl[a-z]{2,6}-[A-Za-z0-9_-]{16,})", MARK),
    (r"xox[a-z]-[A-Za-z0-9-]{8,}", MARK),
    (r"\b[sr]k[-_](?:live|test|ant|proj|or)[-_][A-Za-z0-9_-]{8,}|\bsk-[A-Za-z0-9_-]{20,}", MARK),
    (r"AIza[A-Za-z0-9_-]{30,}|npm_[A-Za-z0-9]{30,}", MARK),
    (r"cfd_[A-Za-z0-9_-]{20,}", MARK),
    (r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*", MARK),
];

#[expect(
    clippy::expect_used,
    reason = "the patterns are constants and every test below compiles them"
)]
static PATTERNS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    TABLE
        .iter()
        .map(|(pattern, with)| (Regex::new(pattern).expect("pattern of the table"), *with))
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_hidden_and_what_stays() {
        #[rustfmt::skip]
        let table = [
            // what the row shows      text                                       shown
            ("nothing to hide",        "5xx at 12 % since 10:04 on patient:8080",  "5xx at 12 % since 10:04 on patient:8080"),
            ("a commit",               "revert 1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d", "revert 1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"),
            ("password=",              "login password=hunter2 ok",                "login password=[REDACTED] ok"),
            ("prefixed name",          "DB_PASSWORD: hunter2",                     "DB_PASSWORD: [REDACTED]"),
            ("json",                   r#"{"api_key":"a b","n":1}"#,               r#"{"api_key":[REDACTED],"n":1}"#),
            ("json inside json",       r#"{\"token\":\"abc\"}"#,                   r#"{\"token\":[REDACTED]"#),
            ("unfinished quote",       r#"secret: "abc def"#,                      "secret: [REDACTED]"),
            ("long value, no sign",    "the key abcdefghijklmnopqrstuvwx failed",  "the key [REDACTED] failed"),
            ("header",                 "Authorization: Bearer abc.def",            "Authorization: [REDACTED]"),
            ("basic",                  "curl -H 'authorization: Basic YWxhZGRpbg==' x", "curl -H 'authorization: [REDACTED]' x"),
            ("bearer alone",           "sent Bearer abcdefgh12345678",             "sent Bearer [REDACTED]"),
            ("words",                  "basic authentication failed: no bearer",   "basic authentication failed: no bearer"),
            ("user of a url",          "postgres://app:s3cr3t@db/x",               "postgres://[REDACTED]@db/x"),
            ("aws",                    "id AKIAIOSFODNN7EXAMPLE",                  "id [REDACTED]"),
            ("github",                 "ghp_0123456789abcdefABCDEF0123456789abcd", "[REDACTED]"),
            ("ours",                   "with cfd_abcdefghijklmnopqrstuvwxyz012345", "with [REDACTED]"),
            ("jwt",                    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1", "[REDACTED]"),
            ("pem",                    "a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a [REDACTED] b"),
            ("pem without end",        "-----BEGIN PRIVATE KEY-----\nMII",         "[REDACTED]"),
            ("zero width in the name", "pass\u{200b}word=hunter2",                 "password=[REDACTED]"),
            ("direction override",     "a\u{202e}b\u{7}c",                         "abc"),
        ];
        for (name, text, shown) in table {
            assert_eq!(redact(text, 500), shown, "{name}");
        }
    }

    #[test]
    fn it_is_cut_after_it_was_redacted() {
        assert_eq!(
            redact("password=hunter2hunter2", 14),
            "password=[REDA…".chars().take(13).collect::<String>() + "…"
        );
        assert_eq!(redact("abc", 3), "abc");
        assert_eq!(redact("abcd", 3), "ab…");
        assert_eq!(redact("abcd", 0), "");
        assert_eq!(line("a\n\n b\tc ", 9), "a b c");
    }

    fn seeded() -> impl Strategy<Value = (String, String)> {
        // The secret, and how it stands in a text. No secret that is part of the wrapping itself.
        let plain = "[A-Z0-9]{4}[a-z0-9!$%^*+~]{8,30}";
        prop_oneof![
            (
                plain,
                "(password|api_key|secret|token|PGPASSWORD|x-auth-token)(=|: |:|\": \"| = )"
            )
                .prop_map(|(secret, name)| (secret.clone(), format!("{name}{secret}"))),
            (
                "[A-Z0-9]{2}[a-z0-9]{24,40}",
                "(api key|credential|access token|Secret)( |: | is )"
            )
                .prop_map(|(secret, name)| (secret.clone(), format!("{name}{secret}"))),
            plain.prop_map(|secret| (secret.clone(), format!("https://user:{secret}@host/x"))),
            "Q[a-z0-9]{12,40}".prop_map(|secret| (secret.clone(), format!("Authorization: Bearer {secret}"))),
            "(AKIA|ASIA)[A-Z0-9]{16}".prop_map(|secret| (secret.clone(), secret)),
            "gh[pousr]_[A-Za-z0-9]{36}".prop_map(|secret| (secret.clone(), secret)),
            "cfd_[A-Za-z0-9_-]{43}".prop_map(|secret| (secret.clone(), secret)),
            "eyJ[A-Za-z0-9]{10,30}\\.eyJ[A-Za-z0-9]{10,30}\\.[A-Za-z0-9_-]{10,30}"
                .prop_map(|secret| (secret.clone(), secret)),
        ]
    }

    proptest! {
        #[test]
        fn no_seeded_secret_survives(before in "[ a-z0-9.,\\n]{0,40}", (secret, text) in seeded(), after in "([ ,;\\n\"'][ -~]{0,40})?") {
            let shown = redact(&format!("{before}{text}{after}"), 500);
            prop_assert!(!shown.contains(&secret), "{shown}");
        }

        #[test]
        fn any_text_is_taken_and_nothing_hidden_is_left(text in "\\PC*|[\\x00-\\x{e01ff}]{0,60}", limit in 0usize..80) {
            let shown = redact(&text, limit);
            prop_assert!(shown.chars().count() <= limit);
            prop_assert!(!shown.chars().any(hides));
        }
    }
}
