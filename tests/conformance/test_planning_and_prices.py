"""T42 and T45 to T48: the rules about who plans and pays, on the wire where they show there."""

from decimal import Decimal
from typing import Any

import anthropic
import pytest
from hypothesis import HealthCheck, given, settings

from convcache import Conversation, Policy
from convcache.core.blocks import unmarked
from convcache.core.clock import CacheClock
from convcache.core.ledger import Ledger
from convcache.core.prompt import Prompt
from convcache.emulator import Fault
from convcache.terminal.spending import dollars
from tests.conftest import START
from tests.strategies import requests
from tests.words import GUIDE, MODEL, call, marked_paths, reply, result, text

PRICES = {
    "fable-5-2 mythos-5-2": "8 10 16 0.20 40",
    "fable-5-1 mythos-5-1": "10 12.50 20 0.25 50",
    "fable-5 mythos-5": "10 12.50 20 1.00 50",
    "opus-5-5": "4 5 8 0.20 20",
    "opus-5 opus-4-8 opus-4-7 opus-4-6 opus-4-5": "5 6.25 10 0.50 25",
    "opus-4-1 opus-4": "15 18.75 30 1.50 75",
    "sonnet-5-5": "2 2.50 4 0.10 10",
    "sonnet-5": "2 2.50 4 0.20 10",
    "sonnet-4-6 sonnet-4-5 sonnet-4": "3 3.75 6 0.30 15",
    "haiku-5-5": "0.10 0.125 0.20 0.01 0.50",
    "haiku-4-5": "1 1.25 2 0.10 5",
    "haiku-3-5": "0.80 1 1.60 0.08 4",
}
"""Dollars a million: input, five-minute write, one-hour write, read, output (api-facts section 12)."""


def usage(uncached: int, short: int, long: int, read: int, output: int, **more: Any) -> dict[str, Any]:
    return {
        "input_tokens": uncached,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "cache_read_input_tokens": read,
        "output_tokens": output,
        **more,
    }


@pytest.mark.parametrize(
    ("model", "prices"), [(name, row) for names, row in PRICES.items() for name in names.split()]
)
def test_t42_each_model_has_its_prices(model, prices):
    tokens = (1_000, 2_000, 3_000, 4_000, 5_000)
    expected = sum(Decimal(price) * count for price, count in zip(prices.split(), tokens, strict=True))

    assert dollars(f"claude-{model}", usage(*tokens)) == expected / 1_000_000


def test_t42_haiku_5_5_has_a_second_tier_beyond_a_hundred_thousand_tokens():
    below, above = usage(20_000, 30_000, 0, 50_000, 10), usage(20_000, 30_000, 0, 50_001, 10)

    assert dollars("claude-haiku-5-5", below) == Decimal("0.006255")
    assert dollars("claude-haiku-5-5", above) == Decimal("0.03127505")


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({"service_tier": "batch"}, "0.5"),
        ({"inference_geo": "us"}, "1.1"),
        ({"service_tier": "batch", "inference_geo": "us"}, "0.55"),
        ({"speed": "fast"}, "2"),
    ],
)
def test_t42_batches_geographies_and_speed_multiply(more, factor):
    tokens = (1_000, 2_000, 3_000, 4_000, 5_000)
    plain = dollars("claude-opus-5", usage(*tokens))

    assert plain is not None
    assert dollars("claude-opus-5", usage(*tokens, **more)) == plain * Decimal(factor)


def test_t45_a_cache_control_among_a_tools_input_and_schema_stays(client, emulator):
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    tool = {"name": "look_up", "input_schema": schema, "cache_control": {"type": "ephemeral"}}
    emulator.script(reply(call("a", cache_control={"type": "ephemeral"})), reply(text("found")))
    chat = Conversation(client, model=MODEL, max_tokens=100, system=GUIDE, tools=[tool])
    chat.send("look")
    chat.send([result("a")])
    body = emulator.requests[-1].body

    assert body["tools"][0]["input_schema"] == schema
    assert body["messages"][1]["content"][0]["input"] == {"cache_control": {"type": "ephemeral"}}
    assert "messages.1.0" not in marked_paths(body)


def test_t46_a_hundred_plain_blocks_in_one_turn_and_everything_before_is_read(client, emulator):
    chat = Conversation(client, model=MODEL, max_tokens=100, system=GUIDE, clock=emulator.clock.now)
    chat.send("hello")
    chat.send([text(f"passage {n}") for n in range(100)])

    assert chat.turns[1].actual.read == chat.turns[0].actual.cached > 0
    assert chat.turns[1].actual.uncached == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests())
def test_t47_a_planned_request_is_legal_unchanged_and_the_same_when_sent_again(client, asked):
    def planned(body: dict[str, Any]) -> dict[str, Any]:
        plan = Ledger().plan(Prompt.of(body), CacheClock(), at=START, policy=Policy(ttl="1h"))
        return plan.marked(body)

    body = planned(asked)
    assert planned(body) == body
    assert [unmarked(message) for message in body["messages"]] == [
        unmarked({**message, "content": list(message["content"])}) for message in asked["messages"]
    ]
    assert "cache_control" not in refusal(client, body)


def refusal(client: anthropic.Anthropic, body: dict[str, Any]) -> str:
    """What the API says against a request; random ones have other faults than their breakpoints."""
    try:
        client.messages.create(**body)
    except anthropic.BadRequestError as error:
        return error.message
    return ""


@pytest.mark.parametrize("fault", [Fault(status=529), Fault(cut_after=0)])
def test_t48_a_request_that_failed_moves_no_breakpoint_and_the_next_one_reads(client, emulator, fault):
    chat = Conversation(client, model=MODEL, max_tokens=100, system=GUIDE, clock=emulator.clock.now)
    chat.send("hello")
    emulator.fail(fault)
    with pytest.raises(anthropic.APIError):
        chat.send("are you there?")
    chat.send("are you there?")

    assert chat.turns[1].actual.read == chat.turns[0].actual.cached > 0
