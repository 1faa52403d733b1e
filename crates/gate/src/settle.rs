//! Outcomes on their way into the journal.
