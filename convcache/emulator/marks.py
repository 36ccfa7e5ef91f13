"""Where a request asks for the cache: its `cache_control` marks and the breakpoints they come to.

Knows which blocks can carry a mark and where the automatic one lands. Must not know the texts of refusals.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from convcache.emulator.layout import EFFORT, Body, Piece, is_deferred

TTLS: Final = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
UNMARKABLE: Final = frozenset({"thinking", "redacted_thinking", "mcp_tool_listing", "fallback", EFFORT})

_HOLDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "tool_result": ("content",),
    "tool_search_tool_result": ("content",),
    "tool_addition": ("tool",),
}
"""Blocks whose inner blocks can carry a mark, and the key that holds them."""


@attrs.frozen
class Mark:
    """A `cache_control` and the top-level block on which it acts."""

    path: str
    ttl: str
    carrier: Piece


def explicit_marks(pieces: Sequence[Piece]) -> list[Mark]:
    """The marks on blocks in prefix order; one on a nested block acts on the block around it."""
    return [mark for piece in pieces for mark in piece.once("marks", _marks)]


def _marks(piece: Piece) -> tuple[Mark, ...]:
    return tuple(
        Mark(path, ttl_of(block["cache_control"]), piece)
        for path, block in _with_nested(piece)
        if isinstance(block.get("cache_control"), Mapping)
    )


def automatic_mark(body: Body, pieces: Sequence[Piece]) -> Mark | None:
    """The mark a top-level `cache_control` stands for: on the last block that can carry one."""
    if body.get("cache_control") is None:
        return None
    target = next((piece for piece in reversed(pieces) if can_carry_mark(piece)), None)
    return Mark("cache_control", ttl_of(body["cache_control"]), target) if target else None


def breakpoints(pieces: Sequence[Piece], explicit: Sequence[Mark], automatic: Mark | None) -> dict[str, str]:
    """The TTL asked for at each block where a mark acts, by its path."""
    marks = [*explicit, automatic] if automatic else explicit
    ends = _ends_of_batches(pieces) if any(_batch(mark.carrier) for mark in marks) else {}
    ttls: dict[str, str] = {}
    for mark in marks:
        place = ends.get(mark.carrier.path, mark.carrier.path)
        if mark.path == mark.carrier.path or place not in ttls:
            ttls[place] = mark.ttl
    return ttls


def _ends_of_batches(pieces: Sequence[Piece]) -> dict[str, str]:
    """The last block of its batch, for each action of a toolset's batch: marks on any of them act there."""
    ends: dict[str, str] = {}
    end: Piece | None = None
    for piece in reversed(pieces):
        if end is None or _batch(piece) != _batch(end):
            end = piece
        if _batch(piece):
            ends[piece.path] = end.path
    return ends


def _batch(piece: Piece) -> tuple[int, str, str] | None:
    toolset = piece.block.get("toolset_name")
    return (piece.message, piece.type, str(toolset)) if toolset else None


def can_carry_mark(piece: Piece) -> bool:
    if piece.type in UNMARKABLE or piece.turn_scoped or is_deferred(piece.block):
        return False
    return piece.type != "text" or bool(str(piece.block.get("text") or "").strip())


def ttl_of(cache_control: Mapping[str, Any]) -> str:
    return str(cache_control.get("ttl") or "5m")


def _with_nested(piece: Piece) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from _nested(piece.path, piece.block, _HOLDERS.get(piece.type, ()))
    yield piece.path, piece.block


def _nested(
    path: str, block: Mapping[str, Any], keys: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in keys:
        content = block.get(key)
        for index, part in enumerate(content if isinstance(content, list) else ()):
            yield f"{path}.{key}.{index}", part
        if isinstance(content, Mapping):
            yield f"{path}.{key}", content
            yield from _nested(f"{path}.{key}", content, ("definition", "tool_references"))
