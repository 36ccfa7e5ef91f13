"""A conversation on the wire: what is sent, what is kept, what is told."""

from datetime import timedelta

import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message

from convcache import AsyncConversation, Conversation, Miss, Policy, Usage
from convcache.core.catalog import model
from convcache.emulator import Emulator
from tests.words import GUIDE, MODEL, TOOL, call, marked_paths, reply, result, text, thinking


@pytest.fixture
def conversation(client: Anthropic, emulator: Emulator) -> Conversation:
    return Conversation(client, model=MODEL, max_tokens=500, system=GUIDE, clock=emulator.clock.now)


def said(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_the_first_turn_writes_and_the_second_reads_it(conversation):
    conversation.send("hello")
    conversation.send("more")
    first, second = conversation.turns

    assert first.actual.read == 0
    assert first.actual.written_5m > 5_000
    assert second.actual.read == first.actual.written


def test_every_request_marks_the_border_the_anchor_and_the_tail(conversation, emulator):
    for n in range(3):
        conversation.send(f"question {n}")
    sent = [marked_paths(request.body) for request in emulator.requests]

    assert sent == [
        ["system.0", "messages.0.0"],
        ["system.0", "messages.0.0", "messages.2.0"],
        ["system.0", "messages.2.0", "messages.4.0"],
    ]


def test_the_history_is_plain_and_works_with_the_bare_sdk(conversation, client):
    conversation.send("hello")
    messages = conversation.messages
    assert "cache_control" not in str(messages)
    messages.append({"role": "user", "content": "more"})

    assert client.messages.create(model=MODEL, max_tokens=50, messages=messages).content
    assert len(conversation.messages) == 2


def test_a_turn_tells_forecast_actual_costs_and_when_the_cache_lapses(conversation, emulator):
    conversation.send("hello")
    conversation.send("more")
    turn = conversation.turns[-1]

    assert turn.forecast is not None
    assert turn.actual.read == turn.forecast.read
    assert abs(turn.actual.written_5m - turn.forecast.written_5m) < 40
    assert turn.lapses == emulator.clock.now() + timedelta(minutes=5)
    assert turn.costs.paid == turn.actual.cost(model(MODEL))
    assert turn.costs.uncached == turn.actual.uncached_cost(model(MODEL)) > 2 * turn.costs.paid
    assert turn.miss is None


def test_an_hour_is_bought_when_the_policy_says_so(client, emulator):
    conversation = Conversation(
        client, model=MODEL, max_tokens=500, system=GUIDE, policy=Policy(ttl="1h"), clock=emulator.clock.now
    )
    conversation.send("hello")
    emulator.clock.advance(timedelta(minutes=59))
    conversation.send("back again")
    first, second = conversation.turns

    assert (first.actual.written_5m, first.actual.written_1h > 5_000) == (0, True)
    assert second.actual.read == first.actual.written_1h
    assert second.lapses == emulator.clock.now() + timedelta(hours=1)


def test_a_pause_longer_than_the_ttl_is_forecast_and_named(conversation, emulator):
    conversation.send("hello")
    emulator.clock.advance(timedelta(minutes=5, seconds=1))
    conversation.send("back again")
    turn = conversation.turns[-1]

    assert turn.forecast.read == 0
    assert turn.miss is Miss.EXPIRED


@pytest.mark.parametrize(
    ("change", "miss"),
    [
        ({"model": "claude-opus-4-8"}, Miss.MODEL_CHANGED),
        ({"system": GUIDE + "And one more rule."}, Miss.SYSTEM_CHANGED),
        ({"tools": [TOOL]}, Miss.TOOLS_CHANGED),
        ({"thinking": {"type": "adaptive"}}, Miss.SETTINGS_CHANGED),
    ],
)
def test_a_change_of_the_key_is_forecast_and_named(conversation, change, miss):
    conversation.send("hello")
    conversation.send("more", **change)
    turn = conversation.turns[-1]

    assert turn.miss is miss
    assert (turn.forecast.read > 0) == (turn.actual.read > 0)


def test_what_is_set_for_one_turn_is_gone_at_the_next(conversation, emulator):
    conversation.send("hello", max_tokens=7, stop_sequences=["END"])
    conversation.send("more")
    bodies = [request.body for request in emulator.requests]

    assert (bodies[0]["max_tokens"], bodies[0]["stop_sequences"]) == (7, ["END"])
    assert bodies[1]["max_tokens"] == 500
    assert "stop_sequences" not in bodies[1]


def test_what_is_updated_holds_for_all_later_turns_and_none_takes_it_away(conversation, emulator):
    conversation.update(metadata={"user_id": "u"}, max_tokens=9)
    conversation.send("hello")
    conversation.update(metadata=None)
    conversation.send("more")
    bodies = [request.body for request in emulator.requests]

    assert bodies[0]["metadata"] == {"user_id": "u"}
    assert "metadata" not in bodies[1]
    assert [body["max_tokens"] for body in bodies] == [9, 9]


@pytest.mark.parametrize("name", ["temperature", "cache_control", "stream", "thread", "modle"])
def test_an_unknown_field_is_a_type_error(client, conversation, name):
    with pytest.raises(TypeError, match=name):
        Conversation(client, model=MODEL, max_tokens=5, **{name: None})
    with pytest.raises(TypeError, match=name):
        conversation.send("hello", **{name: None})
    with pytest.raises(TypeError, match=name):
        conversation.update(**{name: None})


def test_the_beta_route_is_taken_if_and_only_if_betas_are_given(client, emulator):
    plain = Conversation(client, model=MODEL, max_tokens=50)
    beta = Conversation(client, model=MODEL, max_tokens=50, betas=["some-beta-2026-01-01"])

    assert type(plain.send("hello")).__name__ == "Message"
    assert type(beta.send("hello")).__name__ == "BetaMessage"
    with beta.stream("more") as stream:
        assert type(stream.get_final_message()).__name__.startswith("ParsedBetaMessage")
    assert len(beta.messages) == 4


def test_blocks_come_back_in_the_history_exactly_as_received(conversation, emulator):
    blocks = [
        thinking("let me see"),
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "text", "text": "It says so.", "citations": None},
        call("a", word="x", nested={"b": 1, "a": [1.5, None, "é"]}),
    ]
    emulator.script(reply(*blocks))
    conversation.send("look", thinking={"type": "adaptive"}, tools=[TOOL])
    conversation.send(result("a"), thinking={"type": "adaptive"}, tools=[TOOL])

    assert emulator.requests[1].body["messages"][1]["content"] == blocks
    assert conversation.messages[1]["content"] == blocks


def test_a_streamed_turn_is_kept_as_a_plain_one_is(conversation, emulator):
    blocks = [thinking("hm"), text("Said so."), call("a", word="x"), call("b")]
    emulator.script(reply(*blocks))
    with conversation.stream("look", thinking={"type": "adaptive"}, tools=[TOOL]) as stream:
        pieces = "".join(stream.text_stream)
        message = stream.get_final_message()

    assert pieces == said(message) == "Said so."
    assert conversation.messages[1]["content"] == blocks
    assert conversation.turns[-1].actual == Usage.of(message.usage.to_dict())


def test_a_stream_shows_the_sdks_events(conversation):
    with conversation.stream("hello") as stream:
        kinds = [event.type for event in stream]
        assert stream.current_message_snapshot.stop_reason == "end_turn"
        assert stream.request_id == stream.response.headers["request-id"]

    assert kinds[0] == "message_start"
    assert "text" in kinds
    assert kinds[-1] == "message_stop"


def test_staged_content_goes_out_with_the_next_turn(conversation, emulator):
    conversation.append("remember this", {"type": "text", "text": "and that"})
    assert [message["role"] for message in conversation.messages] == ["user"]
    conversation.send("what did I say?")

    sent = emulator.requests[0].body["messages"][0]["content"]
    assert [block["text"] for block in sent] == ["remember this", "and that", "what did I say?"]


def test_a_reply_of_another_call_can_be_staged(conversation, client):
    other = client.messages.create(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "hello"}]
    )
    conversation.append({"role": "user", "content": "hello"}, other)
    conversation.send("go on")

    assert [message["role"] for message in conversation.messages] == [
        "user",
        "assistant",
        "user",
        "assistant",
    ]


def test_a_paused_reply_is_continued_without_content(conversation, emulator):
    conversation.update(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    searching = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    emulator.script(reply(searching, stop_reason="pause_turn"), reply(text("found")))
    conversation.send("search")
    conversation.send()

    assert [message["role"] for message in conversation.messages] == ["user", "assistant", "assistant"]
    assert conversation.turns[-1].miss is None


def test_an_adopted_history_is_gone_on_from(conversation, client, emulator):
    conversation.send("hello")
    other = Conversation(
        client,
        model=MODEL,
        max_tokens=50,
        system=GUIDE,
        messages=conversation.messages,
        clock=emulator.clock.now,
    )
    other.send("more")

    assert len(other.messages) == 4
    assert other.turns[0].actual.read == conversation.turns[0].actual.written


def test_rewinding_takes_turns_back_and_leaves_their_cost_in_the_books(conversation):
    conversation.send("hello")
    conversation.send("a wrong turn")
    spent = conversation.usage
    conversation.rewind()

    assert len(conversation.turns) == 1
    assert len(conversation.messages) == 2
    assert conversation.usage == spent
    conversation.send("a better turn")
    assert conversation.turns[-1].actual.read == conversation.turns[-1].forecast.read
    assert conversation.turns[-1].actual.read > conversation.turns[0].actual.cached - 1


def test_a_fork_shares_the_cache_and_nothing_else(conversation):
    conversation.send("hello")
    fork = conversation.fork()
    fork.send("on the side")
    conversation.send("on the main road")

    assert len(fork.messages) == len(conversation.messages) == 4
    assert fork.messages[2:] != conversation.messages[2:]
    assert fork.turns[-1].actual.read == conversation.turns[0].actual.cached
    assert fork.usage == fork.turns[-1].actual
    assert fork.turns[-1].forecast.read == fork.turns[-1].actual.read


def test_conversations_on_one_client_know_of_each_others_head(client, emulator):
    def started(question: str) -> Conversation:
        one = Conversation(client, model=MODEL, max_tokens=50, system=GUIDE, clock=emulator.clock.now)
        one.send(question)
        return one

    started("a question")
    turn = started("another one").turns[0]

    assert turn.actual.read > 5_000
    assert abs(turn.forecast.read - turn.actual.read) < 20


def test_breakpoints_of_the_callers_own_are_merged_and_never_over_four(client, emulator):
    own = {"cache_control": {"type": "ephemeral"}}
    conversation = Conversation(
        client,
        model=MODEL,
        max_tokens=50,
        system=[{"type": "text", "text": GUIDE, **own}, {"type": "text", "text": "and more", **own}],
        tools=[{**TOOL, **own}],
    )
    conversation.send([{**text("a document " * 300), **own}, {**text("a question"), **own}])
    conversation.send("another question")

    assert [len(marked_paths(request.body)) for request in emulator.requests] == [4, 4]
    assert all(request.status == 200 for request in emulator.requests)
    assert "cache_control" not in str(conversation.messages)


def test_a_model_that_drops_thinking_is_understood(client, emulator):
    conversation = Conversation(
        client,
        model="claude-haiku-4-5",
        max_tokens=2_000,
        system=GUIDE,
        tools=[TOOL],
        thinking={"type": "enabled", "budget_tokens": 1_024},
        clock=emulator.clock.now,
    )
    emulator.script(
        reply(thinking("a"), call("a")), reply(thinking("b"), call("b")), reply(thinking("c"), text("so"))
    )
    conversation.send("look")
    conversation.send(result("a"))
    conversation.send(result("b"))
    conversation.send("thank you")
    turns = conversation.turns

    assert [turn.miss for turn in turns] == [None, None, None, Miss.THINKING_DROPPED]
    assert turns[3].actual.read == turns[0].actual.cached
    assert [turn.actual.read for turn in turns] == [turn.forecast.read for turn in turns]


def test_a_request_that_only_prewarms_is_no_turn(conversation, emulator):
    conversation.send("placeholder", max_tokens=0)
    assert conversation.messages == []
    conversation.send("a real question")

    assert emulator.requests[1].usage.read == emulator.requests[0].usage.written > 5_000
    assert conversation.usage.written_5m > 5_000


def test_half_a_character_in_a_reply_does_not_end_the_conversation(conversation, emulator):
    emulator.script(reply(text("half \ud83d")), reply(text("more")))
    conversation.send("hello")
    conversation.send("go on")

    assert conversation.messages[1]["content"] == [text("half \ufffd")]


def test_extra_body_is_part_of_what_is_planned(conversation, emulator):
    conversation.send("hello")
    extra = {"thinking": {"type": "adaptive"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    conversation.send("more", extra_body=extra)
    turn = conversation.turns[-1]

    assert turn.miss is Miss.SETTINGS_CHANGED
    assert "cache_control" not in emulator.requests[1].body
    assert turn.actual.written_1h > 0


def test_a_field_of_the_beta_route_needs_betas(conversation):
    with pytest.raises(TypeError, match="context_management needs betas"):
        conversation.send("hello", context_management={"edits": []})


def test_betas_may_be_any_iterable_and_hold_for_every_turn(client):
    conversation = Conversation(client, model=MODEL, max_tokens=50, betas=iter(["some-beta-2026-01-01"]))
    conversation.send("hello")

    assert type(conversation.send("more")).__name__ == "BetaMessage"


def test_files_are_read_as_the_sdk_reads_them(conversation, emulator, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"not really a picture")
    with picture.open("rb") as opened:
        for data in (picture, opened):
            source = {"type": "base64", "media_type": "image/png", "data": data}
            conversation.append({"type": "image", "source": source})
    conversation.send("what are these?")
    images = emulator.requests[0].body["messages"][0]["content"][:2]

    assert [image["source"]["data"] for image in images] == ["bm90IHJlYWxseSBhIHBpY3R1cmU="] * 2


def test_tokens_are_counted_on_request_and_nothing_is_sent(client, emulator):
    for options in ({}, {"betas": ["some-beta-2026-01-01"]}):
        conversation = Conversation(client, model=MODEL, max_tokens=500, system=GUIDE, **options)
        counted = conversation.count_tokens("hello", timeout=5)
        assert conversation.messages == []
        conversation.send("hello")
        assert counted == conversation.turns[0].actual.prompt


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"max_token": 5}, "did you mean 'max_tokens'"),
        ({"sytem": "x"}, "did you mean 'system'"),
        ({"stream": True}, r"use \.stream"),
        ({"temperature": 1}, "extra_body"),
        ({"model": None}, "model cannot be None"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(conversation, wrong, told):
    with pytest.raises(TypeError, match=told):
        conversation.send("hello", **wrong)


@pytest.mark.parametrize("client", [None, "sk-ant-key", Anthropic])
def test_what_is_no_client_is_a_type_error(client):
    with pytest.raises(TypeError, match="Conversation takes a"):
        Conversation(client, model=MODEL, max_tokens=5)


def test_what_is_no_policy_is_a_type_error(client):
    with pytest.raises(TypeError, match=r"policy is a Policy\(...\)"):
        Conversation(client, model=MODEL, max_tokens=5, policy={"ttl": "1h"})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ttl": "2h"}, "ttl is one of 'auto', '5m', '1h', not '2h'"),
        ({"min_saving": "a lot"}, "no amount of dollars"),
        ({"slots": {"tial"}}, "unknown slots"),
    ],
)
def test_what_a_policy_cannot_be_is_told(wrong, told):
    with pytest.raises(ValueError, match=told):
        Policy(**wrong)


def test_a_turn_after_one_that_was_left_is_no_miss(conversation, emulator):
    conversation.send("hello")
    emulator.script(reply(text("a long answer " * 40)))
    with conversation.stream("tell me") as stream:
        next(stream)
    conversation.send("something else")

    assert conversation.turns[-1].miss is None


def test_the_wrong_colour_of_client_is_a_type_error(url):
    with pytest.raises(TypeError, match="AsyncConversation"):
        Conversation(AsyncAnthropic(base_url=url, api_key="x"), model=MODEL, max_tokens=5)
    with pytest.raises(TypeError, match="Conversation takes a sync"):
        AsyncConversation(Anthropic(base_url=url, api_key="x"), model=MODEL, max_tokens=5)


async def test_the_async_twin_does_the_same(async_client, emulator):
    conversation = AsyncConversation(
        async_client, model=MODEL, max_tokens=500, system=GUIDE, clock=emulator.clock.now
    )
    await conversation.send("hello")
    async with conversation.stream("more") as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    first, second = conversation.turns
    assert await conversation.count_tokens("and then?") > second.actual.prompt

    assert "".join(pieces) == said(message) == conversation.messages[-1]["content"][0]["text"]
    assert second.actual.read == first.actual.written
    assert [marked_paths(request.body) for request in emulator.requests][1] == [
        "system.0",
        "messages.0.0",
        "messages.2.0",
    ]
