"""`CacheMiddleware`: breakpoints for any loop that sends its own requests, with no other change.

Runs inside the SDK's retry loop, once for each HTTP attempt, so it plans from the request alone and books only what
was answered. A shell: it has the clock and passes requests on; what they become is in `books`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from operator import attrgetter
from threading import Lock
from typing import Any, ClassVar, Final, cast

import attrs
from anthropic import APIRequest, APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext, Middleware
from cachetools import LRUCache

from convcache.attempt import CONVERSATION, Attempt, Lineage, Read
from convcache.books import (
    RATE_LIMITED,
    Books,
    Clock,
    OnEvent,
    SentHead,
    is_left_alone,
    utc_now,
)
from convcache.core.blocks import as_bytes
from convcache.core.catalog import Platform
from convcache.core.events import Turn
from convcache.core.ledger import Ledger
from convcache.core.node import CountTokens, Node
from convcache.core.planner import Landmarks
from convcache.core.policy import Policy
from convcache.core.prompt import Prompt
from convcache.core.seen import Seen
from convcache.core.usage import Costs, Usage
from convcache.keeper import AsyncKeeper, Keeper
from convcache.nap import AsyncNap, SyncNap
from convcache.observe import emit
from convcache.resting import Rest, speaks
from convcache.scope import Scope

MAX_REMEMBERED: Final = 20_000
"""Requests remembered, some 1 kB each, up to two keys for one. A conversation that is forgotten is planned like a new
one, and finds its entries all the same."""

MAX_HEADS: Final = 200
"""Tools and system prompts remembered, to tell what changes in them by itself."""

MAX_READ: Final = 64_000_000
"""Bytes of the latest requests that are kept with their text, so that of the next one only what is new has to be read.
A caller who holds on to a history shares its text with what is kept."""

MAX_SCOPES: Final = 100
"""Servers and workspaces behind one client: commonly one."""


@contextmanager
def conversation(name: str) -> Iterator[None]:
    """Name the conversation that requests belong to, for a `CacheMiddleware` on the client.

    Without a name, a request is taken to belong to the conversation whose last request is the longest start of it;
    a changed model or system prompt is recognised from the third request on, and told, but never refused. With one,
    it is known from the second request on.

    ```python
    with convcache.conversation("user-42"):
        client.messages.create(...)
    ```
    """
    token = CONVERSATION.set(name)
    try:
        yield
    finally:
        CONVERSATION.reset(token)


class CacheMiddleware(Middleware):
    """Places cache breakpoints in every Messages request of a client, and books what each was billed.

    Works with sync and async clients, `create`, `stream`, `parse`, the beta routes and the SDK's `tool_runner`.
    Use one for each client, outside (before) the SDK's own fallback middleware. It changes nothing in a request but
    `cache_control`, and strings of the user and of the system into the text blocks they stand for.

    Replies are booked as their caller reads them, as objects, events or bytes. Not booked are those of which nothing is
    read, whole bodies that are left before their end, and Bedrock's event streams where they are read as bytes.

    ```python
    client = Anthropic(middleware=[CacheMiddleware()])
    ```

    Attributes:
        takes_bytes: It has nothing to do with the requests of a conversation, which are planned already.
    """

    takes_bytes: ClassVar = True

    def __init__(
        self,
        policy: Policy = Policy(),
        *,
        keeper: Keeper | AsyncKeeper | None = None,
        platform: Platform | None = None,
        clock: Clock = utc_now,
        count: CountTokens | None = None,
        on_event: OnEvent = emit,
    ) -> None:
        """Make a middleware that remembers nothing yet.

        Args:
            policy: How breakpoints are placed.
            keeper: Keeps conversations warm while they rest, as long as that pays: a `Keeper` for a sync client, an
                `AsyncKeeper` for an async one. It holds the last request of each until it lapses.
            platform: Whose lookback rules hold; told from the form of the model's id if not given.
            clock: Gives the time as an aware datetime.
            count: Counts the tokens of a block, given as JSON; without it they are estimated from what was billed.
            on_event: Told of what happened (`convcache.core.events`); the default logs it.
        """
        self._books = Books(scope=Scope(), policy=policy, rules=platform, count=count, on_event=on_event)
        self._keeper = keeper
        self._scopes: LRUCache[str, Scope] = LRUCache(MAX_SCOPES)
        self._clock = clock
        self._lineages: LRUCache[str | bytes, Lineage] = LRUCache(MAX_REMEMBERED)
        self._heads: LRUCache[str | bytes, SentHead | None] = LRUCache(MAX_HEADS)
        self._read: LRUCache[bytes, Read] = LRUCache(MAX_READ, getsizeof=attrgetter("size"))
        self._lock = Lock()
        self._usage, self._costs = Usage(), Costs()

    @property
    def usage(self) -> Usage:
        """All tokens billed to requests that went through."""
        return self._usage

    @property
    def costs(self) -> Costs:
        """What they cost in dollars, and what they would have cost uncached."""
        return self._costs

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        """Pass a request on with its breakpoints; see `anthropic.Middleware`."""
        self._check_keeper(Keeper)
        attempt = self._attempt(request)
        if attempt is None:
            return call_next(request)
        attempt.call_next = call_next
        response = call_next(attempt.request)
        if not isinstance(
            response, APIResponse
        ):  # an inner middleware answered, with what the SDK would return
            return response
        if attempt.may_be_refused(response) and attempt.gives_up(said := response.read()):
            response = call_next(attempt.request)
            attempt.refused(response, said)
        attempt.books = self._books_of(response, attempt.books)
        self._note_limits(response, attempt)
        attempt.listen(response)
        return response

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> AsyncAPIResponse[Any]:
        """Pass a request on with its breakpoints; see `anthropic.Middleware`."""
        self._check_keeper(AsyncKeeper)
        attempt = self._attempt(request)
        if attempt is None:
            return await call_next(request)
        attempt.call_next = call_next
        response = await call_next(attempt.request)
        if not isinstance(response, AsyncAPIResponse):
            return response
        if attempt.may_be_refused(response) and attempt.gives_up(said := await response.read()):
            response = await call_next(attempt.request)
            attempt.refused(response, said)
        attempt.books = self._books_of(response, attempt.books)
        self._note_limits(response, attempt)
        attempt.listen(response)
        return response

    def _check_keeper(self, kind: type[Keeper | AsyncKeeper]) -> None:
        if self._keeper is not None and not isinstance(self._keeper, kind):
            raise TypeError(
                f"this client's middleware takes {kind.__name__}, not {type(self._keeper).__name__}"
            )

    def _note_limits(self, response: APIResponse[Any] | AsyncAPIResponse[Any], attempt: "Attempt") -> None:
        attempt.books.limits_told(response.headers)
        if response.status_code == RATE_LIMITED and self._keeper is not None:
            self._keeper.yield_to_others(response.headers)

    def _books_of(self, response: APIResponse[Any] | AsyncAPIResponse[Any], asked: Books) -> Books:
        """The books of the scope that answered: a server and a workspace. The first one that answers is the one that
        was asked; of what another one shares with it nothing is known."""
        with self._books.failing_open("booking"), self._lock:
            url = response.http_response.request.url
            key = f"{url.scheme}://{url.netloc.decode()} {response.headers.get('anthropic-workspace-id', '')}"
            scope = self._scopes.get(key)
            if scope is None:
                scope = self._scopes[key] = Scope() if self._scopes else self._books.scope
            return asked if asked.scope is scope else attrs.evolve(asked, scope=scope)
        return asked

    def _attempt(self, request: APIRequest) -> "Attempt | None":
        with self._books.failing_open("planning"):
            return self._planned(request) if _is_ours(request) else None
        return None

    def _planned(self, request: APIRequest) -> "Attempt":
        body, at = cast("dict[str, Any]", request.json), self._clock()
        opening = _opening(body["messages"])
        read = self._reading(body, opening)
        lineage = None if read is None or _continues_a_thread(body) else self._lineage(read.prompt)
        attempt = Attempt(
            request,
            body,
            at,
            lineage or Lineage(self._books.opened(), self._books),
            lineage.books if lineage else self._books,
            remember=self._remember,
            add=self._add,
            rests=self._rests,
            opening=opening,
            read=read,
        )
        if read is None:
            return attempt
        prompt = read.prompt
        if lineage is None:
            attempt.body = self._books.threaded(body, prompt)
            return attempt
        attempt.rested = None if lineage.nap is None else lineage.nap.ended()
        if self._keeper is not None:
            attempt.track = self._keeper.habits.came(lineage.track, at)
        lineage.books.compare_heads(*self._heads_of(body, prompt))
        if body.get("context_management"):
            # Edits begin at so many tokens, and the conversation's own bills tell those best.
            prompt = lineage.books.prompt(body, lineage.ledger, is_followed=True) or prompt
        attempt.plan, attempt.body = lineage.books.placed(
            body,
            prompt,
            lineage.ledger,
            at=at,
            landmarks=Landmarks(anchor=lineage.tail),
            is_certain=attempt.name is not None,
        )
        return attempt

    def _reading(self, body: dict[str, Any], opening: bytes) -> Read | None:
        """Read a request. What it shares with the last one of its conversation is not read again."""
        with self._lock:
            last = self._read.get(opening)
        parts, messages = (body.get("tools"), body.get("system")), body["messages"]
        head = Seen().grown(parts, 0) if last is None or last.head.begins(parts) < len(parts) else last.head
        known = 0 if last is None else last.messages.begins(messages)
        tools, system = head.items
        prompt = self._books.prompt(
            {**body, "tools": tools, "system": system},
            grown_from=None if last is None else last.prompt,
            known=known,
            is_followed=True,
        )
        if prompt is None:
            return None
        return Read(prompt, head, (Seen() if last is None else last.messages).grown(messages, known))

    def _lineage(self, prompt: Prompt) -> Lineage:
        """What is remembered of the conversation that a request goes on from."""
        with self._lock:
            if name := CONVERSATION.get():
                found = self._lineages.get(name)
            else:
                found = next(filter(None, map(self._remembered, reversed(prompt.nodes))), None)
        return found or Lineage(self._books.opened(), self._books)

    def _heads_of(self, body: dict[str, Any], prompt: Prompt) -> tuple[SentHead | None, SentHead]:
        """The head of the conversation's last request, found by its name or by what was said, and that of this one.
        Several conversations that open alike cannot be told apart by what was said."""
        head, name = SentHead.of(body, prompt), CONVERSATION.get()
        said = (node.said for node in reversed(prompt.nodes) if node.section == "messages")
        with self._lock:
            if name:
                before, self._heads[name] = self._heads.get(name), head
                return before, head
            latest = next(said, b"")
            before = next((self._heads[key] for key in said if key in self._heads), None)
            known = self._heads.get(latest, head)
            is_one = known is not None and known.digests == head.digests
            self._heads[latest] = head if is_one else None
        return before, head

    def _remembered(self, node: Node) -> Lineage | None:
        if node.section != "messages":
            return None
        return self._lineages.get(node.digest) or self._lineages.get(node.said)

    def _remember(self, attempt: "Attempt", ledger: Ledger) -> None:
        """Take what an attempt left as the state of its conversation."""
        if attempt.plan is not None and attempt.read is not None:
            prompt = attrs.evolve(attempt.plan.prompt, messages=())
            with self._lock, suppress(ValueError):  # of one that is too large
                self._read[attempt.opening] = Read(prompt, attempt.read.head, attempt.read.messages)
        tail = attempt.plan.tail if attempt.plan is not None else None
        requests = attempt.lineage.requests + 1
        lineage = Lineage(ledger, attempt.books, tail, attempt.at, requests, attempt.track, attempt.nap)
        with self._lock:
            if attempt.name is not None:
                latest = self._lineages.get(attempt.name)
                if latest is None or latest.at is None or latest.at <= attempt.at:
                    self._lineages[attempt.name] = lineage
            elif tail is not None and tail.section == "messages":
                self._lineages[tail.digest] = lineage
                # The same words under another head may be another chat that opens alike, until one has gone on.
                if lineage.requests > 1:
                    self._lineages[tail.said] = lineage

    def _rests(self, attempt: "Attempt", ledger: Ledger) -> None:
        """A conversation rests from now on: its rhythm is learned, and the keeper looks after it."""
        if self._keeper is None:
            return
        with self._books.failing_open("keeping"):
            request = cast("dict[str, Any]", attempt.original.json)
            attempt.track = self._keeper.habits.rests(
                attempt.track, attempt.meter.stop_reason, since=attempt.at, by_person=speaks(request)
            )
            rest = Rest.of(request, attempt.plan, attempt.books.scope.warm, attempt.track, started=attempt.at)
            if rest is None or self._books.policy.observing:
                return
            attempt.nap = (SyncNap if isinstance(self._keeper, Keeper) else AsyncNap)(
                rest=rest,
                original=attempt.original,
                call_next=cast("Any", attempt.call_next),
                books=attempt.books,
                ledger=ledger,
                habits=self._keeper.habits,
                caution=self._keeper.caution,
                allowance=self._keeper.budget.per_pause,
                clock=self._clock,
                add=self._count,
            )
            self._remember(attempt, ledger)
            cast("Any", self._keeper).watch(attempt.nap)

    def _add(self, turn: Turn, name: str | None) -> None:
        """Take a turn that is over into the totals."""
        self._count(turn)
        self._books.settled(turn, kept=True, name=name)

    def _count(self, turn: Turn) -> None:
        with self._lock:
            self._usage, self._costs = self._usage + turn.actual, self._costs + turn.costs


def _is_ours(request: APIRequest) -> bool:
    """Whether this is a Messages request to plan: not one that is planned already, and not one whose breakpoints
    must stay as they are, such as the retry of a refused request on credit."""
    body = request.json
    return (
        request.method.lower() == "post"
        and request.url.split("?")[0].endswith("/v1/messages")
        and isinstance(body, dict)
        and isinstance(body.get("messages"), list)
        and isinstance(body.get("model"), str)
        and not body.get("fallback_credit_token")
        and not is_left_alone()
    )


def _opening(messages: list[Any]) -> bytes:
    """Tells conversations apart by the first reply, which is seldom the same in two of them. Where it is, only what
    they share is taken over."""
    return blake2b(as_bytes(messages[:2][-1:]), digest_size=16).digest()


def _continues_a_thread(body: dict[str, Any]) -> bool:
    """Whether only the new messages of a conversation are in hand, because the server holds the others."""
    thread = body.get("thread")
    return isinstance(thread, dict) and thread.get("type") != "create"
