//! `kind: Publisher`: whose signed bundles of policies are taken, and where policies come out of bundles only.
//!
//! What it says is asked when a bundle comes. What is in force stays in force until a bundle takes its place or it
//! is removed: taking policies away would permit what they forbid.

use super::document::{Document, Spec};
use super::problem::Problem;
use gate::bundles::{BundleRow, VERSION_MAX, is_public_key};
use policy::{Branch, PolicyVersion};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most keys of one publisher: the old and the new while they change.
const KEYS_MAX: usize = 8;
/// Most publishers.
const PUBLISHERS_MAX: usize = 32;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 300;

/// A publisher of policies, as its document says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PublisherSpec {
    /// Ed25519 public keys in base64url, as `cofferdam policy bundle key` prints them; any of them will do.
    pub public_keys: Vec<String>,
    /// Nothing older than this.
    pub minimum_version: Option<u64>,
    /// Nothing but this.
    pub pin: Option<Pin>,
    /// Where policies come out of bundles only: `true` for everywhere, or a list of places.
    #[serde(default)]
    pub require_signed: RequireSigned,
}

/// The one bundle that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pin {
    /// Its version.
    pub version: Option<u64>,
    /// SHA-256 of its contents, in hexadecimal.
    pub digest: Option<String>,
    /// Why it may be an older one than was seen; without a reason it may not.
    pub rollback: Option<String>,
}

/// Where policies come out of bundles only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequireSigned {
    /// Everywhere or nowhere.
    Flag(bool),
    /// At these places.
    Places(Vec<Branch>),
}

impl Default for RequireSigned {
    fn default() -> RequireSigned {
        RequireSigned::Flag(false)
    }
}

impl RequireSigned {
    /// As a list.
    pub(crate) fn places(&self) -> Vec<Branch> {
        match self {
            RequireSigned::Flag(false) => Vec::new(),
            RequireSigned::Flag(true) => vec![Branch::everywhere()],
            RequireSigned::Places(places) => places.clone(),
        }
    }
}

impl RequireSigned {
    /// Below another organization.
    pub(crate) fn move_to(&mut self, organization: &str) {
        if let RequireSigned::Places(places) = self {
            for place in places {
                *place = std::mem::take(place).moved_to(organization);
            }
        }
    }
}

impl PublisherSpec {
    /// What is wrong with it: where and what.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.public_keys.is_empty() || self.public_keys.len() > KEYS_MAX {
            problems.push(("/spec/publicKeys".to_owned(), format!("1 to {KEYS_MAX} keys")));
        }
        for (i, key) in self.public_keys.iter().enumerate() {
            if !is_public_key(key) {
                let what = "not an Ed25519 public key in base64url; `cofferdam policy bundle key` prints one";
                problems.push((format!("/spec/publicKeys/{i}"), what.to_owned()));
            }
        }
        let version =
            |version: Option<u64>| version.is_none_or(|version| (1..=VERSION_MAX).contains(&version));
        if !version(self.minimum_version) {
            problems.push((
                "/spec/minimumVersion".to_owned(),
                "a version is 1 or more".to_owned(),
            ));
        }
        if let Some(pin) = &self.pin {
            if pin.version.is_none() && pin.digest.is_none() {
                problems.push((
                    "/spec/pin".to_owned(),
                    "a pin has a version, a digest, or both".to_owned(),
                ));
            }
            if !version(pin.version) {
                problems.push((
                    "/spec/pin/version".to_owned(),
                    "a version is 1 or more".to_owned(),
                ));
            }
            if pin.digest.as_deref().is_some_and(|digest| !is_digest(digest)) {
                let what = "not a SHA-256 in 64 lower-case hexadecimal digits";
                problems.push(("/spec/pin/digest".to_owned(), what.to_owned()));
            }
            if pin
                .rollback
                .as_ref()
                .is_some_and(|why| why.trim().is_empty() || why.len() > REASON_BYTES_MAX)
            {
                let what = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
                problems.push(("/spec/pin/rollback".to_owned(), what));
            }
        }
        problems
    }

    /// Whether this lets the bundle of that version and digest come from `publisher`.
    ///
    /// # Errors
    /// Why not.
    pub fn lets(&self, publisher: &str, version: u64, digest: &str) -> Result<(), String> {
        if let Some(minimum) = self.minimum_version.filter(|minimum| version < *minimum) {
            return Err(format!(
                "version {version} is below the minimumVersion {minimum} of Publisher `{publisher}`"
            ));
        }
        let Some(pin) = &self.pin else { return Ok(()) };
        if let Some(pinned) = pin.version.filter(|pinned| *pinned != version) {
            return Err(format!(
                "Publisher `{publisher}` is pinned to version {pinned}, and this is {version}"
            ));
        }
        match pin.digest.as_deref().filter(|pinned| *pinned != digest) {
            Some(pinned) => Err(format!(
                "Publisher `{publisher}` is pinned to sha256 {pinned}, and this is {digest}"
            )),
            None => Ok(()),
        }
    }

    /// What would keep the bundle in force from coming now, if anything would.
    #[must_use]
    pub fn outgrown(&self, row: &BundleRow) -> Option<String> {
        match self.public_keys.contains(&row.key) {
            true => self.lets(&row.publisher, row.version, &row.digest).err(),
            false => Some(format!(
                "it is signed with a key that Publisher `{}` no longer has",
                row.publisher
            )),
        }
    }

    /// Why an older one than was seen may come, if it may.
    #[must_use]
    pub fn rollback(&self) -> Option<&str> {
        self.pin.as_ref()?.rollback.as_deref()
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The publishers among `documents`, by name.
#[must_use]
pub fn publishers(documents: &[Document]) -> BTreeMap<String, PublisherSpec> {
    let publisher = |document: &Document| match &document.spec {
        Spec::Publisher(spec) => Some((document.name.clone(), (**spec).clone())),
        _ => None,
    };
    documents.iter().filter_map(publisher).collect()
}

/// What is wrong between publishers and policies: too many of them, a bundle in force whose publisher is gone, and
/// unsigned policies where only signed ones count.
///
/// A policy counts at a place when it is for that place, for one below it, or for one above it: in each case it
/// speaks of agents there.
#[must_use]
pub fn unsigned(documents: &[Document]) -> Vec<Problem> {
    let publishers = publishers(documents);
    let mut problems = Vec::new();
    if publishers.len() > PUBLISHERS_MAX {
        problems.push(Problem::plain(format!("more than {PUBLISHERS_MAX} publishers")));
    }
    for document in documents {
        let Spec::Policy(spec) = &document.spec else {
            continue;
        };
        match document.version.as_ref().and_then(PolicyVersion::publisher) {
            Some(publisher) if publishers.contains_key(publisher) => {}
            Some(publisher) => {
                let what = format!(
                    "comes out of a bundle of Publisher `{publisher}`, which would be gone: remove the bundle first (cofferdam policy bundle remove {publisher})"
                );
                problems.push(document.problem("/metadata/name", what));
            }
            None => {
                // A policy of that name takes the place of the built-in one, which is for everybody.
                let is_everywhere = document.name == policy::RULE_OF_TWO;
                let reaches = |place: &Branch| {
                    is_everywhere || place.contains_branch(&spec.place) || spec.place.contains_branch(place)
                };
                let asks = publishers.iter().find_map(|(name, publisher)| {
                    let place = publisher.require_signed.places().into_iter().find(reaches)?;
                    Some((name, place))
                });
                if let Some((publisher, place)) = asks {
                    let what = format!(
                        "an unsigned policy: Publisher `{publisher}` requires that policies for agents of `{place}` come out of signed bundles"
                    );
                    problems.push(document.problem("/metadata/name", what));
                }
            }
        }
    }
    problems
}
