//! Strict JSON never panics, and what it accepts has one canonical form.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(value) = policy::canonical::parse(data, 1 << 16) {
        let bytes = policy::canonical::to_bytes(&value).expect("accepted values have a canonical form");
        let again = policy::canonical::parse(&bytes, 1 << 20).expect("canonical form is accepted");
        assert_eq!(policy::canonical::to_bytes(&again).expect("canonical"), bytes);
    }
});
