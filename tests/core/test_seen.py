"""Whether messages are the same as before: told from everything in them."""

import sys
from collections.abc import Callable
from copy import deepcopy
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcache.core.seen import Seen
from tests.strategies import exchanges
from tests.words import BLOCKS, call, text


def begun(earlier: list[Any], later: list[Any]) -> int:
    return Seen().grown(earlier, 0).begins(later)


def history(count: int) -> list[Any]:
    return [{"role": "user", "content": [text(f"message {n}")]} for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize("more", [0, 1, 64])
def test_a_history_that_goes_on_begins_with_all_that_it_was(count, more):
    assert begun(history(count), history(count + more)) == count


@given(exchanges(), st.integers(0, 40))
def test_it_is_the_values_that_count_and_not_the_objects(messages, times):
    earlier = messages * times
    assert begun(earlier, [*deepcopy(earlier), {"role": "user", "content": "more"}]) == len(earlier)


@given(exchanges(), exchanges(), exchanges())
def test_what_grew_by_turns_is_the_same_as_what_was_seen_at_once(first, second, third):
    seen = Seen().grown(first, 0).grown([*first, *second], len(first))
    branched = seen.grown([*first, *third], len(first))

    assert seen == Seen().grown([*first, *second], 0)
    assert branched == Seen().grown([*first, *third], 0)


@pytest.mark.parametrize("at", [0, 1, 63, 64, 99])
def test_what_was_changed_ends_what_is_the_same(at):
    later = history(100)
    later[at] = {"role": "user", "content": [text("another")]}

    assert begun(history(100), later) == at


@pytest.mark.parametrize("count", [0, 5, 64, 80])
def test_a_shorter_history_is_the_start_of_the_longer_one(count):
    assert begun(history(100), history(count)) == count


def said() -> list[Any]:
    found = [text("one"), {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]
    return [
        {"role": "user", "content": [text("hello")]},
        {"role": "assistant", "content": [call("a", path="x", lines=[1, 0.0], opened={"by": "me", "on": 1})]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": found}],
        },
        {"role": "system", "content": "be brief", "clear_at": "next_user_message"},
        {"role": "user", "content": "and?"},
    ]


def reordered(object_: dict[str, Any]) -> None:
    for key in [*object_][::-1]:
        object_[key] = object_.pop(key)


CHANGES: dict[str, tuple[int, Callable[[list[Any]], object]]] = {
    "another text": (0, lambda said: said[0]["content"][0].update(text="Hello")),
    "another role": (0, lambda said: said[0].update(role="assistant")),
    "a block more": (0, lambda said: said[0]["content"].append(text("more"))),
    "a block less": (2, lambda said: said[2]["content"].pop()),
    "a block's new field": (0, lambda said: said[0]["content"][0].update(citations=None)),
    "a breakpoint": (0, lambda said: said[0]["content"][0].update(cache_control={"type": "ephemeral"})),
    "another input": (1, lambda said: said[1]["content"][0]["input"].update(path="y")),
    "an input's new key": (1, lambda said: said[1]["content"][0]["input"].update(more=None)),
    "a list in an input": (1, lambda said: said[1]["content"][0]["input"]["lines"].append(2)),
    "true for 1": (1, lambda said: said[1]["content"][0]["input"]["lines"].__setitem__(0, True)),
    "1.0 for 1": (1, lambda said: said[1]["content"][0]["input"]["lines"].__setitem__(0, 1.0)),
    "0 for 0.0": (1, lambda said: said[1]["content"][0]["input"]["lines"].__setitem__(1, 0)),
    "-0.0 for 0.0": (1, lambda said: said[1]["content"][0]["input"]["lines"].__setitem__(1, -0.0)),
    "true in an object": (1, lambda said: said[1]["content"][0]["input"]["opened"].update(on=True)),
    "an input's order": (1, lambda said: reordered(said[1]["content"][0]["input"])),
    "an object's order": (1, lambda said: reordered(said[1]["content"][0]["input"]["opened"])),
    "a source's order": (2, lambda said: reordered(said[2]["content"][0]["content"][1]["source"])),
    "a text in a result": (2, lambda said: said[2]["content"][0]["content"][0].update(text="two")),
    "a result's error": (2, lambda said: said[2]["content"][0].update(is_error=1)),
    "a message's field": (3, lambda said: said[3].pop("clear_at")),
    "blocks for a string": (4, lambda said: said[4].update(content=[text("and?")])),
    "a message more": (2, lambda said: said.insert(2, {"role": "user", "content": "wait"})),
    "a message less": (3, lambda said: said.__delitem__(3)),
}


@pytest.mark.parametrize(("at", "change"), CHANGES.values(), ids=CHANGES)
def test_what_is_changed_in_place_is_noticed(at, change):
    messages = said()
    seen = Seen().grown(messages, 0)
    change(messages)

    assert seen.begins(messages) == at


@pytest.mark.parametrize("replaced", range(5))
def test_an_equal_copy_is_the_same(replaced):
    messages = said()
    seen = Seen().grown(messages, 0)
    messages[replaced] = deepcopy(messages[replaced])

    assert seen.begins(messages) == len(messages)


@pytest.mark.parametrize("place", [(0,), (0, "content", 0), (2, "content", 0, "content", 0)])
def test_the_order_of_a_blocks_own_keys_tells_nothing(place):
    messages = said()
    seen = Seen().grown(messages, 0)
    changed: Any = messages
    for key in place:
        changed = changed[key]
    reordered(changed)

    assert seen.begins(messages) == len(messages)


def test_an_input_holds_no_blocks_whatever_its_keys_are_called():
    parts = [{"type": "text", "text": "a"}]
    messages = [{"role": "assistant", "content": [call("c", content=parts)]}]
    seen = Seen().grown(messages, 0)
    reordered(parts[0])

    assert seen.begins(messages) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": 0.0}, {"a": -0.0}),
        ({"a": None}, {}),
        ({"a": "1"}, {"a": 1}),
        ({"a": []}, {"a": {}}),
        ({"1": "a"}, {1: "a"}),
        ({1: "a"}, {True: "a"}),
        ({"a": [0, 1]}, {"a": [False, 1]}),
        ({"a": [[0.0]]}, {"a": [[-0.0]]}),
        ({"a": [2, 10**20]}, {"a": [2, 1e20]}),
    ],
)
def test_equal_is_not_the_same_in_an_input(one, other):
    messages = [{"role": "assistant", "content": [{**call("x"), "input": input_}]} for input_ in (one, other)]

    assert begun(messages[:1], messages[1:]) == begun(messages[1:], messages[:1]) == 0


def test_every_shape_of_block_can_be_told():
    message = {"role": "user", "content": list(BLOCKS.values())}

    assert begun([message], [deepcopy(message)]) == 1


def test_what_is_not_json_is_never_the_same():
    messages = [{"role": "user", "content": [{"type": "text", "text": object()}]}]

    assert begun(messages, messages) == 0


def test_strings_of_a_kind_of_their_own_are_told():
    class Role(StrEnum):
        USER = "user"

    message = {"role": Role.USER, "content": "hello"}

    plain = {"role": "user", "content": "hello"}

    assert begun([message], [{**message}]) == begun([message], [plain]) == begun([plain], [message]) == 1


def test_a_text_of_a_kind_of_its_own_is_kept_as_plain_text():
    class Words(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "what json never writes"

    (message,) = Seen().grown([{"role": "user", "content": [text(Words("hello"))]}], 0).items

    assert type(message["content"][0]["text"]) is str
    assert message == {"role": "user", "content": [text("hello")]}


def test_texts_are_shared_with_the_caller_and_containers_are_not():
    words = "hello " * 100
    messages = [{"role": "user", "content": [text(words)]}]
    before = sys.getrefcount(words)
    seen = Seen().grown(messages, 0)

    assert sys.getrefcount(words) == before + 1
    assert seen.items[0]["content"][0]["text"] is words
    assert seen.items[0]["content"] is not messages[0]["content"]


def test_it_knows_how_much_it_holds_and_shows_none_of_it():
    seen = Seen().grown([{"role": "user", "content": "a secret " * 100}, *history(3)], 0)

    assert 900 < seen.size < 5_000
    assert seen.size > seen.grown(history(1), 1).size
    assert "secret" not in repr(seen)


def given_to_a_tool(input_: Any) -> list[Any]:
    return [{"role": "assistant", "content": [{**call("a"), "input": input_}]}]


@pytest.mark.parametrize(
    ("messages", "least"),
    [
        (given_to_a_tool({"key " * 10_000: 1}), 40_000),
        (given_to_a_tool({"outer " * 10_000: {"inner " * 10_000: "x"}}), 120_000),
        (given_to_a_tool({str(n): "" for n in range(1_000)}), 60_000),
        (given_to_a_tool({"a": [None] * 10_000}), 80_000),
        ([{"role": "user", "content": "深" * 10_000}], 20_000),
        ([{"role": "user", "content": "🙂" * 10_000}], 40_000),
    ],
)
def test_keys_and_wide_characters_are_counted_as_the_memory_they_take(messages, least):
    assert least < Seen().grown(messages, 0).size < 6 * least


def test_forms_that_are_alike_are_shared():
    seen = Seen().grown([*given_to_a_tool({"a": 1, "b": 2}), *given_to_a_tool({"a": 3, "b": 4})], 0)

    assert (
        seen.forms[0]
        is seen.forms[1]
        is seen.grown([*said()[:2], *given_to_a_tool({"a": 5, "b": 6})], 2).forms[2]
    )


@pytest.mark.parametrize("input_", [{"words " * 100: 1, "b": 2}, {"words " * 100: {"a": 1, "b": 2}}])
def test_no_long_key_stays_when_its_message_is_gone(input_):
    messages = given_to_a_tool(input_)
    (key,) = (key for key in input_ if len(key) > 1)
    before = sys.getrefcount(key)
    seen = Seen().grown(messages, 0)
    assert sys.getrefcount(key) > before
    seen = seen.grown(history(1), 0)

    assert sys.getrefcount(key) == before


def test_nothing_stays_when_all_that_was_seen_is_gone():
    key = f"what {__name__} asks"
    messages = given_to_a_tool({key: 1, "b": 2})
    before = sys.getrefcount(key)
    Seen().grown(messages, 0)

    assert sys.getrefcount(key) == before


def test_only_so_many_shapes_are_remembered():
    messages = [message for n in range(200) for message in given_to_a_tool({f"a{n}": 1, "b": 2})]

    assert len(Seen().grown(messages, 0).shapes) < 100
