"""For tests of programs that rely on the prompt cache: `pytest_plugins = ["convcache.testing"]` loads it.

Knows the emulator's public face and what a cached prefix is made of. Must not know how the cache decides, nor how
a conversation places its breakpoints. Documented in `convcache/emulator/EMULATOR.md`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final, Self, TypeAlias

import anthropic
import httpx2
import pytest

from convcache.divergence import divergence
from convcache.emulator import Emulator, EmulatorServer, Fault, Settings, VirtualClock
from convcache.emulator.cache import Entry
from convcache.emulator.catalog import NOT_THINKING, Model, find_model
from convcache.emulator.log import Record
from convcache.emulator.salts import SALTS
from convcache.emulator.salts import Asked as Terms
from convcache.emulator.wire import Request
from convcache.errors import MissingExtraError

__all__ = [
    "AnthropicEmulator",
    "Fault",
    "Settings",
    "anthropic_emulator",
    "assert_cached",
    "assert_prefix_stable",
    "emulator_settings",
]

Asked: TypeAlias = Record | Mapping[str, Any]
"""A request: the emulator's record of it, or what `messages.create` was given as a dictionary, models and all."""

_Body: TypeAlias = Mapping[str, Any]

_MESSAGES: Final = "/v1/messages"
_OK: Final = 200
_PAUSE: Final = timedelta(seconds=1)
_REPLY: Final[_Body] = {"role": "assistant", "content": []}
"""Stands in a thread for an answer, which only the API holds."""


@pytest.fixture
def emulator_settings() -> Settings:
    """How the emulator behaves; override this fixture to choose."""
    return Settings()


@pytest.fixture
def anthropic_emulator(emulator_settings: Settings) -> "Iterator[AnthropicEmulator]":
    """The Messages API and its cache on a free port of this machine, on a clock that moves only when told."""
    with AnthropicEmulator(emulator_settings) as emulated:
        yield emulated


class AnthropicEmulator:
    """An emulator behind HTTP on a virtual clock, and the clients that talk to it.

    Args:
        settings: Platform, delays and the choices the documents leave open.

    Raises:
        MissingExtraError: The extra `[emulator]` is not installed.
    """

    def __init__(self, settings: Settings = Settings()) -> None:  # noqa: B008 - a value
        self.clock = VirtualClock()
        """Moves by `clock.advance(timedelta(...))`."""
        self.emulator = Emulator(settings, clock=self.clock)
        self._server = _server(self.emulator)
        self._clients = ExitStack()

    @property
    def url(self) -> str:
        """`base_url` for any client."""
        return self._server.url

    @property
    def requests(self) -> list[Record]:
        """Every request so far, oldest first."""
        return self.emulator.requests

    @property
    def entries(self) -> list[Entry]:
        """What is cached and alive now."""
        return self.emulator.entries

    def client(self, **options: Any) -> anthropic.Anthropic:
        """A client of the SDK, closed when the test ends. It takes no proxy from the environment.

        Args:
            **options: Whatever `anthropic.Anthropic` takes.
        """
        if "http_client" not in options:
            # The SDK's client takes proxies from the environment unless it is given a transport.
            transport = httpx2.HTTPTransport(trust_env=False)
            options["http_client"] = anthropic.DefaultHttpxClient(transport=transport, trust_env=False)
        return self._clients.enter_context(anthropic.Anthropic(**self._options(options)))

    def async_client(self, **options: Any) -> anthropic.AsyncAnthropic:
        """An async client of the SDK. It keeps no connection open, so it need not be closed, and takes no proxy.

        Args:
            **options: Whatever `anthropic.AsyncAnthropic` takes.
        """
        if "http_client" not in options:
            limits = httpx2.Limits(max_keepalive_connections=0)
            transport = httpx2.AsyncHTTPTransport(limits=limits, trust_env=False)
            options["http_client"] = anthropic.DefaultAsyncHttpxClient(transport=transport, trust_env=False)
        return anthropic.AsyncAnthropic(**self._options(options))

    def script(self, *messages: Mapping[str, Any] | str) -> None:
        """Lets the next requests be answered with these, in order.

        Args:
            *messages: Messages as the API writes them, of which `content` is enough, or plain text.
        """
        self.emulator.script(*(_message(message) for message in messages))

    def fail(self, *faults: Fault, **fault: Any) -> None:
        """Lets the next requests meet these faults, one each.

        Args:
            *faults: What goes wrong, in order.
            **fault: The fields of one more `Fault`: `fail(status=529, retry_after=0)`.
        """
        self.emulator.fail(*faults, *([Fault(**fault)] if fault else []))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._clients.close()
        self._server.stop()

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"base_url": self.url, "api_key": "emulated", **options}


def assert_prefix_stable(requests: Iterable[Asked]) -> None:
    """Asserts that each request begins with all that the request before it said, so that it can read it.

    Messages may be appended and taken back from the end. Breakpoints do not count, nor does what is never part of
    a cached prefix: deferred tools and turn-scoped system messages. Requests that were refused are passed over; one
    that continues a thread says what its thread said.

    Args:
        requests: The requests of one conversation in order: records of the emulator or request bodies.

    Raises:
        AssertionError: A request differs from the one before it; says where first, and shows both.
    """
    __tracebackhide__ = True
    bodies = _joined(_body(request) for request in requests if _counts(request))
    for number, (before, now) in enumerate(pairwise(bodies), start=2):
        found = divergence(_with_replies(before, now), now, _parameters)
        if found:
            raise AssertionError(
                f"Request {number} does not begin as request {number - 1} did: {found.path} differs.\n"
                f"  before: {found.before}\n"
                f"  now:    {found.now}"
            )


def assert_cached(requests: Iterable[Asked], *, at_least: float = 0.8) -> None:
    """Asserts that each request after the first read most of its prompt from the cache.

    Records tell what was billed. Request bodies are sent to an emulator of their own, a second apart.

    Args:
        requests: The requests of one conversation in order: records of the emulator or request bodies.
        at_least: The share of each prompt's tokens that must have been read.

    Raises:
        AssertionError: A request read less, or was refused, or there are fewer than two; lists them with tokens.
    """
    __tracebackhide__ = True
    records = _billed([request for request in requests if _counts(request)])
    if len(records) < 2:  # noqa: PLR2004 - one request has none before it
        raise AssertionError(f"It takes two requests to read from the cache; there are {len(records)}.")
    told = [
        _told(number, record)
        for number, record in enumerate(records[1:], start=2)
        if _share(record) < at_least
    ]
    if told:
        raise AssertionError(
            "\n".join([f"{len(told)} of {len(records) - 1} requests read less than {at_least:.0%}:", *told])
        )


def _server(emulator: Emulator) -> EmulatorServer:
    try:
        return EmulatorServer(emulator)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "uvicorn"
        raise MissingExtraError("emulator", missing=missing.partition(".")[0]) from error


def _message(message: Mapping[str, Any] | str) -> Mapping[str, Any]:
    return {"content": message} if isinstance(message, str) else message


def _counts(request: Asked) -> bool:
    """Whether it could leave something in the cache: a Messages request that was not refused."""
    if not isinstance(request, Record):
        return True
    return request.path == _MESSAGES and request.status == _OK


def _body(request: Asked) -> _Body:
    body: _Body = request.body if isinstance(request, Record) else _plain(request)
    return body


def _plain(value: Any) -> Any:
    """What the SDK would send: its models and tools as the dictionaries they stand for."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, anthropic.BaseModel):
        left_out = getattr(value, "__api_exclude__", None)
        return value.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude=left_out)
    return value.to_dict() if hasattr(value, "to_dict") else value


def _joined(bodies: Iterable[_Body]) -> list[_Body]:
    """Each request with what its thread held put before it."""
    whole: list[_Body] = []
    held: dict[str, _Body] = {}
    for body in bodies:
        thread = body.get("thread") or {}
        if thread.get("type") == "continue" and whole:
            before = held.setdefault(thread.get("previous_message_id", ""), whole[-1])
            whole.append(_continued(before, body))
        else:
            whole.append(body)
    return whole


def _continued(before: _Body, body: _Body) -> _Body:
    inherited = {name: before[name] for name in ("system", "tools") if name in before}
    return {**inherited, **body, "messages": [*before["messages"], _REPLY, *body["messages"]]}


def _with_replies(before: _Body, now: _Body) -> _Body:
    """The earlier request, with the answers it does not spell out taken from the later one."""
    theirs = [*now["messages"][: len(before["messages"])]]
    theirs += [_REPLY] * (len(before["messages"]) - len(theirs))
    pairs = zip(before["messages"], theirs, strict=True)
    filled = [other if mine is _REPLY and other["role"] == "assistant" else mine for mine, other in pairs]
    return {**before, "messages": filled}


def _parameters(body: _Body) -> dict[str, Any]:
    """What the prefix of a request depends on besides its blocks."""
    terms = Terms(body, _model(body), Settings(), frozenset(body.get("betas") or ()))
    salts = {salt.name: salt.of(terms) for salt in SALTS}
    # It is no part of the key, but says what is cleared from the prompt.
    return {**salts, "context_management": body.get("context_management")}


def _model(body: _Body) -> Model:
    name = str(body.get("model"))
    return find_model(name) or Model(name, minimum=0, can=frozenset({NOT_THINKING}))


def _billed(requests: Sequence[Asked]) -> list[Record]:
    emulator = Emulator(clock=VirtualClock())
    return [
        request if isinstance(request, Record) else _sent(emulator, number, request)
        for number, request in enumerate(requests, start=1)
    ]


def _sent(emulator: Emulator, number: int, asked: _Body) -> Record:
    """What an emulator makes of a body, each a second after the one before."""
    at = emulator.clock.now() + number * _PAUSE
    body = {"max_tokens": 1, **_plain(asked), "stream": False}
    betas = body.pop("betas", None) or ()
    headers = {"x-api-key": "emulated", "anthropic-beta": ",".join(betas)}
    sent = json.dumps(body).encode()
    response = emulator.receive(
        Request(method="POST", path=_MESSAGES, headers=headers, body=sent), at=at
    ).start(at)
    if response.status != _OK:
        error = json.loads(response.chunks[0].data)["error"]
        raise AssertionError(f"Request {number} is refused: {error['message']}")
    return emulator.requests[-1]


def _share(record: Record) -> float:
    return record.usage.read / max(1, record.usage.prompt)


def _told(number: int, record: Record) -> str:
    usage = record.usage
    return (
        f"  request {number}: {_share(record):.0%} read "
        f"({usage.read} read, {usage.written} written, {usage.uncached} uncached)"
    )
