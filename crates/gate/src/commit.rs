//! Step 6: one transaction that checks again, spends, and appends the record.
