//! Redaction of any text: within its limit, and stable.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    assert!(assay::redact::redact(text, 500).chars().count() <= 500 + 16);
    assert!(!assay::redact::line(text, 200).chars().any(char::is_control));
    let seeded = format!("{text}\npassword=Hunter2Hunter2 ");
    assert!(!assay::redact::redact(&seeded, usize::MAX).contains("Hunter2Hunter2"));
});
