//! Models, routes and budgets: each by itself, and whether what they name is there.

use super::channels::channels_exist;
use super::{Index, absolute};
use crate::config::document::{Document, Kind, Spec};
use crate::config::problem::Problem;
use gate::AgentAuthority;
use gate::llm::{Model, Models, Route};
use policy::budget::Budget;
use secrets::SecretRef;
use std::sync::Arc;

/// Every model and route that is right.
pub(super) fn all(documents: &[Document], index: &Index<'_>, problems: &mut Vec<Problem>) -> Models {
    let mut models: Vec<Arc<Model>> = Vec::new();
    for document in documents {
        let Spec::Model(spec) = &document.spec else {
            continue;
        };
        agents_exist(document, &spec.agents, index, problems);
        if let Some(SecretRef::File(path)) = &spec.secret_ref {
            absolute(document, "/spec/secretRef/file", path, problems);
        }
        match spec.compile(&document.name) {
            Ok(model) => models.push(Arc::new(model)),
            Err(wrong) => problems.extend(told(document, wrong)),
        }
    }
    let mut routes: Vec<Arc<Route>> = Vec::new();
    for document in documents {
        let Spec::Route(spec) = &document.spec else {
            continue;
        };
        agents_exist(document, &spec.agents, index, problems);
        match spec.compile(&document.name, &models) {
            Ok(route) => routes.push(Arc::new(route)),
            Err(wrong) => problems.extend(told(document, wrong)),
        }
    }
    let sensitivity = documents.iter().filter_map(|document| match &document.spec {
        Spec::Agent(spec) => Some((document.name.clone(), spec.sensitivity?)),
        _ => None,
    });
    let models = Models::new(models, routes, sensitivity.collect());
    for (kind, name, what) in models.ambiguous() {
        let of = documents
            .iter()
            .find(|document| document.kind.as_str() == kind && document.name == name);
        problems.extend(of.map(|document| document.problem("/spec/aliases", what.clone())));
    }
    models
}

/// Every budget that is right.
pub(super) fn budgets(documents: &[Document], index: &Index<'_>, problems: &mut Vec<Problem>) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for document in documents {
        let Spec::Budget(spec) = &document.spec else {
            continue;
        };
        channels_exist(document, &spec.channels, index, problems);
        match spec.compile(&document.name) {
            Ok(budget) => budgets.push(budget),
            Err(wrong) => problems.extend(told(document, wrong)),
        }
    }
    budgets
}

/// The authority of `agent` with what it may call.
pub(super) fn given(models: &Models, agent: &str, mut authority: AgentAuthority) -> AgentAuthority {
    authority.grants.extend(models.grants_of(agent));
    authority
}

fn agents_exist(document: &Document, agents: &[String], index: &Index<'_>, problems: &mut Vec<Problem>) {
    for (at, agent) in agents.iter().enumerate() {
        if !index.contains_key(&(Kind::Agent, agent.as_str())) {
            let what = format!("there is no Agent `{agent}`");
            problems.push(document.problem(&format!("/spec/agents/{at}"), what));
        }
    }
}

fn told(document: &Document, wrong: Vec<(String, String)>) -> impl Iterator<Item = Problem> {
    wrong
        .into_iter()
        .map(|(at, what)| document.problem(&format!("/spec{at}"), what))
}
