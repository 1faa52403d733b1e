//! Providers: where they take what, and Bedrock's own protocol and framing.

#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy sees only the functions marked so"
)]

use proptest::prelude::*;
use serde_json::{Value, json};
use wire::frames::Frames;
use wire::provider::{Provider, url};
use wire::scan::{Ending, Scan};
use wire::translate::{Context, Ended, Stream, answer, request};
use wire::upstream::fault_of;
use wire::{Limits, Protocol, Request, Usage, usage_of};

const ALL: [Provider; 7] = [
    Provider::OpenAi,
    Provider::Anthropic,
    Provider::Gemini,
    Provider::Azure,
    Provider::Bedrock,
    Provider::Mistral,
    Provider::Compatible,
];

/// Client × provider: the protocol spoken, `<` an older cap, `?` asked for usage, `!` strict.
#[test]
fn who_is_spoken_to_how() {
    let mut matrix = String::new();
    for protocol in Protocol::ALL {
        matrix.push_str(&format!("{:<13}", protocol.name()));
        for provider in ALL {
            let cell = provider.dialect(protocol).map_or("-".to_owned(), |d| {
                let mark = |on, mark| if on { mark } else { "" };
                format!(
                    "{}{}{}{}",
                    d.protocol.name(),
                    mark(d.older_cap, "<"),
                    mark(d.ask_usage, "?"),
                    mark(d.strict, "!")
                )
            });
            matrix.push_str(&format!("{cell:<13}"));
        }
        matrix = matrix.trim_end().to_owned() + "\n";
    }
    assert_eq!(
        matrix,
        "\
chat         chat?        messages     chat<?       chat?        converse     chat<!       chat<?
responses    responses    messages     chat<?       responses    converse     chat<!       chat<?
embeddings   embeddings   -            embeddings<  embeddings   -            embeddings<! embeddings<
messages     chat?        messages     chat<?       chat?        converse     chat<!       chat<?
count_tokens -            count_tokens -            -            -            -            -
"
    );
}

#[test]
fn where_it_goes() {
    use Protocol::{Chat, Converse, CountTokens, Embeddings, Messages, Responses};
    #[rustfmt::skip]
    let table = [
        // provider            protocol     stream  version             path                                                             headers and credential
        (Provider::OpenAi,     Chat,        false, None,               "/v1/chat/completions",                                          "authorization: Bearer KEY"),
        (Provider::OpenAi,     Responses,   true,  None,               "/v1/responses",                                                 "authorization: Bearer KEY"),
        (Provider::Anthropic,  Messages,    true,  None,               "/v1/messages",                                                  "anthropic-version: 2023-06-01, x-api-key: KEY"),
        (Provider::Anthropic,  CountTokens, false, None,               "/v1/messages/count_tokens",                                     "anthropic-version: 2023-06-01, x-api-key: KEY"),
        (Provider::Gemini,     Chat,        true,  None,               "/v1beta/openai/chat/completions",                               "authorization: Bearer KEY"),
        (Provider::Gemini,     Embeddings,  false, None,               "/v1beta/openai/embeddings",                                     "authorization: Bearer KEY"),
        (Provider::Azure,      Chat,        false, None,               "/openai/v1/chat/completions",                                   "api-key: KEY"),
        (Provider::Azure,      Chat,        false, Some("2024-10-21"), "/openai/deployments/a%2Fb%3A1/chat/completions?api-version=2024-10-21", "api-key: KEY"),
        (Provider::Azure,      Responses,   false, Some("2025-04-01-preview"), "/openai/responses?api-version=2025-04-01-preview",      "api-key: KEY"),
        (Provider::Bedrock,    Converse,    false, None,               "/model/a%2Fb%3A1/converse",                                     "authorization: Bearer KEY"),
        (Provider::Bedrock,    Converse,    true,  None,               "/model/a%2Fb%3A1/converse-stream",                              "authorization: Bearer KEY"),
        (Provider::Mistral,    Chat,        true,  None,               "/v1/chat/completions",                                          "authorization: Bearer KEY"),
    ];
    for (provider, protocol, stream, version, path, headers) in table {
        let endpoint = provider.endpoint(protocol, "a/b:1", stream, version);
        let mut lines: Vec<String> = endpoint
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        lines.push(format!(
            "{}: {}KEY",
            endpoint.credential.header, endpoint.credential.prefix
        ));
        assert_eq!(
            (endpoint.path.as_str(), lines.join(", ").as_str()),
            (path, headers),
            "{provider:?} {protocol:?}"
        );
    }
    #[rustfmt::skip]
    let table = [
        ("https://api.openai.com", "/v1/responses", "https://api.openai.com/v1/responses"),
        ("https://api.openai.com/", "/v1/responses", "https://api.openai.com/v1/responses"),
        ("http://127.0.0.1:8000/v1/", "/v1/chat/completions", "http://127.0.0.1:8000/v1/chat/completions"),
        ("https://x/openai", "/v1/chat/completions", "https://x/openai/v1/chat/completions"),
        ("https://x/v1beta", "/v1beta/openai/embeddings", "https://x/v1beta/openai/embeddings"),
        ("https://x/openai", "/openai/v1/responses", "https://x/openai/openai/v1/responses"),
        ("https://x/model", "/model/m/converse", "https://x/model/model/m/converse"),
    ];
    for (base, path, expected) in table {
        assert_eq!(url(base, path), expected);
    }
}

/// CRC-32, a bit at a time.
fn sum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (if sum & 1 == 1 { 0xedb8_8320 } else { 0 });
        }
    }
    (!sum).to_be_bytes()
}

fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend(name.as_bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend(value.as_bytes());
    }
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let mut out = total.to_be_bytes().to_vec();
    out.extend(u32::try_from(head.len()).unwrap().to_be_bytes());
    out.extend(sum(&out));
    out.extend(head);
    out.extend(payload.as_bytes());
    out.extend(sum(&out));
    out
}

fn event(kind: &str, payload: &Value) -> Vec<u8> {
    let headers = [
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, &payload.to_string())
}

fn converse() -> Vec<u8> {
    [
        event("messageStart", &json!({"role": "assistant"})),
        event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}})),
        event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}})),
        event("contentBlockStop", &json!({"contentBlockIndex": 0})),
        event("contentBlockDelta", &json!({"contentBlockIndex": 1, "delta": {"text": "Grü"}})),
        event("contentBlockDelta", &json!({"contentBlockIndex": 1, "delta": {"text": "ße"}})),
        event("contentBlockStop", &json!({"contentBlockIndex": 1})),
        event("contentBlockStart", &json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "get"}}})),
        event("contentBlockDelta", &json!({"contentBlockIndex": 2, "delta": {"toolUse": {"input": "{\"a\":"}}})),
        event("contentBlockDelta", &json!({"contentBlockIndex": 2, "delta": {"toolUse": {"input": "1}"}}})),
        event("contentBlockStop", &json!({"contentBlockIndex": 2})),
        event("contentBlockStart", &json!({"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "t2", "name": "none"}}})),
        event("contentBlockStop", &json!({"contentBlockIndex": 3})),
        event("messageStop", &json!({"stopReason": "tool_use"})),
        event("metadata", &json!({"usage": {"inputTokens": 10, "outputTokens": 7, "totalTokens": 29, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 7,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 3}, {"ttl": "5m", "inputTokens": 4}]}, "metrics": {"latencyMs": 1}})),
    ]
    .concat()
}

const USAGE: Usage = Usage {
    input: 10,
    cached: 5,
    cache_write: 4,
    cache_write_long: 3,
    output: 7,
    reasoning: 0,
    audio_input: 0,
    audio_output: 0,
    other_model: 0,
    tools: wire::ServerTools {
        web_search: 0,
        web_fetch: 0,
        code: 0,
        file_search: 0,
        image_generation: 0,
        other: 0,
    },
    tier: wire::Tier::Standard,
};

fn unframed(pieces: &[&[u8]]) -> Vec<u8> {
    let mut frames = Frames::default();
    let out = pieces
        .iter()
        .flat_map(|piece| frames.push(piece).unwrap())
        .collect();
    assert!(!frames.finish(), "nothing was cut");
    out
}

fn scan(protocol: Protocol, text: &[u8]) -> Ending {
    let mut scan = Scan::new(protocol, false);
    scan.push(text).unwrap();
    scan.finish()
}

#[test]
fn a_stream_of_converse() {
    let events = unframed(&[&converse()]);
    let ending = scan(Protocol::Converse, &events);
    assert_eq!(
        (ending.answer.usage, ending.cut, ending.marked),
        (Some(USAGE), false, true)
    );
    assert_eq!(ending.answer.finish.as_deref(), Some("tool_use"));
    assert_eq!(
        ending.answer.output_bytes,
        ("hm".len() + "Grüße".len() + "get{\"a\":1}none".len()) as u64
    );
    let context = Context {
        created: 1,
        wants_usage: true,
    };
    for to in [Protocol::Chat, Protocol::Messages, Protocol::Responses] {
        let mut stream = Stream::new(Protocol::Converse, to, context).unwrap();
        let mut told = stream.push(&events).unwrap();
        let (rest, ended) = stream.finish();
        told.extend(rest);
        assert_eq!(ended, Ended::Whole);
        let after = scan(to, &told);
        let usage = after.answer.usage.unwrap();
        assert_eq!(
            (usage.input_total(), usage.cached, usage.output),
            (22, 5, 7),
            "{to:?}"
        );
        // The second call has no arguments, which is an object without fields.
        assert_eq!(
            after.answer.output_bytes,
            ending.answer.output_bytes + 2,
            "{to:?}"
        );
        assert!(String::from_utf8(told).unwrap().contains(r#""arguments":"{}""#) || to == Protocol::Messages);
    }
}

#[test]
fn frames_that_are_broken() {
    let good = event("messageStart", &json!({"role": "assistant"}));
    let changed = |at: usize| {
        let mut bytes = good.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        bytes
    };
    // The empty message that AWS publishes as an example: its sums are right, and it is of no type.
    let empty = [
        0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
    ];
    let mut huge = [0xff_u8; 4].to_vec();
    huge.extend([0; 4]);
    huge.extend(sum(&huge));
    let mut inside = 20_u32.to_be_bytes().to_vec();
    inside.extend(5_u32.to_be_bytes());
    inside.extend(sum(&inside));
    #[rustfmt::skip]
    let table = [
        ("a bit of the length",    changed(3),                             "the sum of a prelude is wrong"),
        ("a bit of a header",      changed(20),                            "the sum of a message is wrong"),
        ("a bit of the payload",   changed(good.len() - 6),                "the sum of a message is wrong"),
        ("AWS's own example",      empty.to_vec(),                         "a message of an unknown type"),
        ("too long",               huge,                                   "a message is longer than it may be, or shorter than its headers"),
        ("headers beyond the end", inside,                                 "a message is longer than it may be, or shorter than its headers"),
        ("another type",           frame(&[(":message-type", "rumour")], ""), "a message of an unknown type"),
        ("a line in a name",       frame(&[(":message-type", "event"), (":event-type", "a\ndata: x")], ""), "the headers of a message cannot be read"),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(
            Frames::default().push(&bytes).unwrap_err().why,
            expected,
            "{name}"
        );
    }
    let mut frames = Frames::default();
    assert!(
        frames
            .push(good.get(..good.len() - 1).unwrap())
            .unwrap()
            .is_empty()
    );
    assert!(frames.finish(), "a cut message is told");
}

#[test]
fn exceptions_in_frames() {
    let thrown = frame(
        &[
            (":message-type", "exception"),
            (":exception-type", "throttlingException"),
        ],
        r#"{"message":"Too many tokens"}"#,
    );
    let failed = frame(
        &[
            (":message-type", "error"),
            (":error-code", "InternalFailure"),
            (":error-message", "oh"),
        ],
        "",
    );
    for (bytes, code, message) in [
        (thrown, "throttlingException", "Too many tokens"),
        (failed, "InternalFailure", "oh"),
    ] {
        let ending = scan(Protocol::Converse, &unframed(&[&bytes]));
        let error = ending.error.unwrap();
        assert_eq!(
            (error.code.as_deref(), error.message.as_deref(), ending.cut),
            (Some(code), Some(message), true)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_cut_anywhere(size in 1_usize..64) {
        let bytes = converse();
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(unframed(&pieces), unframed(&[&bytes]));
    }
}

#[test]
fn requests_of_converse() {
    let to = Provider::Bedrock.dialect(Protocol::Messages).unwrap();
    let translate = |protocol, body: &Value| {
        let asked = Request::parse(protocol, body.to_string().into_bytes(), Limits::default()).unwrap();
        request(&asked, to)
    };
    let body = json!({
        "model": "m", "max_tokens": 9, "stream": true, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["A"], "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 2048}, "system": "s",
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "tools": [{"name": "get", "description": "d", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "get"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                {"type": "document", "title": "a_b.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "get", "input": {"b": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": true}]}]
    });
    let made = translate(Protocol::Messages, &body).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&made.body).unwrap(),
        json!({
            "messages": [
                {"role": "user", "content": [{"text": "hi"},
                    {"image": {"format": "png", "source": {"bytes": "QUJD"}}},
                    {"document": {"format": "pdf", "source": {"bytes": "QUJD"}, "name": "a-b-pdf"}}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "get", "input": {"b": 1}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "(no output)"}], "status": "error"}}]}],
            "system": [{"text": "s"}],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["A"]},
            "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"type\":\"object\"}"}}}, "effort": "high"},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            "toolConfig": {"tools": [{"toolSpec": {"name": "get", "description": "d", "inputSchema": {"json": {"type": "object"}}}}], "toolChoice": {"tool": {"name": "get"}}}
        })
    );
    let user = json!([{"role": "user", "content": "x"}]);
    #[rustfmt::skip]
    let table = [
        ("an address",   json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}), "/messages/0/content/0: content by its address"),
        ("a tiff",       json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,QQ=="}}]}]}), "/messages/0/content/0: a kind of image or file that is not taken there"),
        ("late system",  json!({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}), "/messages/1/content: system text stands before all else there"),
        ("one by one",   json!({"model": "m", "messages": user, "tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": false}), "/tools/0/function/name: one call at a time cannot be asked for there"),
        ("no tools now", json!({"model": "m", "messages": user, "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}), "/tools/0/function/name: tools that may not be used cannot be offered there"),
        ("hot",          json!({"model": "m", "messages": user, "temperature": 2}), "/temperature: a temperature above 1 does not exist there"),
    ];
    for (name, body, expected) in table {
        let refused = translate(Protocol::Chat, &body).unwrap_err();
        let lines: Vec<String> = refused
            .iter()
            .map(|one| format!("{}: {}", one.pointer, one.why))
            .collect();
        assert_eq!(lines, [expected], "{name}");
    }
}

#[test]
fn answers_of_converse() {
    let body = json!({"output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}, {"text": "Hi"},
            {"toolUse": {"toolUseId": "t", "name": "get", "input": {"a": 1}}}]}},
        "stopReason": "tool_use", "usage": {"inputTokens": 10, "outputTokens": 7, "totalTokens": 29, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 7,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 3}]}, "metrics": {"latencyMs": 1}});
    let bytes = body.to_string().into_bytes();
    assert_eq!(usage_of(Protocol::Converse, &bytes), Some(USAGE));
    assert_eq!(
        fault_of(Protocol::Converse, false, 200, Some("application/json"), &bytes),
        None
    );
    assert_eq!(
        fault_of(
            Protocol::Converse,
            true,
            200,
            Some("application/vnd.amazon.eventstream"),
            b""
        ),
        None
    );
    let fault = fault_of(
        Protocol::Converse,
        true,
        429,
        Some("application/json"),
        br#"{"message":"Too many requests"}"#,
    )
    .unwrap();
    assert_eq!(
        (fault.kind.as_str(), fault.message.as_deref()),
        ("rate_limited", Some("Too many requests"))
    );
    let fault = fault_of(
        Protocol::Converse,
        false,
        400,
        None,
        br#"{"message":"Input is too long for requested model."}"#,
    )
    .unwrap();
    assert_eq!(fault.kind.as_str(), "context_too_long");
    let context = Context {
        created: 1,
        wants_usage: false,
    };
    let told: Value =
        serde_json::from_slice(&answer(Protocol::Converse, Protocol::Messages, &bytes, &context).unwrap())
            .unwrap();
    assert_eq!(
        told["content"],
        json!([{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "t", "name": "get", "input": {"a": 1}}])
    );
    assert_eq!(
        told["usage"],
        json!({"input_tokens": 10, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 7})
    );
    assert_eq!(told["stop_reason"], "tool_use");
}

#[test]
fn other_servers_of_chat() {
    // Google: thoughts are in the total alone.
    let google = br#"{"usage":{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}}"#;
    assert_eq!(
        usage_of(Protocol::Chat, google).map(|usage| usage.output),
        Some(603)
    );
    // Mistral: content is a list where it thinks, and its names for fields are fewer.
    let mistral = json!({"choices": [{"message": {"role": "assistant", "content": [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]}, "finish_reason": "stop"}]});
    let context = Context {
        created: 1,
        wants_usage: false,
    };
    let told = answer(
        Protocol::Chat,
        Protocol::Messages,
        mistral.to_string().as_bytes(),
        &context,
    )
    .unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(
        told["content"],
        json!([{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Hi"}])
    );
    let to = Provider::Mistral.dialect(Protocol::Messages).unwrap();
    let body = json!({"model": "m", "max_tokens": 9, "stream": true, "metadata": {"user_id": "u"}, "messages": [{"role": "user", "content": "x"}]});
    let asked = Request::parse(
        Protocol::Messages,
        body.to_string().into_bytes(),
        Limits::default(),
    )
    .unwrap();
    let made = request(&asked, to).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&made.body).unwrap(),
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9})
    );
    assert_eq!(
        made.notes.first().map(|note| note.pointer.as_str()),
        Some("/metadata/user_id")
    );
    // Ollama and others number every call 0, and give arguments as an object.
    let ollama = json!({"choices": [{"delta": {"tool_calls": [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}]}, "finish_reason": "stop"}]});
    let mut stream = Stream::new(Protocol::Chat, Protocol::Chat, context).unwrap();
    let told = stream
        .push(format!("data: {ollama}\n\ndata: [DONE]\n\n").as_bytes())
        .unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains(r#"{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}"#),
        "{told}"
    );
    assert!(
        told.contains(r#""arguments":"{\"x\":1}""#) && told.contains(r#""finish_reason":"tool_calls""#),
        "{told}"
    );
}
