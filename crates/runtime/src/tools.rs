//! `Toolset` documents and the built-in tools they bind.
//!
//! A tool knows what it may touch from its binding alone; a grant of the same extent is made beside it,
//! so that the gate refuses what the tool would, and the tool what the gate would.

pub mod address;
mod client;
pub mod exec;
pub mod git;
pub mod http;
mod incidents;
mod labelled;
pub mod prometheus;
pub(crate) mod report;
pub mod schema;

pub(crate) use report::{action, broken, cancelled, line, success};

use gate::{Tool, Tools};
use policy::{Capability, Environment, Grant, Verb};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// `spec` of a `Toolset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ToolsetSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Where these tools act. Default `production`: the strictest.
    #[serde(default = "production")]
    pub environment: String,
    /// What results of these tools bring into a session, beside what each tool says itself: `secrets`,
    /// `customer_data`, `untrusted`.
    #[serde(default, skip_serializing_if = "policy::Taints::is_none")]
    pub brings: policy::Taints,
    /// What is bound.
    pub tools: Vec<Binding>,
}

fn production() -> String {
    "production".to_owned()
}

/// One binding of tools to what they may touch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", tag = "type")]
pub enum Binding {
    /// `http.get` and, with `write: true`, `http.request` (whose effect follows the method).
    Http {
        /// Prefixes of URLs: `http://127.0.0.1:8080/`. Scheme, host and port have to be equal.
        allow: Vec<String>,
        /// Whether loopback and private addresses may be reached. Default no.
        #[serde(default)]
        private: bool,
        /// Whether `http.request` exists.
        #[serde(default)]
        write: bool,
    },
    /// `prometheus.query`, `.query_range`, `.alerts`, `.rules`.
    Prometheus {
        /// Base URL.
        url: String,
    },
    /// `git.log`, `.diff`, `.show`, `.blame` and, with `propose: true`, `git.propose`.
    Git {
        /// Name in resources: `repository/NAME`.
        name: String,
        /// A local repository.
        path: PathBuf,
        /// Whether `git.propose` exists.
        #[serde(default)]
        propose: bool,
    },
    /// `incidents.search`.
    Incidents {},
    /// `exec.run` and `exec.eval`: programs behind walls, without a network.
    Exec {
        /// The directory that they run in. What only reads changes nothing in it.
        workspace: PathBuf,
        /// What may run.
        commands: Vec<exec::Command>,
        /// Ended after so long, in seconds. Default 60, at most 3600.
        #[serde(default = "exec::seconds")]
        seconds: u64,
    },
}

/// Why a toolset cannot be bound.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("spec.tools[{index}]: {what}")]
pub struct BindError {
    /// Which binding.
    pub index: usize,
    /// What is wrong.
    pub what: String,
}

/// What tools need of the platform around them.
#[derive(Clone)]
pub struct Supplied {
    /// What happened before.
    pub incidents: Arc<dyn IncidentSearch>,
    /// How commands run. Without it there are none: documents are only checked.
    pub commands: Option<Arc<exec::Commands>>,
}

/// Search over incidents, supplied by `ops`.
pub trait IncidentSearch: Send + Sync {
    /// Closed and open incidents like these words, best first: JSON objects with `id`, `title`,
    /// `severity`, `status`, `opened`, `resolution`, `score`.
    /// Only those that are of the team of `agent`, who asks.
    fn similar(&self, agent: &str, words: &str, not: Option<&str>, limit: usize) -> Result<Similar, String>;
}

/// Incidents that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Similar {
    /// Best first.
    pub incidents: Vec<serde_json::Value>,
    /// What had entered the sessions that made what is in them.
    pub taint: policy::Taints,
}

/// Makes the tools and the grants of toolset `name`. A toolset holds each type of binding once, but for
/// `http`, whose bindings add up.
pub fn bind(name: &str, spec: &ToolsetSpec, supplied: &Supplied) -> Result<(Tools, Vec<Grant>), BindError> {
    let environment = Environment::new(&spec.environment).map_err(|error| BindError {
        index: 0,
        what: format!("cannot act in {error}"),
    })?;
    let mut bound = Bound {
        giver: format!("toolset/{name}"),
        tools: Tools::new(),
        grants: Vec::new(),
    };
    let mut reads = Vec::new();
    let mut requests = Vec::new();
    for (index, binding) in spec.tools.iter().enumerate() {
        let said = |what: String| BindError { index, what };
        match binding {
            Binding::Http {
                allow,
                private,
                write,
            } => {
                let client = Arc::new(http::Client::new(*private));
                for text in allow {
                    let prefix =
                        address::Prefix::parse(text).map_err(|what| said(format!("`{text}` {what}")))?;
                    let allowed = |prefix| http::Allowed {
                        prefix,
                        client: Arc::clone(&client),
                    };
                    bound.grant("http.get", &prefix.patterns()).map_err(said)?;
                    reads.push(allowed(prefix.clone()));
                    if *write {
                        bound.grant("http.request", &prefix.patterns()).map_err(said)?;
                        requests.push(allowed(prefix));
                    }
                }
            }
            Binding::Prometheus { url } => bound.prometheus(&environment, url).map_err(said)?,
            Binding::Git { name, path, propose } => {
                let resource = format!("repository/{name}");
                let repository =
                    git::Repository::new(resource.clone(), environment.clone(), path).map_err(said)?;
                bound.git(&resource, repository, *propose).map_err(said)?;
            }
            Binding::Incidents {} => bound.incidents(&environment, supplied).map_err(said)?,
            Binding::Exec {
                workspace,
                commands,
                seconds,
            } => {
                let behind = supplied.commands.clone();
                let extent = exec::Extent::new(workspace, commands, *seconds, environment.clone(), behind);
                extent.and_then(|extent| bound.exec(extent)).map_err(said)?;
            }
        }
    }
    for (verb, allowed, any_method) in [("http.get", reads, false), ("http.request", requests, true)] {
        if !allowed.is_empty() {
            let tool = |verb| http::Http::new(verb, environment.clone(), Arc::new(allowed), any_method);
            bound
                .tool(verb, tool)
                .map_err(|what| BindError { index: 0, what })?;
        }
    }
    if !spec.brings.is_empty() {
        bound.label(spec.brings);
    }
    Ok((bound.tools, bound.grants))
}

/// Tools and grants as they come together.
struct Bound {
    giver: String,
    tools: Tools,
    grants: Vec<Grant>,
}

impl Bound {
    fn prometheus(&mut self, environment: &Environment, url: &str) -> Result<(), String> {
        let server = prometheus::Server::new(url).map_err(|what| format!("`{url}` {what}"))?;
        let (resource, server) = (server.resource().to_owned(), Arc::new(server));
        for operation in prometheus::Operation::ALL {
            let tool =
                |verb| prometheus::Prometheus::new(verb, environment.clone(), Arc::clone(&server), operation);
            self.add(operation.verb(), &resource, tool)?;
        }
        Ok(())
    }

    fn git(&mut self, resource: &str, repository: git::Repository, propose: bool) -> Result<(), String> {
        let repository = Arc::new(repository);
        for operation in git::Operation::ALL {
            let tool = |verb| git::Read::new(verb, Arc::clone(&repository), operation);
            self.add(operation.verb(), resource, tool)?;
        }
        if propose {
            let tool = |verb| git::Propose::new(verb, Arc::clone(&repository));
            self.add("git.propose", resource, tool)?;
        }
        Ok(())
    }

    fn incidents(&mut self, environment: &Environment, supplied: &Supplied) -> Result<(), String> {
        let incidents = Arc::clone(&supplied.incidents);
        let tool = |verb| incidents::Search::new(verb, environment.clone(), incidents);
        self.add("incidents.search", incidents::RESOURCE, tool)
    }

    fn exec(&mut self, extent: exec::Extent) -> Result<(), String> {
        let extent = Arc::new(extent);
        for verb in [exec::RUN, exec::EVAL] {
            self.tool(verb, |verb| exec::Exec::new(verb, Arc::clone(&extent)))?;
            self.grant(verb, &extent.resources())?;
        }
        Ok(())
    }

    fn add<T: Tool + 'static>(
        &mut self,
        verb: &str,
        resource: &str,
        make: impl FnOnce(Verb) -> T,
    ) -> Result<(), String> {
        self.tool(verb, make)?;
        self.grant(verb, &[resource.to_owned()])
    }

    fn tool<T: Tool + 'static>(&mut self, verb: &str, make: impl FnOnce(Verb) -> T) -> Result<(), String> {
        let tool = make(Verb::new(verb).map_err(|error| error.to_string())?);
        match self.tools.insert(verb.to_owned(), Arc::new(tool)) {
            None => Ok(()),
            Some(_) => Err(format!("binds `{verb}` a second time; use another toolset")),
        }
    }

    fn label(&mut self, brings: policy::Taints) {
        for tool in self.tools.values_mut() {
            *tool = Arc::new(labelled::Labelled {
                tool: Arc::clone(tool),
                brings,
            });
        }
    }

    fn grant(&mut self, verb: &str, resources: &[String]) -> Result<(), String> {
        for resource in resources {
            let capability =
                Capability::new(verb, resource).ok_or_else(|| format!("`{resource}` cannot be granted"))?;
            self.grants.push(Grant {
                capability,
                from: self.giver.clone(),
                until: None,
            });
        }
        Ok(())
    }
}
