"""The idle decision: let a cache entry lapse, keep it alive, or upgrade it to an hour, whichever should cost least.

An optimal-stopping problem over the distribution of the gap: at every deadline the cost of letting go (the prefix is
written again if the next request comes too late) is held against the cost of another period and of what can be done
at its end. Knows tokens, prices and lifetimes; no breakpoints, no conversations, and no clock but the argument `at`.

Costs are counted above those of a next request that finds everything warm, in tokens at the input price.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from math import inf
from typing import Final, Literal, NamedTuple

import attrs

from convcache.core.blocks import Ttl
from convcache.core.catalog import Prices
from convcache.core.clock import TTL
from convcache.core.proof import TELLS_AFTER
from convcache.core.rhythm import Gaps

Action = Literal["lapse", "keep_alive", "upgrade"]
"""`lapse`: send nothing. `keep_alive`: read the prefix for another period of its TTL. `upgrade`: write the reply behind
it for an hour, which reads the prefix as well."""

_FIVE, _HOUR = TTL["5m"].total_seconds(), TTL["1h"].total_seconds()

CREDIT: Final = 0.01
"""The share of what was paid that staying warm may be behind."""

_MILLION: Final = Decimal(1_000_000)


@attrs.frozen(kw_only=True)
class Caution:
    """Within which bounds an idle conversation is kept warm.

    Attributes:
        margin: How long before an entry expires a keep-alive has to start: what the network and the scheduler may
            take. An entry's lifetime counts from the start of the request that used it last, so a slow reply
            shortens the wait, not the margin.
        min_saving: Dollars that keeping warm has to save by expectation; what saves less is left to lapse. An upgrade on
            trial is read again for the sake of others, whatever it saves itself.
        min_gain: The same as a share of what it costs. Of several choices the one that looks best is the one most
            likely to be overrated.
        longest: How long a conversation may be idle and still be kept warm.
        upgrades: Whether an upgrade may be considered. That its hour holds is documented nowhere.
    """

    margin: timedelta = timedelta(seconds=15)
    min_saving: Decimal = Decimal(0)
    min_gain: float = 0.2
    longest: timedelta = timedelta(hours=6)
    upgrades: bool = True


@attrs.frozen(kw_only=True)
class Account:
    """What staying warm has cost and saved an application so far, in dollars.

    It may be behind by a small share of what was paid, and never by more: until something was saved, little is tried.

    Attributes:
        paid: For requests.
        spent: On keep-alives, on upgrades, and on what an hour costs above five minutes.
        saved: By reads that five minutes would have lost.
    """

    paid: float = 0.0
    spent: float = 0.0
    saved: float = 0.0

    def affords(self, cost: float, saving: float = 0.0) -> bool:
        """Whether that much may be spent now. What should save more than it costs is the less likely to be lost, and
        asks for less credit."""
        at_risk = cost * min(1.0, cost / saving) if saving > 0 else cost
        return self.spent + at_risk <= self.saved + CREDIT * self.paid


@attrs.frozen(kw_only=True)
class Idle:
    """A conversation that waits for its next request.

    Attributes:
        since: When its last request started, keep-alives not counted.
        tokens: The prefix that its tail's entry holds.
        ttl: The lifetime of that entry.
        expires: When that entry lapses unless it is used.
        reply: Tokens that an upgrade would write: the last reply. `None` where it cannot be upgraded, as after
            `tool_use`.
        hour_tokens: A shorter prefix that is held for an hour.
        hour_expires: When that one lapses.
        is_on_trial: Whether the tail is an upgrade that is to show whether its hour holds.
    """

    since: datetime
    tokens: int
    ttl: Ttl
    expires: datetime
    reply: int | None = None
    hour_tokens: int = 0
    hour_expires: datetime | None = None
    is_on_trial: bool = False


@attrs.frozen(kw_only=True)
class Decision:
    """What to do about an idle conversation, and when.

    Attributes:
        action: What is expected to cost least.
        due: When to do it; `None` if there is nothing to do.
        cost: Dollars that doing it costs.
        saving: Dollars that it saves by expectation, compared with doing nothing; its cost is deducted.
        not_before: Whether it is of no use if it is done earlier.
    """

    action: Action
    due: datetime | None = None
    cost: Decimal = Decimal(0)
    saving: Decimal = Decimal(0)
    not_before: bool = False


LAPSE: Final = Decision(action="lapse")


def decide(idle: Idle, gaps: Gaps, prices: Prices, *, at: datetime, caution: Caution = Caution()) -> Decision:
    """The cheapest thing to do at the next deadline of an idle conversation, should it still be idle then.

    Args:
        idle: What it holds, and until when.
        gaps: When its next request may come, counted from the start of its last.
        prices: Of its model.
        at: Now. A deadline that has passed is due at once; an entry that has lapsed is not revived.
        caution: Within which bounds.

    Returns:
        What to do. An upgrade on trial is read again as soon as that tells whether it holds, whatever it saves: others
        depend on it.
    """
    waits = TTL["1h"] - TELLS_AFTER if idle.is_on_trial else caution.margin
    due = max(at, idle.expires - waits)
    if due >= idle.expires or due - idle.since > caution.longest:
        return LAPSE
    price = idle.tokens * prices.read / _MILLION
    if idle.is_on_trial:
        return Decision(action="keep_alive", due=due, cost=price, not_before=True)
    course = _Course.of(idle, gaps, prices, caution)
    age = (due - idle.since).total_seconds()
    lapsing = course.lapsed(age, (idle.expires - idle.since).total_seconds(), course.hour_ends)
    action, cost = course.best_action(age)
    saving = Decimal(lapsing - cost) * prices.input / _MILLION
    if action == "upgrade":
        price += (idle.reply or 0) * prices.write_1h / _MILLION
    if saving <= caution.min_saving or float(saving) <= caution.min_gain * float(price):
        return LAPSE
    return Decision(action=action, due=due, cost=price, saving=saving)


@attrs.frozen(kw_only=True)
class Outlook:
    """One way a reply may turn out, for a request that has not been sent yet.

    Attributes:
        chance: How likely it is.
        gaps: When the next request would come, counted from the start of this one.
        reply: Tokens an upgrade would write, `None` where none would be possible.
    """

    chance: float
    gaps: Gaps
    reply: int | None


def lifetime(
    new: int,
    outlooks: Iterable[Outlook],
    prices: Prices,
    *,
    held: int = 0,
    held_ttl: Ttl = "5m",
    caution: Caution = Caution(),
) -> Ttl | None:
    """Which lifetime the tail of a request should be written with, if any, given what will be done when it idles.

    Args:
        new: Tokens that would be written.
        outlooks: How the reply may turn out.
        prices: Of the model.
        held: Tokens before them that are warm and will be read.
        held_ttl: The lifetime of their entry.
        caution: Within which bounds the conversation will be kept warm.

    Returns:
        `"5m"`, `"1h"`, or `None` if the write is not worth its premium.
    """
    outlooks = tuple(outlooks)
    if _is_plain(new, held, outlooks, Ratios.of(prices)):
        return "5m"
    costs: dict[Ttl | None, float] = dict.fromkeys(("5m", "1h", None), 0.0)
    for look in outlooks:
        course = _Course(
            gaps=look.gaps,
            prices=Ratios.of(prices),
            margin=caution.margin.total_seconds(),
            longest=caution.longest.total_seconds(),
            tokens=held + new,
            reply=look.reply if caution.upgrades else None,
            hour_tokens=held if held_ttl == "1h" else 0,
            hour_ends=_HOUR if held_ttl == "1h" else 0.0,
        )
        unwritten = attrs.evolve(course, tokens=held, hour_tokens=0, hour_ends=0.0)
        write_5m, write_1h, _, loss = course.prices
        costs["5m"] += look.chance * (write_5m * new + course.idling("5m"))
        costs["1h"] += look.chance * (write_1h * new + course.idling("1h"))
        costs[None] += look.chance * (
            new + loss * new * (1 - look.gaps.gone) + (unwritten.idling(held_ttl) if held else 0.0)
        )
    if held and held_ttl == "5m" and not caution.upgrades:
        # An hour above what lives five minutes is the same undocumented hope as an upgrade.
        del costs["1h"]
    return min(costs, key=lambda ttl: costs[ttl])


def _is_plain(new: int, held: int, outlooks: Iterable[Outlook], prices: "Ratios") -> bool:
    """Whether so many come back within five minutes that neither an hour nor no write can be cheaper."""
    soon = sum(look.chance * (1 - look.gaps.outlast(_FIVE)) for look in outlooks)
    lost = sum(look.chance * (look.gaps.outlast(_FIVE) - look.gaps.gone) for look in outlooks)
    hour = (prices.write_1h - prices.write_5m) * new
    return prices.loss * lost * (held + new) <= hour and prices.write_5m - 1 <= prices.loss * soon


class Ratios(NamedTuple):
    """Prices in units of the input price."""

    write_5m: float
    write_1h: float
    read: float
    loss: float
    """What a token costs that has to be written again instead of read."""

    @classmethod
    @lru_cache
    def of(cls, prices: Prices) -> "Ratios":
        write_5m, read = float(prices.write_5m / prices.input), float(prices.read / prices.input)
        return cls(write_5m, float(prices.write_1h / prices.input), read, write_5m - read)


@attrs.frozen(kw_only=True)
class _Course:
    """What an idle conversation costs from some age on, under the best that can be done. Ages are in seconds."""

    gaps: Gaps
    prices: Ratios
    margin: float
    longest: float
    tokens: int
    reply: int | None = None
    hour_tokens: int = 0
    hour_ends: float = 0.0
    is_hour: bool = False

    @classmethod
    def of(cls, idle: Idle, gaps: Gaps, prices: Prices, caution: Caution) -> "_Course":
        ends = idle.hour_expires
        return cls(
            gaps=gaps,
            prices=Ratios.of(prices),
            margin=caution.margin.total_seconds(),
            longest=caution.longest.total_seconds(),
            tokens=idle.tokens,
            reply=idle.reply if caution.upgrades and idle.ttl == "5m" else None,
            hour_tokens=idle.hour_tokens if ends is not None else 0,
            hour_ends=(ends - idle.since).total_seconds() if ends is not None else 0.0,
            is_hour=idle.ttl == "1h",
        )

    def best_action(self, age: float) -> tuple[Action, float]:
        """The cheaper way to stay warm at a deadline, and what everything from there on costs with it."""
        if self.is_hour:
            return "keep_alive", self._renewed(age)
        read, deadline = self.prices.read * self.tokens, age + _FIVE - self.margin
        upgraded, still = self._upgraded(age), self._still(age, deadline)
        hour_ends = age + _HOUR if self.hour_tokens else 0.0
        least = upgraded / still if still > 0.0 else inf
        kept = self._best(deadline, self._most_keep_alives - 1, hour_ends, least)
        return ("keep_alive", read + still * kept) if kept < least else ("upgrade", read + upgraded)

    def lapsed(self, age: float, ends: float, hour_ends: float) -> float:
        """Letting go of an entry that ends then; a shorter prefix may be held for longer."""
        still = self.gaps.outlast(age)
        return self._lost(ends, hour_ends) / still if still > 0.0 else 0.0

    def _lost(self, ends: float, hour_ends: float) -> float:
        """The same, times the chance to be still idle."""
        late = self.gaps.outlast(ends)
        spared = self.hour_tokens * (late - self.gaps.outlast(hour_ends)) if hour_ends > ends else 0.0
        return self.prices.loss * (self.tokens * (late - self.gaps.gone) - spared)

    def idling(self, ttl: Ttl) -> float:
        """All that is still to come when a request with this lifetime has just started."""
        first = (_HOUR if ttl == "1h" else _FIVE) - self.margin
        best = (
            self._best_hour(first)
            if ttl == "1h"
            else self._best(first, self._most_keep_alives, self.hour_ends)
        )
        return self.gaps.outlast(first) * best

    @property
    def _most_keep_alives(self) -> int:
        """After so many, more has been paid than a rewrite costs."""
        return int(self.prices.loss / self.prices.read) + 1

    def _best(self, age: float, keep_alives: int, hour_ends: float, best: float = inf) -> float:
        """From a deadline on: up to so many keep-alives, and then an upgrade or nothing; what is no better than the best
        that is known already is not looked into."""
        read, paid = self.prices.read * self.tokens, 0.0
        still = first = self.gaps.outlast(age)
        for left in range(keep_alives, -1, -1):
            lost = self._lost(age + self.margin, hour_ends)
            best = min(best, (paid + lost) / first if first > 0.0 else 0.0)
            paid += still * read
            if lost <= still * read or age > self.longest or paid - still * self._most_spared >= best * first:
                break
            best = min(best, (paid + still * self._upgraded(age)) / first)
            if left:
                hour_ends = age + _HOUR if self.hour_tokens else 0.0
                age += _FIVE - self.margin
                still = self.gaps.outlast(age)
        return best

    def _upgraded(self, age: float) -> float:
        """What follows an upgrade, and its write; the read before it not counted."""
        if self.reply is None:
            return inf
        written = self.prices.write_1h * self.reply - self._spared(age, self.reply)
        return written + self._after_an_hour(age)

    @property
    def _most_spared(self) -> float:
        """What hours can spare at most, by the reply that is written already."""
        return self.prices.loss * (self.reply or 0)

    def _best_hour(self, age: float) -> float:
        """From the end of an hour on: some more of them, and then nothing."""
        paid, chance, best = 0.0, 1.0, inf
        while paid - chance * self._most_spared < best:
            lapsed = self.lapsed(age, age + self.margin, 0.0)
            best = min(best, paid + chance * lapsed)
            if lapsed <= self.prices.read * self.tokens - self._most_spared or age > self.longest:
                break
            paid += chance * self._renewal(age)
            chance *= self._still(age, age + _HOUR - self.margin)
            age += _HOUR - self.margin
        return best

    def _renewed(self, age: float) -> float:
        return self._renewal(age) + self._after_an_hour(age)

    def _renewal(self, age: float) -> float:
        """Another hour by itself."""
        reply = self.reply or 0
        return self.prices.read * (self.tokens + reply) - self._spared(age, reply)

    def _after_an_hour(self, age: float) -> float:
        deadline = age + _HOUR - self.margin
        return self._still(age, deadline) * self._best_hour(deadline)

    def _spared(self, age: float, reply: int) -> float:
        """Who comes within the hour that begins then need not write the reply."""
        return self.prices.loss * reply * (1.0 - self._still(age, age + _HOUR))

    def _still(self, age: float, later: float) -> float:
        still = self.gaps.outlast(age)
        return self.gaps.outlast(later) / still if still > 0.0 else 0.0
