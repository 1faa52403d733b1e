"""The official SDKs of OpenAI and Anthropic, feature by feature, as their documentation shows them. Nothing here knows of a
gateway: both find it by OPENAI_BASE_URL and ANTHROPIC_BASE_URL. Prints a line of JSON for each feature.

  sdk.py [FEATURE ...]
"""

import json
import os
import sys
import time

import anthropic
import openai
from pydantic import BaseModel

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
MARK = {"kept": [1, "é", None]}
WEATHER = {"Bergen": "rain", "Oslo": "snow"}
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"], "additionalProperties": False}
FUNCTION = {"name": "get_weather", "description": "What falls from the sky", "parameters": PLACE, "strict": True}
CHAT_TOOL = {"type": "function", "function": FUNCTION}
RESPONSES_TOOL = {"type": "function", **FUNCTION}
MESSAGES_TOOL = {"name": "get_weather", "description": "What falls from the sky", "input_schema": PLACE}

gpt = openai.OpenAI(max_retries=5)
claude = anthropic.Anthropic(max_retries=5)


class Trip(BaseModel):
    city: str
    days: int


def user(text):
    return [{"role": "system", "content": "Be terse."}, {"role": "user", "content": text}]


def said(answer):
    """Of a chat completion."""
    choice = answer.choices[0]
    return {"text": choice.message.content, "finish": choice.finish_reason, "tokens": answer.usage.total_tokens}


def wrote(message):
    """Of a message."""
    usage = message.usage
    text = "".join(block.text for block in message.content if block.type == "text")
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return {"text": text, "finish": message.stop_reason, "tokens": read + usage.output_tokens}


def responded(response):
    return {"text": response.output_text, "finish": response.status, "tokens": response.usage.total_tokens}


# --- Each client on a model of its own vendor and of the other -------------------------------------------------------------


def chat(model):
    return said(gpt.chat.completions.create(model=model, messages=user("say: hello"), temperature=0.5))


def chat_stream(model):
    text, finish, usages = "", None, 0
    for chunk in gpt.chat.completions.create(model=model, messages=user("say: hello"), stream=True):
        usages += chunk.usage is not None
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return {"text": text, "finish": finish, "usages": usages}


def chat_stream_usage(model):
    options = {"include_usage": True}
    with gpt.chat.completions.stream(model=model, messages=user("say: hello"), stream_options=options) as stream:
        for _ in stream:
            pass
        return said(stream.get_final_completion())


def chat_tools(model, streamed=False):
    messages = user("weather: what falls?")
    asks = {"model": model, "tools": [CHAT_TOOL], "max_completion_tokens": 300}
    if streamed:
        with gpt.chat.completions.stream(messages=messages, stream_options={"include_usage": True}, **asks) as stream:
            first = stream.get_final_completion()
    else:
        first = gpt.chat.completions.create(messages=messages, **asks)
    calls = first.choices[0].message.tool_calls
    told = [{"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}} for call in calls]
    messages.append({"role": "assistant", "content": None, "tool_calls": told})
    for call in calls:
        place = json.loads(call.function.arguments)["place"]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": WEATHER[place]})
    return said(gpt.chat.completions.create(messages=messages, **asks)) | {"asked": first.choices[0].finish_reason, "calls": len(calls)}


def chat_tools_stream(model):
    return chat_tools(model, streamed=True)


def chat_parse(model):
    answer = gpt.chat.completions.parse(model=model, messages=user("structured: a trip"), response_format=Trip)
    return said(answer) | {"text": answer.choices[0].message.parsed.model_dump()}


def chat_image(model):
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    content = [{"type": "text", "text": "picture: what is it?"}, picture]
    return said(gpt.chat.completions.create(model=model, messages=[{"role": "user", "content": content}]))


def responses(model):
    return responded(gpt.responses.create(model=model, instructions="Be terse.", input="say: hello"))


def responses_stream(model):
    text = ""
    with gpt.responses.stream(model=model, instructions="Be terse.", input="say: hello") as stream:
        for event in stream:
            text += event.delta if event.type == "response.output_text.delta" else ""
        return responded(stream.get_final_response()) | {"streamed": text}


def responses_tools(model, streamed=False):
    items = [{"role": "user", "content": "weather: what falls?"}]
    asks = {"model": model, "tools": [RESPONSES_TOOL]}
    if streamed:
        with gpt.responses.stream(input=items, **asks) as stream:
            first = stream.get_final_response()
    else:
        first = gpt.responses.create(input=items, **asks)
    calls = [item for item in first.output if item.type == "function_call"]
    for call in calls:
        told = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        place = json.loads(call.arguments)["place"]
        items += [told, {"type": "function_call_output", "call_id": call.call_id, "output": WEATHER[place]}]
    return responded(gpt.responses.create(input=items, **asks)) | {"calls": len(calls)}


def responses_tools_stream(model):
    return responses_tools(model, streamed=True)


def responses_parse(model):
    answer = gpt.responses.parse(model=model, input="structured: a trip", text_format=Trip)
    return responded(answer) | {"text": answer.output_parsed.model_dump()}


def message(model):
    system = "Be terse."
    return wrote(claude.messages.create(model=model, max_tokens=64, system=system, messages=[{"role": "user", "content": "say: hello"}]))


def message_stream(model):
    text = ""
    asks = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "say: hello"}]}
    with claude.messages.stream(**asks) as stream:
        for piece in stream.text_stream:
            text += piece
        return wrote(stream.get_final_message()) | {"streamed": text}


def message_tools(model, streamed=False):
    messages = [{"role": "user", "content": "weather: what falls?"}]
    asks = {"model": model, "max_tokens": 300, "tools": [MESSAGES_TOOL], "tool_choice": {"type": "auto"}}
    if streamed:
        with claude.messages.stream(messages=messages, **asks) as stream:
            first = stream.get_final_message()
    else:
        first = claude.messages.create(messages=messages, **asks)
    calls = [block for block in first.content if block.type == "tool_use"]
    told = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in calls]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": WEATHER[call.input["place"]]} for call in calls]
    messages += [{"role": "assistant", "content": told}, {"role": "user", "content": results}]
    return wrote(claude.messages.create(messages=messages, **asks)) | {"asked": first.stop_reason, "calls": len(calls)}


def message_tools_stream(model):
    return message_tools(model, streamed=True)


def message_image(model):
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    content = [picture, {"type": "text", "text": "picture: what is it?"}]
    return wrote(claude.messages.create(model=model, max_tokens=64, messages=[{"role": "user", "content": content}]))


# --- What one vendor alone has ----------------------------------------------------------------------------------------------


def chat_unknown_fields():
    messages = [{"role": "user", "content": "marked: hello", "x_marked": MARK}]
    raw = gpt.chat.completions.with_raw_response.create(model="gpt", messages=messages)
    answer = raw.parse()
    entry = raw.headers["cofferdam-entry"]
    return {"kept": answer.model_extra["x_vendor"], "entry": entry.isdigit(), "account": raw.headers.get("openai-organization")}


def message_unknown_fields():
    content = [{"type": "text", "text": "marked: hello", "x_marked": MARK}]
    raw = claude.messages.with_raw_response.create(model="claude", max_tokens=64, messages=[{"role": "user", "content": content}])
    entry = raw.headers["cofferdam-entry"]
    return {"kept": raw.parse().model_extra["x_vendor"], "entry": entry.isdigit(), "account": raw.headers.get("openai-organization")}


def embeddings():
    answer = gpt.embeddings.create(model="embed", input=["one", "two"])
    return {"vectors": [one.embedding for one in answer.data], "tokens": answer.usage.total_tokens}


def openai_models():
    return {"names": sorted(model.id for model in gpt.models.list()), "one": gpt.models.retrieve("gpt").id}


def anthropic_models():
    return {"names": sorted(model.id for model in claude.models.list()), "one": claude.models.retrieve("claude").id}


def count_tokens():
    messages = [{"role": "user", "content": "say: hello"}]
    return {"tokens": claude.messages.count_tokens(model="claude", system="Be terse.", messages=messages, tools=[MESSAGES_TOOL]).input_tokens}


def thinking():
    asks = {"model": "claude", "max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    messages = [{"role": "user", "content": "think: hello"}]
    with claude.messages.stream(messages=messages, **asks) as stream:
        first = stream.get_final_message()
    thought = next(block for block in first.content if block.type == "thinking")
    told = [{"type": "thinking", "thinking": thought.thinking, "signature": thought.signature}, {"type": "text", "text": first.content[-1].text}]
    messages += [{"role": "assistant", "content": told}, {"role": "user", "content": "think again: hello"}]
    return wrote(claude.messages.create(messages=messages, **asks)) | {"thought": thought.thinking}


def caching():
    hour, minutes = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}
    system = [
        {"type": "text", "text": "The rules.", "cache_control": hour},
        {"type": "text", "text": "The case.", "cache_control": minutes},
    ]
    counts = []
    for text in ["cache: hello", "cached: hello"]:
        messages = [{"role": "user", "content": text}]
        usage = claude.messages.create(model="claude", max_tokens=64, system=system, messages=messages).usage
        counts.append([usage.cache_creation_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens, usage.cache_read_input_tokens])
    return {"counts": counts}


# --- What is refused --------------------------------------------------------------------------------------------------------


def raised(call, library):
    began = time.monotonic()
    try:
        call()
    except library.APIError as error:
        status = getattr(error, "status_code", None)
        seconds = time.monotonic() - began
        return {"raised": type(error).__name__, "status": status, "message": str(error), "quick": seconds < 2}
    return {"raised": None}


def of_openai(model, text="say: hello"):
    return raised(lambda: gpt.chat.completions.create(model=model, messages=user(text)), openai)


def of_responses(model, text="say: hello"):
    return raised(lambda: gpt.responses.create(model=model, input=text), openai)


def of_anthropic(model, text="say: hello"):
    messages = [{"role": "user", "content": text}]
    return raised(lambda: claude.messages.create(model=model, max_tokens=4096, messages=messages), anthropic)


def broken_chat(model):
    pieces = []

    def stream():
        for chunk in gpt.chat.completions.create(model=model, messages=user("break: hello"), stream=True):
            pieces.extend(choice.delta.content or "" for choice in chunk.choices)

    return raised(stream, openai) | {"before": "".join(pieces)}


def broken_responses(model):
    """The vendor's own event of an error is no exception to its SDK."""
    pieces, told = [], {}

    def stream():
        for event in gpt.responses.create(model=model, input="break: hello", stream=True):
            pieces.append(event.delta if event.type == "response.output_text.delta" else "")
            told.update({"event": event.message} if event.type == "error" else {})

    return raised(stream, openai) | told | {"before": "".join(pieces)}


def broken_message(model):
    pieces = []

    def stream():
        with claude.messages.stream(model=model, max_tokens=64, messages=[{"role": "user", "content": "break: hello"}]) as stream:
            pieces.extend(stream.text_stream)

    return raised(stream, anthropic) | {"before": "".join(pieces)}


OPENAI = [
    chat, chat_stream, chat_stream_usage, chat_tools, chat_tools_stream, chat_parse, chat_image, responses, responses_stream,
    responses_tools, responses_tools_stream, responses_parse,
]  # fmt: skip
ANTHROPIC = [message, message_stream, message_tools, message_tools_stream, message_image]
ALONE = [
    chat_unknown_fields, message_unknown_fields, embeddings, openai_models, anthropic_models, count_tokens, thinking, caching,
]  # fmt: skip
FEATURES = {f"{feature.__name__} on {model}": (feature, model) for feature in [*OPENAI, *ANTHROPIC] for model in ("gpt", "claude")}
FEATURES |= {feature.__name__: (feature,) for feature in ALONE}
for kind, asks in {"chat": of_openai, "responses": of_responses, "message": of_anthropic}.items():
    FEATURES |= {f"{kind} of {name}": (asks, name) for name in ["nothing", "other", "priceless", "dear"]}
    FEATURES |= {f"{kind} refused by {name}": (asks, name, "refuse: this") for name in ["gpt", "claude"]}
for kind, breaks in {"chat": broken_chat, "responses": broken_responses, "message": broken_message}.items():
    FEATURES |= {f"{kind} broken by {name}": (breaks, name) for name in ["brittle-gpt", "brittle-claude"]}
FEATURES["speech"] = (lambda: raised(lambda: gpt.audio.speech.create(model="gpt", voice="alloy", input="hello"), openai),)
FEATURES["batches"] = (lambda: raised(lambda: claude.messages.batches.list(), anthropic),)
# Whose key is of nothing.
FEATURES["no key"] = (lambda: raised(lambda: gpt.with_options(api_key="wrong").models.list(), openai),)

for name in sys.argv[1:] or FEATURES:
    feature, *given = FEATURES[name]
    try:
        found = feature(*given)
    except Exception as error:
        found = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps({"feature": name} | found), flush=True)
