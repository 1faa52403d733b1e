//! The durable journal: entries, encrypted payloads, projections, checkpoints, in one SQLite database.
//!
//! One thread writes. It runs closures, each in a savepoint, as many as are waiting in one commit
//! with one fsync; a closure's answer is handed out only after that commit. Readers have their own
//! connections.
//!
//! Invariants:
//! - **Acknowledged means durable**: nothing is answered before `COMMIT` with `synchronous=FULL` returned.
//! - **After an I/O error nothing is acknowledged** until the database was opened again and its tail verified.
//! - **Only durable sizes are signed.**
//! - **A projection is what its entries say**: rows change only in [`Projection::apply`].

pub mod clock;
mod copier;
mod digest;
mod engine;
mod error;
mod export;
mod fold;
mod head;
mod kept;
mod keys;
mod open;
mod payloads;
mod projection;
mod query;
mod read;
mod refold;
mod replace;
mod schema;
mod seal;
mod shared;
mod signing;
mod store;
mod tail;
mod verify;
mod write;
mod writer;

pub use error::StoreError;
pub use keys::{Keyring, Keys, KeysError};
pub use payloads::PAYLOAD_BYTES_MAX;
pub use projection::{Applied, Corrupt, Projection, Row, Rows};
pub use read::{Erasable, Reader, Stored};
pub use shared::Moment;
pub use store::{Haste, Health, Options, Signed, Store, Verified};
pub use write::{NewEntry, NewPayload, Retention, Tx, Written};
