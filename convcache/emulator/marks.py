"""Where a request asks for the cache: its `cache_control` marks and the breakpoints they come to.

Knows which blocks can carry a mark and where the automatic one lands. Must not know the texts of refusals.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from convcache.emulator.layout import Body, Piece

TTLS: Final = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
UNMARKABLE: Final = frozenset({"thinking", "redacted_thinking", "mcp_tool_listing"})


@attrs.frozen
class Mark:
    """A `cache_control` and the top-level block on which it acts."""

    path: str
    ttl: str
    carrier: Piece


def explicit_marks(pieces: Sequence[Piece]) -> list[Mark]:
    """The marks on blocks in prefix order; one on a nested block acts on the block around it."""
    marks = []
    for piece in pieces:
        for path, block in _with_nested(piece):
            if block.get("cache_control") is not None:
                marks.append(Mark(path, ttl_of(block["cache_control"]), piece))
    return marks


def automatic_mark(body: Body, pieces: Sequence[Piece]) -> Mark | None:
    """The mark a top-level `cache_control` stands for: on the last block that can carry one."""
    if body.get("cache_control") is None:
        return None
    target = next((piece for piece in reversed(pieces) if can_carry_mark(piece)), None)
    return Mark("cache_control", ttl_of(body["cache_control"]), target) if target else None


def breakpoints(explicit: Sequence[Mark], automatic: Mark | None) -> dict[str, str]:
    """The TTL asked for at each marked block, by its path."""
    marks = [*explicit, automatic] if automatic else explicit
    ttls: dict[str, str] = {}
    for mark in marks:
        if mark.path == mark.carrier.path or mark.carrier.path not in ttls:
            ttls[mark.carrier.path] = mark.ttl
    return ttls


def can_carry_mark(piece: Piece) -> bool:
    if piece.type in UNMARKABLE or piece.turn_scoped or piece.block.get("defer_loading"):
        return False
    return piece.type != "text" or bool(str(piece.block.get("text") or "").strip())


def ttl_of(cache_control: Mapping[str, Any]) -> str:
    return str(cache_control.get("ttl") or "5m")


def _with_nested(piece: Piece) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from _nested(piece.path, piece.block, ("content",) if piece.type == "tool_result" else ())
    yield piece.path, piece.block


def _nested(
    path: str, block: Mapping[str, Any], keys: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in keys:
        content = block.get(key)
        for index, part in enumerate(content if isinstance(content, list) else ()):
            yield f"{path}.{key}.{index}", part
