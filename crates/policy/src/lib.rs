//! Decides whether an agent may act.
//!
//! One pure function, [`decide`], weighs an [`Action`] against a [`PolicySet`]. It reads no clock,
//! file or socket: all it weighs is an argument, so any decision can be replayed from the journal.
//!
//! Invariants:
//! - **Default deny.** No matching rule denies; so does a rule that cannot be evaluated.
//! - **Deny wins.** One matching deny rule outweighs any number of permits.
//! - **Only [`decide`] makes a [`Ruling`].** The gate commits it into a [`Permit`]; whatever acts
//!   starts from one. There is no `is_allowed`.

mod action;
pub mod budget;
pub mod canonical;
mod decide;
mod explain;
mod grant;
mod guard;
mod identity;
mod level;
mod lint;
mod permit;
mod place;
mod principal;
mod rego;
mod rule;
mod stop;
mod taint;
#[cfg(test)]
mod test;
mod time;
pub mod trust;

pub use action::{Action, ActionError, Effect, Environment, Idempotence, Verb};
pub use decide::{
    Approved, Basis, Context, Decision, Denial, Denied, Observed, Request, Ruling, Said, SessionFacts, Told,
    Waived, decide, level_in_force, observe, tell,
};
pub use explain::{Explanation, Line, explain};
pub use grant::{Capability, Grant, Pattern};
pub use identity::{
    AgentEvent, AgentStatus, IllegalAgentEvent, Over, Validity, did_key, key_id, public_key_of, sponsor,
};
pub use level::{Autonomy, Level, Rate, Ring};
pub use lint::{LintFinding, lint};
pub use permit::{
    Failure, InFlight, Outcome, Permit, Resources, Sequence, Settle, SettleFuture, Settlement, Unsettled,
};
pub use place::{Area, Branch, Place, Reach, Spot};
pub use principal::{Chain, Link, Principal, PrincipalKind};
pub use rule::{
    ActionClass, Approver, LiftSpec, LoadError, Match, Mode, PolicyDocument, PolicySet, PolicyVersion,
    RULE_OF_TWO, RuleId, RuleOutcome, RuleSpec, Shortfall, Stage, Stages, ThresholdSet, ThresholdSpec,
    WaiverScope, rule_of_two,
};
pub use stop::{
    Cancel, Cancelled, Doing, Member, Reached, Stop, StopScope, StopSet, Stopped, Subject, Upheld,
};
pub use taint::{Taint, Taints};
pub use time::Timestamp;
