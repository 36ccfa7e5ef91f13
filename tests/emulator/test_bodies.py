"""Parsing request bodies: always what `json.loads` says, and the same objects for what was said before."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcache.emulator.bodies import Bodies, Message, folded, once
from tests.strategies import requests

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(["model", "messages", "system", "stream"]), VALUES, max_size=4)


def same(one, other):
    """Equal as JSON: 1 is neither True nor 1.0, and the order of keys counts."""
    return json.dumps(one) == json.dumps(other)


@given(st.lists(BODIES | VALUES | requests(), max_size=5), st.sampled_from([None, 2]))
def test_it_parses_like_json_whatever_came_before(values, indent):
    bodies = Bodies(kept_characters=500)

    for value in [*values, *values]:
        written = json.dumps(value, indent=indent).encode()
        assert same(bodies.parsed(written), json.loads(written))


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_what_json_refuses_is_refused_with_the_same_words(written):
    try:
        expected = json.loads(written)
    except ValueError as error:
        with pytest.raises(type(error)) as caught:
            Bodies().parsed(written)
        assert str(caught.value) == str(error)  # noqa: PT017 - compared with another error
    else:
        assert same(Bodies().parsed(written), expected)


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"{",
        b'{"messages": [',
        b'{"messages": [{}',
        b'{"messages": [{},]}',
        b'{"messages": [{} {}]}',
        b'{"messages": []} x',
        b"{1: 2}",
        b'{"a" 1}',
        b'{"a": 1,}',
        b"\xff\xfe{",
    ],
)
def test_a_damaged_body_is_refused_as_json_refuses_it(written):
    with pytest.raises(ValueError) as expected:
        json.loads(written)
    with pytest.raises(type(expected.value)) as caught:
        Bodies().parsed(written)

    assert str(caught.value) == str(expected.value)


def test_other_encodings_and_repeated_keys_are_read_as_json_reads_them():
    written = '{"messages": [{"role": "ü"}], "a": 1, "a": 2, "messages": [{"role": "user"}]}'

    for encoding in ("utf-8", "utf-16", "utf-32-be", "utf-8-sig"):
        assert Bodies().parsed(written.encode(encoding)) == json.loads(written)
    assert math.isnan(Bodies().parsed(b'{"a": NaN}')["a"])


def body(*said, **fields):
    return json.dumps({**fields, "messages": [{"role": "user", "content": words} for words in said]}).encode()


def test_what_was_said_before_is_the_same_object_whatever_stands_around_it():
    bodies = Bodies()
    first = bodies.parsed(body("one", "two", max_tokens=5))["messages"]
    second = bodies.parsed(body("one", "two", "three", system="other"))["messages"]

    assert [message is before for message, before in zip(second, first, strict=False)] == [True, True]


def test_what_follows_something_else_is_another_object():
    bodies = Bodies()
    first = bodies.parsed(body("one", "two"))["messages"]
    second = bodies.parsed(body("other", "two"))["messages"]

    assert second[1] == first[1]
    assert second[1] is not first[1]


def test_forks_are_both_remembered():
    bodies = Bodies()
    left, right = (bodies.parsed(body("one", words))["messages"][1] for words in ("left", "right"))

    assert bodies.parsed(body("one", "left"))["messages"][1] is left
    assert bodies.parsed(body("one", "right"))["messages"][1] is right


def test_what_is_worked_out_about_a_message_is_worked_out_once():
    asked = []
    message = Message({"role": "user"})

    def work(key):
        return once(message, key, lambda: asked.append(key) or key * 2)

    assert [work("a"), work("b"), work("a")] == ["aa", "bb", "aa"]
    assert asked == ["a", "b"]


def test_memory_is_bounded():
    bodies = Bodies(kept_characters=1000)
    for number in range(100):
        bodies.parsed(body(f"{number}" * 50))

    assert bodies._kept <= 1000
    assert len(bodies._first.next) < 20


def total(state, place, message):
    return [*state, (place, message["content"])]


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=8), max_size=6))
def test_a_fold_comes_to_the_same_wherever_it_was_left(conversations):
    bodies = Bodies(kept_characters=300)

    for said in conversations:
        messages = bodies.parsed(body(*said))["messages"]
        assert folded(messages, "total", [], total) == list(enumerate(said))


def test_a_fold_takes_steps_only_for_what_is_new():
    bodies, steps = Bodies(), []
    for said in (["one"], ["one", "two"], ["one", "two", "three"]):
        folded(
            bodies.parsed(body(*said))["messages"], "count", 0, lambda so_far, place, _: steps.append(place)
        )

    assert steps == [0, 1, 2]


def test_a_fold_does_not_trust_messages_that_follow_something_else():
    bodies = Bodies()
    first = bodies.parsed(body("one", "two"))["messages"]
    folded(first, "total", [], total)

    spliced = [{"role": "user", "content": "held"}, *first]
    assert folded(spliced, "total", [], total) == [(0, "held"), (1, "one"), (2, "two")]
    assert folded(first[1:], "total", [], total) == [(0, "two")]
