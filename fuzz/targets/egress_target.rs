//! Hosts and ports of any text: one spelling of each, and what a resolver could take for an address is never a name.
#![no_main]
use assay::address::{Class, Network, refusal};
use assay::target::{Host, Target};
use std::net::IpAddr;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(network) = Network::parse(text) {
        assert!(network.contains(network.first()) && network.contains(network.last()));
        assert_eq!(Network::parse(&network.to_string()), Ok(network));
    }
    let Ok(target) = Target::parse(text) else { return };
    assert_eq!(Target::parse(&target.to_string()), Ok(target.clone()));
    match &target.host {
        Host::Address(address) => assert_eq!(refusal(*address, false).is_none(), Class::of(*address) == Class::Public),
        Host::Name(name) => {
            assert!(name.parse::<IpAddr>().is_err());
            let last = name.rsplit('.').next().unwrap_or_default();
            // As URLs have it: `0x0fn1` is none.
            let is_hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(!last.bytes().all(|b| b.is_ascii_digit()) && !is_hex, "{name} ends in a number");
        }
    }
});
