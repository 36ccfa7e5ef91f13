"""Words the conversation tests are written in."""

import base64
from typing import Any

Json = dict[str, Any]

MODEL = "claude-opus-5"
"""Keeps earlier thinking; caches prefixes from 512 tokens."""

GUIDE = "A sentence of the guide that the model answers from. " * 400
"""Some 5,300 tokens."""

TOOL: Json = {
    "name": "look_up",
    "description": "Looks a word up.",
    "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def thinking(words: str) -> Json:
    signature = base64.b64encode(words.encode()).decode()
    return {"type": "thinking", "thinking": words, "signature": signature}


def call(name: str, **given: Any) -> Json:
    return {"type": "tool_use", "id": name, "name": "look_up", "input": given or {"word": name}}


def result(name: str, found: str = "found") -> Json:
    return {"type": "tool_result", "tool_use_id": name, "content": found}


def reply(*blocks: Json, stop_reason: str | None = None) -> Json:
    calls = any(block["type"] == "tool_use" for block in blocks)
    return {"content": list(blocks), "stop_reason": stop_reason or ("tool_use" if calls else "end_turn")}


def marked_paths(body: Json) -> list[str]:
    """Where a request body carries breakpoints: `system.0`, `messages.2.0`."""
    paths = []
    for section in ("tools", "system"):
        paths += [
            f"{section}.{i}" for i, block in enumerate(body.get(section) or ()) if "cache_control" in block
        ]
    for m, message in enumerate(body["messages"]):
        paths += [
            f"messages.{m}.{i}" for i, block in enumerate(message["content"]) if "cache_control" in block
        ]
    return paths
