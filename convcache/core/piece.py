"""A block of content, read once: its bytes, and all that a key, a plan and a bill ask of it.

Knows one block at a time, and nothing of the prompt that it stands in.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Self

from convcache.core.blocks import (
    A_BREAKPOINT,
    BLOCK_KEYS,
    THINKING_TYPES,
    Json,
    Ttl,
    as_blocks,
    as_bytes,
    breakpoint_ttl,
    is_markable,
    is_shared,
    takes_own_breakpoint,
    text_bytes,
    text_length,
    unmarked,
)

Trait = Literal["thinking", "summary", "citations", "image"]
"""What is in a block: thinking, a summary that stands for what is before it, a document to cite from, an image."""

_PLAIN_TEXT: Final = {"type", "text"}


class Piece(NamedTuple):
    """A block, read.

    Attributes:
        json: The block as its caller wrote it.
        kind: Its type.
        wire: Its bytes on the wire, without breakpoints.
        key: The bytes it is known by: the same with the block's own keys sorted, and everything inside as written. The
            SDK's classes and the API's JSON differ in the order of a block's own keys, which the API reads as the
            same; the order inside a tool's input or schema it does not.
        length: Bytes of text that it stands for; see `text_length`.
        markable: Whether it takes a breakpoint, or has one of the caller's that is kept.
        bare: Whether there is no breakpoint of the caller's in it.
        own: The TTL of a breakpoint that the caller put here.
        shared: Whether the caller declared that others share the prompt up to here.
        traits: What is in it.
    """

    json: Json
    kind: str | None
    wire: bytes
    key: bytes
    length: int
    markable: bool
    bare: bool
    own: Ttl | None
    shared: bool
    traits: tuple[Trait, ...]

    @classmethod
    def of(cls, block: Json) -> Self:
        """Read a block.

        Raises:
            ValueError: It cannot be written as JSON (NaN, an infinity, a lone surrogate).
            TypeError: It holds an object that is not JSON.
        """
        kind = block.get("type")
        if not isinstance(kind, str):
            kind = None
        if kind == "text" and block.keys() == _PLAIN_TEXT and isinstance(text := block["text"], str):
            return cls._of_text(block, text)
        bare, fields = "cache_control" not in block, {}
        for name, value in block.items():
            if name != "cache_control":
                written = as_bytes(value)
                if name in BLOCK_KEYS and A_BREAKPOINT in written:
                    unmarked_value = unmarked(value)
                    bare = bare and unmarked_value is value
                    written = as_bytes(unmarked_value)
                fields[name] = field(name) + written
        wire = b"{" + b",".join(fields.values()) + b"}"
        key = b"{" + b",".join([fields[name] for name in sorted(fields)]) + b"}"
        if kind == "tool_use" and "input" in fields and isinstance(called := block.get("name"), str):
            # What `text_length` tells, without writing the input again.
            length = text_bytes(called) + len(fields["input"]) - len(field("input"))
        else:
            length = text_length(block)
        markable = kind is not None and (is_markable(block) or (not bare and takes_own_breakpoint(block)))
        own = None if bare else breakpoint_ttl(block)
        # One of these words is in every block that has a trait.
        has_traits = b"thinking" in wire or b"image" in wire or b"citations" in wire or b"compaction" in wire
        traits = tuple(_traits(kind, block)) if has_traits else ()
        return cls(block, kind, wire, key, length, markable, bare, own, is_shared(block), traits)

    @classmethod
    def _of_text(cls, block: Json, text: str) -> Self:
        """The same of a block that is its text, as most are."""
        quoted = as_bytes(text)
        key = b'{"text":' + quoted + b',"type":"text"}'
        wire = key if next(iter(block)) == "text" else b'{"type":"text","text":' + quoted + b"}"
        markable = bool(text.strip())
        return cls(block, "text", wire, key, text_bytes(text), markable, True, None, is_shared(block), ())


def pieces_of(message: Json) -> tuple[Piece, ...]:
    """The blocks of a message, read; of a string, the text block that it stands for."""
    return tuple([Piece.of(block) for block in as_blocks(message["content"])])


@lru_cache(256)
def field(name: str) -> bytes:
    """The bytes of an object's key, up to its value.

    Raises:
        TypeError: It is no string.
    """
    if not isinstance(name, str):
        raise TypeError(f"keys are strings, not {name!r:.40}")
    return as_bytes(name) + b":"


def _traits(kind: object, block: Json) -> Iterator[Trait]:
    if kind in THINKING_TYPES:
        yield "thinking"
    elif kind == "compaction" and block.get("content") is not None:
        yield "summary"
    if _is_citing(block):
        yield "citations"
    if _shows_image(block):
        yield "image"


def _is_citing(block: object) -> bool:
    if not isinstance(block, Mapping):
        return False
    # On a document `citations` is the switch; on a text that cites, it is the list of citations.
    switch = block.get("citations")
    if any(map(_is_citing, _inner(block))):
        return True
    return bool(switch) and isinstance(switch, Mapping) and bool(switch.get("enabled"))


def _shows_image(block: object) -> bool:
    """Whether the block is an image or a tool result with one."""
    if not isinstance(block, Mapping):
        return False
    return block.get("type") == "image" or any(map(_shows_image, _inner(block)))


def _inner(block: Json) -> Sequence[object]:
    """What is in a tool result."""
    inner = block.get("content") if block.get("type") == "tool_result" else None
    return inner if isinstance(inner, (list, tuple)) else ()
