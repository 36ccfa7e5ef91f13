"""The words checks are written in: blocks, messages, tools and breakpoints as plain JSON.

Knows shapes only. Must not know an endpoint, a rule or a model.
"""

import base64
import struct
import zlib
from itertools import cycle, islice
from typing import Any, Final

Json = dict[str, Any]

MARK: Final = {"type": "ephemeral"}
HOUR: Final = {"type": "ephemeral", "ttl": "1h"}

_WORDS: Final = [
    "open",
    "road",
    "blue",
    "hill",
    "calm",
    "lake",
    "warm",
    "wind",
    "late",
    "noon",
    "soft",
    "rain",
    "tall",
    "tree",
    "long",
    "path",
]
_SIDE: Final = 32


def text(words: str, mark: Json | None = None) -> Json:
    return _marked({"type": "text", "text": words}, mark)


def user(*blocks: str | Json) -> Json:
    return {"role": "user", "content": _blocks(blocks)}


def assistant(*blocks: str | Json) -> Json:
    return {"role": "assistant", "content": _blocks(blocks)}


def system_message(words: str, **fields: Any) -> Json:
    """A system message in the middle of a conversation."""
    return {"role": "system", "content": _blocks([words]), **fields}


def until_next_turn(words: str) -> Json:
    """A system message that is gone when the user speaks again."""
    return system_message(words, clear_at="next_user_message")


def tool(name: str, does: str = "Looks a thing up.", mark: Json | None = None, **fields: Any) -> Json:
    return _marked(
        {
            "name": name,
            "description": does,
            "input_schema": {"type": "object", "properties": {"thing": {"type": "string"}}},
            **fields,
        },
        mark,
    )


def call(number: int, name: str = "look", given: Json | None = None) -> Json:
    return {"type": "tool_use", "id": f"toolu_{number:024}", "name": name, "input": given or {"thing": "a"}}


def result(number: int, content: Any = "Found.", mark: Json | None = None, **fields: Any) -> Json:
    block = {"type": "tool_result", "tool_use_id": f"toolu_{number:024}", "content": content, **fields}
    return _marked(block, mark)


def row(first: int, last: int, mark: Json | None = None, say: str = "number") -> list[Json]:
    """Numbered text blocks, the last of them marked."""
    return [text(f"{say} {n}", mark if n == last else None) for n in range(first, last + 1)]


def picture(shade: int, mark: Json | None = None) -> Json:
    """A small grey image of one shade (0-255)."""
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(_png(shade)).decode()}
    return _marked({"type": "image", "source": source}, mark)


def padding(words: int) -> str:
    """So many short words, each about one token."""
    return " ".join(islice(cycle(_WORDS), words))


def _marked(block: Json, mark: Json | None) -> Json:
    return block if mark is None else {**block, "cache_control": mark}


def _blocks(blocks: Any) -> list[Json]:
    return [text(block) if isinstance(block, str) else block for block in blocks]


def _png(shade: int) -> bytes:
    rows = (b"\0" + bytes([shade]) * _SIDE) * _SIDE
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
