"""A long history through `CacheMiddleware`: only what is new is read, and whatever the caller changed is noticed."""

import gc
import sys
from copy import deepcopy
from operator import attrgetter
from typing import Any, Final

import pytest
from anthropic import Anthropic
from anthropic.types import Message
from cachetools import LRUCache

from convcache import CacheMiddleware
from convcache.core import prompt
from tests.words import GUIDE, MODEL, TOOL, Json, call, marked_paths, result, text, thinking

ANSWER: Final = {
    "id": "msg_1",
    "type": "message",
    "model": MODEL,
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
"""What a message of the SDK has besides its role and content."""


@pytest.fixture
def placing(emulator) -> CacheMiddleware:
    return CacheMiddleware(clock=emulator.clock.now)


@pytest.fixture
def ask(url, placing):
    client = Anthropic(base_url=url, api_key="x", max_retries=0, middleware=[placing])

    def ask(messages: list[Any], **fields: Any) -> Any:
        request = {"model": MODEL, "max_tokens": 50, "system": GUIDE, **fields}
        return client.messages.create(**request, messages=messages)

    return ask


@pytest.fixture
def read(monkeypatch) -> list[Any]:
    """The blocks that are read, one after the other."""
    blocks: list[Any] = []
    pieces_of = prompt.pieces_of

    def reading(message):
        pieces = pieces_of(message)
        blocks.extend(piece.json for piece in pieces)
        return pieces

    monkeypatch.setattr(prompt, "pieces_of", reading)
    return blocks


def history(count: int) -> list[Any]:
    said = []
    for n in range(count):
        said.append(
            {"role": "user", "content": [text(f"{n}? ")] if n == 0 else [result(f"c{n - 1}"), text("and?")]}
        )
        said.append(
            {"role": "assistant", "content": [text(f"{n}."), call(f"c{n}", word="a", among=["b"], times=1)]}
        )
    return [*said, {"role": "user", "content": [result(f"c{count - 1}")]}]


def on_from(messages: list[Any], reply: Any, words: str = "more") -> list[Any]:
    content = [block.to_dict() for block in reply.content]
    return [
        *deepcopy(messages),
        {"role": "assistant", "content": content},
        {"role": "user", "content": words},
    ]


def test_only_what_is_new_is_read(ask, read):
    messages = history(100)
    messages = on_from(messages, ask(messages))
    del read[:]
    ask(messages)

    said = [block for block in read if block != text(GUIDE)]
    assert len(said) == len(messages[-2]["content"]) + 1


def reordered(object_: Json) -> None:
    for key in [*object_][::-1]:
        object_[key] = object_.pop(key)


@pytest.mark.parametrize(
    "change",
    [
        lambda messages: messages[60]["content"].pop(),
        lambda messages: messages[60]["content"].append(text("more")),
        lambda messages: messages[61]["content"][0].update(text="other"),
        lambda messages: messages[2]["content"][1].update(text="AND?"),
        lambda messages: messages[61]["content"][1]["input"].update(word="other"),
        lambda messages: messages[61]["content"][1]["input"]["among"].append("more"),
        lambda messages: messages[61]["content"][1]["input"].update(times=True),
        lambda messages: messages[61]["content"][1]["input"].update(times=1.0),
        lambda messages: reordered(messages[61]["content"][1]["input"]),
        lambda messages: messages.__delitem__(slice(1, 3)),
        lambda messages: messages.__delitem__(slice(21, 23)),
        lambda messages: messages.__setitem__(slice(21, 21), deepcopy(messages[5:7])),
        lambda messages: messages.__setitem__(61, {**messages[61], "content": [text("other"), call("c30")]}),
    ],
    ids=[
        "a block less",
        "a block more",
        "another text",
        "another word",
        "another input",
        "more in a list",
        "true for 1",
        "1.0 for 1",
        "keys in another order",
        "the first round less",
        "a round less",
        "a round more",
        "a message replaced",
    ],
)
def test_a_history_that_is_changed_in_place_is_read_as_it_is(ask, placing, change):
    messages = history(50)
    messages = on_from(messages, ask(messages))
    ask(messages)
    change(messages)
    ask(messages)
    anew = prompt.Prompt.of({"model": MODEL, "system": GUIDE, "messages": messages}, is_followed=True)

    assert any([*read.prompt.nodes] == [*anew.nodes] for read in placing._read.values())


@pytest.mark.parametrize(
    "changed", [deepcopy, lambda message: Message.model_validate(ANSWER | message).content]
)
def test_what_is_replaced_by_the_same_is_not_read_again(ask, read, changed):
    messages = history(50)
    messages = on_from(messages, ask(messages))
    same = changed(messages[61])
    messages[61] = same if isinstance(same, dict) else {**messages[61], "content": same}
    del read[:]
    ask(messages)

    assert len([block for block in read if block != text(GUIDE)]) == len(messages[-2]["content"]) + 1


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"system": [text(GUIDE)]}, lambda fields: fields["system"][0].update(text=GUIDE + "!")),
        ({"system": GUIDE, "tools": [TOOL]}, lambda fields: fields["tools"][0].update(description="Looks.")),
        ({"system": GUIDE, "tools": [TOOL]}, lambda fields: fields.pop("tools")),
        ({"system": GUIDE, "tools": [TOOL]}, lambda fields: reordered(fields["tools"][0]["input_schema"])),
    ],
    ids=["another system prompt", "another tool", "no tools", "another order"],
)
def test_a_head_that_is_changed_in_place_is_read_as_it_is(ask, placing, fields, changed):
    fields, messages = deepcopy(fields), history(5)
    messages = on_from(messages, ask(messages, **fields))
    changed(fields)
    ask(messages, **fields)
    anew = prompt.Prompt.of({"model": MODEL, **fields, "messages": messages}, is_followed=True)

    assert [*list(placing._read.values())[-1].prompt.nodes] == [*anew.nodes]


def test_breakpoints_of_the_callers_that_move_keep_the_rest_known(ask, read, emulator):
    def marked(messages):
        moved = deepcopy(messages)
        moved[-1]["content"] = [{**text("more"), "cache_control": {"type": "ephemeral"}}]
        return moved

    messages = on_from(history(100), ask(history(100)))
    messages = on_from(messages, ask(marked(messages)))
    del read[:]
    ask(marked(messages))

    assert len(read) < 120
    assert len(marked_paths(emulator.requests[-1].body)) <= 4


def test_what_is_remembered_shares_the_callers_text_and_shows_none_of_it(ask, placing):
    messages, secret = history(40), "a secret " * 100
    messages[0]["content"][0]["text"] = secret
    before = sys.getrefcount(secret)
    ask(messages)
    (read,) = placing._read.values()
    gc.collect()

    assert read.messages.items[0]["content"][0]["text"] is secret
    assert sys.getrefcount(secret) == before + 1
    assert "secret" not in repr(read)


def test_so_much_is_remembered_and_no_more(ask, placing, monkeypatch, read):
    monkeypatch.setattr(placing, "_read", LRUCache(200_000, getsizeof=attrgetter("size")))
    chats = [
        [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": f"{n}" * 50_000}]
        for n in range(9)
    ]
    for chat in chats:
        ask([*chat, {"role": "user", "content": "more"}])
    ask([*chats[0], {"role": "user", "content": "x" * 300_000}])

    assert 1 < len(placing._read) < 4
    assert placing._read.currsize <= 200_000


def test_thinking_that_is_dropped_is_left_out_where_a_person_speaks_again(ask, placing):
    messages = [
        message
        for n in range(30)
        for message in (
            {"role": "user", "content": f"question {n}"},
            {"role": "assistant", "content": [thinking(f"{n}"), text(f"answer {n}")]},
        )
    ]
    fields = {"model": "claude-haiku-4-5"}
    messages.append({"role": "user", "content": "so?"})
    messages = on_from(messages, ask(messages, **fields))
    ask(messages, **fields)
    (kept,) = [read for read in placing._read.values() if len(read.messages.items) == len(messages)]
    request = {**fields, "system": GUIDE, "messages": messages}

    assert [*kept.prompt.nodes] == [*prompt.Prompt.of(request, is_followed=True).nodes]
