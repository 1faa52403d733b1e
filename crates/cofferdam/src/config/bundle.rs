//! Bundles of policies as files: found beside documents, opened into documents, and made of them.
//!
//! What is opened here without a publisher's signature is for looking at; `crate::app` verifies what it installs.

use super::document::{Document, Kind, read};
use super::load::{self, TABLE_ENDING};
use super::problem::{Problem, Problems};
use super::source::{Origin, Parsed, Source};
use gate::bundles::{BYTES_MAX, Contents, DOCUMENTS_MAX, Envelope, Part, Table, is_path};
use policy::{PolicyVersion, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file with a bundle ends.
pub const ENDING: &str = ".bundle";

/// A bundle as it was found, not verified.
#[derive(Clone, Debug)]
pub struct Found {
    /// What complaints call it: its path, or its place in a request.
    pub name: String,
    /// What it is.
    pub envelope: Envelope,
}

impl Found {
    /// `what` is wrong with it.
    #[must_use]
    pub fn problem(&self, what: impl std::fmt::Display) -> Problem {
        problem(&self.name, what)
    }
}

fn problem(name: &str, what: impl std::fmt::Display) -> Problem {
    match name.starts_with('/') && !name.ends_with(ENDING) {
        // A place in a request.
        true => Problem {
            pointer: name.to_owned(),
            ..Problem::plain(what.to_string())
        },
        false => Problem {
            source: Some(Arc::new(Source {
                name: name.to_owned(),
                text: String::new(),
            })),
            ..Problem::plain(what.to_string())
        },
    }
}

/// Reads the bundle that `path` is, or every `*.bundle` below it, in order of path.
///
/// # Errors
/// Everything that is no bundle.
pub fn bundles(path: &Path) -> Result<Vec<Found>, Problems> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for file in load::files(path, is_bundle)? {
        match read_file(&file) {
            Ok(one) => found.push(one),
            Err(wrong) => problems.push(wrong),
        }
    }
    match problems.is_empty() {
        true => Ok(found),
        false => Err(Problems(problems)),
    }
}

/// Reads one file as a bundle, whatever it is called.
///
/// # Errors
/// What is no bundle.
pub fn read_file(file: &Path) -> Result<Found, Problem> {
    let name = file.display().to_string();
    let bytes = load::bytes(file, BYTES_MAX)?;
    match Envelope::read(&bytes) {
        Ok(envelope) => Ok(Found { name, envelope }),
        Err(error) => Err(problem(&name, error)),
    }
}

/// Whether a file of that name holds a bundle.
#[must_use]
pub fn is_bundle(path: &Path) -> bool {
    path.to_string_lossy().ends_with(ENDING)
}

/// The policies of `contents`, each with its version.
///
/// # Errors
/// Everything that is wrong with single documents.
pub fn documents(name: &str, contents: &Contents) -> Result<Vec<Document>, Problems> {
    let version = PolicyVersion::Bundle {
        publisher: contents.publisher.clone(),
        version: contents.version,
    };
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for (i, part) in contents.documents.iter().enumerate() {
        let parsed = Parsed {
            value: part.document.clone(),
            origin: Origin::pointer(&format!("{name}/documents/{i}/document")),
        };
        match read(parsed) {
            Ok(document) => documents.push(Document {
                version: Some(version.clone()),
                ..document
            }),
            Err(wrong) => problems.push(wrong),
        }
    }
    match problems.is_empty() {
        true => Ok(documents),
        false => Err(Problems(problems)),
    }
}

/// The documents of a file or directory, and those of the bundles in it, whoever signed them: for commands that
/// look at policies and put none in force.
///
/// # Errors
/// Everything that is wrong with single documents.
pub fn load_unverified(path: &Path) -> Result<Vec<Document>, Problems> {
    let mut all = load::load(path)?;
    for found in bundles(path)? {
        let contents = found
            .envelope
            .unverified()
            .map_err(|error| found.problem(error))?;
        all.extend(documents(&found.name, &contents)?);
    }
    Ok(all)
}

/// Makes the contents of a bundle of the policies in a file or directory.
///
/// # Errors
/// Everything that cannot stand in a bundle.
pub fn contents(
    path: &Path,
    publisher: &str,
    version: u64,
    created: Timestamp,
    with_tests: bool,
) -> Result<Contents, Problems> {
    if let Some(inner) = load::files(path, is_bundle)?.first() {
        let what = "is a bundle, and bundles hold no bundles";
        return Err(problem(&inner.display().to_string(), what).into());
    }
    let base = if path.is_dir() {
        path.to_owned()
    } else {
        path.parent().map(Path::to_owned).unwrap_or_default()
    };
    let mut problems = Vec::new();
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for document in load::load(path)? {
        if document.kind != Kind::Policy {
            let what = format!("is of kind {}, and bundles hold policies only", document.kind);
            problems.push(document.problem("/kind", what));
            continue;
        }
        let file = document
            .origin
            .source
            .as_ref()
            .map(|source| source.name.clone())
            .unwrap_or_default();
        match relative(&base, Path::new(&file)) {
            Some(path) => {
                let free = (2..).map(|n| format!("{path}#{n}"));
                let free = std::iter::once(path.clone())
                    .chain(free)
                    .find(|path| !parts.contains_key(path));
                let path = free.unwrap_or(path);
                parts.insert(
                    path.clone(),
                    Part {
                        path,
                        document: document.value,
                    },
                );
            }
            None => problems.push(document.problem("", "its path cannot stand in a bundle")),
        }
    }
    if parts.is_empty() && problems.is_empty() {
        problems.push(Problem::plain(format!("`{}` holds no policies", path.display())));
    }
    if parts.len() > DOCUMENTS_MAX {
        problems.push(Problem::plain(format!("more than {DOCUMENTS_MAX} policies")));
    }
    let tests = match with_tests {
        true => tables(path, &base)?,
        false => Vec::new(),
    };
    match problems.is_empty() {
        true => Ok(Contents {
            publisher: publisher.to_owned(),
            version,
            created,
            documents: parts.into_values().collect(),
            tests,
        }),
        false => Err(Problems(problems)),
    }
}

fn tables(path: &Path, base: &Path) -> Result<Vec<Table>, Problems> {
    let is_table = |file: &Path| file.to_string_lossy().ends_with(TABLE_ENDING);
    let mut tables = Vec::new();
    for file in load::files(path, is_table)? {
        let text = load::bytes(&file, BYTES_MAX)?;
        let text = String::from_utf8(text);
        let name = file.display().to_string();
        match (relative(base, &file), text) {
            (Some(path), Ok(text)) => tables.push(Table { path, text }),
            _ => {
                return Err(problem(
                    &name,
                    "not a text in UTF-8 with a path that can stand in a bundle",
                )
                .into());
            }
        }
    }
    tables.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tables)
}

fn relative(base: &Path, file: &Path) -> Option<String> {
    let path: PathBuf = file.strip_prefix(base).unwrap_or(file).components().collect();
    let path = path.to_str()?.to_owned();
    is_path(&path).then_some(path)
}
