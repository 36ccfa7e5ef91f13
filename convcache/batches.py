"""`Batch` and `AsyncBatch`: message batches whose requests share a prefix write it once.

The requests of a batch run side by side, so that each may write what the others write as well. Here one goes first and
the rest once it was served. Shells: they have the clock; the results are the SDK's own.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice, zip_longest
from typing import Any, Final, Generic, TypeVar, cast

import attrs
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request

from convcache.books import Books, Clock, OnEvent, utc_now
from convcache.core.blocks import Ttl
from convcache.core.catalog import Model, Platform, Terms
from convcache.core.clock import CacheClock
from convcache.core.node import CountTokens, Node
from convcache.core.planner import Landmarks, Plan, reach
from convcache.core.policy import Policy
from convcache.core.prompt import Prompt
from convcache.core.usage import Bill, Costs, Usage
from convcache.gate import saving, written
from convcache.observe import emit
from convcache.request import plain
from convcache.scope import scope_of

MAX_WAIT: Final = timedelta(minutes=30)
POLL: Final = timedelta(seconds=10)

ClientT = TypeVar("ClientT", Anthropic, AsyncAnthropic)


@attrs.define(eq=False)
class _Row:
    """One request of a batch, and its plan: `None` where it goes out as its caller wrote it."""

    request: Request
    params: dict[str, Any] = attrs.field(factory=dict)
    plan: Plan | None = None

    @property
    def terms(self) -> Terms:
        return Terms(is_batch=True, is_us=self.params.get("inference_geo") == "us")

    @property
    def digests(self) -> frozenset[bytes]:
        """Those of the prefixes it marks."""
        plan = self.plan
        return frozenset(() if plan is None else (point.node.digest for point in plan.breakpoints))


class _Rows(Generic[ClientT]):
    """The requests of a batch, those that are sent and those that are not: all but the sending."""

    def __init__(
        self,
        client: ClientT,
        requests: Iterable[Request],
        *,
        policy: Policy = Policy(),
        max_wait: timedelta = MAX_WAIT,
        poll: timedelta = POLL,
        platform: Platform | None = None,
        count: CountTokens | None = None,
        clock: Clock = utc_now,
        on_event: OnEvent = emit,
    ) -> None:
        """Plan a batch. Nothing is sent before `send`.

        Args:
            client: Its headers are the batch's; give betas and a workspace to `client.with_options(default_headers=...)`.
            requests: As `client.messages.batches.create` takes them: `{"custom_id": ..., "params": ...}`.
            policy: How breakpoints are placed; `ttl="auto"` is an hour here. With `fan_out="off"`, or where less than
                `min_wait_saving` dollars would be saved, all goes in one batch.
            max_wait: How long `send` waits at most, in all, for the requests that go first.
            poll: How often it looks.
            platform: Whose lookback rules hold; told from the form of the model's id if not given.
            count: Counts the tokens of a block, given as JSON; without it they are estimated.
            clock: Gives the time as an aware datetime.
            on_event: Told of what happened (`convcache.core.events`); the default logs it.
        """
        self._client: ClientT = client
        self._max_wait, self._poll, self._clock = max_wait, poll, clock
        self._books = Books(
            scope=scope_of(client), policy=policy, rules=platform, count=count, on_event=on_event
        )
        self._ledger = self._books.opened()
        self._rows = [_Row(request) for request in requests]
        self._expected: list[tuple[_Row, Plan]] = []
        with self._books.failing_open("planning"):
            self._plan(clock())
            self._expected += self._forecast(clock())
        self._unsent = self._rows
        self._led: frozenset[bytes] = frozenset()
        self._sent: list[MessageBatch] = []
        self._sent_again: set[tuple[str, str]] = set()
        self._booked: set[str] = set()

    @property
    def sent(self) -> tuple[MessageBatch, ...]:
        """The batches that were created so far, as last seen."""
        return tuple(self._sent)

    @property
    def forecast(self) -> Usage:
        """The prompt tokens that all requests together should read, write and leave uncached (`output` is 0), if what
        goes first is served in time."""
        return sum((plan.forecast for _, plan in self._expected), start=Usage())

    @property
    def forecast_costs(self) -> Costs:
        """What they should cost in dollars, by the prices of batches, and what they would uncached."""
        costs = (Costs.of(plan.forecast, plan.prompt.model, row.terms) for row, plan in self._expected)
        return sum(costs, start=Costs())

    @property
    def usage(self) -> Usage:
        """All tokens billed, as far as the results were read."""
        return self._ledger.total

    @property
    def costs(self) -> Costs:
        """What they cost in dollars, and what they would have cost uncached."""
        return self._ledger.costs

    def _plan(self, at: datetime) -> None:
        """Mark what requests share, and what the caller marked. Nobody comes back to the rest."""
        prompts = {row: prompt for row in self._rows if (prompt := self._prompt(row)) is not None}
        sharing = Counter(node.digest for prompt in prompts.values() for node in prompt.nodes)
        policy = self._books.policy
        ttl: Ttl = "1h" if policy.ttl == "auto" else policy.ttl
        for row, prompt in prompts.items():
            slots = policy.slots - {"border", "anchor", "edge"}
            slots -= {"tail"} if prompt.automatic is None else set()
            books = attrs.evolve(self._books, policy=attrs.evolve(policy, slots=slots, ttl=ttl))
            landmarks = Landmarks(pins=_shared_ends(prompt, sharing, ttl))
            row.plan = books.planned(row.params, prompt, self._ledger, at=at, landmarks=landmarks)

    def _prompt(self, row: _Row) -> Prompt | None:
        with self._books.failing_open("planning"):
            row.params = plain(row.request["params"])
            return self._books.prompt(row.params)
        return None

    def _forecast(self, at: datetime) -> Iterator[tuple[_Row, Plan]]:
        """Every planned request with what it should find: what is warm now, and what went before it."""
        held, rows, led = CacheClock(), self._rows, frozenset[bytes]()
        marked = frozenset[bytes]().union(*(row.digests for row in rows))
        held.record(filter(None, (self._books.scope.warm.warm(digest, at) for digest in marked)))
        while rows:
            wave = self._leaders(rows, led, at) or rows
            plans = [
                (row, self._ledger.repeat(row.plan, held, at=at)) for row in wave if row.plan is not None
            ]
            yield from plans
            for _, plan in plans:
                held.record(self._ledger.settle(plan, Bill(total=plan.forecast), held, at=at)[2])
            rows, led = _without(rows, wave), led.union(*(row.digests for row in wave))

    def _leaders(self, rows: Sequence[_Row], led: Collection[bytes], at: datetime) -> list[_Row]:
        """The requests that go first, one for each cold prefix of which the others save enough."""
        policy = self._books.policy
        # Where an id is there twice, the API has to see both in one batch to refuse them.
        is_sound = len({row.request.get("custom_id") for row in self._rows}) == len(self._rows)
        if policy.fan_out == "off" or policy.observing or not is_sound:
            return []
        first: dict[bytes, _Row] = {}
        saved: dict[_Row, Decimal] = {}
        for row in rows:
            if row.plan is None:
                continue
            plan = self._ledger.repeat(row.plan, self._books.scope.warm, at=at)
            cold = [digest for digest in written(plan) if digest not in led]
            leader = next((first[digest] for digest in reversed(cold) if digest in first), None)
            if leader is None:
                first.update(dict.fromkeys(cold, row))
            else:
                found = reach(plan.prompt.nodes, plan.breakpoints, first.get)
                saved[leader] = saved.get(leader, Decimal(0)) + saving(plan, found, row.terms)
        return [leader for leader, dollars in saved.items() if dollars >= policy.min_wait_saving]

    def _body(self, row: _Row) -> Request:
        if row.plan is None or self._books.policy.observing:
            return row.request
        return cast("Request", {**row.request, "params": row.plan.marked(row.params)})

    def _next(self, *, waits: bool) -> list[_Row]:
        """What to send now: what goes first, or all that is left."""
        with self._books.failing_open("planning"):
            if waits and (first := self._leaders(self._unsent, self._led, self._clock())):
                return first
        return self._unsent

    def _went(self, batch: MessageBatch, rows: Sequence[_Row]) -> None:
        self._sent.append(batch)
        self._unsent = _without(self._unsent, rows)

    def _learn(self, result: MessageBatchIndividualResponse, leaders: Sequence[_Row]) -> None:
        """What a request that went first tells the rest. After one that failed, another goes first."""
        row = next(row for row in leaders if row.request["custom_id"] == result.custom_id)
        outcome = result.result
        if outcome.type == "succeeded" and row.plan is not None:
            self._led |= row.digests
            bill = Bill.of(plain(outcome.message.usage))
            self._books.begun(row.plan, self._ledger, bill, at=self._clock())
        elif outcome.type == "errored" and self._books.is_about_us(said := outcome.error.error.message):
            self._books.refused(row.params, said)
            self._sent_again.add((self._sent[-1].id, result.custom_id))
            self._unsent = [row, *self._unsent]
            for each in self._unsent:
                each.plan = None

    def _is_wanted(self, result: MessageBatchIndividualResponse, batch: MessageBatch) -> bool:
        """Book a result, once; whether it is the caller's, for its request was not sent again."""
        if (batch.id, result.custom_id) in self._sent_again:
            return False
        with self._books.failing_open("booking"):
            if result.result.type == "succeeded" and result.custom_id not in self._booked:
                message, at = result.result.message, batch.created_at
                bill = Bill.of(plain(message.usage))
                self._ledger = self._books.settle_unplanned(self._ledger, message.model, bill, at=at)[0]
                self._booked.add(result.custom_id)
        return True


class Batch(_Rows[Anthropic]):
    """Requests that go out as message batches and write what they share once.

    The end of what several requests share gets a breakpoint in each, wherever it is, beside the caller's own; an hour
    pays from three requests on. Where that saves enough, one request for each shared prefix goes first in a batch of its own, and the rest when it was
    served, or after `max_wait`. If it fails, another one goes first.

    ```python
    batch = Batch(client, [{"custom_id": "a", "params": {...}}, ...])
    print(batch.forecast_costs.paid)
    batch.send()
    while not batch.has_ended():
        time.sleep(60)
    for result in batch.results():
        print(result.custom_id, result.result.type)
    ```

    Source: the prompt-caching and batch-processing pages: the same breakpoints in every request, for an hour, and
    first a batch of one.
    """

    def send(self) -> tuple[MessageBatch, ...]:
        """Send what was not sent yet, and wait for what goes first. Gives all batches so far.

        Raises:
            anthropic.APIError: A batch could not be created; what was sent before stays sent.
        """
        waits, until = True, self._clock() + self._max_wait
        while rows := self._next(waits=waits):
            batch = self._client.messages.batches.create(requests=[self._body(row) for row in rows])
            self._went(batch, rows)
            waits = bool(self._unsent) and self._is_served(batch, rows, until)
        return self.sent

    def has_ended(self) -> bool:
        """Whether the results can be read."""
        self._sent = [self._client.messages.batches.retrieve(batch.id) for batch in self._sent]
        return not self._unsent and all(batch.processing_status == "ended" for batch in self._sent)

    def results(self) -> Iterator[MessageBatchIndividualResponse]:
        """The results of all batches, one for each request, booked as they are read.

        Raises:
            anthropic.AnthropicError: A batch has not ended.
        """
        for batch in self._sent:
            for result in self._client.messages.batches.results(batch.id):
                if self._is_wanted(result, batch):
                    yield result

    def _is_served(self, batch: MessageBatch, rows: Sequence[_Row], until: datetime) -> bool:
        with self._books.failing_open("planning"):
            while self._client.messages.batches.retrieve(batch.id).processing_status != "ended":
                if self._clock() >= until:
                    return False
                time.sleep(self._poll.total_seconds())
            for result in self._client.messages.batches.results(batch.id):
                self._learn(result, rows)
            return True
        return False


class AsyncBatch(_Rows[AsyncAnthropic]):
    """The same as `Batch` for an async client."""

    async def send(self) -> tuple[MessageBatch, ...]:
        """Send what was not sent yet; see `Batch.send`."""
        waits, until = True, self._clock() + self._max_wait
        while rows := self._next(waits=waits):
            batch = await self._client.messages.batches.create(requests=[self._body(row) for row in rows])
            self._went(batch, rows)
            waits = bool(self._unsent) and await self._is_served(batch, rows, until)
        return self.sent

    async def has_ended(self) -> bool:
        """Whether the results can be read."""
        self._sent = [await self._client.messages.batches.retrieve(batch.id) for batch in self._sent]
        return not self._unsent and all(batch.processing_status == "ended" for batch in self._sent)

    async def results(self) -> AsyncIterator[MessageBatchIndividualResponse]:
        """The results of all batches; see `Batch.results`."""
        for batch in self._sent:
            async for result in await self._client.messages.batches.results(batch.id):
                if self._is_wanted(result, batch):
                    yield result

    async def _is_served(self, batch: MessageBatch, rows: Sequence[_Row], until: datetime) -> bool:
        with self._books.failing_open("planning"):
            while (await self._client.messages.batches.retrieve(batch.id)).processing_status != "ended":
                if self._clock() >= until:
                    return False
                await asyncio.sleep(self._poll.total_seconds())
            async for result in await self._client.messages.batches.results(batch.id):
                self._learn(result, rows)
            return True
        return False


def _shared_ends(prompt: Prompt, sharing: Mapping[bytes, int], ttl: Ttl) -> list[Node]:
    """The ends of what other requests share and of what was declared so, the one that saves most last."""
    ends: dict[bytes, Node] = {}
    end: Node | None = None
    for node, after in zip_longest(prompt.nodes, islice(prompt.nodes, 1, None)):
        end = node if node.markable else end
        alike = sharing[node.digest]
        parts = after is None or sharing[after.digest] < alike
        if end is not None and (node.shared or (parts and _pays(prompt.model, alike, ttl))):
            ends[end.digest] = end
    return sorted(ends.values(), key=lambda node: sharing[node.digest] * node.length)


def _pays(model: Model, alike: int, ttl: Ttl) -> bool:
    """Whether so many requests cost less if one writes what they share and the others read it: three, for an hour."""
    if model.prices is None:
        return alike > 1
    write = model.prices.write_1h if ttl == "1h" else model.prices.write_5m
    return write + (alike - 1) * model.prices.read < alike * model.prices.input


def _without(rows: Sequence[_Row], sent: Sequence[_Row]) -> list[_Row]:
    gone = frozenset(sent)
    return [row for row in rows if row not in gone]
