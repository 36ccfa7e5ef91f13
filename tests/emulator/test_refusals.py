"""What the API answers with 400, and in which words."""

import pytest

MARK = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}
AFTER_SHORT = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
FIVE = "A maximum of 4 blocks with cache_control may be provided. Found 5."


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def marked(count, mark=MARK):
    return [text(f"block {n}", cache_control=mark) for n in range(count)]


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def tool(name, **extra):
    return {"name": name, "input_schema": {"type": "object"}, **extra}


THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def test_four_marks_are_allowed_and_five_are_not(api):
    """T9: over tools, system and messages together."""
    assert api.send([user(*marked(4))]).usage.cache_creation_input_tokens == 8
    mixed = {"tools": [tool("look", cache_control=MARK)], "system": marked(2)}
    assert api.refused([user(*marked(2))], **mixed) == FIVE


def test_the_automatic_mark_takes_a_slot(api):
    """T10: even where it coincides with an explicit one of the same TTL."""
    assert api.refused([user(*marked(4))], cache_control=MARK) == FIVE
    assert api.send([user(*marked(3), text("tail"))], cache_control=MARK).usage.input_tokens == 0


def test_nested_marks_count(api):
    result = {**RESULT, "content": marked(5)}
    assert api.refused([user(text("go")), assistant(CALL), user(result)]) == FIVE


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"tools": [tool("a", cache_control=MARK), tool("b", cache_control=LONG)]}, "tools.1"),
        ({"tools": [tool("a", cache_control=MARK)], "system": marked(1, LONG)}, "system.0"),
        ({"system": marked(1), "messages": [user(text("x", cache_control=LONG))]}, "messages.0.content.0"),
        ({"messages": [user(*marked(1), text("y"), *marked(1, LONG))]}, "messages.0.content.2"),
    ],
)
def test_an_hour_may_not_come_after_five_minutes(api, body, path):
    """T13: the first offending mark is named."""
    assert (
        api.refused(**{"messages": [user(text("hello"))], **body})
        == f"{path}.cache_control.ttl: {AFTER_SHORT}"
    )


def test_an_automatic_hour_may_not_come_after_five_minutes(api):
    """T13."""
    refusal = api.refused([user(*marked(1), text("tail"))], cache_control=LONG)
    assert refusal == f"cache_control: {AFTER_SHORT}"


def test_five_minutes_after_an_hour_are_fine(api):
    usage = api.send([user(*marked(1, LONG), *marked(1))]).usage
    assert usage.cache_creation.to_dict() == {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 2}


def test_the_automatic_mark_agrees_with_an_explicit_one_or_is_refused(api):
    """T12."""
    mismatch = (
        "Top-level cache_control has ttl='1h' but the target block already has cache_control with ttl='5m'. "
        "When both are specified on the same block, they must have matching TTLs."
    )
    assert api.refused([user(*marked(1))], cache_control=LONG) == mismatch
    assert api.send([user(*marked(1))], cache_control=MARK).usage.cache_creation_input_tokens == 2


def test_the_count_is_checked_before_the_order(api):
    """T14."""
    assert api.refused([user(*marked(4), *marked(1, LONG))]) == FIVE


def test_the_explicit_order_is_checked_before_the_automatic_target(api):
    blocks = [*marked(1), *marked(1, LONG), *marked(1)]
    assert api.refused([user(*blocks)], cache_control=LONG).startswith(
        "messages.0.content.1.cache_control.ttl"
    )


MISPLACED = {
    "empty text": (
        {"messages": [user(text("a"), text("", cache_control=MARK))]},
        "messages.0.content.1.text: cache_control cannot be set for empty text blocks",
    ),
    "empty system text": (
        {"system": [text("", cache_control=MARK)]},
        "system.0.text: cache_control cannot be set for empty text blocks",
    ),
    "thinking": (
        {"messages": [user(text("a")), assistant({**THINKING, "cache_control": MARK}, text("b"))]},
        "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
    ),
    "redacted thinking": (
        {
            "messages": [
                user(text("a")),
                assistant({"type": "redacted_thinking", "data": "x", "cache_control": MARK}),
            ]
        },
        "messages.1.content.0.redacted_thinking.cache_control: Extra inputs are not permitted",
    ),
    "a message": (
        {"messages": [{"role": "user", "content": "hello", "cache_control": MARK}]},
        "messages.0.cache_control: Extra inputs are not permitted",
    ),
    "a deferred tool": (
        {"tools": [tool("a"), tool("b", defer_loading=True, cache_control=MARK)]},
        (
            "Tool 'b' cannot have both defer_loading=true and cache_control set. "
            "Tools with defer_loading cannot use prompt caching."
        ),
    ),
    "a turn-scoped system message": (
        {
            "messages": [
                user(text("a")),
                {"role": "system", "content": marked(1), "clear_at": "next_user_message"},
            ]
        },
        (
            "messages.1.content.0: cache_control is not permitted on a turn-scoped system message "
            "(clear_at: 'next_user_message')"
        ),
    ),
}


@pytest.mark.parametrize("place", MISPLACED)
def test_some_places_cannot_hold_a_mark(api, place):
    """T15 and T16, with the texts of B8."""
    body, refusal = MISPLACED[place]
    assert api.refused(**{"messages": [user(text("hello"))], **body}) == refusal


MALFORMED = {
    "no messages": ({"messages": []}, "messages: at least one message is required"),
    "all tools deferred": (
        {"tools": [tool("a", defer_loading=True)]},
        "At least one tool must have defer_loading=false",
    ),
    "empty content": (
        {"messages": [user()]},
        "messages.0: all messages must have non-empty content except for the optional final assistant message",
    ),
    "empty string": (
        {"messages": [{"role": "user", "content": ""}]},
        "messages.0: all messages must have non-empty content except for the optional final assistant message",
    ),
    "empty text": (
        {"messages": [user(text("a"), text(""))]},
        "messages: text content blocks must be non-empty",
    ),
    "empty system text": ({"system": [text("")]}, "system: text content blocks must be non-empty"),
    "empty text in a result": (
        {"messages": [user(text("a")), assistant(CALL), user({**RESULT, "content": [text("")]})]},
        "messages: text content blocks must be non-empty",
    ),
    "blank text": (
        {"messages": [user(text(" \n"))]},
        "messages: text content blocks must contain non-whitespace text",
    ),
    "unknown thinking key": (
        {"messages": [user(text("a")), assistant({**THINKING, "text": "b"}, text("c"))]},
        "messages.1.content.0.thinking.text: Extra inputs are not permitted",
    ),
    "thinking without signature": (
        {"messages": [user(text("a")), assistant({"type": "thinking", "thinking": "hm"})]},
        "messages.1.content.0.thinking.signature: Field required",
    ),
    "system first": (
        {"messages": [{"role": "system", "content": "a"}, user(text("b"))]},
        'messages: first message must use the "user" role',
    ),
    "unknown role": (
        {"messages": [{"role": "robot", "content": "a"}]},
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    "unknown ttl": (
        {"messages": [user(text("a", cache_control={**MARK, "ttl": "2h"}))]},
        "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    "same tool twice": ({"tools": [tool("a"), tool("a")]}, "tools: Tool names must be unique."),
    "tool without schema": ({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required"),
    "call without result": (
        {"messages": [user(text("a")), assistant(CALL), user(text("b"))]},
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message."
        ),
    ),
    "call at the end": (
        {"messages": [user(text("a")), assistant(CALL)]},
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message."
        ),
    ),
    "text before results": (
        {"messages": [user(text("a")), assistant(CALL), user(text("b"), RESULT)]},
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message."
        ),
    ),
    "result without call": (
        {"messages": [user(text("a")), assistant(text("b")), user(RESULT)]},
        (
            "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. Each `tool_result` "
            "block must have a corresponding `tool_use` block in the previous message."
        ),
    ),
    "call ids twice": (
        {"messages": [user(text("a")), assistant(CALL, CALL), user(RESULT)]},
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_what_would_brick_a_session_is_refused(api, fault):
    body, refusal = MALFORMED[fault]
    assert api.refused(**{"messages": [user(text("hello"))], **body}) == refusal


@pytest.mark.parametrize("field", ["model", "messages", "max_tokens"])
def test_a_missing_field_is_named(api, field):
    body = {"model": "claude-opus-4-8", "max_tokens": 5, "messages": [user(text("a"))]}
    response = api.raw(repr({key: body[key] for key in body if key != field}).replace("'", '"').encode())
    assert (response.status_code, response.json()["error"]["message"]) == (400, f"{field}: Field required")


def test_an_unknown_block_type_is_refused(api):
    assert "Input tag 'telepathy' found using 'type'" in api.refused([user({"type": "telepathy"})])


def test_results_may_arrive_in_two_messages_of_one_turn(api):
    """Consecutive messages of one role are one turn."""
    second = {**CALL, "id": "toolu_2"}
    messages = [user(text("a")), assistant(CALL), assistant(second)]
    results = [user(RESULT), user({**RESULT, "tool_use_id": "toolu_2"}, text("go on"))]
    assert api.send([*messages, *results]).role == "assistant"


def test_an_unknown_model_is_not_found(api):
    response = api.raw({"model": "claude-unheard-of", "messages": [user(text("a"))]})
    assert (response.status_code, response.json()["error"]) == (
        404,
        {"type": "not_found_error", "message": "model: claude-unheard-of"},
    )


def test_a_request_without_a_key_is_not_let_in(api):
    response = api.raw({"messages": [user(text("a"))]}, headers={})
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")
    assert api.raw({"messages": [user(text("a"))]}, headers={"authorization": "Bearer x"}).status_code == 200


def test_an_error_names_its_request(api):
    response = api.raw({"messages": []})
    assert response.json()["type"] == "error"
    assert response.json()["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(api, body):
    response = api.raw(body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_refused_request_writes_and_refreshes_nothing(api):
    """Any 4xx."""
    api.send([user(*marked(1))])
    api.pass_time(seconds=200)
    api.refused([user(*marked(1), text(""))])
    api.pass_time(seconds=101)
    assert api.emulator.entries == []
    assert api.emulator.requests[-1].usage.prompt == 0


def test_counting_validates_marks_and_ignores_them_otherwise(api):
    """T49: no entry comes of it, and no `max_tokens` is needed."""

    def counted(blocks):
        return api.raw({"messages": [user(*blocks)]}, path="/v1/messages/count_tokens").json()

    assert counted(marked(5))["error"]["message"] == FIVE
    assert counted(marked(4)) == {"input_tokens": 8} == counted([text(f"block {n}") for n in range(4)])
    asked = api.client.messages.count_tokens(model="claude-opus-4-8", messages=[user(*marked(1))])
    assert asked.input_tokens == 2
    assert api.emulator.entries == []


@pytest.mark.parametrize(
    "conflict",
    [
        {"stream": True},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        {"tools": [tool("look")], "tool_choice": {"type": "any"}},
        {"tools": [tool("look")], "tool_choice": {"type": "tool", "name": "look"}},
    ],
)
def test_prewarming_does_not_go_with_everything(api, conflict):
    """T37: `max_tokens: 0` (H2)."""
    assert "max_tokens" in api.refused([user(*marked(1))], max_tokens=0, **conflict)


def test_prewarming_writes_and_says_nothing(api):
    """T37: the shape of H1; adaptive thinking is accepted."""
    message = api.send([user(*marked(1))], max_tokens=0, thinking={"type": "adaptive"})
    assert (message.content, message.stop_reason, message.stop_sequence) == ([], "max_tokens", None)
    assert (message.usage.cache_creation_input_tokens, message.usage.output_tokens) == (2, 0)


def test_a_prewarmed_prefix_is_read_and_a_placeholder_is_not(api):
    """T38."""
    shared = {"system": [text("shared words here", cache_control=MARK)]}
    assert api.billed([user(text("placeholder"))], max_tokens=0, **shared) == (0, 3, 1)
    assert api.billed([user(text("a real question"))], **shared) == (3, 0, 3)
    assert api.billed([user(text("placeholder", cache_control=MARK))], max_tokens=0) == (0, 1, 0)
    assert api.billed([user(text("another question", cache_control=MARK))]) == (0, 2, 0)
