//! The one gate: every action of every agent passes [`Gate::admit`], in one order.
//!
//! 1. identify, 2. stopped?, 3. grants, 4. policy, 5. approval, 6. commit. What comes out is a
//!    [`policy::Permit`] whose record is durable, or a [`Refusal`] with its reason.
//!
//! Invariants:
//! - **No effect before its record**: [`policy::Permit::now_durable`] is called in `commit` alone, after
//!   the store returned.
//! - **No way around**: there is no other function that gives a permit, and no surface that decides.
//! - **Stops first**: every admission reads the stops in memory and those in its transaction.
//! - **Nobody approves what they caused.**

mod admit;
mod agents;
mod approvals;
mod authority;
mod bounds;
mod buckets;
mod budgets;
pub mod bundles;
mod caller;
mod calls;
mod chains;
mod channels;
mod commit;
mod deadlines;
pub mod delegations;
mod denials;
mod documents;
pub mod egress;
mod elevations;
mod entering;
mod explain;
mod gate;
pub mod handshake;
mod held;
mod kill;
pub mod llm;
mod park;
mod record;
mod replay;
mod reserve;
mod rows;
mod seen;
mod sessions;
mod settle;
mod stoppable;
mod stops;
mod suggest;
pub mod svid;
mod tokens;
mod tool;
mod trust;
mod waivers;

pub use admit::{Proposal, Refusal};
pub use agents::key::AgentKey;
pub use agents::{AgentError, AgentRow, HeldKey, NO_SPONSOR, NewAgent, RESERVED_PREFIXES, is_reserved};
pub use approvals::{
    ANSWER_AGE_MS_MAX, ANSWER_BYTES_MAX, Answer, AnswerError, AnswerFault, Answered, ApprovalView,
    ApproveError, Counted, Passed, Signed, Similar, Unsigned, Verdict, Vote, stages_of,
};
pub use authority::{AgentAuthority, Authority, Bounds};
pub use buckets::Pace;
pub use budgets::{AccountView, CostBy, CostLine, CostReport, RaiseError, ReportError, Unpaid};
pub use caller::{Caller, Role, RoleAt, Unidentified};
pub use calls::{CallView, Resolution, ResolveError};
pub use chains::lent;
pub use channels::{ApproverKey, ChannelApprover};
pub use delegations::{DelegateError, DelegationRow, NewDelegation, Revocation};
pub use documents::{DocumentChange, DocumentView, InstallError, Installation, Owner};
pub use elevations::{
    ELEVATION_SECONDS, ELEVATION_SECONDS_MAX, ElevateError, ElevationState, ElevationView, LowerError,
    NewElevation,
};
pub use gate::{Gate, projections};
pub use held::{EVERYWHERE, HeldAt};
pub use kill::{Held, KillAnswer};
pub use policy::{Reach, Spot};
pub use replay::{Difference, Replayed, Verdict as ReplayedVerdict};
pub use sessions::{GUEST, GuestSession, NewSession, SessionError, SessionView, Tally};
pub use stoppable::{Stood, Stoppable};
pub use stops::{Above, LiftError, StopAnswer};
pub use suggest::{Suggested, Suggestions};
pub use tokens::exchange::{ACCESS_MS_MAX, RedeemError, Redeemed, Shown};
pub use tokens::{Certified, HOLDING_MAX, NewToken, Thumbprint, TokenError, TokenView};
pub use tool::{BoxFuture, Tool, ToolError, Tools};
pub use trust::{
    AgentReport, EquationView, Factor, Found, MemberView, PromoteError, REPORT_DAYS_MAX, RiskChange,
    RiskView, Shared, Surroundings, TopologyView, TrustDay, TrustTerms, TrustView, Weakest,
};
pub use waivers::{WaiverError, WaiverState, WaiverView};
