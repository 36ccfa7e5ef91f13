"""A streamed message is the same message, told in events."""

import json

import pytest

MARK = {"type": "ephemeral"}
QUESTION = [{"role": "user", "content": [{"type": "text", "text": "one two", "cache_control": MARK}]}]

CITATION = {
    "type": "char_location",
    "cited_text": "the sky",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 7,
    "file_id": None,
}
CONTENTS = {
    "text": [{"type": "text", "text": "A longer answer, with “quotes”, a line\nand an emoji 🙂. " * 9}],
    "thinking": [
        {"type": "thinking", "thinking": "hm, " * 40, "signature": "c2ln" * 30},
        {"type": "text", "text": "b"},
    ],
    "thinking omitted": [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "text", "text": "b"},
    ],
    "redacted thinking": [{"type": "redacted_thinking", "data": "ZGF0YQ=="}, {"type": "text", "text": "b"}],
    "tool without input": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}],
    "tool with nested input": [
        {"type": "text", "text": "Let me look."},
        {
            "type": "tool_use",
            "id": "toolu_1",
            "name": "look",
            "input": {"a": {"b": [1, 2.5, None, "ü" * 60]}, "c": True},
        },
        {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {"again": "yes"}},
    ],
    "server tool": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "It rains."},
    ],
    "citations": [
        {"type": "text", "text": "The sky is blue.", "citations": [CITATION, {**CITATION, "cited_text": "b"}]}
    ],
    "nothing": [],
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_accumulated_message_equals_the_plain_one(api, kind):
    """T31, and the usage with it: nothing is lost, the split of the TTLs included."""
    api.emulator.script({"content": CONTENTS[kind]})
    plain = api.send(QUESTION)
    api.emulator.reset()
    api.emulator.script({"content": CONTENTS[kind]})
    with api.client.messages.stream(model="claude-opus-4-8", max_tokens=50, messages=QUESTION) as stream:
        streamed = stream.get_final_message()
    assert without_id(streamed) == without_id(plain)
    written = 4 if kind == "server tool" else 2
    assert plain.usage.cache_creation.ephemeral_5m_input_tokens == written
    assert [block.to_dict() for block in plain.content] == CONTENTS[kind]


def without_id(message):
    return {**message.to_dict(), "id": ""}


def events_of(api, **body):
    response = api.raw({"messages": QUESTION, "stream": True, **body})
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name.removeprefix("event: ") for name, _ in blocks] == [event["type"] for event in events]
    return events


def test_the_events_come_in_the_order_of_the_api(api):
    api.emulator.script(
        {"content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}}]}
    )
    events = events_of(api)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[1]["content_block"] == {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    assert [event["delta"]["partial_json"] for event in events[3:5]] == ["", '{"a":1}']


def test_the_first_event_has_the_whole_usage_and_the_last_the_totals(api):
    """E7."""
    api.emulator.script({"content": "an answer", "usage": {"output_tokens": 17}})
    events = events_of(api)
    start, delta = events[0]["message"], events[-2]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert start["usage"]["cache_creation"] == {
        "ephemeral_5m_input_tokens": 2,
        "ephemeral_1h_input_tokens": 0,
    }
    assert start["usage"]["output_tokens"] == 1
    assert delta["delta"]["stop_reason"] == "end_turn"
    assert delta["usage"] == {
        "input_tokens": 0,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 0,
        "output_tokens": 17,
    }


def test_a_stream_left_after_its_first_event_has_written_its_entry(api):
    """U13."""
    with api.client.messages.stream(model="claude-opus-4-8", max_tokens=50, messages=QUESTION) as stream:
        next(iter(stream))
    assert api.billed(QUESTION) == (2, 0, 0)
