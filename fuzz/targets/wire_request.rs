//! Bodies of any bytes, by any protocol: refused with a reason, or bounded and rewritten so that only what the changes
//! say is another.
#![no_main]
use wire::{Limits, Protocol, Request, Rewrite};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let protocol = Protocol::ALL[usize::from(*first) % Protocol::ALL.len()];
    let limits = Limits { bytes: 1 << 16, depth: 24 };
    let request = match Request::parse(protocol, body.to_vec(), limits) {
        Ok(request) => request,
        Err(fault) => return assert!(!fault.message.is_empty()),
    };
    let bound = request.bound();
    assert!(bound.input_bytes <= body.len() as u64 && bound.choices > 0);
    for cost in &bound.costs {
        assert!(cost.place.starts_with('/'), "{cost:?}");
    }
    let rewrite = Rewrite {
        model: Some("other"),
        output_cap: Some(7),
        older_cap: *first & 0x80 != 0,
        ask_usage: true,
    };
    let (bytes, changes) = request.rewrite(&rewrite);
    let after = Request::parse(protocol, bytes.clone(), Limits { bytes: 1 << 17, depth: 24 }).expect("still a request");
    assert_eq!(after.model(), "other");
    assert!(after.rewrite(&rewrite).1.is_empty(), "a second time changes nothing");
    assert!(changes.len() <= 3);
    // Taken back by hand, the body is what it was, for a reader of another make. It rounds numbers, but both alike.
    let Ok(mut back) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return };
    for change in &changes {
        let keys: Vec<&str> = change.pointer.split('/').skip(1).collect();
        let (last, path) = keys.split_last().expect("a key");
        let holder = path.iter().fold(&mut back, |value, key| &mut value[*key]);
        match &change.from {
            Some(from) => holder[*last] = serde_json::from_str(from).expect("what stood there"),
            None => drop(holder.as_object_mut().expect("an object").remove(*last)),
        }
    }
    assert_eq!(Some(back), serde_json::from_slice(body).ok());
    wire::redacted::redacted(body);
});
