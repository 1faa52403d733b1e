//! Translation: requests there, answers and streams back, and what cannot be said.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests; clippy sees only the functions marked so"
)]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use wire::scan::{Ending, Scan};
use wire::translate::{Context, Ended, Stream, answer, request};
use wire::{Limits, Protocol, Request};

const CONTEXT: Context = Context {
    created: 1_700_000_000,
    wants_usage: true,
};

fn parse(protocol: Protocol, body: &Value) -> Request {
    Request::parse(protocol, body.to_string().into_bytes(), Limits::default()).unwrap()
}

/// The translated body, and the notes as `pointer: what`.
fn translate(from: Protocol, to: Protocol, body: &Value) -> (Value, Vec<String>) {
    let made = request(&parse(from, body), to).unwrap();
    // What is made is a request of its protocol.
    Request::parse(to, made.body.clone(), Limits::default()).unwrap();
    let notes = made
        .notes
        .iter()
        .map(|note| format!("{}: {}", note.pointer, note.what));
    (serde_json::from_slice(&made.body).unwrap(), notes.collect())
}

fn refusals(from: Protocol, to: Protocol, body: &Value) -> Vec<String> {
    let refused = request(&parse(from, body), to)
        .map(|made| String::from_utf8(made.body).unwrap())
        .unwrap_err();
    refused
        .iter()
        .map(|one| format!("{}: {}", one.pointer, one.why))
        .collect()
}

#[test]
fn chat_to_messages() {
    let (made, notes) = translate(
        Protocol::Chat,
        Protocol::Messages,
        &json!({
            "model": "claude", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 100,
            "temperature": 0.5, "top_p": 0.9, "stop": "END", "user": "u-1", "seed": 7, "n": 1, "parallel_tool_calls": false,
            "frequency_penalty": 0, "logprobs": false, "service_tier": "auto", "reasoning_effort": "minimal",
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": {"type": "object"}}},
            "tools": [
                {"type": "function", "function": {"name": "get", "description": "d", "parameters": {"type": "object", "z": 1, "a": 2}, "strict": true}},
                {"type": "function", "function": {"name": "none"}}],
            "tool_choice": {"type": "function", "function": {"name": "get"}},
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
                {"role": "user", "name": "ann", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "get", "arguments": "{\"z\":1,\"a\":1.50}"}},
                    {"id": "c2", "type": "function", "function": {"name": "none", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "one"},
                {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
                {"role": "user", "content": "go on"},
                {"role": "assistant", "content": "Here", "reasoning_content": "hm"}]
        }),
    );
    assert_eq!(
        made,
        json!({
            "model": "claude", "max_tokens": 100, "stream": true,
            "system": [{"type": "text", "text": "be kind"}, {"type": "text", "text": "be brief"}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}, "title": "a.pdf"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "get", "input": {"z": 1, "a": 1.5}},
                    {"type": "tool_use", "id": "c2", "name": "none", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
                    {"type": "text", "text": "go on"}]},
                {"role": "assistant", "content": "Here"}],
            "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"], "metadata": {"user_id": "u-1"},
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"},
            "tools": [
                {"name": "get", "description": "d", "input_schema": {"type": "object", "z": 1, "a": 2}, "strict": true},
                {"name": "none", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "tool", "name": "get", "disable_parallel_tool_use": true}
        })
    );
    assert_eq!(
        notes,
        [
            "/seed: left out: a hint",
            "/messages/2/name: left out: a hint",
            "/messages/2/content/1/image_url/detail: left out: a hint",
            "/messages/7/reasoning_content: left out: a hint",
            "/reasoning_effort: the least effort there is `low`",
        ]
    );
}

#[test]
fn parts_are_taken_over_as_they_were_written() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"z":1.50,"a":{"y":0,"b":1e2}}}}]}"#;
    let request_ = Request::parse(Protocol::Chat, body.into(), Limits::default()).unwrap();
    let made = String::from_utf8(request(&request_, Protocol::Messages).unwrap().body).unwrap();
    assert!(
        made.contains(r#""input_schema":{"z":1.50,"a":{"y":0,"b":1e2}}"#),
        "order and numbers: {made}"
    );
}

#[test]
fn messages_to_chat() {
    let (made, notes) = translate(
        Protocol::Messages,
        Protocol::Chat,
        &json!({
            "model": "gpt", "max_tokens": 100, "stream": true, "temperature": 1, "stop_sequences": ["A", "B"],
            "thinking": {"type": "enabled", "budget_tokens": 4096}, "metadata": {"user_id": "u"}, "service_tier": "auto",
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            "tools": [{"name": "get", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "get", "input": {"b": 1, "a": [2]}}]},
                {"role": "user", "content": [
                    {"type": "text", "text": "and?"},
                    {"type": "tool_result", "tool_use_id": "t1", "content": "sunny", "is_error": true},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                    {"type": "image", "source": {"type": "url", "url": "https://x"}}]}]
        }),
    );
    assert_eq!(
        made,
        json!({
            "model": "gpt", "stream": true, "stream_options": {"include_usage": true},
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "I look.", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "get", "arguments": "{\"a\":[2],\"b\":1}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
                {"role": "user", "content": [
                    {"type": "text", "text": "and?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                    {"type": "image_url", "image_url": {"url": "https://x"}}]}],
            "max_completion_tokens": 100, "temperature": 1, "user": "u", "stop": ["A", "B"], "reasoning_effort": "medium",
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": true}},
            "tools": [{"type": "function", "function": {"name": "get", "description": "d", "parameters": {"type": "object"}}}],
            "parallel_tool_calls": false, "tool_choice": "required"
        })
    );
    assert_eq!(
        notes,
        [
            "/system/0: caching is left out: a hint",
            "/messages/1/content/0: left out: thinking of another model",
            "/tools/0/cache_control: left out: a hint",
            "/messages/2/content/1: that a call failed is left to its text",
            "/thinking/budget_tokens: a budget of thinking became an effort",
        ]
    );
}

#[test]
fn responses_to_both() {
    let body = json!({
        "model": "m", "instructions": "be kind", "max_output_tokens": 9, "store": true, "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "high", "summary": "auto"}, "truncation": "disabled", "background": false,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
        "tools": [{"type": "function", "name": "get", "parameters": {"type": "object"}, "strict": false}],
        "tool_choice": {"type": "function", "name": "get"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "https://x"}]},
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"},
            {"type": "function_call", "id": "fc", "call_id": "c", "name": "get", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "call_id": "c", "output": "sunny"},
            {"type": "message", "id": "msg", "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": "yes", "annotations": []}]}]
    });
    let (chat, _) = translate(Protocol::Responses, Protocol::Chat, &body);
    assert_eq!(
        chat,
        json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://x"}}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "sunny"},
                {"role": "assistant", "content": "yes"}],
            "max_completion_tokens": 9, "reasoning_effort": "high",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
            "tools": [{"type": "function", "function": {"name": "get", "parameters": {"type": "object"}, "strict": false}}],
            "tool_choice": {"type": "function", "function": {"name": "get"}}
        })
    );
    let (messages, notes) = translate(Protocol::Responses, Protocol::Messages, &body);
    assert_eq!(
        messages["messages"][1]["content"][0],
        json!({"type": "tool_use", "id": "c", "name": "get", "input": {}})
    );
    assert_eq!(
        (&messages["system"], &messages["max_tokens"]),
        (&json!("be kind"), &json!(9))
    );
    assert_eq!(
        notes,
        [
            "/store: left out: a hint",
            "/input/1: left out: thinking of another model",
            "/input/2/id: left out: a hint",
            "/input/2/status: left out: a hint",
            "/input/4/id: left out: a hint",
            "/input/4/status: left out: a hint",
            "/input/4/content/0/annotations: left out: a hint",
            "/reasoning/summary: left out: a hint",
        ]
    );
    let (short, _) = translate(
        Protocol::Responses,
        Protocol::Messages,
        &json!({"model": "m", "input": "hi"}),
    );
    assert_eq!(
        short,
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    );
}

#[test]
fn what_cannot_be_said_in_messages() {
    let user = json!([{"role": "user", "content": "x"}]);
    #[rustfmt::skip]
    let table = [
        // what the row shows    more fields                                                        refusal
        ("hot",                  json!({"temperature": 1.5}),                                       "/temperature: a temperature above 1 does not exist there"),
        ("several answers",      json!({"n": 2}),                                                   "/n: other protocols give one answer"),
        ("probabilities",        json!({"logprobs": true}),                                         "/logprobs: other protocols give no probabilities"),
        ("bias",                 json!({"logit_bias": {"5": 1}}),                                   "/logit_bias: other protocols have no bias"),
        ("a penalty",            json!({"presence_penalty": 0.1}),                                  "/presence_penalty: other protocols have no penalties"),
        ("JSON of no schema",    json!({"response_format": {"type": "json_object"}}),               "/response_format: JSON without a schema cannot be asked for there"),
        ("a grammar",            json!({"response_format": {"type": "grammar"}}),                   "/response_format: a format that the other protocol does not have"),
        ("sound",                json!({"modalities": ["audio"]}),                                  "/modalities: other protocols answer in text alone"),
        ("a tier",               json!({"service_tier": "flex"}),                                   "/service_tier: tiers are each vendor's own"),
        ("a search",             json!({"web_search_options": {}}),                                 "/web_search_options: the other protocol has no such field"),
        ("an unknown field",     json!({"future": 1}),                                              "/future: the other protocol has no such field"),
        ("a custom tool",        json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}),    "/tools/0: a tool that is no function"),
        ("a tool's new field",   json!({"tools": [{"type": "function", "function": {"name": "x", "y": 1}}]}), "/tools/0/function/y: the other protocol has no such field"),
        ("allowed tools",        json!({"tool_choice": {"type": "allowed_tools"}}),                 "/tool_choice: a choice of tools that the other protocol does not have"),
        ("a stop of numbers",    json!({"stop": [1]}),                                              "/stop: neither a string nor a list of strings"),
        ("a legacy function",    json!({"functions": [{}]}),                                        "/functions: the other protocol has no such field"),
    ];
    for (name, fields, expected) in table {
        let mut body = json!({"model": "m", "messages": user});
        for (key, value) in fields.as_object().unwrap() {
            body[key] = value.clone();
        }
        assert_eq!(
            refusals(Protocol::Chat, Protocol::Messages, &body),
            [expected],
            "{name}"
        );
    }
    #[rustfmt::skip]
    let table = [
        ("sound",           json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}),                           "/messages/0/content/0: a kind of content that the other protocol does not have here"),
        ("a held file",     json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}),                           "/messages/0/content/0: a file that another vendor holds"),
        ("no base64",       json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg>"}}]}), "/messages/0/content/0/image_url: a data URL that is not base64"),
        ("no PDF",          json!({"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/csv;base64,QQ=="}}]}),  "/messages/0/content/0: a file that is no PDF"),
        ("broken arguments", json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{oh"}}]}), "/messages/0/tool_calls/0/function/arguments: arguments of a call that are no JSON object"),
        ("keys twice",      json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1,\"a\":2}"}}]}), "/messages/0/tool_calls/0/function/arguments: arguments of a call that are no JSON object"),
        ("a custom call",   json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}),                   "/messages/0/tool_calls/0: a call of something else than a function"),
        ("no id",           json!({"role": "tool", "content": "x"}),                                                                    "/messages/0: a string that belongs to it is missing (an id, a name, a text or arguments)"),
        ("the old role",    json!({"role": "function", "content": "x"}),                                                                "/messages/0: a role that other protocols do not have"),
        ("own sound",       json!({"role": "assistant", "audio": {"id": "a"}}),                                                         "/messages/0/audio: the other protocol has no such field"),
    ];
    for (name, message, expected) in table {
        let body = json!({"model": "m", "messages": [message]});
        assert_eq!(
            refusals(Protocol::Chat, Protocol::Messages, &body),
            [expected],
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_said_in_chat() {
    #[rustfmt::skip]
    let table = [
        ("top_k",           json!({"top_k": 5}),                                                      "/top_k: there is no `top_k` there"),
        ("five stops",      json!({"stop_sequences": ["a", "b", "c", "d", "e"]}),                     "/stop_sequences/4: more than four stop sequences"),
        ("a vendor's tool", json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),            "/tools/0: a tool that the vendor defines"),
        ("servers",         json!({"mcp_servers": [{"type": "url"}]}),                                "/mcp_servers: the other protocol has no such field"),
        ("a container",     json!({"container": "c"}),                                                "/container: the other protocol has no such field"),
        ("fast",            json!({"speed": "fast"}),                                                 "/speed: speeds are each vendor's own"),
        ("new thinking",    json!({"thinking": {"type": "between_tools"}}),                           "/thinking: a way to think that the other protocol does not have"),
        ("a held image",    json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}), "/messages/0/content/0: content that another vendor holds, or of a kind it alone has"),
        ("a document's address", json!({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "https://x"}}]}]}), "/messages/0/content/0: a file by its address"),
        ("a plain document", json!({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "x"}}]}]}), "/messages/0/content/0: a document of plain text: other protocols have text, or files"),
        ("an image from a tool", json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}]}]}), "/messages/0/content/0/content/0: results of tools are text alone there"),
        ("a server's tool", json!({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use", "id": "s"}]}]}), "/messages/0/content/0: a kind of content that the other protocol does not have"),
        ("a call by the user", json!({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "s", "name": "n", "input": {}}]}]}), "/messages/0/content/0: a call that the model did not make"),
    ];
    for (name, fields, expected) in table {
        let mut body = json!({"model": "m", "messages": []});
        for (key, value) in fields.as_object().unwrap() {
            body[key] = value.clone();
        }
        let got = refusals(Protocol::Messages, Protocol::Chat, &body);
        assert_eq!(got.first().map(String::as_str), Some(expected), "{name}");
    }
    #[rustfmt::skip]
    let table = [
        ("held context",  json!({"previous_response_id": "r"}),             "/previous_response_id: the other protocol has no such field"),
        ("background",    json!({"background": true}),                      "/background: other protocols answer while one waits"),
        ("truncation",    json!({"truncation": "auto"}),                    "/truncation: other protocols shorten nothing"),
        ("a search",      json!({"tools": [{"type": "web_search"}]}),       "/tools/0: a tool that is no function"),
        ("a reference",   json!({"input": [{"type": "item_reference", "id": "x"}]}), "/input/0: a kind of item that the other protocol does not have"),
        ("a held file",   json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}), "/input/0/content/0: a kind of content that the other protocol does not have here"),
        ("pro",           json!({"reasoning": {"mode": "pro"}}),            "/reasoning/mode: the other protocol has no such field"),
        ("sources",       json!({"include": ["web_search_call.action.sources"]}), "/include: other protocols do not give it"),
    ];
    for (name, fields, expected) in table {
        let mut body = json!({"model": "m", "input": "x"});
        for (key, value) in fields.as_object().unwrap() {
            body[key] = value.clone();
        }
        for to in [Protocol::Chat, Protocol::Messages] {
            assert_eq!(refusals(Protocol::Responses, to, &body), [expected], "{name}");
        }
    }
    let refused = refusals(
        Protocol::Embeddings,
        Protocol::Messages,
        &json!({"model": "m", "input": "x"}),
    );
    assert_eq!(refused, [": there is no translation between these two protocols"]);
}

/// Compares with a file, or writes it anew.
fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(&path).unwrap(), "{name}");
}

fn stream(from: Protocol, to: Protocol, pieces: &[&[u8]]) -> (String, Ended) {
    let mut stream = Stream::new(from, to, CONTEXT).unwrap();
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(stream.push(piece).unwrap());
    }
    let (rest, ended) = stream.finish();
    out.extend(rest);
    (String::from_utf8(out).unwrap(), ended)
}

fn scan(protocol: Protocol, text: &str) -> Ending {
    let mut scan = Scan::new(protocol, false);
    scan.push(text.as_bytes()).unwrap();
    scan.finish()
}

/// Streams as upstreams send them, without what only they have.
fn sources() -> [(&'static str, Protocol, String); 4] {
    let responses = include_str!("golden/responses.sse");
    let search = responses.find("event: response.output_item.added").unwrap();
    let call = search
        + 1
        + responses[search + 1..]
            .find("event: response.output_item.added")
            .unwrap();
    let responses = format!("{}{}", &responses[..search], &responses[call..]);
    [
        ("chat", Protocol::Chat, include_str!("golden/chat.sse").to_owned()),
        (
            "chat_tools",
            Protocol::Chat,
            include_str!("golden/chat_tools.sse").to_owned(),
        ),
        (
            "messages",
            Protocol::Messages,
            include_str!("golden/messages.sse").to_owned(),
        ),
        ("responses", Protocol::Responses, responses),
    ]
}

#[test]
fn streams_in_other_words() {
    for (name, from, text) in sources() {
        for to in [Protocol::Chat, Protocol::Messages, Protocol::Responses] {
            let (told, ended) = stream(from, to, &[text.as_bytes()]);
            assert_eq!(ended, Ended::Whole, "{name} to {to:?}");
            golden(&format!("{name}_to_{}.sse", to.name()), &told);
            // What is told says the same as what was heard.
            let (before, after) = (scan(from, &text), scan(to, &told));
            assert_eq!((after.error, after.marked), (None, true), "{name} to {to:?}");
            assert_eq!(
                after.answer.output_bytes, before.answer.output_bytes,
                "{name} to {to:?}"
            );
            assert_eq!(after.answer.model, before.answer.model, "{name} to {to:?}");
            if let (Some(before), Some(after)) = (before.answer.usage, after.answer.usage) {
                assert_eq!(
                    (after.input_total(), after.cached),
                    (before.input_total(), before.cached),
                    "{name} to {to:?}"
                );
                assert_eq!(
                    (after.output, after.reasoning),
                    (before.output, before.reasoning),
                    "{name} to {to:?}"
                );
            }
            // Byte by byte, nothing is another.
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(
                stream(from, to, &pieces).0,
                told,
                "{name} to {to:?}, byte by byte"
            );
        }
    }
}

#[test]
fn a_cut_stream_is_not_whole() {
    for (name, from, text) in sources() {
        let cut = text.len() / 4;
        for to in [Protocol::Chat, Protocol::Messages, Protocol::Responses] {
            let (told, ended) = stream(from, to, &[&text.as_bytes()[..cut]]);
            assert_eq!(
                (ended, scan(to, &told).marked),
                (Ended::Cut, false),
                "{name} to {to:?}"
            );
            // A part of an event says nothing.
            let last = text[..cut].rfind("\n\n").map_or(0, |at| at + 2);
            assert_eq!(
                stream(from, to, &[&text.as_bytes()[..last]]).0,
                told,
                "{name} to {to:?}"
            );
        }
    }
}

#[test]
fn streams_in_disorder() {
    // The mark alone: nobody said that the answer is whole.
    for text in [
        "data: [DONE]\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n",
    ] {
        for to in [Protocol::Chat, Protocol::Messages, Protocol::Responses] {
            let (told, ended) = stream(Protocol::Chat, to, &[text.as_bytes()]);
            assert_eq!((ended, scan(to, &told).marked), (Ended::Cut, false), "{to:?}");
        }
    }
    // Nothing is read after the mark, in one piece or in many.
    let text =
        "data: [DONE]\n\ndata: {oh\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let pieces: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    for pieces in [pieces.as_slice(), &[text.as_bytes()]] {
        assert_eq!(
            stream(Protocol::Chat, Protocol::Messages, pieces),
            (String::new(), Ended::Cut)
        );
    }
    // Without a beginning: clients get one all the same.
    let text = "event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\nevent: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\n";
    let (told, ended) = stream(Protocol::Messages, Protocol::Messages, &[text.as_bytes()]);
    assert!(
        told.starts_with("event: message_start\n") && ended == Ended::Whole,
        "{told}"
    );
    let (told, _) = stream(Protocol::Messages, Protocol::Chat, &[text.as_bytes()]);
    assert!(
        told.contains(r#""delta":{"role":"assistant""#) && told.ends_with("data: [DONE]\n\n"),
        "{told}"
    );
}

#[test]
fn errors_in_streams_are_told() {
    let errors = [
        (
            Protocol::Chat,
            "data: {\"error\":{\"message\":\"too much\",\"type\":\"server_error\"}}\n\n",
        ),
        (
            Protocol::Messages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"server_error\",\"message\":\"too much\"}}\n\n",
        ),
        (
            Protocol::Responses,
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"too much\"}}}\n\n",
        ),
        (Protocol::Chat, "data: {oh\n\n"),
        (
            Protocol::Chat,
            "data: {\"choices\":[{\"delta\":{\"audio\":{}}}]}\n\n",
        ),
        (
            Protocol::Chat,
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}},{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"f\"}},{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\n",
        ),
        (
            Protocol::Messages,
            "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"server_tool_use\"}}\n\n",
        ),
        (
            Protocol::Chat,
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}}]}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"hm\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\n",
        ),
    ];
    let expected = [
        "server_error too much",
        "server_error too much",
        "server_error too much",
        "untranslatable an event of the stream that cannot be read",
        "untranslatable the answer holds sound, or a call of the oldest kind",
        "untranslatable the arguments of several calls are mixed",
        "untranslatable the answer holds content of a kind that the other protocol lacks",
        "untranslatable the arguments of several calls are mixed",
    ];
    for ((from, text), expected) in errors.into_iter().zip(expected) {
        for to in [Protocol::Chat, Protocol::Messages, Protocol::Responses] {
            let more = format!("{text}data: [DONE]\n\n");
            let (told, ended) = stream(from, to, &[more.as_bytes()]);
            assert_eq!(ended, Ended::Failed, "{to:?}");
            let ending = scan(to, &told);
            let error = ending.error.unwrap();
            assert_eq!(
                format!("{} {}", error.code.unwrap(), error.message.unwrap()),
                expected,
                "{to:?}"
            );
            assert!(!ending.marked, "nothing comes after an error");
        }
    }
}

#[test]
fn bodies_in_other_words() {
    let chat = json!({"id": "c-1", "object": "chat.completion", "model": "gpt", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "Hi", "reasoning_content": "hm",
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "get", "arguments": "{\"a\":1}"}}]}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}});
    let messages = json!({"id": "c-1", "type": "message", "role": "assistant", "model": "gpt",
        "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "t", "name": "get", "input": {"a": 1}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}}});
    let made = |from, to, body: &Value| -> Value {
        serde_json::from_slice(&answer(from, to, body.to_string().as_bytes(), &CONTEXT).unwrap()).unwrap()
    };
    assert_eq!(made(Protocol::Chat, Protocol::Messages, &chat), messages);
    let back = made(Protocol::Messages, Protocol::Chat, &messages);
    assert_eq!(
        back,
        json!({"id": "c-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": null, "reasoning_content": "hm",
                "tool_calls": [{"id": "t", "type": "function", "function": {"name": "get", "arguments": "{\"a\":1}"}}]},
            "logprobs": null, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}})
    );
    let responses = made(Protocol::Messages, Protocol::Responses, &messages);
    assert_eq!(
        responses["output"][2],
        json!({"id": "fc_2", "type": "function_call", "status": "completed", "call_id": "t", "name": "get", "arguments": "{\"a\":1}"})
    );
    assert_eq!(
        made(Protocol::Responses, Protocol::Messages, &responses),
        messages
    );
    #[rustfmt::skip]
    let table = [
        ("stop", "end_turn", "completed"), ("length", "max_tokens", "incomplete"),
        ("tool_calls", "tool_use", "completed"), ("content_filter", "refusal", "incomplete"),
    ];
    for (reason, stop, status) in table {
        let body = json!({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]});
        let messages = made(Protocol::Chat, Protocol::Messages, &body);
        assert_eq!(messages["stop_reason"], stop);
        assert_eq!(made(Protocol::Chat, Protocol::Responses, &body)["status"], status);
        assert_eq!(
            made(Protocol::Messages, Protocol::Chat, &messages)["choices"][0]["finish_reason"],
            reason
        );
    }
    let body = json!({"content": [], "stop_reason": "stop_sequence", "stop_sequence": "END"});
    assert_eq!(
        made(Protocol::Messages, Protocol::Chat, &body)["choices"][0]["finish_reason"],
        "stop"
    );
}

#[test]
fn bodies_that_cannot_be_told() {
    let call = |arguments: &str| {
        json!({"choices": [{"message": {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": arguments}}]}}]}).to_string()
    };
    #[rustfmt::skip]
    let table = [
        ("no JSON",     Protocol::Chat, Protocol::Messages, "oops".to_owned(), "it is no JSON that everybody reads alike"),
        ("a broken call", Protocol::Chat, Protocol::Messages, call("{oh"),   "the model's arguments of a call are no JSON object"),
        ("a search",    Protocol::Messages, Protocol::Chat, json!({"content": [{"type": "server_tool_use"}]}).to_string(), "it holds something that the other protocol does not have"),
        ("embeddings",  Protocol::Embeddings, Protocol::Messages, "{}".to_owned(), "there is no translation between these two protocols"),
    ];
    for (name, from, to, body, expected) in table {
        assert_eq!(
            answer(from, to, body.as_bytes(), &CONTEXT).unwrap_err().why,
            expected,
            "{name}"
        );
    }
    // To OpenAI's protocols the arguments are a text, and go as they are.
    let told = answer(Protocol::Chat, Protocol::Chat, call("{oh").as_bytes(), &CONTEXT).unwrap();
    assert!(String::from_utf8(told).unwrap().contains(r#""arguments":"{oh""#));
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{1,12}"
}

/// A conversation that both protocols can say, as Chat says it.
fn conversation() -> impl Strategy<Value = Value> {
    let turn = prop_oneof![
        text().prop_map(|text| json!([{"role": "user", "content": text}, {"role": "assistant", "content": text}])),
        (text(), text(), any::<i32>()).prop_map(|(id, out, n)| json!([
            {"role": "user", "content": [{"type": "text", "text": out}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": format!("{{\"n\":{n}}}")}}]},
            {"role": "tool", "tool_call_id": id, "content": out},
            {"role": "assistant", "content": "done"}])),
    ];
    let options = (
        prop::option::of(text()),
        prop::option::of(0_u32..5000),
        prop::option::of(0..=100_u32),
        prop::option::of(prop::sample::select(vec!["auto", "none", "required"])),
    );
    (prop::collection::vec(turn, 1..4), options).prop_map(|(turns, (system, cap, heat, choice))| {
        let mut messages: Vec<Value> = system
            .iter()
            .map(|text| json!({"role": "system", "content": text}))
            .collect();
        messages.extend(turns.iter().flat_map(|turn| turn.as_array().unwrap().clone()));
        let mut body = json!({"model": "m", "messages": messages,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]});
        if let Some(cap) = cap {
            body["max_completion_tokens"] = cap.into();
        }
        if let Some(heat) = heat {
            body["temperature"] = json!(f64::from(heat) / 128.0);
        }
        if let Some(choice) = choice {
            body["tool_choice"] = choice.into();
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// There and back, a request is what it was.
    #[test]
    fn there_and_back(body in conversation()) {
        let (there, notes) = translate(Protocol::Chat, Protocol::Messages, &body);
        prop_assert!(notes.is_empty());
        let (back, notes) = translate(Protocol::Messages, Protocol::Chat, &there);
        prop_assert!(notes.is_empty());
        prop_assert_eq!(back, body);
    }
}

#[test]
fn what_cannot_be_said_is_told_with_its_place() {
    let whole = request(
        &parse(Protocol::Embeddings, &json!({"model": "m", "input": "x"})),
        Protocol::Messages,
    );
    let part = request(
        &parse(
            Protocol::Chat,
            &json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"1": 2}}),
        ),
        Protocol::Messages,
    );
    for (refused, told) in [
        (whole, "the request cannot be translated: "),
        (part, "`/logit_bias` cannot be translated: "),
    ] {
        let refused = refused.map(|made| made.body).unwrap_err();
        assert!(refused[0].to_string().starts_with(told), "{}", refused[0]);
    }
}
