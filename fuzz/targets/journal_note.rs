//! Signed notes, checkpoints and keys of any text: read or refused. No note opens without a signature.
#![no_main]
use journal::checkpoint::Checkpoint;
use journal::note::{Signer, Verifier};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let signer = Signer::from_seed("example.org/log", &[7; 32]).expect("a signer");
    let verifier = signer.verifier();
    assert!(verifier.open(text).is_err() || text.contains("example.org/log"));
    let _ = Checkpoint::open(text, &verifier);
    let _ = Verifier::parse(text);
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        let again = Checkpoint::parse(&checkpoint.to_text()).expect("what is written can be read");
        assert_eq!(again, checkpoint);
    }
});
