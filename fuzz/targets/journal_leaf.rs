//! Leaves of any bytes: read or refused; what is read has exactly these bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = journal::Entry::from_leaf(data) {
        assert_eq!(entry.to_leaf().expect("an entry that was read has a leaf"), data);
    }
    let full = journal::verify::Replay::new().leaf(data, None).is_ok();
    let fast = journal::verify::Replay::new().fold(data, None).is_ok();
    assert!(!full || fast, "the quick fold refuses what the full one accepts");
});
