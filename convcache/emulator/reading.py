"""A valid request as the model reads it: rendered, laid out in steps, with the breakpoints that count.

Knows the order in which the server goes about it. Must not know entries, replies or the wire.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from convcache.emulator.accepted import Accepted
from convcache.emulator.cache import Breakpoint
from convcache.emulator.caller import Caller
from convcache.emulator.context_editing import edited
from convcache.emulator.layout import Piece
from convcache.emulator.prompt import PromptReader, Step
from convcache.emulator.rendering import rendered
from convcache.emulator.salts import Asked
from convcache.emulator.settings import Settings


@attrs.frozen(kw_only=True)
class Reading:
    """What the model is about to read, and where the cache is to act."""

    asked: Asked
    scope: str
    pieces: tuple[Piece, ...]
    ttls: Mapping[str, str]
    """The TTL asked for at each marked block, also where the prefix is too short to count."""
    steps: tuple[Step, ...]
    breakpoints: tuple[Breakpoint, ...]
    applied_edits: tuple[Mapping[str, Any], ...] = ()
    """What was cleared from the prompt, as the response tells it."""
    original_tokens: int = 0
    """The tokens of the prompt before anything was cleared."""

    @property
    def tokens(self) -> int:
        return self.steps[-1].tokens if self.steps else 0

    @property
    def next_message(self) -> int:
        """The number of the message that the answer will be."""
        return max((piece.message for piece in self.pieces), default=-1) + 1


@attrs.frozen
class Reader:
    """Reads requests the way one emulated API does."""

    settings: Settings
    prompts: PromptReader

    def read(self, valid: Accepted, caller: Caller, *, dropped: frozenset[str] = frozenset()) -> Reading:
        """What the model reads of a request.

        Args:
            valid: The request.
            caller: Who asks.
            dropped: The paths of the blocks it does not get to see.
        """
        asked = Asked(valid.body, valid.model, self.settings, caller.betas)
        pieces = rendered(valid.pieces, asked)
        if dropped:
            pieces = [piece for piece in pieces if piece.path not in dropped]
        reading = self.laid_out(asked, pieces, valid.ttls, caller.scope)
        if not valid.body.get("context_management"):
            return reading
        after = edited(pieces, valid.body, self.prompts.count_tokens)
        return attrs.evolve(
            self.laid_out(asked, after.pieces, valid.ttls, caller.scope) if after.applied else reading,
            applied_edits=tuple(after.applied),
            original_tokens=reading.tokens,
        )

    def laid_out(self, asked: Asked, pieces: Sequence[Piece], ttls: Mapping[str, str], scope: str) -> Reading:
        """A reading of these pieces.

        Args:
            asked: The request.
            pieces: What the model reads.
            ttls: The TTL asked for at each marked block, by its path.
            scope: What keeps entries apart.
        """
        steps = self.prompts.steps(asked, pieces, scope=scope)
        return Reading(
            asked=asked,
            scope=scope,
            pieces=tuple(pieces),
            ttls=ttls,
            steps=tuple(steps),
            breakpoints=tuple(self._breakpoints(asked, steps, ttls)),
        )

    def _breakpoints(self, asked: Asked, steps: Sequence[Step], ttls: Mapping[str, str]) -> list[Breakpoint]:
        """The marks that count: those whose prefix is long enough."""
        minimum = asked.model.minimum if self.settings.minimum is None else self.settings.minimum
        return [
            Breakpoint(
                index=index, path=step.path, digest=step.digest, tokens=step.tokens, ttl=ttls[step.path]
            )
            for index, step in enumerate(steps)
            if step.path in ttls and step.tokens >= minimum
        ]
