"""Traffic lived through again on a virtual clock, under a policy, against the emulator's cache.

All policies place the same breakpoints: the tail, the tail before it, and what is held for an hour. They differ in
what they write, for how long, and in what they send while a conversation is idle. Conversations share nothing with
one another here. Knows how requests, keep-alives and deadlines follow each other; not how a policy decides.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import heappop, heappush
from itertools import count
from typing import Final, Protocol

import attrs

from convcache.core.blocks import Ttl
from convcache.core.catalog import Model, Prices, model
from convcache.core.clock import TTL
from convcache.core.refresh import Action
from convcache.emulator.cache import Breakpoint, Cache
from convcache.emulator.prompt import Step
from convcache.emulator.settings import Settings
from convcache.terminal.traffic import Corpus, Recorded, Request

MARGIN: Final = timedelta(seconds=15)
"""How long before an entry expires every policy sends its keep-alives."""
ASSUMED_MODEL: Final = "claude-opus-5"
"""Whose prices and minimum hold where a trace does not name a model we know."""
_REMEMBERED: Final = 12
"""Prefixes of a conversation that are looked at; more would be out of the lookback's reach."""
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
        hour: The longest prefix believed held for an hour.
        sent: Keep-alives and upgrades sent since its last request.
        hand_overs: Replies so far that handed over to a person, the last one not counted.
    """

    number: int
    recorded: Recorded
    place: int = -1
    tail: Held | None = None
    hour: Held | None = None
    sent: list[Action] = attrs.field(factory=list)
    hand_overs: int = 0
    steps: list[Step] = attrs.field(factory=list)

    @property
    def last(self) -> Request:
        return self.recorded.requests[self.place]

    @property
    def next(self) -> Request | None:
        later = self.recorded.requests[self.place + 1 : self.place + 2]
        return later[0] if later else None

    def held(self, at: datetime) -> Held | None:
        """The longest prefix believed warm."""
        warm = [held for held in (self.tail, self.hour) if held is not None and at < held.expires]
        return max(warm, key=lambda held: held.step.tokens, default=None)


class Policy(Protocol):
    """What to write, and what to do at a deadline."""

    name: str
    learns: bool

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        """How long the tail of a request should live, or `None` to write nothing."""

    def at_deadline(self, chat: Chat, prices: Prices, at: datetime) -> Action:
        """What to send while a conversation is idle, just before its tail expires."""

    def came(self, chat: Chat, request: Request, read: int) -> None:
        """A request came, and was billed; `chat` is as it was before."""

    def still_idle(self, chat: Chat, at: datetime) -> datetime | None:
        """Nothing came until now; when to ask again."""


@attrs.frozen
class Rates:
    """What a model costs here."""

    prices: Prices
    minimum: int
    input: float
    write_5m: float
    write_1h: float
    read: float


def rates(model_id: str, prompt: int, read_price: float | None) -> Rates:
    """The prices of a request in dollars per token, with another read price if that is asked for."""
    known: Model = model(model_id)
    if known.prices is None:
        known = model(ASSUMED_MODEL)
    prices = known.prices_at(prompt)
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
    """

    def __init__(
        self,
        corpus: Corpus,
        policy: Policy,
        *,
        read_price: float | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._policy, self._read_price = policy, read_price
        self._cache = Cache(settings or Settings())
        self._rates: dict[tuple[str, bool], Rates] = {}
        self._events: list[tuple[datetime, int, str, Chat, int]] = []
        self._order = count()
        self.tallies: dict[str, Tally] = {}
        self.first: dict[str, Tally] = {}
        self.chats = [Chat(number, recorded) for number, recorded in enumerate(corpus.conversations)]
        for chat in self.chats:
            self._expect(chat.recorded.requests[0].at, "request", chat)

    def run(self) -> Iterator[int]:
        """Play it all, yielding after each request how many there were."""
        for played in self._requests():
            yield played

    def _requests(self) -> Iterator[int]:
        played = 0
        while self._events:
            at, _, what, chat, place = heappop(self._events)
            if what == "request":
                self._request(chat, at)
                played += 1
                yield played
            elif chat.place == place and what == "deadline":
                self._deadline(chat, at)
            elif chat.place == place:
                again = self._policy.still_idle(chat, at)
                if again is not None:
                    self._expect(again, "idle", chat)

    def _expect(self, at: datetime, what: str, chat: Chat) -> None:
        heappush(self._events, (at, next(self._order), what, chat, chat.place))

    def _rated(self, request: Request) -> Rates:
        key = (request.model, request.prompt > 100_000)  # noqa: PLR2004 - the border of large prompts
        if key not in self._rates:
            self._rates[key] = rates(request.model, request.prompt, self._read_price)
        return self._rates[key]

    def _request(self, chat: Chat, at: datetime) -> None:
        request = chat.recorded.requests[chat.place + 1]
        rated = self._rated(request)
        self._forget(chat, request)
        ttl = self._policy.lifetime(chat, request, rated.prices)
        steps = chat.steps
        marks = self._marks(chat, at)
        if request.prompt >= rated.minimum and ttl is not None:
            steps = [
                *steps,
                Step(
                    f"{chat.place + 1}", f"{chat.number} {chat.place + 1}", request.prompt, 2 * chat.place + 2
                ),
            ]
            marks.append((len(steps) - 1, ttl))
        read = self._send(chat, request, steps, marks, at)
        self._policy.came(chat, request, read)
        self._judge(chat, read)
        self._go_on(chat, request, steps, marks, at)

    def _forget(self, chat: Chat, request: Request) -> None:
        """What the prompt of a request does not begin with is of no use to it, nor to later ones."""
        chat.steps = [step for step in chat.steps if step.tokens <= request.shared]
        kept = {step.digest for step in chat.steps}
        if chat.hour is not None and (chat.hour.step.digest not in kept or chat.hour.expires <= request.at):
            chat.hour = None
        if chat.tail is not None and chat.tail.step.digest not in kept:
            chat.tail = None
        recent = chat.steps[-_REMEMBERED:]
        if chat.hour is not None and chat.hour.step not in recent:
            recent.insert(0, chat.hour.step)
        chat.steps = recent

    def _marks(self, chat: Chat, at: datetime) -> list[tuple[int, Ttl]]:
        """The breakpoints before the tail: what is held for an hour, and the tail before."""
        marks: dict[int, Ttl] = {}
        if chat.hour is not None:
            marks[chat.steps.index(chat.hour.step)] = "1h"
        if chat.tail is not None and at < chat.tail.expires:
            marks.setdefault(chat.steps.index(chat.tail.step), "5m")
        return sorted(marks.items())

    def _send(
        self, chat: Chat, request: Request, steps: list[Step], marks: list[tuple[int, Ttl]], at: datetime
    ) -> int:
        """Bill a request or a keep-alive; tells how many tokens were read."""
        rated = self._rated(request)
        last_hour = max((i for i, (_, ttl) in enumerate(marks) if ttl == "1h"), default=-1)
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
        cost = (
            bill.read * rated.read
            + bill.written_5m * rated.write_5m
            + bill.written_1h * rated.write_1h
            + bill.uncached * rated.input
        )
        for tally in self._groups(chat):
            tally.cost += cost
        self._read = bill.read
        return bill.read

    def _groups(self, chat: Chat) -> list[Tally]:
        tally = self.tallies.setdefault(chat.recorded.repository, Tally())
        return [tally]

    def _judge(self, chat: Chat, read: int) -> None:
        rated = self._rated(chat.recorded.requests[chat.place + 1])
        request = chat.recorded.requests[chat.place + 1]
        for tally in self._groups(chat):
            tally.requests += 1
            tally.prompt += request.prompt
            tally.read += read
            tally.uncached_cost += request.prompt * rated.input
            if chat.sent and (chat.tail is None or read < chat.tail.step.tokens):
                tally.wasted += len(chat.sent)

    def _go_on(
        self, chat: Chat, request: Request, steps: list[Step], marks: list[tuple[int, Ttl]], at: datetime
    ) -> None:
        """The conversation after a request: what it holds, and what to wait for."""
        if chat.place >= 0:
            chat.hand_overs += chat.last.stop_reason != "tool_use"
        chat.place += 1
        chat.sent = []
        chat.steps = steps
        if chat.hour is not None:
            chat.hour = chat.hour.used(at)
        if marks and marks[-1][0] == len(steps) - 1 and steps[-1].tokens == request.prompt:
            chat.tail = Held(steps[-1], marks[-1][1], at + TTL[marks[-1][1]])
            if chat.tail.ttl == "1h":
                chat.hour = chat.tail
        else:
            chat.tail = None
        self._wait(chat)
        if chat.next is not None:
            self._expect(chat.next.at, "request", chat)
        if self._policy.learns and (again := self._policy.still_idle(chat, at)) is not None:
            self._expect(again, "idle", chat)

    def _wait(self, chat: Chat) -> None:
        if chat.tail is not None:
            self._expect(chat.tail.expires - MARGIN, "deadline", chat)

    def _deadline(self, chat: Chat, at: datetime) -> None:
        action = self._policy.at_deadline(chat, self._rated(chat.last).prices, at)
        if action == "lapse" or chat.tail is None:
            return
        steps, tail = chat.steps, chat.tail
        place = steps.index(tail.step)
        marks: list[tuple[int, Ttl]] = [(place, tail.ttl)]
        if chat.hour is not None and chat.hour.step != tail.step:
            marks.insert(0, (steps.index(chat.hour.step), "1h"))
        if action == "upgrade":
            longer = Step(
                "reply",
                f"{tail.step.digest} reply",
                tail.step.tokens + chat.last.reply,
                tail.step.position + 1,
            )
            steps = [*steps, longer]
            marks.append((len(steps) - 1, "1h"))
            chat.tail = chat.hour = Held(longer, "1h", at + TTL["1h"])
        else:
            chat.tail = tail.used(at)
            chat.hour = chat.hour.used(at) if chat.hour is not None else None
        self._send(chat, chat.last, steps, marks, at)
        chat.steps = steps
        chat.sent.append(action)
        for tally in self._groups(chat):
            tally.keep_alives += 1
            tally.upgrades += action == "upgrade"
            if chat.next is None:
                tally.wasted += 1
        self._wait(chat)
