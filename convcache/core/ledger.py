"""One conversation's books: what each request was to cost, what it did cost, and what is warm since.

A value: `plan` looks, `settle` gives a new ledger. A request is booked once its reply has started, whatever comes
of the turn.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Final, Self

import attrs

from convcache.core.blocks import Ttl
from convcache.core.catalog import Model
from convcache.core.clock import TTL, CacheClock, Entry
from convcache.core.diagnosis import Sent, diagnose
from convcache.core.events import Turn
from convcache.core.node import Node
from convcache.core.planner import Landmarks, Plan, forecast, plan, upgrading
from convcache.core.policy import Policy
from convcache.core.prompt import BYTES_PER_TOKEN, Prompt
from convcache.core.usage import Bill, Costs, Usage


@attrs.frozen(kw_only=True)
class Ledger:
    """The books of a conversation.

    Attributes:
        total: All tokens billed, those of abandoned turns included.
        costs: What they cost.
        last: The last request that was planned and booked.
        bytes_per_token: What estimates are made with; corrected by every bill.
        counts: Whether lengths are counted tokens, so that there is nothing to estimate.
    """

    total: Usage = attrs.field(factory=Usage)
    costs: Costs = attrs.field(factory=Costs)
    last: Sent | None = None
    bytes_per_token: float = BYTES_PER_TOKEN
    counts: bool = False

    def plan(
        self,
        prompt: Prompt,
        warm: CacheClock,
        *,
        at: datetime,
        policy: Policy,
        landmarks: Landmarks = Landmarks(),
        is_border: Callable[[Node], bool] = lambda _: False,
    ) -> Plan:
        """Choose the breakpoints of a request and forecast its bill; see `planner.plan`."""
        return plan(
            prompt,
            warm,
            at=at,
            policy=policy,
            landmarks=landmarks,
            is_border=is_border,
            bytes_per_token=None if self.counts else self.bytes_per_token,
        )

    def settle(
        self, plan: Plan, bill: Bill, warm: CacheClock, *, at: datetime
    ) -> tuple[Self, Turn, tuple[Entry, ...]]:
        """Book a planned request.

        Args:
            plan: The plan it was sent with.
            bill: What was billed.
            warm: What was believed warm.
            at: When the request started: lifetimes run from there.

        Returns:
            The new ledger, the turn as booked, and the entries to believe from now on.
        """
        usage = bill.prompt
        entries = tuple(_entries(plan, usage, warm, at))
        turn = Turn(
            started=at,
            forecast=plan.forecast,
            actual=bill.total,
            costs=Costs.of(bill.total, plan.prompt.model, bill.terms),
            lapses=entries[-1].expires if entries and usage.cached else None,
            miss=diagnose(self.last, plan, usage, at) if self.last is not None else None,
        )
        ledger = self._booked(
            turn, last=Sent.of(plan, usage, at), bytes_per_token=self._ratio(plan.prompt, usage.prompt)
        )
        return ledger, turn, entries

    def repeat(self, plan: Plan, warm: CacheClock, *, at: datetime) -> Plan:
        """The plan of a request that is sent once more to keep it warm."""
        return forecast(
            plan.prompt,
            plan.breakpoints,
            warm,
            at=at,
            bytes_per_token=None if self.counts else self.bytes_per_token,
        )

    def upgrade(self, prompt: Prompt, placeholder: int, warm: CacheClock, *, at: datetime) -> Plan | None:
        """The plan of a request that writes the last reply for an hour; see `planner.upgrading`."""
        ratio = None if self.counts else self.bytes_per_token
        return upgrading(prompt, placeholder, warm, at=at, bytes_per_token=ratio)

    def settle_keep_alive(
        self, plan: Plan, bill: Bill, warm: CacheClock, *, at: datetime
    ) -> tuple[Self, Turn, tuple[Entry, ...]]:
        """Book a keep-alive or an upgrade, a request that nobody but the keeper asked for. Without caching there
        would have been none; the conversation's next request is compared with its last, which is warm until later.
        """
        _, turn, entries = self.settle(plan, bill, warm, at=at)
        turn = attrs.evolve(turn, costs=Costs(turn.costs.paid, Decimal(0)))
        last = self.last
        if last is not None and bill.prompt.read and at > last.at:
            ttl = plan.breakpoints[-1].ttl if plan.breakpoints else last.ttl
            last = attrs.evolve(last, at=at, ttl=ttl)
        return self._booked(turn, last=last, bytes_per_token=self.bytes_per_token), turn, entries

    def measured(self, prompt: Prompt, tokens: int) -> Self:
        """The books once a prompt was counted: estimates are made with that until the next bill."""
        return attrs.evolve(self, bytes_per_token=self._ratio(prompt, tokens))

    def _ratio(self, prompt: Prompt, tokens: int) -> float:
        length = prompt.nodes[-1].length if prompt.nodes else 0
        return length / tokens if length and tokens else self.bytes_per_token

    def settle_unplanned(self, model: Model, bill: Bill, *, at: datetime) -> tuple[Self, Turn]:
        """Book a request that went out as its caller wrote it. What it left in the cache is not known."""
        costs = Costs.of(bill.total, model, bill.terms)
        turn = Turn(started=at, forecast=None, actual=bill.total, costs=costs, lapses=None, miss=None)
        return self._booked(turn, last=self.last, bytes_per_token=self.bytes_per_token), turn

    def _booked(self, turn: Turn, *, last: Sent | None, bytes_per_token: float) -> Self:
        return type(self)(
            total=self.total + turn.actual,
            costs=self.costs + turn.costs,
            last=last,
            bytes_per_token=bytes_per_token,
            counts=self.counts,
        )


def _entries(plan: Plan, usage: Usage, warm: CacheClock, at: datetime) -> Iterator[Entry]:
    """What the bill says of the prefixes that were marked or expected to be read, the tail last."""
    marks: dict[int, Ttl] = dict(map(_MARK, plan.breakpoints))
    nodes: list[Node] = [*map(_NODE, plan.breakpoints)]
    hit = None
    if plan.hit is not None:
        hit = warm.warm(plan.hit.digest, at)
        if plan.hit.number not in marks:
            nodes = sorted([*nodes, plan.hit])
    for node in nodes:
        before = warm.known(node.digest)
        known = before if before is not None and at < before.expires else None
        tokens, mark = _tokens(plan, node, usage, before), marks.get(node.number)
        if usage.cached == 0 or (mark is None and tokens > usage.read):
            if known is not None:
                yield attrs.evolve(known, expires=at)
        elif known is not None and tokens <= usage.read:
            yield known.used(at, tokens)
        elif mark is not None and tokens >= plan.prompt.model.minimum:
            # What was read although we did not know of it lives no longer than what we did know of.
            longest = mark if tokens > usage.read else (hit.ttl if hit is not None else "5m")
            ttl: Ttl = "1h" if mark == longest == "1h" else "5m"
            yield Entry(node.digest, tokens, ttl, at + TTL[ttl])


_NODE: Final = attrgetter("node")
_MARK: Final = attrgetter("node.number", "ttl")


def _tokens(plan: Plan, node: Node, usage: Usage, known: Entry | None) -> int:
    """The length of a marked prefix: billed at the tail and at the hit, else known before, else in proportion."""
    tail = plan.tail
    if node is tail:
        return usage.cached
    if known is not None:
        is_read = node is plan.hit and usage.read and _close(known.tokens, usage.read)
        return usage.read if is_read else known.tokens
    return round(usage.cached * node.length / (node if tail is None else tail).length)


def _close(one: int, other: int) -> bool:
    """Within a tenth: the difference between an estimate and the bill, not between two prefixes."""
    return abs(one - other) * 10 <= max(one, other)
