"""What the server clears or summarises by itself: forecast to the token, paid once, and told."""

from typing import Any

import pytest

from convcache import CacheMiddleware, Conversation, Miss
from convcache.core.events import CacheInvalidated, TurnSettled
from convcache.emulator.tokens import estimated_tokens
from tests.words import GUIDE, MODEL, TOOL, call, reply, result, thinking

BETAS = ["context-management-2025-06-27", "compact-2026-01-12", "compact-2026-09-04"]


def cleared(**more: Any) -> dict[str, Any]:
    trigger = {"type": "tool_uses", "value": 4}
    return {"edits": [{"type": "clear_tool_uses_20250919", "trigger": trigger, **more}]}


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def chat(client, emulator, events) -> Conversation:
    return Conversation(
        client,
        model=MODEL,
        max_tokens=500,
        system=GUIDE,
        tools=[TOOL],
        betas=BETAS,
        clock=emulator.clock.now,
        count=estimated_tokens,
        on_event=events.append,
    )


def loop(chat, emulator, calls: int, *, words: str = "found ", thinks: bool = False, start: int = 0) -> None:
    """So many rounds of one tool call, then an answer."""
    content: Any = "look these up"
    for number in range(start, start + calls):
        thought = [thinking(f"let me see {number}")] if thinks else []
        emulator.script(reply(*thought, call(f"call{number}")))
        chat.send(content)
        content = [result(f"call{number}", words * 200)]
    chat.send(content)


def forecasts_are_bills(chat) -> bool:
    return all(
        turn.forecast.prompt == turn.actual.prompt and turn.forecast.read == turn.actual.read
        for turn in chat.turns
    )


def test_cleared_tool_results_are_forecast_to_the_token(chat, emulator):
    chat.update(context_management=cleared())
    loop(chat, emulator, 10)

    assert forecasts_are_bills(chat)
    assert len([turn for turn in chat.turns if turn.miss is Miss.CONTEXT_EDITED]) == 6


def test_what_stands_before_the_next_result_to_be_cleared_stays_read(chat, emulator):
    """Each round clears one more result; all before the clearing of the round before is read all the same."""
    chat.update(context_management=cleared())
    loop(chat, emulator, 30)

    *_, before, last = chat.turns
    head = chat.turns[0].actual.cached
    # All but three whole results, and the calls between them.
    assert before.actual.cached - last.actual.read < 3 * 320 + 100
    assert last.actual.read > head + 300


def test_a_clearing_is_priced_before_it_is_sent(chat, emulator, events):
    chat.update(context_management=cleared())
    loop(chat, emulator, 5, words="found and found and found again ")

    (event,) = [event for event in events if isinstance(event, CacheInvalidated)]
    assert event.invalidation.changed == ("cleared content",)


def test_thinking_that_an_edit_clears_is_forecast_to_the_token(chat, emulator):
    keep = {"type": "thinking_turns", "value": 1}
    chat.update(context_management={"edits": [{"type": "clear_thinking_20251015", "keep": keep}]})
    for number in range(4):
        loop(chat, emulator, 3, thinks=True, start=10 * number)

    assert forecasts_are_bills(chat)
    assert Miss.CONTEXT_EDITED in [turn.miss for turn in chat.turns]


def test_a_conversation_that_grew_too_long_goes_on_from_its_summary(chat, emulator):
    trigger = {"type": "input_tokens", "value": 50_000}
    chat.update(context_management={"edits": [{"type": "compact_20260112", "trigger": trigger}]})
    chat.send("word " * 60_000)
    assert chat.messages[-1]["content"][0]["type"] == "compaction"
    chat.send("go on")
    chat.send("and on")

    _, summarised, later = chat.turns
    assert summarised.miss is Miss.CONTEXT_EDITED
    assert summarised.actual.prompt < 10_000
    assert later.miss is None
    # The bill of the first turn has two parts: the long prompt, which was forecast, and the short one after it.
    assert [turn.forecast.prompt for turn in (summarised, later)] == [
        turn.actual.prompt for turn in (summarised, later)
    ]


def test_after_a_summary_that_was_asked_for_only_the_summary_is_sent(chat, emulator):
    chat.send("my name is Ada")
    chat.send("and yours?")
    answer = chat.send("sum it up", compaction={"type": "summarize"})
    assert answer.stop_reason == "compaction"

    chat.send("go on")
    assert [message["role"] for message in emulator.requests[-1].body["messages"]] == ["assistant", "user"]
    assert [message["role"] for message in chat.messages] == ["assistant", "user", "assistant"]
    assert forecasts_are_bills(chat)


def test_a_conversation_that_goes_on_from_the_messages_of_another_can_answer_its_summary(
    chat, client, emulator
):
    chat.send("my name is Ada")
    chat.send("sum it up", compaction={"type": "summarize"})
    later = Conversation(client, model=MODEL, max_tokens=500, betas=BETAS, messages=chat.messages)
    later.send()

    assert [message["role"] for message in later.messages] == ["assistant", "assistant"]


def test_rewinding_past_a_summary_brings_back_what_it_stood_for(chat, emulator):
    chat.send("my name is Ada")
    before = chat.messages
    chat.send("sum it up", compaction={"type": "summarize"})
    chat.send("go on")
    chat.rewind(2)

    assert chat.messages == before
    chat.send("what is my name?")
    assert len(emulator.requests[-1].body["messages"]) == 3


def test_a_loop_through_the_middleware_is_forecast_under_edits_too(url, emulator):
    from anthropic import Anthropic

    events: list[Any] = []
    caching = CacheMiddleware(clock=emulator.clock.now, count=estimated_tokens, on_event=events.append)
    messages: list[Any] = [{"role": "user", "content": "look these up"}]
    with Anthropic(base_url=url, api_key="x", max_retries=0, middleware=[caching]) as client:
        for number in range(10):
            emulator.script(reply(call(f"call{number}")))
            answer = client.beta.messages.create(
                model=MODEL, max_tokens=500, system=GUIDE, tools=[TOOL], messages=messages, betas=BETAS,
                context_management=cleared(),
            )  # fmt: skip
            messages.append({"role": "assistant", "content": answer.content})
            messages.append({"role": "user", "content": [result(f"call{number}", "found " * 200)]})

    turns = [event.turn for event in events if isinstance(event, TurnSettled)]
    assert [turn.forecast.read for turn in turns] == [turn.actual.read for turn in turns]
    assert turns[-1].actual.read > turns[-2].actual.read > turns[-3].actual.read
    assert turns[-1].miss is Miss.CONTEXT_EDITED
