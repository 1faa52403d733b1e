//! Offline verification: from leaves alone, without the store that held them.

use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, EntryError};
use crate::leaf::{self, Head, Parts};
use crate::merkle::{Frontier, Hash, leaf_hash};

/// Folds leaves in order and finds the first that is not what it claims to be.
#[derive(Debug, Default)]
pub struct Replay {
    frontier: Frontier,
    log: Option<String>,
}

/// What is wrong, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Finding {
    /// An entry is not what its stored hash says.
    #[error("entry {sequence} was altered: its content does not have the hash on record")]
    Altered {
        /// First bad entry.
        sequence: u64,
    },
    /// An entry cannot be read.
    #[error("entry {sequence} cannot be read: {reason}")]
    Unreadable {
        /// First bad entry.
        sequence: u64,
        /// Why.
        reason: String,
    },
    /// An entry says it stands elsewhere.
    #[error("entry {sequence} claims to be entry {claims}")]
    Misplaced {
        /// Where it stands.
        sequence: u64,
        /// What it says.
        claims: u64,
    },
    /// An entry of another log.
    #[error("entry {sequence} belongs to log `{claims}`")]
    Foreign {
        /// Where it stands.
        sequence: u64,
        /// The log it names.
        claims: String,
    },
    /// Fewer entries than a checkpoint vouches for.
    #[error("the journal has {size} entries; the checkpoint vouches for {checkpoint}")]
    Truncated {
        /// In the journal.
        size: u64,
        /// In the checkpoint.
        checkpoint: u64,
    },
    /// The tree at a checkpoint's size has another root: something up to there was rewritten.
    #[error("history up to entry {size} was rewritten: its root is not the checkpoint's")]
    Rewritten {
        /// The checkpoint's size.
        size: u64,
    },
    /// The question came too late to be answered.
    #[error("checkpoint of {checkpoint} entries can no longer be checked: {size} are folded already")]
    Passed {
        /// Folded.
        size: u64,
        /// In the checkpoint.
        checkpoint: u64,
    },
    /// A gap in the sequence.
    #[error("entry {sequence} is missing")]
    Missing {
        /// First missing entry.
        sequence: u64,
    },
    /// A payload is not what its entry commits to.
    #[error("payload `{name}` of entry {sequence} was altered: {reason}")]
    Payload {
        /// Whose payload.
        sequence: u64,
        /// Which one.
        name: String,
        /// How it differs.
        reason: String,
    },
    /// What a store derived from the entries (rows of projections, nodes of the tree) is not what they say.
    #[error("{what} is not what the entries say")]
    Derived {
        /// Which derived thing.
        what: String,
    },
    /// What is stored cannot be what was written: of another type, out of range, not signed by the log.
    #[error("{what} is not as it was written: {reason}")]
    Damaged {
        /// Which stored thing.
        what: String,
        /// Why it cannot be.
        reason: String,
    },
}

impl Finding {
    fn unreadable(sequence: u64, error: &EntryError) -> Finding {
        Finding::Unreadable {
            sequence,
            reason: error.to_string(),
        }
    }
}

impl Replay {
    /// Nothing folded yet.
    pub fn new() -> Replay {
        Replay::default()
    }
    /// Goes on from the right edge of a tree whose root is already trusted; `log` is the log's name.
    pub fn resume(frontier: Frontier, log: &str) -> Replay {
        Replay {
            frontier,
            log: Some(log.to_owned()),
        }
    }
    /// Folds the next leaf and reads it. `recorded` is the hash that the store keeps beside it, if any.
    pub fn leaf(&mut self, leaf: &[u8], recorded: Option<&Hash>) -> Result<Entry, Finding> {
        let sequence = self.size();
        let parts = self.next(leaf, recorded)?;
        Entry::from_parts(&parts).map_err(|error| Finding::unreadable(sequence, &error))
    }
    /// Checks as much as [`Replay::leaf`], but builds no entry: several times as fast.
    pub fn fold<'l>(&mut self, leaf: &'l [u8], recorded: Option<&Hash>) -> Result<Head<'l>, Finding> {
        self.next(leaf, recorded).map(|parts| parts.head)
    }
    fn next<'l>(&mut self, leaf: &'l [u8], recorded: Option<&Hash>) -> Result<Parts<'l>, Finding> {
        let sequence = self.size();
        let hash = leaf_hash(leaf);
        if recorded.is_some_and(|recorded| *recorded != hash) {
            return Err(Finding::Altered { sequence });
        }
        let parts = leaf::parts(leaf).map_err(|error| Finding::unreadable(sequence, &error))?;
        let Head {
            sequence: claims,
            log,
            ..
        } = parts.head;
        if claims != sequence {
            return Err(Finding::Misplaced { sequence, claims });
        }
        if *self.log.get_or_insert_with(|| log.to_owned()) != log {
            return Err(Finding::Foreign {
                sequence,
                claims: log.to_owned(),
            });
        }
        self.frontier.append(hash);
        Ok(parts)
    }
    /// Leaves folded.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }
    /// Root so far.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }
    /// The right edge so far.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }
    /// Call when [`Replay::size`] is the checkpoint's, or at the end when it is smaller.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<(), Finding> {
        let size = self.size();
        if size < checkpoint.size {
            return Err(Finding::Truncated {
                size,
                checkpoint: checkpoint.size,
            });
        }
        if size > checkpoint.size {
            return Err(Finding::Passed {
                size,
                checkpoint: checkpoint.size,
            });
        }
        match &self.log {
            // All entries name the same log, so the first is the first that does not belong.
            Some(log) if *log != checkpoint.origin => Err(Finding::Foreign {
                sequence: 0,
                claims: log.clone(),
            }),
            _ if self.root() != checkpoint.root => Err(Finding::Rewritten { size }),
            _ => Ok(()),
        }
    }
}
