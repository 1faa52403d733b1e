//! What conditions may know of an action, as CEL values that borrow from it.

use crate::{Action, Chain, Context};
use cel::Env;
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;
use serde_json::Value;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The environment in which all conditions are compiled and evaluated.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// The facts of one decision. Converted for CEL once, when the first condition asks.
pub(crate) struct Facts<'a> {
    chain: &'a Chain,
    action: &'a Action,
    context: &'a Context,
    variables: OnceCell<cel::Context<'a, 'a>>,
    argument_nodes: OnceCell<usize>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(chain: &'a Chain, action: &'a Action, context: &'a Context) -> Facts<'a> {
        Facts {
            chain,
            action,
            context,
            variables: OnceCell::new(),
            argument_nodes: OnceCell::new(),
        }
    }

    /// The variables, converted.
    pub(super) fn variables(&self) -> &cel::Context<'a, 'a> {
        self.variables.get_or_init(|| {
            let mut variables = cel::Context::with_env(Arc::clone(&ENVIRONMENT));
            let agent = self.chain.actor().map_or("", |link| link.principal.name.as_str());
            variables.add_variable_as_val("action", Box::new(action_map(self.action)));
            variables.add_variable_as_val("agent", Box::new(CelString::from(agent)));
            variables.add_variable_as_val("cause", Box::new(CelString::from(self.chain.cause.to_string())));
            variables.add_variable_as_val("session", Box::new(session_map(self.context)));
            variables.add_variable_as_val("trust", Box::new(CelInt::from(i64::from(self.context.trust))));
            variables.add_variable_as_val("taint", Box::new(CelBool::from(self.context.taint)));
            variables.add_variable_as_val("now", Box::new(CelInt::from(self.context.now.ms())));
            variables
        })
    }

    /// How many values the arguments hold, at any depth.
    pub(super) fn argument_nodes(&self) -> usize {
        *self.argument_nodes.get_or_init(|| nodes(self.action.arguments()))
    }
}

fn action_map(action: &Action) -> CelMap<'_> {
    let text = |text| Box::new(CelString::from(text)) as Box<dyn Val>;
    map([
        ("verb", text(action.verb().as_str())),
        ("resource", text(action.resource())),
        ("effect", text(action.effect().as_str())),
        ("environment", text(action.environment().as_str())),
        ("arguments", converted(action.arguments())),
    ])
}

fn session_map(context: &Context) -> CelMap<'_> {
    let actions = i64::try_from(context.session.actions).unwrap_or(i64::MAX);
    map([
        (
            "id",
            Box::new(CelString::from(context.session.id.as_str())) as Box<dyn Val>,
        ),
        ("actions", Box::new(CelInt::from(actions))),
    ])
}

fn map<'v, const N: usize>(members: [(&'v str, Box<dyn Val + 'v>); N]) -> CelMap<'v> {
    let members: HashMap<_, _> = members
        .into_iter()
        .map(|(name, value)| (CelMapKey::from(name), value))
        .collect();
    CelMap::from(members)
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
            let members: HashMap<_, _> = members
                .iter()
                .map(|(name, value)| (CelMapKey::from(name.as_str()), converted(value)))
                .collect();
            Box::new(CelMap::from(members))
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
