"""Messages as bytes: the SDK's own, whatever is in them and wherever the breakpoints are."""

import copy
import json

import pytest
from anthropic._utils._json import openapi_dumps
from hypothesis import given
from hypothesis import strategies as st

from convcache.core.blocks import unmarked
from convcache.core.wire import Message, Messages, Written, marked_message
from tests.strategies import exchanges
from tests.words import BLOCKS, text


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_is_written_as_the_sdk_writes_it(kind):
    message = {"role": "user", "content": [text("before"), BLOCKS[kind], text("after")]}

    assert Message(message).wire == openapi_dumps(message)
    assert Message(json.loads(Message(message).wire)).wire == Message(message).wire


@given(exchanges(), st.data())
def test_breakpoints_are_put_into_the_bytes_as_into_the_json(messages, data):
    for message in messages:
        places = range(len(message["content"]))
        ttls = data.draw(st.dictionaries(st.sampled_from(places), st.sampled_from(["5m", "1h"]), max_size=4))
        before = copy.deepcopy(message)

        assert Message(message).marked_wire(ttls) == openapi_dumps(marked_message(message, ttls))
        assert message == before


def test_breakpoints_of_the_callers_are_not_in_the_bytes_and_stay_in_the_json():
    marked = {**text("long"), "cache_control": {"type": "ephemeral"}}
    message = Message({"role": "user", "content": [marked, {"type": "tool_result", "content": [marked]}]})

    assert json.loads(message.wire) == unmarked(message.json) != message.json


def test_strings_and_further_fields_of_a_message_are_kept_in_their_order():
    for message in (
        {"role": "assistant", "content": "so"},
        {"content": [text("be brief")], "role": "system", "clear_at": "next_user_message"},
        {"role": "assistant", "content": []},
    ):
        assert Message(message).wire == openapi_dumps(message)


def test_a_history_is_written_as_its_parts_and_reads_as_json():
    messages = Messages([{"role": "user", "content": [text(str(n))]} for n in range(150)])
    written = Written(messages, {149: {0: "1h"}, 3: {0: "5m"}})

    assert json.loads(written.wire()) == [*written]
    assert [n for n, message in enumerate(written) if "cache_control" in message["content"][0]] == [3, 149]


def said(*names):
    return [{"role": "user", "content": [text(str(name))]} for name in names]


@given(st.data())
def test_a_history_reads_the_same_however_it_grew_and_wherever_it_was_cut_and_marked(data):
    """Bytes that are gathered page by page, shared with what forked off in the middle of one."""
    histories = [(Messages(), [])]
    for step in range(data.draw(st.integers(1, 5))):
        messages, whole = data.draw(st.sampled_from(histories))
        kept = data.draw(st.integers(0, len(whole)))
        more = said(*(f"{step}.{n}" for n in range(data.draw(st.integers(1, 150)))))
        messages, whole = messages.first(kept).plus(more), [*whole[:kept], *more]
        histories.append((messages, whole))
        start = data.draw(st.integers(0, len(whole)))
        sent, rest = messages.since(start), whole[start:]
        places = st.integers(0, max(0, len(rest) - 1))
        marks = {place: {0: "5m"} for place in data.draw(st.sets(places, max_size=4)) if rest}

        wanted = [marked_message(message, marks.get(place, {})) for place, message in enumerate(rest)]
        assert Written(sent, marks).wire(b"<", b">") == b"<" + openapi_dumps(wanted) + b">"
        sent.set_down()
        assert [*sent] == rest
        if data.draw(st.booleans()):
            histories.append((sent, rest))
    assert all([*messages] == whole for messages, whole in histories)


def test_a_fork_shares_the_messages_and_their_bytes():
    base = Messages([{"role": "user", "content": [text(str(n))]} for n in range(100)])
    one, other = (
        base.plus([{"role": "assistant", "content": "a"}]),
        base.plus([{"role": "user", "content": "b"}]),
    )
    Written(one, {}).wire()

    assert all(a is b for a, b in zip(base.each(), other.each(), strict=False))
    assert all(a.wire == b.wire for a, b in zip(one.first(100).each(), base.each(), strict=True))
    assert (one.shared(base), one.shared(other), base.shared(one)) == (100, 100, 100)
    assert one.first(40).plus([{"role": "user", "content": "c"}]).shared(one) == 40
    assert Messages(base).shared(base) == 0


def test_what_was_sent_as_bytes_is_kept_as_bytes_alone():
    marked = {**text("mine"), "cache_control": {"type": "ephemeral"}}
    said = [{"role": "user", "content": [block]} for block in (text("a"), marked, text("b"))]
    messages = Messages(said)
    messages.set_down()
    assert [message.json for message in messages.each()] == said
    assert messages.message(0).json is said[0]
    Written(messages, {}).wire()
    messages.set_down()

    assert [message.json is one for message, one in zip(messages.each(), said, strict=True)] == [
        False,
        True,
        False,
    ]
    assert [*messages] == said


def test_what_was_read_of_a_message_is_forgotten_once_it_was_sent():
    messages = Messages(said("a", "b"))
    assert all(message.pieces is message.pieces for message in messages.each())
    kept = messages.message(0).pieces
    messages.set_down(keeps_json=True)

    assert messages.message(0).pieces is not kept
    assert messages.message(0).pieces == kept
    assert [*messages] == said("a", "b")


def test_what_was_sent_is_read_again_without_being_kept():
    """However many are read again: each of them would stay until the end of the conversation."""
    marked = {**text("mine"), "cache_control": {"type": "ephemeral"}}
    messages = Messages([{"role": "user", "content": [marked]}, *said("a")])
    Written(messages, {}).wire()
    messages.set_down()

    assert all(message.pieces is not message.pieces for message in messages.each())


def test_what_is_known_by_its_bytes_alone_is_read_anew_each_time():
    messages = Messages(said("a"))
    Written(messages, {}).wire()
    messages.set_down()
    (message,) = messages.each()

    assert message.pieces is not message.pieces
    assert [piece.json for piece in message.pieces] == [text("a")]


def test_what_a_summary_stands_for_is_not_written():
    messages = Messages([{"role": "user", "content": [text(str(n))]} for n in range(10)]).since(7)

    assert [message["content"][0]["text"] for message in messages] == ["7", "8", "9"]
    assert json.loads(Written(messages, {}).wire()) == [*messages]
    assert [*messages.plus([{"role": "assistant", "content": "x"}])][:3] == [*messages]
