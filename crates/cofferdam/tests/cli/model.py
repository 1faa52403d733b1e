"""A model that plays by a script, for guests that know the OpenAI API: it calls one tool after the other, by what the
guest offers, and ends with what all of them answered.

  model.py 127.0.0.2 '[["read_file", "runbook.md"], ["fetch", "http://..."], ["write_file", "report.md", "{0}{1}"]]'

Prints its port. `{0}` is what the first tool answered. A guest that offers a shell alone is asked for commands. With a
certificate and its key as further arguments it speaks TLS.
"""

import json
import shlex
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PARAMETERS = {"read_file": ["path"], "fetch": ["url"], "write_file": ["path", "text"]}
COMMANDS = {"read_file": "cat {}", "fetch": "curl -sS {}", "write_file": "printf %s {1} > {0}"}
# What the tools of coding agents are called, and how each takes a command.
SHELLS = {"bash": "command", "exec": "command", "exec_command": "cmd", "shell": "command", "Bash": "command"}
STEPS = json.loads(sys.argv[2])


def text_of(content):
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


def next_call(offered, answers):
    """The name and the arguments of the next call, or nothing when all were made."""
    if len(answers) >= len(STEPS):
        return None
    tool, *values = STEPS[len(answers)]
    for at, answer in enumerate(answers):
        values = [value.replace("{%d}" % at, answer) for value in values]
    if tool in offered:
        return tool, dict(zip(PARAMETERS[tool], values))
    shell = next(name for name in SHELLS if name in offered)
    command = COMMANDS[tool].format(*map(shlex.quote, values))
    return shell, {SHELLS[shell]: command, "description": tool}


def final(answers):
    return "Done. " + "\n".join(f"{step[0]} {step[1]}: {answer}" for step, answer in zip(STEPS, answers))


def chat(asked):
    """https://platform.openai.com/docs/api-reference/chat"""
    offered = [tool["function"]["name"] for tool in asked.get("tools", [])]
    answers = [text_of(message["content"]) for message in asked["messages"] if message["role"] == "tool"]
    call = next_call(offered, answers) if offered else None
    message = {"role": "assistant", "content": None if call else final(answers) if offered else "APPROVE"}
    if call:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message["tool_calls"] = [{"index": 0, "id": f"call_{len(answers)}", "type": "function", "function": function}]
    reason = "tool_calls" if call else "stop"
    head = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not asked.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return head | {"object": "chat.completion", "choices": [choice], "usage": usage}
    chunks = [({"delta": message}, None), ({"delta": {}}, reason)]
    head |= {"object": "chat.completion.chunk"}
    events = [head | {"choices": [{"index": 0, "finish_reason": end} | delta]} for delta, end in chunks]
    return [*events, head | {"choices": [], "usage": usage}, "[DONE]"]


def responses(asked):
    """https://platform.openai.com/docs/api-reference/responses-streaming"""
    offered = [tool.get("name") for tool in asked["tools"]]
    outputs = [text_of(item["output"]) for item in asked["input"] if item["type"] == "function_call_output"]
    # Codex says how long a command took before it says what came of it.
    answers = [output.split("Output:\n")[-1] for output in outputs]
    call = next_call(offered, answers)
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": final(answers)}]}
    if call:
        name, arguments = call[0], json.dumps(call[1])
        item = {"type": "function_call", "call_id": f"call_{len(answers)}", "name": name, "arguments": arguments}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    response = {"id": "resp_1", "object": "response", "output": [item], "usage": usage}
    return [
        {"type": "response.created", "response": response | {"output": []}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]


ANSWERS = {"/chat/completions": chat, "/responses": responses}


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.split("?")[0]
        answer = next((answer for end, answer in ANSWERS.items() if path.endswith(end)), None)
        if not answer:
            return self.say(404, "application/json", {"error": {"message": f"no {path} here"}})
        said = answer(asked)
        if isinstance(said, dict):
            return self.say(200, "application/json", said)
        lines = [event if isinstance(event, str) else json.dumps(event) for event in said]
        self.say(200, "text/event-stream", "".join(f"data: {line}\n\n" for line in lines))

    def do_GET(self):
        self.say(200, "application/json", {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def say(self, status, kind, body):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((sys.argv[1], 0), Model)
if sys.argv[3:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[3:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
