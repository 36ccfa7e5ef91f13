"""Replies that are read as bytes (`with_streaming_response`): booked as they pass, and the caller's as they were."""

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic

from convcache import CacheMiddleware, Policy, Usage
from convcache.core.events import Event, HelperFailed, TurnSettled
from convcache.emulator import Emulator, EmulatorServer, Fault, VirtualClock
from tests.conftest import START
from tests.words import GUIDE, MODEL, reply, text

HEAD: dict[str, Any] = {"model": MODEL, "max_tokens": 300, "system": GUIDE}
ASK = [{"role": "user", "content": "hello"}]
ENCODINGS = ["identity", "gzip", "deflate"]


def encoder(encoding: str) -> Callable[[bytes | None], bytes]:
    """Encodes chunk by chunk, each of them readable when it comes; `None` ends it."""
    if encoding == "identity":
        return lambda chunk: chunk or b""
    compressed = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)

    def encode(chunk: bytes | None) -> bytes:
        if chunk is None:
            return compressed.flush()
        return compressed.compress(chunk) + compressed.flush(zlib.Z_SYNC_FLUSH)

    return encode


class Encoded(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, body: Any, encoding: str) -> None:
        self.body, self.encode = body, encoder(encoding)

    def __iter__(self) -> Iterator[bytes]:
        yield from map(self.encode, self.body)
        yield self.encode(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self.body:
            yield self.encode(chunk)
        yield self.encode(None)

    def close(self) -> None:
        self.body.close()

    async def aclose(self) -> None:
        await self.body.aclose()


def encoded(response: httpx2.Response, encoding: str) -> httpx2.Response:
    if encoding != "identity":
        response.headers.pop("content-length", None)
        response.headers["content-encoding"] = encoding
        response.stream = Encoded(response.stream, encoding)
    return response


class Encoding(httpx2.HTTPTransport):
    """A server, or something before it, that compresses what it sends."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self.encoding = encoding

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return encoded(super().handle_request(request), self.encoding)


class AsyncEncoding(httpx2.AsyncHTTPTransport):
    def __init__(self, encoding: str) -> None:
        super().__init__()
        self.encoding = encoding

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return encoded(await super().handle_async_request(request), self.encoding)


class Listening:
    """Clients with a middleware and without, over an encoding, and all that the middleware told."""

    def __init__(self, url: str, emulator: Emulator, encoding: str = "identity") -> None:
        self.events: list[Event] = []
        # Observed, so that the replies of both are the same.
        self.middleware = CacheMiddleware(
            Policy.observe(), clock=emulator.clock.now, on_event=self.events.append
        )
        self.emulator, self.url, self.encoding = emulator, url, encoding

    def client(self, *middleware: Any) -> Anthropic:
        http_client = httpx2.Client(transport=Encoding(self.encoding))
        return Anthropic(
            base_url=self.url, api_key="x", http_client=http_client, max_retries=0, middleware=middleware
        )

    def async_client(self, *middleware: Any) -> AsyncAnthropic:
        http_client = httpx2.AsyncClient(transport=AsyncEncoding(self.encoding))
        return AsyncAnthropic(
            base_url=self.url, api_key="x", http_client=http_client, max_retries=0, middleware=middleware
        )

    @property
    def booked(self) -> list[Usage]:
        assert not [event for event in self.events if isinstance(event, HelperFailed)]
        return [event.turn.actual for event in self.events if isinstance(event, TurnSettled)]

    def assert_booked_what_was_billed(self) -> None:
        (booked,) = self.booked
        billed = self.emulator.requests[-1].usage
        assert (booked.read, booked.written, booked.prompt) == (billed.read, billed.written, billed.prompt)
        assert booked.output == billed.output > 1
        assert booked == self.middleware.usage


@pytest.fixture
def listening(url: str, emulator: Emulator) -> Listening:
    return Listening(url, emulator)


@pytest.fixture
def twins() -> Iterator[list[tuple[str, Emulator]]]:
    """Two servers that answer alike."""
    emulators = [Emulator(clock=VirtualClock(START)) for _ in range(2)]
    with EmulatorServer(emulators[0]) as one, EmulatorServer(emulators[1]) as other:
        yield [(one.url, emulators[0]), (other.url, emulators[1])]


def raw(response: Any) -> Any:
    return b"".join(response.http_response.iter_raw())


def lines(response: Any) -> Any:
    return list(response.iter_lines())


def chunks(response: Any) -> Any:
    return list(response.iter_bytes(chunk_size=100))


def words(response: Any) -> Any:
    return "".join(response.iter_text())


def read(response: Any) -> Any:
    return response.read(), response.text(), response.http_response.content


def read_twice(response: Any) -> Any:
    return response.read(), list(response.iter_lines()), response.read()


def parsed(response: Any) -> Any:
    thing = response.parse()
    return thing if response.headers["content-type"] == "application/json" else list(thing)


def object_(response: Any) -> Any:
    return response.json()


WAYS = [raw, lines, chunks, words, read, read_twice, parsed]


def view(response: Any) -> dict[str, Any]:
    """What a caller sees of a response besides its body and the ids in it."""
    reply = response.http_response
    return {
        "headers": {name: len(value) for name, value in response.headers.items()},
        "status": (response.status_code, reply.reason_phrase, response.http_version, response.is_closed),
        "read": (reply.is_stream_consumed, reply.num_bytes_downloaded > 0),
        "encoding": (reply.encoding, reply.charset_encoding),
        "asked": (response.url.path, response.method, response.http_request is reply.request),
        "retries": response.retries_taken,
        "type": (type(response), type(reply)),
    }


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("streamed", [True, False], ids=["events", "whole"])
def test_a_reply_read_as_bytes_is_the_same_to_its_caller_and_booked(twins, streamed, encoding):
    for way in WAYS if streamed else [*WAYS, object_]:
        got = []
        for (url, emulator), is_listening in zip(twins, (False, True), strict=True):
            emulator.script(reply(text("Ein längerer Satz. " * 200)))
            listening = Listening(url, emulator, encoding)
            with listening.client(*[listening.middleware] * is_listening) as client:
                create = client.messages.with_streaming_response.create
                with create(**HEAD, messages=ASK, stream=streamed) as response:
                    before = view(response)
                    body = way(response)
                assert response.elapsed.total_seconds() > 0
                got.append((before, body, view(response)))

        assert got[0] == got[1]
        listening.assert_booked_what_was_billed()


async def async_raw(response: Any) -> Any:
    return b"".join([chunk async for chunk in response.http_response.aiter_raw()])


async def async_lines(response: Any) -> Any:
    return [line async for line in response.iter_lines()]


async def async_read(response: Any) -> Any:
    return await response.read(), [chunk async for chunk in response.iter_bytes(7)]


async def async_parsed(response: Any) -> Any:
    thing = await response.parse()
    return (
        thing if response.headers["content-type"] == "application/json" else [event async for event in thing]
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("streamed", [True, False], ids=["events", "whole"])
async def test_an_async_reply_read_as_bytes_is_the_same_to_its_caller_and_booked(twins, streamed, encoding):
    for way in (async_raw, async_lines, async_read, async_parsed):
        got = []
        for (url, emulator), is_listening in zip(twins, (False, True), strict=True):
            emulator.script(reply(text("Ein längerer Satz. " * 200)))
            listening = Listening(url, emulator, encoding)
            async with listening.async_client(*[listening.middleware] * is_listening) as client:
                create = client.messages.with_streaming_response.create
                async with create(**HEAD, messages=ASK, stream=streamed) as response:
                    before = view(response)
                    body = await way(response)
                assert response.elapsed.total_seconds() > 0
                got.append((before, body, view(response)))

        assert got[0] == got[1]
        listening.assert_booked_what_was_billed()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_events_that_are_left_early_are_booked_as_far_as_they_came(url, emulator, encoding):
    listening = Listening(url, emulator, encoding)
    with (
        listening.client(listening.middleware) as client,
        client.messages.with_streaming_response.create(**HEAD, messages=ASK, stream=True) as response,
    ):
        begun = response.iter_lines()
        assert next(begun) == "event: message_start"
        assert listening.booked == []

    (booked,) = listening.booked
    assert booked.prompt == emulator.requests[0].usage.prompt


async def test_async_events_that_are_left_early_are_booked_as_far_as_they_came(listening, emulator):
    async with (
        listening.async_client(listening.middleware) as client,
        client.messages.with_streaming_response.create(**HEAD, messages=ASK, stream=True) as response,
    ):
        async for _ in response.iter_lines():
            break

    (booked,) = listening.booked
    assert booked.prompt == emulator.requests[0].usage.prompt


@pytest.mark.parametrize("streamed", [True, False], ids=["events", "whole"])
def test_a_reply_that_is_never_read_is_not_booked(listening, streamed):
    with listening.client(listening.middleware) as client:
        create = client.messages.with_streaming_response.create
        with create(**HEAD, messages=ASK, stream=streamed) as response:
            assert not response.is_closed
        assert response.is_closed

    assert listening.booked == []


def test_a_whole_body_that_is_left_early_is_not_booked(listening, emulator):
    emulator.script(reply(text("a long answer " * 20_000)))
    with (
        listening.client(listening.middleware) as client,
        client.messages.with_streaming_response.create(**HEAD, messages=ASK) as response,
    ):
        assert next(response.iter_bytes(10)).startswith(b"{")

    assert listening.booked == []


def test_reading_again_what_has_passed_is_the_error_it_was(listening):
    with (
        listening.client(listening.middleware) as client,
        client.messages.with_streaming_response.create(**HEAD, messages=ASK, stream=True) as response,
    ):
        lines(response)
        with pytest.raises(httpx2.StreamConsumed):
            lines(response)

    listening.assert_booked_what_was_billed()


@pytest.mark.parametrize("middle", [True, False], ids=["with", "without"])
def test_a_broken_connection_is_the_error_it_was(listening, emulator, middle):
    emulator.script(reply(text("a long answer " * 50)))
    emulator.fail(Fault(cut_after=3))
    with (
        listening.client(*[listening.middleware] * middle) as client,
        client.messages.with_streaming_response.create(**HEAD, messages=ASK, stream=True) as response,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        lines(response)

    assert [usage.prompt for usage in listening.booked] == [emulator.requests[0].usage.prompt] * middle


def test_a_stream_whose_bytes_are_read_past_the_sdk_is_booked(listening):
    with (
        listening.client(listening.middleware) as client,
        client.messages.create(**HEAD, messages=ASK, stream=True) as stream,
    ):
        assert any("message_stop" in line for line in stream.response.iter_lines())

    listening.assert_booked_what_was_billed()


def test_raw_responses_of_streams_are_booked(listening):
    with listening.client(listening.middleware) as client:
        response = client.messages.with_raw_response.create(**HEAD, messages=ASK, stream=True)
        lines(response)

    listening.assert_booked_what_was_billed()


def test_a_conversation_read_as_bytes_reads_what_it_wrote(url, emulator):
    placing = CacheMiddleware(clock=emulator.clock.now)
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    with Anthropic(base_url=url, api_key="x", middleware=[placing]) as client:
        for _ in range(3):
            create = client.messages.with_streaming_response.create
            with create(**HEAD, messages=messages, stream=True) as response:
                lines(response)
            messages += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": "more"}]

    usages = [request.usage for request in emulator.requests]
    assert [usage.read for usage in usages[1:]] == [usage.read + usage.written for usage in usages[:-1]]
    assert placing.usage.prompt == sum(usage.prompt for usage in usages)
