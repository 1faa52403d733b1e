//! URLs and prefixes of any text: what a prefix covers has its scheme, host and port.
#![no_main]
use runtime::tools::address::{Prefix, literal, parse_url, resource};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(url) = parse_url(text) else { return };
    let _ = (literal(&url), resource(&url));
    let prefix = Prefix::parse("http://127.0.0.1:8080/api/").expect("a prefix");
    if prefix.covers(&url) {
        assert_eq!((url.scheme(), url.host_str(), url.port()), ("http", Some("127.0.0.1"), Some(8080)));
        assert!(url.path().starts_with("/api"));
    }
});
