"""What becomes of thinking, system messages and edits in a history (section 7).

Knows the checks T34 to T36, the rows of T32 that edit the history, and U19 and U32. Must not know models' tables.
"""

from typing import Final

from convcache.conformance.exchange import Reply
from convcache.conformance.models import FORGETS_THINKING, HEARS_SYSTEM_MESSAGES, THINKS_ALWAYS_KEPT
from convcache.conformance.outcome import CannotTell, Differs
from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.rules.marks import CLEARED
from convcache.conformance.words import (
    MARK,
    Json,
    assistant,
    call,
    result,
    system_message,
    text,
    tool,
    until_next_turn,
    user,
)

_EDITING: Final = ["context-management-2025-06-27"]
_COMPACTING: Final = ["compact-2026-09-04"]
_ADDING: Final = ["mid-conversation-tool-changes-2026-07-01"]
_BUDGET: Final = 1024


class _Loop:
    """A tool loop that a thinking model opened: its history, and what each request cached."""

    def __init__(self, probe: Probe, thinking: Json) -> None:
        self._probe = probe
        self._fields: Json = {"tools": [tool("look")], "thinking": thinking, "max_tokens": _BUDGET + 400}
        self._opening = f"{probe.guide()} Use the tool `look` to look up `rain`, and think before you do."
        self.opened = probe.warm([user(text(self._opening, MARK))], **self._fields)
        self.turns = [user(self._opening), {"role": "assistant", "content": self.opened.content}]
        self._calls = [block for block in self.opened.content if block["type"] == "tool_use"]
        if not (self._calls and any(block["type"] == "thinking" for block in self.opened.content)):
            raise CannotTell("the model did not think and call a tool")

    def send(self, messages: list[Json]) -> Reply:
        return self._probe.send(messages, **self._fields)

    def results(self, mark: Json | None = None) -> Json:
        blocks = [
            {"type": "tool_result", "tool_use_id": each["id"], "content": "Wet."} for each in self._calls
        ]
        return user(*blocks[:-1], blocks[-1] if mark is None else {**blocks[-1], "cache_control": mark})


def _budget() -> Json:
    return {"type": "enabled", "budget_tokens": _BUDGET}


def _after_a_user_turn(probe: Probe, thinking: Json) -> tuple[Reply, Reply, Reply]:
    loop = _Loop(probe, thinking)
    inside = loop.send([*loop.turns, loop.results(MARK)])
    spoken = [*loop.turns, loop.results(), assistant("It is wet."), user(text("And tomorrow?", MARK))]
    return loop.opened, inside, loop.send(spoken)


@rule(
    "T34.keeps",
    proves="G1",
    source="THINK-Sep, PC-Sep",
    says="Newer models keep earlier thinking: after a user turn everything before it is read.",
    models=THINKS_ALWAYS_KEPT,
)
def newer_models_keep_thinking(probe: Probe) -> None:
    opened, inside, after = _after_a_user_turn(probe, {"type": "adaptive"})
    probe.expect("read inside the loop", inside.read, opened.written)
    probe.expect("read after a user turn", after.read, inside.cached)


@rule(
    "T34.strips",
    proves="G1 G3",
    source="THINK-Sep, PC-Sep",
    says="Older models drop it: after a user turn only the message that opened the tool loop is read.",
    models=FORGETS_THINKING,
)
def older_models_drop_thinking(probe: Probe) -> None:
    opened, inside, after = _after_a_user_turn(probe, _budget())
    probe.expect("more is cached inside the loop", inside.cached > opened.written, True)
    probe.expect("read after a user turn", after.read, opened.written)


@rule(
    "T35",
    proves="G1",
    source="THINK-Sep",
    says="A turn of tool results keeps thinking on every model.",
    models=FORGETS_THINKING,
)
def results_keep_thinking(probe: Probe) -> None:
    loop = _Loop(probe, _budget())
    inside = loop.send([*loop.turns, loop.results(MARK)])
    further = [*loop.turns, loop.results(), assistant(call(99)), user(result(99, mark=MARK))]
    probe.expect("read inside the loop", inside.read, loop.opened.written)
    probe.expect("read a round later", loop.send(further).read, inside.cached)


@rule(
    "U19",
    proves="G1",
    source="open: Haiku 5.5 is not named",
    says="Haiku 5.5 keeps earlier thinking.",
    models=("claude-haiku-5-5",),
)
def haiku_5_5_keeps_thinking(probe: Probe) -> None:
    opened, inside, after = _after_a_user_turn(probe, {"type": "adaptive"})
    probe.expect("read inside the loop", inside.read, opened.written)
    probe.expect("thinking", "is kept" if after.read == inside.cached else "is dropped", "is kept")


@rule(
    "U32",
    proves="B16",
    source="open: an old sentence says otherwise",
    says="Thinking in a tool loop is not cached without a breakpoint.",
    models=THINKS_ALWAYS_KEPT,
)
def thinking_is_not_cached_unmarked(probe: Probe) -> None:
    loop = _Loop(probe, {"type": "adaptive"})
    first, second = (loop.send([*loop.turns, loop.results()]) for _ in range(2))
    marked = loop.send([*loop.turns, loop.results(MARK)])
    probe.expect("read in a marked loop", marked.read, loop.opened.written)
    cached = "something" if first.cached or second.cached else "nothing"
    probe.expect("cached in an unmarked loop", cached, "nothing")


@rule(
    "T36",
    proves="G9 G10 B8",
    source="MID-Sep",
    says="A system message appended keeps the prefix; one for a single turn is never in a key and cannot be marked.",
    models=HEARS_SYSTEM_MESSAGES,
)
def system_messages_keep_the_prefix(probe: Probe) -> None:
    guide = probe.guide()
    first = probe.warm([user(text(guide, MARK))])
    appended = probe.send([user(text(guide, MARK)), system_message("Be brief.")])
    scoped = [user(text(guide, MARK)), until_next_turn("Be quick.")]
    now = probe.send(scoped, betas=CLEARED)
    later = [user(guide), scoped[1], assistant("Hello."), user(text("Go on.", MARK))]
    cleared = probe.send(later, betas=CLEARED)
    without = probe.send([user(guide), assistant("Hello."), user(text("Go on.", MARK))])
    for what, reply in (
        ("a system message", appended),
        ("one for the turn", now),
        ("that one cleared", cleared),
    ):
        probe.expect(f"read with {what}", reply.read, first.written)
    probe.expect("read without it", without.read, cleared.cached)
    marked = {**until_next_turn("Be quick."), "content": [text("Be quick.", MARK)]}
    refusal = probe.refused([user("Hello."), marked], betas=CLEARED)
    said = "cache_control is not permitted on a turn-scoped system message (clear_at: 'next_user_message')"
    probe.expect("a mark on it", refusal.text, f"messages.1.content.0: {said}")


@rule(
    "T32.tool-addition",
    proves="G12",
    source="PC-Sep, MID-Sep",
    says="A deferred tool added by a system message loses nothing.",
    models=HEARS_SYSTEM_MESSAGES,
)
def an_added_tool_keeps_the_prefix(probe: Probe) -> None:
    guide = probe.guide()
    tools = [tool("look"), tool("later", defer_loading=True)]
    first = probe.warm([user(text(guide, MARK))], tools=tools, betas=_ADDING)
    addition = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "later"}}
    added = [user(text(guide, MARK)), {"role": "system", "content": [addition]}]
    probe.expect("read with a tool added", probe.send(added, tools=tools, betas=_ADDING).read, first.written)


def _three_lookups(guide: str, mark: Json | None = None) -> list[Json]:
    rounds = [turn for n in range(3) for turn in (assistant(call(n)), user(result(n, "Found. " * 40)))]
    return [user(text(guide, MARK)), *rounds, assistant("All found."), user(text("Thanks.", mark))]


@rule(
    "T32.clear-tool-uses",
    proves="G7",
    source="CE-Sep",
    says="Clearing tool results ends the prefix at the first one cleared; the edited form is cached and read again.",
    models=("claude-haiku-4-5", "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-opus-4-8"),
)
def clearing_ends_the_prefix(probe: Probe) -> None:
    tools, guide = [tool("look")], probe.guide()
    messages = _three_lookups(guide, MARK)
    keep = {"type": "tool_uses", "value": 1}
    edit = {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 2}, "keep": keep}
    edits = {"context_management": {"edits": [edit]}, "betas": _EDITING}
    head = probe.warm([user(text(guide, MARK))], tools=tools)
    whole = probe.send(messages, tools=tools)
    cleared = probe.send(messages, tools=tools, **edits)
    again = probe.send(messages, tools=tools, **edits)
    probe.expect("read and written before", whole.read, head.written)
    probe.expect("read when results are cleared", cleared.read, head.written)
    probe.expect("the prompt is shorter", cleared.prompt < whole.prompt, True)
    probe.expect("read when they are cleared again", again.read, cleared.cached)


@rule(
    "T32.compaction",
    proves="G8 E8",
    source="CMP-Sep",
    says="After a compaction the marked system part is read, and its messages are not.",
    models=("claude-opus-5", "claude-sonnet-5-5", "claude-opus-4-8"),
)
def compaction_leaves_the_system_part(probe: Probe) -> None:
    system = [text(probe.guide(), MARK)]
    chat = [user("My name is Ada."), assistant("Hello Ada."), user(text("What is my name?", MARK))]
    head = probe.warm([user("Hello.")], system=system)
    probe.send(chat, system=system)
    summary = probe.send(
        chat, system=system, compaction={"type": "summarize"}, betas=_COMPACTING, max_tokens=1000
    )
    if [block["type"] for block in summary.content] != ["compaction"]:
        raise Differs(f"the compaction returned {[block['type'] for block in summary.content]}")
    told = [entry["type"] for entry in summary.usage.get("iterations") or ()]
    probe.expect("its cost is told apart", "compaction" in told, True)
    history = [{"role": "assistant", "content": summary.content}, user(text("What is my name?", MARK))]
    after = probe.send(history, system=system, betas=_COMPACTING)
    probe.expect("read after it", after.read, head.written)
