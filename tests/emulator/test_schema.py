"""The forms of requests follow the SDK's types; what a newer SDK adds has to be looked at."""

from typing import get_args

import pytest
from anthropic.types import Usage, beta
from anthropic.types.cache_miss_reason import CacheMissReason

from convcache.emulator import schema

BLOCKS = {
    "advisor_tool_result",
    "bash_code_execution_tool_result",
    "code_execution_tool_result",
    "compaction",
    "container_upload",
    "document",
    "fallback",
    "image",
    "mcp_tool_listing",
    "mcp_tool_result",
    "mcp_tool_use",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text",
    "text_editor_code_execution_tool_result",
    "thinking",
    "tool_addition",
    "tool_removal",
    "tool_result",
    "tool_search_tool_result",
    "tool_use",
    "web_fetch_tool_result",
    "web_search_tool_result",
}
USAGE = {
    "cache_creation",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "fallback_credit",
    "inference_geo",
    "input_tokens",
    "iterations",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
    "service_tier",
    "speed",
}
UNMARKABLE = {"thinking", "redacted_thinking", "mcp_tool_listing", "fallback"}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_the_sdk_has_no_block_type_that_nobody_looked_at(role):
    assert set(schema.content(role).items.tags) == BLOCKS


def test_the_sdk_has_no_usage_field_that_nobody_looked_at():
    assert set(Usage.model_fields) <= USAGE
    assert set(beta.BetaUsage.model_fields) == USAGE


def test_the_sdk_has_no_miss_reason_that_nobody_looked_at():
    reasons = get_args(get_args(CacheMissReason)[0])
    assert {reason.model_fields["type"].annotation.__args__[0] for reason in reasons} == {
        "messages_changed",
        "model_changed",
        "previous_message_not_found",
        "system_changed",
        "tools_changed",
        "unavailable",
    }


def test_the_sdk_names_no_other_headers_among_its_arguments():
    """`betas` and the two ids are sent as headers; a body that holds them is refused."""
    sent = schema.request().fields.keys()
    assert not sent & schema.HEADERS
    assert beta.message_create_params.MessageCreateParamsBase.__annotations__.keys() >= schema.HEADERS


def test_the_blocks_that_cannot_carry_a_mark_are_those_without_the_field():
    """B9."""
    shapes = schema.content("assistant").items.shapes
    assert {tag for tag, shape in shapes.items() if "cache_control" not in shape.fields} == UNMARKABLE


def test_iterations_come_in_the_four_known_kinds():
    items = get_args(get_args(beta.BetaIterationsUsage)[0])[0]
    kinds = {get_args(item.model_fields["type"].annotation)[0] for item in get_args(items)}
    assert kinds == {"message", "compaction", "advisor_message", "fallback_message"}


UNKNOWN = {
    "betas": {"betas": ["x"]},
    "workspace_id": {"workspace_id": "w"},
    "prompt": {"prompt": "hello"},
    "messages.0.id": {"messages": [{**user(text("a")), "id": "msg_1"}]},
    "messages.0.clear_at": {"messages": [{**user(text("a")), "clear_at": "never"}]},
    "messages.0.content.0.text.parsed_output": {"messages": [user(text("a", parsed_output=None))]},
    "system.0.text.title": {"system": [text("a", title="b")]},
    "tools.0.custom.strictly": {
        "tools": [{"name": "a", "input_schema": {"type": "object"}, "strictly": True}]
    },
    "tools.0.web_search_20250305.depth": {
        "tools": [{"type": "web_search_20250305", "name": "web_search", "depth": 2}]
    },
    "thinking.adaptive.budget_tokens": {"thinking": {"type": "adaptive", "budget_tokens": 2000}},
    "tool_choice.auto.name": {"tool_choice": {"type": "auto", "name": "look"}},
    "output_config.temperature": {"output_config": {"temperature": 1}},
    "cache_control.ephemeral.scope": {"cache_control": {"type": "ephemeral", "scope": "global"}},
    "messages.0.content.0.image.source.base64.detail": {
        "messages": [
            user(
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "a", "detail": "low"},
                }
            )
        ]
    },
}


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_field_without_room_is_refused_where_it_stands(api, path):
    body = {"messages": [user(text("hello"))], **UNKNOWN[path]}
    assert api.refused(**body) == f"{path}: Extra inputs are not permitted"


MISTAKEN = {
    "thinking.enabled.budget_tokens: Field required": {"thinking": {"type": "enabled"}},
    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024": {
        "thinking": {"type": "enabled", "budget_tokens": 10}
    },
    "tool_choice: Input should be a valid dictionary": {"tool_choice": "auto"},
    "tool_choice.tool.name: Field required": {"tool_choice": {"type": "tool"}},
    "speed: Input should be 'standard' or 'fast'": {"speed": "slow"},
    "stop_sequences: Input should be a valid list": {"stop_sequences": "stop"},
    "messages.0.content.0.text.text: Input should be a valid string": {"messages": [user(text(5))]},
    "messages.0.content.0.tool_use.input: Input should be a valid dictionary": {
        "messages": [user({"type": "tool_use", "id": "t", "name": "n", "input": None})]
    },
}


@pytest.mark.parametrize("refusal", MISTAKEN)
def test_a_value_of_the_wrong_form_is_refused_where_it_stands(api, refusal):
    assert api.refused(**{"messages": [user(text("hello"))], **MISTAKEN[refusal]}) == refusal


def test_a_hundred_thousand_messages_are_the_most(api):
    one = {"role": "user", "content": "a"}
    assert api.refused([one] * 100_001) == "messages: at most 100,000 messages are allowed. Found 100,001."
