"""Words the conversation tests are written in."""

import base64
import time
from collections.abc import Callable
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


BLOCKS: dict[str, Json] = {
    "text": text('quotes " and \\ and \n and \u2028 and / and \x7f'),
    "unicode": text("漢字 é 🎈 \U0010ffff"),
    "citations": {
        **text("as it says"),
        "citations": [
            {
                "type": "char_location",
                "cited_text": "says",
                "document_index": 0,
                "document_title": None,
                "start_char_index": 0,
                "end_char_index": 4,
                "file_id": None,
            }
        ],
    },
    "thinking": thinking("let me see"),
    "redacted": {"type": "redacted_thinking", "data": "Zm9v"},
    "tool_use": {**call("a"), "caller": {"type": "direct"}},
    "numbers": call(
        "b",
        zero=-0.0,
        tiny=1e-07,
        large=1e22,
        third=0.1 + 0.2,
        one=1.0,
        huge=10**40,
        no=None,
        yes=True,
        cache_control=1,
    ),
    "tool_result": {
        **result("a"),
        "content": [text("found"), {"type": "tool_reference", "tool_name": "look_up"}],
    },
    "error": {**result("b"), "is_error": True},
    "server_tool": {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
    "search": {
        "type": "web_search_tool_result",
        "tool_use_id": "srv",
        "content": [
            {
                "type": "web_search_result",
                "url": "http://a",
                "title": "A",
                "encrypted_content": "x",
                "page_age": None,
            }
        ],
    },
    "image": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    "document": {
        "type": "document",
        "source": {"type": "content", "content": [text("a page")]},
        "citations": {"enabled": True},
    },
    "future": {"type": "brand_new_block", "payload": {"cache_control": [1, {"deep": []}]}, "": {}},
}
"""A block of every shape, with what is hard to write."""


def eventually(happens: Callable[[], object], *, seconds: float = 15.0) -> bool:
    """Whether something happens soon, in real time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.01)
    return False
