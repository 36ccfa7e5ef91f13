"""Content blocks: what can carry a breakpoint, and taking breakpoints off."""

import typing

import pytest
import typing_extensions
from anthropic import types
from anthropic.types import beta

from convcache.core.blocks import (
    MARKABLE_TYPES,
    breakpoint_ttl,
    is_markable,
    is_turn_scoped,
    marked,
    unmarked,
)
from convcache.core.piece import Piece
from convcache.core.usage import Usage
from convcache.request import RequestOptions, TurnOptions


def key(block: dict) -> bytes:
    return Piece.of(block).key


MARK = {"cache_control": {"type": "ephemeral"}}


def members(union: object) -> list[type]:
    """The typed dicts of a union, however deep."""
    if typing_extensions.is_typeddict(union):
        return [union]
    return [member for inner in typing.get_args(union) for member in members(inner)]


def block_types(*unions: object) -> dict[str, type]:
    """The SDK's request blocks by the value of their `type` field."""
    found = {}
    for member in [member for union in unions for member in members(union)]:
        (name,) = typing.get_args(typing_extensions.get_type_hints(member)["type"])
        found[name] = member
    return found


def test_the_markable_types_are_those_whose_request_form_takes_a_breakpoint():
    """A tripwire: a newer SDK with another block type makes someone decide."""
    blocks = block_types(types.ContentBlockParam, beta.BetaContentBlockParam)
    with_field = {name for name, block in blocks.items() if "cache_control" in block.__annotations__}

    # These stand inside tool results, so they are in no union of message content.
    inner = {"tool_reference", "browser_state"}
    assert with_field | inner == MARKABLE_TYPES


def test_the_options_of_a_conversation_are_fields_of_the_sdk():
    """A tripwire: a field that the SDK renames or drops is noticed here."""
    known = {
        *types.message_create_params.MessageCreateParamsBase.__annotations__,
        *beta.message_create_params.MessageCreateParamsBase.__annotations__,
        *("extra_headers", "extra_query", "extra_body", "timeout"),
    }

    assert RequestOptions.__annotations__.keys() | TurnOptions.__annotations__.keys() <= known


def test_the_token_counts_of_the_sdks_usage_are_the_ones_we_read():
    """A tripwire: a new kind of token count would be a new price."""
    counts = {name for name in types.Usage.model_fields if name.endswith("_tokens")}

    assert counts == {
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "input_tokens",
        "output_tokens",
    }
    assert set(types.CacheCreation.model_fields) == {"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"}
    assert Usage.of(types.Usage(input_tokens=1, output_tokens=2).to_dict()) == Usage(uncached=1, output=2)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "x", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": ""},
        {"type": "text", "text": " \n"},
        {"type": "brand_new_block"},
        {"type": "mcp_tool_listing"},
    ],
)
def test_some_blocks_never_carry_a_breakpoint(block):
    assert not is_markable(block)


def test_a_turn_scoped_system_message_carries_none():
    assert is_turn_scoped({"role": "system", "content": "now", "clear_at": "next_user_message"})
    assert not is_turn_scoped({"role": "system", "content": "always"})


def test_five_minutes_are_left_unsaid():
    assert marked({"type": "text"}, "5m")["cache_control"] == {"type": "ephemeral"}
    assert marked({"type": "text"}, "1h")["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_a_breakpoint_inside_a_tool_result_counts_as_the_results():
    inner = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [inner]}

    assert breakpoint_ttl(result) == "1h"
    assert breakpoint_ttl(unmarked(result)) is None


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "a", "name": "n", "input": {"cache_control": 1, "content": [MARK]}},
        {"name": "n", "input_schema": {"type": "object", "properties": MARK}},
    ],
)
def test_a_users_own_key_called_cache_control_is_no_breakpoint(block):
    assert unmarked(block) is block


def test_unmarking_leaves_its_input_and_copies_nothing_that_has_no_mark():
    plain = {"role": "user", "content": [{"type": "text", "text": "x"}]}
    with_mark = {"role": "user", "content": [plain["content"][0], {"type": "text", "text": "y", **MARK}]}

    assert unmarked(plain) is plain
    assert unmarked(with_mark)["content"][0] is plain["content"][0]
    assert "cache_control" in with_mark["content"][1]


def test_a_block_is_known_by_its_content_and_not_by_the_order_of_its_own_keys():
    assert key({"type": "text", "text": "é"}) == key({"text": "é", "type": "text", **MARK})


def test_the_order_inside_a_tools_input_is_content():
    one = {"type": "tool_use", "input": {"a": 1, "b": 2}}
    other = {"type": "tool_use", "input": {"b": 2, "a": 1}}

    assert key(one) != key(other)
