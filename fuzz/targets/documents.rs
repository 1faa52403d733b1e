//! Configuration of any text: documents, or complaints with places.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(problems) = cofferdam::config::from_text("fuzz.yaml", text) {
        assert!(!problems.render().is_empty());
    }
});
