"""How far a breakpoint looks back, and what counts as one position."""

import pytest

MARK = {"type": "ephemeral"}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def row(count, *, marks=(), start=1):
    """Numbered one-word blocks of one user turn, some of them marked; numbers as in the documents."""
    return [
        {"type": "text", "text": f"b{n}", **({"cache_control": MARK} if n in marks else {})}
        for n in range(start, count + 1)
    ]


def user(blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(blocks):
    return {"role": "assistant", "content": list(blocks)}


@pytest.mark.parametrize(("further", "read"), [(19, 10), (20, 0)])
def test_twenty_positions_are_tested_the_breakpoint_being_the_first(api, further, read):
    """T18."""
    api.send([user(row(10, marks=[10]))])
    assert api.billed([user(row(10 + further, marks=[10 + further]))])[0] == read


def test_the_example_of_the_documents(api):
    """T19: 10, 15, then 35 blocks; a second mark on 15 opens a second window."""
    assert api.billed([user(row(10, marks=[10]))]) == (0, 10, 0)
    assert api.billed([user(row(15, marks=[15]))]) == (10, 5, 0)
    assert api.billed([user(row(35, marks=[15, 35]))]) == (15, 20, 0)


def test_the_example_without_the_second_mark_misses_by_one(api):
    api.send([user(row(15, marks=[15]))])
    assert api.billed([user(row(35, marks=[35]))]) == (0, 35, 0)


def test_an_earlier_mark_has_a_window_of_its_own(api):
    """T20: it finds an entry up to twenty positions before itself."""
    api.send([user(row(5, marks=[5]))])
    assert api.billed([user(row(60, marks=[24, 60]))]) == (5, 55, 0)


def calls(count, start=0):
    return [
        {"type": "tool_use", "id": f"toolu_{start + n}", "name": "look", "input": {}} for n in range(count)
    ]


def results(count, start=0):
    return [
        {"type": "tool_result", "tool_use_id": f"toolu_{start + n}", "content": "r"} for n in range(count)
    ]


@pytest.mark.parametrize(("platform", "read"), [("claude", 1), ("bedrock", 0)])
def test_a_run_of_parallel_calls_is_one_position_where_the_platform_says_so(emulated, platform, read):
    """T21: thirty calls and their thirty results."""
    api = emulated(platform=platform)
    api.send([user(row(1, marks=[1]))])
    fan_out = [user(row(1)), assistant(calls(30)), user(results(30))]
    assert api.billed(fan_out, cache_control=MARK)[0] == read


@pytest.mark.parametrize(("rounds", "read"), [(9, 1), (10, 0)])
def test_sequential_rounds_are_two_positions_each(api, rounds, read):
    """T21: parallel calls collapse, rounds do not."""
    api.send([user(row(1, marks=[1]))])
    loop = [turn for n in range(rounds) for turn in (assistant(calls(1, n)), user(results(1, n)))]
    assert api.billed([user(row(1)), *loop], cache_control=MARK)[0] == read


def test_an_entry_inside_a_run_is_found(api):
    """U8: any block of a run is testable within its one position."""
    marked = results(30)
    marked[4] = {**marked[4], "cache_control": MARK}
    opening = [user(row(1)), assistant(calls(30))]
    assert api.billed([*opening, user(marked)]) == (0, 36, 25)
    again = [*opening, user([*results(30), text("ok")])]
    assert api.billed(again, cache_control=MARK) == (36, 26, 0)


@pytest.mark.parametrize(("blocks", "read"), [(19, 2), (20, 0)])
def test_the_walk_crosses_from_messages_into_system(api, blocks, read):
    """T22."""
    api.send("hello", system=[text("be kind", cache_control=MARK)])
    assert api.billed([user(row(blocks, marks=[blocks]))], system=[text("be kind")])[0] == read


def test_without_a_first_entry_nothing_is_found_however_stable(api):
    """C3: reads look for what was written, not for what is stable."""
    api.send([user(row(10))])
    assert api.billed([user(row(10, marks=[10]))]) == (0, 10, 0)


AUTOMATIC = {
    "thinking": [
        user([text("one two")]),
        assistant([text("three"), {"type": "thinking", "thinking": "hm", "signature": "s"}]),
    ],
    "turn-scoped": [
        user([text("one two"), text("three")]),
        {"role": "system", "content": "be quick", "clear_at": "next_user_message"},
    ],
    "plain": [user([text("one two"), text("three")])],
}


@pytest.mark.parametrize("last", AUTOMATIC)
def test_the_automatic_mark_walks_back_to_a_block_that_can_carry_it(api, last):
    """T11."""
    model = "claude-opus-4-5" if AUTOMATIC[last][-1]["role"] == "assistant" else "claude-opus-4-8"
    read, written, _ = api.billed(AUTOMATIC[last], model=model, cache_control=MARK)
    assert (read, written) == (0, 3)


def test_the_automatic_mark_walks_into_tools_and_gives_up_without_an_error(api):
    """T11: from messages into system and tools; with no place at all, nothing is cached."""
    scoped = {"role": "system", "content": "be quick", "clear_at": "next_user_message"}
    unmarkable = {"role": "user", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}
    tool = {"name": "look", "description": "looks around", "input_schema": {"type": "object"}}
    assert api.billed([unmarkable, scoped], tools=[tool], cache_control=MARK) == (0, 2, 3)
    assert api.billed([unmarkable, scoped], cache_control=MARK) == (0, 0, 3)
