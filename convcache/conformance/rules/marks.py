"""How many breakpoints a request may have, where, and with which TTLs (section 2).

Knows the checks T9 to T17 and the API's texts. Must not know what is cached.
"""

from typing import Any, Final

from convcache.conformance.exchange import Refusal
from convcache.conformance.models import HEARS_SYSTEM_MESSAGES
from convcache.conformance.outcome import Differs
from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.words import HOUR, MARK, Json, assistant, text, tool, until_next_turn, user

CLEARED: Final = ["mid-conversation-system-clear-at-2026-08-21"]
"""The beta of turn-scoped system messages."""

_FIVE: Final = "A maximum of 4 blocks with cache_control may be provided. Found 5."
_LONG_AFTER_SHORT: Final = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
_HELLO: Final = [user("Hello.")]


def marked(count: int, mark: Json = MARK) -> list[Json]:
    return [text(f"block {n}", mark) for n in range(count)]


def _texts(probe: Probe, what: str, expected: str, messages: list[Json] = _HELLO, **fields: Any) -> None:
    """A request is refused as invalid, in these words."""
    refusal = probe.refused(messages, **fields)
    probe.expect(f"{what}: status", (refusal.status, refusal.type), (400, "invalid_request_error"))
    probe.expect(what, refusal.text, expected)


@rule("T9", proves="B2", source="live reports, LIVE-RS", says="A request has at most four breakpoints.")
def four_breakpoints_at_most(probe: Probe) -> None:
    probe.send([user(*marked(4))])
    _texts(probe, "five in messages", _FIVE, [user(*marked(5))])
    tools = [tool("look", mark=MARK)]
    _texts(probe, "five over all sections", _FIVE, [user(*marked(2))], system=marked(2), tools=tools)


@rule("T10", proves="B3", source="LIVE-RS", says="The top-level breakpoint takes one of the four slots.")
def the_automatic_mark_takes_a_slot(probe: Probe) -> None:
    probe.send([user(*marked(3), text("tail"))], cache_control=MARK)
    _texts(probe, "four and the top-level one", _FIVE, [user(*marked(4), text("tail"))], cache_control=MARK)


@rule(
    "T11",
    proves="B4",
    source="PC-Sep, MID-Sep",
    says="The top-level breakpoint acts on the last block that can carry one, past turn-scoped system messages.",
    models=HEARS_SYSTEM_MESSAGES,
)
def the_automatic_mark_walks_back(probe: Probe) -> None:
    guide = probe.guide()
    scoped = [user(guide), until_next_turn("Be brief.")]
    walked = probe.warm(scoped, cache_control=MARK, betas=CLEARED)
    explicit = probe.send([user(text(guide, MARK)), until_next_turn("Be brief.")], betas=CLEARED)
    plain = probe.send([user(guide)], cache_control=MARK)
    probe.expect("read by an explicit one on the block before", explicit.read, walked.written)
    probe.expect("read without the system message", plain.read, walked.written)


@rule(
    "T12",
    proves="B3 B5",
    source="LIVE-RS, PC-Sep",
    says="A top-level breakpoint on a marked block changes nothing with the same TTL and is refused with another.",
)
def the_automatic_mark_agrees_with_an_explicit_one(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    both = probe.send(messages, cache_control=MARK)
    probe.expect("read with both", (both.read, both.written), (first.written, 0))
    _texts(
        probe,
        "another TTL",
        "Top-level cache_control has ttl='1h' but the target block already has cache_control with ttl='5m'. "
        "When both are specified on the same block, they must have matching TTLs.",
        messages,
        cache_control=HOUR,
    )


@rule(
    "T13",
    proves="B6",
    source="PC-Sep, LIVE-RS",
    says="In prefix order no breakpoint of an hour comes after one of five minutes; the first offender is named.",
)
def an_hour_never_follows_five_minutes(probe: Probe) -> None:
    tools = [tool("look", mark=MARK)]
    cases: dict[str, Json] = {
        "tools.1": {"tools": [*tools, tool("seek", mark=HOUR)]},
        "system.0": {"tools": tools, "system": marked(1, HOUR)},
        "messages.0.content.0": {"system": marked(1), "messages": [user(*marked(1, HOUR))]},
        "messages.0.content.2": {
            "messages": [user(*marked(1), "between", *marked(1, HOUR), *marked(1, HOUR))]
        },
    }
    for path, request in cases.items():
        _texts(probe, path, f"{path}.cache_control.ttl: {_LONG_AFTER_SHORT}", **request)
    _texts(
        probe,
        "the top-level one",
        f"cache_control: {_LONG_AFTER_SHORT}",
        [user(*marked(1), "tail")],
        cache_control=HOUR,
    )


@rule("T14", proves="B7", source="LIVE-RS", says="The number of breakpoints is checked before their order.")
def the_number_is_checked_before_the_order(probe: Probe) -> None:
    _texts(probe, "five in the wrong order", _FIVE, [user(*marked(4), *marked(1, HOUR))])


@rule(
    "T15",
    proves="B8",
    source="live reports",
    says="A breakpoint on empty text, on thinking or beside string content is refused, each in its own words.",
)
def some_places_cannot_hold_a_mark(probe: Probe) -> None:
    empty = "cache_control cannot be set for empty text blocks"
    extra = "Extra inputs are not permitted"
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk", "cache_control": MARK}
    said = {"role": "user", "content": "Hello.", "cache_control": MARK}
    _texts(probe, "empty text", f"messages.0.content.1.text: {empty}", [user("Hello.", text("", MARK))])
    _texts(probe, "empty system text", f"system.0.text: {empty}", system=[text("", MARK)])
    _texts(probe, "a message", f"messages.0.cache_control: {extra}", [said])
    history = [user("Hello."), assistant(thought, "Hello."), user("Go on.")]
    _texts(probe, "thinking", f"messages.1.content.0.thinking.cache_control: {extra}", history)


@rule(
    "T16",
    proves="A8 B8",
    source="TOOLPC-Sep, live reports",
    says="A deferred tool cannot be marked and is not in the prefix: adding one loses nothing.",
)
def a_deferred_tool_is_not_in_the_prefix(probe: Probe) -> None:
    later = tool("later", defer_loading=True)
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages, tools=[tool("look")])
    more = probe.send(messages, tools=[tool("look"), later])
    probe.expect("read with a deferred tool added", more.read, first.written)
    _texts(
        probe,
        "a marked deferred tool",
        "Tool 'later' cannot have both defer_loading=true and cache_control set. "
        "Tools with defer_loading cannot use prompt caching.",
        tools=[tool("look"), {**later, "cache_control": MARK}],
    )


@rule(
    "T17",
    proves="B16",
    source="SKILL, MID-Sep",
    says="Without a breakpoint nothing is written and nothing is read, even where an entry lives.",
)
def without_marks_nothing_is_cached(probe: Probe) -> None:
    guide = probe.guide()
    before = probe.send([user(guide)])
    written = probe.warm([user(text(guide, MARK))])
    after = probe.send([user(guide)])
    again = probe.send([user(text(guide, MARK))])
    probe.expect("read by the first mark", written.read, 0)
    probe.expect("cached without a mark", (before.cached, after.cached), (0, 0))
    probe.expect("read with one", again.read, written.written)


@rule(
    "U12",
    proves="B10",
    source="open: the types allow it, the page advises against it",
    says="A breakpoint on a block inside a tool result acts at the result.",
)
def a_nested_mark_acts_at_its_result(probe: Probe) -> None:
    guide, tools = probe.guide(), [tool("look")]
    opening = [user(guide), assistant({"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}})]

    def answered(inner: Json, mark: Json | None) -> list[Json]:
        block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [inner]}
        return [*opening, user(block if mark is None else {**block, "cache_control": mark})]

    nested = probe.warm(answered(text("Found.", MARK), None), tools=tools)
    parent = probe.send(answered(text("Found."), MARK), tools=tools)
    probe.expect("read by a mark on the result", parent.read, nested.written)


@rule(
    "U20",
    proves="B3",
    source="open: PC-Sep says no-op, LIVE-RS saw it count",
    says="A top-level breakpoint counts even where it coincides with an explicit one of the same TTL.",
)
def a_coinciding_automatic_mark_counts(probe: Probe) -> None:
    answer = probe.attempt([user(*marked(4))], cache_control=MARK)
    counts = isinstance(answer, Refusal)
    probe.expect("four, the last of them coinciding", "counts" if counts else "is a no-op", "counts")
    if isinstance(answer, Refusal) and answer.text != _FIVE:
        raise Differs(f"refused in other words: {answer.text}")


@rule(
    "U29",
    proves="D1",
    source="open",
    says="A breakpoint below the minimum is ignored without an error, whatever follows it.",
)
def a_short_mark_is_ignored(probe: Probe) -> None:
    short = text(f"{probe.guide(share=0)} short", MARK)
    probe.warm([user(short, text(probe.guide(), MARK))])
    alone = probe.send([user(short)])
    other = probe.send([user(short, text(probe.guide(), MARK))])
    probe.expect("the short one alone", (alone.read, alone.written), (0, 0))
    probe.expect("read through the short one", other.read, 0)
