"""The least that a conversation can cost when all its pauses are known beforehand.

Dynamic programming over the requests of one conversation: which prefixes are held, until when, and the cheapest way
to have got there. Everything another policy may do at a deadline is among the choices, so none can cost less.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from convcache.core.blocks import Ttl
from convcache.core.catalog import Prices
from convcache.core.clock import TTL
from convcache.core.refresh import Action
from convcache.terminal.play import MARGIN, Chat, Rates, rates
from convcache.terminal.traffic import Corpus, Recorded, Request

_FIVE, _HOUR, _MARGIN = TTL["5m"].total_seconds(), TTL["1h"].total_seconds(), MARGIN.total_seconds()
_AGAIN_5M, _AGAIN_1H = _FIVE - _MARGIN, _HOUR - _MARGIN


@attrs.frozen
class Entry:
    """A prefix that is held: its tokens, whether for an hour at a time, and until when (seconds)."""

    tokens: int
    is_hour: bool
    expires: float

    def used(self, at: float) -> "Entry":
        return Entry(self.tokens, self.is_hour, at + (_HOUR if self.is_hour else _FIVE))


@attrs.frozen
class Choice:
    """What is done about one request and the pause after it."""

    ttl: Ttl | None
    actions: tuple[Action, ...] = ()


_Held = tuple[Entry, ...]


@attrs.frozen
class _Turn:
    """A request, and when the next one comes, in seconds."""

    request: Request
    at: float
    later: float | None
    next_shares: bool
    rated: Rates

    @property
    def may_be_unwritten(self) -> bool:
        """Whether it can pay to write nothing: not if the next request reads it within five minutes."""
        return self.later is None or self.later - self.at >= _AGAIN_5M or not self.next_shares


@attrs.frozen(eq=False)
class _Way:
    """A way to have come so far."""

    cost: float
    held: _Held
    choice: Choice | None = None
    before: "_Way | None" = None


@attrs.frozen
class Foresight:
    """The cheapest choices for every conversation of a corpus, as a policy."""

    _choices: Mapping[int, tuple[Choice, ...]]

    @classmethod
    def of(cls, corpus: Corpus, *, read_price: float | None, mixes: bool) -> "Foresight":
        """The choices for a corpus.

        Args:
            corpus: The traffic.
            read_price: The price of a read in units of the input price, in the place of the models' own.
            mixes: Whether an hour written above an entry of five minutes stands by itself.
        """
        known = (
            (number, cheapest(recorded, read_price=read_price, mixes=mixes))
            for number, recorded in enumerate(corpus.conversations)
        )
        return cls(dict(known))

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        return self._choices[chat.number][chat.place + 1].ttl

    def deadline(self, chat: Chat) -> datetime | None:
        return chat.deadline

    def at_deadline(self, chat: Chat, prices: Prices, at: object) -> Action:
        left = self._choices[chat.number][chat.place].actions[len(chat.sent) :]
        return left[0] if left else "lapse"

    def sent(self, chat: Chat, action: Action, bill: object, at: object) -> None:
        pass

    def came(self, chat: Chat, request: Request, bill: object, rated: Rates) -> None:
        pass

    def still_idle(self, chat: Chat, at: object) -> None:
        return None


def cheapest(recorded: Recorded, *, read_price: float | None, mixes: bool) -> tuple[Choice, ...]:
    """The cheapest choices for one conversation, one for each request."""
    requests = recorded.requests
    starts = [request.at.timestamp() for request in requests]
    useful = _useful(requests)
    ways = [_Way(0.0, ())]
    for place, request in enumerate(requests):
        rated = rates(request.model, request.prompt, read_price)
        later = starts[place + 1] if place + 1 < len(starts) else None
        next_shares = place + 1 < len(requests) and requests[place + 1].shared >= request.prompt
        turn = _Turn(request, starts[place], later, next_shares, rated)
        found = [way for before in ways for way in _onward(before, turn, mixes=mixes)]
        ways = _undominated(found, useful[place + 1], later or starts[place])
    best: _Way | None = min(ways, key=lambda way: way.cost)
    choices: list[Choice] = []
    while best is not None and best.choice is not None:
        choices.append(best.choice)
        best = best.before
    return tuple(reversed(choices))


def _useful(requests: Sequence[Request]) -> list[tuple[int, ...]]:
    """For each place, the lengths up to which a prefix held before it can still be read: at once, and later on."""
    shared: list[tuple[int, ...]] = [()]
    for request in reversed(requests):
        shared.append(
            tuple(sorted({request.shared, *(min(length, request.shared) for length in shared[-1])}))
        )
    return shared[::-1]


def _onward(way: _Way, turn: _Turn, *, mixes: bool) -> Iterator[_Way]:
    """Every choice for a request that can be the cheapest."""
    request, rated = turn.request, turn.rated
    alive = [entry for entry in way.held if entry.tokens <= request.shared and entry.expires > turn.at]
    hit = max(alive, key=_worth, default=None)
    hour = max((entry for entry in alive if entry.is_hour), key=_worth, default=None)
    held = tuple(entry.used(turn.at) if entry in (hit, hour) else entry for entry in alive)
    read = hit.tokens if hit else 0
    new, cost = request.prompt - read, way.cost + read * rated.read
    is_short = request.prompt < rated.minimum
    if is_short or turn.may_be_unwritten:
        yield _Way(cost + new * rated.input, held, Choice(None), way)
    if is_short or turn.later is None:
        return
    ttls: tuple[Ttl, ...] = ("5m", "1h") if hit is None or hit.is_hour or mixes else ("5m",)
    for ttl in ttls:
        price = rated.write_1h if ttl == "1h" else rated.write_5m
        tail = Entry(request.prompt, ttl == "1h", turn.at + TTL[ttl].total_seconds())
        written = _Way(cost + new * price, (*held, tail))
        for paid, entries, actions in _pauses(written, tail, turn, turn.later, mixes=mixes):
            yield _Way(paid, entries, Choice(ttl, actions), way)


_Pause = tuple[float, _Held, tuple[Action, ...]]


def _pauses(way: _Way, tail: Entry, turn: _Turn, later: float, *, mixes: bool) -> Iterator[_Pause]:
    """What can be done in a pause: nothing, keep alive until it ends, or upgrade on the way."""
    yield way.cost, way.held, ()
    yield from _kept(way, tail, turn, later)
    if mixes and not tail.is_hour and turn.request.stop_reason != "tool_use":
        yield from _upgraded(way, turn, later)


def _kept(way: _Way, tail: Entry, turn: _Turn, later: float) -> Iterator[_Pause]:
    """As many keep-alives as the tail needs, or as what is held for an hour needs."""
    again = _AGAIN_1H if tail.is_hour else _AGAIN_5M
    hour = max((entry for entry in way.held if entry.is_hour), key=_worth, default=None)
    needed = {_times(later - tail.expires, again)}
    if hour is not None:
        needed.add(_times(later - hour.expires, again))
    for times in needed - {0}:
        used = turn.at + times * again
        held = tuple(entry.used(used) if entry in (tail, hour) else entry for entry in way.held)
        yield way.cost + times * turn.request.prompt * turn.rated.read, held, _kept_alive(times)


def _upgraded(way: _Way, turn: _Turn, later: float) -> Iterator[_Pause]:
    """An upgrade at the deadline that leaves the least to be paid."""
    request, rated = turn.request, turn.rated
    longer = request.prompt + request.reply
    options = []
    for before in range(_times(later - turn.at - _FIVE, _AGAIN_5M)):
        upgraded = turn.at + (before + 1) * _AGAIN_5M
        if request.replied.timestamp() <= upgraded:
            renewals = _times(later - upgraded - _HOUR, _AGAIN_1H)
            read = (before + 1) * request.prompt + renewals * longer
            options.append((read * rated.read + request.reply * rated.write_1h, before, renewals))
    if options:
        cost, before, renewals = min(options)
        used = turn.at + (before + 1) * _AGAIN_5M + renewals * _AGAIN_1H
        actions: tuple[Action, ...] = (*_kept_alive(before), "upgrade", *_kept_alive(renewals))
        yield way.cost + cost, (*way.held, Entry(longer, True, used + _HOUR)), actions


def _kept_alive(times: int) -> tuple[Action, ...]:
    action: Action = "keep_alive"
    return (action,) * times


def _times(missing: float, again: float) -> int:
    """How many keep-alives it takes to live for longer than what is missing."""
    return 0 if missing < 0 else int(missing // again) + 1


def _undominated(ways: Sequence[_Way], lengths: tuple[int, ...], at: float) -> list[_Way]:
    """Those that are not dearer than another one which holds as much."""
    kept: list[tuple[_Way, tuple[Entry, ...]]] = []
    for way in sorted(ways, key=lambda each: each.cost):
        needed = _needed(way.held, lengths, at)
        if not any(all(map(_covers, other, needed)) for _, other in kept):
            kept.append((attrs.evolve(way, held=tuple(dict.fromkeys(needed))), needed))
    return [way for way, _ in kept]


_NOTHING: Final = Entry(0, False, 0.0)


def _needed(held: _Held, lengths: tuple[int, ...], at: float) -> tuple[Entry, ...]:
    """For each length up to which something may be read later: the longest that is alive, for any time and for an
    hour."""
    alive = [entry for entry in held if entry.expires > at]
    hours = [entry for entry in alive if entry.is_hour]
    return tuple(
        max((entry for entry in group if entry.tokens <= length), key=_worth, default=_NOTHING)
        for length in lengths
        for group in (alive, hours)
    )


def _worth(entry: Entry) -> tuple[int, bool, float]:
    return entry.tokens, entry.is_hour, entry.expires


def _covers(one: Entry, other: Entry) -> bool:
    return one.tokens >= other.tokens and one.is_hour >= other.is_hour and one.expires >= other.expires
