"""The API at its limit: told before a request runs into it, and not made worse by writing the same again."""

from datetime import timedelta
from typing import Any

import pytest
from anthropic import Anthropic, RateLimitError

from convcache import Conversation, Keeper
from convcache.core.events import HeadroomExceeded
from convcache.emulator import Emulator, EmulatorServer, Fault, Settings, VirtualClock
from convcache.emulator.tokens import estimated_tokens
from tests.conftest import START
from tests.words import GUIDE, MODEL


@pytest.fixture
def events() -> list[Any]:
    return []


def opened(client, emulator, events, **options: Any) -> Conversation:
    given = {"model": MODEL, "max_tokens": 50, "system": GUIDE, **options}
    return Conversation(
        client, clock=emulator.clock.now, count=estimated_tokens, on_event=events.append, **given
    )


def test_a_cold_write_that_exceeds_the_headroom_is_announced(events):
    emulator = Emulator(Settings(input_tokens_per_minute=8_000), clock=VirtualClock(START))
    with (
        EmulatorServer(emulator) as server,
        Anthropic(base_url=server.url, api_key="x", max_retries=0) as client,
    ):
        with opened(client, emulator, events).stream("hello") as stream:
            stream.until_done()
        assert not events or not [event for event in events if isinstance(event, HeadroomExceeded)]
        with pytest.raises(RateLimitError):
            opened(client, emulator, events, system=f"Another one. {GUIDE}").send("hello")

    (told,) = [event for event in events if isinstance(event, HeadroomExceeded)]
    assert told.tokens > 5_000 > told.remaining


@pytest.mark.parametrize("told", [True, False])
def test_under_a_long_back_off_what_is_written_lives_an_hour(client, emulator, events, told):
    chat = opened(client, emulator, events)
    chat.send("hello")
    emulator.clock.advance(timedelta(minutes=6))
    emulator.fail(Fault(status=429, retry_after=400 if told else 10))
    with pytest.raises(RateLimitError):
        chat.send("more")
    emulator.clock.advance(timedelta(seconds=400))
    chat.send("more")
    chat.send("and more")

    assert chat.turns[1].actual.written_1h > 5_000
    assert chat.turns[2].actual.written_1h == 0


def test_a_429_of_a_turn_makes_the_keeper_yield(client, emulator, events):
    keeper = Keeper(clock=emulator.clock.now)
    chat = opened(client, emulator, events, keeper=keeper)
    emulator.fail(Fault(status=429, retry_after=100))
    with pytest.raises(RateLimitError):
        chat.send("hello")

    assert keeper._allowed_at(0, emulator.clock.now()) == emulator.clock.now() + timedelta(seconds=100)
    keeper.close()
