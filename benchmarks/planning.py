"""What a turn costs the books as its history grows: microseconds to read what is new, to digest, plan and settle it, and to
decide what to do while it rests.

    python -m benchmarks.planning [--json] [--smoke]

A turn of an agent, by the calls that a conversation makes, on a model that keeps earlier thinking (`claude-opus-5`)
and on one that drops it (`claude-haiku-4-5`). It is decided by the habits of an application, which go on as its
conversations do. Figures are medians.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import attrs

from benchmarks.histories import Json, asked, history, replied
from convcache.books import Books
from convcache.core.ledger import Ledger
from convcache.core.node import Node
from convcache.core.piece import pieces_of
from convcache.core.planner import Landmarks, Plan
from convcache.core.policy import Policy
from convcache.core.prompt import Prompt
from convcache.core.refresh import LAPSE, Caution, Decision
from convcache.core.transcript import Transcript
from convcache.core.usage import Bill, Usage
from convcache.habits import Habits, Track
from convcache.resting import Rest
from convcache.scope import Scope

START: Final = datetime(2026, 11, 22, 9, tzinfo=UTC)
MODELS: Final = ("claude-opus-5", "claude-haiku-4-5")
PARTS: Final = ("read", "digest", "plan", "settle", "decide")
CAUTION: Final = Caution()

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Scale:
    """How much is measured."""

    sizes: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    turns: int = 60


FULL: Final = Scale()
SMOKE: Final = Scale(sizes=(1, 10, 20), turns=2)


@attrs.define
class Chat:
    """A conversation without its network: what is measured of each turn, in microseconds."""

    model: str
    transcript: Transcript
    turn: int
    books: Books = attrs.field(factory=lambda: Books(scope=Scope(), policy=Policy()))
    ledger: Ledger = attrs.field(factory=Ledger)
    prompt: Prompt | None = None
    tail: Node | None = None
    habits: Habits = attrs.field(factory=Habits)
    track: Track = attrs.field(factory=Track)
    at: datetime = START

    @classmethod
    def of(cls, model: str, messages: int) -> "Chat":
        said = history("agent", messages)[:-1]
        return cls(model, Transcript.adopting(said), turn=len(said) // 2)

    def take_turn(self) -> dict[str, float]:
        messages = self.transcript.asked(asked("agent", self.turn))
        # The last reply and what is said to it. A conversation reads both when it receives them.
        new = [messages[at] for at in range(max(0, len(messages) - 2), len(messages))]
        _, read = timed(lambda: [*map(pieces_of, new)])
        request: Json = {"model": self.model, "max_tokens": 100, "messages": messages}
        self.at += timedelta(seconds=10)
        self.track = self.habits.came(self.track, self.at)
        prompt, digest = timed(lambda: self.books.prompt(request, grown_from=self.prompt))
        (plan, _), placed = timed(lambda: self._placed(request, prompt))
        usage = Usage(
            read=max(plan.forecast.read, self.ledger.total.written), written_5m=100, uncached=10, output=20
        )
        (self.ledger, _), settle = timed(
            lambda: self.books.settle(self.ledger, plan, Bill(total=usage), at=self.at)
        )
        self.prompt, self.tail = plan.prompt, plan.tail
        self.transcript = self.transcript.answered(messages, replied("agent", self.turn), "tool_use")
        self.turn += 1
        self.track = self.habits.rests(self.track, "tool_use", since=self.at, by_person=False)
        _, decide = timed(lambda: self._decided(request, plan))
        return {"read": read, "digest": digest, "plan": placed, "settle": settle, "decide": decide}

    def _decided(self, request: Json, plan: Plan) -> Decision:
        rest = Rest.of(request, plan, self.books.scope.warm, self.track, started=self.at)
        return LAPSE if rest is None else rest.decision(self.habits, CAUTION, self.at)

    def _placed(self, request: Json, prompt: Prompt | None) -> tuple[Plan, Json]:
        assert prompt is not None  # noqa: S101 - else there is nothing to measure
        plan, body = self.books.placed(
            request, prompt, self.ledger, at=self.at, landmarks=Landmarks(anchor=self.tail)
        )
        assert plan is not None  # noqa: S101 - else there is nothing to measure
        return plan, body


def timed(call: Callable[[], T]) -> tuple[T, float]:
    # What is measured takes some microseconds, and asking for CPU time takes half of one.
    started = time.perf_counter_ns()
    result = call()
    return result, (time.perf_counter_ns() - started) / 1_000


def measured(scale: Scale) -> list[Json]:
    rows: list[Json] = []
    for model in MODELS:
        for messages in scale.sizes:
            chat = Chat.of(model, messages)
            chat.take_turn()
            gc.collect()
            turns = [chat.take_turn() for _ in range(scale.turns)]
            parts = {part: statistics.median(turn[part] for turn in turns) for part in PARTS}
            whole = statistics.median(sum(turn.values()) for turn in turns)
            rows.append({"model": model, "messages": messages, **parts, "whole": whole})
    return rows


def lines(rows: Sequence[Json]) -> Iterator[str]:
    yield f"{'µs a turn':18}{'messages':>9}" + "".join(f"{part:>9}" for part in (*PARTS, "whole"))
    for row in rows:
        figures = "".join(f"{row[part]:9.0f}" for part in (*PARTS, "whole"))
        yield f"{row['model']:18}{row['messages']:9,}{figures}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planning", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--smoke", action="store_true", help="measure next to nothing, to see that it runs")
    chosen = parser.parse_args(arguments)
    rows = measured(SMOKE if chosen.smoke else FULL)
    for line in [json.dumps(rows, indent=2)] if chosen.json else lines(rows):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
