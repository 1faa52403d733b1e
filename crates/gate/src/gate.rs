//! The gate's state and how it is put together.

use policy::StopSet;
use std::sync::Arc;
use store::{Projection, Store};

/// Holds what admission reads. Shared as `Arc<Gate>`.
pub struct Gate {
    store: Store,
    stops: Arc<StopSet>,
}

/// The gate's projections, to open the store with: `sessions`, `calls`, `approvals`, `stops`,
/// `documents`, `tokens`.
pub fn projections() -> Vec<Arc<dyn Projection>> {
    todo!()
}

impl Gate {
    /// Over an open store: recomputes stops (also from the preallocated file), tokens, bounds; starts
    /// with no authority at all, so that everything is denied until [`Gate::install`] or
    /// [`Gate::restore`].
    pub fn open(store: Store) -> Result<Arc<Gate>, store::StoreError> {
        let _ = store;
        todo!()
    }
    /// Puts the authority in force that the stored documents make, at start; records nothing.
    pub fn restore(&self, authority: crate::Authority) {
        let _ = authority;
        todo!()
    }
    /// The stops in memory.
    pub fn stop_set(&self) -> &Arc<StopSet> {
        &self.stops
    }
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
