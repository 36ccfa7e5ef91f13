"""`assert_prefix_stable` and `assert_cached`: what they let pass, what they refuse, and how they say it."""

import copy
from datetime import timedelta

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcache.testing import assert_cached, assert_prefix_stable
from tests.strategies import requests as bodies
from tests.testing.chat import GUIDE, body, differing_path, marked, refusal, text


def test_messages_may_be_appended_and_taken_back():
    assert_prefix_stable([body("one"), body("one", "two", "three"), body("one")])


def test_breakpoints_may_come_go_and_move():
    first = body([marked(text("one"))], tools=[marked({"name": "a", "input_schema": {}})])
    second = body("one", "two", [marked(text("three"))], tools=[{"name": "a", "input_schema": {}}])

    assert_prefix_stable([first, {**second, "cache_control": {"type": "ephemeral"}}])


def test_a_string_is_the_block_it_stands_for_also_in_a_tool_result():
    result = {"type": "tool_result", "tool_use_id": "a", "content": "found"}
    assert_prefix_stable([body("one"), body([text("one")])])
    assert_prefix_stable([body([result]), body([{**result, "content": [marked(text("found"))]}])])


def test_a_parameter_spelled_out_with_its_default_is_the_same():
    assert_prefix_stable(
        [body("one"), body("one", tool_choice={"type": "auto"}, output_config={"effort": "high"})]
    )


def test_what_is_never_cached_may_change():
    deferred = [{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": {}, "defer_loading": True}]
    scoped = {"role": "system", "content": "now", "clear_at": "next_user_message"}
    first, second = body("one", tools=deferred[:1]), body("one", "two", "three", tools=deferred)
    first["messages"].append(scoped)

    assert_prefix_stable([first, second])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"model": "claude-opus-4-8"}, "model"),
        ({"system": "Something else."}, "system.0.text"),
        ({"system": None}, "system.0"),
        ({"tools": [{"name": "b", "input_schema": {}}]}, "tools.0.name"),
        ({"tools": [{"name": "a", "input_schema": {"type": "object"}}]}, "tools.0.input_schema.type"),
        ({"tools": [{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": {}}]}, "tools.1"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "adaptive"}}, "thinking"),
        ({"output_config": {"effort": "low"}}, "effort"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "format"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"messages": [{"role": "user", "content": "other"}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "assistant", "content": "one"}]}, "messages.0.role"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_first_path_that_differs_is_named(change, path):
    first = body("one", tools=[{"name": "a", "input_schema": {}}])

    assert differing_path(first, {**first, **change}) == path


def test_both_sides_are_shown_around_the_difference_only():
    first, second = (body("one", system=f"{GUIDE}It is {time}. {GUIDE}") for time in ("10:41:03", "10:41:07"))

    assert refusal(first, second) == [
        "Request 2 does not begin as request 1 did: system.0.text differs.",
        '  before: "…at the model answers from. It is 10:41:03. A sentence of the guide that the mode…"',
        '  now:    "…at the model answers from. It is 10:41:07. A sentence of the guide that the mode…"',
    ]


def test_something_missing_is_shown_as_nothing():
    assert refusal(body("one"), body("one", system=""))[2] == "  now:    (nothing)"


def test_the_order_of_keys_counts_where_the_model_sees_it_and_only_there():
    def call(**given):
        return body("one", [{"type": "tool_use", "id": "a", "name": "look", "input": given}])

    turned = call(x=1, y=2)
    turned["messages"][1]["content"][0] = dict(reversed(turned["messages"][1]["content"][0].items()))

    assert_prefix_stable([call(x=1, y=2), turned])
    assert refusal(call(x=1, y=2), call(y=2, x=1)) == [
        "Request 2 does not begin as request 1 did: messages.1.content.0.input differs.",
        "  before: keys in the order x, y",
        "  now:    keys in the order y, x",
    ]


def test_a_tools_own_cache_control_is_content():
    def call(value):
        return body(
            "one", [{"type": "tool_use", "id": "a", "name": "look", "input": {"cache_control": value}}]
        )

    assert differing_path(call("x"), call("y")) == "messages.1.content.0.input.cache_control"


def test_it_is_the_request_just_before_that_counts():
    requests = [body("one"), body("one", "two", "three"), body("one", "2", "three")]

    assert refusal(*requests)[0].startswith("Request 3 does not begin as request 2 did: messages.1")


@given(bodies(), st.data())
def test_it_passes_whenever_messages_are_appended_and_fails_whenever_one_is_edited(asked, data):
    before = copy.deepcopy(asked)
    longer = {**asked, "messages": [*asked["messages"], {"role": "assistant", "content": "more"}]}
    assert_prefix_stable([asked, longer])

    place = data.draw(st.integers(0, len(asked["messages"]) - 1))
    edited = copy.deepcopy(longer)
    edited["messages"][place]["content"] = [text("something never said before")]
    assert differing_path(asked, edited).startswith(f"messages.{place}.")
    assert asked == before


def asked(client, *said, **fields):
    return client.messages.create(**body(*said, **fields), cache_control={"type": "ephemeral"})


def test_a_chat_that_reads_what_it_sent_is_cached(anthropic_emulator):
    client = anthropic_emulator.client()
    for length in (1, 3, 5):
        asked(client, *["word"] * length)

    assert_cached(anthropic_emulator.requests)
    assert_prefix_stable(anthropic_emulator.requests)


@anthropic.beta_tool
def look(at: str) -> str:
    """Looks at something."""
    return f"{at} is there"


def test_a_request_that_continues_a_thread_says_what_the_thread_said_also_once_it_is_lost(anthropic_emulator):
    for number in range(3):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": {"at": "home"}}
        anthropic_emulator.script({"content": [text("Well."), call], "stop_reason": "tool_use"})
    runner = anthropic_emulator.client().beta.messages.tool_runner(
        **body("Is it there?"), tools=[look], cache_control={"type": "ephemeral", "ttl": "1h"}
    )
    for number, _ in enumerate(runner):
        anthropic_emulator.clock.advance(timedelta(minutes=6 if number == 2 else 0))
    records = [record for record in anthropic_emulator.requests if record.status == 200]

    assert [record.body["thread"]["type"] for record in records] == [
        "create",
        "continue",
        "continue",
        "create",
    ]
    assert_prefix_stable(anthropic_emulator.requests)
    assert_cached(anthropic_emulator.requests)


def continued(*said, after="msg_1", **fields):
    return {**body(*said, **fields), "thread": {"type": "continue", "previous_message_id": after}}


def test_a_thread_may_be_taken_up_by_a_request_that_spells_it_out():
    whole = body("one", "reply", "three", "another reply", "five")
    turns = [body("one"), continued("three"), continued("five", after="msg_2")]
    other = body("one", "reply", "never said", "another reply", "five")

    assert_prefix_stable([*turns, whole])
    assert_prefix_stable([body("one"), continued("three"), continued("three")])
    assert differing_path(*turns, other) == "messages.2.content.0.text"


def test_a_turn_of_a_thread_inherits_its_system_and_tools_but_no_parameter():
    without = {key: value for key, value in continued("three").items() if key != "system"}

    assert_prefix_stable([body("one"), without])
    assert differing_path(body("one", speed="fast"), without) == "speed"


def test_bodies_may_hold_what_the_sdk_returned(anthropic_emulator):
    thinking = {"type": "thinking", "thinking": "Well.", "signature": "sig"}
    anthropic_emulator.script({"content": [thinking, text("two")]})
    reply = asked(anthropic_emulator.client(), "one")
    automatic = {"cache_control": {"type": "ephemeral"}}
    chat = [body("one", **automatic), body("one", reply.content, "three", **automatic)]
    spelled_out = body("one", [block.to_dict() for block in reply.content], "three", **automatic)

    assert_prefix_stable([*chat, spelled_out])
    assert_cached([*chat, spelled_out])
    assert differing_path(chat[1], body("one", "other", "three")).startswith("messages.1.content.0.")


def test_bodies_may_hold_tools_that_run():
    chat = [body("one", tools=[look]), body("one", tools=[look.to_dict()])]
    automatic = {"cache_control": {"type": "ephemeral"}}

    assert_prefix_stable(chat)
    assert_cached([{**each, **automatic} for each in chat])


def test_betas_of_a_body_are_sent_as_a_header():
    fields = {"speed": "fast", "betas": ["fast-mode-2026-02-01"], "cache_control": {"type": "ephemeral"}}

    assert_cached([body("one", **fields), body("one", "two", "three", **fields)])


def test_the_requests_that_read_too_little_are_listed_with_their_tokens(anthropic_emulator):
    client = anthropic_emulator.client()
    asked(client, "one")
    asked(client, "one", "two", "three")
    asked(client, "one", system=GUIDE + "!")
    usage = anthropic_emulator.requests[2].usage

    with pytest.raises(AssertionError) as caught:
        assert_cached(anthropic_emulator.requests, at_least=0.9)

    assert str(caught.value) == (
        "1 of 2 requests read less than 90%:\n"
        f"  request 3: 0% read (0 read, {usage.written} written, 0 uncached)"
    )


def test_what_was_refused_or_only_counted_is_passed_over(anthropic_emulator):
    client = anthropic_emulator.client(max_retries=0)
    asked(client, "one")
    anthropic_emulator.fail(status=500)
    with pytest.raises(Exception, match="Internal server error"):
        asked(client, "something else")
    client.messages.count_tokens(model="claude-opus-5", messages=[{"role": "user", "content": "count"}])
    asked(client, "one", "two", "three")

    assert_cached(anthropic_emulator.requests)
    assert_prefix_stable(anthropic_emulator.requests)


def test_bodies_are_billed_by_an_emulator_of_their_own():
    automatic = {"cache_control": {"type": "ephemeral"}}
    chat = [body("one", **automatic), body("one", "two", "three", **automatic, stream=True)]

    assert_cached(chat)
    with pytest.raises(AssertionError, match=r"request 2: 0% read \(0 read, 0 written, \d+ uncached\)"):
        assert_cached([body("one"), body("one", "two", "three")])


def test_a_body_that_the_api_refuses_fails_with_its_text():
    with pytest.raises(AssertionError, match="Request 2 is refused: system: text content blocks must be"):
        assert_cached([body("one"), body("one", system=[text("")])])


@pytest.mark.parametrize("count", [0, 1])
def test_it_takes_two_requests_to_read(count):
    with pytest.raises(AssertionError, match=f"It takes two requests .* there are {count}"):
        assert_cached([body("one")] * count)
