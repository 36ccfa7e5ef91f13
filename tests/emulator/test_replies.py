"""What the emulated model says when nobody scripted it, and when somebody did."""

import json

import pytest

from convcache.emulator import AttentiveReplies, Emulator, ScriptedReplies

GUIDE = """You are a guide to a small harbour town.

# Getting there

The ferry leaves every hour from pier four. A ticket costs six crowns.

# Eating

- The Anchor serves fish soup until nine in the evening.
- Children eat for half the price at the Lantern.
"""
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1},
            "where": {"$ref": "#/$defs/place"},
            "comment": {"type": "string"},
        },
        "required": ["city", "unit", "days", "where"],
        "$defs": {"place": {"type": "object", "properties": {"indoors": {"type": "boolean"}}}},
    },
}


def asked(question, *, replies=None, history=(), **body):
    messages = [*history, {"role": "user", "content": question}]
    return (replies or AttentiveReplies()).reply({"max_tokens": 500, "messages": messages, **body})


def said(question, **body):
    return asked(question, system=GUIDE, **body).content[-1]["text"]


def test_a_question_is_answered_from_the_system_prompt():
    assert "A ticket costs six crowns." in said("What does a ferry ticket cost?")
    assert "fish soup until nine" in said("where do they serve soup?")


def test_a_greeting_is_returned_with_what_there_is_to_talk_about():
    assert said("Hello!").startswith("Hello!")
    assert "harbour town" in said("hello")


def test_more_goes_on_with_what_was_not_said_yet():
    history = [
        {"role": "user", "content": "How much does it cost?"},
        {"role": "assistant", "content": said("How much does it cost?")},
    ]
    more = said("more", history=history)
    assert more not in history[1]["content"]
    assert any(
        line in more for line in ("The ferry leaves", "The Anchor serves", "Children eat", "guide to a small")
    )


@pytest.mark.parametrize("go_on", ["more", "Yes, please", "ok", "go on", "tell me more!", "and?"])
def test_asking_for_more_is_understood_in_several_ways(go_on):
    history = [
        {"role": "user", "content": "What does a ferry ticket cost?"},
        {"role": "assistant", "content": "A ticket costs six crowns."},
    ]
    assert "six crowns" not in said(go_on, history=history)
    assert f"“{go_on}”" not in said(go_on, history=history)


def test_what_the_prompt_knows_nothing_about_is_acknowledged_and_restated():
    assert "“Do quokkas juggle?”" in said("Do quokkas juggle?")


def test_the_same_question_is_answered_the_same_way_and_another_turn_differently():
    assert said("Do quokkas juggle?") == said("Do quokkas juggle?")
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert said("Do quokkas juggle?") != said("Do quokkas juggle?", history=history)


def test_a_named_tool_is_called_with_input_that_fits_its_schema():
    reply = asked("Please use get_weather for 3 days in Lisbon, in celsius", tools=[WEATHER])
    call = reply.content[-1]
    assert (reply.stop_reason, call["type"], call["name"]) == ("tool_use", "tool_use", "get_weather")
    assert call["input"] == {"city": "Lisbon", "unit": "celsius", "days": 3, "where": {"indoors": True}}


def test_tools_are_called_in_parallel_when_several_are_named():
    other = {**WEATHER, "name": "get_tides"}
    reply = asked("compare get weather and get_tides", tools=[WEATHER, other])
    calls = [block for block in reply.content if block["type"] == "tool_use"]
    assert [call["name"] for call in calls] == ["get_weather", "get_tides"]
    assert len({call["id"] for call in calls}) == 2


def test_a_tool_that_nobody_named_stays_unused_unless_it_is_demanded():
    assert asked("How are you?", tools=[WEATHER]).stop_reason == "end_turn"
    forced = asked("How are you?", tools=[WEATHER], tool_choice={"type": "any"})
    assert forced.content[-1]["name"] == "get_weather"
    assert asked("get_weather", tools=[WEATHER], tool_choice={"type": "none"}).stop_reason == "end_turn"


def test_after_tool_results_the_answer_is_text():
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    history = [{"role": "user", "content": "get_weather"}, {"role": "assistant", "content": [call]}]
    result = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain all day"}]
    reply = asked(result, history=history, tools=[WEATHER])
    assert reply.stop_reason == "end_turn"
    assert "rain all day" in reply.content[-1]["text"]


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}])
def test_thinking_comes_with_a_signature_when_it_is_on(thinking):
    first, second = asked("Hello", thinking=thinking).content
    assert first["type"] == "thinking"
    assert first["thinking"]
    assert len(first["signature"]) > 50
    assert second["type"] == "text"
    assert asked("Hello", thinking={"type": "disabled"}).content[0]["type"] == "text"


def test_thinking_that_is_not_to_be_shown_is_only_signed():
    shown = asked("Hello", thinking={"type": "adaptive", "display": "omitted"}).content[0]
    assert shown["thinking"] == ""
    assert shown["signature"]


def test_a_reply_ends_where_max_tokens_ends_it():
    reply = asked("What does a ferry ticket cost?", system=GUIDE, max_tokens=5)
    assert reply.stop_reason == "max_tokens"
    assert len(reply.content[0]["text"]) == 20


def test_thinking_uses_up_max_tokens_too():
    reply = asked("Hello", thinking={"type": "adaptive"}, max_tokens=10)
    assert (reply.stop_reason, [block["type"] for block in reply.content]) == ("max_tokens", ["thinking"])


def test_an_answer_that_has_to_be_json_follows_its_schema():
    format_ = {"type": "json_schema", "schema": WEATHER["input_schema"]}
    reply = asked("2 days in 'Porto'", output_config={"format": format_})
    assert json.loads(reply.content[0]["text"])["city"] == "Porto"


def test_scripted_replies_come_first_and_once(api):
    api.emulator.script(
        {"content": "first", "stop_reason": "stop_sequence", "stop_sequence": "x"}, {"content": "second"}
    )
    first = api.send("a")
    assert (first.content[0].text, first.stop_reason, first.stop_sequence) == ("first", "stop_sequence", "x")
    assert api.send("b").content[0].text == "second"
    assert api.send("zebra").content[0].text not in ("first", "second")


def test_a_scripted_call_stops_for_tool_use_and_its_tokens_are_billed_as_told(api):
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    api.emulator.script({"content": [call], "usage": {"output_tokens": 321}})
    message = api.send("a")
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 321)
    assert api.emulator.requests[-1].usage.output == 321


def test_scripted_replies_fall_back_to_whoever_is_given():
    class Parrot:
        def reply(self, body):
            return ScriptedReplies({"content": body["messages"][-1]["content"]}).reply(body)

    emulator = Emulator(replies=ScriptedReplies({"content": "scripted"}, fallback=Parrot()))
    assert [
        emulator.replies.reply({"messages": [{"role": "user", "content": "hi"}]}).content[0]["text"]
        for _ in "12"
    ] == [
        "scripted",
        "hi",
    ]


def test_a_malformed_script_is_refused_whole():
    replies = ScriptedReplies()
    with pytest.raises(ValueError, match="needs `content`"):
        replies.push({"content": "fine"}, {"content": [{"text": "no type"}]})
    assert len(replies) == 0
