//! What signed bundles make of a change: verified, compared with what their publishers may bring, and opened into
//! documents that they own. Changes nothing itself.

use super::configuration::{ApplyError, Change};
use crate::config::bundle::{self, Found};
use crate::config::publisher::{PublisherSpec, publishers};
use crate::config::{Kind, Problem, Problems, Spec, from_values};
use gate::bundles::{Bundle, BundleChange, BundleRow, Step};
use gate::{DocumentView, InstallError, Owner};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is wanted together, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Documents.
    pub changes: Vec<Change>,
    /// Bundles that are to take their publishers' place.
    pub bundles: Vec<Found>,
    /// Publishers whose bundles are to go.
    pub removed: Vec<String>,
    /// Why older bundles may come than were seen.
    pub rollback: Option<String>,
}

impl From<Vec<Change>> for Wanted {
    fn from(changes: Vec<Change>) -> Wanted {
        Wanted {
            changes,
            ..Wanted::default()
        }
    }
}

/// One bundle of a change.
#[derive(Clone, Debug, Serialize)]
pub struct ChangedBundle {
    /// Whose.
    pub publisher: String,
    /// `installed`, `rolled_back`, `unchanged`, `removed`.
    pub change: &'static str,
    /// The version after it; null when it was removed.
    pub version: Option<u64>,
    /// SHA-256 of its contents.
    pub digest: Option<String>,
    /// The version in force before it.
    pub before: Option<u64>,
}

/// A change with its bundles opened.
pub(super) struct Resolved {
    /// Each with its owner after it.
    pub changes: Vec<(Owner, Change)>,
    /// For the gate.
    pub bundles: Vec<BundleChange>,
    /// For people.
    pub shown: Vec<ChangedBundle>,
}

/// Opens what `wanted` names.
pub(super) fn resolve(
    before: &[DocumentView],
    held: &[BundleRow],
    owner: &Owner,
    wanted: Wanted,
) -> Result<Resolved, ApplyError> {
    let specs = publishers_after(before, &wanted.changes)?;
    let keys: BTreeMap<String, Vec<String>> = specs
        .iter()
        .map(|(name, spec)| (name.clone(), spec.public_keys.clone()))
        .collect();
    let changes = wanted.changes.into_iter().map(|change| (owner.clone(), change));
    let mut resolved = Resolved {
        changes: changes.collect(),
        bundles: Vec::new(),
        shown: Vec::new(),
    };
    for found in wanted.bundles {
        let bundle = found
            .envelope
            .verify(&keys)
            .map_err(|error| wrong(&found, error))?;
        let spec = specs.get(&bundle.contents().publisher);
        let spec = spec.ok_or_else(|| wrong(&found, "its publisher is gone"))?;
        resolved.install(
            before,
            held,
            owner,
            &found,
            bundle,
            spec,
            wanted.rollback.as_deref(),
        )?;
    }
    for publisher in wanted.removed {
        resolved.remove(before, held, owner, publisher)?;
    }
    Ok(resolved)
}

fn wrong(found: &Found, what: impl std::fmt::Display) -> ApplyError {
    Problems::from(found.problem(what)).into()
}

impl Resolved {
    #[expect(clippy::too_many_arguments, reason = "one call; each is another thing")]
    fn install(
        &mut self,
        before: &[DocumentView],
        held: &[BundleRow],
        via: &Owner,
        found: &Found,
        bundle: Bundle,
        spec: &PublisherSpec,
        rollback: Option<&str>,
    ) -> Result<(), ApplyError> {
        let contents = bundle.contents();
        let publisher = contents.publisher.clone();
        if self.bundles.iter().any(|one| one.publisher() == publisher) {
            return Err(wrong(
                found,
                format!("a second bundle of Publisher `{publisher}`"),
            ));
        }
        let digest = contents.digest().map_err(|error| wrong(found, error))?;
        spec.lets(&publisher, contents.version, &digest)
            .map_err(|what| wrong(found, what))?;
        let seen = held.iter().find(|row| row.publisher == publisher);
        changeable(seen, via)?;
        let rollback = rollback.or_else(|| spec.rollback());
        let step = bundle.step(seen, rollback).map_err(InstallError::from)?;
        let owner = Owner::Bundle(publisher.clone());
        let documents = bundle::documents(&found.name, contents)?;
        let gone = before.iter().filter(|view| {
            view.owner == owner && !documents.iter().any(|document| document.name == view.name)
        });
        let gone: Vec<Change> = gone.filter_map(deletion).collect();
        let applied = documents
            .into_iter()
            .map(|document| Change::Apply(Box::new(document)));
        self.changes
            .extend(applied.chain(gone).map(|change| (owner.clone(), change)));
        self.shown.push(ChangedBundle {
            change: match step {
                Step::Unchanged => "unchanged",
                Step::Forward => "installed",
                Step::Back => "rolled_back",
            },
            version: Some(contents.version),
            digest: Some(digest),
            before: seen.filter(|row| row.in_force).map(|row| row.version),
            publisher,
        });
        self.bundles.push(BundleChange::Install {
            bundle: Box::new(bundle),
            via: via.clone(),
            rollback: rollback.map(str::to_owned),
        });
        Ok(())
    }

    fn remove(
        &mut self,
        before: &[DocumentView],
        held: &[BundleRow],
        via: &Owner,
        publisher: String,
    ) -> Result<(), ApplyError> {
        let seen = held.iter().find(|row| row.publisher == publisher && row.in_force);
        let Some(row) = seen else {
            return Err(ApplyError::NoBundle(publisher));
        };
        changeable(seen, via)?;
        let owner = Owner::Bundle(publisher.clone());
        // What stands among the documents of the same change stays, as theirs.
        let stays = |view: &&DocumentView| {
            self.changes
                .iter()
                .any(|(_, change)| change.key() == (Kind::Policy, view.name.as_str()))
        };
        let gone = before.iter().filter(|view| view.owner == owner && !stays(view));
        let gone: Vec<_> = gone
            .filter_map(deletion)
            .map(|change| (owner.clone(), change))
            .collect();
        self.changes.extend(gone);
        self.shown.push(ChangedBundle {
            change: "removed",
            version: None,
            digest: None,
            before: Some(row.version),
            publisher: publisher.clone(),
        });
        self.bundles.push(BundleChange::Remove {
            publisher,
            via: via.clone(),
        });
        Ok(())
    }
}

/// What a directory holds is changed there, and the reverse.
fn changeable(seen: Option<&BundleRow>, via: &Owner) -> Result<(), InstallError> {
    match seen.filter(|row| row.in_force && row.via != *via) {
        Some(row) => Err(InstallError::Owned {
            owner: row.via.clone(),
            kind: "the bundle of Publisher".to_owned(),
            name: row.publisher.clone(),
        }),
        None => Ok(()),
    }
}

fn deletion(view: &DocumentView) -> Option<Change> {
    Some(Change::Delete {
        kind: Kind::parse(&view.kind)?,
        name: view.name.clone(),
    })
}

/// The publishers as they would be: a bundle may come together with the document that names its key.
fn publishers_after(
    before: &[DocumentView],
    changes: &[Change],
) -> Result<BTreeMap<String, PublisherSpec>, Problems> {
    let kept = |view: &&DocumentView| {
        let is_changed = |change: &Change| change.key() == (Kind::Publisher, view.name.as_str());
        view.kind == Kind::Publisher.as_str() && !changes.iter().any(is_changed)
    };
    let kept = before.iter().filter(kept);
    let kept = kept.map(|view| (format!("{}/{}", view.kind, view.name), view.document.clone()));
    let mut specs = publishers(&from_values(kept.collect())?);
    for change in changes {
        let Change::Apply(document) = change else { continue };
        if let Spec::Publisher(spec) = &document.spec {
            if let Some((at, what)) = spec.problems().into_iter().next() {
                return Err(document.problem(&at, what).into());
            }
            specs.insert(document.name.clone(), (**spec).clone());
        }
    }
    Ok(specs)
}

/// The publishers of bundles that are found in a directory, before anything of them is believed.
pub(super) fn claimed(found: &[Found]) -> Result<Vec<String>, Problems> {
    let publisher = |one: &Found| match one.envelope.unverified() {
        Ok(contents) => Ok(contents.publisher),
        Err(error) => Err(one.problem(error)),
    };
    found
        .iter()
        .map(publisher)
        .collect::<Result<Vec<_>, Problem>>()
        .map_err(Problems::from)
}
