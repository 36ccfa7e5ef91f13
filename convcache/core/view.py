"""What of a request's messages the model is shown: what the server drops, clears or has summarised before it reads.

Knows the documented edits and their parameters, and nothing of digests or of what is cached. What an edit puts in the
place of a result is not published; it is short, and here it is what Claude Code puts there.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import attrs

from convcache.core.blocks import THINKING_TYPES, Json, as_blocks, is_turn_scoped
from convcache.core.catalog import Model
from convcache.core.outline import Feature, Outline, Place

CLEARED: Final = "[Old tool result content cleared]"

CLEAR_TOOL_USES: Final = "clear_tool_uses_20250919"
CLEAR_THINKING: Final = "clear_thinking_20251015"

# Context-editing page, 2026-09: what holds where an edit does not say.
_TRIGGER_TOKENS: Final = 100_000
_KEPT_TOOL_USES: Final = 3
_KEPT_THINKING_TURNS: Final = 1

CountTokens = Callable[[Json], float]


class _Shown(NamedTuple):
    place: Place
    message: Json
    block: Json


@attrs.frozen(kw_only=True)
class View:
    """What is left of the messages that a client sends, as far as it is not all of them.

    Attributes:
        start: Where the last summary stands: everything before it is what it stands for.
        unthought: Thinking in messages before this one is dropped; the first message after the last that held some.
        over: Likewise, system messages that were for one turn are gone.
        results: Tool calls whose results are cleared.
        inputs: Tool calls whose inputs are cleared.
        thoughts: Messages whose thinking is cleared.
        edge: The first block that the next clearing will change.
    """

    start: Place = (0, 0)
    unthought: int = 0
    over: int = 0
    results: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    thoughts: frozenset[int] = frozenset()
    edge: Place | None = attrs.field(default=None, eq=False)

    @staticmethod
    def of(request: Json, outline: Outline, row: Model, count: CountTokens) -> "View":
        """Read what the server will leave of a request's messages.

        Args:
            request: What `messages.create` takes, as plain JSON.
            outline: That of its messages.
            row: Its model.
            count: The tokens of a block: some edits begin at so many.
        """
        messages: Sequence[Json] = request["messages"]
        edits = (request.get("context_management") or {}).get("edits") or ()
        if not edits and _HIDING.isdisjoint(outline.places):
            return _WHOLE
        thinking_edit = next((edit for edit in edits if edit.get("type") == CLEAR_THINKING), None)
        until = _disabled(request)
        if not until and thinking_edit is None and not row.keeps_thinking:
            until = loop_start(outline)
        view = View(
            start=outline.last("summary") or (0, 0),
            unthought=_after_last(outline, "thinking", before=until),
            over=_after_last(outline, "turn-scoped", before=_last_of_user(messages))
            if outline.has("turn-scoped")
            else 0,
        )
        for edit in edits:
            view = _EDITS[edit["type"]](view, edit, request, count) if edit.get("type") in _EDITS else view
        return view

    @property
    def edits(self) -> tuple[object, ...]:
        """What was cleared or summarised."""
        return self.start, self.results, self.inputs, self.thoughts

    def alike(self, earlier: "View") -> int:
        """How many messages, counted from the start, this surely shows as an earlier view does."""
        if self.edits != earlier.edits:
            return 0
        changes = ((self.unthought, earlier.unthought), (self.over, earlier.over))
        return min((min(change) for change in changes if change[0] != change[1]), default=sys.maxsize)

    def shown(self, place: Place, message: Json, block: Json) -> Json | None:
        """A block of a message as the model reads it; `None` if it does not."""
        index, kind = place[0], block.get("type")
        if place < self.start or kind == "fallback" or (index < self.over and is_turn_scoped(message)):
            return None
        if kind in THINKING_TYPES:
            return None if index < self.unthought or index in self.thoughts else block
        if kind == "tool_result" and block["tool_use_id"] in self.results:
            return {**block, "content": CLEARED}
        if kind == "tool_use" and block["id"] in self.inputs:
            return {**block, "input": {}}
        # A summary that failed stands for nothing.
        return None if kind == "compaction" and block.get("content") is None else block

    def _pieces(self, messages: Sequence[Json]) -> Iterator[_Shown]:
        for index, message in enumerate(messages):
            for place, block in enumerate(as_blocks(message["content"])):
                if (shown := self.shown((index, place), message, block)) is not None:
                    yield _Shown((index, place), message, shown)


_WHOLE: Final = View()
_HIDING: Final = frozenset[Feature]({"summary", "thinking", "turn-scoped"})
"""What has to be there for a server to leave something out by itself."""


def loop_start(outline: Outline) -> int:
    """The last message in which a person speaks. Tool results alone go on with the turn they belong to."""
    return (outline.last("speech") or (0, 0))[0]


def _after_last(outline: Outline, feature: Feature, *, before: int) -> int:
    """The message after the last one that has such a thing and stands before another; 0 if none does."""
    place = outline.last(feature, before=before)
    return 0 if place is None else place[0] + 1


def _disabled(request: Json) -> int:
    """Without thinking, none is shown."""
    is_disabled = (request.get("thinking") or {}).get("type") == "disabled"
    return len(request["messages"]) if is_disabled else 0


def _last_of_user(messages: Sequence[Json]) -> int:
    return next((index for index in reversed(range(len(messages))) if messages[index]["role"] == "user"), 0)


def _clear_tool_uses(view: View, edit: Json, request: Json, count: CountTokens) -> View:
    pieces = list(view._pieces(request["messages"]))  # noqa: SLF001 - the other half of the view
    names = {piece.block["id"]: piece.block["name"] for piece in pieces if piece.block["type"] == "tool_use"}
    spared = set(edit.get("exclude_tools") or ())
    called = [piece.block["tool_use_id"] for piece in pieces if piece.block["type"] == "tool_result"]
    old = called[: max(0, len(called) - _value(edit.get("keep"), _KEPT_TOOL_USES))]
    clearable = {id_ for id_ in called if names.get(id_) not in spared}
    is_due = _is_due(edit.get("trigger"), len(called), request, pieces, count)
    results = frozenset(clearable.intersection(old) if is_due else ())
    inputs = frozenset(id_ for id_ in clearable if _clears_inputs(edit, names.get(id_)))
    cleared = attrs.evolve(view, results=results, inputs=inputs & results)
    if _saved(pieces, cleared, count) < _value(edit.get("clear_at_least"), 1):
        cleared = view
    waiting = clearable - cleared.results
    return attrs.evolve(cleared, edge=_nearer(view.edge, _first(pieces, waiting, inputs)))


def _nearer(one: Place | None, other: Place | None) -> Place | None:
    return min(filter(None, (one, other)), default=None)


def _first(pieces: Sequence[_Shown], results: set[str], inputs: frozenset[str]) -> Place | None:
    """The first block that clearing these would change."""
    for piece in pieces:
        if piece.block.get("tool_use_id") in results or piece.block.get("id") in results & inputs:
            return piece.place
    return None


def _clears_inputs(edit: Json, name: object) -> bool:
    inputs = edit.get("clear_tool_inputs")
    return inputs is True or (isinstance(inputs, list) and name in inputs)


def _is_due(
    trigger: object, results: int, request: Json, pieces: Sequence[_Shown], count: CountTokens
) -> bool:
    if isinstance(trigger, Mapping) and trigger.get("type") == "tool_uses":
        return results > _value(trigger, 0)
    head = [tool for tool in request.get("tools") or () if not tool.get("defer_loading")]
    head += as_blocks(request.get("system"))
    tokens = sum(map(count, head)) + sum(count(piece.block) for piece in pieces)
    return tokens > _value(trigger, _TRIGGER_TOKENS)


def _saved(pieces: Sequence[_Shown], view: View, count: CountTokens) -> float:
    return sum(
        count(piece.block) - count(shown)
        for piece in pieces
        if (shown := view.shown(*piece)) is not None and shown is not piece.block
    )


def _clear_thinking(view: View, edit: Json, request: Json, count: CountTokens) -> View:
    keep = edit.get("keep")
    if keep == "all" or (isinstance(keep, Mapping) and keep.get("type") == "all"):
        return view
    pieces = list(view._pieces(request["messages"]))  # noqa: SLF001 - the other half of the view
    turns = _thinking_turns(pieces)
    kept = max(0, len(turns) - _value(keep, _KEPT_THINKING_TURNS))
    gone = frozenset(place[0] for turn in turns[:kept] for place in turn)
    tokens = sum(
        count(piece.block)
        for piece in pieces
        if piece.place[0] in gone and piece.block.get("type") in THINKING_TYPES
    )
    if tokens < _value(edit.get("clear_at_least"), 0):
        gone, kept = frozenset(), 0
    return attrs.evolve(
        view, thoughts=gone, edge=_nearer(view.edge, turns[kept][0] if turns[kept:] else None)
    )


def _thinking_turns(pieces: Sequence[_Shown]) -> list[list[Place]]:
    """Where thinking stands, turn by turn; a tool loop is one turn."""
    turns: list[list[Place]] = []
    is_open = False
    for piece in pieces:
        if piece.message["role"] == "user" and piece.block.get("type") != "tool_result":
            is_open = False
        elif piece.block.get("type") in THINKING_TYPES:
            if not is_open:
                turns.append([])
            turns[-1].append(piece.place)
            is_open = True
    return turns


def _value(setting: object, default: int) -> int:
    return int(setting["value"]) if isinstance(setting, Mapping) and "value" in setting else default


_EDITS: Final[Mapping[str, Callable[[View, Json, Json, CountTokens], View]]] = {
    CLEAR_TOOL_USES: _clear_tool_uses,
    CLEAR_THINKING: _clear_thinking,
}
"""The edits that clear by themselves. What `compact_20260112` replaces is known from the summary in the reply."""
