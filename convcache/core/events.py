"""Frozen records of what happened, for whoever watches. They hold numbers and reasons, never message content."""

from typing import Literal

import attrs

from convcache.core.ledger import Turn


@attrs.frozen
class TurnSettled:
    """A request was booked.

    Attributes:
        turn: The booking.
        kept: Whether the turn became part of the history.
    """

    turn: Turn
    kept: bool


@attrs.frozen
class HelperFailed:
    """Something went wrong in convcache. A request that could not be planned goes out as its caller wrote it; a
    reply that could not be booked reaches the caller all the same.

    Attributes:
        step: What was being done: `planning` or `booking`.
        error: What went wrong.
    """

    step: Literal["planning", "booking"]
    error: Exception


@attrs.frozen
class BreakpointsRefused:
    """The API refused our breakpoints; the request was sent again as its caller wrote it, and so are later ones.

    Attributes:
        message: What the API said.
    """

    message: str


Event = TurnSettled | HelperFailed | BreakpointsRefused
