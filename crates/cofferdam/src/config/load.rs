//! Reads documents from a file or a directory, in order of path.
//!
//! Relative paths inside documents (repositories, secret files) are relative to the file that
//! names them; they are made absolute here, so that nothing later depends on a working directory.

use super::bundle::is_bundle;
use super::document::{Document, read};
use super::problem::{Problem, Problems};
use super::source::{FILE_BYTES_MAX, Origin, Parsed, Source, parse};
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Most files in one directory.
pub const FILES_MAX: usize = 1000;
/// How a table of cases for `cofferdam policy test` ends, which is no document.
pub const TABLE_ENDING: &str = ".test.yaml";
/// Deepest directory below the one given.
const DEPTH_MAX: usize = 8;

/// Reads every document of a file, or of every `*.yaml`, `*.yml` and `*.json` below a directory.
/// What starts with a dot is skipped, and so is what ends in `.test.yaml`.
///
/// # Errors
/// Everything that is wrong with single documents. Relations between them are `compile`'s.
pub fn load(path: &Path) -> Result<Vec<Document>, Problems> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for file in files(path, is_document)? {
        let base = absolute_parent(&file);
        match source(&file)
            .map_err(Problems::from)
            .and_then(|source| documents_of(source, Some(&base)))
        {
            Ok(more) => documents.extend(more),
            Err(more) => problems.extend(more.0),
        }
    }
    if problems.is_empty() {
        Ok(documents)
    } else {
        Err(Problems(problems))
    }
}

/// Reads every document of a text; `name` is what complaints call it. Relative paths stay relative.
///
/// # Errors
/// As [`load`].
pub fn from_text(name: &str, text: &str) -> Result<Vec<Document>, Problems> {
    documents_of(
        Source {
            name: name.to_owned(),
            text: text.to_owned(),
        },
        None,
    )
}

fn documents_of(source: Source, base: Option<&Path>) -> Result<Vec<Document>, Problems> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for mut one in parse(source)? {
        if let Some(base) = base {
            resolve_paths(&mut one.value, base);
        }
        match read(one) {
            Ok(document) => documents.push(document),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(documents)
    } else {
        Err(Problems(problems))
    }
}

/// Reads documents that are JSON already, each with what its places begin with: `/0`. Paths in them
/// have to be absolute.
///
/// # Errors
/// Everything that is wrong with single documents, by JSON pointer.
pub fn from_values(values: Vec<(String, Value)>) -> Result<Vec<Document>, Problems> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for (prefix, value) in values {
        match read(Parsed {
            value,
            origin: Origin::pointer(&prefix),
        }) {
            Ok(document) => documents.push(document),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(documents)
    } else {
        Err(Problems(problems))
    }
}

/// Every file at or below `path` that is `wanted`, in order. A file by itself is one of documents unless it ends
/// like a bundle.
pub(super) fn files(path: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Problem> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_dir() {
        let other = !is_bundle(path) && wanted(Path::new("a.yaml"));
        return Ok(Vec::from_iter((wanted(path) || other).then(|| path.to_owned())));
    }
    let mut found = Vec::new();
    walk(path, DEPTH_MAX, &wanted, &mut found)?;
    found.sort();
    Ok(found)
}

fn is_document(path: &Path) -> bool {
    let table = path.to_string_lossy().ends_with(TABLE_ENDING);
    !table
        && path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

fn walk(
    directory: &Path,
    depth: usize,
    wanted: &impl Fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<(), Problem> {
    if depth == 0 {
        return Err(Problem::plain(format!(
            "`{}`: nested more than {DEPTH_MAX} directories deep",
            directory.display()
        )));
    }
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        // Links are followed: Kubernetes mounts configuration as links. The depth bounds a loop.
        if path.is_dir() {
            walk(&path, depth - 1, wanted, found)?;
        } else if wanted(&path) {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            return Err(Problem::plain(format!(
                "`{}`: more than {FILES_MAX} files",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// A file up to one byte more than `max`, so that what is larger is noticed.
pub(super) fn bytes(path: &Path, max: usize) -> Result<Vec<u8>, Problem> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    file.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn source(path: &Path) -> Result<Source, Problem> {
    let text = String::from_utf8(bytes(path, FILE_BYTES_MAX)?)
        .map_err(|_| Problem::plain(format!("`{}`: not a text in UTF-8", path.display())))?;
    Ok(Source {
        name: path.display().to_string(),
        text,
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::plain(format!("cannot read `{}`: {error}", path.display()))
}

fn absolute_parent(file: &Path) -> PathBuf {
    let parent = file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned())
}

/// Makes the paths that documents may hold absolute. Anything of another form is left for `read`
/// to refuse.
pub(crate) fn resolve_paths(document: &mut Value, base: &Path) {
    let bindings = document.pointer_mut("/spec/tools").and_then(Value::as_array_mut);
    for binding in bindings.into_iter().flatten() {
        if binding.get("type").is_some_and(|t| t == "git") {
            absolute(binding.get_mut("path"), base);
        }
    }
    for place in [
        "/spec/secretRef/file",
        "/spec/ldap/bind/secretRef/file",
        "/spec/ldap/caFile",
    ] {
        absolute(document.pointer_mut(place), base);
    }
}

fn absolute(path: Option<&mut Value>, base: &Path) {
    if let Some(Value::String(text)) = path
        && !text.is_empty()
    {
        // `join` keeps a path that is absolute already; `components` drops `.` in the middle.
        *text = base
            .join(&*text)
            .components()
            .collect::<PathBuf>()
            .display()
            .to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_become_absolute_and_absolute_ones_stay() {
        let mut toolset = serde_json::json!({"spec": {"tools": [
            {"type": "git", "name": "a", "path": "./repo"},
            {"type": "git", "name": "b", "path": "/srv/b"},
            {"type": "http", "path": "x"}]}});
        resolve_paths(&mut toolset, Path::new("/etc/cofferdam"));
        let paths: Vec<_> = (0..3)
            .map(|i| toolset["spec"]["tools"][i]["path"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(paths, ["/etc/cofferdam/repo", "/srv/b", "x"]);
        let mut channel = serde_json::json!({"spec": {"type": "webhook", "secretRef": {"file": "hook.key"}}});
        resolve_paths(&mut channel, Path::new("/etc/cofferdam"));
        assert_eq!(channel["spec"]["secretRef"]["file"], "/etc/cofferdam/hook.key");
    }

    #[test]
    fn a_directory_gives_its_files_in_order_and_skips_what_is_hidden_or_something_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "b.yaml",
            "a.yml",
            ".hidden.yaml",
            "notes.txt",
            "sub/c.json",
            ".git/d.yaml",
        ] {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names: Vec<_> = files(directory.path(), is_document)
            .unwrap()
            .iter()
            .map(|p| p.strip_prefix(directory.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["a.yml", "b.yaml", "sub/c.json"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = load(&directory.path().join("none.yaml")).unwrap_err().to_string();
        assert!(
            missing.starts_with("cannot read `") && missing.contains("none.yaml"),
            "{missing}"
        );
        let binary = directory.path().join("b.yaml");
        std::fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(
            load(&binary)
                .unwrap_err()
                .to_string()
                .contains("not a text in UTF-8")
        );
    }
}
