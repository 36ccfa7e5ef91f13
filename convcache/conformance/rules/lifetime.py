"""How long entries live, what prolongs them and when they can be read (section 5, E1 to E3).

Knows the checks T24 to T27 and the questions about time. Must not know how an endpoint keeps time.
"""

from typing import Final

from convcache.conformance.outcome import CannotTell
from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.words import HOUR, MARK, Json, text, user

FIVE_MINUTES: Final = 300
AN_HOUR: Final = 3600
_SLOW: Final = 240
_LONG_ANSWER: Final = "Count from one to three thousand in words, and leave out nothing."


def _alive_around(probe: Probe, mark: Json, ttl: int) -> None:
    """Read just before the end of its lifetime, gone just after."""
    early, late = (user(text(probe.guide(), mark)) for _ in range(2))
    first, _ = probe.warm([early]), probe.warm([late])
    probe.wait(ttl - probe.margin)
    probe.expect(f"read {probe.margin:g} s before the end", probe.send([early]).read, first.written)
    probe.wait(2 * probe.margin)
    probe.expect(f"read {probe.margin:g} s after the end", probe.send([late]).read, 0)


@rule(
    "T24",
    proves="E1",
    source="PC-Sep",
    says="The TTL runs from the start of the request, not from the end of its response.",
    waits=10,
)
def the_time_counts_from_the_start(probe: Probe) -> None:
    for at, alive in ((FIVE_MINUTES - probe.margin, True), (FIVE_MINUTES + probe.margin, False)):
        guide = text(probe.guide(), MARK)
        slow = probe.slowly(_SLOW, [user(guide, _LONG_ANSWER)], max_tokens=8000)
        if slow.took <= 2 * probe.margin:
            raise CannotTell(
                f"the response took only {slow.took:.0f} s; its start and end cannot be told apart"
            )
        probe.wait(at - slow.took)
        again = probe.send([user(guide, "Hello.")])
        probe.expect("written", slow.written > 0, True)
        probe.expect(f"read {at:.0f} s after the start", again.read, slow.written if alive else 0)


@rule("T25", proves="E2", source="PC-Sep", says="Every use prolongs an entry at no charge.", waits=19.1)
def every_use_prolongs(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    for minute in (280, 560, 840):
        probe.wait(280)
        again = probe.send(messages)
        probe.expect(f"read and written at {minute} s", (again.read, again.written), (first.written, 0))
    probe.wait(FIVE_MINUTES + probe.margin)
    probe.expect("read after a gap of more than five minutes", probe.send(messages).read, 0)


@rule(
    "T26",
    proves="E1 B1",
    source="PC-Sep",
    says="An entry written for an hour lives for an hour from the last use.",
    waits=60.2,
)
def an_hour_is_an_hour(probe: Probe) -> None:
    _alive_around(probe, HOUR, AN_HOUR)


@rule(
    "T27",
    proves="E3",
    source="PC-Sep",
    says="An entry can be read once the first response has begun: two requests before that both write, a third reads.",
)
def an_entry_is_visible_when_its_response_begins(probe: Probe) -> None:
    request = {"messages": [user(text(probe.guide(), MARK))]}
    one, other = probe.together(request, request)
    third = probe.send(**request)
    probe.expect("read by a third", third.read > 0, True)
    if {one.read, other.read} != {0} and not probe.endpoint.virtual:
        raise CannotTell("one of the two had begun before the other arrived")
    probe.expect("written by two at once", (one.written, other.written), (third.read, third.read))


@rule(
    "U31",
    proves="E3",
    source="open",
    says="Two identical requests in flight before the first one starts both write in full, and are billed for it.",
)
def two_in_flight_both_write(probe: Probe) -> None:
    request = {"messages": [user(text(probe.guide(), MARK))]}
    one, other = probe.together(request, request)
    if {one.read, other.read} != {0} and not probe.endpoint.virtual:
        raise CannotTell("one of the two had begun before the other arrived")
    both = one.written == other.written > 0
    probe.expect("two in flight", "both write" if both else "one writes", "both write")


@rule(
    "U1",
    proves="E2",
    source="open",
    says="A hit prolongs the live entries at the request's own breakpoints too, not the longest match only.",
    waits=6.7,
)
def a_hit_prolongs_its_own_breakpoints(probe: Probe) -> None:
    system = [text(probe.guide(), MARK)]
    alone = probe.warm([user("Hello.")], system=system)
    both = {"system": system, "messages": [user(text("Hello.", MARK))]}
    probe.send(**both)
    probe.wait(200)
    probe.send(**both)
    probe.wait(200)
    again = probe.send([user("Another.")], system=system)
    prolonged = again.read == alone.written
    probe.expect("the shorter entry", "is prolonged" if prolonged else "lapses", "is prolonged")


@rule(
    "U2",
    proves="A4 E4",
    source="open",
    says="An hour above five minutes stands by itself; an hour's mark on a live short entry leaves it five minutes.",
    waits=10,
)
def an_hour_stands_by_itself(probe: Probe) -> None:
    short, grown = text(probe.guide(), MARK), text("More. " * 20, HOUR)
    other = text(probe.guide(), MARK)
    probe.send([user(short)])
    above = probe.send([user({**short, "cache_control": HOUR}, grown)])
    probe.send([user(other)])
    over = probe.send([user({**other, "cache_control": HOUR})])
    probe.expect("written for an hour above a short entry", above.long > 0, True)
    probe.expect("written for an hour over one", over.written, 0)
    probe.wait(2 * FIVE_MINUTES)
    stands = probe.send([user({**short, "cache_control": HOUR}, grown)]).read == above.cached
    kept = probe.send([user(other)]).read == over.read
    probe.expect("the hour above", "stands" if stands else "lapses", "stands")
    probe.expect("the short entry", "became an hour" if kept else "keeps five minutes", "keeps five minutes")


@rule(
    "U3",
    proves="A4",
    source="open",
    says="The same prefix written with both TTLs is one entry that lives as long as the longer one.",
    waits=10,
)
def the_longer_ttl_wins(probe: Probe) -> None:
    guide = probe.guide()
    short, long = ({"messages": [user(text(guide, mark))]} for mark in (MARK, HOUR))
    one, other = probe.together(short, long)
    if not (one.short and other.long):
        raise CannotTell("the two were not written side by side")
    probe.wait(2 * FIVE_MINUTES)
    lives = probe.send(**short).read == one.written
    probe.expect("after ten minutes", "the hour holds" if lives else "it lapsed", "the hour holds")


@rule(
    "U13",
    proves="E3",
    source="open",
    says="A stream that is left after its first event leaves its entry behind.",
)
def a_stream_that_is_left_leaves_its_entry(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    left = probe.leave_early(messages)
    again = probe.send(messages)
    probe.expect("written by the stream that was left", left.written > 0, True)
    probe.expect("its entry", "stays" if again.read == left.written else "is gone", "stays")


@rule(
    "U21",
    proves="A10 K2",
    source="open: `minimum lifetime`, and hits are best effort",
    says="An entry lives exactly as long as its TTL.",
    waits=5.4,
)
def an_entry_lives_as_long_as_its_ttl(probe: Probe) -> None:
    _alive_around(probe, MARK, FIVE_MINUTES)


@rule(
    "U28",
    proves="E4",
    source="open: follows from the billing of mixed TTLs",
    says="A marked prefix below the hit that has no entry gets one, and nobody is billed for it.",
)
def an_evicted_head_is_written_again(probe: Probe) -> None:
    guide = probe.guide()
    tail = probe.warm([user(guide, text("Hello.", MARK))])
    both = probe.send([user(text(guide, MARK), text("Hello.", MARK))])
    head = probe.warm([user(text(guide, MARK), "Another.")])
    probe.expect("read and written with both marked", (both.read, both.written), (tail.written, 0))
    again = "is written" if 0 < head.read < tail.written else "stays away"
    probe.expect("the shorter prefix", again, "is written")
