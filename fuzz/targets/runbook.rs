//! Runbooks of any JSON: valid or complained about; never a panic.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(book) = serde_json::from_slice::<runtime::runbook::Runbook>(data) {
        let _ = book.validate();
    }
});
