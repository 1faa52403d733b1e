//! What a SOCKS5 client may say, of any bytes: no more is used than there is, and a target has one spelling.
#![no_main]
use assay::socks::{greeting, password, request};
use assay::target::Target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((_, used))) = greeting(bytes) {
        assert!(used <= bytes.len());
    }
    if let Ok(Some((_, used))) = password(bytes) {
        assert!(used <= bytes.len());
    }
    let Ok(Some((target, used))) = request(bytes) else { return };
    assert!(used <= bytes.len());
    assert_eq!(Target::parse(&target.to_string()), Ok(target));
});
