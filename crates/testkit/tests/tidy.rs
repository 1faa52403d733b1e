//! The repository keeps its own promises: what the texts say about the code is checked here.

#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy sees only the functions marked so"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crate may use which (design, §4). A missing edge is not a mistake; an extra one is.
const EDGES: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("journal", &["policy"]),
    ("assay", &[]),
    ("wire", &[]),
    ("store", &["journal", "policy"]),
    ("secrets", &["policy"]),
    ("sandbox", &["policy"]),
    (
        "gate",
        &["assay", "journal", "policy", "secrets", "store", "wire"],
    ),
    (
        "runtime",
        &["assay", "gate", "journal", "policy", "sandbox", "store"],
    ),
    (
        "ops",
        &[
            "assay", "gate", "journal", "policy", "runtime", "secrets", "store",
        ],
    ),
    (
        "cofferdam",
        &[
            "assay", "gate", "journal", "ops", "policy", "runtime", "sandbox", "secrets", "store",
        ],
    ),
    ("testkit", &["journal", "policy", "store"]),
];

/// Crates that cannot do input or output, and what they therefore never name.
const PURE: &[&str] = &["policy", "journal", "assay", "wire"];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "tokio::",
    "SystemTime",
    "Instant::now",
    "std::env",
];

/// The only files that may hold `unsafe`.
const UNSAFE: &[&str] = &[
    "crates/sandbox/src/sys.rs",
    // Attacks, which run in a guest.
    "crates/sandbox/src/drill/attempts/",
    "crates/testkit/src/faulty",
];

/// Functions past 70 lines that are left. The list may only shrink.
const LONG_FUNCTIONS: &[&str] = &[];

/// Spellings that belong to no user of the project, or that the style bans.
const BANNED: &[(&str, &str)] = &[
    ("todo!(", "unfinished"),
    ("unimplemented!(", "unfinished"),
    ("FIXME", "unfinished"),
    ("#[ignore", "a test that does not run is no test"),
    ("fn is_allowed", "a decision is a type"),
    ("#[allow(", "use #[expect(…, reason = …)]"),
    ("#![allow(", "use #![expect(…, reason = …)]"),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn crates_use_only_the_edges_of_the_design() {
    let found: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: BTreeSet<String> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        found, known,
        "a new crate needs a recorded decision and a row here"
    );
    for (name, allowed) in EDGES {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        let section = manifest
            .split("\n[")
            .find(|s| s.starts_with("dependencies]"))
            .unwrap_or_default();
        // INVARIANT (no wall is missing unseen): parts that the machine has are left away in tests of walls alone.
        assert!(
            *name == "sandbox" || !manifest.contains("unwalled"),
            "{name} turns on what only tests of `sandbox` may"
        );
        for line in section.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if known.contains(dependency) {
                assert!(
                    allowed.contains(&dependency),
                    "{name} may not depend on {dependency}"
                );
            }
        }
    }
}

#[test]
fn pure_crates_name_no_input_or_output() {
    for (path, text) in production() {
        if PURE.iter().any(|c| path.starts_with(&format!("crates/{c}/src"))) {
            for word in IMPURE {
                let code = text
                    .lines()
                    .take_while(|l| !l.contains("#[cfg(test)]"))
                    .filter(|l| !l.trim_start().starts_with("//"));
                assert!(
                    !code.into_iter().any(|l| l.contains(word)),
                    "{path} is pure and names `{word}`"
                );
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in production() {
        assert!(
            text.starts_with("//!"),
            "{path} has no module documentation at its top"
        );
    }
}

#[test]
fn files_and_functions_stay_small() {
    let mut long = Vec::new();
    for (path, text) in production() {
        let lines = text.lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{path} has {lines} lines, more than {FILE_LINES_MAX}"
        );
        for (name, length) in functions(&text) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{path}::{name}"));
            }
        }
    }
    let exempt: Vec<String> = LONG_FUNCTIONS.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(long, exempt, "functions past {FUNCTION_LINES_MAX} lines");
}

#[test]
fn banned_spellings_are_absent() {
    for (path, text) in production().into_iter().chain(tests()) {
        if path.ends_with("testkit/tests/tidy.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for (word, why) in BANNED {
                assert!(!line.contains(word), "{path}:{}: `{word}`: {why}", number + 1);
            }
        }
    }
}

#[test]
fn unsafe_stands_where_it_may() {
    for (path, text) in production() {
        let has = text.lines().any(|l| {
            let code = l.split("//").next().unwrap_or_default();
            code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl")
                || code.contains("unsafe extern")
        });
        assert!(
            !has || UNSAFE.iter().any(|u| path.starts_with(u)),
            "{path} holds unsafe code"
        );
    }
}

/// INVARIANT (one gate): one place makes permits, one decides, one turns a flight into a secret.
#[test]
fn each_dangerous_step_has_one_place() {
    let table = [
        ("Permit::now_durable(", "crates/gate/src/commit.rs", 1),
        ("policy::decide(", "crates/gate/src/", 1),
        ("Keys::open_or_create(", "crates/cofferdam/src/", 4),
        ("secrets::own(", "crates/cofferdam/src/identity/ldap.rs", 1),
        ("sandbox::entry(", "crates/cofferdam/src/main.rs", 1),
    ];
    for (call, home, most) in table {
        let mut places = Vec::new();
        for (path, text) in production() {
            let code = text.lines().take_while(|l| !l.contains("#[cfg(test)]"));
            let count = code
                .filter(|l| !l.trim_start().starts_with("//") && l.contains(call))
                .count();
            if count > 0 {
                assert!(
                    path.starts_with(home),
                    "{path} calls `{call}`, which belongs to {home}"
                );
                places.extend(std::iter::repeat_n(path.clone(), count));
            }
        }
        assert!(
            !places.is_empty(),
            "nothing calls `{call}` any more: mend this table"
        );
        assert!(places.len() <= most, "`{call}` is called in {places:?}");
    }
}

/// The threat model names functions; each of them exists.
#[test]
fn the_threat_model_names_real_code() {
    let text = fs::read_to_string(root().join("THREAT_MODEL.md")).unwrap();
    let sources: String = production().into_values().chain(tests().into_values()).collect();
    let mut named = 0;
    for reference in text.split('`').skip(1).step_by(2).filter(|r| r.contains("::")) {
        let item = reference
            .rsplit("::")
            .next()
            .unwrap_or_default()
            .trim_end_matches("()");
        let keyword = ["fn ", "struct ", "enum ", "const ", "mod ", "trait "]
            .iter()
            .any(|k| {
                sources.match_indices(&format!("{k}{item}")).any(|(at, found)| {
                    !sources[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
                })
            });
        let variant = |line: &str| {
            let rest = line.trim_start().strip_prefix(item);
            rest.is_some_and(|rest| rest.starts_with([',', '(', ' ']))
        };
        let defined = keyword || (item.starts_with(char::is_uppercase) && sources.lines().any(variant));
        assert!(
            defined,
            "THREAT_MODEL.md names `{reference}`, which is not in the code"
        );
        named += 1;
    }
    assert!(named >= 20, "the threat model names only {named} functions");
}

#[test]
fn the_texts_are_there_and_say_the_two_commands() {
    for file in [
        "README.md",
        "ARCHITECTURE.md",
        "THREAT_MODEL.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        ".ci/run",
        "deny.toml",
    ] {
        assert!(root().join(file).is_file(), "{file} is missing");
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("make demo") && readme.contains("make test"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Sources that ship, or that tests stand on: path relative to the root, and text.
fn production() -> BTreeMap<String, String> {
    sources(|path| !is_test(path))
}

fn tests() -> BTreeMap<String, String> {
    sources(is_test)
}

fn is_test(path: &str) -> bool {
    !path.contains("/src/")
        || path.ends_with("/tests.rs")
        || path.ends_with("/test.rs")
        || path.contains("/tests/")
}

fn sources(keep: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                if keep(&name) {
                    found.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Names and lengths of functions, by indentation: rustfmt puts the closing brace under the `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let body = line.trim_start();
        if let Some((name, start, depth)) = &open {
            if indent == *depth && body.starts_with('}') {
                found.push((name.clone(), number + 1 - start));
                open = None;
            }
        } else if let Some(at) = body.find("fn ").filter(|at| {
            body[..*at]
                .split_whitespace()
                .all(|w| ["pub", "async", "const", "unsafe", "extern"].contains(&w) || w.starts_with("pub("))
        }) {
            let name: String = body[at + 3..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !body.ends_with(';') && !body.ends_with('}') {
                open = Some((name, number, indent));
            }
        }
    }
    found
}
