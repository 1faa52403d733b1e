//! Which models a name means, and who may call them. Pure.

use super::Listed;
use super::spec::{Model, Route, Sensitivity};
use policy::{Grant, Taint, Taints};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// All models and routes of one generation.
#[derive(Clone, Debug, Default)]
pub struct Models {
    models: Vec<Arc<Model>>,
    routes: Vec<Arc<Route>>,
    /// How sensitive the content of agents is, of those that say it.
    sensitivity: BTreeMap<String, Sensitivity>,
}

/// What a name means: models in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Way {
    pub models: Vec<Arc<Model>>,
    pub retries: u32,
    /// How old an answer may be that is given again.
    pub cache: Option<Duration>,
}

impl Models {
    /// Of compiled documents.
    pub fn new(
        models: Vec<Arc<Model>>,
        routes: Vec<Arc<Route>>,
        sensitivity: BTreeMap<String, Sensitivity>,
    ) -> Models {
        Models {
            models,
            routes,
            sensitivity,
        }
    }

    /// Names that mean two things: kind and name of the document, and what is wrong.
    pub fn ambiguous(&self) -> Vec<(&'static str, String, String)> {
        let mut taken: BTreeMap<&str, String> = BTreeMap::new();
        let mut wrong = Vec::new();
        let of_models = self
            .models
            .iter()
            .map(|model| ("Model", &model.name, &model.aliases));
        let of_routes = self
            .routes
            .iter()
            .map(|route| ("Route", &route.name, &route.aliases));
        for (kind, name, aliases) in of_models.chain(of_routes) {
            let own = format!("{kind} `{name}`");
            for called in std::iter::once(name).chain(aliases) {
                match taken.get(called.as_str()) {
                    Some(other) if *other != own => {
                        let what = format!("`{called}` already means {other}");
                        wrong.push((kind, name.clone(), what));
                    }
                    _ => drop(taken.insert(called, own.clone())),
                }
            }
        }
        wrong
    }

    /// What `agent` holds by being named.
    pub fn grants_of(&self, agent: &str) -> Vec<Grant> {
        let named = |agents: &[String]| agents.iter().any(|one| one == agent);
        let own = self.models.iter().filter(|model| named(model.agents()));
        let own = own.filter_map(|model| model.grant(&format!("model/{}", model.name)));
        let routes = self.routes.iter().filter(|route| named(route.agents()));
        let routed = routes.flat_map(|route| {
            let from = format!("route/{}", route.name);
            route.models().filter_map(move |model| model.grant(&from))
        });
        own.chain(routed).collect()
    }

    /// What `name` means; `turn` counts calls, so that a route spreads them by weight.
    pub(super) fn way(&self, name: &str, turn: u64) -> Option<Way> {
        if let Some(route) = self.routes.iter().find(|route| route.is(name)) {
            return Some(Way {
                models: in_turn(route, turn),
                retries: route.retries,
                cache: route.cache,
            });
        }
        let model = self.models.iter().find(|model| model.is(name))?;
        Some(Way {
            models: vec![Arc::clone(model)],
            retries: 1,
            cache: None,
        })
    }

    /// Names of what `state` says a state of.
    pub(super) fn list(&self, state: impl Fn(&Model) -> Option<&'static str>) -> Vec<Listed> {
        let mut listed = Vec::new();
        for model in &self.models {
            let Some(breaker) = state(model) else { continue };
            for name in std::iter::once(&model.name).chain(&model.aliases) {
                listed.push(Listed {
                    name: name.clone(),
                    kind: "Model",
                    breaker: Some(breaker),
                });
            }
        }
        for route in self
            .routes
            .iter()
            .filter(|route| route.models().any(|model| state(model).is_some()))
        {
            for name in std::iter::once(&route.name).chain(&route.aliases) {
                listed.push(Listed {
                    name: name.clone(),
                    kind: "Route",
                    breaker: None,
                });
            }
        }
        listed
    }

    /// Why content of `agents`, in a session with these labels, may not go to `model`.
    ///
    /// INVARIANT (restricted content never leaves): whatever documents say of the model.
    pub(super) fn keeps<'a>(
        &self,
        model: &Model,
        agents: impl Iterator<Item = &'a str>,
        labels: Taints,
    ) -> Option<String> {
        let declared = agents.map(|agent| self.sensitivity.get(agent).copied());
        let declared: Vec<_> = declared.collect();
        let said = declared.iter().flatten().max().copied();
        let held = [
            (Taint::Secrets, "secrets"),
            (Taint::CustomerData, "customer data"),
        ];
        let held = held.into_iter().find(|(label, _)| labels.has(*label));
        if !model.on_premises {
            if let Some((_, what)) = held {
                return Some(format!(
                    "{what} entered the session, and model `{}` does not run on premises",
                    model.name
                ));
            }
            if said == Some(Sensitivity::Restricted) {
                return Some(format!(
                    "the agent's content is restricted, and model `{}` does not run on premises",
                    model.name
                ));
            }
        }
        let accepts = model.accepts?;
        let undeclared = declared.iter().any(Option::is_none);
        let counts = match (undeclared || held.is_some(), said) {
            (true, _) => Sensitivity::Restricted,
            (false, said) => said.unwrap_or(Sensitivity::Restricted),
        };
        (counts > accepts).then(|| {
            let why = if undeclared {
                ", since it does not say otherwise"
            } else {
                ""
            };
            format!(
                "the agent's content counts as {counts:?}{why}, and model `{}` accepts {accepts:?} at most",
                model.name
            )
            .to_lowercase()
        })
    }
}

/// The targets from the one whose turn it is, then the fallbacks.
fn in_turn(route: &Route, turn: u64) -> Vec<Arc<Model>> {
    let total: u64 = route.targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut left = turn.checked_rem(total).unwrap_or(0);
    let mut first = 0;
    for (at, (_, weight)) in route.targets.iter().enumerate() {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => {
                first = at;
                break;
            }
        }
    }
    let (before, from) = route
        .targets
        .split_at_checked(first)
        .unwrap_or((&[], &route.targets));
    let targets = from
        .iter()
        .chain(before)
        .filter(|(_, weight)| *weight > 0)
        .map(|(model, _)| model);
    let mut models: Vec<Arc<Model>> = Vec::new();
    for model in targets.chain(&route.fallbacks) {
        if !models.iter().any(|one| one.name == model.name) {
            models.push(Arc::clone(model));
        }
    }
    models
}
