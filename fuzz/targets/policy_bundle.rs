//! Any bytes are refused as a bundle of policies with a reason, or hold contents that have one form: what was read,
//! signed again, reads the same. Nobody's signature is believed.
#![no_main]
use gate::bundles::{Envelope, PublisherKey};
use std::collections::BTreeMap;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = Envelope::read(bytes) else { return };
    let again = Envelope::read(&envelope.to_bytes().unwrap()).unwrap();
    assert_eq!(again, envelope);
    let Ok(contents) = envelope.unverified() else { return };
    let _ = cofferdam::config::bundle::documents("fuzz.bundle", &contents);
    let key = PublisherKey::from_seed(&[7; 32]);
    if let Ok(signed) = Envelope::sign(&contents, &key) {
        assert_eq!(signed.unverified().unwrap(), contents);
        let publishers = BTreeMap::from([(contents.publisher.clone(), vec![key.public()])]);
        assert_eq!(signed.verify(&publishers).unwrap().contents(), &contents);
    }
    let strangers = BTreeMap::from([(contents.publisher, vec![PublisherKey::from_seed(&[8; 32]).public()])]);
    assert!(envelope.verify(&strangers).is_err());
});
