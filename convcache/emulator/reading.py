"""A valid request as the model reads it: rendered, laid out in steps, with the breakpoints that count.

Knows the order in which the server goes about it. Must not know entries, replies or the wire.
"""

from collections.abc import Sequence

import attrs

from convcache.emulator.accepted import Accepted
from convcache.emulator.cache import Breakpoint
from convcache.emulator.caller import Caller
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
    steps: tuple[Step, ...]
    breakpoints: tuple[Breakpoint, ...]

    @property
    def tokens(self) -> int:
        return self.steps[-1].tokens if self.steps else 0


@attrs.frozen
class Reader:
    """Reads requests the way one emulated API does."""

    settings: Settings
    prompts: PromptReader

    def read(self, valid: Accepted, caller: Caller) -> Reading:
        asked = Asked(valid.body, valid.model, self.settings, caller.betas)
        return self.laid_out(asked, rendered(valid.pieces, asked), valid.ttls, caller.scope)

    def laid_out(self, asked: Asked, pieces: Sequence[Piece], ttls: dict[str, str], scope: str) -> Reading:
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
            steps=tuple(steps),
            breakpoints=tuple(self._breakpoints(asked, steps, ttls)),
        )

    def _breakpoints(self, asked: Asked, steps: Sequence[Step], ttls: dict[str, str]) -> list[Breakpoint]:
        """The marks that count: those whose prefix is long enough."""
        minimum = asked.model.minimum if self.settings.minimum is None else self.settings.minimum
        return [
            Breakpoint(
                index=index, path=step.path, digest=step.digest, tokens=step.tokens, ttl=ttls[step.path]
            )
            for index, step in enumerate(steps)
            if step.path in ttls and step.tokens >= minimum
        ]
