//! Entry bundles and proof files of any bytes: read or refused.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(leaves) = journal::tiles::read_entry_bundle(data) {
        assert!(leaves.len() <= 256);
        assert_eq!(journal::tiles::entry_bundle(leaves.iter().copied()).as_deref(), Some(data));
    }
    if let Ok(bundle) = journal::proof::InclusionBundle::parse(data) {
        let _ = bundle.verify(None);
    }
});
