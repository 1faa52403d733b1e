//! Event streams of AWS of any bytes, cut anywhere: the same events or the same refusal.
#![no_main]
use wire::frames::Frames;

fn run(pieces: &[&[u8]]) -> (Vec<u8>, Result<bool, &'static str>) {
    let mut frames = Frames::default();
    let mut out = Vec::new();
    for piece in pieces {
        match frames.push(piece) {
            Ok(events) => out.extend(events),
            Err(broken) => return (out, Err(broken.why)),
        }
    }
    (out, Ok(frames.finish()))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [cut, bytes @ ..] = data else { return };
    let (events, end) = run(&[bytes]);
    assert!(events.is_empty() || events.ends_with(b"\n\n"));
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut % 32) + 1).collect();
    let (told, other) = run(&pieces);
    assert_eq!(other, end);
    // What came before a broken frame may have been told when it was in a piece of its own.
    assert!(if end.is_ok() { told == events } else { told.starts_with(&events) });
});
