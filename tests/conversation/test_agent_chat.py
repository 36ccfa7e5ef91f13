"""A long tool-using chat: every request reads exactly what the one before it left."""

import pytest
from anthropic import Anthropic

from convcache import Conversation
from convcache.emulator import Emulator, EmulatorServer, Settings, VirtualClock
from tests.conftest import START
from tests.words import MODEL, TOOL, call, reply, result, text, thinking

HEAD = "The rules of the house, in full and for ever. " * 1_740
"""Some 20,000 tokens."""


def script(turn: int) -> tuple[list[dict], list[dict]]:
    """The replies of a turn, and the results of the calls in between: parallel, sequential, or one long answer."""
    names = [f"call_{turn}_{place}" for place in range(12)]
    answer = reply(thinking(f"now {turn}"), text(f"That is answer number {turn}. " * 8))
    match turn % 5:
        case 1:
            return [reply(thinking("all at once"), *(call(name) for name in names)), answer], [results(names)]
        case 3:
            rounds = [reply(thinking("one by one"), text("next"), call(name)) for name in names[:10]]
            return [*rounds, answer], [results([name]) for name in names[:10]]
        case 4:
            return [reply(*(text(f"Passage {turn} of source {n}. " * 6) for n in range(25)))], []
        case _:
            return [answer], []


def results(names: list[str]) -> list[dict]:
    return [result(name, f"what {name} found " * 40) for name in names]


@pytest.mark.parametrize("platform", ["claude", "bedrock"])
def test_thirty_turns_of_tools_and_thinking_read_exactly_what_was_left(platform):
    emulator = Emulator(Settings(platform=platform), clock=VirtualClock(START))
    with EmulatorServer(emulator) as server, Anthropic(base_url=server.url, api_key="made-up") as client:
        conversation = Conversation(
            client,
            model=MODEL,
            max_tokens=8_000,
            system=HEAD,
            tools=[TOOL],
            thinking={"type": "adaptive"},
            clock=emulator.clock.now,
        )
        for turn in range(30):
            replies, found = script(turn)
            emulator.script(*replies)
            conversation.send(f"question {turn}, please")
            for blocks in found:
                conversation.send(blocks)

    usages = [request.usage for request in emulator.requests]
    left = [usage.read + usage.written_5m + usage.written_1h for usage in usages]
    assert len(usages) == 30 + 6 + 60
    assert usages[0].written_5m > 20_000
    assert [usage.read for usage in usages[1:]] == left[:-1]
    assert [turn.forecast.read for turn in conversation.turns] == [usage.read for usage in usages]
    assert all(usage.uncached == 0 for usage in usages)
    assert len(conversation.turns) == len(usages)
    assert not any(turn.miss for turn in conversation.turns)
