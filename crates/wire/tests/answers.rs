//! Answers and streams: what is passed on, what is read in them, and what errors mean.

#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy sees only the functions marked so"
)]

use proptest::prelude::*;
use wire::failure::{Failure, error_body, error_event, error_headers};
use wire::scan::{Ending, Scan};
use wire::upstream::fault_of;
use wire::{Family, Protocol, ServerTools, Tier, Usage, answer_of, usage_of};

const CHAT: &str = include_str!("golden/chat.sse");
const CHAT_TOOLS: &str = include_str!("golden/chat_tools.sse");
const RESPONSES: &str = include_str!("golden/responses.sse");
const MESSAGES: &str = include_str!("golden/messages.sse");

/// Pushes pieces; gives what went on, and how it ended.
fn run(protocol: Protocol, withhold: bool, pieces: &[&[u8]]) -> (Vec<u8>, Ending) {
    let mut scan = Scan::new(protocol, withhold);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(scan.push(piece).unwrap().collect(piece));
    }
    let ending = scan.finish();
    out.extend(&ending.rest);
    (out, ending)
}

fn whole(protocol: Protocol, text: &str) -> Ending {
    let (out, ending) = run(protocol, false, &[text.as_bytes()]);
    assert_eq!(out, text.as_bytes(), "a stream passes as it is");
    ending
}

#[test]
fn a_stream_of_chat() {
    let ending = whole(Protocol::Chat, CHAT);
    assert_eq!(ending.answer.id.as_deref(), Some("chatcmpl-1"));
    assert_eq!(ending.answer.model.as_deref(), Some("gpt-5.1-2025-11-13"));
    assert_eq!(ending.answer.finish.as_deref(), Some("stop"));
    assert_eq!(ending.answer.output_bytes, "Grüße!".len() as u64);
    let usage = Usage {
        input: 7,
        cached: 4,
        output: 5,
        reasoning: 2,
        ..Usage::default()
    };
    assert_eq!(
        (ending.answer.usage, ending.cut, ending.marked),
        (Some(usage), false, true)
    );
}

#[test]
fn usage_is_withheld_from_who_did_not_ask() {
    let (out, ending) = run(Protocol::Chat, true, &[CHAT.as_bytes()]);
    let out = String::from_utf8(out).unwrap();
    let (before, after) = CHAT.split_once("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5.1-2025-11-13\",\"choices\":[],").unwrap();
    let after = after.split_once("\n\n").unwrap().1;
    assert_eq!(
        out,
        format!("{before}{after}"),
        "one event is missing, and nothing else"
    );
    assert!(out.ends_with("data: [DONE]\n\n"));
    assert!(!ending.cut && ending.answer.usage.is_some());
}

#[test]
fn a_stream_of_chat_with_tools() {
    let ending = whole(Protocol::Chat, CHAT_TOOLS);
    assert_eq!(ending.answer.finish.as_deref(), Some("tool_calls"));
    assert_eq!(
        ending.answer.output_bytes,
        ("get_weather".len() + "{\"city\":\"Oslo\"}".len()) as u64
    );
    // This client did not ask for usage, and the gateway did not either: what it costs is not known.
    assert_eq!(
        (ending.answer.usage, ending.cut, ending.marked),
        (None, true, true)
    );
}

#[test]
fn a_stream_of_responses() {
    let ending = whole(Protocol::Responses, RESPONSES);
    assert_eq!(ending.answer.id.as_deref(), Some("resp_1"));
    assert_eq!(ending.answer.finish.as_deref(), Some("completed"));
    assert_eq!(
        ending.answer.output_bytes,
        ("get_weather".len() + "{\"city\":\"Oslo\"}".len() + "Hi.".len()) as u64
    );
    let usage = Usage {
        input: 20,
        cached: 10,
        cache_write: 4,
        cache_write_long: 2,
        output: 9,
        reasoning: 3,
        tools: ServerTools {
            web_search: 1,
            ..ServerTools::default()
        },
        tier: Tier::Flex,
        ..Usage::default()
    };
    assert_eq!(
        (ending.answer.usage, ending.cut, ending.marked),
        (Some(usage), false, true)
    );
    assert_eq!(usage.input_total(), 36, "as the upstream said");
}

#[test]
fn a_stream_of_messages() {
    let ending = whole(Protocol::Messages, MESSAGES);
    assert_eq!(ending.answer.id.as_deref(), Some("msg_1"));
    assert_eq!(ending.answer.finish.as_deref(), Some("tool_use"));
    assert_eq!(
        ending.answer.output_bytes,
        ("Let me see.Hello".len() + "get_weather".len() + "{\"city\":\"Oslo\"}".len()) as u64
    );
    let usage = Usage {
        input: 25,
        cached: 100,
        cache_write: 40,
        cache_write_long: 60,
        output: 30,
        reasoning: 12,
        tools: ServerTools {
            web_search: 2,
            ..ServerTools::default()
        },
        ..Usage::default()
    };
    assert_eq!(
        (ending.answer.usage, ending.cut, ending.marked),
        (Some(usage), false, true)
    );
}

#[test]
fn what_flows_is_counted_as_it_flows() {
    let mut scan = Scan::new(Protocol::Messages, false);
    let half = MESSAGES.find("event: message_delta").unwrap();
    scan.push(&MESSAGES.as_bytes()[..half]).unwrap();
    assert_eq!(
        scan.usage().map(|u| (u.input, u.output)),
        Some((25, 1)),
        "what the first event said"
    );
    assert_eq!((scan.output_bytes(), scan.ended()), (42, false));
    let ending = scan.finish();
    assert!(ending.cut, "no end was told");
}

#[test]
fn every_cut_is_noticed() {
    for (protocol, text) in [
        (Protocol::Chat, CHAT),
        (Protocol::Responses, RESPONSES),
        (Protocol::Messages, MESSAGES),
    ] {
        // Before the event that says the final usage.
        let last = match protocol {
            Protocol::Chat => text.find("\"choices\":[],").unwrap(),
            Protocol::Responses => text.find("event: response.completed").unwrap(),
            _ => text.find("event: message_delta").unwrap(),
        };
        for at in (0..last).step_by(7) {
            let (_, ending) = run(protocol, false, &[&text.as_bytes()[..at]]);
            assert!(ending.cut, "{protocol:?} cut at {at}");
        }
    }
}

#[test]
fn errors_inside_a_stream() {
    #[rustfmt::skip]
    let table: &[(&str, Protocol, &str, &str)] = &[
        ("chat",      Protocol::Chat,      "data: {\"error\":{\"message\":\"too much\",\"type\":\"server_error\",\"code\":null}}\n\n", "server_error too much"),
        ("a word",    Protocol::Chat,      "data: {\"error\":\"out of memory\"}\n\n",                            "- out of memory"),
        ("messages",  Protocol::Messages,  "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", "overloaded_error Overloaded"),
        ("responses", Protocol::Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow\",\"param\":null}\n\n", "rate_limit_exceeded slow"),
        ("failed",    Protocol::Responses, "data: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"status\":\"failed\",\"output\":[],\"error\":{\"code\":\"server_error\",\"message\":\"oh\"}}}\n\n", "server_error oh"),
    ];
    for (name, protocol, text, expected) in table {
        let ending = whole(*protocol, text);
        let error = ending.error.unwrap();
        let got = format!(
            "{} {}",
            error.code.as_deref().unwrap_or("-"),
            error.message.as_deref().unwrap_or("-")
        );
        assert_eq!((got.as_str(), ending.cut), (*expected, true), "{name}");
    }
}

#[test]
fn forms_of_events() {
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    #[rustfmt::skip]
    let table: &[(&str, String, &str, u64)] = &[
        // what the row shows           stream                                                     what goes on          events
        ("LF",                          format!("data: {usage}\n\ndata: [DONE]\n\n"),              "data: [DONE]\n\n",    2),
        ("CRLF",                        format!("data: {usage}\r\n\r\ndata: [DONE]\r\n\r\n"),      "data: [DONE]\r\n\r\n", 2),
        ("CR",                          format!("data: {usage}\r\rdata: [DONE]\r\r"),              "data: [DONE]\r\r",    2),
        ("no space",                    format!("data:{usage}\n\ndata:[DONE]\n\n"),                "data:[DONE]\n\n",     2),
        ("a comment before",            format!(": hi\n\ndata: {usage}\n\n:x\n\n"),                ": hi\n\n:x\n\n",      1),
        ("a comment, CRLF",             format!("data: {usage}\r\n\r\n: x\r\n\r\n"),               ": x\r\n\r\n",         1),
        ("fields that nobody reads",    format!("id: 1\nretry: 5\ndata: {usage}\n\n"),             "",                    1),
        ("data in two lines",           "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":3}}\n\n".to_owned(), "", 1),
        ("a byte order mark",           format!("\u{feff}data: {usage}\n\n"),                      "",                    1),
        ("empty lines",                 format!("\n\n\ndata: {usage}\n\n\n"),                      "\n\n\n\n",            1),
        ("not ended",                   format!("data: {usage}"),                                  "",                    1),
        ("not ended, other",            "data: {\"choices\":[{}]}".to_owned(),                     "data: {\"choices\":[{}]}", 1),
        ("usage beside a choice",       "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3}}\n\n".to_owned(), "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3}}\n\n", 1),
        ("usage of null",               "data: {\"choices\":[],\"usage\":null}\n\n".to_owned(),    "data: {\"choices\":[],\"usage\":null}\n\n", 1),
    ];
    for (name, text, expected, events) in table {
        let (out, ending) = run(Protocol::Chat, true, &[text.as_bytes()]);
        assert_eq!(String::from_utf8(out).unwrap(), *expected, "{name}");
        assert_eq!((ending.events, ending.unread), (*events, 0), "{name}");
    }
    let (_, ending) = run(Protocol::Chat, false, &[b"data: {oh\n\ndata: \xff\n\n"]);
    assert_eq!(
        (ending.events, ending.unread),
        (2, 2),
        "what cannot be read is counted"
    );
}

#[test]
fn an_event_without_end_is_cut() {
    let piece = vec![b'x'; 1 << 20];
    let mut scan = Scan::new(Protocol::Chat, true);
    let broken = (0..64).find(|_| scan.push(&piece).is_err());
    assert_eq!(broken, Some(16), "after 16 MiB");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever the bytes are cut, the same goes on and the same is read.
    #[test]
    fn any_split_is_the_same(
        which in 0..4_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        withhold: bool,
        ending in 0..3_usize,
    ) {
        let (protocol, text) = [(Protocol::Chat, CHAT), (Protocol::Chat, CHAT_TOOLS), (Protocol::Responses, RESPONSES), (Protocol::Messages, MESSAGES)][which];
        let text = text.replace('\n', ["\n", "\r\n", "\r"][ending]);
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (out, ending) = run(protocol, withhold, &pieces);
        let (expected, one) = run(protocol, withhold, &[bytes]);
        prop_assert_eq!(String::from_utf8(out), String::from_utf8(expected));
        // Held bytes may come with the end rather than before it.
        prop_assert_eq!(Ending { rest: Vec::new(), ..ending }, Ending { rest: Vec::new(), ..one });
    }
}

#[test]
fn usage_of_bodies() {
    let none = Usage::default();
    #[rustfmt::skip]
    let table: &[(&str, Protocol, &str, Option<Usage>)] = &[
        ("chat", Protocol::Chat, r#"{"usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14}}"#,
            Some(Usage { input: 10, output: 4, ..none })),
        ("chat, cached", Protocol::Chat, r#"{"service_tier":"priority","usage":{"prompt_tokens":10,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":6,"audio_tokens":1},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":1,"rejected_prediction_tokens":1}}}"#,
            Some(Usage { input: 4, cached: 6, audio_input: 1, output: 4, reasoning: 3, audio_output: 1, tier: Tier::Priority, ..none })),
        ("more cached than read", Protocol::Chat, r#"{"usage":{"prompt_tokens":10,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":60}}}"#,
            Some(Usage { cached: 10, output: 4, ..none })),
        ("embeddings", Protocol::Embeddings, r#"{"usage":{"prompt_tokens":10,"total_tokens":10}}"#,
            Some(Usage { input: 10, ..none })),
        ("responses", Protocol::Responses, r#"{"output":[{"type":"web_search_call"},{"type":"mcp_call"},{"type":"code_interpreter_call"}],"usage":{"input_tokens":10,"output_tokens":4}}"#,
            Some(Usage { input: 10, output: 4, tools: ServerTools { web_search: 1, code: 1, other: 1, ..ServerTools::default() }, ..none })),
        ("messages", Protocol::Messages, r#"{"usage":{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":7,"output_tokens":4,"speed":"fast"}}"#,
            Some(Usage { input: 10, cached: 5, cache_write: 7, output: 4, tier: Tier::Priority, ..none })),
        ("messages, rounds", Protocol::Messages, r#"{"usage":{"input_tokens":10,"output_tokens":4,"iterations":[{"type":"message","input_tokens":10,"output_tokens":4},{"type":"compaction","input_tokens":100,"output_tokens":20,"cache_creation_input_tokens":3,"cache_read_input_tokens":2},{"type":"advisor_message","model":"x","input_tokens":50,"output_tokens":5}]}}"#,
            Some(Usage { input: 110, cached: 2, cache_write_long: 3, output: 24, other_model: 55, ..none })),
        ("none", Protocol::Messages, r#"{"usage":{}}"#, None),
        ("null", Protocol::Chat, r#"{"usage":null}"#, None),
        ("negative", Protocol::Chat, r#"{"usage":{"prompt_tokens":-1}}"#, None),
        ("counting costs nothing", Protocol::CountTokens, r#"{"input_tokens":10}"#, None),
        ("no JSON", Protocol::Chat, "oops", None),
    ];
    for (name, protocol, body, expected) in table {
        assert_eq!(usage_of(*protocol, body.as_bytes()), *expected, "{name}");
    }
    let body = r#"{"id":"c","model":"m","choices":[{"message":{"content":"héllo","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"length"}]}"#;
    let answer = answer_of(Protocol::Chat, body.as_bytes()).unwrap();
    assert_eq!(
        (answer.finish.as_deref(), answer.output_bytes),
        (Some("length"), 9)
    );
}

#[test]
fn what_an_upstream_means() {
    let json = Some("application/json");
    type Row = (
        &'static str,
        Protocol,
        bool,
        u16,
        Option<&'static str>,
        &'static str,
        &'static str,
    );
    #[rustfmt::skip]
    let table: &[Row] = &[
        // what the row shows     protocol            stream status type                   body                                             kind code message
        ("an answer",             Protocol::Chat,      false, 200, json,                   r#"{"choices":[]}"#,                             "fine"),
        ("no content type",       Protocol::Chat,      false, 200, None,                   r#"{"choices":[]}"#,                             "fine"),
        ("a stream",              Protocol::Chat,      true,  200, Some("Text/Event-Stream; charset=utf-8"), "",                            "fine"),
        ("counted",               Protocol::CountTokens, false, 200, json,                 r#"{"input_tokens":3}"#,                         "fine"),
        ("openai 429",            Protocol::Chat,      false, 429, json,                   r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#, "rate_limited rate_limit_exceeded slow down"),
        ("no money",              Protocol::Chat,      false, 429, json,                   r#"{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}"#, "quota_exhausted insufficient_quota pay"),
        ("no credit",             Protocol::Messages,  false, 400, json,                   r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#, "quota_exhausted invalid_request_error Your credit balance is too low to access the API."),
        ("overloaded",            Protocol::Messages,  true,  529, json,                   r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "overloaded overloaded_error Overloaded"),
        ("too long, openai",      Protocol::Chat,      false, 400, json,                   r#"{"error":{"message":"long","code":"context_length_exceeded"}}"#, "context_too_long context_length_exceeded long"),
        ("too long, anthropic",   Protocol::Messages,  false, 400, json,                   r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#, "context_too_long invalid_request_error prompt is too long: 9 tokens > 8 maximum"),
        ("too long, vllm",        Protocol::Chat,      false, 400, json,                   r#"{"object":"error","message":"This model's maximum context length is 8","type":"BadRequestError","code":400}"#, "context_too_long BadRequestError This model's maximum context length is 8"),
        ("filtered",              Protocol::Chat,      false, 400, json,                   r#"{"error":{"code":"content_filter","message":"no"}}"#, "content_policy content_filter no"),
        ("key",                   Protocol::Chat,      false, 401, json,                   r#"{"error":{"code":"invalid_api_key","message":"no"}}"#, "authentication invalid_api_key no"),
        ("forbidden",             Protocol::Messages,  false, 403, json,                   r#"{"type":"error","error":{"type":"permission_error","message":"no"}}"#, "permission permission_error no"),
        ("no model",              Protocol::Chat,      false, 404, json,                   r#"{"error":"model 'x' not found"}"#,            "not_found - model 'x' not found"),
        ("large",                 Protocol::Messages,  false, 413, Some("text/html"),      "<html>",                                        "too_large - -"),
        ("a proxy's 502",         Protocol::Chat,      true,  502, Some("text/html"),      "<html>",                                        "server_error - -"),
        ("503",                   Protocol::Chat,      false, 503, None,                   "",                                              "overloaded - -"),
        ("504",                   Protocol::Chat,      false, 504, None,                   "",                                              "timeout - -"),
        ("a redirect",            Protocol::Chat,      false, 302, None,                   "",                                              "unexpected_status - -"),
        ("fastapi",               Protocol::Chat,      false, 422, json,                   r#"{"detail":[{"loc":["body"]}]}"#,              r#"bad_request - [{"loc":["body"]}]"#),
        ("google",                Protocol::Chat,      false, 429, json,                   r#"[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}]"#, "rate_limited 429 quota"),
        ("an error in a 200",     Protocol::Chat,      false, 200, json,                   r#"{"error":{"message":"oops","code":"internal"}}"#, "error_in_success internal oops"),
        ("a known one in a 200",  Protocol::Messages,  true,  200, json,                   r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#, "rate_limited rate_limit_error slow"),
        ("a page in a 200",       Protocol::Chat,      false, 200, Some("text/html"),      "<html>log in</html>",                           "wrong_content_type - -"),
        ("cut JSON",              Protocol::Chat,      false, 200, json,                   r#"{"choices":["#,                               "unreadable - -"),
        ("another shape",         Protocol::Chat,      false, 200, json,                   r#"{"content":[]}"#,                             "unreadable - -"),
        ("no stream",             Protocol::Chat,      true,  200, json,                   r#"{"choices":[]}"#,                             "wrong_content_type - -"),
    ];
    for (name, protocol, stream, status, content_type, body, expected) in table {
        let got = match fault_of(*protocol, *stream, *status, *content_type, body.as_bytes()) {
            None => "fine".to_owned(),
            Some(fault) => format!(
                "{} {} {}",
                fault.kind.as_str(),
                fault.code.as_deref().unwrap_or("-"),
                fault.message.as_deref().unwrap_or("-")
            ),
        };
        assert_eq!(&got, expected, "{name}");
    }
}

#[test]
fn errors_in_each_shape() {
    let failure = Failure {
        status: 429,
        code: "budget_exceeded",
        message: "budget `team` is \"spent\"\nuntil tomorrow",
        reference: Some("jrn-42"),
        retry_after: Some(30),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let openai = r#"{"message":"budget `team` is \"spent\"\nuntil tomorrow (budget_exceeded, see jrn-42)","type":"rate_limit_error","param":null,"code":"budget_exceeded","reference":"jrn-42"}"#;
    let anthropic = r#"{"type":"error","error":{"type":"rate_limit_error","message":"budget `team` is \"spent\"\nuntil tomorrow","code":"budget_exceeded","reference":"jrn-42"},"request_id":"jrn-42"}"#;
    assert_eq!(
        text(error_body(Family::OpenAi, &failure)),
        format!("{{\"error\":{openai}}}")
    );
    assert_eq!(text(error_body(Family::Anthropic, &failure)), anthropic);
    assert_eq!(
        text(error_event(Protocol::Chat, &failure, 0)),
        format!("data: {{\"error\":{openai}}}\n\n")
    );
    assert_eq!(
        text(error_event(Protocol::Messages, &failure, 0)),
        format!("event: error\ndata: {anthropic}\n\n")
    );
    assert_eq!(
        text(error_event(Protocol::Responses, &failure, 3)),
        format!(
            r#"event: error
data: {{"type":"error","code":"budget_exceeded","message":"budget `team` is \"spent\"\nuntil tomorrow","param":null,"sequence_number":3,"error":{openai}}}"#
        ) + "\n\n"
    );
    assert_eq!(error_headers(&failure)[1], ("retry-after", "30".to_owned()));
    let never = Failure {
        retry_after: None,
        ..failure
    };
    assert_eq!(error_headers(&never)[1], ("x-should-retry", "false".to_owned()));
    for protocol in Protocol::ALL {
        let ending = whole(protocol, &text(error_event(protocol, &failure, 0)));
        if protocol.streams() {
            let message = ending.error.unwrap().message.unwrap();
            assert!(
                message.starts_with(failure.message),
                "{protocol:?} reads its own: {message}"
            );
        }
    }
}

#[test]
fn kinds_of_errors_by_status() {
    #[rustfmt::skip]
    let table = [
        (400, "invalid_request_error", "invalid_request_error"), (401, "authentication_error", "authentication_error"),
        (402, "invalid_request_error", "billing_error"), (403, "permission_error", "permission_error"),
        (404, "not_found_error", "not_found_error"), (413, "invalid_request_error", "request_too_large"),
        (429, "rate_limit_error", "rate_limit_error"), (500, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"), (504, "server_error", "timeout_error"), (529, "server_error", "overloaded_error"),
    ];
    for (status, openai, anthropic) in table {
        let failure = Failure {
            status,
            code: "c",
            message: "m",
            reference: None,
            retry_after: None,
        };
        let kind = |family| {
            serde_json::from_slice::<serde_json::Value>(&error_body(family, &failure)).unwrap()["error"]["type"].clone()
        };
        assert_eq!(
            (kind(Family::OpenAi), kind(Family::Anthropic)),
            (openai.into(), anthropic.into()),
            "{status}"
        );
    }
}

#[test]
fn views_show_no_content() {
    let body = r#"{"model":"m","temperature":0.5,"stream":true,"user":"ann@example.com","metadata":{"case":"secret"},
        "messages":[{"role":"system","content":"secret"},{"role":"user","name":"ann","content":[{"type":"text","text":"secret words"},
          {"type":"image_url","image_url":{"url":"https://secret","detail":"low"}}]},
          {"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"get","arguments":"{\"secret\":1}"}}]}],
        "tools":[{"type":"function","function":{"name":"get","description":"secret","parameters":{"secret":1}}}],"sécret key":"x"}"#;
    let shown = wire::redacted::redacted(body.as_bytes());
    assert!(
        !shown.to_string().contains("secret") && !shown.to_string().contains("ann"),
        "{shown}"
    );
    assert_eq!(
        shown["messages"][1]["content"][0],
        serde_json::json!({"type": "text", "text": "‹12 bytes›"})
    );
    assert_eq!(shown["messages"][1]["content"][1]["image_url"]["detail"], "low");
    assert_eq!(shown["messages"][2]["tool_calls"][0]["function"]["name"], "get");
    assert_eq!(
        (
            &shown["temperature"],
            &shown["tools"][0]["function"]["parameters"]
        ),
        (&0.5.into(), &"‹12 bytes›".into())
    );
    let messages = wire::redacted::redacted(br#"{"content":[{"type":"tool_use","id":"t","name":"get","input":{"type":"secret","name":"ann"}}],"stop_reason":"tool_use","usage":{"input_tokens":3}}"#);
    assert_eq!(messages["content"][0]["input"], "‹30 bytes›");
    assert_eq!(
        (&messages["usage"]["input_tokens"], &messages["stop_reason"]),
        (&3.into(), &"tool_use".into())
    );
    let vector = wire::redacted::redacted(br#"{"input":[[1,2],[3]],"data":[{"embedding":[0.25]}]}"#);
    assert_eq!(
        (&vector["input"], &vector["data"]),
        (&"‹11 bytes›".into(), &"‹22 bytes›".into())
    );
    assert_eq!(wire::redacted::redacted(b"data: x"), "‹7 bytes›");
}
