"""On call, with nothing but the OpenAI SDK: python agent.py [TASK]"""

import json
import os
import sys
from pathlib import Path

import requests
from openai import OpenAI

TASK = "Read runbook.md, ask http://127.0.0.2:9090/api/v1/alerts what fires, and write into report.md what to do."


def read_file(path):
    return Path(path).read_text()


def fetch(url):
    return requests.get(url, timeout=30).text


def write_file(path, text):
    Path(path).write_text(text)
    return f"wrote {path}"


def described(function, *parameters):
    properties = {name: {"type": "string"} for name in parameters}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {"type": "function", "function": {"name": function.__name__, "parameters": schema}}


TOOLS = {tool.__name__: tool for tool in (read_file, fetch, write_file)}
DESCRIBED = [described(read_file, "path"), described(fetch, "url"), described(write_file, "path", "text")]


def call(tool):
    try:
        return TOOLS[tool.name](**json.loads(tool.arguments))
    except Exception as error:  # The model shall read what went wrong.
        return f"{type(error).__name__}: {error}"


client = OpenAI()  # Reads OPENAI_BASE_URL and OPENAI_API_KEY.
messages = [{"role": "user", "content": " ".join(sys.argv[1:]) or TASK}]
while True:
    answer = client.chat.completions.create(model=os.environ["MODEL"], messages=messages, tools=DESCRIBED)
    message = answer.choices[0].message
    messages.append(message)
    if not message.tool_calls:
        break
    for asked in message.tool_calls:
        messages.append({"role": "tool", "tool_call_id": asked.id, "content": call(asked.function)})
print(message.content)
