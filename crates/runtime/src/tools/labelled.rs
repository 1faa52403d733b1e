//! A tool whose toolset says what its results bring into a session. It does nothing else.

use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, InFlight, Settlement, Taints, Verb};
use serde_json::Value;
use std::sync::Arc;

/// `tool`, and the labels of everything that comes from it.
pub(crate) struct Labelled {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) brings: Taints,
}

impl Tool for Labelled {
    fn verb(&self) -> &Verb {
        self.tool.verb()
    }

    fn description(&self) -> &str {
        self.tool.description()
    }

    fn schema(&self) -> Value {
        self.tool.schema()
    }

    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move {
            let action = self.tool.propose(arguments).await?;
            let brings = action.brings().and(self.brings);
            Ok(action.bringing(brings))
        })
    }

    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        self.tool.run(flight)
    }
}
