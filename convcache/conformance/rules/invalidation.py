"""What a change costs: the documents' table, a row for each change (section 6), and what it leaves open.

Knows the rows of T32, T33 and the open questions beside them. Must not know how a key is made.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from convcache.conformance.exchange import Reply
from convcache.conformance.models import GOES_FAST, THINKS_ALWAYS_KEPT
from convcache.conformance.outcome import Differs
from convcache.conformance.probe import Probe
from convcache.conformance.rule import Rule, rule
from convcache.conformance.words import MARK, Json, assistant, picture, text, tool, user

Level = Literal["nothing", "tools", "system", "messages"]
Change = Callable[[Json], Json]

_FAST: Final[Json] = {"speed": "fast", "betas": ["fast-mode-2026-02-01"]}
_SCHEMA: Final = {
    "type": "json_schema",
    "schema": {"type": "object", "properties": {}, "additionalProperties": False},
}
_SEARCH: Final = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
_FETCH: Final = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 1}
_SKILLED: Final[Json] = {
    "container": {"skills": [{"type": "anthropic", "skill_id": "pdf", "version": "latest"}]},
    "betas": ["code-execution-2025-08-25", "skills-2025-10-02"],
}


@attrs.frozen(kw_only=True)
class _Levels:
    """A request with a breakpoint at the end of each section, and how far an entry of it reaches."""

    request: Json
    reach: dict[str, int]

    @classmethod
    def written(cls, probe: Probe, **fields: Any) -> "_Levels":
        request: Json = {
            "tools": [tool("look", probe.guide(), MARK)],
            "system": [text("Be kind.", MARK)],
            "messages": [user(_document(), text("Say hello.", MARK))],
            **fields,
        }
        return cls(request=request, reach=_reach(probe, request))

    def survived(self, reply: Reply) -> str:
        return next(
            (level for level, tokens in self.reach.items() if tokens == reply.read), f"{reply.read} tokens"
        )


def _reach(probe: Probe, request: Json) -> dict[str, int]:
    """Tokens up to the end of each section, learned by sending one more of them each time."""
    sections = {
        "tools": ["tools"],
        "system": ["tools", "system"],
        "messages": ["tools", "system", "messages"],
    }
    reach = {"nothing": 0}
    for level, marked in sections.items():
        whole = {**request, **{name: _unmarked(request[name]) for name in sections if name not in marked}}
        reply = probe.warm(**whole)
        if reply.read != max(reach.values()):
            raise Differs(f"unchanged up to {level}: read {reply.read}, not {max(reach.values())}")
        reach[level] = reply.cached
    return reach


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _unmarked(part) if key == "content" else part
        for key, part in value.items()
        if key != "cache_control"
    }


def _document(*, cited: bool = False) -> Json:
    source = {"type": "text", "media_type": "text/plain", "data": "The sky is blue."}
    return {"type": "document", "source": source, "citations": {"enabled": cited}}


def _with(**fields: Any) -> Change:
    return lambda request: {**request, **fields}


def _tools(change: Callable[[list[Json]], list[Json]]) -> Change:
    return lambda request: {**request, "tools": change(request["tools"])}


def _cited(request: Json) -> Json:
    return {**request, "messages": [user(_document(cited=True), text("Say hello.", MARK))]}


def _with_image(request: Json) -> Json:
    return {**request, "messages": [user(_document(), text("Say hello.", MARK), picture(80, MARK))]}


def _added(definition: Json) -> Change:
    return _tools(lambda tools: [*tools, definition])


def _row(
    name: str,
    survives: Level,
    change: Change,
    says: str,
    *,
    source: str = "PC-Sep",
    models: tuple[str, ...] = (),
    first: Json | None = None,
) -> Rule:
    """A row of the table: after the change, the entries up to a level are read."""

    def check(probe: Probe) -> None:
        levels = _Levels.written(probe, **(first or {}))
        changed = probe.send(**change(levels.request))
        probe.expect("survives", levels.survived(changed), survives)

    proves = ("F1",) if name in ("thinking", "effort") else ("A7",)
    sentence = f"{says}: {_SURVIVES[survives]}."
    return Rule(id=f"T32.{name}", proves=proves, source=source, says=sentence, check=check, models=models)


_SURVIVES: Final[dict[Level, str]] = {
    "nothing": "everything is lost",
    "tools": "tools survive, system and messages are lost",
    "system": "tools and system survive, messages are lost",
    "messages": "everything survives",
}

# What forces a tool or thinks needs room for an answer; the answers cost next to nothing.
_ROOM: Final = {"max_tokens": 1200}
_ADAPTIVE: Final = {"thinking": {"type": "adaptive"}, **_ROOM}

ROWS: Final = (
    _row("tool-edited", "nothing", _tools(lambda tools: [{**tools[0], "description": f"{tools[0]['description']}!"}]), "A tool's definition is edited"),
    _row("tool-added-first", "nothing", _tools(lambda tools: [tool("seek"), *tools]), "A tool is put before the others"),
    _row("tool-added-last", "tools", _added(tool("seek")), "A tool is added behind a marked one"),
    _row("tools-removed", "nothing", lambda request: {key: value for key, value in request.items() if key != "tools"}, "Tools are removed"),
    _row("web-search", "tools", _added(_SEARCH), "Web search is turned on, which edits the system prompt", source="PC-Sep, TOOLPC-Sep"),
    _row("web-fetch", "tools", _added(_FETCH), "Web fetch is turned on, which edits the system prompt", source="TOOLPC-Sep"),
    _row("citations", "tools", _cited, "Citations are turned on"),
    _row("speed", "tools", _with(**_FAST), "Speed goes from standard to fast", models=GOES_FAST),
    _row("system", "tools", _with(system=[text("Be curt.", MARK)]), "The system text is edited"),
    _row("tool-choice", "system", _with(tool_choice={"type": "any"}, **_ROOM), "`tool_choice` is changed"),
    _row("parallel-tools", "system", _with(tool_choice={"type": "auto", "disable_parallel_tool_use": True}), "Parallel tool use is turned off"),
    _row("images", "system", _with_image, "The first image is added"),
    _row("thinking", "system", _with(**_ADAPTIVE), "Thinking is turned on", models=THINKS_ALWAYS_KEPT, first={"thinking": {"type": "disabled"}}),
    _row("effort", "system", _with(output_config={"effort": "low"}), "Effort is changed", source="thinking-steering-Aug", models=THINKS_ALWAYS_KEPT),
    _row("format", "system", _with(output_config={"format": _SCHEMA}, max_tokens=64), "`output_config.format` is changed", source="structured-outputs-Aug"),
    _row("skills", "tools", _with(**_SKILLED), "Skills are added to the container", source="skills-guide-Aug",
         models=("claude-sonnet-4-6", "claude-opus-5"), first={"betas": _SKILLED["betas"]}),
    _row("max-tokens", "messages", _with(max_tokens=7), "`max_tokens` is changed", source="SKILL"),
    _row("metadata", "messages", _with(metadata={"user_id": "somebody"}), "`metadata` is changed", source="SKILL"),
    _row("stop-sequences", "messages", _with(stop_sequences=["STOP"]), "Stop sequences are changed", source="inferred"),
)  # fmt: skip
"""The rows of the table that take one changed request to see."""


@rule(
    "T32.task-budget",
    proves="A9",
    source="task-budgets-Aug",
    says="A changed task budget loses messages at the least.",
    models=("claude-opus-5", "claude-opus-4-8"),
)
def a_task_budget_is_rendered(probe: Probe) -> None:
    levels = _Levels.written(probe)
    budget = {"task_budget": {"type": "tokens", "total": 50_000}}
    changed = probe.send(**levels.request, output_config=budget, betas=["task-budgets-2026-03-13"])
    probe.expect("less than everything is read", changed.read < levels.reach["messages"], True)


@rule(
    "T32.model",
    proves="A7",
    source="SKILL",
    says="Another model shares nothing.",
    models=("claude-haiku-5-5", "claude-sonnet-5-5"),
)
def another_model_shares_nothing(probe: Probe) -> None:
    other = "claude-sonnet-5-5" if probe.model == "claude-haiku-5-5" else "claude-haiku-5-5"
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    probe.expect("read by another model", probe.send(messages, model=other).read, 0)
    probe.expect("read by the same", probe.send(messages).read, first.written)


@rule(
    "T32.stream",
    proves="A7",
    source="SKILL, DROID",
    says="A stream reads what a plain request wrote.",
)
def a_stream_shares_entries(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    probe.expect("read by a stream", probe.stream(messages)[0].read, first.written)


@rule(
    "T33",
    proves="F1",
    source="PC-Sep",
    says="Saying the default effort is the same as saying nothing.",
    models=THINKS_ALWAYS_KEPT,
)
def a_default_effort_is_no_change(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    said = probe.send(messages, output_config={"effort": "high"})
    probe.expect("read with the default said", said.read, first.written)


@rule(
    "U5",
    proves="A5",
    source="open: documented as one turn, the hash is not",
    says="Consecutive messages of one role hash like the one message they make.",
)
def messages_of_one_role_are_one(probe: Probe) -> None:
    guide = probe.guide()
    first = probe.warm([user(guide, text("Go on.", MARK))])
    split = probe.send([user(guide), user(text("Go on.", MARK))])
    same = split.read == first.written
    probe.expect("split and merged", "are equal" if same else "differ", "are equal")


@rule(
    "U9",
    proves="F1",
    source="open: model-specific",
    says="Thinking and effort are rendered before messages, so that tools and system survive their change.",
    models=THINKS_ALWAYS_KEPT,
)
def thinking_is_rendered_before_messages(probe: Probe) -> None:
    levels = _Levels.written(probe, thinking={"type": "disabled"})
    thought = levels.survived(probe.send(**{**levels.request, **_ADAPTIVE}))
    effort = levels.survived(probe.send(**levels.request, output_config={"effort": "low"}))
    probe.expect("survives thinking and effort", f"{thought}, {effort}", "system, system")


@rule(
    "U10",
    proves="A6",
    source="open: `presence of images anywhere`",
    says="The first image changes the key of all messages, inside a tool result as well; a second one does not.",
)
def the_first_image_loses_all_messages(probe: Probe) -> None:
    guide = probe.guide()
    probe.warm([user(text(guide, MARK))])
    shown = [user(guide, text("Look.", MARK), picture(80, MARK))]
    one = probe.send(shown)
    two = probe.send([*shown, assistant("Grey."), user(picture(90, MARK))])
    probe.expect(
        "the first image", "loses all messages" if one.read == 0 else "loses nothing", "loses all messages"
    )
    probe.expect("read with a second", two.read, one.written)


@rule(
    "U11",
    proves="F2",
    source="open",
    says="`inference_geo` keeps entries apart; `service_tier` does not.",
    models=("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5"),
)
def a_geography_keeps_entries_apart(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    tier = probe.send(messages, service_tier="standard_only")
    geo = probe.send(messages, inference_geo="us")
    seen = ["shares" if reply.read == first.written else "keeps apart" for reply in (geo, tier)]
    probe.expect("geography, tier", seen, ["keeps apart", "shares"])


@rule(
    "U24",
    proves="A7",
    source="open",
    says="The set of beta features is no part of the cache's key.",
)
def betas_are_not_in_the_key(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    beta = probe.send(messages, betas=["files-api-2025-04-14"])
    shared = "share entries" if beta.read == first.written else "are apart"
    probe.expect("with and without a beta", shared, "share entries")


@rule(
    "U25",
    proves="A5",
    source="open: named among the causes of misses",
    says="The order of keys in a tool's schema counts.",
)
def the_order_of_keys_in_a_schema_counts(probe: Probe) -> None:
    look = tool("look", probe.guide())
    turned = {**look, "input_schema": dict(reversed(look["input_schema"].items()))}
    messages = [user(text("Hello.", MARK))]
    first = probe.warm(messages, tools=[look])
    again = probe.send(messages, tools=[turned])
    same = probe.send(messages, tools=[look])
    probe.expect("read in the same order", same.read, first.written)
    probe.expect("the order", "does not count" if again.read else "counts", "counts")


@rule(
    "U27",
    proves="A7",
    source="open: the table and the fast-mode page disagree",
    says="A change of speed leaves the tools' entry.",
    models=GOES_FAST,
)
def tools_survive_a_change_of_speed(probe: Probe) -> None:
    levels = _Levels.written(probe)
    probe.expect("survives", levels.survived(probe.send(**levels.request, **_FAST)), "tools")


@rule("U4", proves="A5", source="open", says="A string and its one text block are equal, in system too.")
def a_system_string_is_one_block(probe: Probe) -> None:
    guide = probe.guide()
    messages = [user(text("Hello.", MARK))]
    first = probe.warm(messages, system=guide)
    listed = probe.send(messages, system=[text(guide)])
    probe.expect("the two forms", "are equal" if listed.read == first.written else "differ", "are equal")
