//! Streams of any bytes, cut anywhere: the same goes on and the same is read as in one piece.
#![no_main]
use wire::Protocol;
use wire::scan::{Ending, Scan};

fn run(protocol: Protocol, withhold: bool, pieces: &[&[u8]]) -> (Vec<u8>, Ending) {
    let mut scan = Scan::new(protocol, withhold);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(scan.push(piece).expect("short").collect(piece));
    }
    let mut ending = scan.finish();
    out.append(&mut ending.rest);
    (out, ending)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [first, cut, bytes @ ..] = data else { return };
    let protocol = Protocol::ALL[usize::from(*first) % Protocol::ALL.len()];
    let withhold = *first & 0x80 != 0;
    let whole = run(protocol, withhold, &[bytes]);
    if !withhold {
        assert_eq!(whole.0, bytes, "a stream passes as it is");
    }
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut % 16) + 1).collect();
    assert_eq!(run(protocol, withhold, &pieces), whole);
    let (front, back) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    assert_eq!(run(protocol, withhold, &[front, back]), whole);
});
