//! Engines that others wrote may panic on what they should refuse: then what they were asked to weigh has no
//! value, which is an error of the rule and denies with its name.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` gives; `failed` when it panics.
///
/// Whatever `work` borrows is only read by it, so a panic leaves nothing half changed.
pub(crate) fn guarded<T>(failed: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(failed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_the_words_for_it() {
        let weighed = |what: u8| {
            guarded("the engine failed", || match what {
                0 => Ok(true),
                1 => Err("no truth value".to_owned()),
                _ => panic!("a list of {what} things"),
            })
        };
        assert_eq!(weighed(0), Ok(true));
        assert_eq!(weighed(1), Err("no truth value".to_owned()));
        assert_eq!(weighed(2), Err("the engine failed".to_owned()));
    }
}
