"""Messages of the role `system` in the middle: where they may stand, and what they leave alone."""

import pytest

MARK = {"type": "ephemeral"}
ONCE = {"clear_at": "next_user_message"}
TOOL = {"name": "look", "description": "looks around", "input_schema": {"type": "object"}}
LATER = {**TOOL, "name": "later", "description": "comes later on", "defer_loading": True}
SUPPORTED = (
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-opus-5-5",
    "claude-fable-5",
    "claude-fable-5-1",
    "claude-mythos-5",
    "claude-mythos-5-1",
    "claude-sonnet-5-5",
)
PER_TURN = ("claude-fable-5-1", "claude-mythos-5-1", "claude-opus-5", "claude-opus-5-5", "claude-sonnet-5-5")


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def user(*blocks):
    return {"role": "user", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def assistant(*blocks):
    return {"role": "assistant", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def system(*blocks, **fields):
    return {"role": "system", "content": [text(b) if isinstance(b, str) else b for b in blocks], **fields}


def marked(words):
    return text(words, cache_control=MARK)


def change(kind, name="later"):
    return system({"type": f"tool_{kind}", "tool": {"type": "tool_reference", "name": name}})


@pytest.mark.parametrize("model", SUPPORTED)
def test_some_models_take_instructions_on_the_way(api, model):
    """G9."""
    assert api.send([user("one"), system("be brief")], model=model).role == "assistant"


@pytest.mark.parametrize(
    "model", ["claude-sonnet-5", "claude-opus-4-7", "claude-haiku-4-5", "claude-haiku-5-5"]
)
def test_the_others_do_not_know_the_role(api, model):
    """G9."""
    refusal = api.refused([user("one"), system("be brief")], model=model)
    assert refusal == "role 'system' is not supported on this model"


RESULT = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
CALL = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
PLACES = {
    "last": ([user("one"), system("brief")], None),
    "before an answer": ([user("one"), system("brief"), assistant("two"), user("three")], None),
    "two of them": ([user("one"), system("brief"), system("kind")], None),
    "after a server's result": ([user("one"), assistant(CALL, RESULT), system("brief")], None),
    "first": ([system("brief"), user("one")], 'messages: first message must use the "user" role'),
    "after an answer": (
        [user("one"), assistant("two"), system("brief"), assistant("three"), user("four")],
        (
            "messages.2: a system message must follow a user message, or an assistant message that ends with a "
            "server tool result"
        ),
    ),
    "before a user": (
        [user("one"), system("brief"), user("two")],
        "messages.1: a system message must be last or followed by an assistant message",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_they_stand_after_a_user_and_before_an_answer(api, place):
    """G9."""
    messages, refusal = PLACES[place]
    if refusal is None:
        assert api.send(messages).role == "assistant"
    else:
        assert api.refused(messages) == refusal


def test_what_holds_for_one_turn_is_gone_with_the_next_user_message(api):
    """G10, T36: it costs its tokens once and is part of no key."""
    first = [user(marked("one two")), system("be very brief", **ONCE)]
    raw = api.raw({"messages": first}).json()["usage"]
    assert (raw["cache_creation_input_tokens"], raw["input_tokens"]) == (2, 3)
    after = [*first, assistant("three"), user(marked("four"))]
    raw = api.raw({"messages": after}).json()["usage"]
    assert [raw[f"{kind}_input_tokens"] for kind in ("cache_read", "cache_creation")] == [2, 2]
    assert raw["input_tokens"] == 0


def test_without_it_the_prefix_is_the_same(api):
    with_it = [user("one two"), system("be brief", **ONCE), assistant("three"), user(marked("four"))]
    assert api.raw({"messages": with_it}).json()["usage"]["cache_creation_input_tokens"] == 4
    without = [user("one two"), assistant("three"), user(marked("four"))]
    assert api.billed(without) == (4, 0, 0)


def test_an_instruction_that_stays_is_part_of_the_prefix(api):
    """T36: appending one keeps what was cached before it."""
    assert api.billed([user(marked("one two"))]) == (0, 2, 0)
    grown = [user("one two"), system(marked("be brief"))]
    assert api.billed(grown) == (2, 2, 0)
    assert api.billed([*grown, assistant("three"), user(marked("four"))]) == (4, 2, 0)
    assert api.billed([user("one two"), assistant("three"), user(marked("four"))]) == (2, 2, 0)


@pytest.mark.parametrize("model", PER_TURN)
def test_effort_for_a_turn_keeps_the_prefix(api, model):
    """G11: unlike another effort for the whole request."""
    assert api.billed([user(marked("one two"))], model=model) == (0, 2, 0)
    lower = {"role": "system", "output_config": {"effort": "low"}}
    assert api.billed([user("one two"), lower, assistant("three"), user(marked("four"))], model=model) == (
        2,
        2,
        0,
    )
    whole = api.billed([user(marked("one two"))], model=model, output_config={"effort": "low"})
    assert whole == (0, 2, 0)


def test_other_models_have_one_effort_for_the_request(api):
    """G11."""
    lower = system("think less", output_config={"effort": "low"})
    assert api.refused([user("one"), lower]) == (
        "output_config.effort requires a model that supports per-turn effort; this model does not"
    )


def test_a_message_that_says_nothing_is_refused(api):
    empty = {"role": "system", "output_config": {}}
    assert "messages.1" in api.refused([user("one"), empty], model="claude-opus-5")


def test_tools_added_and_removed_on_the_way_keep_the_prefix(api):
    """G12: the definition is rendered where it is called in."""
    tools = [TOOL, LATER]
    assert api.billed([user(marked("one two"))], tools=tools) == (0, 4, 0)
    added = [user("one two"), change("addition"), assistant("three"), user(marked("four"))]
    assert api.billed(added, tools=tools) == (4, 3, 0)
    removed = [*added, change("removal"), assistant("five"), user(marked("six"))]
    assert api.billed(removed, tools=tools) == (7, 3, 0)


def test_an_added_tools_definition_is_part_of_the_key_from_there_on(api):
    added = [user(marked("one two")), change("addition"), assistant("three"), user(marked("four"))]
    assert api.billed(added, tools=[TOOL, LATER]) == (0, 7, 0)
    assert api.billed(added, tools=[TOOL, {**LATER, "description": "is another tool"}]) == (4, 3, 0)


def test_the_first_tool_of_a_request_without_any_costs_everything(api):
    """G12: the exception; the second one costs nothing."""
    inline = system({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": TOOL}})
    another = system(
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {**TOOL, "name": "b"}}}
    )
    assert api.billed([user(marked("one two"))]) == (0, 2, 0)
    first = [user("one two"), inline, assistant("three"), user(marked("four"))]
    assert api.billed(first) == (0, 5, 0)
    assert api.billed([*first, another, assistant("five"), user(marked("six"))]) == (5, 3, 0)


def test_a_tool_that_was_searched_for_is_expanded_where_it_was_found(api):
    """A8, G13: the prefix stays, and the definition counts from there on."""
    search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    found = {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "later"}],
    }
    call = {"type": "server_tool_use", "id": "s", "name": "tool_search_tool_bm25", "input": {"query": "q"}}
    result = {"type": "tool_search_tool_result", "tool_use_id": "s", "content": found}
    head, tools = user("one two"), [search, LATER]
    assert api.billed([user(marked("one two"))], tools=tools) == (0, 3, 0)
    loaded = [head, assistant(call, result, "three"), user(marked("four"))]
    assert api.billed(loaded, tools=tools) == (3, 4, 0)
    changed = [search, {**LATER, "description": "is another tool"}]
    assert api.billed(loaded, tools=changed)[0] == 3


def test_an_expanded_definition_costs_its_tokens(emulated):
    api = emulated(count_tokens=None)
    added = [user("one two"), change("addition")]
    wordy = {**LATER, "description": "many words " * 50}
    small, large = (sum(api.billed(added, tools=[TOOL, tool])) for tool in (LATER, wordy))
    assert large > small + 100


BAD_CHANGES = {
    "unknown": (
        change("addition", "nobody"),
        "messages.1.content.0.tool: 'nobody' is not defined at this point of the conversation",
    ),
    "marked twice": (
        system(
            {
                "type": "tool_addition",
                "cache_control": MARK,
                "tool": {
                    "type": "tool_definition",
                    "definition": {**TOOL, "name": "b", "cache_control": MARK},
                },
            }
        ),
        (
            "messages.1.content.0: cache_control may be set on the tool_addition block or in its definition, "
            "not on both"
        ),
    ),
    "deferred and marked": (
        system(
            {
                "type": "tool_addition",
                "tool": {"type": "tool_definition", "definition": {**LATER, "cache_control": MARK}},
            }
        ),
        (
            "Tool 'later' cannot have both defer_loading=true and cache_control set. "
            "Tools with defer_loading cannot use prompt caching."
        ),
    ),
    "said by the user": (
        user({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "look"}}),
        "messages.1.content.0: tool_addition blocks are only permitted in system messages",
    ),
}


@pytest.mark.parametrize("case", BAD_CHANGES)
def test_a_change_of_tools_has_to_make_sense(api, case):
    message, refusal = BAD_CHANGES[case]
    assert api.refused([user("one"), message], tools=[TOOL]) == refusal


def test_a_mark_in_an_inline_definition_acts_on_the_addition(api):
    definition = {**TOOL, "name": "b", "cache_control": MARK}
    added = system({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}})
    assert api.billed([user("one two"), added]) == (0, 3, 0)
    assert [mark.path for mark in api.emulator.requests[-1].breakpoints] == ["messages.1.content.0"]
