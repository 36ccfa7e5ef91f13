"""Recorded exchanges with the real API, sent again to the emulator: is each accepted, and billed alike?

    python -m benchmarks.exchanges PATH

PATH holds one exchange a line, gzipped JSON: the `request` body, the `response.usage` that was billed, and the
cassette (`repo`, `path`) whose order they were recorded in. Only cassettes with a `cache_control` are replayed, each
from an empty cache, at the recorded times or a few seconds apart. Three tokens stay uncached behind a breakpoint on
the last block, because every recorded bill shows some.

Two bills agree when read, written and uncached tokens are each zero in both or in neither. Where they do not, the
cause is worked out from the recording. Exit code 1: a request was refused, or more than twelve rows disagree.
"""

import argparse
import gzip
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import attrs

from convcache.emulator import Emulator, Settings, VirtualClock
from convcache.emulator.catalog import find_model
from convcache.emulator.wire import Request, Response

Json = Mapping[str, Any]

MOST_DISAGREEING: Final = 12
_SETTINGS: Final = Settings(residual_tail_tokens=3)
_PAUSE: Final = timedelta(seconds=4)
_KINDS: Final = ("read", "written", "uncached")


@attrs.frozen(kw_only=True)
class Bill:
    """The prompt tokens of one exchange."""

    read: int = 0
    written: int = 0
    uncached: int = 0

    @classmethod
    def of(cls, usage: Json) -> "Bill":
        """From a `usage`; of its iterations where it has them, because totals leave some out."""
        parts = usage.get("iterations") or [usage]
        return cls(
            read=sum(part.get("cache_read_input_tokens") or 0 for part in parts),
            written=sum(part.get("cache_creation_input_tokens") or 0 for part in parts),
            uncached=sum(part.get("input_tokens") or 0 for part in parts),
        )

    @property
    def prompt(self) -> int:
        return self.read + self.written + self.uncached

    def disagrees(self, other: "Bill") -> list[str]:
        """The kinds of tokens that one has and the other has not."""
        return [kind for kind in _KINDS if bool(getattr(self, kind)) != bool(getattr(other, kind))]

    def __str__(self) -> str:
        return f"{self.read:>6} {self.written:>6} {self.uncached:>6}"


@attrs.frozen(kw_only=True)
class Row:
    """One marked exchange: what was billed, what the emulator bills, and why they differ if they do."""

    line: int
    cassette: str
    place: int
    billed: Bill
    emulated: Bill
    refusal: str
    rounds: int
    """Rounds of server tools inside the exchange; its bill sums one more request than that."""
    cause: str

    @property
    def agrees(self) -> bool:
        return not self.refusal and not self.billed.disagrees(self.emulated)


def rows(exchanges: Sequence[Json]) -> list[Row]:
    """The marked exchanges, replayed."""
    numbered = enumerate(exchanges, start=1)
    cassettes = groupby(numbered, key=lambda item: (item[1]["repo"], item[1]["path"]))
    found: list[Row] = []
    for _, members in cassettes:
        cassette = list(members)
        if any(exchange["has_cache_control"] for _, exchange in cassette):
            found += _replayed(cassette)
    return found


def _replayed(cassette: Iterable[tuple[int, Json]]) -> Iterator[Row]:
    clock = VirtualClock(_recorded_at(next(iter(cassette))[1]) or datetime.fromisoformat("2026-01-01T00:00Z"))
    emulator = Emulator(_SETTINGS, clock=clock)
    before = 0
    for line, exchange in cassette:
        clock.set(max(_recorded_at(exchange) or clock.now() + _PAUSE, clock.now()))
        billed, rounds = _billed(exchange), _rounds(exchange)
        emulated, refusal = _sent(emulator, exchange)
        if exchange["has_cache_control"]:
            yield Row(
                line=line,
                cassette=Path(exchange["path"]).stem,
                place=exchange["i"],
                billed=billed,
                emulated=emulated,
                refusal=refusal,
                rounds=rounds,
                cause=_cause(exchange, billed, emulated, before=before),
            )
        if "count_tokens" not in exchange["response"]:
            before = max(before, billed.prompt)


def _cause(exchange: Json, billed: Bill, emulated: Bill, *, before: int) -> str:
    """Why the bills differ in kind; empty if they do not. `before` is the longest prompt billed before."""
    if not billed.disagrees(emulated):
        return ""
    rounds = _rounds(exchange)
    if billed.read > (rounds + 1) * before + rounds * billed.written:
        return "warm before the recording began: read more than the cassette had sent" + _in_rounds(rounds)
    if rounds:
        return "container loop: later rounds" + _in_rounds(rounds) + " read what the first one wrote"
    minimum = _minimum(exchange)
    if emulated.prompt < minimum <= billed.prompt:
        return f"estimate next to the minimum: {emulated.prompt} < {minimum} <= {billed.prompt} billed"
    return "unexplained"


def _in_rounds(rounds: int) -> str:
    return f" ({rounds + 1} requests in one bill)" if rounds else ""


def _minimum(exchange: Json) -> int:
    model = find_model(exchange["request"]["model"])
    return model.minimum if model else 0


def _rounds(exchange: Json) -> int:
    return sum(kind == "server_tool_use" for kind in exchange["response"].get("blocks") or ())


def _billed(exchange: Json) -> Bill:
    response = exchange["response"]
    return (
        Bill(uncached=response["count_tokens"]) if "count_tokens" in response else Bill.of(response["usage"])
    )


def _sent(emulator: Emulator, exchange: Json) -> tuple[Bill, str]:
    """What the emulator bills, and the text of its refusal."""
    at = emulator.clock.now()
    request = Request(
        method="POST",
        path=exchange["endpoint"],
        headers={"x-api-key": "made-up", "anthropic-beta": exchange.get("beta") or ""},
        body=json.dumps(exchange["request"]).encode(),
    )
    response = emulator.receive(request, at=at).start(at)
    told = _told(response)
    if "error" in told:
        return Bill(), str(told["error"]["message"])
    return Bill.of(told.get("usage") or told), ""


def _told(response: Response) -> Json:
    """The message of a response, or what stands for it; of a stream, its opening with what its end adds."""
    data = b"".join(chunk.data for chunk in response.chunks)
    if not data.startswith(b"event:"):
        return dict(json.loads(data))
    events = [
        json.loads(line.removeprefix(b"data: ")) for line in data.splitlines() if line.startswith(b"data:")
    ]
    usages = [event["usage"] for event in events if "usage" in event]
    message = events[0]["message"]
    return {**message, "usage": {**message["usage"], **(usages[-1] if usages else {})}}


def _recorded_at(exchange: Json) -> datetime | None:
    return parsedate_to_datetime(exchange["date"]) if exchange.get("date") else None


def report(replayed: Sequence[Row]) -> Iterator[str]:
    """The table, the list of rows that disagree, and how far the token counter is off."""
    disagreeing = [row for row in replayed if not row.agrees]
    yield f"{'line':>5} {'billed: read, written, uncached':^24} {'emulated':^20} {'':8} exchange"
    for row in replayed:
        verdict = "REFUSED" if row.refusal else "agree" if row.agrees else "differ"
        told = f": {row.refusal}" if row.refusal else ""
        yield f"{row.line:>5} {row.billed}    {row.emulated}  {verdict:8} {row.cassette} {row.place}{told}"
    yield ""
    yield f"{len(replayed)} marked exchanges, {sum(bool(row.refusal) for row in replayed)} refused"
    yield f"{len(replayed) - len(disagreeing)} agree in kind, {len(disagreeing)} do not:"
    for row in disagreeing:
        kinds = ", ".join(row.billed.disagrees(row.emulated))
        yield f"{row.line:>5} {kinds}: {row.refusal or row.cause}"
    yield ""
    yield from _sizes(replayed)


def _sizes(replayed: Iterable[Row]) -> Iterator[str]:
    """Whole prompts, and the share of them that was read or written, over the rows that agree and stand for one request."""
    alike = [row for row in replayed if row.agrees and not row.rounds and row.billed.prompt]
    if not alike:
        return
    ratios = sorted(row.emulated.prompt / row.billed.prompt for row in alike)
    yield (
        f"token counter: emulated prompt / billed prompt, {len(alike)} single requests that agree: "
        f"median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}"
    )
    cached = [row for row in alike if row.billed.read + row.billed.written]
    if cached:
        ratios = sorted(row.emulated.prompt / row.billed.prompt for row in cached)
        off = max(
            abs(_share(row.emulated, kind) - _share(row.billed, kind)) for row in cached for kind in _KINDS
        )
        yield (
            f"of these {len(cached)} read or wrote: median {statistics.median(ratios):.2f}, "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}; read, written and uncached shares of the prompt differ by "
            f"at most {off:.1%}"
        )


def _share(bill: Bill, kind: str) -> float:
    return float(getattr(bill, kind)) / max(1, bill.prompt)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exchanges", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("path", type=Path, help="the recorded exchanges, .jsonl.gz")
    path: Path = parser.parse_args(arguments).path
    with gzip.open(path, "rt") as lines:
        replayed = rows([json.loads(line) for line in lines])
    for line in report(replayed):
        print(line)
    too_many = sum(not row.agrees for row in replayed) > MOST_DISAGREEING
    return int(too_many or any(row.refusal for row in replayed))


if __name__ == "__main__":
    sys.exit(main())
