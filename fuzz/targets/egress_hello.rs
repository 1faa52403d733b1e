//! First messages of TLS of any bytes: cut anywhere they need more or are refused, and never name another host.
#![no_main]
use assay::hello::Hello;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(hello)) = Hello::parse(bytes) else { return };
    if let Some(name) = &hello.name {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
    }
    for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        if let Ok(Some(shorter)) = Hello::parse(&bytes[..cut]) {
            assert_eq!(shorter, hello, "more bytes make another message");
        }
    }
});
