//! What conditions may know of an action, as CEL values that borrow from it.

use super::constants::{self, Constants};
use crate::{Action, Chain, Context, Taint, Taints};
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
        ("session", "actions") => "@session_actions",
        _ => return None,
    })
}

/// The facts of one decision. What is dear to convert is converted once, when a condition asks.
pub(crate) struct Facts<'a> {
    action: &'a Action,
    chain: &'a Chain,
    context: &'a Context,
    module_input: OnceLock<regorus::Value>,
    constants: &'a Constants,
    verb: CelString<'a>,
    resource: CelString<'a>,
    effect: CelString<'a>,
    environment: CelString<'a>,
    production: CelBool,
    arguments: OnceLock<Box<dyn Val + 'a>>,
    argument_nodes: OnceLock<usize>,
    agent: CelString<'a>,
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
            module_input: OnceLock::new(),
            constants,
            verb: CelString::from(action.verb().as_str()),
            resource: CelString::from(action.resource()),
            effect: CelString::from(action.effect().as_str()),
            environment: CelString::from(action.environment().as_str()),
            production: CelBool::from(action.environment().is_production()),
            arguments: OnceLock::new(),
            argument_nodes: OnceLock::new(),
            agent: CelString::from(chain.actor().map_or("", |link| link.principal.name.as_str())),
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

    /// What one evaluation reads. Cheap: values stay here.
    pub(super) fn variables(&self) -> cel::Context<'_, '_> {
        let mut variables = cel::Context::with_env(Arc::clone(&ENVIRONMENT));
        variables.set_variable_resolver(self);
        variables
    }

    /// The same facts as a module sees them.
    pub(crate) fn module_input(&self) -> &regorus::Value {
        self.module_input.get_or_init(|| {
            let (action, context) = (self.action, self.context);
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
                "agent": self.chain.actor().map_or("", |link| link.principal.name.as_str()),
                "cause": self.chain.cause.to_string(),
                "session": { "id": context.session.id, "actions": context.session.actions },
                "trust": context.trust,
                "taint": context.taint,
                "now": context.now.ms(),
            }))
        })
    }

    /// How many values the arguments hold, at any depth.
    pub(super) fn argument_nodes(&self) -> usize {
        *self.argument_nodes.get_or_init(|| nodes(self.action.arguments()))
    }
}

impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let value: &'b (dyn Val + 'b) = match variable {
            "@verb" => &self.verb,
            "@resource" => &self.resource,
            "@effect" => &self.effect,
            "@environment" => &self.environment,
            "@production" => &self.production,
            "@arguments" => &**self.arguments.get_or_init(|| converted(self.action.arguments())),
            "@session_id" => &self.session_id,
            "@session_actions" => &self.session_actions,
            "agent" => &self.agent,
            "cause" => &self.cause,
            "trust" => &self.trust,
            "taint" => &self.taint,
            "@taint_untrusted" => self.tainted.first()?,
            "@taint_secrets" => self.tainted.get(1)?,
            "@taint_customer_data" => self.tainted.get(2)?,
            "@taints" => self.taints.get_or_init(|| labels(self.context.taint)),
            "@brings" => self.brings.get_or_init(|| labels(self.action.brings())),
            "now" => &self.now,
            _ => self.constants.named(variable)?,
        };
        Some(CowVal::Borrowed(value))
    }
}

/// Labels as a list of texts.
fn labels<'a>(taints: Taints) -> CelList<'a> {
    let label = |label: Taint| -> Box<dyn Val + 'a> { Box::new(CelString::from(label.as_str())) };
    CelList::from(taints.labels().map(label).collect::<Vec<_>>())
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
