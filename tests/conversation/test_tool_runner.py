"""The SDK's tool loop on a conversation: each answered request is a turn, read from the cache like any other."""

from itertools import pairwise
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, InternalServerError, beta_async_tool, beta_tool

from convcache import AsyncConversation, CacheMiddleware, Conversation, TurnInProgressError
from convcache.core.events import BreakpointsRefused, TurnSettled
from convcache.emulator import EmulatorTransport, Fault
from convcache.emulator.tokens import estimated_tokens
from tests.words import GUIDE, MODEL, call, reply, text, thinking


@beta_tool
def look_up(word: str) -> str:
    """Looks a word up."""
    return f"what {word} means " * 20


@beta_async_tool
async def look_up_later(word: str) -> str:
    """Looks a word up."""
    return f"what {word} means " * 20


@beta_tool
def spell(word: str) -> str:
    """Spells a word."""
    return " ".join(word)


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def options(emulator, events) -> dict[str, Any]:
    asked = {"model": MODEL, "max_tokens": 500, "system": GUIDE, "thinking": {"type": "adaptive"}}
    return {**asked, "clock": emulator.clock.now, "count": estimated_tokens, "on_event": events.append}


@pytest.fixture
def chat(client, options) -> Conversation:
    return Conversation(client, tools=[look_up], **options)


def script(emulator, *rounds: int, name: str = "look_up") -> None:
    """So many calls in each round, then an answer."""
    for number, calls in enumerate(rounds):
        called = [{**call(f"call{number}_{n}", word="word"), "name": name} for n in range(calls)]
        emulator.script(reply(thinking(f"round {number}"), *called))
    emulator.script(reply(thinking("done"), text("That is all.")))


def all_is_read_and_forecast(chat, emulator) -> None:
    for before, later in pairwise(chat.turns):
        assert later.actual.read == before.actual.cached
    assert all(turn.forecast.read == turn.actual.read for turn in chat.turns)
    assert all(turn.forecast.prompt == turn.actual.prompt for turn in chat.turns)
    assert [request.status for request in emulator.requests] == [200] * len(chat.turns)


ROUNDS = (1, 12, 40, 1, 1)


def test_a_loop_is_turns_that_read_all_before_them(chat, emulator):
    script(emulator, *ROUNDS)
    messages = list(chat.tool_runner("look these up"))

    assert len(messages) == len(chat.turns) == 6
    assert chat.messages[-1]["content"][-1]["text"] == "That is all."
    all_is_read_and_forecast(chat, emulator)


def test_a_streamed_loop_too(chat, emulator):
    script(emulator, *ROUNDS)
    said = []
    for stream in chat.tool_runner("look these up", stream=True):
        said.append(stream.get_final_message())

    assert len(said) == len(chat.turns) == 6
    all_is_read_and_forecast(chat, emulator)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_async_loop_too(async_client, emulator, options, stream):
    chat = AsyncConversation(async_client, tools=[look_up_later], **options)
    script(emulator, *ROUNDS, name="look_up_later")
    async for answer in chat.tool_runner("look these up", stream=stream):
        if stream:
            await answer.get_final_message()

    assert len(chat.turns) == 6
    all_is_read_and_forecast(chat, emulator)


def test_the_conversation_goes_on_after_a_loop(chat, emulator):
    chat.send("hello")
    script(emulator, 2, 1)
    chat.tool_runner("look these up").until_done()
    chat.send("thanks")
    script(emulator, 3)
    chat.tool_runner("and these").until_done()

    assert len(chat.turns) == 1 + 3 + 1 + 2
    all_is_read_and_forecast(chat, emulator)


def test_everything_goes_into_the_books_once(url, emulator, options, events):
    seen: list[Any] = []
    caching = CacheMiddleware(clock=emulator.clock.now, on_event=seen.append)
    with Anthropic(base_url=url, api_key="x", max_retries=0, middleware=[caching]) as client:
        chat = Conversation(client, tools=[look_up], **options)
        script(emulator, 1, 2)
        chat.tool_runner("look these up").until_done()

    assert len([event for event in events if isinstance(event, TurnSettled)]) == 3
    assert chat.usage.read == sum(request.usage.read for request in emulator.requests)
    assert not seen


def test_tools_that_came_in_by_the_way_are_run(chat, emulator):
    chat.send("hello")
    chat.add_tools(spell)
    emulator.script(reply({**call("a", word="cache"), "name": "spell"}))
    chat.tool_runner("spell it").until_done()

    assert "c a c h e" in str(chat.messages)
    assert {len(request.body["tools"]) for request in emulator.requests} == {1}
    all_is_read_and_forecast(chat, emulator)


def test_what_is_staged_and_the_context_go_with_the_first_request(chat, emulator):
    chat.append("one thing first")
    chat.note("The user has signed in.")
    script(emulator, 1)
    chat.tool_runner("look this up", context="It is noon.").until_done()

    assert [message["role"] for message in emulator.requests[0].body["messages"]] == [
        "user",
        "system",
        "system",
    ]
    chat.send("thanks")
    all_is_read_and_forecast(chat, emulator)


def test_a_loop_that_is_left_early_keeps_the_turns_it_had(chat, emulator):
    script(emulator, 1, 1, 1)
    for number, _ in enumerate(chat.tool_runner("look these up")):
        if number == 1:
            break

    assert len(chat.turns) == 2
    with pytest.raises(Exception, match="have no result"):
        chat.send("go on")
    chat.rewind(2)
    chat.send("something else")


def test_a_stream_of_a_loop_that_is_left_early_is_booked_and_not_kept(chat, emulator):
    for stream in chat.tool_runner("tell me", stream=True):
        next(iter(stream))
        break
    stream.close()

    assert chat.turns == ()
    assert chat.usage.written > 0


def test_a_request_that_fails_leaves_the_history_as_it_was(chat, emulator):
    chat.send("hello")
    before = chat.messages
    emulator.fail(Fault(status=500))
    with pytest.raises(InternalServerError):
        chat.tool_runner("look this up").until_done()

    assert chat.messages == before
    chat.send("more")


def test_a_loop_that_its_owner_steers_is_followed(chat, emulator):
    script(emulator, 1, 1)
    runner = chat.tool_runner("look these up")
    for number, _ in enumerate(runner):
        if number == 0:
            runner.append_messages(
                {"role": "assistant", "content": "Never mind."}, {"role": "user", "content": "hello"}
            )
            break
    for _ in runner:
        pass

    assert chat.messages[-1]["role"] == "assistant"
    chat.send("more")


def test_a_summary_in_the_loop_starts_the_history_anew(client, emulator, options):
    chat = Conversation(client, tools=[look_up], betas=["compact-2026-09-04"], **options)
    script(emulator, 1, 1)
    runner = chat.tool_runner("look these up")
    for number, message in enumerate(runner):
        if number == 0:
            runner.compact_before_next_turn()
        last = message

    assert last.content[-1].text == "That is all."
    assert chat.messages[0]["role"] == "assistant"
    chat.send("more")


def test_after_a_loop_the_conversation_is_kept_alive_by_the_same_route(client, emulator, options):
    edits = {"edits": [{"type": "clear_thinking_20251015"}]}
    betas = ["context-management-2025-06-27"]
    chat = Conversation(client, tools=[look_up], betas=betas, context_management=edits, **options)
    script(emulator, 1)
    chat.tool_runner("look this up", context="It is noon.").until_done()
    warmed = chat.keep_alive()

    assert warmed.actual.read == chat.turns[-1].actual.cached


def test_where_breakpoints_are_refused_the_loop_goes_on_without(emulator, options, events):
    inner, seen = EmulatorTransport(emulator), []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        seen.append(b"cache_control" in request.content)
        if seen[-1]:
            message = "system.0.cache_control: Extra inputs are not permitted"
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
            return httpx2.Response(400, json=error)
        return inner.handle_request(request)

    http_client = httpx2.Client(transport=httpx2.MockTransport(refuse))
    chat = Conversation(
        Anthropic(base_url="http://emulator", api_key="x", http_client=http_client),
        tools=[look_up],
        **options,
    )
    script(emulator, 1)
    chat.tool_runner("look this up").until_done()

    assert seen == [True, False, False]
    assert [type(event) for event in events if not isinstance(event, TurnSettled)] == [BreakpointsRefused]


def test_a_turn_between_is_not_lost_and_the_loop_is_told(chat, emulator):
    script(emulator, 1)
    runner = chat.tool_runner("look this up", stream=True)
    stream = next(iter(runner))
    next(iter(stream))
    emulator.script(reply(text("In between.")))
    chat.send("something else")
    with pytest.raises(TurnInProgressError):
        runner.until_done()

    assert "something else" in str(chat.messages)
    chat.send("more")
