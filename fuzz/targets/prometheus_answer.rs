//! Answers of a metrics server, any bytes: read within bounds or refused.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(answer) = runtime::tools::prometheus::parse_response(data) {
        let _ = (answer.to_json(), answer.summary());
    }
});
