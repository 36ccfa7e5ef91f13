"""What changes by itself in tools and system: clocks, ids, counters and order, and what somebody meant."""

import copy
import json
import random
import re
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convcache.core.textdiff import MAX_SHOWN
from convcache.core.volatile import Kind, Volatile, volatile
from tests.strategies import requests

GUIDE = "Follow the guide. Answer briefly and politely, and never guess what you can look up.\n" * 20
TOOL = {
    "name": "search",
    "description": "Finds files by their names and by what is in them.",
    "input_schema": {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "folder": {"type": "string"},
            "limit": {"type": "integer"},
        },
        "required": ["query", "folder"],
    },
}


def tool(name="search", **fields):
    return {**TOOL, "name": name, **fields}


def prompt(line):
    return {"system": f"{GUIDE}{line}\n{GUIDE}"}


CLOCKS = {
    "a sentence with the day and the time": (
        "Today is «Sunday, 22 November 2026, 14:03».",
        "Today is «Sunday, 22 November 2026, 14:07».",
    ),
    "a time of day with its meridiem": (
        "The current date and time is «Thursday, September 17, 2026 3:42 PM».",
        "The current date and time is «Thursday, September 17, 2026 3:43 PM».",
    ),
    "a time with an offset from UTC": (
        "Now: «Tuesday, June 9, 2026, 03:04:20 PM +03:00»",
        "Now: «Tuesday, June 9, 2026, 03:05:01 PM +03:00»",
    ),
    "a date in words": ("Today's date: «Sun Nov 22 2026»", "Today's date: «Mon Nov 23 2026»"),
    "a date with an ordinal": ("It is «November 22nd, 2026».", "It is «November 23rd, 2026»."),
    "the C library's form": ("«Sun Nov 22 14:03:07 2026»", "«Sun Nov 22 14:03:08 2026»"),
    "the form of mail headers": ("«Sun, 22 Nov 2026 14:03:00 +0000»", "«Sun, 22 Nov 2026 14:03:01 +0000»"),
    "an ISO time to the microsecond": (
        "now=«2026-11-22T14:03:07.123456+00:00»",
        "now=«2026-11-22T14:03:09.654321+00:00»",
    ),
    "an ISO date": ("<env>Today's date: «2026-11-22»</env>", "<env>Today's date: «2026-11-23»</env>"),
    "a compiled-at line": (
        "- System prompt last recompiled: «2026-08-16 09:59 UTC»",
        "- System prompt last recompiled: «2026-08-16 10:00 UTC»",
    ),
    "a compact time": ("run-«20261122T140307Z»", "run-«20261122T140309Z»"),
    "a date with slashes": ("Date: «11/22/2026»", "Date: «11/23/2026»"),
    "a Chinese date": ("现在是«2026年11月22日 14:03»。", "现在是«2026年11月22日 14:04»。"),
    "a time of day alone": ("It is «9:59 AM» now.", "It is «10:00 AM» now."),
    "a weekday alone": ("Happy «Sunday»!", "Happy «Monday»!"),
    "epoch seconds": ("ts: «1763820180»", "ts: «1763820187»"),
    "epoch seconds with a fraction": ("ts: «1763820180.123»", "ts: «1763820187.5»"),
    "epoch milliseconds": ("ts: «1763820180123»", "ts: «1763820187999»"),
}
IDS = {
    "a message id in rendered metadata": (
        '"message_id": "«a47d0231-9c1f-4222-8333-123456789abc»",',
        '"message_id": "«cc29b703-9c1f-4222-8333-123456789abc»",',
    ),
    "a scratch folder of the session": (
        "Use `/private/tmp/claude-501/web/«fc9aab5b-da05-4cc7-bbe2-410a1c472151»/scratchpad`.",
        "Use `/private/tmp/claude-501/web/«88966ec9-2cb4-4872-bc6b-624b66257462»/scratchpad`.",
    ),
    "a request id": ("«req_011CSHoEeqs5C35K2UUqR7Fy»", "«req_011CSHpZZqs5C35K2UUqR7Fz»"),
    "a commit": ("HEAD is now at «c988f96»", "HEAD is now at «75c67cb»"),
    "an object's address": (
        "<function search at «0x7f3b2c1d9a40»>",
        "<function search at «0x7f9e11c2b1f0»>",
    ),
}
COUNTERS = {
    "messages so far": (
        "You remember:\n«- 9 previous messages» between you and the user",
        "You remember:\n«- 11 previous messages» between you and the user",
    ),
    "a share of the context": ("«Context used: 37.5%»", "«Context used: 41%»"),
    "tokens that are left": ("«(12,345 tokens left)»", "«(9,876 tokens left)»"),
    "the age of a memory": ("- «a note [slug|u|3d]»", "- «a note [slug|u|4d]»"),
    "a step of several": ("«Now: step 3 of 10»", "«Now: step 4 of 10»"),
}
ORDERS = {
    "a set as Python prints it": ("Pick one of «{'red', 'blue'}» now.", "Pick one of «{'blue', 'red'}» now."),
    "a list of files": (
        "Files:\n- «zebra.py: stripes\n- ape.py: arms»",
        "Files:\n- «ape.py: arms\n- zebra.py: stripes»",
    ),
    "ids that changed places": (
        "Open: «c988f96, 75c67cb»",
        "Open: «75c67cb, c988f96»",
    ),
}
TEXTS = {
    "a recalled memory": ("The user likes «tea.»", "The user likes «green tea.»"),
    "a folder": ("cwd: «/home/ann/web»", "cwd: «/home/ann/api»"),
    "the name of a model": ("You are «claude-opus-4-5.»", "You are «claude-opus-4-6.»"),
    "a model with its date": ("You are «claude-x-20250929.»", "You are «claude-x-20251001.»"),
    "a version": ("Uses version «1.2.3.»", "Uses version «1.2.4.»"),
}
CASES = [
    pytest.param(kind, *sides, id=name)
    for kind, table in {
        Kind.TIMESTAMP: CLOCKS,
        Kind.ID: IDS,
        Kind.COUNTER: COUNTERS,
        Kind.ORDER: ORDERS,
        Kind.TEXT: TEXTS,
    }.items()
    for name, sides in table.items()
]


def read(line):
    """A line as it is sent, and what of it is told, which stands between « and »."""
    return line.replace("«", "").replace("»", ""), re.search("«(.*)»", line, re.DOTALL)[1]


@pytest.mark.parametrize(("kind", "before", "after"), CASES)
def test_what_changes_in_a_system_prompt_is_named_as_a_whole(kind, before, after):
    (sent, told), (sent_now, told_now) = read(before), read(after)

    assert volatile(prompt(sent), prompt(sent_now)) == Volatile("system[0]", kind, told, told_now)


@pytest.mark.parametrize(("kind", "before", "after"), CASES)
def test_what_changes_in_a_tool_is_named_as_a_whole(kind, before, after):
    (sent, told), (sent_now, told_now) = read(before), read(after)
    heads = ({"tools": [tool("look"), tool(description=GUIDE + line)]} for line in (sent, sent_now))

    assert volatile(*heads) == Volatile("tools[1].description", kind, told, told_now)


@given(st.datetimes(datetime(2005, 1, 1), datetime(2045, 1, 1)), st.integers(1, 10**8))  # noqa: DTZ001 - text has no zone
@pytest.mark.parametrize(
    "form",
    [
        "%A, %d %B %Y, %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S.%f",
        "%c",
        "%a %b %d %Y %I:%M:%S %p",
        "%s",
        "%Y%m%d_%H%M%S",
    ],
)
def test_any_two_times_in_one_form_are_a_timestamp(form, time, seconds):
    before, after = (moment.strftime(form) for moment in (time, time + timedelta(seconds=seconds)))

    assert volatile(prompt(f"At {before}."), prompt(f"At {after}.")) == (
        Volatile("system[0]", Kind.TIMESTAMP, before, after)
    )


@given(st.uuids(), st.uuids())
def test_any_two_uuids_are_an_id(before, after):
    found = volatile(prompt(f"Session {before}."), prompt(f"Session {after}."))

    assert found == (None if before == after else Volatile("system[0]", Kind.ID, str(before), str(after)))


def test_a_block_that_is_only_a_clock_is_named():
    heads = [
        {"system": [{"type": "text", "text": GUIDE}, {"type": "text", "text": f"14:0{n}"}]} for n in "37"
    ]

    assert volatile(*heads) == Volatile("system[1]", Kind.TIMESTAMP, "14:03", "14:07")


def test_of_several_clocks_the_first_is_named():
    heads = [prompt(f"{time}\n{GUIDE}\n{turn} messages") for time, turn in (("14:03", 8), ("14:05", 10))]

    assert volatile(*heads) == Volatile("system[0]", Kind.TIMESTAMP, "14:03", "14:05")


def test_in_a_log_full_of_clocks_the_first_is_named():
    logs = ("\n".join(f"2026-11-{day} 14:{minute:02}" for minute in range(60)) for day in ("22", "23"))

    assert volatile(*(prompt(f"{log}\n{log}") for log in logs)) == (
        Volatile("system[0]", Kind.TIMESTAMP, "2026-11-22 14:00", "2026-11-23 14:00")
    )


def test_a_clock_is_named_though_some_other_words_change_behind_it():
    heads = [
        prompt(f"{time}\n{GUIDE}\nLikes {taste}.") for time, taste in (("14:03", "tea"), ("14:05", "milk"))
    ]

    assert volatile(*heads) == Volatile("system[0]", Kind.TIMESTAMP, "14:03", "14:05")


def test_of_several_words_that_change_only_the_first_are_told():
    heads = [
        prompt(f"cwd: {folder}\n{GUIDE}\nLikes {taste}.") for folder, taste in (("/a", "tea"), ("/b", "milk"))
    ]

    assert volatile(*heads) == Volatile("system[0]", Kind.TEXT, "/a", "/b")


def test_tools_in_another_order_are_named_as_far_as_they_moved():
    names = ["look", "read", "write", "ask"], ["look", "write", "read", "ask"]
    heads = [{"tools": [tool(name) for name in side]} for side in names]

    assert volatile(*heads) == Volatile("tools", Kind.ORDER, "read, write", "write, read")


def test_keys_of_a_schema_in_another_order_are_named():
    other = copy.deepcopy(TOOL)
    other["input_schema"]["properties"] = dict(reversed(TOOL["input_schema"]["properties"].items()))

    assert volatile({"tools": [TOOL]}, {"tools": [other]}) == Volatile(
        "tools[0].input_schema.properties", Kind.ORDER, "query, folder, limit", "limit, folder, query"
    )


def test_a_list_in_a_schema_in_another_order_is_named():
    other = copy.deepcopy(TOOL)
    other["input_schema"]["required"].reverse()

    assert volatile({"tools": [TOOL]}, {"tools": [other]}) == Volatile(
        "tools[0].input_schema.required", Kind.ORDER, "query, folder", "folder, query"
    )


def test_a_default_in_a_schema_that_is_the_time_is_named():
    heads = [
        {"tools": [tool(input_schema={"since": {"default": time}})]} for time in (1763820180, 1763820187)
    ]

    assert volatile(*heads) == Volatile(
        "tools[0].input_schema.since.default", Kind.TIMESTAMP, "1763820180", "1763820187"
    )


def test_a_server_named_by_an_id_in_a_tools_name_is_named():
    heads = [{"tools": [tool("look"), tool(f"mcp__{server}__search")]} for server in ("7f3a9c21", "b04e55d8")]

    assert volatile(*heads) == Volatile(
        "tools[1].name", Kind.ID, "mcp__7f3a9c21__search", "mcp__b04e55d8__search"
    )


def test_blocks_of_the_system_prompt_in_another_order_are_named():
    blocks = [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief."}]

    assert volatile({"system": blocks}, {"system": blocks[::-1]}) == Volatile(
        "system", Kind.ORDER, "kind.\nBe brief.", "brief.\nBe kind."
    )


def test_a_tools_place_counts_the_deferred_ones():
    deferred = tool("later", defer_loading=True)
    heads = [{"tools": [deferred, tool(description=f"It is 14:0{n}.")]} for n in "37"]

    assert volatile(*heads).path == "tools[1].description"


LEXICON = ["".join(letters) for letters in product("abcdefgh", repeat=3)]
MEANT = {
    "a tool was added": ({"tools": [TOOL]}, {"tools": [TOOL, tool("ask")]}),
    "a tool was removed": ({"tools": [TOOL, tool("ask")]}, {"tools": [TOOL]}),
    "a tool was replaced": ({"tools": [tool("read_file")]}, {"tools": [tool("write_file")]}),
    "a tool was added before a clock": (
        {"tools": [TOOL], **prompt("14:03")},
        {"tools": [TOOL, tool("ask")], **prompt("14:05")},
    ),
    "a block was added": ({"system": "Be kind."}, {"system": [{"type": "text", "text": "Be kind."}] * 2}),
    "another role is played": (
        {"tools": [TOOL], "system": "You plan the work of others."},
        {"tools": [TOOL], "system": "Review what was written, in French."},
    ),
    "a long prompt is another": (
        {"system": " ".join(random.Random(1).choices(LEXICON, k=9000))},
        {"system": " ".join(random.Random(2).choices(LEXICON, k=9000))},
    ),
}


@pytest.mark.parametrize(("before", "after"), MEANT.values(), ids=MEANT)
def test_what_somebody_meant_is_not_named(before, after):
    assert volatile(before, after) is None


SAME = {
    "a string and its one block": (
        {"system": "Be kind."},
        {"system": [{"type": "text", "text": "Be kind."}]},
    ),
    "a breakpoint": ({"tools": [TOOL]}, {"tools": [tool(cache_control={"type": "ephemeral"})]}),
    "the order of a tool's own keys": ({"tools": [TOOL]}, {"tools": [dict(reversed(TOOL.items()))]}),
    "a deferred tool": ({"tools": [TOOL]}, {"tools": [tool("later", defer_loading=True), TOOL]}),
    "messages": ({"messages": []}, {"messages": [{"role": "user", "content": "It is 14:03."}]}),
    "no tools": ({}, {"tools": [], "system": None}),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_what_is_no_part_of_the_cached_head_is_not_named(before, after):
    assert volatile(before, after) is None


WORDS = st.sampled_from(
    [
        "Be",
        "kind,",
        "14:03",
        "14:05",
        "3",
        "4",
        "Sunday",
        "2026-11-22",
        "c988f96",
        "75c67cb",
        "\n",
        "漢字",
        "{'a'}",
    ]
)
LINES = st.lists(WORDS, max_size=12).map(" ".join)
SCALARS = LINES | st.integers(-5, 5) | st.booleans() | st.none()
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=8,
)
HEADS = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.lists(
            st.builds(tool, st.sampled_from(["look", "ask"]), description=LINES, input_schema=SCHEMAS),
            max_size=3,
        ),
        "system": LINES | st.lists(LINES.map(lambda text: {"type": "text", "text": text}), max_size=3),
    },
)


def at(path, head):
    """What stands at a path, as text and as JSON."""
    place = {"tools": head.get("tools", []), "system": head.get("system", [])}
    if isinstance(place["system"], str):
        place["system"] = [{"type": "text", "text": place["system"]}]
    for step in re.findall(r"\w+", path):
        place = place[int(step) if step.isdigit() else step]
    if isinstance(place, dict) and place.get("type") == "text":
        place = place["text"]
    return f"{place}\n{json.dumps(place, ensure_ascii=False)}"


@given(HEADS, HEADS)
def test_what_is_told_stands_in_both_heads_at_the_path(before, after):
    found = volatile(before, after)

    if found:
        assert found.before != found.after
        for told, head in ((found.before, before), (found.after, after)):
            assert len(told) <= MAX_SHOWN
            parts = [told] if told in at(found.path, head) else re.split(", |\n", told)
            assert all(part in at(found.path, head) for part in parts)
            assert len(parts) == 1 or found.kind is Kind.ORDER


@given(HEADS, HEADS)
def test_swapped_heads_swap_what_is_told(before, after):
    found, back = volatile(before, after), volatile(after, before)

    assert back == (found and Volatile(found.path, found.kind, found.after, found.before))


@given(st.lists(WORDS, max_size=40), st.integers(0, 40), st.integers(0, 5), st.lists(WORDS, max_size=4))
def test_an_edit_of_a_text_is_told_as_it_stands_in_both_whichever_came_first(words, place, gone, new):
    before, after = " ".join(words), " ".join([*words[:place], *new, *words[place + gone :]])
    found, back = (
        volatile({"system": before}, {"system": after}),
        volatile({"system": after}, {"system": before}),
    )

    assert back == (found and Volatile(found.path, found.kind, found.after, found.before))
    assert not found or (found.before in before and found.after in after and found.before != found.after)


@given(requests())
def test_a_head_does_not_differ_from_its_copy(request):
    assert volatile(request, json.loads(json.dumps(request))) is None


ODD = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(*[st.fixed_dictionaries({}, optional={"tools": ODD, "system": ODD})] * 2)
def test_odd_heads_are_compared_like_others(before, after):
    assert volatile(before, copy.deepcopy(before)) is None
    assert (volatile(before, after) is None) == (volatile(after, before) is None)


def test_a_head_nested_beyond_what_can_be_sent_is_left_alone():
    deep = []
    for _ in range(100_000):
        deep = [deep]

    assert volatile({"system": "Be kind."}, {"system": deep}) is None
