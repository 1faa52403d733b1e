//! The ways in which a deploy can be bad: each is one commit that changes one number, and breaks the
//! patient for real.

use clap::ValueEnum;

/// What the bad deploy breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Breakage {
    /// The connection pool is set to zero: requests fail at once.
    Errors,
    /// The time-out is set below what a query takes: requests fail late.
    Timeouts,
    /// The cache is switched off: every request waits for a query.
    Latency,
}

/// A commit that breaks the patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCommit {
    /// Who wrote it.
    pub author: &'static str,
    /// Its title, which sounds harmless.
    pub title: &'static str,
    /// The line of `service.yaml` that it changes.
    pub from: &'static str,
    /// What that line becomes.
    pub to: &'static str,
}

impl Breakage {
    /// The commit that does it.
    #[must_use]
    pub fn commit(self) -> BadCommit {
        match self {
            Breakage::Errors => BadCommit {
                author: "Bo Lindqvist",
                title: "Let the database driver size the pool",
                from: "pool_size: 8",
                to: "pool_size: 0",
            },
            Breakage::Timeouts => BadCommit {
                author: "Ada Okafor",
                title: "Fail fast when the database is slow",
                from: "timeout_ms: 800",
                to: "timeout_ms: 20",
            },
            Breakage::Latency => BadCommit {
                author: "Chandra Rao",
                title: "Show stock exactly, without a cache",
                from: "cache_ttl_seconds: 60",
                to: "cache_ttl_seconds: 0",
            },
        }
    }

    /// What broke earlier, so that there is a past: another commit, and for errors the same alert.
    #[must_use]
    pub fn earlier(self) -> Breakage {
        match self {
            Breakage::Errors | Breakage::Latency => Breakage::Timeouts,
            Breakage::Timeouts => Breakage::Errors,
        }
    }

    /// The alert that notices it.
    #[must_use]
    pub fn alert(self) -> &'static str {
        match self {
            Breakage::Errors | Breakage::Timeouts => "ShopErrors",
            Breakage::Latency => "ShopSlow",
        }
    }
}
