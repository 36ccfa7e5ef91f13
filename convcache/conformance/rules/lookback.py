"""How far a breakpoint looks back and what counts as one position (sections 3 and 4).

Knows the checks T18 to T23. Must not know how an endpoint walks.
"""

from typing import Final

from convcache.conformance.outcome import CannotTell
from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.words import MARK, Json, assistant, call, padding, result, row, text, tool, user

_FAN: Final = 30
_TRIES: Final = 40


@rule(
    "T18",
    proves="C1",
    source="PC-Sep",
    says="A breakpoint finds an entry within twenty positions, the breakpoint being the first.",
)
def twenty_positions_are_tested(probe: Probe) -> None:
    for further, found in ((19, True), (20, False)):
        guide = text(probe.guide())
        first = probe.warm([user({**guide, "cache_control": MARK})])
        later = probe.send([user(guide, *row(2, 1 + further, MARK))])
        probe.expect(f"read {further} blocks further", later.read, first.written if found else 0)


@rule(
    "T19",
    proves="C3",
    source="PC-Sep",
    says="The documents' example: 10, 15, then 35 blocks miss by one, and a second breakpoint on 15 reads them.",
)
def the_example_of_the_documents(probe: Probe) -> None:
    guide = text(probe.guide())
    ten = probe.warm([user(guide, *row(2, 10, MARK))])
    fifteen = probe.send([user(guide, *row(2, 15, MARK))])
    far = probe.send([user(guide, *row(2, 35, MARK))])
    helped = probe.send([user(guide, *row(2, 15, MARK), *row(16, 35, MARK, say="other"))])
    probe.expect("read at 15", fifteen.read, ten.written)
    probe.expect("read at 35", far.read, 0)
    probe.expect("read at 35 with a breakpoint on 15", helped.read, fifteen.cached)


@rule(
    "T20",
    proves="C1",
    source="PC-Sep",
    says="An earlier breakpoint has a window of its own and finds an entry up to twenty positions before itself.",
)
def an_earlier_mark_has_its_own_window(probe: Probe) -> None:
    guide = text(probe.guide())
    first = probe.warm([user(guide, *row(2, 5, MARK))])
    alone = probe.send([user(guide, *row(2, 60, MARK))])
    both = probe.send([user(guide, *row(2, 24, MARK), *row(25, 60, MARK, say="other"))])
    probe.expect("read by a breakpoint far behind", alone.read, 0)
    probe.expect("read with one between", both.read, first.written)


@rule(
    "T21",
    proves="C2 C4",
    source="PC-Sep, SKILL-Sep, DROID",
    says="On the Claude API a run of parallel tool calls, or of their results, is one position; rounds are two each.",
)
def a_run_of_calls_is_one_position(probe: Probe) -> None:
    tools = [tool("look")]
    guide = probe.guide()
    first = probe.warm([user(text(guide, MARK))], tools=tools)
    fan = [assistant(*map(call, range(_FAN))), user(*map(result, range(_FAN)))]
    parallel = probe.send([user(guide), *fan], tools=tools, cache_control=MARK)
    collapses = probe.platform == "claude"
    probe.expect("read across 30 parallel calls", parallel.read, first.written if collapses else 0)
    for rounds, found in ((9, True), (10, False)):
        guide = probe.guide()
        first = probe.warm([user(text(guide, MARK))], tools=tools)
        loop = [turn for n in range(rounds) for turn in (assistant(call(n)), user(result(n)))]
        later = probe.send([user(guide), *loop], tools=tools, cache_control=MARK)
        probe.expect(f"read across {rounds} rounds", later.read, first.written if found else 0)


@rule(
    "T22",
    proves="C3",
    source="PC-Sep",
    says="The walk goes over system blocks too: it crosses from messages into system.",
)
def the_walk_crosses_sections(probe: Probe) -> None:
    for blocks, found in ((19, True), (20, False)):
        guide = probe.guide()
        first = probe.warm([user("Hello.")], system=[text(guide, MARK)])
        later = probe.send([user(*row(1, blocks, MARK))], system=[text(guide)])
        probe.expect(f"read {blocks} blocks later", later.read, first.written if found else 0)


@rule(
    "T23",
    proves="D1",
    source="PC-Sep, MIN-Oct",
    says="A prefix shorter than the model's minimum is not cached and no error; one of that length is.",
)
def each_model_has_its_minimum(probe: Probe) -> None:
    short = probe.send(_of_length(probe, int(probe.minimum * 0.9)))
    enough = probe.send(_of_length(probe, int(probe.minimum * 1.1)))
    probe.expect("cached at 90 % of the minimum", short.cached, 0)
    probe.expect("written at 110 %", enough.written > 0, True)


@rule(
    "U14",
    proves="D1 D2",
    source="open: what the server adds may count",
    says="The minimum is measured on the tokens that `count_tokens` counts.",
)
def the_minimum_is_what_is_counted(probe: Probe) -> None:
    short = probe.send(_of_length(probe, probe.minimum - 1))
    enough = probe.send(_of_length(probe, probe.minimum))
    probe.expect("cached one token below", short.cached, 0)
    probe.expect("written at the minimum", enough.written, probe.minimum)


def _of_length(probe: Probe, tokens: int) -> list[Json]:
    """One marked text that the endpoint counts as so many tokens."""
    words = f"{probe.guide(share=0)} {padding(2 * tokens)}"
    length = 4 * tokens
    for _ in range(_TRIES):
        messages = [user(text(words[:length], MARK))]
        counted = probe.count(messages)
        if not isinstance(counted, int):
            raise CannotTell(f"tokens are not counted: {counted.text}")
        if counted == tokens:
            return messages
        # Less than a token has bytes, so that the steps come to an end.
        length += 3 * (tokens - counted)
    raise CannotTell(f"no text of exactly {tokens} tokens was found")


@rule(
    "U6",
    proves="C4",
    source="open: the examples count blocks over the whole prompt",
    says="A tool, a system block (a string is one) and a text block are one position each.",
)
def every_block_is_one_position(probe: Probe) -> None:
    for texts, found in ((9, True), (10, False)):
        guide = tool("look", probe.guide())
        more = [tool(f"look_{n}") for n in range(9)]
        first = probe.warm([user("Hello.")], tools=[{**guide, "cache_control": MARK}])
        later = probe.send([user(*row(1, texts, MARK))], tools=[guide, *more], system="Be kind.")
        probe.expect(
            f"read across 9 tools, a string and {texts} texts", later.read, first.written if found else 0
        )


@rule(
    "U7",
    proves="C4",
    source="open: the collapse is stated for tool_use and tool_result only",
    says="Runs of server tool calls and of their results do not collapse.",
)
def server_tool_runs_do_not_collapse(probe: Probe) -> None:
    guide = probe.guide()
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]
    failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    calls = [
        {"type": "server_tool_use", "id": f"srvtoolu_{n:024}", "name": "web_search", "input": {"query": "a"}}
        for n in range(12)
    ]
    results = [
        {"type": "web_search_tool_result", "tool_use_id": block["id"], "content": failed} for block in calls
    ]
    first = probe.warm([user(text(guide, MARK))], tools=tools)
    few = [user(guide), assistant(*calls[:2], *results[:2], "Nothing."), user(text("Never mind.", MARK))]
    near = probe.send(few, tools=tools)
    history = [user(guide), assistant(*calls, *results, "Nothing."), user(text("Never mind.", MARK))]
    later = probe.send(history, tools=tools)
    probe.expect("read across two calls", near.read, first.written)
    probe.expect("the run", "collapses" if later.read else "does not collapse", "does not collapse")


@rule(
    "U8",
    proves="C2",
    source="open",
    says="An entry in the middle of a collapsed run is found through any later breakpoint within reach.",
)
def an_entry_inside_a_run_is_found(probe: Probe) -> None:
    opening = [user(probe.guide()), assistant(*map(call, range(_FAN)))]
    results = [*map(result, range(4)), result(4, mark=MARK), *map(result, range(5, _FAN))]
    tools = [tool("look")]
    first = probe.warm([*opening, user(*results)], tools=tools)
    later = probe.send([*opening, user(*map(result, range(_FAN)), text("Go on.", MARK))], tools=tools)
    probe.expect("read through a later breakpoint", later.read, first.written)
