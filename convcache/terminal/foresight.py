"""The least that a conversation can cost when all its pauses are known beforehand.

Dynamic programming over the requests of one conversation: which prefixes are held, until when, and the cheapest way
to have got there. Everything another policy may do at a deadline is among the choices, so none can cost less.
"""

from collections.abc import Iterator, Mapping, Sequence


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


@attrs.frozen
class Choice:
    """What is done about one request and the pause after it."""

    ttl: Ttl | None
    actions: tuple[Action, ...] = ()


_Held = tuple[Entry, ...]


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

    name: str
    _choices: Mapping[int, tuple[Choice, ...]]
    learns: bool = False

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
        return cls("clairvoyant", dict(known))

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        return self._choices[chat.number][chat.place + 1].ttl

    def at_deadline(self, chat: Chat, prices: Prices, at: object) -> Action:
        left = self._choices[chat.number][chat.place].actions[len(chat.sent) :]
        return left[0] if left else "lapse"

    def came(self, chat: Chat, request: Request, read: int) -> None:
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
        found = [
            way
            for before in ways
            for way in _onward(before, request, starts[place], later, rated, next_shares, mixes=mixes)
        ]
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
        shared.append(tuple(sorted({request.shared, *(min(length, request.shared) for length in shared[-1])})))
    return shared[::-1]


def _onward(
    way: _Way, request: Request, at: float, later: float | None, rated: Rates, next_shares: bool, *, mixes: bool
) -> Iterator[_Way]:
    """Every choice for a request that can be the cheapest."""
    alive = [entry for entry in way.held if entry.tokens <= request.shared and entry.expires > at]
    hit = max(alive, key=lambda entry: (entry.tokens, entry.is_hour), default=None)
    read = hit.tokens if hit else 0
    hour = max((entry for entry in alive if entry.is_hour), key=lambda entry: entry.tokens, default=None)
    held = {
        attrs.evolve(entry, expires=at + (_HOUR if entry.is_hour else _FIVE)) if entry in (hit, hour) else entry
        for entry in alive
    }
    new = request.prompt - read
    base = way.cost + read * rated.read
    long_pause = later is None or later - at >= _AGAIN_5M
    if request.prompt < rated.minimum or long_pause or not next_shares:
        yield _Way(base + new * rated.input, tuple(held), Choice(None), way)
    if request.prompt < rated.minimum or later is None or new == 0 and hit is None:
        return
    ttls: list[Ttl] = ["5m"]
    if hit is None or hit.is_hour or mixes:
        ttls.append("1h")
    for ttl in ttls:
        price, lives = (rated.write_1h, _HOUR) if ttl == "1h" else (rated.write_5m, _FIVE)
        tail = Entry(request.prompt, ttl == "1h", at + lives)
        started = _Way(base + new * price, (*held, tail), None, way)
        for cost, entries, actions in _pauses(started, tail, request, at, later, rated, mixes=mixes):
            yield _Way(cost, entries, Choice(ttl, actions), way)


def _pauses(
    way: _Way, tail: Entry, request: Request, at: float, later: float, rated: Rates, *, mixes: bool
) -> Iterator[tuple[float, _Held, tuple[Action, ...]]]:
    """What can be done in a pause: nothing, keep alive until it ends, or upgrade on the way."""
    yield way.cost, way.held, ()
    gap, read = later - at, request.prompt * rated.read
    lives, again = (_HOUR, _AGAIN_1H) if tail.is_hour else (_FIVE, _AGAIN_5M)
    shorter = max((e for e in way.held if e.is_hour and e is not tail), key=lambda e: e.tokens, default=None)
    wanted = [_times(gap - lives, again)]
    if shorter is not None and not tail.is_hour:
        wanted.append(_times(gap - _HOUR, again))
    for times in {n for n in wanted if n}:
        used = at + times * again
        kept = tuple(
            attrs.evolve(e, expires=used + (_HOUR if e.is_hour else _FIVE)) if e in (tail, shorter) else e
            for e in way.held
        )
        yield way.cost + times * read, kept, ("keep_alive",) * times
    if tail.is_hour or not mixes or request.stop_reason == "tool_use" or gap < lives:
        return
    longer = request.prompt + request.reply
    renewed = longer * rated.read
    options = []
    for before in range(_times(gap - lives, again)):
        upgraded = (before + 1) * again
        if request.replied.timestamp() > at + upgraded:
            continue
        renewals = _times(gap - upgraded - _HOUR, _AGAIN_1H)
        cost = (before + 1) * read + request.reply * rated.write_1h + renewals * renewed
        options.append((cost, before, renewals, at + upgraded + renewals * _AGAIN_1H + _HOUR))
    if options:
        cost, before, renewals, expires = min(options)
        actions: tuple[Action, ...] = (*("keep_alive",) * before, "upgrade", *("keep_alive",) * renewals)
        yield way.cost + cost, (*way.held, Entry(longer, True, expires)), actions


def _times(missing: float, again: float) -> int:
    """How many keep-alives it takes to live for longer than is missing."""
    return 0 if missing < 0 else int(missing // again) + 1


def _undominated(ways: Sequence[_Way], lengths: tuple[int, ...], at: float) -> list[_Way]:
    """Those that are not dearer than another one which holds as much."""
    kept: list[tuple[_Way, _Held]] = []
    for way in sorted(ways, key=lambda each: each.cost):
        held = tuple(_needed(way.held, lengths, at))
        if not any(_covers(other, held) for _, other in kept):
            kept.append((attrs.evolve(way, held=held), held))
    return [way for way, _ in kept]


def _needed(held: _Held, lengths: tuple[int, ...], at: float) -> Iterator[Entry]:
    """Of what is alive, the longest that each later request could read, for any time and for an hour."""
    alive = [entry for entry in held if entry.expires > at]
    found = set()
    for length in lengths:
        for group in (alive, [entry for entry in alive if entry.is_hour]):
            fitting = [entry for entry in group if entry.tokens <= length]
            if fitting:
                found.add(max(fitting, key=lambda entry: (entry.tokens, entry.is_hour, entry.expires)))
    yield from sorted(found, key=lambda entry: (entry.tokens, entry.is_hour))


def _covers(one: _Held, other: _Held) -> bool:
    return all(
        any(
            mine.tokens >= entry.tokens and mine.is_hour >= entry.is_hour and mine.expires >= entry.expires
            for mine in one
        )
        for entry in other
    )
