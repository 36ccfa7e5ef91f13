"""Tools that the API runs itself: where in an answer a result came back and the model was asked again.

Knows blocks of calls and results. Must not know the cache: `course` bills each time the model was asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from convcache.emulator.layout import Piece

Block = Mapping[str, Any]

_CALLS: Final = frozenset({"server_tool_use", "mcp_tool_use"})
_COUNTED: Final = {"web_search": "web_search_requests", "web_fetch": "web_fetch_requests"}


def is_result(block: Block) -> bool:
    type_ = str(block["type"])
    return type_.endswith("_tool_result")


def samplings(content: Sequence[Block]) -> list[list[Block]]:
    """An answer cut where the model was asked again: after each run of results, one list per time it was asked."""
    parts: list[list[Block]] = [[]]
    before: Block | None = None
    for block in content:
        if before is not None and is_result(before) and not is_result(block):
            parts.append([])
        parts[-1].append(block)
        before = block
    return parts


def as_pieces(content: Iterable[Block], message: int) -> list[Piece]:
    """Blocks of an answer as they stand in the prompt of the next sampling."""
    return [
        Piece(f"messages.{message}.content.{index}", "messages", "assistant", block, message)
        for index, block in enumerate(content)
    ]


def requests_made(content: Iterable[Block]) -> dict[str, int] | None:
    """How often each counted tool was called, if any tool of the server was."""
    calls = [block for block in content if block["type"] in _CALLS]
    if not calls:
        return None
    counts = dict.fromkeys(_COUNTED.values(), 0)
    for call in calls:
        if call["name"] in _COUNTED:
            counts[_COUNTED[call["name"]]] += 1
    return counts
