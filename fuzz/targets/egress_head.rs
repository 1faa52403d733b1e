//! Heads of requests and answers of any bytes: what is read has one length, one Host, and nothing of a hop goes on.
#![no_main]
use assay::head::{Asked, Request, Response, passed_on, values};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(answer)) = Response::parse(bytes) {
        assert!(answer.length <= bytes.len());
        assert_eq!(Response::parse(&bytes[..answer.length]), Ok(Some(answer)));
    }
    let Ok(Some(request)) = Request::parse(bytes) else { return };
    assert!(request.length <= bytes.len());
    let head = &bytes[..request.length];
    assert!(!head.windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r'), "a bare LF");
    assert!(!head.windows(2).any(|two| two[0] == b'\r' && two[1] != b'\n'), "a bare CR");
    assert!(values(&request.fields, "host").count() <= 1);
    let lengths = values(&request.fields, "content-length").count();
    assert!(lengths + values(&request.fields, "transfer-encoding").count() <= 1, "two lengths");
    if let Asked::Connect(target) | Asked::Absolute(target, _) = &request.asked {
        assert!(request.host.as_ref().is_none_or(|host| host == target), "another Host");
    }
    for field in passed_on(&request.fields) {
        let name = field.name.to_ascii_lowercase();
        assert!(!["host", "connection", "via", "upgrade", "proxy-authorization", "transfer-encoding"].contains(&name.as_str()));
        assert!(!field.value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }
    // Nothing behind the head changes how it is read.
    assert_eq!(Request::parse(head), Ok(Some(request)));
});
