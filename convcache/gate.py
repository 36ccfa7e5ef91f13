"""Of the requests that share a cold prefix one goes first, and the others wait until it has written it.

Knows plans and futures; sends nothing. A request that is waited for and fails lets the next one go first.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from threading import Lock
from time import monotonic

import attrs

from convcache.core.catalog import STANDARD, Terms
from convcache.core.node import Node
from convcache.core.planner import Plan, reach


@attrs.define(eq=False)
class Leader:
    """A request on its way that will leave prefixes in the cache."""

    digests: tuple[bytes, ...]
    _over: "Future[None] | None" = None

    def wait(self, limit: timedelta) -> timedelta:
        """Wait until it has written them or has failed, or until the limit; tells how long that took."""
        began = monotonic()
        with suppress(FutureTimeoutError):
            self.awaited().result(max(0.0, limit.total_seconds()))
        return timedelta(seconds=monotonic() - began)

    async def wait_async(self, limit: timedelta) -> timedelta:
        """The same in a task of asyncio."""
        began = monotonic()
        await asyncio.wait([asyncio.wrap_future(self.awaited())], timeout=max(0.0, limit.total_seconds()))
        return timedelta(seconds=monotonic() - began)

    def awaited(self) -> "Future[None]":
        """What is done when nobody has to wait any more. Most requests are waited for by nobody."""
        if self._over is None:
            self._over = Future()
        return self._over

    def over(self) -> None:
        """Nobody has to wait any more."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


class Gate:
    """Where requests that may share a prefix pass. Safe to share between threads and tasks."""

    def __init__(self) -> None:
        self._leaders: dict[bytes, list[Leader]] = {}
        self._lock = Lock()

    def enter(self, plan: Plan, *, min_saving: Decimal) -> tuple[Leader | None, Leader | None]:
        """Go first, or learn whom to wait for.

        Args:
            plan: The plan of a request.
            min_saving: Dollars that must be saved for a wait to be worth it.

        Returns:
            The request to wait for, or `None`; and the place taken at the head, to be given up with `leave`.
        """
        with self._lock:
            led = reach(plan.prompt.nodes, plan.breakpoints, self._leaders.get) if self._leaders else None
            if led is not None and saving(plan, led) >= min_saving:
                ahead = self._leaders[led.digest][0]
                ahead.awaited()
                return ahead, None
            leader = Leader(tuple(written(plan)))
            for digest in leader.digests:
                self._leaders.setdefault(digest, []).append(leader)
            return None, leader

    def leave(self, leader: Leader) -> None:
        """The request has written what it writes, or has failed."""
        with self._lock:
            for digest in leader.digests:
                if others := [one for one in self._leaders.pop(digest, ()) if one is not leader]:
                    self._leaders[digest] = others
        # Whoever waits for it has come before.
        leader.over()


def written(plan: Plan) -> Iterable[bytes]:
    """The prefixes that a request should write, shortest first."""
    hit = -1 if plan.hit is None else plan.hit.number
    return (point.node.digest for point in plan.breakpoints if point.node.number > hit)


def saving(plan: Plan, held: Node | None, terms: Terms = STANDARD) -> Decimal:
    """Dollars that a request saves if it reads up to this node instead of writing it once more; -1 if it reads no more
    than it would anyhow."""
    prices, nodes = plan.prompt.model.prices_at(plan.forecast.prompt, terms), plan.prompt.nodes
    if prices is None or held is None or (plan.hit is not None and held.number <= plan.hit.number):
        return Decimal(-1)
    before = 0 if plan.hit is None else plan.hit.length
    share = (held.length - before) / max(1, nodes[-1].length - before)
    tokens = round(share * (plan.forecast.prompt - plan.forecast.read))
    lasts = next(point.ttl for point in plan.breakpoints if point.node.number >= held.number)
    write = prices.write_1h if lasts == "1h" else prices.write_5m
    return tokens * (write - prices.read) / 1_000_000
