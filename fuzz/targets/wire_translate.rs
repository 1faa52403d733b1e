//! Bodies and streams of any bytes: translated into what the other protocol's reader takes, or refused by name.
#![no_main]
use wire::provider::Provider;
use wire::translate::{Context, Stream, answer, request};
use wire::{Limits, Protocol, Request};

const SPOKEN: [Protocol; 3] = [Protocol::Chat, Protocol::Messages, Protocol::Responses];
const HEARD: [Protocol; 4] = [Protocol::Chat, Protocol::Messages, Protocol::Responses, Protocol::Converse];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [first, cut, bytes @ ..] = data else { return };
    let from = SPOKEN[usize::from(*first) % 3];
    let limits = Limits { bytes: 1 << 16, depth: 64 };
    if let Ok(asked) = Request::parse(from, bytes.to_vec(), limits) {
        for provider in [Provider::OpenAi, Provider::Anthropic, Provider::Mistral, Provider::Bedrock] {
            let to = provider.dialect(from).expect("it speaks");
            match request(&asked, to) {
                Ok(made) if to.protocol == Protocol::Converse => {
                    assert!(serde_json::from_slice::<serde_json::Value>(&made.body).is_ok());
                }
                // Nested deeper by a level or two where parts are put into lists.
                Ok(made) => {
                    let limits = Limits { bytes: 1 << 20, depth: 72 };
                    drop(Request::parse(to.protocol, made.body, limits).expect("a request"));
                }
                Err(refused) => assert!(!refused.is_empty()),
            }
        }
    }
    let from = HEARD[usize::from(*first) % 4];
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
