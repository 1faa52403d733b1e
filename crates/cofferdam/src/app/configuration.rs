//! Documents in force: changed as a whole or not at all, recorded before they count.
//!
//! INVARIANT (one at a time): a change reads what is stored, compiles the result, and installs it
//! under one lock; the gate compares the generation once more in its transaction.

use super::bundles::{ChangedBundle, Wanted, resolve};
use super::organizations::settle_place;
use crate::config::publisher::unsigned;
use crate::config::{Compiled, Document, Kind, Problem, Problems, bundle, compile, from_values, load};
use crate::health::{Cell, Part, Status};
use crate::identity::{CertificateProviders, Providers};
use arc_swap::ArcSwapOption;
use gate::bundles::{BundleChange, BundleRow, may_take};
use gate::egress::Egress;
use gate::llm::Llm;
use gate::{DocumentChange, DocumentView, Gate, InstallError, Installation, Owner};
use ops::Triage;
use policy::{Action, PolicySet, PolicyVersion, Principal};
use runtime::Runtime;
use runtime::tools::Supplied;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::StoreError;
use tokio::sync::Mutex;

/// One wanted change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Add or replace.
    Apply(Box<Document>),
    /// Remove.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

/// What a change did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// The generation in force after it.
    pub generation: u64,
    /// Whether nothing was done because nothing was to be done.
    pub dry_run: bool,
    /// Every document that was named, and what became of it.
    pub changes: Vec<ChangedDocument>,
    /// Every bundle that was named, and what became of it.
    pub bundles: Vec<ChangedBundle>,
}

/// One document of a change.
#[derive(Clone, Debug, Serialize)]
pub struct ChangedDocument {
    /// `Agent`.
    pub kind: &'static str,
    /// `metadata.name`.
    pub name: String,
    /// `created`, `updated`, `unchanged`, `deleted`.
    pub change: &'static str,
    /// As stored before; null when it is new.
    pub before: Value,
    /// As stored after; null when it was deleted.
    pub after: Value,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Documents are wrong, by themselves or together with those that are stored.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// There is none to delete.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// No bundle to remove.
    #[error("no bundle of Publisher `{0}` is in force")]
    NoBundle(String),
    /// Not recorded.
    #[error(transparent)]
    Install(#[from] InstallError),
}

impl ApplyError {
    /// With excerpts where there are any.
    #[must_use]
    pub fn render(&self) -> String {
        match self {
            ApplyError::Invalid(problems) => problems.render(),
            ApplyError::Unknown { .. } | ApplyError::NoBundle(_) | ApplyError::Install(_) => self.to_string(),
        }
    }
}

impl ApplyError {
    /// Whether the change itself is wrong, and not the medium.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !matches!(self, ApplyError::Install(InstallError::Store(_)))
    }
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> ApplyError {
        ApplyError::Install(error.into())
    }
}

impl Change {
    /// Which document it is about.
    pub(super) fn key(&self) -> (Kind, &str) {
        match self {
            Change::Apply(document) => (document.kind, &document.name),
            Change::Delete { kind, name } => (*kind, name),
        }
    }
}

/// Whom documents are compiled for, and what is in force.
pub struct Configuration {
    gate: Arc<Gate>,
    runtime: Arc<Runtime>,
    triage: Arc<Triage>,
    egress: Arc<Egress>,
    llm: Arc<Llm>,
    supplied: Supplied,
    turn: Mutex<()>,
    current: ArcSwapOption<Compiled>,
    problem: Cell<Option<(Status, String)>>,
    organization: Option<String>,
}

impl Configuration {
    /// With nothing in force. In an `organization` every agent is in that one.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        runtime: Arc<Runtime>,
        triage: Arc<Triage>,
        (egress, llm): (Arc<Egress>, Arc<Llm>),
        supplied: Supplied,
        organization: Option<String>,
    ) -> Configuration {
        Configuration {
            gate,
            runtime,
            triage,
            egress,
            llm,
            supplied,
            turn: Mutex::new(()),
            current: ArcSwapOption::empty(),
            problem: Cell::default(),
            organization,
        }
    }

    /// Compiles `documents`, put into the organization that this is.
    fn compile(&self, mut documents: Vec<Document>, generation: u64) -> Result<Compiled, Problems> {
        self.settle(&mut documents)?;
        compile(&documents, generation, &self.supplied)
    }

    /// The same of documents that are to be in force: unsigned policies are refused where only signed ones count.
    fn compile_signed(&self, mut documents: Vec<Document>, generation: u64) -> Result<Compiled, Problems> {
        self.settle(&mut documents)?;
        match unsigned(&documents) {
            problems if problems.is_empty() => self.compile(documents, generation),
            problems => Err(Problems(problems)),
        }
    }

    fn settle(&self, documents: &mut [Document]) -> Result<(), Problems> {
        let Some(organization) = &self.organization else {
            return Ok(());
        };
        for document in documents {
            settle_place(document, organization)?;
        }
        Ok(())
    }

    /// Puts the stored documents in force, at start. When they no longer compile nothing is in force:
    /// everything is denied, and `health` says why.
    ///
    /// # Errors
    /// The documents cannot be read.
    pub fn restore(&self) -> Result<(), StoreError> {
        let generation = self.gate.authority().generation;
        let compiled = stored(&self.gate.documents()?, &self.gate.bundles()?)
            .and_then(|documents| self.compile_signed(documents, generation));
        match compiled {
            Ok(compiled) => {
                for (kind, name, problem) in &compiled.refused_by_now {
                    tracing::warn!(
                        "{kind} `{name}` stays in force, and is refused when it is applied again: {problem}"
                    );
                }
                self.gate.restore(compiled.authority.clone());
                self.put_in_force(compiled);
            }
            Err(problems) => {
                tracing::error!("the stored documents are not valid, so nothing may act:\n{problems}");
                self.problem.set(Some((
                    Status::Unhealthy,
                    format!("the stored documents are not valid: {problems}"),
                )));
            }
        }
        Ok(())
    }

    /// Gives every configured agent a key that has none: those that were applied before agents had any.
    pub async fn identify(&self) {
        let authority = self.gate.authority();
        let names = authority.agents.keys().filter(|name| !gate::is_reserved(name));
        let names: Vec<String> = names.cloned().collect();
        if let Err(error) = self.gate.identify_agents(&names).await {
            tracing::error!(%error, "agents without a key can neither pass anything on nor receive it");
        }
    }

    /// Makes what `path` says be in force: its documents are applied, and those that it owned and no
    /// longer has are deleted. A wrong one refuses all, and the old state stays.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub async fn synchronize(&self, path: &Path) -> Result<Changed, ApplyError> {
        let result = self.synchronized(path.to_owned()).await;
        self.problem.set(result.as_ref().err().map(|error| {
            (
                Status::Degraded,
                format!(
                    "`{}` was refused, the former state is in force: {error}",
                    path.display()
                ),
            )
        }));
        result
    }

    async fn synchronized(&self, path: PathBuf) -> Result<Changed, ApplyError> {
        let read = move || Ok::<_, Problems>((load(&path)?, bundle::bundles(&path)?));
        let loaded = tokio::task::spawn_blocking(read).await;
        let (documents, bundles) =
            loaded.map_err(|error| Problems::from(Problem::plain(error.to_string())))??;
        let claimed = super::bundles::claimed(&bundles)?;
        let gone = |row: &BundleRow| {
            row.in_force && row.via == Owner::Directory && !claimed.contains(&row.publisher)
        };
        let removed = self.gate.bundles()?.into_iter().filter(gone);
        let removed = removed.map(|row| row.publisher).collect();
        let gone: Vec<Change> = self
            .gate
            .documents()?
            .into_iter()
            .filter(|view| view.owner == Owner::Directory)
            .filter_map(|view| Kind::parse(&view.kind).map(|kind| (kind, view.name)))
            .filter(|(kind, name)| !documents.iter().any(|d| d.kind == *kind && d.name == *name))
            .map(|(kind, name)| Change::Delete { kind, name })
            .collect();
        let applied = documents
            .into_iter()
            .map(|document| Change::Apply(Box::new(document)));
        let wanted = Wanted {
            changes: applied.chain(gone).collect(),
            bundles,
            removed,
            rollback: None,
        };
        self.change(&Principal::service("cofferdam"), Owner::Directory, wanted, false)
            .await
    }

    /// Makes what is wanted be, all or nothing. With `dry_run` it only says what that would do.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn change(
        &self,
        by: &Principal,
        owner: Owner,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Changed, ApplyError> {
        let _turn = self.turn.lock().await;
        let (before, held) = (self.gate.documents()?, self.gate.bundles()?);
        let generation = self.gate.authority().generation;
        let resolved = resolve(&before, &held, &owner, wanted)?;
        let shown = told(&before, &resolved.changes, &resolved.bundles)?;
        let owners: Vec<Owner> = resolved.changes.iter().map(|(owner, _)| owner.clone()).collect();
        let documents = after(&before, &held, resolved.changes, &resolved.bundles)?;
        let compiled = self.compile_signed(documents, generation + 1)?;
        refused_by_now(&compiled, &shown)?;
        let work = owners.into_iter().zip(&shown);
        let work = work.filter_map(|(owner, changed)| Some((owner, to_install(changed)?)));
        let installation = Installation {
            changes: work.collect(),
            bundles: resolved.bundles,
        };
        let bundles = resolved.shown;
        let idle = installation.changes.is_empty() && bundles.iter().all(|one| one.change == "unchanged");
        if dry_run || idle {
            return Ok(Changed {
                generation,
                dry_run,
                changes: shown,
                bundles,
            });
        }
        let authority = compiled.authority.clone();
        let installed = self.gate.install_all(by, generation, installation, authority);
        let generation = installed.await?;
        self.put_in_force(compiled);
        // What is stored is valid again. A directory that was refused stays refused.
        if self
            .problem
            .get()
            .is_some_and(|(status, _)| status == Status::Unhealthy)
        {
            self.problem.set(None);
        }
        tracing::info!(generation, "configuration changed");
        Ok(Changed {
            generation,
            dry_run,
            changes: shown,
            bundles,
        })
    }

    /// The policies that would be in force with `documents` applied; with `only`, no other policies than
    /// these. Changes nothing.
    ///
    /// # Errors
    /// Everything that is wrong with the documents.
    pub fn policies_with(&self, documents: Vec<Document>, only: bool) -> Result<Arc<PolicySet>, ApplyError> {
        let before = self.gate.documents()?;
        let given = |name: &str| documents.iter().any(|d| d.kind == Kind::Policy && d.name == name);
        let others = before
            .iter()
            .filter(|view| only && view.kind == Kind::Policy.as_str() && !given(&view.name));
        let gone: Vec<Change> = others
            .map(|view| Change::Delete {
                kind: Kind::Policy,
                name: view.name.clone(),
            })
            .collect();
        let applied = documents
            .into_iter()
            .map(|document| Change::Apply(Box::new(document)));
        let held = self.gate.bundles()?;
        let changes = applied.chain(gone).map(|change| (Owner::Api, change)).collect();
        let documents = after(&before, &held, changes, &[])?;
        let generation = self.gate.authority().generation;
        Ok(self.compile(documents, generation)?.authority.policies)
    }

    /// What the tool of `agent` would propose for these arguments; `None` without such a tool or when
    /// the arguments do not fit. Changes nothing.
    pub async fn propose(&self, agent: &str, verb: &str, arguments: &Value) -> Option<Action> {
        let current = self.current.load_full()?;
        let tool = current.agents.get(agent)?.1.get(verb)?.clone();
        tool.propose(arguments).await.ok()
    }

    /// The identity providers in force.
    #[must_use]
    pub fn providers(&self) -> Providers {
        let current = self.current.load_full();
        current
            .map(|compiled| Arc::clone(&compiled.providers))
            .unwrap_or_default()
    }

    /// The mappings of client certificates in force.
    #[must_use]
    pub fn certificate_providers(&self) -> CertificateProviders {
        let current = self.current.load_full();
        current
            .map(|compiled| Arc::clone(&compiled.certificate_providers))
            .unwrap_or_default()
    }

    /// How many channels there are.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.current
            .load()
            .as_ref()
            .map_or(0, |current| current.channels.len())
    }

    /// Whether something that was once installed is in force.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.current.load().is_some() && self.gate.authority().generation > 0
    }

    /// As a part of `health`.
    #[must_use]
    pub fn health(&self) -> Part {
        match self.problem.get() {
            Some((status, detail)) => Part::new("config", status, detail),
            None => {
                let authority = self.gate.authority();
                let detail = format!(
                    "generation {}, {} agents",
                    authority.generation,
                    authority.agents.len()
                );
                Part::new("config", Status::Healthy, detail)
            }
        }
    }

    fn put_in_force(&self, compiled: Compiled) {
        let told = compiled.agents.iter();
        let told = told.map(|(name, (spec, _))| (name.clone(), spec.channels.clone()));
        self.gate.tell_through(told.collect());
        self.egress.install(&compiled.egress);
        self.llm.install(&compiled.models);
        self.runtime.install(compiled.agents.clone());
        self.triage
            .install(compiled.triggers.clone(), compiled.channels.clone());
        self.current.store(Some(Arc::new(compiled)));
        self.runtime.wake();
    }
}

/// What each change means for what is stored, and whether its owner may make it.
fn told(
    before: &[DocumentView],
    changes: &[(Owner, Change)],
    bundles: &[BundleChange],
) -> Result<Vec<ChangedDocument>, ApplyError> {
    let mut shown = Vec::new();
    for (owner, change) in changes {
        let (kind, name) = change.key();
        let old = before
            .iter()
            .find(|view| view.kind == kind.as_str() && view.name == name);
        let new = match change {
            Change::Apply(document) => document.value.clone(),
            Change::Delete { .. } if old.is_none() => {
                return Err(ApplyError::Unknown {
                    kind,
                    name: name.to_owned(),
                });
            }
            Change::Delete { .. } => Value::Null,
        };
        let word = match old {
            None => "created",
            Some(_) if new.is_null() => "deleted",
            // What passes to another owner is recorded, also when nothing else changes.
            Some(view) if view.document == new && passes(view, owner, bundles) => "updated",
            Some(view) if view.document == new => "unchanged",
            Some(_) => "updated",
        };
        if let Some(view) = old {
            check_owner(view, owner, word, change, bundles)?;
        }
        let before = old.map(|view| view.document.clone()).unwrap_or_default();
        shown.push(ChangedDocument {
            kind: kind.as_str(),
            name: name.to_owned(),
            change: word,
            before,
            after: new,
        });
    }
    Ok(shown)
}

/// What is stored may have what is refused by now; what is applied may not.
fn refused_by_now(compiled: &Compiled, shown: &[ChangedDocument]) -> Result<(), Problems> {
    let is_shown = |kind: Kind, name: &str| {
        let mut shown = shown.iter();
        shown.any(|one| one.kind == kind.as_str() && one.name == name)
    };
    let refused = compiled.refused_by_now.iter();
    let refused = refused.filter(|(kind, name, _)| is_shown(*kind, name));
    let problems: Vec<Problem> = refused.map(|(_, _, problem)| problem.clone()).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Problems(problems)),
    }
}

fn passes(view: &DocumentView, owner: &Owner, bundles: &[BundleChange]) -> bool {
    view.owner != *owner && may_take(&view.owner, owner, bundles)
}

/// The gate checks it again in its transaction; here it is said before anything is compiled, and with
/// the place in the file.
fn check_owner(
    view: &DocumentView,
    owner: &Owner,
    word: &str,
    change: &Change,
    bundles: &[BundleChange],
) -> Result<(), ApplyError> {
    if may_take(&view.owner, owner, bundles) || (word == "unchanged" && *owner == Owner::Api) {
        return Ok(());
    }
    let owned = InstallError::Owned {
        owner: view.owner.clone(),
        kind: view.kind.clone(),
        name: view.name.clone(),
    };
    match (owner, change) {
        (Owner::Directory, Change::Apply(document)) => {
            Err(Problems::from(document.problem("/metadata/name", owned.to_string())).into())
        }
        _ => Err(owned.into()),
    }
}

/// All documents as they would be, each with its version. What passes from a bundle to another owner is of no bundle
/// any more, be it the same to the letter: nobody signed that it stays.
fn after(
    before: &[DocumentView],
    held: &[BundleRow],
    changes: Vec<(Owner, Change)>,
    bundles: &[BundleChange],
) -> Result<Vec<Document>, Problems> {
    let kept = |view: &&DocumentView| {
        !changes
            .iter()
            .map(|(_, change)| change.key())
            .any(|(kind, name)| view.kind == kind.as_str() && view.name == name)
    };
    let mut documents = stored(&before.iter().filter(kept).cloned().collect::<Vec<_>>(), held)?;
    documents.extend(changes.into_iter().filter_map(|(owner, change)| match change {
        Change::Apply(document) => {
            let old = before
                .iter()
                .find(|view| view.kind == document.kind.as_str() && view.name == document.name);
            let next = match old {
                Some(view) if view.document == document.value && !passes(view, &owner, bundles) => {
                    version(view, held)
                }
                Some(view) => PolicyVersion::Generation(view.generation + 1),
                None => PolicyVersion::Generation(1),
            };
            Some(Document {
                version: Some(document.version.clone().unwrap_or(next)),
                ..*document
            })
        }
        Change::Delete { .. } => None,
    }));
    Ok(documents)
}

fn stored(views: &[DocumentView], held: &[BundleRow]) -> Result<Vec<Document>, Problems> {
    let named = views
        .iter()
        .map(|view| (format!("{}/{}", view.kind, view.name), view.document.clone()));
    let documents = from_values(named.collect())?;
    let with = |(document, view): (Document, &DocumentView)| Document {
        version: Some(version(view, held)),
        ..document
    };
    Ok(documents.into_iter().zip(views).map(with).collect())
}

/// Which version of a stored document this is.
fn version(view: &DocumentView, held: &[BundleRow]) -> PolicyVersion {
    let of = |publisher: &String| held.iter().find(|row| row.publisher == *publisher);
    match &view.owner {
        Owner::Bundle(publisher) => PolicyVersion::Bundle {
            publisher: publisher.clone(),
            version: of(publisher).map_or(0, |row| row.version),
        },
        Owner::Api | Owner::Directory => PolicyVersion::Generation(view.generation),
    }
}

fn to_install(changed: &ChangedDocument) -> Option<DocumentChange> {
    let (kind, name) = (changed.kind.to_owned(), changed.name.clone());
    match changed.change {
        "unchanged" => None,
        "deleted" => Some(DocumentChange::Delete { kind, name }),
        _ => Some(DocumentChange::Apply {
            kind,
            name,
            document: changed.after.clone(),
        }),
    }
}
