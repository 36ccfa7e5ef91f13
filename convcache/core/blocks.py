"""Content blocks as plain JSON: which can carry a breakpoint, and how breakpoints are put on and taken off.

Knows the shape of blocks and nothing of prompts, turns or money. Inputs are never changed.
"""

import hashlib
import json
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final, Literal, TypedDict

from cachetools import LRUCache

Json = Mapping[str, Any]
"""A JSON object: a block, a message, a tool or a request body."""

Ttl = Literal["5m", "1h"]
"""How long an entry lives: the two lifetimes the API offers."""


class TextBlock(TypedDict):
    """A text block, as the API takes it."""

    type: Literal["text"]
    text: str


MARKABLE_TYPES: Final = frozenset(
    {
        "text", "image", "document", "search_result", "tool_use", "tool_result",
        "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
        "bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
        "tool_reference", "container_upload", "browser_state",
        "mcp_tool_use", "mcp_tool_result", "compaction", "advisor_tool_result", "tool_addition", "tool_removal",
    }
)  # fmt: skip
"""Block types whose request form has a `cache_control` field (the SDK's types; a test compares them)."""

THINKING_TYPES: Final = frozenset({"thinking", "redacted_thinking"})

UNMARKABLE_TYPES: Final = THINKING_TYPES | {"mcp_tool_listing"}
"""Block types that the API refuses a breakpoint on."""

BLOCK_KEYS: Final = frozenset({"content", "source", "tool", "definition", "tool_references"})
"""The keys that hold blocks: a user's own key may be called `cache_control` inside a tool's input or schema."""


def as_blocks(content: object) -> tuple[Json, ...]:
    """A message's or the system's content as blocks; a string is short for one text block.

    Raises:
        TypeError: It is neither a string nor a list of blocks.
    """
    if content is None:
        return ()
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    if isinstance(content, (list, tuple)) and all(map(_is_object, content)):
        return tuple(content)
    raise TypeError(
        "content is a string or a list of blocks as plain JSON; objects of the SDK have to_dict()"
    )


def _is_object(value: object) -> bool:
    # A dict is told from others much faster than a mapping is.
    return isinstance(value, (dict, Mapping))


def is_markable(block: Json) -> bool:
    """Whether the API takes a breakpoint on this content block: never on thinking, nor on empty text."""
    return block.get("type") in MARKABLE_TYPES and not is_empty_text(block)


def takes_own_breakpoint(block: Json) -> bool:
    """Whether a breakpoint that the caller put on this block is kept: also on types that are not known here yet."""
    kind = block.get("type")
    return kind not in MARKABLE_TYPES and kind not in UNMARKABLE_TYPES and breakpoint_ttl(block) is not None


def is_empty_text(block: Json) -> bool:
    """Whether this is a text block without text, which the API may give but does not take."""
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def is_turn_scoped(message: Json) -> bool:
    """Whether this is a system message that disappears at the next user message, and so takes no breakpoint."""
    return message.get("role") == "system" and bool(message.get("clear_at"))


def breakpoint_ttl(block: Json) -> Ttl | None:
    """The TTL of the breakpoint a block carries, or a block inside it; `None` where there is none.

    The API counts a breakpoint inside a tool result like any other; it means the end of the whole result. A bare
    one means five minutes.
    """
    control = block.get("cache_control")
    if control is not None and isinstance(control, Mapping):
        return "1h" if control.get("ttl") == "1h" else "5m"
    inner = block.get("content")
    for item in inner if isinstance(inner, (list, tuple)) else ():
        if _is_object(item) and (ttl := breakpoint_ttl(item)):
            return ttl
    return None


def marked(block: Json, ttl: Ttl) -> dict[str, Any]:
    """A copy of the block that carries a breakpoint. Five minutes is the API's default and is left unsaid."""
    return {**block, "cache_control": control(ttl)}


def control(ttl: Ttl) -> dict[str, str]:
    """A breakpoint."""
    return {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}


def unmarked(value: Any) -> Any:
    """The same content without breakpoints. What has none is returned as it is, not copied.

    Follows only the keys that hold blocks, so that a tool's `input` or schema with a property called
    `cache_control` stays as the caller wrote it.
    """
    if isinstance(value, (dict, Mapping)):
        return _unmarked_mapping(value)
    if isinstance(value, (list, tuple)):
        items = [unmarked(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _unmarked_mapping(block: Json) -> Json:
    changed = {}
    for key in BLOCK_KEYS & block.keys():
        if (new := unmarked(block[key])) is not block[key]:
            changed[key] = new
    if not changed and "cache_control" not in block:
        return block
    return {key: changed.get(key, value) for key, value in block.items() if key != "cache_control"}


_shared_texts: LRUCache[bytes, None] = LRUCache(10_000)
_shared_lock = Lock()


def shared(text: str) -> TextBlock:
    """A text block whose end is a border: others share the prompt up to here, and it gets a breakpoint of its own.

    It is a plain text block to the SDK and to the API, and can stand in `system` or in a message.

    ```python
    system = [shared(instructions), shared(tenant_documents), {"type": "text", "text": profile}]
    ```
    """
    if not isinstance(text, str):
        raise TypeError(f"shared takes the text itself, not {type(text).__name__}")
    with _shared_lock:
        _shared_texts[_text_digest(text)] = None
    return {"type": "text", "text": text}


def is_shared(block: Json) -> bool:
    """Whether this text was declared with `shared`."""
    if block.get("type") != "text" or not _shared_texts or not isinstance(block.get("text"), str):
        return False
    with _shared_lock:
        return _text_digest(block["text"]) in _shared_texts


def _text_digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


_IMAGE_BYTES: Final = 6_400
_BYTES_PER_TEXT_BYTE: Final = 20


def text_length(block: Json) -> int:
    """How many bytes of text a block stands for, to estimate its tokens from: what the model reads of it, without
    the JSON around it and without signatures; an image as some 1,600 tokens, the data of a document as what its
    pages may say.

    Raises:
        ValueError: The content cannot be written as JSON.
        TypeError: It holds an object that is not JSON.
    """
    kind = block.get("type")
    if kind == "text" and isinstance(text := block.get("text"), str):
        return text_bytes(text)
    length = _length_of(kind, block)
    return len(unmarked_bytes(block)) if length is None else length


def _length_of(kind: object, block: Json) -> int | None:  # noqa: PLR0911 - a row for each kind of block
    match kind, block:
        case "tool_result", {"content": list(parts)} if all(map(_is_object, parts)):
            return sum(map(text_length, parts))
        case "tool_result", {"content": str(text)}:
            return text_bytes(text)
        case "tool_use", {"name": str(name), "input": called}:
            return text_bytes(name) + len(as_bytes(called))
        case "thinking", {"thinking": str(text)}:
            return text_bytes(text)
        case "image", _:
            return _IMAGE_BYTES
        case "document", {"source": {"type": "base64", "data": str(data)}}:
            return len(data) // _BYTES_PER_TEXT_BYTE
        case "document", {"source": {"type": "text", "data": str(text)}}:
            return text_bytes(text)
    return None


def text_bytes(text: str) -> int:
    """How many bytes a text has."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


_encoder: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def as_bytes(value: Any) -> bytes:
    """JSON as the SDK puts it on the wire.

    Raises:
        ValueError: It cannot be written as JSON (NaN, an infinity, a lone surrogate).
        TypeError: It holds an object that is not JSON.
    """
    return _encoder.encode(value).encode()


def unmarked_bytes(value: Any) -> bytes:
    """A block, or what is in one, without breakpoints as JSON. Only where the word is they are looked for.

    Raises:
        ValueError: It cannot be written as JSON (NaN, an infinity, a lone surrogate).
        TypeError: It holds an object that is not JSON.
    """
    written = as_bytes(value)
    return as_bytes(unmarked(value)) if A_BREAKPOINT in written else written


A_BREAKPOINT: Final = b'"cache_control"'
"""What is in the bytes of everything that has a breakpoint."""
