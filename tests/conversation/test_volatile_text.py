"""What changes by itself in the head of a prompt is named; where it belongs it costs nothing."""

from itertools import pairwise
from typing import Any

import pytest
import structlog
from anthropic import Anthropic
from structlog.testing import capture_logs

from convcache import CacheMiddleware, Conversation
from convcache.core.events import HeadUnstable
from convcache.observe import emit
from tests.words import GUIDE, MODEL, TOOL, text


def clocked(hour: int) -> str:
    return f"It is 2026-11-22T{hour:02}:15:00Z. {GUIDE}"


@pytest.fixture
def events() -> list[Any]:
    return []


def told(events: list[Any]) -> list[Any]:
    return [event.volatile for event in events if isinstance(event, HeadUnstable)]


@pytest.fixture
def configured():
    structlog.configure()
    yield
    structlog.reset_defaults()


@pytest.fixture
def chat(client, emulator, events) -> Conversation:
    return Conversation(
        client, model=MODEL, max_tokens=50, system=GUIDE, clock=emulator.clock.now, on_event=events.append
    )


def test_a_clock_in_the_system_prompt_is_named_after_two_requests(chat, events):
    for hour in (9, 10, 11):
        chat.send("hello", system=clocked(hour))

    (clock,) = told(events)
    assert (clock.path, clock.kind) == ("system[0]", "timestamp")
    assert (clock.before, clock.after) == ("2026-11-22T09:15:00Z", "2026-11-22T10:15:00Z")


@pytest.mark.parametrize("named", [True, False])
def test_so_it_is_in_a_loop_through_the_middleware(url, emulator, events, named):
    import convcache

    caching = CacheMiddleware(clock=emulator.clock.now, on_event=events.append)
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    with Anthropic(base_url=url, api_key="x", max_retries=0, middleware=[caching]) as client:
        for hour in (9, 10):
            request: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "messages": messages}
            if named:
                with convcache.conversation("user-42"):
                    answer = client.messages.create(**request, system=clocked(hour))
            else:
                answer = client.messages.create(**request, system=clocked(hour))
            messages += [
                {"role": "assistant", "content": answer.content},
                {"role": "user", "content": "more"},
            ]

    (clock,) = told(events)
    assert (clock.before, clock.after) == ("2026-11-22T09:15:00Z", "2026-11-22T10:15:00Z")


def test_users_who_open_alike_are_not_taken_for_one(url, emulator, events):
    caching = CacheMiddleware(clock=emulator.clock.now, on_event=events.append)
    with Anthropic(base_url=url, api_key="x", max_retries=0, middleware=[caching]) as client:
        chats: list[list[Any]] = [[{"role": "user", "content": "hello"}] for _ in range(4)]
        for _ in range(3):
            for number, messages in enumerate(chats):
                system = [text(GUIDE), text(f"This is user {number}, who has seen {number} offers. " * 5)]
                answer = client.messages.create(model=MODEL, max_tokens=50, system=system, messages=messages)
                messages.append({"role": "assistant", "content": answer.content})
                messages.append({"role": "user", "content": f"more of {number}"})

    assert not told(events)


def test_tools_in_another_order_are_named(chat, events):
    tools = [TOOL, {**TOOL, "name": "another"}]
    chat.send("hello", tools=tools)
    chat.send("more", tools=tools[::-1])

    (order,) = told(events)
    assert (order.path, order.kind) == ("tools", "order")


def test_moved_to_the_context_it_costs_no_hit(chat, events):
    for hour in range(9, 14):
        chat.send("hello", context=f"It is {hour:02}:15.")

    assert all(later.actual.read == before.actual.cached for before, later in pairwise(chat.turns))
    assert not told(events)


def test_a_system_prompt_that_was_rewritten_is_no_news(chat, events):
    chat.send("hello")
    chat.send("more", system="You are somebody else. " * 300)
    assert not told(events)


def test_the_log_line_has_the_place_and_not_the_words(chat, events, configured):
    for hour in (9, 10):
        chat.send("hello", system=clocked(hour))
    (event,) = [event for event in events if isinstance(event, HeadUnstable)]
    with capture_logs() as lines:
        emit(event)

    (line,) = lines
    assert (line["event"], line["path"], line["kind"]) == ("head_unstable", "system[0]", "timestamp")
    assert "2026" not in str(line)
