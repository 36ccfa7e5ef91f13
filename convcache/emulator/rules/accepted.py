"""A request that passed every rule, with what was learned about it on the way.

Knows values only.
"""

import attrs

from convcache.emulator.catalog import Model
from convcache.emulator.layout import Body, Piece
from convcache.emulator.marks import Mark


@attrs.frozen
class Accepted:
    """A valid request, laid out."""

    body: Body
    model: Model
    pieces: tuple[Piece, ...]
    explicit: tuple[Mark, ...]
    automatic: Mark | None
