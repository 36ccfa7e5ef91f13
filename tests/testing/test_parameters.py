"""Which request parameters `assert_prefix_stable` lets change: those that the emulator's key does not hold."""

import pytest

from convcache.emulator.salts import SALTS
from convcache.testing import assert_prefix_stable
from tests.testing.chat import body, differing_path, refusal


def server(**fields):
    return {"type": "url", "name": "wiki", "url": "https://wiki.example", **fields}


ADAPTIVE = {"model": "claude-fable-5"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ADAPTIVE, {**ADAPTIVE, "thinking": {"type": "adaptive"}}),
        (
            {"thinking": {"type": "adaptive"}},
            {"thinking": {"type": "adaptive", "display": "omitted"}},
        ),
        (
            {"mcp_servers": [server(authorization_token="old")]},
            {"mcp_servers": [server(authorization_token="new")]},
        ),
        ({}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": False}}),
        ({}, {"betas": ["message-threads-2026-08-12"]}),
        ({"model": "not-yet-known"}, {"model": "not-yet-known", "thinking": {"type": "disabled"}}),
    ],
    ids=["default thinking", "display", "token", "parallel", "betas", "unknown model"],
)
def test_a_parameter_that_loses_nothing_may_change(first, second):
    assert_prefix_stable([body("one", **first), body("one", **second)])


def block(**fields):
    return {"messages": [*body("one", "two")["messages"], {"role": "user", "content": [fields]}]}


IMAGE = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "Said."}
CHANGES = {
    "inference_geo": {"inference_geo": "us"},
    "mcp_servers": {"mcp_servers": [server()]},
    "offers_tools": block(type="tool_addition", tool={"type": "tool_reference", "name": "look"}),
    "speed": {"speed": "fast"},
    "citations": block(type="document", source=PLAIN, citations={"enabled": True}),
    "skills": {"container": {"skills": [{"type": "anthropic", "skill_id": "pdf", "version": "1"}]}},
    "tool_choice": {"tool_choice": {"type": "any"}},
    "thinking": {"thinking": {"type": "adaptive"}},
    "effort": {"output_config": {"effort": "low"}},
    "format": {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
    "task_budget": {"output_config": {"task_budget": {"type": "tokens", "total": 1}}},
    "images": block(type="image", source=IMAGE),
}
"""What changes the key of a prefix besides its blocks; betas do so only where the emulator is told."""


@pytest.mark.parametrize("name", [salt.name for salt in SALTS if salt.name != "betas"])
def test_every_parameter_that_the_emulator_mixes_into_the_key_is_compared(name):
    path = differing_path(body("one"), {**body("one"), **CHANGES[name]})

    assert path.partition(".")[0] == name


def test_a_parameter_is_shown_with_what_it_comes_to():
    assert refusal(body("one"), body("one", thinking={"type": "enabled", "budget_tokens": 1024})) == [
        "Request 2 does not begin as request 1 did: thinking differs.",
        '  before: ["disabled", null]',
        '  now:    ["enabled", 1024]',
    ]
