"""A long history through `CacheMiddleware`: only what is new is read, and whatever the caller changed is noticed."""

from copy import deepcopy
from typing import Any

import pytest
from anthropic import Anthropic

from convcache import CacheMiddleware
from convcache.core import prompt
from tests.words import GUIDE, MODEL, call, marked_paths, result, text, thinking


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
    canonical = prompt.canonical

    def reading(block):
        blocks.append(block)
        return canonical(block)

    monkeypatch.setattr(prompt, "canonical", reading)
    return blocks


def history(count: int) -> list[Any]:
    said = []
    for n in range(count):
        said.append(
            {"role": "user", "content": [text(f"{n}? ")] if n == 0 else [result(f"c{n - 1}"), text("and?")]}
        )
        said.append({"role": "assistant", "content": [text(f"{n}."), call(f"c{n}")]})
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


@pytest.mark.parametrize(
    "change",
    [
        lambda messages: messages[60]["content"].pop(),
        lambda messages: messages[61]["content"][0].update(text="other"),
        lambda messages: messages.__delitem__(slice(1, 3)),
        lambda messages: messages[2]["content"][1].update(text="AND?"),
    ],
    ids=["a block less", "another input", "a round less", "another word"],
)
def test_a_history_that_was_changed_is_read_as_it_is(ask, placing, change):
    messages = history(50)
    messages = on_from(messages, ask(messages))
    changed = deepcopy(messages)
    change(changed)
    ask(changed)
    anew = prompt.Prompt.of({"model": MODEL, "system": GUIDE, "messages": changed}, is_followed=True)
    latest = list(placing._read.values())[-1]

    assert latest.fingerprint.count == len(changed)
    assert [*latest.prompt.nodes] == [*anew.nodes]


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


def test_what_is_remembered_holds_no_content(ask, placing):
    messages = history(40)
    messages[0]["content"][0]["text"] = "a secret"
    ask(messages)

    assert placing._read
    assert "secret" not in repr(list(placing._read.values()))


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
    (kept,) = [read for read in placing._read.values() if read.fingerprint.count == len(messages)]
    request = {**fields, "system": GUIDE, "messages": messages}

    assert [*kept.prompt.nodes] == [*prompt.Prompt.of(request, is_followed=True).nodes]
