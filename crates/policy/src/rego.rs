//! Rego modules of `Policy` documents: text of one package, compiled and bounded when it is loaded.
//!
//! A module sees as `input` what conditions see: `action` (`verb`, `resource`, `effect`, `environment`,
//! `production`, `arguments`), `agent`, `agents`, `cause`, `session`, `trust`, `taint`, `now`. One that reads
//! `agent` is asked about each agent of the chain: what any answer forbids or asks counts, and it permits
//! when every answer does. It answers with some
//! of three rules of its package: `deny`, a set of texts; `require_approval`, a set of texts or of
//! objects with `reason`, `approvers` and `expires_after_seconds`, each known by its reason; `permit`, a boolean or a set.
//!
//! It runs on a virtual machine that counts its instructions, and calls functions that are weighed, so
//! the same facts always give the same answer: no clock ends an evaluation. Whatever goes wrong is an
//! error that names the module, and the error denies. Nothing here says what an answer leads to: that is
//! [`crate::decide()`].

mod answer;
mod builtins;
mod load;

use crate::guard::guarded;
use crate::rule::{Asking, Facts};
use crate::{LoadError, RuleId};
use regorus::Value;
use regorus::rvm::program::Program;
use regorus::rvm::vm::{ExecutionMode, RegoVM, VmError};
use std::sync::Arc;

/// Most instructions that one of the three rules may take. About 5 ms.
const INSTRUCTIONS_MAX: usize = 25_000;

/// One module, compiled.
pub(crate) struct Module {
    /// `policy/NAME#rego`.
    pub(crate) id: RuleId,
    /// Which of the places of its set it is for.
    pub(crate) place: usize,
    program: Arc<Program>,
    /// In the order of their entry points.
    answers: Vec<Answer>,
    /// Whether it may read `input.agent`.
    of_agent: bool,
    /// Whether it may read `input.session`.
    of_session: bool,
}

/// The rules that a module may answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Deny,
    RequireApproval,
    Permit,
}

/// What a module says of one action.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Findings {
    /// Why not, in words; nothing when it forbids nothing.
    pub(crate) deny: Vec<String>,
    /// Who has to be asked.
    pub(crate) asks: Vec<Asking>,
    /// Whether it opts in.
    pub(crate) permit: bool,
}

impl Findings {
    /// What it says of the agent that acts and of another of its chain: whatever restricts, and permits only what
    /// it permits both. What it asks on account of the other opts in to nothing.
    fn and(mut self, other: Findings) -> Findings {
        for reason in other.deny {
            if !self.deny.contains(&reason) {
                self.deny.push(reason);
            }
        }
        let without = |asking: &Asking| Asking {
            opts_in: false,
            ..asking.clone()
        };
        for asking in other.asks.iter().map(without) {
            if !self.asks.iter().any(|known| without(known) == asking) {
                self.asks.push(asking);
            }
        }
        self.permit &= other.permit;
        self
    }
}

impl Module {
    /// Compiles the module of policy `policy`.
    pub(crate) fn load(policy: &str, source: &str) -> Result<Module, LoadError> {
        let id = RuleId(format!("policy/{policy}#{MODULE_NAME}"));
        let refuse = |what| LoadError {
            rule: id.0.clone(),
            index: 0,
            what,
        };
        let (program, answers) = load::compiled(source).map_err(refuse)?;
        Ok(Module {
            id,
            place: 0,
            program,
            answers,
            of_agent: load::may_read(source, "agent"),
            of_session: load::may_read(source, "session"),
        })
    }

    /// Whether it has a `permit`.
    pub(crate) fn permits(&self) -> bool {
        self.answers.contains(&Answer::Permit)
    }

    /// Whether it has a `require_approval`.
    pub(crate) fn may_ask(&self) -> bool {
        self.answers.contains(&Answer::RequireApproval)
    }

    /// Whether what it says may depend on its session.
    pub(crate) fn may_read_session(&self) -> bool {
        self.of_session
    }

    /// What it says; an error when it cannot be evaluated or does not keep to the contract. The text
    /// holds nothing of the arguments.
    pub(crate) fn findings(&self, facts: &Facts<'_>) -> Result<Findings, String> {
        let asked = if self.of_agent { usize::MAX } else { 1 };
        let mut all: Option<Findings> = None;
        for seen in facts.each_agent().take(asked) {
            builtins::begin();
            // The library is known to panic on input that it should refuse.
            let found = guarded("the module made its engine fail", || {
                self.evaluate(seen.module_input())
            })?;
            all = Some(match all {
                None => found,
                Some(before) => before.and(found),
            });
        }
        Ok(all.unwrap_or_default())
    }

    fn evaluate(&self, input: &Value) -> Result<Findings, String> {
        let mut findings = Findings::default();
        for (entry, answer) in self.answers.iter().enumerate() {
            let value = self.value(entry, input);
            // The machine takes most errors in a body for a body that does not hold.
            if let Some(failed) = builtins::failed() {
                return Err(failed.to_string());
            }
            let value = value.map_err(|error| tell(&error))?;
            match answer {
                Answer::Deny => findings.deny = answer::texts(&value)?,
                Answer::RequireApproval => findings.asks = answer::asks(&value, &self.id)?,
                Answer::Permit => findings.permit = answer::truth(&value)?,
            }
        }
        Ok(findings)
    }

    fn value(&self, entry: usize, input: &Value) -> Result<Value, VmError> {
        let mut machine = RegoVM::new();
        machine.set_execution_timer_config(None);
        machine.load_program(Arc::clone(&self.program));
        machine.set_max_instructions(INSTRUCTIONS_MAX);
        // Calls go onto a stack of its own, and not onto that of the thread.
        machine.set_execution_mode(ExecutionMode::Suspendable);
        // Otherwise a function that fails is undefined, and a rule that forbids is silently false.
        machine.set_strict_builtin_errors(true);
        machine.set_data(Value::new_object())?;
        machine.set_input(input.clone());
        machine.execute_entry_point_by_index(entry)
    }
}

/// The name that a module has among the rules of its policy.
pub(crate) const MODULE_NAME: &str = "rego";

/// An error in words. The engine's own texts may quote arguments, which belong in no record.
fn tell(error: &VmError) -> String {
    match error {
        VmError::InstructionLimitExceeded { .. } => {
            format!("the module takes more than {INSTRUCTIONS_MAX} instructions")
        }
        _ => "the module contradicts itself, or uses values of types that do not go together".to_owned(),
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
