"""OpenAI and Anthropic in one server, by a script: what a request says decides what is answered, and each is held to what the
vendor documents of its API. What is wrong is answered with 400 in the vendor's shape, and kept.

  vendors/main.py 127.0.0.2 OPENAI_KEY ANTHROPIC_KEY

Prints its port. `GET /problems` lists what was wrong, `GET /served` what each answer used.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anthropic import count_tokens, messages, messages_answer
from openai import chat, chat_answer, embeddings, embeddings_answer, responses, responses_answer
from script import USED, need, one_of

OPENAI_KEY, ANTHROPIC_KEY = sys.argv[2:4]
PROBLEMS, SERVED = [], []

# Of whom, what is asked, what is answered, and which models there are.
PATHS = {
    "/v1/chat/completions": ("openai", chat, chat_answer, ["gpt-4.1-mini", "brittle-gpt"]),
    "/v1/responses": ("openai", responses, responses_answer, ["gpt-4.1-mini", "brittle-gpt"]),
    "/v1/embeddings": ("openai", embeddings, embeddings_answer, ["text-embedding-3-small"]),
    "/v1/messages": ("anthropic", messages, messages_answer, ["claude-sonnet-4-5", "brittle-claude"]),
    "/v1/messages/count_tokens": ("anthropic", count_tokens, lambda *_: {"input_tokens": 14}, ["claude-sonnet-4-5"]),
}
# Nothing of the client's own comes through.
HEADERS = {
    "openai": {"host", "content-type", "content-length", "accept", "user-agent", "authorization", "openai-beta"},
    "anthropic": {"host", "content-type", "content-length", "accept", "user-agent", "x-api-key", "anthropic-version", "anthropic-beta"},
}


def once(pairs):
    names = [name for name, _ in pairs]
    need(len(names) == len(set(names)), f"a name stands twice: {names}")
    return dict(pairs)


class Vendors(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["content-length"]))
        whose, read, answer, models = PATHS.get(self.path, ("openai", None, None, None))
        try:
            need(read, f"no {self.path} here")
            self.check_head(whose)
            body = json.loads(sent.decode("utf-8"), object_pairs_hook=once)
            asked = read(body)
            if self.headers["anthropic-version"] == "2026-10-21":
                need(not {"temperature", "top_p", "top_k"} & set(body), "temperature, top_p, top_k: removed in this version")
            one_of(body["model"], models, "model")
            scenario = asked.scenario()
            used = USED["say" if scenario == "break" else scenario]
            said = answer(body, scenario, used)
        except Exception as wrong:  # A script that breaks is a problem as well.
            if getattr(wrong, "kept", True):
                PROBLEMS.append(f"{self.path}: {type(wrong).__name__}: {wrong}: {sent.decode(errors='replace')[:2000]}")
            return self.refuse(whose, 400, str(wrong))
        if read is not count_tokens:
            SERVED.append({"model": body["model"], "scenario": scenario, "used": None if scenario == "break" else used})
        if isinstance(said, dict):
            return self.say(200, json.dumps(said, ensure_ascii=False))
        self.stream(said, whose == "anthropic" or read is responses)

    def check_head(self, whose):
        names = [name.lower() for name in self.headers]
        need(set(names) <= HEADERS[whose] and len(names) == len(set(names)), f"headers: {sorted(set(names) - HEADERS[whose])}")
        need(self.headers["content-type"] == "application/json", f"content-type: {self.headers['content-type']}")
        if whose == "openai":
            need(self.headers["authorization"] == f"Bearer {OPENAI_KEY}", "authorization: not the key of this vendor")
        else:
            need(self.headers["x-api-key"] == ANTHROPIC_KEY, "x-api-key: not the key of this vendor")
            one_of(self.headers["anthropic-version"], ["2023-06-01", "2026-10-21"], "anthropic-version")

    def do_GET(self):
        held = {"/problems": PROBLEMS, "/served": SERVED}.get(self.path)
        if held is None:
            PROBLEMS.append(f"GET {self.path}")
        self.say(404 if held is None else 200, json.dumps(held))

    def refuse(self, whose, status, what):
        if whose == "anthropic":
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": what}, "request_id": "req_1"}
        else:
            error = {"error": {"message": what, "type": "invalid_request_error", "param": None, "code": None}}
        self.say(status, json.dumps(error))

    def say(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-request-id", "req_1")
        self.send_header("openai-organization", "org-of-the-key")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events, named):
        """In pieces that fall anywhere: between events, in one, in a character."""
        text = ""
        for event in events:
            text += f"event: {event['type']}\n" if named else ""
            text += f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        sent = text.encode()
        for at in range(0, len(sent), 37):
            piece = sent[at : at + 37]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((sys.argv[1], 0), Vendors)
print(server.server_port, flush=True)
server.serve_forever()
