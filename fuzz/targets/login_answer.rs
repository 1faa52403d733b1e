//! What a browser may bring to a login: a code only from an answer with our state, and only of our issuer.
#![no_main]
use cofferdam::cli::login::answer::{Asked, read};

libfuzzer_sys::fuzz_target!(|query: &str| {
    let asked = Asked { state: "s".to_owned(), issuer: "i".to_owned(), names_itself: true };
    if let Ok(code) = read(query, &asked) {
        assert!(!code.expose().is_empty());
    }
});
