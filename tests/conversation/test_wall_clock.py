"""With the clock that applications have: the shells take the time from the system unless they are given another."""

from datetime import timedelta
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from freezegun import freeze_time

from convcache import AsyncConversation, AsyncKeeper, CacheMiddleware, Conversation, Keeper, Miss
from convcache.core.events import TurnSettled
from convcache.core.rhythm import Rhythm
from convcache.habits import Habits
from tests.conftest import START
from tests.words import GUIDE, MODEL

SIX_MINUTES = timedelta(minutes=6)


@pytest.fixture
def habits() -> Habits:
    rhythm = Rhythm()
    for _ in range(400):
        rhythm = rhythm.after("opener", timedelta(minutes=9))
    return Habits(rhythm)


def test_a_conversation_and_its_keeper_go_by_the_system_clock(client, emulator, habits):
    keeper = Keeper(habits=habits)
    keeper.pause()
    with freeze_time(START) as frozen:
        chat = Conversation(client, model=MODEL, max_tokens=500, system=GUIDE * 8, keeper=keeper)
        chat.send("hello")
        assert chat.turns[0].lapses == START + timedelta(minutes=5)
        assert chat.decision.due == START + timedelta(minutes=4, seconds=45)
        frozen.tick(timedelta(minutes=4.8))
        emulator.clock.advance(timedelta(minutes=4.8))
        assert chat.keep_alive().actual.read == chat.turns[0].actual.cached
    keeper.close()


async def test_so_do_their_async_twins(async_client, emulator, habits):
    keeper = AsyncKeeper(habits=habits)
    keeper.pause()
    with freeze_time(START, real_asyncio=True) as frozen:
        chat = AsyncConversation(async_client, model=MODEL, max_tokens=500, system=GUIDE, keeper=keeper)
        await chat.send("hello")
        frozen.tick(SIX_MINUTES)
        emulator.clock.advance(SIX_MINUTES)
        await chat.send("more")
        assert chat.turns[1].miss is Miss.EXPIRED
    await keeper.close()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_the_middleware_too(url, emulator, colour):
    events: list[Any] = []
    caching = CacheMiddleware(on_event=events.append)
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "system": GUIDE}
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    with freeze_time(START, real_asyncio=True) as frozen:
        for _ in range(3):
            if colour == "sync":
                with Anthropic(base_url=url, api_key="x", middleware=[caching]) as client:
                    reply = client.messages.create(**asked, messages=messages)
            else:
                async with AsyncAnthropic(base_url=url, api_key="x", middleware=[caching]) as client:
                    reply = await client.messages.create(**asked, messages=messages)
            messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": "more"}]
            frozen.tick(SIX_MINUTES)
            emulator.clock.advance(SIX_MINUTES)

    turns = [event.turn for event in events if isinstance(event, TurnSettled)]
    assert [turn.miss for turn in turns] == [None, Miss.EXPIRED, Miss.EXPIRED]
    assert [turn.forecast.read for turn in turns] == [turn.actual.read for turn in turns] == [0, 0, 0]
