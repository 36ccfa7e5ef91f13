"""The prompt as the cache sees it: a chain of digests over the blocks that are really read.

Knows how blocks are hashed and counted, and what is a position. Must not know what is rendered; `rendering` does.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from convcache.emulator.layout import EFFORT, Piece, Section
from convcache.emulator.platforms import PLATFORMS
from convcache.emulator.salts import Asked, salts_at
from convcache.emulator.settings import Settings
from convcache.emulator.tokens import CountTokens
from convcache.emulator.wire import compact

_SECTIONS: Final[tuple[Section, ...]] = ("tools", "system", "messages")
_AS_WRITTEN: Final = ("input", "input_schema", "input_examples")
"""Keys under which the order of keys is part of the prompt."""
_COLLAPSING: Final = frozenset({"tool_use", "tool_result"})
_REMEMBERED: Final = 500_000
_MOST_KNOWN: Final = 32
"""Chains that one block is remembered in: other parameters before it make another chain."""


class Step(NamedTuple):
    """The prefix up to and including one block."""

    path: str
    digest: str
    tokens: int
    position: int


class _State(NamedTuple):
    """Where the chain stands after a block."""

    digest: bytes
    tokens: int = 0
    position: int = 0
    run: str = ""
    message: int = -1


class _Link(NamedTuple):
    """What a block adds to the chain."""

    state: _State
    step: Step | None


class PromptReader:
    """Turns prompts into chains of steps; a prefix it has seen is not counted again."""

    def __init__(self, settings: Settings, count_tokens: CountTokens) -> None:
        self._settings = settings
        self.count_tokens = count_tokens
        self._tokens_of: dict[bytes, int] = {}

    def steps(self, asked: Asked, pieces: Sequence[Piece], *, scope: str = "") -> list[Step]:
        """Every prefix of a prompt, shortest first.

        Args:
            asked: The request, for the parameters that are part of the key.
            pieces: What the model reads, in order.
            scope: What keeps entries apart besides the model.
        """
        state = _State(_hashed(b"", compact(["scope", scope, asked.model.name])))
        steps: list[Step] = []
        for section in _SECTIONS:
            digest = _hashed(state.digest, compact([section, *salts_at(section, asked)]))
            hidden = self._hidden_tokens(section, pieces)
            state = state._replace(digest=digest, tokens=state.tokens + hidden)
            for piece in pieces:
                if piece.section == section:
                    state, step = self._linked(state, piece)
                    if step is not None:
                        steps.append(step)
        return steps

    def _linked(self, state: _State, piece: Piece) -> _Link:
        """The chain after a block, which a piece that is remembered knows from before."""
        known = piece.known
        if known is None:
            return self._link(state, piece)
        link: _Link | None = known.get(state)
        if link is None:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            link = known[state] = self._link(state, piece)
        return link

    def _link(self, before: _State, piece: Piece) -> _Link:
        digest, message = before.digest, before.message
        if self._settings.strict_borders and piece.message != message:
            digest, message = _hashed(digest, "message"), piece.message
        if not piece.turn_scoped:
            digest = _hashed(digest, f"{piece.role}\n{self._canonical(piece)}")
        run = self._run(piece.type)
        position = before.position + (not run or run != before.run)
        if piece.type == EFFORT:
            return _Link(_State(digest, before.tokens, position, run, message), None)
        tokens = before.tokens + self._tokens(digest, piece)
        step = Step(piece.path, digest.hex(), tokens, position)
        return _Link(_State(digest, tokens, position, run, message), step)

    def _hidden_tokens(self, section: Section, pieces: Sequence[Piece]) -> int:
        """What the API itself tells the model about using tools."""
        has_tools = section == "system" and any(piece.role == "tools" for piece in pieces)
        return self._settings.tool_prompt_tokens if has_tools else 0

    def _tokens(self, digest: bytes, piece: Piece) -> int:
        if piece.turn_scoped:
            return self.count_tokens(piece.block)
        known = self._tokens_of.get(digest)
        if known is None:
            if len(self._tokens_of) >= _REMEMBERED:
                self._tokens_of.clear()
            known = self._tokens_of[digest] = self.count_tokens(piece.block)
        return known

    def _run(self, type_: str) -> str:
        """What kind of run a block can be part of; none for most. A run is one position where the platform says so."""
        if not PLATFORMS[self._settings.platform].collapses:
            return ""
        if type_ in _COLLAPSING:
            return type_
        if not self._settings.collapse_server_tools:
            return ""
        return next((end for end in ("_tool_use", "_tool_result") if type_.endswith(end)), "")

    def _canonical(self, piece: Piece) -> str:
        form = "string\n" if piece.from_string and self._settings.strict_strings else ""
        return form + canonical(piece.block, self._settings)


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
