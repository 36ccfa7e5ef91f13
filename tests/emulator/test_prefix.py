"""What two requests have to have in common for the second to read what the first wrote."""

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


def test_tools_come_before_system_and_system_before_messages(api):
    """T1: a change of the system text leaves the tools' entry alone and loses all that follows."""

    def request(system):
        return {
            "messages": [user(text("two words", cache_control=MARK))],
            "system": [text(system, cache_control=MARK)],
            "tools": [tool("look", cache_control=MARK)],
        }

    assert api.billed(**request("be kind")) == (0, 7, 0)
    assert api.billed(**request("be terse")) == (3, 4, 0)


def test_nothing_is_written_but_at_breakpoints(api):
    """T2: stable blocks before a varying marked one are never found again."""
    stable = [text(f"stable {n}") for n in range(5)]
    assert api.billed([user(*stable, text("one o'clock", cache_control=MARK))]) == (0, 12, 0)
    assert api.billed([user(*stable, text("two o'clock", cache_control=MARK))]) == (0, 12, 0)


def test_a_mark_is_no_part_of_the_key(api):
    """T3: what was marked once is read through a later mark."""
    first = user(text("one two three", cache_control=MARK))
    assert api.billed([first]) == (0, 3, 0)
    later = [user("one two three"), assistant("four"), user(text("five", cache_control=MARK))]
    assert api.billed(later) == (3, 2, 0)


def test_a_ttl_is_no_part_of_the_key(api):
    """T4: a mark for an hour reads an entry of five minutes, writes nothing and changes nothing about it."""
    assert api.billed([user(text("one two", cache_control=MARK))]) == (0, 2, 0)
    assert api.billed([user(text("one two", cache_control={**MARK, "ttl": "1h"}))]) == (2, 0, 0)
    assert [entry.ttl.total_seconds() for entry in api.emulator.entries] == [300]


def test_a_string_is_the_one_text_block_it_stands_for(api):
    """T5: in messages, in system and in tool results."""
    call, mark = assistant(CALL), {"cache_control": MARK}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a result"}
    first = [{"role": "user", "content": "one two"}, call, user(result)]
    assert api.billed(first, system="be kind", **mark) == (0, 7, 0)
    again = [user("one two"), call, user({**result, "content": [text("a result")]}), assistant("ok")]
    assert api.billed([*again, user("go on")], system=[text("be kind")], **mark) == (7, 3, 0)


def test_strict_strings_keep_the_two_forms_apart(emulated):
    api = emulated(strict_strings=True)
    assert api.billed("one two", cache_control=MARK) == (0, 2, 0)
    assert api.billed([user("one two")], cache_control=MARK) == (0, 2, 0)


@pytest.mark.parametrize(("normalise", "expected"), [(True, (4, 0, 0)), (False, (2, 2, 0))])
def test_fields_that_repeat_a_default_count_unless_normalised(emulated, normalise, expected):
    """T6: `is_error: false` added to an old result."""
    api = emulated(normalise_defaults=normalise)
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a result"}

    def request(**extra):
        marked_call = {**CALL, "cache_control": MARK}
        return [user("go"), assistant(marked_call), user({**result, "cache_control": MARK, **extra})]

    assert api.billed(request()) == (0, 4, 0)
    assert api.billed(request(is_error=False)) == expected


def test_the_order_of_keys_in_a_tool_input_counts(api):
    """T7: the read stops before the block whose keys changed places."""
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a result", "cache_control": MARK}

    def request(call):
        return [user(text("one two", cache_control=MARK)), assistant(call), user(result)]

    assert api.billed(request(CALL)) == (0, 5, 0)
    assert api.billed(request({**CALL, "input": {"b": 2, "a": 1}})) == (2, 3, 0)


def test_the_order_of_keys_in_a_schema_counts_and_elsewhere_it_does_not(api):
    block = {"cache_control": MARK, "text": "one two", "type": "text"}
    assert api.billed([user(block)], tools=[tool("look")]) == (0, 5, 0)
    turned = dict(reversed(block.items()))
    assert api.billed([user(turned)], tools=[dict(reversed(tool("look").items()))]) == (5, 0, 0)
    schema = {"properties": {}, "type": "object"}
    other = {"type": "object", "properties": {}}
    assert api.billed([user(block)], tools=[tool("look", input_schema=schema)])[0] == 0
    assert api.billed([user(block)], tools=[tool("look", input_schema=other)])[0] == 0


def test_images_have_to_be_the_same_to_the_byte(api):
    """T8: a miss from the image on."""

    def request(data):
        image = {"type": "image", "source": {**PNG, "data": data}, "cache_control": MARK}
        return [user(text("one two", cache_control=MARK), image)]

    assert api.billed(request("aaaa")) == (0, 3, 0)
    assert api.billed(request("aaab")) == (2, 1, 0)


def test_a_deferred_tool_is_not_in_the_prefix(api):
    """T16: adding one changes nothing."""
    message = [user(text("one two", cache_control=MARK))]
    assert api.billed(message, tools=[tool("look")]) == (0, 5, 0)
    assert api.billed(message, tools=[tool("look"), tool("later", defer_loading=True)]) == (5, 0, 0)


def test_without_marks_nothing_is_read_or_written(api):
    """T17."""
    api.billed([user(text("one two", cache_control=MARK))])
    assert api.billed([user("one two")]) == (0, 0, 2)


def test_splitting_messages_of_one_role_changes_nothing(api):
    """U5: consecutive messages of one role are one turn."""
    assert api.billed([user("one", "two")], cache_control=MARK) == (0, 2, 0)
    assert api.billed([user("one"), user("two")], cache_control=MARK) == (2, 0, 0)


def test_who_said_it_counts(api):
    """The same words from the other side are another prefix."""
    assert api.billed([user("one"), assistant("two"), user("three")], cache_control=MARK) == (0, 3, 0)
    assert api.billed([user("one"), user("two"), user("three")], cache_control=MARK) == (0, 3, 0)


def test_system_messages_in_the_middle_are_read_in_place(api):
    messages = [user("one"), {"role": "system", "content": "be brief"}, assistant("two"), user("three")]
    assert api.billed(messages, cache_control=MARK) == (0, 5, 0)
    assert api.billed([*messages, assistant("four"), user("five")], cache_control=MARK) == (5, 2, 0)


def test_a_mark_inside_a_tool_result_acts_on_the_result(api):
    """U12: counted, and a breakpoint at the parent."""
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [text("a result", cache_control=MARK)],
    }
    assert api.billed([user("one"), assistant(CALL), user(result, "more words")]) == (0, 4, 2)
    assert [mark.path for mark in api.emulator.requests[-1].breakpoints] == ["messages.2.content.0"]


def test_a_cache_control_among_a_tools_input_is_only_data(api):
    call = {**CALL, "input": {"cache_control": MARK}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a result"}
    assert api.billed([user("one"), assistant(call), user(result)]) == (0, 0, 4)
