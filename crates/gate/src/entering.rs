//! What may be coming into sessions right now: an action that goes on for long brings its labels in when it begins to,
//! and its outcome, which records them, comes at its end. Admissions in between count them.

use crate::gate::lock;
use policy::Taints;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// By session. In memory: what is open ends with the process, and what it may have brought is in its permit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enterings(Arc<Mutex<HashMap<String, (usize, Taints)>>>);

/// One action that goes on; dropped once its outcome is recorded.
#[derive(Debug)]
pub(crate) struct Entering {
    all: Enterings,
    session: String,
}

impl Enterings {
    /// Counts `taints` as entered from now on.
    pub(crate) fn enter(&self, session: &str, taints: Taints) -> Entering {
        let mut all = lock(&self.0);
        let (count, held) = all.entry(session.to_owned()).or_insert((0, Taints::NONE));
        *count += 1;
        *held = held.and(taints);
        Entering {
            all: self.clone(),
            session: session.to_owned(),
        }
    }

    /// What may be coming into `session`.
    pub(crate) fn of(&self, session: &str) -> Taints {
        lock(&self.0)
            .get(session)
            .map_or(Taints::NONE, |(_, taints)| *taints)
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        let mut all = lock(&self.all.0);
        if let Some((count, _)) = all.get_mut(&self.session) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_counts_until_the_last_of_it_is_recorded() {
        let all = Enterings::default();
        let (one, two) = (all.enter("a", Taints::UNTRUSTED), all.enter("a", Taints::NONE));
        assert_eq!((all.of("a"), all.of("b")), (Taints::UNTRUSTED, Taints::NONE));
        drop(one);
        assert_eq!(all.of("a"), Taints::UNTRUSTED);
        drop(two);
        assert_eq!(all.of("a"), Taints::NONE);
    }
}
