//! Turns documents into what the gate, the runtime and triage run on, or says everything that is
//! wrong between them. Opens no socket and changes nothing.

mod channels;
mod egress;
mod models;
mod providers;

use super::document::{Document, Kind, Spec};
use super::problem::{Problem, Problems};
use crate::identity::{CertificateProviders, Providers};
use channels::{approvers_exist, channel, channels_exist};
use gate::egress::spec::EgressDocument;
use gate::llm::Models;
use gate::{AgentAuthority, Authority, RESERVED_PREFIXES, Tools};
use ops::channel::ChannelSpec;
use ops::triage::TriggerSpec;
use providers::{certificate_provider, provider, provider_by_now, publisher};

use policy::trust::SCORE_MAX;
use policy::{Branch, Environment, Grant, PolicyDocument, PolicySet};
use runtime::agent::AgentSpec;
use runtime::runbook::Step;
use runtime::tools::{Binding, Supplied, ToolsetSpec, bind};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Most capabilities that an agent's document denies it: each is in the tokens that it passes on.
const DENY_MAX: usize = 32;

/// One generation of configuration, ready to be put in force.
#[derive(Clone)]
pub struct Compiled {
    /// For the gate.
    pub authority: Authority,
    /// For the runtime.
    pub agents: BTreeMap<String, (Arc<AgentSpec>, Arc<Tools>)>,
    /// For triage.
    pub triggers: BTreeMap<String, TriggerSpec>,
    /// For triage.
    pub channels: BTreeMap<String, ChannelSpec>,
    /// Who says who people are.
    pub providers: Providers,
    /// Mappings of client certificates, by name.
    pub certificate_providers: CertificateProviders,
    /// For the egress surface.
    pub egress: Vec<EgressDocument>,
    /// For the model gateway.
    pub models: Models,
    /// What is refused when it is applied, and was not always: what is stored may have it, and stays in force.
    pub refused_by_now: Vec<(Kind, String, Problem)>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// Compiles `documents` into generation `generation`.
///
/// # Errors
/// Everything that is wrong, in order of the documents.
pub fn compile(documents: &[Document], generation: u64, supplied: &Supplied) -> Result<Compiled, Problems> {
    let mut problems = Vec::new();
    let index = index(documents, &mut problems);
    let (mut authorities, built_in) = built_in();
    let reached = egress::all(documents, &index, &mut problems);
    let models = models::all(documents, &index, &mut problems);
    let budgets = models::budgets(documents, &index, &mut problems);
    let policies = policies(documents, egress::policies(&reached, built_in), &mut problems);
    let toolsets = toolsets(documents, supplied, &mut problems);
    let mut agents = BTreeMap::new();
    let mut triggers = BTreeMap::new();
    let mut channels = BTreeMap::new();
    let (mut providers, mut certificate_providers) = (BTreeMap::new(), BTreeMap::new());
    for document in documents {
        match &document.spec {
            Spec::Agent(spec) => {
                let (tools, authority) = agent(document, spec, &toolsets, &mut problems);
                let authority = egress::given(&reached, &document.name, authority);
                let authority = models::given(&models, &document.name, authority);
                channels_exist(document, &spec.channels, &index, &mut problems);
                agents.insert(
                    document.name.clone(),
                    (Arc::new((**spec).clone()), Arc::new(tools)),
                );
                authorities.insert(document.name.clone(), Arc::new(authority));
            }
            Spec::Trigger(spec) => {
                trigger(document, spec, &index, &mut problems);
                triggers.insert(document.name.clone(), spec.clone());
            }
            Spec::Channel(spec) => {
                channel(document, spec, &channels, &mut problems);
                channels.insert(document.name.clone(), spec.clone());
            }
            Spec::IdentityProvider(spec) => {
                provider(document, spec, &providers, &mut problems);
                providers.insert(document.name.clone(), (**spec).clone());
            }
            Spec::CertificateProvider(spec) => {
                certificate_provider(document, &spec.certificates, &index, &mut problems);
                certificate_providers.insert(document.name.clone(), spec.certificates.clone());
            }
            Spec::Publisher(spec) => problems.extend(publisher(document, spec)),
            Spec::Policy(policy) => approvers_exist(document, policy, &index, &mut problems),
            Spec::Toolset(_) | Spec::Egress(_) | Spec::Model(_) | Spec::Route(_) | Spec::Budget(_) => {}
        }
    }
    match policies {
        Some(policies) if problems.is_empty() => {
            let authority = Authority {
                generation,
                policies: Arc::new(policies),
                agents: authorities,
                budgets: Arc::new(budgets),
            };
            Ok(Compiled {
                authority,
                agents,
                triggers,
                channels,
                providers: Arc::new(providers),
                certificate_providers: Arc::new(certificate_providers),
                models,
                egress: reached.into_iter().map(|(_, document)| document).collect(),
                refused_by_now: documents.iter().flat_map(provider_by_now).collect(),
            })
        }
        _ => Err(Problems(problems)),
    }
}

type Authorities = BTreeMap<String, Arc<AgentAuthority>>;

/// What the platform does itself: tell people, and run guests. Who does it, and by which policies.
fn built_in() -> (Authorities, [(String, PolicyDocument); 2]) {
    let (notifier, of_notifier, told) = ops::channel::authority();
    let (guest, of_guest, run) = runtime::guest::authority();
    let authorities = [(notifier, Arc::new(of_notifier)), (guest, Arc::new(of_guest))];
    (BTreeMap::from(authorities), [told, run])
}

type Index<'d> = BTreeMap<(Kind, &'d str), &'d Document>;
type Bound = BTreeMap<String, (Tools, Vec<Grant>)>;

fn index<'d>(documents: &'d [Document], problems: &mut Vec<Problem>) -> Index<'d> {
    let mut index = Index::new();
    for document in documents {
        let Document { kind, name, .. } = document;
        if let Some(prefix) = RESERVED_PREFIXES.iter().find(|prefix| name.starts_with(**prefix)) {
            let what = format!("names that begin with `{prefix}` are the platform's own; use another");
            problems.push(document.problem("/metadata/name", what));
        }
        if let Some(first) = index.insert((*kind, name.as_str()), document) {
            let at = first.problem("/metadata/name", "");
            let other = match (&at.source, at.place) {
                (Some(source), Some(place)) => format!("{}:{place}", source.name),
                _ => at.pointer,
            };
            problems.push(document.problem(
                "/metadata/name",
                format!("{kind} `{name}` is already defined at {other}"),
            ));
        }
    }
    index
}

/// Every policy by itself first, so that an error is found in its document. `None` after an error.
fn policies(
    documents: &[Document],
    built_in: Vec<(String, PolicyDocument)>,
    problems: &mut Vec<Problem>,
) -> Option<PolicySet> {
    let before = problems.len();
    let mut all = built_in;
    if !documents
        .iter()
        .any(|document| document.kind == Kind::Policy && document.name == policy::RULE_OF_TWO)
    {
        all.push(policy::rule_of_two());
    }
    for document in documents {
        if let Spec::Policy(spec) = &document.spec {
            if let Some(problem) = nobody(document, &spec.place, documents) {
                problems.push(problem);
            }
            let one = [(document.name.clone(), spec.clone())];
            if let Err(error) = PolicySet::load(&one) {
                problems.push(document.problem(&error.pointer(), error.to_string()));
            }
            let [one] = one;
            all.push(one);
        }
    }
    if problems.len() > before {
        return None;
    }
    let version = |document: &Document| {
        let version = document.version.clone()?;
        (document.kind == Kind::Policy).then(|| (document.name.clone(), version))
    };
    PolicySet::load(&all)
        .map(|set| set.with_versions(documents.iter().filter_map(version).collect()))
        .map_err(|error| problems.push(Problem::plain(error.to_string())))
        .ok()
}

/// A policy for one agent needs that agent: a name that is written wrong would forbid nothing.
fn nobody(document: &Document, place: &Branch, documents: &[Document]) -> Option<Problem> {
    let is_there = |other: &Document| other.kind == Kind::Agent && place.contains(&other.place, &other.name);
    let is_of_one = place.depth() == Branch::DEPTH_MAX;
    (is_of_one && !documents.iter().any(is_there))
        .then(|| document.problem("/metadata/agent", format!("there is no Agent `{place}`")))
}

fn toolsets(documents: &[Document], supplied: &Supplied, problems: &mut Vec<Problem>) -> Bound {
    let mut bound = Bound::new();
    for document in documents {
        let Spec::Toolset(spec) = &document.spec else {
            continue;
        };
        let before = problems.len();
        if Environment::new(&spec.environment).is_err() {
            let what = format!(
                "`{}` is not an environment: use 1 to 64 of a-z, 0-9, `_`, `-`",
                spec.environment
            );
            problems.push(document.problem("/spec/environment", what));
        }
        absolute_repositories(document, spec, problems);
        if problems.len() > before {
            continue;
        }
        match bind(&document.name, spec, supplied) {
            Ok(one) => {
                bound.insert(document.name.clone(), one);
            }
            Err(error) => {
                problems.push(document.problem(&format!("/spec/tools/{}", error.index), error.what))
            }
        }
    }
    bound
}

fn absolute_repositories(document: &Document, spec: &ToolsetSpec, problems: &mut Vec<Problem>) {
    for (i, binding) in spec.tools.iter().enumerate() {
        if let Binding::Git { path, .. } = binding {
            absolute(document, &format!("/spec/tools/{i}/path"), path, problems);
        }
    }
}

/// Files are read relative to themselves, so a relative path here came through the API.
fn absolute(document: &Document, pointer: &str, path: &Path, problems: &mut Vec<Problem>) {
    if !path.is_absolute() {
        let what = format!("`{}` has to be an absolute path on the server", path.display());
        problems.push(document.problem(pointer, what));
    }
}

fn agent(
    document: &Document,
    spec: &AgentSpec,
    toolsets: &Bound,
    problems: &mut Vec<Problem>,
) -> (Tools, AgentAuthority) {
    let mut tools = Tools::new();
    let mut grants = Vec::new();
    let before = problems.len();
    let sponsor = policy::sponsor(&spec.sponsor).unwrap_or_default();
    if sponsor.is_empty() {
        problems.push(document.problem("/spec/sponsor", gate::NO_SPONSOR));
    }
    for name in spec
        .autonomy
        .environments
        .keys()
        .filter(|name| Environment::new(name).is_err())
    {
        problems.push(document.problem(
            "/spec/autonomy/environments",
            format!("`{name}` is not an environment"),
        ));
    }
    trust(document, spec, problems);
    if spec.deny.len() > DENY_MAX {
        problems.push(document.problem("/spec/deny", format!("no more than {DENY_MAX} capabilities")));
    }
    for (i, name) in spec.toolsets.iter().enumerate() {
        let at = format!("/spec/toolsets/{i}");
        let known = document_names(toolsets.keys());
        let Some((more, granted)) = toolsets.get(name) else {
            problems
                .push(document.problem(&at, format!("there is no valid Toolset `{name}`; there {known}")));
            continue;
        };
        for (verb, tool) in more {
            if tools.insert(verb.clone(), Arc::clone(tool)).is_some() {
                let what = format!("`{verb}` comes from more than one toolset; bind it in one");
                problems.push(document.problem(&at, what));
            }
        }
        grants.extend(granted.iter().cloned());
    }
    let complete = problems.len() == before;
    runbook(document, spec, complete.then_some(&tools), problems);
    let authority = AgentAuthority {
        grants,
        deny: spec.deny.clone(),
        autonomy: spec.autonomy.clone(),
        bounds: spec.bounds,
        sponsor: sponsor.to_owned(),
        place: document.place.clone(),
        trust: gate::TrustTerms {
            origin: policy::trust::Origin::Sponsored,
            ..spec.trust
        },
    };
    (tools, authority)
}

/// What a document says about trust: a sandbox that is production would be none.
fn trust(document: &Document, spec: &AgentSpec, problems: &mut Vec<Problem>) {
    for name in &spec.autonomy.sandboxes {
        let what = match Environment::new(name) {
            Err(_) => format!("`{name}` is not an environment"),
            Ok(environment) if environment.is_production() => {
                format!(
                    "`{name}` counts as production, where trust always counts; only well-known names of other places do not"
                )
            }
            Ok(_) => continue,
        };
        problems.push(document.problem("/spec/autonomy/sandboxes", what));
    }
    if let Some(ceiling) = spec.trust.ceiling.filter(|ceiling| *ceiling > SCORE_MAX) {
        let what = format!("{ceiling} is no score: use 0 to {SCORE_MAX}");
        problems.push(document.problem("/spec/trust/ceiling", what));
    }
    if let Some(what) = spec.trust.weights.and_then(|weights| weights.problem()) {
        problems.push(document.problem("/spec/trust/weights", what));
    }
}

/// `are A, B` or `is none`.
fn document_names<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    if names.is_empty() {
        "is none".to_owned()
    } else {
        format!("are: {}", names.join(", "))
    }
}

/// `tools` is `None` when a toolset is missing: complaining about its verbs as well helps nobody.
fn runbook(document: &Document, spec: &AgentSpec, tools: Option<&Tools>, problems: &mut Vec<Problem>) {
    let runbook = match (&spec.runbook, &spec.guest) {
        (Some(runbook), None) => runbook,
        (None, Some(guest)) => {
            if guest.image.is_some() && !matches!(guest.backend, Some(sandbox::Choice::Container(_))) {
                let what = "an image is for `backend: container`".to_owned();
                problems.push(document.problem("/spec/guest/image", what));
            }
            return;
        }
        (None, None) | (Some(_), Some(_)) => {
            let what =
                "an agent has a `runbook`, or is somebody else's program: `guest: {}`; say one of them";
            return problems.push(document.problem("/spec", what.to_owned()));
        }
    };
    if let Err(found) = runbook.validate() {
        let problem = |(place, what): &(String, String)| {
            document.problem(
                &format!("/spec/runbook/{}", pointer(place)),
                format!("{place}: {what}"),
            )
        };
        problems.extend(found.iter().map(problem));
    }
    if let Some(tools) = tools {
        verbs(document, &runbook.steps, "/spec/runbook/steps", tools, problems);
    }
}

/// `steps[2].arguments.query` as `steps/2/arguments/query`.
fn pointer(place: &str) -> String {
    place.replace("].", "/").replace(['[', '.'], "/").replace(']', "")
}

fn verbs(document: &Document, steps: &[Step], at: &str, tools: &Tools, problems: &mut Vec<Problem>) {
    for (i, step) in steps.iter().enumerate() {
        let here = format!("{at}/{i}");
        if let Some(verb) = step.tool.as_ref().filter(|verb| !tools.contains_key(*verb)) {
            let known = document_names(tools.keys());
            let what = format!(
                "the toolsets of `{}` have no tool `{verb}`; there {known}",
                document.name
            );
            problems.push(document.problem(&format!("{here}/tool"), what));
        }
        verbs(document, &step.steps, &format!("{here}/steps"), tools, problems);
    }
}

fn trigger(document: &Document, spec: &TriggerSpec, index: &Index<'_>, problems: &mut Vec<Problem>) {
    let what = match index
        .get(&(Kind::Agent, spec.agent.as_str()))
        .map(|found| &found.spec)
    {
        Some(Spec::Agent(agent)) if agent.guest.is_some() => {
            Some(format!("Agent `{}` is a guest: no alert starts it", spec.agent))
        }
        Some(_) => None,
        None => Some(format!("there is no Agent `{}`", spec.agent)),
    };
    problems.extend(what.map(|what| document.problem("/spec/agent", what)));
    channels_exist(document, &spec.channels, index, problems);
}

#[cfg(test)]
mod tests;
