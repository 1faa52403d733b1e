//! Looks again at what is open whenever what it rests on may have changed: documents, grants, identities, delegations,
//! sessions. Not at every entry: at what the store says changed, at sessions and their labels twice a second, and at
//! everything every five seconds, since grants end by time alone.

use super::Egress;
use super::rules::Way;
use super::tunnels::{Held, Tunnel, What};
use journal::machine::Session;
use policy::Taints;
use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;
use store::Moment;

/// How often sessions are looked at.
const SESSIONS: Duration = Duration::from_millis(500);
/// Commits that come closer together are looked at together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Ticks between two looks at everything.
const TICKS: u32 = 10;

/// What was known at the last look.
struct Looked {
    generation: u64,
    moment: Option<Moment>,
    taints: HashMap<String, Taints>,
    /// Ticks until everything is looked at, whatever changed: grants and delegations end by time alone, and trust falls.
    ticks: u32,
}

/// Follows the journal for as long as the surface is there.
pub(super) async fn follow(egress: Weak<Egress>) {
    let Some(mut committed) = egress.upgrade().map(|egress| egress.gate.store.committed()) else {
        return;
    };
    let mut looked = Looked {
        generation: u64::MAX,
        moment: None,
        taints: HashMap::new(),
        ticks: 0,
    };
    // Of its own: commits may come more often than it.
    let mut tick = tokio::time::interval(SESSIONS);
    loop {
        let is_over = tokio::select! {
            changed = committed.changed() => changed.is_err(),
            _ = tick.tick() => {
                looked.ticks = looked.ticks.saturating_sub(1);
                false
            }
        };
        let Some(egress) = egress.upgrade().filter(|_| !is_over) else {
            return;
        };
        if egress.open() > 0 {
            let tainted = egress.end_with_sessions(&mut looked.taints);
            if looked.is_outdated(&egress) || tainted {
                egress.look_again();
            }
        }
        drop(egress);
        tokio::time::sleep(TOGETHER).await;
    }
}

impl Looked {
    /// Whether grants or identities changed since; what is known is what is known now.
    fn is_outdated(&mut self, egress: &Egress) -> bool {
        let generation = egress.gate.authority.load().generation;
        let store = &egress.gate.store;
        let changed = |moment| store.changed_since(crate::agents::AGENTS, moment);
        let same = self.generation == generation && self.moment.is_some_and(|moment| !changed(moment));
        if same && self.ticks > 0 {
            return false;
        }
        // Read before the look: what changes meanwhile is seen the next time.
        self.moment = store
            .read(|reader| Ok::<_, store::StoreError>(reader.moment()))
            .ok();
        self.generation = generation;
        self.ticks = TICKS;
        true
    }
}

impl Egress {
    /// Cuts what would not be let through any more.
    pub(super) fn look_again(&self) {
        for (number, tunnel) in self.tunnels.all() {
            if let Err(why) = self.stands(&tunnel) {
                self.tunnels.cut(number, &why);
            }
        }
    }

    fn stands(&self, tunnel: &Tunnel) -> Result<(), String> {
        let allowed = self.allowed_in(&tunnel.session, &tunnel.agent);
        let Some(Held {
            what,
            address,
            action,
            openness,
        }) = &tunnel.held
        else {
            // Nothing is under way, and what comes is judged then.
            return Ok(());
        };
        let rule = match what {
            What::Tunnel(target) => match allowed.way(target) {
                Some(Way::Tunnel(rule, resource)) if resource == action.resource() => rule,
                _ => return Err(format!("no Egress document lets {target} through any more")),
            },
            What::Request(url, method) => allowed.request(url, method)?,
        };
        if rule.environment != *action.environment() || rule.openness() != *openness {
            return Err(format!("`{}` says something else of it by now", rule.id));
        }
        let port = match what {
            What::Tunnel(target) => target.port,
            What::Request(url, _) => url.port_or_known_default().unwrap_or_default(),
        };
        if let Some(address) = address {
            let closed = rule.closed(&[*address], port, &self.own());
            closed.map_err(|closed| format!("{} is {} by now", closed.address, closed.what))?;
        }
        self.gate.still_grants(&tunnel.session, action)
    }

    /// Cuts what is left of sessions that do not run any more. Whether labels of one that does are others than in
    /// `taints`, which is then what they are.
    fn end_with_sessions(&self, taints: &mut HashMap<String, Taints>) -> bool {
        let (mut now, mut changed) = (HashMap::new(), false);
        let mut runs: HashMap<String, bool> = HashMap::new();
        for (number, tunnel) in self.tunnels.all() {
            let runs = runs.entry(tunnel.session.clone()).or_insert_with(|| {
                let view = self.gate.session(&tunnel.session);
                // What cannot be read now is asked again: the journal may be away for a moment.
                view.map_or(true, |view| {
                    changed |= taints.get(&view.id).is_some_and(|taint| *taint != view.taint);
                    now.insert(view.id, view.taint);
                    view.state == Session::Running
                })
            });
            if !*runs {
                self.tunnels.cut(number, "its session does not run any more");
            }
        }
        *taints = now;
        changed
    }
}
