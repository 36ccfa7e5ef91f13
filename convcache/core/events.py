"""Frozen records of what happened, for whoever watches. They hold numbers and reasons, never message content."""

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
class PlanningFailed:
    """Something went wrong in convcache; the request goes out as its caller wrote it.

    Attributes:
        error: What went wrong.
    """

    error: Exception


@attrs.frozen
class BreakpointsRefused:
    """The API refused our breakpoints; the request was sent again as its caller wrote it, and so are later ones.

    Attributes:
        message: What the API said.
    """

    message: str


Event = TurnSettled | PlanningFailed | BreakpointsRefused
