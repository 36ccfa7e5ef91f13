"""Traffic lived through again on a virtual clock, under a policy, against the emulator's cache.

All policies place the same breakpoints: the tail, the tail before it, and what is held for an hour. They differ in
what they write, for how long, and in what they send while a conversation is idle. Conversations share nothing with
one another here. Knows how requests, keep-alives and deadlines follow each other; not how a policy decides.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from typing import Final, Protocol

import attrs

from convcache.core.blocks import Ttl
from convcache.core.catalog import Model, Prices, model
from convcache.core.clock import TTL
from convcache.core.refresh import Action
from convcache.emulator.cache import Bill, Breakpoint, Cache
from convcache.emulator.prompt import Step
from convcache.emulator.settings import Settings
from convcache.terminal.traffic import Corpus, Recorded, Request

MARGIN: Final = timedelta(seconds=15)
"""How long before an entry expires every policy sends its keep-alives."""
ASSUMED_MODEL: Final = "claude-opus-5"
"""Whose prices and minimum hold where a trace does not name a model we know."""
_REMEMBERED: Final = 12
"""Prefixes of a conversation that are looked at; more would be out of the lookback's reach."""
_LARGE_PROMPT: Final = 100_000
"""From here on some models cost more."""
_MILLION: Final = Decimal(1_000_000)


@attrs.frozen
class Held:
    """A prefix that a policy believes to be cached."""

    step: Step
    ttl: Ttl
    expires: datetime

    def used(self, at: datetime) -> "Held":
        return attrs.evolve(self, expires=at + TTL[self.ttl])


@attrs.define
class Tally:
    """What became of a group of requests, in tokens and dollars."""

    requests: int = 0
    prompt: int = 0
    read: int = 0
    cost: float = 0.0
    uncached_cost: float = 0.0
    keep_alives: int = 0
    wasted: int = 0
    upgrades: int = 0

    @property
    def percent(self) -> float:
        """The cost in per cent of the same prompts uncached."""
        return 100 * self.cost / self.uncached_cost if self.uncached_cost else 0.0

    @property
    def hit_rate(self) -> float:
        """The share of all prompt tokens that was read, in per cent."""
        return 100 * self.read / self.prompt if self.prompt else 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(attrs.astuple(self), attrs.astuple(other), strict=True)))


@attrs.define(eq=False)
class Chat:
    """A conversation as far as it has been played.

    Attributes:
        number: Its place in the corpus.
        recorded: All of it.
        place: The index of its last request.
        tail: What is believed held of its last request; `None` if nothing was written.
        before: What that one read instead, then.
        hour: The longest prefix believed held for an hour.
        sent: Keep-alives and upgrades sent since its last request.
        hand_overs: Replies so far that handed over to a person, the last one not counted.
        steps: Prefixes of its last request that were written once.
        counted: Whether its last request counts.
    """

    number: int
    recorded: Recorded
    place: int = -1
    tail: Held | None = None
    before: Held | None = None
    hour: Held | None = None
    sent: list[Action] = attrs.field(factory=list)
    hand_overs: int = 0
    steps: list[Step] = attrs.field(factory=list)
    counted: bool = False

    @property
    def last(self) -> Request:
        """Its last request."""
        return self.recorded.requests[self.place]

    @property
    def next(self) -> Request | None:
        """The request to come, which no policy but the clairvoyant one may look at."""
        later = self.recorded.requests[self.place + 1 : self.place + 2]
        return later[0] if later else None

    @property
    def deadline(self) -> datetime | None:
        """Just before its tail expires."""
        return None if self.tail is None else self.tail.expires - MARGIN

    def held(self, at: datetime) -> Held | None:
        """The longest prefix believed warm."""
        warm = [
            held for held in (self.tail, self.before, self.hour) if held is not None and at < held.expires
        ]
        return max(warm, key=lambda held: held.step.tokens, default=None)

    def forget(self, request: Request) -> None:
        """What a prompt does not begin with is of no use to it, nor to later ones."""
        steps = [step for step in self.steps if step.tokens <= request.shared]
        if self.hour is not None and (self.hour.step not in steps or self.hour.expires <= request.at):
            self.hour = None
        if self.tail is not None and self.tail.step not in steps:
            self.tail = None
        if self.before is not None and self.before.step not in steps:
            self.before = None
        self.steps = steps[-_REMEMBERED:]
        if self.hour is not None and self.hour.step not in self.steps:
            self.steps.insert(0, self.hour.step)

    def step(self, request: Request) -> Step:
        """The prefix that ends with the prompt of the request to come."""
        place = self.place + 1
        return Step(str(place), f"{self.number} {place}", request.prompt, 2 * place)

    def marks(self, at: datetime) -> list[tuple[int, Ttl]]:
        """The breakpoints before the tail, by their steps: what is held for an hour, and the tail before."""
        marks: dict[int, Ttl] = {}
        if self.hour is not None:
            marks[self.steps.index(self.hour.step)] = "1h"
        last = self.tail or self.before
        if last is not None and at < last.expires:
            marks.setdefault(self.steps.index(last.step), "5m")
        return sorted(marks.items())

    def go_on(self, steps: list[Step], written: Step | None, ttl: Ttl, read: int, at: datetime) -> None:
        """The next request was sent: what is held since."""
        if self.place >= 0:
            self.hand_overs += self.last.stop_reason != "tool_use"
        self.place += 1
        self.sent = []
        self.steps = steps
        if self.hour is not None:
            self.hour = self.hour.used(at) if self.hour.step.tokens <= read else None
        last = self.tail or self.before
        was_read = written is None and last is not None and last.step.tokens <= read
        self.before = last.used(at) if last is not None and was_read else None
        self.tail = None if written is None else Held(written, ttl, at + TTL[ttl])
        if self.tail is not None and ttl == "1h":
            self.hour = self.tail

    def kept(self, action: Action, at: datetime) -> tuple[list[Step], list[tuple[int, Ttl]]]:
        """What a keep-alive or an upgrade of the tail marks; it is believed to hold since."""
        tail = self.tail
        assert tail is not None  # noqa: S101 - only a tail has a deadline
        marks = {self.steps.index(tail.step): tail.ttl}
        if self.hour is not None:
            self.hour = self.hour.used(at)
            marks[self.steps.index(self.hour.step)] = "1h"
        self.tail = tail.used(at)
        if action == "upgrade":
            reply = Step(
                "reply",
                f"{tail.step.digest} reply",
                tail.step.tokens + self.last.reply,
                tail.step.position + 1,
            )
            self.steps = [*self.steps, reply]
            marks[len(self.steps) - 1] = "1h"
            self.tail = self.hour = Held(reply, "1h", at + TTL["1h"])
        return self.steps, sorted(marks.items())


class Policy(Protocol):
    """What to write, and what to do at a deadline."""

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        """How long the tail of a request should live, or `None` to write nothing."""

    def deadline(self, chat: Chat) -> datetime | None:
        """When to ask what to send while a conversation is idle."""

    def at_deadline(self, chat: Chat, prices: Prices, at: datetime) -> Action:
        """What to send while a conversation is idle."""

    def sent(self, chat: Chat, action: Action, bill: Bill, at: datetime) -> None:
        """It was sent, and billed; `chat` is as it was before."""

    def came(self, chat: Chat, request: Request, bill: Bill, rated: "Rates") -> None:
        """A request came, and was billed; `chat` is as it was before."""

    def still_idle(self, chat: Chat, at: datetime) -> datetime | None:
        """Nothing came until now; when to ask again."""


@attrs.frozen
class Rates:
    """What the prompt of a request costs: its model's prices, and the same in dollars per token."""

    prices: Prices
    minimum: int
    input: float
    write_5m: float
    write_1h: float
    read: float

    def cost(self, bill: Bill) -> float:
        """The dollars of what was read, written and neither."""
        return (
            bill.read * self.read
            + bill.written_5m * self.write_5m
            + bill.written_1h * self.write_1h
            + bill.uncached * self.input
        )


def rates(model_id: str, prompt: int, read_price: float | None) -> Rates:
    """The prices of a request, with another read price if that is asked for."""
    return _rates(model_id, prompt > _LARGE_PROMPT, read_price)


@lru_cache
def _rates(model_id: str, is_large: bool, read_price: float | None) -> Rates:
    known: Model = model(model_id)
    if known.prices is None:
        known = model(ASSUMED_MODEL)
    prices = known.prices_at(_LARGE_PROMPT + is_large)
    assert prices is not None  # noqa: S101 - the assumed model has prices
    if read_price is not None:
        prices = attrs.evolve(prices, read=prices.input * Decimal(str(read_price)))
    each = (prices.input, prices.write_5m, prices.write_1h, prices.read)
    return Rates(prices, known.minimum, *(float(price / _MILLION) for price in each))


class Play:
    """One policy on one corpus.

    Args:
        corpus: The traffic.
        policy: Whose decisions are carried out.
        read_price: The price of a read in units of the input price, in the place of the models' own.
        settings: Of the emulated cache.
        first: How many requests of each repository are counted; all of them if `None`.

    Attributes:
        tallies: What became of the counted requests, by repository.
    """

    def __init__(
        self,
        corpus: Corpus,
        policy: Policy,
        *,
        read_price: float | None = None,
        settings: Settings | None = None,
        first: int | None = None,
    ) -> None:
        self._policy, self._read_price, self._first = policy, read_price, first
        self._cache = Cache(settings or Settings())
        self._events: list[tuple[datetime, int, str, Chat, int]] = []
        self._order = count()
        self._seen: Counter[str] = Counter()
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        for number, recorded in enumerate(corpus.conversations):
            self._expect(recorded.requests[0].at, "request", Chat(number, recorded))

    def run(self) -> Iterator[Request]:
        """Play it all, yielding each request once it is played."""
        while self._events:
            at, _, what, chat, place = heappop(self._events)
            if what == "request":
                self._request(chat, at)
                yield chat.last
            elif chat.place == place and what == "deadline":
                self._deadline(chat, at)
            elif chat.place == place:
                self._ask_again(chat, at)

    def _expect(self, at: datetime, what: str, chat: Chat) -> None:
        heappush(self._events, (at, next(self._order), what, chat, chat.place))

    def _ask_again(self, chat: Chat, at: datetime) -> None:
        again = self._policy.still_idle(chat, at)
        if again is not None:
            self._expect(again, "idle", chat)

    def _request(self, chat: Chat, at: datetime) -> None:
        request = chat.recorded.requests[chat.place + 1]
        rated = rates(request.model, request.prompt, self._read_price)
        chat.forget(request)
        ttl = self._policy.lifetime(chat, request, rated.prices)
        steps, marks = chat.steps, chat.marks(at)
        written = request.prompt >= rated.minimum and ttl is not None
        if written:
            steps = [*steps, chat.step(request)]
            marks.append((len(steps) - 1, ttl or "5m"))
        bill = self._billed(request, steps, marks, at)
        self._policy.came(chat, request, bill, rated)
        self._count(chat, request, bill)
        chat.go_on(steps, steps[-1] if written else None, ttl or "5m", bill.read, at)
        self._wait(chat)
        if chat.next is not None:
            self._expect(chat.next.at, "request", chat)
        self._ask_again(chat, at)

    def _deadline(self, chat: Chat, at: datetime) -> None:
        rated = rates(chat.last.model, chat.last.prompt, self._read_price)
        action = self._policy.at_deadline(chat, rated.prices, at)
        if action == "lapse":
            return
        before = attrs.evolve(chat)
        bill = self._billed(chat.last, *chat.kept(action, at), at)
        self._policy.sent(before, action, bill, at)
        chat.sent.append(action)
        if chat.counted:
            tally = self.tallies[chat.recorded.repository]
            tally.cost += rated.cost(bill)
            tally.keep_alives += 1
            tally.upgrades += action == "upgrade"
            tally.wasted += chat.next is None
        self._wait(chat)

    def _wait(self, chat: Chat) -> None:
        deadline = self._policy.deadline(chat)
        if deadline is not None:
            self._expect(deadline, "deadline", chat)

    def _billed(
        self, request: Request, steps: list[Step], marks: list[tuple[int, Ttl]], at: datetime
    ) -> Bill:
        """What a request, or a keep-alive, reads and writes."""
        last_hour = max((place for place, (_, ttl) in enumerate(marks) if ttl == "1h"), default=-1)
        points = [
            Breakpoint(
                index=index,
                path=steps[index].path,
                digest=steps[index].digest,
                tokens=steps[index].tokens,
                ttl="1h" if place < last_hour else ttl,
            )
            for place, (index, ttl) in enumerate(marks)
        ]
        length = steps[-1].tokens if steps else 0
        bill = self._cache.bill(steps, points, tail=max(0, request.prompt - length), at=at)
        self._cache.carry_out(bill)
        return bill

    def _count(self, chat: Chat, request: Request, bill: Bill) -> None:
        rated = rates(request.model, request.prompt, self._read_price)
        repository = chat.recorded.repository
        if chat.counted and chat.sent and (chat.tail is None or bill.read < chat.tail.step.tokens):
            self.tallies[repository].wasted += len(chat.sent)
        self._seen[repository] += 1
        chat.counted = self._first is None or self._seen[repository] <= self._first
        if chat.counted:
            tally = self.tallies[repository]
            tally.requests += 1
            tally.prompt += request.prompt
            tally.read += bill.read
            tally.cost += rated.cost(bill)
            tally.uncached_cost += request.prompt * rated.input
