"""Loops of the callers' own kept warm: the middleware's keeper sends their last request once more."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic, RateLimitError

from convcache import AsyncKeeper, CacheMiddleware, Keeper
from convcache.core.events import HelperFailed, KeptWarm, WarmthEnded
from convcache.core.rhythm import Rhythm
from convcache.emulator import Emulator, EmulatorServer, Fault, SystemClock
from convcache.habits import Habits
from tests.words import GUIDE, eventually

MODEL = "claude-opus-5-5"
PACE = 120.0


def returning() -> Habits:
    rhythm = Rhythm()
    for what in ("opener", "early", "settled", "tool_use"):
        for _ in range(400):
            rhythm = rhythm.after(what, timedelta(minutes=12))
    return Habits(rhythm)


@pytest.fixture
def clock():
    return SystemClock(speed=PACE)


@pytest.fixture
def fast(clock):
    return Emulator(clock=clock)


@pytest.fixture
def server(fast):
    with EmulatorServer(fast) as server:
        yield server


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def keeper(clock, events) -> Iterator[Keeper]:
    with Keeper(habits=returning(), clock=clock.now, pace=PACE, on_event=events.append) as keeper:
        yield keeper


@pytest.fixture
def client(server, clock, keeper, events) -> Iterator[Anthropic]:
    caching = CacheMiddleware(keeper=keeper, clock=clock.now, on_event=events.append)
    with Anthropic(base_url=server.url, api_key="x", max_retries=0, middleware=[caching]) as client:
        yield client


def asked(*history: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 500, "system": GUIDE * 4, "messages": list(history)}


def keep_alives(emulator: Emulator) -> list[Any]:
    return [request for request in emulator.requests if request.body["max_tokens"] == 0]


HELLO = {"role": "user", "content": "hello"}
MORE = {"role": "user", "content": "more"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_is_kept_alive_until_it_goes_on(fast, client, events, stream):
    if stream:
        with client.messages.stream(**asked(HELLO)) as answer:
            reply = answer.get_final_message()
    else:
        reply = client.messages.create(**asked(HELLO))
    assert eventually(lambda: [event for event in events if isinstance(event, KeptWarm)])
    client.messages.create(**asked(HELLO, {"role": "assistant", "content": reply.content}, MORE))

    first, kept, second = fast.requests[:3]
    assert kept.usage.read == first.usage.written
    assert kept.usage.written == 0
    assert second.usage.read == first.usage.written
    assert [event.action for event in events if isinstance(event, KeptWarm)][:1] == ["keep_alive"]
    (ended,) = [event for event in events if isinstance(event, WarmthEnded)]
    assert ended.sent == 1
    (caching,) = client.middleware
    assert caching.usage.read >= kept.usage.read + second.usage.read


async def test_an_async_loop_too(fast, server, clock, events):
    async with AsyncKeeper(habits=returning(), clock=clock.now, pace=PACE) as keeper:
        caching = CacheMiddleware(keeper=keeper, clock=clock.now, on_event=events.append)
        async with AsyncAnthropic(base_url=server.url, api_key="x", middleware=[caching]) as client:
            await client.messages.create(**asked(HELLO))
            for _ in range(200):
                await asyncio.sleep(0.05)
                if keep_alives(fast):
                    break

    (kept,) = keep_alives(fast)[:1]
    assert kept.usage.read == fast.requests[0].usage.written


def test_the_keeper_of_the_other_colour_is_a_type_error(server):
    caching = CacheMiddleware(keeper=AsyncKeeper())
    with (
        Anthropic(base_url=server.url, api_key="x", middleware=[caching]) as client,
        pytest.raises(TypeError, match="takes Keeper, not AsyncKeeper"),
    ):
        client.messages.create(**asked(HELLO))


def test_a_429_of_the_caller_makes_the_keeper_yield(fast, client, keeper, clock):
    fast.fail(Fault(status=429, retry_after=1_000))
    with pytest.raises(RateLimitError):
        client.messages.create(**asked(HELLO))
    assert keeper._allowed_at(0, clock.now()) > clock.now() + timedelta(seconds=900)


def test_a_keep_alive_that_fails_is_told_and_not_tried_again(fast, client, events):
    client.messages.create(**asked(HELLO))
    fast.fail(Fault(status=500))
    assert eventually(lambda: [event for event in events if isinstance(event, HelperFailed)])
    time.sleep(0.5)

    assert len(keep_alives(fast)) <= 1


def test_two_conversations_of_one_client_are_kept_apart(fast, client):
    for name in ("Ada", "Bob"):
        client.messages.create(**asked({"role": "user", "content": f"I am {name}. " * 200}))
    assert eventually(lambda: len(keep_alives(fast)) >= 2)

    assert len({str(request.body["messages"]) for request in keep_alives(fast)[:2]}) == 2
    assert all(request.usage.written == 0 for request in keep_alives(fast)[:2])


def test_only_the_last_request_of_a_conversation_is_held(url, emulator):
    keeper = Keeper(habits=returning(), clock=emulator.clock.now)
    keeper.pause()
    caching = CacheMiddleware(keeper=keeper, clock=emulator.clock.now)
    messages: list[Any] = []
    with Anthropic(base_url=url, api_key="x", max_retries=0, middleware=[caching]) as client:
        for number in range(20):
            messages.append({"role": "user", "content": f"question {number}"})
            answer = client.messages.create(**asked(*messages))
            messages.append({"role": "assistant", "content": answer.content})

    naps = {id(lineage.nap): lineage.nap for lineage in caching._lineages.values() if lineage.nap is not None}
    assert len([nap for nap in naps.values() if nap.original is not None]) == 1
    keeper.close()
