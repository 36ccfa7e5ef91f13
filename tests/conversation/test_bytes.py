"""A long history goes to the SDK as bytes: what reaches the API is what the SDK would have written."""

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AnthropicBedrock, APIRequest, AsyncAnthropic, BadRequestError, Middleware

from convcache import AsyncConversation, CacheMiddleware, Conversation, Policy, route
from convcache.core.wire import Written
from tests.words import BLOCKS, MODEL, TOOL, text

SAID = ("text", "citations", "thinking", "redacted", "tool_use", "numbers", "server_tool", "search", "future")
ASKED = ("tool_result", "error", "image", "document", "unicode", "future")
HISTORY: list[Any] = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": [BLOCKS[kind] for kind in SAID]},
    {"role": "user", "content": [BLOCKS[kind] for kind in ASKED]},
    {"role": "assistant", "content": "a string"},
    *(
        message
        for n in range(50)
        for message in (
            {"role": "user", "content": [{**text(f"{n}"), "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [text(f"{n} it is")]},
        )
    ),
]
REPLY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "so \u2028 é"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 900},
}
EVENTS = (
    {"type": "message_start", "message": {**REPLY, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "so \u2028 é"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
)


class Api:
    """Keeps what reaches it; answers as scripted, and then as asked."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.script: list[httpx2.Response] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.script:
            return self.script.pop(0)
        if not json.loads(request.content).get("stream"):
            return httpx2.Response(200, json=REPLY)
        frames = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
        return httpx2.Response(200, text=frames, headers={"content-type": "text/event-stream"})

    async def later(self, request: httpx2.Request) -> httpx2.Response:
        return self(request)

    @property
    def bodies(self) -> list[bytes]:
        return [request.content for request in self.requests]

    def client(self, **options: Any) -> Anthropic:
        http_client = httpx2.Client(transport=httpx2.MockTransport(self))
        return Anthropic(api_key="x", http_client=http_client, **options)

    def async_client(self, **options: Any) -> AsyncAnthropic:
        http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(self.later))
        return AsyncAnthropic(api_key="x", http_client=http_client, **options)


class Watching(Middleware):
    """Sees what a request carries."""

    takes_bytes = True

    def __init__(self) -> None:
        self.seen: list[type] = []

    def handle(self, request: APIRequest, call_next: Any) -> Any:
        self.seen.append(type(request.json["messages"]))
        return call_next(request)

    async def handle_async(self, request: APIRequest, call_next: Any) -> Any:
        self.seen.append(type(request.json["messages"]))
        return await call_next(request)


class Reading(Watching):
    """Is somebody else's, and reads the JSON."""

    takes_bytes = False


@pytest.fixture
def api() -> Api:
    return Api()


def conversation(client: Any, kind: Any = Conversation, messages: Any = HISTORY, **options: Any) -> Any:
    fields = {"model": MODEL, "max_tokens": 100, "system": "Be brief. é", "tools": [TOOL]}
    return kind(client, **fields, messages=messages, **options)


async def _send(chat: Any) -> None:
    await chat.send("and é?")
    await chat.send("more")


async def _stream(chat: Any) -> None:
    for words in ("and é?", "more"):
        async with chat.stream(words) as stream:
            await stream.until_done()


def _sync_send(chat: Any) -> None:
    chat.send("and é?")
    chat.send("more")


def _sync_stream(chat: Any) -> None:
    for words in ("and é?", "more"):
        with chat.stream(words) as stream:
            stream.until_done()


@pytest.mark.parametrize("options", [{}, {"betas": ["context-1m-2025-08-07"]}], ids=["plain", "beta"])
@pytest.mark.parametrize("say", [_sync_send, _sync_stream])
def test_bytes_and_json_put_the_same_on_the_wire(api, say, options):
    watching = Watching()
    for in_bytes in (True, False):
        chat = conversation(api.client(middleware=[watching]), in_bytes=in_bytes, **options)
        say(chat)

    assert watching.seen == [Written, Written, list, list]
    assert api.bodies[:2] == api.bodies[2:]
    assert [sorted(r.headers.items()) for r in api.requests[:2]] == [
        sorted(r.headers.items()) for r in api.requests[2:]
    ]


@pytest.mark.parametrize("options", [{}, {"betas": ["context-1m-2025-08-07"]}], ids=["plain", "beta"])
@pytest.mark.parametrize("say", [_send, _stream])
async def test_so_they_do_on_an_async_client(api, say, options):
    watching = Watching()
    for in_bytes in (True, False):
        client = api.async_client(middleware=[watching])
        await say(conversation(client, AsyncConversation, in_bytes=in_bytes, **options))

    assert watching.seen == [Written, Written, list, list]
    assert api.bodies[:2] == api.bodies[2:]


def test_what_is_on_the_wire_is_the_history_with_our_breakpoints(api):
    chat = conversation(api.client())
    chat.send("and?")
    sent = json.loads(api.bodies[0])
    marks = [
        block for message in sent["messages"] for block in message["content"] if "cache_control" in block
    ]

    assert 1 <= len(marks) <= 4
    for block in marks:
        del block["cache_control"]
    assert sent["messages"] == chat.messages[:-1]


def test_retries_send_the_same_bytes(api):
    overloaded = httpx2.Response(529, json={"type": "error", "error": {}}, headers={"retry-after-ms": "1"})
    api.script = [overloaded, overloaded]
    conversation(api.client(max_retries=2)).send("and?")

    assert len(set(api.bodies)) == 1
    assert [request.headers["x-stainless-retry-count"] for request in api.requests] == ["0", "1", "2"]


def test_a_refused_breakpoint_is_taken_off_and_told_as_it_is_without_bytes(api):
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "cache_control: no"}}
    api.script = [httpx2.Response(400, json=error)]
    conversation(api.client()).send("and?")
    first, second = map(json.loads, api.bodies)

    assert first != second
    assert second["messages"][:5] == [
        {"role": "user", "content": [text("hello")]},
        *HISTORY[1:5],
    ]


def test_an_error_is_the_sdks_own(api):
    api.script = [httpx2.Response(400, json={"type": "error", "error": {"message": "no"}})]
    chat = conversation(api.client())
    with pytest.raises(BadRequestError):
        chat.send("and?")
    with pytest.raises(ValueError, match="Streaming"):
        chat.send("and?", max_tokens=60_000)

    assert chat.messages == conversation(api.client()).messages


@pytest.mark.parametrize(
    "options",
    [{"middleware": [Reading()]}, {"open_telemetry": {"traces": {"content_mode": "content"}}}],
    ids=["another middleware", "a trace of what is said"],
)
def test_who_has_to_see_the_json_sees_it(api, options):
    watching = Watching()
    conversation(api.client(**options).with_middleware(watching)).send("and?")

    assert watching.seen == [list]


def test_the_sdks_own_middleware_reads_the_json(api):
    class First(Middleware):
        def handle(self, request, call_next):
            assert all(isinstance(message, dict) for message in request.json["messages"])
            return call_next(request.copy(headers={"x-seen": "yes"}))

    conversation(api.client(middleware=[First()])).send("and?")

    assert api.requests[0].headers["x-seen"] == "yes"


def test_our_own_middleware_lets_bytes_pass(api):
    watching = Watching()
    conversation(api.client(middleware=[CacheMiddleware(), watching])).send("and?")
    conversation(api.client()).send("and?")

    assert watching.seen == [Written]
    assert api.bodies[0] == api.bodies[1]


def test_a_short_history_goes_as_json(api):
    watching = Watching()
    chat = conversation(api.client(middleware=[watching]), messages=HISTORY[4:40])
    for _ in range(3):
        chat.send("and?")

    assert watching.seen == [list, list, Written]


def test_bedrock_rewrites_the_json(api):
    http_client = httpx2.Client(transport=httpx2.MockTransport(api))
    client = AnthropicBedrock(
        aws_region="us-east-1", aws_access_key="x", aws_secret_key="x", http_client=http_client
    )
    conversation(client).send("and?")
    body = json.loads(api.bodies[0])

    assert body["anthropic_version"]
    assert "model" not in body
    assert len(body["messages"]) == len(HISTORY) + 1


def test_who_only_observes_sends_what_the_caller_wrote(api):
    conversation(api.client(), policy=Policy.observe()).send("and?")
    sent = json.loads(api.bodies[0])["messages"]

    assert sent[4]["content"] == HISTORY[4]["content"]


def test_an_sdk_without_a_place_for_bytes_is_sent_the_json(api, monkeypatch):
    place = route.derived

    def changed(request, *, content=None, body=None):
        if content is not None:
            raise TypeError("no such option")
        return place(request, body=body)

    conversation(api.client()).send("and?")
    monkeypatch.setattr(route, "derived", changed)
    conversation(api.client()).send("and?")

    assert api.bodies[0] == api.bodies[1]


def test_the_bytes_are_written_against_this_sdk():
    """`APIRequest.options` has no underscore, but its type does: a new minor version has to be looked at."""
    assert anthropic.__version__.startswith("2.12.")
    request = APIRequest(options=_options(), cast_to=dict)
    derived = route.derived(request, content=b"{}")

    assert (derived.options.content, derived.json, request.json) == (b"{}", None, {"messages": []})


def _options():
    from anthropic._models import FinalRequestOptions

    return FinalRequestOptions.construct(method="post", url="/v1/messages", json_data={"messages": []})


def test_a_client_that_was_changed_is_sent_with_as_it_is_now(api):
    client = api.client()
    chat = conversation(client)
    chat.send("and?")
    client.api_key = "another"
    chat.send("more")
    chat.send("more")

    sent = [request.headers["authorization"].removeprefix("Bearer ") for request in api.requests]
    assert sent == ["x", "another", "another"]
