//! Output of git, any bytes: read without a panic.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = runtime::tools::git::parse_log(data);
    let _ = runtime::tools::git::parse_blame(data);
});
