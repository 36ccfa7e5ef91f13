"""The platform clients: the same breakpoints and books, whatever a platform makes of requests and streams.

Each runs against the emulator behind a gateway that speaks the platform's form of the API.
"""

import base64
import json
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import anthropic
import attrs
import httpx2
import pytest
from anthropic import beta_tool

from convcache import AsyncConversation, CacheMiddleware, Conversation, Policy, Turn
from convcache.core.events import BreakpointsRefused, Event, HelperFailed, TurnSettled
from convcache.emulator import Emulator, EmulatorTransport, Settings, VirtualClock
from tests.conftest import START
from tests.words import GUIDE, TOOL, call, marked_paths, reply, result, text

AWS = {"aws_access_key": "made-up", "aws_secret_key": "made-up", "aws_region": "us-east-1"}
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdefghijkl"
REFUSALS = {
    "named": (400, "system.0.cache_control: Extra inputs are not permitted"),
    "bedrock": (
        400,
        "You invoked an unsupported model or your request did not allow prompt caching. See the documentation.",
    ),
    "bedrock-403": (
        403,
        "You invoked an unsupported model or your request did not allow prompt caching. See the documentation.",
    ),
}


def frame(event: bytes) -> bytes:
    """An event of `application/vnd.amazon.eventstream`: lengths, their CRC, headers, payload, the CRC of all."""
    named = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), 7, len(value)) + value.encode()
        for name, value in named.items()
    )
    payload = json.dumps({"bytes": base64.b64encode(event).decode(), "p": "abcdefgh"}).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", crc32(whole))


def framed(reply: httpx2.Response) -> httpx2.Response:
    """A stream of server-sent events as Bedrock sends it."""
    data = re.findall(rb"^data: (.*)$", reply.read(), re.MULTILINE)
    return httpx2.Response(
        reply.status_code,
        headers={"content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "made-up"},
        stream=Pieces([frame(event) for event in data]),
    )


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def bedrock(request: httpx2.Request) -> tuple[dict[str, Any], dict[str, str]]:
    """`/model/MODEL/invoke`: the model, whether to stream and the betas are not where the API has them."""
    _, model, verb = map(unquote, request.url.raw_path.decode().strip("/").split("/"))
    body = json.loads(request.content)
    headers = {
        "anthropic-version": body.pop("anthropic_version"),
        "anthropic-beta": ",".join(body.pop("anthropic_beta", [])),
    }
    model = "anthropic.claude-opus-5" if model == PROFILE else model
    streams = {"stream": True} if verb == "invoke-with-response-stream" else {}
    return {"model": model, **body, **streams}, headers


def vertex(request: httpx2.Request) -> tuple[dict[str, Any], dict[str, str]]:
    """`.../publishers/anthropic/models/MODEL:rawPredict`."""
    model, verb = request.url.path.rsplit("/", 1)[1].split(":")
    body = json.loads(request.content)
    headers = {"anthropic-version": body.pop("anthropic_version")}
    assert verb == ("streamRawPredict" if body.get("stream") else "rawPredict")
    return {"model": model, **body}, headers


def as_it_is(request: httpx2.Request) -> tuple[dict[str, Any], dict[str, str]]:
    return json.loads(request.content), {"anthropic-version": request.headers["anthropic-version"]}


@attrs.frozen
class Place:
    """A platform: its client, how its requests read, and by whose rules its cache goes."""

    client: str
    options: dict[str, Any]
    host: str
    path: str
    rules: Any
    model: str = "claude-opus-5"
    read: Callable[[httpx2.Request], tuple[dict[str, Any], dict[str, str]]] = as_it_is
    authorization: str = "AWS4-HMAC-SHA256 Credential=made-up/"


PLACES = {
    "bedrock": Place(
        "AnthropicBedrock",
        AWS,
        "bedrock-runtime.us-east-1.amazonaws.com",
        "/model/",
        "bedrock_legacy",
        model="us.anthropic.claude-opus-5-v1:0",
        read=bedrock,
    ),
    "bedrock-mantle": Place(
        "AnthropicBedrockMantle",
        AWS,
        "bedrock-mantle.us-east-1.api.aws",
        "/anthropic/v1/messages",
        "bedrock",
        model="anthropic.claude-opus-5",
    ),
    "vertex": Place(
        "AnthropicVertex",
        {"region": "europe-west1", "project_id": "made-up", "access_token": "made-up"},
        "europe-west1-aiplatform.googleapis.com",
        "/v1/projects/made-up/locations/europe-west1/publishers/anthropic/models/claude-opus-5:",
        "vertex",
        read=vertex,
        authorization="Bearer made-up",
    ),
    "aws": Place(
        "AnthropicAWS",
        {**AWS, "workspace_id": "wrkspc_made_up"},
        "aws-external-anthropic.us-east-1.api.aws",
        "/v1/messages",
        "aws",
    ),
    "google-cloud": Place(
        "AnthropicGoogleCloud",
        {"project": "made-up", "workspace_id": "wrkspc_made_up", "token_provider": lambda: "made-up"},
        "claude.googleapis.com",
        "/v1/projects/made-up/locations/global/workspaces/wrkspc_made_up/invoke/v1/messages",
        "aws",
        authorization="Bearer made-up",
    ),
    "foundry": Place(
        "AnthropicFoundry",
        {"resource": "made-up", "api_key": "made-up"},
        "made-up.services.ai.azure.com",
        "/anthropic/v1/messages",
        "foundry",
        authorization="",
    ),
}


class Platform:
    """A platform's gateway before an emulator, and clients of it in both colours."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.emulator = Emulator(Settings(platform=place.rules), clock=VirtualClock(START))
        self.inner = EmulatorTransport(self.emulator)
        self.events: list[Event] = []
        self.middleware = self.placing()
        self.refusal: tuple[int, str] | None = None

    def placing(self, policy: Policy = Policy(), **options: Any) -> CacheMiddleware:  # noqa: B008 - a value
        return CacheMiddleware(policy, clock=self.emulator.clock.now, on_event=self.events.append, **options)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.host == self.place.host
        assert request.url.path.startswith(self.place.path)
        assert request.headers.get("authorization", "").startswith(self.place.authorization)
        body, headers = self.place.read(request)
        if self.refusal and "cache_control" in request.content.decode():
            status, message = self.refusal
            return httpx2.Response(status, json={"message": message})
        if betas := request.headers.get("anthropic-beta"):
            headers["anthropic-beta"] = betas
        headers |= {"x-api-key": "x", "content-type": "application/json"}
        sent = httpx2.Request("POST", "http://api/v1/messages", headers=headers, json=body)
        answer = self.inner.handle_request(sent)
        streams = answer.headers["content-type"].startswith("text/event-stream")
        if streams and self.place.read is bedrock:
            return framed(answer)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=Pieces([answer.read()]))

    def client(self, *middleware: Any, prefix: str = "") -> Any:
        transport = httpx2.MockTransport(self.answer)
        http_client = (httpx2.AsyncClient if prefix else httpx2.Client)(transport=transport)
        made = getattr(anthropic, prefix + self.place.client)
        return made(**self.place.options, http_client=http_client, max_retries=0, middleware=middleware)

    @property
    def head(self) -> dict[str, Any]:
        return {"model": self.place.model, "max_tokens": 300, "system": GUIDE, "tools": [TOOL]}

    @property
    def turns(self) -> list[Turn]:
        assert not [event for event in self.events if isinstance(event, HelperFailed)]
        return [event.turn for event in self.events if isinstance(event, TurnSettled)]

    def assert_each_reads_what_was_left_and_is_booked(self) -> None:
        requests = [request for request in self.emulator.requests if request.status == 200]
        usages = [request.usage for request in requests]
        left = [usage.read + usage.written for usage in usages]
        assert usages[0].written > 5_000
        assert [usage.read for usage in usages[1:]] == left[:-1]
        assert [
            (turn.actual.read, turn.actual.written, turn.actual.prompt, turn.actual.output)
            for turn in self.turns
        ] == [(usage.read, usage.written, usage.prompt, usage.output) for usage in usages]
        assert [turn.forecast.read for turn in self.turns] == [usage.read for usage in usages]


CALLS = [f"c{n}" for n in range(12)]
TURNS: list[Any] = ["hello", [result(name) for name in CALLS], "more"]


@pytest.fixture(params=PLACES)
def platform(request: pytest.FixtureRequest) -> Platform:
    platform = Platform(PLACES[request.param])
    platform.emulator.script(reply(*map(call, CALLS)), reply(text("found")), reply(text("bye")))
    return platform


def create(client: Any, **body: Any) -> Any:
    return client.messages.create(**body)


def beta(client: Any, **body: Any) -> Any:
    return client.beta.messages.create(**body, betas=["some-beta-2026-01-01"])


def stream(client: Any, **body: Any) -> Any:
    with client.messages.stream(**body) as stream:
        return stream.get_final_message()


def as_bytes(client: Any, **body: Any) -> Any:
    with client.messages.with_streaming_response.create(**body) as response:
        return response.parse()


@pytest.mark.parametrize("route", [create, beta, stream, as_bytes], ids=lambda route: route.__name__)
def test_a_plain_loop_reads_what_it_wrote_on_every_platform(platform, route):
    client = platform.client(platform.middleware)
    messages: list[Any] = []
    for content in TURNS:
        messages.append({"role": "user", "content": content})
        answer = route(client, **platform.head, messages=messages)
        messages.append({"role": "assistant", "content": answer.content})

    first, second, third = (marked_paths(request.body) for request in platform.emulator.requests)
    assert {"system.0", "messages.0.0"} <= set(first)
    assert {"messages.0.0", "messages.2.11"} <= set(second)
    assert {"messages.2.11", "messages.4.0"} <= set(third)
    platform.assert_each_reads_what_was_left_and_is_booked()


async def test_an_async_loop_reads_what_it_wrote_on_every_platform(platform):
    client = platform.client(platform.middleware, prefix="Async")
    messages: list[Any] = []
    for streams, content in zip((False, True, True), TURNS, strict=True):
        messages.append({"role": "user", "content": content})
        if streams:
            async with client.messages.stream(**platform.head, messages=messages) as stream:
                answer = await stream.get_final_message()
        else:
            answer = await client.messages.create(**platform.head, messages=messages)
        messages.append({"role": "assistant", "content": answer.content})

    platform.assert_each_reads_what_was_left_and_is_booked()


@pytest.mark.parametrize("streams", [False, True], ids=["send", "stream"])
def test_a_conversation_reads_what_it_wrote_on_every_platform(platform, streams):
    conversation = Conversation(
        platform.client(),
        **platform.head,
        clock=platform.emulator.clock.now,
        on_event=platform.events.append,
    )
    for content in TURNS:
        if streams:
            with conversation.stream(content) as stream:
                stream.until_done()
        else:
            conversation.send(content)

    platform.assert_each_reads_what_was_left_and_is_booked()


@pytest.mark.parametrize("streams", [False, True], ids=["send", "stream"])
async def test_an_async_conversation_reads_what_it_wrote_on_every_platform(platform, streams):
    conversation = AsyncConversation(
        platform.client(prefix="Async"),
        **platform.head,
        clock=platform.emulator.clock.now,
        on_event=platform.events.append,
    )
    for content in TURNS:
        if streams:
            async with conversation.stream(content) as stream:
                await stream.until_done()
        else:
            await conversation.send(content)

    platform.assert_each_reads_what_was_left_and_is_booked()


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("route", [create, stream, as_bytes], ids=lambda route: route.__name__)
def test_a_platform_that_takes_no_breakpoints_is_asked_without_and_remembered(platform, route, refusal):
    platform.refusal = REFUSALS[refusal]
    client = platform.client(platform.middleware)
    for _ in range(2):
        assert route(client, **platform.head, messages=[{"role": "user", "content": "hello"}]).content

    assert [marked_paths(request.body) for request in platform.emulator.requests] == [[], []]
    assert len([event for event in platform.events if isinstance(event, BreakpointsRefused)]) == 1
    assert [turn.actual.uncached > 5_000 for turn in platform.turns] == [True, True]


async def test_an_async_client_goes_on_where_no_breakpoints_are_taken(platform):
    platform.refusal = REFUSALS["named"]
    client = platform.client(platform.middleware, prefix="Async")
    for _ in range(2):
        messages = [{"role": "user", "content": "hello"}]
        async with client.messages.stream(**platform.head, messages=messages) as stream:
            assert (await stream.get_final_message()).content

    assert [marked_paths(request.body) for request in platform.emulator.requests] == [[], []]
    assert len([event for event in platform.events if isinstance(event, BreakpointsRefused)]) == 1


@beta_tool
def look_up(word: str) -> str:
    """Looks a word up."""
    return f"{word} " * 300


def test_the_sdks_tool_runner_reads_what_it_wrote_on_every_platform(platform):
    """In a thread where the platform has them, and with the whole history where it has none."""
    platform.emulator.reset()
    platform.emulator.script(*(reply(call(f"c{n}", word="x")) for n in range(3)), reply(text("done")))
    runner = platform.client(platform.middleware).beta.messages.tool_runner(
        **{**platform.head, "tools": [look_up]}, messages=[{"role": "user", "content": "look"}]
    )
    assert runner.until_done().content[0].text == "done"

    usages = [request.usage for request in platform.emulator.requests]
    assert len(usages) == len(platform.turns) == 4
    assert [usage.read for usage in usages[1:]] == [usage.read + usage.written for usage in usages[:-1]]
    assert [turn.actual.prompt for turn in platform.turns] == [usage.prompt for usage in usages]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_conversation_goes_on_where_no_breakpoints_are_taken(platform, refusal):
    platform.refusal = REFUSALS[refusal]
    conversation = AsyncConversation(
        platform.client(prefix="Async"), **platform.head, on_event=platform.events.append
    )
    await conversation.send("hello")
    async with conversation.stream(TURNS[1]) as stream:
        await stream.until_done()

    assert len(platform.emulator.requests) == len(conversation.turns) == 2
    assert len([event for event in platform.events if isinstance(event, BreakpointsRefused)]) == 1


def fan_out(platform: Platform, client: Any, model: str) -> None:
    """A turn of sixty blocks."""
    names = [f"d{n}" for n in range(30)]
    platform.emulator.script(reply(*map(call, names)), reply(text("found")))
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    answer = create(client, **{**platform.head, "model": model}, messages=messages)
    messages += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result(name) for name in names]},
    ]
    create(client, **{**platform.head, "model": model}, messages=messages)


@pytest.mark.parametrize(
    ("place", "model"),
    [
        ("bedrock", "us.anthropic.claude-opus-5-v1:0"),
        ("bedrock", PROFILE),
        ("bedrock-mantle", "anthropic.claude-opus-5"),
    ],
)
def test_bedrocks_ids_stand_for_its_lookback(place, model):
    """Without the anchor, what the last turn wrote is out of reach where each block is a position."""
    platform = Platform(PLACES[place])
    fan_out(platform, platform.client(platform.placing(Policy(slots={"tail"}))), model)

    assert platform.emulator.requests[1].usage.read == 0
    assert [turn.forecast.read for turn in platform.turns] == [0, 0]


def test_the_lookback_of_any_platform_can_be_told(platform):
    platform.emulator.reset()
    placing = platform.placing(Policy(slots={"tail"}), platform="bedrock")
    fan_out(platform, platform.client(placing), platform.place.model)

    assert platform.emulator.requests[1].usage.read == 0
    assert [turn.forecast.read for turn in platform.turns] == [0, 0]


def test_an_event_stream_of_bedrocks_that_is_left_early_is_booked():
    platform = Platform(PLACES["bedrock"])
    with platform.client(platform.middleware).messages.stream(
        **platform.head, messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        next(iter(stream))

    assert [turn.actual.prompt for turn in platform.turns] == [platform.emulator.requests[0].usage.prompt]


def test_the_wrong_colour_of_a_platform_client_is_a_type_error(platform):
    with pytest.raises(TypeError, match="AsyncConversation"):
        Conversation(platform.client(prefix="Async"), model="claude-opus-5", max_tokens=5)
    with pytest.raises(TypeError, match="takes a sync"):
        AsyncConversation(platform.client(), model="claude-opus-5", max_tokens=5)
