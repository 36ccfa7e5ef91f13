"""One HTTP attempt behind a `CacheMiddleware`: its request with breakpoints, and the booking of its reply; and what is
remembered of a conversation from one to the next.
"""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, cast

import attrs
import httpx2
from anthropic import APIRequest, APIResponse, AsyncAPIResponse

from convcache.books import REFUSING_STATUSES, Books
from convcache.core.events import Turn
from convcache.core.ledger import Ledger
from convcache.core.node import Node
from convcache.core.planner import Plan
from convcache.core.prompt import Prompt
from convcache.core.seen import Seen
from convcache.core.usage import UsageMeter
from convcache.habits import Track
from convcache.nap import Nap
from convcache.resting import Rest
from convcache.taps import derived, events_of, overheard, tapped

_BYTES_PER_NODE: Final = 500

CONVERSATION: ContextVar[str | None] = ContextVar("convcache_conversation", default=None)
"""The name of the conversation that requests belong to."""


@attrs.frozen
class Read:
    """What was read of a conversation's last request.

    Attributes:
        prompt: The request as the cache sees it, without its messages.
        head: Its tools and its system prompt.
        messages: Its messages.
    """

    prompt: Prompt
    head: Seen
    messages: Seen

    @property
    def size(self) -> int:
        """How many bytes it takes, roughly."""
        return len(self.prompt.nodes) * _BYTES_PER_NODE + self.head.size + self.messages.size


@attrs.frozen
class Lineage:
    """What is remembered of a conversation after each of its requests.

    Attributes:
        ledger: What it was billed.
        books: Those of the scope it lives in.
        tail: The last block that carried a breakpoint.
        at: When its last request started.
        requests: How many requests it was seen to have.
        track: What it has shown of its rhythm.
        nap: How it is kept warm.
    """

    ledger: Ledger
    books: Books
    tail: Node | None = None
    at: datetime | None = None
    requests: int = 0
    track: Track = attrs.field(factory=Track)
    nap: Nap | None = None


@attrs.define
class Attempt:
    """One HTTP attempt: its request with breakpoints, and the booking of its reply."""

    original: APIRequest
    body: dict[str, Any]
    at: datetime
    lineage: Lineage
    books: Books
    _remember: Callable[["Attempt", Ledger], None]
    _add: Callable[[Turn, str | None], None]
    _rests: Callable[["Attempt", Ledger], None]
    opening: bytes
    read: Read | None
    plan: Plan | None = None
    name: str | None = attrs.field(factory=CONVERSATION.get)
    meter: UsageMeter = attrs.field(factory=UsageMeter)
    turn: Turn | None = None
    ledger: Ledger | None = None
    track: Track = attrs.field(factory=Track)
    nap: Nap | None = None
    rested: Rest | None = None
    call_next: object = None
    is_over: bool = False

    @property
    def request(self) -> APIRequest:
        """What is passed on: the same request, with another body and a tap on its stream."""
        stream_cls = (
            tapped(self.original.stream_cls, self.feed, self.finish) if self.original.stream else None
        )
        return derived(self.original, body=self.body, stream_cls=stream_cls)

    def may_be_refused(self, response: APIResponse[Any] | AsyncAPIResponse[Any]) -> bool:
        return response.status_code in REFUSING_STATUSES and self.body is not self.original.json

    def gives_up(self, said: bytes) -> bool:
        """Whether our breakpoints may be refused; then the next request is as the caller wrote it."""
        if not self.books.is_about_us(said.decode(errors="replace")):
            return False
        self.plan, self.body = None, cast("dict[str, Any]", self.original.json)
        return True

    def refused(self, response: APIResponse[Any] | AsyncAPIResponse[Any], said: bytes) -> None:
        """Our breakpoints were refused, if the request went through without them."""
        if response.http_response.is_success:
            self.books.refused(self.body, said.decode(errors="replace"))

    def listen(self, response: APIResponse[Any] | AsyncAPIResponse[Any]) -> None:
        """Hear the reply as its caller reads it."""
        with self.books.failing_open("booking"):
            if response.http_response.is_success:
                overheard(response, self.heard)

    def heard(self, reply: httpx2.Response) -> None:
        """Book the reply by what was read of its bytes, unless its events are being booked."""
        if self.turn is None:
            with self.books.failing_open("booking"):
                for event in events_of(reply):
                    self.meter.feed(event)
                self._book()
            self.finish()

    def feed(self, event: Any) -> None:
        """Take an event of the stream: the first one tells the bill, the last ones the reply's tokens."""
        if event.type not in {"message_start", "message_delta"}:
            return
        with self.books.failing_open("booking"):
            self.meter.feed(event.to_dict(mode="json", warnings=False))
            self._book()

    def _book(self) -> None:
        """Book what is billed so far. Booking again corrects what was booked."""
        ledger, bill = self.lineage.ledger, self.meter.bill
        if bill is None:
            return
        if self.plan is None:
            model = self.body["model"]
            ledger, self.turn = self.books.settle_unplanned(ledger, model, bill, at=self.at)
        else:
            ledger, self.turn = self.books.settle(ledger, self.plan, bill, at=self.at)
        self.ledger = ledger
        self._remember(self, ledger)

    def finish(self) -> None:
        """The reply is over, or nobody reads on."""
        if self.turn is not None and not self.is_over:
            self.is_over = True
            self._add(self.turn, self.name)
            outcome = None if self.rested is None else self.rested.outcome(self.turn.actual.read, self.at)
            if outcome is not None:
                self.books.tell(outcome)
            if self.ledger is not None:
                self._rests(self, self.ledger)
