"""Context edits: old tool results and old thinking cleared from what the model reads, once it has grown too long.

Knows the edits' parameters and defaults, and what each cleared. Must not know the cache: it sees a shorter prompt.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from convcache.emulator.layout import Piece
from convcache.emulator.rendering import THINKING

TOOL_USES: Final = "clear_tool_uses_20250919"
CLEARED_THINKING: Final = "clear_thinking_20251015"
CLEARED: Final = "[Old tool result content cleared]"
"""What stands where a result was; the API's own words are not published."""
_DEFAULT_TRIGGER: Final = 100_000
_KEPT_TOOL_USES: Final = 3
_KEPT_THINKING_TURNS: Final = 1

Count = Callable[[Mapping[str, Any]], int]


@attrs.frozen
class Edited:
    """The pieces after all edits, and what the response says about each that did something."""

    pieces: list[Piece]
    applied: list[dict[str, Any]]


def edited(pieces: Sequence[Piece], body: Mapping[str, Any], count: Count) -> Edited:
    """What is left of a prompt after its request's edits, in the order in which they are listed."""
    edits = (body.get("context_management") or {}).get("edits") or ()
    result = Edited(list(pieces), [])
    for edit in edits:
        clear = _CLEARING.get(edit["type"])
        if clear is None:
            continue
        changed, told = clear(result.pieces, edit, count)
        saved = _tokens(result.pieces, count) - _tokens(changed, count)
        if saved > 0 and saved >= _value(edit.get("clear_at_least"), 0):
            report = {"type": edit["type"], "cleared_input_tokens": saved, **told}
            result = Edited(changed, [*result.applied, report])
    return result


def _clear_tool_uses(
    pieces: list[Piece], edit: Mapping[str, Any], count: Count
) -> tuple[list[Piece], dict[str, int]]:
    calls = {piece.block["id"]: piece.block for piece in pieces if piece.type == "tool_use"}
    results = [piece for piece in pieces if piece.type == "tool_result"]
    if not _is_triggered(edit.get("trigger"), pieces, len(results), count):
        return pieces, {}
    kept = _value(edit.get("keep"), _KEPT_TOOL_USES)
    old = [piece.block["tool_use_id"] for piece in results[: max(0, len(results) - kept)]]
    spared = set(edit.get("exclude_tools") or ())
    cleared = {id_ for id_ in old if calls.get(id_, {}).get("name") not in spared}
    inputs = edit.get("clear_tool_inputs")
    return [_without(piece, cleared, inputs) for piece in pieces], {"cleared_tool_uses": len(cleared)}


def _without(piece: Piece, cleared: set[str], inputs: Any) -> Piece:
    if piece.type == "tool_result" and piece.block["tool_use_id"] in cleared:
        return piece._replace(block={**piece.block, "content": CLEARED}, known=None)
    if piece.type == "tool_use" and piece.block["id"] in cleared and _covers(inputs, piece.block["name"]):
        return piece._replace(block={**piece.block, "input": {}}, known=None)
    return piece


def _covers(inputs: Any, name: str) -> bool:
    """Whether the inputs of a tool's calls are to be cleared as well: of all tools, or of those named."""
    return inputs is True or (isinstance(inputs, list) and name in inputs)


def _clear_thinking(
    pieces: list[Piece], edit: Mapping[str, Any], _count: Count
) -> tuple[list[Piece], dict[str, int]]:
    keep = edit.get("keep")
    if keep == "all" or (isinstance(keep, Mapping) and keep.get("type") == "all"):
        return pieces, {}
    turns = _thinking_turns(pieces)
    old = turns[: max(0, len(turns) - _value(keep, _KEPT_THINKING_TURNS))]
    gone = {number for turn in old for number in turn}
    kept = [piece for piece in pieces if piece.type not in THINKING or piece.message not in gone]
    return kept, {"cleared_thinking_turns": len(old)}


def _thinking_turns(pieces: Iterable[Piece]) -> list[set[int]]:
    """The assistant's turns that hold thinking, as the messages each consists of; tool loops are one turn."""
    turns: list[set[int]] = []
    is_open = False
    for piece in pieces:
        if piece.role == "user" and piece.type != "tool_result":
            is_open = False
        elif piece.type in THINKING:
            if not is_open:
                turns.append(set())
            turns[-1].add(piece.message)
            is_open = True
    return turns


def _is_triggered(trigger: Any, pieces: Sequence[Piece], tool_uses: int, count: Count) -> bool:
    if isinstance(trigger, Mapping) and trigger.get("type") == "tool_uses":
        return tool_uses > _value(trigger, 0)
    return _tokens(pieces, count) > _value(trigger, _DEFAULT_TRIGGER)


def _tokens(pieces: Iterable[Piece], count: Count) -> int:
    return sum(count(piece.block) for piece in pieces)


def _value(setting: Any, default: int) -> int:
    return int(setting["value"]) if isinstance(setting, Mapping) else default


_CLEARING: Final[Mapping[str, Callable[..., tuple[list[Piece], dict[str, int]]]]] = {
    TOOL_USES: _clear_tool_uses,
    CLEARED_THINKING: _clear_thinking,
}
