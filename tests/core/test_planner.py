"""Where breakpoints go: the rules of placement, as properties of any request."""

from copy import deepcopy
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convcache import Policy
from convcache.core.blocks import breakpoint_ttl, unmarked
from convcache.core.clock import CacheClock
from convcache.core.key import FIELDS
from convcache.core.ledger import Ledger
from convcache.core.planner import Landmarks, Plan
from convcache.core.prompt import Prompt
from convcache.core.usage import Bill, Usage
from convcache.core.wire import Messages
from tests.strategies import exchanges, requests, said
from tests.words import text, thinking

AT = datetime(2026, 11, 22, tzinfo=UTC)
policies = st.sampled_from([Policy(), Policy(ttl="1h")])


def planned(request: dict, policy: Policy | None = None, warm: CacheClock | None = None) -> Plan:
    return Ledger().plan(Prompt.of(request), warm or CacheClock(), at=AT, policy=policy or Policy())


def breakpoints(body: dict) -> list[tuple[dict, str]]:
    """Every block that carries a breakpoint, in prompt order, with its TTL."""
    system = body.get("system") or []
    contents = [block for message in body["messages"] for block in message["content"]]
    inner = [nested for block in contents for nested in nested_blocks(block)]
    blocks = [*(body.get("tools") or []), *system, *contents, *inner]
    return [(block, ttl) for block in blocks if (ttl := breakpoint_ttl(block))]


def nested_blocks(block: dict) -> list[dict]:
    inner = block.get("content") if block.get("type") == "tool_result" else None
    return [item for item in inner if "cache_control" in item] if isinstance(inner, list) else []


def stripped(body: dict) -> dict:
    return {
        **body,
        **{name: [unmarked(block) for block in body[name]] for name in ("tools", "system") if body.get(name)},
        "messages": [unmarked(message) for message in body["messages"]],
    }


@settings(max_examples=150)
@given(requests(), policies)
def test_a_marked_request_obeys_every_rule_of_the_api(request, policy):
    body = planned(request, policy).marked(request)
    marks = breakpoints(body)

    assert len(marks) <= 4
    assert [ttl for _, ttl in marks] == sorted((ttl for _, ttl in marks), key=["1h", "5m"].index)
    for block, _ in marks:
        assert block.get("type") not in {"thinking", "redacted_thinking", "brand_new_block"}
        assert block.get("type") != "text" or block["text"].strip()
        assert not block.get("defer_loading")


@settings(max_examples=150)
@given(requests(), policies)
def test_nothing_but_breakpoints_is_touched(request, policy):
    before = deepcopy(request)
    body = planned(request, policy).marked(request)

    assert stripped(body) == stripped(request)
    assert request == before


@settings(max_examples=75)
@given(requests(), policies)
def test_planning_twice_gives_the_same(request, policy):
    once = planned(request, policy)
    body = once.marked(request)
    again = planned(request, policy)

    assert once.breakpoints == again.breakpoints
    assert body == again.marked(request)
    # What was marked before, by us, is no other prompt: only where the marks are differs.
    assert [node.digest for node in once.prompt.nodes] == [node.digest for node in Prompt.of(body).nodes]


@settings(max_examples=150)
@given(requests(), exchanges(), said, st.integers(0, 12), st.booleans())
def test_a_prompt_grown_by_a_turn_is_the_prompt_read_anew(request, reply, ask, kept, leaves_context):
    context = [{"role": "system", "content": [text("by the way")], "clear_at": "next_user_message"}]
    sent = Messages(request["messages"]).plus(context if leaves_context else [])
    grown = {**request, "messages": sent.first(kept).plus([*reply[1:], {"role": "user", "content": ask}])}
    anew = Prompt.of({**grown, "messages": [*grown["messages"]]})

    assert Prompt.of(grown, grown_from=Prompt.of({**request, "messages": sent})) == anew


def test_a_prompt_that_grows_reads_only_what_is_new():
    messages = Messages([{"role": "user", "content": [text(f"{n}")]} for n in range(500)])
    earlier = Prompt.of({**chat(), "messages": messages})
    grown = Prompt.of({**chat(), "messages": messages.plus(chat()["messages"])}, grown_from=earlier)

    assert all(old is new for old, new in zip(earlier.nodes, grown.nodes, strict=False))


CHANGES = {
    "model": "claude-haiku-4-5",
    "tools": [{"name": "other", "input_schema": {"type": "object"}}],
    "system": "Another one.",
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "workspace_id": "wrkspc_1",
    "inference_geo": "us",
    "mcp_servers": [{"type": "url", "name": "docs", "url": "https://docs.example"}],
    "speed": "fast",
    "container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]},
    "tool_choice": {"type": "any"},
    "thinking": {"type": "enabled", "budget_tokens": 2_000},
    "output_config": {"effort": "low"},
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_prompt_that_grows_notices_a_change_of_what_is_not_said(name):
    request = {**chat(), "messages": Messages(chat()["messages"])}
    earlier, now = Prompt.of(request), {**request, name: CHANGES[name]}

    assert Prompt.of(now, grown_from=earlier) == Prompt.of(now)
    assert Prompt.of(now, grown_from=earlier).changed(earlier.fields)


def test_where_thinking_is_dropped_only_the_last_loop_is_read_again():
    loop = [
        {"role": "user", "content": [text("go")]},
        {"role": "assistant", "content": [thinking("hm"), text("done")]},
    ]
    request = {**chat(), "model": "claude-haiku-4-5"}
    before = Messages(loop * 100).plus([{"role": "user", "content": [text("more")]}])
    earlier = Prompt.of({**request, "messages": before})
    now = {**request, "messages": before.plus([*loop[1:], {"role": "user", "content": [text("again")]}])}
    grown = Prompt.of(now, grown_from=earlier)

    assert grown == Prompt.of({**now, "messages": [*now["messages"]]})
    assert [old is new for old, new in zip(earlier.nodes, grown.nodes, strict=False)].count(False) <= 1


def chat(*, head: int = 20_000, turns: int = 3, **fields: object) -> dict:
    messages = []
    for turn in range(turns):
        messages.append({"role": "user", "content": [{"type": "text", "text": f"question {turn}"}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": f"answer {turn}"}]})
    messages.append({"role": "user", "content": [{"type": "text", "text": f"question {turns}"}]})
    system = [{"type": "text", "text": "x" * head}]
    return {"model": "claude-opus-5", "max_tokens": 100, "system": system, "messages": messages, **fields}


def slots(plan: Plan) -> dict[str, tuple]:
    return {point.slot: point.node.path for point in plan.breakpoints}


def test_the_border_is_the_end_of_the_system_prompt():
    request = chat(tools=[{"name": "look", "input_schema": {"type": "object"}}])

    assert slots(planned(request)) == {"border": ("system", 0), "tail": ("messages", 6, 0)}


def test_without_a_system_prompt_the_border_is_the_last_tool_that_is_not_deferred():
    deferred = {"name": "later", "input_schema": {"type": "object"}, "defer_loading": True}
    tool = {"name": "look", "description": "x" * 9_000, "input_schema": {"type": "object"}}
    request = chat(tools=[tool, deferred])
    del request["system"]

    assert slots(planned(request))["border"] == ("tools", 0)


def test_the_anchor_is_the_tail_of_the_last_kept_turn():
    first = planned(chat(turns=2))
    request = chat(turns=3)
    plan = Ledger().plan(
        Prompt.of(request), CacheClock(), at=AT, policy=Policy(), landmarks=Landmarks(anchor=first.tail)
    )

    assert slots(plan) == {"border": ("system", 0), "anchor": ("messages", 4, 0), "tail": ("messages", 6, 0)}


def test_an_anchor_whose_prefix_changed_is_not_marked():
    first = planned(chat(turns=2, system=[{"type": "text", "text": "y" * 20_000}]))
    plan = Ledger().plan(
        Prompt.of(chat()), CacheClock(), at=AT, policy=Policy(), landmarks=Landmarks(anchor=first.tail)
    )

    assert "anchor" not in slots(plan)


def test_a_prefix_that_is_surely_too_short_gets_no_breakpoint():
    assert planned(chat(head=400, model="claude-haiku-4-5")).breakpoints == ()


def test_on_a_model_that_drops_thinking_the_opener_of_the_tool_loop_is_kept_marked():
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "look it up"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "a", "name": "look", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "found"}]},
    ]
    request = chat(messages=messages, model="claude-haiku-4-5")

    assert slots(planned(request))["edge"] == ("messages", 0, 0)
    assert "edge" not in slots(planned({**request, "model": "claude-opus-5"}))


def test_a_fifth_breakpoint_of_the_callers_is_dropped_and_its_hour_is_kept_in_order():
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    five = {"cache_control": {"type": "ephemeral"}}
    ask = [{"type": "text", "text": f"document {n} " * 50, **(hour if n == 3 else five)} for n in range(6)]
    request = chat(messages=[{"role": "user", "content": ask}])
    plan = planned(request)

    assert [point.ttl for point in plan.breakpoints] == ["1h", "1h", "5m", "5m"]
    assert len(breakpoints(plan.marked(request))) == 4


def test_the_forecast_of_a_warm_prefix_reads_it_and_writes_the_rest():
    warm = CacheClock()
    first = planned(chat(turns=0), warm=warm)
    _, turn, entries = Ledger().settle(first, Bill(total=Usage(written_5m=5_000)), warm, at=AT)
    warm.record(entries)
    forecast = planned(chat(turns=1), warm=warm).forecast

    assert turn.forecast.read == 0
    assert forecast.read == 5_000
    assert 0 < forecast.written_5m < 50
    assert forecast.uncached == 0


@pytest.mark.parametrize(("rounds", "read"), [(9, True), (10, False)])
def test_the_lookback_reaches_twenty_positions_and_no_further(rounds, read):
    """A tail two positions further a round: after nine rounds the old one is the 19th of 20."""
    warm = CacheClock()
    first = planned(chat(turns=0, system=None, messages=[user("x" * 20_000)]), warm=warm)
    _, _, entries = Ledger().settle(first, Bill(total=Usage(written_5m=5_000)), warm, at=AT)
    warm.record(entries)
    messages = [user("x" * 20_000)]
    for n in range(rounds):
        messages += [{"role": "assistant", "content": [{"type": "text", "text": f"{n}"}]}, user(f"more {n}")]

    forecast = planned(chat(system=None, messages=messages), warm=warm).forecast
    assert (forecast.read == 5_000) is read


def test_an_image_is_no_hundred_thousand_tokens():
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "A" * 1_000_000},
    }
    request = chat(messages=[{"role": "user", "content": [image, {"type": "text", "text": "what is it?"}]}])

    assert 1_500 < planned(request).forecast.prompt - planned(chat(turns=0)).forecast.prompt < 1_800


def user(words: str) -> dict:
    return {"role": "user", "content": [{"type": "text", "text": words}]}
