//! What has to stand in one place in the sources stands there and nowhere else.

use std::path::{Path, PathBuf};

/// Production sources of all crates: what is below `src`, without the tests at the ends of files.
fn sources() -> Vec<(PathBuf, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut waiting: Vec<PathBuf> = std::fs::read_dir(crates)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let production = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push((path.strip_prefix(crates).unwrap().to_owned(), production));
        }
    }
    assert!(found.len() > 60, "{} files", found.len());
    found
}

/// Files in which `needle` stands in code, once for each time.
fn places(needle: &str) -> Vec<String> {
    let mut places = Vec::new();
    for (path, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let count: usize = code.map(|line| line.matches(needle).count()).sum();
        places.extend(std::iter::repeat_n(path.display().to_string(), count));
    }
    places.sort();
    places
}

#[test]
fn one_place_makes_permits() {
    assert_eq!(places("Permit::now_durable("), ["gate/src/commit.rs"]);
    assert_eq!(
        places("now_durable("),
        ["gate/src/commit.rs", "policy/src/permit.rs"],
        "the call and its definition"
    );
}

#[test]
fn one_place_decides() {
    assert_eq!(places("policy::decide("), ["gate/src/admit.rs"]);
    assert_eq!(places("use policy::decide"), Vec::<String>::new());
}

#[test]
fn states_change_in_the_machines_only() {
    for field in ["call.state = ", "view.state = "] {
        for place in places(field) {
            assert!(
                place.starts_with("gate/src/") && place.ends_with("/projection.rs"),
                "{place}"
            );
        }
        for (path, text) in sources() {
            for statement in text
                .split(field)
                .skip(1)
                .filter_map(|rest| rest.split(';').next())
            {
                assert!(
                    statement.contains(".after("),
                    "{}: {field}{statement}",
                    path.display()
                );
            }
        }
    }
}
