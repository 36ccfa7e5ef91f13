"""A running emulator per test, reached over HTTP by the SDK, and words for talking to it."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import anthropic
import attrs
import httpx2
import pytest

from convcache.emulator import Emulator, EmulatorServer, Settings, VirtualClock

MODEL = "claude-opus-4-8"


def words(block: dict[str, Any]) -> int:
    """A token counter that a test can count along with: one token a word."""
    if block.get("type") == "tool_result":
        content = block.get("content") or ""
        return len(content.split()) if isinstance(content, str) else sum(words(part) for part in content)
    if block.get("type") in ("tool_use", "image"):
        return 1
    return len(str(block.get("text") or block.get("thinking") or block.get("description") or "x").split())


@attrs.frozen
class Api:
    """An emulator, the client that talks to it, and the questions tests ask."""

    emulator: Emulator
    url: str
    http: httpx2.Client
    client: anthropic.Anthropic

    def send(self, messages: Any, **body: Any) -> anthropic.types.Message:
        """One request through the SDK."""
        messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return self.client.messages.create(
                **{"model": MODEL, "max_tokens": 50, "messages": messages, **body}
            )

    def billed(self, messages: Any, **body: Any) -> tuple[int, int, int]:
        """Read, written and uncached tokens of one request."""
        usage = self.send(messages, **body).usage
        return usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens

    def raw(self, body: Any, *, path: str = "/v1/messages", **request: Any) -> httpx2.Response:
        """One request as no SDK would send it."""
        headers = request.pop("headers", {"x-api-key": "key"})
        if isinstance(body, dict):
            body = {"model": MODEL, "max_tokens": 50, **body}
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        return self.http.post(self.url + path, headers=headers, **content, **request)

    def refused(self, messages: Any, **body: Any) -> str:
        """The text of the 400 that a request meets."""
        response = self.raw({"messages": messages, **body})
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
        return response.json()["error"]["message"]

    def pass_time(self, **time: float) -> None:
        self.emulator.clock.advance(timedelta(**time))

    def control(self, name: str, body: Any = None) -> httpx2.Response:
        url = f"{self.url}/_emulator/{name}"
        return self.http.get(url) if body is None else self.http.post(url, json=body)


@pytest.fixture(scope="session")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=20, verify=False) as client:
        yield client


@pytest.fixture
def emulated(http: httpx2.Client) -> Iterator[Callable[..., Api]]:
    """Starts an emulator with a virtual clock that counts words and caches everything, unless told otherwise."""
    with ExitStack() as stack:

        def start(
            *, count_tokens: Any = words, replies: Any = None, clock: Any = None, **settings: Any
        ) -> Api:
            settings = {"minimum": 0, **settings}
            emulator = Emulator(
                Settings(**settings),
                clock=clock or VirtualClock(),
                replies=replies,
                count_tokens=count_tokens,
            )
            url = stack.enter_context(EmulatorServer(emulator)).url
            client = anthropic.Anthropic(api_key="key", base_url=url, http_client=http, max_retries=0)
            return Api(emulator, url, http, client)

        yield start


@pytest.fixture
def api(emulated: Callable[..., Api]) -> Api:
    return emulated()
