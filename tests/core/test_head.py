"""What requests have besides their messages: read once for all conversations that share it, and told apart in everything
that is part of the key."""

import copy
import gc
import tracemalloc
from datetime import date
from enum import StrEnum
from typing import Any

import pytest
from anthropic._utils._json import openapi_dumps

from convcache.core.blocks import marked, shared
from convcache.core.head import MAX_BYTES, Head, Heads, Parts
from convcache.core.prompt import Prompt
from tests.words import text

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "minimum": 1}}}
TOOLS = [
    {"name": "look", "description": "Looks.", "input_schema": SCHEMA},
    {"name": "later", "description": "Is found.", "input_schema": SCHEMA, "defer_loading": True},
]
REQUEST: dict[str, Any] = {
    "model": "claude-opus-5",
    "tools": TOOLS,
    "system": [text("guide"), text("profile")],
}


def asked(request: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(request), "messages": [{"role": "user", "content": [text("Hello.")]}], **fields}


def nodes(request: dict[str, Any], **options: Any) -> list[Any]:
    return [*Prompt.of(request, **options).nodes]


def test_a_head_that_conversations_share_is_read_once():
    heads = Heads()
    (one, parts), (other, none) = heads.read(asked(REQUEST)), heads.read(asked(REQUEST))

    assert parts
    assert none is None
    assert one.blocks is other.blocks
    assert one.fields is other.fields


def test_a_head_with_the_member_of_an_enumeration_is_shared_as_well():
    heads, request = Heads(), asked(REQUEST, model=Model.OPUS)
    heads.read(request)

    assert heads.read(asked(REQUEST, model=Model.OPUS))[1] is None
    assert nodes(request, heads=heads) == nodes(asked(REQUEST))


class Model(StrEnum):
    OPUS = "claude-opus-5"


def test_each_is_known_by_the_objects_of_its_own_request():
    heads, first, second = Heads(), asked(REQUEST), asked(REQUEST)

    assert heads.read(first)[0].is_of(first)
    assert heads.read(second)[0].is_of(second)
    assert not heads.read(first)[0].is_of(second)


CHANGES = {
    "the model": lambda r: r.update(model="claude-opus-4-8"),
    "the order of the system's blocks": lambda r: r["system"].reverse(),
    "the order of tools": lambda r: r["tools"].reverse(),
    "the order of a schema's keys": lambda r: r["tools"][0].update(
        input_schema=dict(reversed(SCHEMA.items()))
    ),
    "true for 1": lambda r: r["tools"][0]["input_schema"]["properties"]["b"].update(minimum=True),
    "1.0 for 1": lambda r: r["tools"][0]["input_schema"]["properties"]["b"].update(minimum=1.0),
    "a tool that is deferred": lambda r: r["tools"][0].update(defer_loading=True),
    "a breakpoint": lambda r: r["system"][0].update(cache_control={"type": "ephemeral", "ttl": "1h"}),
    "the choice of tools": lambda r: r.update(tool_choice={"type": "any"}),
    "thinking": lambda r: r.update(thinking={"type": "adaptive"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_head_is_never_taken_for_one_that_was_read(change):
    heads, other = Heads(), asked(REQUEST)
    CHANGES[change](other)

    assert nodes(asked(REQUEST), heads=heads) == nodes(asked(REQUEST))
    assert nodes(other, heads=heads) == nodes(other)
    assert nodes(other, heads=heads) != nodes(asked(REQUEST), heads=heads)


def test_a_text_that_is_declared_shared_later_is_shared_from_then_on():
    heads, words = Heads(), "what all tenants are told, and nobody else"
    request = asked(REQUEST, system=[text(words)])
    assert not any(node.shared for node in nodes(request, heads=heads))
    shared(words)

    assert any(node.shared for node in nodes(request, heads=heads))


def test_each_counter_counts_for_itself():
    heads = Heads()

    def ones(_: Any) -> int:
        return 1

    def tens(_: Any) -> int:
        return 10

    lengths = [
        nodes(asked(REQUEST), heads=heads, count=count)[-1].length for count in (ones, tens, ones, None)
    ]

    assert lengths == [4, 40, 4, nodes(asked(REQUEST))[-1].length]


def test_citations_and_images_in_the_messages_change_what_stands_before_them():
    heads = Heads()
    citing = {"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}}
    with_citations = asked(REQUEST, messages=[{"role": "user", "content": [citing]}])

    for request in (asked(REQUEST), with_citations, asked(REQUEST)):
        assert nodes(request, heads=heads) == nodes(request)


def test_a_head_that_is_no_json_is_read_each_time():
    request = asked(REQUEST, thinking=ThinkingAdaptive())

    assert nodes(request, heads=Heads()) == nodes(request)


class ThinkingAdaptive(dict):
    """What only the SDK knows how to write."""

    def __init__(self) -> None:
        super().__init__(type="adaptive", since=date(2026, 11, 22))


def test_the_heads_that_are_kept_are_bounded():
    heads = Heads()
    heads.read(asked(REQUEST))
    heads.read(asked(REQUEST, system=[text("x" * (MAX_BYTES + 1))]))
    assert heads.read(asked(REQUEST))[1] is None
    for number in range(3):
        heads.read(asked(REQUEST, system=[text(f"{number}" * (MAX_BYTES // 2))]))

    assert heads.read(asked(REQUEST))[1]


def test_a_head_takes_no_more_memory_than_its_request():
    request = asked(REQUEST, system=[text("word " * 100_000)])
    Prompt.of(asked(REQUEST, system=[text("other")]))
    tracemalloc.start()
    try:
        head = Prompt.of(request, heads=(heads := Heads())).head
        gc.collect()
        assert head.is_of(request)
        assert heads
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_the_breakpoints_and_places_of_tools_are_those_of_the_request_in_hand():
    """Both are no part of the key, so a grown prompt could have taken them over."""
    first = asked(REQUEST)
    for change in (
        lambda tools: tools[0].update(cache_control={"type": "ephemeral", "ttl": "1h"}),
        lambda tools: tools.insert(0, {**tools[1], "name": "another that is deferred"}),
        lambda tools: tools.reverse(),
    ):
        second = asked(first)
        change(second["tools"])

        grown = nodes(second, grown_from=Prompt.of(first), known=1)
        assert [node.digest for node in grown] == [node.digest for node in nodes(first)]
        assert grown == nodes(second)


@pytest.mark.parametrize("ttls", [{}, {0: "5m"}, {1: "1h"}, {0: "1h", 1: "5m"}])
@pytest.mark.parametrize("section", ["tools", "system"])
def test_its_bytes_are_those_of_its_blocks_with_their_breakpoints(section, ttls):
    request = asked(REQUEST)
    request["system"][0]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    head = Head.of(request, Parts.of(request["tools"], request["system"]))
    blocks = [
        marked(block, ttls[at]) if at in ttls else block for at, block in enumerate(head.blocks[section])
    ]

    assert head.wire(section, ttls) == openapi_dumps(blocks) == head.wire(section, ttls)
    assert head.wire("model", {}) is None


def test_a_tool_without_fields_is_marked_in_json():
    request = asked(REQUEST, tools=[{}])
    head = Head.of(request, Parts.of(request["tools"], None))

    assert head.wire("tools", {0: "5m"}) == openapi_dumps([marked({}, "5m")])
