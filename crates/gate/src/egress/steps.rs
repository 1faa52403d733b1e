//! Names of steps: each permitted connection is a step of its own, and what was refused keeps its name for the next
//! try, so that repeated refusals are counted and not written again.

use crate::gate::lock;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Refused resources that are remembered; past it all are forgotten.
const REFUSED_MAX: usize = 4096;

/// Gives names.
#[derive(Debug)]
pub(crate) struct Steps {
    /// Entries that the journal had when this process began: names of another one are not met again.
    began: u64,
    /// What every name begins with.
    surface: &'static str,
    next: AtomicU64,
    /// By session, verb and resource.
    refused: Mutex<HashMap<(String, String, String), String>>,
}

impl Steps {
    pub fn starting_at(surface: &'static str, began: u64) -> Steps {
        Steps {
            began,
            surface,
            next: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }

    /// For one proposal. Nobody else has it until it is refused.
    pub fn take(&self, session: &str, action: &policy::Action) -> String {
        if let Some(step) = lock(&self.refused).remove(&key(session, action)) {
            return step;
        }
        format!(
            "{}/{}-{}",
            self.surface,
            self.began,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// It was refused: the same again may have its name.
    pub fn refused(&self, session: &str, action: &policy::Action, step: String) {
        let mut refused = lock(&self.refused);
        if refused.len() >= REFUSED_MAX {
            refused.clear();
        }
        refused.insert(key(session, action), step);
    }
}

fn key(session: &str, action: &policy::Action) -> (String, String, String) {
    let verb = action.verb().as_str().to_owned();
    (session.to_owned(), verb, action.resource().to_owned())
}
