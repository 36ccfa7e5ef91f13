"""The prompt as the cache sees it: a chain of digests over the blocks that are really read.

Knows what is rendered (string forms, deferred tools, earlier thinking) and how blocks are hashed and counted.
Must not know entries, time or money.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from convcache.emulator.catalog import Model
from convcache.emulator.layout import Body, Piece, Section, laid_out
from convcache.emulator.salts import salts_at
from convcache.emulator.settings import Settings
from convcache.emulator.tokens import CountTokens
from convcache.emulator.wire import compact

_SECTIONS: Final[tuple[Section, ...]] = ("tools", "system", "messages")
_AS_WRITTEN: Final = ("input", "input_schema", "input_examples")
"""Keys under which the order of keys is part of the prompt."""
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_COLLAPSING: Final = frozenset({"tool_use", "tool_result"})
_REMEMBERED: Final = 500_000


class Step(NamedTuple):
    """The prefix up to and including one block."""

    path: str
    digest: str
    tokens: int
    position: int


class PromptReader:
    """Turns requests into chains of steps; a prefix it has seen is not counted again."""

    def __init__(self, settings: Settings, count_tokens: CountTokens) -> None:
        self._settings = settings
        self._count = count_tokens
        self._tokens_of: dict[bytes, int] = {}

    def steps(
        self, body: Body, model: Model, *, scope: str = "", pieces: Sequence[Piece] | None = None
    ) -> list[Step]:
        """Every prefix of a request, shortest first.

        Args:
            body: The request.
            model: Whose prompt it is; models differ in the thinking they keep.
            scope: What keeps entries apart besides the model.
            pieces: The request laid out, if that was done already.
        """
        pieces = rendered(pieces if pieces is not None else laid_out(body), model)
        digest = _hashed(b"", compact(["scope", scope, model.name]))
        positions = self._positions(pieces)
        steps: list[Step] = []
        tokens = 0
        for section in _SECTIONS:
            digest = _hashed(digest, compact([section, *salts_at(section, body)]))
            for piece in (piece for piece in pieces if piece.section == section):
                digest = _hashed(digest, f"{piece.role}\n{self._canonical(piece)}")
                tokens += self._tokens(digest, piece)
                steps.append(Step(piece.path, digest.hex(), tokens, positions[piece.path]))
        return steps

    def _tokens(self, digest: bytes, piece: Piece) -> int:
        known = self._tokens_of.get(digest)
        if known is None:
            if len(self._tokens_of) >= _REMEMBERED:
                self._tokens_of.clear()
            known = self._tokens_of[digest] = self._count(piece.block)
        return known

    def _positions(self, pieces: Iterable[Piece]) -> dict[str, int]:
        """A run of tool calls or of tool results is one position, on the platform that says so."""
        collapsing = _COLLAPSING if self._settings.platform == "claude" else frozenset[str]()
        position, before = 0, ""
        positions = {}
        for piece in pieces:
            if piece.type != before or piece.type not in collapsing:
                position += 1
            positions[piece.path] = position
            before = piece.type
        return positions

    def _canonical(self, piece: Piece) -> str:
        form = "string\n" if piece.from_string and self._settings.strict_strings else ""
        return form + canonical(piece.block, self._settings)


def rendered(pieces: Sequence[Piece], model: Model) -> list[Piece]:
    """The pieces that reach the model: no deferred tools, no thinking that this model has been made to forget."""
    forgotten = -1 if model.keeps_thinking else last_user_turn(pieces)
    return [
        piece
        for piece in pieces
        if not (piece.section == "tools" and piece.block.get("defer_loading"))
        and not (piece.type in _THINKING and piece.message < forgotten)
    ]


def last_user_turn(pieces: Sequence[Piece]) -> int:
    """The last message in which the user said something besides tool results; -1 if there is none."""
    said = (
        piece.message for piece in reversed(pieces) if piece.role == "user" and piece.type != "tool_result"
    )
    return next(said, -1)


def canonical(block: Mapping[str, Any], settings: Settings) -> str:
    """A block as one string: markers left out, keys sorted except where their order is part of the prompt."""
    rest = {key: value for key, value in block.items() if _is_hashed(key, value, settings)}
    content = rest.get("content")
    if isinstance(content, list):
        rest["content"] = [
            canonical(part, settings) if isinstance(part, Mapping) else part for part in content
        ]
    elif isinstance(content, str) and not settings.strict_strings:
        rest["content"] = [canonical({"type": "text", "text": content}, settings)]
    as_written = [[key, block[key]] for key in _AS_WRITTEN if key in block]
    return _sorted_json(rest) + (compact(as_written) if as_written else "")


def _is_hashed(key: str, value: Any, settings: Settings) -> bool:
    if key == "cache_control" or key in _AS_WRITTEN:
        return False
    return not (settings.normalise_defaults and _is_default(key, value))


def _is_default(key: str, value: Any) -> bool:
    disabled = key == "citations" and value in ({"enabled": False}, [])
    return value is None or disabled or (key == "is_error" and value is False)


_sorted_json: Final[Callable[[Any], str]] = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _hashed(before: bytes, text: str) -> bytes:
    return blake2b(before + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
