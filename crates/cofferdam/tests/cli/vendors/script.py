"""What the vendors' script says, by the first word of what a user asked last, and how what arrives is checked."""

import json
import re

# A red dot.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="
TEXT = "Hellø, world."
WEATHER = {"Bergen": "rain", "Oslo": "snow"}
CALLS = [(f"call_{place}", "get_weather", {"place": place}) for place in WEATHER]
STRUCTURED = {"city": "Bergen", "days": 3}
THOUGHT = "It asks for little."
# What each answer used: input at the full price, read from the cache, written to it for minutes and for an hour, output.
USED = {
    "say": (11, 8, 0, 0, 5), "weather": (60, 0, 0, 0, 30), "weather told": (90, 20, 0, 0, 9), "structured": (40, 0, 0, 0, 12),
    "picture": (300, 0, 0, 0, 4), "think": (25, 0, 0, 0, 40), "think again": (70, 0, 0, 0, 41),
    "cache": (7, 0, 100, 300, 6), "cached": (7, 400, 0, 0, 6), "embed": (4, 0, 0, 0, 0),
}  # fmt: skip


OPTIONAL = (type(None),)


class Wrong(Exception):
    """What the vendor would refuse, by its place."""

    kept = True


class Refused(Wrong):
    """What the script refuses, and nobody did wrong."""

    kept = False


def need(is_so, what):
    if not is_so:
        raise Wrong(what)


def fields(value, at, required=(), **known):
    """An object with these fields and no others."""
    need(isinstance(value, dict), f"{at}: expected an object, got {type(value).__name__}")
    for name in required:
        need(name in value, f"{at}.{name}: field required")
    for name, held in value.items():
        need(name in known, f"Unknown parameter: '{at}.{name}'")
        need(isinstance(held, known[name]) and not (held is True and known[name] is int), f"{at}.{name}: wrong type: {held!r}")
    return value


def within(value, least, most, at):
    need(value is None or least <= value <= most, f"{at}: {value} is not within {least} and {most}")


def one_of(value, words, at):
    need(value in words, f"{at}: {value!r} is none of {words}")


def function(tool, at):
    fields(tool, at, ["name"], name=str, description=str, parameters=dict, strict=(bool, type(None)))
    need(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]), f"{at}.name: {tool['name']!r}")
    schema(tool.get("parameters", {"type": "object"}), at + ".parameters", tool.get("strict"))


def schema(value, at, strict):
    need(value.get("type") == "object", f"{at}: schema must be a JSON Schema of 'type: \"object\"'")
    if strict:
        need(value.get("additionalProperties") is False, f"{at}: 'additionalProperties' is required to be false")
        need(sorted(value.get("required", [])) == sorted(value["properties"]), f"{at}: 'required' has to name all")


def arguments(text, at):
    need(isinstance(text, str), f"{at}: expected a string")
    need(isinstance(json.loads(text), dict), f"{at}: not an object")


def data_url(url, at):
    need(url == f"data:image/png;base64,{PNG}", f"{at}: not the picture: {url[:80]}")


class Asked:
    """What a request comes to, whatever it is written in."""

    def __init__(self):
        self.text, self.results, self.marked, self.pictures, self.structured, self.thinks, self.thought = "", {}, False, 0, None, False, False
        self.tools = []

    def say(self, text):
        self.text, self.results = text, {}

    def scenario(self):
        word = self.text.split(":")[0]
        need(word in {*USED, "refuse", "break", "marked"}, f"the script has no {self.text!r}")
        need(word != "marked" or self.marked, "the field of a marked name did not arrive")
        need(word != "picture" or self.pictures == 1, f"{self.pictures} pictures arrived")
        need((word == "structured") == (self.structured is not None), "a schema where none belongs, or none")
        need(not word.startswith("think") or self.thinks, "thinking is off")
        need(word != "think again" or self.thought, "the thought of before did not come back")
        if word == "refuse":
            raise Refused("the scripted vendor refuses this")
        if word == "weather":
            need(self.tools == ["get_weather"], f"tools: {self.tools}")
            if self.results:
                told = {call: WEATHER[place["place"]] for call, _, place in CALLS}
                need(self.results == told, f"results: {self.results}")
                return "weather told"
        return "say" if word == "marked" else word


def parts_of(scenario):
    if scenario == "weather":
        return [("call", *call) for call in CALLS]
    text = {"weather told": "Bergen: rain, Oslo: snow", "structured": json.dumps(STRUCTURED), "picture": "a red dot"}
    thought = [("thought", THOUGHT)] if scenario.startswith("think") else []
    return [*thought, ("text", text.get(scenario, TEXT))]


def pieces(text):
    """Two characters at a time."""
    return [text[at : at + 2] for at in range(0, len(text), 2)]
