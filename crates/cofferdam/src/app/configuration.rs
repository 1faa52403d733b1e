//! Documents in force: changed as a whole or not at all, recorded before they count.
//!
//! INVARIANT (one at a time): a change reads what is stored, compiles the result, and installs it
//! under one lock; the gate compares the generation once more in its transaction.

use crate::config::{Compiled, Document, Kind, Problem, Problems, Spec, compile, from_values, load};
use crate::health::{Cell, Part, Status};
use crate::identity::{CertificateProviders, Providers};
use arc_swap::ArcSwapOption;
use gate::{DocumentChange, DocumentView, Gate, InstallError, Owner};
use ops::Triage;
use policy::{Action, Place, PolicySet, Principal};
use runtime::Runtime;
use runtime::tools::IncidentSearch;
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
            ApplyError::Unknown { .. } | ApplyError::Install(_) => self.to_string(),
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

/// Puts an agent or a policy that names no organization into this one; refuses any other.
fn settle_place(document: &mut Document, own: &str) -> Result<(), Problem> {
    let none = Place::default().organization;
    let stated = match &document.spec {
        Spec::Agent(_) => Some(document.place.organization.clone()),
        Spec::Policy(policy) => policy.place.organization().map(str::to_owned),
        Spec::Toolset(_)
        | Spec::Trigger(_)
        | Spec::Channel(_)
        | Spec::IdentityProvider(_)
        | Spec::CertificateProvider(_) => None,
    };
    if let Some(stated) = stated.filter(|stated| stated != own && *stated != none) {
        let what = format!("this is the organization `{own}`, and `{stated}` is another one");
        return Err(document.problem("/metadata/organization", what));
    }
    match &mut document.spec {
        Spec::Agent(_) => own.clone_into(&mut document.place.organization),
        Spec::Policy(policy) => policy.place = std::mem::take(&mut policy.place).moved_to(own),
        Spec::Toolset(_)
        | Spec::Trigger(_)
        | Spec::Channel(_)
        | Spec::IdentityProvider(_)
        | Spec::CertificateProvider(_) => {}
    }
    Ok(())
}

/// Whom documents are compiled for, and what is in force.
pub struct Configuration {
    gate: Arc<Gate>,
    runtime: Arc<Runtime>,
    triage: Arc<Triage>,
    incidents: Arc<dyn IncidentSearch>,
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
        incidents: Arc<dyn IncidentSearch>,
        organization: Option<String>,
    ) -> Configuration {
        Configuration {
            gate,
            runtime,
            triage,
            incidents,
            turn: Mutex::new(()),
            current: ArcSwapOption::empty(),
            problem: Cell::default(),
            organization,
        }
    }

    /// Compiles `documents`, put into the organization that this is.
    fn compile(&self, mut documents: Vec<Document>, generation: u64) -> Result<Compiled, Problems> {
        if let Some(organization) = &self.organization {
            for document in &mut documents {
                settle_place(document, organization)?;
            }
        }
        compile(&documents, generation, &self.incidents)
    }

    /// Puts the stored documents in force, at start. When they no longer compile nothing is in force:
    /// everything is denied, and `health` says why.
    ///
    /// # Errors
    /// The documents cannot be read.
    pub fn restore(&self) -> Result<(), StoreError> {
        let generation = self.gate.authority().generation;
        let compiled =
            stored(&self.gate.documents()?).and_then(|documents| self.compile(documents, generation));
        match compiled {
            Ok(compiled) => {
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
        let names = authority
            .agents
            .keys()
            .filter(|name| **name != ops::channel::NOTIFIER);
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
        let loaded = tokio::task::spawn_blocking(move || load(&path)).await;
        let documents = loaded.map_err(|error| Problems::from(Problem::plain(error.to_string())))??;
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
        let changes = applied.chain(gone).collect();
        self.change(&Principal::service("cofferdam"), Owner::Directory, changes, false)
            .await
    }

    /// Makes `changes`, all or none. With `dry_run` it only says what they would do.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn change(
        &self,
        by: &Principal,
        owner: Owner,
        changes: Vec<Change>,
        dry_run: bool,
    ) -> Result<Changed, ApplyError> {
        let _turn = self.turn.lock().await;
        let before = self.gate.documents()?;
        let generation = self.gate.authority().generation;
        let shown = told(&before, &owner, &changes)?;
        let documents = after(&before, changes)?;
        let compiled = self.compile(documents, generation + 1)?;
        let work: Vec<DocumentChange> = shown.iter().filter_map(to_install).collect();
        if dry_run || work.is_empty() {
            return Ok(Changed {
                generation,
                dry_run,
                changes: shown,
            });
        }
        let authority = compiled.authority.clone();
        let generation = self.gate.install(by, owner, generation, work, authority).await?;
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
        let documents = after(&before, applied.chain(gone).collect())?;
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
    owner: &Owner,
    changes: &[Change],
) -> Result<Vec<ChangedDocument>, ApplyError> {
    let mut shown = Vec::new();
    for change in changes {
        let (kind, name) = key(change);
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
            Some(view) if view.document == new => "unchanged",
            Some(_) => "updated",
        };
        if let Some(view) = old {
            check_owner(view, owner, word, change)?;
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

/// The gate checks it again in its transaction; here it is said before anything is compiled, and with
/// the place in the file.
fn check_owner(view: &DocumentView, owner: &Owner, word: &str, change: &Change) -> Result<(), ApplyError> {
    if view.owner == *owner || (word == "unchanged" && *owner == Owner::Api) {
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

/// All documents as they would be.
fn after(before: &[DocumentView], changes: Vec<Change>) -> Result<Vec<Document>, Problems> {
    let kept = |view: &&DocumentView| {
        !changes
            .iter()
            .map(key)
            .any(|(kind, name)| view.kind == kind.as_str() && view.name == name)
    };
    let mut documents = stored(&before.iter().filter(kept).cloned().collect::<Vec<_>>())?;
    documents.extend(changes.into_iter().filter_map(|change| match change {
        Change::Apply(document) => Some(*document),
        Change::Delete { .. } => None,
    }));
    Ok(documents)
}

fn stored(views: &[DocumentView]) -> Result<Vec<Document>, Problems> {
    let named = views
        .iter()
        .map(|view| (format!("{}/{}", view.kind, view.name), view.document.clone()));
    from_values(named.collect())
}

fn key(change: &Change) -> (Kind, &str) {
    match change {
        Change::Apply(document) => (document.kind, &document.name),
        Change::Delete { kind, name } => (*kind, name),
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
