//! Reads YAML into JSON values that remember where each of their parts stands.
//!
//! JSON is YAML, so this reads both. It refuses duplicate keys, merge keys, aliases that multiply,
//! too much nesting and non-finite numbers, and never opens a file itself.

use super::problem::{Place, Problem};
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest file of documents, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of one document.
pub const DEPTH_MAX: usize = 48;
/// Most documents in one file.
pub const DOCUMENTS_MAX: usize = 1000;

/// A text with a name to blame it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path as given by the person, or what else tells where the text came from.
    pub name: String,
    /// The text.
    pub text: String,
}

/// One parsed value and where its parts stand.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// As JSON.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Where the parts of a value stand.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The text, for excerpts; `None` for what came as JSON through the API.
    pub source: Option<Arc<Source>>,
    /// Prefix of every place: empty for files, `/0` for the first element of a list.
    pub prefix: String,
    places: Arc<BTreeMap<String, Place>>,
}

impl Origin {
    /// For a value that did not come from a text: places are JSON pointers below `prefix`.
    #[must_use]
    pub fn pointer(prefix: &str) -> Origin {
        Origin {
            source: None,
            prefix: prefix.to_owned(),
            places: Arc::default(),
        }
    }

    /// A problem at `pointer` of this value, or at the nearest part around it that stands in the text.
    #[must_use]
    pub fn problem(&self, pointer: &str, what: impl Into<String>) -> Problem {
        let mut nearest = pointer;
        let place = loop {
            if let Some(place) = self.places.get(nearest) {
                break Some(*place);
            }
            match nearest.rfind('/') {
                Some(cut) => nearest = nearest.get(..cut).unwrap_or_default(),
                None => break None,
            }
        };
        Problem {
            source: self.source.clone(),
            place,
            pointer: format!("{}{pointer}", self.prefix),
            what: what.into(),
        }
    }
}

/// Reads every document of `source`. Empty documents are skipped.
///
/// # Errors
/// The first thing that is not YAML of the accepted kind, with its place.
pub fn parse(source: Source) -> Result<Vec<Parsed>, Problem> {
    let source = Arc::new(source);
    let refused = |place: Option<Place>, what: String| Problem {
        source: Some(Arc::clone(&source)),
        place,
        pointer: String::new(),
        what,
    };
    if source.text.len() > FILE_BYTES_MAX {
        return Err(refused(None, format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple_with_options(&source.text, options())
        .map_err(|error| {
            let place = error.location().and_then(|l| Place::new(l.line(), l.column()));
            refused(place, plain_message(&error))
        })?;
    let mut parsed = Vec::new();
    for node in nodes {
        let mut places = BTreeMap::new();
        let value = flatten(node, "", &mut places);
        if !value.is_null() {
            let origin = Origin {
                source: Some(Arc::clone(&source)),
                prefix: String::new(),
                places: Arc::new(places),
            };
            parsed.push(Parsed { value, origin });
        }
    }
    Ok(parsed)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_documents: DOCUMENTS_MAX,
            max_nodes: 100_000,
            max_aliases: 1_000,
            max_anchors: 100,
            max_total_scalar_bytes: FILE_BYTES_MAX,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 16,
        },
        strict_booleans: true,
        emit_comments: false,
        with_snippet: false,
    }
}

/// The message without its location, which stands before it already.
fn plain_message(error: &serde_saphyr::Error) -> String {
    struct Plain;
    impl serde_saphyr::MessageFormatter for Plain {
        fn format_message<'a>(&self, error: &'a serde_saphyr::Error) -> std::borrow::Cow<'a, str> {
            serde_saphyr::UserMessageFormatter.format_message(error)
        }
    }
    use serde_saphyr::MessageFormatter as _;
    let text: String = Plain
        .format_message(error.without_snippet())
        .escape_debug()
        .collect();
    text.replace("\\'", "'")
        .replace("\\\"", "\"")
        .trim_end_matches('.')
        .to_owned()
}

fn flatten(node: Spanned<Node>, pointer: &str, places: &mut BTreeMap<String, Place>) -> Value {
    if let Some(place) = Place::new(node.referenced.line(), node.referenced.column()) {
        places.entry(pointer.to_owned()).or_insert(place);
    }
    match node.value {
        Node::Scalar(value) => value,
        Node::List(items) => Value::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(i, item)| flatten(item, &format!("{pointer}/{i}"), places))
                .collect(),
        ),
        Node::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let below = format!("{pointer}/{}", escape(&key.value));
                // The key is where a person looks for a field; its value may start lines later.
                if matches!(value.value, Node::List(_) | Node::Map(_))
                    && let Some(place) = Place::new(key.referenced.line(), key.referenced.column())
                {
                    places.insert(below.clone(), place);
                }
                map.insert(key.value, flatten(value, &below, places));
            }
            Value::Object(map)
        }
    }
}

/// A key as a segment of a JSON pointer (RFC 6901).
#[must_use]
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A value whose parts know where they stand.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value that JSON can hold")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number has to be finite"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Node>)> = Vec::new();
        while let Some(entry) = access.next_entry::<Spanned<String>, Spanned<Node>>()? {
            if entries.iter().any(|(key, _)| key.value == entry.0.value) {
                return Err(A::Error::custom(format!("duplicate key `{}`", entry.0.value)));
            }
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(text: &str, pointer: &str) -> String {
        let parsed = parse(Source {
            name: "f.yaml".into(),
            text: text.into(),
        })
        .unwrap();
        let problem = parsed[0].origin.problem(pointer, "x");
        problem.place.map_or("-".into(), |p| p.to_string())
    }

    #[test]
    fn places_point_at_the_key_of_a_collection_and_at_a_scalar_itself() {
        let text = "a: 1\nb:\n  - x\n  - y: {z: 2}\n";
        let table = [
            ("/a", "1:4"),
            ("/b", "2:1"),
            ("/b/0", "3:5"),
            ("/b/1/y", "4:5"),
            ("/b/1/y/z", "4:12"),
            ("/b/1/nothing", "4:5"),
            ("/nothing/at/all", "1:1"),
        ];
        for (pointer, expected) in table {
            assert_eq!(place_of(text, pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn json_is_yaml_and_several_documents_fit_in_one_file() {
        let text = "{\"a\": [1, 2.5, null, true, \"t\"]}\n---\n# nothing\n---\nb: no\n";
        let parsed = parse(Source {
            name: "f".into(),
            text: text.into(),
        })
        .unwrap();
        let values: Vec<String> = parsed.iter().map(|p| p.value.to_string()).collect();
        assert_eq!(values, ["{\"a\":[1,2.5,null,true,\"t\"]}", "{\"b\":\"no\"}"]);
    }

    #[test]
    fn what_is_refused_says_where() {
        let deep = "[".repeat(60) + &"]".repeat(60);
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
            .to_owned();
        let large = "x".repeat(FILE_BYTES_MAX + 1);
        let table: [(&str, &str, &str); 8] = [
            (
                "a duplicate key",
                "a: 1\nb: 2\na: 3\n",
                "f.yaml:3:1: duplicate mapping key",
            ),
            ("a broken list", "a: [1, 2\nb: 3\n", "f.yaml:2:"),
            ("a tab", "a:\n\t- 1\n", "f.yaml:2:"),
            ("an infinite number", "a: .inf\n", "f.yaml:1:4: "),
            ("a merge key", "x: &x {a: 1}\ny:\n  <<: *x\n", "f.yaml:3:"),
            ("too deep", &deep, "f.yaml:1:"),
            ("a bomb", &bomb, "f.yaml:"),
            ("too large", &large, "f.yaml: larger than 1048576 bytes"),
        ];
        for (name, text, expected) in table {
            let problem = parse(Source {
                name: "f.yaml".into(),
                text: text.into(),
            })
            .unwrap_err();
            let line = problem.to_string();
            assert!(line.starts_with(expected), "{name}: {line}");
        }
    }
}
