//! Requests: what is refused, what bounds their cost, and the three changes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests; clippy sees only the functions marked so"
)]

use proptest::prelude::*;
use serde_json::{Value, json};
use wire::{CostKind, Limits, Protocol, Request, Rewrite};

fn parse(protocol: Protocol, body: &str) -> Request {
    Request::parse(protocol, body.as_bytes().to_vec(), Limits::default()).unwrap()
}

fn refusal(protocol: Protocol, body: &[u8], limits: Limits) -> String {
    match Request::parse(protocol, body.to_vec(), limits) {
        Ok(_) => "taken".to_owned(),
        Err(fault) => format!("{} at {}: {}", fault.code.as_str(), fault.place, fault.message),
    }
}

#[test]
fn what_is_no_request() {
    use Protocol::{Chat, CountTokens, Embeddings, Messages, Responses};
    #[rustfmt::skip]
    let table: &[(&str, Protocol, &str, &str)] = &[
        // what the row shows         protocol     body                                                    refusal
        ("no object",                 Chat,        "[]",                                                   "wrong_type at : the body is no object"),
        ("no model",                  Chat,        r#"{"messages":[]}"#,                                   "missing_field at /model: a required field is missing"),
        ("model null",                Chat,        r#"{"model":null,"messages":[]}"#,                      "missing_field at /model: a required field is missing"),
        ("model empty",               Chat,        r#"{"model":"","messages":[]}"#,                        "out_of_range at /model: the name of a model is empty"),
        ("model twice",               Chat,        r#"{"model":"a","messages":[],"model":"b"}"#,           "duplicate_key at /model: a key appears twice in one object (byte 27)"),
        ("twice further in",          Chat,        r#"{"model":"a","messages":[{"role":"user","role":"system"}]}"#, "duplicate_key at /messages/0/role: a key appears twice in one object (byte 40)"),
        ("model a number",            Messages,    r#"{"model":1,"messages":[]}"#,                         "wrong_type at /model: expected a string"),
        ("stream a string",           Chat,        r#"{"model":"a","messages":[],"stream":"true"}"#,       "wrong_type at /stream: expected true or false"),
        ("n of 0",                    Chat,        r#"{"model":"a","messages":[],"n":0}"#,                 "out_of_range at /n: expected a whole number from 1"),
        ("n of half",                 Chat,        r#"{"model":"a","messages":[],"n":1.5}"#,               "out_of_range at /n: expected a whole number from 1"),
        ("negative cap",              Chat,        r#"{"model":"a","messages":[],"max_tokens":-1}"#,       "out_of_range at /max_tokens: expected a whole number"),
        ("cap a string",              Responses,   r#"{"model":"a","max_output_tokens":"9"}"#,             "wrong_type at /max_output_tokens: expected a whole number"),
        ("null is absent",            Chat,        r#"{"model":"a","messages":[],"n":null,"tools":null}"#, "taken"),
        ("message no object",         Chat,        r#"{"model":"a","messages":["hi"]}"#,                   "wrong_type at /messages/0: expected an object"),
        ("message without role",      Messages,    r#"{"model":"a","messages":[{"content":"x"}]}"#,        "missing_field at /messages/0/role: a required field is missing"),
        ("content a number",          Messages,    r#"{"model":"a","messages":[{"role":"user","content":1}]}"#, "wrong_type at /messages/0/content: expected an array"),
        ("part without type",         Chat,        r#"{"model":"a","messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "missing_field at /messages/0/content/0/type: a required field is missing"),
        ("system a number",           CountTokens, r#"{"model":"a","messages":[],"system":1}"#,            "wrong_type at /system: expected an array"),
        ("tool without type",         Chat,        r#"{"model":"a","messages":[],"tools":[{}]}"#,          "missing_field at /tools/0/type: a required field is missing"),
        ("tool of a client",          Messages,    r#"{"model":"a","messages":[],"tools":[{"name":"x"}]}"#, "taken"),
        ("item without type",         Responses,   r#"{"model":"a","input":[{"id":"x"}]}"#,                "missing_field at /input/0/type: neither a type nor a role"),
        ("item a string",             Responses,   r#"{"model":"a","input":["x"]}"#,                       "wrong_type at /input/0: expected an object"),
        ("input missing",             Embeddings,  r#"{"model":"a"}"#,                                     "missing_field at /input: a required field is missing"),
        ("include_usage a number",    Chat,        r#"{"model":"a","messages":[],"stream_options":{"include_usage":1}}"#, "wrong_type at /stream_options/include_usage: expected true or false"),
        ("unknown fields",            Chat,        r#"{"model":"a","messages":[],"x":{"y":[1]}}"#,         "taken"),
    ];
    for (name, protocol, body, expected) in table {
        assert_eq!(
            &refusal(*protocol, body.as_bytes(), Limits::default()),
            expected,
            "{name}"
        );
    }
}

#[test]
fn limits_and_bytes() {
    let limits = Limits { bytes: 16, depth: 2 };
    let body = br#"{"model":"abcdef"}"#;
    assert_eq!(
        refusal(Protocol::Chat, body, limits),
        "too_large at : the body is larger than 16 bytes"
    );
    let limits = Limits { bytes: 99, depth: 2 };
    assert_eq!(
        refusal(Protocol::Chat, br#"{"a":[[]]}"#, limits),
        "too_deep at /a/0: nested too deep (byte 6)"
    );
    assert_eq!(
        refusal(Protocol::Chat, b"{\"a\":\"\xff\"}", limits),
        "invalid_utf8 at : no UTF-8 (byte 6)"
    );
    assert_eq!(
        refusal(Protocol::Chat, b"{\"a\":\"\\udc00\"}", limits),
        "lone_surrogate at /a: lone surrogate in a string (byte 6)"
    );
}

#[test]
fn what_is_read_of_a_request() {
    let chat = parse(
        Protocol::Chat,
        r#"{"model":"gpt\u002d5","messages":[],"stream":true,"temperature":0}"#,
    );
    assert_eq!(
        (chat.model().as_ref(), chat.stream(), chat.wants_usage()),
        ("gpt-5", true, false)
    );
    assert_eq!(
        (chat.temperature(), chat.has_tools(), chat.cacheable()),
        (Some(0.0), false, true)
    );
    #[rustfmt::skip]
    let table: &[(&str, Protocol, &str, bool, bool)] = &[
        // what the row shows      protocol              more fields                                            tools  cacheable
        ("no temperature",         Protocol::Chat,       r#""messages":[]"#,                                    false, false),
        ("warm",                   Protocol::Chat,       r#""messages":[],"temperature":0.7"#,                  false, false),
        ("two choices",            Protocol::Chat,       r#""messages":[],"temperature":0,"n":2"#,              false, false),
        ("tools",                  Protocol::Chat,       r#""messages":[],"temperature":0,"tools":[{"type":"function"}]"#, true, false),
        ("no tools",               Protocol::Chat,       r#""messages":[],"temperature":0,"tools":[]"#,         false, true),
        ("a tool was used",        Protocol::Chat,       r#""messages":[{"role":"tool","content":"x"}],"temperature":0"#, true, false),
        ("a field nobody knows",   Protocol::Chat,       r#""messages":[],"temperature":0,"dice":true"#,        false, false),
        ("an image",               Protocol::Chat,       r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x"}}]}],"temperature":0"#, false, false),
        ("a tool was used",        Protocol::Messages,   r#""messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}],"temperature":0"#, true, false),
        ("cold",                   Protocol::Messages,   r#""messages":[],"temperature":0.0"#,                  false, true),
        ("held by the provider",   Protocol::Responses,  r#""input":"x","temperature":0,"previous_response_id":"r"#, false, false),
        ("a call went before",     Protocol::Responses,  r#""input":[{"type":"function_call_output","output":"x"}],"temperature":0"#, true, false),
        ("embeddings",             Protocol::Embeddings, r#""input":["x"]"#,                                    false, true),
    ];
    for (name, protocol, fields, tools, cacheable) in table {
        let close = if fields.matches('"').count() % 2 == 1 {
            "\""
        } else {
            ""
        };
        let request = parse(*protocol, &format!(r#"{{"model":"m",{fields}{close}}}"#));
        assert_eq!(
            (request.has_tools(), request.cacheable()),
            (*tools, *cacheable),
            "{name}"
        );
    }
}

/// `kind name place bytes` of each cost.
fn costs(protocol: Protocol, body: &str) -> Vec<String> {
    let bound = parse(protocol, body).bound();
    let line = |c: &wire::Cost| format!("{} {} {} {}", c.kind.as_str(), c.name, c.place, c.bytes);
    bound.costs.iter().map(line).collect()
}

#[test]
fn what_costs_in_chat() {
    let body = r#"{
        "model":"m","n":3,"best_of":2,"max_tokens":10,"max_completion_tokens":20,"seed":1,"top_k":4,
        "service_tier":"flex","store":true,"modalities":["text","audio"],"audio":{"voice":"x"},
        "prediction":{"type":"content","content":"x"},"web_search_options":{},"prompt_cache_retention":"24h",
        "future":{"x":1},"nothing":null,
        "tools":[{"type":"function","function":{}},{"type":"custom"},{"type":"web_search_preview"},{"type":"quantum"}],
        "messages":[
          {"role":"system","content":"be kind"},
          {"role":"user","content":[{"type":"text","text":"a"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,QUJDRA=="}},
            {"type":"image_url","image_url":{"url":"https://example.com/a.png"}},
            {"type":"input_audio","input_audio":{"data":"QUJD","format":"wav"}},
            {"type":"file","file":{"file_id":"f-1"}},
            {"type":"hologram"}]},
          {"role":"assistant","content":null,"audio":{"id":"au-1"}}]}"#;
    assert_eq!(
        costs(Protocol::Chat, body),
        [
            "audio_output audio /audio 0",
            "prediction prediction /prediction 0",
            "stored store /store 0",
            "server_tool web_search_options /web_search_options 0",
            "service_tier flex /service_tier 0",
            "cache_write 24h /prompt_cache_retention 0",
            "unknown_field future /future 0",
            "audio_output audio /modalities/1 0",
            "image image_url /messages/1/content/1 8",
            "image image_url /messages/1/content/2 0",
            "audio input_audio /messages/1/content/3 4",
            "file file /messages/1/content/4 0",
            "unknown_part hologram /messages/1/content/5 0",
            "held_context audio /messages/2/audio 0",
            "server_tool web_search_preview /tools/2 0",
            "unknown_tool quantum /tools/3 0",
        ]
    );
    let bound = parse(Protocol::Chat, body).bound();
    assert_eq!((bound.choices, bound.output_cap), (3, Some(20)));
    assert_eq!(bound.input_bytes, body.len() as u64 - 12);
    assert_eq!((bound.count(CostKind::Image), bound.more), (2, false));
}

#[test]
fn what_costs_in_responses() {
    let body = r#"{
        "model":"m","max_output_tokens":7,"max_tool_calls":2,"background":true,"store":false,"conversation":{"id":"c"},
        "previous_response_id":"r","prompt":{"id":"p"},"reasoning":{"mode":"pro"},"service_tier":"auto",
        "context_management":[{"type":"compaction"}],
        "tools":[{"type":"function"},{"type":"web_search"},{"type":"code_interpreter"},{"type":"file_search"},
          {"type":"mcp"},{"type":"computer_use_preview"},{"type":"image_generation"},{"type":"shell"},
          {"type":"shell","environment":{"type":"local"}},{"type":"namespace","tools":[{"type":"mcp"}]},{"type":"new"}],
        "input":[
          {"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:image/png;base64,QUJD"},
            {"type":"input_file","file_data":"QUJDRA=="}]},
          {"type":"item_reference","id":"i"},{"type":"reasoning","summary":[]},
          {"type":"function_call_output","call_id":"c","output":[{"type":"input_image","file_id":"f"}]},
          {"type":"computer_call_output","output":{"type":"computer_screenshot","image_url":"https://x"}},
          {"type":"telepathy"}]}"#;
    assert_eq!(
        costs(Protocol::Responses, body),
        [
            "background background /background 0",
            "context_management context_management /context_management 0",
            "held_context conversation /conversation 0",
            "held_context previous_response_id /previous_response_id 0",
            "held_context prompt /prompt 0",
            "reasoning_mode pro /reasoning/mode 0",
            "image input_image /input/0/content/1 4",
            "file input_file /input/0/content/2 8",
            "held_context item_reference /input/1 0",
            "held_context reasoning /input/2 0",
            "image input_image /input/3/output/0 0",
            "image computer_call_output /input/4 0",
            "unknown_part telepathy /input/5 0",
            "server_tool web_search /tools/1 0",
            "server_tool code_interpreter /tools/2 0",
            "server_tool file_search /tools/3 0",
            "server_tool mcp /tools/4 0",
            "vendor_tool computer_use_preview /tools/5 0",
            "server_tool image_generation /tools/6 0",
            "server_tool shell /tools/7 0",
            "vendor_tool shell /tools/8 0",
            "server_tool mcp /tools/9/tools/0 0",
            "unknown_tool new /tools/10 0",
        ]
    );
    let bound = parse(Protocol::Responses, body).bound();
    assert_eq!(
        (bound.output_cap, bound.tool_calls_cap, bound.choices),
        (Some(7), Some(2), 1)
    );
}

#[test]
fn what_costs_in_messages() {
    let body = r#"{
        "model":"m","max_tokens":100,"thinking":{"type":"enabled","budget_tokens":2048},"speed":"fast","inference_geo":"us",
        "service_tier":"standard_only","container":"c","mcp_servers":[{"type":"url"}],"context_management":{"edits":[]},
        "fallbacks":[{"model":"x"}],"cache_control":{"type":"ephemeral"},"metadata":{"user_id":"u"},"future":1,
        "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "tools":[{"name":"mine","input_schema":{}},{"type":"custom","name":"x"},{"type":"web_search_20250305"},
          {"type":"code_execution_20260521"},{"type":"computer_20251124"},{"type":"bash_20250124"},{"type":"advisor_20260301"},
          {"type":"mcp_toolset"},{"type":"crystal_ball_1"}],
        "messages":[
          {"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUJD"}},
            {"type":"document","source":{"type":"base64","data":"QUJDRA=="}},
            {"type":"document","source":{"type":"text","data":"plain"}},
            {"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"url","url":"https://x"}}]},
            {"type":"container_upload","file_id":"f"},{"type":"dream"},
            {"type":"document","source":{"type":"text_v2","data":"a text"}},{"type":"image"}]},
          {"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"s"},{"type":"tool_use","id":"t","name":"n","input":{}}]}]}"#;
    assert_eq!(
        costs(Protocol::Messages, body),
        [
            "held_context container /container 0",
            "context_management context_management /context_management 0",
            "other_model fallbacks /fallbacks 0",
            "region inference_geo /inference_geo 0",
            "server_tool mcp_servers /mcp_servers 0",
            "unknown_field future /future 0",
            "service_tier fast /speed 0",
            "cache_write 5m /cache_control 0",
            "cache_write 1h /system/0/cache_control 0",
            "image base64 /messages/0/content/0 4",
            "file base64 /messages/0/content/1 8",
            "image url /messages/0/content/3/content/0 0",
            "file container_upload /messages/0/content/4 0",
            "unknown_part dream /messages/0/content/5 0",
            "unknown_part text_v2 /messages/0/content/6 0",
            "unknown_part  /messages/0/content/7 0",
            "server_tool web_search_20250305 /tools/2 0",
            "server_tool code_execution_20260521 /tools/3 0",
            "vendor_tool computer_20251124 /tools/4 0",
            "vendor_tool bash_20250124 /tools/5 0",
            "other_model advisor_20260301 /tools/6 0",
            "server_tool mcp_toolset /tools/7 0",
            "unknown_tool crystal_ball_1 /tools/8 0",
        ]
    );
    let bound = parse(Protocol::Messages, body).bound();
    assert_eq!((bound.output_cap, bound.thinking_budget), (Some(100), Some(2048)));
    assert_eq!(bound.input_bytes, body.len() as u64 - 12);
}

#[test]
fn more_costs_than_are_listed() {
    let part = r#"{"type":"image_url","image_url":{"url":"data:,AAAA"}}"#;
    let parts = vec![part; 5000].join(",");
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{parts}]}}]}}"#);
    let bound = parse(Protocol::Chat, &body).bound();
    assert!(bound.more, "a caller sees that the list is not whole");
    assert_eq!(bound.costs.len(), 4096);
}

#[test]
fn the_three_changes() {
    let all = Rewrite {
        model: Some("up/stream"),
        output_cap: Some(99),
        older_cap: false,
        ask_usage: true,
    };
    let older = Rewrite {
        older_cap: true,
        ..all
    };
    type Row<'a> = (
        &'static str,
        Protocol,
        &'a Rewrite<'a>,
        &'static str,
        &'static str,
        &'static [&'static str],
    );
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("all three", Protocol::Chat, &all,
            r#"{ "model" : "m", "x":1.50, "messages":[],"stream":true }"#,
            r#"{"max_completion_tokens":99,"stream_options":{"include_usage":true}, "model" : "up/stream", "x":1.50, "messages":[],"stream":true }"#,
            &["/max_completion_tokens none 99", r#"/stream_options none {"include_usage":true}"#, r#"/model "m" "up/stream""#]),
        ("the older cap", Protocol::Chat, &older,
            r#"{"model":"up/stream","messages":[]}"#,
            r#"{"max_tokens":99,"model":"up/stream","messages":[]}"#,
            &["/max_tokens none 99"]),
        ("a cap that is there", Protocol::Chat, &all,
            r#"{"model":"up/stream","messages":[],"max_tokens":5}"#,
            r#"{"model":"up/stream","messages":[],"max_tokens":5}"#,
            &[]),
        ("a cap of null", Protocol::Messages, &all,
            r#"{"max_tokens":null,"model":"up/stream","messages":[]}"#,
            r#"{"max_tokens":99,"model":"up/stream","messages":[]}"#,
            &["/max_tokens null 99"]),
        ("usage of null", Protocol::Chat, &all,
            r#"{"stream_options":null,"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            r#"{"stream_options":{"include_usage":true},"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            &[r#"/stream_options null {"include_usage":true}"#]),
        ("usage of false", Protocol::Chat, &all,
            r#"{"stream_options":{"include_usage":false},"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            r#"{"stream_options":{"include_usage":true},"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            &["/stream_options/include_usage false true"]),
        ("other options", Protocol::Chat, &all,
            r#"{"stream_options":{"include_obfuscation":false},"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            &["/stream_options/include_usage none true"]),
        ("empty options", Protocol::Chat, &all,
            r#"{"stream_options":{},"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            r#"{"stream_options":{"include_usage":true},"model":"up/stream","messages":[],"stream":true,"max_tokens":5}"#,
            &["/stream_options/include_usage none true"]),
        ("no stream", Protocol::Chat, &all,
            r#"{"model":"up/stream","messages":[],"max_tokens":5}"#,
            r#"{"model":"up/stream","messages":[],"max_tokens":5}"#,
            &[]),
        ("responses", Protocol::Responses, &all,
            r#"{"model":"m","input":"x","stream":true}"#,
            r#"{"max_output_tokens":99,"model":"up/stream","input":"x","stream":true}"#,
            &["/max_output_tokens none 99", r#"/model "m" "up/stream""#]),
        ("embeddings have no output", Protocol::Embeddings, &all,
            r#"{"model":"m","input":"x"}"#,
            r#"{"model":"up/stream","input":"x"}"#,
            &[r#"/model "m" "up/stream""#]),
        ("a name in another spelling is the same", Protocol::Chat, &all,
            r#"{"model":"up\/stream","messages":[],"max_tokens":5}"#,
            r#"{"model":"up\/stream","messages":[],"max_tokens":5}"#,
            &[]),
    ];
    for (name, protocol, rewrite, body, expected, changes) in table {
        let (bytes, made) = parse(*protocol, body).rewrite(rewrite);
        assert_eq!(String::from_utf8(bytes).unwrap(), *expected, "{name}");
        let line =
            |c: &wire::Change| format!("{} {} {}", c.pointer, c.from.as_deref().unwrap_or("none"), c.to);
        assert_eq!(made.iter().map(line).collect::<Vec<_>>(), *changes, "{name}");
    }
}

fn body() -> impl Strategy<Value = (Protocol, Value)> {
    let cap = prop::option::of(prop_oneof![
        Just(Value::Null),
        (0_u32..9999).prop_map(Value::from)
    ]);
    let options = prop::option::of(prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        any::<bool>().prop_map(|on| json!({"include_usage": on})),
        Just(json!({"include_obfuscation": true, "x": [1]})),
    ]);
    let extra = prop::collection::btree_map("[a-z]{1,6}_x", any::<Option<i32>>(), 0..4);
    (
        prop::sample::select(Protocol::ALL.to_vec()),
        any::<String>().prop_filter("empty", |name| !name.is_empty()),
        any::<bool>(),
        prop::array::uniform3(cap),
        options,
        extra,
        any::<String>(),
    )
        .prop_map(|(protocol, model, stream, caps, options, extra, text)| {
            let mut body = json!({"model": model, "stream": stream, "input": text,
                "messages": [{"role": "user", "content": text}]});
            for (key, value) in ["max_tokens", "max_completion_tokens", "max_output_tokens"]
                .iter()
                .zip(caps)
            {
                if let Some(value) = value {
                    body[*key] = value;
                }
            }
            if let Some(options) = options {
                body["stream_options"] = options;
            }
            for (key, value) in extra {
                body[key] = json!(value);
            }
            (protocol, body)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// `parse(rewrite(x))` is `x` but for what the changes say, and these are the three that may be made.
    #[test]
    fn nothing_else_changes((protocol, body) in body(), pretty: bool, model: String, cap: u32, older_cap: bool) {
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        let request = parse(protocol, &text);
        let rewrite = Rewrite { model: Some(&model), output_cap: Some(cap.into()), older_cap, ask_usage: true };
        let (bytes, changes) = request.rewrite(&rewrite);
        let after: Value = serde_json::from_slice(&bytes).unwrap();
        let mut expected = body.clone();
        for change in &changes {
            prop_assert!(["/model", "/max_tokens", "/max_completion_tokens", "/max_output_tokens", "/stream_options",
                "/stream_options/include_usage"].contains(&change.pointer.as_str()));
            let to: Value = serde_json::from_str(&change.to).unwrap();
            let from = change.from.as_ref().map(|from| serde_json::from_str::<Value>(from).unwrap());
            prop_assert_eq!(body.pointer(&change.pointer).cloned(), from);
            match change.pointer.as_str() {
                "/stream_options/include_usage" => expected["stream_options"]["include_usage"] = to,
                place => expected[place.trim_start_matches('/')] = to,
            }
        }
        prop_assert_eq!(&after, &expected);
        if !model.is_empty() {
            let again = Request::parse(protocol, bytes, Limits::default()).unwrap();
            prop_assert_eq!(again.model(), model.as_str());
            prop_assert!(again.bound().output_cap.is_some());
            prop_assert!(again.wants_usage() || !again.stream());
            prop_assert!(again.rewrite(&rewrite).1.is_empty(), "a second time changes nothing");
        }
    }
}
