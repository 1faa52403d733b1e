//! Webhook bodies of any bytes: normalised or refused with a place.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match assay::alertmanager::parse(data, assay::alertmanager::Limits::default()) {
        Ok(notification) => assert!(!notification.alerts.is_empty()),
        Err(refused) => assert!(!refused.what.is_empty()),
    }
});
