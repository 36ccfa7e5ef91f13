"""A request that passed every rule, with what was learned about it on the way.

Knows values only.
"""

import attrs

from convcache.emulator.catalog import Model
from convcache.emulator.layout import Body, Piece
from convcache.emulator.marks import Mark, breakpoints


@attrs.frozen
class Accepted:
    """A valid request, laid out."""

    body: Body
    model: Model
    pieces: tuple[Piece, ...]
    explicit: tuple[Mark, ...]
    automatic: Mark | None

    @property
    def ttls(self) -> dict[str, str]:
        """The TTL asked for at each marked block, by its path."""
        return breakpoints(self.pieces, self.explicit, self.automatic)
