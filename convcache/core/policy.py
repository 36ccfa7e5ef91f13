"""What a user may set. Safe as it stands: a `Policy()` ties with automatic caching on a clean chat."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, Self

import attrs

from convcache.core.blocks import Ttl

Slot = Literal["border", "tail", "anchor", "pin", "edge", "own"]
"""What a breakpoint is for; see `convcache.core.planner`."""

_CHOICES: Final = {
    "ttl": ("auto", "5m", "1h"),
    "own": ("keep", "replace"),
    "on_invalidation": ("tell", "refuse"),
    "fan_out": ("forks", "all", "off"),
}

SLOTS: Final[frozenset[Slot]] = frozenset({"border", "tail", "anchor", "pin", "edge", "own"})


def _one_of(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    allowed = _CHOICES[attribute.name]
    if value not in allowed:
        raise ValueError(f"{attribute.name} is one of {', '.join(map(repr, allowed))}, not {value!r}")


def dollars(value: Decimal | str | float) -> Decimal:
    """An amount of dollars, exactly as it is written.

    Raises:
        ValueError: It is no number.
    """
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is no amount of dollars") from None


def _slots(slots: Iterable[Slot]) -> frozenset[Slot]:
    if isinstance(slots, str):
        raise TypeError(f"slots is a set of names, such as {{{slots!r}}}, not a string")
    if unknown := frozenset(slots) - SLOTS:
        raise ValueError(f"unknown slots {sorted(unknown)}; there are {sorted(SLOTS)}")
    return frozenset(slots)


@attrs.frozen(kw_only=True)
class Policy:
    """How convcache places breakpoints.

    Attributes:
        ttl: How long written entries live. `"5m"` suits chats whose next turn comes within five minutes; `"1h"`
            costs 2 instead of 1.25 times the input price per token written, and bridges pauses of up to an hour;
            `"auto"` is `"5m"` until the application's own traffic, or a keeper, makes something else cheaper for the
            end of a prompt: an hour, or no write at all.
        slots: Which breakpoints may be placed.
        own: Whether breakpoints that the caller put into a request are kept among the four, or all replaced.
        min_saving: Dollars that one read must save for a breakpoint to be worth placing.
        on_invalidation: What to do with a request that throws a warm cache away because something in it changed:
            `"tell"` by an event, or `"refuse"` it with an error before it is sent.
        min_invalidation: Dollars below which neither is done.
        fan_out: Whose requests go one before the others where they share a prefix that is cold, so that it is written
            once: those of a conversation's `"forks"`, `"all"` of a client's, or nobody's (`"off"`).
        max_wait: How long a request waits at most until the one before it has written the prefix.
        min_wait_saving: Dollars that a wait must save.
        observing: Change no byte of any request; forecast and book all the same.
    """

    ttl: Ttl | Literal["auto"] = attrs.field(default="auto", validator=_one_of)
    slots: frozenset[Slot] = attrs.field(default=SLOTS, converter=_slots)
    own: Literal["keep", "replace"] = attrs.field(default="keep", validator=_one_of)
    min_saving: Decimal = attrs.field(default=Decimal(0), converter=dollars)
    on_invalidation: Literal["tell", "refuse"] = attrs.field(default="tell", validator=_one_of)
    min_invalidation: Decimal = attrs.field(default=Decimal("0.01"), converter=dollars)
    fan_out: Literal["forks", "all", "off"] = attrs.field(default="forks", validator=_one_of)
    max_wait: timedelta = timedelta(seconds=30)
    min_wait_saving: Decimal = attrs.field(default=Decimal("0.01"), converter=dollars)
    observing: bool = False

    @classmethod
    def observe(cls, **settings: Any) -> Self:
        """A policy that changes no byte: every request goes out as its caller wrote it, forecast and booked."""
        return cls(observing=True, **settings)
