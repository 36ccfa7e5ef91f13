"""Whether messages are the same as before: told from everything in them."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcache.core.fingerprint import CHUNK, Fingerprint
from tests.strategies import exchanges
from tests.words import BLOCKS, call, text


def begun(earlier, later):
    return Fingerprint.of(earlier).begins(later, Fingerprint.of(later))


def history(count):
    return [{"role": "user", "content": [text(f"message {n}")]} for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("more", [0, 1, CHUNK])
def test_a_history_that_goes_on_begins_with_all_that_it_was(count, more):
    assert begun(history(count), history(count + more)) == count


@given(exchanges(), st.integers(0, 40))
def test_it_is_the_values_that_count_and_not_the_objects(messages, times):
    earlier = messages * times
    assert begun(earlier, [*deepcopy(earlier), {"role": "user", "content": "more"}]) == len(earlier)


@pytest.mark.parametrize("at", [0, 1, CHUNK, 2 * CHUNK + 5])
def test_what_was_changed_ends_what_is_the_same_a_few_messages_before(at):
    later = history(100)
    later[at] = {"role": "user", "content": [text("another")]}

    assert at - CHUNK < begun(history(100), later) <= at


@pytest.mark.parametrize("count", [5, 40])
def test_a_shorter_history_is_not_taken_for_the_longer_one(count):
    assert begun(history(100), history(count)) <= count


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": 0.0}, {"a": -0.0}),
        ({"a": None}, {}),
        ({"a": "1"}, {"a": 1}),
    ],
)
def test_equal_is_not_the_same_in_an_input(one, other):
    messages = [{"role": "assistant", "content": [{**call("x"), "input": input_}]} for input_ in (one, other)]

    assert begun(messages[:1], messages[1:]) == 0
    assert begun(messages[:1], deepcopy(messages[:1])) == 1


def test_every_shape_of_block_can_be_told():
    message = {"role": "user", "content": list(BLOCKS.values())}

    assert begun([message], [deepcopy(message)]) == 1
