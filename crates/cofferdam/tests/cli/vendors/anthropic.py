"""Anthropic's API: https://docs.anthropic.com/en/api/messages, …/messages-streaming, …/messages-count-tokens"""

import json
import re

from script import OPTIONAL, PNG, SIGNATURE, THOUGHT, Asked, fields, need, one_of, parts_of, pieces, schema, within

COUNTED = {
    "model": str, "messages": list, "output_config": dict, "system": (str, list), "thinking": dict, "tool_choice": dict,
    "tools": list, "cache_control": dict,
}  # fmt: skip
MESSAGES = COUNTED | {
    "max_tokens": int, "metadata": dict, "service_tier": str, "stop_sequences": list, "stream": bool, "temperature": (int, float),
    "top_k": int, "top_p": (int, float),
}  # fmt: skip
TOOL_USE = r"[a-zA-Z0-9_-]+"


def count_tokens(body):
    fields(body, "body", ["model", "messages"], **COUNTED)
    return conversation(body)


def messages(body):
    fields(body, "body", ["model", "messages", "max_tokens"], **MESSAGES)
    within(body["max_tokens"], 1, 64000, "max_tokens")
    within(body.get("temperature"), 0, 1, "temperature")
    return conversation(body)


def conversation(body):
    asked, kept = Asked(), []
    for at, tool in enumerate(body.get("tools", [])):
        place = f"tools.{at}"
        fields(
            tool, place, ["name", "input_schema"], name=str, description=str, input_schema=dict, type=str, strict=bool, cache_control=dict,
        )  # fmt: skip
        need(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]), f"{place}.name: {tool['name']!r}")
        schema(tool["input_schema"], place + ".input_schema", tool.get("strict"))
        one_of(tool.get("type", "custom"), ["custom"], place + ".type")
        kept.append(tool.get("cache_control"))
        asked.tools.append(tool["name"])
    system = body.get("system", [])
    for at, block in enumerate([] if isinstance(system, str) else system):
        one_of(block.get("type"), ["text"], f"system.{at}.type")
        kept.append(text_block(block, f"system.{at}"))
    need(body["messages"], "messages: at least one message is required")
    need(body["messages"][0].get("role") == "user", "messages: first message must use the \"user\" role")
    calls = []
    for at, message in enumerate(body["messages"]):
        place = f"messages.{at}"
        fields(message, place, ["role", "content"], role=str, content=(str, list))
        one_of(message["role"], ["user", "assistant"], place + ".role")
        content = message["content"]
        need(content, f"{place}.content: all messages must have non-empty content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "user":
            user_blocks(blocks, place, calls, asked, kept)
            calls = []
        else:
            need(not calls, f"{place}: `tool_use` ids were found without `tool_result` blocks")
            calls = assistant_blocks(blocks, place, asked)
    need(not calls, "messages: `tool_use` ids were found without `tool_result` blocks immediately after")
    kept = [control for control in kept if control]
    for control in kept:
        fields(control, "cache_control", ["type"], type=str, ttl=str)
        one_of(control["type"], ["ephemeral"], "cache_control.type")
        one_of(control.get("ttl", "5m"), ["5m", "1h"], "cache_control.ttl")
    need(len(kept) <= 4, "A maximum of 4 blocks with cache_control may be provided.")
    times = [control.get("ttl", "5m") for control in kept]
    need(times == sorted(times), "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
    need(not asked.text.startswith("cache") or times == ["1h", "5m"], f"cache_control: {times} arrived")
    settings(body, asked)
    return asked


def settings(body, asked):
    thinking = body.get("thinking", {"type": "disabled"})
    one_of(thinking.get("type"), ["enabled", "disabled", "adaptive"], "thinking.type")
    asked.thinks = thinking["type"] == "enabled"
    if asked.thinks:
        fields(thinking, "thinking", ["budget_tokens"], type=str, budget_tokens=int, display=str)
        within(thinking["budget_tokens"], 1024, body.get("max_tokens", 1 << 20) - 1, "thinking.budget_tokens")
        need(body.get("temperature", 1) == 1, "`temperature` may only be set to 1 when thinking is enabled")
    if "tool_choice" in body:
        choice = fields(body["tool_choice"], "tool_choice", ["type"], type=str, name=str, disable_parallel_tool_use=bool)
        one_of(choice["type"], ["auto", "any", "tool", "none"], "tool_choice.type")
        need(body.get("tools"), "tool_choice may only be specified while providing tools")
    config = fields(body.get("output_config", {}), "output_config", [], format=dict, effort=str)
    if "format" in config:
        fields(config["format"], "output_config.format", ["type", "schema"], type=str, schema=dict)
        one_of(config["format"]["type"], ["json_schema"], "output_config.format.type")
        schema(config["format"]["schema"], "output_config.format.schema", True)
        asked.structured = config["format"]["schema"]


def text_block(block, place):
    fields(block, place, ["type", "text"], type=str, text=str, cache_control=(dict, *OPTIONAL), citations=(list, *OPTIONAL), x_marked=dict)
    need(block["text"], f"{place}: text content blocks must be non-empty")
    return block.get("cache_control")


def user_blocks(blocks, place, calls, asked, kept):
    texts, answered = [], []
    for at, block in enumerate(blocks):
        here, kind = f"{place}.content.{at}", block.get("type")
        one_of(kind, ["text", "image", "tool_result"], here + ".type")
        if kind == "text":
            kept.append(text_block(block, here))
            asked.marked = asked.marked or block.get("x_marked") == {"kept": [1, "é", None]}
            texts.append(block["text"])
        elif kind == "image":
            fields(block, here, ["source"], type=str, source=dict, cache_control=dict)
            source = fields(block["source"], here + ".source", ["type"], type=str, media_type=str, data=str)
            need(source == {"type": "base64", "media_type": "image/png", "data": PNG}, f"{here}.source: not the picture")
            asked.pictures += 1
        else:
            fields(block, here, ["tool_use_id"], type=str, tool_use_id=str, content=(str, list), is_error=bool, cache_control=dict)
            need(not texts, f"{here}: tool_result blocks come first")
            need(block["tool_use_id"] in calls, f"{here}: unexpected `tool_use_id`: {block['tool_use_id']}")
            content = block.get("content", "")
            answered.append((block["tool_use_id"], content if isinstance(content, str) else "".join(part["text"] for part in content)))
    need(sorted(calls) == sorted(call for call, _ in answered), f"{place}: `tool_use` ids were found without `tool_result` blocks")
    if texts:
        asked.say("".join(texts))
    asked.results |= dict(answered)


def assistant_blocks(blocks, place, asked):
    calls = []
    for at, block in enumerate(blocks):
        here, kind = f"{place}.content.{at}", block.get("type")
        one_of(kind, ["text", "thinking", "tool_use"], here + ".type")
        if kind == "text":
            text_block(block, here)
        elif kind == "thinking":
            fields(block, here, ["thinking", "signature"], type=str, thinking=str, signature=str)
            need((block["thinking"], block["signature"]) == (THOUGHT, SIGNATURE), f"{here}: Invalid `signature` in `thinking` block")
            asked.thought = True
        else:
            fields(block, here, ["id", "name", "input"], type=str, id=str, name=str, input=dict, cache_control=dict, caller=(dict, *OPTIONAL))
            need(re.fullmatch(TOOL_USE, block["id"]), f"{here}.id: String should match pattern '^{TOOL_USE}$'")
            calls.append(block["id"])
    return calls


def messages_answer(body, scenario, used):
    fresh, cached, minutes, hour, output = used
    read = {
        "input_tokens": fresh, "cache_creation_input_tokens": minutes + hour, "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}, "service_tier": "standard",
    }  # fmt: skip
    blocks = []
    for part in parts_of(scenario):
        if part[0] == "text":
            blocks.append({"type": "text", "text": part[1], "citations": None})
        elif part[0] == "thought":
            blocks.append({"type": "thinking", "thinking": part[1], "signature": SIGNATURE})
        else:
            blocks.append({"type": "tool_use", "id": part[1], "name": part[2], "input": part[3]})
    reason = "tool_use" if scenario == "weather" else "end_turn"
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"] + "-20250929", "stop_sequence": None}
    if not body.get("stream"):
        usage = read | {"output_tokens": output}
        return head | {"content": blocks, "stop_reason": reason, "usage": usage, "x_vendor": {"kept": True}}
    begun = head | {"content": [], "stop_reason": None, "usage": read | {"output_tokens": 1}, "x_vendor": {"kept": True}}
    events = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for at, block in enumerate(blocks):
        events += block_events(at, block)
    if scenario == "break":
        return [*events[:4], {"type": "error", "error": {"type": "overloaded_error", "message": "the scripted vendor broke"}}]
    ended = {"stop_reason": reason, "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": ended, "usage": {"output_tokens": output}}, {"type": "message_stop"}]


def block_events(at, block):
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}[block["type"]]
    yield {"type": "content_block_start", "index": at, "content_block": block | empty}
    deltas = {
        "text": lambda: [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])],
        "thinking": lambda: [
            *({"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])),
            {"type": "signature_delta", "signature": block["signature"]},
        ],
        "tool_use": lambda: [
            {"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(json.dumps(block["input"]))]
        ],
    }[block["type"]]()
    yield from ({"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": at}
