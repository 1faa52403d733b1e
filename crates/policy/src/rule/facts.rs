//! What conditions may know of an action, as CEL values that borrow from it.

use super::constants::{self, Constants};
use crate::{Action, Chain, Context, PrincipalKind, Taint, Taints};
use cel::Env;
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

/// The environment in which all conditions are compiled and evaluated.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // Fails only for a name that is taken, and no name of the library starts with `@`. Should it, then
    // `matches` is unknown, and a rule that uses it denies.
    let _ = constants::declare(&mut environment);
    Arc::new(environment)
});

/// What `session.actions` is called after compiling.
pub(super) const COUNT: &str = "@session_actions";

/// Names of variables after compiling. A source cannot contain them; `action.verb` becomes `@verb`.
pub(super) fn compiled_name(root: &str, field: &str) -> Option<&'static str> {
    Some(match (root, field) {
        ("action", "verb") => "@verb",
        ("action", "resource") => "@resource",
        ("action", "effect") => "@effect",
        ("action", "environment") => "@environment",
        ("action", "production") => "@production",
        ("action", "arguments") => "@arguments",
        ("action", "brings") => "@brings",
        ("taint", "untrusted") => "@taint_untrusted",
        ("taint", "secrets") => "@taint_secrets",
        ("taint", "customer_data") => "@taint_customer_data",
        ("session", "id") => "@session_id",
        ("session", "actions") => COUNT,
        _ => return None,
    })
}

/// The facts of one decision. What is dear to convert is converted once, when a condition asks.
pub(crate) struct Facts<'a> {
    action: &'a Action,
    chain: &'a Chain,
    context: &'a Context,
    constants: &'a Constants,
    verb: CelString<'a>,
    resource: CelString<'a>,
    effect: CelString<'a>,
    environment: CelString<'a>,
    production: CelBool,
    arguments: OnceLock<Box<dyn Val + 'a>>,
    argument_nodes: OnceLock<usize>,
    /// The one that acts first, then every other agent of the chain.
    agents: Vec<Agent<'a>>,
    chained: OnceLock<CelList<'a>>,
    cause: CelString<'a>,
    session_id: CelString<'a>,
    session_actions: CelInt,
    trust: CelInt,
    taint: CelBool,
    tainted: [CelBool; 3],
    taints: OnceLock<CelList<'a>>,
    brings: OnceLock<CelList<'a>>,
    now: CelInt,
}

/// The facts as they are when `agent` is this one.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'f, 'a> {
    facts: &'f Facts<'a>,
    agent: &'f Agent<'a>,
}

struct Agent<'a> {
    name: CelString<'a>,
    module_input: OnceLock<regorus::Value>,
}

impl<'a> Agent<'a> {
    fn named(name: &'a str) -> Agent<'a> {
        Agent {
            name: CelString::from(name),
            module_input: OnceLock::new(),
        }
    }
}

/// The names of all agents of a chain, from the root on.
fn agents(chain: &Chain) -> impl DoubleEndedIterator<Item = &str> {
    let links = chain.links.iter().map(|link| &link.principal);
    links
        .filter(|principal| principal.kind == PrincipalKind::Agent)
        .map(|agent| agent.name.as_str())
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        chain: &'a Chain,
        action: &'a Action,
        context: &'a Context,
        constants: &'a Constants,
    ) -> Facts<'a> {
        Facts {
            action,
            chain,
            context,
            constants,
            verb: CelString::from(action.verb().as_str()),
            resource: CelString::from(action.resource()),
            effect: CelString::from(action.effect().as_str()),
            environment: CelString::from(action.environment().as_str()),
            production: CelBool::from(action.environment().is_production()),
            arguments: OnceLock::new(),
            argument_nodes: OnceLock::new(),
            agents: each(chain),
            chained: OnceLock::new(),
            cause: CelString::from(chain.cause.to_string()),
            session_id: CelString::from(context.session.id.as_str()),
            session_actions: CelInt::from(i64::try_from(context.session.actions).unwrap_or(i64::MAX)),
            trust: CelInt::from(i64::from(context.trust)),
            taint: CelBool::from(!context.taint.is_empty()),
            tainted: Taint::ALL.map(|label| CelBool::from(context.taint.has(label))),
            taints: OnceLock::new(),
            brings: OnceLock::new(),
            now: CelInt::from(context.now.ms()),
        }
    }

    /// As seen for each agent of the chain, the one that acts first. INVARIANT (delegating is no way
    /// around a rule): what speaks of `agent` is asked about every one of them.
    pub(crate) fn each_agent(&self) -> impl Iterator<Item = Seen<'_, 'a>> {
        self.agents.iter().map(|agent| Seen { facts: self, agent })
    }

    /// How many values the arguments hold, at any depth.
    pub(super) fn argument_nodes(&self) -> usize {
        *self.argument_nodes.get_or_init(|| nodes(self.action.arguments()))
    }
}

/// The one that acts, whatever it is, then every other agent.
fn each(chain: &Chain) -> Vec<Agent<'_>> {
    let actor = chain.actor().map_or("", |link| link.principal.name.as_str());
    let mut all = Vec::with_capacity(chain.links.len().max(1));
    all.push(Agent::named(actor));
    let others = agents(chain).filter(|name| *name != actor);
    all.extend(others.map(Agent::named));
    all
}

impl<'a> Seen<'_, 'a> {
    pub(super) fn facts(&self) -> &Facts<'a> {
        self.facts
    }

    /// What one evaluation reads. Cheap: values stay where they are.
    pub(super) fn variables(&self) -> cel::Context<'_, '_> {
        let mut variables = cel::Context::with_env(Arc::clone(&ENVIRONMENT));
        variables.set_variable_resolver(self);
        variables
    }

    /// The same facts as a module sees them.
    pub(crate) fn module_input(&self) -> &regorus::Value {
        self.agent.module_input.get_or_init(|| {
            let Facts {
                action,
                chain,
                context,
                ..
            } = self.facts;
            regorus::Value::from(json!({
                "action": {
                    "verb": action.verb().as_str(),
                    "resource": action.resource(),
                    "effect": action.effect().as_str(),
                    "environment": action.environment().as_str(),
                    "production": action.environment().is_production(),
                    "arguments": action.arguments(),
                    "brings": action.brings(),
                },
                "agent": self.agent.name.inner(),
                "agents": agents(chain).collect::<Vec<_>>(),
                "cause": chain.cause.to_string(),
                "session": { "id": context.session.id, "actions": context.session.actions },
                "trust": context.trust,
                "taint": context.taint,
                "now": context.now.ms(),
            }))
        })
    }
}

impl VariableResolver for Seen<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let facts = self.facts;
        let value: &'b (dyn Val + 'b) = match variable {
            "@verb" => &facts.verb,
            "@resource" => &facts.resource,
            "@effect" => &facts.effect,
            "@environment" => &facts.environment,
            "@production" => &facts.production,
            "@arguments" => &**facts
                .arguments
                .get_or_init(|| converted(facts.action.arguments())),
            "@session_id" => &facts.session_id,
            COUNT => &facts.session_actions,
            "agent" => &self.agent.name,
            "agents" => facts.chained.get_or_init(|| texts(agents(facts.chain))),
            "cause" => &facts.cause,
            "trust" => &facts.trust,
            "taint" => &facts.taint,
            "@taint_untrusted" => facts.tainted.first()?,
            "@taint_secrets" => facts.tainted.get(1)?,
            "@taint_customer_data" => facts.tainted.get(2)?,
            "@taints" => facts.taints.get_or_init(|| labels(facts.context.taint)),
            "@brings" => facts.brings.get_or_init(|| labels(facts.action.brings())),
            "now" => &facts.now,
            _ => facts.constants.named(variable)?,
        };
        Some(CowVal::Borrowed(value))
    }
}

/// Labels as a list of texts.
fn labels<'a>(taints: Taints) -> CelList<'a> {
    texts(taints.labels().map(Taint::as_str))
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> CelList<'a> {
    let text = |text: &'a str| -> Box<dyn Val + 'a> { Box::new(CelString::from(text)) };
    CelList::from(texts.map(text).collect::<Vec<_>>())
}

/// JSON as CEL sees it. Depth is bounded, since an action exists only with a canonical form.
fn converted(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match crate::canonical::whole(number) {
            Some(integer) => Box::new(CelInt::from(integer)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(converted).collect::<Vec<_>>())),
        Value::Object(members) => {
            let entry = |(name, value)| (CelMapKey::from(String::as_str(name)), converted(value));
            Box::new(CelMap::from(members.iter().map(entry).collect::<HashMap<_, _>>()))
        }
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum(),
        _ => 0,
    }
}
