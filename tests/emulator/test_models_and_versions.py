"""What one model, version or platform refuses and another does not."""

import pytest

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
NEWEST = "2026-10-21"


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def user(*blocks):
    return {"role": "user", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def assistant(*blocks):
    return {"role": "assistant", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def answered(api, version=NEWEST, **body):
    """The status, and the text of the refusal if there is one."""
    headers = {"x-api-key": "key", "anthropic-version": version}
    response = api.raw({"messages": [user("one")], **body}, headers=headers)
    return response.status_code, response.json().get("error", {}).get("message")


@pytest.mark.parametrize(
    "model", ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5", "claude-mythos-5-1"]
)
def test_some_models_cannot_not_think(api, model):
    """G6."""
    refusal = api.refused([user("one")], model=model, thinking={"type": "disabled"})
    assert refusal == "thinking.type: 'disabled' is not supported on this model"


def test_leaving_thinking_out_means_thinking_where_it_cannot_be_off(api):
    marked = [user(text("one two", cache_control=MARK))]
    for model, thinking in (("claude-opus-5-5", "adaptive"), ("claude-opus-4-8", "disabled")):
        assert api.billed(marked, model=model) == (0, 2, 0)
        assert api.billed(marked, model=model, thinking={"type": thinking}) == (2, 0, 0)


def test_only_one_model_thinks_between_tools_alone(api):
    """G6: at an effort of high or below."""
    thinking = {"thinking": {"type": "between_tools"}}
    assert answered(api, model="claude-sonnet-5-5", **thinking)[0] == 200
    high = {"output_config": {"effort": "max"}}
    assert answered(api, model="claude-sonnet-5-5", **thinking, **high) == (
        400,
        "thinking.type: 'between_tools' requires an effort of 'high' or below",
    )
    assert answered(api, **thinking) == (
        400,
        "thinking.type: 'between_tools' is not supported on this model",
    )


@pytest.mark.parametrize(
    "model", ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-mythos-5-1"]
)
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "look"}])
def test_some_models_cannot_be_forced_to_use_tools(api, model, choice):
    """G6."""
    refusal = api.refused([user("one")], model=model, tools=[TOOL], tool_choice=choice)
    assert refusal == f"tool_choice: type '{choice['type']}' is not supported on this model"


def test_an_effort_that_a_model_does_not_have_is_refused(api):
    body = {"output_config": {"effort": "xhigh"}}
    assert answered(api, model="claude-opus-4-7", **body)[0] == 200
    assert answered(api, model="claude-opus-4-6", **body) == (
        400,
        "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
    )


def test_newer_models_do_not_go_on_with_a_begun_answer(api):
    begun = {"messages": [user("one"), assistant("two")]}
    assert answered(api, model="claude-haiku-4-5", **begun)[0] == 200
    for model in ("claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-5-5"):
        assert answered(api, model=model, **begun) == (
            400,
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )


def test_an_answer_that_waits_for_the_server_may_come_last(api):
    call = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    assert answered(api, messages=[user("one"), assistant(call, result)])[0] == 200


def test_a_begun_answer_does_not_end_in_white_space(api):
    begun = [user("one"), assistant("two ")]
    refusal = api.refused(begun, model="claude-haiku-4-5")
    assert refusal == "messages: final assistant content cannot end with trailing whitespace"


SAMPLING = [("temperature", 0.5), ("top_p", 0.9), ("top_k", 5)]


@pytest.mark.parametrize(("name", "value"), SAMPLING)
def test_newer_models_have_no_sampling_parameters(api, name, value):
    """I6: older ones keep them, in every version."""
    for version in ("2023-06-01", NEWEST):
        assert answered(api, version, model="claude-opus-4-6", **{name: value})[0] == 200
        refusal = answered(api, version, model="claude-opus-4-7", **{name: value})
        assert refusal == (400, f"`{name}` is deprecated for this model.")


def test_a_temperature_of_one_is_put_up_with_in_the_older_version(api):
    assert answered(api, "2023-06-01", temperature=1.0)[0] == 200
    assert answered(api, NEWEST, temperature=1.0)[0] == 400


DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}
CITED = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
PLACES = {
    "messages.1.content.0: document blocks are not permitted in assistant messages": [
        user("one"),
        assistant(DOCUMENT, "two"),
        user("three"),
    ],
    "messages.0.content.0.text.citations: citations are not permitted in user messages": [
        user(text("one", citations=[CITED]))
    ],
}


@pytest.mark.parametrize("refusal", PLACES)
def test_the_newest_version_is_stricter_about_places(api, refusal):
    """I6."""
    assert answered(api, "2023-06-01", messages=PLACES[refusal])[0] == 200
    assert answered(api, NEWEST, messages=PLACES[refusal]) == (400, refusal)


def test_legacy_bedrock_knows_no_automatic_mark(emulated):
    """B8, section 10: explicit ones work."""
    api = emulated(platform="bedrock_legacy")
    assert api.refused([user("one")], cache_control=MARK) == "cache_control: Extra inputs are not permitted"
    assert api.billed([user(text("one two", cache_control=MARK))]) == (0, 2, 0)


def test_the_automatic_mark_counts_unless_that_is_switched_off(emulated):
    """U20."""
    four = [user(*(text(f"block {n}", cache_control=MARK) for n in range(4)))]
    five = "A maximum of 4 blocks with cache_control may be provided. Found 5."
    assert emulated().refused(four, cache_control=MARK) == five
    assert emulated(automatic_counts=False).billed(four, cache_control=MARK) == (0, 8, 0)


def test_marks_on_the_actions_of_a_batch_act_at_its_end_and_count_each(api):
    """B12."""

    def action(number, **extra):
        id_ = f"toolu_{number}"
        call = {"type": "tool_use", "id": id_, "name": "left_click", "input": {}, "toolset_name": "computer"}
        return {**call, **extra}

    def results(count):
        return user(
            *({"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": "ok"} for n in range(count))
        )

    tools = [{"type": "computer_toolset_20260801"}]
    batch = assistant(action(0, cache_control=MARK), action(1, cache_control=MARK), action(2))
    assert api.billed([user("one"), batch, results(3)], tools=tools) == (0, 5, 3)
    assert [mark.path for mark in api.emulator.requests[-1].breakpoints] == ["messages.1.content.2"]
    five = assistant(*(action(n, cache_control=MARK) for n in range(5)))
    assert "Found 5" in api.refused([user("one"), five, results(5)], tools=tools)


@pytest.mark.parametrize(("mixed", "read"), [("stands", 5), ("lapses", 0)])
def test_an_hour_on_top_of_five_minutes(emulated, mixed, read):
    """U2."""
    api = emulated(mixed_ttl=mixed)
    api.send([user(text("one two", cache_control=MARK))])
    grown = [user("one two", text("three four five", cache_control=HOUR))]
    assert api.billed(grown) == (2, 3, 0)
    api.pass_time(minutes=10)
    assert api.billed(grown)[0] == read
