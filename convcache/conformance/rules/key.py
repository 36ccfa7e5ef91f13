"""What two requests must have in common for the second to read what the first wrote (sections 1 and 4).

Knows the checks T1 to T8. Must not know how an endpoint keeps entries.
"""

from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.words import HOUR, MARK, Json, assistant, call, picture, result, text, tool, user


@rule(
    "T1",
    proves="A1",
    source="PC-Sep",
    says="The prompt is one sequence of tools, system and messages: a new system text leaves the tools' entry.",
)
def sections_come_in_order(probe: Probe) -> None:
    tools = [tool("look", probe.guide(), MARK)]

    def request(words: str) -> Json:
        return {"messages": [user(text("Hello.", MARK))], "system": [text(words, MARK)], "tools": tools}

    alone = probe.warm([user("Hello.")], tools=tools)
    probe.send(**request("Be kind."))
    edited = probe.send(**request("Be curt."))
    probe.expect("read after the system text changed", edited.read, alone.written)
    probe.expect("the rest is written", edited.written > 0, True)


@rule(
    "T2",
    proves="A2 C3",
    source="PC-Sep",
    says="Entries are written at breakpoints only, so stable blocks before a marked one that varies are never read.",
)
def nothing_is_written_but_at_breakpoints(probe: Probe) -> None:
    stable = [text(probe.guide()), *(text(f"stable {n}") for n in range(4))]
    probe.warm([user(*stable, text("one o'clock", MARK))])
    second = probe.send([user(*stable, text("two o'clock", MARK))])
    again = probe.send([user(*stable, text("two o'clock", MARK))])
    probe.expect("read when it varied", second.read, 0)
    probe.expect("read when it did not", again.read, second.written)


@rule(
    "T3",
    proves="A3",
    source="PC-Sep",
    says="A breakpoint is no part of the key: a block that is marked no more is read through a later mark.",
)
def a_mark_is_no_part_of_the_key(probe: Probe) -> None:
    guide = probe.guide()
    first = probe.warm([user(text(guide, MARK))])
    moved = probe.send([user(guide), assistant("Hello."), user(text("Go on.", MARK))])
    probe.expect("read with the mark moved", moved.read, first.written)


@rule(
    "T4",
    proves="A4",
    source="inferred from the billing of mixed TTLs (PC-Sep)",
    says="The TTL is no part of the key: a mark for an hour reads an entry of five minutes and writes nothing.",
)
def a_ttl_is_no_part_of_the_key(probe: Probe) -> None:
    guide = probe.guide()
    first = probe.warm([user(text(guide, MARK))])
    hour = probe.send([user(text(guide, HOUR))])
    probe.expect("read by a mark for an hour", hour.read, first.written)
    probe.expect("written by it", hour.written, 0)


@rule(
    "T5",
    proves="A5",
    source="SDK docstring of `messages`",
    says="String content is the one text block it stands for.",
)
def a_string_is_one_text_block(probe: Probe) -> None:
    guide = probe.guide()
    first = probe.warm([{"role": "user", "content": guide}], cache_control=MARK)
    listed = probe.send([user(guide), assistant("Hello."), user(text("Go on.", MARK))])
    probe.expect("read as a list of blocks", listed.read, first.cached)


@rule(
    "T6",
    proves="A5",
    source="DROID, a field report",
    says="A field that repeats its default (`is_error: false`) costs no more than its block; nothing promises that "
    "it costs nothing.",
)
def a_repeated_default_costs_its_block_at_most(probe: Probe) -> None:
    guide = probe.guide()

    def request(**extra: bool) -> list[Json]:
        return [user(text(guide, MARK)), assistant(call(1)), user(result(1, mark=MARK, **extra))]

    head = probe.warm([user(text(guide, MARK))], tools=[tool("look")])
    first = probe.warm(request(), tools=[tool("look")])
    again = probe.send(request(is_error=False), tools=[tool("look")])
    neutral = again.read == first.cached
    probe.expect(
        "the added default", "is neutral" if neutral else "counts", "is neutral" if neutral else "counts"
    )
    probe.expect("read", again.read, first.cached if neutral else head.written)


@rule(
    "T7",
    proves="A5",
    source="PC-Sep",
    says="The order of keys in a tool's input counts: the read stops before the block where it changed.",
)
def the_order_of_keys_in_an_input_counts(probe: Probe) -> None:
    guide, tools = probe.guide(), [tool("look")]

    def request(given: Json) -> list[Json]:
        return [user(text(guide, MARK)), assistant(call(1, given=given)), user(result(1, mark=MARK))]

    head = probe.warm([user(text(guide, MARK))], tools=tools)
    whole = probe.send(request({"thing": "a", "place": "b"}), tools=tools)
    turned = probe.send(request({"place": "b", "thing": "a"}), tools=tools)
    probe.expect("more is cached than the head", whole.cached > head.cached, True)
    probe.expect("read with two keys swapped", turned.read, head.cached)


@rule(
    "T8",
    proves="A6",
    source="PC-Sep",
    says="A match is complete, images to the byte: another image is a miss from it on.",
)
def images_match_to_the_byte(probe: Probe) -> None:
    guide = probe.guide()

    def request(shade: int) -> list[Json]:
        return [user(text(guide, MARK), picture(shade, MARK))]

    first = probe.warm(request(80))
    same = probe.send(request(80))
    other = probe.send(request(81))
    probe.expect("read with the same image", same.read, first.written)
    probe.expect("read and written with another", other.read + other.written, first.written)
    probe.expect("the text before it is read, no more", 0 < other.read < first.written, True)
