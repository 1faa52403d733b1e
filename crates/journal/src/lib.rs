//! The record: entries, commitments, the Merkle tree, checkpoints, proofs, and offline verification.
//! Also the state machines whose events the entries are, used alike by live execution and replay.
//!
//! Pure: no clock, file, socket or randomness. What has to be random or current is an argument.
//!
//! Invariants:
//! - **A leaf is canonical.** Bytes of an entry are RFC 8785 JSON of at most [`LEAF_BYTES_MAX`].
//! - **Nothing secret in a leaf.** Arguments and results stand there as salted commitments.
//! - **Leaves and nodes cannot be confused**: RFC 6962 domain separation.

pub mod checkpoint;
pub mod entry;
pub mod export;
pub mod leaf;
pub mod machine;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod tiles;
pub mod verify;

pub use entry::{Commitment, Entry, EntryError, kind};

/// Largest leaf, in bytes: below the 65,535 that a C2SP tlog-tiles entry bundle can hold.
pub const LEAF_BYTES_MAX: usize = 60 * 1024;
