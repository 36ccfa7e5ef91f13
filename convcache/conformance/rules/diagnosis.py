"""Cache diagnostics: why a request could not go on where an earlier one ended (section 11).

Knows the checks T39 and T40, U26 and U30. Must not know how requests are compared.
"""

from typing import Any, Final

from convcache.conformance.exchange import Reply
from convcache.conformance.models import THINKS_ALWAYS_KEPT
from convcache.conformance.outcome import CannotTell
from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.rules.lifetime import FIVE_MINUTES
from convcache.conformance.words import MARK, Json, assistant, text, tool, user

_TRIES: Final = 3
_UNKNOWN: Final = "msg_01NobodyEverSawThisOne000"


def _first(probe: Probe, request: Json) -> Reply:
    """A request that asks to be remembered."""
    return probe.warm(**request, diagnostics={"previous_message_id": None})


def _reason(probe: Probe, before: str, request: Json) -> Any:
    """The reason told for a request, `None` for no divergence; asked again as long as it is not known."""
    for _ in range(_TRIES):
        told = _told(probe.send(**request, diagnostics={"previous_message_id": before}))
        if told is None:
            return None
        if told.get("cache_miss_reason") is not None:
            return told["cache_miss_reason"]["type"]
    raise CannotTell("the comparison was not finished in time")


def _told(reply: Reply) -> Any:
    if "diagnostics" not in reply.message:
        raise CannotTell("the response has no field `diagnostics`")
    return reply.message["diagnostics"]


def _request(probe: Probe) -> Json:
    return {
        "tools": [tool("look")],
        "system": [text("Be kind.")],
        "messages": [user(text(probe.guide(), MARK))],
    }


@rule(
    "T39",
    proves="J1 J2 J3 J4",
    source="DIAG-Sep, SDK types",
    says="The first turn tells nothing, growth tells nothing, and each change tells its section.",
)
def each_change_has_its_reason(probe: Probe) -> None:
    request = _request(probe)
    first = _first(probe, request)
    probe.expect("the first turn", _told(first), None)
    grown = [*request["messages"], assistant("Hello."), user("Go on.")]
    other = "claude-sonnet-5-5" if probe.model == "claude-haiku-5-5" else "claude-haiku-5-5"
    changes: dict[str, tuple[Json, str | None]] = {
        "growth": ({"messages": grown}, None),
        "another model": ({"model": other}, "model_changed"),
        "another tool": ({"tools": [tool("seek")]}, "tools_changed"),
        "another system text": ({"system": [text("Be curt.")]}, "system_changed"),
        "another message": ({"messages": [user(text("Hello.", MARK))]}, "messages_changed"),
    }
    for what, (change, reason) in changes.items():
        probe.expect(what, _reason(probe, first.id, {**request, **change}), reason)
    unknown = _reason(probe, _UNKNOWN, request)
    probe.expect("an unknown id", unknown, "previous_message_not_found")


@rule(
    "T39.unavailable",
    proves="J3",
    source="DIAG-Sep",
    says="A change of other parameters that shape the prompt, thinking for one, is `unavailable`.",
    models=THINKS_ALWAYS_KEPT,
)
def other_parameters_are_unavailable(probe: Probe) -> None:
    request = {**_request(probe), "max_tokens": 1200}
    first = _first(probe, {**request, "thinking": {"type": "disabled"}})
    thought = {**request, "thinking": {"type": "adaptive"}}
    probe.expect("thinking turned on", _reason(probe, first.id, thought), "unavailable")


@rule(
    "T39.fingerprint",
    proves="J1",
    source="DIAG-Sep",
    says="A request without the object leaves nothing to compare with.",
)
def only_those_who_ask_are_remembered(probe: Probe) -> None:
    request = _request(probe)
    silent = probe.send(**request)
    reason = _reason(probe, silent.id, request)
    probe.expect("compared with a request that did not ask", reason, "previous_message_not_found")


@rule(
    "T40",
    proves="J5",
    source="DIAG-Sep",
    says="Diagnostics compare requests, not the cache: an expired entry is no divergence.",
    waits=5.2,
)
def an_expired_entry_is_no_divergence(probe: Probe) -> None:
    request = _request(probe)
    first = _first(probe, request)
    probe.wait(FIVE_MINUTES + probe.margin)
    again = probe.send(**request, diagnostics={"previous_message_id": first.id})
    told = _told(again)
    if told and (told.get("cache_miss_reason") or {}).get("type") == "previous_message_not_found":
        raise CannotTell("the fingerprint had expired as well")
    probe.expect("read and told", (again.read, told), (0, None))


@rule(
    "U26",
    proves="J4",
    source="open",
    says="Where tools and system both changed, tools are told: the earliest difference in prompt order.",
)
def tools_are_told_before_system(probe: Probe) -> None:
    request = _request(probe)
    first = _first(probe, request)
    both = {**request, "tools": [tool("seek")], "system": [text("Be curt.")]}
    probe.expect("tools and system changed", _reason(probe, first.id, both), "tools_changed")


@rule(
    "U30",
    proves="H1 J1",
    source="open",
    says="A pre-warmed request can be compared with like any other.",
)
def a_prewarmed_request_is_remembered(probe: Probe) -> None:
    request = _request(probe)
    first = _first(probe, {**request, "max_tokens": 0})
    probe.expect("compared with a pre-warmed request", _reason(probe, first.id, request), None)
