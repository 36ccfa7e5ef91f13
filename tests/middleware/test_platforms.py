"""The platform clients: the same breakpoints, whatever the platform makes of the request."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from anthropic import AnthropicBedrock, AnthropicFoundry, AsyncAnthropicFoundry

from convcache import AsyncConversation, CacheMiddleware, Conversation
from convcache.emulator import Emulator, EmulatorTransport
from tests.words import GUIDE, MODEL, marked_paths

REPLY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-6",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
}


class Platform:
    """The emulator behind a platform's own address; keeps the bodies it was sent."""

    def __init__(self, emulator: Emulator) -> None:
        self.inner = EmulatorTransport(emulator)
        self.bodies: list[dict[str, Any]] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies.append(json.loads(request.content))
        headers = {"x-api-key": "x", "content-type": "application/json"}
        sent = httpx2.Request("POST", "http://api/v1/messages", headers=headers, content=request.content)
        return self.inner.handle_request(sent)


@pytest.fixture
def platform(emulator: Emulator) -> Platform:
    return Platform(emulator)


@pytest.fixture
def foundry(platform: Platform) -> Callable[..., AnthropicFoundry]:
    def made(**options: Any) -> AnthropicFoundry:
        http_client = httpx2.Client(transport=httpx2.MockTransport(platform.handle))
        return AnthropicFoundry(
            base_url="http://foundry/anthropic", api_key="x", http_client=http_client, **options
        )

    return made


def test_foundry_through_the_middleware(platform, foundry, emulator):
    client = foundry(middleware=[CacheMiddleware(clock=emulator.clock.now)])
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    for n in range(3):
        with client.messages.stream(model=MODEL, max_tokens=50, system=GUIDE, messages=messages) as stream:
            reply = stream.get_final_message()
        messages += [
            {"role": "assistant", "content": reply.content},
            {"role": "user", "content": f"more {n}"},
        ]

    assert marked_paths(platform.bodies[2]) == ["system.0", "messages.2.0", "messages.4.0"]
    assert [request.usage.read > 0 for request in emulator.requests] == [False, True, True]


def test_foundry_by_a_conversation(platform, foundry, emulator):
    conversation = Conversation(foundry(), model=MODEL, max_tokens=50, system=GUIDE, clock=emulator.clock.now)
    conversation.send("hello")
    conversation.send("more")

    assert conversation.turns[1].actual.read == conversation.turns[0].actual.written


def test_bedrock_keeps_the_breakpoints_and_counts_positions_its_own_way(emulator):
    bodies = []

    def invoke(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json={**REPLY, "usage": {"input_tokens": 5_000, "output_tokens": 1}})

    events: list[Any] = []
    client = AnthropicBedrock(
        aws_region="us-east-1",
        api_key="bearer",
        http_client=httpx2.Client(transport=httpx2.MockTransport(invoke)),
        middleware=[CacheMiddleware(clock=emulator.clock.now, on_event=events.append)],
    )
    model = "us.anthropic.claude-opus-4-6-v1"
    client.messages.create(
        model=model, max_tokens=50, system=GUIDE, messages=[{"role": "user", "content": "hello"}]
    )

    assert marked_paths(bodies[0]) == ["system.0", "messages.0.0"]
    assert [event.turn.actual.uncached for event in events] == [5_000]


def test_the_wrong_colour_of_a_platform_client_is_a_type_error(foundry):
    with pytest.raises(TypeError, match="AsyncConversation"):
        Conversation(AsyncAnthropicFoundry(base_url="http://f", api_key="x"), model=MODEL, max_tokens=5)
    with pytest.raises(TypeError, match="takes a sync"):
        AsyncConversation(foundry(), model=MODEL, max_tokens=5)
