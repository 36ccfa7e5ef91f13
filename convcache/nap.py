"""A conversation behind a `CacheMiddleware` that rests: it is kept warm by its last request, sent once more.

Reuses what the SDK gave the middleware to pass that request on with. Such a request is no attempt of the SDK's: it
is not tried again, and nothing comes of it but the bill.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs
from anthropic import APIRequest, APIResponse, AsyncAPIResponse

from convcache.books import Books, Clock
from convcache.core.events import KeptWarm, Turn, WarmthEnded
from convcache.core.ledger import Ledger
from convcache.core.planner import Plan
from convcache.core.refresh import LAPSE, Caution, Decision
from convcache.core.usage import Bill
from convcache.habits import Habits
from convcache.observe import keep_alive_span
from convcache.resting import KEEP_ALIVE_TIMEOUT, Rest, repeated
from convcache.taps import derived

Add = Callable[[Turn], None]


@attrs.define(eq=False, kw_only=True)
class Nap:
    """What a keeper needs of a conversation that it knows by its requests alone. Its reply is not at hand, so there is
    no upgrade."""

    rest: Rest | None
    original: APIRequest | None
    call_next: Callable[[APIRequest], Any]
    books: Books
    ledger: Ledger
    habits: Habits
    caution: Caution
    allowance: Decimal
    clock: Clock
    add: Add

    @property
    def decision(self) -> Decision:
        """What to do about it, and when."""
        if self.rest is None:
            return LAPSE
        return self.rest.decision(self.habits, self.caution, self.clock(), allowance=self.allowance)

    def left_to_lapse(self) -> None:
        """It is not kept warm any more."""
        rest = self.ended()
        if rest is not None and rest.sent:
            self.books.tell(WarmthEnded(rest.sent, rest.spent, Decimal(0)))

    def ended(self) -> Rest | None:
        """It rests no more: nothing of its request is held any longer. Tells how it rested."""
        rest, self.rest, self.original = self.rest, None, None
        if rest is not None:
            rest.is_over = True
        return rest

    def _again(self, at: datetime) -> tuple[APIRequest, Plan] | None:
        rest, original = self.rest, self.original
        if rest is None or original is None or self.decision.due is None:
            return None
        plan = self.ledger.repeat(rest.plan, self.books.scope.warm, at=at)
        body = plan.marked(repeated(rest.request))
        return derived(original, body=body, in_one_piece=True, timeout=KEEP_ALIVE_TIMEOUT), plan

    def _answered(self, plan: Plan, reply: bytes, at: datetime) -> Turn | None:
        bill = Bill.of(json.loads(reply)["usage"])
        self.ledger, turn = self.books.settle_keep_alive(self.ledger, plan, bill, at=at)
        if turn is not None:
            if self.rest is not None:
                self.rest.warmed(bill.prompt, turn.costs.paid, at, is_upgrade=False)
            self.add(turn)
            self.books.tell(KeptWarm("keep_alive", turn))
        return turn


class SyncNap(Nap):
    """One behind a sync client."""

    def keep_alive(self) -> Turn | None:
        """Send the request once more.

        Raises:
            httpx2.HTTPStatusError: The API answered with an error.
        """
        again = self._again(at := self.clock())
        if again is None:
            return None
        request, plan = again
        with keep_alive_span():
            response: APIResponse[Any] = self.call_next(request)
            response.http_response.raise_for_status()
            return self._answered(plan, response.read(), at)


class AsyncNap(Nap):
    """One behind an async client."""

    call_next: Callable[[APIRequest], Awaitable[Any]]

    async def keep_alive(self) -> Turn | None:
        """Send the request once more; see `SyncNap.keep_alive`."""
        again = self._again(at := self.clock())
        if again is None:
            return None
        request, plan = again
        with keep_alive_span():
            response: AsyncAPIResponse[Any] = await self.call_next(request)
            response.http_response.raise_for_status()
            return self._answered(plan, await response.read(), at)
