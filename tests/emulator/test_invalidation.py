"""Section 6: what a change costs, level by level, and the choices where the documents are silent."""

import pytest

MARK = {"type": "ephemeral"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1, "b": 2}}
PNG = {"type": "base64", "media_type": "image/png", "data": "aaaa"}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def tool(name, words="does one thing", **extra):
    return {"name": name, "description": words, "input_schema": {"type": "object"}, **extra}


def user(*blocks):
    return {"role": "user", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def assistant(*blocks):
    return {"role": "assistant", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


TOGGLES = {
    "model": ({"model": "claude-opus-4-7"}, 0),
    "speed": ({"extra_body": {"speed": "fast"}}, 3),
    "tool_choice": ({"tool_choice": {"type": "any"}}, 5),
    "parallel tools": ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, 5),
    "thinking": ({"thinking": {"type": "adaptive"}}, 5),
    "effort": ({"output_config": {"effort": "low"}}, 5),
    "format": ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, 5),
    "task budget": ({"output_config": {"task_budget": {"type": "tokens", "total": 20_000}}}, 5),
    "skills": ({"extra_body": {"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}}, 3),
    "container": ({"extra_body": {"container": "container_1"}}, 7),
    "mcp servers": (
        {"extra_body": {"mcp_servers": [{"type": "url", "name": "wiki", "url": "https://example.com"}]}},
        0,
    ),
    "geography": ({"inference_geo": "us"}, 0),
    "service tier": ({"service_tier": "standard_only"}, 7),
    "betas": ({"extra_headers": {"anthropic-beta": "context-1m-2025-08-07"}}, 7),
    "stream": ({"extra_body": {"stream": False}}, 7),
    "default effort": ({"output_config": {"effort": "high"}}, 7),
    "default tool choice": ({"tool_choice": {"type": "auto"}}, 7),
    "thinking off": ({"thinking": {"type": "disabled"}}, 7),
    "max_tokens": ({"max_tokens": 7}, 7),
    "metadata": ({"metadata": {"user_id": "someone"}}, 7),
    "stop sequences": ({"stop_sequences": ["stop"]}, 7),
}


REQUEST = {
    "messages": [user(text("two words", cache_control=MARK))],
    "system": [text("be kind", cache_control=MARK)],
    "tools": [tool("look", cache_control=MARK)],
}


@pytest.mark.parametrize("change", TOGGLES)
def test_a_parameter_costs_the_levels_it_is_mixed_into(api, change):
    """Section 6, T32 and T33: the table of salts, row by row."""
    parameters, survives = TOGGLES[change]
    assert api.billed(**REQUEST) == (0, 7, 0)
    assert api.billed(**{**REQUEST, **parameters}) == (survives, 7 - survives, 0)


OPTIONS = {
    "thinking first": ({"thinking_first": True}, {"thinking": {"type": "adaptive"}}, 0),
    "effort first": ({"thinking_first": True}, {"output_config": {"effort": "low"}}, 0),
    "strict speed": ({"strict_speed": True}, {"extra_body": {"speed": "fast"}}, 0),
    "one geography": ({"geo_partitions": False}, {"inference_geo": "us"}, 7),
    "betas count": ({"betas_in_key": True}, {"extra_headers": {"anthropic-beta": "x"}}, 0),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_moves_a_parameter_to_another_level(emulated, option):
    """U9, U11, U24, U27."""
    settings, parameters, survives = OPTIONS[option]
    api = emulated(**settings)
    assert api.billed(**REQUEST) == (0, 7, 0)
    assert api.billed(**{**REQUEST, **parameters})[0] == survives


WEB = [
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": "web_fetch_20250910", "name": "web_fetch"},
]


@pytest.mark.parametrize("web", WEB)
@pytest.mark.parametrize("is_first", [True, False])
def test_switching_web_search_on_or_off_spares_the_tools(api, web, is_first):
    """Section 6: it edits the system prompt."""
    both = [web, *REQUEST["tools"]] if is_first else [*REQUEST["tools"], web]
    assert api.billed(**REQUEST) == (0, 7, 0)
    assert api.billed(**{**REQUEST, "tools": both}) == (3, 5, 0)
    assert api.billed(**REQUEST) == (7, 0, 0)


def test_citations_on_or_off_spare_the_tools_only(api):
    """Section 6."""

    def request(*, cited):
        source = {"type": "text", "media_type": "text/plain", "data": "a"}
        document = {"type": "document", "source": source, "citations": {"enabled": cited}}
        return {**REQUEST, "messages": [user(document, text("two words", cache_control=MARK))]}

    assert api.billed(**request(cited=False)) == (0, 8, 0)
    assert api.billed(**request(cited=True)) == (3, 5, 0)
    assert api.billed(**REQUEST) == (5, 2, 0)


def test_a_deferred_toolset_is_not_in_the_prefix(api):
    """B12."""
    toolset = {"type": "mcp_toolset", "mcp_server_name": "wiki", "default_config": {"defer_loading": True}}
    servers = {"mcp_servers": [{"type": "url", "name": "wiki", "url": "https://example.com"}]}
    request = {"messages": [user(text("two words", cache_control=MARK))], "extra_body": servers}
    assert api.billed(**request, tools=[tool("look")]) == (0, 5, 0)
    assert api.billed(**request, tools=[tool("look"), toolset]) == (5, 0, 0)


def test_a_toolset_with_one_tool_at_hand_is_in_the_prefix(api):
    toolset = {
        "type": "mcp_toolset",
        "mcp_server_name": "wiki",
        "default_config": {"defer_loading": True},
        "configs": {"ask": {"defer_loading": False}},
    }
    assert sum(api.billed([user("two words")], tools=[toolset])) == 3


def test_only_deferred_toolsets_are_no_tools_either(api):
    toolset = {"type": "mcp_toolset", "mcp_server_name": "wiki", "default_config": {"defer_loading": True}}
    assert api.refused([user("one")], tools=[toolset]) == "At least one tool must have defer_loading=false"


def test_removing_the_last_image_costs_the_messages_too(api):
    """Section 6, U10: any image in the request, wherever it stands."""
    image = {"type": "image", "source": PNG}
    first = user(text("one", cache_control=MARK))
    with_image = [first, assistant("two"), user(image, text("three", cache_control=MARK))]
    assert api.billed(with_image) == (0, 4, 0)
    assert api.billed([first, assistant("two"), user(text("three", cache_control=MARK))]) == (0, 3, 0)


def test_images_count_in_place_only_if_that_is_chosen(emulated):
    """U10."""
    api = emulated(images="in_place")
    assert api.billed([user(text("one", cache_control=MARK))]) == (0, 1, 0)
    image = {"type": "image", "source": PNG, "cache_control": MARK}
    assert api.billed([user("one", image)]) == (1, 1, 0)


def test_borders_of_messages_count_if_that_is_chosen(emulated):
    """U5."""
    api = emulated(strict_borders=True)
    assert api.billed([user("one", "two")], cache_control=MARK) == (0, 2, 0)
    assert api.billed([user("one"), user("two")], cache_control=MARK) == (0, 2, 0)


def test_thinking_that_is_switched_off_in_the_middle_of_a_turn_is_left_out(api):
    """G4: no error, and the blocks are gone."""
    thought = {"type": "thinking", "thinking": "three words long", "signature": "s"}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a result"}
    loop = [user("go"), assistant(thought, CALL), user(result)]
    assert sum(api.billed(loop, thinking={"type": "adaptive"})) == 7
    assert sum(api.billed(loop, thinking={"type": "disabled"})) == 4


def test_the_prompt_about_tools_can_be_counted(emulated):
    """U14."""
    api = emulated(tool_prompt_tokens=100)
    assert sum(api.billed("one two")) == 2
    assert sum(api.billed("one two", tools=[tool("look")])) == 105


def test_runs_of_the_servers_tools_collapse_if_that_is_chosen(emulated):
    """U7."""
    calls = [{"type": "server_tool_use", "id": f"s{n}", "name": "web_search", "input": {}} for n in range(12)]
    results = [{"type": "web_search_tool_result", "tool_use_id": f"s{n}", "content": []} for n in range(12)]
    for collapse, read in ((False, 0), (True, 1)):
        api = emulated(collapse_server_tools=collapse)
        api.billed([user(text("one", cache_control=MARK))])
        later = [user("one"), assistant(*calls, *results), user(text("two", cache_control=MARK))]
        assert api.billed(later)[0] == read


def test_the_first_image_costs_the_messages_even_in_a_tool_result(api):
    """U10: a later image does not."""
    image = {"type": "image", "source": PNG}
    before = [user("one"), assistant(CALL)]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image]}
    api.billed([user("one")], cache_control=MARK)
    assert api.billed([*before, user(result)], cache_control=MARK) == (0, 3, 0)
    more = [
        *before,
        user(result),
        assistant("two"),
        user({"type": "image", "source": {**PNG, "data": "bbbb"}}),
    ]
    assert api.billed(more, cache_control=MARK) == (3, 2, 0)
