//! Bodies and streams of any bytes: translated into what the other protocol's reader takes, or refused by name.
#![no_main]
use wire::translate::{Context, Stream, answer, request};
use wire::{Limits, Protocol, Request};

const SPOKEN: [Protocol; 3] = [Protocol::Chat, Protocol::Messages, Protocol::Responses];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [first, cut, bytes @ ..] = data else { return };
    let from = SPOKEN[usize::from(*first) % 3];
    let limits = Limits { bytes: 1 << 16, depth: 64 };
    if let Ok(asked) = Request::parse(from, bytes.to_vec(), limits) {
        for to in SPOKEN {
            match request(&asked, to) {
                // Nested deeper by a level or two where parts are put into lists.
                Ok(made) => drop(Request::parse(to, made.body, Limits { bytes: 1 << 20, depth: 72 }).expect("a request")),
                Err(refused) => assert!(!refused.is_empty()),
            }
        }
    }
    let context = Context { created: 1, wants_usage: true };
    for to in SPOKEN {
        if let Ok(body) = answer(from, to, bytes, &context) {
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
        let run = |size: usize| {
            let mut stream = Stream::new(from, to, context).expect("a pair");
            let mut out = Vec::new();
            for piece in bytes.chunks(size) {
                out.extend(stream.push(piece).expect("short"));
            }
            let (rest, whole) = stream.finish();
            out.extend(rest);
            (out, whole)
        };
        assert_eq!(run(usize::from(*cut % 16) + 1), run(1 << 16), "wherever it is cut");
    }
});
