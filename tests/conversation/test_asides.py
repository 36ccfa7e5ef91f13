"""What is said to the model besides what the user says: this turn's context, notes, other tools. Nothing is lost by it."""

from datetime import timedelta
from typing import Any

import pytest

from convcache import Conversation, SystemMessagesRefusedError, TooManyMessagesError
from convcache.core.events import CacheInvalidated, ContextNearlyFull
from convcache.emulator.tokens import estimated_tokens
from tests.words import GUIDE, MODEL, TOOL, call, marked_paths, reply, result, text

OLDER = "claude-opus-4-6"
"""Takes no system messages in the middle of a conversation."""

OTHER = {**TOOL, "name": "another"}


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def betas(client) -> list[str | None]:
    """The betas that each request asks for."""
    asked: list[str | None] = []
    client._client.event_hooks = {"request": [lambda sent: asked.append(sent.headers.get("anthropic-beta"))]}
    return asked


@pytest.fixture
def opened(client, emulator, events):
    def opened(**options: Any) -> Conversation:
        options = {"model": MODEL, "max_tokens": 500, "system": GUIDE, "tools": [TOOL], **options}
        counting = {"clock": emulator.clock.now, "count": estimated_tokens, "on_event": events.append}
        return Conversation(client, **options, **counting)

    return opened


def reads_all(chat) -> bool:
    """Whether every request read all that the one before it had left."""
    return all(
        later.actual.read >= before.actual.cached
        for before, later in zip(chat.turns, chat.turns[1:], strict=False)
    )


@pytest.mark.parametrize("model", [MODEL, OLDER])
def test_a_context_that_changes_each_turn_costs_no_hit(opened, model):
    plain, telling = opened(model=model), opened(model=model)
    for n in range(5):
        plain.send(f"question {n}")
        telling.send(f"question {n}", context=f"It is {n} o'clock.")

    assert reads_all(telling)
    assert reads_all(plain)


def test_a_context_goes_behind_everything_that_stays(opened, emulator):
    opened().send("hello", context="It is noon.")
    opened(model=OLDER).send("hello", context="It is noon.")
    newer, older = (request.body["messages"] for request in emulator.requests)

    assert newer[1] == {"role": "system", "content": [text("It is noon.")], "clear_at": "next_user_message"}
    assert [block["text"] for block in older[0]["content"]] == ["hello", "It is noon."]


def test_a_context_never_carries_the_breakpoint_where_it_will_be_cleared(opened, emulator):
    opened().send("hello", context="It is noon.")
    assert marked_paths(emulator.requests[-1].body) == ["system.0", "messages.0.0"]


def test_the_beta_of_a_cleared_context_is_asked_for_as_long_as_it_is_in_the_history(opened, betas):
    chat = opened(extra_headers={"anthropic-beta": "mine"})
    chat.send("hello", context="It is noon.")
    chat.send("more")
    assert betas == ["mine,mid-conversation-system-clear-at-2026-08-21"] * 2


def test_a_context_can_stand_beside_tool_results(opened, emulator):
    chat = opened()
    emulator.script(reply(call("a")))
    chat.send("look it up", context="It is noon.")
    chat.send([result("a")], context="It is one.")
    chat.send("thanks", context="It is two.")

    assert reads_all(chat)


@pytest.mark.parametrize("model", [MODEL, OLDER])
def test_a_note_leaves_everything_before_it_cached(opened, emulator, model):
    chat = opened(model=model)
    chat.send("hello " * 1_000)
    chat.note("The user has signed in.")
    chat.note("Their name is Ada.")
    chat.send("more")
    chat.send("and more")

    said = [message["role"] for message in emulator.requests[-1].body["messages"]]
    assert ("system" in said) == (model == MODEL)
    assert "Their name is Ada." in str(emulator.requests[-1].body["messages"])
    assert reads_all(chat)


def test_a_note_and_a_context_go_together_where_none_is_cleared(opened, emulator):
    chat = opened(model="anthropic.claude-opus-5")
    for n in range(3):
        chat.note(f"Note {n}.")
        chat.send(f"question {n}", context=f"It is {n} o'clock.")

    assert [message["role"] for message in chat.messages] == ["user", "system", "assistant"] * 3
    assert reads_all(chat)


def test_a_note_that_got_no_answer_is_said_again_with_the_next_turn(opened, emulator):
    chat = opened()
    chat.note("The user has signed in.")
    chat.add_tools(OTHER)
    emulator.script(reply())
    chat.send("hello", context="It is noon.")
    chat.send("are you there?")

    said = [message["role"] for message in emulator.requests[-1].body["messages"]]
    assert said == ["user", "user", "system"]
    assert "signed in" in str(chat.messages)
    assert "It is noon." not in str(chat.messages)


def test_a_note_waits_where_only_a_paused_reply_goes_on(opened, emulator):
    chat = opened(betas=["compact-2026-09-04"])
    chat.send("hello")
    chat.send("sum it up", compaction={"type": "summarize"})
    chat.note("The user has signed in.")
    chat.send()
    assert "signed in" not in str(emulator.requests[-1].body)
    chat.send("more")
    assert "signed in" in str(emulator.requests[-1].body)


def test_changes_of_tools_that_wait_are_refused_where_the_model_takes_none(opened, emulator):
    chat = opened()
    chat.send("hello")
    chat.add_tools(OTHER)
    with pytest.raises(SystemMessagesRefusedError):
        chat.send("more", model=OLDER)
    chat.send("more")

    assert len(emulator.requests) == 2


def test_behind_a_summary_any_model_can_go_on(opened):
    chat = opened(betas=["compact-2026-09-04"])
    chat.note("The user has signed in.")
    chat.send("hello")
    chat.send("sum it up", compaction={"type": "summarize"})
    chat.send("go on", model=OLDER)
    chat.rewind(2)
    with pytest.raises(SystemMessagesRefusedError):
        chat.send("go on", model=OLDER)


def test_a_note_alone_is_nothing_to_send(opened):
    chat = opened()
    chat.send("hello")
    chat.note("The user has signed in.")
    with pytest.raises(Exception, match="nothing to send"):
        chat.send()
    chat.send("more")


def test_a_call_without_its_result_is_missed_behind_a_note_too(opened, emulator):
    chat = opened()
    emulator.script(reply(call("a")))
    chat.send("look it up")
    chat.note("The user has signed in.")
    with pytest.raises(Exception, match="have no result"):
        chat.send("more")
    chat.send([result("a")])


def test_tools_come_and_go_without_losing_the_cache(opened, emulator, events, betas):
    chat = opened()
    chat.send("hello")
    chat.add_tools(OTHER)
    chat.send("now there are two")
    chat.remove_tools(TOOL["name"])
    chat.send("now there is the other")

    assert reads_all(chat)
    assert not [event for event in events if isinstance(event, CacheInvalidated)]
    assert {len(request.body["tools"]) for request in emulator.requests} == {1}
    assert betas == [None, "inline-tools-2026-09-15", "inline-tools-2026-09-15"]


def test_where_the_model_takes_no_such_changes_another_list_of_tools_is_priced_and_told(
    opened, emulator, events
):
    chat = opened(model=OLDER)
    chat.send("hello " * 3_000)
    chat.add_tools(OTHER)
    chat.send("now there are two")
    chat.remove_tools(TOOL["name"])

    assert [tool["name"] for tool in emulator.requests[-1].body["tools"]] == [TOOL["name"], "another"]
    (told,) = [event.invalidation for event in events if isinstance(event, CacheInvalidated)]
    assert told.changed == ("tools",)
    assert told.cost > 0


def test_a_tool_that_is_not_there_cannot_be_removed(opened):
    chat = opened()
    chat.add_tools(OTHER)
    chat.remove_tools("another")
    with pytest.raises(ValueError, match="no tool called 'another'"):
        chat.remove_tools("another")


def test_a_model_that_takes_no_system_messages_is_refused_before_the_network(opened, emulator):
    chat = opened()
    chat.note("The user has signed in.")
    chat.send("hello")
    with pytest.raises(SystemMessagesRefusedError, match="opus-4-6"):
        chat.send("more", model=OLDER)
    assert len(emulator.requests) == 1
    chat.rewind()
    chat.send("hello", model=OLDER)


def test_a_pinned_turn_is_found_warm_after_long(opened, emulator):
    """Each request renews the pinned entry; without it only the newest ones stay alive."""
    pinned, plain = opened(tools=[], system=[text(GUIDE)]), opened(tools=[], system=[text("B" + GUIDE)])
    for chat in (pinned, plain):
        chat.send("the plan " * 2_000)
    pinned.pin()
    for n in range(4):
        emulator.clock.advance(timedelta(minutes=4))
        for chat in (pinned, plain):
            chat.send(f"try {n}")
    for chat in (pinned, plain):
        chat.rewind(4)
        chat.send("another way")

    assert pinned.turns[-1].actual.read == pinned.turns[0].actual.cached
    assert plain.turns[-1].actual.read < plain.turns[0].actual.cached


def test_nothing_can_be_pinned_before_the_first_turn(opened):
    with pytest.raises(ValueError, match="nothing to pin"):
        opened().pin()


def test_counting_a_turn_corrects_the_estimate_of_the_next(client, emulator):
    chat = Conversation(client, model=MODEL, max_tokens=500, system="深い思考の手引き。" * 800)
    tokens = chat.count_tokens("始めましょう")
    chat.send("始めましょう")

    assert abs(chat.turns[0].forecast.prompt - tokens) <= 0.01 * tokens


def test_a_context_window_that_is_nearly_full_is_told_once_before_the_request(opened, events):
    chat = opened(model="claude-haiku-4-5", max_tokens=20_000)
    chat.send("word " * 120_000)
    assert not [event for event in events if isinstance(event, ContextNearlyFull)]
    chat.send("word " * 25_000)
    chat.send("One more.")

    (told,) = [event for event in events if isinstance(event, ContextNearlyFull)]
    assert told.window == 200_000
    assert told.tokens > 170_000


def test_a_longer_reply_can_be_what_does_not_fit_the_context_window(opened, events):
    chat = opened(model="claude-haiku-4-5")
    chat.send("word " * 150_000)
    assert not [event for event in events if isinstance(event, ContextNearlyFull)]
    chat.send("more", max_tokens=16_000)
    chat.send("more", max_tokens=20_000)

    (told,) = [event for event in events if isinstance(event, ContextNearlyFull)]
    assert told.tokens + 500 < told.window < told.tokens + 16_000


def test_another_model_can_be_what_the_conversation_does_not_fit(opened, events):
    chat = opened()
    chat.send("word " * 165_000)
    assert not [event for event in events if isinstance(event, ContextNearlyFull)]
    chat.send("more", model="claude-haiku-4-5")

    (told,) = [event for event in events if isinstance(event, ContextNearlyFull)]
    assert told.window == 200_000 < told.tokens


def test_a_full_context_window_is_told_again_after_a_request_that_fits(opened, events):
    chat = opened(model="claude-haiku-4-5")
    chat.send("word " * 150_000)
    for longest in (16_000, 500, 16_000):
        chat.send("more", max_tokens=longest)

    assert len([event for event in events if isinstance(event, ContextNearlyFull)]) == 2


def test_more_messages_than_a_request_holds_are_refused_before_the_network(client, emulator):
    exchange = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    chat = Conversation(client, model=MODEL, max_tokens=5, messages=exchange * 50_000)
    with pytest.raises(TooManyMessagesError, match="100,000"):
        chat.send("one more")
    assert not emulator.requests
