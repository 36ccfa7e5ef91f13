"""What a request is billed for and how its usage is told (section 5, E4 to E10; section 8).

Knows the checks T28 to T31, T37, T38 and T49. Must not know prices.
"""

from typing import Any, Final

from convcache.conformance.exchange import Refusal, Reply
from convcache.conformance.outcome import Differs
from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.words import HOUR, MARK, Json, assistant, text, tool, user

_FEW: Final = 8
_TOTALS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class _Parts:
    """One turn of three blocks, each marked or not."""

    def __init__(self, probe: Probe) -> None:
        self._probe, self._words = probe, (probe.guide(), "Some more. " * 15, "And the rest. " * 15)

    def send(self, *marks: Json | None) -> Reply:
        """The blocks as far as there are marks for them."""
        send = self._probe.warm if any(marks) else self._probe.send
        return send([user(*map(text, self._words, marks))])


@rule(
    "T28",
    proves="E4",
    source="PC-Sep",
    says="Read up to the highest hit, an hour up to the highest hour's mark, five minutes up to the last, the rest plain.",
)
def a_request_is_billed_by_hit_hour_and_last_mark(probe: Probe) -> None:
    def bill(what: str, reply: Reply, read: int, long: int | None = None) -> None:
        probe.expect(f"{what}: read", reply.read, read)
        probe.expect(f"{what}: split", reply.long + reply.short, reply.written)
        if long is not None:
            probe.expect(f"{what}: for an hour", reply.long, long)

    parts = _Parts(probe)
    first = parts.send(HOUR, None, MARK)
    bill("no hit, an hour first", first, read=0)
    bill("the hour's part", parts.send(HOUR), read=first.long, long=0)

    parts = _Parts(probe)
    below = parts.send(HOUR)
    mixed = parts.send(HOUR, HOUR, MARK)
    bill("a hit below the hour", mixed, read=below.written)
    bill("the hour's mark", parts.send(None, HOUR), read=mixed.read + mixed.long, long=0)

    parts = _Parts(probe)
    hour = parts.send(None, HOUR)
    bill("a hit on the hour", parts.send(None, HOUR, MARK), read=hour.written, long=0)
    whole = parts.send(None, None, MARK)
    bill("all of it hit", whole, read=whole.cached, long=0)

    parts = _Parts(probe)
    head = parts.send(MARK)
    rest = parts.send(MARK, None, None)
    bill("a hit and a rest", rest, read=head.written, long=0)
    probe.expect("the rest is neither read nor written", rest.written == 0 < rest.uncached, True)


@rule(
    "T29",
    proves="E5",
    source="PC-Sep",
    says="Read, written and uncached tokens add up to the prompt, whatever is marked or warm.",
)
def usage_adds_up_to_the_prompt(probe: Probe) -> None:
    parts = _Parts(probe)
    plain = parts.send(None, None, None)
    for marks in ([MARK, None, None], [None, MARK, None], [HOUR, MARK, None], [None, None, MARK]):
        reply = parts.send(*marks)
        probe.expect("prompt", reply.prompt, plain.prompt)
        probe.expect("split", reply.short + reply.long, reply.written)


@rule(
    "T30",
    proves="E6",
    source="DROID",
    says="In a chat that only grows, with its tail marked, each read is what was read and written before.",
)
def each_read_is_what_was_cached_before(probe: Probe) -> None:
    messages, before = [user(probe.guide())], 0
    for turn in range(5):
        reply = probe.send(messages, cache_control=MARK)
        probe.expect(f"read in turn {turn + 1}", reply.read, before)
        probe.expect("something is written", reply.written > 0, True)
        before = reply.cached
        messages += [assistant(f"Answer {turn}."), user(f"Question {turn}? " + "And why? " * turn)]


@rule(
    "T31",
    proves="E7",
    source="SDK",
    says="A stream tells the usage in its first event, TTLs apart, and its totals again at the end; the SDK keeps both.",
)
def a_stream_tells_its_usage(probe: Probe) -> None:
    request: dict[str, Any] = {"messages": [user(text(probe.guide(), HOUR), text("Hello.", MARK))]}
    streamed, events = probe.stream(**request)
    plain = probe.send(**request)
    first = next(event["message"]["usage"] for event in events if event["type"] == "message_start")
    last = [event["usage"] for event in events if event["type"] == "message_delta"][-1]
    probe.expect(
        "written for an hour, for five minutes", (streamed.long > 0, streamed.short > 0), (True, True)
    )
    probe.expect("split", streamed.long + streamed.short, streamed.written)
    probe.expect(
        "split in the first event", dict(first["cache_creation"]), dict(streamed.usage["cache_creation"])
    )
    told = {key: last[key] for key in _TOTALS if last.get(key) is not None}
    probe.expect("totals at the end", told, {key: first[key] for key in told})
    probe.expect("read without a stream", (plain.read, plain.prompt), (streamed.written, streamed.prompt))


@rule(
    "T37",
    proves="H1 H2",
    source="PC-Sep, SDK",
    says="`max_tokens: 0` writes and says nothing; it is refused with what needs an answer.",
)
def prewarming_writes_and_says_nothing(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    warmed = probe.warm(messages, max_tokens=0)
    message = warmed.message
    shape = (
        message["content"],
        message["stop_reason"],
        message["stop_sequence"],
        warmed.usage["output_tokens"],
    )
    probe.expect("content, stop reason, stop sequence, output", shape, ([], "max_tokens", None, 0))
    _conflicts_are_refused(probe)


def _conflicts_are_refused(probe: Probe) -> None:
    look = {"tools": [tool("look")]}
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    conflicts: dict[str, Json] = {
        "stream": {"stream": True},
        "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "format": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "any tool": {**look, "tool_choice": {"type": "any"}},
        "one tool": {**look, "tool_choice": {"type": "tool", "name": "look"}},
    }
    for name, conflict in conflicts.items():
        refusal = probe.refused([user("Hello.")], max_tokens=0, **conflict)
        probe.expect(f"with {name}", (refusal.status, refusal.type), (400, "invalid_request_error"))


@rule(
    "U15",
    proves="H2",
    source="open: the texts are not published",
    says="What does not go with `max_tokens: 0` is refused as `invalid_request_error`, in whatever words.",
)
def prewarming_conflicts_are_refused(probe: Probe) -> None:
    refusal = probe.refused([user("Hello.")], max_tokens=0, tools=[tool("look")], tool_choice={"type": "any"})
    probe.notes.append(f"in the words: {refusal.text}")
    probe.expect("type", refusal.type, "invalid_request_error")


@rule(
    "T38",
    proves="H3",
    source="PC-Sep",
    says="A pre-warmed prefix is read by the real request if the mark is on the shared part, not on the placeholder.",
)
def a_prewarmed_prefix_is_read(probe: Probe) -> None:
    system = [text(probe.guide(), MARK)]
    warmed = probe.warm([user("Placeholder.")], system=system, max_tokens=0)
    real = probe.send([user("A real question?")], system=system)
    probe.expect("read by the real request", real.read, warmed.written)
    guide = text(probe.guide())
    probe.warm([user(text("Placeholder.", MARK))], system=[guide], max_tokens=0)
    missed = probe.send([user(text("A real question?", MARK))], system=[guide])
    probe.expect("read then", missed.read, 0)


@rule(
    "T49",
    proves="B7 E10",
    source="LIVE-RS, PC-Sep",
    says="Counting tokens checks breakpoints like a request, and is otherwise not changed by them.",
)
def counting_checks_marks(probe: Probe) -> None:
    def counted(*marks: Json | None) -> int | Refusal:
        return probe.count([user(*(text(f"block {n}", mark) for n, mark in enumerate(marks)))])

    refusal = counted(*[MARK] * 5)
    if not isinstance(refusal, Refusal):
        raise Differs("five breakpoints are counted")
    found = "A maximum of 4 blocks with cache_control may be provided. Found 5."
    probe.expect("five breakpoints", (refusal.status, refusal.text), (400, found))
    probe.expect("four blocks, marked", counted(*[MARK] * 4), counted(*[None] * 4))


@rule(
    "U16",
    proves="E6",
    source="open: samples show 3 to 8",
    says="Few tokens or none stay uncached when the last block is marked (none here; two to eight were seen).",
)
def few_tokens_stay_behind(probe: Probe) -> None:
    reply = probe.warm([user(text(probe.guide(), MARK))])
    probe.notes.append(f"uncached after a marked last block: {reply.uncached}")
    probe.expect("it is eight or fewer", reply.uncached <= _FEW, True)


@rule(
    "U22",
    proves="E4",
    source="open",
    says="Where several breakpoints hit, the longest is read.",
)
def the_longest_hit_is_read(probe: Probe) -> None:
    parts = _Parts(probe)
    head = parts.send(MARK)
    both = parts.send(MARK, MARK)
    again = parts.send(MARK, MARK, MARK)
    probe.expect("the head is read", both.read, head.written)
    probe.expect("the longest is read", again.read, both.cached)
