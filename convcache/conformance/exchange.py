"""One request through the SDK and what came back: a reply with its bill, or a refusal.

Knows the SDK and the shape of messages and errors. Must not know rules nor who pays.
"""

import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import attrs
from anthropic import Anthropic, APIStatusError

Body = Mapping[str, Any]

_OPTIONS: Final = frozenset({"betas", "headers"})
"""What travels beside the body."""
_COUNTS: Final = ("output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_SHOWN: Final = 200


@attrs.frozen(kw_only=True)
class Reply:
    """A message and what was billed for it."""

    message: Any
    """What was answered, which is a message if the endpoint does as it should."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    began: float = 0.0
    """When the first byte of the response was there, in seconds of a monotonic clock."""
    took: float = 0.0
    """Seconds from its request to its end."""

    @property
    def id(self) -> str:
        return str(self.message["id"])

    @property
    def content(self) -> list[dict[str, Any]]:
        return list(self.message["content"])

    @property
    def usage(self) -> Mapping[str, Any]:
        """What was billed.

        Raises:
            ValueError: The endpoint does not say, or not in numbers.
        """
        usage = self.message.get("usage") if isinstance(self.message, Mapping) else None
        if not isinstance(usage, Mapping) or not _is_bill(usage):
            raise ValueError(f"the reply has no usage that can be read: {json.dumps(self.message)[:_SHOWN]}")
        return usage

    @property
    def read(self) -> int:
        return self.usage.get("cache_read_input_tokens") or 0

    @property
    def written(self) -> int:
        return self.usage.get("cache_creation_input_tokens") or 0

    @property
    def short(self) -> int:
        """Written for five minutes."""
        return self._split("ephemeral_5m_input_tokens")

    @property
    def long(self) -> int:
        """Written for an hour."""
        return self._split("ephemeral_1h_input_tokens")

    @property
    def uncached(self) -> int:
        return int(self.usage["input_tokens"])

    @property
    def cached(self) -> int:
        """Everything up to the last breakpoint: what a same request would read now."""
        return self.read + self.written

    @property
    def prompt(self) -> int:
        return self.cached + self.uncached

    def _split(self, ttl: str) -> int:
        return (self.usage.get("cache_creation") or {}).get(ttl) or 0


@attrs.frozen(kw_only=True)
class Refusal:
    """An error response."""

    status: int
    type: str
    text: str


def sent(client: Anthropic, body: Body) -> Reply | Refusal:
    """Sends one request through the SDK."""
    messages: Any = client.beta.messages if body.get("betas") else client.messages
    started = time.perf_counter()
    try:
        raw = messages.with_raw_response.create(**_arguments(messages, body))
    except APIStatusError as error:
        return refusal(error)
    raw.parse()
    now = time.perf_counter()
    return Reply(message=json.loads(raw.text()), headers=dict(raw.headers), began=now, took=now - started)


def streamed(client: Anthropic, body: Body) -> tuple[Reply, list[dict[str, Any]]] | Refusal:
    """Sends one request through the SDK's stream helper; the final message and the raw events."""
    messages: Any = client.beta.messages if body.get("betas") else client.messages
    started, began, events = time.perf_counter(), 0.0, list[dict[str, Any]]()
    try:
        with messages.stream(**_arguments(messages, body)) as stream:
            for event in stream:
                began = began or time.perf_counter()
                events.append(event.to_dict())
            final = stream.get_final_message()
    except APIStatusError as error:
        return refusal(error)
    took = time.perf_counter() - started
    return Reply(message=final.to_dict(), began=began, took=took), events


def left_early(client: Anthropic, body: Body) -> Reply | Refusal:
    """Sends one request as a stream and hangs up after its first event."""
    try:
        with client.messages.create(**_arguments(client.messages, body), stream=True) as stream:
            first = next(iter(stream))
    except APIStatusError as error:
        return refusal(error)
    return Reply(message=first.to_dict()["message"])


def counted(client: Anthropic, body: Body) -> int | Refusal:
    """The tokens of a prompt, as the endpoint counts them."""
    counter: Any = client.beta.messages if body.get("betas") else client.messages
    try:
        return int(counter.count_tokens(**body).input_tokens)
    except APIStatusError as error:
        return refusal(error)


def batched(
    client: Anthropic, bodies: Sequence[Body], wait: Callable[[], None]
) -> list[Mapping[str, Any]] | Refusal:
    """Sends a batch, waits until it has ended, and gives each body's result; an empty one where there is none."""
    batches: Any = client.messages.batches
    try:
        batch = batches.create(
            requests=[{"custom_id": str(n), "params": body} for n, body in enumerate(bodies)]
        )
        while batches.retrieve(batch.id).processing_status != "ended":
            wait()
        results = {line.custom_id: line.result.to_dict() for line in batches.results(batch.id)}
    except APIStatusError as error:
        return refusal(error)
    return [results.get(str(n), {}) for n in range(len(bodies))]


def refusal(error: APIStatusError) -> Refusal:
    body = error.body if isinstance(error.body, dict) else {}
    told = body.get("error") if isinstance(body.get("error"), dict) else {}
    return Refusal(
        status=error.status_code,
        type=str(told.get("type") if told else ""),
        text=str(told.get("message") if told else error),
    )


def _is_bill(usage: Mapping[str, Any]) -> bool:
    counts = [usage.get("input_tokens"), *(usage.get(name) or 0 for name in _COUNTS)]
    return all(isinstance(count, int) and count >= 0 for count in counts)


def _arguments(messages: Any, body: Body) -> dict[str, Any]:
    """The arguments of the SDK's method; fields it does not name go in as extra ones."""
    known = _parameters(type(messages).create)
    given = {key: value for key, value in body.items() if key in known}
    extra = {key: value for key, value in body.items() if key not in known and key not in _OPTIONS}
    return {**given, "extra_body": extra or None, "extra_headers": body.get("headers")}


@cache
def _parameters(method: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(method).parameters)
