"""What of a request reaches the model, and where: what is left out, moved, or spelled out by the server.

Knows deferred and web tools, tool references, compaction, turn-scoped messages and forgotten thinking.
Must not know digests, tokens or TTLs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from convcache.emulator.bodies import folded
from convcache.emulator.layout import Piece, blocks_of, is_deferred
from convcache.emulator.salts import Asked
from convcache.emulator.tokens import without_marks
from convcache.emulator.wire import compact

THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_WEB: Final = ("web_search_", "web_fetch_")
_NEVER_SHOWN: Final = frozenset({"fallback"})
_SPECIAL: Final = frozenset({"compaction", *_NEVER_SHOWN})

Definitions = Mapping[str, Mapping[str, Any]]


def rendered(pieces: Sequence[Piece], asked: Asked) -> list[Piece]:
    """The pieces the model reads, in the order in which it reads them."""
    if folded(asked.body["messages"], "ordinary", True, _is_ordinary):
        return _rendered_head(pieces, asked)
    definitions = _deferred_definitions(pieces)
    shown = [piece for piece in since_compaction(pieces) if not _is_hidden(piece, asked)]
    forgotten = _forgotten_before(shown, asked)
    return [
        _spelled_out(_in_its_section(piece), definitions)
        for piece in shown
        if not (piece.type in THINKING and piece.message < forgotten)
    ]


def _rendered_head(pieces: Sequence[Piece], asked: Asked) -> list[Piece]:
    """Of ordinary messages nothing is hidden but thinking, and nothing has to be spelled out."""
    head = [piece for piece in pieces if piece.section != "messages"]
    shown = [_in_its_section(piece) for piece in head if not _is_hidden(piece, asked)]
    said = pieces[len(head) :]
    forgotten = _forgotten_before(said, asked)
    if forgotten > 0:
        said = [piece for piece in said if piece.message >= forgotten or piece.type not in THINKING]
    return [*shown, *said]


def _is_ordinary(so_far: bool, _place: int, message: Mapping[str, Any]) -> bool:
    if not so_far or message.get("clear_at") is not None:
        return False
    return not any(
        block.get("type") in _SPECIAL or any(True for _ in _references(block))
        for block in blocks_of(message.get("content"))[0]
    )


def since_compaction(pieces: Sequence[Piece]) -> list[Piece]:
    """Everything before the last summary is what it stands for; a summary that failed stands for nothing."""
    summaries = [place for place, piece in enumerate(pieces) if is_summary(piece)]
    start = summaries[-1] if summaries else 0
    return [
        piece
        for place, piece in enumerate(pieces)
        if (place >= start or piece.section != "messages")
        and (piece.type != "compaction" or is_summary(piece))
    ]


def is_summary(piece: Piece) -> bool:
    return piece.type == "compaction" and piece.block.get("content") is not None


def last_user_turn(pieces: Sequence[Piece]) -> int:
    """The last message in which the user said something besides tool results; -1 if there is none."""
    said = (
        piece.message for piece in reversed(pieces) if piece.role == "user" and piece.type != "tool_result"
    )
    return next(said, -1)


def _is_hidden(piece: Piece, asked: Asked) -> bool:
    if piece.section == "tools":
        return is_deferred(piece.block)
    return piece.type in _NEVER_SHOWN or (piece.turn_scoped and _is_over(piece, asked))


def _is_over(piece: Piece, asked: Asked) -> bool:
    """Whether a user message has come after a message that was for one turn only."""
    return any(message["role"] == "user" for message in asked.body["messages"][piece.message + 1 :])


def _forgotten_before(pieces: Sequence[Piece], asked: Asked) -> int:
    """The message before which thinking is gone; an edit that clears thinking decides that by itself."""
    if (asked.body.get("thinking") or {}).get("type") == "disabled":
        return len(asked.body["messages"])
    if asked.model.keeps_thinking or _clears_thinking(asked):
        return -1
    return last_user_turn(pieces)


def _clears_thinking(asked: Asked) -> bool:
    edits = (asked.body.get("context_management") or {}).get("edits") or ()
    return any(edit.get("type") == "clear_thinking_20251015" for edit in edits)


def _in_its_section(piece: Piece) -> Piece:
    """Web search and web fetch are told of in the system prompt, so that tools survive without them."""
    is_web = piece.section == "tools" and piece.type.startswith(_WEB)
    return piece._replace(section="system") if is_web else piece


def _deferred_definitions(pieces: Sequence[Piece]) -> Definitions:
    """The tools that are not in the prompt yet, by the name under which they can be called in."""
    return {
        str(tool.get("name") or tool.get("mcp_server_name")): tool
        for tool in (piece.block for piece in pieces if piece.section == "tools")
        if is_deferred(tool)
    }


def _spelled_out(piece: Piece, definitions: Definitions) -> Piece:
    """A block that refers to a deferred tool, with the definition where the reference stands."""
    if not definitions or not any(True for _ in _references(piece.block)):
        return piece
    return piece._replace(block=_with_definitions(piece.block, definitions), known=None)


def _references(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "tool_name" in block or block.get("type") in ("tool_reference", "mcp_toolset_reference"):
        yield block
    for inner in _inner(block):
        yield from _references(inner)


def _inner(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("content", "tool", "tool_references"):
        value = block.get(key)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Mapping):
                yield part


def _with_definitions(value: Any, definitions: Definitions) -> Any:
    if isinstance(value, list):
        return [_with_definitions(part, definitions) for part in value]
    if not isinstance(value, Mapping):
        return value
    spelled = {
        key: _with_definitions(part, definitions) if key in ("content", "tool", "tool_references") else part
        for key, part in value.items()
    }
    named = value.get("tool_name") or value.get("name") or value.get("server_name")
    definition = definitions.get(str(named)) if value.get("type") in _NAMING else None
    return spelled if definition is None else {**spelled, "definition": _written(definition)}


_NAMING: Final = ("tool_reference", "mcp_toolset_reference")


def _written(definition: Mapping[str, Any]) -> str:
    return compact(dict(sorted(without_marks(definition).items())))
