//! What a bundle holds: policies with where they stood, and the tables of cases that test them.
//!
//! The payload is one canonical text (RFC 8785), in order of path, so that the same contents are the same
//! bytes and two readers read the same. Untrusted: everything that is not exactly this is refused with its
//! place.

use super::BundleError;
use policy::{Place, Timestamp, canonical};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Most policies in one bundle.
pub const DOCUMENTS_MAX: usize = 200;
/// Most tables of cases in one bundle.
pub const TESTS_MAX: usize = 200;
/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 200;
/// Largest number of a version: what every reader of JSON carries.
pub const VERSION_MAX: u64 = canonical::INTEGER_MAX.unsigned_abs();
/// Largest payload: an envelope is a third larger.
const PAYLOAD_BYTES_MAX: usize = super::BYTES_MAX / 4 * 3;

/// What is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// Who publishes it.
    pub publisher: String,
    /// The publisher's number, which only grows.
    pub version: u64,
    /// When it was made, as its maker says.
    pub created: Timestamp,
    /// In order of path.
    pub documents: Vec<Part>,
    /// Tables of cases, in order of path. They are carried and never run at installation.
    pub tests: Vec<Table>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where it stood below the directory that was bundled: `sre/calm.yaml`.
    pub path: String,
    /// The whole document, of kind `Policy`.
    pub document: Value,
}

/// One table of cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// As in [`Part`].
    pub path: String,
    /// The file.
    pub text: String,
}

impl Contents {
    /// SHA-256 of all but itself, as `sha256` in the payload says it: lower-case hexadecimal.
    ///
    /// # Errors
    /// Contents that JSON cannot carry.
    pub fn digest(&self) -> Result<String, BundleError> {
        digest_of(&self.value()?)
    }

    /// The names of its policies, in order of path.
    pub fn names(&self) -> Vec<&str> {
        self.documents.iter().map(Part::name).collect()
    }

    pub(super) fn to_payload(&self) -> Result<Vec<u8>, BundleError> {
        let mut value = self.value()?;
        let digest = digest_of(&value)?;
        if let Some(map) = value.as_object_mut() {
            map.insert("sha256".to_owned(), json!(digest));
        }
        canonical::to_bytes(&value).map_err(|error| refused("", error.to_string()))
    }

    pub(super) fn from_payload(payload: &[u8]) -> Result<Contents, BundleError> {
        let not = |error: canonical::CanonicalError| refused("", error.to_string());
        let value = canonical::parse(payload, PAYLOAD_BYTES_MAX).map_err(not)?;
        if canonical::to_bytes(&value).map_err(not)? != payload {
            return Err(refused("", "not in its canonical form"));
        }
        let Value::Object(mut map) = value else {
            return Err(refused("", "no JSON object"));
        };
        let stated = taken_text(&mut map, "", "sha256")?;
        if digest_of(&Value::Object(map.clone()))? != stated {
            return Err(refused("/sha256", "is not the digest of the contents"));
        }
        let publisher = taken_text(&mut map, "", "publisher")?;
        if !Place::is_name(&publisher) {
            return Err(refused("/publisher", "is no name"));
        }
        let version = map.remove("version").and_then(|version| version.as_u64());
        let version = version.filter(|version| (1..=VERSION_MAX).contains(version));
        let version =
            version.ok_or_else(|| refused("/version", format!("is not from 1 to {VERSION_MAX}")))?;
        let created = taken_text(&mut map, "", "created")?;
        let created = Timestamp::parse(&created).filter(|time| time.to_string() == created);
        let created = created.ok_or_else(|| refused("/created", "is not a time in UTC with milliseconds"))?;
        let documents = listed(&mut map, "documents", DOCUMENTS_MAX, part)?;
        let tests = listed(&mut map, "tests", TESTS_MAX, table)?;
        if let Some(key) = map.keys().next() {
            return Err(refused("", format!("unknown field `{key}`")));
        }
        if documents.is_empty() {
            return Err(refused("/documents", "there are none"));
        }
        in_order("documents", documents.iter().map(|part| part.path.as_str()))?;
        in_order("tests", tests.iter().map(|table| table.path.as_str()))?;
        one_name_each(&documents)?;
        Ok(Contents {
            publisher,
            version,
            created,
            documents,
            tests,
        })
    }

    fn value(&self) -> Result<Value, BundleError> {
        let mut documents = Vec::new();
        for part in &self.documents {
            let sha256 = digest_of(&part.document)?;
            documents.push(json!({ "path": part.path, "sha256": sha256, "document": part.document }));
        }
        let table = |table: &Table| {
            let sha256 = canonical::hex(&Sha256::digest(table.text.as_bytes()));
            json!({ "path": table.path, "sha256": sha256, "text": table.text })
        };
        Ok(json!({
            "publisher": self.publisher,
            "version": self.version,
            "created": self.created,
            "documents": documents,
            "tests": self.tests.iter().map(table).collect::<Vec<_>>(),
        }))
    }
}

impl Part {
    /// `metadata.name` of its document.
    pub fn name(&self) -> &str {
        let name = self.document.pointer("/metadata/name");
        name.and_then(Value::as_str).unwrap_or_default()
    }
}

/// What may be called a path in a bundle: relative, with no way out.
pub fn is_path(path: &str) -> bool {
    let segment = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    (1..=PATH_BYTES_MAX).contains(&path.len())
        && path.split('/').all(segment)
        && !path.contains(|c: char| c == '\\' || c.is_control())
}

fn part(mut map: Map<String, Value>, at: &str) -> Result<Part, BundleError> {
    let (path, sha256) = (path(&mut map, at)?, taken_text(&mut map, at, "sha256")?);
    let document = map.remove("document");
    let document = document.ok_or_else(|| refused(at, "missing field `document`"))?;
    nothing_else(&map, at)?;
    if document.get("payloadType").is_some() {
        return Err(refused(
            &format!("{at}/document"),
            "is a bundle, and bundles hold no bundles",
        ));
    }
    match document.get("kind").and_then(Value::as_str) {
        Some("Policy") => {}
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            let what = format!("is of kind `{other}`, and bundles hold policies only");
            return Err(refused(&format!("{at}/document/kind"), what));
        }
        None => return Err(refused(&format!("{at}/document"), "has no `kind`")),
    }
    if digest_of(&document)? != sha256 {
        return Err(refused(
            &format!("{at}/sha256"),
            "is not the digest of the document",
        ));
    }
    Ok(Part { path, document })
}

fn table(mut map: Map<String, Value>, at: &str) -> Result<Table, BundleError> {
    let (path, sha256) = (path(&mut map, at)?, taken_text(&mut map, at, "sha256")?);
    let text = taken_text(&mut map, at, "text")?;
    nothing_else(&map, at)?;
    match canonical::hex(&Sha256::digest(text.as_bytes())) == sha256 {
        true => Ok(Table { path, text }),
        false => Err(refused(&format!("{at}/sha256"), "is not the digest of the text")),
    }
}

fn path(map: &mut Map<String, Value>, at: &str) -> Result<String, BundleError> {
    let path = taken_text(map, at, "path")?;
    match is_path(&path) {
        true => Ok(path),
        false => Err(refused(&format!("{at}/path"), "is not a relative path")),
    }
}

fn listed<T>(
    map: &mut Map<String, Value>,
    field: &str,
    max: usize,
    read: impl Fn(Map<String, Value>, &str) -> Result<T, BundleError>,
) -> Result<Vec<T>, BundleError> {
    let Some(Value::Array(items)) = map.remove(field) else {
        return Err(refused("", format!("no list `{field}`")));
    };
    if items.len() > max {
        return Err(refused(&format!("/{field}"), format!("more than {max}")));
    }
    let one = |(i, item)| {
        let at = format!("/{field}/{i}");
        match item {
            Value::Object(map) => read(map, &at),
            _ => Err(refused(&at, "no JSON object")),
        }
    };
    items.into_iter().enumerate().map(one).collect()
}

/// Sorted, so that there is one way to write it down; and so none comes twice.
fn in_order<'p>(field: &str, paths: impl Iterator<Item = &'p str>) -> Result<(), BundleError> {
    let mut last: Option<&str> = None;
    for (i, path) in paths.enumerate() {
        let at = format!("/{field}/{i}/path");
        match last {
            Some(last) if last == path => return Err(refused(&at, format!("`{path}` is there twice"))),
            Some(last) if last > path => return Err(refused(&at, "is not in order")),
            _ => last = Some(path),
        }
    }
    Ok(())
}

fn one_name_each(documents: &[Part]) -> Result<(), BundleError> {
    let mut seen = std::collections::BTreeSet::new();
    for (i, part) in documents.iter().enumerate() {
        if !seen.insert(part.name()) {
            let what = format!("`{}` is there twice", part.name());
            return Err(refused(&format!("/documents/{i}/document/metadata/name"), what));
        }
    }
    Ok(())
}

fn taken_text(map: &mut Map<String, Value>, at: &str, field: &str) -> Result<String, BundleError> {
    match map.remove(field) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(refused(at, format!("no text `{field}`"))),
    }
}

fn nothing_else(map: &Map<String, Value>, at: &str) -> Result<(), BundleError> {
    match map.keys().next() {
        Some(key) => Err(refused(at, format!("unknown field `{key}`"))),
        None => Ok(()),
    }
}

fn digest_of(value: &Value) -> Result<String, BundleError> {
    let digest = canonical::digest(value).map_err(|error| refused("", error.to_string()))?;
    Ok(canonical::hex(&digest))
}

fn refused(place: &str, what: impl Into<String>) -> BundleError {
    BundleError::Contents {
        place: place.to_owned(),
        what: what.into(),
    }
}
