"""What a request costs its sender: CPU of the plain SDK, `CacheMiddleware` and `Conversation` as the history grows.

    python -m benchmarks.overhead [--json] [--smoke] [--plot FILE]

Every way holds the same chat through the real SDK, with a transport that answers at once, side by side in one process:
the plain SDK with automatic caching and a history of dicts; the same with the blocks of replies as objects of the SDK;
`CacheMiddleware` with dicts; and `Conversation`. First comes CPU time as a ratio to the plain SDK with dicts and in
milliseconds (medians of interleaved calls, garbage collection on, all histories live), then the longest CPU time that
an event loop stood still, the memory that a call takes at its peak, and whole conversations grown from their start.
"""

import argparse
import asyncio
import gc
import json
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, Final, Protocol

import attrs
import httpx2
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message

from benchmarks.histories import KINDS, Json, Kind, asked, history, replied
from convcache import AsyncConversation, CacheMiddleware, Conversation

FIELDS: Final[dict[str, Any]] = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "system": "You answer in a sentence. " * 40,
    "tools": [{"name": "find", "description": "Finds.", "input_schema": {"type": "object"}}],
}
PLAIN: Final = "plain SDK"
LONG: Final = 500
"""From so many messages on a chat may grow by the calls that are measured; a shorter one is begun again for each."""


@attrs.frozen(kw_only=True)
class Scale:
    """How much is measured."""

    sizes: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    calls: int = 15
    stalls: int = 5
    """Calls of which the longest standstill is taken."""
    turns: int = 1_000
    """To which a whole conversation grows."""


FULL: Final = Scale()
SMOKE: Final = Scale(sizes=(1, 3), calls=1, stalls=1, turns=3)


@attrs.define
class Answers:
    """A transport that answers a chat's requests at once, each as though it had read all that was written before."""

    kind: Kind
    number: int

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = reply(self.kind, self.number)
        self.number += 1
        return httpx2.Response(200, json=body)

    async def soon(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)
        return self(request)


def reply(kind: Kind, number: int) -> Json:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": FIELDS["model"],
        "content": replied(kind, number),
        "stop_reason": "tool_use" if kind == "agent" else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 20,
            "cache_read_input_tokens": 1_000 + 100 * number,
            "cache_creation_input_tokens": 100,
        },
    }


def client(kind: Kind, number: int, *, is_async: bool, **options: Any) -> Any:
    answers = Answers(kind, number)
    if is_async:
        async_http = httpx2.AsyncClient(transport=httpx2.MockTransport(answers.soon))
        return AsyncAnthropic(api_key="x", max_retries=0, http_client=async_http, **options)
    http = httpx2.Client(transport=httpx2.MockTransport(answers))
    return Anthropic(api_key="x", max_retries=0, http_client=http, **options)


class Chat(Protocol):
    """A chat by one way. Only `send` is measured; on an async client it is awaited."""

    def prepare(self) -> None:
        """Make the next thing that the user's side says."""

    def send(self) -> Any:
        """Send it."""

    def keep(self, reply: Any) -> None:
        """Take the reply into the history."""


class Loop:
    """The loop that everybody writes: a list of messages, and the reply appended to it."""

    def __init__(
        self, kind: Kind, said: Sequence[Json], client: Any, *, objects: bool, **fields: Any
    ) -> None:
        self.kind, self.turn, self.client, self.objects = kind, len(said) // 2, client, objects
        self.messages: list[Any] = [_in_objects(message) for message in said] if objects else [*said]
        self.fields = {**FIELDS, **fields}

    def prepare(self) -> None:
        self.messages.append({"role": "user", "content": asked(self.kind, self.turn)})
        self.turn += 1

    def send(self) -> Any:
        return self.client.messages.create(**self.fields, messages=self.messages)

    def keep(self, reply: Any) -> None:
        content = reply.content if self.objects else [block.to_dict() for block in reply.content]
        self.messages.append({"role": "assistant", "content": content})


def _in_objects(message: Json) -> Json:
    if message["role"] == "user":
        return message
    return {**message, "content": Message.model_validate({**reply("chat", 0), **message}).content}


class Owned:
    """A `Conversation`, which has the history."""

    def __init__(self, kind: Kind, said: Sequence[Json], client: Any, *, is_async: bool) -> None:
        self.kind, self.turn, self.content = kind, len(said) // 2, list[Json]()
        conversation: Any = AsyncConversation if is_async else Conversation
        self.chat = conversation(client, **FIELDS, messages=said)

    def prepare(self) -> None:
        self.content = asked(self.kind, self.turn)
        self.turn += 1

    def send(self) -> Any:
        return self.chat.send(self.content)

    def keep(self, reply: Any) -> None:
        pass


def begun(way: str, kind: Kind, said: Sequence[Json], *, is_async: bool = False) -> Chat:
    """A chat that goes on from a history, which ends with a reply."""
    middleware = {"middleware": [CacheMiddleware()]} if way == "CacheMiddleware" else {}
    to = client(kind, len(said) // 2, is_async=is_async, **middleware)
    if way == "Conversation":
        return Owned(kind, said, to, is_async=is_async)
    automatic = {} if middleware else {"cache_control": {"type": "ephemeral"}}
    return Loop(kind, said, to, objects=way == "SDK, objects", **automatic)


WAYS: Final = (PLAIN, "SDK, objects", "CacheMiddleware", "Conversation")


@attrs.define
class Held:
    """The chat of a way, at a length."""

    way: str
    kind: Kind
    said: Sequence[Json]
    chat: Chat | None = None

    def ready(self) -> Chat:
        """The chat, about to send a request of that length; a long one is the same for all calls. What stands before
        the last turn was sent before, so that each way has seen it."""
        if self.chat is None or len(self.said) < LONG:
            self.chat = begun(self.way, self.kind, self.said[:-2])
            if self.said:
                turn(self.chat)
        self.chat.prepare()
        return self.chat


def turn(chat: Chat) -> float:
    """Hold one turn; gives the milliseconds of CPU it took."""
    chat.prepare()
    return sent(chat)


def sent(chat: Chat) -> float:
    started = time.process_time_ns()
    reply = chat.send()
    taken = time.process_time_ns() - started
    chat.keep(reply)
    return taken / 1e6


def calls(scale: Scale) -> Iterator[Json]:
    """The CPU and the memory of a call, by kind, length and way."""
    for kind in KINDS:
        for messages in scale.sizes:
            said = history(kind, messages)[:-1]
            held = [Held(way, kind, said) for way in WAYS]
            for one in held:
                sent(one.ready())
            rounds = [[sent(one.ready()) for one in held] for _ in range(scale.calls)]
            yield {
                "kind": kind,
                "messages": messages,
                "milliseconds": dict(
                    zip(WAYS, map(statistics.median, zip(*rounds, strict=True)), strict=True)
                ),
                "peak_kilobytes": {one.way: peak(one.ready()) for one in held},
            }


def peak(chat: Chat) -> float:
    tracemalloc.start()
    try:
        chat.keep(chat.send())
        return tracemalloc.get_traced_memory()[1] / 1_000
    finally:
        tracemalloc.stop()


def stalls(scale: Scale) -> Iterator[Json]:
    """The longest that an event loop stood still while a call was made."""
    for kind in KINDS:
        for messages in scale.sizes[-2:]:
            said = history(kind, messages)[:-3]
            longest = {way: asyncio.run(_longest(way, kind, said, scale.stalls)) for way in WAYS}
            yield {"kind": kind, "messages": messages, "milliseconds": longest}


async def _longest(way: str, kind: Kind, said: Sequence[Json], calls: int) -> float:
    chat = begun(way, kind, said, is_async=True)
    gaps = []
    for _ in range(calls + 1):
        chat.prepare()
        done = asyncio.Event()
        ticking = asyncio.create_task(_ticks(done))
        await asyncio.sleep(0)
        chat.keep(await chat.send())
        done.set()
        gaps.append(await ticking)
    return max(gaps[1:])


async def _ticks(done: asyncio.Event) -> float:
    longest, last = 0.0, time.process_time_ns()
    while not done.is_set():
        await asyncio.sleep(0)
        now = time.process_time_ns()
        longest, last = max(longest, (now - last) / 1e6), now
    return longest


def grown(scale: Scale) -> Json:
    """The seconds of CPU of a whole conversation of an agent, from its first request on."""
    totals = {}
    for way in WAYS:
        gc.collect()
        chat = begun(way, "agent", [])
        totals[way] = sum(turn(chat) for _ in range(scale.turns)) / 1_000
    return {"turns": scale.turns, "seconds": totals}


def lines(found: Json) -> Iterator[str]:
    yield found["versions"]
    yield ""
    titles = "".join(f"{way:>18}" for way in WAYS)
    yield f"{'CPU of a call':24}{titles}"
    yield from _rows(found["calls"], "milliseconds", "ms")
    yield ""
    yield f"{'event loop stands still':24}{titles}"
    yield from _rows(found["stalls"], "milliseconds", "ms")
    yield ""
    yield f"{'memory at the peak':24}{titles}"
    yield from _rows(found["calls"], "peak_kilobytes", "kB")
    yield ""
    yield f"{'grown to so many turns':24}{titles}"
    yield f"{'agent':8}{found['grown']['turns']:8,}        {_figures(found['grown']['seconds'], 's')}"


def _rows(rows: Sequence[Json], name: str, unit: str) -> Iterator[str]:
    for row in rows:
        yield f"{row['kind']:8}{row['messages']:8,}        {_figures(row[name], unit)}"


def _figures(by_way: dict[str, float], unit: str) -> str:
    return "".join(
        f"{figure / by_way[PLAIN]:7.3f} {figure:7,.{_decimals(figure)}f} {unit:2}"
        for figure in by_way.values()
    )


def _decimals(figure: float) -> int:
    return 0 if figure >= 100 else 2


def plot(found: Json, path: str) -> None:
    """Draw the CPU of a call over the length of the history."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra: convcache[plot]

    figure = Figure(figsize=(10, 4), layout="constrained")
    for panel, kind in zip(figure.subplots(1, len(KINDS), sharey=True), KINDS, strict=True):
        rows = [row for row in found["calls"] if row["kind"] == kind]
        for way in WAYS:
            panel.loglog(
                [row["messages"] for row in rows],
                [row["milliseconds"][way] for row in rows],
                marker="o",
                label=way,
            )
        panel.set(title=kind, xlabel="messages in the history", ylabel="CPU of a call, ms")
        panel.grid(visible=True, alpha=0.3)
        panel.legend()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--smoke", action="store_true", help="measure next to nothing, to see that it runs")
    parser.add_argument("--plot", metavar="FILE", help="draw the CPU of a call; needs convcache[plot]")
    chosen = parser.parse_args(arguments)
    scale = SMOKE if chosen.smoke else FULL
    found = {
        "versions": f"Python {platform.python_version()} on {platform.machine()}, anthropic {version('anthropic')}",
        "calls": list(calls(scale)),
        "stalls": list(stalls(scale)),
        "grown": grown(scale),
    }
    for line in [json.dumps(found, indent=2)] if chosen.json else lines(found):
        print(line)
    if chosen.plot:
        plot(found, chosen.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
