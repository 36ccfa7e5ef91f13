"""What the server clears or sums up by itself, and what that does to the cached prefix."""

import pytest

MARK = {"type": "ephemeral"}
EDITING = {"betas": ["context-management-2025-06-27"]}
LOOK = {"name": "look", "input_schema": {"type": "object"}}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def user(*blocks):
    return {"role": "user", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def assistant(*blocks):
    return {"role": "assistant", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


def lookups(count, words="one two three four five six"):
    """A user's question, then calls answered one after the other; a call is one word, a result six."""
    messages = [user(text("please look", cache_control=MARK))]
    for number in range(count):
        id_ = f"toolu_{number}"
        call = {"type": "tool_use", "id": id_, "name": "look", "input": {"n": number}}
        messages += [assistant(call), user({"type": "tool_result", "tool_use_id": id_, "content": words})]
    messages[-1]["content"][-1]["cache_control"] = MARK
    return messages


def managed(api, messages, *edits, **body):
    return api.client.beta.messages.create(
        model=body.pop("model", "claude-opus-4-8"),
        max_tokens=50,
        messages=messages,
        context_management={"edits": list(edits)},
        betas=EDITING["betas"],
        **body,
    )


def billed(message):
    usage = message.usage
    return usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens


def clearing(**more):
    trigger = {"type": "tool_uses", "value": 2}
    return {
        "type": "clear_tool_uses_20250919",
        "trigger": trigger,
        "keep": {"type": "tool_uses", "value": 1},
        **more,
    }


def test_cleared_results_end_the_prefix_and_the_edited_form_is_cached(api):
    """G7: the prefix survives up to the first result that is cleared."""
    plain = api.billed(lookups(3), tools=[LOOK])
    assert plain == (0, 24, 0)
    cleared = managed(api, lookups(3), clearing(), tools=[LOOK])
    assert billed(cleared) == (3, 19, 0)
    assert billed(managed(api, lookups(3), clearing(), tools=[LOOK])) == (22, 0, 0)
    (edit,) = cleared.context_management.applied_edits
    assert (edit.type, edit.cleared_tool_uses, edit.cleared_input_tokens) == (
        "clear_tool_uses_20250919",
        2,
        2,
    )


@pytest.mark.parametrize(
    "edit",
    [
        clearing(trigger={"type": "tool_uses", "value": 3}),
        clearing(trigger={"type": "input_tokens", "value": 24}),
        clearing(clear_at_least={"type": "input_tokens", "value": 3}),
        clearing(exclude_tools=["look"]),
        clearing(keep={"type": "tool_uses", "value": 3}),
        {"type": "clear_tool_uses_20250919"},
    ],
)
def test_nothing_is_cleared_before_its_time(api, edit):
    """Below the trigger, too little to be worth it, spared, or among the last."""
    first = api.billed(lookups(3), tools=[LOOK])
    message = managed(api, lookups(3), edit, tools=[LOOK])
    assert billed(message) == (sum(first), 0, 0)
    assert message.context_management.applied_edits == []


def test_inputs_are_cleared_if_that_is_asked_for(emulated):
    api = emulated(count_tokens=None)
    messages = lookups(3, "seen " * 40)
    kept = managed(api, messages, clearing(), tools=[LOOK]).context_management.applied_edits[0]
    gone = managed(api, messages, clearing(clear_tool_inputs=True), tools=[LOOK])
    assert gone.context_management.applied_edits[0].cleared_input_tokens > kept.cleared_input_tokens


def thought(number):
    return {"type": "thinking", "thinking": f"thought number {number}", "signature": f"s{number}"}


THOUGHTS = [
    user(text("one", cache_control=MARK)),
    assistant(thought(1), "a"),
    user("two"),
    assistant(thought(2), "b"),
    user(text("three", cache_control=MARK)),
]


@pytest.mark.parametrize(
    ("keep", "read"),
    [("all", 11), ({"type": "all"}, 11), ({"type": "thinking_turns", "value": 2}, 11), (None, 1)],
)
def test_old_thinking_is_cleared_up_to_the_last_turns(api, keep, read):
    """G7: one turn is kept if nothing is said; `all` leaves the cache alone."""
    assert api.billed(THOUGHTS) == (0, 11, 0)
    edit = {"type": "clear_thinking_20251015", **({"keep": keep} if keep else {})}
    message = managed(api, THOUGHTS, edit)
    assert billed(message)[0] == read
    turns = [edit.cleared_thinking_turns for edit in message.context_management.applied_edits]
    assert turns == ([1] if read == 1 else [])


def test_an_edit_that_keeps_thinking_keeps_it_on_models_that_would_forget_it(api):
    keep = {"type": "clear_thinking_20251015", "keep": "all"}
    assert sum(api.billed(THOUGHTS, model="claude-haiku-4-5")) == 5
    assert sum(billed(managed(api, THOUGHTS, keep, model="claude-haiku-4-5"))) == 11


def test_clearing_thinking_comes_first(api):
    edits = {"edits": [clearing(), {"type": "clear_thinking_20251015"}]}
    assert "must be listed first" in api.refused([user("one")], context_management=edits)


def test_counting_tells_the_tokens_before_and_after(api):
    counted = api.client.beta.messages.count_tokens(
        model="claude-opus-4-8",
        messages=lookups(3),
        tools=[LOOK],
        context_management={"edits": [clearing()]},
        betas=EDITING["betas"],
    )
    assert (counted.input_tokens, counted.context_management.original_input_tokens) == (22, 24)


SYSTEM = [text("be very kind", cache_control=MARK)]
CHAT = [user("my name is Ada"), assistant("hello"), user(text("what is it", cache_control=MARK))]


def test_a_compaction_that_is_asked_for_is_told_apart(api):
    """G8, E8: the top of the usage stays empty, the cost is told among the iterations."""
    api.billed(CHAT, system=SYSTEM)
    message = api.client.beta.messages.create(
        model="claude-opus-4-8",
        max_tokens=500,
        system=SYSTEM,
        messages=CHAT,
        compaction={"type": "summarize"},
        betas=["compact-2026-09-04"],
    )
    (block,) = message.content
    assert (block.type, message.stop_reason, block.tool_changes) == ("compaction", "compaction", [])
    assert "Ada" in block.content
    assert (*billed(message), message.usage.output_tokens) == (0, 0, 0, 0)
    (iteration,) = message.usage.iterations
    assert (iteration.type, iteration.cache_read_input_tokens) == ("compaction", 11)
    history = [{"role": "assistant", "content": [block.to_dict()]}, user("and mine?")]
    assert api.billed(history, system=SYSTEM)[:2] == (3, 0)


def long_chat(words):
    return [user(text(" ".join(["word"] * words), cache_control=MARK))]


def compacting(**more):
    return {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}, **more}


@pytest.mark.parametrize(("words", "kinds"), [(49_000, ["text"]), (50_000, ["compaction", "text"])])
def test_a_conversation_that_grew_too_long_is_compacted_and_goes_on(api, words, kinds):
    """G8: what was marked in system is read again for the shorter prompt."""
    message = managed(api, long_chat(words), compacting(), system=SYSTEM)
    assert [block.type for block in message.content] == kinds
    if "compaction" in kinds:
        long, short = message.usage.iterations
        assert (long.type, long.cache_creation_input_tokens) == ("compaction", words + 3)
        assert (short.type, short.cache_read_input_tokens) == ("message", 3)
        assert billed(message) == (3, 0, short.input_tokens)


def test_everything_before_a_summary_is_out_of_the_prompt(api):
    message = managed(api, long_chat(50_000), compacting(), system=SYSTEM)
    answer = {"role": "assistant", "content": [block.to_dict() for block in message.content]}
    whole = api.billed([*long_chat(50_000), answer, user("go on")], system=SYSTEM)
    trimmed = api.billed([answer, user("go on")], system=SYSTEM)
    assert whole == trimmed
    assert sum(whole) < 200


def test_a_failed_summary_stands_for_nothing(api):
    failed = assistant({"type": "compaction", "content": None}, "hello")
    assert sum(api.billed([user("one two"), failed, user("three")])) == 4


def test_the_answer_can_pause_after_a_compaction(api):
    message = managed(api, long_chat(50_000), compacting(pause_after_compaction=True))
    assert ([block.type for block in message.content], message.stop_reason) == (["compaction"], "compaction")


def test_a_compaction_streams_like_it_is_told_whole(api):
    request = {
        "model": "claude-opus-4-8",
        "max_tokens": 50,
        "messages": long_chat(50_000),
        "context_management": {"edits": [compacting()]},
        "betas": ["compact-2026-01-12"],
    }
    plain = api.client.beta.messages.create(**request)
    api.emulator.reset()
    with api.client.beta.messages.stream(**request) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in plain.content]
    assert streamed.usage.to_dict() == plain.usage.to_dict()
    assert streamed.context_management.applied_edits == []


SUMMARY = {"type": "compaction", "content": "a summary", "signature": "s"}
REFUSED = {
    "together with edits": (
        {"messages": CHAT, "compaction": {"type": "summarize"}, "context_management": {"edits": []}},
        "compaction: cannot be combined with context_management",
    ),
    "a trigger too low": (
        {
            "messages": CHAT,
            "context_management": {"edits": [compacting(trigger={"type": "input_tokens", "value": 100})]},
        },
        "context_management.edits.0.compact_20260112.trigger.value: Input should be greater than or equal to 50000",
    ),
    "an empty summary": (
        {"messages": [assistant({**SUMMARY, "content": ""}), user("a")]},
        "messages.0.content.0.compaction.content: compaction content must be non-empty",
    ),
    "not in front": (
        {"messages": [user("a"), assistant(SUMMARY), user("b")]},
        "messages.1.content.0: a signed compaction block must be the first block of the conversation",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_compaction_in_the_wrong_place_is_refused(api, case):
    body, refusal = REFUSED[case]
    assert api.refused(**body) == refusal


def test_a_misplaced_summary_is_refused_with_its_code(api):
    error = api.raw(REFUSED["not in front"][0]).json()["error"]
    assert error["details"] == {"error_code": "compaction_block_misplaced"}
    twice = api.raw({"messages": [assistant(SUMMARY, SUMMARY), user("a")]}).json()["error"]
    assert twice["details"] == {"error_code": "compaction_block_ambiguous"}
