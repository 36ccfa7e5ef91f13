"""What a request costs its sender: CPU of the plain SDK, `CacheMiddleware` and `Conversation` as the history grows.

    python -m benchmarks.overhead [--json] [--smoke] [--plot FILE]

Every way holds the same chat through the real SDK, with a transport that answers at once, side by side in one process:
the plain SDK with automatic caching and a history of dicts; the same with the blocks of replies as objects of the SDK;
`CacheMiddleware` with dicts; and `Conversation`. The chats of a way are on one client, one after the other, as those of
an application are: a short one finds what was learned from those before it. First comes CPU time as a ratio to the plain SDK with dicts and in
milliseconds, for a whole call and for the request of a streamed reply: from the call to the open stream, of which
nothing was read yet. Among the calls on a long history the plain SDK makes some of one message: no way that goes through
the SDK can cost less than those. Then the longest CPU time that an event loop stood still, the memory that a call takes at its
peak, and whole conversations grown from their start.

Garbage collection is on and all histories are live. On long histories a full collection takes longer than a call, and
strikes in one of several: whichever way allocates next pays for what all of them left behind. So a figure is not that
of a call but the mean of a run of them, one after the other by one way. Shown is the median of several runs; the ways
take turns, and in each round another one is the first.
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
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Final

import attrs

from benchmarks.histories import KINDS, Json, Kind, history
from benchmarks.ways import PLAIN, WAYS, Application, Chat

LONG: Final = 500
"""From so many messages on a chat may grow by the calls that are measured; a shorter one is begun again for each."""

FLOOR: Final = "SDK, 1 message"


@attrs.frozen(kw_only=True)
class Scale:
    """How much is measured."""

    sizes: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    long: int = LONG
    """Messages from which on the floor is measured, too."""
    runs: int = 9
    calls: int = 6
    """In each run."""
    stalls: int = 5
    """Calls of which the longest standstill is taken."""
    turns: int = 1_000
    """To which a whole conversation grows."""


FULL: Final = Scale()
SMOKE: Final = Scale(sizes=(1, 3), long=2, runs=1, calls=1, stalls=1, turns=3)


@attrs.define
class Held:
    """The chats of a way, at a length: one after the other, on one client."""

    way: str
    kind: Kind
    said: Sequence[Json]
    name: str = attrs.field(default=attrs.Factory(lambda self: self.way, takes_self=True))
    chat: Chat | None = None
    _application: Application = attrs.field(
        default=attrs.Factory(lambda self: Application(self.way, self.kind), takes_self=True)
    )

    def ready(self) -> Chat:
        """The chat, about to send a request of that length; a long one is the same for all calls. What stands before
        the last turn was sent before, so that each way has seen it."""
        if self.chat is None or len(self.said) < LONG:
            self.chat = self._application.begun(self.said[:-2])
            if self.said:
                turn(self.chat)
        self.chat.prepare()
        return self.chat


def turn(chat: Chat) -> float:
    """Hold one turn; gives the milliseconds of CPU it took."""
    chat.prepare()
    return sent(chat)


def sent(chat: Chat) -> float:
    """Send what was prepared, and take the reply; gives the milliseconds of CPU until it was there."""
    started = time.process_time_ns()
    reply = chat.send()
    taken = time.process_time_ns() - started
    chat.keep(reply)
    return taken / 1e6


def opened(chat: Chat) -> float:
    """The same for a streamed reply, until the stream is open. It is then read to its end."""
    started = time.process_time_ns()
    manager = chat.stream()
    stream = manager.__enter__()
    taken = time.process_time_ns() - started
    chat.keep(stream.get_final_message())
    manager.__exit__(None, None, None)
    return taken / 1e6


def calls(scale: Scale) -> Iterator[Json]:
    """The CPU and the memory of a call, by kind, length and way."""
    for kind in KINDS:
        for messages in scale.sizes:
            said = history(kind, messages)[:-1]
            held = [Held(way, kind, said) for way in WAYS]
            beside = [Held(PLAIN, kind, [], FLOOR)] if messages > scale.long else []
            yield {
                "kind": kind,
                "messages": messages,
                "milliseconds": side_by_side([*held, *beside], sent, scale),
                "peak_kilobytes": {one.way: peak(one.ready()) for one in held},
            }


def streams(scale: Scale) -> Iterator[Json]:
    """The CPU of the request of a streamed reply."""
    for kind in KINDS:
        for messages in scale.sizes:
            held = [Held(way, kind, history(kind, messages)[:-1]) for way in WAYS]
            yield {"kind": kind, "messages": messages, "milliseconds": side_by_side(held, opened, scale)}


def side_by_side(held: Sequence[Held], measure: Callable[[Chat], float], scale: Scale) -> dict[str, float]:
    """The milliseconds of CPU of a call in each way."""
    for one in held:
        measure(one.ready())
    runs: dict[str, list[float]] = {one.name: [] for one in held}
    for number in range(scale.runs):
        first = number % len(held)
        for one in (*held[first:], *held[:first]):
            run = [measure(one.ready()) for _ in range(scale.calls)]
            runs[one.name].append(statistics.mean(run))
    return {name: statistics.median(means) for name, means in runs.items()}


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
    chat = Application(way, kind, is_async=True).begun(said)
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
        chat = Application(way, "agent").begun([])
        totals[way] = sum(turn(chat) for _ in range(scale.turns)) / 1_000
    return {"turns": scale.turns, "seconds": totals}


def lines(found: Json) -> Iterator[str]:
    yield found["versions"]
    yield ""
    titles = "".join(f"{way:>18}" for way in WAYS)
    yield f"{'CPU of a call':24}{titles}{FLOOR:>18}"
    yield from _rows(found["calls"], "milliseconds", "ms")
    yield ""
    yield f"{'until a stream is open':24}{titles}"
    yield from _rows(found["streams"], "milliseconds", "ms")
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
        "streams": list(streams(scale)),
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
