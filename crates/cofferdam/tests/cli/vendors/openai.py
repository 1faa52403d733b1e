"""OpenAI's API: what is asked, and what is answered."""

import base64
import json
import struct

from script import OPTIONAL, Asked, arguments, data_url, fields, function, need, one_of, parts_of, pieces, schema, within

# --- Chat: https://platform.openai.com/docs/api-reference/chat -----------------------------------------------------------

CHAT = {
    "model": str, "messages": list, "frequency_penalty": float, "logit_bias": dict, "logprobs": bool, "max_completion_tokens": int,
    "metadata": dict, "n": int, "parallel_tool_calls": bool, "presence_penalty": float, "prompt_cache_key": str,
    "reasoning_effort": str, "response_format": dict, "safety_identifier": str, "seed": int, "service_tier": str,
    "stop": (str, list), "store": bool, "stream": bool, "stream_options": dict, "temperature": (int, float), "tool_choice": (str, dict),
    "tools": list, "top_logprobs": int, "top_p": (int, float), "user": str, "verbosity": str,
}  # fmt: skip


def chat(body):
    fields(body, "body", ["model", "messages", "max_completion_tokens"], **CHAT)
    within(body["max_completion_tokens"], 1, 16384, "max_completion_tokens")
    within(body.get("temperature"), 0, 2, "temperature")
    if body.get("stream"):
        need(body.get("stream_options", {}).get("include_usage") is True, "stream_options: nobody asked for usage")
        fields(body["stream_options"], "stream_options", include_usage=bool, include_obfuscation=bool)
    else:
        need("stream_options" not in body, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    asked, open_calls = Asked(), []
    need(body["messages"], "messages: empty array")
    for at, message in enumerate(body["messages"]):
        role, place = message.get("role"), f"messages[{at}]"
        one_of(role, ["system", "developer", "user", "assistant", "tool"], place + ".role")
        need(role == "tool" or not open_calls, f"{place}: 'tool_calls' must be followed by tool messages for each 'tool_call_id'")
        content = message.get("content")
        if role == "assistant":
            fields(
                message, place, ["role"], role=str, content=(str, list, *OPTIONAL), refusal=(str, *OPTIONAL), name=str,
                tool_calls=(list, *OPTIONAL), annotations=list, audio=OPTIONAL, function_call=OPTIONAL,
            )  # fmt: skip
            need(content or message.get("tool_calls"), f"{place}.content: neither text nor calls")
            for call in message.get("tool_calls") or []:
                fields(call, place + ".tool_calls", ["id", "type", "function"], id=str, type=str, function=dict, index=int)
                one_of(call["type"], ["function"], place + ".tool_calls.type")
                fields(call["function"], place + ".function", ["name", "arguments"], name=str, arguments=str)
                arguments(call["function"]["arguments"], place + ".arguments")
                open_calls.append(call["id"])
            continue
        if role == "tool":
            fields(message, place, ["tool_call_id", "content"], role=str, tool_call_id=str, content=(str, list))
            need(message["tool_call_id"] in open_calls, f"{place}.tool_call_id: no call has it")
            open_calls.remove(message["tool_call_id"])
            asked.results[message["tool_call_id"]] = chat_content(content, place, asked, ["text"])
            continue
        fields(message, place, ["role", "content"], role=str, content=(str, list), name=str, x_marked=dict)
        text = chat_content(content, place, asked, ["text", "image_url"] if role == "user" else ["text"])
        if role == "user":
            asked.say(text)
            asked.marked = message.get("x_marked") == {"kept": [1, "é", None]}
    need(not open_calls, "'tool_calls' must be followed by tool messages for each 'tool_call_id'")
    for at, tool in enumerate(body.get("tools", [])):
        fields(tool, f"tools[{at}]", ["type", "function"], type=str, function=dict)
        one_of(tool["type"], ["function"], f"tools[{at}].type")
        function(tool["function"], f"tools[{at}].function")
        asked.tools.append(tool["function"]["name"])
    if isinstance(body.get("tool_choice"), str):
        one_of(body["tool_choice"], ["none", "auto", "required"], "tool_choice")
    if "response_format" in body:
        shape = fields(body["response_format"], "response_format", ["type"], type=str, json_schema=dict)
        one_of(shape["type"], ["json_schema"], "response_format.type")
        wanted = fields(shape["json_schema"], "json_schema", ["name"], name=str, schema=dict, strict=(bool, *OPTIONAL), description=str)
        schema(wanted["schema"], "json_schema.schema", wanted.get("strict"))
        asked.structured = wanted["schema"]
    return asked


def chat_content(content, place, asked, kinds):
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        one_of(part.get("type"), kinds, place + ".content.type")
        if part["type"] == "text":
            texts.append(fields(part, place, ["text"], type=str, text=str)["text"])
            continue
        fields(part, place, ["image_url"], type=str, image_url=dict)
        fields(part["image_url"], place + ".image_url", ["url"], url=str, detail=str)
        data_url(part["image_url"]["url"], place)
        asked.pictures += 1
    return "".join(texts)


def chat_usage(used):
    fresh, cached, _, _, output = used
    return {
        "prompt_tokens": fresh + cached, "completion_tokens": output, "total_tokens": fresh + cached + output,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }  # fmt: skip


def chat_answer(body, scenario, used):
    text, calls = None, []
    for part in parts_of(scenario):
        if part[0] == "text":
            text = part[1]
        if part[0] == "call":
            calls.append({"id": part[1], "type": "function", "function": {"name": part[2], "arguments": json.dumps(part[3])}})
    message = {"role": "assistant", "content": text, "refusal": None} | ({"tool_calls": calls} if calls else {})
    reason = "tool_calls" if calls else "stop"
    head = {"id": "chatcmpl-1", "created": 1754000000, "model": body["model"] + "-2025-04-14", "service_tier": "default"}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return head | {"object": "chat.completion", "choices": [choice], "usage": chat_usage(used), "x_vendor": {"kept": True}}
    head |= {"object": "chat.completion.chunk", "x_vendor": {"kept": True}}
    deltas = [{"role": "assistant", "content": None if calls else "", "refusal": None}]
    deltas += [{"content": piece} for piece in pieces(text or "")]
    for at, call in enumerate(calls):
        told = {"index": at, "id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": ""}}
        deltas.append({"tool_calls": [told]})
        deltas += [
            {"tool_calls": [{"index": at, "function": {"arguments": piece}}]} for piece in pieces(call["function"]["arguments"])
        ]
    chunks = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None} for delta in deltas]
    if scenario == "break":
        broken = {"error": {"message": "the scripted vendor broke", "type": "server_error", "param": None, "code": None}}
        return [*chunks[:2], broken]
    chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": None})
    return [*chunks, head | {"choices": [], "usage": chat_usage(used)}, "[DONE]"]


# --- Responses: https://platform.openai.com/docs/api-reference/responses ------------------------------------------------

RESPONSES = {
    "model": str, "input": (str, list), "include": list, "instructions": str, "max_output_tokens": int, "metadata": dict,
    "parallel_tool_calls": bool, "prompt_cache_key": str, "reasoning": dict, "safety_identifier": str, "service_tier": str,
    "store": bool, "stream": bool, "temperature": (int, float), "text": dict, "tool_choice": (str, dict), "tools": list,
    "top_p": (int, float), "truncation": str, "user": str,
}  # fmt: skip


def responses(body):
    fields(body, "body", ["model", "input", "max_output_tokens"], **RESPONSES)
    within(body["max_output_tokens"], 16, 128000, "max_output_tokens")
    asked, calls = Asked(), []
    items = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    for at, item in enumerate(items):
        place, kind = f"input[{at}]", item.get("type", "message")
        one_of(kind, ["message", "function_call", "function_call_output"], place + ".type")
        if kind == "function_call":
            fields(
                item, place, ["call_id", "name", "arguments"], type=str, id=str, call_id=str, name=str, arguments=str, status=(str, *OPTIONAL),
            )  # fmt: skip
            arguments(item["arguments"], place)
            calls.append(item["call_id"])
        elif kind == "function_call_output":
            fields(item, place, ["call_id", "output"], type=str, id=str, call_id=str, output=(str, list), status=str)
            need(item["call_id"] in calls, f"No tool call found for function call output with call_id {item['call_id']}.")
            asked.results[item["call_id"]] = item["output"]
        else:
            fields(item, place, ["role", "content"], type=str, id=str, role=str, content=(str, list), status=str)
            one_of(item["role"], ["user", "assistant", "system", "developer"], place + ".role")
            text = item["content"]
            if isinstance(text, list):
                kinds = ["output_text"] if item["role"] == "assistant" else ["input_text", "input_image"]
                for part in text:
                    one_of(part.get("type"), kinds, place + ".content.type")
                text = "".join(part.get("text", "") for part in text)
            if item["role"] == "user":
                asked.say(text)
    need(set(calls) == set(asked.results), f"No tool output found for function call of {calls}")
    for at, tool in enumerate(body.get("tools", [])):
        one_of(tool.get("type"), ["function"], f"tools[{at}].type")
        function({name: value for name, value in tool.items() if name != "type"}, f"tools[{at}]")
        asked.tools.append(tool["name"])
    if "text" in body:
        shape = fields(body["text"], "text", [], format=dict, verbosity=str).get("format", {"type": "text"})
        if shape["type"] == "json_schema":
            fields(shape, "text.format", ["name", "schema"], type=str, name=str, schema=dict, strict=(bool, *OPTIONAL), description=str)
            asked.structured = shape["schema"]
    return asked


def responses_answer(body, scenario, used):
    fresh, cached, _, _, output = used
    usage = {
        "input_tokens": fresh + cached, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": fresh + cached + output,
    }  # fmt: skip
    items = []
    for at, part in enumerate(parts_of(scenario)):
        if part[0] == "text":
            content = {"type": "output_text", "text": part[1], "annotations": [], "logprobs": []}
            items.append({"id": f"msg_{at}", "type": "message", "status": "completed", "role": "assistant", "content": [content]})
        if part[0] == "call":
            call = {"call_id": part[1], "name": part[2], "arguments": json.dumps(part[3])}
            items.append({"id": f"fc_{at}", "type": "function_call", "status": "completed"} | call)
    whole = {
        "id": "resp_1", "object": "response", "created_at": 1754000000, "status": "completed", "background": False, "error": None,
        "incomplete_details": None, "instructions": body.get("instructions"), "max_output_tokens": body["max_output_tokens"],
        "model": body["model"] + "-2025-04-14", "output": items, "parallel_tool_calls": True, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "service_tier": "default", "store": body.get("store", True),
        "temperature": 1.0, "text": body.get("text", {"format": {"type": "text"}}), "tool_choice": "auto", "tools": body.get("tools", []),
        "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": None, "metadata": {}, "x_vendor": {"kept": True},
    }  # fmt: skip
    if not body.get("stream"):
        return whole
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    events = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for at, item in enumerate(items):
        events += response_item(at, item)
    events.append({"type": "response.completed", "response": whole})
    if scenario == "break":
        broken = {"type": "error", "code": "server_error", "message": "the scripted vendor broke", "param": None}
        events = [*events[:5], broken]
    return [event | {"sequence_number": at} for at, event in enumerate(events)]


def response_item(at, item):
    where = {"item_id": item["id"], "output_index": at}
    added, done = {"type": "response.output_item.added"}, {"type": "response.output_item.done", "output_index": at, "item": item}
    if item["type"] == "function_call":
        name = "response.function_call_arguments"
        yield added | {"output_index": at, "item": item | {"status": "in_progress", "arguments": ""}}
        yield from ({"type": name + ".delta", **where, "delta": piece} for piece in pieces(item["arguments"]))
        yield {"type": name + ".done", **where, "arguments": item["arguments"], "name": item["name"]}
    else:
        (content,) = item["content"]
        where |= {"content_index": 0}
        yield added | {"output_index": at, "item": item | {"status": "in_progress", "content": []}}
        yield {"type": "response.content_part.added", **where, "part": content | {"text": ""}}
        for piece in pieces(content["text"]):
            yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **where, "text": content["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **where, "part": content}
    yield done


# --- Embeddings: https://platform.openai.com/docs/api-reference/embeddings ----------------------------------------------


def embeddings(body):
    fields(body, "body", ["model", "input"], model=str, input=(str, list), encoding_format=str, dimensions=int, user=str)
    one_of(body.get("encoding_format", "float"), ["float", "base64"], "encoding_format")
    asked = Asked()
    asked.say("embed")
    return asked


def embeddings_answer(body, _, used):
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vector = [0.5, -0.25, 0.75]
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, _ in enumerate(texts)]
    return {"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": used[0], "total_tokens": used[0]}}
