"""Somebody who asks an endpoint: the verbs that checks are written with, and a note of all that was seen.

Knows requests, time and a purse. Must not know which rule it works for, nor prices.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from secrets import token_hex
from typing import Any, Final, Protocol, TypeVar

import attrs

from convcache.conformance import exchange, models
from convcache.conformance.endpoint import Endpoint
from convcache.conformance.exchange import Body, Refusal, Reply
from convcache.conformance.outcome import CannotTell, Differs, NotRun, Sent
from convcache.conformance.words import Json, padding

_WORDS_PER_TOKEN: Final = 1.3
_LEAST_BYTES_PER_TOKEN: Final = 2
_PICTURE: Final = 1600
_DELAY: Final = 10
_BETWEEN_BATCH_LOOKS: Final = 30

A = TypeVar("A")
T = TypeVar("T", bound=Reply | tuple[Reply, list[Json]])


class Purse(Protocol):
    """Who pays."""

    def allows(self, model: str, *, prompt: int, output: int, searches: int) -> bool:
        """Whether requests of at most so many tokens and web searches may be sent."""
        ...

    def book(self, model: str, usage: Body) -> None:
        """Takes note of what was billed."""
        ...


class BottomlessPurse:
    """Pays whatever it costs."""

    def allows(self, model: str, *, prompt: int, output: int, searches: int) -> bool:
        return True

    def book(self, model: str, usage: Body) -> None:
        pass


@attrs.define(kw_only=True)
class Probe:
    """Asks one endpoint about one model.

    Args:
        endpoint: Where requests go.
        model: Which model they name unless a check says otherwise.
        purse: Who pays.
        patient: Whether real minutes may pass.
        platform: Whose rules are expected where platforms differ.
    """

    endpoint: Endpoint
    model: str = models.DEFAULT
    purse: Purse = attrs.field(factory=BottomlessPurse)
    patient: bool = False
    platform: str = "claude"
    notes: list[str] = attrs.field(factory=list)
    sent: list[Sent] = attrs.field(factory=list)

    @property
    def minimum(self) -> int:
        """The documented minimum of the model; the largest there is for one that is not documented."""
        return models.minimum(self.model) or max(models.MINIMUMS)

    @property
    def margin(self) -> float:
        """Seconds to keep from an expiry: time that is moved is exact, real time is not."""
        return 1 if self.endpoint.virtual else 10

    def guide(self, *, share: float = 1.0) -> str:
        """A text nobody ever sent before, longer than the minimum by a third (or a share of that)."""
        return f"Case {token_hex(8)}. {padding(int(self.minimum * _WORDS_PER_TOKEN * share))}."

    def send(self, messages: Sequence[Json], **fields: Any) -> Reply:
        """A request that has to succeed."""
        body = self._body(messages, fields)
        return self._told(body, exchange.sent(self.endpoint.client, body))

    def warm(self, messages: Sequence[Json], **fields: Any) -> Reply:
        """A request that has to leave something in the cache, or the check would prove nothing."""
        reply = self.send(messages, **fields)
        if not reply.cached:
            raise Differs("nothing was cached where a prefix longer than the minimum is marked")
        return reply

    def refused(self, messages: Sequence[Json], **fields: Any) -> Refusal:
        """A request that has to be refused."""
        answer = self.attempt(messages, **fields)
        if isinstance(answer, Refusal):
            return answer
        raise Differs("the request was accepted")

    def attempt(self, messages: Sequence[Json], **fields: Any) -> Reply | Refusal:
        """A request that may end either way."""
        body = self._body(messages, fields)
        answer = exchange.sent(self.endpoint.client, body)
        if isinstance(answer, Refusal):
            self._note(body, answer.status, {})
            return answer
        return self._told(body, answer)

    def stream(self, messages: Sequence[Json], **fields: Any) -> tuple[Reply, list[Json]]:
        """A streamed request: the final message and its events."""
        body = self._body(messages, fields)
        return self._told(body, exchange.streamed(self.endpoint.client, body))

    def leave_early(self, messages: Sequence[Json], **fields: Any) -> Reply:
        """A stream that is left after its first event."""
        body = self._body(messages, fields)
        return self._told(body, exchange.left_early(self.endpoint.client, body))

    def count(self, messages: Sequence[Json], **fields: Any) -> int | Refusal:
        """The tokens of a prompt as the endpoint counts them, or its refusal."""
        return exchange.counted(self.endpoint.client, {"model": self.model, "messages": messages, **fields})

    def slowly(self, seconds: float, messages: Sequence[Json], **fields: Any) -> Reply:
        """A streamed request whose response takes some time: `seconds` where time can be moved, else what it takes."""
        if not self.endpoint.virtual:
            return self.stream(messages, **fields)[0]
        (reply,) = self._delayed(seconds, [self._body(messages, fields)])
        return attrs.evolve(reply, took=seconds)

    def together(self, *requests: Body) -> list[Reply]:
        """Requests that are all under way before the first of them is answered."""
        bodies = self._bodies(requests)
        if self.endpoint.virtual:
            return self._delayed(_DELAY, bodies)
        with ThreadPoolExecutor(len(bodies)) as pool:
            asked = [pool.submit(exchange.streamed, self.endpoint.client, body) for body in bodies]
        told = _all(partial(self._answered, body, each) for body, each in zip(bodies, asked, strict=True))
        return [reply for reply, _ in told]

    def batch(self, *requests: Body) -> list[Reply]:
        """A batch, waited for; its replies in the order of its requests."""
        bodies = self._bodies(requests)
        results = exchange.batched(self.endpoint.client, bodies, lambda: self.wait(_BETWEEN_BATCH_LOOKS))
        if isinstance(results, Refusal):
            raise _refused(results)
        return _all(partial(self._batched, body, each) for body, each in zip(bodies, results, strict=True))

    def wait(self, seconds: float) -> None:
        """Lets time pass, virtual or real."""
        if not (self.endpoint.virtual or self.patient):
            raise NotRun(f"takes {seconds:.0f} real seconds of waiting; --slow allows them")
        self.endpoint.let_pass(max(0.0, seconds))

    def expect(self, what: str, observed: object, expected: object) -> None:
        """Holds what was observed against what the rule says."""
        self.notes.append(f"{what}: {observed}")
        if observed != expected:
            raise Differs(f"{what}: {observed}, not {expected}")

    def _body(self, messages: Sequence[Json], fields: Json) -> Json:
        return self._bodies([{**fields, "messages": messages}])[0]

    def _bodies(self, requests: Sequence[Body]) -> list[Json]:
        """Whole request bodies, all of which can be paid for."""
        bodies = [{"model": self.model, "max_tokens": 16, **request} for request in requests]
        affordable = self.purse.allows(
            bodies[0]["model"],
            prompt=sum(at_most(body) for body in bodies),
            output=sum(body["max_tokens"] for body in bodies),
            searches=sum(tool.get("max_uses", 0) for body in bodies for tool in body.get("tools") or ()),
        )
        if not affordable:
            raise NotRun("the next request could cost more than is left")
        return bodies

    def _delayed(self, seconds: float, bodies: Sequence[Json]) -> list[Reply]:
        """Sends requests at once, lets the time pass that their answers take, and collects them."""
        self.endpoint.steer("faults", {"faults": [{"delay": seconds}] * len(bodies)})
        before = self.endpoint.received()
        with ThreadPoolExecutor(len(bodies)) as pool:
            asked = [pool.submit(exchange.sent, self.endpoint.client, body) for body in bodies]
            self.endpoint.until_received(before + len(bodies))
            self.endpoint.let_pass(seconds)
        return _all(partial(self._answered, body, each) for body, each in zip(bodies, asked, strict=True))

    def _answered(self, body: Json, asked: "Future[T | Refusal]") -> T:
        return self._told(body, asked.result())

    def _batched(self, body: Json, result: Body) -> Reply:
        if result.get("type") != "succeeded":
            raise CannotTell(f"a request of a batch ended with {result.get('type') or 'nothing'}")
        return self._told(body, Reply(message=result["message"]), path="/v1/messages/batches")

    def _told(self, body: Json, answer: T | Refusal, path: str = "/v1/messages") -> T:
        """Books a reply; a refusal ends the check."""
        if isinstance(answer, Refusal):
            self._note(body, answer.status, {})
            raise _refused(answer)
        reply: Reply = answer[0] if isinstance(answer, tuple) else answer
        self.purse.book(body["model"], reply.usage)
        self._note(body, 200, reply.usage, path)
        return answer

    def _note(self, body: Json, status: int, usage: Body, path: str = "/v1/messages") -> None:
        self.sent.append(Sent(path=path, model=body["model"], status=status, usage=usage))


def _all(answers: Iterable[Callable[[], A]]) -> list[A]:
    """Takes every answer, so that each reply is booked, before the first failure among them is raised."""
    taken, failures = list[A](), list[Exception]()
    for answer in answers:
        try:
            taken.append(answer())
        except Exception as failure:  # noqa: BLE001 - raised below
            failures.append(failure)
    if failures:
        raise failures[0]
    return taken


def _refused(refusal: Refusal) -> CannotTell:
    return CannotTell(f"refused with {refusal.status}: {refusal.text}")


def at_most(body: Body) -> int:
    """More tokens than a request can have, from its bytes."""
    rendered = json.dumps(body, default=str)
    return len(rendered) // _LEAST_BYTES_PER_TOKEN + rendered.count('"image"') * _PICTURE
