//! Any body is refused as an approver's answer with a reason and a place, or read within its limits, and reads the
//! same when it is written again; any headers are refused, or found to be signed by nobody.
#![no_main]
use gate::{ANSWER_BYTES_MAX, Answer, ApproverKey, Signed, Unsigned};
use serde_json::json;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The first line stands for the headers, what follows is the body.
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, body) = data.split_at(end);
    let head = String::from_utf8_lossy(head);
    let mut headers = head.splitn(3, ' ');
    let mut header = || headers.next().unwrap_or_default();
    let signed = Signed { id: header(), timestamp: header(), signature: header(), body };
    let key = ApproverKey::parse("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    if let Ok(key) = key {
        let checked = signed.check(&key, policy::Timestamp::from_ms(0));
        assert!(matches!(checked, Err(Unsigned::Headers | Unsigned::Signature)));
    }
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let Ok(answer) = Answer::read(body) else { return };
    assert!(body.len() <= ANSWER_BYTES_MAX && answer.stages.len() <= 64);
    let again = json!({
        "version": 1, "approval": answer.approval, "digest": answer.digest, "nonce": answer.nonce,
        "stages": answer.stages, "decision": answer.decision.as_str(), "reason": answer.reason,
    });
    let again = again.to_string();
    assert!(again.len() > ANSWER_BYTES_MAX || Answer::read(again.as_bytes()) == Ok(answer));
});
