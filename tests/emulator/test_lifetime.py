"""How long entries live, what prolongs them, when they can be read and what is charged."""

import threading
from datetime import timedelta

import pytest

from convcache.emulator import Fault

MARK = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


TALK = [user(text("one two three", cache_control=MARK))]
LONG_TALK = [user(text("one two three", cache_control=LONG))]


@pytest.mark.parametrize(
    ("talk", "seconds", "read"),
    [
        (TALK, 299, 3),
        (TALK, 301, 0),
        (LONG_TALK, 3599, 3),
        (LONG_TALK, 3601, 0),
    ],
)
def test_an_entry_lives_as_long_as_its_ttl(api, talk, seconds, read):
    """T24 and T26."""
    api.send(talk)
    api.pass_time(seconds=seconds)
    assert api.billed(talk)[0] == read


@pytest.mark.parametrize(("seconds", "read"), [(299, 3), (301, 0)])
def test_the_time_counts_from_the_start_of_the_request(emulated, seconds, read):
    """T24: a response that starts after four minutes leaves one."""
    api = emulated()
    api.emulator.fail(Fault(delay=timedelta(minutes=4)))
    slow = threading.Thread(target=api.send, args=[TALK])
    slow.start()
    wait_for(lambda: len(api.emulator.requests) == 1)
    api.pass_time(minutes=4)
    slow.join()
    api.pass_time(seconds=seconds - 240)
    assert api.billed(TALK)[0] == read


def test_every_hit_prolongs_the_entry(api):
    """T25: reads 280 seconds apart go on, a gap of 301 ends it."""
    api.send(TALK)
    for _ in range(3):
        api.pass_time(seconds=280)
        assert api.billed(TALK)[0] == 3
    api.pass_time(seconds=301)
    assert api.billed(TALK) == (0, 3, 0)


def test_an_entry_can_be_read_once_the_first_response_starts(emulated):
    """T27 and U31: two that overlap both write in full and leave one entry; a third reads it."""
    api = emulated(first_token_delay=timedelta(seconds=10))
    usages = []
    both = [threading.Thread(target=lambda: usages.append(api.billed(TALK))) for _ in range(2)]
    for one in both:
        one.start()
    wait_for(lambda: len(api.emulator.requests) == 2)
    assert api.emulator.entries == []
    api.pass_time(seconds=10)
    for one in both:
        one.join()
    assert usages == [(0, 3, 0)] * 2
    assert len(api.emulator.entries) == 1
    third = threading.Thread(target=lambda: usages.append(api.billed(TALK)))
    third.start()
    wait_for(lambda: len(api.emulator.requests) == 3)
    api.pass_time(seconds=10)
    third.join()
    assert usages[-1] == (3, 0, 0)


def test_a_hit_prolongs_the_live_entries_at_the_requests_own_breakpoints(emulated):
    """U1: the shorter one too; with `matched_only` it is left to lapse."""
    assert head_after_use(emulated()) == 2
    assert head_after_use(emulated(refresh="matched_only")) == 0


def head_after_use(api):
    request = {"system": [text("the head", cache_control=MARK)], "messages": TALK}
    api.send(**request)
    api.pass_time(seconds=200)
    api.send(**request)
    api.pass_time(seconds=200)
    return api.billed([user(text("something else"))], system=request["system"])[0]


def test_an_evicted_head_comes_back_free_but_buys_no_time(api):
    """U28: an hour for the price of a read would be a gift; it ends with the entry that was hit."""
    whole = {"system": [text("the head")], "messages": TALK}
    api.send(**whole)
    api.pass_time(seconds=100)
    head = [text("the head", cache_control=LONG)]
    assert api.billed(TALK, system=head) == (5, 0, 0)
    assert {entry.ttl.total_seconds() for entry in api.emulator.entries} == {300}
    ends = {entry.expires_at for entry in api.emulator.entries}
    assert ends == {api.emulator.clock.now() + timedelta(minutes=5)}


def test_a_lapsed_hour_leaves_nothing_to_a_later_five_minutes(api):
    """What is written again after its end is written anew."""
    api.send(LONG_TALK)
    api.pass_time(hours=1)
    assert api.billed(TALK) == (0, 3, 0)
    assert api.billed(TALK) == (3, 0, 0)
    api.pass_time(minutes=5)
    assert api.billed(TALK) == (0, 3, 0)


def test_a_longer_entry_above_a_short_one_stands_by_itself(api):
    """U2: the hour was billed for the part above, and holds for the whole prefix."""
    short = user(text("one two three", cache_control=MARK))
    api.send([short])
    grown = [user(text("one two three"), text("four", cache_control=LONG))]
    usage = api.send(grown).usage
    assert (usage.cache_read_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens) == (3, 1)
    api.pass_time(minutes=50)
    assert api.billed(grown) == (4, 0, 0)


A, B, C = "a1 a2", "b1 b2 b3", "c1 c2 c3 c4"
BILLS = {
    "no hit, all five minutes": ([], [(A, MARK), (B, MARK), (C, None)], (0, 5, 0, 4)),
    "no hit, all an hour": ([], [(A, LONG), (B, LONG), (C, LONG)], (0, 0, 9, 0)),
    "no hit, an hour first": ([], [(A, LONG), (B, None), (C, MARK)], (0, 7, 2, 0)),
    "a hit below the hour": ([(A, LONG)], [(A, LONG), (B, LONG), (C, MARK)], (2, 4, 3, 0)),
    "a hit on the hour": ([(A, None), (B, LONG)], [(A, None), (B, LONG), (C, MARK)], (5, 4, 0, 0)),
    "all of it hit": ([(A, None), (B, None), (C, MARK)], [(A, LONG), (B, None), (C, MARK)], (9, 0, 0, 0)),
    "a hit and a rest": ([(A, MARK)], [(A, MARK), (B, None), (C, None)], (2, 0, 0, 7)),
}


@pytest.mark.parametrize("case", BILLS)
def test_a_request_is_billed_by_highest_hit_highest_hour_and_last_mark(api, case):
    """T28: read A, an hour up to B, five minutes up to C, the rest uncached."""
    before, request, (read, short, long, uncached) = BILLS[case]
    if before:
        api.send([user(*marked(before))])
    usage = api.send([user(*marked(request))]).usage
    assert usage.cache_read_input_tokens == read
    assert usage.cache_creation.ephemeral_5m_input_tokens == short
    assert usage.cache_creation.ephemeral_1h_input_tokens == long
    assert usage.cache_creation_input_tokens == short + long
    assert usage.input_tokens == uncached


def marked(parts):
    return [text(words, **({"cache_control": mark} if mark else {})) for words, mark in parts]


def test_in_a_growing_chat_each_read_is_what_was_read_and_written_before(api):
    """T30."""
    messages, before = [], 0
    for turn in range(12):
        messages.append({"role": "user", "content": f"question {turn} " + "word " * turn})
        reply = api.send(messages, cache_control=MARK)
        assert reply.usage.cache_read_input_tokens == before
        before += reply.usage.cache_creation_input_tokens
        messages.append({"role": "assistant", "content": reply.content})


def test_a_few_tokens_may_stay_after_the_last_mark(emulated):
    """U16."""
    api = emulated(residual_tail_tokens=3)
    assert api.billed(TALK) == (0, 3, 3)
    assert api.billed(TALK) == (3, 0, 3)
    assert api.billed([user(text("no marks"))]) == (0, 0, 5)


MINIMUMS = {
    512: "claude-fable-5 claude-fable-5-1 claude-fable-5-2 claude-mythos-5 claude-mythos-5-1 claude-mythos-5-2 "
    "claude-opus-5 claude-opus-5-5 claude-sonnet-5-5 claude-haiku-5-5",
    1024: "claude-opus-4-8 claude-sonnet-5 claude-sonnet-4-6 claude-sonnet-4-5 claude-sonnet-4-5-20250929 "
    "claude-opus-4-1 claude-opus-4 claude-sonnet-4 anthropic.claude-sonnet-4-5-20250929-v1:0",
    2048: "claude-opus-4-7 claude-mythos-preview claude-haiku-3-5",
    4096: "claude-opus-4-6 claude-opus-4-5 claude-opus-4-5-20251101 claude-haiku-4-5 claude-haiku-4-5-20251001 "
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
}


@pytest.mark.parametrize("minimum", MINIMUMS)
def test_a_prefix_shorter_than_the_models_minimum_is_not_cached_and_no_error(emulated, minimum):
    """T23: at the breakpoint, per model."""
    api = emulated(minimum=None)
    for model in MINIMUMS[minimum].split():
        for count, written in ((minimum - 1, 0), (minimum, minimum)):
            talk = [user(text("w " * count + model, cache_control=MARK))]
            talk[0]["content"][0]["text"] = "w " * (count - 1) + model
            assert api.billed(talk, model=model) == (0, written, count - written)


def test_a_mark_below_the_minimum_is_ignored_but_counted(emulated):
    """U29."""
    api = emulated(minimum=4)
    blocks = [text(f"word{n}", cache_control=MARK) for n in range(4)]
    assert api.billed([user(*blocks)]) == (0, 4, 0)
    assert [mark.path for mark in api.emulator.requests[-1].breakpoints] == ["messages.0.content.3"]
    assert "Found 5" in api.refused([user(*blocks, text("tail", cache_control=MARK))])


CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a result"}


def thinking(words):
    return {"type": "thinking", "thinking": words, "signature": "s"}


LOOP = [
    user(text("please look")),
    {"role": "assistant", "content": [thinking("let me see"), CALL]},
    user(RESULT),
]


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-8"])
def test_within_a_tool_loop_thinking_is_kept_everywhere(api, model):
    """T35."""
    assert api.billed(LOOP[:1], model=model, cache_control=MARK) == (0, 2, 0)
    assert api.billed(LOOP, model=model, cache_control=MARK) == (2, 6, 0)


@pytest.mark.parametrize(("model", "read"), [("claude-opus-4-5", 7), ("claude-haiku-4-5", 2)])
def test_the_thinking_just_before_a_user_turn_is_forgotten_too(api, model, read):
    """T34: on the models that forget."""
    talk = [
        user(text("please look")),
        {"role": "assistant", "content": [thinking("let me see"), text("it rains")]},
    ]
    assert api.billed(talk[:1], model=model, cache_control=MARK) == (0, 2, 0)
    assert api.billed(talk, model=model, cache_control=MARK) == (2, 5, 0)
    assert api.billed([*talk, user(text("go on"))], model=model, cache_control=MARK)[0] == read


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-8", (8, 4, 0)),
        ("claude-opus-4-5", (8, 4, 0)),
        ("claude-sonnet-4-6", (8, 4, 0)),
        ("claude-haiku-5-5", (8, 4, 0)),
        ("claude-haiku-4-5", (2, 7, 0)),
        ("claude-sonnet-4-5", (2, 7, 0)),
        ("claude-opus-4-1", (2, 7, 0)),
    ],
)
def test_a_real_user_turn_makes_some_models_forget_their_thinking(api, model, expected):
    """T34: their read ends with the user message that opened the loop."""
    for request in (LOOP[:1], LOOP):
        api.send(request, model=model, cache_control=MARK)
    answered = [*LOOP, {"role": "assistant", "content": [text("seen it")]}, user(text("go on"))]
    assert api.billed(answered, model=model, cache_control=MARK) == expected


def wait_for(condition):
    patience = threading.Event()
    for _ in range(2000):
        if condition():
            return
        patience.wait(0.002)
    raise AssertionError("it never came to that")
