//! `git.log`, `.diff`, `.show`, `.blame` and `.propose` over one local repository.
//!
//! Invariants:
//! - **Names become commits before anything is judged**: an action's arguments hold SHAs, never branches.
//! - **Judging changes nothing in the repository**: what `propose` builds goes to a directory of its own.
//! - **Nothing that a repository holds is run**: no hooks, filters, external diffs, pagers or signers.

mod command;
mod parse;
mod propose;
mod read;

pub(crate) use command::Repository;
pub use parse::{Blamed, Commit, FileChange, parse_blame, parse_log};
pub(crate) use propose::Propose;
pub(crate) use read::{Operation, Read};
