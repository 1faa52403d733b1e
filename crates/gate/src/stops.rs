//! Kill switches: effective in memory first, recorded second.

use crate::Gate;
use policy::{Principal, Reached, Stop, StopScope};

/// What a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopAnswer {
    /// Whether it will survive a restart: in the journal, or at least in the preallocated file.
    pub durable: bool,
    /// What it cut.
    pub reached: Reached,
}

impl Gate {
    /// Stops now. Never fails: what could not be recorded is said in the answer and tried again.
    pub async fn stop(&self, by: &Principal, scope: StopScope, reason: &str) -> StopAnswer {
        let _ = (by, scope, reason);
        todo!()
    }
    /// Ends a stop; durable first, effective second. `false` when there was none.
    pub async fn lift(&self, by: &Principal, scope: &StopScope, reason: &str) -> Result<bool, store::StoreError> {
        let _ = (by, scope, reason);
        todo!()
    }
    /// All in force.
    pub fn stops(&self) -> Vec<Stop> {
        todo!()
    }
}
