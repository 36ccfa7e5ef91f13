"""Planning and booking, as `Conversation` and `CacheMiddleware` share them: one set of books for each scope.

Coordination fails open: trouble here is an event, and the request goes out as its caller wrote it. Sends nothing.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from convcache import observe
from convcache.core.blocks import Ttl
from convcache.core.catalog import Platform, model
from convcache.core.diagnosis import CLEARED_CONTENT, invalidation
from convcache.core.events import (
    BreakpointsRefused,
    CacheInvalidated,
    ContextNearlyFull,
    Event,
    HeadroomExceeded,
    HeadUnstable,
    HelperFailed,
    ModelUnknown,
    Step,
    Turn,
    TurnSettled,
)
from convcache.core.ledger import Ledger
from convcache.core.node import CountTokens
from convcache.core.planner import Breakpoint, Landmarks, Plan, tail_of
from convcache.core.policy import Policy
from convcache.core.prompt import BYTES_PER_TOKEN, Prompt
from convcache.core.usage import Bill, Usage
from convcache.core.volatile import volatile
from convcache.errors import InvalidationRefusedError
from convcache.scope import Headroom, Scope

Clock = Callable[[], datetime]
"""Gives the time as an aware datetime."""

OnEvent = Callable[[Event], None]
"""Takes what happened; see `convcache.core.events`."""


RATE_LIMITED: Final = 429

REFUSING_STATUSES: Final = frozenset({400, 403})
"""With what a server refuses breakpoints; 403 is how Bedrock refuses an account or a model."""


def utc_now() -> datetime:
    """The time, in UTC: the clock of the shells unless they are given another."""
    return datetime.now(UTC)


def is_off() -> bool:
    """Whether `CONVCACHE=off` is set, which turns everything off without a deploy."""
    return os.environ.get("CONVCACHE", "").lower() == "off"


_left_alone: ContextVar[bool] = ContextVar("convcache_left_alone", default=False)


class left_alone:  # noqa: N801 - a block
    """Requests sent in this block are planned already: a `CacheMiddleware` on their client leaves them alone."""

    def __enter__(self) -> None:
        self._token = _left_alone.set(True)

    def __exit__(self, *_: object) -> None:
        _left_alone.reset(self._token)


def is_left_alone() -> bool:
    """Whether the request in hand is planned already."""
    return _left_alone.get()


def _refusal(request: dict[str, Any]) -> str:
    model_id = str(request["model"])
    return f"{model_id} in a thread" if request.get("thread") else model_id


def _is_tight(plan: Plan, reply: int) -> bool:
    window = plan.prompt.model.window
    return window is not None and plan.forecast.prompt + reply > window


@attrs.frozen
class SentHead:
    """Tools and system of a request that was planned.

    Attributes:
        digests: Name both.
        parts: Both, as they were sent.
    """

    digests: tuple[bytes, bytes]
    parts: Mapping[str, Any]

    @classmethod
    def of(cls, request: Mapping[str, Any], prompt: Prompt) -> "SentHead":
        """Those of a request."""
        parts = {name: request[name] for name in ("tools", "system") if name in request}
        return cls((prompt.fields["tools"], prompt.fields["system"]), parts)


@attrs.frozen(kw_only=True)
class Books:
    """Plans requests and books their bills.

    Attributes:
        scope: What is known of the cache.
        policy: What the user chose.
        rules: Whose lookback rules hold; told from the model's id if `None`.
        count: Counts the tokens of a block; estimated if `None`.
        on_event: Told of what happened.
    """

    scope: Scope
    policy: Policy
    rules: Platform | None = None
    count: CountTokens | None = None
    on_event: OnEvent = observe.emit

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.policy, Policy):
            raise TypeError(f"policy is a Policy(...), not {self.policy!r}")

    def opened(self) -> Ledger:
        """A ledger for a new conversation."""
        return Ledger(counts=self.count is not None)

    def prompt(
        self,
        request: dict[str, Any],
        ledger: Ledger | None = None,
        *,
        grown_from: Prompt | None = None,
        known: int | None = None,
        is_followed: bool = False,
    ) -> Prompt | None:
        """A request as the cache sees it; `None` if it is not to be touched or cannot be read.

        Args:
            request: The request.
            ledger: The books of its conversation, where they are known.
            grown_from: The prompt of an earlier request of the conversation.
            known: How many messages are the same in both, where that was found out.
            is_followed: Whether the next request of its conversation has to be known by what was said.
        """
        if is_off() or (self.scope.refused and _refusal(request) in self.scope.refused):
            return None
        with self.failing_open("planning"):
            return Prompt.of(
                request,
                grown_from=grown_from,
                known=known,
                is_followed=is_followed,
                heads=self.scope.heads,
                rules=self.rules,
                count=self.count,
                bytes_per_token=BYTES_PER_TOKEN if ledger is None else ledger.bytes_per_token,
            )
        return None

    def placed(
        self,
        request: dict[str, Any],
        prompt: Prompt,
        ledger: Ledger,
        *,
        at: datetime,
        landmarks: Landmarks,
        lifetime: Callable[[Plan], Ttl | None] | None = None,
        is_certain: bool = True,
        is_told: bool = False,
    ) -> tuple[Plan | None, dict[str, Any]]:
        """The plan of a request, and the request with its breakpoints; no plan if it goes out as it is.

        Args:
            request: The request.
            prompt: The same as the cache sees it.
            ledger: The books of its conversation.
            at: When it starts.
            landmarks: What is known of its conversation.
            lifetime: How long the tail should live, told from the plan with the landmarks' lifetime.
            is_certain: Whether it is known, not only likely, that it belongs to this conversation.
            is_told: Whether it was planned before, so that there is nothing new to tell of it.

        Raises:
            InvalidationRefusedError: It throws a warm cache away, and the policy refuses that.
        """
        with self.failing_open("planning"):
            plan = self.planned(request, prompt, ledger, at=at, landmarks=landmarks)
            chosen = landmarks.lifetime if lifetime is None else lifetime(plan)
            if chosen != landmarks.lifetime:
                landmarks = attrs.evolve(landmarks, lifetime=chosen)
                plan = self.planned(request, prompt, ledger, at=at, landmarks=landmarks)
            if _is_tight(plan, int(request.get("max_tokens") or 0)):
                plan = attrs.evolve(plan, is_tight=True)
            body = request if self.policy.observing else plan.marked(request)
            if not is_told:
                self._watch_the_window(plan, ledger)
                self._watch_the_headroom(plan, at)
                self._watch_for_invalidation(plan, ledger, at, is_certain=is_certain)
            return plan, body
        return None, request

    def planned(
        self, request: dict[str, Any], prompt: Prompt, ledger: Ledger, *, at: datetime, landmarks: Landmarks
    ) -> Plan:
        """The plan of a request, of which nothing is told."""
        return ledger.plan(
            prompt,
            self.scope.warm,
            at=at,
            policy=self._policy_for(request, prompt),
            landmarks=landmarks,
            is_border=self.scope.borders.is_border,
        )

    def _watch_for_invalidation(self, plan: Plan, ledger: Ledger, at: datetime, *, is_certain: bool) -> None:
        lost = None if ledger.last is None else invalidation(ledger.last, plan, at)
        if lost is None or (lost.cost is not None and lost.cost < self.policy.min_invalidation):
            return
        asked_for_before = lost.changed == (CLEARED_CONTENT,)
        refuses = self.policy.on_invalidation == "refuse" and not self.policy.observing
        if refuses and is_certain and not asked_for_before:
            raise InvalidationRefusedError(lost.changed, lost.tokens, lost.cost)
        self.tell(CacheInvalidated(lost))

    def _watch_the_window(self, plan: Plan, ledger: Ledger) -> None:
        """Tell a request that may not fit, unless the one before it was told already."""
        window, was_tight = plan.prompt.model.window, ledger.last is not None and ledger.last.was_tight
        if window is not None and plan.is_tight and not was_tight:
            self.tell(ContextNearlyFull(plan.forecast.prompt, window))

    def _watch_the_headroom(self, plan: Plan, at: datetime) -> None:
        headroom, counted = self.scope.headroom, plan.forecast.prompt - plan.forecast.read
        if headroom is not None and at < headroom.reset and counted > headroom.remaining:
            self.tell(HeadroomExceeded(counted, headroom.remaining, headroom.reset))

    def limits_told(self, headers: Mapping[str, str]) -> None:
        """Remember what a reply says of the API's limit."""
        with self.failing_open("booking"):
            self.scope.headroom = Headroom.of(headers) or self.scope.headroom

    def compare_heads(self, before: SentHead | None, head: SentHead) -> None:
        """Tell what changes by itself between two requests of a conversation, the first time that it does."""
        if before is None or before.digests == head.digests:
            return
        with self.failing_open("planning"):
            found = volatile(before.parts, head.parts)
            if found is not None and (found.path, found.kind) not in self.scope.unstable:
                self.scope.unstable.add((found.path, found.kind))
                self.tell(HeadUnstable(found))

    def measured(self, ledger: Ledger, request: dict[str, Any], tokens: int) -> Ledger:
        """The books of a conversation after a request of its was counted."""
        prompt = self.prompt(request, ledger)
        return ledger if prompt is None else ledger.measured(prompt, tokens)

    def threaded(self, request: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
        """A request of a message thread, of which only the new messages are known, with a breakpoint at its end.
        A thread does not cache by itself. A caller who places breakpoints in threads is left to do so."""
        own = prompt.automatic is not None or len(prompt.nodes.own) > 0
        tail = tail_of(prompt.nodes)
        if own or tail is None or self.policy.observing:
            return request
        return Plan(prompt, (Breakpoint(tail, "tail", "5m"),), None, Usage()).marked(request)

    def settle(self, ledger: Ledger, plan: Plan, bill: Bill, *, at: datetime) -> tuple[Ledger, Turn | None]:
        """Book what a planned request was billed."""
        with self.failing_open("booking"):
            ledger, turn, entries = ledger.settle(plan, bill, self.scope.warm, at=at)
            self.scope.warm.record(entries)
            self.scope.borders.learn(plan.prompt.nodes)
            return ledger, turn
        return ledger, None

    def begun(self, plan: Plan, ledger: Ledger, bill: Bill, *, at: datetime) -> None:
        """The reply to a planned request has begun: what it left is warm from now on."""
        with self.failing_open("booking"):
            self.scope.warm.record(ledger.settle(plan, bill, self.scope.warm, at=at)[2])

    def settle_keep_alive(
        self, ledger: Ledger, plan: Plan, bill: Bill, *, at: datetime
    ) -> tuple[Ledger, Turn | None]:
        """Book what a keep-alive or an upgrade was billed."""
        with self.failing_open("booking"):
            ledger, turn, entries = ledger.settle_keep_alive(plan, bill, self.scope.warm, at=at)
            self.scope.warm.record(entries)
            return ledger, turn
        return ledger, None

    def settle_unplanned(
        self, ledger: Ledger, model_id: str, bill: Bill, *, at: datetime
    ) -> tuple[Ledger, Turn]:
        """Book what a request was billed that went out as its caller wrote it."""
        return ledger.settle_unplanned(model(model_id), bill, at=at)

    def settled(self, turn: Turn | None, *, kept: bool, name: str | None = None) -> None:
        """Tell that a turn is over."""
        if turn is not None:
            self.tell(TurnSettled(turn, kept, name))

    def is_about_us(self, message: str) -> bool:
        """Whether an error on a request that we changed may be about our breakpoints, so that the request is worth
        sending once more as its caller wrote it. Bedrock's says: "your request did not allow prompt caching"."""
        return "cache_control" in message or "prompt caching" in message

    def refused(self, request: dict[str, Any], message: str) -> None:
        """Remember that this was so, for the request went through without: later ones to this model go as they are;
        where it was a message thread that takes none, later ones in threads."""
        self.scope.refused.add(_refusal(request))
        self.tell(BreakpointsRefused(message))

    def failing_open(self, step: Step) -> "_FailingOpen":
        """Whatever goes wrong in this block is told, and is nobody's trouble but ours. A refusal is meant."""
        return _FailingOpen(self.tell, step)

    def tell(self, event: Event) -> None:
        """Tell what happened. Whoever watches and fails must not fail a turn."""
        with suppress(Exception):
            self.on_event(event)

    def _policy_for(self, request: dict[str, Any], prompt: Prompt) -> Policy:
        """The policy: without an hour bought from a model that nothing is known of, and without a breakpoint on the
        placeholder of a request that only pre-warms (`max_tokens: 0`), which nobody reads. A caller who asks for one
        there is keeping a conversation alive."""
        policy, name = self.policy, prompt.fields["model"]
        if request.get("max_tokens") == 0 and prompt.automatic is None:
            policy = attrs.evolve(policy, slots=policy.slots - {"tail"})
        if prompt.model.prices is not None:
            return policy
        if name not in self.scope.unknown:
            self.scope.unknown.add(name)
            self.tell(ModelUnknown(name))
        return attrs.evolve(policy, ttl="5m")


@attrs.define
class _FailingOpen:
    """A block in which what goes wrong is told."""

    tell: OnEvent
    step: Step

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception) or isinstance(error, InvalidationRefusedError):
            return False
        self.tell(HelperFailed(self.step, error))
        return True
