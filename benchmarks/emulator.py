"""How fast the emulator serves: requests per second by prompt size, and what a turn costs as a conversation grows.

    python -m benchmarks.emulator [--json] [--smoke]

Plain and streamed, over HTTP on loopback (the server in a process of its own) and in process (the engine, without
any client). Each prompt is marked at its end and was sent before, so it is read. A conversation grows by a message
of some 250 tokens and the reply to it; the cost of a turn is its CPU time, and beside it stands what `json.loads` of
its body alone costs. Figures are medians, of the default settings and replies.
"""

import argparse
import http.client
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from convcache.emulator import Emulator, VirtualClock, serve
from convcache.emulator.wire import Request

Json = dict[str, Any]
Send = Callable[[bytes], None]

_WORDS: Final = "A sentence of some length that stands for what is said in a conversation. "
_MESSAGE_TOKENS: Final = 250
_HEADERS: Final = {"x-api-key": "made-up", "content-type": "application/json"}
_PATH: Final = "/v1/messages"
_SERVE: Final = "from benchmarks.emulator import served; served()"


@attrs.frozen(kw_only=True)
class Scale:
    """How much is measured."""

    sizes: Sequence[int] = (1_000, 10_000, 100_000)
    """Tokens of the prompts."""
    requests: int = 40
    grown: int = 100_000
    """Tokens to which a conversation grows."""
    lives: int = 7
    """How often it does, each time from the start."""


FULL: Final = Scale()
SMOKE: Final = Scale(sizes=(600, 800, 1_000), requests=2, grown=2_500, lives=1)


def conversation(tokens: int) -> list[Json]:
    """Messages of so many tokens, the last one a user's, marked at its end."""
    count = max(1, tokens // _MESSAGE_TOKENS) | 1
    size = 4 * tokens // count
    return [_message(number, size) for number in range(count)]


def body(messages: Sequence[Json], *, stream: bool = False) -> bytes:
    """A request whose last block is marked."""
    *history, last = messages
    (block,) = last["content"]
    marked = {**last, "content": [{**block, "cache_control": {"type": "ephemeral"}}]}
    asked = {"model": "claude-opus-5", "max_tokens": 100, "stream": stream, "messages": [*history, marked]}
    return json.dumps(asked).encode()


def _message(number: int, size: int) -> Json:
    text = f"{number}. " + _WORDS * (size // len(_WORDS) + 1)
    return {"role": ("user", "assistant")[number % 2], "content": [{"type": "text", "text": text[:size]}]}


@contextmanager
def in_process() -> Iterator[Send]:
    """Sends to an engine in this process."""
    emulator = Emulator(clock=VirtualClock())

    def send(data: bytes) -> None:
        at = emulator.clock.now()
        request = Request(method="POST", path=_PATH, headers=_HEADERS, body=data)
        response = emulator.receive(request, at=at).start(at)
        _check(response.status, b"".join(chunk.data for chunk in response.chunks))

    yield send


@contextmanager
def over_http() -> Iterator[Send]:
    """Sends over one connection to a server in another process."""
    command = [sys.executable, "-c", _SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own command
        try:
            line = server.stdout.readline() if server.stdout else ""
            connection = http.client.HTTPConnection(urlsplit(line.split()[-1]).netloc)

            def send(data: bytes) -> None:
                connection.request("POST", _PATH, body=data, headers=_HEADERS)
                response = connection.getresponse()
                _check(response.status, response.read())

            yield send
            connection.close()
        finally:
            server.terminate()


def served() -> None:
    """What the other process runs."""
    serve(Emulator(clock=VirtualClock()))


def _check(status: int, answer: bytes) -> None:
    if status != http.client.OK:
        raise RuntimeError(f"the emulator answered {status}: {answer[:200]!r}")


def throughput(scale: Scale) -> list[Json]:
    """Requests per second, by size, form and way."""
    measured = []
    for way, opened in (("in process", in_process), ("http", over_http)):
        with opened() as send:
            for tokens in scale.sizes:
                for stream in (False, True):
                    data = body(conversation(tokens), stream=stream)
                    send(data)
                    seconds = statistics.median(_seconds(send, data) for _ in range(scale.requests))
                    measured.append(
                        {
                            "way": way,
                            "tokens": tokens,
                            "stream": stream,
                            "milliseconds": seconds * 1000,
                            "per_second": 1 / seconds,
                        }
                    )
    return measured


def growth(scale: Scale) -> list[Json]:
    """What a turn costs in process, by tenths of a growing conversation."""
    messages = conversation(scale.grown)
    bodies = [body(messages[:length]) for length in range(1, len(messages) + 1, 2)]
    lives = [_life(bodies) for _ in range(scale.lives)]
    costs = [
        ((2 * turn + 1) * _MESSAGE_TOKENS, statistics.median(sent), _loading(bodies[turn]))
        for turn, sent in enumerate(zip(*lives, strict=True))
    ]
    size = -(-len(costs) // 10)
    tenths = [costs[start : start + size] for start in range(0, len(costs), size)]
    return [
        {
            "tokens": tenth[-1][0],
            "milliseconds": 1000 * statistics.median(cost for _, cost, _ in tenth),
            "json_loads_milliseconds": 1000 * statistics.median(loads for _, _, loads in tenth),
        }
        for tenth in tenths
    ]


def _life(bodies: Sequence[bytes]) -> list[float]:
    """What each turn of a conversation costs an engine that has seen the turns before."""
    with in_process() as send:
        return [_seconds(send, data, clock=time.process_time) for data in bodies]


def _loading(data: bytes) -> float:
    return statistics.median(_seconds(json.loads, data, clock=time.process_time) for _ in range(5))


def _seconds(
    call: Callable[[bytes], object], data: bytes, *, clock: Callable[[], float] = time.perf_counter
) -> float:
    started = clock()
    call(data)
    return clock() - started


def lines(found: Json) -> Iterator[str]:
    yield found["python"]
    yield ""
    yield f"{'':12}{'tokens':>8}{'plain/s':>10}{'ms':>8}{'streamed/s':>12}{'ms':>8}"
    rates = found["throughput"]
    for plain, streamed in zip(rates[::2], rates[1::2], strict=True):
        yield (
            f"{plain['way']:12}{plain['tokens']:>8}{plain['per_second']:>10.0f}{plain['milliseconds']:>8.2f}"
            f"{streamed['per_second']:>12.0f}{streamed['milliseconds']:>8.2f}"
        )
    yield ""
    yield f"{'a turn at':12}{'tokens':>8}{'ms':>10}{'json.loads':>12}"
    for tenth in found["growth"]:
        yield (
            f"{'':12}{tenth['tokens']:>8}{tenth['milliseconds']:>10.2f}{tenth['json_loads_milliseconds']:>12.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.emulator", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--smoke", action="store_true", help="measure next to nothing, to see that it runs")
    chosen = parser.parse_args(arguments)
    scale = SMOKE if chosen.smoke else FULL
    found = {
        "python": f"Python {platform.python_version()} on {platform.machine()}",
        "throughput": throughput(scale),
        "growth": growth(scale),
    }
    for line in [json.dumps(found, indent=2)] if chosen.json else lines(found):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
