"""Why a request could not go on from an earlier one, as the SDK parses it: T39, T40 and section 11."""

import asyncio
from datetime import timedelta
from typing import get_args

import anthropic
import pytest

MARK = {"type": "ephemeral"}
TOOLS = [{"name": "look", "input_schema": {"type": "object"}, "description": "look around"}]
ASKED = [{"role": "user", "content": "one two three"}]
WENT_ON = [*ASKED, {"role": "assistant", "content": "four"}, {"role": "user", "content": "five"}]
FIRST = {"system": "be kind", "tools": TOOLS, "messages": ASKED}


def send(api, body, *, after=None, **more):
    return api.send(**{**body, **more}, diagnostics={"previous_message_id": after})


def reason(message):
    return message.diagnostics.cache_miss_reason if message.diagnostics else None


def diagnosed(api, *, before=FIRST, **changed):
    first = send(api, before)
    return reason(send(api, {**before, "messages": WENT_ON}, after=first.id, **changed))


def test_a_first_turn_and_a_conversation_that_went_on_have_nothing_to_say(api):
    """J2: the field is there all the same."""
    first = send(api, FIRST)
    second = send(api, {**FIRST, "messages": WENT_ON}, after=first.id)
    unasked = api.send(ASKED)
    assert [first.diagnostics, second.diagnostics, unasked.diagnostics] == [None, None, None]
    assert "diagnostics" in api.raw({"messages": ASKED}).json()


@pytest.mark.parametrize(
    ("changed", "type_"),
    [
        ({"model": "claude-opus-4-7"}, "model_changed"),
        ({"extra_body": {"speed": "fast"}}, "model_changed"),
        ({"system": "be strict"}, "system_changed"),
        ({"tools": [{**TOOLS[0], "description": "look up"}]}, "tools_changed"),
        ({"tools": []}, "tools_changed"),
        ({"messages": [{"role": "user", "content": "one two"}, *WENT_ON[1:]]}, "messages_changed"),
        ({"messages": [{"role": "user", "content": "quite another"}]}, "messages_changed"),
    ],
)
def test_what_changed_is_named_with_an_estimate_of_what_it_cost(api, changed, type_):
    found = diagnosed(api, **changed)
    assert found.type == type_
    assert found.cache_missed_input_tokens > 0


def test_of_several_differences_the_earliest_is_named(api):
    """J4, and U26: tools stand before system."""
    everything = {"messages": [{"role": "user", "content": "new"}], "thinking": {"type": "adaptive"}}
    assert diagnosed(api, **everything).type == "unavailable"
    assert diagnosed(api, **everything, system="new").type == "system_changed"
    assert diagnosed(api, **everything, system="new", tools=[]).type == "tools_changed"
    assert diagnosed(api, **everything, system="new", tools=[], model="claude-opus-5").type == "model_changed"


def test_the_estimate_is_what_came_after_the_divergence(api):
    """J4: from bytes, so that a change near the end misses less than one at the beginning."""
    long = [{"type": "text", "text": f"{number} " + "word " * 40} for number in range(10)]
    before = {"messages": [{"role": "user", "content": long}]}

    def missed(at):
        other = [*long[:at], {"type": "text", "text": "other"}, *long[at + 1 :]]
        changed = [{"role": "user", "content": other}]
        return diagnosed(api, before=before, messages=changed).cache_missed_input_tokens

    assert missed(0) == 10 * missed(9)
    assert 50 < missed(9) < 100


@pytest.mark.parametrize(
    "changed",
    [
        {"thinking": {"type": "adaptive"}},
        {"tool_choice": {"type": "any"}},
        {"output_config": {"effort": "low"}},
        {"extra_headers": {"anthropic-beta": "context-1m-2025-08-07"}},
        {
            "extra_body": {"context_management": {"edits": []}},
            "extra_headers": {"anthropic-beta": "context-management-2025-06-27"},
        },
    ],
)
def test_other_parameters_that_shape_the_prompt_leave_no_diagnosis(api, changed):
    """J3."""
    assert diagnosed(api, **changed).type == "unavailable"


def test_what_is_not_in_the_prompt_is_no_difference(api):
    """J5: nor is a breakpoint that moves, nor a string sent as the block it stands for."""
    marked = [{"type": "text", "text": "one two three", "cache_control": MARK}]
    went_on = [{"role": "user", "content": marked}, *WENT_ON[1:]]
    assert diagnosed(api, messages=went_on, max_tokens=7, metadata={"user_id": "u"}) is None


def test_only_requests_that_carry_the_object_are_remembered(api):
    """J1."""
    silent = api.send(**FIRST)
    assert reason(send(api, FIRST, after=silent.id)).type == "previous_message_not_found"
    assert reason(send(api, FIRST, after="msg_never_was")).type == "previous_message_not_found"


def test_a_warm_up_is_remembered_like_any_request(api):
    """U30."""
    warm = send(api, FIRST, max_tokens=0)
    assert reason(send(api, {**FIRST, "messages": WENT_ON}, after=warm.id)) is None


def test_a_comparison_knows_nothing_of_the_cache(api):
    """T40: an entry that expired is no difference, and a difference after an entry still leaves its read."""
    marked = {**FIRST, "system": [{"type": "text", "text": "be kind", "cache_control": MARK}]}
    first = send(api, marked)
    api.pass_time(minutes=6)
    second = send(api, {**marked, "messages": WENT_ON}, after=first.id)
    assert (second.diagnostics, second.usage.cache_read_input_tokens) == (None, 0)
    third = send(api, marked, after=second.id)
    assert (reason(third).type, third.usage.cache_read_input_tokens) == ("messages_changed", 4)


def test_fingerprints_are_kept_apart_by_workspace_and_not_for_ever(api):
    first = send(api, FIRST, workspace_id="wrkspc_one")
    elsewhere = send(api, FIRST, after=first.id, workspace_id="wrkspc_two")
    assert reason(elsewhere).type == "previous_message_not_found"
    assert reason(send(api, FIRST, after=first.id, workspace_id="wrkspc_one")) is None
    api.pass_time(hours=1)
    late = send(api, FIRST, after=first.id, workspace_id="wrkspc_one")
    assert reason(late).type == "previous_message_not_found"
    api.emulator.reset()
    assert reason(send(api, FIRST, after=late.id)).type == "previous_message_not_found"


def test_a_comparison_may_not_be_finished_in_time(emulated):
    api = emulated(diagnostics="pending")
    first = send(api, FIRST)
    second = send(api, FIRST, after=first.id)
    assert first.diagnostics is None
    assert (second.diagnostics is not None, reason(second)) == (True, None)


def test_a_stream_tells_it_at_its_start_to_sync_and_async_clients(api):
    first = send(api, FIRST)
    request = {"model": "claude-opus-4-8", "max_tokens": 9, **FIRST, "system": "changed"}
    request["diagnostics"] = {"previous_message_id": first.id}
    with api.client.messages.stream(**request) as stream:
        started = next(iter(stream))
        assert started.message.diagnostics.cache_miss_reason.type == "system_changed"
        assert reason(stream.get_final_message()).type == "system_changed"

    async def ask():
        client = anthropic.AsyncAnthropic(api_key="key", base_url=api.url)
        async with client, client.beta.messages.stream(**request) as stream:
            return await stream.get_final_message()

    assert reason(asyncio.run(ask())).type == "system_changed"


@pytest.mark.parametrize("wrong", ["x", [], {"previous_message_id": 1}, {"previous_message": "msg_1"}])
def test_an_object_that_is_none_is_refused(api, wrong):
    assert "diagnostics" in api.refused(ASKED, diagnostics=wrong)


def test_the_reasons_are_those_that_the_sdk_knows():
    """A tripwire: a newer SDK that knows more wants a look at the emulator."""
    (union, _) = get_args(anthropic.types.CacheMissReason)
    assert {get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(union)} == {
        "model_changed",
        "system_changed",
        "tools_changed",
        "messages_changed",
        "previous_message_not_found",
        "unavailable",
    }


def test_old_fingerprints_are_let_go(api):
    for _ in range(5):
        send(api, FIRST)
        api.emulator.clock.advance(timedelta(minutes=40))
    assert len(api.emulator._messages.diagnostics._known) == 2
