"""Thinking bound to what came before it: whether a block that comes back stands where it was made, as it was made.

Knows signatures this emulator issued and the prefix each was issued for. Must not know the cache.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import attrs

from convcache.emulator.accepted import Accepted
from convcache.emulator.caller import Caller
from convcache.emulator.catalog import BINDING
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import EFFORT, Piece, any_of
from convcache.emulator.prompt import canonical
from convcache.emulator.rendering import THINKING, since_compaction
from convcache.emulator.settings import Settings

CONTROLS: Final = "thinking-binding-controls-2026-08-01"
_MOST_SIGNATURES: Final = 100_000
_MISMATCH: Final = "prefix_binding_mismatch"


@attrs.frozen
class _Place:
    """Where a thinking block was made: all that was said before, and the thinking before it, oldest first."""

    said: bytes
    thought: tuple[str, ...]

    def covers(self, other: "_Place") -> bool:
        """Whether a block made here may stand there: only its oldest thinking may have gone."""
        kept = len(other.thought)
        return self.said == other.said and self.thought[len(self.thought) - kept :] == other.thought


@attrs.define
class _Signed:
    """What one signature was issued for: once for most, repeatedly by a script that uses it again."""

    thoughts: set[str] = attrs.field(factory=set)
    places: list[_Place] = attrs.field(factory=list)


@attrs.frozen
class Verdict:
    """What became of the thinking in a request."""

    dropped: frozenset[str] = frozenset()
    """The paths of the blocks that the model does not get to see."""
    transformations: tuple[Mapping[str, Any], ...] | None = None
    """What the response says about it; `None` if nobody asked for the controls."""


class Bindings:
    """The signatures issued so far; the oldest are let go when they grow too many."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._signed: dict[str, _Signed] = {}

    def clear(self) -> None:
        self._signed.clear()

    def issued(self, pieces: Sequence[Piece], answer: Sequence[Piece]) -> None:
        """Remembers the thinking of an answer to these pieces."""
        if not any(piece.type in THINKING for piece in answer):
            return
        for piece, place in _placed([*pieces, *answer]):
            if piece.message == answer[0].message:
                signed = self._signed.setdefault(_signature(piece), _Signed())
                signed.thoughts.add(_thought(piece))
                signed.places.append(place)
        while len(self._signed) > _MOST_SIGNATURES:
            del self._signed[next(iter(self._signed))]

    def checked(self, valid: Accepted, caller: Caller) -> Verdict:
        """What becomes of the thinking in a request.

        Raises:
            ApiError: A block was altered, or stands behind another prefix than the one it was made for.
        """
        failing = list(self._failing(valid)) if any_of(valid.body["messages"], THINKING) else []
        is_told = CONTROLS in caller.betas
        if self._settings.prefix_binding == "reported":
            return Verdict(frozenset(), _told("thinking_mismatch_allowed", failing) if is_told else None)
        if failing and _behaviour(valid) == "error":
            raise ApiError(_refusal(failing[0], is_told=is_told))
        failing = [*_with_the_rest_of_their_run(failing, valid.pieces)]
        transformations = _told("thinking_dropped", failing) if is_told else None
        return Verdict(frozenset(piece.path for piece in failing), transformations)

    def _failing(self, valid: Accepted) -> Iterator[Piece]:
        """The blocks that stand where they were not made; a block of another make is taken on trust."""
        latest = max((piece.message for piece in valid.pieces if piece.role == "assistant"), default=-1)
        for piece, place in _placed(valid.pieces):
            signed = self._signed.get(_signature(piece))
            if piece.message == latest or valid.model.keeps_thinking:
                self._check_unaltered(piece, signed, is_latest=piece.message == latest)
            if (
                BINDING in valid.model.can
                and signed
                and not any(made.covers(place) for made in signed.places)
            ):
                yield piece

    def _check_unaltered(self, piece: Piece, signed: _Signed | None, *, is_latest: bool) -> None:
        if signed is None and self._settings.foreign_signatures == "accepted":
            return
        if signed is not None and _thought(piece) in signed.thoughts:
            return
        if signed is not None and is_latest:
            raise ApiError(
                f"{piece.path}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
                "modified. These blocks must remain as they were in the original response."
            )
        raise ApiError(f"{piece.path}: Invalid `signature` in `{piece.type}` block")


def _placed(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, _Place]]:
    """Each thinking block with the place where it stands; what a summary replaced is not part of it."""
    said, thought = b"", tuple[str, ...]()
    for piece in since_compaction(pieces):
        if piece.type in THINKING:
            yield piece, _Place(said, thought)
            thought = (*thought, _signature(piece))
        elif piece.type != EFFORT and not piece.turn_scoped:
            said = blake2b(said + piece.once("bound", _written), digest_size=16).digest()


def _written(piece: Piece) -> bytes:
    return f"{piece.role}\n{canonical(piece.block, _PLAIN)}".encode("utf-8", "surrogatepass")


_PLAIN: Final = Settings(normalise_defaults=True)


def _signature(piece: Piece) -> str:
    return str(piece.block.get("signature") or piece.block.get("data"))


def _thought(piece: Piece) -> str:
    return str(piece.block.get("thinking", ""))


def _behaviour(valid: Accepted) -> str:
    binding = (valid.body.get("thinking") or {}).get("block_binding") or {}
    return binding.get("prefix_mismatch_behavior") or "error"


def _refusal(piece: Piece, *, is_told: bool) -> str:
    text = (
        f"{piece.path}: Invalid `signature` in `{piece.type}` block. The block is bound to a different conversation. "
        'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
    )
    remedy = f" That setting requires the `{CONTROLS}` value in the `anthropic-beta` header."
    return text if is_told else text + remedy


def _told(kind: str, pieces: Iterable[Piece]) -> tuple[Mapping[str, Any], ...]:
    return tuple({"type": kind, "path": piece.path, "reason": _MISMATCH} for piece in pieces)


def _with_the_rest_of_their_run(failing: Sequence[Piece], pieces: Sequence[Piece]) -> Iterator[Piece]:
    """A block that goes takes the thinking right behind it along."""
    paths, in_run = {piece.path for piece in failing}, False
    for piece in pieces:
        in_run = piece.type in THINKING and (in_run or piece.path in paths)
        if in_run:
            yield piece
