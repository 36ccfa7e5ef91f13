"""Tools the API runs itself: each result is written for five minutes, and read when the model is asked again."""

import pytest

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CALL = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def user(*blocks):
    return {"role": "user", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def searched(api, *messages, answer=None, **body):
    """Scripted: a search, then the answer. Each block of it counts one word."""
    api.emulator.script({"content": answer or [CALL, RESULT, text("it rains")]})
    return api.send([*messages], tools=[SEARCH], **body).usage


def split(usage):
    creation = usage.cache_creation
    return (
        usage.cache_read_input_tokens,
        creation.ephemeral_1h_input_tokens,
        creation.ephemeral_5m_input_tokens,
        usage.input_tokens,
    )


def test_the_result_of_a_marked_request_is_written_for_five_minutes(api):
    """T44: unasked, and although every mark says an hour. The sum holds the prompt of both times."""
    usage = searched(api, user(text("will it rain", cache_control=HOUR)))
    assert split(usage) == (4, 4, 2, 0)
    assert [entry.ttl.total_seconds() for entry in api.emulator.entries] == [3600, 300]


def test_each_time_of_asking_is_told_by_itself(api):
    """E8: the top is their sum."""
    iterations = searched(api, user(text("will it rain", cache_control=MARK))).to_dict()["iterations"]
    told = [
        (
            one["type"],
            one["cache_read_input_tokens"],
            one["cache_creation_input_tokens"],
            one["output_tokens"],
        )
        for one in iterations
    ]
    assert told == [("message", 0, 4, 1), ("message", 4, 2, 2)]


def test_an_unmarked_request_is_not_cached_by_its_server_tools(api):
    """T44, B16."""
    assert split(searched(api, user("will it rain"))) == (0, 0, 0, 10)
    assert api.emulator.entries == []


def test_the_servers_breakpoint_takes_no_slot(api):
    """U17: four marks of an hour, and still five minutes behind them."""
    marked = [text(f"block {n}", cache_control=HOUR) for n in range(4)]
    assert split(searched(api, user(*marked)))[2] == 2


def test_the_next_request_reads_up_to_the_result(api):
    question = user(text("will it rain", cache_control=MARK))
    searched(api, question)
    answer = {"role": "assistant", "content": [CALL, RESULT, text("it rains")]}
    again = [user("will it rain"), answer, user(text("thanks", cache_control=MARK))]
    assert api.billed(again, tools=[SEARCH]) == (6, 3, 0)


def test_calls_side_by_side_ask_the_model_once_more_and_calls_in_a_row_twice(api):
    second = [{**CALL, "id": "srvtoolu_2"}, {**RESULT, "tool_use_id": "srvtoolu_2"}]
    side_by_side = [CALL, second[0], RESULT, second[1], text("it rains")]
    in_a_row = [CALL, RESULT, *second, text("it rains")]
    assert len(searched(api, user("a"), answer=side_by_side).to_dict()["iterations"]) == 2
    usage = searched(api, user("a"), answer=in_a_row)
    assert len(usage.to_dict()["iterations"]) == 3
    assert usage.server_tool_use.web_search_requests == 2


def test_an_answer_without_a_server_tool_tells_no_iterations(api):
    api.emulator.script({"content": "it rains"})
    usage = api.send("will it rain", tools=[SEARCH]).usage.to_dict()
    assert not usage.keys() & {"iterations", "server_tool_use"}


ASKED = {
    "Search the web for rain.": (SEARCH, "web_search_tool_result"),
    "Fetch https://example.org/rain": (
        {"type": "web_fetch_20250910", "name": "web_fetch"},
        "web_fetch_tool_result",
    ),
    "Please run some code.": (
        {"type": "code_execution_20250825", "name": "code_execution"},
        "bash_code_execution_tool_result",
    ),
    "Search your tools for rain.": (
        {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
        "tool_search_tool_result",
    ),
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_default_replies_use_a_server_tool_that_is_asked_for(api, asked):
    tool, result = ASKED[asked]
    deferred = {"name": "rain", "input_schema": {"type": "object"}, "defer_loading": True}
    tools = [tool, deferred] if tool["type"].startswith("tool_search") else [tool]
    message = api.send(asked, tools=tools)
    assert [block.type for block in message.content] == ["server_tool_use", result, "text"]
    history = [user(asked), {"role": "assistant", "content": message.content}, user("Thanks.")]
    assert api.send(history, tools=tools).content[0].type == "text"
