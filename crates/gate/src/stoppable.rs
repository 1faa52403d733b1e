//! What a stop has to end or to fence besides permits: whoever holds something open implements
//! [`Stoppable`]. The gate's own are here: flights and approvals. Nothing here raises or lifts a stop.

use crate::approvals::APPROVALS;
use crate::rows::{self, decode};
use crate::{ApprovalView, Authority, BoxFuture, stops};
use arc_swap::ArcSwap;
use policy::{Doing, Environment, Principal, PrincipalKind, Stop, StopSet, Subject};
use std::sync::Arc;
use store::{Store, StoreError};

/// Holds something open that a stop has to end.
///
/// The contract, which one test puts to every implementor: after [`Stoppable::stop`] resolved nothing
/// that the stop covers is open (*cancelled*), or it can do nothing as long as the stop stands
/// (*fenced*); what the stop does not cover was not touched; it stays so whatever wakes it (*dead*);
/// stopping again is harmless (*idempotent*); and all of this holds while others open more (*under load*).
pub trait Stoppable: Send + Sync {
    /// What it holds, as answers call it: `sessions`.
    fn name(&self) -> &'static str;
    /// Ends or fences everything that `stop` covers, which is in force already.
    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Stood>;
    /// Names of what `stop` covers and is neither ended nor fenced. Does not wait.
    fn open(&self, stop: &Stop) -> Vec<String>;
}

/// What a [`Stoppable`] came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stood {
    /// Names of what was ended or fenced.
    pub names: Vec<String>,
    /// What it could not find out, in words: `queued sessions: the store is closed`.
    pub unknown: Vec<String>,
}

impl From<Vec<String>> for Stood {
    fn from(names: Vec<String>) -> Stood {
        let unknown = Vec::new();
        Stood { names, unknown }
    }
}

/// Effects under way. Their cancel handles have turned before this is asked; it waits until they land.
pub(crate) struct Flights {
    /// What was under way when the stop was raised, and is covered.
    pub(crate) told: Vec<u64>,
    pub(crate) stops: Arc<StopSet>,
    pub(crate) store: Store,
}

impl Stoppable for Flights {
    fn name(&self) -> &'static str {
        "actions"
    }

    fn stop<'a>(&'a self, _: &'a Stop) -> BoxFuture<'a, Stood> {
        Box::pin(async move {
            for permit in &self.told {
                if let Some(landing) = self.stops.landing(*permit) {
                    landing.cancelled().await;
                }
            }
            let names = self.told.iter().map(|permit| format!("entry {permit}"));
            Stood::from(names.collect::<Vec<_>>())
        })
    }

    fn open(&self, stop: &Stop) -> Vec<String> {
        let flying = self.stops.in_flight(&stop.scope);
        flying.into_iter().map(|permit| self.described(permit)).collect()
    }
}

impl Flights {
    /// With what is done, for a person who has to see to it.
    fn described(&self, permit: u64) -> String {
        let entry = self.store.read(|reader| reader.entry(permit)).ok().flatten();
        let Some(entry) = entry.map(|stored| stored.entry) else {
            return format!("entry {permit}");
        };
        let text = |key: &str| entry.body.get(key).and_then(serde_json::Value::as_str);
        let (verb, resource) = (text("verb").unwrap_or("?"), text("resource").unwrap_or("?"));
        let session = entry.session.as_deref().unwrap_or("no session");
        format!("entry {permit}: {verb} {resource} in {session}")
    }
}

/// Approvals that are pending or given. They are fenced and not cancelled, which needs no record: under
/// the stop no action is admitted, whatever was approved; when it is lifted, those that did not expire
/// meanwhile can be decided and used as before.
pub(crate) struct PendingApprovals {
    pub(crate) store: Store,
    pub(crate) authority: Arc<ArcSwap<Authority>>,
}

impl Stoppable for PendingApprovals {
    fn name(&self) -> &'static str {
        "approvals"
    }

    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Stood> {
        Box::pin(async move {
            match self.covered(stop) {
                Ok(names) => names.into(),
                Err(error) => Stood {
                    names: Vec::new(),
                    unknown: vec![format!("those that are fenced cannot be named: {error}")],
                },
            }
        })
    }

    fn open(&self, _: &Stop) -> Vec<String> {
        Vec::new()
    }
}

impl PendingApprovals {
    fn covered(&self, stop: &Stop) -> Result<Vec<String>, StoreError> {
        let authority = self.authority.load();
        let mut ids = Vec::new();
        self.store.read(|reader| {
            for state in ["pending", "approved"] {
                for row in reader.find(APPROVALS, "state", state)? {
                    let view: ApprovalView = decode(row.value)?;
                    if stop.scope.covers(&subject_of(&view, &authority)) {
                        ids.push(view.id);
                    }
                }
            }
            Ok::<_, StoreError>(())
        })?;
        ids.sort_by_key(|id| rows::number(id));
        Ok(ids)
    }
}

/// Whether its action reaches the network is not recorded: it counts as if it did.
fn subject_of(view: &ApprovalView, authority: &Authority) -> Subject {
    let doing = Doing {
        verb: view.verb.clone(),
        resource: view.resource.clone(),
        environment: Environment::new(&view.environment).unwrap_or_else(|_| Environment::production()),
        network: true,
    };
    // Whoever delegated is on its chain, and a stop of them covers it.
    let behind = view.behalf.iter().filter_map(|text| Principal::parse(text));
    let behind = behind.filter(|one| one.kind == PrincipalKind::Agent && one.name != view.agent);
    let mut subject = stops::subject_of(authority, &view.agent, &view.session);
    for agent in behind {
        subject
            .agents
            .extend(stops::subject_of(authority, &agent.name, &view.session).agents);
    }
    Subject {
        doing: Some(doing),
        ..subject
    }
}
