"""Frozen records of what happened, for whoever watches. They hold numbers and reasons, never message content; only
`HeadUnstable` quotes what changed in the head of a prompt."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import attrs

from convcache.core.diagnosis import Invalidation, Miss
from convcache.core.edit import Edit
from convcache.core.refresh import Action
from convcache.core.usage import Costs, Usage
from convcache.core.volatile import Volatile


@attrs.frozen(kw_only=True)
class Turn:
    """One request of a conversation: what was expected of it and what came.

    Attributes:
        started: When the request was sent.
        forecast: The prompt tokens expected to be read, written and uncached; `None` if it went out unplanned.
        actual: What was billed.
        costs: The dollars paid, and what the same request would have cost uncached.
        lapses: When the cache it left expires unless it is used again; `None` if it left none.
        miss: Why it read less than the request before it had left; `None` if it read all of that.
    """

    started: datetime
    forecast: Usage | None
    actual: Usage
    costs: Costs
    lapses: datetime | None
    miss: Miss | None


@attrs.frozen
class TurnSettled:
    """A request was booked.

    Attributes:
        turn: The booking.
        kept: Whether the turn became part of the history.
        conversation: The name given with `convcache.conversation`, if one was.
    """

    turn: Turn
    kept: bool
    conversation: str | None = None


Step = Literal["planning", "booking", "editing", "keeping"]


@attrs.frozen
class KeptWarm:
    """A keep-alive or an upgrade was answered.

    Attributes:
        action: Which of both.
        turn: The booking.
    """

    action: Action
    turn: Turn


@attrs.frozen
class WarmthEnded:
    """A conversation that was kept warm has gone on, or is left to lapse.

    Attributes:
        sent: How many keep-alives and upgrades it took.
        spent: Dollars spent on them.
        saved: Dollars that the next request would have cost more without them: nothing, if none came in time.
    """

    sent: int
    spent: Decimal
    saved: Decimal

    @property
    def paid(self) -> bool:
        """Whether it was worth it."""
        return self.saved > self.spent


@attrs.frozen
class HelperFailed:
    """Something went wrong in convcache. A request that could not be planned goes out as its caller wrote it; a
    reply that could not be booked reaches the caller all the same.

    Attributes:
        step: What was being done: `planning`, `booking`, `editing` or `keeping` (warm).
        error: What went wrong.
    """

    step: Step
    error: Exception


@attrs.frozen
class BreakpointsRefused:
    """The API refused our breakpoints; the request was sent again as its caller wrote it, and so are later ones.

    Attributes:
        message: What the API said.
    """

    message: str


@attrs.frozen
class CacheInvalidated:
    """A request is about to throw a warm cache away because something in it changed.

    Attributes:
        invalidation: What changed, and what it costs.
    """

    invalidation: Invalidation


@attrs.frozen
class ContextNearlyFull:
    """A request is about to be sent whose prompt and longest reply do not fit the model's context window together:
    the reply may be cut short, and a prompt that is longer still is refused.

    Attributes:
        tokens: The prompt's tokens, as forecast.
        window: How many the model takes.
    """

    tokens: int
    window: int


@attrs.frozen
class HeadroomExceeded:
    """A request is about to be sent that writes or pays more tokens than the API has said it takes for now: with a
    reply through `CacheMiddleware`, a stream, or a 429. What is read from the cache does not count.

    Attributes:
        tokens: What counts, as forecast.
        remaining: What is left of the limit.
        reset: When it is whole again.
    """

    tokens: int
    remaining: int
    reset: datetime


@attrs.frozen
class HeadUnstable:
    """Something in tools or system changes by itself from request to request, so that nothing behind it is ever read.
    Move it out of there: `send(..., context=...)` is the place for it. Told once for each such place.

    Attributes:
        volatile: Where it stands, what it is, and both values: short pieces of the prompt.
    """

    volatile: Volatile


@attrs.frozen
class HistoryEdited:
    """A change of the history was made that was asked for with `edit`.

    Attributes:
        edit: What it costs and saves.
    """

    edit: Edit


@attrs.frozen
class ModelUnknown:
    """The catalogue does not know a model: breakpoints are placed for five minutes, and no dollars are told.

    Attributes:
        model: Its id.
    """

    model: str


Event = (
    TurnSettled
    | HelperFailed
    | BreakpointsRefused
    | CacheInvalidated
    | ContextNearlyFull
    | HeadUnstable
    | HeadroomExceeded
    | HistoryEdited
    | KeptWarm
    | WarmthEnded
    | ModelUnknown
)
