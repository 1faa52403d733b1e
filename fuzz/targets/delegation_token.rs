//! Any text is refused as a delegation token with a reason, or verifies; and what verifies narrows.
#![no_main]
use gate::AgentKey;
use gate::delegations::token::verify;

libfuzzer_sys::fuzz_target!(|text: &str| {
    // The organization and the log that the seeds are for.
    let organization = AgentKey::from_seed(&[200; 32]).public();
    let Ok(chain) = verify(text, &organization, "test.local/default") else { return };
    for pair in chain.links().windows(2) {
        let [above, below] = pair else { continue };
        assert!(below.claims.exp <= above.claims.exp && below.claims.trust <= above.claims.trust);
        for capability in &below.claims.cap {
            assert!(above.claims.cap.iter().any(|held| held.covers_capability(capability)), "{capability}");
        }
    }
});
