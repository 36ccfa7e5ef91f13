"""Whether an hour written above an entry of five minutes holds: documented nowhere, so it is believed once it was seen.

Knows outcomes and time; nothing of prompts and money.
"""

from datetime import datetime, timedelta
from typing import Final, Self

import attrs

from convcache.core.clock import TTL

TELLS_AFTER: Final = TTL["5m"] + timedelta(seconds=30)
"""How long after its last use a prefix that is still read must have been held for an hour. Entries of five minutes may
outlive them by seconds: in recorded traffic 95.5 % of them were gone half a minute later."""

_LOST_NOW_AND_THEN: Final = 4
"""The cache is best effort: one loss in five is no contradiction."""


@attrs.frozen(kw_only=True)
class Proof:
    """What was seen of such hours, for one model.

    Until the first outcome one upgrade at a time is on trial: it is read again as soon as that tells something. Once
    they have failed more than now and then, there are no more.

    Attributes:
        held: How often one was read when the shorter entry must have lapsed.
        lost: How often it could not be.
        tried: When the upgrade on trial was sent, while its outcome is awaited.
    """

    held: int = 0
    lost: int = 0
    tried: datetime | None = None

    @property
    def holds(self) -> bool:
        """Whether it can be relied on."""
        return self.held > 0 and self.lost * _LOST_NOW_AND_THEN <= self.held

    @property
    def is_open(self) -> bool:
        """Whether nothing is known yet."""
        return self.held == self.lost == 0

    def allows(self, at: datetime) -> bool:
        """Whether an upgrade may be sent now: it can be relied on, or nothing is known and none is on trial."""
        awaited = self.tried is not None and at < self.tried + TTL["1h"]
        return self.holds or (self.is_open and not awaited)

    def on_trial(self, at: datetime) -> Self:
        """An upgrade was sent, and no other is until its outcome is known, or its hour is over."""
        return attrs.evolve(self, tried=at) if self.is_open else self

    def told_nothing(self) -> Self:
        """The one on trial was used too early to tell, or given up."""
        return attrs.evolve(self, tried=None)

    def seen(self, *, held: bool) -> Self:
        """It was used within the hour, when that tells: it was read, or it was not."""
        return attrs.evolve(self, held=self.held + held, lost=self.lost + (not held), tried=None)

    def __add__(self, other: "Proof") -> "Proof":
        return Proof(held=self.held + other.held, lost=self.lost + other.lost)


def tells(used: datetime, at: datetime) -> bool:
    """Whether a use at this time shows if an hour holds that was used last at that time."""
    return TELLS_AFTER <= at - used < TTL["1h"]
