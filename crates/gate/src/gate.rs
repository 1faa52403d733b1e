//! The gate's state and how it is put together.

use crate::agents::{self, key::AgentKey};
use crate::bounds::Rates;
use crate::buckets::Buckets;
use crate::commit::Doubts;
use crate::deadlines::{ClockJumps, Deadlines};
use crate::denials::Denials;
use crate::entering::Enterings;
use crate::handshake::Handshakes;
use crate::settle::Settlements;
use crate::stops::Reserve;
use crate::tokens::Held;
use crate::{
    Authority, Stoppable, approvals, bundles, calls, documents, elevations, sessions, stops, tokens, trust,
    waivers,
};
use arc_swap::ArcSwap;
use policy::{PolicySet, Principal, StopSet};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use store::clock::SharedClock;
use store::{Health, Projection, Store, StoreError};
use tokio::runtime::Handle;

/// Holds what admission reads. Shared as `Arc<Gate>`.
pub struct Gate {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) stops: Arc<StopSet>,
    pub(crate) authority: Arc<ArcSwap<Authority>>,
    /// By the SHA-256 of the secret.
    pub(crate) tokens: RwLock<HashMap<[u8; 32], Held>>,
    /// What was revoked, and is not recorded yet.
    pub(crate) owed: tokens::Owed,
    pub(crate) rates: Arc<Rates>,
    pub(crate) buckets: Buckets,
    pub(crate) handshakes: Handshakes,
    pub(crate) denials: Denials,
    pub(crate) doubts: Arc<Doubts>,
    pub(crate) settlements: Settlements,
    pub(crate) reserve: Arc<tokio::sync::Mutex<Reserve>>,
    /// Signs the first links of delegations; read when it is first needed.
    pub(crate) organization: std::sync::OnceLock<AgentKey>,
    /// Held while that key is read or made.
    pub(crate) organization_made: Mutex<()>,
    pub(crate) chains: crate::chains::Kept,
    /// When nobody had approved or waived anything like it.
    pub(crate) quiet: Mutex<HashMap<crate::seen::Quiet, store::Moment>>,
    pub(crate) refusals: Mutex<tokens::exchange::Refusals>,
    pub(crate) refused_logins: Mutex<tokens::exchange::Refusals>,
    /// What may be coming into sessions right now.
    pub(crate) entering: Enterings,
    pub(crate) stoppables: RwLock<Vec<Arc<dyn Stoppable>>>,
    /// By agent: the channels that are told what needs a person.
    pub(crate) channels: RwLock<BTreeMap<String, Vec<String>>>,
}

/// The gate's projections, to open the store with: `sessions`, `calls`, `approvals`, `waivers`, `elevations`, `stops`,
/// `documents`, `bundles`, `tokens`, `redemptions`, `clock`, `trust`, `activity`, `risk`,
/// `agents`, `budgets`.
pub fn projections() -> Vec<Arc<dyn Projection>> {
    vec![
        Arc::new(sessions::Sessions),
        Arc::new(calls::Calls),
        Arc::new(approvals::Approvals),
        Arc::new(waivers::Waivers),
        Arc::new(elevations::Elevations),
        Arc::new(stops::Stops),
        Arc::new(documents::Documents),
        Arc::new(bundles::Bundles),
        Arc::new(tokens::Tokens),
        Arc::new(tokens::exchange::Redemptions),
        Arc::new(ClockJumps),
        Arc::new(trust::Trusts),
        Arc::new(trust::Activities),
        Arc::new(trust::Risks),
        Arc::new(agents::Agents),
        Arc::new(crate::budgets::Budgets),
    ]
}

impl Gate {
    /// Over an open store: recomputes stops (also from the preallocated file), tokens, bounds; starts
    /// with no authority at all, so that everything is denied until [`Gate::install`] or
    /// [`Gate::restore`]. Over a journal that was found altered everything is stopped as well, and no
    /// token identifies anybody. Blocks; has to be called within a Tokio runtime, which records outcomes.
    pub fn open(store: Store) -> Result<Arc<Gate>, StoreError> {
        let runtime = Handle::try_current()
            .map_err(|error| StoreError::Refused(format!("the gate opens within a runtime: {error}")))?;
        let clock = store.clock();
        let stops = Arc::new(StopSet::new());
        let reserve = Reserve::open(store.directory())?;
        let health = store.health();
        match &health {
            Health::Corrupt(finding) => stops::restore_altered(&store, &reserve, &stops, finding),
            _ => stops::restore(&store, &reserve, &stops)?,
        }
        let nothing = Authority {
            generation: documents::generation(&store)?,
            policies: Arc::new(PolicySet::empty()),
            agents: BTreeMap::new(),
            budgets: Arc::default(),
        };
        let deadlines = Arc::new(Deadlines::load(&store, &clock)?);
        let gate = Arc::new(Gate {
            // Rows that somebody altered identify nobody.
            tokens: RwLock::new(match health {
                Health::Corrupt(_) => HashMap::new(),
                _ => tokens::load(&store, deadlines.now())?,
            }),
            owed: tokens::Owed::default(),
            deadlines,
            rates: Arc::new(Rates::load(&store, &clock)?),
            buckets: Buckets::default(),
            handshakes: Handshakes::default(),
            settlements: Settlements::start(&runtime, store.clone()),
            authority: Arc::new(ArcSwap::from_pointee(nothing)),
            denials: Denials::default(),
            doubts: Arc::default(),
            reserve: Arc::new(tokio::sync::Mutex::new(reserve)),
            organization: std::sync::OnceLock::new(),
            organization_made: Mutex::default(),
            chains: crate::chains::Kept::default(),
            quiet: Mutex::default(),
            refusals: Mutex::default(),
            refused_logins: Mutex::default(),
            entering: Enterings::default(),
            stoppables: RwLock::default(),
            channels: RwLock::default(),
            store,
            clock,
            stops,
        });
        gate.record_reserved_stops(&runtime);
        Ok(gate)
    }

    /// Puts the authority in force that the stored documents make, at start; records nothing. It
    /// holds for the generation that is stored.
    pub fn restore(&self, authority: Authority) {
        let generation = self.authority.load().generation;
        self.authority.store(Arc::new(Authority {
            generation,
            ..authority
        }));
    }

    /// Names, by agent, of the channels that are told of its approvals and of odd behaviour, from now on.
    /// Entries name them; who delivers reads them there.
    pub fn tell_through(&self, channels: BTreeMap<String, Vec<String>>) {
        *self.channels.write().unwrap_or_else(PoisonError::into_inner) = channels;
    }

    pub(crate) fn channels_of(&self, agent: &str) -> Vec<String> {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        channels.get(agent).cloned().unwrap_or_default()
    }

    /// The stops in memory.
    pub fn stop_set(&self) -> &Arc<StopSet> {
        &self.stops
    }

    /// The time by which whatever ends is over. Never earlier than what was seen before, whatever is done
    /// to the machine's clock.
    pub fn time(&self) -> policy::Timestamp {
        self.deadlines.now()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Outcomes that could not be recorded: they wait in memory, or were refused for good and are known
    /// to this process only. Anything but 0 is not healthy.
    pub fn unsettled(&self) -> usize {
        self.settlements.unsettled()
    }

    /// Writes what is still in memory only: counts of repeated denials, outcomes under way, permits
    /// whose commit was never acknowledged. Before the store is closed.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.settle_doubts().await?;
        self.settlements.drained().await;
        self.record_repeats(self.denials.take_all()).await
    }
}

/// The platform itself, as the actor of what nobody else did.
pub(crate) fn platform() -> Principal {
    Principal::service("cofferdam")
}

/// A lock that goes on after a thread died while it held it: no step under any of the gate's locks
/// leaves its data half written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
