//! Tests of the crate's public face, in one binary: what is read and written canonically, what
//! conditions mean, what is decided, and the laws that decisions obey.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod answers;
mod canonical;
mod capabilities;
mod cel_cases;
mod common;
mod conditions;
mod decisions;
mod documents;
mod lint;
mod matrix;
mod modules;
mod places;
mod properties;
mod stages;
mod thresholds;
mod two;
mod widening;

/// Cases that fail are printed and become rows of a table; no file of seeds is kept.
fn proptest_config() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        failure_persistence: None,
        ..Default::default()
    }
}
