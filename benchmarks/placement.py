"""What placement costs: the same chat by automatic caching, by `CacheMiddleware` and by `Conversation`, in seven cases.

    python -m benchmarks.placement [--json]

Every chat is driven through the real SDK over HTTP against the emulator, on a clock that moves only where the case
has a pause. Printed is the price of all prompt tokens in per cent of the same tokens uncached, beside the floor:
each token written once and then read, computed from the prompts of the same run.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
from anthropic import Anthropic

from convcache import CacheMiddleware, Conversation
from convcache.core.catalog import Platform
from convcache.emulator import Emulator, EmulatorServer, Settings, VirtualClock

START: Final = datetime(2026, 11, 22, 9, tzinfo=UTC)
READ, WRITE = 0.1, 1.25
PAUSE: Final = timedelta(seconds=400)

Json = dict[str, Any]


def words(tokens: int, seed: str) -> str:
    """Text of so many tokens by the emulator's counter, four bytes each."""
    return "".join(f"{seed[:1]}{n % 1000:03}" for n in range(tokens))


TOOL: Final[Json] = {"name": "find", "description": words(280, "t"), "input_schema": {"type": "object"}}
SYSTEM: Final = words(2_995, "s")
HEAD_TOKENS: Final = 3_292


CITATION: Final[Json] = {
    "type": "char_location",
    "cited_text": "a000",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 4,
}


@attrs.frozen
class Turn:
    """What the model does with a user's message: a round of parallel calls, or an answer in so many blocks."""

    calls: int = 0
    answer_blocks: int = 1

    def replies(self, name: str) -> Iterator[Json]:
        if self.calls:
            made = [
                {"type": "tool_use", "id": f"{name}-{n}", "name": "find", "input": {"query": words(35, "q")}}
                for n in range(self.calls)
            ]
            yield {"content": made, "stop_reason": "tool_use"}
        cited = {"citations": [CITATION]} if self.answer_blocks > 1 else {}
        text = {"type": "text", "text": words(60 // self.answer_blocks + 1, "a"), **cited}
        yield {"content": [text] * self.answer_blocks, "stop_reason": "end_turn"}


TURNS: Final = (Turn(), Turn(calls=1), Turn(calls=3), Turn(), Turn(calls=12), Turn())
CITING: Final = tuple(
    attrs.evolve(turn, answer_blocks=25) if n == 3 else turn for n, turn in enumerate(TURNS)
)


@attrs.frozen
class Case:
    """One column: what is different from the base."""

    settings: Settings = attrs.field(factory=Settings)
    turns: Sequence[Turn] = TURNS
    chats: int = 1
    pause_before: int | None = None
    model: str = "claude-opus-5"
    minimum: int = 512


CASES: Final = {
    "base": Case(),
    "two": Case(chats=2),
    "nocol": Case(Settings(platform="bedrock")),
    "cite": Case(turns=CITING),
    "idle": Case(pause_before=3),
    "strict": Case(Settings(strict_strings=True)),
    "4096": Case(model="claude-opus-4-6", minimum=4_096),
}

Ask = Callable[[str | list[Json]], Any]
"""Sends the user's side of a request and gives the reply."""

Opens = Callable[[], Ask]
"""Begins a chat."""


def automatic(url: str, case: Case, emulator: Emulator) -> Opens:
    return lambda: _loop(Anthropic(base_url=url, api_key="x"), case, cache_control={"type": "ephemeral"})


def middleware(url: str, case: Case, emulator: Emulator) -> Opens:
    platform: Platform = "bedrock" if case.settings.platform == "bedrock" else "claude"
    placing = CacheMiddleware(clock=emulator.clock.now, platform=platform)
    client = Anthropic(base_url=url, api_key="x", middleware=[placing])
    return lambda: _loop(client, case)


def conversation(url: str, case: Case, emulator: Emulator) -> Opens:
    client = Anthropic(base_url=url, api_key="x")

    def opened() -> Ask:
        tools: Any = [TOOL]
        chat = Conversation(
            client, model=case.model, max_tokens=4_000, system=SYSTEM, tools=tools, clock=emulator.clock.now
        )
        return chat.send

    return opened


WAYS: Final = {"automatic": automatic, "CacheMiddleware": middleware, "Conversation": conversation}


def _loop(client: Anthropic, case: Case, **request: Any) -> Ask:
    """The loop that everybody writes: a list of messages, and the reply appended to it."""
    messages: list[Any] = []

    def ask(content: str | list[Json]) -> Any:
        messages.append({"role": "user", "content": content})
        tools: Any = [TOOL]
        reply = client.messages.create(
            model=case.model, max_tokens=4_000, system=SYSTEM, tools=tools, messages=messages, **request
        )
        messages.append({"role": "assistant", "content": reply.content})
        return reply

    return ask


def run(case: Case, way: Callable[[str, Case, Emulator], Opens]) -> tuple[float, float]:
    """The price of a case by one way, and its floor, in per cent of the same tokens uncached."""
    clock = VirtualClock(START)
    emulator = Emulator(case.settings, clock=clock)
    floors = 0.0
    with EmulatorServer(emulator) as server:
        opened = way(server.url, case, emulator)
        for number in range(case.chats):
            before = len(emulator.requests)
            paused_at = drive(opened(), case, emulator, clock, number)
            sizes = [request.usage.prompt for request in emulator.requests[before:]]
            floors += floor(sizes, case, shared=HEAD_TOKENS if number else 0, paused_at=paused_at)
    usages = [request.usage for request in emulator.requests]
    prompts = sum(usage.prompt for usage in usages)
    paid = sum(usage.read * READ + usage.written * WRITE + usage.uncached for usage in usages)
    return 100 * paid / prompts, 100 * floors / prompts


def drive(ask: Ask, case: Case, emulator: Emulator, clock: VirtualClock, number: int) -> int | None:
    """Hold a chat; tells before which of its requests the pause was."""
    sent, paused_at = 0, None
    for place, turn in enumerate(case.turns):
        if place == case.pause_before:
            clock.advance(PAUSE)
            paused_at = sent
        emulator.script(*turn.replies(f"{number}-{place}"))
        reply = ask(words(15, f"{number}"))
        sent += 1
        if reply.stop_reason == "tool_use":
            ask([_result(call.id) for call in reply.content])
            sent += 1
    return paused_at


def _result(call: str) -> Json:
    return {"type": "tool_result", "tool_use_id": call, "content": words(174, "r")}


def floor(sizes: Sequence[int], case: Case, *, shared: int, paused_at: int | None) -> float:
    """Each token written once, as soon as the prompt is long enough to be cached, and read from then on."""
    cost, cached = 0.0, shared
    for number, size in enumerate(sizes):
        cached = 0 if number == paused_at else cached
        if size < case.minimum:
            cost += size
            continue
        cost += cached * READ + (size - cached) * WRITE
        cached = size
    return cost


def main() -> None:
    """Run every case by every way."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.placement", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="one JSON document: way -> case -> per cent")
    options = parser.parse_args()
    table: dict[str, dict[str, float]] = {way: {} for way in (*WAYS, "floor")}
    for name, case in CASES.items():
        for way, start in WAYS.items():
            table[way][name], table["floor"][name] = run(case, start)
    if options.json:
        print(json.dumps(table))
        return
    print(f"{'% of uncached':16}" + "".join(f"{name:>8}" for name in CASES))
    for way, row in table.items():
        print(f"{way:16}" + "".join(f"{row[name]:8.1f}" for name in CASES))


if __name__ == "__main__":
    main()
