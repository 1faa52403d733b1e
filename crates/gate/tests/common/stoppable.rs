//! The contract of `gate::Stoppable`: one test that every implementor passes. Whoever holds something
//! open that a stop has to end brings a [`Stand`] of its own.

use gate::{Gate, Held, KillAnswer};
use policy::{Principal, StopScope};
use std::sync::Arc;

/// What the test needs to know of one implementor.
pub trait Stand {
    /// The gate that it is registered with.
    fn gate(&self) -> &Arc<Gate>;
    /// The name under which it answers.
    fn what(&self) -> &'static str;
    /// What the test stops.
    fn scope(&self) -> StopScope;
    /// Opens one more; its name. One that is covered may be refused.
    async fn open(&self, covered: bool) -> Option<String>;
    /// Does whatever could make it go on, and says whether it did or may.
    async fn lives(&self, name: &str) -> bool;
}

/// Cancelled or fenced, dead, idempotent, under load.
pub async fn is_kept_by(stand: &impl Stand) {
    let by = Principal::person("eve");
    let (mut covered, mut others) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        covered.push(stand.open(true).await.unwrap());
        others.push(stand.open(false).await.unwrap());
    }
    let load = async {
        let mut opened = Vec::new();
        for n in 0..12 {
            opened.push((n % 2 == 0, stand.open(n % 2 == 0).await));
        }
        opened
    };
    let (first, opened) = tokio::join!(stand.gate().kill(&by, stand.scope(), "halt"), load);
    let named = names(&first.reached, stand.what());
    for name in &covered {
        assert!(named.contains(name), "{name} is not among {named:?}");
    }
    for name in &others {
        assert!(!named.contains(name), "{name} is not covered");
    }
    for (is_covered, name) in opened {
        match (is_covered, name) {
            (true, name) => covered.extend(name),
            // Nothing refuses what is not covered.
            (false, name) => others.push(name.unwrap()),
        }
    }
    let second = stand.gate().kill(&by, stand.scope(), "again").await;
    for answer in [&first, &second] {
        assert_eq!(answer.unreached, [], "{answer:?}");
        assert!(answer.durable);
    }
    for name in covered {
        assert!(!stand.lives(&name).await, "{name} outlives the stop");
    }
    for name in others {
        assert!(stand.lives(&name).await, "{name} was not covered");
    }
    still_answers(&stand.gate().kill(&by, stand.scope(), "and again").await);
}

fn still_answers(answer: &KillAnswer) {
    assert_eq!(answer.unreached, [], "{answer:?}");
}

fn names(held: &[Held], what: &str) -> Vec<String> {
    let of_it = held.iter().filter(|held| held.what == what);
    of_it.flat_map(|held| held.names.clone()).collect()
}
