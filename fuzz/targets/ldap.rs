//! What a directory may send, and what a document may say is a filter: read or refused. A filter that is read is
//! one element, whatever is in it.
#![no_main]
use cofferdam::identity::ldap::ber::Reader;
use cofferdam::identity::ldap::filter::Filter;
use cofferdam::identity::ldap::message::read;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes, 7, "uid");
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let typed = [Some(Filter::equal("uid", text)), Filter::parse(text).ok()];
    for filter in typed.into_iter().flatten() {
        let mut reader = Reader::new(filter.bytes());
        assert!(reader.element().is_ok() && reader.is_empty());
    }
});
