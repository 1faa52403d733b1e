//! What a tool is to the gate. Implementations live in `runtime`; the binary registers them.

use policy::{Action, InFlight, Settlement, Verb};
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why arguments make no action. Nothing was done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ToolError {
    /// Arguments do not fit the schema or name something the tool is not bound to.
    #[error("argument `{place}`: {what}")]
    Arguments {
        /// JSON pointer or name.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A mutable name could not be resolved.
    #[error("cannot resolve `{name}`: {reason}")]
    Unresolved {
        /// Which.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// One operation that agents may ask for.
pub trait Tool: Send + Sync {
    /// Its name, which is the action's verb: `git.propose`.
    fn verb(&self) -> &Verb;
    /// For people and models; one paragraph.
    fn description(&self) -> &str;
    /// JSON Schema of its arguments: an object with `properties`, `required`, `additionalProperties: false`.
    fn schema(&self) -> Value;
    /// Turns arguments into the action they mean: checks them, resolves mutable names (a branch becomes
    /// a commit), and computes resource, environment, effect and idempotence, none of which a caller can
    /// give. Changes nothing in the world.
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>>;
    /// Does exactly `flight.action()`. Obeys `flight.cancel()`. Reports, never panics. The caller settles.
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement>;
}

/// The tools of one agent by verb: what is not here does not exist for it.
pub type Tools = BTreeMap<String, Arc<dyn Tool>>;
